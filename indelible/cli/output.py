"""What goes to stdout: tables for people, JSON for programs, and nothing that a terminal would act on.

Stored data may come from anyone, so every character that does not print is written as an escape. In JSON the escape
means the same text, so nothing is lost there.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, TextIO, TypeAlias

from indelible.changes import Added, Change, Entry

Output: TypeAlias = Literal["table", "json", "ndjson"]
Item: TypeAlias = dict[str, Any]

_WIDEST = 48
"""A column is padded no further than this: one long cell must not push all others off the screen."""

_STYLES: Final = {"red": "\x1b[31m", "green": "\x1b[32m", "bold": "\x1b[1m"}


def visible(text: str) -> str:
    """The text with every character that does not print written as a JSON escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def json_text(value: Any) -> str:
    """A value as one line of JSON that is safe to show."""
    return visible(json.dumps(value, ensure_ascii=False))


def key_text(key: str) -> str:
    """A key as it is where that is unmistakable, else as a JSON string."""
    plain = key.isprintable() and key == key.strip() and not key.startswith('"')
    return key if key and plain else json_text(key)


def counted(number: int, one: str, many: str) -> str:
    """A number and its noun."""
    return f"{number:,} {one if number == 1 else many}"


def styled(text: str, style: str) -> str:
    """The text in a colour, where stdout is a terminal and ``NO_COLOR`` is not set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"{_STYLES[style]}{text}\x1b[0m"


def line(text: str, stream: TextIO | None = None) -> None:
    """Write one line, to stdout unless told otherwise."""
    (stream or sys.stdout).write(text + "\n")


def one(output: Output, item: Item, text: str) -> None:
    """Write the one answer of a command: a text for people, or the item as JSON."""
    line(text if output == "table" else json_text(item))


def many(output: Output, items: Iterable[Item], columns: Sequence[str], cells: Callable[[Item], Sequence[str]]) -> None:
    """Write all items: as a table with these columns, as a JSON array, or one to a line."""
    if output == "table":
        _table([columns, *(cells(item) for item in items)])
    elif output == "ndjson":
        for item in items:
            line(json_text(item))
    else:
        array(items)
        line("")


def array(items: Iterable[Item]) -> None:
    """Write a JSON array, an item to a line, as the items come."""
    before = "[\n  "
    for item in items:
        sys.stdout.write(before + json_text(item))
        before = ",\n  "
    sys.stdout.write("[]" if before == "[\n  " else "\n]")


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - only wide characters need it

    return cell_len(text)


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [min(max(map(_width, column)), _WIDEST) for column in zip(*rows, strict=True)]
    for index, row in enumerate(rows):
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        text = "  ".join(cells).rstrip()
        line(styled(text, "bold") if index == 0 else text)


def entry_item(entry: Entry[str, Any]) -> Item:
    """An entry as JSON."""
    return {"key": entry.key, "value": entry.value, "version": entry.version}


def change_item(change: Change[str, Any]) -> Item:
    """A change as JSON, as it stands on the wire."""
    kind = "Add" if isinstance(change, Added) else "Remove"
    return {"change": kind, "entry": {"key": change.key, "value": change.value}, "version": change.version}


def change_line(change: Change[str, Any]) -> str:
    """A change as a line of a diff."""
    text = f"{key_text(change.key)} {json_text(change.value)}"
    return styled(f"+ {text}", "green") if isinstance(change, Added) else styled(f"- {text}", "red")
