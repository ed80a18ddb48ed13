"""Profile files: what they hold, who may read them, and how they are refused."""

import base64
import errno
import json
import os
import signal
import stat
import subprocess
import sys

import pytest

import indelible
from indelible import InvalidRequest, MasterKey, Profile, Upsert

KEY = MasterKey.generate()


def fields(**changes):
    whole = {"endpoint_url": "memory:", "customer_id": "me", "apikey": "secret", "master_key_base64": KEY.to_base64()}
    return {name: value for name, value in (whole | changes).items() if value is not ...}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "indelible.json"


def write(path, mode=0o600, **changes):
    path.write_text(json.dumps(fields(**changes)))
    path.chmod(mode)
    return path


def test_what_is_saved_is_loaded(path):
    """A profile comes back as it was saved, secrets and scheme with it."""
    profile = Profile(endpoint_url="memory:", master_key=KEY, customer_id="me", apikey="secret", scheme=1)
    profile.save(path)
    loaded = Profile.load(path)
    assert loaded == profile
    assert loaded.apikey.reveal() == b"secret"
    assert loaded.master_key.reveal() == KEY.reveal()


def test_a_profile_of_the_seed_loads(path):
    """The fields of the published client are enough, and sealing is by scheme 2 unless the profile says 1."""
    profile = Profile.load(write(path))
    assert (profile.endpoint_url, profile.customer_id, profile.scheme) == ("memory:", "me", 2)
    assert Profile.from_json(json.dumps(fields(customer_id=..., apikey=...))).apikey is None


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_saved_file_is_its_owners_alone(path, umask):
    """A profile file is made with mode 0600, whatever the umask."""
    before = os.umask(umask)
    try:
        Profile(endpoint_url="memory:", master_key=KEY).save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601, 0o777])
def test_a_file_that_others_can_read_is_refused(path, mode):
    """A file with any right for others is refused, and the way to mend it is named; then it loads."""
    write(path, mode)
    with pytest.raises(InvalidRequest, match="chmod 600"):
        Profile.load(path)
    with pytest.raises(InvalidRequest):
        indelible.connect(path)
    path.chmod(0o600)
    Profile.load(path)
    path.chmod(0o400)
    Profile.load(path)


def test_a_file_that_is_there_is_never_overwritten(path):
    """Saving over a file, a link or a folder is refused: it may hold the only copy of a key."""
    profile = Profile(endpoint_url="memory:", master_key=KEY)
    profile.save(path)
    before = path.read_bytes()
    with pytest.raises(InvalidRequest, match="exists"):
        Profile(endpoint_url="memory:", master_key=MasterKey.generate()).save(path)
    assert path.read_bytes() == before
    link = path.with_name("link")
    link.symlink_to(path.with_name("nowhere"))
    for place in (link, path.parent, path.parent / "missing" / "p.json"):
        with pytest.raises(InvalidRequest):
            profile.save(place)
    assert not path.with_name("nowhere").exists()


class Crash(BaseException):
    """The end of the process."""


def test_a_crash_leaves_no_profile(path, monkeypatch):
    """Interrupted before it is complete, a profile is not there; the next one is."""
    profile = Profile(endpoint_url="memory:", master_key=KEY)

    def crash(*_arguments):
        assert not path.exists()
        raise Crash

    for point in ("fsync", "link"):
        with monkeypatch.context() as patched, pytest.raises(Crash):
            patched.setattr(os, point, crash)
            profile.save(path)
        assert list(path.parent.iterdir()) == []
    profile.save(path)
    assert Profile.load(path) == profile and list(path.parent.iterdir()) == [path]


KILLED = """
import os, signal, sys
from indelible import MasterKey, Profile, seams
seams.armed["files.name"] = lambda: os.kill(os.getpid(), signal.SIGKILL)
Profile(endpoint_url="memory:", master_key=MasterKey.generate()).save(sys.argv[1])
"""


