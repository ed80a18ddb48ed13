"""The published client, unchanged, against the service over HTTP: all that it offers does what it says.

Its errors are ``BaseException``s and its check of a profile is the wrong way round; it is used as it is.
"""

import json
import threading

import indelible_log
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indelible_log import Cmd
from serving import PATIENCE, serving

from indelible import compat, seams
from indelible.backends.scoped import ScopedBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.changes import Added
from indelible.commands import ExpectVersion, Insert, Remove, Update, Upsert
from indelible.errors import Rejected
from indelible.pages import DiffRequest
from indelible.testing import strategies
from indelible.testing.oracle import ModelBackend

KEY = "v7RBLmFz5oB+IWOtGBEyfgejHvyYZwMTu+x0bbzZ+/4="
ENCRYPT = pytest.mark.parametrize("encrypt", [True, False], ids=["sealed", "open"])
THEIRS = {Insert: Cmd.Insert, Update: Cmd.Update, Upsert: Cmd.Upsert, Remove: Cmd.Remove}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with serving(f"sqlite:///{tmp_path_factory.mktemp('service')}/logs.db") as service:
        yield service


@pytest.fixture(scope="module")
def profile(service):
    given = service.credentials("acme")
    return indelible_log.profileFromJson(
        json.dumps(
            {
                "endpoint_url": service.url,
                "customer_id": given.customer_id,
                "apikey": given.apikey.reveal().decode(),
                "master_key_base64": KEY,
            }
        )
    )


def fresh():
    return seams.entropy(8).hex()


@pytest.fixture
def log(profile):
    log = indelible_log.Log(fresh(), profile)
    log.create("mykey")
    return log


def refused(ask):
    """The error that a call ends with, as its users see it."""
    with pytest.raises(indelible_log.ApiErrorException) as caught:
        ask()
    assert set(vars(caught.value)) == {"code", "codeNumber", "message", "details"}
    assert all(type(value) is str for value in caught.value.details.values())
    return caught.value


def entries(log):
    return {change["entry"]["key"]: change["entry"]["value"] for change in log}


def test_the_walk_through(profile):
    """The seed's tour, call by call."""
    log = indelible_log.Log(
        json.dumps(["walkthrough", "Hello, world!", "v1"]), profile, encrypt=True, key_mode="string", value_mode="json"
    )
    log.create(log_group="mykey")
    log.update(update_source="python", commands=[Cmd.Upsert("foo", [1, 2, 3])])
    assert list(log) == [{"change": "Add", "entry": {"key": "foo", "value": [1, 2, 3]}, "version": 1}]
    assert list(log.version_diff(from_version=1).changes()) == []
    log.update(
        update_source="python",
        commands=[Cmd.ExpectVersion(1), Cmd.Remove("foo", [1, 2, 3]), Cmd.Insert("bar", [4, 5, 6])],
    )
    diff = log.version_diff(from_version=1, wait_seconds=60)
    assert (diff.from_version, diff.to_version, str(diff)) == (1, 2, "2")
    assert list(diff.changes()) == [
        {"change": "Remove", "entry": {"key": "foo", "value": [1, 2, 3]}, "version": 1},
        {"change": "Add", "entry": {"key": "bar", "value": [4, 5, 6]}, "version": 2},
    ]


def test_creating_again_does_nothing_and_another_group_is_refused(log):
    """S1: the same group again is fine and the log keeps what it holds; another group, or none, is ``LOG_EXISTS``."""
    log.update([Cmd.Insert("k", 1)])
    log.create("mykey")
    for group in ("another", None):
        error = refused(lambda group=group: log.create(group))
        assert (error.code, error.codeNumber) == ("LOG_EXISTS", 1010)
    assert entries(log) == {"k": 1}


def test_a_log_without_a_group(profile):
    """S1: a log may have no group, and creating it again so does nothing."""
    log = indelible_log.Log(fresh(), profile)
    log.create()
    log.create()
    assert refused(lambda: log.create("g")).code == "LOG_EXISTS"


