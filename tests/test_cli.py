"""Every command, through its real entry point: what it prints, where, and how it ends."""

import json
import os
import pty
import signal
import stat
import subprocess
import sys

import pytest
from commandline import CommandLine

import indelible
from indelible import errors
from indelible.cli import exits
from indelible.cli.app import app
from indelible.cli.output import visible
from indelible.log import Log

COMMANDS = [
    *("init", "create", "put", "rm", "get", "show", "diff", "history", "versions", "logs", "watch"),
    *("import", "export", "trim", "accept-rollback", "git-import", "backup", "restore", "copy", "doctor", "serve"),
]
GROUPS = ["admin"]
"""What holds commands of its own."""

NOT_OF_A_LOG = ["backup", "restore", "copy", "doctor", "serve"]
"""Commands that name a store themselves."""


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    return CommandLine(tmp_path, capsys, monkeypatch)


@pytest.fixture
def notes(cli):
    """A log with four versions: a=1; a=2 and b; b gone; a=1 again."""
    cli.ok("init")
    cli.ok("create", "notes", "--group", "g")
    cli.ok("put", "notes", "a", "1", "--source", "me")
    cli.ok("put", "notes", "a", "2", "b", '{"x": [true, null]}')
    cli.ok("rm", "notes", "b")
    cli.ok("put", "notes", "a", "1")
    return cli


# init


def test_init_makes_a_private_profile_and_says_what_to_do(cli):
    """``init`` writes a loadable profile of mode 0600 with a relative store, and names the next commands."""
    ran = cli.ok("init")
    path = cli.folder / "indelible.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["endpoint_url"] == "sqlite:///indelible.db"
    for command in ("indelible create", "indelible put", "indelible show"):
        assert command in ran.out
    cli.ok("create", "x")
    assert (cli.folder / "indelible.db").exists()


def test_init_never_overwrites(cli):
    """A second ``init`` fails and leaves the file as it is; under another name it succeeds."""
    cli.ok("init")
    before = (cli.folder / "indelible.json").read_bytes()
    assert "exists" in cli.fails(2, "init")
    assert (cli.folder / "indelible.json").read_bytes() == before
    ran = cli.ok("init", "--profile", "other.json", "--url", "sqlite:///o.db", "--output", "json")
    assert ran.json == {"profile": "other.json", "endpoint_url": "sqlite:///o.db"}


def test_what_init_says_next_works(cli):
    """The commands that ``init`` prints run as they stand."""
    printed = cli.ok("init").out
    lines = [line.strip() for line in printed.splitlines() if line.startswith("  indelible ")]
    assert len(lines) == 3
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", line.replace("indelible", f"{sys.executable} -m indelible", 1)],
            cwd=cli.folder,
            capture_output=True,
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert b'"world"' in done.stdout


# create, put, rm, trim


def test_create_can_be_repeated(notes):
    """``create`` of a log that exists with the same group succeeds; with another group it fails."""
    assert notes.ok("create", "notes", "--group", "g", "--output", "json").json == {
        "log": "notes",
        "group": "g",
        "version": 4,
    }
    assert "another group" in notes.fails(exits.FAILED, "create", "notes")


def test_put_stores_json_and_text(notes):
    """Values are JSON, or with ``--text`` what stands there; pairs go into one version."""
    notes.ok("put", "notes", "j", "[1, 2.5]", "k", "-5")
    notes.ok("put", "notes", "t", "[1", "--text")
    assert notes.ok("get", "notes", "j", "--output", "json").json == {"key": "j", "value": [1, 2.5]}
    assert notes.ok("get", "notes", "k").out == "-5\n"
    assert notes.ok("get", "notes", "t").out == '"[1"\n'
    assert notes.ok("get", "notes", "t", "--text").out == "[1\n"
    assert notes.ok("logs", "--output", "json").json[0]["version"] == 6


def test_put_reads_stdin(notes):
    """The value ``-`` is read from stdin, as JSON or text; bytes that are no UTF-8 are refused."""
    notes.ok("put", "notes", "s", "-", stdin=b'{"deep": "secret"}')
    assert notes.ok("get", "notes", "s").out == '{"deep": "secret"}\n'
    notes.ok("put", "notes", "s", "-", "--text", stdin="zwölf\nzeilen\n".encode())
    assert notes.ok("get", "notes", "s", "--text").out == "zwölf\nzeilen\n\n"
    assert "UTF-8" in notes.fails(2, "put", "notes", "s", "-", "--text", stdin=b"\xff")


