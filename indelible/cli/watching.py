"""``watch``: what happens in a log, as it happens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number

from indelible import seams
from indelible.changes import Change
from indelible.cli.common import DEFAULTS, Common, LogName, Version, flag
from indelible.cli.output import change_item, change_line, json_text, key_text, line, styled
from indelible.errors import InvalidRequest
from indelible.log import Log
from indelible.version_diff import VersionDiff

_POLL_SECONDS = 60.0


def watch(
    log: LogName,
    /,
    *,
    from_: Annotated[
        Version | None,
        Parameter(name="--from", help="Begin after this version; 0 is everything. Unless given: from now on."),
    ] = None,
    once: Annotated[bool, flag("End after one version, as --count 1.")] = False,
    count: Annotated[int | None, Parameter(help="End after so many versions.", validator=Number(gte=1))] = None,
    timeout: Annotated[float | None, Parameter(help="End after so many seconds.", validator=Number(gte=0))] = None,
    common: Common = DEFAULTS,
) -> None:
    """Print every change to a log as it comes, version by version, until ctrl-C.

    No version is missed or merged with another. With --output ndjson each line carries "to_version", the version that
    made the change: to go on later, give the last one as --from.
    """
    if common.output == "json":
        raise InvalidRequest("a watch has no end to close a JSON document at; use --output ndjson")
    if once and count not in (None, 1):
        raise InvalidRequest("give --once or --count, not both")
    left = 1 if once else count
    with common.connect() as client:
        it = client.log(log)
        for version in _steps(it, it.version if from_ is None else from_, timeout):
            for change in version:
                line(_json(version, change) if common.output == "ndjson" else _text(log, version, change))
            sys.stdout.flush()
            left = None if left is None else left - 1
            if left == 0:
                return


def _json(version: VersionDiff[str, Any], change: Change[str, Any]) -> str:
    return json_text({**change_item(change), "to_version": version.to_version})


def _text(log: str, version: VersionDiff[str, Any], change: Change[str, Any]) -> str:
    return f"{styled(f'{key_text(log)} {version.to_version}', 'bold')}  {change_line(change)}"


def _steps(log: Log[str, Any], version: int, timeout: float | None) -> Iterator[VersionDiff[str, Any]]:
    """Each version after ``version``, as the diff from the one before it, until the time is over."""
    deadline = None if timeout is None else seams.monotonic() + timeout
    while True:
        wait = _POLL_SECONDS if deadline is None else min(_POLL_SECONDS, deadline - seams.monotonic())
        # The size of a page is of no interest here: only how far to go is asked.
        head = log.diff(version, wait_seconds=max(wait, 0.0), page_size=1).to_version
        # The first step in a trimmed log leads to its oldest version.
        oldest = log.describe().oldest if version == 0 and head > 0 else 0
        for step in range(max(version + 1, oldest), head + 1):
            yield log.diff(version, step)
            version = step
        if deadline is not None and seams.monotonic() >= deadline:
            return
