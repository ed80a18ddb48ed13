"""Many sealed entries, in and out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

import indelible
from benchmarks.floors import BareSealing, BareTables
from benchmarks.run import MASTER, Run, batches
from benchmarks.table import Row, timed
from benchmarks.timing import Work, compare, peak, quiet, summary
from indelible import Insert


@attrs.define
class _Ours:
    """A sealed log in SQLite."""

    client: indelible.Client
    log: indelible.Log[str, Any]

    @classmethod
    def open(cls, path: Path) -> _Ours:
        client = indelible.connect(f"sqlite:///{path}", master_key=MASTER)
        log = client.log("log")
        log.create()
        return cls(client, log)

    def load(self, items: list[tuple[str, Any]]) -> None:
        self.log.update([Insert(*item) for item in items])

    def read(self, _: object = None) -> int:
        count = 0
        for entry in self.log:
            entry.key, entry.value, entry.version
            count += 1
        return count

    def close(self) -> None:
        self.client.close()


@attrs.define
class _Bare:
    """The floors of both kinds put together."""

    tables: BareTables
    sealing: BareSealing
    version: int = 0

    @classmethod
    def open(cls, path: Path) -> _Bare:
        return cls(BareTables(path), BareSealing(MASTER, "log"))

    def load(self, items: list[tuple[str, Any]]) -> None:
        self.version += 1
        seal = self.sealing.seal
        self.tables.commit(self.version, [seal(key, value) for key, value in items])

    def read(self, _: object = None) -> int:
        count, open_ = 0, self.sealing.open
        for sealed_key, sealed_value, version in self.tables.read():
            (*open_(sealed_key, sealed_value), version)
            count += 1
        return count

    def close(self) -> None:
        self.tables.close()


def load(run: Run) -> Iterator[Row]:
    """All entries of a bulk load; the sides take turns at each transaction, and each round is a load of its own."""
    sizes = run.sizes
    rounds: list[tuple[float, float]] = []
    for number in range(sizes.rounds + 1):
        sides = _Ours.open(run.fresh("bulk.db")), _Bare.open(run.fresh("bulk-bare.db"))
        took = [0.0, 0.0]
        fresh = batches(sizes.bulk_step)
        with quiet():
            # The first round warms up, on a tenth.
            for turn in range(sizes.bulk // sizes.bulk_step if number else max(1, sizes.bulk // sizes.bulk_step // 10)):
                items = fresh()
                for side in (0, 1) if turn % 2 else (1, 0):
                    start = time.perf_counter()
                    sides[side].load(items)
                    took[side] += time.perf_counter() - start
        if number:
            rounds.append((took[0], took[1]))
        if number == sizes.rounds:
            peaks = [peak(Work(side.load, fresh)) for side in sides]
        for side in sides:
            side.close()
    yield timed(
        f"bulk load, {sizes.bulk:,} sealed entries, {sizes.bulk_step:,} a transaction, SQLite",
        "bare seal, bare insert",
        summary(rounds),
        2.0,
        peak_ours=peaks[0],
        peak_theirs=peaks[1],
    )


def read(run: Run) -> Iterator[Row]:
    """All of a log's present, opened and decoded, one entry after another."""
    sizes = run.sizes
    ours, bare = _Ours.open(run.fresh("present.db")), _Bare.open(run.fresh("present-bare.db"))
    fresh = batches(sizes.bulk_step)
    for _ in range(sizes.bulk // sizes.bulk_step):
        items = fresh()
        ours.load(items)
        bare.load(items)
    assert ours.read() == bare.read() == sizes.bulk
    works = Work(ours.read), Work(bare.read)
    effort = attrs.evolve(run.effort, turns_at_most=max(sizes.rounds, run.effort.turns_at_least))
    found = compare(*works, effort)
    yield timed(
        f"read the present, {sizes.bulk:,} sealed entries, SQLite",
        "bare select, bare open",
        found,
        1.6,
        peak_ours=peak(works[0]),
        peak_theirs=peak(works[1]),
    )
    ours.close()
    bare.close()
