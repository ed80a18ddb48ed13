"""One call over HTTP: who asks, what, whether that is allowed, and the answer or the error."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, Final

from indelible import faults, routes, seams, shapes, updates, wire
from indelible.credentials import Credentials
from indelible.errors import BadApiKey, Overloaded
from indelible.server.admission import Slots
from indelible.server.calls import Answer
from indelible.server.exchange import ClientGone, Exchange, Receive, Scope, Send
from indelible.server.keys import Grant
from indelible.server.service import Service

_IN_THREAD: Final = 64 * 1024
"""Bytes of a body that is not read in passing: while it is, nobody else would be served."""

_RETRY_SECONDS: Final = 1

log = logging.getLogger("indelible.server")

Handle = Callable[[Any, Grant, Exchange, Slots], Awaitable[Answer]]


class Endpoint:
    """A call of the API, as an ASGI application."""

    def __init__(self, service: Service, route: routes.Route[Any, Any]) -> None:
        self._service = service
        self._route = route
        self._handle: Handle = getattr(service.calls, route.name)
        self._limits = service.settings.limits.tenant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is."""
        started = seams.monotonic()
        service = self._service
        exchange = Exchange(scope, receive, send, service.settings.limits)
        request = Request(exchange)
        code = "CANCELLED"
        span = service.telemetry.span(self._route.name, exchange.request_id)
        try:
            answer = await self._answer(request)
            await exchange.answer(200, answer.body, answer.head)
            code = "OK"
        except ClientGone:
            code = "CLIENT_GONE"
        except Exception as error:  # noqa: BLE001 - whatever happens, the client is told, and told no more than it may
            code = await self._refuse(request, error)
        finally:
            service.telemetry.answered(
                span, self._route.name, code, exchange, request.grant, seams.monotonic() - started
            )

    async def _answer(self, request: Request) -> Answer:
        service, exchange = self._service, request.exchange
        if service.draining:
            raise Overloaded("the service is stopping; try again")
        credentials = exchange.credentials()
        if credentials is not None:
            # Known before the body is read: a stranger's is not worth the work.
            self._let_in(request, credentials)
        with Slots() as slots:
            self._admit(request.grant, slots)
            data = await exchange.body(service.admission, slots)
            if len(data) > _IN_THREAD:
                given, asked = await service.store.run(self._parse, data)
            else:
                given, asked = self._parse(data)
            del data
            request.log = getattr(asked, "log", None)
            if request.grant is None:
                if given is None:
                    raise BadApiKey
                self._admit(self._let_in(request, given), slots)
            assert request.grant is not None
            return await self._handle(asked, request.grant, exchange, slots)

    def _let_in(self, request: Request, credentials: Credentials) -> Grant:
        request.grant = grant = self._service.keyring.authenticate(credentials)
        grant.require(self._route.scope)
        return grant

    def _admit(self, grant: Grant | None, slots: Slots) -> None:
        admission = self._service.admission
        if grant is None:
            admission.stranger(slots)
        else:
            admission.request(grant.customer_id, slots)

    def _parse(self, data: bytes) -> tuple[Credentials | None, Any]:
        """Who asks by the body, and what; all of it within the limits."""
        limits = self._limits
        asked: Any
        if self._route is routes.UPDATE:
            given, asked = updates.read_update(wire.documents(data), limits)
            limits.check(asked.transaction)
        else:
            plain = wire.document(data)
            given, asked = shapes.credentials(plain), self._route.request.read(plain, "")
            limits.check_group(getattr(asked, "group", None))
        if hasattr(asked, "log"):
            limits.check_name(asked.log)
        return given, asked

    async def _refuse(self, request: Request, error: Exception) -> str:
        """Tell the client what is wrong, and the log what is nobody else's business. Gives the code."""
        exchange, fault = request.exchange, faults.fault_of(error)
        if fault is faults.INTERNAL:
            # Where, and not what: the text of an error that nobody thought of may hold what a customer sent.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("request %s failed: %s\n%s", exchange.request_id, type(error).__name__, where)
        elif type(error) is not fault.kind:
            log.warning("request %s was put off: %s", exchange.request_id, error)
        try:
            head = None
            if fault is not faults.INTERNAL and fault.status not in (401, 403, 503):
                head = await self._service.calls.head_at(error, request.grant, request.log)
            retry_after = _RETRY_SECONDS if fault.status == 503 else None
            await exchange.answer(fault.status, faults.encode(error, exchange.request_id), head, retry_after)
        except ClientGone:
            return "CLIENT_GONE"
        return fault.code


class Request:
    """What is known of a request so far."""

    __slots__ = ("exchange", "grant", "log")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.grant: Grant | None = None
        self.log: str | None = None
