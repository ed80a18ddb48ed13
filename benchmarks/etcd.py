"""The peer that watches: etcd on this machine, through its JSON gateway, synced as it comes."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import urllib3

from benchmarks.swarm import Connection

_PATIENCE = 30.0
_EVERYTHING = base64.b64encode(b"\0").decode()


def installed() -> bool:
    """Whether there is one (Debian: ``etcd-server``)."""
    return shutil.which("etcd") is not None


@attrs.frozen
class Etcd:
    """A put is a put; a watch is a stream that stays open."""

    port: int

    async def put(self, connection: Connection, key: bytes, value: bytes) -> None:
        """See ``Target.put``."""
        body = b'{"key":"%b","value":"%b"}' % (base64.b64encode(key), base64.b64encode(value))
        await connection.call("/v3/kv/put", body)

    async def watch(self, told: Callable[[float], None], watching: asyncio.Event) -> None:
        """See ``Target.watch``."""
        connection = await Connection.open(self.port)
        try:
            body = {"create_request": {"key": _EVERYTHING, "range_end": _EVERYTHING}}
            connection.send("/v3/watch", json.dumps(body).encode())
            await connection.head()
            while True:
                # Chunks of JSON lines: the first says that the watch was created.
                line = await connection.reader.readline()
                if b'"created":true' in line:
                    watching.set()
                elif b'"events"' in line:
                    told(time.perf_counter())
        finally:
            connection.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running(folder: Path) -> Iterator[Etcd]:
    """An etcd of one member, with its data in ``folder``."""
    client, peer = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
    process = subprocess.Popen(
        [
            *("etcd", "--name", "one", "--data-dir", str(folder), "--logger", "zap", "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                if urllib3.request("GET", f"{client}/health", retries=False, timeout=1.0).status == 200:
                    break
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError("etcd did not start")
        yield Etcd(int(client.rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait(_PATIENCE)
