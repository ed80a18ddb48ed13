"""The database file: opening it, refusing what cannot be trusted, and its connections."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from indelible import files, seams
from indelible.backends.sqlite import location, schema
from indelible.backends.sqlite.failures import detail, translated
from indelible.errors import Closed, DamagedStore, UnsuitableStore


class CommitFailed(Exception):
    """The storage failed while committing: whether it took effect is to be found out (S22)."""


class DatabaseFile:
    """One database file and this process's connections to it: one that writes, any number that read.

    Every commit is on the disk before it is acknowledged or seen (S21): write-ahead log, ``synchronous=FULL``.
    Raises ``UnsuitableStore`` for a file that is not ours, has a newer schema, or cannot keep that promise.
    """

    def __init__(self, path: str, busy_seconds: float) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._pid = os.getpid()
        self._closed = False
        self._writing = threading.RLock()
        self._pooling = threading.Lock()
        self._idle: list[apsw.Connection] = []
        location.refuse(Path(path))
        _make_private(Path(path))
        with translated(path):
            self._writer: apsw.Connection | None = self._prepare()
        self._identity = _identity(path)

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A connection within one read transaction: all that is read is of one moment."""
        self.check()
        with translated(self.path):
            db = self._borrow()
            try:
                db.execute("BEGIN")
                yield db
            finally:
                self._give_back(db)

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """The writing connection within one transaction, committed at the end and on no error.

        Raises ``CommitFailed`` if the storage failed at the commit itself; any other error means nothing was written.
        """
        self.check()
        with self._writing:
            self.check()
            with translated(self.path):
                db = self._writer = self._writer or self._connect()
                db.execute("BEGIN IMMEDIATE")
            try:
                # Once the lock is held, whoever replaces the file is too late to be noticed only after the commit.
                self.check()
                with translated(self.path):
                    yield db
            except BaseException:
                self._roll_back(db)
                raise
            self._commit(db)

    def _commit(self, db: apsw.Connection) -> None:
        seams.failpoint("sqlite.commit.before")
        try:
            db.execute("COMMIT")
        except apsw.Error as error:
            self._roll_back(db)
            raise CommitFailed(detail(error)) from error
        seams.failpoint("sqlite.commit.after")

    def _roll_back(self, db: apsw.Connection) -> None:
        try:
            if not db.get_autocommit():
                db.execute("ROLLBACK")
        except apsw.Error:
            # A connection that cannot even roll back is of no more use; the next writer opens another.
            self._writer = None
            _close(db)

    def settle(self) -> None:
        """Make certain what the file holds after a failed commit (S22): what is there stays, and no more comes.

        What failed may stand in the log of the file, unknown to readers and perhaps not on the disk. A fence is
        committed over it, from the same connection: one that was opened anew could take it, by recovery, for
        committed. Raises an error of ours if that cannot be done now.
        """
        with self._writing:
            self.check()
            seams.failpoint("sqlite.settle")
            with translated(self.path):
                if self._writer is None:
                    self._writer = self._connect()
                    _write_again(self._writer, self.path)
                _raise_fence(self._writer)

    def reclaim(self) -> None:
        """Give the pages that nothing uses back to the file system."""
        with self._writing, translated(self.path):
            self.check()
            db = self._writer = self._writer or self._connect()
            # It frees a page for each row that is asked of it.
            for _ in db.execute("PRAGMA incremental_vacuum"):
                pass
            seams.failpoint("sqlite.reclaim.checkpoint")
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def connect(self) -> apsw.Connection:
        """A connection of the caller's own, to be closed by it."""
        self.check()
        with translated(self.path):
            return self._connect()

    def check(self) -> None:
        """Raise ``Closed`` after close or fork, ``DamagedStore`` if the file is not the one that was opened."""
        if os.getpid() != self._pid:
            raise Closed(f"{self.path} was opened in the process this one was forked from; open it again in this one")
        if self._closed:
            raise Closed(f"{self.path} was closed; open it again to go on")
        if _identity(self.path) != self._identity:
            raise DamagedStore(
                f"{self.path} was deleted, moved or replaced while in use; nothing was written; "
                "put the file back, or open it anew"
            )

    def close(self) -> None:
        """Close every connection; a second call does nothing, and neither does one in a forked child."""
        if self._closed or os.getpid() != self._pid:
            return
        with self._writing:
            self._closed = True
            seams.failpoint("sqlite.close")
            self._drop_connections()

    def _drop_connections(self) -> None:
        with self._pooling:
            idle, self._idle = self._idle, []
        writer, self._writer = self._writer, None
        for db in (*idle, *([writer] if writer else [])):
            _close(db)

    def _borrow(self) -> apsw.Connection:
        with self._pooling:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give_back(self, db: apsw.Connection) -> None:
        try:
            if not db.get_autocommit():
                db.execute("COMMIT")
        except apsw.Error:
            _close(db)
            return
        with self._pooling:
            if not self._closed:
                self._idle.append(db)
                return
        _close(db)

    def _connect(self) -> apsw.Connection:
        """A connection that keeps the promise, or ``UnsuitableStore``."""
        # A file that is not there is not made here: it would get the mode that the umask leaves.
        db = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            db.set_busy_timeout(int(self._busy_seconds * 1000))
            self._configure_in_turn(db)
        except BaseException:
            _close(db)
            raise
        return db

    def _configure_in_turn(self, db: apsw.Connection) -> None:
        # Giving a new file its write-ahead log takes the file alone, and SQLite does not wait for that by itself.
        deadline = seams.monotonic() + self._busy_seconds
        while True:
            try:
                return self._configure(db)
            except apsw.BusyError:
                if seams.monotonic() >= deadline:
                    raise
            time.sleep(0.01)

    def _configure(self, db: apsw.Connection) -> None:
        if not db.pragma("page_count"):
            # Before the first page, so that trimming can give pages back. Later it would be one more write, for which
            # every reader had to wait.
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for setting, value in _SETTINGS.items():
            db.execute(f"PRAGMA {setting} = {value}")
        for setting, value in _PROMISED.items():
            if (actual := db.pragma(setting)) != value:
                raise UnsuitableStore(
                    f"{self.path} cannot keep what it acknowledges: {setting} is {actual} and must be {value}; "
                    "keep the file on a local disk"
                )

    def _prepare(self) -> apsw.Connection:
        """The first connection: to a file that is ours already, or to a new one."""
        seams.failpoint("sqlite.open")
        path = Path(self.path)
        if path.exists() and path.stat().st_size > 0:
            self._refuse_foreign()
        db = self._connect()
        try:
            _write_again(db, self.path)
            migrate(db)
            # That there is a write-ahead log stands in the first page, which a failed sync may have kept off the disk.
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            seams.failpoint("sqlite.open.fence")
            # A commit that its process did not live to acknowledge may be in the log of the file and not on the disk.
            # What is read from here on must not vanish (S21), and the sync of this commit covers what came before it.
            _raise_fence(db)
        except BaseException:
            _close(db)
            raise
        return db

    def _refuse_foreign(self) -> None:
        """Raise unless the file is ours and not newer; looks only, and changes nothing."""
        # SQLite itself would take a file of one byte for an empty one. The file must not be opened past SQLite: closing
        # it again would let go of every lock that this process holds on it.
        if Path(self.path).stat().st_size < _SMALLEST:
            raise UnsuitableStore(f"{self.path} is not a database of ours; name another file")
        db = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            # A write-ahead log that is there stays as it is: it may be another program's.
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(Path(f"{self.path}-wal").exists()))
            db.set_busy_timeout(int(self._busy_seconds * 1000))
            if db.readonly("main"):
                raise UnsuitableStore(f"{self.path} cannot be written; check the permissions of file and folder")
            # Of one moment: another process may be making the file ours right now.
            db.execute("BEGIN")
            application, version = db.pragma("application_id"), db.pragma("user_version")
            empty = not next(iter(db.execute("SELECT count(*) FROM sqlite_schema")))[0]
        finally:
            _close(db)
        if application != schema.APPLICATION_ID and not (empty and application == 0 and version == 0):
            raise UnsuitableStore(f"{self.path} is another program's database; name another file")
        if version > schema.SCHEMA_VERSION:
            raise UnsuitableStore(
                f"{self.path} has schema {version}, and this release knows up to {schema.SCHEMA_VERSION}; "
                "install a newer release of indelible"
            )