@ENCRYPT
def test_every_command_does_what_the_table_says(profile, encrypt):
    """S2: each command on no value, the same value and another value; the version rises only with a change (S5)."""
    log = indelible_log.Log(fresh(), profile, encrypt=encrypt)
    log.create()
    steps = [
        (Cmd.Remove("k", 1), {}),
        (Cmd.Insert("k", 1), {"k": 1}),
        (Cmd.Insert("k", 1), {"k": 1}),
        (Cmd.Update("k", 1), {"k": 1}),
        (Cmd.Update("k", 2), {"k": 2}),
        (Cmd.Upsert("k", 2), {"k": 2}),
        (Cmd.Upsert("k", 3), {"k": 3}),
        (Cmd.Upsert("new", 1), {"k": 3, "new": 1}),
        (Cmd.Remove("k", 2), {"k": 3, "new": 1}),
        (Cmd.Remove("k", 3), {"new": 1}),
    ]
    before, version = {}, 0
    for command, after in steps:
        log.update([command])
        version += after != before
        before = after
        assert entries(log) == after
        assert log.version_diff(0).to_version == version


@pytest.mark.parametrize(
    ("commands", "code", "number", "details"),
    [
        (
            [Cmd.ExpectVersion(7)],
            "UNEXPECTED_VERSION",
            1003,
            {"index": "0", "command": "ExpectVersion", "head": "1", "expected": "7", "actual": "1"},
        ),
        ([Cmd.Insert("k", 2)], "UNEXPECTED_VALUE", 1008, {"index": "0", "command": "Insert", "head": "1"}),
        (
            [Cmd.Upsert("l", 1), Cmd.Update("m", 2)],
            "NONEXISTENT_VALUE",
            1009,
            {"index": "1", "command": "Update", "head": "1"},
        ),
    ],
)
def test_a_rejection_says_what_was_rejected_and_writes_nothing(log, commands, code, number, details):
    """S3: code, number, place and head are told, no value is, and nothing of the transaction is there."""
    log.update([Cmd.Insert("k", "a secret of somebody")])
    error = refused(lambda: log.update(commands))
    assert (error.code, error.codeNumber) == (code, number)
    request_id = error.details.pop("requestId")
    assert request_id
    assert error.details == details | {"effect": "none"}
    assert log.remote_name in error.message
    assert "secret" not in str(vars(error))
    assert entries(log) == {"k": "a secret of somebody"}
    log.update([Cmd.ExpectVersion(1), Cmd.Update("k", 2)])
    assert entries(log) == {"k": 2}


def test_what_is_not_there_is_told(profile, log):
    """S1, S14: a log that was never created, and a version above the head."""
    missing = indelible_log.Log("missing", profile)
    for ask in (lambda: list(missing), lambda: missing.update([]), lambda: missing.version_diff(0, 1)):
        error = refused(ask)
        assert (error.code, error.codeNumber) == ("NONEXISTENT_LOG", 1005)
    for ask in (lambda: log.version_diff(9), lambda: list(log.version(9)), lambda: log.version_diff(0, 9)):
        error = refused(ask)
        assert (error.code, error.codeNumber) == ("NONEXISTENT_VERSION", 1004)
        assert error.details.items() >= {"version": "9", "head": "0"}.items()
    assert log.version_diff(0).to_version == 0


@pytest.mark.parametrize("changed", [{"apikey": "wrong"}, {"customer_id": "nobody"}, {"customer_id": "evil"}])
def test_another_key_is_refused(service, profile, log, changed):
    """A wrong key, an unknown customer, and the customer of another key: ``BAD_API_KEY``, and nothing is done."""
    service.credentials("evil")
    other = indelible_log.Log(log.orig_name, profile | changed)
    for ask in (lambda: other.create("mykey"), lambda: list(other), lambda: other.update([Cmd.Insert("k", 1)])):
        error = refused(ask)
        assert (error.code, error.codeNumber) == ("BAD_API_KEY", 1001)
    assert entries(log) == {}


