"""Waking those who wait for a log to change, whichever process changes it."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Final

import apsw
import attrs

from indelible import seams
from indelible.backends.sqlite import schema
from indelible.errors import Closed

GLANCE_SECONDS: Final = 0.02
"""How long what another process committed may go unnoticed: on average half of it, at well under 1 % of a core."""

_LONGEST_PAUSE: Final = 1.0
"""Between two attempts to look at a store that cannot be looked at; it does not get well from being asked."""


@attrs.define(eq=False)
class Waiter:
    """Whoever is to be woken, by calling ``wake``, once a log is beyond ``after``; each waking moves that on."""

    after: int
    wake: Callable[[], None]


@attrs.define(eq=False)
class Sleeper:
    """A thread that sleeps until it is woken."""

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
    ``watch`` opens for it. Everybody is called outside of every lock that is held here.
    """

    def __init__(self, watch: Callable[[], Watch]) -> None:
        self._watch = watch
        self._lock = threading.Lock()
        self._waiting: dict[str, set[Waiter]] = {}
        self._watching = False
        self._closed = threading.Event()
        self._pid = os.getpid()

    @contextmanager
    def waiting(self, log: str, after: int) -> Iterator[Sleeper]:
        """A sleeper for ``log`` to go beyond ``after``, registered before its caller looks: nothing is missed."""
        sleeper = Sleeper()
        waiter = Waiter(after, sleeper.wake)
        with self._lock:
            self._waiting.setdefault(log, set()).add(waiter)
        try:
            yield sleeper
        finally:
            self._leave(log, waiter)

    def wait(self, sleeper: Sleeper, deadline: float) -> None:
        """Sleep until ``sleeper`` is woken or until ``deadline``, and see to it that somebody looks meanwhile."""
        with self._lock:
            self._see_to_it()
        sleeper.wait(deadline)

    def subscribe(self, log: str, after: int, notify: Callable[[], None]) -> Callable[[], None]:
        """Have ``notify`` called whenever ``log`` goes beyond ``after``, until what this returns is called."""
        waiter = Waiter(after, notify)
        with self._lock:
            if self._closed.is_set():
                raise Closed("this store was closed; open it again to go on")
            # Whoever looks for the first time compares every head with what those who wait know: what is committed
            # from now on is not missed, even if it is before that look.
            self._see_to_it()
            self._waiting.setdefault(log, set()).add(waiter)
        return functools.partial(self._leave, log, waiter)

    def _leave(self, log: str, waiter: Waiter) -> None:
        # It may be on its way to be called.
        waiter.wake = _nothing
        if self._forked():
            return
        with self._lock:
            waiters = self._waiting.get(log, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(log, None)

    def announce(self, log: str, head: int) -> None:
        """Wake whoever waits for ``log`` to reach ``head``; called once that is on the disk, never before."""
        with self._lock:
            woken = [waiter for waiter in self._waiting.get(log, ()) if waiter.after < head]
            for waiter in woken:
                waiter.after = head
        _wake(woken)

    def close(self) -> None:
        """Wake everybody, for good."""
        if self._forked():
            return
        with self._lock:
            self._closed.set()
            woken = self._everybody()
            self._waiting.clear()
        _wake(woken)

    def _forked(self) -> bool:
        # In a forked child nobody waits, and the lock may be held for ever by a thread that was not forked with it.
        return os.getpid() != self._pid

    def _everybody(self) -> list[Waiter]:
        return [waiter for waiters in self._waiting.values() for waiter in waiters]

    def _see_to_it(self) -> None:
        if not self._watching and not self._closed.is_set():
            threading.Thread(target=self._look, name="indelible-sqlite-watch", daemon=True).start()
            self._watching = True

    def _watched(self) -> list[str]:
        """The logs that somebody waits for; where there are none, whoever looks may go."""
        with self._lock:
            self._watching = bool(self._waiting)
            return list(self._waiting)

    def _look(self) -> None:
        pause = GLANCE_SECONDS
        while True:
            try:
                with closing(self._watch()) as watch:
                    while not self._closed.wait(GLANCE_SECONDS):
                        changed = watch.changed()
                        # Listed after the glance: whoever registered too late for this list has looked at the store
                        # since, or will.
                        logs = self._watched()
                        if not logs:
                            return
                        for log in logs if changed else ():
                            self.announce(log, watch.head(log))
                        pause = GLANCE_SECONDS
                    return
            except Closed:
                # Whoever closes it wakes everybody.
                return
            except Exception:  # noqa: BLE001
                # Whatever keeps this thread from looking, those who wait will meet it themselves, and say so; if it has
                # passed by then, they go on waiting, and so does this.
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                with self._lock:
                    woken = self._everybody()
                _wake(woken)
                if not self._watched():
                    return


def _wake(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        # One that raises, against its word, does not take back a commit, nor keep the next one waiting.
        with suppress(Exception):
            waiter.wake()


def _nothing() -> None:
    """What is called of one who has left."""
