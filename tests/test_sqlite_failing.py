"""The SQLite backend on a disk that fails: what callers are told is true, and nothing acknowledged is lost."""

import collections
import errno
import subprocess
import sys

import apsw
import pytest
from sqlitetools import PATIENCE, failing_storage, keys, put

from indelible.backend import Submission
from indelible.backends.sqlite import SQLiteBackend, waiters
from indelible.backends.sqlite.file import DatabaseFile
from indelible.commands import Insert, Transaction, Upsert
from indelible.errors import (
    IndelibleError,
    NotExecuted,
    OutcomeUnknown,
    Rejected,
    TransactionIdReused,
    UnexpectedValue,
)
from indelible.records import Committed


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs.db"


def check_whole(backend, path, acknowledged, maybe=()):
    """What is there is what was acknowledged, perhaps with what nobody knows; the history has no hole."""
    found = set(keys(backend))
    assert set(acknowledged) <= found <= set(acknowledged) | set(maybe), (acknowledged, maybe, found)
    head = backend.describe("a").head
    assert [info.version for info in backend.versions("a")] == list(range(1, head + 1))
    assert head == len(found) == backend.describe("a").entries
    return found


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["failing", "full"])
@pytest.mark.parametrize("count", [1, 1000], ids=["once", "for good"])
@pytest.mark.parametrize("at", range(1, 8))
def test_a_write_that_fails_leaves_nothing_unsaid(path, at, count, error):
    """S17, S22: whichever write fails, once or from then on, what callers were told is true, before and after reopening.

    ``NotExecuted`` is not there, ``Committed`` is, ``OutcomeUnknown`` may be; and sending it again settles it.
    """
    with failing_storage() as storage:
        backend = SQLiteBackend(path)
        backend.create("a")
        acknowledged = [b"first"]
        put(backend, b"first")
        unknown = []
        storage.arm(at, count, error)
        for turn in range(4):
            sent = Transaction([Insert(b"%d" % turn, bytes(5000))])
            try:
                backend.update("a", sent)
                acknowledged.append(b"%d" % turn)
            except OutcomeUnknown as caught:
                assert caught.transaction is sent
                unknown.append(sent)
            except NotExecuted:
                pass
        failed = storage.writes >= at
        storage.disarm()
        found = check_whole(backend, path, acknowledged, [it.commands[0].key for it in unknown])
        for sent in unknown:
            backend.update("a", sent, 2)
            acknowledged.append(sent.commands[0].key)
        found = check_whole(backend, path, acknowledged)
        put(backend, b"last")
        backend.close()
    assert failed, "no write was made to fail"
    backend = SQLiteBackend(path)
    assert check_whole(backend, path, [*found, b"last"]) == {*found, b"last"}
    backend.close()


@pytest.mark.parametrize("count", [1, 3, 1000], ids=["once", "thrice", "for good"])
@pytest.mark.parametrize("at", range(1, 10))
def test_a_write_that_fails_in_a_group_leaves_nothing_unsaid(path, at, count):
    """S17, S22: whichever write of a group fails, every one of it is told what is true, before and after reopening."""
    with failing_storage() as storage:
        backend = SQLiteBackend(path)
        backend.create("a")
        put(backend, b"first")
        sent = [Submission("a", Transaction([Insert(b"%d" % turn, bytes(5000))])) for turn in range(12)]
        storage.arm(at, count)
        told = [answer for start in (0, 4, 8) for answer in backend.update_all(sent[start : start + 4])]
        failed = storage.writes >= at
        storage.disarm()
        by_fate = {kind: [b"%d" % turn for turn in range(12) if type(told[turn]) is kind] for kind in map(type, told)}
        assert set(by_fate) <= {Committed, NotExecuted, OutcomeUnknown}
        acknowledged, unknown = by_fate.get(Committed, []), by_fate.get(OutcomeUnknown, [])
        check_whole(backend, path, [b"first", *acknowledged], unknown)
        again = backend.update_all([Submission("a", it.transaction, 2) for it in sent])
        assert all(isinstance(it, Committed) for it in again)
        assert {b"%d" % turn for turn in range(12) if again[turn].replayed} >= set(acknowledged)
        backend.close()
    assert failed, "no write was made to fail"
    backend = SQLiteBackend(path)
    check_whole(backend, path, [b"first", *(it.transaction.commands[0].key for it in sent)])
    backend.close()


class Proxy:
    """A connection whose next commits fail, before or after they took effect."""

    def __init__(self, db, plan):
        self._db, self._plan = db, plan

    def __getattr__(self, name):
        return getattr(self._db, name)

    def execute(self, statement, *args, **options):
        if statement != "COMMIT" or not self._plan or self._db.readonly("main"):
            return self._db.execute(statement, *args, **options)
        if (it := self._plan.popleft()) == "late":
            self._db.execute(statement)
        if it in ("early", "late"):
            raise apsw.IOError("the disk failed at the commit")
        return self._db.execute(statement, *args, **options)


