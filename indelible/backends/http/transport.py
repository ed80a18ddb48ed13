"""Requests and their answers: connections that are kept, and what it means when one fails."""

from __future__ import annotations

import base64
import http.client
import os
import re
import socket
import ssl
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import attrs
import urllib3

from indelible import seams
from indelible.backends.http.calls import Call
from indelible.backends.http.connection import Connection, too_large
from indelible.backends.http.failures import Failed
from indelible.backends.http.location import Location
from indelible.credentials import Credentials
from indelible.errors import IndelibleError, ProtocolViolation
from indelible.routes import MEDIA_TYPE, REQUEST_ID_HEADER

_KEPT: Final = 32
_KEPT_SECONDS: Final = 30.0
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_TROUBLE: Final = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError)


@attrs.frozen(repr=False)
class Reply:
    """What came back: status, headers and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Pool:
    """Connections that wait for their next request, the last one kept the first to go."""

    def __init__(self) -> None:
        # Reentrant: a signal handler may close what it has interrupted.
        self._lock = threading.RLock()
        self._idle: deque[Connection] = deque()
        self._open = True

    def take(self) -> Connection | None:
        """One that is still good as far as can be seen from here; None if there is none."""
        while True:
            try:
                with self._lock:
                    connection = self._idle.pop()
            except IndexError:
                return None
            # Whatever can be read from it was not asked for: an end, or something worse.
            if seams.monotonic() - connection.idle_since < _KEPT_SECONDS and connection.is_connected:
                return connection
            connection.close()

    def give(self, connection: Connection) -> None:
        """Keep one for later, and close those that nobody came for, or that are too many."""
        with self._lock:
            connection.idle_since = now = seams.monotonic()
            self._idle.append(connection)
            for it in tuple(self._idle):
                if self._open and len(self._idle) <= _KEPT and now - it.idle_since < _KEPT_SECONDS:
                    break
                # The one that was kept the longest; unless a signal handler has just closed them all.
                with suppress(ValueError):
                    self._idle.remove(it)
                it.close()

    def close(self) -> None:
        """Close all, and keep none any more."""
        with self._lock:
            self._open = False
            self.drop()

    def drop(self) -> None:
        """Close this process's ends, without the lock: for a forked child, in which nobody else uses them."""
        while self._idle:
            self._idle.pop().close()


class Transport:
    """Sends requests to one service and reads their answers whole; knows nothing of what they say.

    ``largest`` is the most bytes that an answer's body may have.
    """

    def __init__(
        self, location: Location, credentials: Credentials, context: ssl.SSLContext | None, largest: int
    ) -> None:
        self.location = location
        self._credentials = credentials
        self._context = context
        self.largest = largest
        # A thousand polls come and go without taking a connection from a commit.
        self._pools = {False: Pool(), True: Pool()}

    def exchange(self, call: Call, path: str, body: bytes) -> Reply:
        """Send one request and read its answer. Raises ``Failed``, or ``ProtocolViolation`` for what is no answer."""
        pool = self._pools[call.poll]
        kept = None if call.fresh else pool.take()
        connection = kept or self._opened(call)
        try:
            found = self._attempt(connection, call, path, body)
        finally:
            call.hold(None)
            connection.end()
            # Nothing is kept that was not read to its end, for whatever reason: an interruption may pass here.
            if connection.spent:
                connection.close()
            else:
                pool.give(connection)
        if isinstance(found, Reply):
            return found
        call.fresh = call.fresh or kept is not None
        try:
            raise found
        finally:
            # Or the error would hold on, through this frame, to itself.
            del found

    def _opened(self, call: Call) -> Connection:
        connection = Connection(self.location, self._context, self.largest)
        try:
            connection.open(call)
        except (OSError, UnicodeError) as error:
            failure = _unreachable(self.location, error)
        else:
            return connection
        raise failure

    def _attempt(self, connection: Connection, call: Call, path: str, body: bytes) -> Reply | Failed | IndelibleError:
        try:
            connection.begin(call)
            self._send(connection, path, body, call.name)
            return _received(connection, self.largest)
        except ProtocolViolation as violation:
            return violation.with_traceback(None)
        except _TROUBLE as error:
            return _judged(error, connection.began)

    def _send(self, connection: Connection, path: str, body: bytes, request_id: str) -> None:
        try:
            connection.request(
                "POST",
                path,
                body,
                headers={
                    "Host": self.location.authority,
                    "Authorization": _basic(self._credentials),
                    "Content-Type": MEDIA_TYPE,
                    "Accept": MEDIA_TYPE,
                    "Accept-Encoding": "identity",
                    "User-Agent": "indelible",
                    REQUEST_ID_HEADER: request_id,
                },
                preload_content=False,
                decode_content=False,
            )
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            # A service may refuse a request before it has read all of it; then there is an answer to read.
            return

    def close(self) -> None:
        """Let go of the connections that are kept; those in use end with their calls."""
        for pool in self._pools.values():
            pool.close()

    def drop(self) -> None:
        """Let go of what a forked process inherited."""
        for pool in self._pools.values():
            pool.drop()


