"""Files of entries: JSON lines and CSV, with the line in every complaint."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from indelible.cli.jsontext import parse
from indelible.errors import InvalidRequest

_KNOWN: Final = {"key", "value", "version"}
"""What may stand on a line; ``version`` is there in what ``show`` prints, and says nothing about the log written to."""

_CELL: Final = 16 * 1024 * 1024
"""The most characters in a CSV cell; more than any store takes, and less than a missing quote would make of a file."""


def json_rows(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """The entries of a file with an object of ``key`` and ``value`` on each line. Raises ``InvalidRequest``."""
    for number, text in enumerate(stream, start=1):
        if not text.strip():
            continue
        try:
            item = parse(text.decode("utf-8-sig" if number == 1 else "utf-8"))
        except ValueError as error:  # a UnicodeDecodeError is one
            raise InvalidRequest(f"line {number} is not JSON ({_reason(error)})") from None
        if not isinstance(item, dict) or "key" not in item or "value" not in item:
            raise InvalidRequest(f'line {number} is not an object with "key" and "value"')
        if item.keys() - _KNOWN:
            raise InvalidRequest(f'line {number} has more in it than "key" and "value"')
        if not isinstance(item["key"], str):
            raise InvalidRequest(f"the key on line {number} is not a text")
        yield item["key"], item["value"]


def csv_rows(stream: BinaryIO, key_column: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The entries of a CSV file with a header: one column is the key, the others are the value.

    Raises ``InvalidRequest``, also for a line with more or fewer cells than the header.
    """
    csv.field_size_limit(_CELL)
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, [])
        if key_column not in header:
            raise InvalidRequest(
                f"there is no column {key_column!r} in its header; there are {', '.join(header) or 'none'}"
            )
        if len(set(header)) < len(header):
            raise InvalidRequest("its header names a column twice")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise InvalidRequest(f"line {reader.line_num} has {len(cells)} cells, and the header {len(header)}")
            value = dict(zip(header, cells, strict=True))
            yield value.pop(key_column), value
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidRequest(f"line {reader.line_num + 1} is not CSV ({_reason(error)})") from None
    finally:
        # The stream belongs to the caller; the wrapper would close it.
        text.detach()


def _reason(error: Exception) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
