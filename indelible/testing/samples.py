"""Histories that are easy to get wrong, as lists of transactions, and how to put one into a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from indelible.backend import Backend
from indelible.changes import Added, Change, Entry, Removed
from indelible.commands import Command, Insert, Remove, Transaction, Update, Upsert
from indelible.pages import DiffRequest, Order, Page
from indelible.records import Committed
from indelible.testing.oracle import ModelBackend

LOG: Final = "a log"
"""The log that contract tests use unless they need several; it exists when they begin."""

Bytes: TypeAlias = Command[bytes, bytes]

HISTORIES: Final[Mapping[str, Sequence[Sequence[Bytes]]]] = {
    "nothing": [],
    "replaced in every version": [[Upsert(b"k", bytes([i])), Upsert(bytes([i]), b"")] for i in range(5)],
    "there and back": [
        [Insert(b"a", b"1"), Insert(b"b", b"1")],
        [Update(b"a", b"2")],
        [Update(b"a", b"1")],
        [Remove(b"b", b"1")],
        [Insert(b"b", b"1")],
        [Remove(b"a", b"1"), Remove(b"b", b"1")],
    ],
    "came and went": [
        [Insert(b"x", b"1")],
        [Insert(b"y", b"1"), Remove(b"x", b"1")],
        [Remove(b"y", b"1"), Insert(b"z", b"1")],
        [Upsert(b"z", b"2"), Insert(b"y", b"2"), Insert(b"x", b"1")],
        [Remove(b"z", b"2"), Remove(b"y", b"2"), Remove(b"x", b"1")],
    ],
    "net within a transaction": [
        [Upsert(b"c", b"1"), Upsert(b"a", b"1"), Upsert(b"b", b"1"), Upsert(b"c", b"2"), Upsert(b"a", b"1")],
        [Remove(b"a", b"1"), Upsert(b"d", b"1"), Insert(b"a", b"1"), Upsert(b"b", b"2"), Upsert(b"b", b"1")],
        [Insert(b"e", b"1"), Remove(b"e", b"1"), Remove(b"c", b"2"), Insert(b"c", b"3"), Remove(b"d", b"1")],
        [Update(b"c", b"4"), Insert(b"d", b"1"), Update(b"c", b"5"), Update(b"a", b"9"), Remove(b"d", b"1")],
    ],
    "ends in another order than it began": [
        [Insert(bytes([i]), b"1") for i in range(4)],
        [Upsert(bytes([i]), b"2") for i in reversed(range(4))],
        [Remove(b"\2", b"2"), Upsert(b"\1", b"3"), Upsert(b"\4", b"1"), Remove(b"\0", b"2")],
        [Insert(b"\0", b"1"), Upsert(b"\2", b"2"), Remove(b"\4", b"1")],
    ],
    "odd keys": [
        [Insert(key, key) for key in (b"\xff\xff", b"", b"\xff", b"\0", b"a\0", b"\0\0", b"a", b"aa", b"%_'\"")],
        [Update(b"", b"x"), Remove(b"\0", b"\0"), Update(b"\xff", b""), Remove(b"a", b"a")],
        [Update(b"\xff", b"\xff"), Insert(b"\0", b""), Remove(b"\0\0", b"\0\0"), Update(b"", b"")],
    ],
}


def transaction(*commands: Bytes, source: str | None = None) -> Transaction[bytes, bytes]:
    """A transaction of these commands, under a fresh id."""
    return Transaction(commands, source)


def commit(backend: Backend, *commands: Bytes, log: str = LOG) -> Committed:
    """Send these commands as one transaction, once."""
    return backend.update(log, transaction(*commands))


def fill(backend: Backend, name: str, log: str = LOG) -> ModelBackend:
    """Put a history into a log that exists and is empty, and answer an oracle that was told the same."""
    oracle = ModelBackend()
    oracle.create(log)
    for commands in HISTORIES[name]:
        sent = transaction(*commands, source=name)
        oracle.update(log, sent)
        backend.update(log, sent)
    return oracle


def pages(backend: Backend, request: DiffRequest, log: str = LOG) -> list[Page]:
    """Every page from ``request`` on, the versions fixed by the first as a caller has to."""
    page = backend.diff(log, request)
    told = [page]
    while page.next is not None:
        assert len(told) < 10_000, "the pages of a diff do not come to an end"
        following = DiffRequest(
            page.from_version, page.to_version, order=request.order, limit=request.limit, cursor=page.next
        )
        page = backend.diff(log, following)
        told.append(page)
    return told


def changes(
    backend: Backend, low: int, high: int | None = None, order: Order = "command", log: str = LOG
) -> list[Change[bytes, bytes]]:
    """The whole diff."""
    told = pages(backend, DiffRequest(low, high, order=order), log)
    return [change for page in told for change in page.changes]


def state(backend: Backend, version: int | None = None, log: str = LOG) -> dict[bytes, Entry[bytes, bytes]]:
    """What the log held at a version, now if None."""
    return replayed({}, changes(backend, 0, version, log=log))


def replayed(
    before: Mapping[bytes, Entry[bytes, bytes]], diff: Sequence[Change[bytes, bytes]]
) -> dict[bytes, Entry[bytes, bytes]]:
    """``before`` after a diff, every change of which must fit what is there (S11)."""
    after = dict(before)
    for change in diff:
        entry = Entry(change.key, change.value, change.version)
        if isinstance(change, Removed):
            assert after.pop(change.key, None) == entry, "a diff removes an entry that is not there"
        else:
            assert isinstance(change, Added)
            assert change.key not in after, "a diff adds an entry where one is already"
            after[change.key] = entry
    return after