@pytest.mark.parametrize(
    "value", ["worl", "NaN", "-Infinity", '{"a": 1, "a": 2}', "1e999", "9" * 5_000, "[" * 100_000, '"\\ud800"', "--foo"]
)
def test_put_refuses_what_is_no_json(notes, value):
    """What is not JSON, or could not be read back as it was meant, is refused and nothing is written."""
    notes.fails(2, "put", "notes", "v", value)
    assert notes.ok("logs", "--output", "json").json[0]["version"] == 4


def test_put_says_when_nothing_changed(notes):
    """Storing what is there already makes no version, and says so."""
    assert notes.ok("put", "notes", "a", "1", "--output", "json").json == {"version": 4, "changed": False}
    assert "nothing to change" in notes.ok("put", "notes", "a", "1").out
    assert notes.ok("put", "notes", "a", "3", "--output", "json").json == {"version": 5, "changed": True}


def test_put_kinds_and_expectations(notes):
    """``--insert``, ``--update`` and ``--expect`` are rejected where their command is, and pass where it does."""
    assert "another value" in notes.fails(exits.REJECTED, "put", "notes", "a", "9", "--insert")
    notes.ok("put", "notes", "new", "9", "--insert")
    assert "nothing" in notes.fails(exits.REJECTED, "put", "notes", "newer", "9", "--update")
    notes.ok("put", "notes", "new", "10", "--update")
    assert "is at version 6, not 5" in notes.fails(exits.REJECTED, "put", "notes", "a", "9", "--expect", "5")
    notes.ok("put", "notes", "a", "9", "--expect", "6")


def test_put_wrong_usage(notes):
    """Odd words, contradicting kinds and unknown options are usage errors that name what is wrong."""
    assert "'b', has none" in notes.fails(2, "put", "notes", "a", "1", "b")
    assert "not both" in notes.fails(2, "put", "notes", "a", "1", "--insert", "--update")
    assert "VALUE" in notes.fails(2, "put", "notes", "a")
    assert "--foo" in notes.fails(2, "put", "notes", "a", "1", "--foo")
    notes.ok("put", "notes", "--", "-k", "1")
    assert notes.ok("get", "notes", "--", "-k").out == "1\n"


def test_rm_is_one_transaction(notes):
    """``rm`` removes all keys in one version, or none if one of them is not there (3)."""
    notes.ok("put", "notes", "b", "2")
    assert "'nope'" in notes.fails(exits.NOT_FOUND, "rm", "notes", "a", "nope")
    assert [item["key"] for item in notes.ok("show", "notes", "--output", "json").json] == ["a", "b"]
    assert notes.ok("rm", "notes", "a", "b", "a", "--source", "cleaner", "--output", "json").json["version"] == 6
    assert notes.ok("show", "notes", "--output", "json").json == []
    assert notes.ok("versions", "notes", "--output", "json").json[-1]["source"] == "cleaner"


def test_rm_expects(notes):
    """``rm --expect`` of another version is rejected, above the head too; of the head it removes."""
    for version in (3, 99):
        assert f"is at version 4, not {version}" in notes.fails(4, "rm", "notes", "a", "--expect", version)
    notes.ok("rm", "notes", "a", "--expect", "4")


def test_rm_sees_a_value_written_in_between(notes, monkeypatch):
    """A value written between reading and removing is read again, so the key is gone afterwards whatever it held."""
    get, others = Log.get, [5, 6]

    def slow_get(log, key, default=None, *, at=None):
        value = get(log, key, default, at=at)
        if others:
            log.update([indelible.Upsert("a", others.pop())])
        return value

    monkeypatch.setattr(Log, "get", slow_get)
    notes.ok("rm", "notes", "a")
    assert others == []
    monkeypatch.undo()
    os.chdir(notes.folder)
    assert notes.ok("show", "notes", "--output", "json").json == []


