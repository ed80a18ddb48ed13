"""Backends that are wrong on purpose: what a suite must find, or it proves nothing."""

from __future__ import annotations

import copy
import time

import attrs
from actors import sqlite

from indelible import seams
from indelible.backend import Backend
from indelible.backends.memory import MemoryBackend
from indelible.commands import Transaction, Upsert
from indelible.errors import OutcomeUnknown
from indelible.pages import DiffRequest, Page
from indelible.records import Committed
from indelible.testing.faults import Passing

SENT = Transaction([Upsert(b"k", b"v")])


class StaleReads(MemoryBackend):
    """Reads of the head show what it was one read ago."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, int] = {}

    def diff(self, log: str, request: DiffRequest) -> Page:
        """A page to the head that the last reader saw."""
        head = super().describe(log).head
        seen, self._seen[log] = self._seen.get(log, 0), head
        if request.to_version is None and request.from_version <= seen:
            request = attrs.evolve(request, to_version=seen, wait_seconds=0.0)
        return super().diff(log, request)


class CheckThenWrite(MemoryBackend):
    """Judges on a copy, without a lock, and puts the copy in place."""

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """Another may have written since the copy was taken."""
        before = self._ledgers[log]
        ledger = attrs.evolve(
            before, **{name: copy.copy(getattr(before, name)) for name in ("live", "ended", "made", "receipts")}
        )
        answer = ledger.update(transaction, attempt, seams.now())
        time.sleep(0)
        self._ledgers[log] = ledger
        return answer


class LateLookUp(MemoryBackend):
    """Judges what was sent again as if it were new."""

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """Each attempt gets an id of its own."""
        return super().update(log, Transaction(transaction.commands, transaction.source), attempt)


class TornPages(MemoryBackend):
    """A page to the head that has only some of the head's changes, and says that it is whole."""

    def diff(self, log: str, request: DiffRequest) -> Page:
        """The last change is left out."""
        page = super().diff(log, request)
        whole = page.next is not None or len(page.changes) < 2
        return page if whole else attrs.evolve(page, changes=page.changes[:-1])


IN_MEMORY = [StaleReads, CheckThenWrite, LateLookUp, TornPages]


class ForgetfulAndSlow(Passing):
    """Forgets the ids it has seen, and dwells a while between a commit and its answer."""

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """Each attempt gets an id of its own."""
        try:
            return super().update(log, Transaction(transaction.commands, transaction.source), attempt)
        finally:
            time.sleep(0.005)


def forgetful_and_slow(path: str) -> Backend:
    """The store under test, without a memory for ids."""
    return ForgetfulAndSlow(sqlite(path))


class Silent(MemoryBackend):
    """Never says what it did."""

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """Raise ``OutcomeUnknown``."""
        raise OutcomeUnknown(log, transaction, attempt, "a test")
