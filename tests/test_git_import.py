"""``git-import``: a log's diffs are git's own, whatever the history holds, and nothing is imported twice."""

import os
import shutil
import subprocess
from itertools import combinations, permutations
from pathlib import Path

import pytest
from commandline import CommandLine, skip_or_fail

import indelible
from indelible.changes import Added
from indelible.cli import exits, gitrepo
from indelible.cli.gitimport import key_of
from indelible.cli.reading import net_changes

ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
    **{f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
}

NO_UTF8 = b"latin-\xe4/\xff name"
ODD = {
    b"with space": "with space",
    b"tab\there": "tab\there",
    b"new\nline": "new\nline",
    b'quo"te': 'quo"te',
    b'"starts with a quote"': r'"\"starts with a quote\""',
    b"back\\slash": "back\\slash",
    "ünï-漢🎉".encode(): "ünï-漢🎉",
    b":100644 colon": ":100644 colon",
    b"-dash": "-dash",
    NO_UTF8: r'"latin-\344/\377 name"',
}


@pytest.fixture(scope="session", autouse=True)
def _needs_git():
    if shutil.which("git") is None:
        skip_or_fail("there is no git here")


class Git:
    """A repository to work in."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *arguments, stdin=None):
        done = subprocess.run(["git", "-C", self.path, *arguments], env=ENV, input=stdin, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self, message, **options):
        self("add", "-A")
        self("commit", "-q", "--allow-empty", "-m", message)
        return self("rev-parse", "HEAD").decode().strip()

    def write(self, name, data):
        path = os.path.join(os.fsencode(self.path), name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def chain(self, revision="HEAD"):
        return self("rev-list", "--first-parent", "--reverse", revision).decode().split()

    def diff(self, a, b):
        """What git says changed, as (sign, path, mode and id); read here by means of its own."""
        fields = self("diff-tree", "-r", "-z", "--no-renames", "--no-abbrev", a, b).split(b"\0")[:-1]
        found = set()
        for meta, path in zip(fields[::2], fields[1::2], strict=True):
            old_mode, new_mode, old, new, _ = meta[1:].decode().split()
            found |= {("-", path, f"{old_mode} {old}")} if old_mode != "000000" else set()
            found |= {("+", path, f"{new_mode} {new}")} if new_mode != "000000" else set()
        return found


def invert(changes):
    return {("-" if sign == "+" else "+", path, value) for sign, path, value in changes}


def init(path):
    path.mkdir()
    git = Git(path)
    git("init", "-q", "-b", "main")
    return git


@pytest.fixture(scope="session")
def history(tmp_path_factory):
    """A repository with all that a tree can do, and merges."""
    git = init(tmp_path_factory.mktemp("git") / "odd.git-repo")
    git.write("a", b"1\n")
    git.write("dir/b", b"b\n")
    git.write("dir/c", b"c\n")
    for name in ODD:
        git.write(name, name)
    git.commit("first")
    git.write("a", b"2\n")
    git("mv", "dir/b", "dir/renamed")
    git.commit("change and rename")
    git.commit("nothing")
    os.chmod(git.path / "a", 0o755)
    os.remove(os.path.join(os.fsencode(git.path), NO_UTF8))
    git.commit("mode, and a path that is not UTF-8 goes")
    os.symlink("a", git.path / "link")
    git.write("swap", b"a file")
    git.commit("symbolic link")
    os.remove(git.path / "link")
    git.write("link", b"now a file")
    os.remove(git.path / "swap")
    git.write("swap/inside", b"now a folder")
    git.commit("types change")
    git("checkout", "-q", "-b", "side", "HEAD~2")
    git.write("side", b"side")
    git.commit("side 1")
    git.write("side", b"side 2")
    git.write("a", b"side\n")
    side = git.commit("side 2")
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-m", "merge", "side")
    git("update-index", "--add", "--cacheinfo", f"160000,{side},sub")
    git("commit", "-q", "-m", "submodule")
    git("update-index", "--cacheinfo", f"160000,{git('rev-parse', 'HEAD').decode().strip()},sub")
    git("commit", "-q", "-m", "submodule moves")
    git("checkout", "-q", "-b", "ignored", "side")
    git.write("ignored", b"")
    git.commit("ignored")
    git("checkout", "-q", "main")
    git("merge", "-q", "--no-ff", "-s", "ours", "-m", "merge that changes nothing", "ignored")
    git.write("a", b"1\n")
    git.write(NO_UTF8, NO_UTF8)
    os.chmod(git.path / "a", 0o644)
    git("add", "a", os.path.join(os.fsencode(git.path), NO_UTF8))
    git("commit", "-q", "-m", "as it was at first")
    git("rm", "-q", "-r", "dir")
    git("commit", "-q", "-m", "a folder goes")
    git("checkout", "-q", "HEAD~1", "--", "dir")
    git("commit", "-q", "-m", "and comes back")
    return git


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    for name in os.environ:
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    cli = CommandLine(tmp_path, capsys, monkeypatch)
    cli.ok("init")
    return cli


def versions(cli, log, chain):
    """The version at which each commit of a chain stands; one that made none stands where the one before it does."""
    made = {item["source"]: item["version"] for item in cli.ok("versions", log, "--output", "json").json}
    assert set(made) <= set(chain)
    found, version = {}, 0
    for commit in chain:
        version = made.get(commit, version)
        found[commit] = version
    return found


# the diffs are git's


def test_every_diff_is_gits(cli, history):
    """For every two commits, in both directions, ``indelible diff`` says what ``git diff-tree -r --no-renames`` says."""
    ran = cli.ok("git-import", history.path, "--log", "odd", "--output", "json")
    chain = history.chain()
    assert ran.json == {"log": "odd", "version": len(chain) - 2, "commits": len(chain), "versions": len(chain) - 2}
    at = versions(cli, "odd", chain)
    for a, b in permutations(chain, 2):
        ran = cli.ok("diff", "odd", at[a], at[b], "--output", "ndjson")
        said = {(item["change"] == "Add", item["entry"]["key"], item["entry"]["value"]) for item in ran.ndjson}
        assert len(ran.ndjson) == len(said)
        assert said == {
            (sign == "+", ODD.get(path) or path.decode(), value) for sign, path, value in history.diff(a, b)
        }


def test_the_head_is_the_tree(cli, history):
    """The log's newest version holds what ``git ls-tree -r`` lists."""
    cli.ok("git-import", history.path, "--log", "odd")
    tree = {}
    for line in history("ls-tree", "-r", "-z", "HEAD").split(b"\0")[:-1]:
        meta, path = line.split(b"\t", 1)
        mode, _, oid = meta.decode().split()
        tree[ODD.get(path) or path.decode()] = f"{mode} {oid}"
    assert {item["key"]: item["value"] for item in cli.ok("show", "odd", "--output", "json").json} == tree
    assert {value.split()[0] for value in tree.values()} == {"100644", "160000"}


