"""The rules of a diff (S8-S12): they live here and nowhere else. Arithmetic on values; no store, no clock.

A store keeps one ``Span`` an entry: when it was added and when it ended. Everything a diff says follows from spans.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import attrs

from indelible.changes import Added, Change, Entry, Removed, Revision
from indelible.errors import IntegrityError, NonexistentVersion, VersionTrimmed
from indelible.pages import AtCommand, AtKey, Cursor, DiffRequest, Order, Page

Position: TypeAlias = tuple[int, int]
"""Where an effect stands in a log: its version, and the index of its command (S4)."""

Place: TypeAlias = Position | bytes


class Span(NamedTuple):
    """The life of an entry: from the effect that added it to the one that ended it, if any did."""

    key: bytes
    value: bytes
    added: Position
    ended: Position | None = None

    def alive_at(self, version: int) -> bool:
        """Whether this entry is in ``state(version)``."""
        return self.added[0] <= version and (self.ended is None or self.ended[0] > version)


Step: TypeAlias = tuple[Position, Change[bytes, bytes]]
"""A change and the position at which it stands in a diff (S9)."""


@attrs.frozen
class Range:
    """The versions a diff lies between, lower first, and whether it was asked for backward (S10)."""

    low: int
    high: int
    backward: bool

    @property
    def begins(self) -> type[Added[bytes, bytes] | Removed[bytes, bytes]]:
        """What a span is to the diff that begins in the range and outlives it; it stands where it was added."""
        return Removed if self.backward else Added

    @property
    def ends(self) -> type[Added[bytes, bytes] | Removed[bytes, bytes]]:
        """What a span is to the diff that was alive at the lower version and ends in the range; it stands there."""
        return Added if self.backward else Removed

    def steps(self, spans: Iterable[Span]) -> list[Step]:
        """The net difference, in no order (S8): what is the same entry at both ends, or came and went, is left out."""
        steps: list[Step] = []
        for span in spans:
            before, after = span.alive_at(self.low), span.alive_at(self.high)
            if after and not before:
                steps.append((span.added, self.begins(span.key, span.value, span.added[0])))
            elif before and not after and span.ended is not None:
                steps.append((span.ended, self.ends(span.key, span.value, span.added[0])))
        return steps


def readable(log: str, version: int, head: int, oldest: int) -> int:
    """``version``, if it can be named: raises ``NonexistentVersion`` (S14) or ``VersionTrimmed`` (S19) otherwise."""
    if version > head:
        raise NonexistentVersion(log, version, head)
    if 0 < version < oldest:
        raise VersionTrimmed(log, version, oldest)
    return version


def resolve(log: str, request: DiffRequest, head: int, oldest: int) -> Range:
    """The range a request asks for, its ``to_version`` fixed to the head if it names none (S12, S14)."""
    start = readable(log, request.from_version, head, oldest)
    end = head if request.to_version is None else readable(log, request.to_version, head, oldest)
    return Range(min(start, end), max(start, end), backward=start > end)


def rank(step: Step, order: Order, backward: bool) -> tuple[Place, bool]:
    """What a diff is sorted by (S9, S10): place, and at one place the removal first."""
    (version, command), change = step
    if order == "key":
        return change.key, isinstance(change, Added)
    return ((-version, -command) if backward else (version, command)), isinstance(change, Added)


def start(cursor: Cursor | None, backward: bool) -> tuple[Place, bool] | None:
    """The lowest rank on the page that begins at ``cursor``; None for the first page."""
    match cursor:
        case None:
            return None
        case AtKey(key, removal_seen):
            return key, removal_seen
        case AtCommand(version, command, removal_seen):
            return ((-version, -command) if backward else (version, command)), removal_seen


def cut(steps: Iterable[Step], request: DiffRequest, span: Range) -> Page:
    """The page that ``steps``, sorted and from the cursor on, begin with, and the cursor of the next (S12).

    It looks at one step more than it holds, and at no other.
    """
    versions = (span.high, span.low) if span.backward else (span.low, span.high)
    if request.limit == 0:
        return Page(*versions, (), None)
    whole: list[Step] = []
    room, rest = request.max_bytes, iter(steps)
    for step in itertools.islice(rest, min(request.limit, 2**62)):
        whole.append(step)
        room -= len(step[1].key) + len(step[1].value)
        if room <= 0:
            break
    following = next(rest, None)
    cursor = None if following is None else _cursor(following, whole[-1], request.order)
    return Page(*versions, tuple([change for _, change in whole]), cursor)


def _cursor(step: Step, last: Step, order: Order) -> Cursor:
    """The cursor at ``step``, when ``last`` ended the page before it."""
    (position, change), (position_before, change_before) = step, last
    if order == "key":
        return AtKey(change.key, change_before.key == change.key)
    return AtCommand(*position, position_before == position)


def page(spans: Iterable[Span], request: DiffRequest, span: Range) -> Page:
    """The page a request asks for, from all spans of a log: the plain way, and the meaning of every faster one."""
    ranked = sorted(
        ((rank(step, request.order, span.backward), step) for step in span.steps(spans)),
        key=lambda pair: pair[0],
    )
    first = start(request.cursor, span.backward)
    return cut((step for place, step in ranked if first is None or place >= first), request, span)


def revisions(spans: Iterable[Span]) -> list[Revision[bytes, bytes]]:
    """The history that the spans of one key tell, oldest first."""
    return list(revisions_in_order(sorted(spans, key=attrgetter("added"))))


def revisions_in_order(spans: Iterable[Span]) -> Iterator[Revision[bytes, bytes]]:
    """The same of spans that come oldest first: one is read beyond what is asked for."""
    for old, new in itertools.pairwise(itertools.chain([None], spans, [None])):
        before = None if old is None else _entry(old)
        if old is not None and old.ended is not None and (new is None or new.added != old.ended):
            yield Revision(old.ended[0], before, None)
            before = None
        if new is not None:
            yield Revision(new.added[0], before, _entry(new))


def _entry(span: Span) -> Entry[bytes, bytes]:
    return Entry(span.key, span.value, span.added[0])


def trimmed(log: str, before: int, head: int, oldest: int) -> int:
    """The oldest readable version after a trim (S19): it never goes back, and forgetting nothing changes nothing."""
    if before > head:
        raise NonexistentVersion(log, before, head)
    return max(oldest, before) if before > 1 else oldest


State: TypeAlias = Mapping[bytes, Entry[bytes, bytes]]


def inverse(changes: Iterable[Change[bytes, bytes]]) -> tuple[Change[bytes, bytes], ...]:
    """The same changes seen from the other side: in reverse order, Added and Removed exchanged (S10)."""
    exchanged = [
        (Removed if isinstance(change, Added) else Added)(change.key, change.value, change.version)
        for change in changes
    ]
    return tuple(reversed(exchanged))


def replay(state: State, changes: Iterable[Change[bytes, bytes]]) -> dict[bytes, Entry[bytes, bytes]]:
    """The state after ``changes`` (S11). Raises ``IntegrityError`` where a change does not fit what is there."""
    result = dict(state)
    for change in changes:
        entry = Entry(change.key, change.value, change.version)
        if isinstance(change, Removed):
            if result.pop(change.key, None) != entry:
                raise IntegrityError("a diff removes an entry that is not there")
        elif result.setdefault(change.key, entry) is not entry:
            raise IntegrityError("a diff adds an entry where one is already")
    return result
