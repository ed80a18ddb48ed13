"""The old interface: the seed's walk-through, the published client's bytes, its pages and its errors."""

import ast
import base64
import json
import os
import subprocess
import sys
import weakref

import indelible_log
import pytest

from indelible import InvalidRequest, OutcomeUnknown
from indelible.backends.sqlite import SQLiteBackend
from indelible.client import open_backend
from indelible.commands import Transaction
from indelible.compat import ApiErrorException, Cmd, Log, profileFromJson, validateProfile
from indelible.pages import DiffRequest
from indelible.testing import LostAnswers

KEY = "v7RBLmFz5oB+IWOtGBEyfgejHvyYZwMTu+x0bbzZ+/4="
NAME = json.dumps(["walkthrough", "Hello, world!", "v1"])


def text(url, **changes):
    fields = {"endpoint_url": url, "customer_id": "customer-id", "apikey": "api-key", "master_key_base64": KEY}
    return json.dumps({name: value for name, value in (fields | changes).items() if value is not ...})


@pytest.fixture(params=["memory:", "sqlite:"])
def profile(request, tmp_path):
    url = f"memory:{tmp_path}" if request.param == "memory:" else f"sqlite:///{tmp_path}/logs.db"
    return profileFromJson(text(url))


@pytest.fixture
def log(profile):
    log = Log(NAME, profile, encrypt=True, key_mode="string", value_mode="json")
    log.create(log_group="mykey")
    return log


def published(profile):
    """The profile as the published client has it."""
    return {**profile, "master_key": base64.b64decode(KEY)}


def theirs(name, profile, **modes):
    return indelible_log.Log(name, published(profile), **modes)


# The walk-through

WALKTHROUGH = """
>>> from indelible.compat import Cmd, Log
>>> import json
>>>
>>> profile = json.loads(open("testprofile.json", "r").read())
>>> log_name = json.dumps(["walkthrough", "Hello, world!", "v1"])
>>>
>>> log = Log(log_name, profile, encrypt=True, key_mode="string", value_mode="json")
>>> log.create(log_group="mykey")
>>>
>>> log.update(update_source="python", commands=[
...     Cmd.Upsert("foo", [1, 2, 3])
... ])
>>>
>>> for entry in log:
...     print(entry)
{'change': 'Add', 'entry': {'key': 'foo', 'value': [1, 2, 3]}, 'version': 1}
>>>
>>> diff = log.version_diff(from_version=1)
>>> for change in diff.changes():
...     print(change)
>>>
>>> log.update(update_source="python", commands=[
...     Cmd.ExpectVersion(1),
...     Cmd.Remove("foo", [1, 2, 3]),
...     Cmd.Insert("bar", [4, 5, 6])
... ])
>>>
>>> diff = log.version_diff(from_version=1, wait_seconds=60)
>>> diff.to_version
2
>>> for change in diff.changes():
...     print(change)
{'change': 'Remove', 'entry': {'key': 'foo', 'value': [1, 2, 3]}, 'version': 1}
{'change': 'Add', 'entry': {'key': 'bar', 'value': [4, 5, 6]}, 'version': 2}
>>>
"""
"""The seed's, with its slips mended: the file's name, the import, and ``Cmd`` by that name."""


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the seed leaves its profile open
@pytest.mark.parametrize("url", ["memory:the seed", "sqlite:///logs.db"])
def test_the_walk_through_prints_what_the_seed_shows(tmp_path, monkeypatch, url):
    """Every line of the seed's tour prints what it shows there."""
    import doctest

    monkeypatch.chdir(tmp_path)
    (tmp_path / "testprofile.json").write_text(text(url))
    test = doctest.DocTestParser().get_doctest(WALKTHROUGH.replace(">>>\n", "\n"), {}, "seed", None, 0)
    assert len(test.examples) >= 12
    shown = []
    assert doctest.DocTestRunner().run(test, out=shown.append).failed == 0, "".join(shown)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_walk_through_notices_another_answer(tmp_path, monkeypatch):
    """The control of the above: with one shown number changed, it fails."""
    import doctest

    monkeypatch.chdir(tmp_path)
    (tmp_path / "testprofile.json").write_text(text("memory:another seed"))
    changed = WALKTHROUGH.replace(">>>\n", "\n").replace("[4, 5, 6]}, 'version': 2", "[4, 5, 6]}, 'version': 3")
    test = doctest.DocTestParser().get_doctest(changed, {}, "seed", None, 0)
    assert doctest.DocTestRunner().run(test, out=[].append).failed == 1


