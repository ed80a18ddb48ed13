"""Many clients at once in one thread: as little of a client as HTTP allows, the same for every server measured."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import attrs


@attrs.define
class Connection:
    """One connection that is kept: a request, its answer, the next."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a server on this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 26))

    def send(self, path: str, body: bytes, headers: bytes = b"") -> None:
        """Send a request."""
        head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n"
        self.writer.write(head % (path.encode(), headers, len(body)) + body)

    async def head(self) -> bytes:
        """The head of an answer, which must be a good one."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        if head[9:12] != b"200":
            raise AssertionError(f"the server answered {head[9:12].decode()}")
        return head.lower()

    async def answer(self) -> bytes:
        """The body of an answer with a length."""
        head = await self.head()
        start = head.index(b"content-length:") + len(b"content-length:")
        return await self.reader.readexactly(int(head[start : head.index(b"\r", start)]))

    async def call(self, path: str, body: bytes, headers: bytes = b"") -> bytes:
        """A request and its answer."""
        self.send(path, body, headers)
        return await self.answer()

    def close(self) -> None:
        """Hang up."""
        self.writer.close()


class Target(Protocol):
    """A server to which something can be put, and of which one can be told what was put."""

    port: int

    async def put(self, connection: Connection, key: bytes, value: bytes) -> None:
        """Put a value, durably."""

    async def watch(self, told: Callable[[float], None], watching: asyncio.Event) -> None:
        """Tell the time of each put, from when ``watching`` was set; until cancelled."""


@attrs.frozen
class Ours:
    """Our service: an upsert a transaction; a long poll for each that watches."""

    port: int
    authorization: bytes
    log: str = "log"

    @classmethod
    def of(cls, port: int, customer: str, apikey: bytes) -> Ours:
        """With these credentials."""
        return cls(port, b"Authorization: Basic %b\r\n" % base64.b64encode(customer.encode() + b":" + apikey))

    async def create(self, connection: Connection) -> None:
        """Make the log."""
        await connection.call("/v1/log/create", json.dumps({"logName": self.log}).encode(), self.authorization)

    async def put(self, connection: Connection, key: bytes, value: bytes) -> None:
        """See ``Target.put``."""
        body = b'{"logName":"%b","transactionId":"%b"}{"type":"Upsert","key":"%b","value":"%b"}' % (
            self.log.encode(),
            os.urandom(16).hex().encode(),
            base64.b64encode(key),
            base64.b64encode(value),
        )
        await connection.call("/v1/log/update", body, self.authorization)

    async def head(self, connection: Connection) -> int:
        """The newest version."""
        told = await connection.call("/v1/log/describe", json.dumps({"logName": self.log}).encode(), self.authorization)
        return int(json.loads(told)["head"])

    def poll(self, connection: Connection, version: int) -> None:
        """Ask for what comes after a version."""
        body = {"logName": self.log, "fromVersion": version, "waitSeconds": 60}
        connection.send("/v1/log/diff", json.dumps(body).encode(), self.authorization)

    async def empty(self, connection: Connection) -> None:
        """A request that asks for as little as there is."""
        body = json.dumps({"logName": self.log, "limit": 0}).encode()
        await connection.call("/v1/log/diff", body, self.authorization)

    async def watch(self, told: Callable[[float], None], watching: asyncio.Event) -> None:
        """See ``Target.watch``."""
        connection = await Connection.open(self.port)
        try:
            version = await self.head(connection)
            watching.set()
            while True:
                self.poll(connection, version)
                answer = await connection.answer()
                told(time.perf_counter())
                version = json.loads(answer)["toVersion"]
        finally:
            connection.close()


@attrs.frozen
class Rate:
    """What many clients came to: puts a second, and the seconds one of them waited."""

    puts: int
    seconds: float

    @property
    def each(self) -> float:
        """Seconds for each put, of all clients together."""
        return self.seconds / self.puts


async def rate(target: Target, clients: int, seconds: float) -> Rate:
    """Let so many clients put for so long, each as fast as it is answered."""
    connections = [await Connection.open(target.port) for _ in range(clients)]
    start = time.perf_counter()

    async def work(connection: Connection) -> int:
        for count in itertools.count():
            if time.perf_counter() - start >= seconds:
                return count
            await target.put(connection, os.urandom(40), os.urandom(100))
        raise AssertionError

    puts = await asyncio.gather(*map(work, connections))
    took = time.perf_counter() - start
    for connection in connections:
        connection.close()
    return Rate(sum(puts), took)


async def wake_times(target: Target, watchers: int, puts: int, pause: float) -> list[float]:
    """Seconds from sending each put to each watcher's being told of it."""
    times: list[float] = []
    sent = 0.0
    left = 0
    all_told = asyncio.Event()

    def told(at: float) -> None:
        nonlocal left
        times.append(at - sent)
        left -= 1
        if left == 0:
            all_told.set()

    ready = [asyncio.Event() for _ in range(watchers)]
    tasks = [asyncio.create_task(target.watch(told, event)) for event in ready]
    connection = await Connection.open(target.port)
    for event in ready:
        await event.wait()
    for _ in range(puts):
        # Each has to be waiting again before the next is put.
        await asyncio.sleep(pause)
        all_told.clear()
        left, sent = watchers, time.perf_counter()
        await target.put(connection, os.urandom(40), os.urandom(100))
        await asyncio.wait_for(all_told.wait(), 30)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    connection.close()
    return times


