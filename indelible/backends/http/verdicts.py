"""What may be answered to a transaction, and which errors to what: told apart from what cannot be true.

The checks give the head at which an answer was judged, before it changed anything, or None where it does not say.
They raise ``ProtocolViolation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from indelible import errors
from indelible.backends.http.answers import violation
from indelible.commands import ExpectVersion, Transaction
from indelible.errors import IndelibleError, NonexistentVersion, Rejected, TransactionIdReused, VersionTrimmed
from indelible.messages import DiffLog, ListVersions, TrimLog, UpdateLog
from indelible.records import Committed
from indelible.routes import CREATE, DESCRIBE, DIFF, HISTORY, TRIM, UPDATE, VERSIONS

_ANYWHERE: Final[tuple[type[IndelibleError], ...]] = (
    errors.BadApiKey,
    errors.NotAllowed,
    errors.InvalidRequest,
    errors.TooLarge,
    errors.Overloaded,
)
_NAMED: Final = (errors.NonexistentLog, NonexistentVersion, VersionTrimmed)
_ERRORS: Final[Mapping[str, tuple[type[IndelibleError], ...]]] = {
    CREATE.name: (errors.LogExists,),
    UPDATE.name: (
        errors.NonexistentLog,
        errors.TransactionConflict,
        errors.UnexpectedVersion,
        errors.UnexpectedValue,
        errors.NonexistentValue,
        TransactionIdReused,
    ),
    DIFF.name: _NAMED,
    VERSIONS.name: _NAMED,
    DESCRIBE.name: (errors.NonexistentLog,),
    HISTORY.name: (errors.NonexistentLog,),
    TRIM.name: (errors.NonexistentLog, NonexistentVersion),
}


def check_error(route: str, question: object, error: IndelibleError) -> int | None:
    """Check an error that is the answer to a question."""
    if type(error) not in (*_ANYWHERE, *_ERRORS.get(route, ())):
        raise violation("its answer is an error that this call does not have")
    match error:
        case NonexistentVersion(version=version, head=head):
            if version not in _versions(question) or not 0 <= head < version:
                raise violation("it says that a version does not exist which was not asked for, or does exist")
            return head
        case VersionTrimmed(version=version, oldest=oldest):
            if version not in _versions(question) or not 0 < version < oldest:
                raise violation("it says that a version was trimmed which was not asked for, or cannot have been")
    return None


def _versions(question: object) -> tuple[int | None, ...]:
    """The versions that a question names."""
    match question:
        case DiffLog(request=request):
            return request.from_version, request.to_version
        case ListVersions(from_version=start, to_version=end):
            return start, end
        case TrimLog(before=before):
            return (before,)
    return ()


def check_update(update: UpdateLog, answer: Committed | IndelibleError) -> int | None:
    """Check what is answered to a transaction."""
    if isinstance(answer, Committed):
        return _check_committed(update.transaction, answer)
    check_error(UPDATE.name, update, answer)
    if isinstance(answer, Rejected):
        _check_rejected(update.transaction, answer)
    return None


def _check_committed(transaction: Transaction[bytes, bytes], answer: Committed) -> int | None:
    before = answer.version - answer.changed
    if before < 0:
        raise violation("it says that version 0 was made")
    if answer.changed and all(isinstance(command, ExpectVersion) for command in transaction.commands):
        raise violation("it says that a transaction which cannot change anything did")
    # An answer that is repeated says what the first one said (S16), so this holds for it as well.
    if any(isinstance(command, ExpectVersion) and command.version != before for command in transaction.commands):
        raise violation("it says that a transaction was committed at another version than it expects")
    return None if answer.replayed else before


_FITS: Final[Mapping[type[Rejected], str]] = {
    errors.UnexpectedVersion: "ExpectVersion",
    errors.UnexpectedValue: "Insert",
    errors.NonexistentValue: "Update",
}
"""The one kind of command that each rejection is of (S2)."""


def _check_rejected(transaction: Transaction[bytes, bytes], answer: Rejected) -> None:
    if isinstance(answer, TransactionIdReused):
        if (answer.index, answer.command) != (-1, "Transaction"):
            raise violation("it says that a command reused the transaction's id")
        return
    commands = transaction.commands
    if not 0 <= answer.index < len(commands) or answer.head < 0:
        raise violation("it rejects a command that was not sent")
    command = commands[answer.index]
    if not type(command).__name__ == answer.command == _FITS[type(answer)]:
        raise violation("it rejects a command for a reason that its kind does not have")
    passed = (it.version for it in commands[: answer.index] if isinstance(it, ExpectVersion))
    if any(version != answer.head for version in passed):
        raise violation("it rejects a later command than the first that does not pass")
    if isinstance(command, ExpectVersion) and isinstance(answer, errors.UnexpectedVersion):
        fits = answer.expected == command.version != answer.actual == answer.head
        if not fits:
            raise violation("it says that a version was not the expected one, and names two that do not fit")
