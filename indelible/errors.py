"""Every error this package raises on purpose, grouped by what a handler would do about it.

.. code-block:: text

    IndelibleError
    ├── Rejected               the transaction was judged and refused; nothing was written
    │   ├── UnexpectedVersion      1003
    │   ├── UnexpectedValue        1008
    │   ├── NonexistentValue       1009
    │   └── TransactionIdReused    1021
    ├── NotFound               the thing is not there (also a LookupError)
    │   ├── NonexistentVersion     1004
    │   ├── NonexistentLog         1005
    │   └── VersionTrimmed         1022
    ├── LogExists              the log is there already, with another group       1010
    ├── InvalidRequest         the caller is wrong (also a ValueError)         1020
    │   ├── TooLarge               1023
    │   ├── Closed                 used after close, or after a fork
    │   └── UnsuitableStore        this store cannot keep the contract as it stands
    ├── NotExecuted            this attempt certainly had no effect; try again
    │   ├── TransactionConflict    1002
    │   └── Overloaded             1024
    ├── OutcomeUnknown         it may or may not have happened; send the same transaction again
    ├── IntegrityError         do not trust what was read
    │   ├── Undecodable            the bytes are authentic and do not fit the codec
    │   ├── DamagedStore           the store's own file is broken, moved or replaced
    │   ├── ProtocolViolation      the other side broke the contract
    │   └── HistoryRolledBack      the other side shows an older head than it showed before
    └── BadApiKey              who asks is not known here   1001
        └── NotAllowed             the key is known and may not do this   1025

``code`` is the name an error has on the wire and ``number`` its number there; ``number`` is None for what can only
happen on this side of a wire. Numbers are never given a second meaning. No message carries key material, a stored
key or a value; the name of a log stands in it as the caller gave it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs


@attrs.define(slots=False)
class IndelibleError(Exception):
    """The root of every error raised on purpose; anything else that comes out is a bug."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    number: ClassVar[int | None] = 1099

    def __str__(self) -> str:
        return self.code


@attrs.define(slots=False)
class Rejected(IndelibleError):
    """The transaction was judged and refused, and nothing of it was written (S3).

    To try again, build another ``Transaction``: this answer may be kept under the id of the one that was refused (S16).
    ``index`` is the place of the first refused command in its transaction, from 0; ``command`` its kind; ``head`` the
    version of the log at which it was judged.
    """

    code: ClassVar[str] = "REJECTED"
    number: ClassVar[int | None] = None
    log: str
    index: int
    command: str
    head: int

    def _place(self) -> str:
        return f"command {self.index} ({self.command}) on log {self.log!r} at version {self.head}"


@attrs.define(slots=False)
class UnexpectedVersion(Rejected):
    """``ExpectVersion`` named another version than the head; both are carried."""

    code: ClassVar[str] = "UNEXPECTED_VERSION"
    number: ClassVar[int | None] = 1003
    expected: int
    actual: int

    def __str__(self) -> str:
        return (
            f"{self._place()}: expected version {self.expected}, found {self.actual}; "
            "read what changed since, then build the transaction again"
        )


@attrs.define(slots=False)
class UnexpectedValue(Rejected):
    """``Insert`` found another value under its key. That value is never in the error."""

    code: ClassVar[str] = "UNEXPECTED_VALUE"
    number: ClassVar[int | None] = 1008

    def __str__(self) -> str:
        return f"{self._place()}: the key holds another value; use Update or Upsert to replace it"


@attrs.define(slots=False)
class NonexistentValue(Rejected):
    """``Update`` found nothing under its key."""

    code: ClassVar[str] = "NONEXISTENT_VALUE"
    number: ClassVar[int | None] = 1009

    def __str__(self) -> str:
        return f"{self._place()}: the key holds nothing; use Insert or Upsert to add it"


@attrs.define(slots=False)
class TransactionIdReused(Rejected):
    """The transaction id was used before, with other content (S16). ``index`` is -1: no single command is at fault."""

    code: ClassVar[str] = "TRANSACTION_ID_REUSED"
    number: ClassVar[int | None] = 1021

    def __str__(self) -> str:
        return (
            f"log {self.log!r} has answered a transaction of this id with other content; "
            "send a retry exactly as it was first sent, and give anything else an id of its own"
        )


@attrs.define(slots=False)
class NotFound(IndelibleError, LookupError):
    """What was asked for is not there."""

    code: ClassVar[str] = "NOT_FOUND"
    number: ClassVar[int | None] = None
    log: str


@attrs.define(slots=False)
class NonexistentLog(NotFound):
    """The log was never created, or not under this key or by this tenant (S1, S20)."""

    code: ClassVar[str] = "NONEXISTENT_LOG"
    number: ClassVar[int | None] = 1005

    def __str__(self) -> str:
        return f"there is no log {self.log!r} here under this key; create it first, or check name, store and key"


@attrs.define(slots=False)
class NonexistentVersion(NotFound):
    """The version lies above the head, which is carried (S14)."""

    code: ClassVar[str] = "NONEXISTENT_VERSION"
    number: ClassVar[int | None] = 1004
    version: int
    head: int

    def __str__(self) -> str:
        return f"log {self.log!r} has no version {self.version}; its newest is {self.head}"