def test_trim_asks(notes):
    """``trim`` without ``--yes`` and nobody to ask is refused; with it, older versions are gone and the rest stays."""
    assert "--yes" in notes.fails(2, "trim", "notes", "3")
    assert notes.ok("diff", "notes", "1", "2", "--output", "json").json["changes"]
    assert notes.ok("trim", "notes", "3", "--yes", "--output", "json").json == {
        "log": "notes",
        "version": 4,
        "oldest": 3,
    }
    assert "trimmed" in notes.fails(3, "diff", "notes", "1", "2")
    assert notes.ok("get", "notes", "a", "--at", "3").out == "2\n"
    assert "its newest is 4" in notes.fails(3, "trim", "notes", "5", "--yes")


@pytest.mark.parametrize(("answer", "code", "oldest"), [(b"y\n", 0, 3), (b"n\n", 2, 0), (b"\n", 2, 0)])
def test_trim_takes_yes_for_an_answer(notes, answer, code, oldest):
    """At a terminal ``trim`` does what it is told: only a yes forgets."""
    leader, follower = pty.openpty()
    with notes.start("trim", "notes", "3", stdin=follower) as process:
        os.write(leader, answer)
        _, err = process.communicate()
    os.close(leader)
    os.close(follower)
    assert process.returncode == code
    assert b"[y/N]" in err
    assert notes.ok("logs", "--output", "json").json[0]["oldest"] == oldest


# get, show, diff, history, versions, logs, export


def test_get(notes):
    """``get`` prints the value as JSON, now or at a version; an absent key, version or log is not found (3)."""
    assert notes.ok("get", "notes", "a").out == "1\n"
    assert notes.ok("get", "notes", "a", "--at", "2").out == "2\n"
    assert notes.ok("get", "notes", "b", "--at", "2", "--output", "ndjson").ndjson == [
        {"key": "b", "value": {"x": [True, None]}}
    ]
    assert "under 'b'" in notes.fails(exits.NOT_FOUND, "get", "notes", "b")
    assert "at version 1" in notes.fails(exits.NOT_FOUND, "get", "notes", "b", "--at", "1")
    assert "no version 9" in notes.fails(exits.NOT_FOUND, "get", "notes", "a", "--at", "9")
    assert "no log 'x'" in notes.fails(exits.NOT_FOUND, "get", "x", "a")
    assert "no text" in notes.fails(exits.USAGE, "get", "notes", "a", "--text")


def test_show(notes):
    """``show`` prints the entries by key in every format, now or at a version."""
    items = [{"key": "a", "value": 2, "version": 2}, {"key": "b", "value": {"x": [True, None]}, "version": 2}]
    assert notes.ok("show", "notes", "--at", "2", "--output", "json").json == items
    assert notes.ok("show", "notes", "--at", "2", "--output", "ndjson").ndjson == items
    assert notes.ok("show", "notes", "--at", "2").out == (
        'KEY  VALUE                VERSION\na    2                    2\nb    {"x": [true, null]}  2\n'
    )
    assert notes.ok("show", "notes", "--at", "0", "--output", "json").json == []
    assert notes.ok("show", "notes", "--at", "0", "--output", "ndjson").out == ""


def test_diff(notes):
    """``diff`` prints the net changes by key in every format, forward and backward."""
    assert notes.ok("diff", "notes", "1", "2").out == (
        '--- notes version 1\n+++ notes version 2\n- a 1\n+ a 2\n+ b {"x": [true, null]}\n'
    )
    assert notes.ok("diff", "notes", "2", "1").out == (
        '--- notes version 2\n+++ notes version 1\n- a 2\n+ a 1\n- b {"x": [true, null]}\n'
    )
    assert notes.ok("diff", "notes", "3", "--output", "json").json == {
        "from_version": 3,
        "to_version": 4,
        "changes": [
            {"change": "Remove", "entry": {"key": "a", "value": 2}, "version": 2},
            {"change": "Add", "entry": {"key": "a", "value": 1}, "version": 4},
        ],
    }
    assert [item["change"] for item in notes.ok("diff", "notes", "3", "--output", "ndjson").ndjson] == ["Remove", "Add"]
    assert notes.ok("diff", "notes", "2", "2", "--output", "json").json["changes"] == []


