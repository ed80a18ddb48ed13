"""Eight at once on one log, some of them killed: what they were told must fit one order of the operations (S15, S16)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import broken
import journal
import pytest
from actors import AT_ONCE, Actor, plain, sealed, sqlite
from crews import Crew, together
from effort import minimum
from settings import folder, impatient

from indelible.backend import Backend
from indelible.backends.memory import MemoryBackend
from indelible.errors import OutcomeUnknown
from indelible.testing.faults import LostAnswers
from indelible.testing.linearize import NotLinearizable, check
from indelible.testing.recorder import Call, Recorder

pytestmark = pytest.mark.timeout(1800)

__all__ = ["folder", "impatient"]  # fixtures

TURNS = 60

# Operations to be judged in each setting, plain and then sealed; in all, CI promises 200,000.
THREADS_IN_MEMORY = minimum(50_000, 2_000)
THREADS_ON_FILE = minimum(30_000, 1_000)
PROCESSES_ON_FILE = minimum(10_000, 500)
BOTH_ON_FILE = minimum(10_000, 500)

WRAPS = pytest.mark.parametrize("wrap", [plain, sealed], ids=["plain", "sealed"])


def judged(calls: Sequence[Call], wrap: Callable[[Backend], Backend]) -> int:
    """How many operations these are; raises unless they could have happened one at a time."""
    check(calls, sorted_keys=wrap is plain)
    return len(calls)


def by_threads(backend: Backend, seed: int, turns: int = TURNS) -> list[Call]:
    """What eight threads were told who share a backend, on a log of their own, some answers of which are lost."""
    log, chance = f"log {seed}", random.Random(seed)
    recorder = Recorder(LostAnswers(backend, lambda *_: chance.random() < 0.03))
    recorder.create(log)
    actors = [Actor(recorder, log, random.Random(f"{seed} {name}")) for name in range(AT_ONCE)]
    together(*(lambda actor=actor: actor.act(turns) for actor in actors))
    recorder.versions(log)
    return recorder.calls


def test_threads_in_memory(tally):
    """S15, S16: what threads on a memory backend are told, plain or sealed, could have happened one at a time."""
    for wrap in (plain, sealed):
        backend, count, seed = wrap(MemoryBackend()), 0, 0
        while count < THREADS_IN_MEMORY:
            count += judged(by_threads(backend, seed := seed + 1), wrap)
        backend.close()
        tally(f"histories of threads in memory, {wrap.__name__}", count, THREADS_IN_MEMORY, f"{seed} logs, 8 at once")


def test_threads_on_one_file(tally, folder):
    """S15, S16: what threads on one SQLite file are told, plain or sealed, could have happened one at a time."""
    for wrap in (plain, sealed):
        backend, count, seed = wrap(sqlite(str(folder / f"{wrap.__name__}.db"))), 0, 0
        while count < THREADS_ON_FILE:
            count += judged(by_threads(backend, seed := seed + 1), wrap)
        backend.close()
        tally(f"histories of threads on one file, {wrap.__name__}", count, THREADS_ON_FILE, f"{seed} logs, 8 at once")


@WRAPS
@pytest.mark.parametrize(
    ("threads_each", "least"), [(1, PROCESSES_ON_FILE), (2, BOTH_ON_FILE)], ids=["processes", "both"]
)
def test_processes_on_one_file(tally, folder, wrap, threads_each, least):
    """S15, S16, S21: what processes are told, some killed and their transactions sent again, fits one order."""
    count = kills = cut_off = seed = 0
    # Of the killed some must have been waiting for an answer: their transactions are sent again.
    while count < least or not kills or not cut_off:
        calls, killed = Crew(folder, seed := seed + 1, threads_each, wrap=wrap).work()
        count += judged(calls, wrap)
        kills += killed
        cut_off += sum(call.operation == "update" and not call.is_answered for call in calls)
    kind = "processes" if threads_each == 1 else "processes of two threads"
    tally(
        f"histories of {kind} on one file, {wrap.__name__}",
        count,
        least,
        f"{seed} logs, 8 at once, {kills} processes killed, {cut_off} transactions cut off and sent again",
    )


@pytest.mark.parametrize("kind", broken.IN_MEMORY, ids=lambda kind: kind.__name__)
def test_a_broken_backend_is_seen(kind):
    """Control: stale reads, a check then a write without a lock, and forgotten ids are found by the same threads."""
    with pytest.raises(NotLinearizable):
        for seed in range(20):
            judged(by_threads(kind(), seed), plain)


def test_forgotten_receipts_are_seen_after_kills(folder):
    """Control: a store that forgets ids commits twice what a killed process had sent, and the crew finds it."""
    with pytest.raises(NotLinearizable):
        for seed in range(20):
            judged(Crew(folder, seed, turns=20, open=broken.forgetful_and_slow).work()[0], plain)


def test_a_journal_outlives_its_process(folder):
    """Control: a call that was cut off is in the journal without an answer, wherever the record of its end is torn.

    One whose first record is torn was never made. The next owner of the journal goes on after what is whole.
    """
    note = journal.Journal(folder / "j")
    recorder = Recorder(MemoryBackend(), clock=time.monotonic_ns, note=note)
    recorder.create("log")
    with pytest.raises(OutcomeUnknown):
        Recorder(broken.Silent(), note=note).update("log", broken.SENT)
    whole = (folder / "j").read_bytes()
    assert [(call.operation, call.is_answered) for call in journal.read(folder / "j")] == [
        ("create", True),
        ("update", False),
    ]
    seen = set()
    for size in range(len(whole)):
        (folder / "j").write_bytes(whole[:size])
        before = [(call.operation, call.is_answered) for call in journal.read(folder / "j")]
        again = Recorder(MemoryBackend(), clock=time.monotonic_ns, note=journal.Journal(folder / "j"))
        again.create("another")
        after = [(call.operation, call.is_answered) for call in journal.read(folder / "j")]
        assert after == [*before, ("create", True)]
        seen.add(tuple(before))
    assert seen == {(), (("create", False),), (("create", True),), (("create", True), ("update", False))}
