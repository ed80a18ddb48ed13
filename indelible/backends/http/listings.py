"""What else is told of logs, checked: descriptions, lists, versions, and the history of a key.

Raises ``ProtocolViolation`` for what no honest service says.
"""

from __future__ import annotations

from indelible.backends.http.answers import violation
from indelible.changes import Revision
from indelible.messages import DescribeLog, KeyRevisions, ListLogs, ListVersions, LogPage, RevisionPage, VersionPage
from indelible.records import LogInfo


def check_info(asked: DescribeLog, info: LogInfo) -> int:
    """Check the description of a log, and give its head."""
    if info.name != asked.log:
        raise violation("it describes another log than was asked for")
    return _check_numbers(info)


def _check_numbers(info: LogInfo) -> int:
    if info.oldest > info.head or (info.entries and not info.head):
        raise violation("the numbers in its description of a log do not fit together")
    return info.head


def check_logs(asked: ListLogs, page: LogPage) -> None:
    """Check a page of logs: each of the group, their names going up from the last page on."""
    _check_goes_on(len(page.logs), asked.limit, page.next_after is not None)
    last = asked.after or ""
    for info in page.logs:
        _check_numbers(info)
        if info.name <= last or (asked.group is not None and info.group != asked.group):
            raise violation("its list of logs is out of order, or holds one that was not asked for")
        last = info.name
    if page.next_after is not None and page.next_after < last:
        raise violation("its list of logs does not lead on")


def check_versions(asked: ListVersions, page: VersionPage) -> int | None:
    """Check a page of versions: one after the other, from the last page on, to the last one asked for.

    Gives the head at which it was judged, where the end of the list tells it.
    """
    _check_goes_on(len(page.versions), None, page.next_from is not None)
    numbers = [info.version for info in page.versions]
    last = numbers[-1] if numbers else asked.from_version
    # From 0 on, a log that was trimmed tells of the versions that are left (S19).
    first = numbers[0] if numbers and asked.from_version == 0 else asked.from_version + 1
    if numbers != list(range(first, first + len(numbers))) or first < 1:
        raise violation("its list of versions has gaps, or is out of order")
    if any(info.effects < 1 for info in page.versions):
        raise violation("it tells of a version in which nothing happened")
    if page.next_from is not None:
        if page.next_from != last:
            raise violation("its list of versions does not lead on")
        return None
    if asked.to_version is None:
        return last
    if last != max(asked.to_version, asked.from_version):
        raise violation("its list of versions does not end where it was asked to")
    return None


def check_revisions(asked: KeyRevisions, page: RevisionPage, before: Revision[bytes, bytes] | None) -> None:
    """Check a page of a key's history: each revision of that key, and ending the entry that the one before began.

    ``before`` is the last revision of the page before; None on the first.
    """
    _check_goes_on(len(page.revisions), None, page.next_from is not None)
    last, version = before, asked.from_version
    for revision in page.revisions:
        if revision.version <= version:
            raise violation("its history of a key is out of order")
        _check_revision(asked.key, revision)
        if last is not None and last.after != revision.before:
            raise violation("its history of a key has gaps")
        last, version = revision, revision.version
    if page.next_from is not None and page.next_from < version:
        raise violation("its history of a key does not lead on")


def _check_revision(key: bytes, revision: Revision[bytes, bytes]) -> None:
    ended, made = revision.before, revision.after
    if ended is None and made is None:
        raise violation("its history of a key tells of a version that did nothing to it")
    if any(entry is not None and entry.key != key for entry in (ended, made)):
        raise violation("its history of a key tells of another key")
    if (ended is not None and not 0 < ended.version < revision.version) or (
        made is not None and made.version != revision.version
    ):
        raise violation("its history of a key names versions that do not fit together")


def _check_goes_on(size: int, limit: int | None, more: bool) -> None:
    if more and size == 0:
        raise violation("its list is empty and not the last, so that pages would never come to an end")
    if limit is not None and size > limit:
        raise violation("its list is longer than was asked for")