def test_diff_leaves_out_equal_values(notes):
    """A key that holds the same value at both ends is left out, and shown with ``--every``; true is not 1."""
    assert notes.ok("diff", "notes", "1", "4", "--output", "ndjson").ndjson == []
    assert len(notes.ok("diff", "notes", "1", "4", "--every", "--output", "ndjson").ndjson) == 2
    notes.ok("put", "notes", "a", "true")
    assert len(notes.ok("diff", "notes", "4", "--output", "ndjson").ndjson) == 2


def test_diff_is_coloured_on_a_terminal_only(notes, monkeypatch):
    """Removals are red and additions green on a terminal; in a pipe, or under ``NO_COLOR``, nothing is coloured."""
    assert "\x1b" not in notes.ok("diff", "notes", "1", "2").out
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = at_terminal(notes, "diff", "notes", "1", "2")
    assert "\x1b[31m- a 1\x1b[0m" in coloured and "\x1b[32m+ a 2\x1b[0m" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in at_terminal(notes, "diff", "notes", "1", "2")


def test_history(notes):
    """``history`` prints each version that changed a key, with before and after; a key that never was is not found."""
    assert notes.ok("history", "notes", "a").out == (
        "VERSION  BEFORE  AFTER\n1        -       1\n2        1       2\n4        2       1\n"
    )
    items = notes.ok("history", "notes", "b", "--output", "json").json
    assert [item["version"] for item in items] == [2, 3]
    assert items[0]["before"] is None and items[1]["after"] is None
    assert items[0]["after"] == items[1]["before"] == {"key": "b", "value": {"x": [True, None]}, "version": 2}
    assert "never" in notes.fails(exits.NOT_FOUND, "history", "notes", "c")


def test_versions(notes):
    """``versions`` prints number, time, source and size of each version in the range asked for."""
    items = notes.ok("versions", "notes", "--output", "json").json
    assert [(item["version"], item["source"], item["effects"]) for item in items] == [
        *((1, "me", 1), (2, None, 2), (3, None, 1), (4, None, 1))
    ]
    assert all(len(item["transaction_id"]) == 32 and item["committed_at"].endswith("+00:00") for item in items)
    ranged = notes.ok("versions", "notes", "--from", "1", "--to", "3", "--output", "ndjson").ndjson
    assert [item["version"] for item in ranged] == [2, 3]
    lines = notes.ok("versions", "notes").out.splitlines()
    assert lines[0].split() == ["VERSION", "COMMITTED", "CHANGES", "SOURCE"] and lines[1].endswith("  me")
    assert notes.fails(exits.NOT_FOUND, "versions", "notes", "--to", "9")


def test_logs(notes):
    """``logs`` prints all logs, or those of one group."""
    notes.ok("create", "other")
    item = {"name": "notes", "group": "g", "version": 4, "oldest": 0, "entries": 1}
    assert notes.ok("logs", "--group", "g", "--output", "ndjson").ndjson == [item]
    assert [log["name"] for log in notes.ok("logs", "--output", "json").json] == ["notes", "other"]
    assert notes.ok("logs").out == (
        "LOG    GROUP  VERSION  ENTRIES\nnotes  g      4        1\nother  -      0        0\n"
    )


def test_export_can_be_imported(notes):
    """What ``export`` prints, now or at a version, ``import`` reads into an equal state."""
    exported = notes.ok("export", "notes", "--at", "2")
    assert exported.ndjson == [{"key": "a", "value": 2}, {"key": "b", "value": {"x": [True, None]}}]
    notes.ok("import", "copy", "-", stdin=exported.out.encode())
    assert notes.ok("export", "copy").ndjson == exported.ndjson
    assert notes.ok("export", "notes").ndjson == [{"key": "a", "value": 1}]


# watch


def test_watch_prints_version_by_version(notes):
    """``watch --from`` prints every version's own changes, and ends after the count or the time."""
    items = notes.ok("watch", "notes", "--from", "0", "--count", "4", "--output", "ndjson").ndjson
    assert [(item["to_version"], item["change"], item["entry"]["key"]) for item in items] == [
        *((1, "Add", "a"), (2, "Remove", "a"), (2, "Add", "a"), (2, "Add", "b")),
        *((3, "Remove", "b"), (4, "Remove", "a"), (4, "Add", "a")),
    ]
    assert notes.ok("watch", "notes", "--from", "2", "--once").out == 'notes 3  - b {"x": [true, null]}\n'
    assert notes.ok("watch", "notes", "--timeout", "0").out == ""
    assert notes.ok("watch", "notes", "--from", "3", "--timeout", "0").out == "notes 4  - a 2\nnotes 4  + a 1\n"


