"""Backups of a store in use and stores made from them: whole, of one moment, and nothing in between or overwritten."""

import errno
import itertools
import os
import random
import shutil
import signal
import sqlite3
import stat

import apsw
import pytest
from commandline import CommandLine
from sqlitetools import LOCKED_OUT, failing_storage, put, python, until

from indelible import seams
from indelible.backends.sqlite import SQLiteBackend, backup, inspection, location, schema
from indelible.backends.sqlite.backup import back_up, restore
from indelible.commands import Transaction, Upsert
from indelible.errors import DamagedStore, InvalidRequest, NotExecuted, UnsuitableStore
from indelible.testing.samples import changes


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder / "logs.db"


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "a copy?.db"


@pytest.fixture
def backend(path):
    """A store of some pages, with two logs, one of them trimmed."""
    backend = SQLiteBackend(path)
    backend.create("a")
    backend.create("b", "g")
    for number in range(60):
        put(backend, b"%d" % number, random.Random(number).randbytes(3000))
        backend.update("b", Transaction([Upsert(b"k", b"%d" % number)], "me"))
    backend.trim("b", 50)
    yield backend
    backend.close()


def told(path):
    """All that a store says, and that a copy of it must say too; times included."""
    backend = SQLiteBackend(path)
    try:
        infos = backend.logs()
        return [
            (info, backend.versions(info.name), changes(backend, info.oldest, log=info.name), state(backend, info))
            for info in infos
        ]
    finally:
        backend.close()


def state(backend, info):
    return changes(backend, 0, log=info.name)


def files(folder):
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def armed():
    """Arms failpoints, and disarms them at the end."""
    yield seams.armed
    seams.armed.clear()


def small_steps(monkeypatch):
    monkeypatch.setattr(backup, "_PAGES", 1)


# What a backup is


def test_a_backup_is_the_store_and_comes_back_as_it(backend, path, target, tmp_path):
    """Backed up while open and restored elsewhere, a store says what it said, goes on, and holds nothing else."""
    copied = back_up(path, target)
    assert copied.path == target and copied.size == target.stat().st_size
    assert (copied.contents.logs, copied.contents.newest) == (2, backend.versions("b", 59)[-1].committed_at)
    restored = tmp_path / "restored.db"
    assert restore(target, restored).contents == copied.contents
    assert told(restored) == told(path)
    again = SQLiteBackend(restored)
    assert put(again, b"new").version == 61
    again.close()
    assert "new" not in str(told(path)) and files(tmp_path) == ["backups", "restored.db", "store"]
    assert files(target.parent) == [target.name]


