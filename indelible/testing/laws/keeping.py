"""S18-S22: telling of logs and versions, trimming, independence, limits, closing, outliving a process."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from indelible.backend import Backend, history_page, key_history
from indelible.changes import Added, Entry, Revision
from indelible.commands import ExpectVersion, Insert, Transaction, Update, Upsert
from indelible.errors import (
    Closed,
    InvalidRequest,
    LogExists,
    NonexistentLog,
    NonexistentVersion,
    TooLarge,
    UnexpectedValue,
    VersionTrimmed,
)
from indelible.pages import DiffRequest
from indelible.records import Committed, LogInfo
from indelible.testing.faults import WithoutKeyHistory
from indelible.testing.laws.base import Laws
from indelible.testing.samples import HISTORIES, LOG, changes, commit, fill, state, transaction

EVERY = pytest.mark.parametrize("name", list(HISTORIES))


def _keys(name: str) -> set[bytes]:
    """Every key that a history speaks of."""
    return {it.key for commands in HISTORIES[name] for it in commands if not isinstance(it, ExpectVersion)}


class KeepingLaws(Laws):
    """Housekeeping, one caller at a time."""

    @EVERY
    def test_s18_describe_tells_head_and_entries(self, backend: Backend, name: str) -> None:
        """S18: ``describe`` tells name, group, head, oldest readable version and number of entries."""
        backend.create("twin", "g")
        oracle = fill(backend, name, "twin").log("twin")
        assert backend.describe("twin") == LogInfo("twin", "g", oracle.head, 0, len(oracle.states[-1]))

    def test_s18_logs_come_by_name_and_by_group(self, backend: Backend) -> None:
        """S18: ``logs`` lists all or one group, by name, each as ``describe`` tells it."""
        for name, group in [
            ("b", "g"),
            ("a", None),
            ("ä", "g"),
            ("Z", "h"),
            ("aa", "g"),
            ("\U0001f600", ""),
            ("\uffff", "g"),
        ]:
            backend.create(name, group)
        commit(backend, Insert(b"k", b"1"), log="aa")
        everything = backend.logs()
        assert [info.name for info in everything] == sorted(["b", "a", "ä", "Z", "aa", LOG, "\U0001f600", "\uffff"])
        assert [info.name for info in backend.logs("g")] == ["aa", "b", "ä", "\uffff"]
        assert [info.name for info in backend.logs("")] == ["\U0001f600"]
        assert list(backend.logs("absent")) == []
        assert list(everything) == [backend.describe(info.name) for info in everything]

    def test_s18_versions_tell_who_and_when(self, backend: Backend) -> None:
        """S18: each version tells number, source, transaction id, time of commit in UTC and number of effects."""
        sources = [None, "", "émile", "x" * 100]
        sent = [
            transaction(*(Upsert(bytes([i]), b"%d" % n) for i in range(n + 1)), source=s) for n, s in enumerate(sources)
        ]
        before = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        for one in sent:
            backend.update(LOG, one)
        told = backend.versions(LOG)
        assert [(info.version, info.source, info.transaction_id, info.effects) for info in told] == [
            (n + 1, one.source, one.id, n + 1) for n, one in enumerate(sent)
        ]
        for info in told:
            assert info.committed_at.utcoffset() == dt.timedelta(0)
            assert before < info.committed_at < before + dt.timedelta(hours=2)

    def test_s18_versions_lie_after_the_first_and_up_to_the_last(self, backend: Backend) -> None:
        """S18: ``versions(a, b)`` tells those after ``a`` up to and with ``b``; none where ``b`` is not above."""
        head = fill(backend, "there and back").log(LOG).head
        everything = list(backend.versions(LOG))
        for low, high in itertools.product(range(head + 1), repeat=2):
            assert list(backend.versions(LOG, low, high)) == everything[low:high]
            assert list(backend.versions(LOG, low)) == everything[low:]

    @EVERY
    def test_s18_the_history_of_a_key_is_what_its_versions_did(self, backend: Backend, name: str) -> None:
        """``KeyHistory``: a key's revisions are those of the oracle, before and after a trim, and by walking too."""
        oracle = fill(backend, name)
        keys = _keys(name)
        for before in (0, 2, 3, oracle.log(LOG).head):
            if before <= oracle.log(LOG).head:
                backend.trim(LOG, before)
                oracle.trim(LOG, before)
            for key in (*keys, b"never"):
                wanted = oracle.history(LOG, key)
                assert list(key_history(backend, LOG, key)) == wanted
                if self.sorted_keys:
                    assert list(key_history(WithoutKeyHistory(backend), LOG, key)) == wanted

    @EVERY
    def test_s18_pages_of_a_keys_history_make_the_whole(self, backend: Backend, name: str) -> None:
        """``PagedKeyHistory``: pages of any size, from any version on, are the oracle's history, and none is empty."""
        oracle = fill(backend, name)
        keys = _keys(name)
        stores = [backend, WithoutKeyHistory(backend)] if self.sorted_keys else [backend]
        head = oracle.log(LOG).head
        for before in sorted({0, min(3, head)}):
            backend.trim(LOG, before)
            oracle.trim(LOG, before)
            for store, key in itertools.product(stores, (*keys, b"never")):
                whole = oracle.history(LOG, key)
                for start, (limit, most) in itertools.product(range(head + 2), [(1, 99), (2, 99), (99, 1), (99, 99)]):
                    wanted = [revision for revision in whole if revision.version > start]
                    told: list[Revision[bytes, bytes]] = []
                    following: int | None = start
                    while following is not None:
                        page = history_page(store, LOG, key, following, limit, most)
                        assert min(1, len(wanted)) <= len(page.revisions) <= limit
                        assert most > 1 or len(page.revisions) <= 1 or key == b""
                        told += page.revisions
                        following = page.next_from
                        assert following in (None, told[-1].version if told else None)
                    assert told == wanted

    @EVERY
    def test_s19_a_trim_forgets_what_came_before_and_nothing_else(self, backend: Backend, name: str) -> None:
        """S19: versions below ``before`` can no longer be named; 0 and the later ones answer as ever."""
        oracle = fill(backend, name)
        head = oracle.log(LOG).head
        infos = list(backend.versions(LOG))
        for before in range(2, head + 1):
            backend.trim(LOG, before)
            assert backend.describe(LOG) == LogInfo(LOG, None, head, before, len(oracle.log(LOG).states[-1]))
            named = [0, *range(before, head + 1)]
            for low, high in itertools.product(named, repeat=2):
                assert changes(backend, low, high) == changes(oracle, low, high)
            assert list(backend.versions(LOG)) == infos[before - 1 :]
            for version in range(1, before):
                self._is_trimmed(backend, version, before)
        commit(backend, Upsert(b"after", b"1"))
        assert state(backend)[b"after"] == Entry(b"after", b"1", head + 1)

    def _is_trimmed(self, backend: Backend, version: int, oldest: int) -> None:
        operations: list[Callable[[], object]] = [
            lambda: backend.diff(LOG, DiffRequest(version)),
            lambda: backend.diff(LOG, DiffRequest(0, version)),
            lambda: backend.diff(LOG, DiffRequest(version, version, limit=0)),
            lambda: backend.versions(LOG, version),
            lambda: backend.versions(LOG, 0, version),
        ]
        for operation in operations:
            with pytest.raises(VersionTrimmed) as caught:
                operation()
            assert (caught.value.log, caught.value.version, caught.value.oldest) == (LOG, version, oldest)

    def test_s14_s19_of_two_versions_that_cannot_be_named_the_first_is(self, backend: Backend) -> None:
        """S14, S19: where neither end can be named, the error is about ``from_version``."""
        fill(backend, "there and back")
        backend.trim(LOG, 3)
        reads: list[Callable[[int, int], object]] = [
            lambda start, end: backend.diff(LOG, DiffRequest(start, end)),
            lambda start, end: backend.versions(LOG, start, end),
        ]
        for read in reads:
            for start, end in [(1, 7), (1, 2), (2, 1)]:
                with pytest.raises(VersionTrimmed) as trimmed:
                    read(start, end)
                assert (trimmed.value.version, trimmed.value.oldest) == (start, 3)
            for start, end in [(7, 1), (7, 8), (8, 7)]:
                with pytest.raises(NonexistentVersion) as absent:
                    read(start, end)
                assert (absent.value.version, absent.value.head) == (start, 6)
            read(3, 6)

    def test_s19_a_trim_never_goes_back_and_may_do_nothing(self, backend: Backend) -> None:
        """S19: trimming to 0, to 1 or to what is trimmed already forgets nothing, and above head it fails."""
        oracle = fill(backend, "there and back")
        for before, oldest in [(0, 0), (1, 0), (3, 3), (2, 3), (0, 3), (3, 3), (6, 6), (1, 6)]:
            backend.trim(LOG, before)
            assert backend.describe(LOG).oldest == oldest
        with pytest.raises(NonexistentVersion):
            backend.trim(LOG, 7)
        assert backend.describe(LOG).oldest == 6
        assert changes(backend, 0) == changes(oracle, 0)

    def test_s20_logs_are_independent(self, backend: Backend) -> None:
        """S20: what is done to one log shows in no other."""
        fill(backend, "came and went")
        before = backend.describe(LOG), changes(backend, 1, 4), list(backend.versions(LOG))
        for other in ("a lo", "a log ", "a log\0", "A log", "a log/2"):
            backend.create(other, "g")
            assert backend.describe(other) == LogInfo(other, "g", 0, 0, 0)
            assert commit(backend, Insert(b"x", other.encode()), log=other).version == 1
            commit(backend, Update(b"x", b"2"), log=other)
            backend.trim(other, 2)
            assert changes(backend, 0, log=other) == [Added(b"x", b"2", 2)]
            assert (backend.describe(LOG), changes(backend, 1, 4), list(backend.versions(LOG))) == before

    @pytest.mark.parametrize("what", ["key", "value", "source", "commands", "name", "group"])
    def test_limits_hold_at_the_limit_and_one_past_it(self, backend: Backend, what: str) -> None:
        """Limits: what is as large as its limit is taken, what is one larger is ``TooLarge`` and changes nothing."""
        maximum: int = getattr(self.limits, what)

        def use(size: int) -> None:
            match what:
                case "name":
                    backend.create("n" * size)
                case "group":
                    backend.create("grouped", "g" * size)
                case "source":
                    backend.update(LOG, Transaction([Upsert(b"k", b"1")], "s" * size))
                case "commands":
                    commit(backend, *([Upsert(b"k", b"1"), Upsert(b"k", b"2")] * size)[:size])
                case "key":
                    commit(backend, Upsert(b"k" * size, b"1"))
                case "value":
                    commit(backend, Upsert(b"k", b"v" * size))

        before = list(backend.logs())
        with pytest.raises(TooLarge) as caught:
            use(maximum + 1)
        if self.exact_limits:
            assert (caught.value.limit, caught.value.size, caught.value.maximum) == (what, maximum + 1, maximum)
        assert list(backend.logs()) == before
        use(maximum if self.exact_limits else maximum // 4)
        assert list(backend.logs()) != before

    @pytest.mark.parametrize("wrong", ["text", bytearray(b"b"), memoryview(b"m"), None, 1])
    def test_keys_and_values_are_bytes(self, backend: Backend, wrong: Any) -> None:
        """A backend sees bytes only: a key or value of another type is ``InvalidRequest`` and nothing is written."""
        for command in (Insert(wrong, b"v"), Insert(b"k", wrong)):
            with pytest.raises(InvalidRequest):
                commit(backend, Upsert(b"x", b"1"), command)
        assert backend.describe(LOG).head == 0
        assert commit(backend, Insert(b"k", b"v")).version == 1

    def test_names_are_texts_that_are_not_empty(self, backend: Backend) -> None:
        """A log's name is an opaque text: odd ones are names like others, the empty one and no text are not."""
        for wrong in ("", None, b"log", 1, "\ud800"):
            bad: Any = wrong
            with pytest.raises(InvalidRequest):
                backend.create(bad)
            with pytest.raises((InvalidRequest, NonexistentLog)):
                backend.describe(bad)
        for name in ("/", "..", "a\0b", " ", "\n", "\U0001f600", "%", "'"):
            backend.create(name)
            assert backend.describe(name).name == name

    def test_a_closed_backend_refuses_everything(self, backend: Backend) -> None:
        """``close``: every later call is ``Closed``, and closing twice does nothing."""
        fill(backend, "there and back")
        backend.close()
        backend.close()
        operations: list[Callable[[], object]] = [
            lambda: backend.create("new"),
            lambda: commit(backend, Insert(b"k", b"1")),
            lambda: backend.diff(LOG, DiffRequest()),
            lambda: backend.diff(LOG, DiffRequest(6, wait_seconds=30)),
            lambda: backend.describe(LOG),
            backend.logs,
            lambda: backend.versions(LOG),
            lambda: backend.trim(LOG, 1),
            lambda: key_history(backend, LOG, b"a"),
        ]
        for operation in operations:
            with pytest.raises(Closed):
                operation()

    @EVERY
    def test_s21_what_was_acknowledged_is_there_after_reopening(self, backend: Backend, name: str) -> None:
        """S21: after close and reopen every state, version, answer and trim is as it was."""
        backend.create("trimmed", "g")
        oracle = fill(backend, name)
        head = oracle.log(LOG).head
        sent = transaction(Upsert(b"k", b"1"), source="first")
        refused = transaction(Insert(b"k", b"other"))
        backend.update("trimmed", sent)
        commit(backend, Upsert(b"k", b"2"), log="trimmed")
        with pytest.raises(UnexpectedValue):
            backend.update("trimmed", refused, 2)
        commit(backend, Upsert(b"k", b"other"), log="trimmed")
        backend.trim("trimmed", 2)
        told = list(backend.logs()), list(backend.versions(LOG)), list(backend.versions("trimmed"))
        backend.close()
        again = self.reopen(backend)
        if again is None:
            pytest.skip("this backend does not claim to outlive its process: reopen() offers nothing")
        try:
            assert (list(again.logs()), list(again.versions(LOG)), list(again.versions("trimmed"))) == told
            for low, high in itertools.product(range(head + 1), repeat=2):
                assert changes(again, low, high) == changes(oracle, low, high)
            assert again.update("trimmed", sent, 2) == Committed(1, changed=True, replayed=True)
            with pytest.raises(UnexpectedValue):
                again.update("trimmed", refused)
            with pytest.raises(VersionTrimmed):
                again.diff("trimmed", DiffRequest(1))
            with pytest.raises(LogExists):
                again.create("trimmed")
            with pytest.raises(NonexistentLog):
                again.describe("absent")
            assert commit(again, Upsert(b"new", b"1")).version == head + 1
        finally:
            again.close()
