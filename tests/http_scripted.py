"""A service that a test has in its hand: honest by itself, over a store in memory, and made to do anything at all.

It speaks HTTP over plain sockets, with or without TLS, a thread to a connection. A ``script`` sees each request before
it is answered, and may give bytes to send, do something to the connection, or leave it to the honest service.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import attrs

from indelible import faults, routes, updates, wire
from indelible.backend import key_history
from indelible.backends.http import HTTPBackend
from indelible.backends.memory import MemoryBackend
from indelible.credentials import Credentials
from indelible.errors import IndelibleError, NonexistentVersion, Rejected
from indelible.limits import Limits
from indelible.messages import LARGEST_PAGE, Done, LogPage, RevisionPage, VersionPage

CREDENTIALS = Credentials("me", "secret-of-mine")
PATIENCE = 20.0


@attrs.frozen
class Request:
    """A request as it came: how many of this server's it is, from 0, and what it says."""

    number: int
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def plain(self) -> Any:
        return next(wire.documents(self.body))


@attrs.define
class Answer:
    """An answer that can be changed before it is sent. ``raw`` is sent instead, if it is not None."""

    status: int
    body: bytes
    head: int | None = None
    headers: dict[str, str] = attrs.field(factory=dict)
    raw: bytes | None = None

    @property
    def plain(self) -> Any:
        return wire.document(self.body)

    def say(self, plain: Any) -> None:
        self.body = wire.encode(plain)

    def encoded(self) -> bytes:
        if self.raw is not None:
            return self.raw
        given = {"Content-Type": "application/json", "Content-Length": str(len(self.body)), **self.headers}
        if self.head is not None and "Indelible-Version" not in given:
            given["Indelible-Version"] = str(self.head)
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value is not None)
        return f"HTTP/1.1 {self.status} Said\r\n{lines}\r\n".encode("latin-1") + self.body


class Gone(Exception):
    """Raised by a script to end the connection at once."""


class Honest:
    """What a service does with a request, over any backend."""

    def __init__(self, store: Any = None, page: int = LARGEST_PAGE, limits: Limits = Limits()) -> None:
        self.store = MemoryBackend(limits) if store is None else store
        self.page = page
        self.limits = limits

    def answer(self, request: Request) -> Answer:
        route = next(it for it in routes.ROUTES if it.path == request.path)
        log = None
        try:
            if route is routes.UPDATE:
                _, asked = updates.read_update(wire.documents(request.body), self.limits)
            else:
                asked = route.request.read(wire.document(request.body), "")
            log = getattr(asked, "log", None)
            said = route.encode(getattr(self, "_" + route.name)(asked))
        except IndelibleError as error:
            head = error.head if isinstance(error, Rejected | NonexistentVersion) and error.head >= 0 else None
            if head is None and log is not None:
                head = self._head(log)
            return Answer(faults.fault_of(error).status, faults.encode(error, "a-request"), head)
        return Answer(200, said, None if log is None else self._head(log))

    def _head(self, log: str) -> int | None:
        try:
            return self.store.describe(log).head
        except IndelibleError:
            return None

    def _create(self, asked):
        self.store.create(asked.log, asked.group)
        return Done()

    def _update(self, asked):
        return self.store.update(asked.log, asked.transaction, asked.attempt)

    def _diff(self, asked):
        # How many bytes a page may have is for the client to keep: none are asked for here.
        limit = min(asked.request.limit, self.page)
        return self.store.diff(asked.log, attrs.evolve(asked.request, limit=limit, max_bytes=2**63 - 1))

    def _describe(self, asked):
        return self.store.describe(asked.log)

    def _list(self, asked):
        found = [it for it in self.store.logs(asked.group) if asked.after is None or it.name > asked.after]
        page = tuple(found[: min(asked.limit, self.page)])
        return LogPage(page, page[-1].name if len(page) < len(found) else None)

    def _versions(self, asked):
        found = self.store.versions(asked.log, asked.from_version, asked.to_version)
        page = tuple(found[: self.page])
        return VersionPage(page, page[-1].version if len(page) < len(found) else None)

    def _history(self, asked):
        found = [it for it in key_history(self.store, asked.log, asked.key) if it.version > asked.from_version]
        page = tuple(found[: self.page])
        return RevisionPage(page, page[-1].version if len(page) < len(found) else None)

    def _trim(self, asked):
        self.store.trim(asked.log, asked.before)
        return Done()


