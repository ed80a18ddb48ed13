"""``connect``: by URL, profile or path, with a key or expressly without."""

import importlib.metadata
import os
from pathlib import Path

import pytest

import indelible
from indelible import Closed, InvalidRequest, Limits, MasterKey, NonexistentLog, Profile, TooLarge, Upsert, codecs
from indelible.backends import EncryptedBackend, MemoryBackend, SQLiteBackend

KEY = MasterKey.generate()


def use(client):
    with client:
        log = client.log("orders")
        log.create("g")
        log.update([Upsert("k", [1])])
        assert log.get("k") == [1]
        assert [info.name for info in client.logs("g")] == ["orders"]


@pytest.mark.parametrize("key", [KEY, KEY.reveal(), KEY.to_base64(), None], ids=["key", "bytes", "text", "none"])
@pytest.mark.parametrize("scheme", [1, 2])
def test_a_store_is_reached_by_its_url(tmp_path, monkeypatch, key, scheme):
    """``memory:``, relative and absolute ``sqlite:`` URLs open, with the key in each of its forms, or None."""
    monkeypatch.chdir(tmp_path)
    for url in ("memory:", "sqlite:///a%20b.db", f"sqlite:///{tmp_path}/c.db", "SQLite:///d.db"):
        client = indelible.connect(url, master_key=key, scheme=scheme)
        assert isinstance(client.backend, EncryptedBackend) is (key is not None)
        use(client)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b.db", "c.db", "d.db"]


def test_a_profile_and_its_file_open_the_same(tmp_path):
    """S15: a profile, its path as text and as ``Path`` lead to the same logs, by the profile's scheme."""
    profile = Profile(endpoint_url=f"sqlite:///{tmp_path}/data.db", master_key=KEY, scheme=1)
    profile.save(tmp_path / "p.json")
    use(indelible.connect(profile))
    for target in (tmp_path / "p.json", str(tmp_path / "p.json")):
        with indelible.connect(target) as client:
            assert client.log("orders").get("k") == [1]
    with indelible.connect(profile.endpoint_url, master_key=KEY, scheme=2) as client, pytest.raises(NonexistentLog):
        client.log("orders").get("k")


def test_leaving_the_key_out_is_refused_but_for_memory(tmp_path):
    """A store that stays is never opened unsealed by omission; saying None opens it."""
    url = f"sqlite:///{tmp_path}/data.db"
    with pytest.raises(InvalidRequest, match="master_key"):
        indelible.connect(url)
    assert list(tmp_path.iterdir()) == []
    use(indelible.connect(url, master_key=None))
    use(indelible.connect("memory:"))


def test_a_profile_takes_no_other_key_or_scheme(tmp_path):
    """What a profile says is not overridden, nor silently ignored."""
    profile = Profile(endpoint_url="memory:", master_key=KEY)
    profile.save(tmp_path / "p.json")
    for target in (profile, tmp_path / "p.json"):
        for given in ({"master_key": KEY}, {"master_key": None}, {"scheme": 1}, {"scheme": 2}):
            with pytest.raises(InvalidRequest):
                indelible.connect(target, **given)
        indelible.connect(target).close()


@pytest.mark.parametrize("key", [b"", b"x" * 31, bytes(32), b"a" * 32, "", "not base64", 5, True, bytearray(32)])
def test_a_wrong_key_is_refused_before_anything_is_opened(tmp_path, key):
    """What is no master key is refused, and no file is made."""
    with pytest.raises(InvalidRequest):
        indelible.connect(f"sqlite:///{tmp_path}/data.db", master_key=key)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", [0, 3, "2", True, 1.0])
