"""How a diff is asked for and answered: the request, the cursor that names a place in a diff, the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import attrs

from indelible import checks
from indelible.changes import Change
from indelible.errors import InvalidRequest

Order: TypeAlias = Literal["command", "key"]

DEFAULT_LIMIT = 10_000
"""Changes on a page unless told otherwise."""

DEFAULT_MAX_BYTES = 8 * 1024 * 1024
"""Bytes of keys and values after which a page ends unless told otherwise."""


@attrs.frozen
class AtCommand:
    """A place in command order: the effect at ``(version, command)``; past its removal if ``removal_seen`` (S9)."""

    version: int
    command: int
    removal_seen: bool = False

    def __attrs_post_init__(self) -> None:
        checks.version(self.version, "a cursor's version")
        checks.version(self.command, "a cursor's command")
        _flag(self.removal_seen)


@attrs.frozen(repr=False)
class AtKey:
    """A place in key order: the first key not before ``key``; past its removal if ``removal_seen`` (S9)."""

    key: bytes
    removal_seen: bool = False

    def __attrs_post_init__(self) -> None:
        checks.data(self.key, "a cursor's key")
        _flag(self.removal_seen)

    def __repr__(self) -> str:
        return f"AtKey(<{len(self.key)} bytes>, removal_seen={self.removal_seen})"


Cursor: TypeAlias = AtCommand | AtKey


def _seconds(value: float) -> float:
    return checks.seconds(value, "wait_seconds")


def _flag(value: object) -> None:
    if type(value) is not bool:
        raise InvalidRequest("a cursor's removal_seen must be True or False")


@attrs.frozen
class DiffRequest:
    """One page of the diff from one version to another (S8-S13).

    ``to_version=None`` means the head. ``wait_seconds`` matters only then: with ``from_version`` at the head, the
    answer waits that long for a newer version. ``cursor`` continues after a page whose ``next`` it was, with the same
    versions and order. ``limit`` is the most changes on the page; 0 asks for the versions alone. ``max_bytes`` are the
    bytes of keys and values after which the page ends; a page with anything left to tell holds at least one change.
    Raises ``InvalidRequest`` for negative or non-integer numbers, no bytes at all, and a cursor of the other order.
    """

    from_version: int = 0
    to_version: int | None = None
    wait_seconds: float = attrs.field(default=0.0, kw_only=True, converter=_seconds)
    order: Order = attrs.field(default="command", kw_only=True)
    limit: int = attrs.field(default=DEFAULT_LIMIT, kw_only=True)
    max_bytes: int = attrs.field(default=DEFAULT_MAX_BYTES, kw_only=True)
    cursor: Cursor | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        checks.version(self.from_version, "from_version")
        if self.to_version is not None:
            checks.version(self.to_version, "to_version")
        checks.version(self.limit, "limit")
        if checks.version(self.max_bytes, "max_bytes") == 0:
            raise InvalidRequest("max_bytes must be 1 or more; limit=0 asks for the versions alone")
        if self.order not in ("command", "key"):
            raise InvalidRequest("order must be 'command' or 'key'")
        if self.cursor is not None:
            wanted = AtCommand if self.order == "command" else AtKey
            if not isinstance(self.cursor, wanted):
                raise InvalidRequest(f"a cursor in {self.order} order must be an {wanted.__name__}")

    def waits_at(self, head: int) -> bool:
        """Whether the answer would wait while ``head`` is the head (S13)."""
        return self.wait_seconds > 0 and self.to_version is None and self.from_version == head


@attrs.frozen
class Page:
    """Part of a diff: the versions it lies between, some changes, and where the next page starts (None on the last)."""

    from_version: int
    to_version: int
    changes: tuple[Change[bytes, bytes], ...]
    next: Cursor | None


def walk(request: DiffRequest, first: Page, read: Callable[[DiffRequest], Page]) -> Iterator[Change[bytes, bytes]]:
    """All changes of the diff whose first page was ``first``, read page by page as they are needed (S12)."""
    page = first
    while True:
        yield from page.changes
        if page.next is None:
            return
        page = read(attrs.evolve(request, to_version=first.to_version, wait_seconds=0.0, cursor=page.next))
