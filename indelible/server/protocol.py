"""HTTP on a connection: uvicorn's, with limits to how long and how large the head of a request may be."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from indelible.server.exchange import ABORT
from indelible.server.settings import ServiceLimits

_REST_SECONDS: Final = 5.0


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Whoever does not send a head in time, or too large a one, loses it without an answer.

    What is left of a body when its request has been answered is read and dropped, for a short time: a client that is
    still sending would lose the answer with the connection.
    """

    def __init__(self, limits: ServiceLimits, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._too_late: TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; or close, if there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            transport.close()
        else:
            self._within(self._limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a head is complete."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self._limits.head_bytes:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A head begins: it must come to its end."""
        super().on_message_begin()
        self.scope[ABORT] = self.transport.abort  # type: ignore[typeddict-unknown-key]
        if self._too_late is None:
            self._within(self._limits.head_seconds)

    def on_headers_complete(self) -> None:
        """A head is complete: what comes now is a body, which the application sees to."""
        self._in_head = False
        self._in_time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A body is complete: what comes next is a head again."""
        self._in_head, self._head_bytes = True, 0
        answered = self.cycle.response_complete
        super().on_message_complete()
        if answered:
            # The server expects nothing more from this request, and would wait for the next one without end.
            self._within(self._limits.head_seconds)

    def on_response_complete(self) -> None:
        """A request was answered: what is left of its body must come soon."""
        super().on_response_complete()
        if self.cycle.more_body:
            self._within(_REST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._in_time()
        super().connection_lost(exc)

    def _within(self, seconds: float) -> None:
        """Break the connection off unless ``_in_time`` comes first."""
        self._in_time()
        self._too_late = self.loop.call_later(seconds, self.transport.abort)

    def _in_time(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
