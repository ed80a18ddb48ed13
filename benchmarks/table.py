"""The table: one row for each figure, with what it stands beside, as text, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from benchmarks.timing import Comparison


@attrs.frozen
class Row:
    """A figure of ours beside that of a floor or peer, in seconds or bytes.

    ``aim`` is what ``ratio`` should not pass, or not even reach if ``strictly``; None for a figure that only tells.
    """

    work: str
    beside: str
    ours: float
    theirs: float
    ratio: float
    quartiles: tuple[float, float]
    turns: int
    aim: float | None
    strictly: bool = False
    unit: str = "s"
    peak_ours: int | None = None
    peak_theirs: int | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is what it should be."""
        if self.aim is None:
            return None
        return self.ratio < self.aim if self.strictly else self.ratio <= self.aim

    def aim_text(self) -> str:
        """The aim, as text."""
        if self.aim is None:
            return "-"
        if self.strictly:
            return "beaten"
        return f">= {1 / self.aim:.0f}x faster" if self.aim < 0.5 else f"<= {self.aim:g}x"

    def ratio_text(self) -> str:
        """The ratio, or how many times faster ours is where that reads better."""
        if self.ratio < 0.5 and min(self.quartiles) > 0:
            low, high = (1 / ratio for ratio in reversed(self.quartiles))
            return f"{1 / self.ratio:.1f}x faster ({low:.1f}-{high:.1f})"
        return f"{self.ratio:.2f}x ({self.quartiles[0]:.2f}-{self.quartiles[1]:.2f})"

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {**attrs.asdict(self), "reached": self.reached}


def timed(work: str, beside: str, found: Comparison, aim: float | None, **more: Any) -> Row:
    """The row of a comparison of times."""
    return Row(work, beside, found.ours, found.theirs, found.ratio, found.quartiles, found.turns, aim, **more)


_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")),
    "B": ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
}


def quantity(amount: float | None, unit: str) -> str:
    """An amount with three figures and the unit that suits it."""
    if amount is None:
        return "-"
    scale, name = next((pair for pair in _SCALES[unit] if abs(amount) >= pair[0]), _SCALES[unit][-1])
    return f"{amount / scale:.3g} {name}" if amount / scale < 1000 else f"{amount / scale:.0f} {name}"


HEAD = ("work", "beside", "ours", "theirs", "ratio (quartiles)", "aim", "reached", "peak memory, ours", "theirs")


def cells(row: Row) -> tuple[str, ...]:
    """What stands in a row's columns."""
    return (
        row.work + (f" [{row.note}]" if row.note else ""),
        row.beside,
        quantity(row.ours, row.unit),
        quantity(row.theirs, row.unit),
        row.ratio_text(),
        row.aim_text(),
        {True: "yes", False: "NO", None: "-"}[row.reached],
        quantity(row.peak_ours, "B"),
        quantity(row.peak_theirs, "B"),
    )


def text(lines: Sequence[Sequence[str]]) -> str:
    """Columns padded with spaces; the first line is the head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([padded[0], "  ".join("-" * width for width in widths), *padded[1:]])


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The same as a Markdown table."""
    parts = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in parts)
