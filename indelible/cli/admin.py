"""The commands under ``admin``: who may use a service, told to its store; the service need not run."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import attrs
from cyclopts import App, Parameter

from indelible import seams
from indelible.cli.common import flag
from indelible.cli.output import Item, Output, counted, key_text, many, one, visible
from indelible.errors import InvalidRequest
from indelible.profile import Profile
from indelible.secret import MasterKey, Secret

if TYPE_CHECKING:
    from indelible.server.access import Access
    from indelible.server.keys import ApiKey, Customer

app: App = App(name="admin", help="Say who may use a service: its customers and their API keys.")
customers: App = App(name="customer", help="Add, list and remove customers.")
keys: App = App(name="key", help="Add, list and revoke API keys.")
app.command(customers)
app.command(keys)

_DAYS = re.compile(r"(\d{1,5})d")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@attrs.frozen
class Place:
    """The options of every command under ``admin``."""

    config: Annotated[Path | None, Parameter(help="The settings of the service, as 'indelible serve' takes them.")] = (
        None
    )
    store: Annotated[
        str | None, Parameter(help="The store's URL; unless given, as in --config, or that of 'indelible serve'.")
    ] = None
    output: Annotated[
        Output, Parameter(help="How to print: for people, as one JSON document, or as a JSON value to a line.")
    ] = "table"

    @contextmanager
    def access(self, *, new: bool = False) -> Iterator[Access]:
        """The access log of the store, made if need be; a SQLite store itself is made only if it may be ``new``.

        Raises ``InvalidRequest``.
        """
        # Other commands need not wait for the service to be imported.
        from indelible.server.access import Access  # noqa: PLC0415
        from indelible.server.settings import Settings  # noqa: PLC0415

        settings = Settings.load(self.config, {"store": self.store})
        if settings.store.lower().startswith("memory:"):
            raise InvalidRequest("a memory: store ends with this command; give one that lasts")
        if not new:
            _refuse_missing(settings.store)
        with closing(settings.open_store()) as backend:
            yield Access(backend, source="indelible admin").open()


def _refuse_missing(store: str) -> None:
    """Raise ``InvalidRequest`` for a SQLite store that is not there: its name may be a wrong one."""
    if store.partition(":")[0].lower() != "sqlite":
        return
    from indelible.backends.sqlite import inspection  # noqa: PLC0415 - a driver

    path = inspection.path_of(store)
    if not os.path.isfile(path):  # noqa: PTH113 - false too where nobody may look
        raise InvalidRequest(
            f"no store is found at {path}; check --store or --config, or begin one: 'indelible admin customer add'"
        )


DEFAULTS: Final = Place()
Common: TypeAlias = Annotated[Place, Parameter(name="*", group="Options of every command under admin")]
CustomerId: TypeAlias = Annotated[str, Parameter(name="CUSTOMER", help="The customer's id.")]
Scope: TypeAlias = Literal["read", "write", "admin"]
USUAL: Final[tuple[Scope, ...]] = ("read", "write")


@customers.command(name="add")
def add_customer(
    customer: CustomerId,
    /,
    *,
    name: Annotated[str, Parameter(help="A name, for people.", show_default=False)] = "",
    place: Common = DEFAULTS,
) -> None:
    """Add a customer, who needs a key before anything else. The first makes the store, if it is not there.

    The logs of a customer of this id who was removed are there again.
    """
    with place.access(new=True) as access:
        added = access.add_customer(customer, name)
    one(place.output, _customer(added, 0), f"customer {added.id} is added; 'indelible admin key add' makes a key")


@customers.command(name="list")
def list_customers(*, place: Common = DEFAULTS) -> None:
    """Print all customers, and how many keys each has."""
    with place.access() as access:
        now = access.directory()
    many(
        place.output,
        [_customer(it, len(now.keys_of(it.id))) for _, it in sorted(now.customers.items())],
        ("CUSTOMER", "KEYS", "ADDED", "NAME"),
        lambda item: (item["id"], str(item["keys"]), _time(item["created_at"]), visible(item["name"] or "-")),
    )


@customers.command(name="remove")
def remove_customer(
    customer: CustomerId,
    /,
    *,
    yes: Annotated[bool, flag("Say that it is meant.")] = False,
    place: Common = DEFAULTS,
) -> None:
    """Remove a customer and all its keys, as one. Its logs stay in the store."""
    if not yes:
        raise InvalidRequest("this ends all access of the customer at once; if that is meant, add --yes")
    with place.access() as access:
        removed = access.remove_customer(customer)
    count = counted(len(removed), "key", "keys")
    one(place.output, {"id": customer, "keys": len(removed)}, f"customer {customer} is removed, with {count}")


@keys.command(name="add")
def add_key(
    customer: CustomerId,
    /,
    *,
    scope: Annotated[
        tuple[Scope, ...],
        Parameter(negative="", show_default=", ".join, help="What the key may do; give it again for more."),
    ] = USUAL,
    group: Annotated[str | None, Parameter(help="Only in the logs of this group.")] = None,
    expires: Annotated[
        str | None,
        Parameter(help="When it ends: at the start of a day (UTC), as 2027-01-31, or after so many days, as 30d."),
    ] = None,
    label: Annotated[str, Parameter(help="What it is for, for people.", show_default=False)] = "",
    profile_to: Annotated[
        Path | None, Parameter(help="Write the key into a new profile, for a client, and do not print it.")
    ] = None,
    url: Annotated[str | None, Parameter(help="Where that client finds the service.")] = None,
    master_key_from: Annotated[
        Path | None, Parameter(help="A profile with the master key for that client; else it gets a new one.")
    ] = None,
    place: Common = DEFAULTS,
) -> None:
    """Make a key for a customer, and print it, this once: it is not stored.

    With --profile-to it goes into a profile instead, which is all that a client needs.
    """
    if (profile_to is None) != (url is None) or (profile_to is None and master_key_from is not None):
        raise InvalidRequest("--profile-to and --url go together, and --master-key-from with them")
    expires_at = _expiry(expires)
    master = None if master_key_from is None else Profile.load(master_key_from)
    with place.access() as access:
        made, text = access.issue(customer, scope, group, expires_at, label)
        item = _key(made)
        if profile_to is None or url is None:
            shown = text.reveal().decode()
            note = f"is a key of customer {customer}; keep it: it is not stored"
            one(place.output, {**item, "apikey": shown}, f"{shown}\n{note}")
            return
        try:
            _profile(url, made, text, master).save(profile_to)
        except BaseException:
            # Nobody has it.
            access.revoke(made.id)
            raise
    path = str(profile_to)
    one(place.output, {**item, "profile": path}, f"{visible(path)} is a profile of customer {customer}, with a new key")


def _profile(url: str, made: ApiKey, text: Secret, master: Profile | None) -> Profile:
    if master is None:
        return Profile(endpoint_url=url, customer_id=made.customer_id, apikey=text, master_key=MasterKey.generate())
    return attrs.evolve(master, endpoint_url=url, customer_id=made.customer_id, apikey=text)


def _expiry(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    if match := _DAYS.fullmatch(text):
        return seams.now() + dt.timedelta(days=int(match[1]))
    try:
        if _DATE.fullmatch(text):
            return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC)
    except ValueError:
        pass
    raise InvalidRequest(f"{text!r} is neither a day, such as 2027-01-31, nor a number of days, such as 30d")


@keys.command(name="list")
def list_keys(
    customer: Annotated[
        str | None, Parameter(name="CUSTOMER", help="The customer's id; all customers' unless given.")
    ] = None,
    /,
    *,
    place: Common = DEFAULTS,
) -> None:
    """Print the keys there are, by their ids."""
    with place.access() as access:
        found = access.keys(customer)
    many(
        place.output,
        map(_key, found),
        ("KEY", "CUSTOMER", "SCOPES", "GROUP", "EXPIRES", "LABEL"),
        lambda item: (
            item["id"],
            item["customer"],
            ",".join(item["scopes"]),
            "-" if item["group"] is None else key_text(item["group"]),
            "-" if item["expires_at"] is None else _time(item["expires_at"]),
            visible(item["label"] or "-"),
        ),
    )


@keys.command(name="revoke")
def revoke_key(
    key: Annotated[str, Parameter(name="KEY", help="The key's id.")], /, *, place: Common = DEFAULTS
) -> None:
    """Take a key back: it is refused from now on."""
    with place.access() as access:
        revoked = access.revoke(key)
    one(place.output, _key(revoked), f"key {revoked.id} of customer {revoked.customer_id} is revoked")


def _customer(it: Customer, keys: int) -> Item:
    return {"id": it.id, "name": it.name, "created_at": it.created_at.isoformat(), "keys": keys}


def _key(it: ApiKey) -> Item:
    """What may be shown of a key."""
    return {
        "id": it.id,
        "customer": it.customer_id,
        "scopes": list(it.scopes),
        "group": it.group,
        "expires_at": None if it.expires_at is None else it.expires_at.isoformat(),
        "created_at": it.created_at.isoformat(),
        "label": it.label,
    }


def _time(text: str) -> str:
    return text[:19].replace("T", " ") + "Z"