def test_watch_of_a_trimmed_log(notes):
    """From 0 a watch begins with the oldest version there is; from a version that is gone it fails."""
    notes.ok("trim", "notes", "3", "--yes")
    items = notes.ok("watch", "notes", "--from", "0", "--timeout", "0", "--output", "ndjson").ndjson
    assert [(item["to_version"], item["entry"]["value"]) for item in items] == [(3, 2), (4, 2), (4, 1)]
    notes.fails(exits.NOT_FOUND, "watch", "notes", "--from", "2", "--once")


def test_watch_wrong_usage(notes):
    """A JSON document that never ends, a version above the head and contradicting ends are refused."""
    assert "ndjson" in notes.fails(2, "watch", "notes", "--output", "json")
    assert "not both" in notes.fails(2, "watch", "notes", "--once", "--count", "2")
    assert "--count" in notes.fails(2, "watch", "notes", "--count", "0")
    assert "no version 9" in notes.fails(3, "watch", "notes", "--from", "9")
    assert "no log" in notes.fails(3, "watch", "nope", "--once")


def test_watch_follows_another_process_until_ctrl_c(notes):
    """A watch prints, at once, what another process commits; ctrl-C ends it with 130 and not a word."""
    with notes.start("watch", "notes", "--from", "4", "--output", "ndjson") as process:
        try:
            for value in (10, 11):
                notes.ok("put", "notes", "a", value)
                removed, added = (json.loads(process.stdout.readline()) for _ in range(2))
                assert (removed["change"], added["change"], added["entry"]["value"]) == ("Remove", "Add", value)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        finally:
            process.kill()
    assert (process.returncode, out, err) == (exits.INTERRUPTED, b"", b"")


# what is around the commands


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does(cli, command):
    """``COMMAND --help`` prints the command's promise, its options and those of every command."""
    ran = cli.ok(command, "--help")
    promise = app[command].default_command.__doc__.split(".")[0].split()
    assert " ".join(promise) in " ".join(ran.out.split())
    assert command in NOT_OF_A_LOG or ("--profile" in ran.out and "--output" in ran.out)


def test_help_lists_every_command(cli):
    """``--help``, and no command at all, list all commands in order; ``--version`` prints the version."""
    for argv in (["--help"], []):
        out = cli.ok(*argv).out
        places = [out.index(f" {command} ") for command in [*COMMANDS, *GROUPS]]
        assert places == sorted(places)
    assert cli.ok("--version").out.strip() == "0.1.0"
    assert {name for name in app if not name.startswith("-")} == {*COMMANDS, *GROUPS}
    assert "--install-completion" in out


def test_global_options_may_come_first(notes, monkeypatch):
    """The options of every command may stand before it; the profile may come from the environment."""
    assert notes.ok("--output", "json", "get", "notes", "a").json == {"key": "a", "value": 1}
    assert notes.ok("--output=json", "--profile", "indelible.json", "get", "notes", "a").json["value"] == 1
    (notes.folder / "sub").mkdir()
    monkeypatch.chdir(notes.folder / "sub")
    assert "'indelible init' makes one" in notes.fails(exits.USAGE, "logs")
    monkeypatch.setenv("INDELIBLE_PROFILE", str(notes.folder / "indelible.json"))
    assert len(notes.ok("logs", "--output", "json").json) == 1


