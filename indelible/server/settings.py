"""What the service is told: from a file, from flags, or neither."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeAlias
from urllib.parse import quote

import attrs

from indelible import checks
from indelible.backend import Backend
from indelible.client import open_backend
from indelible.errors import InvalidRequest
from indelible.limits import Limits

_KIB: Final = 1024
_MIB: Final = 1024 * 1024
_MOST: Final = 2**40
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_SQLITE_RELATIVE = re.compile(r"sqlite:///(?!/)", re.IGNORECASE)

# What a customer's id and the slash after it add to the name of a log.
_PREFIX: Final = 64

# What the log of customers and keys asks of the store, however little is allowed to customers.
_OWN: Final = Limits()

_Check: TypeAlias = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _whole(low: int, high: int = _MOST) -> _Check:
    def check(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if type(value) is not int:
            raise InvalidRequest(f"{attribute.name} must be a whole number, not {type(value).__name__}")
        if not low <= value <= high:
            raise InvalidRequest(f"{attribute.name} must lie between {low} and {high}, not {value}")

    return check


def _seconds(low: float) -> _Check:
    def check(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if checks.seconds(value, attribute.name) < low:
            raise InvalidRequest(f"{attribute.name} must be {low} seconds or more, not {value}")

    return check


def _flag(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if type(value) is not bool:
        raise InvalidRequest(f"{attribute.name} must be true or false, not {type(value).__name__}")


def _text(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    checks.name(value, attribute.name)


def _url(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    # The URL is not shown: it may hold a password.
    if not _URL.match(checks.name(value, attribute.name)):
        raise InvalidRequest(f"{attribute.name} must be a URL, such as sqlite:////var/lib/indelible/indelible.db")


def _file(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, Path):
        raise InvalidRequest(f"{attribute.name} must be the path of a file, not {type(value).__name__}")


def _path(value: Path | str | None) -> Path | None:
    return Path(value) if isinstance(value, str) else value


def _limits(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, ServiceLimits):
        raise InvalidRequest(f"{attribute.name} must be a table of limits, not {type(value).__name__}")


@attrs.frozen(kw_only=True)
class ServiceLimits:
    """The most that the service takes, and how long it waits. Raises ``InvalidRequest``.

    Bytes: ``body``, ``head_bytes``, ``key``, ``value``, ``name``, ``group``, ``source``, and ``bodies``, those of the
    requests of all customers held at once. Commands in a transaction, changes on a ``page``, ``connections`` in all.
    Requests and long polls at once of each customer. Seconds to receive a head and a body, to send an answer, and to
    finish when told to stop.
    """

    body: int = attrs.field(default=16 * _MIB, validator=_whole(1))
    commands: int = attrs.field(default=10_000, validator=_whole(1))
    key: int = attrs.field(default=4 * _KIB, validator=_whole(1))
    value: int = attrs.field(default=_MIB, validator=_whole(1))
    name: int = attrs.field(default=_KIB, validator=_whole(1))
    group: int = attrs.field(default=256, validator=_whole(1))
    source: int = attrs.field(default=256, validator=_whole(1))
    page: int = attrs.field(default=10_000, validator=_whole(1))
    requests_per_tenant: int = attrs.field(default=64, validator=_whole(1))
    polls_per_tenant: int = attrs.field(default=1_000, validator=_whole(1))
    connections: int = attrs.field(default=15_000, validator=_whole(1))
    bodies: int = attrs.field(default=256 * _MIB, validator=_whole(1))
    head_bytes: int = attrs.field(default=32 * _KIB, validator=_whole(1))
    head_seconds: float = attrs.field(default=10, validator=_seconds(0.1))
    body_seconds: float = attrs.field(default=60, validator=_seconds(0.1))
    send_seconds: float = attrs.field(default=60, validator=_seconds(0.1))
    drain_seconds: float = attrs.field(default=4, validator=_seconds(0))

    def __attrs_post_init__(self) -> None:
        if self.bodies < self.body:
            raise InvalidRequest("bodies must be at least as large as body, or the largest body would never be taken")

    @property
    def tenant(self) -> Limits:
        """The limits of what one customer sends, names as the customer gives them."""
        return Limits(
            key=self.key,
            value=self.value,
            name=self.name,
            group=self.group,
            source=self.source,
            commands=self.commands,
        )

    @property
    def store(self) -> Limits:
        """The limits of the store under all customers: room for what they may send, and for the log of access."""
        own, theirs = attrs.asdict(_OWN), attrs.asdict(self.tenant)
        room = {limit: max(most, theirs[limit]) for limit, most in own.items()}
        return Limits(**(room | {"name": room["name"] + _PREFIX}))


def default_store() -> str:
    """The URL of a SQLite file in the user's folder for data. Raises ``InvalidRequest`` for a user without a home."""
    return "sqlite:///" + quote(os.fsencode(_data_folder() / "indelible.db"))


