"""Who may use the service, kept in the store of the logs: every change of access is a version, with its history."""

from __future__ import annotations

import datetime as dt
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Self, TypeAlias

import attrs

from indelible import codecs, seams
from indelible.backend import Backend
from indelible.changes import Added, Change
from indelible.codecs import Codec
from indelible.commands import Command, ExpectVersion, Insert, Remove, Transaction, Upsert
from indelible.credentials import Credentials
from indelible.errors import (
    BadApiKey,
    InvalidRequest,
    NonexistentVersion,
    TooLarge,
    TransactionConflict,
    UnexpectedVersion,
    VersionTrimmed,
)
from indelible.log import Log
from indelible.secret import Secret
from indelible.sending import send
from indelible.server.keys import (
    SCOPES,
    ApiKey,
    Customer,
    Grant,
    Scope,
    check_customer_id,
    check_key_id,
    claim,
    generate,
)

__all__ = ["LOG_NAME", "SCOPES", "Access", "ApiKey", "Customer", "Directory", "Grant", "Scope"]

LOG_NAME: Final = "@/access"
"""Where access is kept. Customers' logs stand under their ids, and ``@`` is nobody's."""

MOST_KEYS: Final = 1_000
"""How many keys a customer may have, so that one transaction can always take them all."""

_Record: TypeAlias = Customer | ApiKey
_RECORDS: Codec[_Record] = codecs.typed(Customer | ApiKey, tags={"customer": Customer, "key": ApiKey})

_ATTEMPTS: Final = 50
"""How often a change is made anew when others get in between; each time, one of them has got on."""

_PAUSES: Final = (0.0, 0.0, 0.0)
"""Seconds before each time that a change is sent."""

_NOBODY: Final = "0" * 64


def _place(record: _Record) -> str:
    return f"customer:{record.id}" if isinstance(record, Customer) else f"key:{record.id}"


def _removal(record: _Record) -> list[Command[str, _Record]]:
    # A removal names what it removes, byte by byte, and passes over anything else in silence. Whatever bytes the record
    # was stored as, by whichever release, after the first of the two they are these.
    return [Upsert(_place(record), record), Remove(_place(record), record)]


@attrs.frozen
class Directory:
    """All customers and keys as they stand at one version of the access log, each by its id."""

    version: int = 0
    customers: Mapping[str, Customer] = attrs.field(factory=dict)
    keys: Mapping[str, ApiKey] = attrs.field(factory=dict)

    def authenticate(self, credentials: Credentials, now: dt.datetime) -> Grant:
        """What these credentials grant. Raises ``BadApiKey``, the same whatever is wrong with them."""
        identity, digest = claim(credentials.apikey)
        key = self.keys.get(identity)
        # A digest is made and compared in every case: the time that takes tells nobody which keys there are.
        same = hmac.compare_digest(digest, _NOBODY if key is None else key.digest)
        if key is None or not same or key.customer_id != credentials.customer_id or not self._is_good(key, now):
            raise BadApiKey
        return key.grant()

    def grant_still_valid(self, grant: Grant, now: dt.datetime) -> bool:
        """Whether a grant that was given earlier would be given now: for who has waited since."""
        key = self.keys.get(grant.key_id)
        return key is not None and key.grant() == grant and self._is_good(key, now)

    def keys_of(self, customer_id: str) -> list[ApiKey]:
        """The keys of one customer, oldest first."""
        found = (key for key in self.keys.values() if key.customer_id == customer_id)
        return sorted(found, key=lambda key: (key.created_at, key.id))

    def customer(self, customer_id: str) -> Customer:
        """The customer of that id. Raises ``InvalidRequest``."""
        if check_customer_id(customer_id) not in self.customers:
            raise InvalidRequest(f"there is no customer {customer_id!r}")
        return self.customers[customer_id]

    def after(self, version: int, changes: Iterable[Change[str, _Record]]) -> Directory:
        """What this becomes at ``version`` by the changes that lead there (S11)."""
        customers, by_id = dict(self.customers), dict(self.keys)
        for change in changes:
            of_kind: dict[str, Customer] | dict[str, ApiKey]
            of_kind = customers if isinstance(change.value, Customer) else by_id
            if isinstance(change, Added):
                of_kind[change.value.id] = change.value  # type: ignore[assignment]
            else:
                of_kind.pop(change.value.id, None)
        return Directory(version, customers, by_id)

    def _is_good(self, key: ApiKey, now: dt.datetime) -> bool:
        return key.customer_id in self.customers and not key.expired(now)


