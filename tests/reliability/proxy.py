"""A proxy between a client and a service that fails at the byte it is told to, either way, and tells where it did."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias

import attrs
from effort import PROCESSES

Side: TypeAlias = Literal["request", "answer"]

CUT: Final = "cut"
"""Both ends are closed."""
RESET: Final = "reset"
"""Both ends are reset."""
SWALLOW: Final = "swallow"
"""Whatever else comes is taken and never passed on, until the client gives up; then the service's end is closed."""
STALL: Final = "stall"
"""As ``SWALLOW``, but what was taken is kept and may come late, if it is all of the request."""
LATE: Final = "late"
"""The client is hung up on once it has sent all of its request, the rest of which is kept and may come late."""
RACE: Final = "race"
"""As ``LATE``, but what was kept comes at the same moment as the next request, and just before it."""

KINDS: Final[dict[Side, tuple[str, ...]]] = {
    "request": (CUT, RESET, LATE, RACE, STALL, SWALLOW),
    "answer": (CUT, RESET, SWALLOW),
}
PATIENT: Final = frozenset({STALL, SWALLOW})
"""What a client notices only by the time that passes."""

_FIRST: Final[dict[Side, int]] = {"request": 400, "answer": 160}
_PIECE: Final = 256 * 1024
_GIVEN_UP: Final = 30


@attrs.frozen
class Fault:
    """What happens once so many bytes of a request, or of the answer to it, have been passed on."""

    side: Side
    kind: str
    at: int


@attrs.frozen
class Chance:
    """A fault of any kind at any of the first bytes, which every request and answer has, in a share of all exchanges."""

    rng: random.Random
    share: float

    def __call__(self) -> Fault | None:
        if self.rng.random() >= self.share:
            return None
        side: Side = self.rng.choice(("request", "answer"))
        return Fault(side, self.rng.choice(KINDS[side]), self.rng.randrange(_FIRST[side]))


class _End:
    """How a connection comes to its end."""

    CLOSED, RESET, KEPT = range(3)


@attrs.define(eq=False)
class _Kept:
    """The rest of a request that nobody waits for any more, where it is to go, and what was answered already."""

    service: socket.socket
    rest: bytes
    fault: Fault
    answer: bytearray


@attrs.define(eq=False)
class _Line:
    """A connection of a client and the one that was made to the service for it; ``between`` requests, or in one."""

    client: socket.socket
    service: socket.socket
    between: bool = True
    asked: int = 0
    answered: int = 0
    fault: Fault | None = None
    request: bytearray = attrs.field(factory=bytearray)
    unheard: bytearray = attrs.field(factory=bytearray)
    is_deaf: bool = False
    kept: _Kept | None = None
    stalled: asyncio.Future[None] | None = None

    def begin(self, fault: Fault | None) -> None:
        """A request comes."""
        self.between, self.asked, self.answered, self.fault = False, 0, 0, fault
        self.request.clear()

    def strikes(self, side: Side, passed: int, data: bytes) -> bool:
        """Whether it is with this data that the fault comes."""
        return self.fault is not None and self.fault.side == side and passed + len(data) >= self.fault.at