@pytest.fixture
def plan(monkeypatch):
    """What becomes of the coming commits of writing connections, in their order."""
    plan = collections.deque()
    connect = DatabaseFile._connect
    monkeypatch.setattr(DatabaseFile, "_connect", lambda self, *flags: Proxy(connect(self, *flags), plan))
    # Readers end their transactions by COMMIT as well, and are none of this.
    monkeypatch.setattr(DatabaseFile, "_give_back", lambda self, db: (db._db.execute("COMMIT"), db.close()))
    return plan


def test_a_commit_that_failed_after_it_took_effect_is_found_out(plan, path):
    """S22: an error at a commit that took effect is not "not committed": the answer is what happened."""
    backend = SQLiteBackend(path)
    backend.create("a")
    plan.append("late")
    answer = put(backend, b"k")
    assert (answer.version, answer.changed) == (1, True)
    assert not plan
    assert keys(backend) == [b"k"]
    backend.close()


def test_a_commit_that_failed_before_it_took_effect_is_not_executed(plan, path):
    """S17, S22: an error at a commit that took no effect is ``NotExecuted``, and the same transaction goes through."""
    backend = SQLiteBackend(path)
    backend.create("a")
    plan.append("early")
    sent = Transaction([Insert(b"k", b"v")])
    with pytest.raises(NotExecuted):
        backend.update("a", sent)
    assert not plan
    assert keys(backend) == []
    assert backend.update("a", sent, 2).version == 1
    backend.close()


@pytest.mark.parametrize(("first", "found"), [("early", []), ("late", [b"k"])])
def test_a_commit_of_which_nothing_can_be_found_out_is_unknown(plan, path, first, found):
    """S17, S22: when looking fails too, the answer is ``OutcomeUnknown``; sending the transaction again settles it."""
    backend = SQLiteBackend(path)
    backend.create("a")
    plan.extend([first, "early"])
    sent = Transaction([Insert(b"k", b"v")])
    with pytest.raises(OutcomeUnknown) as caught:
        backend.update("a", sent)
    assert not plan
    assert (caught.value.log, caught.value.transaction, caught.value.attempt) == ("a", sent, 1)
    assert keys(backend) == found
    answer = backend.update("a", caught.value.transaction, caught.value.attempt + 1)
    assert (answer.version, answer.changed, answer.replayed) == (1, True, bool(found))
    assert keys(backend) == [b"k"]
    backend.close()


@pytest.mark.parametrize("when", ["early", "late"])
def test_a_rejection_that_is_to_be_kept_survives_a_failed_commit(plan, path, when):
    """S16, S22: the rejection of a second attempt is recorded, or nothing is said of it."""
    backend = SQLiteBackend(path)
    backend.create("a")
    put(backend, b"k", b"1")
    plan.append(when)
    sent = Transaction([Insert(b"k", b"2")])
    with pytest.raises(NotExecuted if when == "early" else Rejected):
        backend.update("a", sent, 2)
    backend.update("a", Transaction([Upsert(b"k", b"2")]))
    if when == "late":
        with pytest.raises(Rejected):
            backend.update("a", sent, 1)
    else:
        assert not backend.update("a", sent, 1).changed
    backend.close()


class Group:
    """A group that holds one of every kind, in a log that holds ``known`` already."""

    def __init__(self, backend):
        backend.create("a")
        backend.create("b")
        self.known = Transaction([Insert(b"known", b"1")])
        backend.update("a", self.known)
        first = Transaction([Insert(b"k", b"1")])
        self.members = {
            "fresh": Submission("a", first),
            "the same id": Submission("a", first),
            "other content": Submission("a", Transaction([Insert(b"k", b"2")], id=first.id)),
            "refused for good": Submission("a", Transaction([Insert(b"k", b"2")]), 2),
            "replayed": Submission("a", self.known),
            "another log": Submission("b", Transaction([Insert(b"k", b"1")])),
            "refused": Submission("a", Transaction([Insert(b"k", b"3")])),
        }

    def told(self, backend):
        answers = backend.update_all(list(self.members.values()))
        return {
            name: it if isinstance(it, Committed) else type(it) for name, it in zip(self.members, answers, strict=True)
        }


WHOLE = {
    "fresh": Committed(2, changed=True, replayed=False),
    "the same id": Committed(2, changed=True, replayed=True),
    "other content": TransactionIdReused,
    "refused for good": UnexpectedValue,
    "replayed": Committed(1, changed=True, replayed=True),
    "another log": Committed(1, changed=True, replayed=False),
    "refused": UnexpectedValue,
}


