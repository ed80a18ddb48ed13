"""Settings: what the service is told, by a file and by flags, and how it is told that something is wrong."""

import os
import pickle
import stat
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indelible.client import open_backend
from indelible.commands import Transaction, Upsert
from indelible.errors import InvalidRequest, TooLarge
from indelible.limits import Limits
from indelible.server import settings as settings_module
from indelible.server.access import LOG_NAME, Access
from indelible.server.settings import ServiceLimits, Settings, default_store

WHOLE = """
store = "sqlite:////srv/logs.db"
host = "0.0.0.0"
port = 443
tls_certificate = "/etc/tls/chain.pem"
tls_key = "/etc/tls/key.pem"
allow_plain_http = false
workers = 4
access_log = false

[limits]
body = 1000
bodies = 2000
value = 100
drain_seconds = 0
head_seconds = 2.5
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home that is nobody's."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "service.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# What it is told


def test_a_file_says_all(write):
    """Everything in a file is taken as it stands there; what is not keeps its default."""
    settings = Settings.load(write(WHOLE))
    assert settings == Settings(
        store="sqlite:////srv/logs.db",
        host="0.0.0.0",
        port=443,
        tls_certificate=Path("/etc/tls/chain.pem"),
        tls_key=Path("/etc/tls/key.pem"),
        workers=4,
        access_log=False,
        limits=ServiceLimits(body=1000, bodies=2000, value=100, drain_seconds=0, head_seconds=2.5),
    )
    assert settings.limits.page == ServiceLimits().page


def test_the_defaults():
    """Without file and flags the service is private: loopback, one process, a file in the user's own folder."""
    assert Settings.load() == Settings()
    it = attrs.asdict(Settings())
    assert it.pop("store") == default_store()
    limits = it.pop("limits")
    assert it == {
        "host": "127.0.0.1",
        "port": 8420,
        "tls_certificate": None,
        "tls_key": None,
        "allow_plain_http": False,
        "workers": 1,
        "access_log": True,
    }
    assert limits == {
        "body": 16 * 2**20,
        "commands": 10_000,
        "key": 4096,
        "value": 2**20,
        "name": 1024,
        "group": 256,
        "source": 256,
        "page": 10_000,
        "requests_per_tenant": 64,
        "polls_per_tenant": 1_000,
        "connections": 15_000,
        "bodies": 256 * 2**20,
        "head_bytes": 32 * 2**10,
        "head_seconds": 10,
        "body_seconds": 60,
        "send_seconds": 60,
        "drain_seconds": 4,
    }


def test_flags_come_before_the_file(write):
    """A flag takes the place of what the file says; one that was not given (None) does not."""
    path = write('port = 1\nworkers = 2\nhost = "::1"')
    settings = Settings.load(path, {"port": 2, "workers": None, "access_log": False})
    assert (settings.port, settings.workers, settings.host, settings.access_log) == (2, 2, "::1", False)
    assert Settings.load(None, {"port": 0, "allow_plain_http": None}).port == 0


def test_a_flag_can_mend_what_a_file_lacks(write):
    """File and flags are judged together: what one leaves out, the other may give."""
    path = write('host = "0.0.0.0"')
    with pytest.raises(InvalidRequest, match="allow_plain_http"):
        Settings.load(path)
    assert Settings.load(path, {"allow_plain_http": True}).host == "0.0.0.0"
    assert Settings.load(path, {"host": "localhost"}).host == "localhost"


def test_paths_in_a_file_are_taken_from_its_folder(write, tmp_path, monkeypatch):
    """Relative paths in the file do not depend on where the service is started; absolute ones stay."""
    path = write('store = "sqlite:///a b%20c.db"\ntls_certificate = "tls/c.pem"\ntls_key = "/k.pem"')
    monkeypatch.chdir("/")
    settings = Settings.load(path)
    assert settings.store == f"sqlite:///{tmp_path}/a b%20c.db"
    assert (settings.tls_certificate, settings.tls_key) == (tmp_path / "tls/c.pem", Path("/k.pem"))
    monkeypatch.chdir(tmp_path)
    assert Settings.load(path.name) == settings
    assert Settings.load(write('store = "memory:"')).store == "memory:"


def test_the_whole_of_it_goes_to_another_process(write):
    """Settings come out of a pickle equal, for processes that are started anew."""
    for settings in (Settings(), Settings.load(write(WHOLE))):
        assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_password_in_the_stores_url_does_not_show():
    """Neither the repr nor an error shows a store's URL; its scheme is shown."""
    settings = Settings(store="postgresql://me:wombat@db/logs?password=wombat")
    assert "wombat" not in repr(settings) and "store='postgresql:'" in repr(settings)
    with pytest.raises(InvalidRequest) as caught:
        Settings(store="//me:wombat@db/logs")
    assert "wombat" not in str(caught.value)


# What it refuses