def test_what_cannot_be_read_is_an_invalid_request(profile):
    """What raw mode sends as it is must be Base64; numbers must be in range."""
    log = indelible_log.Log(fresh(), profile, "raw", "raw", encrypt=False)
    log.create()
    for wrong in (
        lambda: log.update([Cmd.Insert("not Base64", "dmFsdWU=")]),
        lambda: log.update([Cmd.Insert("a2V5", "dmFsdW")]),
        lambda: log.update([Cmd.ExpectVersion(-1)]),
        lambda: log.diff_page(-1),
        lambda: log.diff_page(0, wait_seconds=61),
        lambda: log.diff_page(0, order_results_by="value"),
        lambda: log.diff_page(0, limit=True),
    ):
        error = refused(wrong)
        assert (error.code, error.codeNumber) == ("INVALID_REQUEST", 1020)
    log.update([Cmd.Insert("a2V5", "dmFsdWU=")])
    assert entries(log) == {"a2V5": "dmFsdWU="}


# Pages


@pytest.fixture(scope="module")
def filled(profile):
    """A log of two versions: 120 entries, and half of them changed; open, for sealed keys have an order of their own."""
    log = indelible_log.Log(fresh(), profile, encrypt=False)
    log.create()
    log.update([Cmd.Insert(f"{n:03}", n) for n in range(120)], "first")
    log.update([Cmd.Update(f"{n:03}", -n) for n in range(1, 120, 2)], "second")
    return log


def test_a_page_has_fifty_changes(filled):
    """A page has 50 changes unless fewer are asked for, and iterating reads all of them."""
    assert len(filled.diff_page(0)["page"]) == 50
    assert len(filled.diff_page(0, limit=7)["page"]) == 7
    assert filled.diff_page(0, limit=0)["page"] == []
    assert [change["entry"]["value"] for change in filled.version(1)] == list(range(120))
    assert sorted(abs(value) for value in entries(filled).values()) == list(range(120))


@pytest.mark.parametrize("order", ["command", "key"])
@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_put_together_are_the_diff(filled, order, limit):
    """S12: following ``nextPageOptions`` gives every change of the diff once and in order, at any page size."""
    told, options = [], None
    while True:
        page = filled.diff_page(1, 2, order_results_by=order, limit=limit, pagination_options=options)
        assert (page["fromVersion"], page["toVersion"]) == (1, 2)
        assert len(page["page"]) <= limit
        told += page["page"]
        options = page["nextPageOptions"]
        if options is None:
            break
        assert set(options) == {"removeAlreadySeen"} | (
            {"skipToKey"} if order == "key" else {"skipToVersion", "skipToCommand"}
        )
    assert told == list(filled.version_diff(1, 2).changes())
    assert [change["change"] for change in told] == ["Remove", "Add"] * 60


def test_a_diff_backward_undoes_the_diff(filled):
    """S10: from the newer version to the older one, the same changes come the other way round."""
    exchanged = {"Add": "Remove", "Remove": "Add"}
    forward = list(filled.version_diff(1, 2).changes())
    backward = list(filled.version_diff(2, 1).changes())
    assert backward == [change | {"change": exchanged[change["change"]]} for change in reversed(forward)]


@pytest.mark.parametrize("seen", ["true", "false"])
@pytest.mark.parametrize("order", ["command", "key"])
def test_a_removal_that_was_seen_is_not_told_again(filled, order, seen):
    """``removeAlreadySeen`` starts a page with the addition at its place."""
    place = {"skipToKey": "001"} if order == "key" else {"skipToVersion": 2, "skipToCommand": 0}
    options = {**place, "removeAlreadySeen": seen}
    (told,) = filled.diff_page(1, 2, order_results_by=order, limit=1, pagination_options=options)["page"]
    assert told == (
        {"change": "Add", "entry": {"key": "001", "value": -1}, "version": 2}
        if seen == "true"
        else {"change": "Remove", "entry": {"key": "001", "value": 1}, "version": 1}
    )


@ENCRYPT
def test_one_key_is_looked_up(profile, encrypt):
    """``skipToKey`` with a limit of 1 is the way to one entry, or to the next where there is none."""
    log = indelible_log.Log(fresh(), profile, encrypt=encrypt)
    log.create()
    log.update([Cmd.Insert(f"{n:03}", n) for n in range(0, 100, 2)])

    def look(key):
        page = log.diff_page(0, order_results_by="key", limit=1, pagination_options={"skipToKey": key})["page"]
        return page[0]["entry"] if page else None

    assert look("042") == {"key": "042", "value": 42}
    missing = look("043")
    assert missing is None or missing["key"] != "043"


