"""What the cases of one run share: sizes, effort, a folder, the big stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from benchmarks import samples
from benchmarks.stores import Stores
from benchmarks.table import Row
from benchmarks.timing import QUICK, Effort

MASTER = bytes(range(7, 256, 8))
"""A master key: the same in every run, so that the sealed bytes are."""


@attrs.frozen
class Sizes:
    """How large things are; the fields name the rows of the table."""

    bulk: int = 100_000
    bulk_step: int = 1_000
    rounds: int = 3
    few_entries: int = 1_000
    many_entries: int = 1_000_000
    dead: int = 1_000_000
    above_dead: int = 1_000
    few_versions: int = 10_000
    many_versions: int = 1_000_000
    middle: int = 10_000
    held: int = 20_000
    growth: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)


SMALL = Sizes(
    bulk=60,
    bulk_step=20,
    rounds=2,
    few_entries=50,
    many_entries=200,
    dead=200,
    above_dead=30,
    few_versions=60,
    many_versions=120,
    middle=40,
    held=50,
    growth=(50, 100),
)
"""Just enough for every line of a benchmark to be run."""


@attrs.frozen
class Run:
    """One run: where its files are, how large things are and how long it may go on."""

    folder: Path
    sizes: Sizes
    effort: Effort
    stores: Stores
    _counter: Iterator[int] = attrs.field(factory=itertools.count)

    def fresh(self, name: str) -> Path:
        """A path in its folder that was not used before."""
        return self.folder / f"{next(self._counter):03}-{name}"


Case = Callable[[Run], Iterable[Row]]


def new(folder: Path, quick: bool) -> Run:
    """A run with its files in ``folder``."""
    return Run(folder, SMALL if quick else Sizes(), QUICK if quick else Effort(), Stores(folder))


def batches(size: int) -> Callable[[], list[tuple[str, Any]]]:
    """Gives ``size`` keys and values that it never gave before, in every call."""
    numbers = itertools.count()
    return lambda: [(samples.key(number), samples.value(number)) for number in itertools.islice(numbers, size)]
