"""``doctor``: whether all is well, one line to each thing that was looked at."""

from __future__ import annotations

from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from indelible.checkup import Finding, Verdict, examine
from indelible.cli import exits
from indelible.cli.common import DEFAULTS, Common, flag
from indelible.cli.output import counted, line, many, styled, visible

_STYLES: Final[dict[Verdict, str]] = {"ok": "green", "warning": "bold", "FAILED": "red"}


def doctor(
    *,
    store: Annotated[str | None, Parameter(help="Look at the store of this URL, not at that of the profile.")] = None,
    quick: Annotated[bool, flag("Leave out what takes longest: whether indexes agree with their tables.")] = False,
    common: Common = DEFAULTS,
) -> None:
    """Look at the software, the profile, the store and the clock, and say of each whether it is well, or what to do.

    Others may go on using the store. The exit code is 0 unless something failed: then 7 if what is stored cannot be
    trusted, else 1. Warnings leave it at 0.
    """
    found: list[Finding] = []
    for finding in examine(common.profile if store is None else store, quick=quick):
        found.append(finding)
        if common.output == "table":
            line(f"{styled(f'{finding.verdict:8}', _STYLES[finding.verdict])} {finding.check}: {visible(finding.text)}")
    if common.output != "table":
        many(common.output, map(_item, found), (), lambda _item: ())
    failed = [finding for finding in found if finding.verdict == "FAILED"]
    if failed:
        code = exits.INTEGRITY if any(finding.integrity for finding in failed) else exits.FAILED
        raise exits.Failure(f"{counted(len(failed), 'check', 'checks')} failed", code)


def _item(finding: Finding) -> dict[str, str]:
    return attrs.asdict(finding, filter=attrs.filters.exclude("integrity"))
