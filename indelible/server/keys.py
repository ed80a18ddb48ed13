"""What access is made of: customers, their API keys, and what a key grants."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

import attrs

from indelible import checks, seams
from indelible.errors import InvalidRequest, NotAllowed
from indelible.secret import Secret

Scope: TypeAlias = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""What a key may be good for; none of them includes another."""

_CUSTOMER = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ID = re.compile(r"[a-z2-7]{12}")
_TEXT = re.compile(rb"idl_([a-z2-7]{12})_([a-z2-7]{52})")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PERSON: Final = b"indelible.apikey"


def check_customer_id(value: object) -> str:
    """A customer's id: it stands before a slash in the names of the customer's logs, so none lies within another's."""
    if not isinstance(value, str) or not _CUSTOMER.fullmatch(value):
        raise InvalidRequest(
            "a customer's id is 1 to 63 of a-z, 0-9, dot, hyphen and underscore, and begins with a letter or digit"
        )
    return value


def check_key_id(value: object) -> str:
    """A key's id. What is none is not shown: it may be the whole key."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidRequest("a key's id is the 12 characters between the underscores of its text")
    return value


def _utc(value: dt.datetime) -> dt.datetime:
    if not isinstance(value, dt.datetime) or value.utcoffset() is None:
        raise InvalidRequest("a time must be a datetime that knows its offset from UTC")
    try:
        return value.astimezone(dt.UTC)
    except OverflowError:
        raise InvalidRequest("a time must lie in the years 1 to 9999 in UTC") from None


def _utc_or_never(value: dt.datetime | None) -> dt.datetime | None:
    return None if value is None else _utc(value)


def _scopes(value: Iterable[Scope]) -> tuple[Scope, ...]:
    try:
        found = set(value)
    except TypeError:
        found = set()
    if not found or not found <= set(SCOPES):
        raise InvalidRequest(f"a key's scopes are one or more of {', '.join(SCOPES)}")
    return tuple(sorted(found))


@attrs.frozen
class Customer:
    """Who has logs: they stand under ``id/`` in the store. Raises ``InvalidRequest``."""

    id: str
    name: str
    created_at: dt.datetime = attrs.field(converter=_utc)

    def __attrs_post_init__(self) -> None:
        check_customer_id(self.id)
        checks.text(self.name, "a customer's name")


@attrs.frozen
class Grant:
    """What one request may do: ``scopes`` in the logs of ``customer_id``, of one group only unless it is None."""

    customer_id: str
    key_id: str
    scopes: tuple[Scope, ...]
    group: str | None
    expires_at: dt.datetime | None

    def expired(self, now: dt.datetime) -> bool:
        """Whether the time of the key that it was given for is over; at ``expires_at`` it is."""
        return self.expires_at is not None and now >= self.expires_at

    def require(self, scope: Scope) -> None:
        """Raise ``NotAllowed`` unless this scope is granted."""
        if scope not in self.scopes:
            raise NotAllowed(f"this API key lacks the scope {scope!r}; use one that has it")

    def require_group(self, group: str | None) -> None:
        """Raise ``NotAllowed`` unless the logs of this group are granted."""
        if self.group not in (None, group):
            raise NotAllowed("this API key is for the logs of one group, and this is not one of them")


@attrs.frozen(kw_only=True)
class ApiKey:
    """What is kept of a key: who may do what with it, and the digest of its secret. Raises ``InvalidRequest``.

    From ``expires_at`` on it is refused, if that is not None. ``label`` is for people.
    """

    id: str
    customer_id: str
    digest: str = attrs.field(repr=False)
    scopes: tuple[Scope, ...] = attrs.field(converter=_scopes)
    group: str | None
    expires_at: dt.datetime | None = attrs.field(converter=_utc_or_never)
    created_at: dt.datetime = attrs.field(converter=_utc)
    label: str = ""

    def __attrs_post_init__(self) -> None:
        check_key_id(self.id)
        check_customer_id(self.customer_id)
        if not isinstance(self.digest, str) or not _DIGEST.fullmatch(self.digest):
            raise InvalidRequest("a key's digest is 64 hexadecimal digits")
        if self.group is not None:
            checks.text(self.group, "group")
        checks.text(self.label, "a key's label")

    def expired(self, now: dt.datetime) -> bool:
        """Whether its time is over; at ``expires_at`` it is."""
        return self.grant().expired(now)

    def grant(self) -> Grant:
        """What it grants while it is good."""
        return Grant(self.customer_id, self.id, self.scopes, self.group, self.expires_at)


def _random(size: int) -> str:
    return base64.b32encode(seams.entropy(size)).decode().rstrip("=").lower()


def _digest(secret: bytes) -> str:
    # No slow hash and no salt: they protect what can be guessed, and nobody guesses 256 random bits. The digest alone
    # is kept, so that who reads the store cannot use the keys in it.
    return hashlib.blake2b(secret, digest_size=32, person=_PERSON).hexdigest()


def generate() -> tuple[str, str, Secret]:
    """A fresh key: its id, the digest of its secret, and its text, ``idl_<id>_<secret>``, which is kept nowhere."""
    identity, secret = _random(7), _random(32)
    return identity, _digest(secret.encode()), Secret(f"idl_{identity}_{secret}".encode())


def claim(text: Secret) -> tuple[str, str]:
    """Whose key this text claims to be, "" if it has not the form of one, and the digest of its secret."""
    match = _TEXT.fullmatch(text.reveal())
    if match is None:
        return "", _digest(text.reveal())
    return match[1].decode(), _digest(match[2])
