"""``import``: what it reads, what it refuses, and that nothing is committed twice, however often it is killed."""

import json
import time

import pytest
from commandline import CommandLine

import indelible
from indelible.cli import exits


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    cli = CommandLine(tmp_path, capsys, monkeypatch)
    cli.ok("init")
    return cli


def lines(items):
    return "".join(json.dumps({"key": key, "value": value}) + "\n" for key, value in items).encode()


def story(cli, log):
    """All that happened in a log: for each version its id, its size, and its changes."""
    with indelible.connect(cli.folder / "indelible.json") as client:
        it = client.log(log)
        return [
            (info.transaction_id, info.effects, list(it.diff(info.version - 1, info.version))) for info in it.versions()
        ]


# Keys come again and again, some batches change nothing, some undo what others did.
HISTORY = [(f"k{n % 7}", n // 40) for n in range(200)] + [("k1", 0), ("k1", 1)] * 20 + [(f"n{n}", n) for n in range(60)]


# what it reads


def test_json_lines(cli):
    """Each line's key holds its value afterwards, the last line of a key winning; blank lines and a BOM are nothing."""
    data = b'\xef\xbb\xbf{"key": "a", "value": 1}\n\n  \r\n{"value": {"x": null}, "key": "b", "version": 7}\r\n'
    ran = cli.ok("import", "l", "-", "--output", "json", stdin=data + b'{"key": "a", "value": 2}')
    assert ran.json == {"log": "l", "version": 1, "entries": 3, "batches": 1, "replayed": 0}
    assert cli.ok("export", "l").ndjson == [{"key": "b", "value": {"x": None}}, {"key": "a", "value": 2}]


def test_csv(cli):
    """A CSV file's key column is the key, and the other columns are an object of texts; quotes and newlines are CSV's."""
    (cli.folder / "f.csv").write_bytes('\ufeffname,id,"n,m"\r\n"A ""b""",1,3\r\n\r\n"two\nlines",2,\r\n'.encode())
    cli.ok("import", "l", "f.csv", "--key-column", "id")
    assert cli.ok("export", "l").ndjson == [
        {"key": "1", "value": {"name": 'A "b"', "n,m": "3"}},
        {"key": "2", "value": {"name": "two\nlines", "n,m": ""}},
    ]
    cli.ok("import", "m", "-", "--key-column", "k", stdin=b"k\nonly\n")
    assert cli.ok("export", "m").ndjson == [{"key": "only", "value": {}}]


def test_batches_source_and_group(cli):
    """``--batch`` entries make a transaction, with the source; the log is made in the group."""
    ran = cli.ok(
        "import", "l", "-", *("--batch", 2, "--source", "s", "--group", "g"), stdin=lines(zip("abcde", range(5)))
    )
    assert "5 entries in 3 batches" in ran.out
    versions = cli.ok("versions", "l", "--output", "json").json
    assert [(item["effects"], item["source"]) for item in versions] == [(2, "s"), (2, "s"), (1, "s")]
    assert cli.ok("logs", "--output", "json").json[0]["group"] == "g"
    cli.ok("import", "l", "-", stdin=lines([("f", 1)]))  # no group asks nothing
    cli.fails(exits.FAILED, "import", "l", "-", "--group", "other", stdin=lines([("g", 1)]))


def test_nothing_to_import(cli):
    """An empty file makes the log and nothing in it."""
    assert cli.ok("import", "l", "-", "--output", "json").json["version"] == 0
    assert cli.ok("show", "l", "--output", "json").json == []


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"bla", "line 2 is not JSON"),
        (b"\xff", "line 2 is not JSON (not UTF-8)"),
        (b"[1]", 'line 2 is not an object with "key"'),
        (b'{"key": "a"}', "line 2 is not an object"),
        (b'{"key": 1, "value": 1}', "the key on line 2"),
        (b'{"key": "a", "value": 1, "extra": 2}', "line 2 has more"),
        (b'{"key": "a", "value": 1, "value": 2}', "twice"),
        (b'{"key": "a", "value": NaN}', "NaN"),
        (b'{"key": "\\ud800", "value": 1}', "surrogate"),
        (b'{"key": "%s", "value": 1}' % (b"a" * 5000), "key limit"),
    ],
)
def test_bad_lines(cli, data, complaint):
    """A line that is no entry stops the import with its number; what came in earlier batches is stored, and counted."""
    good = b'{"key": "good", "value": 1}\n'
    for batch, stored in ((1, 1), (5, 0)):
        error = cli.fails(exits.USAGE, "import", f"l{batch}", "-", "--batch", batch, stdin=good + data)
        assert complaint in error
        assert ("the 1 entry before" in error) == bool(stored)
        assert len(cli.ok("export", f"l{batch}").ndjson) == stored


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"id,n\n1,2\n3\n", "line 3 has 1 cells, and the header 2"),
        (b"id,n\n1,2,3\n", "line 2 has 3"),
        (b"id,n,n\n1,2,3\n", "twice"),
        (b"a,b\n1,2\n", "no column 'id' in its header; there are a, b"),
        (b"", "there are none"),
        (b'id,n\n1,"x\n', "not CSV"),
        (b"id,n\n1,\xff\n", "not UTF-8"),
    ],
)
def test_bad_csv(cli, data, complaint):
    """A CSV file that is not one, or lacks the key column, is refused with what is wrong."""
    assert complaint in cli.fails(exits.USAGE, "import", "l", "-", "--key-column", "id", stdin=data)
    cli.ok("import", "l", "-", "--key-column", "id", stdin=b"id,n\n1,2\n")


