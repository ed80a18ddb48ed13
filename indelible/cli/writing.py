"""The commands that write: ``init``, ``create``, ``put``, ``rm``, ``trim``."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from indelible.cli.common import DEFAULTS, Common, Group, LogName, Source, Version, flag, send
from indelible.cli.jsontext import parse
from indelible.cli.output import one, visible
from indelible.cli.reading import missing_key
from indelible.commands import Command, ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import InvalidRequest, UnexpectedVersion
from indelible.log import Log
from indelible.profile import Profile
from indelible.records import Committed
from indelible.secret import MasterKey

Expect = Annotated[
    Version | None, Parameter(help="Only if this is the newest version; else nothing is done (exit code 4).")
]

_REMOVALS = 10
"""How often ``rm`` reads again when others write in between."""


def init(
    *,
    url: Annotated[str, Parameter(help="The store; a relative path is taken from the profile's folder.")] = (
        "sqlite:///indelible.db"
    ),
    common: Common = DEFAULTS,
) -> None:
    """Make a profile with a new key, on a store in a file beside it. Never overwrites one.

    The profile is for its owner's eyes only (mode 0600).
    """
    Profile(endpoint_url=url, master_key=MasterKey.generate()).save(common.profile)
    path = str(common.profile)
    option = "" if common.profile == DEFAULTS.profile else f" --profile {shlex.quote(path)}"
    one(
        common.output,
        {"profile": path, "endpoint_url": url},
        f"{visible(path)} is your profile, with a new key in it.\n"
        "Keep a copy in a safe place, out of version control: what is\n"
        "written under this key cannot be read without it.\n\n"
        "Next:\n"
        f"  indelible create notes{visible(option)}\n"
        f"  indelible put notes hello '\"world\"'{visible(option)}\n"
        f"  indelible show notes{visible(option)}",
    )


def create(log: LogName, /, *, group: Group = None, common: Common = DEFAULTS) -> None:
    """Make a log, empty, at version 0. One that is there with the same group stays as it is."""
    with common.connect() as client:
        client.log(log).create(group)
        info = client.log(log).describe()
    item = {"log": log, "group": info.group, "version": info.head}
    one(common.output, item, f"log {visible(log)} is at version {info.head}")


def put(
    log: LogName,
    key: Annotated[str, Parameter(help="The key.")],
    value: Annotated[str, Parameter(help="The value, as JSON; '-' reads it from stdin.", allow_leading_hyphen=True)],
    /,
    *more: Annotated[str, Parameter(help="More keys and values, for the same transaction.")],
    text: Annotated[bool, flag("Take values as they stand, as texts.")] = False,
    insert: Annotated[bool, flag("Only if the key holds nothing, or the same.")] = False,
    update: Annotated[bool, flag("Only if the key holds something.")] = False,
    expect: Expect = None,
    source: Source = None,
    common: Common = DEFAULTS,
) -> None:
    """Store values under keys, whatever was there, in one transaction.

    Other programs on this machine can see a command line: pass what is secret through '-'.
    """
    if insert and update:
        raise InvalidRequest("give --insert or --update, not both")
    if len(more) % 2:
        raise InvalidRequest(f"every key needs a value, and the last key, {more[-1]!r}, has none")
    words = (key, value, *more)
    kind: Any = Insert if insert else Update if update else Upsert
    commands = [kind(k, _value(k, v, text)) for k, v in zip(words[::2], words[1::2], strict=True)]
    with common.connect() as client:
        committed = send(client.log(log), Transaction(_expecting(expect, commands), source))
    _report(log, committed, common)


def _value(key: str, word: str, text: bool) -> Any:
    if word == "-":
        word = _stdin()
    elif word.startswith("-") and not word[1:2].isdigit():
        raise InvalidRequest(f"there is no option {word}; a text that begins with - is given as JSON: '\"-...\"'")
    if text:
        return word
    try:
        return parse(word)
    except ValueError as error:
        raise InvalidRequest(
            f"the value for {key!r} is not JSON ({error}); a text needs quotes, as in '\"text\"', or --text"
        ) from None


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidRequest("what stands on stdin is not UTF-8") from None


def _expecting(version: int | None, commands: list[Command[str, Any]]) -> list[Command[str, Any]]:
    return commands if version is None else [ExpectVersion(version), *commands]


def _report(log: str, committed: Committed, common: Common) -> None:
    item = {"version": committed.version, "changed": committed.changed}
    unchanged = "" if committed.changed else "nothing to change: "
    one(common.output, item, f"{unchanged}log {visible(log)} is at version {committed.version}")


def rm(
    log: LogName,
    key: Annotated[str, Parameter(help="The key.")],
    /,
    *more: Annotated[str, Parameter(help="More keys, for the same transaction.")],
    expect: Expect = None,
    source: Source = None,
    common: Common = DEFAULTS,
) -> None:
    """Remove keys, in one transaction. If one of them holds nothing, nothing is removed (exit code 3)."""
    with common.connect() as client:
        committed = _remove(client.log(log), (key, *more), expect, source)
    _report(log, committed, common)


def _remove(log: Log[str, Any], keys: tuple[str, ...], expect: int | None, source: str | None) -> Committed:
    for tries_left in range(_REMOVALS, 0, -1):
        head = log.version
        version = head if expect is None else expect
        if version != head:
            raise UnexpectedVersion(log.name, 0, "ExpectVersion", head, version, head)
        # A removal names the value that it removes. Expecting the version at which that was read makes sure that a
        # value written meanwhile is neither removed unseen nor left behind in silence.
        commands: list[Command[str, Any]] = [ExpectVersion(version)]
        for key in dict.fromkeys(keys):
            value = log.get(key, _MISSING, at=version)
            if value is _MISSING:
                raise missing_key(log.name, key)
            commands.append(Remove(key, value))
        try:
            return send(log, Transaction(commands, source))
        except UnexpectedVersion:
            if expect is not None or tries_left == 1:
                raise
    raise AssertionError("unreachable")


_MISSING = object()


def trim(
    log: LogName,
    before: Annotated[Version, Parameter(help="The oldest version to keep; those below it are forgotten.")],
    /,
    *,
    yes: Annotated[bool, flag("Do not ask.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Forget a log's history below a version, for good; what it holds stays."""
    with common.connect() as client:
        head = client.log(log).version
        if not yes and 1 < before <= head:
            _confirm(f"Forget for good how log {visible(log)} came to version {before}?")
        client.log(log).trim(before)
        info = client.log(log).describe()
    item = {"log": log, "version": info.head, "oldest": info.oldest}
    one(common.output, item, f"log {visible(log)} is at version {info.head}; the oldest version kept is {info.oldest}")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise InvalidRequest("trim forgets for good and nobody is there to ask; add --yes")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InvalidRequest("not confirmed; nothing was forgotten")
