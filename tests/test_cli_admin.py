"""The commands under ``admin``: what they print, what they change, and that a key is shown once and nowhere else."""

import datetime as dt
import json
import re
import stat
import subprocess
import sys
import typing

import pytest
from commandline import CommandLine

from indelible import Profile, seams
from indelible.cli import admin, exits
from indelible.credentials import Credentials
from indelible.errors import BadApiKey
from indelible.server import keys
from indelible.server.access import Access
from indelible.server.settings import Settings

KEY = re.compile(r"idl_[a-z2-7]{12}_[a-z2-7]{52}")
STORE = "sqlite:///service.db"


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return CommandLine(tmp_path, capsys, monkeypatch)


class Admin:
    """``indelible admin ... --store STORE``."""

    def __init__(self, cli):
        self.cli = cli

    def ok(self, *argv):
        return self.cli.ok("admin", *argv, "--store", STORE)

    def json(self, *argv):
        return self.ok(*argv, "--output", "json").json

    def fails(self, code, *argv):
        return self.cli.fails(code, "admin", *argv, "--store", STORE)

    def directory(self):
        backend = Settings(store=STORE).open_store()
        directory = Access(backend).open().directory()
        backend.close()
        return directory

    def accepts(self, customer, apikey):
        try:
            return self.directory().authenticate(Credentials(customer, apikey), seams.now())
        except BadApiKey:
            return None


@pytest.fixture
def acme(cli):
    """A store with a customer."""
    it = Admin(cli)
    it.ok("customer", "add", "acme", "--name", "Acme Ltd")
    return it


# Customers


def test_customers_are_added_and_listed(acme):
    """``customer add`` and ``list`` print what there is, in every format, by id."""
    item = acme.json("customer", "add", "zeta")
    assert (item["id"], item["name"], item["keys"]) == ("zeta", "", 0) and item["created_at"].endswith("+00:00")
    assert "customer beta is added" in acme.ok("customer", "add", "beta").out
    acme.ok("key", "add", "zeta")
    items = acme.json("customer", "list")
    assert [(it["id"], it["name"], it["keys"]) for it in items] == [
        ("acme", "Acme Ltd", 0),
        ("beta", "", 0),
        ("zeta", "", 1),
    ]
    assert acme.ok("customer", "list", "--output", "ndjson").ndjson == items
    lines = [line.split() for line in acme.ok("customer", "list").out.splitlines()]
    assert lines[0] == ["CUSTOMER", "KEYS", "ADDED", "NAME"]
    assert [(line[0], line[1], line[4:]) for line in lines[1:]] == [
        ("acme", "0", ["Acme", "Ltd"]),
        ("beta", "0", ["-"]),
        ("zeta", "1", ["-"]),
    ]


def test_a_customer_is_removed_with_its_keys(acme):
    """``customer remove`` wants ``--yes``; with it customer and keys are gone, and the keys refused."""
    text = acme.json("key", "add", "acme")["apikey"]
    acme.ok("key", "add", "acme")
    assert "--yes" in acme.fails(exits.USAGE, "customer", "remove", "acme")
    assert acme.accepts("acme", text)
    assert acme.ok("customer", "remove", "acme", "--yes").out == "customer acme is removed, with 2 keys\n"
    assert not acme.accepts("acme", text)
    assert acme.json("customer", "list") == acme.json("key", "list") == []
    acme.ok("customer", "add", "acme")
    assert acme.json("customer", "remove", "acme", "--yes") == {"id": "acme", "keys": 0}


def test_customers_that_are_and_are_not_there(acme):
    """A second customer of the same id, and anything about one that is not there, is one line and changes nothing."""
    assert "'acme' already" in acme.fails(exits.USAGE, "customer", "add", "acme")
    assert "customer's id" in acme.fails(exits.USAGE, "customer", "add", "Acme/../zeta")
    for argv in (["customer", "remove", "zeta", "--yes"], ["key", "add", "zeta"], ["key", "list", "zeta"]):
        assert "no customer 'zeta'" in acme.fails(exits.USAGE, *argv)
    assert list(acme.directory().customers) == ["acme"] and acme.directory().version == 1


# Keys


def test_a_key_is_printed_once_and_works(acme):
    """``key add`` prints the key on a line of its own, with what to do; it is accepted, to read and to write."""
    lines = acme.ok("key", "add", "acme").out.splitlines()
    assert KEY.fullmatch(lines[0]) and len(lines) == 2 and "keep it: it is not stored" in lines[1]
    grant = acme.accepts("acme", lines[0])
    assert (grant.scopes, grant.group, grant.expires_at) == (("read", "write"), None, None)
    assert acme.accepts("acme", lines[0][:-1] + ("a" if lines[0][-1] != "a" else "b")) is None


