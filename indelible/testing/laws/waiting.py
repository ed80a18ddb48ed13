"""S13, S15, S16 with several threads: waiting for what is new, and one order of everything."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from indelible.backend import Backend
from indelible.changes import Added
from indelible.commands import ExpectVersion, Insert, Update, Upsert
from indelible.errors import Closed, NonexistentVersion, Rejected
from indelible.pages import DiffRequest, Page
from indelible.testing.laws.base import Laws
from indelible.testing.linearize import check
from indelible.testing.recorder import Recorder
from indelible.testing.samples import LOG, changes, commit, transaction

LONG = 60.0
"""A wait that no test sits out: what ends it in time is what the test is about."""

PATIENCE = 30.0
"""When a thread that should have come back is given up."""

MOMENT = 0.1
"""Long enough that a started thread is usually waiting; nothing fails if it is not yet."""


class Background:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self._answer: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        except BaseException as error:  # noqa: BLE001 (raised again in the thread that asks)
            self._error = error

    def result(self) -> Any:
        """The answer, or its error raised here."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"a call did not come back within {PATIENCE} seconds"
        if self._error is not None:
            raise self._error
        return self._answer


class WaitingLaws(Laws):
    """Several callers at a time."""

    def test_s13_a_waiter_wakes_on_a_commit(self, backend: Backend) -> None:
        """S13: a diff that waits at the head answers with what a commit brings, to every waiter."""
        commit(backend, Insert(b"k", b"1"))
        waiters = [Background(lambda: backend.diff(LOG, DiffRequest(1, wait_seconds=LONG))) for _ in range(3)]
        time.sleep(MOMENT)
        commit(backend, Insert(b"l", b"2"))
        for waiter in waiters:
            assert waiter.result() == Page(1, 2, (Added(b"l", b"2", 2),), None)

    def test_s13_a_waiter_at_version_0_wakes_on_the_first_commit(self, backend: Backend) -> None:
        """S13: waiting works on a log that holds nothing yet, and with ``limit=0`` too."""
        waiter = Background(lambda: backend.diff(LOG, DiffRequest(wait_seconds=LONG)))
        bare = Background(lambda: backend.diff(LOG, DiffRequest(wait_seconds=LONG, limit=0)))
        time.sleep(MOMENT)
        commit(backend, Insert(b"k", b"1"))
        assert waiter.result() == Page(0, 1, (Added(b"k", b"1", 1),), None)
        assert bare.result() == Page(0, 1, (), None)

    def test_s13_a_wait_in_vain_ends_empty(self, backend: Backend) -> None:
        """S13: when the time has passed the answer is the empty diff to the head, and not before."""
        commit(backend, Insert(b"k", b"1"))
        began = time.monotonic()
        assert backend.diff(LOG, DiffRequest(1, wait_seconds=0.2)) == Page(1, 1, (), None)
        assert 0.15 < time.monotonic() - began < PATIENCE

    def test_s13_only_a_request_at_the_head_without_to_version_waits(self, backend: Backend) -> None:
        """S13: what has an answer gives it at once: below the head, with ``to_version``, without ``wait_seconds``."""
        commit(backend, Insert(b"k", b"1"))
        began = time.monotonic()
        assert backend.diff(LOG, DiffRequest(0, wait_seconds=LONG)).to_version == 1
        assert backend.diff(LOG, DiffRequest(1, 1, wait_seconds=LONG)) == Page(1, 1, (), None)
        assert backend.diff(LOG, DiffRequest(1, 0, wait_seconds=LONG)).to_version == 0
        assert backend.diff(LOG, DiffRequest(1)) == Page(1, 1, (), None)
        with pytest.raises(NonexistentVersion):
            backend.diff(LOG, DiffRequest(2, wait_seconds=LONG))
        assert time.monotonic() - began < PATIENCE

    def test_s05_s13_s20_what_makes_no_version_here_wakes_nobody(self, backend: Backend) -> None:
        """S5, S13, S20: no-ops, rejections, replays and other logs' commits leave a waiter waiting."""
        backend.create("other")
        first = transaction(Insert(b"k", b"1"))
        backend.update(LOG, first)
        began = time.monotonic()
        waiter = Background(lambda: backend.diff(LOG, DiffRequest(1, wait_seconds=0.5)))
        time.sleep(MOMENT)
        commit(backend, Upsert(b"k", b"1"))
        commit(backend)
        backend.update(LOG, first, 2)
        with pytest.raises(Rejected):
            commit(backend, Insert(b"k", b"2"))
        commit(backend, Insert(b"k", b"2"), log="other")
        assert waiter.result() == Page(1, 1, (), None)
        assert time.monotonic() - began > 0.4

    def test_s13_a_close_wakes_waiters(self, backend: Backend) -> None:
        """``close``: who waits is woken with ``Closed``."""
        waiters = [Background(lambda: backend.diff(LOG, DiffRequest(wait_seconds=LONG))) for _ in range(2)]
        time.sleep(MOMENT)
        backend.close()
        for waiter in waiters:
            with pytest.raises(Closed):
                waiter.result()

    def test_s13_a_follower_misses_nothing_and_gets_nothing_twice(self, backend: Backend) -> None:
        """S13: who goes on from the last ``to_version`` while others write sees every version, each once, in order."""
        writers, each = 3, 15
        total = writers * each

        def follow() -> list[int]:
            told: list[int] = []
            version = 0
            while version < total:
                page = backend.diff(LOG, DiffRequest(version, wait_seconds=LONG))
                assert page.from_version == version
                assert page.to_version > version, "a wait of a minute ended empty"
                told += [change.version for change in page.changes]
                version = page.to_version
            return told

        def write(name: int) -> None:
            for turn in range(each):
                commit(backend, Insert(b"%d/%d" % (name, turn), b"1"))

        followers = [Background(follow) for _ in range(2)]
        for writer in [Background(functools.partial(write, name)) for name in range(writers)]:
            writer.result()
        for follower in followers:
            assert follower.result() == list(range(1, total + 1))

    def test_s15_concurrent_callers_see_one_order(self, backend: Backend) -> None:
        """S15: what writers and readers are told can have happened one operation at a time, in real time's order."""
        recorder = Recorder(backend)

        def write(name: int) -> None:
            for turn in range(20):
                head = recorder.describe(LOG).head
                commands = [ExpectVersion(head)] if turn % 3 == 0 else []
                shared = Upsert(b"shared", b"%d" % ((turn * 7 + name) % 3))
                try:
                    commit(recorder, *commands, shared, Upsert(b"own %d" % name, b"%d" % (turn // 2)))
                    commit(recorder, Insert(b"race", b"%d" % name), Update(b"shared", b"0"))
                except Rejected:
                    continue

        def read() -> None:
            version = 0
            for turn in range(40):
                page = recorder.diff(LOG, DiffRequest(version if turn % 2 else 0, limit=3))
                version = page.to_version

        for thread in [Background(functools.partial(write, name)) for name in range(3)] + [Background(read)]:
            thread.result()
        recorder.versions(LOG)
        check(recorder.calls, sorted_keys=self.sorted_keys)

    def test_s15_increments_are_not_lost(self, backend: Backend) -> None:
        """S2, S15: of those who read a version and expect it, one commits; a counter so kept counts every commit."""

        def count() -> int:
            done = 0
            for _ in range(15):
                page = backend.diff(LOG, DiffRequest())
                value = int(page.changes[0].value) if page.changes else 0
                try:
                    commit(backend, ExpectVersion(page.to_version), Upsert(b"n", b"%d" % (value + 1)))
                except Rejected:
                    continue
                done += 1
            return done

        done = [counter.result() for counter in [Background(count) for _ in range(3)]]
        head = backend.describe(LOG).head
        assert head == sum(done) > 0
        assert changes(backend, 0) == [Added(b"n", b"%d" % head, head)]

    def test_s16_one_transaction_sent_by_many_takes_effect_once(self, backend: Backend) -> None:
        """S15, S16: of several copies sent at once one takes effect, and all get the same answer."""
        for turn in range(10):
            sent = transaction(Upsert(b"k", b"%d" % turn))
            gate = threading.Barrier(3)

            def send(attempt: int, sent: Any = sent, gate: threading.Barrier = gate) -> Any:
                gate.wait(PATIENCE)
                return backend.update(LOG, sent, attempt)

            answers = [it.result() for it in [Background(functools.partial(send, n)) for n in (1, 2, 3)]]
            assert [(answer.version, answer.changed) for answer in answers] == [(turn + 1, True)] * 3
            assert sorted(answer.replayed for answer in answers) == [False, True, True]