def test_every_diff_of_this_repository_is_gits(cli):
    """The same holds for this project's own last 50 first-parent commits, for every pair in both directions."""
    here = Git(Path(__file__).resolve().parents[1])
    if not (here.path / ".git").exists():
        skip_or_fail("the tests do not stand in a git checkout")
    shallow = here("rev-parse", "--is-shallow-repository") == b"true\n"
    cli.ok("git-import", here.path, "--log", "self", *(["--allow-shallow"] if shallow else []))
    at = versions(cli, "self", here.chain())
    with indelible.connect(cli.folder / "indelible.json") as client:
        log = client.log("self")

        def said(a, b):
            _, _, changes = net_changes(log, at[a], at[b])
            return [("+" if isinstance(c, Added) else "-", c.key, c.value) for c in changes]

        for a, b in combinations(here.chain()[-50:], 2):
            expected = {(sign, key_of(path), value) for sign, path, value in here.diff(a, b)}
            forward, backward = said(a, b), said(b, a)
            assert set(forward) == expected and len(forward) == len(expected)
            assert set(backward) == invert(expected) and len(backward) == len(expected)


def test_paths_that_are_not_utf8_have_keys_of_their_own():
    """A path's key is itself, or git's own quoting of it where it must be; no two paths share a key."""
    assert {path: key_of(path) for path in ODD} == ODD
    paths = [
        *ODD,
        *(key_of(path).encode() for path in ODD),
        *(bytes([n]) for n in range(1, 256)),
        b"\xc3\xa4",
        b"\xe4\\303",
    ]
    assert len(set(map(key_of, set(paths)))) == len(set(paths))


