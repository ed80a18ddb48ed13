"""The moments in which a waking can be lost, met on purpose: each test makes the unlucky moment happen (S13)."""

import threading
import time

import pytest

from indelible.backends.memory import MemoryBackend
from indelible.backends.sqlite import SQLiteBackend, waiters
from indelible.commands import Insert, Transaction
from indelible.pages import DiffRequest

LOG = "log"
PATIENCE = 20


@pytest.fixture
def backend(tmp_path, monkeypatch):
    """A store on a file whose watcher does not look within the time of a test: only announcements wake."""
    monkeypatch.setattr(waiters, "GLANCE_SECONDS", 4 * PATIENCE)
    backend = SQLiteBackend(tmp_path / "logs.db")
    backend.create(LOG)
    yield backend
    backend.close()


def commit(backend, key=b"k"):
    return backend.update(LOG, Transaction([Insert(key, b"v")]))


def answers(backend, count):
    """What so many get who wait at version 0; None for who is still waiting when patience ends."""
    told = [None] * count

    def wait(index):
        told[index] = backend.diff(LOG, DiffRequest(0, wait_seconds=8 * PATIENCE)).to_version

    threads = [threading.Thread(target=wait, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    return threads, told


def test_s13_a_commit_between_looking_and_waiting_is_not_missed(backend, monkeypatch):
    """S13: what is committed after a waiter has looked and before it sleeps wakes it all the same."""
    waits_at = DiffRequest.waits_at

    def late(self, head):
        waits = waits_at(self, head)
        if head == 0 and backend.describe(LOG).head == 0:
            commit(backend)
        return waits

    monkeypatch.setattr(DiffRequest, "waits_at", late)
    threads, told = answers(backend, 1)
    threads[0].join(PATIENCE)
    assert told == [1]


def test_s13_a_commit_before_looking_is_not_missed(backend, monkeypatch):
    """S13: what is committed after a waiter has registered and before it looks is seen by looking."""
    rest = waiters.Sleeper.rest

    def late(self):
        rest(self)
        if backend.describe(LOG).head == 0:
            commit(backend)

    monkeypatch.setattr(waiters.Sleeper, "rest", late)
    threads, told = answers(backend, 1)
    threads[0].join(PATIENCE)
    assert told == [1]


def test_s13_nobody_is_woken_before_the_commit_is_on_the_disk(backend, monkeypatch):
    """S13, S21: who is woken finds the new version there; at the moment of waking the commit is done."""
    seen = []
    announce = waiters.Waiters.announce

    def look(self, log, head):
        seen.append((head, backend.describe(log).head))
        announce(self, log, head)

    monkeypatch.setattr(waiters.Waiters, "announce", look)
    for version in range(1, 4):
        commit(backend, b"%d" % version)
    assert seen == [(1, 1), (2, 2), (3, 3)]


@pytest.fixture(params=["memory", "file"])
def store(request, backend):
    """Either store that tells of its commits; that on a file by announcements only."""
    if request.param == "file":
        yield backend
        return
    store = MemoryBackend()
    store.create(LOG)
    yield store
    store.close()


def test_s13_all_who_wait_are_woken(store):
    """S13: one commit wakes everybody who waits for it."""
    threads, told = answers(store, 5)
    waits = (
        (lambda: len(store._changed[LOG]._waiters))
        if isinstance(store, MemoryBackend)
        else (lambda: len(store._waiters._waiting.get(LOG, ())))
    )
    while waits() < 5:
        threading.Event().wait(0.001)
    commit(store)
    for thread in threads:
        thread.join(PATIENCE)
    assert told == [1] * 5


def test_s13_s21_a_subscriber_is_called_outside_of_every_lock_and_finds_the_commit(store):
    """S13, S21: while a subscriber is called the store can be used, and another thread finds the commit there."""
    found, stuck = [], []

    def look():
        found.append(store.describe(LOG).head)
        if found == [1]:
            commit(store, b"more")

    def notify():
        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        looking.join(PATIENCE / 2)
        stuck.append(looking.is_alive())

    leave = store.subscribe(LOG, 0, notify)
    commit(store)
    leave()
    assert (found, stuck) == ([1, 2], [False, False]), "whoever called held a lock, or called too early"


def test_s13_a_subscriber_is_told_once_of_each_version_and_of_nothing_else(store, monkeypatch):
    """S5, S13, S20: one call for each version beyond ``after``; no-ops, replays and other logs are not told."""
    monkeypatch.setattr(waiters, "GLANCE_SECONDS", 0.001)
    store.create("other")
    told = []
    for after in (0, 2):
        store.subscribe(LOG, after, lambda after=after: told.append(after))
    first = Transaction([Insert(b"k", b"v")])
    for attempt in (1, 2):
        store.update(LOG, first, attempt)
    commit(store)
    store.update("other", first)
    for key in (b"l", b"m"):
        commit(store, key)
    # By now a watcher would have looked at the file a few times, and seen that something was committed.
    time.sleep(0.1)
    assert sorted(told) == [0, 0, 0, 2]


def test_s13_who_leaves_while_others_are_called_is_not_called(store):
    """S13: of two subscribers who end each other's subscription when called, one is called."""
    told, leave = [], {}
    for name, other in [("one", "two"), ("two", "one")]:
        leave[name] = store.subscribe(LOG, 0, lambda name=name, other=other: (told.append(name), leave[other]()))
    commit(store)
    commit(store, b"l")
    assert len(told) == 2
    assert len(set(told)) == 1


def test_s13_a_close_is_told_once_to_each(store):
    """``close``: every subscriber is called, once, and finds the store closed; one who left is not."""
    told = []
    for index in range(5):
        store.subscribe(LOG if index % 2 else "absent", 0, lambda index=index: told.append(index))
    store.subscribe(LOG, 0, lambda: told.append("gone"))()
    for _ in range(2):
        store.close()
    assert sorted(told) == list(range(5))
