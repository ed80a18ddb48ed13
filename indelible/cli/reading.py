"""The commands that read: ``get``, ``show``, ``diff``, ``history``, ``versions``, ``logs``, ``export``."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from indelible import codecs
from indelible.changes import Added, Change, Entry
from indelible.cli.common import DEFAULTS, At, Common, LogName, Version, flag
from indelible.cli.exits import NOT_FOUND, Failure
from indelible.cli.output import (
    array,
    change_item,
    change_line,
    entry_item,
    json_text,
    key_text,
    line,
    many,
    one,
    styled,
    visible,
)
from indelible.errors import InvalidRequest
from indelible.log import Log

_MISSING = object()


def get(
    log: LogName,
    key: Annotated[str, Parameter(help="The key.")],
    /,
    *,
    at: At = None,
    text: Annotated[bool, flag("Print a text as it is, not as JSON.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Print the value under a key, now or at a version."""
    with common.connect() as client:
        value = client.log(log).get(key, _MISSING, at=at)
    if value is _MISSING:
        raise missing_key(log, key, at)
    if text and not isinstance(value, str):
        raise InvalidRequest(f"the value under {key!r} is no text; leave --text out to see it")
    if text and common.output == "table":
        line("\n".join(map(visible, str(value).split("\n"))) if sys.stdout.isatty() else str(value))
    else:
        one(common.output, {"key": key, "value": value}, json_text(value))


def missing_key(log: str, key: str, at: int | None = None) -> Failure:
    """What to raise for a key that is not there."""
    return Failure(f"log {log!r} holds nothing under {key!r}{'' if at is None else f' at version {at}'}", NOT_FOUND)


def show(log: LogName, /, *, at: At = None, common: Common = DEFAULTS) -> None:
    """Print all that a log holds, now or at a version, by key."""
    with common.connect() as client:
        entries = sorted(_entries(client.log(log), at), key=lambda entry: entry.key)
    many(
        common.output,
        map(entry_item, entries),
        ("KEY", "VALUE", "VERSION"),
        lambda item: (key_text(item["key"]), json_text(item["value"]), str(item["version"])),
    )


def export(log: LogName, /, *, at: At = None, common: Common = DEFAULTS) -> None:
    """Print all that a log holds as JSON lines that 'indelible import' reads.

    Oldest entries first. --output makes no difference.
    """
    with common.connect() as client:
        for entry in _entries(client.log(log), at):
            line(json_text({"key": entry.key, "value": entry.value}))


def _entries(log: Log[str, Any], at: int | None) -> Iterator[Entry[str, Any]]:
    for change in log.diff(0, at):
        yield Entry(change.key, change.value, change.version)


def diff(
    log: LogName,
    a: Annotated[Version, Parameter(help="The version to start from; 0 is the empty log.")],
    b: Annotated[
        Version | None, Parameter(help="The version to reach, the newest unless given; it may be the lower.")
    ] = None,
    /,
    *,
    every: Annotated[bool, flag("Also show keys that were changed and hold the same value again.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Print what changed from one version to another, by key, as '- key value' and '+ key value'.

    Keys that hold the same value at both versions are left out, whatever happened in between.
    """
    with common.connect() as client:
        start, end, changes = net_changes(client.log(log), a, b, every=every)
    if common.output == "ndjson":
        many(common.output, map(change_item, changes), (), lambda _item: ())
    elif common.output == "json":
        sys.stdout.write(f'{{"from_version": {start}, "to_version": {end}, "changes": ')
        array(map(change_item, changes))
        line("}")
    else:
        line(styled(f"--- {key_text(log)} version {start}", "bold"))
        line(styled(f"+++ {key_text(log)} version {end}", "bold"))
        for change in changes:
            line(change_line(change))


def net_changes(
    log: Log[str, Any], a: int, b: int | None = None, *, every: bool = False
) -> tuple[int, int, list[Change[str, Any]]]:
    """The two versions, and the changes between them by key, removals first.

    The contract's diff tells entries apart by version too (S8): a value that went and came back shows in it as removed
    and added. Those pairs are left out unless ``every`` is set.
    """
    found = log.diff(a, b)
    changes = sorted(found, key=lambda change: (change.key, isinstance(change, Added)))
    if not every:
        pairs = (list(pair) for _, pair in itertools.groupby(changes, key=lambda change: change.key))
        changes = [change for pair in pairs if not _is_same(pair) for change in pair]
    return found.from_version, found.to_version, changes


def _is_same(pair: list[Change[str, Any]]) -> bool:
    # Compared as they are written: to Python 1, 1.0 and True are equal.
    return len(pair) == 2 and codecs.JSON.encode(pair[0].value) == codecs.JSON.encode(pair[1].value)


def history(log: LogName, key: Annotated[str, Parameter(help="The key.")], /, *, common: Common = DEFAULTS) -> None:
    """Print every version that changed a key, oldest first, with the values before and after."""
    with common.connect() as client:
        revisions = client.log(log).history(key)
    if not revisions:
        raise Failure(f"log {log!r} never held anything under {key!r}", NOT_FOUND)
    items = (
        {
            "version": revision.version,
            "before": None if revision.before is None else entry_item(revision.before),
            "after": None if revision.after is None else entry_item(revision.after),
        }
        for revision in revisions
    )
    many(
        common.output,
        items,
        ("VERSION", "BEFORE", "AFTER"),
        lambda item: (str(item["version"]), _value(item["before"]), _value(item["after"])),
    )


def _value(item: dict[str, Any] | None) -> str:
    return "-" if item is None else json_text(item["value"])


def versions(
    log: LogName,
    /,
    *,
    from_: Annotated[Version, Parameter(name="--from", help="Only the versions after this one.")] = 0,
    to: Annotated[Version | None, Parameter(help="Only the versions up to this one.")] = None,
    common: Common = DEFAULTS,
) -> None:
    """Print who made each version of a log, and when."""
    with common.connect() as client:
        many(
            common.output,
            (
                {
                    "version": info.version,
                    "source": info.source,
                    "committed_at": info.committed_at.isoformat(),
                    "effects": info.effects,
                    "transaction_id": info.transaction_id.hex(),
                }
                for info in client.log(log).versions(from_, to)
            ),
            ("VERSION", "COMMITTED", "CHANGES", "SOURCE"),
            lambda item: (
                str(item["version"]),
                item["committed_at"][:19].replace("T", " ") + "Z",
                str(item["effects"]),
                visible(item["source"] or "-"),
            ),
        )


def logs(
    *, group: Annotated[str | None, Parameter(help="Only the logs of this group.")] = None, common: Common = DEFAULTS
) -> None:
    """Print the logs there are under the profile's key."""
    with common.connect() as client:
        found = client.logs(group)
    items = (
        {"name": info.name, "group": info.group, "version": info.head, "oldest": info.oldest, "entries": info.entries}
        for info in found
    )
    many(
        common.output,
        items,
        ("LOG", "GROUP", "VERSION", "ENTRIES"),
        lambda item: (
            key_text(item["name"]),
            "-" if item["group"] is None else key_text(item["group"]),
            str(item["version"]),
            str(item["entries"]),
        ),
    )