_SMALLEST: Final = 512
"""Bytes of a database that has anything in it: one page of the least size."""

_CHUNK: Final = 65536
"""Bytes of the log that are written again at a time; SQLite's ``unix`` VFS takes no more than twice as many."""

_SETTINGS: Final = {
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "fullfsync": "ON",  # where fsync alone does not reach the platter
    "checkpoint_fullfsync": "ON",
    "wal_autocheckpoint": 4000,  # pages: keys scatter over their index, and a page is copied back once for many commits
    "journal_size_limit": 64 * 1024 * 1024,
    "cache_size": -16 * 1024,  # KiB, a connection
    "trusted_schema": "OFF",
    "cell_size_check": "ON",
    "temp_store": "MEMORY",
}

_PROMISED: Final[dict[str, str | int]] = {"journal_mode": "wal", "synchronous": 2}
"""What SQLite must say of itself once it is configured, or what it acknowledges might be lost (S21)."""


_making: Final = threading.Lock()


def _make_private(path: Path) -> None:
    """Make a file that is not there, for its owner alone (mode 0600); SQLite gives its mode to those beside it.

    One that is there stays as it is. Where none can be made, SQLite says so when it is to open it.
    """
    # Closing a file lets go of every lock that this process holds on it: while it is open here, nobody else takes any.
    with _making, suppress(OSError):
        os.close(files.create(path))


