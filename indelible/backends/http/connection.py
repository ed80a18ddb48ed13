"""One connection to a service: opened, written to and read from by a deadline, and never read further than allowed."""

from __future__ import annotations

import functools
import http.client
import io
import socket
import ssl
from typing import Any, Final

import urllib3.connection

from indelible.backends.http.calls import Call
from indelible.backends.http.location import Location
from indelible.errors import ProtocolViolation

_RECORD: Final = 16 * 1024
"""Bytes sent in one step: as many as TLS puts in one record, so that no step is more than one wait."""

_HEAD: Final = 64 * 1024
"""What the head of an answer may add to the largest body."""


class Connection(urllib3.connection.HTTPConnection):
    """HTTP/1.1, plain or over TLS, for one call after another.

    Each single wait gets the time that its call has left: a time-out for each would let a peer that sends a byte now
    and then hold a call for ever. Only the resolver of names keeps its own time.
    """

    sock: Any
    response_class: Any

    def __init__(self, location: Location, context: ssl.SSLContext | None, largest: int) -> None:
        super().__init__(location.host, location.port)
        self._context = context
        self._meter = _Meter(largest + _HEAD)
        self.response_class = functools.partial(_Answer, self._meter)
        self.idle_since: float = 0.0
        self.spent: bool = True
        self.began: bool = False

    def open(self, call: Call) -> None:
        """Connect, by whichever of the host's addresses answers first. Raises ``OSError``."""
        addresses = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        for index, (family, kind, protocol, _, address) in enumerate(addresses, start=1):
            try:
                # Refused where this system does not speak the family of the address.
                sock = socket.socket(family, kind, protocol)
                self.sock = self._joined(sock, address, call, len(addresses) - index + 1)
            except OSError:
                if index == len(addresses) or call.closed:
                    raise
            else:
                return

    def _joined(self, sock: socket.socket, address: Any, call: Call, among: int) -> socket.socket:
        try:
            call.hold(sock)
            # An address that swallows everything must leave time for the others.
            sock.settimeout(call.left() / among)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)
                call.hold(sock)
                sock.settimeout(call.left())
                sock.do_handshake()
        except BaseException:
            call.hold(None)
            sock.close()
            raise
        return sock

    def begin(self, call: Call) -> None:
        """Work for this call from now on; ``spent`` until its answer was read to the end.

        ``began`` says whether any of its request may have left.
        """
        self.spent, self.began = True, False
        call.hold(self.sock)
        self._meter.begin(call, self.sock)

    def end(self) -> None:
        """Work for nobody any more."""
        self._meter.end()

    def send(self, data: Any) -> None:
        """Send all of it."""
        view = memoryview(data)
        for at in range(0, len(view), _RECORD):
            self._meter.step()
            self.began = True
            self.sock.sendall(view[at : at + _RECORD])


class _Meter:
    """How much may still be read of an answer, and how long."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left = most
        self._call: Call | None = None
        self._sock: socket.socket | None = None

    def begin(self, call: Call, sock: socket.socket) -> None:
        self._left = self._most
        self._call = call
        self._sock = sock

    def end(self) -> None:
        self._call = self._sock = None

    def step(self) -> None:
        """Before each wait: give it the time that is left."""
        assert self._call is not None
        assert self._sock is not None
        self._sock.settimeout(self._call.left())

    def count(self, size: int) -> None:
        """After each wait: so much came."""
        self._left -= size
        if self._left < 0:
            raise too_large()


class _Metered(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, meter: _Meter) -> None:
        self._raw = raw
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._meter.step()
        size: int | None = self._raw.readinto(buffer)
        self._meter.count(size or 0)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that is read through a meter, its head as well."""

    def __init__(self, meter: _Meter, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = _Lines(_Metered(self.fp.detach(), meter))


class _Lines(io.BufferedReader):
    """Gives whole lines: without this, a head that was cut off would be taken for a shorter one."""

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(-1 if size is None else size)
        if not line.endswith(b"\n") and len(line) != size:
            raise http.client.IncompleteRead(b"")
        return line


def too_large() -> ProtocolViolation:
    """The error for an answer that does not end where it must."""
    return ProtocolViolation(
        "the service's answer is larger than any may be; raise largest_answer if that is what the log holds"
    )
