"""Groups in the SQLite file: what they cost, what becomes of them when something fails, and the oracle's answers."""

import contextlib
import gc
import signal
import time
import weakref

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlitetools import ends, keys, python

from indelible.backend import Submission
from indelible.backends.sqlite import SQLiteBackend, rows, waiters
from indelible.commands import Insert, Transaction
from indelible.errors import DamagedStore, NotExecuted, Overloaded, UnexpectedValue
from indelible.pages import DiffRequest
from indelible.records import Committed
from indelible.testing import strategies
from indelible.testing.laws.grouping import one_by_one, told
from indelible.testing.oracle import ModelBackend


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs.db"


@pytest.fixture
def backend(path):
    backend = SQLiteBackend(path)
    backend.create("a")
    yield backend
    backend.close()


def submit(key, value=b"v", log="a", attempt=1):
    """A submission that inserts one entry."""
    return Submission(log, Transaction([Insert(key, value)]), attempt)


def group(count, prefix=b""):
    return [submit(prefix + b"%d" % number) for number in range(count)]


# The oracle


@st.composite
def groups(draw):
    """Submissions in groups, to two logs and one that is not there; ids come again, with the same content or other."""
    sent, made = [], []
    for transaction in draw(strategies.histories(max_size=12)):
        if sent and draw(st.integers(0, 3)) == 0:
            again = draw(st.sampled_from(sent))
            content = transaction if draw(st.booleans()) else again
            transaction = Transaction(content.commands, content.source, id=again.id)
        sent.append(transaction)
        log = draw(st.sampled_from(["a", "a", "a", "b", "absent"]))
        made.append(Submission(log, transaction, draw(st.sampled_from([1, 1, 2]))))
    cuts = sorted(draw(st.sets(st.integers(0, len(made)))) | {0, len(made)})
    return [made[low:high] for low, high in zip(cuts, cuts[1:])]


@given(made=groups())
def test_s02_to_s07_s16_groups_are_what_one_by_one_would_be(made, tmp_path_factory):
    """S2-S7, S15, S16: however transactions are grouped, every answer and every version is that of one by one."""
    model = ModelBackend()
    backend = SQLiteBackend(tmp_path_factory.mktemp("groups") / "logs.db")
    with contextlib.closing(backend):
        for it in (model, backend):
            it.create("a")
            it.create("b")
        for submissions in made:
            assert told(backend.update_all(submissions)) == told(list(one_by_one(model, submissions)))
        for log in "ab":
            assert backend.describe(log) == model.describe(log)
            found, wanted = backend.versions(log), model.versions(log)
            assert [(it.transaction_id, it.effects) for it in found] == [
                (it.transaction_id, it.effects) for it in wanted
            ]
            for info in found:
                request = DiffRequest(0, info.version)
                assert backend.diff(log, request) == model.diff(log, request)


# What a group costs


class Syncs(apsw.VFS):
    """SQLite's own files, with the syncs counted."""

    def __init__(self):
        self.count = 0
        super().__init__("counting", "unix", makedefault=True)

    def xOpen(self, name, flags):
        return CountedFile(self, name, flags)


class CountedFile(apsw.VFSFile):
    def __init__(self, vfs, name, flags):
        self.vfs = vfs
        super().__init__("unix", name, flags)

    def xSync(self, flags):
        self.vfs.count += 1
        super().xSync(flags)


@pytest.fixture
def syncs():
    vfs = Syncs()
    yield vfs
    vfs.unregister()
    apsw.set_default_vfs("unix")


def test_s21_a_group_costs_one_sync(syncs, path):
    """S21: a group of any size is on the disk by one sync; the control: one by one each costs its own."""
    with contextlib.closing(SQLiteBackend(path)) as backend:
        backend.create("a")
        backend.create("b")
        backend.update_all(group(1, b"first of a log of the file "))
        cost = {}
        for count in (1, 2, 32):
            before = syncs.count
            answers = backend.update_all([*group(count, b"%d " % count), submit(b"%d" % count, log="b")])
            assert all(it.changed for it in answers)
            cost[count] = syncs.count - before
        assert cost == {1: 1, 2: 1, 32: 1}
        before = syncs.count
        for it in group(32, b"one by one "):
            backend.update(it.log, it.transaction)
        assert syncs.count - before == 32


def test_s16_a_group_that_writes_nothing_costs_no_sync(syncs, path):
    """S5, S16: answers that are given again, and rejections that are not kept, write nothing."""
    with contextlib.closing(SQLiteBackend(path)) as backend:
        backend.create("a")
        sent = group(8)
        backend.update_all(sent)
        before = syncs.count
        answers = backend.update_all([*sent, submit(b"0", b"other"), submit(b"x", log="absent")])
        assert [it.replayed for it in answers[:8]] == [True] * 8
        assert type(answers[8]) is UnexpectedValue
        assert syncs.count == before


