"""A VFS under which SQLite works as ever, while every change to its files is recorded, and may be made to fail.

It stands on SQLite's own ``unix`` VFS. The record is a flat list of events in the order in which they happened:

* ``("create", name, inode)``, ``("delete", name)``, ``("dirsync",)``: what the folder holds;
* ``("write", inode, offset, data)``, ``("truncate", inode, size)``, ``("sync", inode)``: what a file holds;
* ``("badsync", inode)``: a sync that failed, after which nobody knows what of the file is on the disk;
* ``("allow", digests)``: put in by a test: from here on, these are the states a reader may find.

A name is the file's name without the database's (``""``, ``"-journal"``, ``"-wal"``); an inode is a number. As in
SQLite's ``unix`` VFS, the first sync of a journal or log that was opened to be created syncs the folder too.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import attrs

_CREATES_DIRSYNC = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
_OPERATIONS = {
    ("write", "EIO"): (apsw.IOError, apsw.SQLITE_IOERR_WRITE),
    ("write", "ENOSPC"): (apsw.FullError, apsw.SQLITE_FULL),
    ("sync", "EIO"): (apsw.IOError, apsw.SQLITE_IOERR_FSYNC),
    ("sync", "ENOSPC"): (apsw.IOError, apsw.SQLITE_IOERR_FSYNC),
    ("truncate", "EIO"): (apsw.IOError, apsw.SQLITE_IOERR_TRUNCATE),
    ("truncate", "ENOSPC"): (apsw.IOError, apsw.SQLITE_IOERR_TRUNCATE),
    ("open", "EIO"): (apsw.CantOpenError, apsw.SQLITE_CANTOPEN),
    ("open", "ENOSPC"): (apsw.CantOpenError, apsw.SQLITE_CANTOPEN),
}
"""What SQLite's ``unix`` VFS makes of an error number at each operation."""

OPERATIONS = ("write", "sync", "truncate", "open")


@attrs.define
class Fault:
    """The ``nth`` operation of one kind fails, or every one from it on; ``act`` is done instead where given."""

    operation: str
    nth: int
    error: str = "EIO"
    forever: bool = False
    act: Callable[[], None] | None = None
    seen: int = 0
    hits: int = 0

    def strikes(self, operation: str) -> bool:
        """Count an operation; whether it is to fail."""
        if operation != self.operation:
            return False
        self.seen += 1
        if self.seen == self.nth or (self.forever and self.seen > self.nth):
            self.hits += 1
            if self.act is not None:
                self.act()
                return False
            return True
        return False

    def exception(self) -> apsw.Error:
        """The error, as SQLite's own VFS would report it."""
        kind, code = _OPERATIONS[self.operation, self.error]
        error = kind(f"injected {self.error} at {self.operation} {self.seen}")
        error.extendedresult = code
        return error


class RecordingVFS(apsw.VFS):
    """Records what happens to the files of one database, ``path``, and fails where ``fault`` says so."""

    def __init__(self, path: str, events: list[tuple] | None = None) -> None:
        self.database = path
        self.events: list[tuple] = list(events or ())
        self.fault: Fault | None = None
        self.inodes: dict[str, int] = {}
        self._next = 1
        for event in self.events:
            if event[0] == "create":
                self.inodes[event[1]] = event[2]
                self._next = max(self._next, event[2] + 1)
            elif event[0] == "delete":
                self.inodes.pop(event[1], None)
        super().__init__("recording", "unix", makedefault=True)

    def failing(self, operation: str) -> bool:
        """Whether this operation is to fail now."""
        return self.fault is not None and self.fault.strikes(operation)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:
        if self.failing("open"):
            raise self.fault.exception()
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        assert path is not None and path.startswith(self.database), path
        short = path.removeprefix(self.database)
        known = Path(path).exists() and short in self.inodes
        opened = RecordedFile(self, name, flags)
        if not known:
            self.inodes[short] = self._next
            self._next += 1
            self.events.append(("create", short, self.inodes[short]))
        opened.inode = self.inodes[short]
        return opened

    def xDelete(self, name: str, syncdir: bool) -> None:
        super().xDelete(name, syncdir)
        short = name.removeprefix(self.database)
        self.inodes.pop(short, None)
        self.events.append(("delete", short))
        if syncdir:
            self.events.append(("dirsync",))


class RecordedFile(apsw.VFSFile):
    """One open file of a ``RecordingVFS``."""

    inode: int

    def __init__(self, vfs: RecordingVFS, name: apsw.URIFilename | str | None, flags: list[int]) -> None:
        self._vfs = vfs
        self._dirsync = bool(flags[0] & _CREATES_DIRSYNC and flags[0] & apsw.SQLITE_OPEN_CREATE)
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._vfs.failing("write"):
            # What failed may have been done in part.
            part = data[: len(data) // 2]
            super().xWrite(part, offset)
            self._vfs.events.append(("write", self.inode, offset, part))
            raise self._vfs.fault.exception()
        super().xWrite(data, offset)
        self._vfs.events.append(("write", self.inode, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        if self._vfs.failing("truncate"):
            raise self._vfs.fault.exception()
        super().xTruncate(size)
        self._vfs.events.append(("truncate", self.inode, size))

    def xSync(self, flags: int) -> None:
        if self._vfs.failing("sync"):
            self._vfs.events.append(("badsync", self.inode))
            raise self._vfs.fault.exception()
        super().xSync(flags)
        self._vfs.events.append(("sync", self.inode))
        if self._dirsync:
            self._dirsync = False
            self._vfs.events.append(("dirsync",))


@contextlib.contextmanager
def recording(path: str, events: list[tuple] | None = None) -> Iterator[RecordingVFS]:
    """Within this context, whatever opens the database at ``path`` is recorded, after ``events`` if given.

    Python errors that SQLite swallows on purpose (a checkpoint that may as well come later) are not reported.
    """
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    vfs = RecordingVFS(path, events)
    try:
        yield vfs
    finally:
        vfs.unregister()
        apsw.set_default_vfs("unix")
        sys.unraisablehook = before