def migrate(db: apsw.Connection) -> None:
    """Take the steps from the file's schema to ours, each whole or not at all."""
    if db.pragma("user_version") == schema.SCHEMA_VERSION:
        return
    for number, step in enumerate(schema.MIGRATIONS, 1):
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been quicker.
            if db.pragma("user_version") < number:
                db.execute(step)
                seams.failpoint("sqlite.migrate")
                db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = {number}")
            db.execute("COMMIT")
        finally:
            if not db.get_autocommit():
                db.execute("ROLLBACK")


def _write_again(db: apsw.Connection, path: str) -> None:
    """Write the log of the file over itself and sync it, so that what recovery found in it is on the disk.

    Where a sync failed, an operating system may take the pages for clean although they never reached the disk: they
    are read as if nothing were amiss, no later sync writes them, and after a power cut the log ends before them.
    """
    # While this lock is held, nobody adds to the log, begins it anew or shortens it.
    db.execute("BEGIN IMMEDIATE")
    try:
        log = apsw.VFSFile("", f"{path}-wal", [apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_READWRITE, 0])
        try:
            size = log.xFileSize()
            for offset in range(0, size, _CHUNK):
                log.xWrite(log.xRead(min(_CHUNK, size - offset), offset), offset)
            if size:
                log.xSync(apsw.SQLITE_SYNC_FULL)
        finally:
            log.xClose()
    finally:
        db.execute("ROLLBACK")


def _raise_fence(db: apsw.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(schema.RAISE_FENCE)
        db.execute("COMMIT")
    finally:
        if not db.get_autocommit():
            db.execute("ROLLBACK")


def _close(db: apsw.Connection) -> None:
    try:
        db.close()
    except apsw.Error:
        # The data is safe in the log of the file; the next one to open it carries on from there.
        db.close(force=True)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time, and it is asked in every operation
    except OSError:
        return None
    return found.st_dev, found.st_ino
