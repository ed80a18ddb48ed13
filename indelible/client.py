"""The way in: a URL or a profile, and the logs behind it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, overload

import attrs

from indelible import codecs
from indelible.backend import Backend
from indelible.codecs import Codec
from indelible.credentials import Credentials
from indelible.errors import InvalidRequest
from indelible.limits import Limits
from indelible.log import Log
from indelible.profile import Profile
from indelible.records import LogInfo
from indelible.secret import MasterKey

K = TypeVar("K")
V = TypeVar("V")

ENTRY_POINTS: Final = "indelible.backends"
"""The entry point group in which a distribution names its backend, by URL scheme: a callable from URL to backend."""

_OWN: Final = {
    "memory": "indelible.backends.memory:open_url",
    "sqlite": "indelible.backends.sqlite:open_url",
}
_SERVICE: Final = ("http", "https")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


class _Unset:
    """Stands for an argument that was not given, where None means something."""


_UNSET: Final = _Unset()


@attrs.frozen(eq=False)
class Client:
    """Logs in one place, under one key. Use it as a context manager, or ``close`` it; it may be used from many threads.

    ``backend`` is what it speaks to, sealing included; ``values`` is the codec of values unless a log names its own.
    """

    backend: Backend
    values: Codec[Any] = codecs.JSON

    @overload
    def log(self, name: str) -> Log[str, Any]: ...
    @overload
    def log(self, name: str, *, values: Codec[V]) -> Log[str, V]: ...
    @overload
    def log(self, name: str, *, keys: Codec[K]) -> Log[K, Any]: ...
    @overload
    def log(self, name: str, *, keys: Codec[K], values: Codec[V]) -> Log[K, V]: ...
    def log(self, name: str, *, keys: Codec[Any] = codecs.STRING, values: Codec[Any] | None = None) -> Log[Any, Any]:
        """The log of that name: text keys and JSON values, unless other codecs are given. Nothing is asked yet."""
        return Log(self.backend, name, keys, self.values if values is None else values)

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """The logs there are under this key, or those of one group, by name (S18)."""
        return self.backend.logs(group)

    def close(self) -> None:
        """Let go of the store; whoever still waits gets ``Closed``. A second call does nothing."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            # What is passing says more of what became of the logs.
            error.add_note(f"closing failed as well: {failure}")
        return False


def connect(
    target: str | os.PathLike[str] | Profile,
    *,
    master_key: MasterKey | bytes | str | _Unset | None = _UNSET,
    scheme: int | None = None,
    limits: Limits | None = None,
    credentials: Credentials | None = None,
    pins: str | os.PathLike[str] | None = None,
) -> Client:
    """Open the logs at ``target``: a profile, a profile's file, or a URL with a key.

    URLs are ``memory:``, ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``https://host`` for a service, which
    needs ``credentials``, and whatever other distributions bring.
    A URL needs ``master_key``: 32 random bytes, their Base64, or None to store everything readable; only ``memory:``
    does without. ``scheme`` is 2 unless a profile says otherwise; 1 reads and writes what the client before this one
    wrote. ``limits`` are those of a store in this process; a service has its own.
    What was seen of a service's logs is kept in the file ``pins``, else in the one that the profile names, else beside
    the profile's file (``.pins``), so that an older state of them is noticed; without any, as long as the client lives.
    Raises ``InvalidRequest``, or ``UnsuitableStore`` for a store that cannot keep the contract.
    """
    if isinstance(target, Profile):
        if not isinstance(master_key, _Unset) or scheme is not None or credentials is not None:
            raise InvalidRequest("a profile carries its own master key, scheme and credentials; leave them out")
        access = service_of(target, pins)
        return _client(target.endpoint_url, limits, target.master_key, target.scheme, access)
    place = os.fspath(target) if isinstance(target, str | os.PathLike) else target
    if not isinstance(place, str):
        raise InvalidRequest("connect takes a profile, the path of its file, or a URL")
    if not (match := _SCHEME.match(place)):
        profile = Profile.load(place)
        return connect(profile, master_key=master_key, scheme=scheme, limits=limits, credentials=credentials, pins=pins)
    if isinstance(master_key, _Unset):
        if match[1].lower() != "memory":
            raise InvalidRequest("pass master_key=..., or master_key=None to store everything unsealed")
        master_key = None
    if not (credentials is None and pins is None) and match[1].lower() not in _SERVICE:
        raise InvalidRequest("credentials and pins are for a service; leave them out for a store that asks for none")
    key = _master_key(master_key)
    return _client(place, limits, key, 2 if scheme is None else scheme, Access(credentials, pins=pins))


