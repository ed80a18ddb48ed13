"""What each call of the HTTP API is asked and answers, as values."""

from __future__ import annotations

from typing import Final

import attrs

from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.pages import DiffRequest
from indelible.records import LogInfo, VersionInfo

LARGEST_PAGE: Final = 10_000
"""Changes, versions, revisions or logs in one answer, at most."""


@attrs.frozen
class CreateLog:
    """Make a log (S1)."""

    log: str
    group: str | None = None


@attrs.frozen
class UpdateLog:
    """Judge and apply a transaction (S2-S6, S16)."""

    log: str
    transaction: Transaction[bytes, bytes]
    attempt: int = 1


@attrs.frozen
class DiffLog:
    """One page of a diff (S8-S13)."""

    log: str
    request: DiffRequest


@attrs.frozen
class DescribeLog:
    """What is known of a log (S18)."""

    log: str


@attrs.frozen
class ListLogs:
    """The logs there are, by name, after one and at most so many (S18)."""

    group: str | None = None
    after: str | None = None
    limit: int = LARGEST_PAGE


@attrs.frozen
class ListVersions:
    """Who made the versions after one, up to another (S18)."""

    log: str
    from_version: int = 0
    to_version: int | None = None


@attrs.frozen
class KeyRevisions:
    """What happened to one key, after a version."""

    log: str
    key: bytes
    from_version: int = 0


@attrs.frozen
class TrimLog:
    """Forget the versions below one (S19)."""

    log: str
    before: int


@attrs.frozen
class Done:
    """An answer that says no more than that it was done."""


@attrs.frozen
class LogPage:
    """Some logs, and after which name to go on; None on the last page."""

    logs: tuple[LogInfo, ...]
    next_after: str | None = None


@attrs.frozen
class VersionPage:
    """Some versions, and from which to go on; None on the last page."""

    versions: tuple[VersionInfo, ...]
    next_from: int | None = None


@attrs.frozen
class RevisionPage:
    """Some revisions of a key, and from which version to go on; None on the last page."""

    revisions: tuple[Revision[bytes, bytes], ...]
    next_from: int | None = None
