"""``doctor`` and what it looks at: every planted fault is found, and where there is none, none is."""

import contextlib
import datetime as dt
import importlib.metadata
import json
import os
import random
import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest
from commandline import CommandLine
from sqlitetools import put, python

from indelible import checkup, seams
from indelible.backends.sqlite import SQLiteBackend, inspection, location, schema
from indelible.checkup import Finding, examine, in_bytes
from indelible.cipher import SecretBoxCipher
from indelible.commands import Remove, Transaction, Upsert
from indelible.errors import BadApiKey, IntegrityError, InvalidRequest, Overloaded
from indelible.profile import Profile
from indelible.records import LogInfo
from indelible.secret import MasterKey

SOFTWARE = ["indelible", "python", "sqlite", "libsodium"]
STORE = ["place", "room", "permissions", "write-ahead log", "file", "integrity", "logs", "settings", "clock"]


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    """A profile in one folder, its store in another, and a log with some history."""
    cli = CommandLine(tmp_path, capsys, monkeypatch)
    (tmp_path / "store").mkdir()
    cli.ok("init", "--url", "sqlite:///store/logs.db")
    cli.ok("create", "notes")
    for number in range(5):
        cli.ok("put", "notes", "a", number, f"k{number}", "true")
    cli.ok("rm", "notes", "k1")
    return cli


@pytest.fixture
def store(cli):
    return cli.folder / "store" / "logs.db"


def verdicts(ran):
    return {item["check"]: item["verdict"] for item in ran.json}


def text_of(ran, check):
    return next(item["text"] for item in ran.json if item["check"] == check)


def ails(cli, check, verdict, code, *argv):
    """Run ``doctor``, which must find this one thing and end with this code; give what it says of it."""
    ran = cli("doctor", "--output", "json", *argv)
    unwell = {name: told for name, told in verdicts(ran).items() if told != "ok"}
    assert (unwell, ran.code) == ({check: verdict}, code), ran
    assert ran.err == ("error: 1 check failed\n" if code else "")
    return text_of(ran, check)


