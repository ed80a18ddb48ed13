"""Stores of a given size, built once in a run: entries, dead entries, versions.

A million of anything takes the backend minutes, so the rows are inserted by themselves, through the statements of its
schema, into a file that the backend made. ``check`` builds small ones both ways and compares every row.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import attrs

import indelible
from benchmarks import samples
from indelible import Transaction, Upsert, receipts, seams
from indelible.backends import SQLiteBackend
from indelible.backends.sqlite import schema

NAME: Final = "log"
LAST: Final = 10
"""Changes in the newest version."""

_AT: Final = 1_700_000_000
_END: Final = "INSERT INTO ended VALUES (?, ?, ?, ?, ?, ?, ?)"
_BATCH: Final = 50_000

Commands = list[Upsert[bytes, bytes]]


@attrs.frozen
class Story:
    """What happened to a log, version by version; ``size`` is how many of its ``kind`` there are at the end.

    ``entries``: that many live ones, and none dead. ``dead``: ``live`` entries above that many which were replaced.
    ``versions``: that many versions, of which the first adds ``live`` entries and each other replaces one.
    """

    kind: str
    size: int
    live: int = 0

    def __iter__(self) -> Iterator[Commands]:
        upserts = (Upsert(*samples.encoded(number, turn)) for turn in itertools.count() for number in self._numbers())
        if self.kind == "versions":
            yield list(itertools.islice(upserts, self.live))
            for _ in range(self.size - 1):
                yield [next(upserts)]
            return
        left, step = self.size + self.live, self.live or 10_000
        while left > LAST:
            count = min(step, left - LAST)
            yield list(itertools.islice(upserts, count))
            left -= count
        yield list(itertools.islice(upserts, left))

    def _numbers(self) -> Iterable[int]:
        return range(self.live) if self.live else itertools.count()


@attrs.define
class Store:
    """A file with one unsealed log in it, open for use."""

    path: Path
    head: int

    client: indelible.Client = attrs.field(init=False)
    log: indelible.Log[str, Any] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = indelible.connect(f"sqlite:///{self.path}", master_key=None)
        self.log = self.client.log(NAME)


@attrs.define
class Stores:
    """The stores of a run, in a folder of their own; each is built when first asked for."""

    folder: Path
    _built: dict[Story, Store] = attrs.field(factory=dict)

    def get(self, story: Story) -> Store:
        """The store with this story."""
        if story not in self._built:
            path = self.folder / f"{story.kind}-{story.size}-{story.live}.db"
            self._built[story] = Store(path, insert(path, story))
        return self._built[story]

    def close(self) -> None:
        """Close them all."""
        for store in self._built.values():
            store.client.close()


def _id(version: int) -> bytes:
    return hashlib.blake2b(version.to_bytes(8, "little"), digest_size=16).digest()


def insert(path: Path, story: Story) -> int:
    """Make a store row by row; gives the head."""
    backend = SQLiteBackend(path)
    backend.create(NAME)
    backend.close()
    db = apsw.Connection(str(path))
    # Only while building: the file is whole once it is closed.
    for setting, value in (("synchronous", "OFF"), ("cache_size", -1_000_000), ("wal_autocheckpoint", 0)):
        db.pragma(setting, value)
    db.execute("BEGIN")
    version = 0
    live: dict[bytes, tuple[int, int, bytes]] = {}
    rows: dict[str, list[tuple[Any, ...]]] = {statement: [] for statement in _STATEMENTS}
    for version, commands in enumerate(story, 1):
        for index, command in enumerate(commands):
            if (old := live.get(command.key)) is not None:
                rows[_END].append((1, version, index, old[0], old[1], command.key, old[2]))
            live[command.key] = (version, index, command.value)
        fingerprint = receipts.fingerprint(Transaction(commands, id=_id(version)))
        rows[schema.INSERT_VERSION].append((1, version, None, _id(version), _AT * 1_000_000, len(commands)))
        rows[schema.INSERT_RECEIPT].append((1, _id(version), fingerprint, version, True, None))
        if len(rows[_END]) + len(rows[schema.INSERT_VERSION]) > _BATCH:
            _flush(db, rows)
    places = sorted((version, index, key, value) for key, (version, index, value) in live.items())
    rows[schema.INSERT_LIVE] = [(1, *place) for place in places]
    _flush(db, rows)
    db.execute(schema.SET_HEAD, (version, len(live), 1))
    db.execute("COMMIT")
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    db.close()
    return version


_STATEMENTS = (_END, schema.INSERT_VERSION, schema.INSERT_RECEIPT, schema.INSERT_LIVE)


def _flush(db: apsw.Connection, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    for statement, waiting in rows.items():
        db.executemany(statement, waiting)
        waiting.clear()


def commit(path: Path, story: Story) -> int:
    """Make the same store through the backend; gives the head."""
    clock, seams.clock = seams.clock, lambda: float(_AT)
    backend = SQLiteBackend(path)
    try:
        backend.create(NAME)
        for version, commands in enumerate(story, 1):
            backend.update(NAME, Transaction(commands, id=_id(version)))
        return version
    finally:
        seams.clock = clock
        backend.close()


def rows_of(path: Path) -> dict[str, list[Any]]:
    """Every row of every table but the fence, in order."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    tables = ("logs", "live", "ended", "versions", "receipts")
    found = {table: sorted(db.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}
    db.close()
    return found


def check(folder: Path) -> None:
    """Raise unless what is inserted here is, row by row, what the backend makes of the same story."""
    for story in (Story("entries", 25_000), Story("dead", 250, 40), Story("versions", 60, 25)):
        inserted, committed = (folder / f"check-{way.__name__}-{story.kind}.db" for way in (insert, commit))
        heads = insert(inserted, story), commit(committed, story)
        if heads[0] != heads[1] or rows_of(inserted) != rows_of(committed):
            raise AssertionError(f"a store of {story} differs from the one that the backend makes")
        if story.kind == "dead" and len(rows_of(inserted)["ended"]) != story.size:
            raise AssertionError(f"a store of {story} has not that many dead entries")


def check_samples() -> None:
    """Raise unless the encoded samples are what the codecs make of the plain ones."""
    for number, revision in ((0, 0), (7, 3), (123_456, 99)):
        plain = samples.key(number), samples.value(number, revision)
        made = indelible.codecs.STRING.encode(plain[0]), indelible.codecs.JSON.encode(plain[1])
        if made != samples.encoded(number, revision):
            raise AssertionError("an encoded sample differs from what the codecs make of it")
