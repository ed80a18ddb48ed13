"""The backend that keeps logs in a service."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Sequence
from typing import Final, TypeVar

import attrs

from indelible import checks, seams
from indelible.backends.http import listings
from indelible.backends.http.answers import violation
from indelible.backends.http.calls import Call
from indelible.backends.http.location import Location, tls_context
from indelible.backends.http.paging import Walk, Walks, check_page, size_of
from indelible.backends.http.pins import Pins
from indelible.backends.http.question import Question
from indelible.backends.http.retrying import pause
from indelible.backends.http.service import Service
from indelible.backends.http.transport import Transport
from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.credentials import Credentials
from indelible.errors import InvalidRequest
from indelible.messages import (
    LARGEST_PAGE,
    CreateLog,
    DescribeLog,
    DiffLog,
    Done,
    KeyRevisions,
    ListLogs,
    ListVersions,
    LogPage,
    RevisionPage,
    TrimLog,
    VersionPage,
)
from indelible.pages import DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo
from indelible.routes import CREATE, DESCRIBE, DIFF, HISTORY, LIST, TRIM, VERSIONS
from indelible.wire import LONGEST_WAIT

Q = TypeVar("Q", ListVersions, KeyRevisions)

LARGEST_ANSWER: Final = 64 * 1024 * 1024
_LONGEST_TIMEOUT: Final = 86_400.0


class HTTPBackend:
    """Keeps logs in the service at ``url``, for any number of threads.

    A request takes no longer than ``timeout`` seconds, its turn and all tries included, however slowly the service
    answers: within them, what failed is tried again, up to eight times. A ``diff`` that waits may take its wait longer,
    and is tried until that time is over; ``logs``, ``versions`` and ``history`` make a request for each page. Looking
    up a host's name is the system's business, and has no bound.

    ``largest_answer`` is in bytes. ``ca_file`` holds the authorities to trust instead of the system's. ``pins``
    remember the newest version seen of each log; without them it is remembered for as long as this backend lives.

    Every answer is checked as if the service were hostile: one that the contract does not allow is
    ``ProtocolViolation``, one that shows an older head than was seen before ``HistoryRolledBack``. A service that
    cannot be reached is ``NotExecuted``. Raises ``InvalidRequest`` for a URL that is none of a service, or not safe.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        ca_file: str | os.PathLike[str] | None = None,
        allow_plain_http: bool = False,
        pins: Pins | None = None,
        timeout: float = 30.0,
        largest_answer: int = LARGEST_ANSWER,
    ) -> None:
        location = Location.parse(url, allow_plain_http=allow_plain_http)
        if not isinstance(credentials, Credentials):
            raise InvalidRequest("a service asks who you are; pass Credentials(customer_id, apikey)")
        seconds = min(checks.seconds(timeout, "timeout"), _LONGEST_TIMEOUT)
        if not seconds or not checks.version(largest_answer, "largest_answer"):
            raise InvalidRequest("timeout and largest_answer must be more than 0")
        transport = Transport(location, credentials, tls_context(ca_file) if location.tls else None, largest_answer)
        self._shown = f"{str(location)!r}, customer_id={credentials.customer_id!r}"
        self._timeout = seconds
        self._service = Service(transport, credentials.customer_id, Pins() if pins is None else pins, seconds)
        self._walks = Walks()
        # For who does not close it: no connection is left open, and nothing that was seen is forgotten.
        weakref.finalize(self, self._service.abandon)

    def __repr__(self) -> str:
        return f"HTTPBackend({self._shown})"

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        self._service.ask(Question(CREATE, CreateLog(_name(log), _group(group)), log, _nothing_to_check))

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``.

        It is sent under the same id up to eight times, within the time. ``NotExecuted`` speaks for this call: none of
        what it sent had an effect.
        """
        return self._service.deliver(log, transaction, attempt)

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``. A page has at most 10,000 changes, and fewer than asked for where time is short."""
        request = attrs.evolve(request, limit=min(request.limit, LARGEST_PAGE))
        if request.wait_seconds == 0 or request.to_version is not None:
            return self._page(_name(log), request, 0.0)
        end = seams.monotonic() + request.wait_seconds
        for early in itertools.count(1):
            began = seams.monotonic()
            wait = min(max(end - began, 0.0), LONGEST_WAIT)
            page = self._page(_name(log), request, wait)
            now = seams.monotonic()
            if page.to_version != page.from_version or now >= end:
                return page
            if now - began < wait:
                # A service that is being stopped sends away who waits; all of them must not storm the next one.
                self._service.rest(min(pause(early), end - now))
        raise AssertionError("unreachable")

    def _page(self, log: str, request: DiffRequest, wait: float) -> Page:
        """The page that was asked for, made of as many as the service cuts it into."""
        walk = self._walks.take(log, request)
        with self._service.begin(wait) as call:
            page = self._part(call, log, request, walk, wait)
            rest = attrs.evolve(request, to_version=page.to_version)
            parts, part = [page], page
            while part.next is not None and call.seconds > self._timeout / 2:
                limit, most = rest.limit - len(part.changes), rest.max_bytes - size_of(part)
                if limit <= 0 or most <= 0:
                    break
                rest = attrs.evolve(rest, limit=limit, max_bytes=most, cursor=part.next)
                part = self._part(call, log, rest, walk, 0.0)
                parts.append(part)
        if len(parts) > 1:
            page = attrs.evolve(page, changes=tuple(itertools.chain(*[it.changes for it in parts])), next=part.next)
        self._walks.keep(log, page, walk)
        return page

    def _part(self, call: Call, log: str, request: DiffRequest, walk: Walk, wait: float) -> Page:
        """What the service gives of a page at once, in no more bytes than were asked for."""
        page, size = self._ask_page(call, log, request, walk, wait)
        # In Base64 everything is longer, so most pages need not be counted.
        if size <= request.max_bytes or (fitting := walk.cut(page, request.max_bytes)) == len(page.changes):
            return page
        # How many bytes a page may have is not asked of a service. Where the next page begins, it alone can tell.
        shorter = attrs.evolve(request, to_version=page.to_version, limit=fitting)
        cut, _ = self._ask_page(call, log, shorter, Walk(), 0.0)
        if cut.changes != page.changes[:fitting]:
            raise violation("it answers the same question in two ways")
        return cut

    def _ask_page(self, call: Call, log: str, request: DiffRequest, walk: Walk, wait: float) -> tuple[Page, int]:
        end = seams.monotonic() + wait

        def anew(asked: DiffLog) -> DiffLog:
            left = max(end - seams.monotonic(), 0.0) if wait else 0.0
            return attrs.evolve(asked, request=attrs.evolve(request, wait_seconds=left))

        def check(_asked: DiffLog, page: Page) -> int | None:
            return check_page(request, page, walk)

        return self._service.ask_in(call, Question(DIFF, DiffLog(log, request), log, check, anew))

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        return self._service.ask(Question(DESCRIBE, DescribeLog(_name(log)), log, listings.check_info))

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        newest = self._service.newest()

        def check(asked: ListLogs, page: LogPage) -> None:
            listings.check_logs(asked, page)
            for info in page.logs:
                self._service.compare(info.name, newest.get(info.name, 0), info.head)
                self._service.see(info.name, info.head)

        def following(asked: ListLogs, page: LogPage) -> ListLogs | None:
            return None if page.next_after is None else attrs.evolve(asked, after=page.next_after)

        pages = self._service.ask_all(Question(LIST, ListLogs(_group(group)), None, check), following)
        return [info for page in pages for info in page.logs]

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        request = DiffRequest(from_version, to_version)
        asked = ListVersions(_name(log), request.from_version, request.to_version)
        pages = self._service.ask_all(Question(VERSIONS, asked, log, listings.check_versions), _following)
        return [info for page in pages for info in page.versions]

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        found: list[Revision[bytes, bytes]] = []

        def check(asked: KeyRevisions, page: RevisionPage) -> None:
            listings.check_revisions(asked, page, found[-1] if found else None)

        asked = KeyRevisions(_name(log), checks.data(key, "a key"))
        for page in self._service.ask_all(Question(HISTORY, asked, log, check), _following):
            found += page.revisions
        return found

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        asked = TrimLog(_name(log), checks.version(before, "before"))
        self._service.ask(Question(TRIM, asked, log, _nothing_to_check))

    def accept_rollback(self, log: str) -> None:
        """See ``Pinned.accept_rollback``."""
        self._service.accept_rollback(_name(log))

    def close(self) -> None:
        """See ``Backend.close``. An update that was sent already ends with ``OutcomeUnknown``.

        What was seen of the logs is written down; that it could not be is logged as a warning of ``indelible.pins``.
        """
        self._service.close()


def _name(log: str) -> str:
    return checks.name(log, "a log's name")


def _group(group: str | None) -> str | None:
    return None if group is None else checks.text(group, "group")


def _nothing_to_check(_asked: object, _answer: Done) -> None:
    """That it was done is all that is said."""


def _following(asked: Q, page: VersionPage | RevisionPage) -> Q | None:
    return None if page.next_from is None else attrs.evolve(asked, from_version=page.next_from)
