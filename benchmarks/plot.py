"""The picture: every ratio beside its aim, and cost against size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.growth import Curve
from benchmarks.table import Row


def save(path: Path, rows: Sequence[Row], curves: Sequence[Curve]) -> None:
    """Write an SVG, the same bytes for the same figures."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "indelible", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, (ratios, growth) = pyplot.subplots(
        1, 2, figsize=(15, max(5.0, 0.45 * len(rows))), layout="constrained", width_ratios=(1, 1)
    )
    _ratios(ratios, rows)
    _growth(growth, curves)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _ratios(axes: object, rows: Sequence[Row]) -> None:
    ax = axes  # typed loosely: matplotlib brings no types of its own
    for place, row in enumerate(reversed(rows)):
        colour = {True: "#2a7f4f", False: "#b3402a", None: "#777777"}[row.reached]
        ax.plot(row.quartiles, (place, place), color=colour, linewidth=2)
        ax.plot(row.ratio, place, "o", color=colour)
        if row.aim is not None:
            ax.plot(row.aim, place, "|", color="black", markersize=12)
    ax.set_yticks(range(len(rows)), [f"{row.work}\nbeside: {row.beside}" for row in reversed(rows)], fontsize=7)
    ax.set_xscale("log")
    ax.set_xlabel("ours / theirs; the bar is the aim")
    ax.grid(axis="x", alpha=0.3)


def _growth(axes: object, curves: Sequence[Curve]) -> None:
    ax = axes
    for curve in curves:
        sizes, seconds = zip(*curve.points, strict=True)
        ax.plot(sizes, [each * 1e3 for each in seconds], "o-", label=f"{curve.name}, against {curve.counted}")
    if not curves:
        ax.set_axis_off()
        return
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("size: entries, dead entries or versions")
    ax.set_ylabel("milliseconds")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12))