def test_s13_each_log_is_announced_once_with_its_newest_head_and_after_the_commit(backend, monkeypatch):
    """S13, S21: a group wakes once a log, when all of it can be read; what changes nothing wakes nobody."""
    backend.create("b")
    backend.create("c")
    known = submit(b"known", log="c")
    backend.update("c", known.transaction)
    seen = []
    announce = waiters.Waiters.announce

    def look(self, log, head):
        seen.append((log, head, backend.describe(log).head))
        announce(self, log, head)

    monkeypatch.setattr(waiters.Waiters, "announce", look)
    wrong = submit(b"0", b"other")
    backend.update_all([*group(3), submit(b"0", log="b"), known, wrong, submit(b"9", log="absent"), *group(2, b"x")])
    assert seen == [("a", 5, 5), ("b", 1, 1)]
    backend.update_all([known, wrong])
    assert len(seen) == 2


# What becomes of a group when something fails


KILLED = """
import os, signal, sys
from indelible import Insert, Transaction, seams
from indelible.backend import Submission
from indelible.backends.sqlite import SQLiteBackend
path, point = sys.argv[1:]
backend = SQLiteBackend(path)
seams.armed[point] = lambda: os.kill(os.getpid(), signal.SIGKILL)
for line in sys.stdin:
    ids = [bytes.fromhex(it) for it in line.split()]
    backend.update_all([Submission("a", Transaction([Insert(it, b"v")], id=it)) for it in ids])
"""


@pytest.mark.parametrize(("point", "kept"), [("sqlite.commit.before", False), ("sqlite.commit.after", True)])
def test_s21_a_group_of_a_killed_process_is_there_whole_or_not_at_all(path, backend, point, kept):
    """S21: a process killed before the commit leaves nothing of its group, one killed after it all; ids tell which."""
    sent = group(8)
    killed = python(KILLED, path, point)
    killed.stdin.write(" ".join(it.transaction.id.hex() for it in sent) + "\n")
    killed.stdin.flush()
    ends(killed, -signal.SIGKILL)
    assert len(keys(backend)) == (8 if kept else 0)
    again = [Transaction([Insert(it.transaction.id, b"v")], id=it.transaction.id) for it in sent]
    answers = backend.update_all([Submission("a", it, 2) for it in again])
    assert answers == [Committed(version, changed=True, replayed=kept) for version in range(1, 9)]


def test_s17_one_that_cannot_be_stored_does_not_hurt_the_others(backend, monkeypatch):
    """S17: where the storage fails at one of a group, that one is not executed and the others are committed."""
    sent = group(5)
    apply = rows.apply

    def failing(db, it, transaction, *others):
        outcome = apply(db, it, transaction, *others)
        if transaction is sent[2].transaction:
            raise apsw.FullError("database or disk is full")
        return outcome

    monkeypatch.setattr(rows, "apply", failing)
    answers = backend.update_all(sent)
    assert [type(it) for it in answers] == [Committed, Committed, NotExecuted, Committed, Committed]
    assert [it.version for it in answers if isinstance(it, Committed)] == [1, 2, 3, 4]
    assert keys(backend) == [b"0", b"1", b"3", b"4"]
    monkeypatch.undo()
    assert backend.update("a", sent[2].transaction, 2).version == 5


def test_s17_a_damaged_row_is_told_to_whom_it_belongs(backend, path):
    """S16, S17: of a group only that is damaged whose row is not as it was written."""
    backend.update_all(group(1))
    refused = submit(b"0", b"other", attempt=2)
    assert type(backend.update_all([refused])[0]) is UnexpectedValue
    with contextlib.closing(apsw.Connection(str(path))) as other:
        other.execute("UPDATE receipts SET rejection = '7' WHERE rejection IS NOT NULL")
    answers = backend.update_all([submit(b"1"), refused, submit(b"2")])
    assert [type(it) for it in answers] == [Committed, DamagedStore, Committed]
    assert keys(backend) == [b"0", b"1", b"2"]


def test_s17_a_locked_file_is_waited_for_once(path):
    """S17: what keeps the whole group out is told to each, by an error of its own, after one wait and not one each."""
    backend = SQLiteBackend(path, busy_seconds=0.3)
    backend.create("a")
    locker = apsw.Connection(str(path))
    locker.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    answers = backend.update_all(group(20))
    assert time.monotonic() - began < 3
    assert [type(it) for it in answers] == [Overloaded] * 20
    assert len({id(it) for it in answers}) == 20
    assert len({str(it) for it in answers}) == 1
    locker.execute("ROLLBACK")
    locker.close()
    assert [it.version for it in backend.update_all(group(2))] == [1, 2]
    backend.close()


def test_an_error_that_was_raised_is_gone_when_nobody_holds_it(backend):
    """A raised error holds on to nothing by itself: no cycle keeps it, and what its frames held, for the collector."""
    backend.update_all(group(1))
    gc.collect()
    gc.disable()
    try:
        for sent in (submit(b"0", b"other"), submit(b"0", log="absent"), submit(b"0", log="")):
            try:
                backend.update(sent.log, sent.transaction)
            except Exception as error:
                held = weakref.ref(error)
            assert held() is None
    finally:
        gc.enable()