def test_a_groups_commit_that_failed_after_it_took_effect_is_found_out(plan, path, monkeypatch):
    """S16, S22: each is told what is kept under its id, and who waits is woken; what nothing is kept of is not executed."""
    woken = []
    monkeypatch.setattr(waiters.Waiters, "announce", lambda _, log, head: woken.append((log, head)))
    backend = SQLiteBackend(path)
    it = Group(backend)
    woken.clear()
    plan.append("late")
    assert it.told(backend) == WHOLE | {"refused": NotExecuted}
    assert not plan
    assert (keys(backend), keys(backend, "b")) == ([b"known", b"k"], [b"k"])
    assert sorted(woken) == [("a", 2), ("b", 1)]
    backend.close()


def test_a_groups_commit_that_failed_before_it_took_effect_is_not_executed(plan, path, monkeypatch):
    """S16, S17, S22: nothing of the group is there and nobody is told otherwise; sent again, it goes through."""
    backend = SQLiteBackend(path)
    it = Group(backend)
    woken = []
    monkeypatch.setattr(waiters.Waiters, "announce", lambda *_: woken.append(1))
    plan.append("early")
    assert it.told(backend) == dict.fromkeys(WHOLE, NotExecuted) | {"replayed": WHOLE["replayed"]}
    assert not plan
    assert (keys(backend), keys(backend, "b"), woken) == ([b"known"], [], [])
    assert it.told(backend) == WHOLE, "the control: so it is without a failure"
    backend.close()


@pytest.mark.parametrize(("first", "kept"), [("early", False), ("late", True)])
def test_a_groups_commit_of_which_nothing_can_be_found_out_is_unknown(plan, path, first, kept):
    """S17, S22: when looking fails too, each gets its own transaction back; sent again, each gets its answer."""
    backend = SQLiteBackend(path)
    backend.create("a")
    plan.extend([first, "early"])
    sent = [Submission("a", Transaction([Insert(b"%d" % number, b"v")]), number) for number in range(1, 4)]
    errors = backend.update_all(sent)
    assert not plan
    assert [type(it) for it in errors] == [OutcomeUnknown] * 3
    assert [(it.log, it.transaction, it.attempt) for it in errors] == [("a", it.transaction, it.attempt) for it in sent]
    again = backend.update_all([Submission(it.log, it.transaction, it.attempt + 1) for it in errors])
    assert again == [Committed(version, changed=True, replayed=kept) for version in (1, 2, 3)]
    backend.close()


@pytest.mark.parametrize("when", ["early", "late"])
def test_creating_and_trimming_again_settles_a_failed_commit(plan, path, when):
    """S1, S19, S22: what may be done twice says that it failed, and doing it again works."""
    backend = SQLiteBackend(path)
    for make in (lambda: backend.create("a"), lambda: backend.trim("a", 2)):
        plan.append(when)
        with pytest.raises(IndelibleError):
            make()
        assert not plan
        make()
        put(backend, b"%d" % backend.describe("a").head)
        put(backend, b"%d" % backend.describe("a").head)
    assert backend.describe("a").oldest == 2
    backend.close()


FULL = """
mount -t tmpfs -o size=1m indelible-test "$1" && exec "$2" -c "$3" "$1"
"""
FILLS = """
import sys
from indelible import IndelibleError, Insert, NotExecuted, OutcomeUnknown, Transaction
from indelible.backends.sqlite import SQLiteBackend
from indelible.pages import DiffRequest
open(sys.argv[1] + "/ballast", "wb").write(bytes(300_000))
backend = SQLiteBackend(sys.argv[1] + "/logs.db")
backend.create("a")
done = []
try:
    for turn in range(1000):
        backend.update("a", Transaction([Insert(b"%d" % turn, bytes(20_000))]))
        done.append(b"%d" % turn)
except (NotExecuted, OutcomeUnknown) as error:
    print("full" in str(error).lower())
def check():
    found = [change.key for change in backend.diff("a", DiffRequest()).changes]
    assert found in (done, [*done, b"%d" % len(done)]), (len(found), len(done))
check()
backend.close()
open(sys.argv[1] + "/ballast", "r+").truncate(0)
backend = SQLiteBackend(sys.argv[1] + "/logs.db")
check()
backend.update("a", Transaction([Insert(b"next", b"v")]))
print(0 < len(done) < 1000)
backend.close()
"""


def can_mount(tmp_path):
    asked = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "indelible-test", str(tmp_path)]
    try:
        return subprocess.run(asked, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def test_a_full_disk_is_not_executed_and_nothing_is_lost(tmp_path):
    """S17, S21, S22: on a disk that is really full, writes say so, what was acknowledged stays, and room mends it."""
    if not can_mount(tmp_path):
        pytest.skip("a file system of its own cannot be mounted here; the failing writes above stand in for it")
    asked = ["unshare", "-m", "sh", "-c", FULL, "sh", str(tmp_path), sys.executable, FILLS]
    ran = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE)
    assert (ran.returncode, ran.stdout) == (0, "True\nTrue\n"), ran.stderr
