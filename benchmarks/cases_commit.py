"""A commit of ten commands: in memory and on the disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import indelible
from benchmarks.floors import BareSealing, BareTables
from benchmarks.peers import Eventsourcing, Kvgit, Peer
from benchmarks.run import MASTER, Run, batches
from benchmarks.table import Row, timed
from benchmarks.timing import Comparison, Effort, Work, compare, peak
from indelible import Insert

COMMANDS = 10


def _ours(url: str, key: bytes | None) -> tuple[indelible.Client, Work]:
    client = indelible.connect(url, master_key=key)
    log = client.log("log")
    log.create()
    return client, Work(lambda items: log.update([Insert(*item) for item in items]), batches(COMMANDS))


def _beside(effort: Effort, ours: Work, peer: Peer) -> tuple[Comparison, dict[str, int]]:
    theirs = Work(peer.commit, batches(COMMANDS))
    found = compare(ours, theirs, effort)
    peaks = {"peak_ours": peak(ours), "peak_theirs": peak(theirs)}
    peer.close()
    return found, peaks


def in_memory(run: Run) -> Iterator[Row]:
    """Ten fresh keys with JSON values, unsealed, in the memory backend."""
    peers: tuple[tuple[str, Callable[[], Peer], float], ...] = (
        ("eventsourcing in memory, 10 events", Eventsourcing, 2.0),
        ("kvgit in memory, 10 keys", Kvgit, 1 / 20),
    )
    for name, make, aim in peers:
        client, ours = _ours("memory:", None)
        with client:
            found, peaks = _beside(run.effort, ours, make())
        yield timed("commit of 10 commands, memory", name, found, aim, **peaks)


class _Bare:
    """The floor on disk: rows sealed beforehand and only inserted, or sealed on the way."""

    def __init__(self, path: Path) -> None:
        self._tables = BareTables(path)
        self._sealing = BareSealing(MASTER, "log")
        self._versions = itertools.count(1)

    def sealed_before(self) -> Work:
        fresh = batches(COMMANDS)
        return Work(
            lambda sealed: self._tables.commit(next(self._versions), sealed),
            lambda: [self._sealing.seal(*item) for item in fresh()],
        )

    def sealed_within(self) -> Work:
        seal = self._sealing.seal
        return Work(
            lambda items: self._tables.commit(next(self._versions), [seal(*item) for item in items]), batches(COMMANDS)
        )

    def close(self) -> None:
        self._tables.close()


def durable(run: Run) -> Iterator[Row]:
    """Ten fresh keys with JSON values, sealed, in SQLite, on the disk when it returns."""
    work, effort = "durable commit of 10 commands, SQLite, sealed", run.effort.waiting()
    floors: tuple[tuple[str, Callable[[_Bare], Work], float | None], ...] = (
        ("bare apsw, same rows, sealed before", _Bare.sealed_before, 1.5),
        ("bare apsw, same rows, bare seal", _Bare.sealed_within, None),
    )
    for name, floor, aim in floors:
        client, ours = _ours(f"sqlite:///{run.fresh('ours.db')}", MASTER)
        bare = _Bare(run.fresh("bare.db"))
        theirs = floor(bare)
        with client:
            found = compare(ours, theirs, effort)
            peaks = {"peak_ours": peak(ours), "peak_theirs": peak(theirs)}
        bare.close()
        yield timed(work, name, found, aim, **peaks)
    peers: tuple[tuple[str, Callable[[], Peer], float | None], ...] = (
        ("kvgit on disk, made to sync", lambda: Kvgit(run.fresh("kvgit"), synced=True), 1.0),
        ("kvgit on disk, as it comes: not synced", lambda: Kvgit(run.fresh("kvgit")), None),
        ("eventsourcing on SQLite, synced", lambda: Eventsourcing(run.fresh("events.db")), 1.0),
    )
    for name, make, aim in peers:
        client, ours = _ours(f"sqlite:///{run.fresh('ours.db')}", MASTER)
        with client:
            found, peaks = _beside(effort, ours, make())
        yield timed(work, name, found, aim, strictly=True, **peaks)