def test_a_profile_that_others_can_read_is_refused(notes):
    """A profile open to others is refused with what to do; closed again it works."""
    path = notes.folder / "indelible.json"
    path.chmod(0o644)
    assert "chmod 600" in notes.fails(2, "logs")
    path.chmod(0o600)
    notes.ok("logs")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequest("r"), exits.USAGE),
        (errors.TooLarge("r", "key", 2, 1), exits.USAGE),
        (errors.UnsuitableStore("r"), exits.USAGE),
        (errors.NonexistentLog("l"), exits.NOT_FOUND),
        (errors.NonexistentVersion("l", 2, 1), exits.NOT_FOUND),
        (errors.VersionTrimmed("l", 2, 1), exits.NOT_FOUND),
        (errors.UnexpectedVersion("l", 0, "ExpectVersion", 1, 2, 1), exits.REJECTED),
        (errors.UnexpectedValue("l", 0, "Insert", 1), exits.REJECTED),
        (errors.NonexistentValue("l", 0, "Update", 1), exits.REJECTED),
        (errors.TransactionIdReused("l", -1, "Transaction", 1), exits.REJECTED),
        (errors.TransactionConflict("r"), exits.NOT_EXECUTED),
        (errors.Overloaded("r"), exits.NOT_EXECUTED),
        (errors.IntegrityError("r"), exits.INTEGRITY),
        (errors.Undecodable("r"), exits.INTEGRITY),
        (errors.DamagedStore("r"), exits.INTEGRITY),
        (errors.ProtocolViolation("r"), exits.INTEGRITY),
        (errors.HistoryRolledBack("r", "l", 2, 1), exits.INTEGRITY),
        (errors.LogExists("l"), exits.FAILED),
        (errors.BadApiKey(), exits.FAILED),
        (errors.NotAllowed("r"), exits.FAILED),
        (OSError(28, "No space left on device", "f"), exits.FAILED),
        (ZeroDivisionError("secret"), exits.FAILED),
        (KeyboardInterrupt(), exits.INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_exit_code(notes, monkeypatch, error, code):
    """Each kind of error ends with its code and one line, an interruption with none; without it the command succeeds."""
    update = Log.update

    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(Log, "update", fail)
    if isinstance(error, KeyboardInterrupt):
        assert notes("put", "notes", "a", "5").err == ""
        assert notes("put", "notes", "a", "5").code == code
    else:
        assert "secret" not in notes.fails(code, "put", "notes", "a", "5")
    monkeypatch.setattr(Log, "update", update)
    notes.ok("put", "notes", "a", "5")


def test_every_error_of_the_package_has_a_code():
    """Every class of the error tree that says what to do has an exit code of its own; the table covers all branches."""
    general = {errors.IndelibleError, errors.LogExists, errors.BadApiKey, errors.NotAllowed}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.IndelibleError):
            assert (exits.code_of(kind.__new__(kind)) == exits.FAILED) == (kind in general), kind


@pytest.mark.parametrize(("failures", "code"), [(2, exits.OK), (3, exits.UNKNOWN)])
def test_an_unknown_outcome_is_asked_for_again(notes, monkeypatch, failures, code):
    """A transaction of unknown outcome is sent again as it is, with its attempt counted, before the command gives up."""
    update, sent = Log.update, []

    def lossy(log, transaction, *, attempt=1):
        sent.append((transaction.id, attempt))
        committed = update(log, transaction, attempt=attempt)
        if len(sent) <= failures:
            raise errors.OutcomeUnknown(log.name, transaction, attempt, "connection lost")
        return committed

    monkeypatch.setattr(Log, "update", lossy)
    ran = notes("put", "notes", "a", "5", "--output", "json")
    assert ran.code == code
    assert [attempt for _, attempt in sent] == [1, 2, 3] and len({tx for tx, _ in sent}) == 1
    if code == exits.OK:
        assert ran.json == {"version": 5, "changed": True}
    else:
        assert "unknown" in ran.err and "connection lost" in ran.err
    assert notes.ok("get", "notes", "a").out == "5\n"


