"""The checker of concurrent histories accepts what is right and names what is wrong."""

import datetime as dt
import math
import threading

import pytest

from indelible.backends.memory import MemoryBackend
from indelible.changes import Added
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import (
    IndelibleError,
    NonexistentLog,
    NonexistentVersion,
    NotExecuted,
    OutcomeUnknown,
    TransactionIdReused,
    UnexpectedValue,
)
from indelible.pages import DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo
from indelible.testing.faults import Latency, LostAnswers
from indelible.testing.linearize import Call, NotLinearizable, Recorder, check

LOG = "log"
A = Transaction([Upsert(b"k", b"a")])
B = Transaction([Upsert(b"k", b"b")])
C = Transaction([Upsert(b"k", b"c")])
GUARDED = Transaction([ExpectVersion(0), Upsert(b"k", b"g")])


def call(operation, at, *arguments, answer=None, error=None):
    return Call(operation, LOG, arguments, at[0], at[1], answer, error, "test")


def update(at, transaction, version=None, changed=True, replayed=False, attempt=1, error=None):
    answer = None if version is None else Committed(version, changed, replayed)
    return call("update", at, transaction, attempt, answer=answer, error=error)


def unknown(at, transaction, attempt=1):
    return update(at, transaction, error=OutcomeUnknown(LOG, transaction, attempt, "lost"), attempt=attempt)


def read(at, low, high, *changes, fixed=False):
    return call("diff", at, DiffRequest(low, high if fixed else None), answer=Page(low, high, changes, None))


def describe(at, head, entries=1):
    return call("describe", at, answer=LogInfo(LOG, None, head, 0, entries))


def versions(at, *transactions):
    now = dt.datetime.now(dt.UTC)
    infos = [VersionInfo(n, it.source, it.id, now, 1) for n, it in enumerate(transactions, 1)]
    return call("versions", at, 0, None, answer=infos)


def refused(at, transaction, head, attempt=1):
    return update(at, transaction, error=UnexpectedValue(LOG, 0, "Insert", head), attempt=attempt)


INSERT = Transaction([Insert(b"k", b"z")])

RIGHT = {
    "nothing": [],
    "one after the other": [update((0, 1), A, 1), update((2, 3), B, 2), read((4, 5), 0, 2, Added(b"k", b"b", 2))],
    "overlapping, the later called first": [update((0, 9), B, 2), update((1, 8), A, 1)],
    "a read beside a commit sees the old": [update((0, 5), A, 1), read((1, 4), 0, 0)],
    "a read beside a commit sees the new": [update((0, 5), A, 1), read((1, 4), 0, 1, Added(b"k", b"a", 1))],
    "an old version read late": [update((0, 1), A, 1), update((2, 3), B, 2), read((4, 5), 0, 1, Added(b"k", b"a", 1), fixed=True)],
    "an unknown that took effect": [unknown((0, 1), A), describe((2, 3), 1)],
    "an unknown that took effect later": [unknown((0, 1), A), describe((2, 3), 0, 0), describe((4, 5), 1)],
    "an unknown that did not": [unknown((0, 1), A), update((2, 3), B, 1), versions((4, 5), B)],
    "one of two unknowns": [unknown((0, 1), GUARDED), unknown((0, 2), B), update((3, 4), C, 2), describe((5, 6), 2)],
    "never came back": [update((0, math.inf), A), read((1, 2), 0, 1, Added(b"k", b"a", 1))],
    "an unknown and its retry": [unknown((0, 1), A), update((2, 3), A, 1, replayed=True, attempt=2)],
    "an unknown, its retry after others": [
        unknown((0, 1), A), update((2, 3), B, 2), update((4, 5), A, 1, replayed=True, attempt=2),
    ],
    "a retry that is the first to take effect": [unknown((0, 1), A), update((2, 3), A, 1, attempt=2)],
    "a rejection": [update((0, 1), A, 1), refused((2, 3), INSERT, 1)],
    "a final rejection told again": [
        update((0, 1), A, 1), refused((2, 3), INSERT, 1, 2), update((4, 5), B, 2), refused((6, 7), INSERT, 1),
    ],
    "rejected, then committed": [
        update((0, 1), A, 1), refused((2, 3), INSERT, 1), update((4, 5), Transaction([Remove(b"k", b"a")]), 2),
        update((6, 7), INSERT, 3, attempt=2),
    ],
    "no change": [update((0, 1), A, 1), update((2, 3), Transaction([Upsert(b"k", b"a")]), 1, changed=False)],
    "not executed": [update((0, 1), A, error=NotExecuted("busy")), describe((2, 3), 0, 0)],
    "above the head": [call("diff", (0, 3), DiffRequest(1), error=NonexistentVersion(LOG, 1, 0)), update((1, 4), A, 1)],
    "not there yet": [call("describe", (0, 3), error=NonexistentLog(LOG)), call("create", (1, 2), None)],
    "an id reused": [
        update((0, 1), A, 1),
        update((2, 3), Transaction([], id=A.id), error=TransactionIdReused(LOG, -1, "Transaction", -1)),
    ],
}  # fmt: skip

