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

    def __init__(self, end: _End, seconds: float, poll: bool) -> None:
        self.name: str = seams.entropy(8).hex()
        self.poll = poll
        self._end = end
        self._deadline = seams.monotonic() + seconds
        self._socket: socket.socket | None = None
        self.fresh = False

    @property
    def closed(self) -> bool:
        """Whether everything was closed meanwhile."""
        return self._end.came

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
        with self._end.lock:
            self._socket = sock
        if sock is not None and self.closed:
            raise ConnectionAbortedError

    def rest(self, seconds: float) -> bool:
        """Sleep before another try; False, at once, if the time would be over by then or everything is closed."""
        return seconds < self.seconds and not self._end.wait(seconds)

    def wake(self) -> None:
        """End what the socket is waiting for. The lock is held."""
        if self._socket is not None:
            # Not the socket's own method: on TLS it would make the next read one of plain text.
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _End:
    """The end of all calls, which may come from a signal handler, whatever the thread that it interrupts is doing.

    An ``Event`` would hang there: its lock is not reentrant.
    """

    def __init__(self) -> None:
        self.lock: threading.RLock = threading.RLock()
        self.came: bool = False
        self._coming = threading.Condition(self.lock)

    def wait(self, seconds: float) -> bool:
        """Whether it came, within so many seconds."""
        with self.lock:
            return self._coming.wait_for(lambda: self.came, seconds)

    def come(self) -> None:
        """Let it come. The lock is held."""
        self.came = True
        self._coming.notify_all()


class Calls:
    """All calls of one backend, in the process that made it."""

    def __init__(self) -> None:
        self._end = _End()
        self._room = threading.Condition(self._end.lock)
        # Calls, and polls: how many there are is counted when it is asked, so that no interruption can miscount them.
        self._running: dict[bool, set[Call]] = {False: set(), True: set()}
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
        call = Call(self._end, seconds, poll)
        try:
            self._enter(call)
            yield call
        finally:
            # Before anything that an interruption may end: a turn that is not given back is lost for good.
            self._running[poll].discard(call)
            with self._end.lock:
                self._room.notify()

    def _enter(self, call: Call) -> None:
        with self._end.lock:
            in_time = call.poll or self._room.wait_for(
                lambda: self._end.came or len(self._running[False]) < AT_ONCE, max(min(call.seconds, _LONGEST), 0)
            )
            self.check()
            if not in_time:
                raise NotExecuted(f"{AT_ONCE} calls to the service are under way and none has ended; try again later")
            self._running[call.poll].add(call)

    def check(self) -> None:
        """Raise ``Closed`` after ``close``, and in a forked process."""
        if not self.here:
            raise Closed("this connection belongs to the process that made it; after a fork, open one of your own")
        if self._end.came:
            raise closed()

    def close(self) -> bool:
        """End every call at once, and let no other begin; False if that was done before."""
        with self._end.lock:
            if self._end.came:
                return False
            self._end.come()
            # Of one that is about to be added, its own look at the end takes care.
            for call in (*self._running[False], *self._running[True]):
                call.wake()
            self._room.notify_all()
            return True


def closed() -> Closed:
    """The error of whoever calls, or still waits, after ``close``."""
    return Closed("this connection to the service was closed; open it again to go on")
