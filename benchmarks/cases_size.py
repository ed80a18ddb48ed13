"""The same question to a small log and to a large one: its cost should be that of its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import indelible
from benchmarks.run import Run
from benchmarks.stores import LAST, Store, Story
from benchmarks.table import Row, timed
from benchmarks.timing import Work, compare, peak

Question = Callable[[indelible.Log[str, Any]], Any]


def _row(run: Run, texts: tuple[str, str], aim: float, large: Work, small: Work) -> Row:
    found = compare(large, small, run.effort)
    return timed(*texts, found, aim, peak_ours=peak(large), peak_theirs=peak(small))


def newest(run: Run) -> Iterator[Row]:
    """The diff of the newest version of a log with few entries and of one with many."""
    sizes = run.sizes
    many, few = (run.stores.get(Story("entries", size)) for size in (sizes.many_entries, sizes.few_entries))
    yield _row(
        run,
        (f"diff(head - 1, head), {LAST} changes, at {sizes.many_entries:,} entries", f"at {sizes.few_entries:,}"),
        1.2,
        newest_work(many),
        newest_work(few),
    )


def newest_work(store: Store) -> Work:
    """Read all of the newest version's diff."""
    log, head = store.log, store.head
    assert len(list(log.diff(head - 1, head))) == LAST
    return Work(lambda _: list(log.diff(head - 1, head)))


def dead(run: Run) -> Iterator[Row]:
    """The present of a log with a long past and of one with none."""
    sizes = run.sizes
    above, none = (run.stores.get(Story("dead", size, sizes.above_dead)) for size in (sizes.dead, 0))
    yield _row(
        run,
        (f"read {sizes.above_dead:,} live entries above {sizes.dead:,} dead ones", "none dead"),
        1.2,
        present_work(above, sizes.above_dead),
        present_work(none, sizes.above_dead),
    )


def present_work(store: Store, entries: int) -> Work:
    """Read all that a log holds."""
    log = store.log
    assert sum(1 for _ in log) == entries
    return Work(lambda _: list(log))


def middle(run: Run) -> Iterator[Row]:
    """The diff of as many changes out of a log's middle, of few versions and of many."""
    sizes = run.sizes
    # A version replaces one entry: a removal and an addition.
    live = sizes.middle // 2
    many, few = (run.stores.get(Story("versions", size, live)) for size in (sizes.many_versions, sizes.few_versions))
    yield _row(
        run,
        (
            f"diff of a middle range, {sizes.middle:,} changes, at {sizes.many_versions:,} versions",
            f"at {sizes.few_versions:,}",
        ),
        1.3,
        middle_work(many, sizes.middle),
        middle_work(few, sizes.middle),
    )


def middle_work(store: Store, changes: int) -> Work:
    """Read all of a diff with that many changes from the middle."""
    log, start = store.log, (store.head - changes // 2) // 2
    assert len(list(log.diff(start, start + changes // 2))) == changes
    return Work(lambda _: list(log.diff(start, start + changes // 2)))
