"""What the tests of the SQLite backend share: storage that fails at a chosen write, and other processes."""

import contextlib
import ctypes
import errno
import subprocess
import sys
import threading
import time

import apsw

from indelible.commands import Insert, Transaction
from indelible.pages import DiffRequest

PATIENCE = 60.0
"""When what should have happened is given up."""

LOCKED_OUT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    db.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError:
    print("locked")
"""
"""What another process runs to say whether the file is locked for writing."""

_WRITE = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_longlong, use_errno=True
)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.pwrite64.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_longlong]
_libc.pwrite64.restype = ctypes.c_ssize_t


class Storage:
    """Counts SQLite's own writes, and lets those from ``fail_at`` on fail, ``fail_count`` of them."""

    def __init__(self):
        self.writes = 0
        self.fail_at = None
        self.fail_count = 1
        self.error = errno.EIO

    def arm(self, at, count=1, error=errno.EIO):
        self.writes, self.fail_at, self.fail_count, self.error = 0, at, count, error

    def disarm(self):
        self.fail_at = None

    def write(self, fd, data, size, offset):
        self.writes += 1
        if self.fail_at is not None and self.fail_at <= self.writes < self.fail_at + self.fail_count:
            ctypes.set_errno(self.error)
            return -1
        return _libc.pwrite64(fd, data, size, offset)


@contextlib.contextmanager
def failing_storage():
    """Within this context, SQLite's writes go through a ``Storage``."""
    storage = Storage()
    callback = _WRITE(storage.write)
    vfs = apsw.VFS("indelible-failing", "unix")
    assert vfs.xSetSystemCall("pwrite64", ctypes.cast(callback, ctypes.c_void_p).value)
    try:
        yield storage
    finally:
        vfs.xSetSystemCall("pwrite64", 0)
        vfs.unregister()
    assert storage.writes > 0, "SQLite does not write through what was put in its place"


def put(backend, key, value=b"v", log="a"):
    """Insert one entry."""
    return backend.update(log, Transaction([Insert(key, value)]))


def keys(backend, log="a"):
    """What the log holds."""
    return [change.key for change in backend.diff(log, DiffRequest()).changes]


def python(code, *args, **options):
    """A Python process that runs ``code`` with ``args``."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def ends(process, code=0):
    """What a process printed, once it ended as it should."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    return out


def until(condition):
    """Wait for something that comes true soon."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


class InBackground(threading.Thread):
    """A call in a thread of its own; ``result`` is its answer, or raises its error."""

    def __init__(self, ask):
        super().__init__(daemon=True)
        self.ask, self.answer, self.error = ask, None, None
        self.start()

    def run(self):
        try:
            self.answer = self.ask()
        except BaseException as error:
            self.error = error

    def result(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "it did not come back"
        if self.error:
            raise self.error
        return self.answer
