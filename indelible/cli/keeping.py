"""The commands for who keeps a store: ``backup``, ``restore``, ``copy``. None of them uses a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

from cyclopts import Parameter

from indelible.backend import Backend
from indelible.cli import progress
from indelible.cli.common import DEFAULTS, Common, flag
from indelible.cli.output import Item, counted, key_text, many, one, visible
from indelible.client import Access, open_backend, service_of
from indelible.copying import copy_log, verify
from indelible.errors import InvalidRequest
from indelible.limits import Limits
from indelible.profile import Profile

if TYPE_CHECKING:
    from indelible.backends.sqlite.backup import Copied

Place: TypeAlias = Annotated[str, Parameter(help="The store: its URL, or a profile, whose key is not used.")]

_ALL: Final = Limits(**dict.fromkeys(("key", "value", "name", "group", "source", "commands"), 2**31))
"""What one store took, another takes."""


def backup(
    store: Place,
    file: Annotated[Path, Parameter(help="The new file.")],
    /,
    *,
    common: Common = DEFAULTS,
) -> None:
    """Copy a whole SQLite store into one new file, while others go on using it. Never overwrites one.

    The file is checked before it gets its name; an interrupted backup leaves none of that name.
    """
    from indelible.backends.sqlite import backup as files  # noqa: PLC0415 - a driver

    with progress.bar("backup", 100) as show:
        made = files.back_up(_file(store), file, _showing(show))
    one(common.output, _item(made), f"{_place(made.path)} holds {_contents(made)}")


def restore(
    file: Annotated[Path, Parameter(help="The backup.")],
    store: Place,
    /,
    *,
    common: Common = DEFAULTS,
) -> None:
    """Make a new SQLite store from a backup, which is checked first. Never overwrites one.

    What was committed after the backup was made is gone: clients that saw newer versions will refuse to go on until
    they are told to accept that.
    """
    from indelible.backends.sqlite import backup as files  # noqa: PLC0415 - a driver

    with progress.bar("restore", 100) as show:
        made = files.restore(file, _file(store), _showing(show))
    one(
        common.output,
        _item(made),
        f"{_place(made.path)} holds {_contents(made)}.\n"
        "Clients that saw newer versions than these raise HistoryRolledBack\n"
        "until they are told to accept that: indelible accept-rollback LOG",
    )


def copy(
    from_: Annotated[Place, Parameter(name="FROM")],
    to: Place,
    /,
    *,
    log: Annotated[
        list[str] | None, Parameter(help="Copy this log only, by its stored name; may be given again.", negative="")
    ] = None,
    check: Annotated[bool, flag("Compare every version of original and copy afterwards.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Copy logs from one store to another of any kind, versions and all, sealed as they are.

    Run it again after it was interrupted, or to take over what came since: it goes on, and copies nothing twice. Nobody
    else may write to the copies. Times of commit are those of the copy.
    """
    with closing(_opened(from_, to_read=True)) as source, closing(_opened(to)) as target:
        many(
            common.output,
            _copies(source, target, log or [info.name for info in source.logs()], check),
            ("LOG", "VERSION", "OLDEST", "COPIED"),
            lambda item: (key_text(item["log"]), *(str(item[name]) for name in ("version", "oldest", "copied"))),
        )


def _copies(source: Backend, target: Backend, logs: list[str], check: bool) -> Iterator[Item]:
    for log in logs:
        with progress.bar("copy", source.describe(log).head) as show:
            report = copy_log(source, target, log, progress=show)
        with progress.bar("check", report.head) as show:
            verify(source, target, log, every=check, progress=show)
        yield {"log": log, "version": report.head, "oldest": report.oldest, "copied": report.made}


def _file(place: str) -> Path:
    """The file of a SQLite store."""
    from indelible.backends.sqlite import inspection  # noqa: PLC0415 - a driver

    return inspection.path_of(_stored(place)[0])


def _opened(place: str, *, to_read: bool = False) -> Backend:
    """What keeps the logs, without the cipher in front of it. To be read, it must be there already."""
    url, access = _stored(place)
    if to_read and _scheme(url) == "sqlite" and not (path := _file(url)).is_file():
        raise InvalidRequest(f"there is no store at {path}; check its name")
    return open_backend(url, _ALL if _scheme(url) in ("sqlite", "memory") else None, access)


def _stored(place: str) -> tuple[str, Access]:
    """Where the logs of a URL or a profile are, and what a service has to be told."""
    if _scheme(place):
        return place, Access()
    profile = Profile.load(place)
    return profile.endpoint_url, service_of(profile)


def _scheme(place: str) -> str:
    """The scheme of a URL; empty for what is none, such as the path of a profile."""
    scheme, colon, _ = place.partition(":")
    # One letter is a drive.
    return scheme.lower() if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+", scheme) else ""


def _showing(show: Any) -> Any:
    return lambda done, pages: show(100 * done // pages)


def _item(made: Copied) -> Item:
    newest = made.contents.newest
    return {
        "file": str(made.path),
        "bytes": made.size,
        "logs": made.contents.logs,
        "newest": None if newest is None else newest.isoformat(),
    }


def _place(path: Path) -> str:
    here = Path.cwd()
    return visible(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _contents(made: Copied) -> str:
    logs, newest = made.contents.logs, made.contents.newest
    return f"{counted(logs, 'log', 'logs')}" + ("" if newest is None else f" as of {newest:%Y-%m-%d %H:%M:%S}Z")