# The published client's bytes


def stored(profile, remote_name):
    """What the store holds: pairs of Base64 texts, as the wire would have carried them."""
    backend = open_backend(profile["endpoint_url"])
    changes = backend.diff(remote_name, DiffRequest()).changes
    backend.close()
    return [tuple(base64.b64encode(part).decode() for part in (it.key, it.value)) for it in changes]


@pytest.fixture
def on_disk(tmp_path):
    return profileFromJson(text(f"sqlite:///{tmp_path}/logs.db"))


SAMPLES = {
    "string": ["", "text", "käse \U0001f9c0", "a\0b"],
    "json": [None, True, [1, 2, 3], {"b": 1, "a": [1.5, "é\u2028"]}, {"z": {"y": "x"}}, 10**20, "text", (1, 2)],
    "binary": [b"", b"\0\xff", b"bytes"],
}


@pytest.mark.parametrize("encrypt", [True, False])
@pytest.mark.parametrize("value_mode", SAMPLES)
@pytest.mark.parametrize("key_mode", SAMPLES)
def test_what_is_written_is_what_the_published_client_writes(on_disk, key_mode, value_mode, encrypt):
    """Names, keys and values reach the store byte for byte as the published client would have sent them."""
    modes = {"key_mode": key_mode, "value_mode": value_mode, "encrypt": encrypt}
    ours, old = Log(NAME, on_disk, **modes), theirs(NAME, on_disk, **modes)
    ours.create("g")
    keys = {ours_key: SAMPLES[key_mode][i] for i, ours_key in enumerate(map(repr, SAMPLES[key_mode]))}
    values = SAMPLES[value_mode]
    pairs = [(key, values[i % len(values)]) for i, key in enumerate(keys.values())]
    ours.update([Cmd.Upsert(key, value) for key, value in pairs])
    assert ours.remote_name == old.remote_name
    wanted = [(old.key_transformer.encode(key), old.value_transformer.encode(value)) for key, value in pairs]
    assert stored(on_disk, old.remote_name) == wanted
    read = [(change["entry"]["key"], change["entry"]["value"]) for change in ours]
    assert read == [(old.key_transformer.decode(key), old.value_transformer.decode(value)) for key, value in wanted]


@pytest.mark.parametrize("encrypt", [True, False])
def test_what_the_published_client_wrote_is_read(on_disk, encrypt):
    """A store that holds the published client's bytes is read as it was written."""
    old = theirs(NAME, on_disk, encrypt=encrypt)
    backend = open_backend(on_disk["endpoint_url"])
    backend.create(old.remote_name)
    pair = [base64.b64decode(old.key_transformer.encode("k")), base64.b64decode(old.value_transformer.encode({"a": 1}))]
    backend.update(old.remote_name, Transaction([Cmd.Insert(*pair)]))
    backend.close()
    (change,) = Log(NAME, on_disk, encrypt=encrypt)
    assert change == {"change": "Add", "entry": {"key": "k", "value": {"a": 1}}, "version": 1}


@pytest.mark.parametrize(
    ("name", "mode"),
    [(NAME, "string"), ("käse", "string"), (["a", "b", ""], "stringlist"), ([], "stringlist"), (b"raw", "raw")],
)
def test_names_are_those_of_the_published_client(profile, name, mode):
    """In each name mode, the name at the store is the published client's."""
    assert Log(name, profile, name_mode=mode).remote_name == theirs(name, profile, name_mode=mode).remote_name


def test_raw_mode_passes_base64_through(on_disk):
    """Raw keys and values are Base64 texts, stored as the bytes they stand for, and nothing else is taken."""
    log = Log("raw", on_disk, key_mode="raw", value_mode="raw", encrypt=False)
    log.create()
    log.update([Cmd.Insert("a2V5", "dmFsdWU=")])
    assert [change["entry"] for change in log] == [{"key": "a2V5", "value": "dmFsdWU="}]
    assert stored(on_disk, "raw") == [("a2V5", "dmFsdWU=")]
    for wrong in ("not base64", "a2V", 5, None):
        with pytest.raises(InvalidRequest):
            log.update([Cmd.Insert(wrong, "dmFsdWU=")])


@pytest.mark.parametrize(
    "modes", [{"key_mode": "raw"}, {"value_mode": "raw"}, {"key_mode": "x"}, {"value_mode": None}, {"name_mode": "x"}]
)
def test_modes_that_do_not_go_are_refused(profile, modes):
    """Unknown modes, and raw ones where something is to be sealed."""
    with pytest.raises(InvalidRequest):
        Log("a", profile, **modes)
    Log("a", profile)