class Access:
    """The customers and keys in a store, to read and to change; for any number of administrators at once.

    ``backend`` holds the logs of all customers, each under its id. Every change is judged against the version that it
    was planned on, and planned anew if others came first: nobody overwrites another's. ``source`` is who makes them.
    Besides what each names, changes raise ``TransactionConflict`` if others come first all the time, and what
    ``Log.update`` does.
    """

    def __init__(self, backend: Backend, source: str | None = None) -> None:
        self._log: Log[str, _Record] = Log(backend, LOG_NAME, codecs.STRING, _RECORDS)
        self._source = source

    def open(self) -> Self:
        """Make the access log if it is not there yet; before that, everything else raises ``NonexistentLog``."""
        self._log.create()
        return self

    def directory(self, known: Directory | None = None, wait_seconds: float = 0.0) -> Directory:
        """All there is now. From ``known`` on, only what changed since is read, and waited for so long (S13)."""
        known = known or Directory()
        try:
            diff = self._log.diff(known.version, wait_seconds=wait_seconds)
        except (NonexistentVersion, VersionTrimmed):
            # What it stands on is gone: trimmed, or the store was put back to an older copy.
            known, diff = Directory(), self._log.diff()
        return known.after(diff.to_version, diff) if diff.to_version != known.version else known

    def customers(self) -> list[Customer]:
        """All customers, by id."""
        return [customer for _, customer in sorted(self.directory().customers.items())]

    def keys(self, customer_id: str | None = None) -> list[ApiKey]:
        """All keys, or those of one customer, by customer and age. Raises ``InvalidRequest`` for an unknown one."""
        now = self.directory()
        ids = sorted(now.customers) if customer_id is None else [now.customer(customer_id).id]
        return [key for identity in ids for key in now.keys_of(identity)]

    def add_customer(self, customer_id: str, name: str = "") -> Customer:
        """Add a customer. Raises ``InvalidRequest`` if there is one of this id.

        Logs that stand under this id already, from a customer who was removed, are the new one's.
        """
        customer = Customer(customer_id, name, seams.now())

        def plan(now: Directory) -> list[Command[str, _Record]]:
            if customer_id in now.customers:
                raise InvalidRequest(f"there is a customer {customer_id!r} already")
            return [Insert(_place(customer), customer)]

        self._change(plan)
        return customer

    def remove_customer(self, customer_id: str) -> list[ApiKey]:
        """Remove a customer and all its keys as one, and give those; its logs stay. Raises ``InvalidRequest``."""
        removed: list[ApiKey] = []

        def plan(now: Directory) -> list[Command[str, _Record]]:
            customer = now.customer(customer_id)
            removed[:] = now.keys_of(customer_id)
            records: list[_Record] = [customer, *removed]
            return [command for record in records for command in _removal(record)]

        self._change(plan)
        return removed

    def issue(
        self,
        customer_id: str,
        scopes: Iterable[Scope],
        group: str | None = None,
        expires_at: dt.datetime | None = None,
        label: str = "",
    ) -> tuple[ApiKey, Secret]:
        """Make a key for a customer; its text is given this once and kept nowhere.

        It may do ``scopes``, in the logs of ``group`` only unless that is None, until ``expires_at`` unless that is
        None. Raises ``InvalidRequest``, ``TooLarge`` for a customer with too many keys.
        """
        created_at = seams.now()
        identity, digest, text = generate()
        key = ApiKey(
            id=identity,
            customer_id=customer_id,
            digest=digest,
            scopes=scopes,
            group=group,
            expires_at=expires_at,
            created_at=created_at,
            label=label,
        )
        if key.expired(created_at):
            raise InvalidRequest("the time at which the key is to expire has passed")

        def plan(now: Directory) -> list[Command[str, _Record]]:
            now.customer(customer_id)
            if (count := len(now.keys_of(customer_id))) >= MOST_KEYS:
                reason = f"customer {customer_id!r} has {count} keys, and no more are possible; revoke some first"
                raise TooLarge(reason, "keys", count + 1, MOST_KEYS)
            return [Insert(_place(key), key)]

        self._change(plan)
        return key, text

    def revoke(self, key_id: str) -> ApiKey:
        """Remove a key, and give what it was. Raises ``InvalidRequest`` if there is no such key."""
        revoked: list[ApiKey] = []

        def plan(now: Directory) -> list[Command[str, _Record]]:
            if check_key_id(key_id) not in now.keys:
                raise InvalidRequest(f"there is no key {key_id!r}; it may have been revoked already")
            revoked[:] = [now.keys[key_id]]
            return _removal(*revoked)

        self._change(plan)
        return revoked[0]

    def _change(self, plan: Callable[[Directory], list[Command[str, _Record]]]) -> None:
        """Do what ``plan`` makes of the present, provided that it still is the present when that is judged."""
        for _ in range(_ATTEMPTS):
            now = self.directory()
            try:
                send(self._log, Transaction([ExpectVersion(now.version), *plan(now)], self._source), _PAUSES)
            except UnexpectedVersion:
                continue
            return
        raise TransactionConflict("others changed access again and again meanwhile, and nothing was done; try again")
