"""What a log holds and how it changed: entries and changes, frozen and generic in key and value."""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar

import attrs

K = TypeVar("K")
V = TypeVar("V")


@attrs.frozen
class Entry(Generic[K, V]):
    """A key, its value, and the version that introduced that value."""

    key: K
    value: V
    version: int


@attrs.frozen
class Added(Generic[K, V]):
    """An entry that is in the newer state and was not in the older; ``version`` introduced it (S8)."""

    key: K
    value: V
    version: int


@attrs.frozen
class Removed(Generic[K, V]):
    """An entry that was in the older state and is not in the newer; ``version`` had introduced it (S8)."""

    key: K
    value: V
    version: int


Change: TypeAlias = Added[K, V] | Removed[K, V]


@attrs.frozen
class Revision(Generic[K, V]):
    """What one version did to one key: ``before`` is the entry it ended, ``after`` the one it introduced."""

    version: int
    before: Entry[K, V] | None
    after: Entry[K, V] | None
