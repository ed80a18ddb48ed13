"""A store in this process's memory: the reference, and the one for tests. It lives no longer than the process (S21)."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import attrs

from indelible import checks, engine, history, receipts, seams
from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.errors import Closed, LogExists, NonexistentLog
from indelible.history import Position, Span
from indelible.limits import Limits
from indelible.pages import DiffRequest, Page
from indelible.receipts import Receipt
from indelible.records import Committed, LogInfo, VersionInfo


@attrs.define(eq=False)
class _Log:
    """One log: its live spans by key, those that ended, and what is known of its versions."""

    group: str | None
    changed: threading.Condition
    head: int = 0
    oldest: int = 0
    live: dict[bytes, Span] = attrs.field(factory=dict)
    ended: list[Span] = attrs.field(factory=list)
    versions: list[VersionInfo] = attrs.field(factory=list)
    receipts: dict[bytes, Receipt] = attrs.field(factory=dict)

    def apply(self, effect: engine.Effect, position: Position) -> None:
        if effect.before is not None:
            self.ended.append(attrs.evolve(self.live.pop(effect.key), ended=position))
        if effect.after is not None:
            self.live[effect.key] = Span(effect.key, effect.after, position)


class MemoryBackend:
    """Keeps logs in memory, safe for any number of threads; waiting costs nothing until something happens.

    What it acknowledges is kept while the process lives, and in this process alone: after a fork, the child's use of it
    raises ``Closed``.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._logs: dict[str, _Log] = {}
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._closed = False

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        self._limits.check_name(log)
        self._limits.check_group(group)
        self._check_open()
        with self._lock:
            existing = self._logs.setdefault(log, _Log(group, threading.Condition(self._lock)))
            if existing.group != group:
                raise LogExists(log)

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        self._limits.check(transaction)
        checks.version(attempt, "attempt")
        fingerprint = receipts.fingerprint(transaction)
        self._check_open()
        with self._lock:
            it = self._log(log)
            if (receipt := it.receipts.get(transaction.id)) is not None:
                return receipt.answer(log, fingerprint)
            current = {key: it.live[key].value for key in engine.read_set(transaction) if key in it.live}
            decision = engine.decide(transaction, it.head, current)
            if isinstance(decision, engine.Rejection):
                outcome: Committed | engine.Rejection = decision
            else:
                outcome = Committed(decision.version, decision.version > it.head, replayed=False)
                if outcome.changed:
                    self._commit(it, transaction, decision)
            if receipts.is_final(outcome, attempt):
                it.receipts[transaction.id] = Receipt(fingerprint, outcome)
        if isinstance(outcome, engine.Rejection):
            raise outcome.error(log)
        return outcome

    def _commit(self, it: _Log, transaction: Transaction[bytes, bytes], decision: engine.Decision) -> None:
        for effect in decision.effects:
            it.apply(effect, (decision.version, effect.command))
        effects = len(decision.effects)
        it.versions.append(VersionInfo(decision.version, transaction.source, transaction.id, seams.now(), effects))
        it.head = decision.version
        it.changed.notify_all()

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        self._check_open()
        with self._lock:
            it = self._log(log)
            if request.waits_at(it.head):
                it.changed.wait_for(lambda: it.head > request.from_version or self._closed, request.wait_seconds)
                self._check_open()
            span = history.resolve(log, request, it.head, it.oldest)
            return history.page([*it.ended, *it.live.values()], request, span)

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        self._check_open()
        with self._lock:
            return self._info(log)

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        self._check_open()
        with self._lock:
            return [self._info(log) for log, it in sorted(self._logs.items()) if group in (None, it.group)]

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        request = DiffRequest(from_version, to_version)
        self._check_open()
        with self._lock:
            it = self._log(log)
            span = history.resolve(log, request, it.head, it.oldest)
            return [info for info in it.versions if from_version < info.version <= span.high]

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        self._check_open()
        with self._lock:
            it = self._log(log)
            spans = [span for span in (*it.ended, *it.live.values()) if span.key == key]
            return history.revisions(spans)

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        checks.version(before, "before")
        self._check_open()
        with self._lock:
            it = self._log(log)
            it.oldest = history.trimmed(log, before, it.head, it.oldest)
            it.ended = [span for span in it.ended if span.ended is None or span.ended[0] > it.oldest]
            it.versions = [info for info in it.versions if info.version >= it.oldest]

    def close(self) -> None:
        """See ``Backend.close``."""
        with self._lock:
            self._closed = True
            for it in self._logs.values():
                it.changed.notify_all()

    def _check_open(self) -> None:
        if os.getpid() != self._pid:
            raise Closed("this memory store belongs to the process that made it; after a fork, open one of your own")
        if self._closed:
            raise Closed("this store was closed; open it again to go on")

    def _log(self, log: str) -> _Log:
        self._limits.check_name(log)
        try:
            return self._logs[log]
        except KeyError:
            raise NonexistentLog(log) from None

    def _info(self, log: str) -> LogInfo:
        it = self._log(log)
        return LogInfo(log, it.group, it.head, it.oldest, len(it.live))