# Pages


def fill(log):
    log.update([Cmd.Insert(f"{n:03}", n) for n in range(120)], "first")
    log.update([Cmd.Update(f"{n:03}", -n) for n in range(1, 120, 2)], "second")


def test_a_diff_goes_through_its_pages_again_and_again(log):
    """Pages of 50 changes are put together; a second iteration gives the same, whatever came meanwhile."""
    fill(log)
    assert len(log.diff_page(0)["page"]) == 50
    diff = log.version_diff(0, 1)
    whole = list(diff.changes())
    assert [change["entry"]["value"] for change in whole] == list(range(120))
    log.update([Cmd.Upsert("new", 1)])
    assert list(diff.changes()) == whole
    assert (diff.from_version, diff.to_version, str(diff)) == (0, 1, "1")
    assert len(list(log)) == 121
    assert list(log.version(1)) == whole


@pytest.mark.parametrize("order", ["command", "key"])
@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_go_on_from_their_options(log, order, limit):
    """Following ``nextPageOptions``, also through JSON, gives every change once."""
    fill(log)
    told, options = [], None
    while True:
        page = log.diff_page(1, 2, order_results_by=order, limit=limit, pagination_options=options)
        assert (page["fromVersion"], page["toVersion"]) == (1, 2)
        told += page["page"]
        if (options := page["nextPageOptions"]) is None:
            break
        options = json.loads(json.dumps(options))
        assert set(options) - {"removeAlreadySeen"} <= {"skipToVersion", "skipToCommand", "skipToKey"}
    assert len(told) == 120
    assert told == log.diff_page(1, 2, order_results_by=order, limit=1000)["page"]
    assert log.diff_page(0, limit=0)["page"] == []


def test_pages_start_where_a_caller_says(log):
    """The documented options, with numbers as texts or numbers, and flags as texts or flags."""
    fill(log)
    whole = list(log.version_diff(1, 2).changes())
    for start in ({"skipToVersion": 2, "skipToCommand": 3}, {"skipToVersion": "2", "skipToCommand": "3"}):
        assert log.diff_page(1, 2, pagination_options=start)["page"] == whole[6:56]
    for seen in ("true", True):
        start = {"skipToVersion": 2, "skipToCommand": 0, "removeAlreadySeen": seen}
        assert log.diff_page(1, 2, pagination_options=start, limit=1)["page"] == whole[1:2]
    for unseen in ("false", False, None):
        start = {"skipToVersion": 2, "skipToCommand": 0, "removeAlreadySeen": unseen}
        assert log.diff_page(1, 2, pagination_options=start, limit=1)["page"] == whole[:1]
    (change,) = log.diff_page(0, 1, order_results_by="key", limit=1, pagination_options={"skipToKey": "005"})["page"]
    assert change["entry"] == {"key": "005", "value": 5}
    for wrong in ({"skipToVersion": "x"}, {"skipToVersion": -1}, {"skipToCommand": True}, {"skipToKey": "005"}):
        with pytest.raises(InvalidRequest):
            log.diff_page(1, 2, pagination_options=wrong)


# Errors