BAD = {
    "nonsense = 1": "nonsense is not a setting; there are store, host, port, tls_certificate,",
    "prot = 1": "prot is not a setting",
    '"" = 1': " is not a setting",
    "port = '8420'": "port must be a whole number, not str",
    "port = 1.0": "port must be a whole number, not float",
    "port = true": "port must be a whole number, not bool",
    "port = -1": "port must lie between 0 and 65535, not -1",
    "port = 65536": "port must lie between 0 and 65535, not 65536",
    "port = [1]": "port must be a whole number, not list",
    "host = 1": "host must be a str, not int",
    "host = ''": "host must not be empty",
    "store = 1": "store must be a str, not int",
    "store = ''": "store must not be empty",
    "store = '/srv/logs.db'": "store must be a URL",
    "tls_key = 1": "tls_key must be the path of a file, not int",
    "tls_certificate = true": "tls_certificate must be the path of a file, not bool",
    "allow_plain_http = 'no'": "allow_plain_http must be true or false, not str",
    "allow_plain_http = 0": "allow_plain_http must be true or false, not int",
    "access_log = 1": "access_log must be true or false, not int",
    "workers = 0": "workers must lie between 1 and 1024, not 0",
    "workers = 1025": "workers must lie between 1 and 1024, not 1025",
    "workers = 1.5": "workers must be a whole number, not float",
    "limits = 1": "limits must be a table of limits, not int",
    "limits = [{body = 1}]": "limits must be a table of limits, not list",
    "[limits]\nbdoy = 1": "limits.bdoy is not a setting; there are body, commands,",
    "[limits]\nbody = '1 MiB'": "limits.body must be a whole number, not str",
    "[limits]\nbody = 0": "limits.body must lie between 1 and",
    "[limits]\nbody = 1099511627777": "limits.body must lie between 1 and 1099511627776, not",
    "[limits]\nbodies = 5": "limits: bodies must be at least as large as body",
    "[limits]\nhead_seconds = '10'": "limits.head_seconds must be a finite number of seconds",
    "[limits]\nhead_seconds = 0": "limits.head_seconds must be 0.1 seconds or more, not 0",
    "[limits]\nbody_seconds = nan": "limits.body_seconds must be a finite number",
    "[limits]\nsend_seconds = inf": "limits.send_seconds must be a finite number",
    "[limits]\ndrain_seconds = -1": "limits.drain_seconds must be a finite number of seconds, 0 or more",
    "[limits]\ndrain_seconds = true": "limits.drain_seconds must be a finite number",
    "[limits.deep]\na = 1": "limits.deep is not a setting",
    "port = 1\nport = 2": "is not TOML",
    "port = ": "is not TOML",
    "{": "is not TOML",
    b"host = '\xff'": "is not TOML (not UTF-8)",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_in_a_file_is_named(write, text):
    """Each fault in a file is one ``InvalidRequest`` that names the file and the key, whatever flags there are."""
    path = write(text)
    for flags in (None, {"port": 1, "limits": ServiceLimits()}):
        with pytest.raises(InvalidRequest) as caught:
            Settings.load(path, flags)
        assert str(caught.value).startswith(f"{path}") and BAD[text] in str(caught.value)
        assert "\n" not in str(caught.value).replace(str(path), "")


@pytest.mark.parametrize(
    "text", ["", "# nothing", "[limits]", "port = 0", "[limits]\nbody = 1\nbodies = 1", "workers = 1024"]
)
def test_what_is_right_in_a_file_is_taken(write, text):
    """The controls: an empty file, an empty table, and values at their limits."""
    assert isinstance(Settings.load(write(text)), Settings)


def test_a_file_that_cannot_be_read(tmp_path):
    """A file that is not there, or is a folder, is named."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InvalidRequest, match=f"{path} cannot be read"):
            Settings.load(path)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.9", "::1", "localhost", "LocalHost"])
def test_plain_http_is_for_this_machine(host):
    """On a loopback address no TLS is needed."""
    assert Settings(host=host).host == host


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.0.1", "example.org", "127.0.0.1.example.org", "localhost.", "*"]
)
def test_plain_http_is_not_for_others(host):
    """On any other address keys do not travel in the clear, unless that was said to be meant."""
    with pytest.raises(InvalidRequest, match=r"API keys would go over the network in the clear; give tls_certificate"):
        Settings(host=host)
    assert Settings(host=host, allow_plain_http=True)
    assert Settings(host=host, tls_certificate="c", tls_key="k").tls_key == Path("k")


def test_tls_needs_both_files():
    """A certificate without its key, or a key without its certificate, is refused, on loopback too."""
    for lone in ({"tls_certificate": Path("c")}, {"tls_key": Path("k")}):
        with pytest.raises(InvalidRequest, match="tls_certificate and tls_key, or neither"):
            Settings(**lone)
    assert Settings(tls_certificate=Path("c"), tls_key=Path("k"))


def test_memory_belongs_to_one_process():
    """Several processes cannot share a store in memory; they can share a file, and one can have the memory."""
    for store in ("memory:", "MEMORY:name"):
        with pytest.raises(InvalidRequest, match="memory: store lives in one process"):
            Settings(store=store, workers=2)
        assert Settings(store=store, workers=1)
    assert Settings(store="sqlite:///x.db", workers=2)


@given(
    st.dictionaries(
        st.sampled_from([field.name for field in attrs.fields(Settings)] + ["other"]),
        st.one_of(st.booleans(), st.integers(), st.text(max_size=5), st.floats(), st.lists(st.integers(), max_size=1)),
    )
)
def test_whatever_a_flag_is_the_settings_are_good_or_refused(flags):
    """Values of any type make settings that can be used, or are refused; nothing else comes out."""
    flags.pop("other", None)
    try:
        settings = Settings.load(None, flags)
    except InvalidRequest:
        return
    assert 0 <= settings.port <= 65_535 and type(settings.port) is int and settings.workers >= 1
    assert settings.allow_plain_http or settings.tls_key or settings_module._is_loopback(settings.host)


def test_settings_do_not_change():
    """Settings and limits are frozen."""
    for it in (Settings(), ServiceLimits()):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(it, attrs.fields(type(it))[0].name, 1)


# Limits of data


def test_the_limits_of_customers_are_those_of_any_store():
    """Unless told otherwise a customer may send what a store of one's own takes."""
    assert ServiceLimits().tenant == Limits()
    assert ServiceLimits(key=1, value=2, name=3, group=4, source=5, commands=6).tenant == Limits(
        key=1, value=2, name=3, group=4, source=5, commands=6
    )


def test_the_store_takes_what_a_customer_may_send():
    """The store has room for the longest name of a log under the longest id, and not for one more byte."""
    limits = ServiceLimits(name=10)
    room = limits.store.name
    assert ServiceLimits(name=5_000).store.name == 5_064 and room == 1024 + 64
    backend = Settings(store="memory:", limits=ServiceLimits(name=2_000)).open_store()
    backend.create("a" * 63 + "/" + "n" * 2_000)
    with pytest.raises(TooLarge):
        backend.create("a" * 63 + "/" + "n" * 2_001)


def test_access_works_however_little_customers_may():
    """With every limit of customers' data at its least, customers and keys can still be kept."""
    names = [field.name for field in attrs.fields(Limits)]
    settings = Settings(store="memory:", limits=ServiceLimits(**dict.fromkeys(names, 1)))
    backend = settings.open_store()
    access = Access(backend, source="admin").open()
    access.add_customer("a" * 63, "n" * 100)
    for _ in range(3):
        access.issue("a" * 63, ["read"], group="g" * 200)
    assert len(access.remove_customer("a" * 63)) == 3
    with pytest.raises(TooLarge):
        settings.limits.tenant.check(Transaction([Upsert(b"kk", b"v")]))


# Where logs are kept


@pytest.mark.parametrize(
    ("platform", "xdg", "folder"),
    [
        ("linux", None, "{home}/.local/share/indelible"),
        ("linux", "", "{home}/.local/share/indelible"),
        ("linux", "relative", "{home}/.local/share/indelible"),
        ("linux", "/data", "/data/indelible"),
        ("darwin", None, "{home}/Library/Application%20Support/indelible"),
        ("darwin", "/data", "{home}/Library/Application%20Support/indelible"),
    ],
)
def test_the_default_store_is_where_the_system_keeps_data(monkeypatch, home, platform, xdg, folder):
    """The default follows the XDG specification, and Apple's folders on a Mac."""
    monkeypatch.setattr(settings_module.sys, "platform", platform)
    if xdg is not None:
        monkeypatch.setenv("XDG_DATA_HOME", xdg)
    assert Settings().store == f"sqlite:///{folder.format(home=home)}/indelible.db"


def test_a_user_without_a_home_names_a_store(monkeypatch):
    """Without a home folder the store has to be given, and then all works."""

    def homeless():
        raise RuntimeError

    monkeypatch.setattr(settings_module.Path, "home", homeless)
    with pytest.raises(InvalidRequest, match="give store"):
        Settings()
    Settings(store="memory:").open_store().close()


def test_the_default_store_is_its_owners_alone(home, monkeypatch):
    """Opening the default store makes its folder, with mode 0700; any other folder is for its user to make."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "da ta"))
    for _ in range(2):
        Settings().open_store().close()
    folder = home / "da ta" / "indelible"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and (folder / "indelible.db").is_file()
    with pytest.raises(InvalidRequest, match="does not exist"):
        Settings(store=f"sqlite:///{home}/other/logs.db").open_store()
    assert not (home / "other").exists()


def test_the_store_of_the_settings_is_that_of_the_url(tmp_path):
    """What is written through the settings' store is found under its URL."""
    settings = Settings(store=f"sqlite:///{tmp_path}/logs.db")
    backend = settings.open_store()
    Access(backend).open()
    backend.close()
    other = open_backend(settings.store)
    assert [info.name for info in other.logs()] == [LOG_NAME]
    other.close()


def test_reading_settings_starts_nothing(tmp_path):
    """Neither settings nor access load a web server, a database driver or the encryption library."""
    code = (
        "import sys; import indelible.server.settings, indelible.server.access; indelible.server.settings.Settings();"
        "print(sorted({'uvicorn', 'starlette', 'nacl', 'apsw', 'asyncio', 'cyclopts'} & set(sys.modules)))"
    )
    env = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.stdout, done.stderr) == ("[]\n", "")
    assert list(tmp_path.iterdir()) == []
