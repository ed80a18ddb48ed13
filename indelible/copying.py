"""Copies logs from any backend to any other, versions and all, and without keys: what is sealed stays sealed.

Each version is read as the diff from the one before it and sent as one transaction, under its own id and source. The
versions below the oldest of a trimmed log can no longer be read; they are made up such that the oldest holds what it
should, each entry with the version that introduced it, and are then trimmed away as they were.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs

from indelible.backend import Backend
from indelible.batches import Bytes, batches, commit
from indelible.changes import Added, Change
from indelible.commands import Command, Remove, Transaction, Upsert
from indelible.errors import (
    IntegrityError,
    InvalidRequest,
    LogExists,
    NonexistentLog,
    ProtocolViolation,
    VersionTrimmed,
)
from indelible.limits import Limits
from indelible.pages import DiffRequest, walk
from indelible.records import LogInfo, VersionInfo

_PAGE: Final = 1_000
"""Changes read at a time, and versions told at a time."""

_FULL: Final = Limits().commands
"""The commands that any store takes in a transaction."""

_Told: TypeAlias = tuple[int, str | None, bytes, int]


@attrs.frozen
class CopyReport:
    """What the target holds of a log after a copy, and how many versions this run made of it."""

    log: str
    group: str | None
    head: int
    oldest: int
    entries: int
    made: int


def copy_log(
    source: Backend, target: Backend, log: str, *, progress: Callable[[int], object] = lambda _version: None
) -> CopyReport:
    """Make ``log`` in ``target`` what it is in ``source``, up to the version that is the head when this ends.

    Kept are the log's stored name, group, versions, the order of changes, and of every version its entries, their
    versions, source and transaction id. Not kept are the times of commit, which are those of the copy, and what the
    source answered to transactions: one sent again, long after, to the copy is refused with ``TransactionIdReused``.

    A copy that was interrupted anywhere goes on when it is run again, and one that is complete takes over what came
    since; what the target has already is compared before anything is sent. Until it is complete, a copy of a trimmed
    log holds entries that no key opens. Let nobody else write to the log in the target, and nobody trim the source past
    the version that the copy has reached.

    ``progress`` is told the version reached. Raises, with nothing changed, ``LogExists`` where the target's log has
    another group and ``InvalidRequest`` where it is another log or was trimmed further; ``IntegrityError`` where
    either side contradicts itself; and whatever either side raises.
    """
    start: int | None = None
    while True:
        info = source.describe(log)
        try:
            reached = _held(source, target, info)
            if start is None:
                # Later on, all that is there was made by this run.
                if reached and not _is_same_so_far(source, target, info, reached):
                    raise _other(info, reached)
                start = reached
            for batch in batches(_transactions(source, info, reached)):
                commit(target, log, reached, batch)
                reached += len(batch)
                progress(reached)
        except VersionTrimmed:
            if source.describe(log).oldest == info.oldest:
                raise
            # Trimmed meanwhile, perhaps no further than the copy has come.
            continue
        there = target.describe(log)
        if there.oldest < info.oldest:
            target.trim(log, info.oldest)
            there = target.describe(log)
        if there != info:
            raise IntegrityError(f"log {log!r} did not become what it is where it comes from; do not use the copy")
        if source.describe(log) == info:
            return CopyReport(log, info.group, info.head, info.oldest, info.entries, info.head - start)


def verify(
    source: Backend,
    target: Backend,
    log: str,
    *,
    every: bool = False,
    progress: Callable[[int], object] = lambda _version: None,
) -> None:
    """Compare a log with its copy: what describes them, and with ``every`` each version, its diff, and what they hold.

    A source that went on meanwhile is compared as far as the copy goes. ``progress`` is told the version compared.
    Raises ``IntegrityError`` that says what differs, and whatever either side raises.
    """
    info, there = source.describe(log), target.describe(log)
    if info.head == there.head and info != there:
        raise _differs(log, "the size, the oldest version or the group")
    if not _is_same_log(source, info, target, there):
        raise _differs(log, "its newest version, or who made it")
    if not every:
        return
    oldest = max(info.oldest, there.oldest, 1)
    for low in (0, *range(oldest, there.head)) if there.head else ():
        high = max(low + 1, oldest)
        if _told(source, info, high) != _told(target, there, high):
            raise _differs(log, f"who made version {high}, or how many entries it touched,")
        if not _same_diff(source, target, log, low, high):
            raise _differs(log, f"what came with version {high}")
        progress(high)
    if not _same_diff(source, target, log, 0, there.head):
        raise _differs(log, "what it holds")


def _differs(log: str, what: str) -> IntegrityError:
    return IntegrityError(f"{what} of log {log!r} is not the same in the copy; do not use the copy")


def _same_diff(source: Backend, target: Backend, log: str, low: int, high: int) -> bool:
    pairs = itertools.zip_longest(_diff(source, log, low, high), _diff(target, log, low, high))
    return all(one == other for one, other in pairs)


# What is there


def _diff(backend: Backend, log: str, low: int, high: int) -> Iterator[Change[bytes, bytes]]:
    request = DiffRequest(low, high, limit=_PAGE)
    return walk(request, backend.diff(log, request), lambda following: backend.diff(log, following))


def _told(backend: Backend, info: LogInfo, version: int) -> _Told:
    """All that a backend tells of a version but its time."""
    return _untimed(_who_made(backend, info.name, _before(info, version), version))


def _all_told(backend: Backend, info: LogInfo, low: int, high: int) -> Iterator[_Told]:
    """The same of each version from ``low`` to ``high``."""
    for first in range(low, high + 1, _PAGE):
        last = min(first + _PAGE - 1, high)
        yield from map(_untimed, backend.versions(info.name, _before(info, first), last))


def _untimed(it: VersionInfo) -> _Told:
    return it.version, it.source, it.transaction_id, it.effects


def _before(info: LogInfo, version: int) -> int:
    # Version 0 can always be named, those below the oldest cannot.
    return version - 1 if version > info.oldest else 0


def _who_made(backend: Backend, log: str, before: int, version: int) -> VersionInfo:
    found = backend.versions(log, before, version)
    if not found or found[-1].version != version:
        raise ProtocolViolation(f"a store does not tell who made version {version} of log {log!r}, which it has")
    return found[-1]


def _is_same_log(source: Backend, info: LogInfo, target: Backend, there: LogInfo) -> bool:
    """Whether the target's log, as far as it goes, is the source's: the oldest and the newest version of both are."""
    if not info.oldest <= there.head <= info.head:
        return False
    both = {max(info.oldest, there.oldest, 1), there.head} if there.head else set()
    return all(_told(source, info, version) == _told(target, there, version) for version in both)


def _held(source: Backend, target: Backend, info: LogInfo) -> int:
    """Up to which version the target has the log already; there, it exists from then on."""
    try:
        there = target.describe(info.name)
    except NonexistentLog:
        target.create(info.name, info.group)
        return 0
    if there.group != info.group:
        raise LogExists(info.name)
    if there.oldest > info.oldest:
        raise InvalidRequest(
            f"log {info.name!r} was trimmed to version {there.oldest} in the target and to {info.oldest} where it "
            "comes from; what was forgotten cannot be copied to where it was; copy to another store"
        )
    if there.head == 0 or _is_same_log(source, info, target, there):
        return there.head
    if there.head < info.oldest and _told(target, there, there.head)[2] == _made_up(_oldest(source, info), there.head):
        return there.head
    raise _other(info, there.head)


def _other(info: LogInfo, head: int) -> InvalidRequest:
    reason = f"the target holds another log {info.name!r}, or one that was written to since it was copied"
    if head < info.oldest:
        reason += f", or ends at version {head} while those up to {info.oldest} were trimmed where it comes from"
    return InvalidRequest(f"{reason}; copy to another store")


def _is_same_so_far(source: Backend, target: Backend, info: LogInfo, reached: int) -> bool:
    """Whether every version of the target that the source has too is the same in both, and what they hold at the last.

    Ids alone do not tell: those of an import come of what was imported, whatever the log held before.
    """
    there = target.describe(info.name)
    low = max(info.oldest, 1)
    if reached < low:
        oldest, made = _oldest(source, info), _all_told(target, there, max(there.oldest, 1), reached)
        return all(id_ == _made_up(oldest, version) for version, _, id_, _ in made)
    pairs = itertools.zip_longest(_all_told(source, info, low, reached), _all_told(target, there, low, reached))
    return all(one == other for one, other in pairs) and _same_diff(source, target, info.name, 0, reached)


# What to send


def _transactions(source: Backend, info: LogInfo, after: int) -> Iterator[Bytes]:
    """A transaction for each version after ``after``, in order."""
    if after < info.oldest:
        yield from itertools.islice(_founding(source, info.name, _oldest(source, info)), after, None)
        after = info.oldest
    while after < info.head:
        until = min(after + _PAGE, info.head)
        for it in source.versions(info.name, after, until):
            changes = list(_diff(source, info.name, it.version - 1, it.version))
            yield _transaction(info.name, it, _commands(changes))
        after = until


def _transaction(log: str, it: VersionInfo, commands: Sequence[Command[bytes, bytes]]) -> Bytes:
    if len(commands) != it.effects:
        raise IntegrityError(
            f"where log {log!r} comes from, version {it.version} is said to have touched {it.effects} entries, and its "
            f"diff shows {len(commands)}"
        )
    return Transaction(commands, it.source, id=it.transaction_id)


def _commands(changes: Iterable[Change[bytes, bytes]]) -> list[Command[bytes, bytes]]:
    """What makes the changes of one version, in their order."""
    changes = list(changes)
    added = {change.key for change in changes if isinstance(change, Added)}
    return [
        Upsert(change.key, change.value) if isinstance(change, Added) else Remove(change.key, change.value)
        for change in changes
        if isinstance(change, Added) or change.key not in added
    ]


def _oldest(source: Backend, info: LogInfo) -> VersionInfo:
    return _who_made(source, info.name, 0, info.oldest)


def _made_up(oldest: VersionInfo, version: int, purpose: bytes = b"version") -> bytes:
    """16 bytes for a version below the oldest; who continues the copy finds the same."""
    what = purpose + version.to_bytes(8, "big")
    return hashlib.blake2b(what, digest_size=16, key=oldest.transaction_id, person=b"indelible-copy").digest()


def _founding(source: Backend, log: str, oldest: VersionInfo) -> Iterator[Bytes]:
    """What makes version 1 and all up to ``oldest``, of which only the last can be named once the log is trimmed.

    Every version has to change something (S5), and the last has to touch as many entries as it did. So there are as
    many fillers as it removed entries, added as soon as there is room and removed by it. A version that introduces
    nothing alters the first of them, or, if the last removed nothing, a key that the last is going to replace.
    """
    introduced, stand_in, prefix = _survey(source, log, oldest)
    removed = oldest.effects - introduced
    waiting = [prefix + number.to_bytes(8, "big") for number in range(removed)]
    marked = waiting[0] if waiting else stand_in
    there: dict[bytes, bytes] = {}
    entries = itertools.groupby(_diff(source, log, 0, oldest.version), key=lambda change: change.version)
    upcoming = next(entries, None)
    for version in range(1, oldest.version + 1):
        commands: list[Command[bytes, bytes]] = []
        if upcoming is not None and upcoming[0] == version:
            commands = _commands(upcoming[1])
            upcoming = next(entries, None)
        if version == oldest.version:
            commands += [Remove(key, value) for key, value in there.items()]
            yield _transaction(log, oldest, commands)
            return
        room = len(waiting) if version == oldest.version - 1 else max(0, _FULL - len(commands))
        altered = waiting[:room] if waiting else [marked] if not commands else []
        waiting = waiting[room:]
        fillers = [Upsert(key, prefix + version.to_bytes(8, "big")) for key in altered]
        there |= {filler.key: filler.value for filler in fillers if removed}
        yield Transaction([*commands, *fillers], id=_made_up(oldest, version))


def _survey(source: Backend, log: str, oldest: VersionInfo) -> tuple[int, bytes, bytes]:
    """Of the oldest version: how many entries it introduced, the key of one, and 16 bytes with which nothing begins."""
    for attempt in itertools.count():
        introduced, stand_in, free = 0, b"", True
        prefix = _made_up(oldest, attempt, b"filler")
        for change in _diff(source, log, 0, oldest.version):
            free = free and not change.key.startswith(prefix) and not change.value.startswith(prefix)
            if change.version == oldest.version:
                introduced, stand_in = introduced + 1, change.key
        if free:
            return introduced, stand_in, prefix
    raise AssertionError("unreachable")