def test_a_backup_is_one_file_that_can_be_read_anywhere(backend, path, target):
    """A backup is for its owner alone, needs no file beside it, and can be read where nothing can be written."""
    back_up(path, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with sqlite3.connect(target) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert db.execute("SELECT count(*) FROM live").fetchone() == (61,)
    db.close()
    with inspection.looking(target, still=True) as db:
        assert inspection.contradictions(db) == [] and inspection.damage(db) == []
        assert files(target.parent) == [target.name]


def test_an_empty_store_can_be_backed_up(path, target, tmp_path):
    """A store without logs has a backup, and a time of nothing."""
    SQLiteBackend(path).close()
    copied = back_up(path, target)
    assert copied.contents == inspection.Contents(0, None)
    restore(target, tmp_path / "r.db")
    assert told(tmp_path / "r.db") == []


def test_a_backup_is_of_one_moment_whatever_is_committed(backend, path, target, armed, monkeypatch):
    """A writer who commits between any two pages neither gets into the copy nor makes it begin anew."""
    small_steps(monkeypatch)
    before = told(path)
    committed, progress = [], []

    def commit():
        committed.append(put(backend, b"new %d" % len(committed)))

    armed["sqlite.backup.step"] = commit
    back_up(path, target, lambda *how: progress.append(how))
    armed.clear()
    pages = progress[0][1]
    assert progress == [(done, pages) for done in range(1, pages)]
    assert len(committed) == pages - 1 > 50
    restore(target, path.with_name("restored.db"))
    assert told(path.with_name("restored.db")) == before != told(path)


COMMITS = """
import os, sys
from indelible import Transaction, Upsert
from indelible.backends.sqlite import SQLiteBackend
backend = SQLiteBackend(sys.argv[1], busy_seconds=60)
number = 0
while True:
    number += 1
    backend.update("a", Transaction([Upsert(b"both", b"%d" % number), Upsert(b"sides", b"%d" % number)]))
    print(number, flush=True)
"""


def test_backups_while_other_processes_commit(backend, path, target):
    """Backups of a store to which processes commit without a pause are whole, consistent, and end; so do commits."""
    with python(COMMITS, path) as writer, python(COMMITS, path) as other:
        try:
            for process in (writer, other):
                process.stdout.readline()
            heads = []
            for number in range(5):
                there = target.with_name(f"{number}.db")
                before = backend.describe("a").head
                back_up(path, there)
                after = backend.describe("a").head
                until(lambda head=after: backend.describe("a").head > head)
                copy = SQLiteBackend(there)
                held = {change.key: change.value for change in changes(copy, 0, log="a")}
                assert held[b"both"] == held[b"sides"]
                heads.append(copy.describe("a").head)
                assert before <= heads[-1] <= after
                copy.close()
            assert heads == sorted(set(heads))
        finally:
            for process in (writer, other):
                process.kill()


# Nothing in between


class Stop(BaseException):
    """What ctrl-C raises."""


def ways(backend, path, target):
    """A backup, and a restoration, of the same store to the same place."""
    source = path.with_name("source.db")
    back_up(path, source)
    return {"backup": lambda: back_up(path, target), "restore": lambda: restore(source, target)}


@pytest.mark.parametrize("way", ["backup", "restore"])
def test_interrupted_anywhere_there_is_nothing(backend, path, target, armed, monkeypatch, way):
    """Interrupted after any page, or right before it gets its name, a copy leaves no file; the next one is whole."""
    make = ways(backend, path, target)[way]
    small_steps(monkeypatch)
    steps = itertools.count()
    stop_at = None

    def step():
        if next(steps) == stop_at:
            raise Stop

    def stop():
        raise Stop

    armed["sqlite.backup.step"] = step
    for stop_at in range(0, 40, 7):
        steps = itertools.count()
        with pytest.raises(Stop):
            make()
        assert files(target.parent) == []
    armed["sqlite.backup.step"] = lambda: None
    armed["sqlite.backup.name"] = stop
    with pytest.raises(Stop):
        make()
    assert files(target.parent) == []
    armed.clear()
    make()
    assert files(target.parent) == [target.name]
    assert told(target) == told(path)


KILLED = """
import os, signal, sys
from pathlib import Path
from indelible import seams
from indelible.backends.sqlite import backup
backup._PAGES = 1
point, path, target = sys.argv[1:]
seams.armed[point] = lambda: os.kill(os.getpid(), signal.SIGKILL)
backup.back_up(Path(path), Path(target))
"""


@pytest.mark.parametrize("point", ["sqlite.backup.step", "sqlite.backup.name"])
def test_killed_anywhere_there_is_no_file_of_that_name(backend, path, target, point):
    """A process that is killed leaves no file of the target's name, and is in nobody's way."""
    with python(KILLED, point, path, target) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    [left] = files(target.parent)
    assert left != target.name and left.endswith(".partial")
    back_up(path, target)
    assert told(target) == told(path)
    assert put(backend, b"new").version == 61


@pytest.mark.parametrize("way", ["backup", "restore"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_or_is_full_leaves_nothing(backend, path, target, way, error):
    """Whichever write fails, the error is ``NotExecuted`` and there is no file; on a disk that works there is one."""
    make = ways(backend, path, target)[way]
    backend.close()
    with failing_storage() as storage:
        storage.arm(at=10**9)
        make()
        target.unlink()
        count = storage.writes
        for at in {1, count // 3, count // 2, count - 1, count}:
            storage.arm(at, count=10**9, error=error)
            with pytest.raises(NotExecuted):
                make()
            storage.disarm()
            assert files(target.parent) == []
        make()
    assert told(target) == told(path)


def test_a_copy_is_on_the_disk_before_it_has_its_name(backend, path, target, monkeypatch):
    """The file is synced before it gets its name, and the folder after."""
    seen = []
    fsync = os.fsync

    def watched(descriptor):
        of_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append(("folder" if of_folder else "file", target.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    back_up(path, target)
    assert seen == [("file", False), ("folder", True)]


# Nothing overwritten


@pytest.mark.parametrize("way", ["backup", "restore"])
@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["file", "folder", "broken link"])
def test_nothing_is_overwritten(backend, path, target, way, ending, kind):
    """A file of the target's name, or one that SQLite would take for a part of it, is left alone and refused."""
    make = ways(backend, path, target)[way]
    there = target.with_name(target.name + ending)
    if kind == "file":
        there.write_bytes(b"precious")
    elif kind == "folder":
        there.mkdir()
    else:
        there.symlink_to("nowhere")
    with pytest.raises(InvalidRequest, match="exists"):
        make()
    assert files(target.parent) == [there.name]
    if kind == "file":
        assert there.read_bytes() == b"precious"
    there.rmdir() if kind == "folder" else there.unlink()
    make()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_overwritten(backend, path, target, armed, monkeypatch, links):
    """Somebody else's file of that name, made while the copy was made, stays; and where there are no links, too."""
    link = os.link

    def appear():
        target.write_bytes(b"precious")

    def late(*args):
        appear()
        return link(*args)

    def unlinked(*_args):
        raise OSError(errno.EPERM, "no links here")

    if links:
        monkeypatch.setattr(os, "link", late)
    else:
        monkeypatch.setattr(os, "link", unlinked)
        armed["sqlite.backup.name"] = appear
    with pytest.raises(InvalidRequest, match="exists"):
        back_up(path, target)
    assert (files(target.parent), target.read_bytes()) == ([target.name], b"precious")
    target.unlink()
    if links:
        monkeypatch.setattr(os, "link", link)
    armed.clear()
    back_up(path, target)
    assert told(target) == told(path)


def test_a_folder_that_is_not_there_or_cannot_be_written(backend, path, target):
    """A place that does not exist is the caller's error, one that is refused is told as ours."""
    with pytest.raises(InvalidRequest, match="does not exist"):
        back_up(path, target / "further" / "copy.db")
    with pytest.raises(NotExecuted, match="cannot be written"):
        back_up(path, target.with_name("x" * 250))
    back_up(path, target)


# What is copied


def foreign(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()


def newer(path):
    shutil.copy(path.with_name("good.db"), path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    db.close()


def unmarked(path):
    shutil.copy(path.with_name("good.db"), path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 0")
    db.close()


def damaged(path):
    """Valid at its beginning, and scribbled over in the middle."""
    data = bytearray(path.with_name("good.db").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8192] = random.Random(3).randbytes(8192)
    path.write_bytes(data)


def truncated(path):
    data = path.with_name("good.db").read_bytes()
    path.write_bytes(data[: len(data) // 2])


def text(path):
    path.write_text("hello\n" * 1000)


def index_out_of_step(path):
    """Every page is well formed, and an index lacks a row."""
    shutil.copy(path.with_name("good.db"), path)
    lose_an_index_row(path)


def lose_an_index_row(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        kept = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'live_by_key'").fetchone()
        row = db.execute("SELECT rowid, * FROM sqlite_schema WHERE name = 'live_by_key'").fetchone()
        db.execute("DELETE FROM sqlite_schema WHERE name = 'live_by_key'")
        db.commit()
    db.close()
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM live WHERE version = (SELECT min(version) FROM live)")
        db.execute("PRAGMA writable_schema = ON")
        db.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row[1:])
        db.commit()
    db.close()
    assert kept


BAD = {
    foreign: UnsuitableStore,
    newer: UnsuitableStore,
    unmarked: UnsuitableStore,
    text: UnsuitableStore,
    damaged: DamagedStore,
    truncated: DamagedStore,
    index_out_of_step: DamagedStore,
}


@pytest.mark.parametrize(("make", "error"), BAD.items(), ids=lambda it: it.__name__)
def test_a_bad_backup_is_not_restored(backend, path, target, monkeypatch, make, error):
    """What is not ours, too new or not whole is refused before anything is made of it, and stays as it is."""
    good, bad = path.with_name("good.db"), path.with_name("bad.db")
    back_up(path, good)
    make(bad)
    before = bad.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(error):
        patched.setattr(backup, "_copy_pages", None)
        restore(bad, target)
    assert files(target.parent) == []
    assert bad.read_bytes() == before and not any(name.startswith("bad.db-") for name in files(path.parent))
    restore(good, target)


@pytest.mark.parametrize("make", [foreign, newer, text, damaged, index_out_of_step], ids=lambda it: it.__name__)
def test_a_bad_store_has_no_backup(backend, path, target, make):
    """A store that is not ours, too new or not whole gives an error and no file."""
    good, bad = path.with_name("good.db"), path.with_name("bad.db")
    back_up(path, good)
    make(bad)
    with pytest.raises(BAD[make]) as caught:
        back_up(bad, target)
    assert str(bad) in str(caught.value)
    assert files(target.parent) == []


def test_an_error_names_the_file_that_it_is_about(backend, path, target, monkeypatch):
    """Pages that cannot be read are the original's fault, those that cannot be written the copy's."""

    def copied(error):
        def copy(*_args):
            raise error

        return copy

    for error, kind, at_fault in (
        (apsw.CorruptError("x"), DamagedStore, path),
        (apsw.FullError("x"), NotExecuted, target),
    ):
        monkeypatch.setattr(backup, "_copy_pages", copied(error))
        with pytest.raises(kind, match=str(at_fault.name).replace("?", ".")):
            back_up(path, target)
    assert files(target.parent) == []


@pytest.mark.parametrize("make", [back_up, restore])
def test_a_file_that_is_not_there_is_not_made(path, target, make):
    """There is no backup of nothing, and none is restored; nothing appears."""
    with pytest.raises(InvalidRequest, match="there is no"):
        make(path, target)
    assert files(path.parent) == files(target.parent) == []


def test_a_store_in_use_is_not_a_backup(backend, path, target):
    """A store, or a plain copy of one, with its write-ahead log beside it is not restored: it may not be whole."""
    with pytest.raises(InvalidRequest, match="indelible backup"):
        restore(path, target)
    backend.close()
    restore(path, target)


def test_a_backup_is_restored_only_where_a_store_can_be(backend, path, target, tmp_path, monkeypatch):
    """A network drive takes backups, and no store is made there."""
    monkeypatch.setattr(location, "file_system", lambda there: "nfs" if target.parent in there.parents else "ext4")
    back_up(path, target)
    with pytest.raises(UnsuitableStore, match="network"):
        restore(target, target.with_name("store.db"))
    restore(target, tmp_path / "store.db")


def test_looking_lets_go_of_no_lock(backend, path):
    """A look at a file that this process has locked for writing leaves it locked to others."""
    with backend._file.writing():
        with inspection.looking(path) as db:
            assert inspection.contents(db).logs == 2
        with python(LOCKED_OUT, path) as other:
            assert other.communicate()[0] == "locked\n"


def test_looking_changes_nothing(backend, path, tmp_path):
    """A look leaves the file and a write-ahead log that somebody left behind as they are, and no file beside them."""
    crashed = tmp_path / "crashed.db"
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{crashed}{ending}")
    before = [(tmp_path / name).read_bytes() for name in ("crashed.db", "crashed.db-wal")]
    with inspection.looking(crashed) as db:
        assert inspection.contents(db).logs == 2
        with pytest.raises(NotExecuted):
            with inspection.looking(crashed) as other:
                other.execute("DELETE FROM logs")
    assert before == [(tmp_path / name).read_bytes() for name in ("crashed.db", "crashed.db-wal")]
    backend.close()
    with inspection.looking(path):
        pass
    assert files(path.parent) == [path.name]


# As a user


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    cli = CommandLine(tmp_path, capsys, monkeypatch)
    cli.ok("init")
    cli.ok("create", "notes")
    cli.ok("put", "notes", "a", "1")
    return cli


def test_backup_and_restore_on_the_command_line(cli):
    """``backup`` and ``restore`` take a URL or a profile; the restored store is read with the same key."""
    ran = cli.ok("backup", "indelible.json", "b.db")
    assert ran.out.startswith("b.db holds 1 log as of 20")
    item = cli.ok("backup", "sqlite:///indelible.db", "c.db", "--output", "json").json
    assert (item["logs"], item["bytes"]) == (1, (cli.folder / "c.db").stat().st_size)
    cli.ok("put", "notes", "a", "2")
    for file in cli.folder.glob("indelible.db*"):
        file.unlink()
    ran = cli.ok("restore", "b.db", "indelible.json")
    assert ran.out.startswith("indelible.db holds 1 log as of 20") and "HistoryRolledBack" in ran.out
    assert cli.ok("get", "notes", "a").out == "1\n"
    item = cli.ok("restore", "c.db", f"sqlite:///{cli.folder}/again.db", "--output", "json").json
    assert item["newest"].startswith("20") and item["file"] == str(cli.folder / "again.db")


def test_backup_and_restore_refuse_on_the_command_line(cli):
    """Nothing is overwritten, what is not there is said so, and a damaged backup ends with the code for integrity."""
    cli.ok("backup", "indelible.json", "b.db")
    assert "exists" in cli.fails(2, "backup", "indelible.json", "b.db")
    assert "exists" in cli.fails(2, "restore", "b.db", "indelible.json")
    assert "no store at" in cli.fails(2, "backup", "sqlite:///nope.db", "c.db")
    assert "no backup at" in cli.fails(2, "restore", "nope.db", "sqlite:///c.db")
    assert "SQLite URL" in cli.fails(2, "backup", "memory:", "c.db")
    cli.fails(2, "backup", "nope.json", "c.db")
    data = bytearray((cli.folder / "b.db").read_bytes())
    data[8192:12288] = random.Random(1).randbytes(4096)
    (cli.folder / "bad.db").write_bytes(data)
    assert "damaged" in cli.fails(7, "restore", "bad.db", "sqlite:///c.db")
    assert not (cli.folder / "c.db").exists() and not (cli.folder / "nope.db").exists()


def test_a_backup_as_a_process_beside_a_writer(cli):
    """A process of its own backs up what another process has open and writes to."""
    writer = cli.start("import", "notes", "-", "--batch", "1", stdin=-1)
    try:
        for number in range(50):
            writer.stdin.write(b'{"key": "k%d", "value": 1}\n' % number)
        writer.stdin.flush()
        ran = cli.process("backup", "indelible.json", "b.db")
        assert (ran.code, ran.err) == (0, "")
    finally:
        writer.communicate()
    assert writer.returncode == 0
    ran = cli.process("restore", "b.db", "sqlite:///r.db")
    assert (ran.code, ran.err) == (0, "")
    assert cli.process("doctor", "--store", "sqlite:///r.db").code == 0
    assert len(cli.ok("show", "notes", "--output", "ndjson").ndjson) == 51
