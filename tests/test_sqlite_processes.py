"""The SQLite backend between processes: writing at once, being killed, locks and forks."""

import os
import signal
import sqlite3

import apsw
import pytest
from sqlitetools import PATIENCE, ends, keys, put, python

from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import Insert, Transaction
from indelible.errors import Closed, Overloaded
from indelible.pages import DiffRequest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs.db"


@pytest.fixture
def backend(path):
    backend = SQLiteBackend(path)
    backend.create("a")
    yield backend
    backend.close()


# Other processes

COMMITS = """
import sys
from indelible import Insert, Transaction
from indelible.backends.sqlite import SQLiteBackend
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
backend = SQLiteBackend(path, busy_seconds=60)
backend.create("a")
for turn in range(count):
    key = f"{name}/{turn}"
    print(backend.update("a", Transaction([Insert(key.encode(), b"v")])).version, key, flush=True)
backend.close()
"""


def test_many_processes_write_one_new_file(path):
    """S5, S15, S21: processes that make one file together and write at once lose nothing and share no version."""
    writers = [python(COMMITS, path, name, 25) for name in range(4)]
    told = [line.split() for writer in writers for line in ends(writer).splitlines()]
    assert sorted(int(version) for version, _ in told) == list(range(1, 101))
    backend = SQLiteBackend(path)
    found = {change.key.decode(): change.version for change in backend.diff("a", DiffRequest()).changes}
    assert found == {key: int(version) for version, key in told}
    assert [info.version for info in backend.versions("a")] == list(range(1, 101))
    backend.close()


OPENS = """
import sys
from indelible.backends.sqlite import SQLiteBackend
print("ready", flush=True)
for path in sys.stdin.read().split():
    SQLiteBackend(path, busy_seconds=60).close()
"""


def test_a_new_file_can_be_made_by_several_at_once(tmp_path):
    """S1, S21: whoever comes second to a new file finds it whole; nobody fails."""
    paths = [tmp_path / f"{number}.db" for number in range(10)]
    makers = [python(OPENS) for _ in range(4)]
    for maker in makers:
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        maker.stdin.write("\n".join(map(str, paths)))
        maker.stdin.close()
    for maker in makers:
        assert maker.wait(PATIENCE) == 0, maker.stderr.read()
        maker.stdout.close()
        maker.stderr.close()
    for path in paths:
        backend = SQLiteBackend(path)
        backend.create("a")
        assert put(backend, b"k").version == 1
        backend.close()


def test_a_killed_writer_loses_nothing_it_acknowledged(path):
    """S21: after SIGKILL, all that was acknowledged is there, at most one more came, and the file works on."""
    writer = python(COMMITS, path, "x", 100_000)
    told = [writer.stdout.readline().split()[1] for _ in range(30)]
    writer.send_signal(signal.SIGKILL)
    told += [line.split()[1] for line in writer.stdout.read().splitlines() if line.count(" ") == 1]
    writer.communicate()
    backend = SQLiteBackend(path)
    found = [key.decode() for key in keys(backend)]
    assert found[: len(told)] == told
    assert len(found) <= len(told) + 1
    assert put(backend, b"next").version == len(found) + 1
    backend.close()


# Locks


@pytest.fixture
def impatient(path):
    backend = SQLiteBackend(path, busy_seconds=0.05)
    backend.create("a")
    yield backend
    backend.close()


def test_a_file_locked_too_long_is_overloaded_and_nothing_is_written(impatient, path):
    """S17: a lock that does not go away means ``Overloaded`` for writes; the same transaction then goes through."""
    # Python's sqlite3 is another SQLite, and locks of one process do not keep each other out.
    locker = apsw.Connection(str(path))
    locker.execute("BEGIN IMMEDIATE")
    sent = Transaction([Insert(b"k", b"v")])
    for write in (
        lambda: impatient.update("a", sent),
        lambda: impatient.create("b"),
        lambda: impatient.trim("a", 0),
    ):
        with pytest.raises(Overloaded):
            write()
    assert keys(impatient) == []
    locker.execute("ROLLBACK")
    locker.close()
    answer = impatient.update("a", sent, 2)
    assert (answer.version, answer.changed, answer.replayed) == (1, True, False)
    assert [info.name for info in impatient.logs()] == ["a"]


def test_a_lock_that_goes_away_in_time_is_waited_for(path):
    """S17: within ``busy_seconds`` a write waits for another's to end."""
    backend = SQLiteBackend(path, busy_seconds=PATIENCE)
    backend.create("a")
    code = (
        "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('BEGIN IMMEDIATE'); print('locked', flush=True); time.sleep(0.2); db.execute('ROLLBACK')"
    )
    locker = python(code, path)
    assert locker.stdout.readline() == "locked\n"
    assert put(backend, b"k").version == 1
    ends(locker)
    backend.close()


# Forks

FORKS = """
import os, sys
from indelible import Closed, Insert, Transaction
from indelible.pages import DiffRequest
from indelible.backends.sqlite import SQLiteBackend
path, leaving = sys.argv[1:]
backend = SQLiteBackend(path)
backend.create("a")
backend.update("a", Transaction([Insert(b"before", b"v")]))
told = []
unsubscribe = backend.subscribe("a", 1, lambda: told.append(os.getpid()))
child = os.fork()
if child == 0:
    refused = 0
    for ask in (
        lambda: backend.update("a", Transaction([Insert(b"child", b"v")])),
        lambda: backend.diff("a", DiffRequest()),
        lambda: backend.diff("a", DiffRequest(1, wait_seconds=60)),
        lambda: backend.describe("a"),
        lambda: backend.subscribe("a", 0, print),
    ):
        try:
            ask()
        except Closed:
            refused += 1
    backend.close()
    unsubscribe()
    if refused != 5 or told:
        os._exit(1)
    if leaving == "quickly":
        os._exit(0)
    del backend
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0, "the child's use was not refused"
backend.update("a", Transaction([Insert(b"after", b"v")]))
assert told == [os.getpid()], "what happens here was not told here"
unsubscribe()
own = SQLiteBackend(path)
own.update("a", Transaction([Insert(b"own", b"v")]))
print([change.key for change in backend.diff("a", DiffRequest()).changes])
backend.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("leaving", ["quickly", "tidily"])
def test_a_forked_child_is_refused_and_does_no_harm(path, leaving):
    """S21: in a forked child every use raises ``Closed``; however it ends, its parent goes on and loses nothing."""
    assert ends(python(FORKS, path, leaving)) == "[b'before', b'after', b'own']\n"
    backend = SQLiteBackend(path)
    assert keys(backend) == [b"before", b"after", b"own"]
    backend.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_a_closed_backend_is_not_opened_again_by_a_late_writer(backend):
    """``close``: a writer that waited for its turn meanwhile gets ``Closed`` and leaves no connection behind."""
    from sqlitetools import InBackground, until

    backend._file._writing.acquire()
    waiting = InBackground(lambda: put(backend, b"k"))
    until(waiting.is_alive)
    closing = InBackground(backend.close)
    backend._file._writing.release()
    closing.result()
    try:
        waiting.result()
    except Closed:
        pass
    assert backend._file._writer is None
