"""The SQLite backend's file: how it is set up, which files and places it takes, and which it refuses untouched."""

import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time

import pytest
from sqlitetools import LOCKED_OUT, PATIENCE, InBackground, ends, keys, put, python

from indelible.backends.sqlite import SQLiteBackend, location, schema
from indelible.backends.sqlite.file import _SETTINGS
from indelible.errors import (
    DamagedStore,
    InvalidRequest,
    UnsuitableStore,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs.db"


@pytest.fixture
def backend(path):
    backend = SQLiteBackend(path)
    backend.create("a")
    put(backend, b"k")
    yield backend
    backend.close()


# Settings


def test_every_connection_keeps_the_promise(backend):
    """S21: write-ahead log and synchronous=FULL hold on the writing and on every reading connection."""
    backend.describe("a")
    connections = [backend._file._writer, *backend._file._idle, backend._file.connect()]
    assert len(connections) >= 3
    for db in connections:
        assert (db.pragma("journal_mode"), db.pragma("synchronous")) == ("wal", 2)
        assert db.pragma("auto_vacuum") == 2
    connections[-1].close()


@pytest.mark.parametrize("setting", [{"journal_mode": "DELETE"}, {"synchronous": "NORMAL"}])
def test_settings_that_do_not_hold_are_noticed(path, monkeypatch, setting):
    """S21: a backend whose file does not take the settings refuses to start; with them, it starts."""
    for name, value in setting.items():
        monkeypatch.setitem(_SETTINGS, name, value)
    with pytest.raises(UnsuitableStore, match=next(iter(setting))):
        SQLiteBackend(path)
    monkeypatch.undo()
    SQLiteBackend(path).close()


# Files that are not ours


def other_program(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
        db.execute("INSERT INTO theirs VALUES (1)")
    db.close()


def other_program_marked(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA application_id = 7")
        db.execute("CREATE TABLE theirs (a)")
    db.close()


def other_program_crashed(path):
    """A write-ahead log that its program left behind and will want back."""
    code = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('PRAGMA journal_mode=WAL');"
        "db.execute('CREATE TABLE theirs (a)'); db.commit(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.with_name(path.name + "-wal").stat().st_size > 0


def ours(path):
    backend = SQLiteBackend(path)
    backend.create("a")
    put(backend, b"k")
    backend.close()


def newer(path):
    ours(path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    db.close()


def truncated_header(path):
    ours(path)
    path.write_bytes(path.read_bytes()[:50])


def bytes_file(content):
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        bytes_file(random.Random(1).randbytes(8192)),
        bytes_file(b"\0"),
        bytes_file(bytes(4096)),
        bytes_file(b"hello\n"),
        other_program,
        other_program_marked,
        other_program_crashed,
        newer,
        truncated_header,
    ],
    ids=["random", "one zero", "zeros", "text", "database", "marked", "left behind", "newer", "truncated"],
)
def test_a_foreign_file_is_refused_and_left_as_it_was(path, make):
    """A file that is not ours, newer than this release, or cut short is refused and stays as it was, byte for byte."""
    make(path)
    log = path.with_name(path.name + "-wal")
    before = path.read_bytes(), log.read_bytes() if log.exists() else None
    with pytest.raises((UnsuitableStore, DamagedStore)):
        SQLiteBackend(path)
    assert (path.read_bytes(), log.read_bytes() if log.exists() else None) == before


@pytest.mark.parametrize("make", [lambda path: None, bytes_file(b""), ours], ids=["none", "empty", "ours"])
def test_our_own_and_empty_files_are_taken(path, make):
    """The control of the above: no file, an empty one and one of ours are opened and can be written."""
    make(path)
    backend = SQLiteBackend(path)
    backend.create("a")
    put(backend, b"new")
    assert b"new" in keys(backend)
    backend.close()


def test_a_file_of_ours_says_so(backend, path):
    """The file carries our application id and its schema's number."""
    backend.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA application_id").fetchone()[0] == schema.APPLICATION_ID
        assert db.execute("PRAGMA user_version").fetchone()[0] == schema.SCHEMA_VERSION
    db.close()


# Who may come to it


def modes(folder):
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in folder.iterdir()}


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_a_new_file_is_its_owners_alone(path, umask):
    """A new file has mode 0600 whatever the umask, and so have those beside it, which hold the same."""
    before = os.umask(umask)
    try:
        backend = SQLiteBackend(path)
        backend.create("a")
        put(backend, b"k")
        assert modes(path.parent) == dict.fromkeys(["logs.db", "logs.db-wal", "logs.db-shm"], 0o600)
        backend.close()
    finally:
        os.umask(before)
    assert modes(path.parent) == {"logs.db": 0o600}


@pytest.mark.parametrize("make", [bytes_file(b""), ours], ids=["empty", "ours"])
def test_a_file_that_is_there_keeps_its_mode(path, make):
    """A file that was made for a group is still the group's, with those beside it."""
    make(path)
    path.chmod(0o660)
    backend = SQLiteBackend(path)
    backend.create("a")
    assert modes(path.parent) == dict.fromkeys(["logs.db", "logs.db-wal", "logs.db-shm"], 0o660)
    backend.close()


def test_threads_that_make_one_file_keep_their_locks(path, monkeypatch):
    """Who comes second while a file is being made does not lose the locks on it when the first lets go of it."""
    close, made, closed = os.close, threading.Event(), threading.Event()

    def slow(descriptor):
        new = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if new:
            made.set()
            time.sleep(0.3)
        close(descriptor)
        if new:
            closed.set()

    monkeypatch.setattr(os, "close", slow)
    first = InBackground(lambda: SQLiteBackend(path, busy_seconds=PATIENCE))
    assert made.wait(PATIENCE)
    second = SQLiteBackend(path, busy_seconds=PATIENCE)
    with second._file.writing():
        assert closed.wait(PATIENCE)
        assert ends(python(LOCKED_OUT, path)) == "locked\n"
    first.result().close()
    second.close()
    assert ends(python(LOCKED_OUT, path)) == ""


# Places


@pytest.mark.parametrize(
    "place",
    ["missing/logs.db", ".", "a\0b", "a" * 300, "\udcff.db", "loop/logs.db"],
    ids=["no folder", "a folder", "a zero", "too long", "not text", "a loop"],
)
def test_a_place_that_is_none_is_refused(tmp_path, place):
    """A path at which no file can stand is an ``InvalidRequest``, and nothing is made there."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InvalidRequest):
        SQLiteBackend(tmp_path / place)
    assert [entry.name for entry in tmp_path.iterdir()] == ["loop"]


def mounts(tmp_path, *lines):
    file = tmp_path / "mountinfo"
    file.write_text("".join(f"36 35 98:0 / {point} rw,noatime shared:1 - {kind} source rw\n" for point, kind in lines))
    return str(file)


def test_the_file_system_is_that_of_the_innermost_mount(tmp_path):
    """The last and longest mount point above the file tells its file system, escapes and all."""
    inner = tmp_path / "in ner"
    inner.mkdir()
    escaped = str(inner).replace(" ", "\\040")
    table = mounts(tmp_path, ("/", "ext4"), (escaped, "xfs"), (escaped, "nfs4"), (f"{tmp_path}/in", "cifs"))
    assert location.file_system(inner / "x.db", table) == "nfs4"
    assert location.file_system(tmp_path / "x.db", table) == "ext4"
    assert location.file_system(tmp_path / "x.db", str(tmp_path / "missing")) is None


@pytest.mark.parametrize(("kind", "taken"), [("nfs4", False), ("cifs", False), ("fuse.sshfs", False), ("ext4", True)])
def test_network_file_systems_are_refused(tmp_path, monkeypatch, kind, taken):
    """S21: where locks do not hold between machines the backend refuses to start, and elsewhere it starts."""
    real = location.file_system
    monkeypatch.setattr(location, "file_system", lambda path: real(path, mounts(tmp_path, ("/", kind))))
    if taken:
        SQLiteBackend(tmp_path / "logs.db").close()
        return
    with pytest.raises(UnsuitableStore, match=kind):
        SQLiteBackend(tmp_path / "logs.db")
    assert not (tmp_path / "logs.db").exists()


NOBODY = """
import os, sys
from indelible import InvalidRequest
from indelible.backends.sqlite import SQLiteBackend
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    SQLiteBackend(sys.argv[1]).close()
except InvalidRequest as error:
    print(type(error).__name__)
else:
    print("opened")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("folder", "file", "told"),
    [
        (0o777, 0o666, "opened"),
        (0o755, 0o666, "UnsuitableStore"),
        (0o777, 0o644, "UnsuitableStore"),
        (0o777, 0o600, "UnsuitableStore"),
        (0o700, 0o666, "InvalidRequest"),
    ],
    ids=["all may write", "folder read-only", "file read-only", "file unreadable", "folder closed"],
)
def test_permissions_that_do_not_suffice_are_told(folder, file, told):
    """S21: a file or folder that its user may not write is refused at once, with an error of ours."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(dir="/tmp") as outer:
        os.chmod(outer, 0o755)
        inner = Path(outer, "inner")
        inner.mkdir()
        ours(inner / "logs.db")
        os.chmod(inner / "logs.db", file)
        os.chmod(inner, folder)
        before = (inner / "logs.db").read_bytes()
        ran = subprocess.run([sys.executable, "-c", NOBODY, str(inner / "logs.db")], capture_output=True, text=True)
        assert ran.stdout.strip() == told, ran.stderr
        if told != "opened":
            assert (inner / "logs.db").read_bytes() == before
