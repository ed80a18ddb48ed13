"""Where a service is: the part of its URL that may be given, and the trust that its certificate needs."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from pathlib import Path
from typing import Final, Self

import attrs

from indelible import checks
from indelible.errors import InvalidRequest

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?/?",
    re.IGNORECASE | re.ASCII,
)
_PORTS: Final = {"http": 80, "https": 443}


@attrs.frozen
class Location:
    """Host and port of a service, and whether it is spoken to over TLS. Prints as its URL."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str, *, allow_plain_http: bool = False) -> Self:
        """The location that a URL names. Raises ``InvalidRequest``, without showing what may hold a password.

        ``http:`` is for this machine only, unless ``allow_plain_http``: whoever is in between would learn the API key.
        """
        match = _URL.fullmatch(checks.text(url, "a service's URL"))
        if match is None:
            raise InvalidRequest("a service's URL is https://host or https://host:port, without user, path or query")
        scheme, host = match["scheme"].lower(), (match["six"] or match["name"]).lower()
        port = _PORTS[scheme] if match["port"] is None else int(match["port"])
        if not 0 < port < 2**16:
            raise InvalidRequest("a service's port lies between 1 and 65535")
        if match["six"] and _address(host) is None:
            raise InvalidRequest("what stands in brackets in a service's URL is an IPv6 address")
        if scheme == "http" and not allow_plain_http and not _is_loopback(host):
            raise InvalidRequest(
                f"http://{host} would carry the API key in the clear; use https, or allow_plain_http=True "
                "where nobody else is on the way"
            )
        return cls(host, port, scheme == "https")

    @property
    def authority(self) -> str:
        """Host and port as an HTTP request names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self._scheme] else f"{host}:{self.port}"

    @property
    def _scheme(self) -> str:
        return "https" if self.tls else "http"

    def __str__(self) -> str:
        return f"{self._scheme}://{self.authority}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def tls_context(ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """TLS 1.2 or later with a certificate for the host's name, by the authorities in ``ca_file`` or the system's.

    Raises ``InvalidRequest`` for a file that is none of certificates.
    """
    # Made by hand: the ready-made contexts write session keys wherever a variable of the environment says.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A name in a certificate's old place for it vouches for nothing (RFC 9525).
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is None:
        context.load_default_certs()
        return context
    if not os.fspath(ca_file):
        raise InvalidRequest("ca_file must not be empty; leave it out to trust the system's authorities")
    try:
        context.load_verify_locations(Path(ca_file))
    except ssl.SSLError:
        raise InvalidRequest(f"ca_file {ca_file} holds no certificates in PEM form") from None
    except ValueError:
        raise InvalidRequest("ca_file must be the path of a file; no name of one holds a NUL") from None
    except OSError as error:
        raise InvalidRequest(f"ca_file {ca_file} cannot be read ({error.strerror})") from None
    return context
