"""Power cuts: nothing acknowledged or shown is lost, nothing else is there (S15, S16, S21), whatever the disk kept.

Every state that the record of a real workload allows after a cut (see ``disk``) is opened, and must be, whole, either
the state that was last acknowledged or the one an operation in flight was about to make: logs, entries, history,
versions and the kept answers. That includes states cut within the recovery of such a state, and within that one's.
"""

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
from cutting import Cutter, cut_until, folder
from disk import Disk
from effort import PROCESSES, WORKERS, minimum
from recording_vfs import recording
from store_states import LOGS, random_transaction, read_beside, write_files

from indelible.backends.sqlite import SQLiteBackend, file

Tally = Callable[[str, int, int, str], None]


@pytest.mark.timeout(1200)
def test_a_power_cut_loses_nothing_acknowledged_or_seen(tally: Tally) -> None:
    """After a cut at any moment, what is there is what was acknowledged, or also what was in flight (S15, S16, S21)."""
    least = minimum(100_000, 2_500)
    began = time.monotonic()
    seed = random.SystemRandom().randrange(2**32)
    with ProcessPoolExecutor(WORKERS, PROCESSES) as workers:
        shares = list(
            workers.map(
                cut_until, range(seed, seed + WORKERS), [-(-least // WORKERS)] * WORKERS, [minimum(40, 8)] * WORKERS
            )
        )
    counts = reduce(add, shares)
    assert not counts.lost, (seed, counts.lost[:5])
    tally(
        "power cuts, distinct states opened",
        counts.states,
        least,
        f"{counts.cuts:,} cuts of {counts.events:,} events in {counts.runs} workloads; {counts.by_backend:,} states by "
        f"the backend, the rest by SQLite alone; {counts.second} recoveries cut again, {counts.third} of those once "
        f"more; seed {seed}, {time.monotonic() - began:.0f} s",
    )


@pytest.fixture
def cutter() -> Iterator[Cutter]:
    """A cutter with a fixed seed; what it finds repeats."""
    with folder() as path:
        yield Cutter(path, random.Random(7), again=0)


def _configured(**settings: str) -> mock._patch:
    """Connections that are not what they promised to be."""
    honest = file.DatabaseFile._connect

    def connect(self: file.DatabaseFile, *arguments: int) -> apsw.Connection:
        db = honest(self, *arguments)
        for setting, value in settings.items():
            db.execute(f"PRAGMA {setting} = {value}")
        return db

    return mock.patch.object(file.DatabaseFile, "_connect", connect)


def test_control_less_syncing_shows_losses(cutter: Cutter, tally: Tally) -> None:
    """Positive control: with ``synchronous=NORMAL`` the same harness sees acknowledged versions vanish (S21)."""
    with _configured(synchronous="NORMAL"):
        cutter.cut(cutter.record(12))
    tally("power cuts, losses under synchronous=NORMAL", len(cutter.counts.lost), 1, f"in {cutter.counts.cuts:,} cuts")


def test_control_early_acknowledgement_shows_losses(cutter: Cutter, tally: Tally) -> None:
    """Positive control: taking a call for its acknowledgement, the same harness sees losses (S21)."""
    cutter.early = True
    cutter.cut(cutter.record(12))
    tally("power cuts, losses when told early", len(cutter.counts.lost), 1, f"in {cutter.counts.cuts:,} cuts")


def test_control_full_syncing_shows_none(cutter: Cutter) -> None:
    """Positive control of the controls: the same workload, unspoilt, loses nothing (S21)."""
    cutter.cut(cutter.record(12))
    assert cutter.counts.lost == []


def _seen_then_lost(path: str) -> int:
    """A commit reaches the log, its process is killed before the sync; the next shows it; the power is cut.

    Returns in how many of the possible states what was shown is gone.
    """
    rng = random.Random(3)
    with recording(path) as vfs:
        backend = SQLiteBackend(path)
        backend.create(LOGS[0])
        before = len(vfs.events)
        backend.update(LOGS[0], random_transaction(rng))
        events, killed = vfs.events, vfs.events[:-1]
        assert [event[0] for event in events[before:]].count("sync") == 1 and events[-1][0] == "sync"
        shown = read_beside(path)
        backend.close()
    disk = Disk()
    for event in killed:
        disk.apply(event)
    write_files(path, disk.unchanged())
    with recording(path, killed) as vfs:
        backend = SQLiteBackend(path)
        assert read_beside(path) == shown
        for event in vfs.events[len(killed) :]:
            disk.apply(event)
        backend.close()
    gone = 0
    for files in disk.after_power_cut(rng, 20):
        write_files(path, files)
        backend = SQLiteBackend(path)
        gone += read_beside(path) != shown
        backend.close()
    return gone


def test_what_recovery_showed_does_not_vanish(cutter: Cutter) -> None:
    """What a killed process left unsynced, once shown by the next to open the store, survives a power cut (S21)."""
    assert _seen_then_lost(cutter.path) == 0


def test_control_without_syncing_at_open_it_vanishes(cutter: Cutter) -> None:
    """Positive control: opened with nothing but its schema seen to, the store loses a version that was seen (S21)."""

    def hasty(self: file.DatabaseFile) -> apsw.Connection:
        db = self._connect()
        file.migrate(db)
        return db

    with mock.patch.object(file.DatabaseFile, "_prepare", hasty):
        assert _seen_then_lost(cutter.path) > 0


def test_every_step_of_the_workload_occurs(cutter: Cutter) -> None:
    """The recorded workloads sync and truncate, restart the log of the file, switch modes and delete (S19, S21)."""
    kinds = {event[:2] if event[0] in {"create", "delete"} else event[:1] for event in cutter.record(60)}
    expected = {("write",), ("sync",), ("dirsync",), ("truncate",), ("allow",)}
    expected |= {(kind, name) for kind in ("create", "delete") for name in ("-wal", "-journal")}
    assert expected <= kinds
    # The log of the file was restarted: its header was written more than once in one life of the file.
    headers = [event[1] for event in cutter.record(60) if event[0] == "write" and event[2] == 0 and len(event[3]) == 32]
    assert len(headers) > len(set(headers))
