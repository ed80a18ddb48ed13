"""Pages of diffs, checked: versions, order, bounds, cursors, and that no page repeats what an earlier one said.

One pass over the changes, with local names: a page has ten thousand of them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

import attrs

from indelible.backends.http.answers import violation
from indelible.changes import Added, Removed
from indelible.pages import AtCommand, AtKey, Cursor, DiffRequest, Page

_KEYS: Final = 250_000
"""Keys that are remembered, at most, over all walks (some 30 MB)."""

_WALKS: Final = 64


@attrs.define(eq=False)
class Walk:
    """What the pages of a diff in command order have said so far: the keys they added, and those they removed."""

    added: set[bytes] = attrs.field(factory=set)
    removed: set[bytes] = attrs.field(factory=set)

    @property
    def size(self) -> int:
        """How many keys it remembers."""
        return len(self.added) + len(self.removed)

    def cut(self, page: Page, most: int) -> int:
        """How many changes of its last page use up so many bytes; the others it has not seen, from now on."""
        total = 0
        for count, change in enumerate(page.changes, start=1):
            total += len(change.key) + len(change.value)
            if total >= most:
                for other in page.changes[count:]:
                    (self.added if type(other) is Added else self.removed).discard(other.key)
                return count
        return len(page.changes)


def size_of(page: Page) -> int:
    """The bytes of keys and values on a page."""
    return sum([len(change.key) + len(change.value) for change in page.changes])


class Walks:
    """The walks through diffs that are under way, each found again by the cursor it will go on from.

    A page that goes on where a walk stands may name no key the same way again (S8). Pages are compared no longer once
    so much else was read that their walk was forgotten, or if they are asked for twice. Order ``key`` needs none of
    this: there a cursor alone says what must not come again.
    """

    def __init__(self) -> None:
        self._walks: OrderedDict[Hashable, Walk] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, log: str, request: DiffRequest) -> Walk:
        """The walk that this request goes on with; a new one if there is none."""
        place = (log, request.from_version, request.to_version, request.cursor)
        with self._lock:
            found = None if request.cursor is None else self._walks.pop(place, None)
        return found or Walk()

    def keep(self, log: str, page: Page, walk: Walk) -> None:
        """Remember a walk under the cursor of its next page, and forget the oldest if they are too many."""
        if not isinstance(page.next, AtCommand):
            return
        with self._lock:
            self._walks[log, page.from_version, page.to_version, page.next] = walk
            keys = sum(it.size for it in self._walks.values())
            while keys > _KEYS or len(self._walks) > _WALKS:
                keys -= self._walks.popitem(last=False)[1].size


def check_page(request: DiffRequest, page: Page, walk: Walk) -> int | None:
    """Check a page, and add what it says to its walk.

    Gives the head at which it was judged, or None where ``to_version`` was given. Raises ``ProtocolViolation``.
    """
    start, end = page.from_version, page.to_version
    asked = request.to_version
    if start != request.from_version or (end < start if asked is None else end != asked):
        raise violation("its page is of a diff between other versions than were asked for")
    if abs(end - start) == 1 and request.limit and request.cursor is None and not page.changes:
        # More versions may undo each other; one alone changed something, or it would not be one (S5).
        raise violation("its page says that a version changed nothing")
    if len(page.changes) > request.limit:
        raise violation("its page holds more changes than were asked for")
    if page.next is not None and not page.changes:
        raise violation("its page is empty and not the last, so that pages would never come to an end")
    if request.order == "key":
        _check_by_key(request, page)
    else:
        _check_by_command(request, page, walk)
    return end if asked is None else None


def _check_by_command(request: DiffRequest, page: Page, walk: Walk) -> None:
    low, high, backward = _range(page)
    begins = Removed if backward else Added
    cursor = request.cursor
    last = cursor.version if isinstance(cursor, AtCommand) else high if backward else low
    added, removed = walk.added, walk.removed
    for change in page.changes:
        version, key = change.version, change.key
        if type(change) is begins:
            # These stand where they were added, so that their versions go one way (S9, S10).
            if not low < version <= high or (version > last if backward else version < last):
                raise _misplaced(low < version <= high)
            last = version
        elif version > low:
            raise _misplaced(ordered=False)
        seen = added if type(change) is Added else removed
        # The entry that goes comes first, either way: it ended before the other began, or where it began.
        if key in added or key in seen:
            raise violation("its pages add or remove one key twice, or the new entry before the old")
        seen.add(key)
    following = page.next
    if following is None:
        return
    if not isinstance(following, AtCommand) or not low < following.version <= high:
        raise violation("the cursor of its page is none of this diff")
    if (following.version > last if backward else following.version < last) or (
        cursor is not None and not _place(cursor, backward) < _place(following, backward)
    ):
        raise _no_progress()


def _check_by_key(request: DiffRequest, page: Page) -> None:
    low, high, backward = _range(page)
    begins = Removed if backward else Added
    cursor = request.cursor
    # Where a page begins at a key, the removal there may be its first change; the addition if that was seen already.
    last_key, last_added = (cursor.key, cursor.removal_seen) if isinstance(cursor, AtKey) else (b"", False)
    is_first = True
    for change in page.changes:
        key, added = change.key, type(change) is Added
        if not (low < change.version <= high if type(change) is begins else change.version <= low):
            raise _misplaced(ordered=False)
        if key <= last_key and not (key == last_key and (added >= last_added if is_first else added > last_added)):
            raise _misplaced(ordered=True)
        last_key, last_added, is_first = key, added, False
    following = page.next
    if following is None:
        return
    if not isinstance(following, AtKey):
        raise violation("the cursor of its page is none of this diff")
    if (following.key, following.removal_seen) <= (last_key, last_added):
        raise _no_progress()


def _range(page: Page) -> tuple[int, int, bool]:
    start, end = page.from_version, page.to_version
    return (end, start, True) if start > end else (start, end, False)


def _place(cursor: Cursor, backward: bool) -> tuple[int, int, bool]:
    assert isinstance(cursor, AtCommand)
    sign = -1 if backward else 1
    return sign * cursor.version, sign * cursor.command, cursor.removal_seen


def _misplaced(ordered: bool) -> Exception:
    return violation("its changes are out of order" if ordered else "it tells a change of a version outside the diff")


def _no_progress() -> Exception:
    return violation("the cursor of its page does not lead on")