def test_a_key_can_do_what_it_was_given(acme):
    """Scopes, group, end and label are those that were asked for, and are printed as such."""
    argv = ["key", "add", "acme", "--scope", "write", "--scope", "admin", "--group", "g", "--expires", "2999-01-31"]
    item = acme.json(*argv, "--label", "laptop")
    grant = acme.accepts("acme", item["apikey"])
    assert (grant.scopes, grant.group) == (("admin", "write"), "g")
    assert grant.expires_at == dt.datetime(2999, 1, 31, tzinfo=dt.UTC)
    assert item == {
        "id": grant.key_id,
        "customer": "acme",
        "scopes": ["admin", "write"],
        "group": "g",
        "expires_at": "2999-01-31T00:00:00+00:00",
        "created_at": item["created_at"],
        "label": "laptop",
        "apikey": item["apikey"],
    }


def test_days_are_counted_from_now(acme, monkeypatch):
    """``--expires 30d`` ends 30 times 24 hours from now."""
    now = dt.datetime(2027, 1, 31, 12, tzinfo=dt.UTC)
    monkeypatch.setattr(seams, "clock", now.timestamp)
    assert acme.json("key", "add", "acme", "--expires", "30d")["expires_at"] == "2027-03-02T12:00:00+00:00"
    assert acme.json("key", "add", "acme", "--expires", "2027-02-01")["expires_at"] == "2027-02-01T00:00:00+00:00"
    assert "has passed" in acme.fails(exits.USAGE, "key", "add", "acme", "--expires", "2027-01-31")
    assert "has passed" in acme.fails(exits.USAGE, "key", "add", "acme", "--expires", "0d")
    assert len(acme.directory().keys) == 2


@pytest.mark.parametrize(
    "when", ["", "never", "30", "d", "-1d", "1.5d", "30D", "30h", "2999-02-30", "2999-1-1", "29990101", "999999d"]
)
def test_an_end_that_is_none_is_refused(acme, when):
    """What is neither a day nor a number of days is refused, and no key is made."""
    assert "neither a day" in acme.fails(exits.USAGE, "key", "add", "acme", f"--expires={when}")
    assert not acme.directory().keys


def test_scopes_are_those_there_are(acme):
    """An unknown scope is a usage error that lists the scopes; the command line knows the same as the service."""
    error = acme.fails(exits.USAGE, "key", "add", "acme", "--scope", "root")
    assert all(scope in error for scope in keys.SCOPES)
    assert typing.get_args(admin.Scope) == keys.SCOPES


def test_keys_are_listed_without_what_opens(acme):
    """``key list`` prints all keys or one customer's, and neither secret nor digest, in any format."""
    acme.ok("customer", "add", "zeta")
    made = [
        acme.json("key", "add", "zeta"),
        acme.json("key", "add", "acme", "--scope", "read", "--group", "g", "--expires", "2999-01-31", "--label", "a b"),
    ]
    printed = [acme.ok("key", "list", "--output", output) for output in ("table", "json", "ndjson")]
    digests = [key.digest for key in acme.directory().keys.values()]
    for ran in printed:
        assert all(item["id"] in ran.out for item in made)
        assert not any(
            it in ran.out for item in made for it in (item["apikey"], item["apikey"].split("_")[2], *digests)
        )
    assert (
        printed[1].json
        == printed[2].ndjson
        == [{name: value for name, value in item.items() if name != "apikey"} for item in reversed(made)]
    )
    assert printed[0].out.splitlines() == [
        "KEY           CUSTOMER  SCOPES      GROUP  EXPIRES               LABEL",
        f"{made[1]['id']}  acme      read        g      2999-01-31 00:00:00Z  a b",
        f"{made[0]['id']}  zeta      read,write  -      -                     -",
    ]
    assert [item["id"] for item in acme.json("key", "list", "zeta")] == [made[0]["id"]]


def test_a_key_is_revoked(acme):
    """``key revoke`` ends one key and leaves the others; a second time there is no such key."""
    first, second = acme.json("key", "add", "acme"), acme.json("key", "add", "acme")
    assert acme.ok("key", "revoke", first["id"]).out == f"key {first['id']} of customer acme is revoked\n"
    assert not acme.accepts("acme", first["apikey"]) and acme.accepts("acme", second["apikey"])
    assert "no key" in acme.fails(exits.USAGE, "key", "revoke", first["id"])
    assert acme.json("key", "revoke", second["id"])["id"] == second["id"]


def test_a_key_given_for_its_id_is_not_shown(acme):
    """Whoever revokes by the whole text is told what is wanted, without the text."""
    text = acme.json("key", "add", "acme")["apikey"]
    error = acme.fails(exits.USAGE, "key", "revoke", text)
    assert "12 characters" in error and text.split("_")[2] not in error