def sql(path, *statements):
    """What another program does to the file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# When all is well


def test_where_all_is_well_it_says_so(cli, store):
    """Each thing that was looked at has one line that begins with ok, and the command ends with 0."""
    lines = cli.ok("doctor").out.splitlines()
    assert all(line.startswith("ok       ") for line in lines), lines
    assert [line[9:].partition(":")[0] for line in lines] == [*SOFTWARE, "profile", *STORE]
    ran = cli.ok("doctor", "--store", f"sqlite:///{store}", "--quick", "--output", "ndjson")
    assert [item["check"] for item in ran.ndjson] == [*SOFTWARE, *STORE]
    assert {item["verdict"] for item in ran.ndjson} == {"ok"}
    assert list(ran.ndjson[0]) == ["check", "verdict", "text"]


def test_it_is_the_same_as_a_process(cli):
    """As a process of its own, beside others that have the store open and write to it, it finds nothing either."""
    with cli.start("watch", "notes") as watcher, cli.start("import", "notes", "-", "--batch", "1", stdin=-1) as writer:
        for number in range(200):
            writer.stdin.write(b'{"key": "k%d", "value": 1}\n' % number)
        writer.stdin.flush()
        ran = cli.process("doctor", "--output", "json")
        watcher.kill()
        for stream in (watcher.stdout, watcher.stderr):
            stream.read()
        writer.communicate()
    assert (ran.code, ran.err, set(verdicts(ran).values())) == (0, "", {"ok"})


def test_nothing_contradicts_itself_while_others_commit(tmp_path):
    """What a look says of the logs is of one moment, whatever another thread commits and trims meanwhile."""
    backend = SQLiteBackend(tmp_path / "s.db")
    backend.create("a")
    ended = threading.Event()

    def write():
        chance = random.Random(5)
        while not ended.is_set():
            key = bytes([chance.randrange(8)])
            kind = chance.choice([Upsert, Upsert, Remove])
            head = backend.update("a", Transaction([kind(key, b"%d" % chance.randrange(2)), Upsert(b"k", key)])).version
            if chance.random() < 0.05:
                backend.trim("a", max(head - 5, 0))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            with inspection.looking(tmp_path / "s.db") as db:
                assert inspection.contradictions(db) == []
    finally:
        ended.set()
        writer.join()
        backend.close()


# The profile


def test_a_profile_that_others_can_read(cli):
    """A profile that others can read fails, and nothing that depends on it is looked at."""
    (cli.folder / "indelible.json").chmod(0o640)
    assert "chmod 600" in ails(cli, "profile", "FAILED", 1)
    assert [item["check"] for item in cli("doctor", "--output", "json").json] == [*SOFTWARE, "profile"]
    (cli.folder / "indelible.json").chmod(0o600)
    cli.ok("doctor")


def test_a_profile_that_is_not_there_or_is_none(cli):
    """A missing profile and a broken one fail, each with what to do, and nothing of the file is shown."""
    assert "indelible init" in ails(cli, "profile", "FAILED", 1, "--profile", "nope.json")
    text = (cli.folder / "indelible.json").read_text()
    (cli.folder / "indelible.json").write_text(text.replace("{", "[", 1))
    assert "not valid JSON" in ails(cli, "profile", "FAILED", 1)


def test_a_profile_in_a_folder_of_others(cli):
    """A folder in which others can put another profile is a warning."""
    cli.folder.chmod(0o707)
    assert "another in its place" in ails(cli, "profile", "warning", 0)
    cli.folder.chmod(0o700)
    cli.ok("doctor")


def test_a_profile_with_another_key(cli):
    """A profile under whose key there is no log, on a store that has some, is a warning."""
    profile = Profile.load(cli.folder / "indelible.json")
    other = Profile(endpoint_url=profile.endpoint_url, master_key=MasterKey.generate())
    other.save(cli.folder / "other.json")
    assert "right profile" in ails(cli, "settings", "warning", 0, "--profile", "other.json")


# The place


def test_a_store_that_others_can_write(cli, store):
    """A file or folder that others can write fails; a file that its group can write is a warning."""
    store.chmod(0o602)
    assert "chmod o-w" in ails(cli, "permissions", "FAILED", 1)
    store.chmod(0o620)
    assert "chmod g-w" in ails(cli, "permissions", "warning", 0)
    store.chmod(0o600)
    store.parent.chmod(0o703)
    assert "folder" in ails(cli, "permissions", "FAILED", 1)
    store.parent.chmod(0o755)
    cli.ok("doctor")


def test_a_store_that_others_can_read():
    """A file that others can read is a warning where they can come to it, and none behind a closed folder."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "inner" / "s.db"
        path.parent.mkdir()
        SQLiteBackend(path).close()
        for outer, inner, mode, verdict in (
            (0o755, 0o755, 0o644, "warning"),
            (0o700, 0o755, 0o644, "ok"),
            (0o755, 0o700, 0o644, "ok"),
            (0o755, 0o755, 0o640, "ok"),
        ):
            Path(folder).chmod(outer)
            path.parent.chmod(inner)
            path.chmod(mode)
            [found] = [it for it in examine(f"sqlite:///{path}") if it.check == "permissions"]
            assert found.verdict == verdict, (outer, inner, mode)


def test_a_network_drive(cli, monkeypatch):
    """A store on a network file system fails, and is not opened."""
    monkeypatch.setattr(location, "file_system", lambda _path: "nfs4")
    assert "network" in ails(cli, "place", "FAILED", 1)


def test_a_folder_that_is_not_there(cli, store):
    """A store whose folder is gone fails."""
    shutil.rmtree(store.parent)
    assert "does not exist" in ails(cli, "place", "FAILED", 1)


@pytest.mark.parametrize(("free", "verdict"), [(2**30, "ok"), (200 * 2**20, "warning"), (2**20, "FAILED")])
def test_little_room(cli, monkeypatch, free, verdict):
    """A disk with little room is a warning, one with next to none fails."""
    usage = shutil.disk_usage(cli.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=free))
    if verdict == "ok":
        cli.ok("doctor")
    else:
        assert "make room" in ails(cli, "room", verdict, 1 if verdict == "FAILED" else 0)