def test_wrong_usage(cli):
    """A missing file, a folder, CSV without its key column, a batch of nothing: each is said plainly."""
    (cli.folder / "a.CSV").touch()
    assert "nope: No such file" in cli.fails(exits.FAILED, "import", "l", "nope")
    assert "Is a directory" in cli.fails(exits.FAILED, "import", "l", ".")
    assert "--key-column" in cli.fails(exits.USAGE, "import", "l", "a.CSV")
    assert "--batch" in cli.fails(exits.USAGE, "import", "l", "-", "--batch", "0")
    assert "no option --foo" in cli.fails(exits.USAGE, "import", "l", "--foo")
    assert "limit" in cli.fails(
        exits.USAGE, "import", "l", "-", "--batch", 20_000, stdin=lines((str(n), n) for n in range(10_001))
    )


# nothing twice


def test_the_same_file_again_commits_nothing(cli):
    """A second run of the same file replays every batch, those without effect too; ``--run`` imports it anew."""
    first = cli.ok("import", "l", "-", "--batch", 5, "--output", "json", stdin=lines(HISTORY)).json
    before = story(cli, "l")
    again = cli.ok("import", "l", "-", "--batch", 5, "--output", "json", stdin=lines(HISTORY)).json
    assert story(cli, "l") == before
    assert again == {**first, "replayed": first["batches"]}
    assert 0 < len(before) < first["batches"]  # some batches changed nothing
    anew = cli.ok("import", "l", "-", "--batch", 5, "--run", "2", "--output", "json", stdin=lines(HISTORY)).json
    assert anew["replayed"] == 0 and anew["version"] > first["version"]


def test_a_changed_file_is_imported_from_the_change_on(cli):
    """After a changed line nothing is skipped, so the log ends as the changed file says."""
    cli.ok("import", "l", "-", "--batch", 1, stdin=lines([("a", 1), ("b", 1), ("a", 2)]))
    ran = cli.ok(
        "import", "l", "-", "--batch", 1, "--output", "json", stdin=lines([("a", 1), ("b", 2), ("a", 3), ("a", 2)])
    )
    assert ran.json["replayed"] == 1
    assert {item["key"]: item["value"] for item in cli.ok("export", "l").ndjson} == {"a": 2, "b": 2}


def test_other_logs_and_keys_have_other_ids(cli):
    """The ids of an import belong to the log, the key and the source, so they tell nothing and never collide."""
    cli.ok("init", "--profile", "other.json")
    for argv in (["l"], ["m"], ["n", "--source", "s"], ["l", "--profile", "other.json"]):
        cli.ok("import", *argv, "-", stdin=lines([("a", 1)]))
    ids = [cli.ok("versions", log, "--output", "json").json[0]["transaction_id"] for log in "lmn"]
    ids.append(cli.ok("versions", "l", "--profile", "other.json", "--output", "json").json[0]["transaction_id"])
    assert len(set(ids)) == 4


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the import does not get on"
        time.sleep(0.005)


def versions_after(count, batch):
    """How many versions the whole batches among the first entries make."""
    state, versions = {}, 0
    for start in range(0, count - batch + 1, batch):
        before = dict(state)
        state.update(HISTORY[start : start + batch])
        versions += state != before
    return versions


