"""A diff between two versions of a log, read as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from indelible.changes import Change
from indelible.pages import DiffRequest, Page, walk

K = TypeVar("K")
V = TypeVar("V")


class VersionDiff(Generic[K, V]):
    """What changed from ``from_version`` to ``to_version``; iterates over the changes, page by page, again and again.

    The versions are fixed, so what it yields stays the same whatever is committed meanwhile (S12). It is true if there
    is any change. Iterating raises ``VersionTrimmed`` if one of its versions was trimmed away since.
    """

    def __init__(
        self,
        request: DiffRequest,
        read: Callable[[DiffRequest], Page],
        decode: Callable[[Change[bytes, bytes]], Change[K, V]],
    ) -> None:
        self._request = request
        self._first = read(request)
        self._read = read
        self._decode = decode

    @property
    def from_version(self) -> int:
        """The version it starts from."""
        return self._first.from_version

    @property
    def to_version(self) -> int:
        """The version it leads to: continue from here, and no version is missed or seen twice (S13)."""
        return self._first.to_version

    def __iter__(self) -> Iterator[Change[K, V]]:
        return map(self._decode, walk(self._request, self._first, self._read))

    def __bool__(self) -> bool:
        return bool(self._first.changes)

    def __repr__(self) -> str:
        return f"<VersionDiff from {self.from_version} to {self.to_version}>"
