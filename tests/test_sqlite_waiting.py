"""Waiting on the SQLite backend: who wakes whom, and that nothing is left running."""

import threading
import time

import pytest
from sqlitetools import PATIENCE, InBackground, ends, put, python, until

from indelible.backends.sqlite import SQLiteBackend, waiters
from indelible.errors import Closed, DamagedStore
from indelible.pages import DiffRequest
from indelible.testing.laws.subscribing import SubscribingLaws, Told

WRITER = """
import sys
from indelible import Insert, Transaction
from indelible.backends.sqlite import SQLiteBackend
backend = SQLiteBackend(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    print(backend.update("a", Transaction([Insert(line.strip().encode(), b"v")])).version, flush=True)
backend.close()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs.db"


@pytest.fixture
def backend(path):
    backend = SQLiteBackend(path)
    backend.create("a")
    yield backend
    backend.close()
    until(lambda: not watchers())


def watchers():
    return [thread for thread in threading.enumerate() if thread.name == "indelible-sqlite-watch"]


def waiting(backend, after=0, seconds=PATIENCE, log="a"):
    """A diff that waits, in a thread of its own; comes back once it does."""
    before = sum(map(len, backend._waiters._waiting.values()))
    it = InBackground(lambda: backend.diff(log, DiffRequest(after, wait_seconds=seconds)))
    until(lambda: sum(map(len, backend._waiters._waiting.values())) > before or not it.is_alive())
    return it


def test_a_commit_of_this_process_wakes_at_once(backend, monkeypatch):
    """S13: who waits is woken by a commit of the same process, without anybody looking at the file."""
    monkeypatch.setattr(waiters, "GLANCE_SECONDS", PATIENCE)
    it = waiting(backend)
    began = time.monotonic()
    put(backend, b"k")
    assert it.result().to_version == 1
    assert time.monotonic() - began < PATIENCE / 4
    backend.close()


def test_a_commit_of_another_process_wakes_within_a_glance(backend, path):
    """S13: who waits is woken by the commits of another process too, each time anew."""
    writer = python(WRITER, path)
    assert writer.stdout.readline() == "ready\n"
    for version in range(5):
        it = waiting(backend, version)
        assert it.is_alive()
        began = time.monotonic()
        writer.stdin.write(f"{version}\n")
        writer.stdin.flush()
        assert it.result().to_version == version + 1
        assert time.monotonic() - began < PATIENCE / 4
    assert ends(writer) == "1\n2\n3\n4\n5\n"


def test_a_commit_of_another_backend_in_this_process_wakes(backend, path):
    """S13: two backends on one file wake each other's callers."""
    other = SQLiteBackend(path)
    it = waiting(backend)
    put(other, b"k")
    assert it.result().to_version == 1
    other.close()


def test_many_waiters_all_wake_and_share_one_watcher(backend):
    """S13: any number wait at the cost of one thread, and all wake."""
    many = [waiting(backend) for _ in range(20)]
    until(watchers)
    assert len(watchers()) == 1
    put(backend, b"k")
    assert {it.result().to_version for it in many} == {1}


def test_the_watcher_ends_when_nobody_waits(backend):
    """S13: nothing runs while nobody waits; whoever waits next is served again."""
    for version in range(2):
        it = waiting(backend, version)
        until(watchers)
        put(backend, b"%d" % version)
        it.result()
        until(lambda: not watchers())


def test_a_diff_that_need_not_wait_starts_nothing(backend):
    """S13: an answer that is there costs no thread."""
    put(backend, b"k")
    assert backend.diff("a", DiffRequest(0, wait_seconds=PATIENCE)).to_version == 1
    assert not watchers()


def test_a_wait_that_ends_in_vain_leaves_nothing(backend):
    """S13: after a time-out nobody is registered and nothing runs."""
    assert backend.diff("a", DiffRequest(0, wait_seconds=0.05)).to_version == 0
    assert backend._waiters._waiting == {}
    until(lambda: not watchers())


def test_closing_wakes_with_closed_and_leaves_no_thread(backend):
    """``close``: everybody who waits gets ``Closed``, and no thread stays."""
    many = [waiting(backend) for _ in range(5)]
    until(watchers)
    backend.close()
    for it in many:
        with pytest.raises(Closed):
            it.result()
    until(lambda: not watchers())


@pytest.mark.parametrize("happens", ["deleted", "replaced"])
def test_a_file_that_goes_away_wakes_those_who_wait(backend, path, happens):
    """S21: who waits on a file that is deleted or replaced learns of it long before the time is over."""
    put(backend, b"k")
    it = waiting(backend, 1)
    until(watchers)
    if happens == "deleted":
        path.unlink()
    else:
        other = SQLiteBackend(path.with_name("other"))
        other.close()
        path.with_name("other").replace(path)
    began = time.monotonic()
    with pytest.raises(DamagedStore):
        it.result()
    assert time.monotonic() - began < PATIENCE / 4