async def woken(target: Ours, polls: int, turns: int) -> list[tuple[float, float]]:
    """Seconds to wake so many polls by one put, the last of them included; and for an empty request, just before."""
    connection = await Connection.open(target.port)
    waiting = [await Connection.open(target.port) for _ in range(polls)]
    found = []
    for _ in range(turns):
        version = await target.head(connection)
        for poll in waiting:
            target.poll(poll, version)
        await _all_wait(target, polls)
        empty = []
        for _ in range(20):
            start = time.perf_counter()
            await target.empty(connection)
            empty.append(time.perf_counter() - start)
        answers = [asyncio.create_task(poll.answer()) for poll in waiting]
        await asyncio.sleep(0.05)
        start = time.perf_counter()
        await target.put(connection, os.urandom(40), os.urandom(100))
        await asyncio.gather(*answers)
        found.append((time.perf_counter() - start, sorted(empty)[len(empty) // 2]))
    for one in (connection, *waiting):
        one.close()
    return found


async def _all_wait(target: Ours, polls: int) -> None:
    """Come back once so many polls wait at the server, and it has nothing else to do."""
    connection = await Connection.open(target.port)
    while True:
        connection.writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        lines = (await connection.answer()).decode().splitlines()
        if float(next(line for line in lines if line.startswith("indelible_polls ")).split()[1]) >= polls:
            break
        await asyncio.sleep(0.02)
    connection.close()
    # Those that it counts may still be taking their first look.
    await asyncio.sleep(1)


async def idle(target: Ours, polls: int, memory: Callable[[], int]) -> int:
    """Bytes of the server's memory that so many waiting polls take."""
    first = await Connection.open(target.port)
    version = await target.head(first)
    waiting: list[Connection] = []
    # The first thousandth part of them brings what all have in common.
    sizes = []
    for count in (max(1, polls // 10), polls):
        while len(waiting) < count:
            waiting.append(await Connection.open(target.port))
            target.poll(waiting[-1], version)
        await _all_wait(target, count)
        sizes.append(memory())
    taken = (sizes[1] - sizes[0]) // max(1, polls - max(1, polls // 10))
    for one in (first, *waiting):
        one.close()
    return taken


def run(what: Awaitable[Any]) -> Any:
    """The outcome, in a loop of its own."""

    async def main() -> Any:
        return await what

    return asyncio.run(main())