Script = Callable[[Request, "Wire"], Answer | bytes | None]


class Wire:
    """One connection, for a script that wants to do more than answer."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self.closing = closing

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, seconds: float) -> None:
        """Send a byte now and then, until it is all sent or nobody listens."""
        for byte in data:
            if self.closing.wait(seconds):
                return
            self.sock.sendall(bytes([byte]))

    def reset(self) -> None:
        """End the connection as a killed process does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raise Gone

    def hang(self) -> None:
        """Do nothing until the test is over, or the other side has gone."""
        self.sock.settimeout(0.05)
        while not self.closing.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.sock.recv(1):
                    break
        raise Gone


class Scripted:
    """The server. ``seen`` are the requests that came; ``script`` may be replaced at any time."""

    def __init__(self, honest: Honest | None = None, script: Script | None = None, tls: ssl.SSLContext | None = None):
        self.honest = honest or Honest()
        self.script = script
        self.tls = tls
        self.seen: list[Request] = []
        self.connections = 0
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._socks: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}"

    def backend(self, **options: Any) -> HTTPBackend:
        return HTTPBackend(self.url, CREDENTIALS, **options)

    def bodies(self, name: str) -> list[bytes]:
        return [it.body for it in self.seen if it.name == name]

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closing.is_set():
                    sock.close()
                    return
                self._socks.add(sock)
                self.connections += 1
                number = self.connections
            self._start(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        plain = sock
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._socks.add(sock)
            with sock.makefile("rb") as file:
                while (request := self._read(file, number)) is not None:
                    self._reply(request, Wire(sock, self._closing))
        except (OSError, Gone, ValueError):
            pass
        finally:
            with self._lock:
                self._socks -= {sock, plain}
            sock.close()
            plain.close()

    def _read(self, file: Any, number: int) -> Request | None:
        first = file.readline()
        if not first:
            return None
        headers = {}
        while (line := file.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = file.read(int(headers["content-length"]))
        with self._lock:
            request = Request(len(self.seen), first.split()[1].decode(), headers, body, number)
            self.seen.append(request)
        return request

    def _reply(self, request: Request, connection: Wire) -> None:
        said = None if self.script is None else self.script(request, connection)
        if said is None:
            said = self.honest.answer(request)
        data = said if isinstance(said, bytes) else said.encoded()
        connection.send(data)
        if b"connection: close" in data[:2000].lower():
            raise Gone

    def stop_listening(self) -> None:
        """Refuse every further connection."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def drop(self) -> None:
        """End every connection, as a service does that is restarted or tired of waiting."""
        with self._lock:
            for sock in self._socks:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing.set()
        self.stop_listening()
        self.honest.store.close()
        self.drop()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_turn(*scripts: Any) -> Script:
    """Each request gets the next of these; None, and all after the last, are answered honestly."""
    left = iter(scripts)
    lock = threading.Lock()

    def script(request: Request, connection: Wire) -> Any:
        with lock:
            it = next(left, None)
        return it(request, connection) if callable(it) else it

    return script


def reset(_request: Request, connection: Wire) -> None:
    connection.reset()


def hang_up(_request: Request, _connection: Wire) -> None:
    raise Gone


def hang(_request: Request, connection: Wire) -> None:
    connection.hang()


def fault(error: BaseException, status: int | None = None, **headers: str) -> Answer:
    """An error as a service says it."""
    return Answer(
        faults.fault_of(error).status if status is None else status,
        faults.encode(error, "a-request"),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )
