"""S8-S12, S14: diffs, their orders, directions and pages."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest

from indelible.backend import Backend
from indelible.changes import Added, Change, Removed
from indelible.commands import Insert, Remove, Update, Upsert
from indelible.errors import InvalidRequest, NonexistentVersion
from indelible.pages import AtCommand, DiffRequest, Order, Page
from indelible.testing.laws.base import Laws
from indelible.testing.model import exchanged
from indelible.testing.samples import HISTORIES, LOG, changes, commit, fill, pages, replayed, state, transaction

ORDERS: tuple[Order, ...] = ("command", "key")
EVERY = pytest.mark.parametrize("name", list(HISTORIES))


class ReadingLaws(Laws):
    """Reading, one caller at a time."""

    def check_listed(
        self, told: Sequence[Change[bytes, bytes]], wanted: Sequence[Change[bytes, bytes]], order: Order
    ) -> None:
        """A diff says what the oracle says; where keys are sealed, in some order of keys, the removal first."""
        if order == "command" or self.sorted_keys:
            assert list(told) == list(wanted)
        else:
            by_key = sorted(told, key=lambda change: (change.key, isinstance(change, Added)))
            assert by_key == list(wanted)
            runs = [(key, list(group)) for key, group in itertools.groupby(told, key=lambda change: change.key)]
            assert len(runs) == len({change.key for change in told}), "the changes of a key stand together"
            assert all(isinstance(group[0], Removed) for _, group in runs if len(group) > 1)

    def test_s08_a_diff_is_net(self, backend: Backend) -> None:
        """S8: what came and went in between does not show; what is the same entry at both ends neither."""
        commit(backend, Insert(b"stays", b"1"), Insert(b"goes", b"1"))
        commit(backend, Insert(b"brief", b"1"), Update(b"goes", b"2"))
        commit(backend, Remove(b"brief", b"1"), Remove(b"goes", b"2"))
        assert changes(backend, 1, 3) == [Removed(b"goes", b"1", 1)]
        assert changes(backend, 0, 3) == [Added(b"stays", b"1", 1)]
        assert changes(backend, 2, 3) == [Removed(b"brief", b"1", 2), Removed(b"goes", b"2", 2)]

    def test_s08_an_equal_value_of_another_version_is_another_entry(self, backend: Backend) -> None:
        """S8: a value that went and came back shows as removed and added, each with the version that introduced it."""
        commit(backend, Insert(b"k", b"1"))
        commit(backend, Remove(b"k", b"1"))
        commit(backend, Insert(b"k", b"1"))
        assert changes(backend, 1, 3) == [Removed(b"k", b"1", 1), Added(b"k", b"1", 3)]
        assert changes(backend, 3, 1) == [Removed(b"k", b"1", 3), Added(b"k", b"1", 1)]

    def test_s09_a_removal_stands_where_its_entry_ended(self, backend: Backend) -> None:
        """S9: a removal stands at the first effect after ``a`` that ended its entry, an addition where it came in."""
        commit(backend, Insert(b"z", b"1"), Insert(b"a", b"1"))
        commit(backend, Update(b"z", b"2"))
        commit(backend, Update(b"a", b"2"))
        commit(backend, Update(b"z", b"3"))
        assert changes(backend, 1, 4) == [
            Removed(b"z", b"1", 1),
            Removed(b"a", b"1", 1),
            Added(b"a", b"2", 3),
            Added(b"z", b"3", 4),
        ]
        wanted: list[Change[bytes, bytes]] = [
            Removed(b"a", b"1", 1),
            Added(b"a", b"2", 3),
            Removed(b"z", b"1", 1),
            Added(b"z", b"3", 4),
        ]
        self.check_listed(changes(backend, 1, 4, "key"), wanted, "key")

    @EVERY
    @pytest.mark.parametrize("order", ORDERS)
    def test_s08_to_s11_every_pair_of_versions(self, backend: Backend, name: str, order: Order) -> None:
        """S8-S11: between any two versions, either way and in either order, the diff is the oracle's, and replays."""
        oracle = fill(backend, name)
        states = oracle.log(LOG).states
        for start, end in itertools.product(range(len(states)), repeat=2):
            told = changes(backend, start, end, order)
            self.check_listed(told, changes(oracle, start, end, order), order)
            assert replayed(states[start], told) == states[end]

    @EVERY
    def test_s10_backward_is_the_inverse(self, backend: Backend, name: str) -> None:
        """S10: the way back is the way there in reverse, Added and Removed exchanged; keys keep their order."""
        head = fill(backend, name).log(LOG).head
        for low, high in itertools.combinations_with_replacement(range(head + 1), 2):
            there, back = changes(backend, low, high), changes(backend, high, low)
            assert back == [exchanged(change) for change in reversed(there)]
            there, back = changes(backend, low, high, "key"), changes(backend, high, low, "key")
            assert list(dict.fromkeys(c.key for c in back)) == list(dict.fromkeys(c.key for c in there))

    def test_s09_key_order_is_one_total_order(self, backend: Backend) -> None:
        """S9: keys stand in one order in every diff; by their bytes unless they are sealed."""
        keys = [bytes([i % 7, i % 5]) for i in range(35)]
        commit(backend, *(Insert(key, b"1") for key in keys))
        whole = [change.key for change in changes(backend, 0, 1, "key")]
        assert whole == sorted(keys) if self.sorted_keys else sorted(whole) == sorted(keys)
        commit(backend, *(Update(key, b"2") for key in keys[::3]))
        part = [change.key for change in changes(backend, 1, 2, "key")]
        assert part == [key for key in whole if key in keys[::3] for _ in range(2)]

    @EVERY
    def test_s11_a_diff_to_itself_is_empty_and_from_0_is_the_state(self, backend: Backend, name: str) -> None:
        """S11: ``diff(a, a)`` is empty; ``diff(0, v)`` lists ``state(v)``."""
        for version, entries in enumerate(fill(backend, name).log(LOG).states):
            assert changes(backend, version, version) == []
            told = changes(backend, 0, version)
            assert all(isinstance(change, Added) for change in told)
            assert replayed({}, told) == entries

    def test_s12_the_versions_default_to_0_and_head(self, backend: Backend) -> None:
        """S12: without versions a diff goes from 0 to the head, and each page names both, backward too."""
        assert backend.diff(LOG, DiffRequest()) == Page(0, 0, (), None)
        commit(backend, Insert(b"k", b"1"))
        commit(backend, Update(b"k", b"2"))
        assert backend.diff(LOG, DiffRequest()) == Page(0, 2, (Added(b"k", b"2", 2),), None)
        assert backend.diff(LOG, DiffRequest(1)) == Page(1, 2, (Removed(b"k", b"1", 1), Added(b"k", b"2", 2)), None)
        assert backend.diff(LOG, DiffRequest(2, 0)) == Page(2, 0, (Removed(b"k", b"2", 2),), None)

    @EVERY
    @pytest.mark.parametrize("order", ORDERS)
    def test_s12_pages_of_any_limit_make_the_whole(self, backend: Backend, name: str, order: Order) -> None:
        """S12: the pages of any limit put together are the unpaged diff, forward and backward; none is idle."""
        head = fill(backend, name).log(LOG).head
        for start, end in itertools.product(range(head + 1), repeat=2):
            whole = changes(backend, start, end, order)
            for limit in range(1, len(whole) + 2):
                told = pages(backend, DiffRequest(start, end, order=order, limit=limit))
                assert [change for page in told for change in page.changes] == whole
                assert {(page.from_version, page.to_version) for page in told} == {(start, end)}
                assert max(len(page.changes) for page in told) <= limit
                assert not whole or all(page.changes for page in told)

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("backward", [False, True])
    def test_s12_pages_stay_the_same_while_others_commit(self, backend: Backend, order: Order, backward: bool) -> None:
        """S12: commits between pages do not show in them, and a page asked for twice is the same."""
        head = fill(backend, "ends in another order than it began").log(LOG).head
        first = DiffRequest(head, 0, order=order, limit=1) if backward else DiffRequest(1, order=order, limit=1)
        whole = changes(backend, *((head, 0) if backward else (1, head)), order)
        page, told = backend.diff(LOG, first), list[Change[bytes, bytes]]()
        for turn in range(len(whole)):
            told += page.changes
            commit(backend, *(Upsert(bytes([i]), b"turn %d" % turn) for i in range(6)), Upsert(b"t%d" % turn, b""))
            assert (page.from_version, page.to_version) == ((head, 0) if backward else (1, head))
            if page.next is not None:
                following = DiffRequest(page.from_version, page.to_version, order=order, limit=1, cursor=page.next)
                page = backend.diff(LOG, following)
                assert backend.diff(LOG, following) == page
        assert page.next is None
        assert told == whole

    @pytest.mark.parametrize("order", ORDERS)
    def test_s12_limit_0_gives_the_versions_alone(self, backend: Backend, order: Order) -> None:
        """S12: ``limit=0`` answers the versions, no changes and no next page."""
        fill(backend, "there and back")
        assert backend.diff(LOG, DiffRequest(limit=0, order=order)) == Page(0, 6, (), None)
        assert backend.diff(LOG, DiffRequest(5, 2, limit=0, order=order)) == Page(5, 2, (), None)

    def test_s12_a_cursor_may_name_any_place(self, backend: Backend) -> None:
        """S12: a cursor before everything starts at the beginning; one behind everything has nothing left."""
        fill(backend, "there and back")
        whole = changes(backend, 1, 5)
        assert list(backend.diff(LOG, DiffRequest(1, 5, cursor=AtCommand(0, 0))).changes) == whole
        assert backend.diff(LOG, DiffRequest(1, 5, cursor=AtCommand(99, 0))) == Page(1, 5, (), None)
        assert list(backend.diff(LOG, DiffRequest(5, 1, cursor=AtCommand(99, 0))).changes) == changes(backend, 5, 1)
        assert backend.diff(LOG, DiffRequest(5, 1, cursor=AtCommand(0, 0))) == Page(5, 1, (), None)

    def test_s14_a_version_above_head_names_head(self, backend: Backend) -> None:
        """S14: a version above head is ``NonexistentVersion``, which names version, head and log; head is not."""
        fill(backend, "there and back")
        backend.diff(LOG, DiffRequest(6, 6))
        backend.versions(LOG, 6, 6)
        operations: dict[str, Callable[[], object]] = {
            "from": lambda: backend.diff(LOG, DiffRequest(7)),
            "from, waiting": lambda: backend.diff(LOG, DiffRequest(7, wait_seconds=30)),
            "to": lambda: backend.diff(LOG, DiffRequest(0, 7)),
            "to, with a cursor": lambda: backend.diff(LOG, DiffRequest(0, 7, cursor=AtCommand(1, 0))),
            "to, no changes": lambda: backend.diff(LOG, DiffRequest(0, 7, limit=0)),
            "versions from": lambda: backend.versions(LOG, 7),
            "versions to": lambda: backend.versions(LOG, 0, 7),
            "trim": lambda: backend.trim(LOG, 7),
        }
        for name, operation in operations.items():
            with pytest.raises(NonexistentVersion) as caught:
                operation()
            assert (caught.value.log, caught.value.version, caught.value.head) == (LOG, 7, 6), name

    @pytest.mark.parametrize("wrong", [-1, True, False, 1.0, "1", 2**63])
    def test_s14_a_version_is_a_whole_number_not_below_0(self, backend: Backend, wrong: int) -> None:
        """S14: a negative or non-integer version is ``InvalidRequest``, ``True`` included, and changes nothing."""
        fill(backend, "there and back")
        operations: dict[str, Callable[[], object]] = {
            "from": lambda: backend.diff(LOG, DiffRequest(wrong)),
            "to": lambda: backend.diff(LOG, DiffRequest(0, wrong)),
            "limit": lambda: backend.diff(LOG, DiffRequest(limit=wrong)),
            "versions from": lambda: backend.versions(LOG, wrong),
            "versions to": lambda: backend.versions(LOG, 0, wrong),
            "trim": lambda: backend.trim(LOG, wrong),
            "attempt": lambda: backend.update(LOG, transaction(Upsert(b"a", b"9")), wrong),
        }
        for name, operation in operations.items():
            with pytest.raises(InvalidRequest):
                operation()
            assert backend.describe(LOG).head == 6, name
        assert state(backend) == {}
