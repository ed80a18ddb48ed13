"""One call over HTTP: who asks, what, whether that is allowed, and the answer or the error."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeVar

from indelible import faults, routes, seams, shapes, updates, wire
from indelible.credentials import Credentials
from indelible.errors import BadApiKey, Closed, InvalidRequest, NotExecuted, TooLarge
from indelible.messages import DiffLog, KeyRevisions
from indelible.pages import AtKey, DiffRequest
from indelible.server.admission import NotNow, Slots
from indelible.server.calls import Answer
from indelible.server.exchange import ClientGone, Exchange, Receive, Scope, Send
from indelible.server.keys import Grant
from indelible.server.service import Service

_IN_THREAD: Final = 64 * 1024
"""Bytes of a body that is not read in passing: while it is, nobody else would be served."""

_RETRY: Final = ((b"retry-after", b"1"),)

_COMMAS: Final = 16
"""Commas in an object that is asked here, at most, besides those in names: no object has as many members."""

_log = logging.getLogger("indelible.server")

T = TypeVar("T")
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
            # Held until the answer has been taken: an answer is held, too.
            with Slots() as slots:
                answer = await self._answer(request, slots)
                await exchange.answer(200, answer.body, answer.head)
            code = "OK"
        except ClientGone:
            code = "CLIENT_GONE"
        except asyncio.CancelledError:
            # The server stops, and has waited for this as long as it was told to.
            await exchange.abandon()
        except Exception as error:  # noqa: BLE001 - whatever happens, the client is told, and told no more than it may
            code = await self._refuse(request, error)
        finally:
            service.telemetry.answered(
                span, self._route.name, code, exchange, request.grant, seams.monotonic() - started
            )

    async def _answer(self, request: Request, slots: Slots) -> Answer:
        service, exchange = self._service, request.exchange
        if service.draining:
            raise NotNow("the service is stopping; try again")
        request.credentials = exchange.credentials()
        if request.credentials is not None:
            # Known before the body is read: a stranger's is not worth the work.
            self._let_in(request, request.credentials, slots)
        body = service.admission.body(request.customer_id, slots)
        data = await exchange.body(body)
        if request.credentials is None:
            # The first object alone says who asks; the rest of a stranger's is not worth the work either.
            request.credentials = await self._read(request, self._credentials, data)
            body.belongs_to(self._let_in(request, request.credentials, slots).customer_id)
        given, asked = await self._read(request, self._parse, data)
        del data
        request.log = getattr(asked, "log", None)
        assert request.grant is not None
        # A body takes its time, in which a key can be revoked, or expire.
        if given not in (None, request.credentials) or not service.keyring.still_valid(request.grant):
            raise BadApiKey
        return await self._handle(asked, request.grant, exchange, slots)

    async def _read(self, request: Request, read: Callable[[bytes], T], data: bytes) -> T:
        """What ``read`` makes of a body, in a thread if it is large."""
        if len(data) > _IN_THREAD:
            return await self._service.store.run_for(request.customer_id, read, data)
        return read(data)

    def _let_in(self, request: Request, credentials: Credentials, slots: Slots) -> Grant:
        request.grant = grant = self._service.keyring.authenticate(credentials)
        grant.require(self._route.scope)
        self._service.admission.request(grant.customer_id, slots)
        return grant

    def _credentials(self, data: bytes) -> Credentials:
        """Who asks, by the first object of the body. Raises ``BadApiKey`` if it does not say."""
        self._check_commas(data.count(b","))
        first = next(wire.documents(data), None)
        given = None if first is None else shapes.credentials(first)
        if given is None:
            raise BadApiKey
        return given

    def _parse(self, data: bytes) -> tuple[Credentials | None, Any]:
        """Who asks by the body, and what; all of it within the limits."""
        limits = self._limits
        self._check_commas(data.count(b","))
        asked: Any
        if self._route is routes.UPDATE:
            given, asked = updates.read_update(wire.documents(data), limits)
            limits.check(asked.transaction)
        else:
            plain = wire.document(data)
            given, asked = shapes.credentials(plain), self._route.request.read(plain, "")
            limits.check_group(getattr(asked, "group", None))
            # Nothing can be under a longer one; but who waits would hold it for as long.
            for key in _keys(asked):
                limits.check_key(key)
        if hasattr(asked, "log"):
            limits.check_name(asked.log)
        return given, asked

    def _check_commas(self, count: int) -> None:
        """Refuse what has more members or elements than any message: each would be a hundred bytes once it is read.

        Names may have commas in them, and Base64 has none.
        """
        limits = self._limits
        first = limits.name + limits.group + limits.source + _COMMAS
        most = limits.commands if self._route is routes.UPDATE else 0
        if count > first + _COMMAS * most:
            if not most:
                raise InvalidRequest("the message has more members than any that is asked here")
            reason = f"a transaction has at most {most} commands here; send it in parts"
            raise TooLarge(reason, "commands", most + 1, most)

    async def _refuse(self, request: Request, error: Exception) -> str:
        """Tell the client what is wrong, and the log what is nobody else's business. Gives the code."""
        exchange, fault = request.exchange, faults.fault_of(error)
        if fault is faults.INTERNAL:
            # Where, and not what: the text of an error that nobody thought of may hold what a customer sent.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("request %s failed: %s\n%s", exchange.request_id, type(error).__name__, where)
        elif isinstance(error, NotExecuted | Closed) and not isinstance(error, NotNow):
            _log.warning("request %s was put off: %s", exchange.request_id, error)
        try:
            head = None
            if fault.status not in (401, 403, 500, 503):
                head = await self._service.calls.head_at(error, request.grant, request.log)
            more = _RETRY if fault.status == 503 else ()
            await exchange.answer(fault.status, faults.encode(error, exchange.request_id), head, more)
        except ClientGone:
            return "CLIENT_GONE"
        return fault.code


def _keys(asked: Any) -> Iterator[bytes]:
    """The keys that are named in what is asked of a log."""
    match asked:
        case DiffLog(request=DiffRequest(cursor=AtKey(key=key))) | KeyRevisions(key=key):
            yield key


class Request:
    """What is known of a request so far."""

    __slots__ = ("credentials", "exchange", "grant", "log")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange: Exchange = exchange
        self.credentials: Credentials | None = None
        self.grant: Grant | None = None
        self.log: str | None = None

    @property
    def customer_id(self) -> str:
        """Whose it is; "" until that is known."""
        return "" if self.grant is None else self.grant.customer_id