def test_a_wrong_scheme_is_refused_before_anything_is_opened(tmp_path, scheme):
    """There are two schemes."""
    with pytest.raises(InvalidRequest):
        indelible.connect(f"sqlite:///{tmp_path}/data.db", master_key=KEY, scheme=scheme)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    ["sqlite:", "sqlite:data.db", "sqlite://host/data.db", "sqlite:///", "sqlite:///a%00b", "sqlite:///missing/x.db"],
)
def test_a_wrong_sqlite_url_is_refused(tmp_path, monkeypatch, url):
    """A URL that names no file is an ``InvalidRequest``."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest):
        indelible.connect(url, master_key=None)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_scheme_names_those_there_are():
    """A scheme that nothing installed provides is refused, and the known ones are told."""
    with pytest.raises(InvalidRequest, match=r"nonsense:.*memory:.*sqlite:"):
        indelible.connect("nonsense:x", master_key=None)


@pytest.mark.parametrize("target", [None, 5, b"memory:", b"/tmp/x", object()])
def test_a_target_of_another_type_is_refused(target):
    """``connect`` takes text, paths and profiles."""
    with pytest.raises(InvalidRequest):
        indelible.connect(target)


class Entries(list):
    names = {"ours"}

    def __getitem__(self, name):
        return next(entry for entry in self if entry.name == name)


def test_other_backends_come_in_by_entry_point(monkeypatch):
    """A distribution's backend is found by its URL scheme, and gets the limits that were given."""
    entry = importlib.metadata.EntryPoint("ours", "test_client:made", "indelible.backends")
    asked = []

    def found(*, group):
        asked.append(group)
        return Entries([entry])

    monkeypatch.setattr(importlib.metadata, "entry_points", found)
    use(indelible.connect("ours:anything", master_key=KEY))
    use(indelible.connect("OURS:anything", master_key=None, limits=Limits(key=10)))
    assert set(asked) == {"indelible.backends"}
    assert made.calls == [("ours:anything", None), ("OURS:anything", Limits(key=10))]


def made(url, limits=None):
    made.calls.append((url, limits))
    return MemoryBackend(limits)


made.calls = []


def test_limits_reach_the_store():
    """``limits`` are the store's, which sees what was sealed."""
    with indelible.connect("memory:", limits=Limits(value=10)) as client:
        log = client.log("a")
        log.create()
        log.update([Upsert("k", "12345678")])
        with pytest.raises(TooLarge):
            log.update([Upsert("k", "123456789")])
        assert log.version == 1


def test_memory_of_a_name_is_shared_while_it_is_held():
    """``memory:name`` is one store for all who hold it, and ``memory:`` one each."""
    one, other = indelible.connect("memory:shared-here"), indelible.connect("memory:shared-here")
    one.log("a").create()
    assert [info.name for info in other.logs()] == ["a"]
    assert list(indelible.connect("memory:").logs()) == []
    one.close()
    assert list(indelible.connect("memory:shared-here").logs()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_memory_of_a_name_is_anew_in_a_forked_child():
    """After a fork, opening ``memory:name`` gives the child a store of its own; what it inherited is closed to it."""
    import subprocess
    import sys

    code = (
        "import os, indelible\n"
        "held = indelible.connect('memory:x')\n"
        "held.log('a').create()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    own = indelible.connect('memory:x')\n"
        "    assert list(own.logs()) == []\n"
        "    try:\n"
        "        held.logs()\n"
        "    except indelible.Closed:\n"
        "        os._exit(0)\n"
        "    os._exit(1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert len(held.logs()) == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_closed_client_is_closed_for_good(tmp_path):
    """``close`` and leaving the context let go; everything after raises ``Closed``, a second close nothing."""
    for url in ("memory:", f"sqlite:///{tmp_path}/data.db"):
        client = indelible.connect(url, master_key=None)
        log = client.log("a")
        with client as entered:
            assert entered is client
            log.create()
        client.close()
        for ask in (client.logs, log.describe, log.create, lambda log=log: log.update([])):
            with pytest.raises(Closed):
                ask()


def test_codecs_of_a_log_are_its_own():
    """Keys are text and values JSON unless a log names other codecs."""
    with indelible.connect("memory:") as client:
        client.log("a").create()
        raw = client.log("a", keys=codecs.BYTES, values=codecs.BYTES)
        client.log("a").update([Upsert("k", {"b": 1, "a": [None, "é"]})])
        assert raw.get(b"k") == '{"a":[null,"é"],"b":1}'.encode()


def test_what_is_loaded_is_what_is_needed():
    """Naming a backend loads it; an unknown name is an AttributeError."""
    from indelible import backends

    assert backends.SQLiteBackend is SQLiteBackend
    assert {getattr(backends, name).__name__ for name in backends.__all__} == set(backends.__all__)
    with pytest.raises(AttributeError):
        backends.NonsenseBackend  # noqa: B018
    assert Path(indelible.__file__).parent.joinpath("py.typed").exists()