def test_what_is_stored_cannot_act_on_a_terminal(acme):
    """Names, labels and groups with control characters are escaped in every output."""
    nasty = "\x1b]0;owned\x07\u202e\n"
    acme.ok("customer", "add", "zeta", "--name", nasty)
    acme.ok("key", "add", "zeta", "--label", nasty, "--group", nasty)
    for argv in (["customer", "list"], ["key", "list"]):
        for output in ("table", "json", "ndjson"):
            out = acme.ok(*argv, "--output", output).out
            assert all(line.isprintable() for line in out.split("\n"))
    assert acme.json("key", "list")[0]["label"] == nasty


# Profiles


def test_a_key_goes_into_a_profile(acme, tmp_path):
    """``--profile-to`` writes a profile for its owner alone, with the key and a new master key, and prints neither."""
    ran = acme.ok("key", "add", "acme", "--profile-to", "a.json", "--url", "https://logs.example.org")
    path = tmp_path / "a.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    profile = Profile.load(path)
    assert (profile.endpoint_url, profile.customer_id) == ("https://logs.example.org", "acme")
    text = profile.apikey.reveal().decode()
    assert acme.accepts("acme", text)
    item = acme.json("key", "add", "acme", "--profile-to", "b.json", "--url", "https://x")
    assert item["profile"] == "b.json" and "apikey" not in item
    assert Profile.load(tmp_path / "b.json").master_key != profile.master_key
    for secret in (text, text.split("_")[2], profile.master_key.to_base64()):
        assert secret not in ran.out + json.dumps(item)
    assert "a.json" in ran.out


def test_a_profile_can_have_the_master_key_of_another(acme, tmp_path):
    """``--master-key-from`` takes the master key and scheme of a profile, so that both read the same logs."""
    acme.cli.ok("init")
    mine = Profile.load(tmp_path / "indelible.json")
    argv = ["key", "add", "acme", "--profile-to", "a.json", "--url", "https://x", "--master-key-from"]
    acme.ok(*argv, "indelible.json")
    profile = Profile.load(tmp_path / "a.json")
    assert (profile.master_key, profile.scheme) == (mine.master_key, mine.scheme)
    assert (profile.endpoint_url, profile.customer_id) == ("https://x", "acme")
    (tmp_path / "a.json").unlink()
    assert "cannot be read" in acme.fails(exits.USAGE, *argv, "none.json")
    assert len(acme.directory().keys) == 1


def test_a_profile_that_cannot_be_written_leaves_no_key(acme, tmp_path):
    """If the profile's file is there already, or cannot be written, the key is taken back and the file is untouched."""
    (tmp_path / "a.json").write_text("mine")
    for path in ("a.json", "none/a.json"):
        acme.fails(exits.USAGE, "key", "add", "acme", "--profile-to", path, "--url", "https://x")
        assert not acme.directory().keys
    assert (tmp_path / "a.json").read_text() == "mine"
    acme.ok("key", "add", "acme", "--profile-to", "b.json", "--url", "https://x")
    assert len(acme.directory().keys) == 1


@pytest.mark.parametrize("argv", [["--profile-to", "a.json"], ["--url", "https://x"], ["--master-key-from", "a.json"]])
def test_half_of_a_profile_is_refused(acme, tmp_path, argv):
    """What belongs together is given together, or nothing is done."""
    assert "go together" in acme.fails(exits.USAGE, "key", "add", "acme", *argv)
    assert not acme.directory().keys and not (tmp_path / "a.json").exists()


# Which store


def test_the_store_is_the_services(cli, tmp_path):
    """The store is that of ``--store``, else of the settings in ``--config``, else the default of the service."""
    (tmp_path / "service.toml").write_text(
        'store = "sqlite:///configured.db"\nhost = "0.0.0.0"\nallow_plain_http = true\n'
    )
    cli.ok("admin", "customer", "add", "one", "--config", "service.toml", "--store", STORE)
    cli.ok("admin", "customer", "add", "two", "--config", "service.toml")
    cli.ok("admin", "customer", "add", "three")
    assert {path.name for path in tmp_path.glob("*.db")} == {"service.db", "configured.db"}
    for argv, name in ((["--store", STORE], "one"), (["--config", "service.toml"], "two"), ([], "three")):
        assert [it["id"] for it in cli.ok("admin", "customer", "list", *argv, "--output", "json").json] == [name]
    assert (tmp_path / "home/.local/share/indelible/indelible.db").is_file()


def test_a_store_that_cannot_be_it_is_refused(cli, tmp_path):
    """A store that is gone when the command ends, no URL, and a wrong file of settings are each one line."""
    (tmp_path / "service.toml").write_text("prot = 1")
    assert "ends with this command" in cli.fails(2, "admin", "customer", "add", "a", "--store", "memory:x")
    assert "must be a URL" in cli.fails(2, "admin", "customer", "list", "--store", "service.db")
    assert "service.toml: prot is not a setting" in cli.fails(2, "admin", "key", "list", "--config", "service.toml")
    assert "none.toml cannot be read" in cli.fails(2, "admin", "key", "list", "--config", "none.toml")
    (tmp_path / "text.db").write_text("this is no database" * 100)
    cli.fails(exits.USAGE, "admin", "key", "list", "--store", "sqlite:///text.db")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == ["text.db"]


