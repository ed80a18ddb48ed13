"""Seals everything before another backend sees it: names of logs, keys and values."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import attrs

from indelible import checks
from indelible.backend import Backend, accept_rollback, key_history
from indelible.backends.naming import Named
from indelible.changes import Change, Entry, Revision
from indelible.cipher import Cipher, LogCipher
from indelible.commands import Transaction
from indelible.errors import HistoryRolledBack, IntegrityError
from indelible.pages import AtKey, Cursor, DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo


class EncryptedBackend:
    """Any backend, with a cipher in front: what is stored can be compared and followed, and not read.

    Order ``key`` is the order of the sealed keys. Whatever does not open under the cipher's key raises
    ``IntegrityError``, naming the log; logs whose names do not open are not among ``logs``: they are another key's.
    """

    def __init__(self, inner: Backend, cipher: Cipher) -> None:
        self._inner = inner
        self._cipher = cipher
        # Deriving a log's keys costs more than sealing an entry; a program works on few logs at a time.
        # Of the cipher alone: through a method of its own, this object would hold itself, and the store stay open.
        self._derived = functools.lru_cache(maxsize=1024)(functools.partial(_derive, cipher))

    def __repr__(self) -> str:
        return f"EncryptedBackend({self._inner!r}, {self._cipher!r})"

    def _sealing(self, log: str) -> tuple[str, _Sealing]:
        return self._derived(checks.name(log, "a log's name"))

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        sealed, _ = self._sealing(log)
        with Named(log):
            self._inner.create(sealed, group)

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        sealed, sealing = self._sealing(log)
        with Named(log, transaction=transaction):
            return self._inner.update(sealed, transaction.map(sealing.seal), attempt)

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        sealed, sealing = self._sealing(log)
        with Named(log):
            if request.cursor is not None:
                request = attrs.evolve(request, cursor=sealing.seal_cursor(request.cursor))
            page = self._inner.diff(sealed, request)
            changes = sealing.open(page.changes)
            following = None if page.next is None else sealing.open_cursor(page.next)
        return Page(page.from_version, page.to_version, changes, following)

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        sealed, _ = self._sealing(log)
        with Named(log):
            return attrs.evolve(self._inner.describe(sealed), name=log)

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        try:
            infos = self._inner.logs(group)
        except HistoryRolledBack as error:
            with Named(self._opened(error.log) or error.log):
                raise
        opened = [attrs.evolve(info, name=name) for info in infos if (name := self._opened(info.name)) is not None]
        return sorted(opened, key=lambda info: info.name)

    def _opened(self, name: str) -> str | None:
        """The name that was sealed; None if it is another key's."""
        try:
            return self._cipher.open_name(name)
        except IntegrityError:
            return None

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        sealed, _ = self._sealing(log)
        with Named(log):
            return self._inner.versions(sealed, from_version, to_version)

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        sealed, sealing = self._sealing(log)
        with Named(log):
            revisions = key_history(self._inner, sealed, sealing.seal_key(key))
            return [Revision(r.version, sealing.open_entry(r.before), sealing.open_entry(r.after)) for r in revisions]

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        sealed, _ = self._sealing(log)
        with Named(log):
            self._inner.trim(sealed, before)

    def accept_rollback(self, log: str) -> None:
        """See ``Pinned.accept_rollback``. Raises ``InvalidRequest`` if what is behind remembers nothing."""
        sealed, _ = self._sealing(log)
        accept_rollback(self._inner, sealed)

    def close(self) -> None:
        """See ``Backend.close``."""
        self._inner.close()


def _derive(cipher: Cipher, log: str) -> tuple[str, _Sealing]:
    return cipher.seal_name(log), _Sealing(log, cipher.log(log))


@attrs.frozen(repr=False)
class _Sealing:
    """Both ways through one log's cipher, for the values that travel; ``log`` is for messages."""

    log: str
    cipher: LogCipher

    def seal(self, key: bytes, value: bytes) -> tuple[bytes, bytes]:
        sealed_key = self.seal_key(key)
        return sealed_key, self.cipher.seal_value(sealed_key, checks.data(value, "a value"))

    def seal_key(self, key: bytes) -> bytes:
        return self.cipher.seal_key(checks.data(key, "a key"))

    def seal_cursor(self, cursor: Cursor) -> Cursor:
        return attrs.evolve(cursor, key=self.seal_key(cursor.key)) if isinstance(cursor, AtKey) else cursor

    def open_cursor(self, cursor: Cursor) -> Cursor:
        if not isinstance(cursor, AtKey):
            return cursor
        with self._naming_log():
            return attrs.evolve(cursor, key=self.cipher.open_key(cursor.key))

    def open(self, changes: Iterable[Change[bytes, bytes]]) -> tuple[Change[bytes, bytes], ...]:
        open_key, open_value = self.cipher.open_key, self.cipher.open_value
        with self._naming_log():
            return tuple([type(c)(open_key(c.key), open_value(c.key, c.value), c.version) for c in changes])

    def open_entry(self, entry: Entry[bytes, bytes] | None) -> Entry[bytes, bytes] | None:
        if entry is None:
            return None
        with self._naming_log():
            key, value = self.cipher.open_key(entry.key), self.cipher.open_value(entry.key, entry.value)
        return Entry(key, value, entry.version)

    @contextmanager
    def _naming_log(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise IntegrityError(f"an entry of log {self.log!r}: {error}") from None