def _basic(credentials: Credentials) -> str:
    pair = credentials.customer_id.encode() + b":" + credentials.apikey.reveal()
    return "Basic " + base64.b64encode(pair).decode()


def _received(connection: Connection, largest: int) -> Reply:
    """The answer to what was sent, read to its end; the connection is good for another if the answer says so."""
    response = connection.getresponse()
    try:
        headers = response.headers
        if "Content-Encoding" in headers:
            raise ProtocolViolation("the service encoded its answer, which nobody asked for")
        length, transfer = headers.get("Content-Length"), headers.get("Transfer-Encoding")
        if (length is None) == (transfer is None):
            # Without either, an answer that was cut off looks like a whole one; with both, it is as long as one likes.
            raise ProtocolViolation("the service's answer does not say how long it is, or says it twice")
        if transfer is not None and transfer.lower() != "chunked":
            raise ProtocolViolation("the service encoded its answer for the way, and not in chunks")
        if length is not None and not _LENGTH.fullmatch(length):
            raise ProtocolViolation("the service's answer has a length that is no number")
        if length is not None and int(length) > largest:
            raise too_large()
        body = response.read()
        if len(body) > largest:
            raise too_large()
        connection.spent = connection.sock is None
        return Reply(response.status, headers, body)
    finally:
        response.close()


def _judged(error: Exception, began: bool) -> Failed | ProtocolViolation:
    """What a failure of an open connection means: an unknown effect, unless the request had not begun to leave."""
    # What goes wrong in a body comes wrapped.
    cause = error.__cause__ if isinstance(error, urllib3.exceptions.HTTPError) and error.__cause__ else error
    if isinstance(cause, TimeoutError):
        return Failed("the service did not answer in time", certain=not began)
    if isinstance(cause, OSError | http.client.IncompleteRead):
        return Failed("the connection broke off before the answer was whole", certain=not began)
    return ProtocolViolation("what the service sends is no answer of HTTP/1.1")


def _unreachable(location: Location, error: Exception) -> Failed:
    """What a failure before the first byte of a request means: certainly nothing was done."""
    again = True
    match error:
        case ssl.SSLCertVerificationError():
            # The text is the library's own; of the certificate, nothing is in it.
            reason = f"its certificate is not accepted: {error.verify_message.rstrip('.')}; check the URL and ca_file"
            again = False
        case ssl.SSLError():
            reason = "TLS with it fails; check that the URL's scheme and port belong together"
        case socket.gaierror() | UnicodeError():
            reason = "its name is not found; check the URL"
        case TimeoutError():
            reason = "it does not answer in time; check the URL and the network"
        case ConnectionRefusedError():
            reason = "nothing listens there; check the URL, and that the service runs"
        case OSError(errno=int() as number):
            reason = f"{os.strerror(number)}; check the URL and the network"
        case _:
            reason = "the connection broke off"
    return Failed(f"the service {location} cannot be reached: {reason}", certain=True, again=again)