def _client(url: str, limits: Limits | None, key: MasterKey | None, scheme: int, access: Access) -> Client:
    if key is None:
        return Client(open_backend(url, limits, access))
    # Only who seals pays for loading the encryption library.
    from indelible.backends.encrypted import EncryptedBackend  # noqa: PLC0415
    from indelible.cipher import SecretBoxCipher  # noqa: PLC0415

    cipher = SecretBoxCipher(key, scheme=scheme)
    values = codecs.JSON_ASCII if scheme == 1 else codecs.JSON
    return Client(EncryptedBackend(open_backend(url, limits, access), cipher), values)


def service_of(profile: Profile, pins: str | os.PathLike[str] | None = None) -> Access:
    """What the service of a profile needs beside its URL, the file of the pins included."""
    pins = profile.pins if pins is None else pins
    if pins is None and profile.path is not None:
        pins = profile.path.with_name(profile.path.name + ".pins")
    return Access(profile.credentials, profile.ca_file, profile.allow_plain_http, pins)


def _master_key(value: MasterKey | bytes | str | None) -> MasterKey | None:
    if value is None or isinstance(value, MasterKey):
        return value
    return MasterKey.from_base64(value) if isinstance(value, str) else MasterKey(value)


@attrs.frozen
class Access:
    """What a service needs beside its URL. ``pins`` is the file that remembers what was seen of its logs."""

    credentials: Credentials | None = None
    ca_file: Path | None = None
    allow_plain_http: bool = False
    pins: str | os.PathLike[str] | None = None

    def open(self, url: str) -> Backend:
        """The service at ``url``. Raises ``InvalidRequest``."""
        if self.credentials is None:
            raise InvalidRequest(
                "a service asks who you are; give customer_id and apikey in the profile, or credentials=Credentials(..)"
            )
        # Only who speaks to a service pays for loading the HTTP library.
        from indelible.backends.http import HTTPBackend, Pins  # noqa: PLC0415

        return HTTPBackend(
            url,
            self.credentials,
            ca_file=self.ca_file,
            allow_plain_http=self.allow_plain_http,
            pins=Pins(self.pins),
        )


def open_backend(url: str, limits: Limits | None = None, access: Access | None = None) -> Backend:
    """The storing backend that a URL names, by its scheme; ``access`` is for a service.

    Raises ``InvalidRequest`` for a scheme that nothing installed provides, and for limits given to a service.
    """
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else ""
    if scheme in _SERVICE:
        if limits is not None:
            raise InvalidRequest("a service has limits of its own; leave limits out")
        return (access or Access()).open(url)
    factory: Callable[..., Backend]
    if scheme in _OWN:
        module, _, name = _OWN[scheme].partition(":")
        factory = getattr(importlib.import_module(module), name)
    else:
        found = importlib.metadata.entry_points(group=ENTRY_POINTS)
        if scheme not in found.names:
            known = ", ".join(f"{name}:" for name in sorted({*_OWN, *_SERVICE, *found.names}))
            raise InvalidRequest(
                f"no backend is installed for {scheme + ':' if scheme else 'this URL'}; there are {known}"
            )
        factory = found[scheme].load()
    return factory(url) if limits is None else factory(url, limits=limits)