def test_quoting_is_gits(history):
    """Every byte is quoted as git quotes it."""
    blob = history("hash-object", "-w", "--stdin", stdin=b"")[:-1]
    paths = [b"\xff" + bytes([byte]) for byte in range(1, 256) if byte != ord("/")]
    tree = history("mktree", "-z", stdin=b"".join(b"100644 blob %s\t%s\0" % (blob, path) for path in paths))
    listed = history("-c", "core.quotepath=on", "ls-tree", "--name-only", tree.decode().strip())
    assert [key_of(path) for path in paths] == listed.decode().splitlines()


# going on


def test_it_goes_on_where_it_stopped(cli, tmp_path):
    """Run again, it adds the commits made since and nothing else; from scratch it makes the same versions."""
    git = init(tmp_path / "repo")
    for n in range(3):
        git.write("f", b"%d" % n)
        git.commit(str(n))
    assert cli.ok("git-import", "repo", "--output", "json").json == {
        "log": "repo",
        "version": 3,
        "commits": 3,
        "versions": 3,
    }
    assert cli.ok("git-import", "repo", "--output", "json").json == {
        "log": "repo",
        "version": 3,
        "commits": 0,
        "versions": 0,
    }
    git.commit("nothing")
    assert "1 new commit, 0 versions" in cli.ok("git-import", "repo").out
    git.write("g", b"g")
    git.commit("4")
    assert cli.ok("git-import", "repo", "--output", "json").json == {
        "log": "repo",
        "version": 4,
        "commits": 2,
        "versions": 1,
    }
    cli.ok("git-import", "repo", "--log", "anew", "--branch", "main")
    assert all_of(cli, "repo") == all_of(cli, "anew")


def all_of(cli, log):
    with indelible.connect(cli.folder / "indelible.json") as client:
        it = client.log(log)
        return [(info.source, list(it.diff(info.version - 1, info.version))) for info in it.versions()]


def test_interrupted_it_goes_on(cli, history, monkeypatch):
    """Stopped after any number of commits, or with its last answer lost, the next run completes it to the same log."""
    cli.ok("git-import", history.path, "--log", "whole")
    changes = gitrepo.Repository.changes

    def stopping(repository, commits):
        for done, commit in enumerate(changes(repository, commits)):
            if done == 2:
                raise KeyboardInterrupt
            yield commit

    monkeypatch.setattr(gitrepo.Repository, "changes", stopping)
    runs = 0
    while (ran := cli("git-import", history.path, "--log", "parts")).code == exits.INTERRUPTED:
        runs += 1
    assert ran.code == 0 and runs > 3
    assert all_of(cli, "parts") == all_of(cli, "whole")


def test_two_at_once(cli, history):
    """Two imports of one repository at the same time make every version once."""
    both = [cli.start("git-import", history.path, "--log", "l") for _ in range(2)]
    for process in both:
        with process:
            _, err = process.communicate()
        assert (process.returncode, err) == (0, b"")
    cli.ok("git-import", history.path, "--log", "whole")
    assert all_of(cli, "l") == all_of(cli, "whole")


def test_it_refuses_a_rewritten_history(cli, tmp_path):
    """If the log's last commit is not on the chain any more nothing is written; back on it, the import goes on."""
    git = init(tmp_path / "repo")
    for n in range(3):
        git.write("f", b"%d" % n)
        last = git.commit(str(n))
    cli.ok("git-import", "repo")
    git("commit", "-q", "--amend", "-m", "rewritten")
    assert "rewritten" in cli.fails(exits.USAGE, "git-import", "repo")
    assert "older" in cli.fails(exits.USAGE, "git-import", "repo", "--rev", "HEAD~1")
    assert cli.ok("logs", "--output", "json").json[0]["version"] == 3
    cli.ok("git-import", "repo", "--rev", last)
    cli.ok("git-import", "repo", "--log", "other")


def test_it_refuses_a_log_of_something_else(cli, history):
    """A log that holds anything but a git history is left alone, whatever its sources say."""
    cli.ok("create", "l")
    cli.ok("put", "l", "a", "1", "--source", history.chain()[0])
    assert "not made by git-import" in cli.fails(exits.USAGE, "git-import", history.path, "--log", "l")
    assert cli.ok("logs", "--output", "json").json[0]["version"] == 1


