"""The calls under way: how long each may take, how many there are at once, and how all are ended together."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from indelible import seams
from indelible.errors import Closed, NotExecuted

AT_ONCE: Final = 32
"""Calls that are under way at once; more wait for their turn. Polls are not counted: they do nothing but wait."""

_LONGEST: Final = 86_400.0


class Call:
    """One call: until when it may take, and the socket it holds at the moment.

    ``poll`` says that it does little but wait. ``fresh`` is set once a kept connection has failed it, so that the next
    try opens one of its own. ``name`` is what its requests are called in the service's log.
    """

    def __init__(self, lock: threading.Lock, closing: threading.Event, seconds: float, poll: bool) -> None:
        self.name: str = seams.entropy(8).hex()
        self.poll = poll
        self._lock = lock
        self._closing = closing
        self._deadline = seams.monotonic() + seconds
        self._socket: socket.socket | None = None
        self.fresh = False

    @property
    def closed(self) -> bool:
        """Whether everything was closed meanwhile."""
        return self._closing.is_set()

    @property
    def seconds(self) -> float:
        """The time that is left; negative if it is over."""
        return self._deadline - seams.monotonic()

    def left(self) -> float:
        """The seconds that one more step may take. Raises ``TimeoutError`` if there are none."""
        seconds = self.seconds
        if seconds <= 0:
            raise TimeoutError
        return min(seconds, _LONGEST)

    def hold(self, sock: socket.socket | None) -> None:
        """Use this socket from now on, or none. Raises ``ConnectionAbortedError`` if everything was closed."""
        with self._lock:
            self._socket = sock
        if sock is not None and self.closed:
            raise ConnectionAbortedError

    def rest(self, seconds: float) -> bool:
        """Sleep before another try; False, at once, if the time would be over by then or everything is closed."""
        return seconds < self.seconds and not self._closing.wait(seconds)

    def wake(self) -> None:
        """End what the socket is waiting for. The lock is held."""
        if self._socket is not None:
            # Not the socket's own method: on TLS it would make the next read one of plain text.
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Calls:
    """All calls of one backend, in the process that made it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._closing = threading.Event()
        self._running: set[Call] = set()
        self._counted = 0
        self._pid = os.getpid()

    @property
    def here(self) -> bool:
        """Whether this process is the one that made them, and no fork of it."""
        return os.getpid() == self._pid

    @contextmanager
    def run(self, seconds: float, *, poll: bool = False) -> Iterator[Call]:
        """One call that may take so many seconds, its turn included.

        Raises ``Closed`` after ``close`` and in a forked process, ``NotExecuted`` if its turn does not come in time.
        """
        # Looked at first: in a forked child, the lock may be held for ever by a thread that was not forked with it.
        self.check()
        call = Call(self._lock, self._closing, seconds, poll)
        with self._lock:
            self._enter(call)
        try:
            yield call
        finally:
            with self._lock:
                self._running.discard(call)
                if not poll:
                    self._counted -= 1
                    self._room.notify()

    def _enter(self, call: Call) -> None:
        in_time = True
        while not call.poll and self._counted >= AT_ONCE and in_time and not self._closing.is_set():
            in_time = self._room.wait(max(min(call.seconds, _LONGEST), 0))
        self.check()
        if not call.poll and self._counted >= AT_ONCE:
            raise NotExecuted(f"{AT_ONCE} calls to the service are under way and none has ended; try again later")
        self._running.add(call)
        self._counted += not call.poll

    def check(self) -> None:
        """Raise ``Closed`` after ``close``, and in a forked process."""
        if not self.here:
            raise Closed("this connection belongs to the process that made it; after a fork, open one of your own")
        if self._closing.is_set():
            raise closed()

    def close(self) -> bool:
        """End every call at once, and let no other begin; False if that was done before."""
        with self._lock:
            if self._closing.is_set():
                return False
            self._closing.set()
            for call in self._running:
                call.wake()
            self._room.notify_all()
            return True


def closed() -> Closed:
    """The error of whoever calls, or still waits, after ``close``."""
    return Closed("this connection to the service was closed; open it again to go on")
