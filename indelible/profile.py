"""Who a program is and which key it holds: what stands in a profile file."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from indelible import checks, files
from indelible.credentials import Credentials
from indelible.errors import InvalidRequest
from indelible.secret import MasterKey, Secret

_FIELDS = (
    "endpoint_url",
    "customer_id",
    "apikey",
    "master_key_base64",
    "scheme",
    "ca_file",
    "allow_plain_http",
    "pins",
)
_SQLITE_RELATIVE = "sqlite:///"


def _secret(value: Secret | str | None) -> Secret | None:
    return (
        Secret(checks.text(value, "apikey").encode()) if value is not None and not isinstance(value, Secret) else value
    )


def _path(value: str | os.PathLike[str] | None, what: str) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise InvalidRequest(f"{what} must be the path of a file, not {type(value).__name__}")
    # An empty one would be the folder that the profile stands in.
    if not os.fspath(value) or "\0" in os.fspath(value):
        raise InvalidRequest(f"{what} must be the path of a file; leave it out if there is none")
    return Path(value)


def _ca_file(value: str | os.PathLike[str] | None) -> Path | None:
    return _path(value, "ca_file")


def _pins(value: str | os.PathLike[str] | None) -> Path | None:
    return _path(value, "pins")


@attrs.frozen(kw_only=True)
class Profile:
    """Where the logs are, and the key that seals them; shows no secret, however it is printed.

    ``endpoint_url`` is a store's URL, ``master_key`` seals names, keys and values, by ``scheme`` 2, or 1 for logs that
    the client before this one wrote. For a service: ``customer_id`` and ``apikey``, ``ca_file`` with the authorities to
    trust instead of the system's, ``allow_plain_http`` to do without TLS, ``pins`` for the file that keeps what was
    seen of the logs, where it shall not stand beside the profile. ``path`` is where it was loaded from, links
    resolved. Raises ``InvalidRequest``.
    """

    endpoint_url: str
    master_key: MasterKey
    customer_id: str | None = None
    apikey: Secret | None = attrs.field(default=None, converter=_secret)
    scheme: int = 2
    ca_file: Path | None = attrs.field(default=None, converter=_ca_file, repr=False)
    allow_plain_http: bool = attrs.field(default=False, repr=False)
    pins: Path | None = attrs.field(default=None, converter=_pins, repr=False)
    path: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path), eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        checks.name(self.endpoint_url, "endpoint_url")
        if not isinstance(self.master_key, MasterKey):
            raise InvalidRequest("master_key must be a MasterKey; MasterKey.generate() makes one")
        if self.customer_id is not None:
            checks.name(self.customer_id, "customer_id")
        if self.scheme not in (1, 2) or type(self.scheme) is not int:
            raise InvalidRequest("scheme must be 2, or 1 for logs written by the client before this one")
        if type(self.allow_plain_http) is not bool:
            raise InvalidRequest("allow_plain_http must be true or false")

    @property
    def credentials(self) -> Credentials | None:
        """Who its owner is to a service; None if it does not say both id and key."""
        if self.customer_id is None or self.apikey is None:
            return None
        return Credentials(self.customer_id, self.apikey)

    @classmethod
    def from_json(cls, text: str | bytes) -> Profile:
        """Read a profile from JSON text. Raises ``InvalidRequest`` that names what is wrong and shows nothing."""
        fields: Any = None
        fault = "a profile is a JSON object"
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fault = "the profile is not valid JSON"
        # Raised out here: the parser's error holds the whole text, key and all, and would hang on to this one.
        if not isinstance(fields, dict):
            raise InvalidRequest(fault)
        missing = [name for name in ("endpoint_url", "master_key_base64") if name not in fields]
        if missing:
            raise InvalidRequest(f"the profile lacks {' and '.join(missing)}")
        unknown = sorted(fields.keys() - set(_FIELDS))
        if unknown:
            raise InvalidRequest(f"the profile has unknown fields; known are {', '.join(_FIELDS)}")
        master_key = MasterKey.from_base64(fields.pop("master_key_base64"))
        return cls(master_key=master_key, **fields)

    def to_json(self) -> str:
        """The profile as JSON text, the secrets with it: keep it where only its owner can read."""
        fields = {
            "endpoint_url": self.endpoint_url,
            "customer_id": self.customer_id,
            "apikey": None if self.apikey is None else self.apikey.reveal().decode(),
            "master_key_base64": self.master_key.to_base64(),
            "scheme": self.scheme,
            "ca_file": None if self.ca_file is None else str(self.ca_file),
            "allow_plain_http": self.allow_plain_http or None,
            "pins": None if self.pins is None else str(self.pins),
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None}, indent=4) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile file. Relative paths in it are taken from the file's folder.

        Raises ``InvalidRequest`` if the file is not there, is no profile, or can be read by others.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if os.name == "posix" and mode & 0o077:
                    raise InvalidRequest(
                        f"the profile {path} can be read by others (mode {mode:04o}); "
                        f"make it yours alone: chmod 600 {path}"
                    )
                text = file.read()
        except OSError as error:
            raise InvalidRequest(
                f"the profile {path} cannot be read ({error.strerror}); 'indelible init' makes one"
            ) from None
        try:
            profile = cls.from_json(text)
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}: {error}") from None
        # What it names stands beside the file itself, wherever a link to it may be.
        path = path.resolve()
        url, folder = profile.endpoint_url, path.parent
        if url.startswith(_SQLITE_RELATIVE) and not url.startswith(_SQLITE_RELATIVE + "/"):
            url = f"{_SQLITE_RELATIVE}{quote(os.fsencode(folder))}/{url.removeprefix(_SQLITE_RELATIVE)}"
        ca_file = None if profile.ca_file is None else folder / profile.ca_file
        pins = None if profile.pins is None else folder / profile.pins
        return attrs.evolve(profile, endpoint_url=url, ca_file=ca_file, pins=pins, path=path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new profile file that only its owner can read (mode 0600): all of it, or none.

        Raises ``InvalidRequest`` if there is a file already: it may hold the only copy of a key.
        """
        path = Path(path)
        try:
            files.write_new(path, self.to_json().encode())
        except FileExistsError:
            raise InvalidRequest(f"{path} exists and may hold the only copy of a key; choose another name") from None
        except OSError as error:
            raise InvalidRequest(f"the profile {path} cannot be written ({error.strerror})") from None