@pytest.mark.parametrize("batch", [1, 7])
def test_killed_and_run_again_commits_nothing_twice(cli, batch):
    """Killed with SIGKILL at several places and run again, an import leaves what one uninterrupted run leaves."""
    (cli.folder / "file").write_bytes(lines(HISTORY))
    cli.ok("create", "killed")
    with indelible.connect(cli.folder / "indelible.json") as client:
        log = client.log("killed")
        for cut in (20, 45, 100, 230):
            # The pipe stays open, so the process is in the middle of its file when it dies.
            with cli.start("import", "killed", "-", "--batch", batch, stdin=-1) as process:
                process.stdin.write(lines(HISTORY[:cut]))
                process.stdin.flush()
                wait_for(lambda: log.version == versions_after(cut, batch))
                process.kill()
                process.communicate()
            assert process.returncode == -9
    ran = cli.process("import", "killed", "file", "--batch", batch, "--output", "json")
    assert ran.code == 0 and ran.json["replayed"] >= 230 // batch and ran.json["entries"] == len(HISTORY)
    assert_as_uninterrupted(cli, "killed", batch)


def test_killed_anywhere_and_run_again(cli):
    """Killed while it commits, as soon as there is any progress, and run again until it ends, it leaves the same too."""
    (cli.folder / "file").write_bytes(lines(HISTORY))
    cli.ok("create", "killed")
    kills = 0
    with indelible.connect(cli.folder / "indelible.json") as client:
        log = client.log("killed")
        while kills < 8:
            seen = log.version
            with cli.start("import", "killed", "file", "--batch", 1) as process:
                wait_for(lambda: log.version > seen or process.poll() is not None)
                process.kill()
                process.communicate()
            kills += 1
            if process.returncode == 0:
                break
    cli.ok("import", "killed", "file", "--batch", 1)
    assert_as_uninterrupted(cli, "killed", 1)


def assert_as_uninterrupted(cli, log, batch):
    cli.ok("import", "whole", "file", "--batch", batch)
    found, whole = story(cli, log), story(cli, "whole")
    assert [version[1:] for version in found] == [version[1:] for version in whole]
    assert len({version[0] for version in found}) == len(found) == versions_after(len(HISTORY) + batch - 1, batch)
    assert cli.ok("export", log).out == cli.ok("export", "whole").out


def test_ctrl_c_ends_an_import_that_can_go_on(cli):
    """Ctrl-C ends an import with 130 and in silence, and the next run completes it."""
    import signal

    cli.ok("create", "l")
    with indelible.connect(cli.folder / "indelible.json") as client:
        log = client.log("l")
        with cli.start("import", "l", "-", "--batch", 1, stdin=-1) as process:
            process.stdin.write(lines(HISTORY))
            process.stdin.flush()
            wait_for(lambda: log.version >= 3)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate()
    assert (process.returncode, err) == (exits.INTERRUPTED, b"")
    ran = cli.ok("import", "l", "-", "--batch", 1, "--output", "json", stdin=lines(HISTORY))
    assert ran.json["replayed"] >= 3 and ran.json["entries"] == len(HISTORY)


def test_two_imports_of_one_file_at_once(cli):
    """Two processes that import the same file at the same time leave what one leaves."""
    (cli.folder / "file").write_bytes(lines(HISTORY))
    both = [cli.start("import", "l", "file", "--batch", 3) for _ in range(2)]
    for process in both:
        with process:
            _, err = process.communicate()
        assert (process.returncode, err) == (0, b"")
    cli.ok("import", "whole", "file", "--batch", 3)
    assert [found[1:] for found in story(cli, "l")] == [found[1:] for found in story(cli, "whole")]


def test_progress_is_shown_at_a_terminal(cli):
    """At a terminal the import shows how far it is, on stderr only; elsewhere it is silent."""
    import os
    import pty

    (cli.folder / "file").write_bytes(lines(HISTORY))
    leader, follower = pty.openpty()
    with cli.start("import", "l", "file", "--batch", 50, stderr=follower) as process:
        os.close(follower)
        shown = b""
        try:
            while piece := os.read(leader, 4096):
                shown += piece
        except OSError:
            pass
        out = process.stdout.read()
    os.close(leader)
    assert process.returncode == 0
    assert b"import l" in shown and b"import" not in out and b"300 entries" in out