# Waiting


def test_a_wait_ends_with_a_commit(log):
    """S13: a diff from the head waits, and another's commit ends it with what that commit did."""
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(log.version_diff(0, wait_seconds=60)))
    waiting.start()
    log.update([Cmd.Insert("k", 1)])
    waiting.join(PATIENCE)
    (diff,) = answers
    assert diff.to_version == 1
    assert [change["entry"] for change in diff.changes()] == [{"key": "k", "value": 1}]


def test_a_wait_ends_with_its_time(log):
    """S13: without a commit, it ends empty; with something newer than ``from_version``, it does not begin."""
    log.update([Cmd.Insert("k", 1)])
    diff = log.version_diff(1, wait_seconds=0.05)
    assert (diff.from_version, diff.to_version, list(diff.changes())) == (1, 1, [])
    assert log.version_diff(0, wait_seconds=60).to_version == 1


# Modes

SAMPLES = {
    "string": ["", "text", "käse \U0001f9c0", "a\0b"],
    "json": [False, [1, 2, 3], {"b": 1, "a": [1.5, "é\u2028"]}, 10**20, "text"],
    "binary": [b"", b"\0\xff", b"bytes"],
}


@ENCRYPT
@pytest.mark.parametrize("value_mode", SAMPLES)
@pytest.mark.parametrize("key_mode", SAMPLES)
def test_keys_and_values_of_every_mode_come_back(profile, key_mode, value_mode, encrypt):
    """What was written in a mode is read in it, sealed or not."""
    log = indelible_log.Log(fresh(), profile, key_mode, value_mode, encrypt)
    log.create()
    values = SAMPLES[value_mode]
    pairs = [(key, values[i % len(values)]) for i, key in enumerate(SAMPLES[key_mode])]
    log.update([Cmd.Upsert(key, value) for key, value in pairs])
    assert [(change["entry"]["key"], change["entry"]["value"]) for change in log] == pairs


def test_none_is_no_value_to_it(profile):
    """The client sends None as no key and no value, though JSON has a null: a command that lacks one is refused."""
    log = indelible_log.Log(fresh(), profile, "json", "json")
    log.create()
    for key, value in [(None, 1), (1, None)]:
        assert refused(lambda key=key, value=value: log.update([Cmd.Upsert(key, value)])).code == "INVALID_REQUEST"
    log.update([Cmd.Upsert(1, [None])])
    assert [change["entry"] for change in log] == [{"key": 1, "value": [None]}]


@ENCRYPT
@pytest.mark.parametrize(
    ("name", "mode"), [("käse \U0001f9c0", "string"), (["a", "b", ""], "stringlist"), ([], "stringlist")]
)
def test_names_of_every_mode(profile, name, mode, encrypt):
    """A log is found again under its name, in each way to spell one; its group and its name may be any text."""
    log = indelible_log.Log(name, profile, name_mode=mode, encrypt=encrypt)
    log.create("\0é\U0001f600")
    log.update([Cmd.Upsert("k", encrypt)])
    again = indelible_log.Log(name, profile, name_mode=mode, encrypt=encrypt)
    assert entries(again) == {"k": encrypt}


def test_a_raw_name_goes_as_it_is(profile):
    """In raw mode the name at the service is the one that was given."""
    raw = indelible_log.Log("a raw name", profile, encrypt=False, name_mode="raw")
    raw.create()
    raw.update([Cmd.Upsert("k", 1)])
    assert entries(indelible_log.Log("a raw name", profile, encrypt=False)) == {"k": 1}


def test_commands_may_come_as_they_are_made(log):
    """An update reads its commands from a generator, and sends them in chunks as they come."""
    log.update((Cmd.Insert(f"{n:04}", n) for n in range(2_000)), "a generator")
    assert entries(log) == {f"{n:04}": n for n in range(2_000)}
    assert log.version_diff(0).to_version == 1


def test_a_generator_that_fails_changes_nothing(log):
    """Nothing is applied before the stream has ended as it should."""

    def broken():
        yield Cmd.Insert("k", 1)
        raise OSError("out of commands")

    with pytest.raises(OSError, match="out of commands"):
        log.update(broken())
    assert entries(log) == {}