class Proxy:
    """Passes on what comes on ``port`` to ``upstream``, which is a port of this machine too, and fails as told.

    ``decide`` is called when a request begins, in the proxy's thread, and gives the fault of this exchange or None.
    What is kept comes late when it is let go, or by itself once more than ``most`` are kept. ``struck`` counts the
    faults that happened, ``late`` the requests that came late and were answered.
    """

    def __init__(self, upstream: int, decide: Callable[[], Fault | None], most: float) -> None:
        self._upstream = upstream
        self._decide = decide
        self._most = most
        self._loop = asyncio.new_event_loop()
        self._lines: set[asyncio.Task[None]] = set()
        self._kept: list[_Kept] = []
        self._coming: set[asyncio.Task[None]] = set()
        self._stalled: set[asyncio.Future[None]] = set()
        self._failures: list[BaseException] = []
        self._sizes = (0, 0)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.struck: Counter[Fault] = Counter()
        self.exchanges = 0
        self.late = 0
        self.port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._do(self._listen())

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_GIVEN_UP)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the request and the answer that went by last."""
        return self._sizes

    def release(self) -> None:
        """Let all that is kept go on to the service now, and come back when it has answered.

        Clients that a stall keeps waiting must have given up, or do so soon.
        """
        self._do(self._release())

    def drop(self) -> None:
        """Forget what is kept: the service's end is closed."""
        self._do(self._drop())

    def refuse(self) -> None:
        """Do not listen any more, until ``accept``; what is connected already goes on."""
        self._do(self._deafen())

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._do(self._listen())

    def close(self) -> None:
        """End everything. Raises what ``decide`` did."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._failures:
            raise self._failures[0]

    async def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(1024)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = self._loop.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            line = self._loop.create_task(self._serve(client))
            self._lines.add(line)
            line.add_done_callback(self._ended)

    def _ended(self, line: asyncio.Task[None]) -> None:
        self._lines.discard(line)
        if not line.cancelled() and (failure := line.exception()) is not None:
            self._failures.append(failure)

    async def _deafen(self) -> None:
        assert self._accepting is not None
        assert self._listener is not None
        await _end(self._accepting)
        self._listener.close()

    async def _close(self) -> None:
        await self._deafen()
        await _end(*self._lines, *self._coming)
        await self._drop()

    async def _serve(self, client: socket.socket) -> None:
        """One connection, from its beginning to its end."""
        service = socket.socket()
        line = _Line(client, service)
        end = _End.CLOSED
        try:
            for sock in (client, service):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(service, ("127.0.0.1", self._upstream))
            end = await self._pass(line)
            if line.kept is not None:
                # Only now does nobody else read what the service answers.
                await self._keep(line.kept)
            if end == _End.CLOSED:
                await asyncio.gather(self._part(client), self._part(service))
        except OSError:
            pass
        finally:
            if line.stalled is not None:
                self._stalled.discard(line.stalled)
                line.stalled.cancel()
            if end == _End.RESET:
                for sock in (client, service):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            if end != _End.KEPT:
                service.close()

    async def _pass(self, line: _Line) -> int:
        """Both ways, until one of them says how it ends."""
        both = [self._loop.create_task(way(line)) for way in (self._up, self._down)]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return max(task.result() for task in done)
        finally:
            await _end(*both)

    async def _part(self, sock: socket.socket) -> None:
        """Say that no more comes, and wait until the other side says so: to close what is unread would reset it."""
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while await _take(sock):
                pass

    async def _up(self, line: _Line) -> int:
        """From the client to the service, until it ends."""
        with contextlib.suppress(OSError):
            while data := await _take(line.client):
                if line.between:
                    self.exchanges += 1
                    line.begin(self._decide())
                    await self._race()
                if line.fault is not None:
                    line.request += data
                if line.strikes("request", line.asked, data):
                    return await self._strike(line, data)
                line.asked += len(data)
                self._sizes = line.asked, 0
                await self._loop.sock_sendall(line.service, data)
        return _End.CLOSED

    async def _strike(self, line: _Line, data: bytes) -> int:
        """The fault in a request."""
        fault = line.fault
        assert fault is not None
        line.is_deaf = True
        passed = data[: fault.at - line.asked]
        await self._loop.sock_sendall(line.service, passed)
        self.struck[fault] += 1
        if fault.kind == CUT:
            return _End.CLOSED
        if fault.kind == RESET:
            return _End.RESET
        if fault.kind == STALL:
            line.stalled = self._loop.create_future()
            self._stalled.add(line.stalled)
        # Who waits goes when its time is over; who is to be hung up on has sent everything when that is whole.
        while fault.kind in PATIENT or not is_whole(line.request):
            data = b""
            with contextlib.suppress(OSError):
                data = await _take(line.client)
            if not data:
                break
            line.request += data
        if fault.kind == SWALLOW or not is_whole(line.request):
            return _End.CLOSED
        line.kept = _Kept(line.service, bytes(line.request[fault.at :]), fault, line.unheard)
        return _End.KEPT

    async def _keep(self, kept: _Kept) -> None:
        """Have it come late."""
        self._kept.append(kept)
        if len(self._kept) > self._most:
            await self._come(self._kept.pop(0))

    async def _down(self, line: _Line) -> int:
        """From the service to the client, until it ends."""
        with contextlib.suppress(OSError):
            while data := await _take(line.service):
                if line.is_deaf:
                    line.unheard += data
                    continue
                line.between = True
                if line.strikes("answer", line.answered, data):
                    fault = line.fault
                    assert fault is not None
                    line.is_deaf = True
                    await self._loop.sock_sendall(line.client, data[: fault.at - line.answered])
                    self.struck[fault] += 1
                    if fault.kind != SWALLOW:
                        return _End.RESET if fault.kind == RESET else _End.CLOSED
                    continue
                line.answered += len(data)
                self._sizes = line.asked, line.answered
                await self._loop.sock_sendall(line.client, data)
        if line.is_deaf:
            # A client that was left to wait does not hear of the service's end either.
            await asyncio.Event().wait()
        return _End.CLOSED

    async def _race(self) -> None:
        """Send what is to come together with the request that begins."""
        for kept in [it for it in self._kept if it.fault.kind == RACE]:
            self._kept.remove(kept)
            await self._come(kept)

    async def _come(self, kept: _Kept) -> None:
        """Send what was kept; its answer is taken by and by."""
        with contextlib.suppress(OSError):
            await self._loop.sock_sendall(kept.service, kept.rest)
        coming = self._loop.create_task(self._answered(kept))
        self._coming.add(coming)
        coming.add_done_callback(self._coming.discard)

    async def _answered(self, kept: _Kept) -> None:
        """Take an answer that nobody waits for."""
        try:
            with contextlib.suppress(OSError):
                while not is_whole(kept.answer):
                    if not (data := await _take(kept.service)):
                        return
                    kept.answer += data
                self.late += 1
        finally:
            kept.service.close()

    async def _release(self) -> None:
        while self._stalled:
            await asyncio.wait(self._stalled)
        kept, self._kept = self._kept, []
        for it in kept:
            await self._come(it)
        while self._coming:
            await asyncio.wait(self._coming)

    async def _drop(self) -> None:
        kept, self._kept = self._kept, []
        for it in kept:
            it.service.close()


async def _take(sock: socket.socket) -> bytes:
    """What comes next; nothing at its end. Cut short, it has taken nothing, which ``loop.sock_recv`` may have."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            return sock.recv(_PIECE)
        readable = asyncio.Event()
        loop.add_reader(sock, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(sock)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    # All are told before any is waited for, which may be cut short.
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def is_whole(message: bytes | bytearray) -> bool:
    """Whether a request or an answer is all there; its head says how long its body is."""
    head, found, body = bytes(message).partition(b"\r\n\r\n")
    if not found:
        return False
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(body) >= int(lengths[0])


@contextlib.contextmanager
def proxied(upstream: int, decide: Callable[[], Fault | None], most: float = math.inf) -> Iterator[Proxy]:
    """A proxy in a thread of this process."""
    proxy = Proxy(upstream, decide, most)
    try:
        yield proxy
    finally:
        proxy.close()


@attrs.define
class Apart:
    """A proxy in a process of its own: its port; and once it has ended, how many exchanges and which faults."""

    port: int
    exchanges: int = 0
    struck: Counter[Fault] = attrs.field(factory=Counter)


@contextlib.contextmanager
def proxied_apart(upstream: int, seed: int, share: float) -> Iterator[Apart]:
    """A proxy in a process of its own, where by chance a share of exchanges fails."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=_run_apart, args=(there, upstream, seed, share), daemon=True)
    process.start()
    there.close()
    apart = Apart(here.recv())
    try:
        yield apart
    finally:
        here.send(None)
        apart.exchanges, apart.struck = here.recv()
        here.close()
        process.join()


def _run_apart(pipe: Any, upstream: int, seed: int, share: float) -> None:
    with proxied(upstream, Chance(random.Random(seed), share), most=3) as proxy:
        pipe.send(proxy.port)
        pipe.recv()
    pipe.send((proxy.exchanges, proxy.struck))
