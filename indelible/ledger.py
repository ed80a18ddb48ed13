"""One log, whole, in memory: every clause that speaks of a single log, and no threads, clocks or files.

The memory backend keeps one a log; a backend that can store a Python object needs little else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import attrs

from indelible import checks, engine, history, receipts
from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.engine import Decision, Rejection
from indelible.history import Span
from indelible.pages import DiffRequest, Page
from indelible.receipts import Receipt
from indelible.records import Committed, LogInfo, VersionInfo


@attrs.define(eq=False, repr=False)
class Ledger:
    """A log's live spans by key, those that ended, its versions, and the answers that stay.

    Its methods are those of ``Backend`` for this one log; ``update`` is told the time.
    """

    name: str
    group: str | None = None
    head: int = 0
    oldest: int = 0
    live: dict[bytes, Span] = attrs.field(factory=dict)
    ended: list[Span] = attrs.field(factory=list)
    made: list[VersionInfo] = attrs.field(factory=list)
    receipts: dict[bytes, Receipt] = attrs.field(factory=dict)

    def update(self, transaction: Transaction[bytes, bytes], attempt: int, at: dt.datetime) -> Committed:
        """See ``Backend.update``."""
        checks.attempt(attempt)
        fingerprint = receipts.fingerprint(transaction)
        if (receipt := self.receipts.get(transaction.id)) is not None:
            return receipt.answer(self.name, fingerprint)
        current = {key: self.live[key].value for key in engine.read_set(transaction) if key in self.live}
        decision = engine.decide(transaction, self.head, current)
        if isinstance(decision, Rejection):
            outcome: Committed | Rejection = decision
        else:
            outcome = Committed(decision.version, bool(decision.effects), replayed=False)
            if decision.effects:
                self._apply(transaction, decision, at)
        if receipts.is_final(outcome, attempt):
            self.receipts[transaction.id] = Receipt(fingerprint, outcome)
        if isinstance(outcome, Rejection):
            raise outcome.error(self.name)
        return outcome

    def _apply(self, transaction: Transaction[bytes, bytes], decision: Decision, at: dt.datetime) -> None:
        for effect in decision.effects:
            position = (decision.version, effect.command)
            if effect.before is not None:
                self.ended.append(self.live.pop(effect.key)._replace(ended=position))
            if effect.after is not None:
                self.live[effect.key] = Span(effect.key, effect.after, position)
        self.made.append(VersionInfo(decision.version, transaction.source, transaction.id, at, len(decision.effects)))
        self.head = decision.version

    def diff(self, request: DiffRequest) -> Page:
        """See ``Backend.diff``; what is there is the answer, without waiting."""
        span = history.resolve(self.name, request, self.head, self.oldest)
        return history.page([*self.ended, *self.live.values()], request, span)

    def describe(self) -> LogInfo:
        """See ``Backend.describe``."""
        return LogInfo(self.name, self.group, self.head, self.oldest, len(self.live))

    def versions(self, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        span = history.resolve(self.name, DiffRequest(from_version, to_version), self.head, self.oldest)
        return [info for info in self.made if from_version < info.version <= span.high]

    def history(self, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        checks.data(key, "a key")
        return history.revisions(span for span in (*self.ended, *self.live.values()) if span.key == key)

    def trim(self, before: int) -> None:
        """See ``Backend.trim``."""
        checks.version(before, "before")
        self.oldest = history.trimmed(self.name, before, self.head, self.oldest)
        self.ended = [span for span in self.ended if span.ended is None or span.ended[0] > self.oldest]
        self.made = [info for info in self.made if info.version >= self.oldest]
