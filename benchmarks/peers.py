"""The peers: other libraries that keep versions of things, used as their documentation shows.

``kvgit`` keeps versions of a mapping, as trees by hash; on disk its SQLite does not sync at a commit
(``synchronous=NORMAL``), so a power cut may take what it acknowledged: it is measured as it comes, and made to keep as
much as we do. ``eventsourcing`` keeps events of aggregates; its SQLite syncs at a commit, as ours does. Neither seals.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

NEEDED = ("kvgit", "diskcache", "eventsourcing", "matplotlib")
"""What the extra ``bench`` brings."""


def missing() -> list[str]:
    """Those of them that are not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


class Peer(Protocol):
    """Keeps versions of something."""

    def commit(self, items: list[tuple[str, Any]]) -> None:
        """Add them all at once."""

    def close(self) -> None:
        """Let go of the files."""


class Kvgit:
    """A worktree of ``kvgit``: set ten keys, commit. In memory, or on disk in ``folder``, with ``synced`` durably."""

    def __init__(self, folder: Path | None = None, synced: bool = False) -> None:
        import kvgit
        from kvgit.kv.disk import Disk
        from kvgit.kv.memory import Memory

        backend: Any = Memory() if folder is None else Disk(str(folder))
        if synced:
            backend.store.reset("sqlite_synchronous", 2)
        self._tree = kvgit.Repo(backend).worktree("main", create=True)

    def commit(self, items: list[tuple[str, Any]]) -> None:
        """See ``Peer.commit``."""
        for key, value in items:
            self._tree[key] = value
        self._tree.commit()

    def close(self) -> None:
        """See ``Peer.close``."""
        self._tree.repo.close()


class Eventsourcing:
    """An application of ``eventsourcing``: trigger ten events of one aggregate, save it. In memory, or in SQLite."""

    def __init__(self, path: Path | None = None) -> None:
        from eventsourcing.application import Application

        from benchmarks.events import EventLog

        settings = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)} if path else {}
        self._application: Any = Application(env=settings)
        self._aggregate = EventLog()
        self._application.save(self._aggregate)

    def commit(self, items: list[tuple[str, Any]]) -> None:
        """See ``Peer.commit``."""
        put = self._aggregate.put
        for key, value in items:
            put(key, value)
        self._application.save(self._aggregate)

    def close(self) -> None:
        """See ``Peer.close``."""
        self._application.close()
