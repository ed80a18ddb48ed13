"""Choices made from bytes: the same bytes make the same choices, whoever made them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Choices:
    """Reads choices off the front of some bytes; once they are used up, every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, below: int) -> int:
        """A number from 0 on, below this."""
        size = max(1, ((below - 1).bit_length() + 7) // 8)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken, "little") % below

    def one(self, options: Sequence[T]) -> T:
        """One of these."""
        return options[self.number(len(options))]

    def some(self, most: int) -> bytes:
        """Up to so many bytes as they come."""
        size = self.number(most + 1)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        taken, self._at = self._data[self._at :], len(self._data)
        return taken

    def text(self, most: int) -> str:
        """A text, sometimes with lone surrogates."""
        return self.some(most).decode(
            self.one(["utf-8", "latin-1", "utf-16-le"]), "surrogatepass" if self.number(2) else "replace"
        )


ODD: Sequence[Any] = (
    None, True, False, 0, 1, -1, 1.0, -0.0, 0.5, 1e308, float("nan"), float("inf"), float("-inf"),
    2**53, 2**53 + 1, 2**63, -(2**63), 10**30, "", "1", "\ud800", "\x00", "é", "\U0001f600", b"", b"x", (), {}, [],
)  # fmt: skip


def value(choices: Choices, depth: int = 4) -> Any:
    """What somebody may hand to a codec: JSON's values, and what looks like them."""
    kind = choices.number(8 if depth else 5)
    if kind == 0:
        return choices.one(ODD)
    if kind == 1:
        return choices.number(2**64) - 2**63
    if kind == 2:
        return choices.number(2**32) / (choices.number(2**16) + 1)
    if kind in (3, 4):
        return text(choices)
    inner = [value(choices, depth - 1) for _ in range(choices.number(4))]
    if kind == 5:
        return inner
    if kind == 6:
        return {text(choices): it for it in inner}
    return choices.one([tuple, list])(inner) if choices.number(2) else {choices.one(ODD[:-2]): it for it in inner}


def text(choices: Choices) -> str:
    """A text, often empty, sometimes with lone surrogates."""
    try:
        return choices.text(12)
    except UnicodeDecodeError:
        return ""
