"""HTTP on a connection: uvicorn's, with limits to how long and how large the head of a request may be."""

from __future__ import annotations

import asyncio
import logging
from asyncio import TimerHandle
from collections import deque
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from indelible.server.exchange import CONNECTION, Connection
from indelible.server.settings import ServiceLimits

_REST_SECONDS: Final = 5.0
_MOST_IN_LINE: Final = 100
"""Requests that may come before the first of them was answered: each is kept whole until its turn."""

_UNCOUNTED: Final = 64
"""Bytes of a head that are not counted once it is complete: the method, the version, the ends of lines."""

_CONTINUE: Final = b"HTTP/1.1 100 "
"""How that begins which comes before an answer, and only asks for the body."""

_TOO_LARGE: Final = "The head of this request is too large."

# Anybody can send what is no HTTP, and would fill the log with it.
_log = logging.getLogger("indelible.server.http")
_log.setLevel(logging.ERROR)


class _Answer:
    """Where an answer is written: its head goes out with the beginning of its body, in one call of the system."""

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._begun = False

    def write(self, data: bytes) -> None:
        """Write what comes next."""
        if not self._begun and not data.startswith(_CONTINUE):
            self._head, self._begun = data, True
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def is_closing(self) -> bool:
        """Whether it is too late to write."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection when all is written."""
        if self._head:
            self.write(b"")
        self._transport.close()


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Whoever does not send a head in time, or does not take an answer, loses it.

    The application has limits of its own for bodies and answers; these are for whatever does not come from it, or comes
    after it.
    """

    def __init__(self, limits: ServiceLimits, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger: logging.Logger = _log
        self._limits = limits
        self._late: TimerHandle | None = None
        self._stuck: TimerHandle | None = None
        self._head_bytes = 0
        self._framing_bytes = 0
        self._in_head = True
        self._earlier = deque[Any]()
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; or close, if there are too many connections."""
        super().connection_made(transport)
        self._connection = Connection(transport.abort)
        if len(self.connections) > self._limits.connections:
            transport.close()
        else:
            self._within(self._limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is complete."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._late is None and self._is_idle():
                # Whatever it is, from here on it must become a head.
                self._within(self._limits.head_seconds)
        else:
            self._framing_bytes += len(data)
        super().data_received(data)
        most = self._limits.head_bytes + _UNCOUNTED
        if self._in_head and self._head_bytes > most and not self.transport.is_closing():
            self.send_400_response(_TOO_LARGE)
        elif not self._in_head and self._framing_bytes > most:
            # The size of a chunk, or what follows the last of them, that does not come to its end.
            self.transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; what follows the body is none, whatever it is called (RFC 9110, 6.5.1)."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which the application counts."""
        self._framing_bytes = 0
        super().on_body(body)

    def on_message_begin(self) -> None:
        """A head begins: it must come to its end."""
        super().on_message_begin()
        self.scope[CONNECTION] = self._connection  # type: ignore[typeddict-unknown-key]
        if self._late is None:
            self._within(self._limits.head_seconds)

    def on_headers_complete(self) -> None:
        """A head is complete: what comes now is a body, which the application sees to."""
        # What came with the end of the head was not counted as such.
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if self.cycle is not None and not self.cycle.response_complete:
            self._earlier.append(self.cycle)
        # Of a request that would rather speak another protocol, the parser would lose the body.
        if size > self._limits.head_bytes or len(self._earlier) > _MOST_IN_LINE or self.parser.should_upgrade():
            # Whoever called the parser says that the request is invalid.
            raise ValueError
        self._in_head, self._framing_bytes = False, 0
        self._in_time()
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":
            self.cycle.transport = _Answer(self.transport)  # type: ignore[assignment] # it has all that is asked of it

    def on_message_complete(self) -> None:
        """A body is complete: what comes next is a head again."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()
        if self._is_idle():
            # The server expects nothing more from this request, and would wait for the next one without end.
            self._within(self._limits.head_seconds)

    def on_response_complete(self) -> None:
        """A request was answered: what is left of its body must come soon, and a last answer be taken."""
        super().on_response_complete()
        while self._earlier and self._earlier[0].response_complete:
            self._earlier.popleft()
        if self.transport.is_closing():
            self._within(self._limits.send_seconds)
        elif self._is_idle() and self.cycle.more_body:
            self._within(_REST_SECONDS)

    def send_400_response(self, msg: str) -> None:
        """Say that this is no request, and close; in time, and not in the midst of an answer to another."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
        else:
            super().send_400_response(msg)
            self._within(self._limits.send_seconds)

    def timeout_keep_alive_handler(self) -> None:
        """Close what nobody uses; at once, if even the last answer was not taken."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def pause_writing(self) -> None:
        """The client does not take what is sent to it: it must do so soon."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self._limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has taken what was sent to it."""
        super().resume_writing()
        self._flows()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._in_time()
        self._flows()
        if self._connection is not None:
            self._connection.lose()
        # The server only tells the newest request.
        for cycle in self._earlier:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def _is_idle(self) -> bool:
        """Whether every request that began was answered, and there was one."""
        return self.cycle is not None and self.cycle.response_complete

    def _within(self, seconds: float) -> None:
        """Break the connection off unless ``_in_time`` comes first."""
        self._in_time()
        self._late = self.loop.call_later(seconds, self.transport.abort)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _flows(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
