"""The values that stand in rows, and a transaction's way into them, each within the caller's database transaction."""

from __future__ import annotations

import json

import apsw
import attrs

from indelible import engine, receipts, seams
from indelible.backends.sqlite import schema
from indelible.commands import Transaction
from indelible.engine import Decision, Rejection
from indelible.errors import NonexistentLog
from indelible.receipts import Receipt
from indelible.records import Committed


@attrs.frozen
class LogRow:
    """What is known of a log at this moment."""

    id: int
    name: str
    group: str | None
    head: int
    oldest: int
    entries: int


def find(db: apsw.Connection, log: str) -> LogRow | None:
    """The log's row, if it was created."""
    row = db.execute(schema.SELECT_LOG, (log,)).fetchone()
    return LogRow(row[0], log, *row[1:]) if row else None


def require(db: apsw.Connection, log: str) -> LogRow:
    """The log's row. Raises ``NonexistentLog``."""
    it = find(db, log)
    if it is None:
        raise NonexistentLog(log)
    return it


def receipt(db: apsw.Connection, log: int, transaction_id: bytes) -> Receipt | None:
    """The answer that was kept under a transaction's id, if any (S16)."""
    row = db.execute(schema.SELECT_RECEIPT, (log, transaction_id)).fetchone()
    if row is None:
        return None
    fingerprint, version, changed, rejection = row
    if rejection is None:
        return Receipt(fingerprint, Committed(version, bool(changed), replayed=False))
    code, index, command, expected = json.loads(rejection)
    return Receipt(fingerprint, Rejection(code, index, command, version, expected))


def apply(
    db: apsw.Connection, it: LogRow, transaction: Transaction[bytes, bytes], fingerprint: bytes, attempt: int
) -> Committed | Rejection:
    """Judge a transaction that has no receipt, write what it does, and its receipt if the answer is final."""
    # In the order of their index, so that neighbours are found on the same page.
    wanted = [(it.id, key) for key in sorted(engine.read_set(transaction))]
    decision = engine.decide(transaction, it.head, dict(db.executemany(schema.SELECT_CURRENT, wanted)))
    if isinstance(decision, Rejection):
        outcome: Committed | Rejection = decision
    else:
        outcome = Committed(decision.version, bool(decision.effects), replayed=False)
        if decision.effects:
            _write(db, it, transaction, decision)
    if receipts.is_final(outcome, attempt):
        _keep(db, it.id, transaction.id, Receipt(fingerprint, outcome))
    return outcome


def _write(db: apsw.Connection, it: LogRow, transaction: Transaction[bytes, bytes], decision: Decision) -> None:
    log, version, effects = it.id, decision.version, decision.effects
    ended = [effect for effect in effects if effect.before is not None]
    added = [(log, version, effect.command, effect.key, effect.after) for effect in effects if effect.after is not None]
    if ended:
        db.executemany(schema.END_LIVE, [(version, effect.command, log, effect.key) for effect in ended])
        db.executemany(schema.DELETE_LIVE, [(log, effect.key) for effect in ended])
    if added:
        db.executemany(schema.INSERT_LIVE, added)
    committed_at = int(seams.clock() * 1_000_000)
    db.execute(
        schema.INSERT_VERSION,
        (log, version, transaction.source, transaction.id, committed_at, len(effects)),
    )
    db.execute(schema.SET_HEAD, (version, len(added) - len(ended), log))


def _keep(db: apsw.Connection, log: int, transaction_id: bytes, kept: Receipt) -> None:
    outcome = kept.outcome
    if isinstance(outcome, Rejection):
        rejection = json.dumps([outcome.code, outcome.index, outcome.command, outcome.expected])
        row: tuple[int, int, str | None] = (outcome.head, 0, rejection)
    else:
        row = (outcome.version, outcome.changed, None)
    db.execute(schema.INSERT_RECEIPT, (log, transaction_id, kept.fingerprint, *row))