def _data_folder() -> Path:
    given = Path(os.environ.get("XDG_DATA_HOME", ""))
    # The XDG specification wants a relative path ignored.
    if given.is_absolute() and sys.platform != "darwin":
        return given / "indelible"
    try:
        home = Path.home()
    except RuntimeError:
        raise InvalidRequest("there is no home folder to keep logs in; give store") from None
    place = "Library/Application Support" if sys.platform == "darwin" else ".local/share"
    return home / place / "indelible"


@attrs.frozen(kw_only=True)
class Settings:
    """All that ``indelible serve`` can be told; shows no URL of a store, since that may hold a password.

    ``store`` is the URL of the store, ``host`` and ``port`` where to listen (0 is any free port), ``tls_certificate``
    and ``tls_key`` files in PEM form. Without them the service speaks to this machine only, unless
    ``allow_plain_http``. ``workers`` is a number of processes. Raises ``InvalidRequest``.
    """

    store: str = attrs.field(factory=default_store, validator=_url, repr=lambda url: repr(url.partition(":")[0] + ":"))
    host: str = attrs.field(default="127.0.0.1", validator=_text)
    port: int = attrs.field(default=8420, validator=_whole(0, 65_535))
    tls_certificate: Path | None = attrs.field(default=None, converter=_path, validator=_file)
    tls_key: Path | None = attrs.field(default=None, converter=_path, validator=_file)
    allow_plain_http: bool = attrs.field(default=False, validator=_flag)
    workers: int = attrs.field(default=1, validator=_whole(1, 1_024))
    access_log: bool = attrs.field(default=True, validator=_flag)
    limits: ServiceLimits = attrs.field(factory=ServiceLimits, validator=_limits)

    def __attrs_post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise InvalidRequest("give tls_certificate and tls_key, or neither")
        if self.tls_key is None and not self.allow_plain_http and not _is_loopback(self.host):
            raise InvalidRequest(
                f"host {self.host} can be reached from other machines, and API keys would go over the network in the "
                "clear; give tls_certificate and tls_key, or allow_plain_http behind a proxy that speaks TLS"
            )
        if self.workers > 1 and self.store.partition(":")[0].lower() == "memory":
            raise InvalidRequest("a memory: store lives in one process; use workers = 1, or another store")

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, flags: Mapping[str, Any] | None = None) -> Self:
        """The settings in a TOML file, with those in ``flags`` that are not None in their place.

        Relative paths in the file are taken from its folder. Raises ``InvalidRequest``, which names file and key.
        """
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        return cls(**({} if path is None else _read(Path(path))) | given)

    def open_store(self) -> Backend:
        """Open the store, with its limits; close it. The folder of the default one is made, for its owner alone."""
        with contextlib.suppress(InvalidRequest):
            if self.store == default_store():
                _data_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_backend(self.store, self.limits.store)


def _is_loopback(host: str) -> bool:
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> dict[str, Any]:
    """The fields of ``Settings`` that a file gives, each checked by itself."""
    try:
        fields = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise InvalidRequest(f"the settings {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not TOML (not UTF-8)") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"{path} is not TOML ({error})") from None
    folder = path.absolute().parent
    if isinstance(limits := fields.get("limits"), dict):
        _check(ServiceLimits, limits, f"{path}: limits.")
        try:
            fields["limits"] = ServiceLimits(**limits)
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}: limits: {error}") from None
    for name in ("tls_certificate", "tls_key"):
        if isinstance(fields.get(name), str):
            fields[name] = folder / fields[name]
    _check(Settings, fields, f"{path}: ")
    if "store" in fields:
        here = f"sqlite:///{quote(os.fsencode(folder))}/"
        fields["store"] = _SQLITE_RELATIVE.sub(lambda _match: here, fields["store"], count=1)
    return fields


def _check(cls: type[attrs.AttrsInstance], fields: Mapping[str, Any], where: str) -> None:
    """Raise for the first of ``fields`` that ``cls`` does not have or would not take, telling where it stands."""
    known = attrs.fields_dict(cls)
    for name, value in fields.items():
        if name not in known:
            raise InvalidRequest(f"{where}{name} is not a setting; there are {', '.join(known)}")
        check: Any = known[name].validator
        try:
            check(None, known[name], value)
        except InvalidRequest as error:
            raise InvalidRequest(f"{where}{error}") from None
