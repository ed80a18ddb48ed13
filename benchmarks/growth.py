"""Cost against size: a commit, diffs and reads, from a small log to a large one."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from benchmarks import samples
from benchmarks.cases_size import middle_work, newest_work, present_work
from benchmarks.run import Run
from benchmarks.stores import Store, Story
from benchmarks.table import quantity
from benchmarks.timing import Work, medians
from indelible import Insert


@attrs.frozen
class Curve:
    """What one operation costs, in seconds, at each size of what is counted."""

    name: str
    counted: str
    points: tuple[tuple[int, float], ...]


def _get(store: Store, size: int) -> Work:
    key = samples.key(size // 2)
    assert store.log.get(key) is not None
    return Work(lambda _: store.log.get(key))


def _commit(store: Store, start: int) -> Work:
    numbers = iter(range(start, start + 10**9))

    def prepare() -> list[tuple[str, object]]:
        return [(samples.key(number), samples.value(number)) for number in (next(numbers) for _ in range(10))]

    return Work(lambda items: store.log.update([Insert(*item) for item in items]), prepare)


def measure(run: Run) -> list[Curve]:
    """All curves. The stores grow by what is committed, so commits come last."""
    sizes, stores = run.sizes.growth, run.stores
    live = min(run.sizes.above_dead, sizes[0])
    # Less than the smallest log has versions for.
    changes = sizes[0] // 2 // 2 * 2
    replaced = run.sizes.middle // 2

    def entries(size: int) -> Store:
        return stores.get(Story("entries", size))

    def dead(size: int) -> Store:
        return stores.get(Story("dead", size, live))

    def versions(size: int) -> Store:
        return stores.get(Story("versions", size, replaced))

    curves = [
        ("diff of the newest version, 10 changes", "live entries", lambda size: newest_work(entries(size))),
        (f"diff from the middle, {changes:,} changes", "versions", lambda size: middle_work(versions(size), changes)),
        ("read one entry by key", "live entries", lambda size: _get(entries(size), size)),
        (f"read {live:,} live entries", "dead entries", lambda size: present_work(dead(size), live)),
        ("durable commit of 10 commands", "live entries", lambda size: _commit(entries(size), 10**9)),
    ]
    found = []
    for name, counted, work in curves:
        effort = run.effort.waiting() if "durable" in name else run.effort
        took = medians({size: work(size) for size in sizes}, effort)
        found.append(Curve(name, counted, tuple(took.items())))
    return found


def lines(curves: Sequence[Curve]) -> list[tuple[str, ...]]:
    """The curves as a table, the first line its head; the last column is the largest beside the smallest."""
    head = ("cost", "against", *(f"{size:,}" for size, _ in curves[0].points), "last / first")
    rows = [
        (
            curve.name,
            curve.counted,
            *(quantity(seconds, "s") for _, seconds in curve.points),
            f"{curve.points[-1][1] / curve.points[0][1]:.2f}x",
        )
        for curve in curves
    ]
    return [head, *rows]


def as_json(curve: Curve) -> dict[str, object]:
    """All of a curve, for programs."""
    return {"name": curve.name, "counted": curve.counted, "points": [list(point) for point in curve.points]}
