"""The moments in which a waking can be lost, met on purpose: each test makes the unlucky moment happen (S13)."""

import threading

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
    rest = waiters.Waiter.rest

    def late(self):
        rest(self)
        if backend.describe(LOG).head == 0:
            commit(backend)

    monkeypatch.setattr(waiters.Waiter, "rest", late)
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


@pytest.mark.parametrize("where", ["memory", "file"])
def test_s13_all_who_wait_are_woken(where, backend):
    """S13: one commit wakes everybody who waits for it."""
    store = backend if where == "file" else MemoryBackend()
    store.create(LOG)
    threads, told = answers(store, 5)
    waits = (
        (lambda: len(store._changed[LOG]._waiters))
        if where == "memory"
        else (lambda: len(store._waiters._waiting.get(LOG, ())))
    )
    while waits() < 5:
        threading.Event().wait(0.001)
    commit(store)
    for thread in threads:
        thread.join(PATIENCE)
    assert told == [1] * 5
    store.close()