def test_a_watcher_that_fails_is_replaced(backend, path, monkeypatch):
    """S13: when looking fails for a moment, those who wait go on waiting and are woken all the same."""
    looks = []
    changed = waiters.Watch.changed

    def fails_first(self):
        looks.append(1)
        if len(looks) in (1, 3):
            raise OSError("too many open files")
        return changed(self)

    monkeypatch.setattr(waiters.Watch, "changed", fails_first)
    it = waiting(backend)
    until(lambda: len(looks) > 4)
    assert it.is_alive()
    other = SQLiteBackend(path)
    put(other, b"k")
    assert it.result().to_version == 1
    other.close()


@pytest.mark.parametrize("seconds", [1e10, 1e300])
def test_a_wait_may_be_longer_than_a_thread_can_sleep(backend, seconds):
    """S13: any finite number of seconds can be waited, and a commit ends it."""
    it = waiting(backend, seconds=seconds)
    put(backend, b"k")
    assert it.result().to_version == 1


def test_waiters_and_commits_race_and_nothing_is_missed(backend, path):
    """S13: followers of one log in two backends, while two processes write, see every version once, in order."""
    total, each = 40, 20
    other = SQLiteBackend(path)

    def follow(it):
        told, version = [], 0
        while version < total:
            page = it.diff("a", DiffRequest(version, wait_seconds=PATIENCE))
            assert page.to_version > version
            told += [change.version for change in page.changes]
            version = page.to_version
        return told

    followers = [InBackground(lambda it=it: follow(it)) for it in (backend, other)]
    writers = [python(WRITER, path) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.stdin.write("".join(f"{number}/{turn}\n" for turn in range(each)))
    for writer in writers:
        ends(writer)
    for follower in followers:
        assert follower.result() == list(range(1, total + 1))
    other.close()


# Subscriptions


class TestSubscribersOfOneFile(SubscribingLaws):
    """The laws where a second backend commits to the same file: only the watcher's thread can tell of it."""

    def make_backend(self, tmp_path):
        self.path = tmp_path / "logs.db"
        return SQLiteBackend(self.path)

    def beside(self, backend):
        return SQLiteBackend(self.path)


def test_a_watcher_looks_while_somebody_is_subscribed(backend):
    """S13: one thread, there before ``subscribe`` returns, and gone soon after the last has left; nobody has to wait."""
    for _ in range(2):
        assert watchers() == []
        leaving = [backend.subscribe("a", 0, Told()) for _ in range(3)]
        assert len(watchers()) == 1
        for leave in leaving:
            time.sleep(2 * waiters.GLANCE_SECONDS)
            assert len(watchers()) == 1
            leave()
        until(lambda: not watchers())
        assert backend._waiters._waiting == {}


def test_a_commit_of_another_process_is_told(backend, path):
    """S13: a subscriber is told of the commits of another process, whether the watcher has just begun or looked often."""
    writer = python(WRITER, path)
    assert writer.stdout.readline() == "ready\n"
    lasting = Told()
    backend.subscribe("a", 0, lasting)
    for version in range(5):
        fresh = Told()
        leave = backend.subscribe("a", version, fresh)
        writer.stdin.write(f"{version}\n")
        writer.stdin.flush()
        fresh.wait()
        lasting.wait()
        assert backend.describe("a").head == version + 1
        leave()
    assert ends(writer) == "1\n2\n3\n4\n5\n"
    assert lasting.times == 5


def test_a_commit_before_the_first_look_is_told(backend, path, monkeypatch):
    """S13: what another backend commits after ``subscribe`` returned, and before the watcher looked at all, is told."""
    monkeypatch.setattr(waiters, "GLANCE_SECONDS", 0.3)
    told, other = Told(), SQLiteBackend(path)
    backend.subscribe("a", 0, told)
    put(other, b"k")
    told.wait()
    other.close()


@pytest.mark.parametrize("happens", ["deleted", "replaced"])
def test_a_file_that_goes_away_is_told_and_not_all_the_time(backend, path, happens):
    """S21: a subscriber learns of a file that is deleted or replaced, by being told and looking; and is not flooded."""
    put(backend, b"k")
    told = Told()
    leave = backend.subscribe("a", 1, told)
    if happens == "deleted":
        path.unlink()
    else:
        other = SQLiteBackend(path.with_name("other"))
        other.close()
        path.with_name("other").replace(path)
    told.wait()
    with pytest.raises(DamagedStore):
        backend.describe("a")
    time.sleep(1)
    assert told.times < 10
    leave()
    until(lambda: not watchers())


def test_a_watcher_that_fails_goes_on_for_subscribers(backend, path, monkeypatch):
    """S13: when looking fails for a while, subscribers are told in vain, and of the next commit all the same."""
    looks = []
    changed = waiters.Watch.changed

    def fails_first(self):
        looks.append(1)
        if len(looks) in (1, 2, 4):
            raise OSError("too many open files")
        return changed(self)

    monkeypatch.setattr(waiters.Watch, "changed", fails_first)
    told = Told()
    backend.subscribe("a", 0, told)
    until(lambda: len(looks) > 5)
    assert told.times == 3
    told.wait()
    other = SQLiteBackend(path)
    put(other, b"k")
    told.wait()
    assert (told.times, len(watchers())) == (4, 1)
    other.close()
