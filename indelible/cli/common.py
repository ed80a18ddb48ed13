"""What the commands share: the options that all of them take, the way to a store, and sending a transaction."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from indelible import sending
from indelible.cli.output import Output
from indelible.client import Client, connect
from indelible.commands import Transaction
from indelible.errors import NonexistentLog
from indelible.limits import Limits
from indelible.log import Log
from indelible.profile import Profile
from indelible.records import Committed

_PAUSES: Final = (0.0, 0.2, 0.3)
"""Seconds before each time that a transaction is sent."""


@attrs.frozen
class Options:
    """The options of every command."""

    profile: Annotated[
        Path, Parameter(env_var="INDELIBLE_PROFILE", help="The profile file: where the logs are, and their key.")
    ] = Path("indelible.json")
    output: Annotated[
        Output, Parameter(help="How to print: for people, as one JSON document, or as a JSON value to a line.")
    ] = "table"

    def load(self) -> Profile:
        """The profile. Raises ``InvalidRequest`` if there is none."""
        return Profile.load(self.profile)

    def connect(self) -> Client:
        """The logs of the profile; close them."""
        return connect(self.load())


Common: TypeAlias = Annotated[Options, Parameter(name="*", group="Options of every command")]
LogName: TypeAlias = Annotated[str, Parameter(help="The log's name.")]
Version: TypeAlias = Annotated[int, Parameter(validator=Number(gte=0, lt=2**63))]
At: TypeAlias = Annotated[Version | None, Parameter(help="The version to read; the newest unless given.")]
Group: TypeAlias = Annotated[str | None, Parameter(help="The log's group, kept in the clear.")]
Source: TypeAlias = Annotated[str | None, Parameter(help="Who makes the change, kept in the clear.")]


def flag(text: str) -> Parameter:
    """An option that is there or not."""
    return Parameter(help=text, negative="", show_default=False)


DEFAULTS: Final = Options()


def embedded_limits(profile: Profile, limits: Limits) -> Limits | None:
    """These limits for a store inside this process; a service has its own."""
    return limits if profile.endpoint_url.partition(":")[0] in ("sqlite", "memory") else None


def ensure(log: Log[str, Any], group: str | None) -> None:
    """Make the log exist; one that does stays as it is. Raises ``LogExists`` if it has another group than asked for."""
    if group is None:
        try:
            log.describe()
        except NonexistentLog:
            log.create()
    else:
        log.create(group)


def send(log: Log[str, Any], transaction: Transaction[str, Any], attempt: int = 1) -> Committed:
    """Send a transaction, and again under the same id while its outcome is unknown (S16), a few times."""
    return sending.send(log, transaction, _PAUSES, attempt)
