"""A log at one version, as a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from indelible.changes import Entry
from indelible.codecs import Codec
from indelible.errors import InvalidRequest
from indelible.pages import DiffRequest, Page, walk

K = TypeVar("K")
V = TypeVar("V")


class Snapshot(Mapping[K, V]):
    """All that a log held at ``version``: a mapping that never changes (S7).

    It was read when it was made and asks the store no more. Each look-up decodes anew, so changing a value that was
    handed out changes nothing here.
    """

    def __init__(
        self, version: int | None, read: Callable[[DiffRequest], Page], keys: Codec[K], values: Codec[V]
    ) -> None:
        request = DiffRequest(0, version)
        first = read(request)
        self._version = first.to_version
        self._keys = keys
        self._values = values
        self._entries = {change.key: change for change in walk(request, first, read)}

    @property
    def version(self) -> int:
        """The version it shows."""
        return self._version

    def entry(self, key: K) -> Entry[K, V]:
        """The entry under ``key``, with the version that introduced it. Raises ``KeyError``."""
        found = self._entries.get(self._keys.encode(key))
        if found is None:
            raise KeyError(key)
        return Entry(key, self._values.decode(found.value), found.version)

    def __getitem__(self, key: K) -> V:
        return self.entry(key).value

    def __contains__(self, key: Any) -> bool:
        try:
            return self._keys.encode(key) in self._entries
        except InvalidRequest:
            return False

    def __iter__(self) -> Iterator[K]:
        return (self._keys.decode(key) for key in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Snapshot at version {self.version}, {len(self)} entries>"