@pytest.mark.parametrize(
    ("later", "code", "alone"),
    [
        (errors.NotExecuted("nothing was done"), exits.UNKNOWN, exits.NOT_EXECUTED),
        (errors.Overloaded("busy"), exits.UNKNOWN, exits.NOT_EXECUTED),
        (errors.BadApiKey(), exits.UNKNOWN, exits.FAILED),
        (errors.NonexistentLog("notes"), exits.UNKNOWN, exits.NOT_FOUND),
        (errors.Closed("closed"), exits.UNKNOWN, exits.USAGE),
        (errors.DamagedStore("torn"), exits.UNKNOWN, exits.INTEGRITY),
        (errors.UnexpectedValue("notes", 0, "Insert", 4), exits.REJECTED, exits.REJECTED),
        (errors.TransactionIdReused("notes", -1, "Transaction", 4), exits.REJECTED, exits.REJECTED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_an_answer_ends_an_unknown_outcome(notes, monkeypatch, later, code, alone):
    """S16, S17: what fails after an outcome is unknown speaks for its own attempt; only an answer says what happened."""
    sent = []

    def failing(log, transaction, *, attempt=1):
        sent.append(attempt)
        if attempt == 1:
            # The backend sent it again by itself.
            raise errors.OutcomeUnknown(log.name, transaction, 4, "connection lost")
        raise later

    def refusing(_log, _transaction, *, attempt=1):
        sent.append(attempt)
        raise later

    monkeypatch.setattr(Log, "update", failing)
    line = notes.fails(code, "put", "notes", "a", "5")
    assert sent == [1, 5]
    assert ("connection lost" in line) == (code == exits.UNKNOWN)
    monkeypatch.setattr(Log, "update", refusing)
    notes.fails(alone, "put", "notes", "a", "5")
    assert sent[2:] == [1], "the control: where nothing is in doubt, it is told at once"


def test_a_service_that_commits_and_dies_leaves_the_outcome_unknown(cli, monkeypatch):
    """S17: ``put`` never says that nothing was done of what the service committed before it went away."""
    from http_scripted import CREDENTIALS, Scripted

    from indelible.backends.http import retrying

    monkeypatch.setattr(retrying, "_LONGEST", 0.01)

    def die(request, wire):
        if request.name == "update":
            server.honest.answer(request)
            server.stop_listening()
            wire.reset()

    with Scripted() as server:
        indelible.Profile(
            endpoint_url=server.url,
            master_key=indelible.MasterKey.generate(),
            customer_id="me",
            apikey=CREDENTIALS.apikey.reveal().decode(),
        ).save(cli.folder / "indelible.json")
        cli.ok("create", "notes")
        server.script = die
        line = cli.fails(exits.UNKNOWN, "put", "notes", "a", "1")
        assert "nothing was done" not in line
        assert [info.head for info in server.honest.store.logs()] == [1]
    assert "nothing was done" in cli.fails(exits.NOT_EXECUTED, "put", "notes", "a", "2"), "the control"


def test_output_holds_no_terminal_escapes(cli):
    """Whatever stands in keys, values, sources and names, no control or bidi character reaches the output raw."""
    nasty = "\x1b]0;owned\x07\x7f\x9b31m\u202e\u2028\n"
    cli.ok("init")
    cli.ok("create", nasty, "--group", nasty)
    cli.ok("put", nasty, nasty, json.dumps([nasty]), "--source", nasty)
    cli.ok("put", nasty, nasty, json.dumps({nasty: nasty}))
    outputs = [
        *(cli.ok("show", nasty, "--output", output).out for output in ("table", "json", "ndjson")),
        *(cli.ok("diff", nasty, "1", "--output", output).out for output in ("table", "json", "ndjson")),
        *(cli.ok("history", nasty, nasty, "--output", output).out for output in ("table", "json", "ndjson")),
        *(cli.ok("versions", nasty, "--output", output).out for output in ("table", "json", "ndjson")),
        *(cli.ok("watch", nasty, "--from", "0", "--count", "2", "--output", o).out for o in ("table", "ndjson")),
        *(cli.ok(command).out for command in ("logs",)),
        cli.ok("create", nasty, "--group", nasty).out,
        cli.ok("put", nasty, "k", "1").out,
        cli.fails(3, "get", nasty, "k" + nasty),
        cli.fails(3, "get", "no" + nasty, "k"),
        cli.fails(2, nasty),
        cli.ok("trim", nasty, "1", "--yes").out,
    ]
    for output in outputs:
        assert all(line.isprintable() for line in output.split("\n")), output
    item = cli.ok("show", nasty, "--output", "ndjson").ndjson[0]
    assert (item["key"], item["value"]) == (nasty, {nasty: nasty})


def test_visible_keeps_what_prints():
    """Text that prints stays as it is, in any script; what does not becomes an escape."""
    assert visible("añ漢🎉 'x' \"y\" \\") == "añ漢🎉 'x' \"y\" \\"
    assert visible("a\x1bb\U000e0001") == "a\\u001bb\\udb40\\udc01"


def test_wide_characters_line_up(cli):
    """Columns line up by the width that characters have on a screen."""
    cli.ok("init")
    cli.ok("create", "l")
    cli.ok("put", "l", "漢字", "1", "abcd", "2")
    assert cli.ok("show", "l").out.splitlines()[1:] == ["abcd  2      1", "漢字  1      1"]


def test_output_is_utf8_in_any_locale(notes):
    """JSON is UTF-8 even where the locale is not."""
    notes.ok("put", "notes", "ü", '"漢"')
    ran = notes.process("get", "notes", "ü", "--output", "json", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert ran.json == {"key": "ü", "value": "漢"}


def test_a_closed_pipe_is_no_error(notes):
    """When the reader goes away, as ``head`` does, the command ends with 141 and says nothing; read to the end, with 0."""
    lines = "".join(json.dumps({"key": f"key {n}", "value": "x" * 50}) + "\n" for n in range(5_000))
    notes.ok("import", "many", "-", stdin=lines.encode())
    for command in (["show", "many"], ["export", "many"], ["diff", "many", "0", "--output", "json"]):
        with notes.start(*command) as process:
            process.stdout.readline()
            process.stdout.close()
            err = process.stderr.read()
        assert (process.returncode, err) == (exits.BROKEN_PIPE, b"")
        assert notes.process(*command).code == 0


def test_output_that_cannot_be_written(notes):
    """A full disk under stdout is an error, a closed stdout or stderr is not; none ends in a traceback."""
    with open("/dev/full", "wb") as full:
        ran = notes.start("show", "notes", stdout=full)
        with ran:
            err = ran.stderr.read()
    assert (ran.returncode, err) == (exits.FAILED, b"error: No space left on device\n")
    for closed, argv, code in ((">&-", "show notes", 0), ("2>&-", "get notes nope", 3), ("2>&-", "show notes", 0)):
        command = f"{sys.executable} -m indelible {argv} {closed}"
        done = subprocess.run(["sh", "-c", command], cwd=notes.folder, capture_output=True)
        assert (done.returncode, done.stderr) == (code, b"")


def test_a_process_of_its_own(notes):
    """As a process it answers as it does in the tests' own."""
    ran = notes.process("get", "notes", "a")
    assert (ran.code, ran.out, ran.err) == (0, "1\n", "")
    ran = notes.process("get", "notes", "nope")
    assert (ran.code, ran.out) == (3, "") and ran.err.startswith("error: ")


def test_without_the_extra_it_says_what_to_install(cli):
    """Without cyclopts the command prints one line with the remedy and ends with 2."""
    code = "import sys; sys.modules['cyclopts'] = None; from indelible.cli import main; sys.exit(main(['logs']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cli.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'indelible[cli]'" in done.stderr and done.stderr.count("\n") == 1
    other = code.replace("'cyclopts'", "'indelible.cli.app'")
    assert "Traceback" in subprocess.run([sys.executable, "-c", other], capture_output=True, text=True).stderr


def test_help_loads_nothing_heavy(cli):
    """``--help`` loads neither the encryption library nor a database driver."""
    code = (
        "import sys; from indelible.cli import main; assert main(['--help']) == 0;"
        "print(sorted({'nacl', 'apsw', 'rich.progress'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cli.folder)
    assert done.stdout.endswith("[]\n"), done


def test_a_bug_shows_its_place_on_request(notes, monkeypatch):
    """An error that nobody thought of is one line, and a traceback where INDELIBLE_TRACEBACK is set."""
    monkeypatch.setattr(Log, "get", lambda *_args, **_kwargs: 1 / 0)
    assert "INDELIBLE_TRACEBACK" in notes.fails(1, "get", "notes", "a")
    monkeypatch.setenv("INDELIBLE_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        notes("get", "notes", "a")


def test_install_completion(notes):
    """``--install-completion`` writes a completion script that knows the commands, where the shell looks for it."""
    env = {**os.environ, "HOME": str(notes.folder), "SHELL": "/bin/bash"}
    ran = notes.process("--install-completion", "--shell", "bash", env=env)
    assert ran.code == 0, ran
    [script] = notes.folder.glob(".local/share/bash-completion/completions/indelible")
    assert "git-import" in script.read_text()


def at_terminal(cli, *argv):
    """What a command prints to a terminal."""
    leader, follower = pty.openpty()
    with cli.start(*argv, stdout=follower) as process:
        os.close(follower)
        out = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:
                break
            if not piece:
                break
            out += piece
        process.stderr.read()
    os.close(leader)
    return out.decode()