def test_a_long_write_ahead_log(cli, store, monkeypatch):
    """A write-ahead log that has grown long is a warning."""
    backend = SQLiteBackend(store)
    put(backend, b"k", bytes(10_000), log=backend.logs()[0].name)
    size = store.with_name("logs.db-wal").stat().st_size
    cli.ok("doctor")
    monkeypatch.setattr(checkup, "_LONG_LOG", size - 1)
    assert "reading" in ails(cli, "write-ahead log", "warning", 0)
    backend.close()


# The file


def gone(path):
    path.unlink()


def foreign(path):
    path.unlink()
    sql(path, "CREATE TABLE theirs (a)")


def newer(path):
    sql(path, f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")


def text(path):
    path.write_text("hello\n" * 1000)


def unreadable_row(path):
    sql(path, "UPDATE logs SET name = CAST(x'ff' AS TEXT)")


def truncated(path):
    os.truncate(path, path.stat().st_size // 2)


def first_page_only(path):
    os.truncate(path, 4096)


def lost_index_row(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        row = db.execute("SELECT * FROM sqlite_schema WHERE name = 'live_by_key'").fetchone()
    sql(path, "PRAGMA writable_schema = ON", "DELETE FROM sqlite_schema WHERE name = 'live_by_key'")
    sql(path, "UPDATE live SET key = CAST(key || x'00' AS BLOB) WHERE version = (SELECT min(version) FROM live)")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row)
        db.commit()


FILES = [
    (gone, "file", 1, "there is no"),
    (foreign, "file", 1, "no store of ours"),
    (newer, "file", 1, "newer release"),
    (text, "file", 1, "not a database of ours"),
    (unreadable_row, "logs", 7, "damaged"),
    (truncated, "file", 7, "damaged"),
    (first_page_only, "file", 7, "damaged"),
    (lost_index_row, "integrity", 7, "live_by_key"),
]


@pytest.mark.parametrize(("happens", "check", "code", "says"), FILES, ids=lambda it: getattr(it, "__name__", None))
def test_a_bad_file(cli, store, happens, check, code, says):
    """A file that is gone, not ours, too new or damaged fails, and the last with the code for integrity."""
    cli.ok("doctor")
    happens(store)
    left = store.read_bytes() if store.exists() else None
    assert says in ails(cli, check, "FAILED", code)
    assert (store.read_bytes() if store.exists() else None) == left


def test_a_quick_look_sees_less(cli, store):
    """``--quick`` leaves out whether indexes agree with their tables, and says so."""
    lost_index_row(store)
    ails(cli, "integrity", "FAILED", 7)
    ran = cli.ok("doctor", "--quick", "--output", "json")
    assert "quick" in text_of(ran, "integrity")


# Removing a=1 at version 2 and b=1 at version 3; nothing else happened.
HISTORY = [[Upsert(b"a", b"1"), Upsert(b"b", b"1")], [Upsert(b"a", b"2")], [Remove(b"b", b"1"), Upsert(b"c", b"1")]]

CONTRADICTIONS = {
    "UPDATE logs SET oldest = 4": {0, 3},
    "UPDATE logs SET oldest = 1": {0},
    "UPDATE logs SET head = 4": {1, 2},
    "UPDATE logs SET head = 2": {1, 2, 5},
    "DELETE FROM versions WHERE version = 2": {2, 6},
    "UPDATE logs SET oldest = 2": {3},
    "UPDATE logs SET entries = 3": {4},
    "DELETE FROM live WHERE key = x'61'": {4},
    "UPDATE live SET version = 4 WHERE key = x'61'": {5, 6},
    "UPDATE ended SET version = 3 WHERE ended_version = 3": {5, 6},
    "UPDATE ended SET ended_version = 9 WHERE ended_version = 3": {5},
    "DELETE FROM ended WHERE ended_version = 3": {6},
    "UPDATE versions SET effects = 3 WHERE version = 3": {6},
    "DELETE FROM receipts WHERE version = 2": {7},
    "UPDATE receipts SET version = 1 WHERE version = 2": {7},
    "UPDATE receipts SET fingerprint = x'00' WHERE version = 2": {8},
    "UPDATE receipts SET fingerprint = CAST(fingerprint || x'00' AS BLOB) WHERE version = 2": {8},
    # Where other changes stand already, so that their number is right: a=1 until after a=2 came, and b twice at 2.
    "UPDATE ended SET ended_version = 3, ended_command = 1 WHERE key = x'61'": {9},
    "INSERT INTO ended SELECT log, 3, 1, 2, 0, key, value FROM ended WHERE key = x'62'": {9},
}


@pytest.mark.parametrize("statement", CONTRADICTIONS)
def test_a_log_that_contradicts_itself(tmp_path, statement):
    """Whatever is changed of what a log says of itself is found; what was not changed is not complained of."""
    path = tmp_path / "s.db"
    backend = SQLiteBackend(path)
    for log in ("well", "unwell"):
        backend.create(log)
    for commands in HISTORY:
        backend.update("unwell", Transaction(commands))
    backend.close()
    with inspection.looking(path) as db:
        assert inspection.contradictions(db) == []
    sql(path, statement)
    with inspection.looking(path) as db:
        found = inspection.contradictions(db)
    texts = [text for _, text in inspection._CONTRADICTIONS]
    unwell = {texts.index(text) for name, text in found if name == "unwell"}
    assert unwell == CONTRADICTIONS[statement]
    told = [it for it in examine(f"sqlite:///{path}") if it.verdict != "ok"]
    assert {it.check for it in told} == {"logs"} and all(it.integrity for it in told)
    assert all("log 'unwell'" in it.text or "log 'well'" in it.text for it in told)


def test_a_busy_log_does_not_contradict_itself(tmp_path):
    """Entries that end and begin at one version, and come back later, do not overlap; one that is drawn out does."""
    path = tmp_path / "s.db"
    backend = SQLiteBackend(path)
    backend.create("a")
    chance = random.Random(3)
    for number in range(300):
        kind, key = chance.choice([Upsert, Upsert, Remove]), bytes([chance.randrange(5)])
        backend.update("a", Transaction([kind(key, b"%d" % chance.randrange(3)), Upsert(b"k", b"%d" % number)]))
    backend.close()
    with inspection.looking(path) as db:
        assert inspection.contradictions(db) == []
    sql(path, "UPDATE ended SET ended_version = 201, ended_command = 9 WHERE ended_version = 200 AND key = x'6b'")
    with inspection.looking(path) as db:
        assert ("a", inspection._CONTRADICTIONS[9][1]) in inspection.contradictions(db)


@pytest.mark.parametrize("table", ["live", "ended", "versions", "receipts"])
def test_what_belongs_to_no_log(tmp_path, table):
    """Rows of a log that is not there any more are found, in whichever table they stand, and the log is counted."""
    path = tmp_path / "s.db"
    backend = SQLiteBackend(path)
    for log in ("well", "lost", "lost too"):
        backend.create(log)
        for commands in HISTORY:
            backend.update(log, Transaction(commands))
    backend.close()
    assert {it.verdict for it in examine(f"sqlite:///{path}")} == {"ok"}
    sql(path, "DELETE FROM logs WHERE name LIKE 'lost%'")
    for other in {"live", "ended", "versions", "receipts"} - {table}:
        sql(path, f"DELETE FROM {other} WHERE log <> 1")
    [told] = [it for it in examine(f"sqlite:///{path}") if it.verdict != "ok"]
    assert (told.check, told.verdict, told.integrity) == ("logs", "FAILED", True) and ": 2;" in told.text


def test_a_look_at_the_logs_costs_what_they_hold(tmp_path):
    """What is asked of each log is found by its number: no table is walked once more for each of them."""
    SQLiteBackend(tmp_path / "s.db").close()
    with inspection.looking(tmp_path / "s.db") as db:
        statements = []
        db.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: statements.append(event["sql"]))
        inspection.contradictions(db)
        db.trace_v2(0)
        [asked] = [it for it in statements if it.startswith("SELECT name")]
        steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {asked}")]
    walked = [step.split()[1] for step in steps if step.startswith("SCAN")]
    assert {"live", "ended", "versions", "receipts"}.isdisjoint(walked) and "logs" in walked, steps
    assert sum("ended_by_key (log=?" in step for step in steps) == 2, steps


def test_every_contradiction_has_been_planted():
    """No condition is without a test."""
    planted = set().union(*CONTRADICTIONS.values())
    assert planted == set(range(len(inspection._CONTRADICTIONS)))


def test_a_trimmed_log_does_not_contradict_itself(tmp_path):
    """Trimmed anywhere, a log is as it should be."""
    backend = SQLiteBackend(tmp_path / "s.db")
    backend.create("a")
    for commands in HISTORY:
        backend.update("a", Transaction(commands))
    for before in (2, 3):
        backend.trim("a", before)
        with inspection.looking(tmp_path / "s.db") as db:
            assert inspection.contradictions(db) == []
    backend.close()


def test_a_contradiction_on_the_command_line(cli, store):
    """A log that contradicts itself ends the command with the code for integrity, and is named as it is stored."""
    with contextlib.closing(SQLiteBackend(store)) as backend:
        [info] = backend.logs()
    sql(store, "UPDATE logs SET entries = entries + 1")
    assert info.name in ails(cli, "logs", "FAILED", 7)


def test_a_store_that_does_not_open(cli, monkeypatch):
    """A store that is sound and cannot be opened, as one that is locked for too long, fails."""

    def locked(*_args, **_kwargs):
        raise Overloaded("locked by another writer")

    monkeypatch.setattr(checkup, "connect", locked)
    assert "locked" in ails(cli, "settings", "FAILED", 1)


# Time and software


def test_a_clock_that_is_wrong(cli, monkeypatch):
    """A clock of long ago fails; one before the newest version is a warning; a moment's difference is none."""
    now = seams.clock()
    monkeypatch.setattr(seams, "clock", lambda: now - 1.0)
    cli.ok("doctor")
    monkeypatch.setattr(seams, "clock", lambda: now - 3600.0)
    assert "before the newest version" in ails(cli, "clock", "warning", 0)
    monkeypatch.setattr(seams, "clock", lambda: dt.datetime(2023, 12, 31, tzinfo=dt.UTC).timestamp())
    assert "long ago" in ails(cli, "clock", "FAILED", 1)


@pytest.mark.parametrize(
    ("version", "sound"), [("3.51.2", False), ("3.40.1", False), ("3.51.3", True), ("3.54.0", True), ("4.0.0", True)]
)
def test_a_sqlite_that_damages_files(cli, monkeypatch, version, sound):
    """A release of SQLite with the WAL-reset bug fails; those without it do not."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    if sound:
        assert version in text_of(cli.ok("doctor", "--output", "json"), "sqlite")
    else:
        assert version in ails(cli, "sqlite", "FAILED", 1)


def test_an_old_libsodium(cli, monkeypatch):
    """A PyNaCl with a libsodium that has a known fault is a warning, one without is none."""
    version = importlib.metadata.version
    for old, verdict in (("1.5.0", "warning"), ("1.6.1", "warning"), ("1.6.2", "ok"), ("1.10.0", "ok")):
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name, old=old: old if name == "pynacl" else version(name)
        )
        assert verdicts(cli.ok("doctor", "--output", "json"))["libsodium"] == verdict


@pytest.mark.parametrize("wrong", [lambda: "another log", lambda: raising(IntegrityError("does not open"))])
def test_a_libsodium_that_does_not_work(cli, monkeypatch, wrong):
    """A library that does not open what it sealed fails with the code for integrity."""
    monkeypatch.setattr(SecretBoxCipher, "open_name", lambda _self, _name: wrong())
    ran = cli("doctor", "--output", "json", "--store", "memory:")
    assert (verdicts(ran)["libsodium"], ran.code) == ("FAILED", 7)
    monkeypatch.undo()
    cli.ok("doctor", "--store", "memory:")


def raising(error):
    raise error


def test_a_python_that_is_not_final(cli, monkeypatch):
    """A release candidate of Python is a warning."""
    monkeypatch.setattr(checkup, "sys", SimpleNamespace(version_info=SimpleNamespace(releaselevel="candidate")))
    assert "not a final release" in ails(cli, "python", "warning", 0)


# Services


class Service:
    """A client of something far away."""

    def __init__(self, error=None):
        self.error = error

    def logs(self):
        if self.error:
            raise self.error
        return [LogInfo("a", None, 0, 0, 0)]

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        return False


def service(monkeypatch, url, error=None, clock=None):
    """What is found of a service, by check."""
    monkeypatch.setattr(checkup, "connect", lambda *_args, **_kwargs: Service(error))
    found = list(examine(url, service_clock=clock))
    assert not any("secret" in it.text for it in found)
    return {it.check: it for it in found if it.check not in SOFTWARE}


def test_a_service_that_is_well(monkeypatch):
    """A service that answers over TLS is well; no password of its URL is shown."""
    found = service(monkeypatch, "https://user:secret@logs.example.org:8443/")
    assert list(found) == ["clock", "service", "tls"]
    assert {it.verdict for it in found.values()} == {"ok"}
    assert "https://logs.example.org answers" in found["service"].text


def test_a_service_that_refuses(monkeypatch):
    """A service that is not reached, or does not know the credentials, fails with what the error says."""
    found = service(monkeypatch, "https://logs.example.org", BadApiKey())
    assert found["service"] == Finding("service", "FAILED", str(BadApiKey())) and "tls" not in found


def test_a_service_without_tls(monkeypatch):
    """Without TLS there is a warning, but not for what is on this machine."""
    assert service(monkeypatch, "http://logs.example.org")["tls"].verdict == "warning"
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert "tls" not in service(monkeypatch, f"http://{host}/")


def test_a_service_with_another_time(monkeypatch):
    """A service whose clock is far from this machine's is a warning; one that does not tell is not."""
    now = seams.now()
    for seconds, verdict in ((0, "ok"), (50, "ok"), (-50, "ok"), (70, "warning"), (-70, "warning")):
        there = now + dt.timedelta(seconds=seconds)
        found = service(monkeypatch, "https://logs.example.org", clock=lambda _url, there=there: there)
        assert found["service time"].verdict == verdict
    assert "service time" not in service(monkeypatch, "https://logs.example.org", clock=lambda _url: None)


def test_a_url_that_nothing_is_installed_for(cli):
    """A URL of a kind nobody knows fails with those that are known; ``memory:`` is well."""
    assert "sqlite:" in ails(cli, "service", "FAILED", 1, "--store", "nonesuch:x")
    assert "SQLite URL" in ails(cli, "place", "FAILED", 1, "--store", "sqlite:x.db")
    cli.ok("doctor", "--store", "memory:")
    with pytest.raises(InvalidRequest):
        inspection.path_of("memory:///x")


def test_no_secret_is_in_the_findings(cli):
    """Neither the key nor the names and values of what is sealed are in what is printed."""
    key = json.loads((cli.folder / "indelible.json").read_text())["master_key_base64"]
    out = cli.ok("doctor").out
    assert key not in out and "notes" not in out and "k4" not in out


def test_colours_are_for_terminals(cli):
    """The words are the same in colour and without; where nobody sees them there are no colours."""
    assert "\x1b" not in cli.ok("doctor").out


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (10**9, "1.0 GB"),
        (10**13, "10.0 TB"),
    ],
)
def test_sizes_as_people_read_them(size, text):
    """Sizes come in the largest unit of which there is one."""
    assert in_bytes(size) == text