def test_a_kill_leaves_no_profile(path):
    """Killed before it is complete, a profile is not there; what is left is for its owner alone and in nobody's way."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert killed.returncode == -signal.SIGKILL
    [left] = path.parent.iterdir()
    assert left != path and stat.S_IMODE(left.stat().st_mode) == 0o600
    Profile(endpoint_url="memory:", master_key=KEY).save(path)
    assert Profile.load(path).master_key == KEY


@pytest.mark.parametrize("links", [True, False])
def test_a_profile_that_appears_meanwhile_is_not_replaced(path, monkeypatch, links):
    """A profile that another process made in between stays; and where there are no links, too."""
    link = os.link

    def late(*arguments):
        path.write_text("precious")
        if links:
            return link(*arguments)
        raise OSError(errno.EPERM, "no links here")

    profile = Profile(endpoint_url="memory:", master_key=KEY)
    with monkeypatch.context() as patched, pytest.raises(InvalidRequest, match="exists"):
        patched.setattr(os, "link", late)
        profile.save(path)
    assert (list(path.parent.iterdir()), path.read_text()) == ([path], "precious")


def test_a_file_system_without_links_keeps_profiles(path, monkeypatch):
    """Without links, a profile is saved as ever."""

    def none(*_arguments):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", none)
    Profile(endpoint_url="memory:", master_key=KEY).save(path)
    assert Profile.load(path).master_key == KEY and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint_url": ...},
        {"master_key_base64": ...},
        {"endpoint_url": ""},
        {"endpoint_url": 5},
        {"endpoint_url": None},
        {"customer_id": 5},
        {"customer_id": ""},
        {"apikey": 5},
        {"apikey": "\ud800"},
        {"master_key_base64": 5},
        {"master_key_base64": None},
        {"master_key_base64": ""},
        {"master_key_base64": "AAAA"},
        {"master_key_base64": base64.b64encode(bytes(32)).decode()},
        {"scheme": 3},
        {"scheme": True},
        {"scheme": 1.0},
        {"scheme": "2"},
        {"scheme": None},
        {"master_key": "x"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_wrong_field_is_refused(path, changes):
    """A field that is missing, unknown or wrong is an ``InvalidRequest`` that names the file."""
    Profile.load(write(path))
    with pytest.raises(InvalidRequest, match=r"indelible\.json"):
        Profile.load(write(path, **changes))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"5", b"\xff", b"[" * 100_000], ids=lambda it: repr(it[:5])
)
def test_what_is_no_profile_is_refused(path, text):
    """A file that is no JSON object is an ``InvalidRequest``."""
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(InvalidRequest):
        Profile.load(path)


def test_a_file_that_is_not_there_is_refused(path):
    """A missing file, or a folder, is an ``InvalidRequest``."""
    for place in (path, path.parent):
        with pytest.raises(InvalidRequest):
            Profile.load(place)
        with pytest.raises(InvalidRequest):
            indelible.connect(place)


@pytest.mark.parametrize("wrong", [KEY.reveal(), KEY.to_base64(), None], ids=["bytes", "text", "none"])
def test_a_profile_is_built_of_a_master_key(wrong):
    """Bytes or text where a ``MasterKey`` belongs are refused; the control is one."""
    with pytest.raises(InvalidRequest):
        Profile(endpoint_url="memory:", master_key=wrong)
    assert Profile(endpoint_url="memory:", master_key=KEY).master_key == KEY


def test_a_relative_store_stands_beside_its_profile(path, tmp_path, monkeypatch):
    """``sqlite:///relative`` in a profile is taken from the profile's folder, wherever the program stands."""
    folder = tmp_path / "else where"
    folder.mkdir()
    write(path, endpoint_url="sqlite:///data%20here.db")
    monkeypatch.chdir(folder)
    for given in (path, os.path.relpath(path)):
        with indelible.connect(given) as client:
            log = client.log("a")
            log.create()
            log.update([Upsert("k", 1)])
    assert (tmp_path / "data here.db").exists()
    assert list(folder.iterdir()) == []


def test_an_absolute_store_stays_where_it_is(path, tmp_path):
    """``sqlite:////absolute`` and other URLs are left alone."""
    for url in (f"sqlite:///{tmp_path}/data.db", "memory:", "memory:x", "https://log.ndlbl.net:8443"):
        path.unlink(missing_ok=True)
        assert Profile.load(write(path, endpoint_url=url)).endpoint_url == url


@pytest.mark.parametrize("folder", ["100% sure", "a%41b", "käse"])
def test_a_folder_of_any_name_will_do(tmp_path, folder):
    """A folder's name is a name, and no part of a URL to be decoded."""
    (tmp_path / folder).mkdir()
    path = write(tmp_path / folder / "p.json", endpoint_url="sqlite:///data.db")
    with indelible.connect(path) as client:
        client.log("a").create()
    assert (tmp_path / folder / "data.db").exists()


def test_what_a_profile_names_is_taken_from_its_folder(path, tmp_path, monkeypatch):
    """``ca_file`` and ``pins`` come back as they were saved, and lead from the file itself, by a link to it too."""
    names = {"ca_file": "ca.pem", "pins": "state/some.pins"}
    Profile(endpoint_url="https://localhost", master_key=KEY, **names).save(path)
    assert {name: json.loads(path.read_text())[name] for name in names} == names
    assert "pins" not in json.loads(Profile(endpoint_url="memory:", master_key=KEY).to_json())
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "other.json"
    link.symlink_to(path)
    monkeypatch.chdir(tmp_path / "links")
    for given in (path, link, "other.json"):
        loaded = Profile.load(given)
        assert (loaded.ca_file, loaded.pins) == (tmp_path / "ca.pem", tmp_path / "state" / "some.pins")
        assert loaded.path == path
    absolute = Profile(endpoint_url="https://localhost", master_key=KEY, pins=tmp_path / "x.pins")
    assert Profile.from_json(absolute.to_json()).pins == tmp_path / "x.pins"


@pytest.mark.parametrize("field", ["ca_file", "pins"])
@pytest.mark.parametrize("wrong", ["", "a\0b", 5], ids=repr)
def test_what_is_no_path_is_refused(path, field, wrong):
    """An empty path, which would be the folder itself, one with a NUL, and what is none name the field and the file."""
    with pytest.raises(InvalidRequest, match=rf"indelible\.json: {field} must be the path of a file"):
        Profile.load(write(path, **{field: wrong}))