def test_a_trimmed_log_goes_on(cli, tmp_path):
    """Trimming the log to its head does not stop the import from going on."""
    git = init(tmp_path / "repo")
    for n in range(3):
        git.write("f", b"%d" % n)
        git.commit(str(n))
        cli.ok("git-import", "repo")
        cli.ok("trim", "repo", n + 1, "--yes")
    assert [item["version"] for item in cli.ok("versions", "repo", "--output", "json").json] == [3]


# what cannot be imported


def test_what_is_no_repository(cli, tmp_path, monkeypatch):
    """No folder, no repository, no commit, no such revision, no git: each is one clear line."""
    assert "not a folder" in cli.fails(exits.USAGE, "git-import", "nope")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "plain").mkdir()
    assert "not a git repository" in cli.fails(exits.USAGE, "git-import", "plain")
    git = init(tmp_path / "empty")
    assert "anything been committed" in cli.fails(exits.USAGE, "git-import", "empty")
    git.commit("one")
    for rev in ("nope", "--all", ""):
        assert "has no commit" in cli.fails(exits.USAGE, "git-import", "empty", f"--rev={rev}")
    cli.ok("git-import", "empty")
    monkeypatch.setenv("PATH", "")
    assert "no git" in cli.fails(exits.FAILED, "git-import", "empty")


def test_a_shallow_clone(cli, history, tmp_path):
    """A shallow clone is refused unless asked for; then its first commit brings its whole tree."""
    subprocess.run(
        ["git", "clone", "-q", "--depth", "2", f"file://{history.path}", tmp_path / "shallow"], env=ENV, check=True
    )
    assert "shallow" in cli.fails(exits.USAGE, "git-import", "shallow")
    cli.ok("git-import", "shallow", "--allow-shallow")
    cli.ok("git-import", history.path, "--log", "whole")
    shown = [
        {(item["key"], item["value"]) for item in cli.ok("show", log, "--output", "json").json}
        for log in ("shallow", "whole")
    ]
    assert shown[0] == shown[1]


def test_a_broken_repository(cli, tmp_path):
    """A repository that lacks an object is an error with git's own words, not a log that lacks a commit."""
    git = init(tmp_path / "repo")
    for n in range(3):
        git.write(f"f{n}", b"%d" % n)
        git.commit(str(n))
    tree = git("rev-parse", "HEAD~1^{tree}").decode().strip()
    os.remove(git.path / ".git/objects" / tree[:2] / tree[2:])
    assert "could not read the history" in cli.fails(exits.FAILED, "git-import", "repo")
    assert cli.ok("logs", "--output", "json").json[0]["version"] <= 1


def test_it_needs_a_profile(cli, history):
    """Without a profile it says how to make one, and makes nothing."""
    assert "indelible init" in cli.fails(exits.USAGE, "git-import", history.path, "--profile", "none.json")
    assert sorted(path.name for path in cli.folder.iterdir()) == ["indelible.json"]


def test_git_variables_do_not_lead_elsewhere(cli, history, tmp_path, monkeypatch):
    """Run from a hook, where GIT_DIR points at another repository, it imports the one that was named."""
    init(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert cli.ok("git-import", history.path, "--log", "l", "--output", "json").json["commits"] == len(history.chain())


def test_the_name_of_the_log(cli, tmp_path):
    """Unless it is named, the log is named after the folder, without the .git of a bare repository."""
    git = init(tmp_path / "repo")
    git.write("f", b"f")
    git.commit("one")
    subprocess.run(["git", "clone", "-q", "--bare", git.path, tmp_path / "bare.git"], env=ENV, check=True)
    assert cli.ok("git-import", "repo/", "--output", "json").json["log"] == "repo"
    assert cli.ok("git-import", "bare.git", "--group", "g", "--output", "json").json["log"] == "bare"
    os.chdir(tmp_path / "repo")
    assert cli.ok("git-import", ".", "--profile", "../indelible.json", "--output", "json").json["commits"] == 0


def test_a_commit_of_many_files(cli, tmp_path):
    """A commit may change more files than other transactions may have commands, and is one version all the same."""
    git = init(tmp_path / "repo")
    blob = git("hash-object", "-w", "--stdin", stdin=b"").decode().strip()
    git("update-index", "--index-info", stdin=b"".join(b"100644 %s\tf%d\n" % (blob.encode(), n) for n in range(10_050)))
    git("commit", "-q", "-m", "many")
    assert cli.ok("git-import", "repo", "--output", "json").json["version"] == 1
    assert cli.ok("logs", "--output", "json").json[0]["entries"] == 10_050
