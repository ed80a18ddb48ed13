"""A log as a program sees it: typed, readable at any version, and strict about what it is given."""

import datetime as dt
import itertools
import threading

import attrs
import pytest

import indelible
from indelible import (
    Added,
    Committed,
    Entry,
    ExpectVersion,
    Insert,
    InvalidRequest,
    Limits,
    MasterKey,
    NonexistentVersion,
    OutcomeUnknown,
    Remove,
    Removed,
    Revision,
    TooLarge,
    Transaction,
    Undecodable,
    UnexpectedVersion,
    Update,
    Upsert,
    VersionTrimmed,
    codecs,
)
from indelible.backends import MemoryBackend
from indelible.pages import DiffRequest

KEY = MasterKey.generate()


@attrs.frozen
class Order:
    item: str
    count: int = 1


@pytest.fixture(params=["memory:", "sqlite, sealed"])
def client(request, tmp_path):
    if request.param == "memory:":
        client = indelible.connect("memory:")
    else:
        client = indelible.connect(f"sqlite:///{tmp_path}/logs.db", master_key=KEY)
    with client:
        yield client


@pytest.fixture
def log(client):
    log = client.log("orders")
    log.create(group="mykey")
    return log


def held(log):
    return {entry.key: entry.value for entry in log}


def test_the_example_of_the_architecture_runs(log):
    """What architecture.md shows is what happens."""
    log.update([Upsert("foo", [1, 2, 3])])
    answer = log.update(
        Transaction([ExpectVersion(1), Remove("foo", [1, 2, 3]), Insert("bar", [4, 5, 6])], source="python")
    )
    assert answer == Committed(2, changed=True, replayed=False)
    diff = log.diff(from_version=1, wait_seconds=60)
    assert (diff.from_version, diff.to_version) == (1, 2)
    told = []
    for change in diff:
        match change:
            case Added(key, value):
                told.append(("+", key, value))
            case Removed(key, value):
                told.append(("-", key, value))
    assert told == [("-", "foo", [1, 2, 3]), ("+", "bar", [4, 5, 6])]
    assert list(log) == [Entry("bar", [4, 5, 6], 2)]
    assert log.get("foo") is None
    assert log.get("foo", at=1) == [1, 2, 3]
    assert log.history("foo") == [
        Revision(1, None, Entry("foo", [1, 2, 3], 1)),
        Revision(2, Entry("foo", [1, 2, 3], 1), None),
    ]
    assert dict(log.snapshot(at=1)) == {"foo": [1, 2, 3]}
    assert log.version == 2
    assert [(info.version, info.source, info.effects) for info in log.versions()] == [(1, None, 1), (2, "python", 2)]
    assert all(info.committed_at.tzinfo == dt.UTC for info in log.versions())
    assert log.describe().group == "mykey"


def test_a_typed_log_gives_values_of_its_class(client, log):
    """Values of a declared class come back as such; values of another are refused, those stored by another told."""
    orders = client.log("orders", values=codecs.typed(Order))
    orders.update([Insert("a", Order("pen", 3))])
    assert orders.get("a") == Order("pen", 3)
    assert list(orders) == [Entry("a", Order("pen", 3), 1)]
    assert orders.snapshot()["a"] == Order("pen", 3)
    assert orders.history("a")[0].after == Entry("a", Order("pen", 3), 1)
    assert list(orders.diff()) == [Added("a", Order("pen", 3), 1)]
    with pytest.raises(InvalidRequest):
        orders.update([Upsert("a", {"item": "pen"})])
    log.update([Upsert("b", "no order")])
    for read in (lambda: list(orders), lambda: orders.get("b"), lambda: orders.history("b")):
        with pytest.raises(Undecodable):
            read()
    assert orders.get("a") == Order("pen", 3)


def test_a_diff_stays_as_it_was_read(log):
    """S7, S12: a diff iterates again and again, page by page, whatever is committed meanwhile."""
    log.update([Insert(str(n), n) for n in range(10)])
    diff = log.diff(page_size=3)
    first, second = iter(diff), iter(diff)
    begun = list(itertools.islice(first, 4))
    log.update([Upsert("0", "else"), Remove("9", 9), Insert("new", 1)])
    whole = [Added(str(n), n, 1) for n in range(10)]
    assert begun + list(first) == whole
    assert list(second) == whole
    assert list(diff) == whole
    assert (diff.from_version, diff.to_version) == (0, 1)
    assert diff
    assert not log.diff(2)
    exchanged = [
        (Removed if isinstance(c, Added) else Added)(c.key, c.value, c.version) for c in reversed(list(log.diff(1, 2)))
    ]
    assert list(log.diff(2, 1, page_size=2)) == exchanged


def test_a_diff_whose_versions_are_trimmed_says_so(log):
    """S19: a diff between versions that were forgotten raises ``VersionTrimmed`` where it would read on."""
    for n in range(5):
        log.update([Insert(str(n), n)])
    diff = log.diff(1, 3, page_size=1)
    log.trim(5)
    with pytest.raises(VersionTrimmed):
        list(diff)
    assert [c.key for c in log.diff(0, page_size=1)] == list("01234")


def test_order_by_key(log):
    """S9: order ``key`` holds every change once."""
    log.update([Insert(str(n), n) for n in reversed(range(8))])
    assert sorted(c.key for c in log.diff(order="key", page_size=3)) == [str(n) for n in range(8)]


def test_following_misses_nothing(log):
    """S13: ``follow`` gives every change once, in order, also while others write, and can go on later."""
    writer = threading.Thread(target=lambda: [log.update([Insert(str(n), n)]) for n in range(20)])
    writer.start()
    told, last = [], 0
    for diff in log.follow():
        assert diff.from_version == last
        last = diff.to_version
        told += [change.key for change in diff]
        if last == 20:
            break
    writer.join()
    assert told == [str(n) for n in range(20)]
    assert [c.key for c in next(log.follow(18))] == ["18", "19"]


def test_get_knows_its_default(log):
    """``get`` gives the value, at any version, or the default; a stored null is not the same as nothing."""
    log.update([Insert("null", None), Insert("k", 1)])
    log.update([Upsert("k", 2)])
    assert log.get("missing") is None
    assert log.get("missing", "default") == "default"
    assert log.get("null", "default") is None
    assert (log.get("k"), log.get("k", at=1), log.get("k", at=0), log.get("k", "d", at=0)) == (2, 1, None, "d")
    with pytest.raises(NonexistentVersion):
        log.get("k", at=3)


def test_get_finds_its_key_among_neighbours(log):
    """A key is not mistaken for one beside it."""
    log.update([Insert(key, key) for key in ("a", "aa", "ab", "b", "", "\0")])
    for key in ("a", "aa", "ab", "b", "", "\0"):
        assert log.get(key) == key
    for key in ("aaa", "ac", "c", "\0\0"):
        assert log.get(key) is None


def test_a_snapshot_never_changes(log):
    """S7: a snapshot is a mapping that outlives what happens to its log, and hands out values nobody else holds."""
    log.update([Insert("k", [1]), Insert("l", 2)])
    snapshot = log.snapshot()
    log.update([Upsert("k", [9]), Remove("l", 2)])
    log.trim(2)
    assert (snapshot.version, len(snapshot), dict(snapshot)) == (1, 2, {"k": [1], "l": 2})
    snapshot["k"].append(2)
    assert snapshot["k"] == [1]
    assert snapshot.entry("l") == Entry("l", 2, 1)
    assert "k" in snapshot
    assert "missing" not in snapshot
    assert snapshot.get("missing", 5) == 5
    with pytest.raises(KeyError):
        snapshot["missing"]
    assert dict(log.snapshot(0)) == {}
    assert dict(log.snapshot()) == {"k": [9]}


def test_a_snapshot_reads_all_its_pages(client, log):
    """A snapshot holds everything, however many pages that is."""
    for start in range(0, 12_000, 6_000):
        log.update([Insert(str(n), n) for n in range(start, start + 6_000)])
    snapshot = log.snapshot()
    assert len(snapshot) == 12_000
    assert sum(1 for _ in log) == 12_000


def test_more_versions_than_fit_one_answer(log):
    """S18: ``versions`` gives every one, in order, once, also of thousands, of a part, and after a trim."""
    total = 1_050
    for n in range(total):
        log.update([Upsert("k", n)], source=str(n))
    assert [info.version for info in log.versions()] == list(range(1, total + 1))
    assert [info.source for info in log.versions(5, 8)] == ["5", "6", "7"]
    assert [info.version for info in log.versions(10, 1_045)] == list(range(11, 1_046))
    assert list(log.versions(total)) == list(log.versions(9, 9)) == list(log.versions(9, 3)) == []
    log.trim(1_020)
    assert [info.version for info in log.versions()] == list(range(1_020, total + 1))
    assert [info.version for info in log.versions(1_020)] == list(range(1_021, total + 1))
    with pytest.raises(VersionTrimmed):
        list(log.versions(7))


@pytest.mark.parametrize("wrong", [-1, True, "1", 1.0, 10**30])
def test_versions_that_are_none_are_refused(log, wrong):
    """S14: wherever a version is taken, what is none is an ``InvalidRequest``; a true one is taken."""
    log.update([Insert("k", 1)])
    for ask in (
        lambda it: log.diff(it),
        lambda it: log.diff(0, it),
        lambda it: log.get("k", at=it),
        lambda it: log.snapshot(it),
        lambda it: list(log.versions(it)),
        lambda it: list(log.versions(0, it)),
        lambda it: log.trim(it),
        lambda it: ExpectVersion(it),
        lambda it: log.update([], attempt=it),
    ):
        with pytest.raises(InvalidRequest):
            ask(wrong)
        ask(1)
    with pytest.raises(InvalidRequest):
        next(log.follow(wrong))


def test_versions_above_the_head_are_refused_at_once(log):
    """S14: a version above the head raises before anything is given."""
    log.update([Insert("k", 1)])
    for given in ((2,), (0, 2), (0, 5_000)):
        with pytest.raises(NonexistentVersion) as caught:
            next(log.versions(*given))
        assert caught.value.head == 1


@pytest.mark.parametrize("page_size", [0, -1, True, "5", None])
def test_a_page_size_is_a_positive_number(log, page_size):
    """A diff without room for a change is refused."""
    with pytest.raises(InvalidRequest):
        log.diff(page_size=page_size)
    log.diff(page_size=1)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", True, None])
def test_a_wait_is_a_number_of_seconds(log, seconds):
    """What cannot be waited is refused at once."""
    with pytest.raises(InvalidRequest):
        log.diff(wait_seconds=seconds)
    assert log.diff(wait_seconds=0.01).to_version == 0


def test_a_value_is_taken_as_it_is_when_handed_over(log):
    """Changing a value after the hand-over, or one that was handed out, changes nothing stored."""
    value = {"list": [1]}
    log.update([Insert("k", value)])
    value["list"].append(2)
    log.get("k")["list"].append(3)
    for entry in log:
        entry.value["list"].append(4)
    for change in (diff := log.diff()):
        change.value["list"].append(5)
    assert [change.value for change in diff] == [{"list": [1]}]
    assert log.get("k") == {"list": [1]}
    commands = [Upsert("k", 1)]
    sent = Transaction(commands)
    commands.append(Upsert("l", 1))
    log.update(sent)
    assert held(log) == {"k": 1}


class Strange:
    pass


def itself():
    value = []
    value.append(value)
    return value


