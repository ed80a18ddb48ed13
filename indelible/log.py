"""A log as a program sees it: typed keys and values, over any backend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar, overload

import attrs

from indelible.backend import Backend, key_history
from indelible.changes import Added, Change, Entry, Revision
from indelible.codecs import Codec
from indelible.commands import Command, Transaction
from indelible.errors import InvalidRequest, OutcomeUnknown
from indelible.history import resolve
from indelible.pages import DEFAULT_LIMIT, AtKey, DiffRequest, Order, Page, walk
from indelible.records import Committed, LogInfo, VersionInfo
from indelible.snapshot import Snapshot
from indelible.version_diff import VersionDiff

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_POLL_SECONDS = 60.0
_VERSIONS_AT_ONCE = 1_000


class Log(Generic[K, V]):
    """A versioned map from ``K`` to ``V`` that never forgets and never silently overwrites.

    Get one from ``Client.log``. All of it may be used from many threads. Reading and writing a log that was never
    created raises ``NonexistentLog``. What cannot be encoded raises ``InvalidRequest`` before anything is sent.
    """

    def __init__(self, backend: Backend, name: str, keys: Codec[K], values: Codec[V]) -> None:
        self._backend = backend
        self._name = name
        self._keys = keys
        self._values = values

    @property
    def name(self) -> str:
        """The name it was opened by."""
        return self._name

    @property
    def version(self) -> int:
        """The newest version; 0 for a log to which nothing has happened."""
        return self.describe().head

    def create(self, group: str | None = None) -> None:
        """Make the log exist, empty, at version 0; nothing if it exists with the same group (S1).

        ``group`` is kept in the clear, to tell which key a log needs. Raises ``LogExists`` if the group is another.
        """
        self._backend.create(self._name, group)

    def update(
        self,
        transaction: Transaction[K, V] | Iterable[Command[K, V]],
        *,
        source: str | None = None,
        attempt: int = 1,
    ) -> Committed:
        """Apply a transaction, or a bare list of commands, as one: all of it or nothing (S2-S6).

        Values are taken as they are now; changing them afterwards changes nothing stored. When the answer is
        ``OutcomeUnknown``, send ``error.transaction`` again with ``attempt=error.attempt + 1``: it takes effect once
        (S16). After a ``Rejected``, build another transaction. Raises ``Rejected`` in one of its kinds,
        ``NotExecuted``, ``OutcomeUnknown`` or ``InvalidRequest`` (S17).
        """
        if not isinstance(transaction, Transaction):
            transaction = Transaction(transaction, source)
        elif source is not None:
            raise InvalidRequest("a Transaction carries its own source; give it there")
        try:
            return self._backend.update(self._name, transaction.map(self._encode), attempt)
        except OutcomeUnknown as error:
            # The caller gets back what it sent, not what became of it on the way down.
            raise attrs.evolve(error, transaction=transaction) from error.__cause__

    def diff(
        self,
        from_version: int = 0,
        to_version: int | None = None,
        *,
        wait_seconds: float = 0.0,
        order: Order = "command",
        page_size: int = DEFAULT_LIMIT,
    ) -> VersionDiff[K, V]:
        """What changed from one version to another, net (S8); backward if ``to_version`` is the lower (S10).

        ``to_version=None`` is the newest version; then, if ``from_version`` is the newest, this waits up to
        ``wait_seconds`` for a newer one (S13). Raises ``NonexistentVersion`` above the head and ``VersionTrimmed`` for
        what was forgotten.
        """
        if page_size == 0:
            raise InvalidRequest("page_size must be 1 or more")
        request = DiffRequest(from_version, to_version, wait_seconds=wait_seconds, order=order, limit=page_size)
        return VersionDiff(request, self._read, self._decode)

    def follow(self, from_version: int = 0) -> Iterator[VersionDiff[K, V]]:
        """Every change after ``from_version``, for ever: each diff starts where the last one ended (S13).

        It waits between diffs without polling. To go on later, start from the last ``to_version``.
        """
        while True:
            diff = self.diff(from_version, wait_seconds=_POLL_SECONDS)
            if diff.to_version != from_version:
                yield diff
                from_version = diff.to_version

    def __iter__(self) -> Iterator[Entry[K, V]]:
        request = DiffRequest()
        decode_key, decode_value = self._keys.decode, self._values.decode
        for change in walk(request, self._read(request), self._read):
            yield Entry(decode_key(change.key), decode_value(change.value), change.version)

    @overload
    def get(self, key: K, default: None = None, *, at: int | None = None) -> V | None: ...
    @overload
    def get(self, key: K, default: D, *, at: int | None = None) -> V | D: ...
    def get(self, key: K, default: D | None = None, *, at: int | None = None) -> V | D | None:
        """The value under ``key`` now, or at version ``at``; ``default`` if there is none."""
        encoded = self._keys.encode(key)
        page = self._read(DiffRequest(0, at, order="key", limit=1, cursor=AtKey(encoded)))
        for change in page.changes:
            if isinstance(change, Added) and change.key == encoded:
                return self._values.decode(change.value)
        return default

    def history(self, key: K) -> list[Revision[K, V]]:
        """Every version that changed ``key``, oldest first, with what it ended and what it introduced.

        A log that was trimmed tells what is left: the entries alive at its oldest version, and all since.
        """
        return [
            Revision(revision.version, self._entry(revision.before), self._entry(revision.after))
            for revision in key_history(self._backend, self._name, self._keys.encode(key))
        ]

    def snapshot(self, at: int | None = None) -> Snapshot[K, V]:
        """All the log holds now, or held at version ``at``, as a mapping that never changes (S7)."""
        return Snapshot(at, self._read, self._keys, self._values)

    def versions(self, from_version: int = 0, to_version: int | None = None) -> Iterator[VersionInfo]:
        """Who made each version after ``from_version`` up to ``to_version`` (the newest if None), and when (S18)."""
        request = DiffRequest(from_version, to_version)
        info = self.describe()
        end = resolve(self._name, request, info.head, info.oldest).high
        start = from_version
        while True:
            # In a trimmed log the first piece reaches to the oldest version that can be named.
            until = min(max(start + _VERSIONS_AT_ONCE, info.oldest), end)
            yield from self._backend.versions(self._name, start, until)
            if until >= end:
                return
            start = until

    def describe(self) -> LogInfo:
        """Name, group, newest and oldest version, and how many entries there are (S18)."""
        return self._backend.describe(self._name)

    def trim(self, before: int) -> None:
        """Forget the versions below ``before``, for good, and reclaim their space; what is alive stays (S19)."""
        self._backend.trim(self._name, before)

    def __repr__(self) -> str:
        return f"<Log {self._name!r}>"

    def _read(self, request: DiffRequest) -> Page:
        return self._backend.diff(self._name, request)

    def _encode(self, key: K, value: V) -> tuple[bytes, bytes]:
        return self._keys.encode(key), self._values.encode(value)

    def _decode(self, change: Change[bytes, bytes]) -> Change[K, V]:
        kind: Any = type(change)
        decoded: Change[K, V] = kind(self._keys.decode(change.key), self._values.decode(change.value), change.version)
        return decoded

    def _entry(self, entry: Entry[bytes, bytes] | None) -> Entry[K, V] | None:
        if entry is None:
            return None
        return Entry(self._keys.decode(entry.key), self._values.decode(entry.value), entry.version)