@pytest.mark.parametrize(
    ("commands", "code", "number", "details"),
    [
        (
            [Cmd.ExpectVersion(7)],
            "UNEXPECTED_VERSION",
            1003,
            {"index": "0", "command": "ExpectVersion", "expected": "7", "actual": "1"},
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
def test_errors_have_their_old_fields(log, commands, code, number, details):
    """Errors carry ``code``, ``codeNumber``, ``message`` and ``details``, are caught by ``except Exception``, and
    nothing was written."""
    log.update([Cmd.Insert("k", 1)])
    try:
        log.update(commands)
    except Exception as error:
        assert type(error) is ApiErrorException
        assert (error.code, error.codeNumber) == (code, number)
        assert error.message
        assert details.items() <= error.details.items()
        assert all(isinstance(value, str) for value in error.details.values())
    else:
        pytest.fail("an error was expected")
    assert [change["entry"]["key"] for change in log] == ["k"]


@pytest.mark.parametrize("modes", [{}, {"key_mode": "json", "value_mode": "binary"}, {"encrypt": False}])
def test_an_update_whose_answer_was_lost_is_sent_again_as_it_was(profile, modes):
    """S16: ``error.transaction`` is what was sent, in the caller's own keys and values, and takes effect once."""
    log, value = Log("lossy", profile, **modes), b"1" if "value_mode" in modes else 1
    log.create()
    store, log._backend = log._backend, LostAnswers(log._backend, lambda _log, _transaction, attempt: attempt == 1)
    with pytest.raises(OutcomeUnknown) as caught:
        log.update([Cmd.Insert("k", value)], "me")
    again = caught.value.transaction
    assert (again.commands, again.source) == ((Cmd.Insert("k", value),), "me")
    log.update(again, attempt=caught.value.attempt + 1)
    assert [change["version"] for change in log] == [1]
    assert store.describe("lossy").head == 1
    with pytest.raises(InvalidRequest):
        log.update(again, "me")
    with pytest.raises(InvalidRequest):
        log.update([Cmd.Insert("k", value)], attempt=0)
    log._backend = store
    log.update(Transaction([Cmd.Update("k", value + value)]))
    assert [change["version"] for change in log] == [2], "the control: another transaction takes effect, too"


def test_other_errors_have_their_old_fields(profile, log):
    """Logs and versions that are not there, and another group."""
    for number, ask in {
        1005: lambda: list(Log("missing", profile)),
        1004: lambda: log.version_diff(9),
        1010: lambda: log.create("another"),
    }.items():
        with pytest.raises(ApiErrorException) as caught:
            ask()
        assert caught.value.codeNumber == number
        assert caught.value.details["log"] in ("missing", NAME)
    log.create("mykey")


@pytest.mark.parametrize("field", ["endpoint_url", "customer_id", "apikey", "master_key_base64"])
def test_a_profile_that_lacks_a_field_is_refused(field):
    """The published client's check was the wrong way round; this one names what is missing, and takes what is whole."""
    with pytest.raises(InvalidRequest, match=field):
        profileFromJson(text("memory:", **{field: ...}))
    whole = profileFromJson(text("memory:", more="than it needs"))
    validateProfile(whole)
    assert "master_key_base64" not in whole
    for wrong in ("", "[]", "null", "{"):
        with pytest.raises(InvalidRequest):
            profileFromJson(wrong)


def test_a_profile_as_it_was_held_still_serves(tmp_path):
    """A dict with ``master_key`` as bytes, as the published client made it, or with its Base64, opens the same log."""
    url = f"sqlite:///{tmp_path}/logs.db"
    loaded = profileFromJson(text(url))
    log = Log("a", loaded)
    log.create()
    log.update([Cmd.Insert("k", 1)])
    for profile in (published(loaded), json.loads(text(url))):
        assert [change["entry"]["value"] for change in Log("a", profile)] == [1]


def test_a_new_process_and_folder_open_anew(tmp_path, monkeypatch):
    """A relative store is another file in another folder, though the first is still open."""
    first, second = tmp_path / "1", tmp_path / "2"
    held = []
    for folder in (first, second):
        folder.mkdir()
        monkeypatch.chdir(folder)
        log = Log("a", profileFromJson(text("sqlite:///logs.db")))
        log.create()
        log.update([Cmd.Insert(folder.name, 1)])
        held.append(log)
    assert [[change["entry"]["key"] for change in log] for log in held] == [["1"], ["2"]]


FORKS = """
import os, sys
from indelible.compat import Cmd, Log, profileFromJson
profile = profileFromJson(sys.argv[1])
log = Log("a", profile)
log.create()
child = os.fork()
if child == 0:
    Log("a", profile).update([Cmd.Insert("child", 1)])
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
log.update([Cmd.Insert("parent", 1)])
print([change["entry"]["key"] for change in log])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_log_opened_in_a_forked_child_works(tmp_path):
    """The published client survived a fork; a log opened anew in the child does as well."""
    asked = [sys.executable, "-c", FORKS, text(f"sqlite:///{tmp_path}/logs.db")]
    ran = subprocess.run(asked, capture_output=True, text=True)
    assert ast.literal_eval(ran.stdout or "None") == ["child", "parent"], ran.stderr


def test_one_store_is_opened_once(tmp_path):
    """Logs of one URL share their store, and it is let go with the last of them, without waiting for a collection."""
    profile = profileFromJson(text(f"sqlite:///{tmp_path}/logs.db"))
    one, other = Log("a", profile), Log("b", profile)
    assert isinstance(one._backend._inner, SQLiteBackend)
    assert one._backend._inner is other._backend._inner
    one.create()
    held = weakref.ref(one._backend._inner)
    del one
    assert held() is not None
    del other
    assert held() is None
