"""How a command ends: every exit code, and which error means which. Scripts depend on them: append only.

.. code-block:: text

    0    done
    1    an error that is none of these, such as LogExists, BadApiKey, or a file that cannot be read
    2    the command line or what it names is wrong (InvalidRequest); nothing happened
    3    not found: the log, the version, the key
    4    rejected: judged against what the log holds, and refused; nothing was written
    5    not executed: try again
    6    the outcome is unknown: look before trying again
    7    integrity: do not trust what was read
    130  interrupted by ctrl-C
    141  nobody reads the output any more, as when it is piped into head
"""

from __future__ import annotations

from typing import Final

from indelible.errors import (
    IndelibleError,
    IntegrityError,
    InvalidRequest,
    NonexistentValue,
    NotExecuted,
    NotFound,
    OutcomeUnknown,
    Rejected,
    UnexpectedValue,
    UnexpectedVersion,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
REJECTED: Final = 4
NOT_EXECUTED: Final = 5
UNKNOWN: Final = 6
INTEGRITY: Final = 7
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

_CODES: Final[tuple[tuple[type[IndelibleError], int], ...]] = (
    (InvalidRequest, USAGE),
    (NotFound, NOT_FOUND),
    (Rejected, REJECTED),
    (NotExecuted, NOT_EXECUTED),
    (OutcomeUnknown, UNKNOWN),
    (IntegrityError, INTEGRITY),
)


class Failure(Exception):
    """A command's own reason to end with an error: what to print, and the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: IndelibleError) -> int:
    """The exit code for an error of the package."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def message_of(error: IndelibleError) -> str:
    """What to tell somebody at a terminal about an error of the package."""
    # The errors' own texts speak to a program, which still has the transaction.
    if isinstance(error, UnexpectedVersion):
        return f"log {error.log!r} is at version {error.actual}, not {error.expected}; nothing was changed"
    if isinstance(error, UnexpectedValue):
        return f"a key of log {error.log!r} holds another value; nothing was changed; leave out --insert to replace it"
    if isinstance(error, NonexistentValue):
        return f"a key of log {error.log!r} holds nothing; nothing was changed; leave out --update to add it"
    if isinstance(error, OutcomeUnknown):
        return (
            f"it is unknown whether this changed log {error.log!r} ({error.reason}); an import may simply be run "
            "again, before anything else look at 'indelible versions'"
        )
    return str(error)
