"""The backend that keeps logs in one SQLite file."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote

import apsw

from indelible import checks, history, seams
from indelible.backend import Submission, cut_history
from indelible.backends.sqlite import ranges, revisions, rows, schema
from indelible.backends.sqlite.committing import commit
from indelible.backends.sqlite.file import CommitFailed, DatabaseFile
from indelible.backends.sqlite.rows import LogRow
from indelible.backends.sqlite.waiters import Waiters, Watch
from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.errors import IndelibleError, InvalidRequest, LogExists, NotExecuted
from indelible.limits import Limits
from indelible.messages import RevisionPage
from indelible.pages import DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_LONGEST_BUSY = 2_000_000.0  # SQLite counts milliseconds in 32 bits


class SQLiteBackend:
    """Keeps logs in one file, for any number of threads and processes on one machine.

    What it acknowledges is on the disk: killed processes and power cuts lose nothing (S21). Who waits is woken at once
    by this process's commits, and within a glance (20 ms) by another's. ``busy_seconds`` is how long a write waits for
    another process's to end before it raises ``Overloaded``.

    Raises ``UnsuitableStore`` for a file that is not ours, has a newer schema, or cannot keep the promise where it is.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, limits: Limits | None = None, busy_seconds: float = 5.0
    ) -> None:
        self._limits = limits or Limits()
        # Resolved now: the same file, whatever the working directory becomes.
        self._file = file = DatabaseFile(
            str(Path(path).absolute()), min(checks.seconds(busy_seconds, "busy_seconds"), _LONGEST_BUSY)
        )
        self._waiters = Waiters(lambda: Watch(file.connect(), file.check))

    def __repr__(self) -> str:
        return f"SQLiteBackend({self._file.path!r})"

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        self._limits.check_name(log)
        self._limits.check_group(group)
        try:
            with self._file.writing() as db:
                it = rows.find(db, log)
                if it is None:
                    db.execute(schema.CREATE_LOG, (log, group))
                elif it.group != group:
                    raise LogExists(log)
        except CommitFailed as failure:
            # Whatever became of it, creating it again is the same as creating it once.
            raise NotExecuted(f"the storage failed while creating a log ({failure}); create it again") from failure

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        answer = self.update_all([Submission(log, transaction, attempt)])[0]
        if isinstance(answer, Committed):
            return answer
        try:
            raise answer
        finally:
            # Or the error would hold on, through this frame, to itself.
            del answer

    def update_all(self, submissions: Sequence[Submission]) -> Sequence[Committed | IndelibleError]:
        """See ``GroupCommit.update_all``."""
        answers = commit(self._file, self._limits, submissions)
        heads = {
            it.log: answer.version
            for it, answer in zip(submissions, answers, strict=True)
            if isinstance(answer, Committed) and answer.changed and not answer.replayed
        }
        for log, head in heads.items():
            self._waiters.announce(log, head)
        return answers

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        self._limits.check_name(log)
        if request.wait_seconds == 0 or request.to_version is not None:
            with self._file.reading() as db:
                return self._page(db, rows.require(db, log), request)
        deadline = seams.monotonic() + request.wait_seconds
        with self._waiters.waiting(log, request.from_version) as sleeper:
            while True:
                sleeper.rest()
                with self._file.reading() as db:
                    it = rows.require(db, log)
                    if not request.waits_at(it.head) or seams.monotonic() >= deadline:
                        return self._page(db, it, request)
                self._waiters.wait(sleeper, deadline)

    def _page(self, db: apsw.Connection, it: LogRow, request: DiffRequest) -> Page:
        span = history.resolve(it.name, request, it.head, it.oldest)
        return ranges.read_page(db, it.id, it.head, request, span)

    def subscribe(self, log: str, after: int, notify: Callable[[], None]) -> Callable[[], None]:
        """See ``Notifying.subscribe``."""
        self._limits.check_name(log)
        checks.version(after, "after")
        self._file.check()
        return self._waiters.subscribe(log, after, notify)

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        self._limits.check_name(log)
        with self._file.reading() as db:
            it = rows.require(db, log)
        return LogInfo(it.name, it.group, it.head, it.oldest, it.entries)

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        self._limits.check_group(group)
        with self._file.reading() as db:
            return [LogInfo(*row) for row in db.execute(schema.SELECT_LOGS, (group,))]

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        self._limits.check_name(log)
        request = DiffRequest(from_version, to_version)
        with self._file.reading() as db:
            it = rows.require(db, log)
            span = history.resolve(log, request, it.head, it.oldest)
            found = db.execute(schema.SELECT_VERSIONS, (it.id, from_version, span.high))
            return [VersionInfo(v, source, id_, _EPOCH + at * _MICROSECOND, n) for v, source, id_, at, n in found]

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        self._limits.check_name(log)
        checks.data(key, "a key")
        with self._file.reading() as db:
            return list(revisions.read(db, rows.require(db, log), key, 0))

    def history_page(self, log: str, key: bytes, from_version: int, limit: int, max_bytes: int) -> RevisionPage:
        """See ``PagedKeyHistory.history_page``."""
        self._limits.check_name(log)
        checks.data(key, "a key")
        checks.version(from_version, "from_version")
        with self._file.reading() as db:
            return cut_history(revisions.read(db, rows.require(db, log), key, from_version), limit, max_bytes)

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        self._limits.check_name(log)
        checks.version(before, "before")
        try:
            with self._file.writing() as db:
                it = rows.require(db, log)
                oldest = history.trimmed(log, before, it.head, it.oldest)
                if oldest == it.oldest:
                    return
                db.execute(schema.SET_OLDEST, (oldest, it.id))
                db.execute(schema.TRIM_ENDED, (it.id, oldest))
                seams.failpoint("sqlite.trim")
                db.execute(schema.TRIM_VERSIONS, (it.id, oldest))
        except CommitFailed as failure:
            raise NotExecuted(f"the storage failed while trimming a log ({failure}); trim it again") from failure
        # The history is forgotten, whatever comes now; space that cannot be given back yet goes with the next trim.
        with contextlib.suppress(NotExecuted):
            self._file.reclaim()

    def close(self) -> None:
        """See ``Backend.close``."""
        self._file.close()
        self._waiters.close()


def open_url(url: str, limits: Limits | None = None) -> SQLiteBackend:
    """The store of a URL: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
    path = unquote(url.partition(":")[2])
    if not path.startswith("///") or not path[3:]:
        raise InvalidRequest("a SQLite URL is sqlite:///relative/path.db or sqlite:////absolute/path.db")
    return SQLiteBackend(path[3:], limits=limits)
