"""What a backend is: the contract (S1-S22) as a protocol.

Keys and values are bytes, compared and ordered bytewise; a log's name is an opaque string. A backend may be used from
many threads at once. ``indelible.testing.BackendContract`` tries every clause on one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import attrs

from indelible.changes import Added, Entry, Removed, Revision
from indelible.commands import Transaction
from indelible.errors import IndelibleError, InvalidRequest
from indelible.messages import RevisionPage
from indelible.pages import AtKey, DiffRequest, Page, walk
from indelible.records import Committed, LogInfo, VersionInfo


class Backend(Protocol):
    """Keeps logs, or passes on to something that does."""

    def create(self, log: str, group: str | None = None) -> None:
        """Make the log exist, empty, at version 0; nothing if it does with the same group (S1).

        Raises ``LogExists`` if its group is another.
        """
        ...

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """Judge and apply a transaction as one (S2-S6, S15-S17, S21, S22).

        ``attempt`` counts how often this transaction is sent; answers to a second or later one are kept (S16). A
        backend that sends it again by itself counts on: a rejection may be kept though the caller sent it once.
        Raises ``Rejected``, ``NotExecuted``, ``OutcomeUnknown``, ``InvalidRequest`` or ``NonexistentLog``.
        """
        ...

    def diff(self, log: str, request: DiffRequest) -> Page:
        """One page of a diff, at once or when there is something new (S8-S15).

        Raises ``NonexistentLog``, ``NonexistentVersion`` or ``VersionTrimmed``.
        """
        ...

    def describe(self, log: str) -> LogInfo:
        """Name, group, head, oldest readable version and number of entries (S18). Raises ``NonexistentLog``."""
        ...

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """The logs of this tenant, or those of one group, by name (S18)."""
        ...

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """Who made the versions after ``from_version`` up to and with ``to_version``, the head if None (S18).

        Raises ``NonexistentLog``, ``NonexistentVersion`` or ``VersionTrimmed``.
        """
        ...

    def trim(self, log: str, before: int) -> None:
        """Forget the versions in ``1..before-1`` and reclaim their space (S19).

        Raises ``NonexistentLog``, or ``NonexistentVersion`` if ``before`` is above the head.
        """
        ...

    def close(self) -> None:
        """Let go of everything. Waiting callers are woken with ``Closed``; a second call does nothing."""
        ...


@runtime_checkable
class KeyHistory(Protocol):
    """A backend that can tell the history of one key without reading that of all."""

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """What happened to ``key``, oldest first, as far back as the log was not trimmed. Raises ``NonexistentLog``."""
        ...


@runtime_checkable
class PagedKeyHistory(Protocol):
    """A backend that can tell part of a key's history at the cost of that part, however long the whole is."""

    def history_page(self, log: str, key: bytes, from_version: int, limit: int, max_bytes: int) -> RevisionPage:
        """See ``history_page``. Raises ``NonexistentLog``."""
        ...


@attrs.frozen
class Submission:
    """What ``Backend.update`` is asked: a transaction for a log, and how often it was sent."""

    log: str
    transaction: Transaction[bytes, bytes]
    attempt: int = 1


@runtime_checkable
class GroupCommit(Protocol):
    """A backend that can make many transactions durable at the cost of one."""

    def update_all(self, submissions: Sequence[Submission]) -> Sequence[Committed | IndelibleError]:
        """Do as ``update`` would with each in turn, and give each one's answer or the error it would have raised.

        Each is atomic by itself and judged in order; none is answered before all are durable.
        """
        ...


@runtime_checkable
class Notifying(Protocol):
    """A backend that tells of new versions without holding a thread for each who waits."""

    def subscribe(self, log: str, after: int, notify: Callable[[], None]) -> Callable[[], None]:
        """Have ``notify`` called soon after ``log`` went beyond ``after``, and each time it goes on; and at the close.

        What was committed before this returned is for the caller to look up; nothing that comes later is missed. One
        call may stand for several versions. It is called from any thread, perhaps more than once or for nothing; it
        must neither block nor raise, and must not call the backend. The log need not exist. Returns what ends the
        subscription; after that, at most a call that was under way still comes. Raises ``Closed``.
        """
        ...


def key_history(backend: Backend, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
    """The history of one key from any backend: its own way where it has one, else by walking every version."""
    return backend.history(log, key) if isinstance(backend, KeyHistory) else list(_walk_history(backend, log, key, 0))


def history_page(backend: Backend, log: str, key: bytes, from_version: int, limit: int, max_bytes: int) -> RevisionPage:
    """What happened to ``key`` after ``from_version``, oldest first, and from which version to go on, from any backend.

    ``limit``, from 1, is the most revisions on the page, and ``max_bytes`` the bytes of keys and values after which it
    ends; it holds at least one revision if there is any. Where a backend has only whole histories, it is cut from one.
    """
    if isinstance(backend, PagedKeyHistory):
        return backend.history_page(log, key, from_version, limit, max_bytes)
    found: Iterable[Revision[bytes, bytes]] = (
        backend.history(log, key) if isinstance(backend, KeyHistory) else _walk_history(backend, log, key, from_version)
    )
    return cut_history((revision for revision in found if revision.version > from_version), limit, max_bytes)


def cut_history(revisions: Iterable[Revision[bytes, bytes]], limit: int, max_bytes: int) -> RevisionPage:
    """The page that ``revisions`` begin with. It looks at one more than it holds, and at no other."""
    page: list[Revision[bytes, bytes]] = []
    room, rest = max_bytes, iter(revisions)
    for revision in itertools.islice(rest, limit):
        page.append(revision)
        room -= sum(len(it.key) + len(it.value) for it in (revision.before, revision.after) if it is not None)
        if room <= 0:
            break
    return RevisionPage(tuple(page), None if next(rest, None) is None else page[-1].version)


def _walk_history(backend: Backend, log: str, key: bytes, from_version: int) -> Iterator[Revision[bytes, bytes]]:
    """The history of a key after ``from_version``, or all that is left of it (S19); read as it is asked for."""
    info = backend.describe(log)
    low = from_version if from_version >= info.oldest else 0
    for high in range(max(from_version + 1, info.oldest), info.head + 1):
        request = DiffRequest(low, high, order="key", limit=2, cursor=AtKey(key))
        # At most a removal and an addition; large ones may stand on a page each.
        found = walk(request, backend.diff(log, request), functools.partial(backend.diff, log))
        changes = [change for change in itertools.islice(found, 2) if change.key == key]
        if changes:
            before = next((Entry(c.key, c.value, c.version) for c in changes if isinstance(c, Removed)), None)
            after = next((Entry(c.key, c.value, c.version) for c in changes if isinstance(c, Added)), None)
            yield Revision(after.version if after else high, before, after)
        low = high


@runtime_checkable
class Pinned(Protocol):
    """A backend that remembers the newest version it has seen of a log, and takes no answer that shows an older one."""

    def accept_rollback(self, log: str) -> None:
        """Forget the newest version seen of ``log``: it is taken as it is shown next. Nothing is asked."""
        ...


def accept_rollback(backend: Backend, log: str) -> None:
    """Have the backend that remembers it forget the newest version of a log. Raises ``InvalidRequest`` if none does."""
    if not isinstance(backend, Pinned):
        raise InvalidRequest(
            "this store is not behind a service, so no version is remembered that it must not go below"
        )
    backend.accept_rollback(log)
