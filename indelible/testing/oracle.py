"""The oracle as a backend: ``ModelLog`` by name, with pages. For one thread; a wait times out at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import attrs

from indelible import checks
from indelible.changes import Removed, Revision
from indelible.commands import Transaction
from indelible.errors import Closed, LogExists, NonexistentLog, NonexistentVersion, Rejected, VersionTrimmed
from indelible.limits import Limits
from indelible.pages import AtCommand, AtKey, DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo
from indelible.testing.model import ModelLog


class ModelBackend:
    """A backend by the letter of the contract, without threads, speed or durability."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._logs: dict[str, ModelLog] = {}
        self._closed = False

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        self._limits.check_name(log)
        self._limits.check_group(group)
        self._check_open()
        if self._logs.setdefault(log, ModelLog(log, group)).group != group:
            raise LogExists(log)

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        self._limits.check(transaction)
        answer = self.log(log).update(transaction, checks.attempt(attempt))
        if isinstance(answer, Rejected):
            raise copy.copy(answer)
        return answer

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        return page(self.log(log), request)

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        it = self.log(log)
        return LogInfo(log, it.group, it.head, it.oldest, len(it.states[-1]))

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        self._check_open()
        return [self.describe(log) for log in sorted(self._logs) if group is None or self._logs[log].group == group]

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        request, it = DiffRequest(from_version, to_version), self.log(log)
        start = _readable(it, request.from_version)
        end = it.head if request.to_version is None else _readable(it, request.to_version)
        return [info for info in it.infos if start < info.version <= end and info.version >= it.oldest]

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        return self.log(log).history(key)

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        checks.version(before, "before")
        it = self.log(log)
        if before > it.head:
            raise NonexistentVersion(log, before, it.head)
        if before > 1:
            it.oldest = max(it.oldest, before)

    def close(self) -> None:
        """See ``Backend.close``."""
        self._closed = True

    def log(self, log: str) -> ModelLog:
        """The log of this name, for a test to look into."""
        self._check_open()
        self._limits.check_name(log)
        if log not in self._logs:
            raise NonexistentLog(log)
        return self._logs[log]

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this oracle was closed")


def _readable(it: ModelLog, version: int) -> int:
    """S14, S19: the version, if it can be named."""
    if version > it.head:
        raise NonexistentVersion(it.name, version, it.head)
    if 0 < version < it.oldest:
        raise VersionTrimmed(it.name, version, it.oldest)
    return version


def page(it: ModelLog, request: DiffRequest) -> Page:
    """S8-S12, S14: the whole diff, without what the cursor says was given, cut at the limit."""
    start = _readable(it, request.from_version)
    end = it.head if request.to_version is None else _readable(it, request.to_version)
    listed = it.changes(start, end, request.order)
    if (cursor := request.cursor) is not None:
        mark = cursor.key if isinstance(cursor, AtKey) else (cursor.version, cursor.command)
        falling = start > end and request.order == "command"
        listed = [
            (place, change)
            for place, change in listed
            if (place < mark if falling else place > mark)
            or (place == mark and not (cursor.removal_seen and isinstance(change, Removed)))
        ]
    whole = Page(start, end, tuple(change for _, change in listed[: request.limit]), None)
    if request.limit == 0 or len(listed) <= request.limit:
        return whole
    place, seen = listed[request.limit][0], listed[request.limit - 1][0] == listed[request.limit][0]
    if request.order == "key":
        return attrs.evolve(whole, next=AtKey(place, seen))
    return attrs.evolve(whole, next=AtCommand(place[0], place[1], seen))
