"""The service as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from indelible import faults, routes
from indelible.errors import InvalidRequest
from indelible.server.endpoint import Endpoint
from indelible.server.exchange import ClientGone, Exchange
from indelible.server.service import Service
from indelible.server.settings import Settings

_OPERATORS: Final = ("/healthz", "/readyz", "/metrics")


class App:
    """The ASGI application of a service: its calls, and what operators ask, ``/healthz``, ``/readyz``, ``/metrics``.

    The store is opened when the server starts, and closed when it has answered everybody.
    """

    def __init__(self, settings: Settings) -> None:
        self.service: Service = Service(settings)
        self._calls: dict[str, Endpoint] = {}
        self._router = Router(
            [
                Route("/healthz", self._health),
                Route("/readyz", self._readiness),
                Route("/metrics", self._metrics),
            ],
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, or live through the life of the server."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        call = self._calls.get(path)
        if call is not None and method == "POST":
            await call(scope, receive, send)
        elif path in _OPERATORS and method in ("GET", "HEAD"):
            await self._router(scope, receive, send)
        else:
            allowed = b"POST" if call is not None else b"GET, HEAD" if path in _OPERATORS else None
            await self._refuse(Exchange(scope, receive, send, self.service.settings.limits), allowed)

    async def _refuse(self, exchange: Exchange, allowed: bytes | None) -> None:
        """Say that there is nothing here, or nothing to be had by this method but by those that are ``allowed``."""
        error = InvalidRequest(
            "there is no such call here" if allowed is None else "this is asked for by another method"
        )
        body = faults.encode(error, exchange.request_id)
        with contextlib.suppress(ClientGone):
            if allowed is None:
                await exchange.answer(404, body)
            else:
                await exchange.answer(405, body, more=[(b"allow", allowed)])

    @asynccontextmanager
    async def _lifespan(self, _app: object) -> AsyncIterator[None]:
        await self.service.open()
        try:
            self._calls = {route.path: Endpoint(self.service, route) for route in routes.ROUTES}
            with _before_signals(self.service):
                yield
        finally:
            await self.service.close()

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readiness(self, _request: Request) -> Response:
        ready = await self.service.ready()
        return JSONResponse({"status": "ok" if ready else "unavailable"}, 200 if ready else 503)

    async def _metrics(self, _request: Request) -> Response:
        return Response(self.service.telemetry.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


@contextmanager
def _before_signals(service: Service) -> Iterator[None]:
    """Within this context, a signal to stop first answers all who wait.

    The server tells the application of its end only when every connection is closed, and those who wait would keep
    theirs open; so the application hears the signal before the server does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    servers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(service.drain)
        if callable(handler := servers[signal.Signals(number)]):
            handler(number, frame)

    for number in servers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in servers.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, handler)
