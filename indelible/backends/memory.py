"""A store in this process's memory: the reference, and the one for tests. It lives no longer than the process (S21)."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs

from indelible import checks, seams
from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.errors import Closed, LogExists, NonexistentLog
from indelible.ledger import Ledger
from indelible.limits import Limits
from indelible.pages import DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo


@attrs.define(eq=False)
class _Subscriber:
    """Whoever is to be called when a log goes beyond a version."""

    after: int
    notify: Callable[[], None]


class MemoryBackend:
    """Keeps logs in memory, safe for any number of threads; waiting costs nothing until something happens.

    What it acknowledges is kept while the process lives, and in this process alone: after a fork, the child's use of it
    raises ``Closed``.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._ledgers: dict[str, Ledger] = {}
        self._lock = threading.Lock()
        self._changed: dict[str, threading.Condition] = {}
        self._subscribers: dict[str, set[_Subscriber]] = {}
        self._pid = os.getpid()
        self._closed = False

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        self._limits.check_name(log)
        self._limits.check_group(group)
        with self._open():
            ledger = self._ledgers.setdefault(log, Ledger(log, group))
            self._changed.setdefault(log, threading.Condition(self._lock))
            if ledger.group != group:
                raise LogExists(log)

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        self._limits.check(transaction)
        with self._open():
            answer = self._ledger(log).update(transaction, attempt, seams.now())
            if answer.changed:
                self._changed[log].notify_all()
            fresh = answer.changed and not answer.replayed
            told = [it for it in self._subscribers.get(log, ()) if fresh and it.after < answer.version]
        _tell(told)
        return answer

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        with self._open():
            ledger = self._ledger(log)
            if request.waits_at(ledger.head):
                self._changed[log].wait_for(
                    lambda: self._closed or ledger.head > request.from_version, request.wait_seconds
                )
                self._check_open()
            return ledger.diff(request)

    def subscribe(self, log: str, after: int, notify: Callable[[], None]) -> Callable[[], None]:
        """See ``Notifying.subscribe``."""
        self._limits.check_name(log)
        subscriber = _Subscriber(checks.version(after, "after"), notify)
        with self._open():
            self._subscribers.setdefault(log, set()).add(subscriber)
        return functools.partial(self._unsubscribe, log, subscriber)

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        with self._open():
            return self._ledger(log).describe()

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        self._limits.check_group(group)
        with self._open():
            found = (ledger.describe() for _, ledger in sorted(self._ledgers.items()))
            return [info for info in found if group in (None, info.group)]

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        with self._open():
            return self._ledger(log).versions(from_version, to_version)

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        with self._open():
            return self._ledger(log).history(key)

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        with self._open():
            self._ledger(log).trim(before)

    def close(self) -> None:
        """See ``Backend.close``."""
        if self.closed:
            return
        with self._lock:
            self._closed = True
            for changed in self._changed.values():
                changed.notify_all()
            told = [it for subscribers in self._subscribers.values() for it in subscribers]
            self._subscribers.clear()
        _tell(told)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to the process this one was forked from."""
        return self._closed or os.getpid() != self._pid

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        # Looked at first: in a forked child, the lock may be held for ever by a thread that was not forked with it.
        self._check_open()
        with self._lock:
            self._check_open()
            yield

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise Closed("this memory store belongs to the process that made it; after a fork, open one of your own")
        if self._closed:
            raise Closed("this store was closed; open it again to go on")

    def _unsubscribe(self, log: str, subscriber: _Subscriber) -> None:
        # It may be on its way to be called.
        subscriber.notify = _nothing
        if self.closed:
            return
        with self._lock:
            subscribers = self._subscribers.get(log, set())
            subscribers.discard(subscriber)
            if not subscribers:
                self._subscribers.pop(log, None)

    def _ledger(self, log: str) -> Ledger:
        self._limits.check_name(log)
        try:
            return self._ledgers[log]
        except KeyError:
            raise NonexistentLog(log) from None


def _tell(subscribers: Iterable[_Subscriber]) -> None:
    for subscriber in subscribers:
        # One that raises, against its word, does not take back a commit, nor keep the next one waiting.
        with contextlib.suppress(Exception):
            subscriber.notify()


def _nothing() -> None:
    """What is called of one who has left."""


_shared: weakref.WeakValueDictionary[str, MemoryBackend] = weakref.WeakValueDictionary()
_sharing = threading.Lock()


def open_url(url: str, limits: Limits | None = None) -> MemoryBackend:
    """The store of a URL: ``memory:`` is a new one; ``memory:name`` the one of that name, while somebody holds it."""
    name = url.partition(":")[2]
    if not name:
        return MemoryBackend(limits)
    with _sharing:
        backend = _shared.get(name)
        if backend is None or backend.closed:
            _shared[name] = backend = MemoryBackend(limits)
        return backend
