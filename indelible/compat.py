"""The interface of the client before this one, on top of the new one: the same calls, dicts, bytes and errors.

Programs written for ``indelible_log`` run with ``from indelible.compat import Cmd, Log, profileFromJson`` and a profile
whose ``endpoint_url`` names a store. Sealing is scheme 1, byte for byte, so that they read what they wrote. New
programs start at ``indelible.connect``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from indelible import codecs
from indelible.backend import Backend
from indelible.backends.encrypted import EncryptedBackend
from indelible.changes import Added
from indelible.cipher import SecretBoxCipher
from indelible.client import Access, open_backend
from indelible.codecs import Codec
from indelible.commands import Command, ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.credentials import Credentials
from indelible.errors import IndelibleError, InvalidRequest
from indelible.log import Log as _Log
from indelible.pages import AtCommand, AtKey, Cursor, DiffRequest
from indelible.secret import MasterKey

_PAGE = 50
_REQUIRED = ("endpoint_url", "customer_id", "apikey")


class ApiErrorException(Exception):  # its users know it by this name
    """An error as the service told it: ``code``, ``codeNumber``, ``message`` and ``details``, a dict of texts."""

    def __init__(self, code: str, number: int, message: str, details: dict[str, str]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.codeNumber = number
        self.message = message
        self.details = details


@contextmanager
def _as_before() -> Iterator[None]:
    try:
        yield
    except IndelibleError as error:
        if error.number is None or isinstance(error, InvalidRequest):
            raise
        shown = {"log", "index", "command", "head", "expected", "actual", "version", "oldest"}
        details = {name: str(value) for name, value in attrs.asdict(error).items() if name in shown}
        raise ApiErrorException(error.code, error.number, str(error), details) from error


class Cmd:
    """The commands, under the names they had."""

    Insert = Insert
    Update = Update
    Upsert = Upsert
    Remove = Remove
    ExpectVersion = ExpectVersion


def profileFromJson(profileJson: str | bytes) -> dict[str, Any]:  # noqa: N802, N803 - its users know it by this name
    """Read a profile from JSON text. Raises ``InvalidRequest`` naming the fields it lacks."""
    profile: Any = None
    fault = "a profile is a JSON object"
    try:
        profile = json.loads(profileJson)
    except (ValueError, RecursionError):
        fault = "the profile is not valid JSON"
    # Raised out here: the parser's error holds the whole text, key and all, and would hang on to this one.
    if not isinstance(profile, dict):
        raise InvalidRequest(fault)
    validateProfile(profile)
    profile["master_key"] = _master_key(profile)
    profile.pop("master_key_base64", None)
    return profile


def validateProfile(profile: Mapping[str, Any]) -> None:  # noqa: N802 - its users know it by this name
    """Raise ``InvalidRequest`` if the profile lacks a field."""
    missing = [name for name in _REQUIRED if name not in profile]
    if "master_key" not in profile and "master_key_base64" not in profile:
        missing.append("master_key_base64")
    if missing:
        raise InvalidRequest(f"the profile lacks {', '.join(missing)}")


def _master_key(profile: Mapping[str, Any]) -> MasterKey:
    key = profile.get("master_key")
    if key is None:
        return MasterKey.from_base64(profile["master_key_base64"])
    return key if isinstance(key, MasterKey) else MasterKey(key)


@attrs.frozen
class _Raw:
    """Keys or values that are Base64 text already, as they stand on the wire."""

    name: str = "raw"

    def encode(self, value: str) -> bytes:
        try:
            return base64.b64decode(value, validate=True)
        except (TypeError, ValueError, binascii.Error):
            raise InvalidRequest("in raw mode, keys and values are Base64 text") from None

    def decode(self, data: bytes) -> str:
        return base64.b64encode(data).decode()


_MODES: Final[Mapping[str, Codec[Any]]] = {
    "string": codecs.STRING,
    "json": codecs.JSON_ASCII,
    "binary": codecs.BYTES,
    "raw": _Raw(),
}


def _name(name: Any, mode: str) -> str:
    if mode == "stringlist":
        return "\x01" + "".join(part + "\x00" for part in name)
    if mode not in ("string", "raw"):
        raise InvalidRequest("name_mode must be string, stringlist or raw")
    try:
        return name.decode() if isinstance(name, bytes) else str(name)
    except UnicodeDecodeError:
        raise InvalidRequest("a raw name must be UTF-8") from None


_open: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def _backend(profile: Mapping[str, Any]) -> Backend:
    """The store of a profile, shared by the logs that are open in it: the old client had nothing to close."""
    url, ca_file, plain = profile["endpoint_url"], profile.get("ca_file"), profile.get("allow_plain_http", False)
    access, who = None, ""
    if str(url).lower().startswith(("http:", "https:")):
        credentials = Credentials(profile["customer_id"], profile["apikey"])
        access = Access(credentials, ca_file, plain)
        # Each customer, and each key, has connections of its own. The key itself is not kept in the table.
        secret = credentials.apikey.reveal()
        who = hashlib.sha256(credentials.customer_id.encode() + b":" + secret).hexdigest()
    # Not across a fork, and a relative path is another file in another folder.
    place = (os.getpid(), str(Path.cwd()), url, who, str(ca_file), plain)
    with _opening:
        backend = _open.get(place)
        if backend is None:
            backend = _open[place] = open_backend(url, access=access)
        return backend


class Log:
    """A log, as the old client showed it.

    ``key_mode`` and ``value_mode`` are ``string``, ``json``, ``binary`` or ``raw``; ``name_mode`` is ``string``,
    ``stringlist`` or ``raw``. ``encrypt`` seals names, keys and values with scheme 1; ``raw`` goes without.
    """

    def __init__(
        self,
        name: Any,
        profile: Mapping[str, Any],
        key_mode: str = "string",
        value_mode: str = "json",
        encrypt: bool = True,
        name_mode: str = "string",
    ) -> None:
        for mode in (key_mode, value_mode):
            if mode not in _MODES:
                raise InvalidRequest("mode must be string, json, binary or raw")
            if encrypt and mode == "raw":
                raise InvalidRequest("raw mode goes with encrypt=False: what is sent as it is cannot be sealed")
        validateProfile(profile)
        self.orig_name = name
        self.key_mode = key_mode
        self.value_mode = value_mode
        self.encrypt = encrypt
        self.encoded_name: str = _name(name, name_mode)
        self.remote_name: str = self.encoded_name
        self._keys = _MODES[key_mode]
        self._values = _MODES[value_mode]
        self._backend = _backend(profile)
        if encrypt:
            cipher = SecretBoxCipher(_master_key(profile), scheme=1)
            self.remote_name = cipher.seal_name(self.encoded_name)
            self._backend = EncryptedBackend(self._backend, cipher)

    def create(self, log_group: str | None = None) -> None:
        """Create the log; nothing if it exists with the same group."""
        with _as_before():
            self._backend.create(self.encoded_name, log_group)

    def update(
        self,
        commands: Transaction[Any, Any] | Iterable[Command[Any, Any]],
        update_source: str | None = None,
        *,
        attempt: int = 1,
    ) -> None:
        """Apply the commands as one transaction.

        When it ends with ``OutcomeUnknown``, send ``error.transaction`` in place of the commands, with
        ``attempt=error.attempt + 1``: it takes effect once.
        """
        log: _Log[Any, Any] = _Log(self._backend, self.encoded_name, self._keys, self._values)
        with _as_before():
            log.update(commands, source=update_source, attempt=attempt)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The entries of the version that is the newest now, as changes."""
        return self.version_diff(0, None).changes()

    def version(self, version: int) -> Iterator[dict[str, Any]]:
        """The entries of a version, as changes."""
        return self.version_diff(0, version).changes()

    def version_diff(
        self, from_version: int = 0, to_version: int | None = None, wait_seconds: float | None = None
    ) -> VersionDiff:
        """What changed between two versions; waits for a new one up to ``wait_seconds`` if there is none yet."""
        return VersionDiff(self, self.diff_page(from_version, to_version, wait_seconds=wait_seconds))

    def diff_page(
        self,
        from_version: int | None,
        to_version: int | None = None,
        wait_seconds: float | None = None,
        order_results_by: str | None = None,
        limit: int | None = None,
        pagination_options: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One page of a diff: ``fromVersion``, ``toVersion``, ``page`` and ``nextPageOptions``, None on the last."""
        with _as_before():
            request = DiffRequest(
                from_version or 0,
                to_version,
                wait_seconds=wait_seconds or 0,
                order=order_results_by or "command",  # type: ignore[arg-type]  # checked by the request
                limit=_PAGE if limit is None else limit,
                cursor=self._cursor(pagination_options),
            )
            page = self._backend.diff(self.encoded_name, request)
        return {
            "fromVersion": page.from_version,
            "toVersion": page.to_version,
            "page": [
                {
                    "change": "Add" if isinstance(change, Added) else "Remove",
                    "entry": {"key": self._keys.decode(change.key), "value": self._values.decode(change.value)},
                    "version": change.version,
                }
                for change in page.changes
            ],
            "nextPageOptions": self._options(page.next),
        }

    def _cursor(self, options: Mapping[str, Any] | None) -> Cursor | None:
        if options is None:
            return None
        seen = options.get("removeAlreadySeen") in ("true", True)
        if options.get("skipToKey") is not None:
            return AtKey(self._keys.encode(options["skipToKey"]), seen)
        return AtCommand(_number(options.get("skipToVersion", 0)), _number(options.get("skipToCommand", 0)), seen)

    def _options(self, cursor: Cursor | None) -> dict[str, Any] | None:
        if cursor is None:
            return None
        seen = {"removeAlreadySeen": "true" if cursor.removal_seen else "false"}
        if isinstance(cursor, AtKey):
            return {"skipToKey": self._keys.decode(cursor.key), **seen}
        return {"skipToVersion": cursor.version, "skipToCommand": cursor.command, **seen}


def _number(value: Any) -> int:
    """A whole number, which may come as decimal text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if type(value) is not int:
        raise InvalidRequest("pagination options name places by whole numbers")
    return value


class VersionDiff:
    """A diff between two versions, as the old client showed it."""

    def __init__(self, log: Log, first: dict[str, Any]) -> None:
        self.log = log
        self.from_version: int = first["fromVersion"]
        self.to_version: int = first["toVersion"]
        self.page: list[dict[str, Any]] = first["page"]
        self.next_page_options: dict[str, Any] | None = first["nextPageOptions"]

    def __str__(self) -> str:
        return str(self.to_version)

    def changes(self) -> Iterator[dict[str, Any]]:
        """Every change, page by page, from the first each time."""
        page, following = self.page, self.next_page_options
        while True:
            yield from page
            if following is None:
                return
            answer = self.log.diff_page(self.from_version, self.to_version, pagination_options=following)
            page, following = answer["page"], answer["nextPageOptions"]


__all__ = ["ApiErrorException", "Cmd", "Log", "VersionDiff", "profileFromJson", "validateProfile"]
