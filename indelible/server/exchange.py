"""One request and its answer: its head, its body within limits of size and time, and the answer sent."""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from indelible import routes
from indelible.credentials import Credentials
from indelible.errors import BadApiKey, InvalidRequest, TooLarge
from indelible.server.admission import Body
from indelible.server.settings import ServiceLimits

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PIECE: Final = 64 * 1024

CONNECTION: Final = "indelible.connection"
"""Where the scope of a request holds the ``Connection`` that it came on."""

_REQUEST_ID_HEADER: Final = routes.REQUEST_ID_HEADER.lower().encode()
_REST_SECONDS: Final = 5.0

_ids: Final = random.Random()  # noqa: S311 - no secret; asking the system for each lets other threads go first


class ClientGone(Exception):
    """The client closed the connection; nobody waits for an answer."""


class Connection:
    """What requests come on, one after the other; ``abort`` breaks it off, whatever is still to be sent.

    It holds nothing of the server's that holds it, so that both go when it ends.
    """

    __slots__ = ("abort", "is_lost", "when_lost")

    def __init__(self, abort: Callable[[], object]) -> None:
        self.abort: Callable[[], object] = abort
        self.is_lost: bool = False
        self.when_lost: Callable[[], object] | None = None

    def lose(self) -> None:
        """Nobody is there any more: tell whoever wants to know."""
        self.is_lost = True
        if self.when_lost is not None:
            self.when_lost()


class Exchange:
    """A request as it comes in, and the way for its answer to go out."""

    __slots__ = (
        "_limits",
        "_receive",
        "_scope",
        "_send",
        "_whole",
        "connection",
        "received",
        "request_id",
        "sent",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: ServiceLimits) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limits = limits
        self.connection: Connection = scope[CONNECTION]
        given = self._header(_REQUEST_ID_HEADER) or b""
        self.request_id: str = given.decode() if _REQUEST_ID.fullmatch(given) else f"{_ids.getrandbits(64):016x}"
        self.received: int = 0
        self.sent: int = 0
        self.status: int = 0
        self._whole = False

    def credentials(self) -> Credentials | None:
        """Who asks, as the head says it (HTTP Basic); None if it does not. Raises ``BadApiKey`` for anything else."""
        values = [value for name, value in self._scope["headers"] if name == b"authorization"]
        if not values:
            return None
        scheme, _, encoded = values[0].partition(b" ")
        if scheme.lower() == b"basic" and len(values) == 1:
            try:
                customer_id, colon, apikey = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
                if colon:
                    return Credentials(customer_id, apikey)
            except (binascii.Error, UnicodeDecodeError, InvalidRequest):
                pass
        raise BadApiKey

    async def body(self, held: Body) -> bytes:
        """The body, which is ``held`` from now on. Raises ``InvalidRequest``, ``TooLarge``, ``Overloaded``."""
        if self._header(b"content-encoding") is not None:
            raise InvalidRequest("a body must be sent as it is, without Content-Encoding")
        self._fits(int(self._header(b"content-length") or b"0"))
        chunks = []
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while not self._whole:
                    chunk = await self._next()
                    self._fits(self.received)
                    held.grow(self.received)
                    chunks.append(chunk)
        except TimeoutError:
            most = self._limits.body_seconds
            raise InvalidRequest(f"the body took longer than {most} s; send it faster, or less at once") from None
        return b"".join(chunks)

    def _header(self, name: bytes) -> bytes | None:
        headers: list[tuple[bytes, bytes]] = self._scope["headers"]
        return next((value for known, value in headers if known == name), None)

    def _fits(self, size: int) -> None:
        most = self._limits.body
        if size > most:
            reason = f"the body limit is {most} bytes and this has at least {size}; send less at once"
            raise TooLarge(reason, "body", size, most)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        self._whole = not message.get("more_body", False)
        self.received += len(chunk)
        return chunk

    async def answer(self, status: int, body: bytes, head: int | None = None, more: Headers = ()) -> None:
        """Send the answer, with ``more`` headers. Raises ``ClientGone`` if nobody takes it in time."""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id.encode()),
            *more,
        ]
        if head is not None:
            headers.append((b"indelible-version", b"%d" % head))
        if status == 401:
            headers.append((b"www-authenticate", b'Basic realm="indelible", charset="UTF-8"'))
        self.status, self.sent = status, len(body)
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._send({"type": "http.response.start", "status": status, "headers": headers})
                # In pieces, each waiting until the client has taken most of what went before.
                for at in range(0, len(body) - _PIECE, _PIECE):
                    await self._send({"type": "http.response.body", "body": body[at : at + _PIECE], "more_body": True})
                rest = max(0, (len(body) - 1) // _PIECE * _PIECE)
                await self._send({"type": "http.response.body", "body": body[rest:], "more_body": not self._whole})
            if not self._whole:
                await self._drop_rest()
        except TimeoutError:
            await self.abandon()
            raise ClientGone from None

    async def _drop_rest(self) -> None:
        """Read what is left of the body, for a short time. Raises ``TimeoutError``.

        Who is still sending would lose the answer with the connection.
        """
        async with asyncio.timeout(_REST_SECONDS):
            while not self._whole:
                await self._next()
        await self._send({"type": "http.response.body", "body": b""})

    async def abandon(self) -> None:
        """Break the connection off, whatever was still to be sent."""
        self.connection.abort()
        # The server is told of it before it is told that this is done.
        await asyncio.sleep(0)