BAD = {
    "a key that is no text": lambda: Upsert(5, 1),
    "a key of bytes": lambda: Upsert(b"k", 1),
    "no key": lambda: Upsert(None, 1),
    "a key with half a character": lambda: Upsert("\ud800", 1),
    "a key over the limit": lambda: Upsert("k" * 4097, 1),
    "a value that is no JSON": lambda: Upsert("k", {1, 2}),
    "bytes as a value": lambda: Upsert("k", b"x"),
    "an object": lambda: Upsert("k", Strange()),
    "not a number": lambda: Upsert("k", float("nan")),
    "infinity, deep inside": lambda: Upsert("k", {"a": [float("inf")]}),
    "a value with half a character": lambda: Upsert("k", ["\udfff"]),
    "a tuple, which would come back a list": lambda: Upsert("k", (1, 2)),
    "a member that is no text": lambda: Upsert("k", {1: 2}),
    "a value that holds itself": lambda: Upsert("k", itself()),
    "a value over the limit": lambda: Upsert("k", "v" * (1024 * 1024)),
    "a text for a command": lambda: "Upsert",
    "a tuple for a command": lambda: ("k", 1),
    "None for a command": lambda: None,
    "a class for a command": lambda: Upsert,
    "a version that is True": lambda: ExpectVersion(True),
    "a negative version": lambda: ExpectVersion(-1),
    "a version in text": lambda: ExpectVersion("1"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_changes_nothing(log, what):
    """S3, S17: one command that is wrong is refused as ``InvalidRequest``, whatever stands beside it, and nothing is
    stored; the same transaction without it goes through."""
    log.update([Insert("before", 1)])
    with pytest.raises(InvalidRequest) as caught:
        log.update([Upsert("good", 1), BAD[what](), Upsert("better", 2)])
    assert isinstance(caught.value, ValueError)
    assert (log.version, held(log)) == (1, {"before": 1})
    assert log.update([Upsert("good", 1), Upsert("better", 2)]).version == 2


@pytest.mark.parametrize(
    ("commands", "options"),
    [
        (None, {}),
        (5, {}),
        ("text", {}),
        (Upsert("k", 1), {}),
        ([Upsert("k", 1)], {"source": 5}),
        ([Upsert("k", 1)], {"source": "\ud800"}),
        ([Upsert("k", 1)], {"source": "s" * 257}),
        ([Upsert("k", 1)], {"attempt": -1}),
        ([Upsert("k", 1)], {"attempt": "1"}),
        (Transaction([Upsert("k", 1)], "here"), {"source": "there"}),
        ([Upsert(str(n), 1) for n in range(10_001)], {}),
    ],
    ids=lambda it: str(it)[:30],
)
def test_a_bad_transaction_changes_nothing(log, commands, options):
    """S17: what is no transaction, or over a limit, is refused whole."""
    with pytest.raises(InvalidRequest):
        log.update(commands, **options)
    assert (log.version, held(log)) == (0, {})
    log.update([Upsert("k", 1)], source="s" * 256, attempt=1)


@pytest.mark.parametrize("wrong", [b"", b"x" * 15, b"x" * 17, "x" * 16, None, 5])
def test_a_transaction_id_is_16_bytes(wrong):
    """S16: an id of another make is refused; one of 16 bytes is taken."""
    with pytest.raises(InvalidRequest):
        Transaction([], id=wrong)
    assert Transaction([], id=b"x" * 16).id == b"x" * 16


@pytest.mark.parametrize("name", ["", None, 5, b"log", "\ud800", "n" * 1025, ["a"]])
def test_a_bad_name_is_refused_by_every_call(client, name):
    """What cannot name a log is refused by whatever is asked of it, and no log is made."""
    log = client.log(name)
    for ask in (
        log.create,
        log.describe,
        lambda: log.version,
        lambda: log.update([]),
        log.diff,
        lambda: list(log),
        lambda: log.get("k"),
        lambda: log.history("k"),
        log.snapshot,
        lambda: list(log.versions()),
        lambda: log.trim(0),
    ):
        with pytest.raises(InvalidRequest):
            ask()
    assert list(client.logs()) == []
    client.log("n" * 100).create()


@pytest.mark.parametrize("group", [5, b"g", "\ud800", "g" * 257])
def test_a_bad_group_is_refused(client, group):
    """What cannot be a group is refused when creating and when listing; the longest there may be is taken."""
    with pytest.raises(InvalidRequest):
        client.log("a").create(group)
    with pytest.raises(InvalidRequest):
        client.logs(group)
    client.log("a").create("g" * 256)
    assert len(client.logs("g" * 256)) == 1


def test_limits_hold_to_the_byte():
    """At a limit all is taken, one past it nothing, and the error says which, how much and how much at most."""
    limits = Limits(key=8, value=8, name=8, group=8, source=8, commands=2)
    with indelible.connect("memory:", limits=limits) as client:
        log = client.log("n" * 8)
        log.create("g" * 8)
        log.update([Upsert("k" * 8, "v" * 6), Upsert("é" * 4, 1)], source="s" * 8)
        for what, ask in {
            "key": lambda: log.update([Upsert("k" * 9, 1)]),
            "value": lambda: log.update([Upsert("k", "v" * 7)]),
            "source": lambda: log.update([Upsert("k", 1)], source="é" * 5),
            "commands": lambda: log.update([Upsert("k", 1)] * 3),
            "name": lambda: client.log("n" * 9).create(),
            "group": lambda: client.log("n").create("g" * 9),
        }.items():
            with pytest.raises(TooLarge) as caught:
                ask()
            assert (caught.value.limit, caught.value.maximum) == (what, getattr(limits, what))
            assert caught.value.size > caught.value.maximum
        assert log.version == 1
        assert len(client.logs()) == 1


@pytest.mark.parametrize("wrong", [-1, True, "5", None, 1.5])
def test_limits_are_numbers(wrong):
    """A limit that is none is refused when it is set."""
    with pytest.raises(InvalidRequest):
        Limits(key=wrong)
    assert Limits(key=0).key == 0


def test_an_unknown_outcome_can_be_sent_again(client):
    """S16, S17: what ``OutcomeUnknown`` carries is what was sent, and sending it again takes effect once."""

    class Lossy(MemoryBackend):
        lost = False

        def update(self, log, transaction, attempt=1):
            answer = super().update(log, transaction, attempt)
            if not self.lost:
                self.lost = True
                raise OutcomeUnknown(log, transaction, attempt, "lost")
            return answer

    log = indelible.Client(Lossy()).log("a")
    log.create()
    sent = Transaction([Insert("k", [1])])
    with pytest.raises(OutcomeUnknown) as caught:
        log.update(sent)
    error = caught.value
    assert error.transaction is sent
    assert log.update(error.transaction, attempt=error.attempt + 1) == Committed(1, changed=True, replayed=True)
    assert log.version == 1
    with pytest.raises(UnexpectedVersion):
        log.update([ExpectVersion(0), Update("k", [2])])


def test_two_views_of_one_log_see_the_same(client, log):
    """A log is its name: any number of ``Log`` objects, and the backend beneath, show one history."""
    other = client.log("orders")
    log.update([Insert("k", 1)])
    assert other.get("k") == 1
    assert client.backend.diff("orders", DiffRequest()).to_version == other.version == 1
    assert (repr(log), log.name) == ("<Log 'orders'>", "orders")