def test_logs_of_groups_are_independent(service, profile):
    """S20: a key for one group reads and writes the logs of that group, and no others."""
    given = service.credentials("acme", ["read", "write"], group="g")
    limited = profile | {"apikey": given.apikey.reveal().decode()}
    mine, others = (indelible_log.Log(fresh(), profile) for _ in range(2))
    mine.create("g")
    others.create("h")
    log = indelible_log.Log(mine.orig_name, limited)
    log.update([Cmd.Insert("k", 1)])
    assert entries(log) == {"k": 1}
    refused_log = indelible_log.Log(others.orig_name, limited)
    assert refused(lambda: list(refused_log)).code == "NONEXISTENT_LOG"
    assert refused(lambda: refused_log.update([Cmd.Insert("k", 1)])).code == "NONEXISTENT_LOG"
    assert entries(others) == {}


# Against the oracle


def theirs(command):
    """A command of ours as the published client has it."""
    if isinstance(command, ExpectVersion):
        return Cmd.ExpectVersion(command.version)
    return THEIRS[type(command)](command.key, command.value)


def plain(changes):
    return [
        {
            "change": "Add" if isinstance(change, Added) else "Remove",
            "entry": {"key": change.key, "value": change.value},
            "version": change.version,
        }
        for change in changes
    ]


@ENCRYPT
@given(data=st.data())
def test_whatever_is_sent_does_what_the_contract_says(profile, encrypt, data):
    """S2-S12: after any sequence of transactions, answers and diffs are those of the oracle."""
    name = fresh()
    log = indelible_log.Log(name, profile, "binary", "binary", encrypt)
    log.create()
    oracle = ModelBackend()
    oracle.create(name)
    for transaction in data.draw(strategies.histories(6)):
        try:
            oracle.update(name, transaction)
        except Rejected as rejection:
            error = refused(lambda: log.update(map(theirs, transaction.commands)))
            assert (error.code, error.codeNumber) == (rejection.code, rejection.number)
            assert (error.details["index"], error.details["head"]) == (str(rejection.index), str(rejection.head))
        else:
            log.update(map(theirs, transaction.commands), transaction.source)
    head = oracle.describe(name).head
    low, high = data.draw(st.integers(0, head)), data.draw(st.integers(0, head))
    diff = log.version_diff(low, high)
    assert list(diff.changes()) == plain(oracle.diff(name, DiffRequest(low, high)).changes)
    if not encrypt:
        # Sealed keys are in the order of what they are sealed as.
        request = DiffRequest(low, high, order="key")
        page = log.diff_page(low, high, order_results_by="key")
        assert page["page"] == plain(oracle.diff(name, request).changes)[:50]


# Byte for byte


class Place:
    """The service's store as its customer has it, for the old interface over it."""

    def __init__(self, path):
        self.store = SQLiteBackend(path)
        self.backend = ScopedBackend(self.store, "acme")

    def stored(self, log):
        """What the store holds of a log, as it is."""
        page = self.backend.diff(log.remote_name, DiffRequest())
        return [(type(change), change.key, change.value, change.version) for change in page.changes]


@pytest.fixture
def place(service, monkeypatch):
    place = Place(service.settings.store.removeprefix("sqlite:///"))
    monkeypatch.setattr(compat, "_backend", lambda _url: place.backend)
    yield place
    place.store.close()


def both(profile, name, **modes):
    """A log by the published client over HTTP, and by ours over the store."""
    return indelible_log.Log(name, profile, **modes), compat.Log(name, profile, **modes)


