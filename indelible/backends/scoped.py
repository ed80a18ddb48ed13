"""One tenant's share of a backend that keeps the logs of many."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from indelible import checks
from indelible.backend import Backend, accept_rollback, key_history
from indelible.backends.naming import Named
from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.errors import InvalidRequest
from indelible.pages import DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo

SEPARATOR = "/"


class ScopedBackend:
    """Any backend, seen by one tenant: its logs stand under ``scope/``, and no other log can be named (S20).

    A scope holds no slash, so that no scope lies within another. Closing a scope closes the backend: where tenants
    share one, whoever opened it closes it.
    """

    def __init__(self, inner: Backend, scope: str) -> None:
        if SEPARATOR in checks.name(scope, "a scope"):
            raise InvalidRequest("a scope must not contain a slash; it would reach into another one")
        self._inner = inner
        self._prefix = scope + SEPARATOR

    def __repr__(self) -> str:
        return f"ScopedBackend({self._inner!r}, {self._prefix[:-1]!r})"

    def _scoped(self, log: str) -> str:
        return self._prefix + checks.name(log, "a log's name")

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        with Named(log):
            self._inner.create(self._scoped(log), group)

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        with Named(log):
            return self._inner.update(self._scoped(log), transaction, attempt)

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        with Named(log):
            return self._inner.diff(self._scoped(log), request)

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        with Named(log):
            return attrs.evolve(self._inner.describe(self._scoped(log)), name=log)

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        return [
            attrs.evolve(info, name=info.name.removeprefix(self._prefix))
            for info in self._inner.logs(group)
            if info.name.startswith(self._prefix)
        ]

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        with Named(log):
            return self._inner.versions(self._scoped(log), from_version, to_version)

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        with Named(log):
            return key_history(self._inner, self._scoped(log), key)

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        with Named(log):
            self._inner.trim(self._scoped(log), before)

    def accept_rollback(self, log: str) -> None:
        """See ``Pinned.accept_rollback``. Raises ``InvalidRequest`` if what is behind remembers nothing."""
        accept_rollback(self._inner, self._scoped(log))

    def close(self) -> None:
        """See ``Backend.close``."""
        self._inner.close()