@attrs.define(slots=False)
class VersionTrimmed(NotFound):
    """The version was forgotten by ``trim``; ``oldest`` is the oldest that can still be named, besides 0 (S19)."""

    code: ClassVar[str] = "VERSION_TRIMMED"
    number: ClassVar[int | None] = 1022
    version: int
    oldest: int

    def __str__(self) -> str:
        return (
            f"version {self.version} of log {self.log!r} was trimmed; "
            f"start again from 0, or name a version from {self.oldest} on"
        )


@attrs.define(slots=False)
class LogExists(IndelibleError):
    """The log was created before, with another group (S1)."""

    code: ClassVar[str] = "LOG_EXISTS"
    number: ClassVar[int | None] = 1010
    log: str

    def __str__(self) -> str:
        return f"log {self.log!r} exists with another group; open it as it is, or choose another name"


@attrs.define(slots=False)
class InvalidRequest(IndelibleError, ValueError):
    """The caller is wrong: nothing was sent and nothing changed. The message says what to do."""

    code: ClassVar[str] = "INVALID_REQUEST"
    number: ClassVar[int | None] = 1020
    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False)
class TooLarge(InvalidRequest):
    """Something is over a limit, which is named with its size; sizes count what is stored, sealing included."""

    code: ClassVar[str] = "TOO_LARGE"
    number: ClassVar[int | None] = 1023
    limit: str
    size: int
    maximum: int


@attrs.define(slots=False)
class Closed(InvalidRequest):
    """The client or backend was closed, or belongs to the process this one was forked from."""

    code: ClassVar[str] = "CLOSED"
    number: ClassVar[int | None] = None


@attrs.define(slots=False)
class UnsuitableStore(InvalidRequest):
    """The store cannot keep the contract as it stands: not ours, too new, or on a network file system."""

    code: ClassVar[str] = "UNSUITABLE_STORE"
    number: ClassVar[int | None] = None


@attrs.define(slots=False)
class NotExecuted(IndelibleError):
    """Certainly no effect of this attempt (S17): it may be sent again, as the same one, once the reason is gone.

    Nothing is said of an earlier attempt. If the outcome of one is unknown, it is unknown still.
    """

    code: ClassVar[str] = "NOT_EXECUTED"
    number: ClassVar[int | None] = None
    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False)
class TransactionConflict(NotExecuted):
    """Another transaction got in between, and retrying inside the store did not help."""

    code: ClassVar[str] = "TRANSACTION_CONFLICT"
    number: ClassVar[int | None] = 1002


@attrs.define(slots=False)
class Overloaded(NotExecuted):
    """The store is busy; wait a little and send the same again."""

    code: ClassVar[str] = "OVERLOADED"
    number: ClassVar[int | None] = 1024


@attrs.define(slots=False)
class OutcomeUnknown(IndelibleError):
    """Nobody can tell whether the transaction took effect (S17, S22).

    ``transaction`` may be sent again as it is, as attempt ``attempt + 1``: its id makes the answer the one it had, or
    gives it its first. Only a ``Committed`` or a ``Rejected`` settles it; any other error of a later attempt speaks for
    that attempt alone. ``attempt`` counts what a backend sent again by itself, too.
    """

    code: ClassVar[str] = "OUTCOME_UNKNOWN"
    number: ClassVar[int | None] = None
    log: str
    transaction: Any = attrs.field(repr=False)
    attempt: int
    reason: str

    def __str__(self) -> str:
        return (
            f"the outcome of a transaction on log {self.log!r} is unknown ({self.reason}); "
            "send error.transaction again as it is, with attempt=error.attempt + 1"
        )


@attrs.define(slots=False)
class IntegrityError(IndelibleError):
    """What was read cannot be trusted: it does not open under this key, or was moved or altered."""

    code: ClassVar[str] = "INTEGRITY_ERROR"
    number: ClassVar[int | None] = None
    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False)
class Undecodable(IntegrityError):
    """Authentic bytes that the codec in use cannot read: they were written through another one."""

    code: ClassVar[str] = "UNDECODABLE"


@attrs.define(slots=False)
class DamagedStore(IntegrityError):
    """The store's file is broken, or was deleted, moved or replaced while in use."""

    code: ClassVar[str] = "DAMAGED_STORE"


@attrs.define(slots=False)
class ProtocolViolation(IntegrityError):
    """The other side gave an answer that the contract does not allow."""

    code: ClassVar[str] = "PROTOCOL_VIOLATION"


@attrs.define(slots=False)
class HistoryRolledBack(IntegrityError):
    """The service shows ``head`` as a log's newest version, after this client has seen ``pinned``.

    Versions never go back (S7): an old backup was restored, or history is being withheld.
    """

    code: ClassVar[str] = "HISTORY_ROLLED_BACK"
    log: str
    pinned: int
    head: int

    def __str__(self) -> str:
        return f"log {self.log!r} is shown at version {self.head}, after version {self.pinned} was seen: {self.reason}"


@attrs.define(slots=False)
class BadApiKey(IndelibleError):
    """Customer id and API key were missing or refused; the same for an unknown customer."""

    code: ClassVar[str] = "BAD_API_KEY"
    number: ClassVar[int | None] = 1001

    def __str__(self) -> str:
        return "customer id and API key were not accepted; check the profile"


@attrs.define(slots=False)
class NotAllowed(BadApiKey):
    """The key was accepted and may not do this: it lacks a scope, or is for another group."""

    code: ClassVar[str] = "NOT_ALLOWED"
    number: ClassVar[int | None] = 1025
    reason: str

    def __str__(self) -> str:
        return self.reason
