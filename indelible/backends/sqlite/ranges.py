"""Reading a diff: index scans, merged by rank.

What a range added and what it removed stand in different places, so a diff is up to three scans: entries added in it
and still live, entries added in it that ended after it, and entries from before it that ended in it.
"""

from __future__ import annotations

import functools
import heapq
from collections.abc import Iterator
from typing import Any, Final

import apsw
import attrs

from indelible import history
from indelible.changes import Added, Removed
from indelible.history import Place, Range, Step
from indelible.pages import AtCommand, AtKey, DiffRequest, Page


@attrs.frozen
class _Scan:
    """One of the three: the columns that place its rows in command order, and what else they must meet.

    Parameters: 1 the log, 2 and 3 the range, 4 the most rows, 5 and 6 the range from the cursor on, 7 and 8 the cursor.
    """

    table: str
    primary_key: str
    version: str
    command: str
    where: str
    range_index: str
    key_index: str


_LIVE: Final = _Scan("live", "log, version, command", "version", "command", "", "", "INDEXED BY live_by_key")
_OUTLIVED: Final = _Scan(
    "ended",
    "log, ended_version, ended_command",
    "version",
    "command",
    "AND ended_version > ?3",
    "INDEXED BY ended_by_added",
    "INDEXED BY ended_by_key",
)
_REMOVED: Final = _Scan(
    "ended",
    "log, ended_version, ended_command",
    "ended_version",
    "ended_command",
    "AND version <= ?2",
    "",
    "INDEXED BY ended_by_key",
)


@functools.cache
def _statement(scan: _Scan, cursor: str, walk: str, backward: bool) -> str:
    """The text of a scan. ``walk`` is the way through the table: ``position``, ``key``, or ``sort`` by key."""
    after, direction = ("<=", "DESC") if backward else (">=", "ASC")
    place = f"({scan.version}, {scan.command})"
    # A leading + keeps an index from being used for a term, so that what is sorted is only what the range holds.
    start = {
        "": "",
        "AtCommand": f"AND {place} {after} (?7, ?8)",
        "AtKey": f"AND {'+' if walk == 'sort' else ''}key >= ?7",
    }
    order = f"{scan.version} {direction}, {scan.command} {direction}" if walk == "position" else "key"
    index = scan.key_index if walk == "key" else scan.range_index
    columns = f"value, version, {scan.version}, {scan.command}"
    found = (
        f"FROM {scan.table} {index} "
        f"WHERE log = ?1 AND {scan.version} > ?5 AND {scan.version} <= ?6 {scan.where} {start[cursor]} "
        f"ORDER BY {order} LIMIT ?4"
    )
    if walk != "sort":
        return f"SELECT key, {columns} {found}"
    # What is sorted is held in memory as a whole, so values are left out of it, and read one by one as rows are.
    return (
        f"SELECT found.key, {columns} FROM (SELECT key, {scan.primary_key} {found}) AS found "
        f"CROSS JOIN {scan.table} USING ({scan.primary_key}) ORDER BY found.key"
    )


def _bindings(log: int, request: DiffRequest, span: Range) -> tuple[Any, ...]:
    """What a statement's parameters stand for, in their order."""
    # One row more than a page tells whether there is a next; one more may be a removal that was seen before.
    always = (log, span.low, span.high, min(request.limit, 2**62) + 2)
    match request.cursor:
        case None:
            return (*always, span.low, span.high)
        case AtKey(key):
            return (*always, span.low, span.high, key)
        case AtCommand(version, command):
            # SQLite would not take these bounds from the comparison with the cursor, and walk to it from the start.
            low, high = (span.low, version) if span.backward else (version - 1, span.high)
            return (*always, max(span.low, low), min(span.high, high), version, command)


def read_page(db: apsw.Connection, log: int, head: int, request: DiffRequest, span: Range) -> Page:
    """The page that ``request`` asks for, of a log whose versions were resolved to ``span``."""
    if request.limit == 0 or span.low == span.high:
        return history.cut((), request, span)
    backward, cursor = span.backward, request.cursor
    first = history.start(cursor, backward)
    # Walking the keys pays where most of what it meets is wanted; in a short range, sorting what it holds does.
    by_key = "key" if 2 * (span.high - span.low) >= head else "sort"
    walk = "position" if request.order == "command" else by_key
    bindings = _bindings(log, request, span)

    def rank(step: Step) -> tuple[Place, bool]:
        return history.rank(step, request.order, backward)

    def steps(scan: _Scan, kind: type[Added[bytes, bytes] | Removed[bytes, bytes]]) -> Iterator[Step]:
        statement = _statement(scan, "" if cursor is None else type(cursor).__name__, walk, backward)
        for key, value, added, version, command in db.execute(statement, bindings):
            yield (version, command), kind(key, value, added)

    scans = [steps(_LIVE, span.begins)]
    if span.high < head:
        scans.append(steps(_OUTLIVED, span.begins))
    if span.low > 0:
        scans.append(steps(_REMOVED, span.ends))
    if first is not None:
        scans = [(step for step in found if rank(step) >= first) for found in scans]
    return history.cut(scans[0] if len(scans) == 1 else heapq.merge(*scans, key=rank), request, span)