WRONG = {
    "stale read": ([update((0, 1), A, 1), read((2, 3), 0, 0)], "too late"),
    "stale describe": ([update((0, 1), A, 1), describe((2, 3), 0, 0)], "too late"),
    "going back in time": ([update((0, 9), A, 1), describe((1, 2), 1), describe((3, 4), 0, 0)], "too late"),
    "read before it was sent": ([describe((0, 1), 1), update((2, 3), A, 1)], "too late"),
    "reordered": ([update((0, 1), A, 2), update((2, 3), B, 1)], "too late"),
    "lost update": (
        [update((0, 2), A, 1), update((1, 3), GUARDED, 2)], "could not commit version 2",
    ),
    "two made one version": ([update((0, 2), A, 1), update((1, 3), B, 1)], "made by two transactions"),
    "committed twice": ([update((0, 1), A, 1), update((2, 3), A, 2, attempt=2)], "committed twice"),
    "twice as if new": ([update((0, 1), A, 1), update((2, 3), A, 1, attempt=2)], "told twice"),
    "a version that nobody made": ([update((0, 1), A, 2)], "too few"),
    "seen and made by nobody": ([update((0, 1), A, 1), describe((2, 3), 2)], "too few"),
    "made by what was not executed": (
        [update((0, 1), A, error=NotExecuted("busy")), versions((2, 3), A)], "no call can have made",
    ),
    "made by a stranger": ([versions((2, 3), A)], "no call can have made"),
    "replayed before it was first answered": ([update((0, 1), A, 1, replayed=True)], "no call can have made"),
    "versions tell another": ([update((0, 1), A, 1), versions((2, 3), B), unknown((0, 4), B)], "two transactions"),
    "the wrong value": ([update((0, 1), A, 1), read((2, 3), 0, 1, Added(b"k", b"b", 1))], "a diff is wrong"),
    "a change missing": ([update((0, 1), A, 1), read((2, 3), 0, 1)], "a diff is wrong"),
    "entries miscounted": ([update((0, 1), A, 1), describe((2, 3), 1, 7)], "entries"),
    "rejected for no reason": ([update((0, 1), B, 1), refused((2, 3), C, 1)], "could not be answered so"),
    "accepted without reason": ([update((0, 1), Transaction([Update(b"k", b"1")]), 1)], "could not commit"),
    "no change, and yet": ([update((0, 1), A, 0, changed=False)], "could not be answered so"),
    "a change that is none": (
        [update((0, 1), A, 1), update((2, 3), Transaction([Upsert(b"k", b"a")]), 2)], "could not commit",
    ),
    "resurrected after a final rejection": (
        [
            update((0, 1), A, 1), refused((2, 3), INSERT, 1, 2), update((4, 5), Transaction([Remove(b"k", b"a")]), 2),
            update((6, 7), INSERT, 3),
        ],
        "to the contrary",
    ),
    "a final answer that changed": (
        [update((0, 1), A, 1), refused((2, 3), INSERT, 1, 2), update((4, 5), B, 2), refused((6, 7), INSERT, 2, 3)],
        "not given again",
    ),
    "judged again after it was committed": (
        [update((0, 1), INSERT, 1), update((2, 3), A, 2), refused((4, 5), INSERT, 2)], "judged again",
    ),
    "an unknown that is too early": ([describe((0, 1), 1), unknown((2, 3), A)], "too late"),
    "an id called reused that was not": (
        [update((0, 1), A, 1), update((2, 3), A, error=TransactionIdReused(LOG, -1, "Transaction", -1))], "no other",
    ),
    "a log gone": ([call("create", (0, 1), None), call("describe", (2, 3), error=NonexistentLog(LOG))], "not there"),
    "a head denied": (
        [update((0, 1), A, 1), call("diff", (2, 3), DiffRequest(1), error=NonexistentVersion(LOG, 1, 0))], "too late",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_history_is_accepted(name):
    """A history that some order explains passes, in whatever order its calls were written down."""
    check(RIGHT[name])
    check(reversed(RIGHT[name]))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_history_is_refused_with_the_reason(name):
    """A history that no order explains is refused, and the message says why and shows a call."""
    history, reason = WRONG[name]
    with pytest.raises(NotLinearizable, match=reason) as caught:
        check(history)
    assert LOG in str(caught.value)
    with pytest.raises(NotLinearizable):
        check(reversed(history))


def test_logs_are_judged_one_by_one():
    """A wrong log is found among right ones."""
    check(RIGHT["one after the other"] + [])
    elsewhere = [
        Call(c.operation, "other", c.arguments, c.called, c.returned, c.answer, c.error) for c in WRONG["stale read"][0]
    ]
    with pytest.raises(NotLinearizable, match="other"):
        check(RIGHT["one after the other"] + elsewhere)


class Stale(MemoryBackend):
    """Every second read is of the version before."""

    turn = 0

    def diff(self, log, request):
        page = super().diff(log, request)
        self.turn += 1
        if self.turn % 2 and page.to_version > 0 and request.to_version is None:
            return super().diff(log, DiffRequest(0, page.to_version - 1))
        return page


class LateLookup(MemoryBackend):
    """Judges a transaction anew each time: its id is never looked up."""

    def update(self, log, transaction, attempt=1):
        return super().update(log, Transaction(transaction.commands, transaction.source), attempt)


def workload(backend):
    """Three writers who retry what they do not know, and a reader."""
    recorder = Recorder(backend)
    recorder.create(LOG)

    def write(name):
        for turn in range(12):
            sent = Transaction(
                [Upsert(b"shared", b"%d/%d" % (name, turn)), Insert(b"%d/%d" % (name, turn // 2), b"%d" % (turn % 3))]
            )
            for attempt in range(1, 20):
                try:
                    recorder.update(LOG, sent, attempt)
                    break
                except OutcomeUnknown:
                    continue
                except IndelibleError:
                    break

    def look():
        for _ in range(25):
            recorder.diff(LOG, DiffRequest())

    threads = [threading.Thread(target=write, args=(name,)) for name in range(3)] + [threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    recorder.versions(LOG)
    return recorder.calls


def some():
    turns = iter(range(10**6))
    return lambda log, transaction, attempt: next(turns) % 3 == 0


def test_a_recorded_history_of_a_right_backend_is_accepted():
    """What several threads did to a right backend passes, with answers lost and retried."""
    calls = workload(Latency(LostAnswers(MemoryBackend(), some()), 0.0002))
    assert any(isinstance(it.error, OutcomeUnknown) for it in calls)
    assert any(it.commits and it.answer.replayed for it in calls)
    check(calls)


@pytest.mark.parametrize("backend", [Stale, LateLookup])
def test_a_recorded_history_of_a_faulty_backend_is_refused(backend):
    """Faults seeded in a backend are found in what its callers were told."""
    with pytest.raises(NotLinearizable):
        check(workload(LostAnswers(backend(), some())))


def test_a_recorder_shares_its_calls_and_keeps_errors():
    """Recorders over one list see one clock; what is raised is written down and raised."""
    first = Recorder(MemoryBackend())
    second = Recorder(first.inner, sharing=first)
    with pytest.raises(NonexistentLog):
        first.describe(LOG)
    second.create(LOG)
    assert [(it.operation, it.called, it.returned) for it in first.calls] == [("describe", 0, 1), ("create", 2, 3)]
    assert isinstance(first.calls[0].error, NonexistentLog)
    assert first.calls is second.calls
    check(first.calls)


def test_a_recorder_notes_each_call_before_and_after_by_the_clock_it_is_given():
    """What is noted is enough to tell, after a kill, which call was never answered."""
    noted = []
    recorder = Recorder(
        MemoryBackend(),
        clock=iter(range(100, 200)).__next__,
        note=lambda call: noted.append((call.operation, call.called, call.returned, type(call.error))),
    )
    recorder.create(LOG)
    with pytest.raises(NonexistentLog):
        recorder.describe("another")
    assert noted == [
        ("create", 100, float("inf"), type(None)),
        ("create", 100, 101, type(None)),
        ("describe", 102, float("inf"), type(None)),
        ("describe", 102, 103, NonexistentLog),
    ]