@pytest.mark.parametrize("given", [["--store", "sqlite:///typo.db"], ["--config", "service.toml"], []])
def test_a_store_that_is_not_there_is_not_made_by_mistake(cli, tmp_path, given):
    """Only who adds a customer makes a store; every other command says that there is none, and makes nothing."""
    (tmp_path / "service.toml").write_text('store = "sqlite:///service.db"')
    for argv in (
        *(["customer", "list"], ["customer", "remove", "acme", "--yes"]),
        *(["key", "list"], ["key", "add", "acme"], ["key", "revoke", "a" * 12]),
    ):
        error = cli.fails(exits.USAGE, "admin", *argv, *given)
        assert "no store is found at /" in error and "indelible admin customer add" in error
    assert [path.name for path in tmp_path.rglob("*")] == ["service.toml"]
    cli.ok("admin", "customer", "add", "acme", *given)
    assert cli.ok("admin", "customer", "list", *given, "--output", "json").json[0]["id"] == "acme"


def test_changes_are_versions_of_a_log(acme):
    """What was done through the command line stands in the history of the access log, by its source."""
    acme.ok("key", "add", "acme")
    backend = Settings(store=STORE).open_store()
    assert [(it.version, it.source) for it in backend.versions("@/access")] == [
        (1, "indelible admin"),
        (2, "indelible admin"),
    ]
    backend.close()


# What is around the commands

COMMANDS = [
    *(["customer", "add"], ["customer", "list"], ["customer", "remove"]),
    *(["key", "add"], ["key", "list"], ["key", "revoke"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_says_what_a_command_does(cli, command):
    """``--help`` prints the command's promise and the options of all these commands."""
    out = " ".join(cli.ok("admin", *command, "--help").out.split())
    promise = admin.app[command[0]][command[1]].default_command.__doc__.split(".")[0]
    assert " ".join(promise.split()) in out
    assert all(option in out for option in ("--config", "--store", "--output"))


def test_help_lists_the_commands(cli):
    """Without a command, the commands there are are listed; an unknown one is a usage error."""
    for group in ([], ["customer"], ["key"]):
        assert cli.ok("admin", *group).out == cli.ok("admin", *group, "--help").out
        assert "Unknown command" in cli.fails(exits.USAGE, "admin", *group, "nope")
    assert [[group, name] for group in ("customer", "key") for name in admin.app[group] if name[0] != "-"] == COMMANDS
    assert " admin " in cli.ok("--help").out


def test_options_of_every_command_may_come_first(acme):
    """``--output`` before ``admin`` is that of the command; ``--profile`` is none of its options."""
    assert acme.cli.ok("--output", "json", "admin", "customer", "list", "--store", STORE).json[0]["id"] == "acme"
    assert acme.cli.ok("--output=ndjson", "admin", "key", "list", "--store", STORE).out == ""
    assert "--profile" in acme.cli.fails(exits.USAGE, "--profile", "x.json", "admin", "key", "list")


@pytest.mark.parametrize("argv", [["customer", "add"], ["key", "add"], ["key", "revoke"], ["customer", "list", "x"]])
def test_wrong_usage(acme, argv):
    """Words that are missing or too many are usage errors."""
    acme.fails(exits.USAGE, *argv)


def test_other_commands_do_not_load_the_service(cli):
    """The command line starts without the service's modules; they are loaded by the commands that need them."""
    code = (
        "import sys; from indelible.cli import main; assert main({argv}) == 0;"
        "print(sorted(name for name in sys.modules if name.startswith('indelible.server')))"
    )

    def loaded(*argv):
        done = subprocess.run(
            [sys.executable, "-c", code.format(argv=list(argv))], capture_output=True, text=True, cwd=cli.folder
        )
        assert done.stderr == ""
        return done.stdout.splitlines()[-1]

    assert loaded("--help") == loaded("admin", "key", "add", "--help") == loaded("init") == "[]"
    assert "indelible.server.access" in loaded("admin", "customer", "add", "acme", "--store", STORE)


def test_no_key_is_left_in_the_store(acme, tmp_path):
    """After all that, the file holds no key that was printed: only ids and digests."""
    items = [acme.json("key", "add", "acme", "--label", f"l{number}") for number in range(3)]
    acme.ok("key", "revoke", items[0]["id"])
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("service.db*"))
    for item in items:
        assert item["id"].encode() in stored and item["apikey"].split("_")[2].encode() not in stored
