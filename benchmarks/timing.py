"""Measuring two works beside each other so that a noisy machine disturbs both alike.

They take turns: A B, B A, A B, ... Each turn gives one ratio, and the ratio reported is the median of those, so that a
slow second on the machine spoils one turn and not the figure. Garbage is collected before, and not during. The first
turns only warm up.

What only computes is timed by the processor time of its thread, which other programs' turns on the processor do not
reach; what waits for the disk by the time that passes.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import attrs


@attrs.frozen
class Work:
    """Something to time: ``run`` is timed and given what ``prepare`` made for this one call, which is not."""

    run: Callable[[Any], object]
    prepare: Callable[[], Any] = lambda: None


PROCESSOR, WALL = time.thread_time, time.perf_counter
"""The two clocks."""


@attrs.frozen
class Effort:
    """How long to go on, by which clock.

    A sample lasts at least ``sample`` seconds, and turns are taken for ``budget`` seconds.
    """

    sample: float = 0.002
    budget: float = 5.0
    turns_at_least: int = 7
    turns_at_most: int = 400
    warm_up: int = 3
    clock: Callable[[], float] = PROCESSOR

    def waiting(self) -> Effort:
        """The same for what waits for the disk: the clock on the wall, and many samples, of single calls.

        One sync takes twice as long as the next even on a machine that does nothing else.
        """
        return attrs.evolve(self, clock=WALL, sample=0.0, budget=self.budget * 3, turns_at_most=3_000)


QUICK = Effort(sample=0.0, budget=0.0, turns_at_least=2, warm_up=1)
"""Just enough for every line of a benchmark to be run."""


@attrs.frozen
class Comparison:
    """Seconds for one call of each, and their ratio with its quartiles; all of them medians over the turns."""

    ours: float
    theirs: float
    ratio: float
    quartiles: tuple[float, float]
    turns: int


@contextmanager
def quiet() -> Iterator[None]:
    """Within this context nothing is collected, and what was there before is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _sample(work: Work, calls: int, clock: Callable[[], float]) -> float:
    """Seconds for one call, over ``calls`` of them in a row."""
    inputs = [work.prepare() for _ in range(calls)]
    run = work.run
    start = clock()
    for each in inputs:
        run(each)
    return (clock() - start) / calls


def _calls(work: Work, effort: Effort) -> int:
    """How many calls make a sample long enough for the clock; finding that out warms up as well."""
    calls = 1
    while True:
        seconds = calls * min(_sample(work, calls, effort.clock) for _ in range(effort.warm_up))
        if seconds >= effort.sample:
            return calls
        calls *= 2


def compare(ours: Work, theirs: Work, effort: Effort) -> Comparison:
    """Let both take turns."""
    with quiet():
        counts = {work: _calls(work, effort) for work in (ours, theirs)}
        pairs: list[tuple[float, float]] = []
        end = time.perf_counter() + effort.budget
        while len(pairs) < effort.turns_at_least or (time.perf_counter() < end and len(pairs) < effort.turns_at_most):
            turn = (ours, theirs) if len(pairs) % 2 == 0 else (theirs, ours)
            took = {work: _sample(work, counts[work], effort.clock) for work in turn}
            pairs.append((took[ours], took[theirs]))
            gc.collect(0)
    return summary(pairs)


def summary(pairs: list[tuple[float, float]]) -> Comparison:
    """What turns come to, each the seconds of one side and of the other."""
    ratios = [ours / theirs for ours, theirs in pairs]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Comparison(ours, theirs, statistics.median(ratios), (low, high), len(pairs))


def medians(works: dict[Any, Work], effort: Effort) -> dict[Any, float]:
    """Seconds for one call of each of several works, which take turns in a round."""
    with quiet():
        counts = {name: _calls(work, effort) for name, work in works.items()}
        took: dict[Any, list[float]] = {name: [] for name in works}
        end = time.perf_counter() + effort.budget
        turns = 0
        while turns < effort.turns_at_least or (time.perf_counter() < end and turns < effort.turns_at_most):
            for name, work in works.items():
                took[name].append(_sample(work, counts[name], effort.clock))
            turns += 1
            gc.collect(0)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def peak(work: Work) -> int:
    """The most bytes that one call held at once beyond what was there: Python's by ``tracemalloc``, and apsw's SQLite.

    A call of its own, after the timed ones: tracing slows. The SQLite of the standard library, which the peers use, is
    not counted.
    """
    gc.collect()
    given = work.prepare()
    tracemalloc.start()
    try:
        apsw.memory_high_water(reset=True)
        sqlite = apsw.memory_used()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        work.run(given)
        _, most = tracemalloc.get_traced_memory()
        return most - before + apsw.memory_high_water() - sqlite
    finally:
        tracemalloc.stop()
