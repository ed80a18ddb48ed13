"""Waking those who wait for a log to change, whichever process changes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

import apsw
import attrs

from indelible import seams
from indelible.backends.sqlite import schema

GLANCE_SECONDS: Final = 0.02
"""How long what another process committed may go unnoticed: on average half of it, at well under 1 % of a core."""


@attrs.define(eq=False)
class Waiter:
    """One who waits for a log to go beyond a version."""

    after: int
    _woken: threading.Event = attrs.field(factory=threading.Event)

    def wake(self) -> None:
        """Let it look again."""
        self._woken.set()

    def wait(self, deadline: float) -> bool:
        """Sleep until woken or until ``deadline`` on the monotonic clock; whether it was woken."""
        return self._woken.wait(min(max(0.0, deadline - seams.monotonic()), threading.TIMEOUT_MAX))

    def rest(self) -> None:
        """Forget earlier wakings: from here on, whatever happens is new."""
        self._woken.clear()


class Watch:
    """A connection that notices the commits of others without reading them.

    ``check`` raises once the file is no longer the one that was opened.
    """

    def __init__(self, db: apsw.Connection, check: Callable[[], None]) -> None:
        self._db = db
        self._check = check
        self._seen: int | None = None

    def changed(self) -> bool:
        """Whether another connection may have committed since this was last asked; true the first time."""
        self._check()
        before, self._seen = self._seen, self._db.pragma("data_version")
        return before != self._seen

    def head(self, log: str) -> int:
        """The log's newest version, 0 if it does not exist."""
        row = self._db.execute(schema.SELECT_HEAD, (log,)).fetchone()
        return row[0] if row else 0

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


class Waiters:
    """Those who wait in this process. What this process commits wakes them at once, by ``announce``.

    For what others commit, one thread glances at the store while anybody waits, and at no other time, through what
    ``watch`` opens for it.
    """

    def __init__(self, watch: Callable[[], Watch]) -> None:
        self._watch = watch
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Waiter]] = {}
        self._watching = False
        self._closed = threading.Event()

    @contextmanager
    def waiting(self, log: str, after: int) -> Iterator[Waiter]:
        """A waiter for ``log`` to go beyond ``after``, registered before its caller looks: nothing is missed."""
        waiter = Waiter(after)
        with self._lock:
            self._waiting.setdefault(log, set()).add(waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                self._waiting[log].discard(waiter)
                if not self._waiting[log]:
                    del self._waiting[log]

    def wait(self, waiter: Waiter, deadline: float) -> None:
        """Sleep until ``waiter`` is woken or until ``deadline``, and see to it that somebody looks meanwhile."""
        with self._lock:
            if not self._watching and not self._closed.is_set():
                threading.Thread(target=self._look, name="indelible-sqlite-watch", daemon=True).start()
                self._watching = True
        waiter.wait(deadline)

    def announce(self, log: str, head: int) -> None:
        """Wake whoever waits for ``log`` to reach ``head``; called once that is on the disk, never before."""
        with self._lock:
            for waiter in self._waiting.get(log, ()):
                if waiter.after < head:
                    waiter.wake()

    def close(self) -> None:
        """Wake everybody, for good."""
        self._closed.set()
        self._wake_all()

    def _wake_all(self) -> None:
        with self._lock:
            for waiters in self._waiting.values():
                for waiter in waiters:
                    waiter.wake()

    def _look(self) -> None:
        try:
            with closing(self._watch()) as watch:
                while not self._closed.wait(GLANCE_SECONDS):
                    changed = watch.changed()
                    # Listed after the glance: whoever registered too late for this list has looked at the store since.
                    with self._lock:
                        logs = list(self._waiting)
                        if not logs:
                            self._watching = False
                            return
                    if changed:
                        for log in logs:
                            self.announce(log, watch.head(log))
        except Exception:  # noqa: BLE001
            # Whatever keeps this thread from looking, those who wait will meet it themselves, and say so; if it has
            # passed by then, they send another.
            self._closed.wait(GLANCE_SECONDS)
            with self._lock:
                self._watching = False
            self._wake_all()
