"""S8-S12 over every pair of versions of histories that hypothesis makes up."""

import itertools

from hypothesis import given

from indelible.backends.memory import MemoryBackend
from indelible.changes import Added, Removed
from indelible.errors import IntegrityError, Rejected
from indelible.history import inverse, replay
from indelible.pages import DiffRequest
from indelible.testing import strategies
from indelible.testing.oracle import ModelBackend, page
from indelible.testing.samples import changes, pages

import pytest

LOG = "log"


def told(history):
    """A memory backend and the oracle's log, both told this history."""
    backend, oracle = MemoryBackend(), ModelBackend()
    for it in (backend, oracle):
        it.create(LOG)
        for transaction in history:
            try:
                it.update(LOG, transaction)
            except Rejected:
                continue
    return backend, oracle.log(LOG)


def pairs(model):
    return itertools.product(range(model.head + 1), repeat=2)


@given(strategies.histories())
def test_s08_to_s10_a_diff_is_the_oracles(history):
    """S8-S10: between any two versions, either way, in either order, the diff is the oracle's."""
    backend, model = told(history)
    for (start, end), order in itertools.product(pairs(model), ("command", "key")):
        wanted = page(model, DiffRequest(start, end, order=order))
        assert backend.diff(LOG, DiffRequest(start, end, order=order)) == wanted


@given(strategies.histories())
def test_s11_a_diff_replays(history):
    """S11: ``replay(state(a), diff(a, b)) == state(b)`` in either order; ``diff(a, a)`` is empty."""
    backend, model = told(history)
    for (start, end), order in itertools.product(pairs(model), ("command", "key")):
        diff = changes(backend, start, end, order, LOG)
        assert replay(model.states[start], diff) == model.states[end]
        assert start != end or diff == []


@given(strategies.histories())
def test_s10_the_way_back_is_the_inverse(history):
    """S10: ``diff(b, a)`` is the inverse of ``diff(a, b)``, and the inverse of the inverse is the diff itself."""
    backend, model = told(history)
    for start, end in pairs(model):
        diff = changes(backend, start, end, log=LOG)
        assert tuple(changes(backend, end, start, log=LOG)) == inverse(diff)
        assert inverse(inverse(diff)) == tuple(diff)
        assert replay(replay(model.states[start], diff), inverse(diff)) == model.states[start]


def net(diff):
    """What a list of changes comes to: before and after by key, what came and went left out."""
    before, after = {}, {}
    for change in diff:
        entry = (change.value, change.version)
        if isinstance(change, Added):
            after[change.key] = entry
        elif after.pop(change.key, None) is None:
            before[change.key] = entry
    return {key: (before.get(key), after.get(key)) for key in {*before, *after} if before.get(key) != after.get(key)}


@given(strategies.histories(max_size=6))
def test_s08_diffs_compose(history):
    """S8: ``diff(a, b)`` then ``diff(b, c)`` comes to ``diff(a, c)``, whichever way each of them goes."""
    backend, model = told(history)
    whole = {pair: changes(backend, *pair, log=LOG) for pair in pairs(model)}
    for a, b, c in itertools.product(range(model.head + 1), repeat=3):
        assert net(whole[a, b] + whole[b, c]) == net(whole[a, c])
        assert len(whole[a, c]) == sum((x is not None) + (y is not None) for x, y in net(whole[a, c]).values())


@given(strategies.histories(max_size=5))
def test_s12_pages_of_every_limit_make_the_whole(history):
    """S12: whatever the limit, order and direction, the pages put together are the unpaged diff, and all but the last full."""
    backend, model = told(history)
    for (start, end), order in itertools.product(pairs(model), ("command", "key")):
        whole = changes(backend, start, end, order, LOG)
        for limit in range(1, min(len(whole), 6) + 2):
            request = DiffRequest(start, end, order=order, limit=limit)
            parts = pages(backend, request, LOG)
            assert [change for part in parts for change in part.changes] == whole
            assert [len(part.changes) for part in parts[:-1]] == [limit] * (len(parts) - 1)
            assert len(parts) == max(1, -(-len(whole) // limit))
            for part, following in itertools.pairwise(parts):
                asked = DiffRequest(start, end, order=order, limit=limit, cursor=part.next)
                assert page(model, asked) == following == backend.diff(LOG, asked)


@given(strategies.histories())
def test_s09_changes_stand_in_their_order(history):
    """S9: keys ascend in order ``key``; at most a removal and then an addition for one key, in both orders."""
    backend, model = told(history)
    for (start, end), order in itertools.product(pairs(model), ("command", "key")):
        diff = changes(backend, start, end, order, LOG)
        if order == "key":
            assert [change.key for change in diff] == sorted(change.key for change in diff)
        if order == "key" or start <= end:
            for key in {change.key for change in diff}:
                kinds = [type(change) for change in diff if change.key == key]
                assert kinds in ([Added], [Removed], [Removed, Added])


def test_replay_refuses_what_does_not_fit():
    """A diff of another state is no diff of this one: replay says so; the control fits."""
    fits = [Removed(b"k", b"1", 1), Added(b"k", b"2", 2)]
    state = replay({}, [Added(b"k", b"1", 1)])
    assert [it.value for it in replay(state, fits).values()] == [b"2"]
    for wrong in ([Removed(b"k", b"2", 1)], [Removed(b"k", b"1", 2)], [Removed(b"l", b"1", 1)], [Added(b"k", b"1", 1)]):
        with pytest.raises(IntegrityError):
            replay(state, wrong)
