"""Failing storage: what callers are told is true, and stays true after a kill or a power cut (S16, S17, S21, S22)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from operator import add
from unittest import mock

import apsw
import pytest
from cutting import folder
from disk import Disk
from effort import PROCESSES, WORKERS, minimum
from faulting import fail_at, fail_everywhere
from recording_vfs import Fault, recording
from store_states import LOGS, Broken, random_steps, read_beside, read_plainly, write_files

from indelible import Transaction, Upsert, seams
from indelible.backends.sqlite import SQLiteBackend, file
from indelible.errors import OutcomeUnknown

Tally = Callable[[str, int, int, str], None]


@pytest.mark.timeout(1200)
def test_an_error_of_the_storage_leaves_nothing_untrue(tally: Tally) -> None:
    """Whatever write, sync, truncation or opening fails, once or for ever, every answer is and stays true (S17, S22).

    After each error the store is read as it is, as a kill would leave it and as a power cut might; then the same is
    sent again until it is answered, and is there exactly once (S16). Creating and trimming are the same done twice as
    once, so an error of theirs may mean either.
    """
    least = minimum(3_000, 150)
    began = time.monotonic()
    seed = random.SystemRandom().randrange(2**32)
    stride = minimum(3, 17)
    share = -(-least // WORKERS)
    with ProcessPoolExecutor(WORKERS, PROCESSES) as workers:
        shares = workers.map(fail_everywhere, range(seed, seed + WORKERS), [share] * WORKERS, [stride] * WORKERS)
        counts = reduce(add, shares)
    tally(
        "I/O errors injected",
        counts.faults,
        least,
        f"answers meanwhile: {counts.not_executed} not executed, {counts.unknown} outcome unknown, {counts.answered} "
        f"as if nothing were; {counts.states:,} states after kills and power cuts, {counts.unborn} of them before "
        f"the store's first page was whole; seed {seed}, {time.monotonic() - began:.0f} s",
    )


@pytest.fixture
def path() -> Iterator[str]:
    """Where a database may stand, in memory."""
    with folder() as where:
        yield where


def _syncs_that_break(path: str) -> int:
    """At how many places a sync that fails once makes an answer untrue, in one small workload."""
    rng = random.Random(11)
    steps = list(random_steps(rng, 8))
    broken, place = 0, 1
    while True:
        try:
            if not fail_at(path, steps, place, ("sync", "EIO", False), rng):
                return broken
        except Broken:
            broken += 1
        place += 1


def test_no_failed_sync_makes_an_answer_untrue(path: str) -> None:
    """A sync that fails once, anywhere, is either told or made good (S22)."""
    assert _syncs_that_break(path) == 0


def test_control_without_finding_out_answers_are_untrue(path: str) -> None:
    """Positive control: with an error at commit taken for "not executed" the same harness finds ghosts (S22)."""
    with mock.patch.object(file.DatabaseFile, "settle"):
        assert _syncs_that_break(path) > 0


def _lost_after_a_failed_sync(path: str) -> int:
    """A commit's sync fails, its pages never reach the disk, and the process is killed; the next one commits more; the
    power is cut meanwhile or then. Returns in how many of the possible states not all is there that was acknowledged.
    """
    rng = random.Random(5)
    with recording(path) as vfs:
        backend = SQLiteBackend(path)
        backend.create(LOGS[0])
        states = [read_beside(path)]
        vfs.fault = Fault("sync", 1, forever=True)
        with pytest.raises(OutcomeUnknown):
            backend.update(LOGS[0], Transaction([Upsert(b"in doubt", rng.randbytes(5000))]))
        killed = vfs.events[: [event[0] for event in vfs.events].index("badsync") + 1]
        vfs.fault = None
        backend.close()
    disk = Disk()
    for event in killed:
        disk.apply(event)
    write_files(path, disk.unchanged())
    with recording(path, killed) as vfs:
        backend = SQLiteBackend(path)
        states.append(read_beside(path))
        backend.update(LOGS[0], Transaction([Upsert(b"one more", b"")]))
        states.append(read_beside(path))
        recovery = vfs.events[len(killed) :]
        backend.close()
    lost = 0
    for left, event in zip(range(len(recovery) - 1, -1, -1), recovery, strict=True):
        disk.apply(event)
        for files in disk.after_power_cut(rng, 3 if left else 30):
            write_files(path, files)
            try:
                lost += read_plainly(path) not in (states if left else states[-1:])
            except (apsw.Error, Broken):
                lost += 1
    return lost


def test_what_a_failed_sync_left_readable_is_made_durable_at_opening(path: str) -> None:
    """What can be read though a sync of it failed is on the disk before it is shown, and nothing hangs on it (S21)."""
    assert _lost_after_a_failed_sync(path) == 0


def test_control_without_writing_again_it_is_lost(path: str) -> None:
    """Positive control: opening without writing the log again, versions acknowledged since vanish with the power."""
    with mock.patch.object(file, "_write_again"):
        assert _lost_after_a_failed_sync(path) > 0


def test_a_trim_that_is_done_does_not_say_otherwise(path: str) -> None:
    """Where the history is forgotten and its space cannot be given back yet, trimming is no error (S17, S19)."""
    with recording(path) as vfs:
        backend = SQLiteBackend(path)
        backend.create(LOGS[0])
        for value in (b"first", b"second", b"third"):
            backend.update(LOGS[0], Transaction([Upsert(b"key", value * 9000)]))

        def fail() -> None:
            vfs.fault = Fault("write", 1, forever=True)

        with mock.patch.dict(seams.armed, {"sqlite.commit.after": fail}):
            backend.trim(LOGS[0], 3)
        assert vfs.fault is not None and vfs.fault.hits
        vfs.fault = None
        assert backend.describe(LOGS[0]).oldest == 3
        backend.close()
