"""The rules of a diff alone, on spans and steps: S8-S12, S14 and S19, against the oracle and by hand."""

import itertools

import attrs
import pytest

from indelible import history
from indelible.changes import Added, Entry, Removed, Revision
from indelible.errors import IntegrityError, NonexistentVersion, VersionTrimmed
from indelible.history import Range, Span
from indelible.ledger import Ledger
from indelible.pages import AtCommand, AtKey, DiffRequest, Page
from indelible.records import Committed
from indelible.seams import now
from indelible.testing.oracle import ModelBackend, page
from indelible.testing.samples import HISTORIES, transaction

LOG = "log"


def told(name):
    """The spans that a ledger makes of a history, its head, and the oracle's log."""
    ledger, oracle = Ledger(LOG), ModelBackend()
    oracle.create(LOG)
    for commands in HISTORIES[name]:
        sent = transaction(*commands)
        assert isinstance(ledger.update(sent, 1, now()), Committed)
        oracle.update(LOG, sent)
    return [*ledger.ended, *ledger.live.values()], ledger.head, oracle.log(LOG)


def asked(spans, request, head):
    return history.page(spans, request, history.resolve(LOG, request, head, 0))


@pytest.mark.parametrize("order", ["command", "key"])
@pytest.mark.parametrize("name", HISTORIES)
def test_s08_to_s12_every_page_is_the_oracles(name, order):
    """S8-S12: between any two versions, from any cursor, with any limit, the page is the oracle's."""
    spans, head, model = told(name)
    keys = sorted({span.key for span in spans}) + [b"~"]
    cursors = [AtKey(key, seen) for key in keys for seen in (False, True)]
    if order == "command":
        places = itertools.product(range(head + 2), range(7), (False, True))
        cursors = [AtCommand(*place) for place in places]
    for start, end in itertools.product(range(head + 1), repeat=2):
        whole = asked(spans, DiffRequest(start, end, order=order), head)
        assert whole == page(model, DiffRequest(start, end, order=order))
        for limit in range(len(whole.changes) + 2):
            request = DiffRequest(start, end, order=order, limit=limit)
            assert asked(spans, request, head) == page(model, request)
    # The places between the changes, for the widest range each way and one in the middle.
    for start, end in {(0, head), (head, 0), (head // 3, head - head // 3)}:
        for cursor, limit in itertools.product(cursors, (1, 100)):
            request = DiffRequest(start, end, order=order, limit=limit, cursor=cursor)
            assert asked(spans, request, head) == page(model, request), request


def test_s08_who_is_alive():
    """S8: an entry is in the states from the version that added it up to the one before it ended."""
    span = Span(b"k", b"v", (2, 0), (4, 1))
    assert [span.alive_at(version) for version in range(6)] == [False, False, True, True, False, False]
    assert [span._replace(ended=None).alive_at(version) for version in range(4)] == [False, False, True, True]


def test_s09_s10_steps_of_a_range():
    """S9, S10: forward, what began is added and what ended is removed; backward the other way; each at its position."""
    began, ended = Span(b"a", b"1", (2, 3)), Span(b"b", b"2", (1, 0), (2, 5))
    passing = Span(b"c", b"3", (2, 0), (3, 0))
    staying, gone = Span(b"d", b"4", (1, 1)), Span(b"e", b"5", (1, 2), (1, 4))
    spans = [began, ended, passing, staying, gone]
    assert Range(1, 3, backward=False).steps(spans) == [
        ((2, 3), Added(b"a", b"1", 2)),
        ((2, 5), Removed(b"b", b"2", 1)),
    ]
    assert Range(1, 3, backward=True).steps(spans) == [
        ((2, 3), Removed(b"a", b"1", 2)),
        ((2, 5), Added(b"b", b"2", 1)),
    ]


@pytest.mark.parametrize(("version", "oldest"), [(0, 0), (0, 3), (3, 3), (4, 3), (5, 3), (1, 0), (1, 1), (5, 5)])
def test_s14_s19_a_version_that_can_be_named(version, oldest):
    """S14, S19: 0, and every version from the oldest to the head."""
    assert history.readable(LOG, version, 5, oldest) == version


def test_s14_s19_a_version_that_cannot_be_named():
    """S14, S19: above the head, the error names the head; below the oldest, the oldest."""
    with pytest.raises(NonexistentVersion) as above:
        history.readable(LOG, 6, 5, 3)
    assert attrs.asdict(above.value) == {"log": LOG, "version": 6, "head": 5}
    for version in (1, 2):
        with pytest.raises(VersionTrimmed) as below:
            history.readable(LOG, version, 5, 3)
        assert attrs.asdict(below.value) == {"log": LOG, "version": version, "oldest": 3}


def test_s12_s14_the_range_of_a_request():
    """S12, S14: the head where no version is named; lower first; backward only if it begins above its end."""
    assert history.resolve(LOG, DiffRequest(1), 5, 0) == Range(1, 5, backward=False)
    assert history.resolve(LOG, DiffRequest(4, 2), 5, 0) == Range(2, 4, backward=True)
    assert history.resolve(LOG, DiffRequest(3, 3), 5, 3) == Range(3, 3, backward=False)
    for request in (DiffRequest(6), DiffRequest(0, 6), DiffRequest(6, 6)):
        with pytest.raises(NonexistentVersion) as raised:
            history.resolve(LOG, request, 5, 0)
        assert attrs.asdict(raised.value) == {"log": LOG, "version": 6, "head": 5}
    for request in (DiffRequest(2), DiffRequest(5, 2)):
        with pytest.raises(VersionTrimmed) as raised:
            history.resolve(LOG, request, 5, 3)
        assert attrs.asdict(raised.value) == {"log": LOG, "version": 2, "oldest": 3}


def test_s09_s10_what_a_diff_is_sorted_by():
    """S9, S10: position forward, falling position backward, key in both; at one place the removal comes first."""
    added, removed = ((2, 3), Added(b"k", b"", 2)), ((2, 3), Removed(b"k", b"", 1))
    assert history.rank(added, "command", backward=False) == ((2, 3), True)
    assert history.rank(removed, "command", backward=False) == ((2, 3), False)
    assert history.rank(added, "command", backward=True) == ((-2, -3), True)
    for backward in (False, True):
        assert history.rank(added, "key", backward) == (b"k", True)
        assert history.rank(removed, "key", backward) == (b"k", False)


def test_s12_where_a_page_begins():
    """S12: the rank that a cursor stands for, in the direction of the diff."""
    assert history.start(None, backward=False) is None
    assert history.start(AtKey(b"k", removal_seen=True), backward=True) == (b"k", True)
    assert history.start(AtCommand(2, 3, removal_seen=False), backward=False) == ((2, 3), False)
    assert history.start(AtCommand(2, 3, removal_seen=True), backward=True) == ((-2, -3), True)


def test_s12_a_page_of_nothing_asks_for_nothing():
    """S12: ``limit=0`` gives the versions, in the direction asked for, and does not look at a single step."""

    def steps():
        raise AssertionError("looked at")
        yield

    request = DiffRequest(limit=0)
    assert history.cut(steps(), request, Range(1, 4, backward=False)) == Page(1, 4, (), None)
    assert history.cut(steps(), request, Range(1, 4, backward=True)) == Page(4, 1, (), None)


@pytest.mark.parametrize("order", ["command", "key"])
@pytest.mark.parametrize("limit", [2**62, 2**63 - 2, 2**63 - 1])
def test_s12_the_largest_limit_is_one(limit, order):
    """S12, S14: any limit that a request takes is one that a page can have."""
    spans, head, model = told("there and back")
    request = DiffRequest(0, head, limit=limit, order=order)
    assert asked(spans, request, head) == page(model, request)
    many = [((1, index), Added(b"%d" % index, b"", 1)) for index in range(1000)]
    answer = history.cut(many, request, Range(0, 1, backward=False))
    assert (len(answer.changes), answer.next) == (1000, None)


@pytest.mark.parametrize("name", HISTORIES)
def test_the_history_of_a_key_is_the_oracles(name):
    """S18: what the spans of a key tell is what each version did to it."""
    spans, _, model = told(name)
    for key in {span.key for span in spans} | {b"never"}:
        assert history.revisions(span for span in spans if span.key == key) == model.history(key)


def test_a_history_may_begin_in_the_middle():
    """S18, S19: of a key whose past was trimmed, what is left is told, oldest first."""
    spans = [Span(b"k", b"2", (5, 1)), Span(b"k", b"1", (2, 0), (5, 1)), Span(b"k", b"0", (1, 0), (2, 0))]
    zero, one, two = (Entry(b"k", b"%d" % n, version) for n, version in enumerate((1, 2, 5)))
    assert history.revisions(spans) == [Revision(1, None, zero), Revision(2, zero, one), Revision(5, one, two)]
    assert history.revisions([Span(b"k", b"1", (2, 0), (5, 1))]) == [Revision(2, None, one), Revision(5, one, None)]


@pytest.mark.parametrize(
    ("before", "oldest", "after"), [(0, 0, 0), (1, 0, 0), (2, 0, 2), (5, 0, 5), (2, 3, 3), (1, 3, 3), (4, 3, 4)]
)
def test_s19_how_far_a_trim_goes(before, oldest, after):
    """S19: never back, and nowhere for a trim that forgets nothing."""
    assert history.trimmed(LOG, before, 5, oldest) == after


def test_s19_a_trim_above_the_head_names_it():
    """S19: ``before > head`` is ``NonexistentVersion``."""
    with pytest.raises(NonexistentVersion) as raised:
        history.trimmed(LOG, 6, 5, 0)
    assert attrs.asdict(raised.value) == {"log": LOG, "version": 6, "head": 5}


def test_s10_the_inverse_is_reversed_and_exchanged():
    """S10: in reverse order, Added and Removed exchanged, each entry as it was."""
    assert history.inverse([Removed(b"k", b"1", 1), Added(b"k", b"2", 3)]) == (
        Removed(b"k", b"2", 3),
        Added(b"k", b"1", 1),
    )


def test_s11_replay_leaves_what_it_began_with():
    """S11: the state after the changes is a new one; the old stays. A change that does not fit is named."""
    before = {b"k": Entry(b"k", b"1", 1), b"l": Entry(b"l", b"1", 1)}
    after = history.replay(before, [Removed(b"k", b"1", 1), Added(b"m", b"2", 2)])
    assert after == {b"l": Entry(b"l", b"1", 1), b"m": Entry(b"m", b"2", 2)}
    assert set(before) == {b"k", b"l"}
    for wrong, why in [
        (Removed(b"k", b"2", 1), "removes an entry that is not there"),
        (Removed(b"n", b"2", 1), "removes an entry that is not there"),
        (Added(b"k", b"1", 1), "adds an entry where one is already"),
        (Added(b"k", b"3", 3), "adds an entry where one is already"),
    ]:
        with pytest.raises(IntegrityError) as raised:
            history.replay(before, [wrong])
        assert str(raised.value) == f"a diff {why}"
