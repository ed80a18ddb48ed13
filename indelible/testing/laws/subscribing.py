"""S13 without threads: who subscribes is told, and misses nothing. For backends that are ``Notifying``."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeAlias

import pytest

from indelible.backend import Backend, Notifying
from indelible.commands import Insert
from indelible.errors import Closed, InvalidRequest
from indelible.pages import DiffRequest
from indelible.testing.laws.base import Laws
from indelible.testing.laws.waiting import MOMENT, PATIENCE, Background
from indelible.testing.samples import LOG, commit

Subscribe: TypeAlias = Callable[[str, int, Callable[[], None]], Callable[[], None]]


def subscribing(backend: Backend) -> Subscribe:
    """The backend's way to subscribe; where there is none, its laws are skipped."""
    if not isinstance(backend, Notifying):
        pytest.skip("this backend does not claim to tell of new versions: it has no subscribe()")
    return backend.subscribe


class Told:
    """A subscriber: counts how often it is called, and can be waited for."""

    def __init__(self) -> None:
        self.times: int = 0
        self._called = threading.Event()

    def __call__(self) -> None:
        """Be told."""
        self.times += 1
        self._called.set()

    def wait(self) -> None:
        """Come back once it was called since the last time."""
        assert self._called.wait(PATIENCE), f"nobody was told within {PATIENCE} seconds"
        self._called.clear()


class SubscribingLaws(Laws):
    """Being told of new versions. A subscriber may be told in vain, so the laws look and wait again."""

    def test_s13_a_subscriber_is_told_once_it_is_there(self, backend: Backend) -> None:
        """S13: whoever subscribed is told of a commit, and who looks then finds it: not told before and forgotten."""
        subscribe = subscribing(backend)
        told = [Told() for _ in range(3)]
        for one in told:
            subscribe(LOG, 0, one)
        for version in range(1, 6):
            writer = Background(functools.partial(commit, backend, Insert(b"%d" % version, b"1")))
            for one in told:
                while backend.describe(LOG).head < version:
                    one.wait()
            assert writer.result().version == version

    def test_s13_a_subscriber_is_told_of_every_commit(self, backend: Backend) -> None:
        """S13: a subscription lasts: after the first commit it tells of the next."""
        subscribe = subscribing(backend)
        told = Told()
        subscribe(LOG, 0, told)
        for version in range(1, 4):
            commit(backend, Insert(b"%d" % version, b"1"))
            told.wait()

    def test_s13_a_commit_of_another_backend_is_told(self, backend: Backend) -> None:
        """S13: what another backend commits to the same logs is told too, at once after subscribing and later."""
        subscribe = subscribing(backend)
        if (other := self.beside(backend)) is None:
            pytest.skip("no second backend can stand on the same logs here: beside() offers nothing")
        with closing(other):
            for version, pause in enumerate((0, 0, MOMENT, 0), 1):
                told = Told()
                subscribe(LOG, version - 1, told)
                time.sleep(pause)
                commit(other, Insert(b"%d" % version, b"1"))
                told.wait()

    def test_s13_who_looks_only_when_told_misses_nothing(self, backend: Backend) -> None:
        """S13: who subscribes, looks, and looks again whenever told, sees every version, each once, in order."""
        subscribe = subscribing(backend)
        writers, each = 3, 15
        total = writers * each

        def follow() -> list[int]:
            told, seen = Told(), list[int]()
            unsubscribe = subscribe(LOG, 0, told)
            while len(seen) < total:
                page = backend.diff(LOG, DiffRequest(len(seen)))
                seen += [change.version for change in page.changes]
                if not page.changes:
                    told.wait()
            unsubscribe()
            return seen

        def write(name: int) -> None:
            for turn in range(each):
                commit(backend, Insert(b"%d/%d" % (name, turn), b"1"))

        followers = [Background(follow) for _ in range(2)]
        for writer in [Background(functools.partial(write, name)) for name in range(writers)]:
            writer.result()
        for follower in followers:
            assert follower.result() == list(range(1, total + 1))

    def test_s13_a_log_that_is_yet_to_come_can_be_subscribed_to(self, backend: Backend) -> None:
        """S1, S13: the log need not exist; its first commit is told."""
        subscribe = subscribing(backend)
        told = Told()
        subscribe("new", 0, told)
        backend.create("new")
        commit(backend, Insert(b"k", b"1"), log="new")
        told.wait()

    def test_s13_who_has_left_is_not_told(self, backend: Backend) -> None:
        """S13: after unsubscribing nothing is told, those who stay are, and leaving twice does nothing."""
        subscribe = subscribing(backend)
        gone, staying = Told(), Told()
        unsubscribe = subscribe(LOG, 0, gone)
        subscribe(LOG, 0, staying)
        commit(backend, Insert(b"k", b"1"))
        gone.wait()
        staying.wait()
        unsubscribe()
        unsubscribe()
        time.sleep(MOMENT)
        before = gone.times
        commit(backend, Insert(b"l", b"1"))
        staying.wait()
        time.sleep(MOMENT)
        assert gone.times == before

    def test_s13_a_thousand_subscribers_are_told(self, backend: Backend) -> None:
        """S13: any number may subscribe to one log, and one commit is told to all; then all can leave."""
        subscribe = subscribing(backend)
        told = [Told() for _ in range(1000)]
        leaving = [subscribe(LOG, 0, one) for one in told]
        commit(backend, Insert(b"k", b"1"))
        for one in told:
            one.wait()
        for leave in leaving:
            leave()
        commit(backend, Insert(b"l", b"1"))

    def test_s13_s17_a_subscriber_that_raises_harms_nobody(self, backend: Backend) -> None:
        """S17: a commit is acknowledged and told to the others, though one who is told breaks its word and raises."""
        subscribe = subscribing(backend)

        def broken() -> None:
            raise RuntimeError("the event loop is closed")

        told = [Told(), Told()]
        subscribe(LOG, 0, told[0])
        for _ in range(5):
            subscribe(LOG, 0, broken)
        subscribe(LOG, 0, told[1])
        assert commit(backend, Insert(b"k", b"1")).version == 1
        for one in told:
            one.wait()

    def test_s13_a_close_is_told(self, backend: Backend) -> None:
        """``close``: every subscriber is told, who looks then meets ``Closed``, and nobody can subscribe any more."""
        subscribe = subscribing(backend)
        told = [Told() for _ in range(3)]
        leaving = [subscribe(log, 0, one) for log, one in zip((LOG, LOG, "absent"), told, strict=True)]
        backend.close()
        for one in told:
            one.wait()
        with pytest.raises(Closed):
            backend.describe(LOG)
        with pytest.raises(Closed):
            subscribe(LOG, 0, Told())
        for leave in leaving:
            leave()
        backend.close()

    def test_s14_a_subscription_names_a_log_and_a_version(self, backend: Backend) -> None:
        """S14: a name or version that can be none is ``InvalidRequest``; the largest version is one."""
        subscribe = subscribing(backend)
        bad: list[tuple[Any, Any]] = [("", 0), (None, 0), (LOG, -1), (LOG, True), (LOG, None), (LOG, 2**63)]
        for log, after in bad:
            with pytest.raises(InvalidRequest):
                subscribe(log, after, Told())
        subscribe(LOG, 2**63 - 1, Told())