@ENCRYPT
@pytest.mark.parametrize("value_mode", SAMPLES)
@pytest.mark.parametrize("key_mode", SAMPLES)
def test_each_reads_what_the_other_wrote(profile, place, key_mode, value_mode, encrypt):
    """One log: what either wrote the other reads, and finds nothing to change when it writes the same again."""
    old, ours = both(profile, fresh(), key_mode=key_mode, value_mode=value_mode, encrypt=encrypt)
    assert ours.remote_name == old.remote_name
    old.create("g")
    ours.create("g")
    values = SAMPLES[value_mode]
    pairs = [(key, values[i % len(values)]) for i, key in enumerate(SAMPLES[key_mode])]
    old.update([Cmd.Insert(key, value) for key, value in pairs[::2]])
    ours.update([compat.Cmd.Insert(key, value) for key, value in pairs[1::2]])
    told = [(change["entry"]["key"], change["entry"]["value"]) for change in ours]
    assert told == pairs[::2] + pairs[1::2]
    assert list(old) == list(ours)
    stored = place.stored(old)
    old.update([Cmd.Upsert(key, value) for key, value in pairs])
    ours.update([compat.Cmd.Upsert(key, value) for key, value in pairs])
    assert place.stored(old) == stored
    old.update([Cmd.Remove(key, value) for key, value in pairs[1::2]])
    ours.update([compat.Cmd.Remove(key, value) for key, value in pairs[::2]])
    assert place.stored(old) == []


@pytest.mark.parametrize("name", ["käse", json.dumps(["walkthrough", "v1"])])
def test_the_stored_bytes_are_the_same(profile, place, name, tmp_path, monkeypatch):
    """Sealed names, keys and values in the store are the same, whichever client wrote them."""
    modes = {"key_mode": "json", "value_mode": "json"}
    old = indelible_log.Log(name, profile, **modes)
    old.create("g")
    pairs = [(key, {"value": key}) for key in SAMPLES["json"]]
    old.update([Cmd.Upsert(key, value) for key, value in pairs])
    elsewhere = Place(tmp_path / "logs.db")
    monkeypatch.setattr(compat, "_backend", lambda _url: elsewhere.backend)
    ours = compat.Log(name, profile, **modes)
    ours.create("g")
    ours.update([compat.Cmd.Upsert(key, value) for key, value in pairs])
    assert elsewhere.stored(ours) == place.stored(old)
    assert len(place.stored(old)) == len(pairs)
    assert old.remote_name in {info.name for info in place.backend.logs()}
    assert [info.name for info in elsewhere.backend.logs()] == [old.remote_name]
    elsewhere.store.close()


def test_raw_mode_stores_what_the_text_stands_for(profile, place):
    """Raw keys and values are Base64 texts, and the bytes they stand for are stored by both."""
    old, ours = both(profile, fresh(), key_mode="raw", value_mode="raw", encrypt=False)
    old.create()
    old.update([Cmd.Insert("a2V5", "dmFsdWU=")])
    ours.update([compat.Cmd.Insert("/w==", "")])
    assert place.stored(old) == [(Added, b"key", b"value", 1), (Added, b"\xff", b"", 2)]
    assert list(old) == list(ours)


def test_errors_are_the_same_through_both(profile, place):
    """Code, number and place of an error do not depend on the way it came."""
    old, ours = both(profile, fresh())
    assert refused(lambda: list(old)).codeNumber == 1005
    old.create("g")
    old.update([Cmd.Insert("k", 1)])
    for through_http, directly in [
        (lambda: old.update([Cmd.Insert("k", 2)]), lambda: ours.update([compat.Cmd.Insert("k", 2)])),
        (lambda: old.update([Cmd.Update("l", 2)]), lambda: ours.update([compat.Cmd.Update("l", 2)])),
        (lambda: old.update([Cmd.ExpectVersion(2)]), lambda: ours.update([compat.Cmd.ExpectVersion(2)])),
        (lambda: old.create("h"), lambda: ours.create("h")),
        (lambda: old.version_diff(5), lambda: ours.version_diff(5)),
    ]:
        one = refused(through_http)
        with pytest.raises(compat.ApiErrorException) as caught:
            directly()
        other = caught.value
        assert (one.code, one.codeNumber) == (other.code, other.codeNumber)
        ours_only = {"log"}
        theirs_only = {"effect", "requestId"}
        assert {k: v for k, v in one.details.items() if k not in theirs_only} == {
            k: v for k, v in other.details.items() if k not in ours_only
        }


def test_a_transaction_of_nothing(log):
    """S5: an empty update is legal and makes no version."""
    log.update([])
    log.update(iter(()))
    assert log.version_diff(0).to_version == 0
