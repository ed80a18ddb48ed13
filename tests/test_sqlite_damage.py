"""The SQLite backend's file when it goes away, breaks, or is closed: errors of ours, and nothing written."""

import os
import random
import shutil

import pytest
from sqlitetools import keys, put

from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import Transaction, Upsert
from indelible.errors import (
    Closed,
    DamagedStore,
    IndelibleError,
    NonexistentLog,
    NotExecuted,
)
from indelible.pages import DiffRequest


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


def every_call(backend):
    """Each call of a backend, by name."""
    return {
        "create": lambda: backend.create("b"),
        "update": lambda: put(backend, b"new"),
        "diff": lambda: backend.diff("a", DiffRequest()),
        "wait": lambda: backend.diff("a", DiffRequest(1, wait_seconds=60)),
        "describe": lambda: backend.describe("a"),
        "logs": lambda: backend.logs(),
        "versions": lambda: backend.versions("a"),
        "history": lambda: backend.history("a", b"k"),
        "trim": lambda: backend.trim("a", 1),
    }


CALLS = tuple(every_call(None))


# Files that go away or break


def deleted(path):
    path.unlink()


def renamed(path):
    path.rename(path.with_name("elsewhere"))


def replaced(path):
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("happens", [deleted, renamed, replaced])
def test_a_file_that_goes_away_is_noticed(backend, path, happens, call):
    """S21: once the file was deleted, moved or replaced, every call raises ``DamagedStore`` and writes nothing."""
    if call != "wait":
        every_call(backend)[call]()
    happens(path)
    left = path.read_bytes() if path.exists() else None
    with pytest.raises(DamagedStore):
        every_call(backend)[call]()
    assert (path.read_bytes() if path.exists() else None) == left


def test_a_file_that_comes_back_is_used_again(backend, path):
    """S21: with the file back in its place, all goes on."""
    renamed(path)
    with pytest.raises(DamagedStore):
        put(backend, b"new")
    path.with_name("elsewhere").rename(path)
    put(backend, b"newer")
    assert keys(backend) == [b"k", b"newer"]


@pytest.mark.parametrize("call", [call for call in CALLS if call not in ("wait", "create", "logs")])
def test_a_file_that_was_overwritten_is_told_as_ours(path, call):
    """Broken pages come out as ``DamagedStore`` or another error of ours, never as the driver's."""
    backend = SQLiteBackend(path)
    backend.create("a")
    for number in range(50):
        put(backend, b"%d" % number, bytes(3000))
    backend.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(2).randbytes(size - 4096))
    try:
        backend = SQLiteBackend(path)
    except DamagedStore:
        return
    try:
        with pytest.raises(DamagedStore):
            every_call(backend)[call]()
    finally:
        backend.close()


def test_a_truncated_file_is_told_as_ours(path):
    """A file that lost its tail raises ``DamagedStore`` where it is read."""
    backend = SQLiteBackend(path)
    backend.create("a")
    for number in range(50):
        put(backend, b"%d" % number, bytes(3000))
    backend.close()
    os.truncate(path, 4 * 4096)
    with pytest.raises(DamagedStore):
        backend = SQLiteBackend(path)
        try:
            keys(backend)
        finally:
            backend.close()


# Closing


@pytest.mark.parametrize("call", CALLS)
def test_use_after_close_raises_closed(backend, call):
    """After ``close`` every call raises ``Closed``, and a second close does nothing."""
    if call != "wait":
        every_call(backend)[call]()
    backend.close()
    backend.close()
    with pytest.raises(Closed):
        every_call(backend)[call]()
    assert backend._file._writer is None
    assert backend._file._idle == []


def test_a_close_leaves_one_file(backend, path):
    """Closed by its last user, the file is whole without its log beside it."""
    backend.close()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_open_file_can_be_opened_again(backend, path):
    """S15, S21: a second backend on the same file, in the same process, reads and writes beside the first."""
    other = SQLiteBackend(path)
    put(other, b"l")
    assert keys(backend) == keys(other) == [b"k", b"l"]
    other.close()
    put(backend, b"m")
    assert keys(backend) == [b"k", b"l", b"m"]


def test_errors_carry_nothing_stored(backend):
    """Errors of the store name the file and the log, and neither keys nor values."""
    with pytest.raises(NonexistentLog) as caught:
        backend.update("missing", Transaction([Upsert(b"a-secret-key", b"a-secret-value")]))
    assert "secret" not in f"{caught.value} {caught.value!r}"
    assert isinstance(caught.value, IndelibleError)
    assert not isinstance(caught.value, NotExecuted)
