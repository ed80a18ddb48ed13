"""Random workloads, the states a store may be in while one runs, and what a store really holds, all comparable.

A state is the digest of everything that matters: logs, entries live and ended, versions, kept answers. What it should
be is computed by ``indelible.ledger``, the whole log in memory; what it is is read from the tables, by plain SQL.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import attrs

from indelible import Insert, Remove, Transaction, Update, Upsert
from indelible.backends.sqlite import SQLiteBackend
from indelible.engine import Rejection
from indelible.errors import Rejected
from indelible.ledger import Ledger
from indelible.pages import DiffRequest
from indelible.records import Committed

Ledgers = dict[str, Ledger]
LOGS = ("orders", "people", "stock")
_WHEN = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@attrs.frozen
class Step:
    """One operation on a store: create, update, trim, or reopen, which is left to whoever opened it."""

    kind: str
    log: str = ""
    transaction: Transaction[bytes, bytes] | None = None
    attempt: int = 1
    before: int = 0

    def perform(self, backend: SQLiteBackend) -> str:
        """Do it; the answer, or the name of the rejection."""
        match self.kind:
            case "create":
                backend.create(self.log)
            case "trim":
                backend.trim(self.log, self.before)
            case "update":
                try:
                    return _answer(backend.update(self.log, self.transaction, self.attempt))
                except Rejected as error:
                    return type(error).__name__
        return "done"

    def judge(self, ledgers: Ledgers) -> tuple[Ledgers, str]:
        """The state after it and the answer it should have."""
        after = dict(ledgers)
        if self.kind == "create":
            after.setdefault(self.log, Ledger(self.log))
        elif self.kind != "reopen":
            it = after[self.log] = copy_of(ledgers[self.log])
            if self.kind == "trim":
                it.trim(self.before)
            else:
                try:
                    return after, _answer(it.update(self.transaction, self.attempt, _WHEN))
                except Rejected as error:
                    return after, type(error).__name__
        return after, "done"


def copy_of(ledger: Ledger) -> Ledger:
    """A ledger that shares nothing that changes."""
    return attrs.evolve(
        ledger,
        live=dict(ledger.live),
        ended=list(ledger.ended),
        made=list(ledger.made),
        receipts=dict(ledger.receipts),
    )


def _answer(committed: Committed) -> str:
    return f"version {committed.version}, changed {committed.changed}"


def random_transaction(rng: random.Random, size: int = 3) -> Transaction[bytes, bytes]:
    """Commands on a dozen keys, sometimes with a value of more than a page, sometimes to be rejected."""
    commands = []
    for _ in range(rng.randint(1, size)):
        kind = rng.choice((Insert, Update, Upsert, Upsert, Upsert, Remove))
        value = rng.choice((b"small", b"other", rng.randbytes(40), rng.randbytes(rng.choice((300, 5000)))))
        commands.append(kind(b"key %d" % rng.randrange(12), value))
    return Transaction(commands, rng.choice((None, "somebody")), id=rng.randbytes(16))


def random_steps(rng: random.Random, count: int) -> Iterator[tuple[Step, Ledgers, str]]:
    """A workload: each step with the state after it and the answer it should have."""
    ledgers: Ledgers = {}
    sent: list[Step] = []
    for _ in range(count):
        step = _random_step(rng, ledgers, sent)
        ledgers, answer = step.judge(ledgers)
        if step.kind == "update":
            sent.append(step)
        yield step, ledgers, answer


def _random_step(rng: random.Random, ledgers: Ledgers, sent: list[Step]) -> Step:
    absent = [log for log in LOGS if log not in ledgers]
    if absent and (not ledgers or rng.random() < 0.15):
        return Step("create", absent[0])
    log = rng.choice(sorted(ledgers))
    draw = rng.random()
    if draw < 0.06:
        return Step("reopen")
    if draw < 0.12 and ledgers[log].head > 2:
        return Step("trim", log, before=rng.randint(2, ledgers[log].head))
    if draw < 0.18 and sent:
        # Its id is known, or it was rejected the first time: what it says now must outlive the power.
        return attrs.evolve(rng.choice(sent), attempt=2)
    return Step("update", log, random_transaction(rng), attempt=1 if rng.random() < 0.9 else 2)


def digest(ledgers: Ledgers) -> str:
    """The state that these ledgers describe."""
    rows: list[tuple] = []
    for name, it in ledgers.items():
        rows.append(("log", name, it.group, it.head, it.oldest, len(it.live)))
        rows += (("live", name, s.key, s.value, *s.added) for s in it.live.values())
        rows += (("ended", name, s.key, s.value, *s.added, *s.ended) for s in it.ended)
        rows += (("version", name, v.version, v.source, v.transaction_id, v.effects) for v in it.made)
        rows += (("receipt", name, id_, kept.fingerprint, *_outcome(kept.outcome)) for id_, kept in it.receipts.items())
    return _digest(rows)


def _outcome(outcome: Committed | Rejection) -> tuple[int, int, str | None]:
    if isinstance(outcome, Committed):
        return outcome.version, int(outcome.changed), None
    return outcome.head, 0, json.dumps([outcome.code, outcome.index, outcome.command, outcome.expected])


def _digest(rows: list[tuple]) -> str:
    return hashlib.blake2b("\n".join(sorted(map(repr, rows))).encode(), digest_size=12).hexdigest()


EMPTY = digest({})

_DUMP = """
SELECT 'log', name, log_group, head, oldest, entries, NULL, NULL FROM logs UNION ALL
SELECT 'live', name, key, value, version, command, NULL, NULL FROM live JOIN logs ON id = log UNION ALL
SELECT 'ended', name, key, value, version, command, ended_version, ended_command
FROM ended JOIN logs ON id = log UNION ALL
SELECT 'version', name, version, source, transaction_id, effects, NULL, NULL
FROM versions JOIN logs ON id = log UNION ALL
SELECT 'receipt', name, transaction_id, fingerprint, version, changed, rejection, NULL
FROM receipts JOIN logs ON id = log
"""
_WIDTHS = {"log": 6, "live": 6, "ended": 8, "version": 6, "receipt": 7}


def held(db: apsw.Connection) -> str:
    """The state a store is in, from its tables; ``EMPTY`` before it has any. Raises ``Broken`` if it is not sound."""
    if (found := db.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
        raise Broken(f"integrity_check: {found}")
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'logs'").fetchall():
        return EMPTY
    rows = [row[: _WIDTHS[row[0]]] for row in db.execute(_DUMP)]
    versions: dict[str, list[int]] = {}
    for row in rows:
        if row[0] == "version":
            versions.setdefault(row[1], []).append(row[2])
    for _, name, _, head, oldest, _ in (row for row in rows if row[0] == "log"):
        if sorted(versions.get(name, [])) != list(range(max(oldest, 1), head + 1)):
            raise Broken(f"log {name!r} has head {head}, oldest {oldest}, and versions {versions.get(name)}")
    return _digest(rows)


class Broken(AssertionError):
    """A store is not what it should be."""


def read_plainly(path: str) -> str:
    """Recover and read a store with SQLite alone, whatever VFS a test has put in place."""
    db = apsw.Connection(path, vfs="unix")
    try:
        return held(db)
    finally:
        db.close()


def read_beside(path: str) -> str:
    """Read a store that a backend of this process has open."""
    db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY, vfs="unix")
    try:
        return held(db)
    finally:
        db.close()


def check_public_view(backend: SQLiteBackend, ledgers: Ledgers) -> None:
    """What a backend shows is what the ledgers say: logs, entries, versions, and the answers to every id."""
    assert [(i.name, i.head, i.oldest, i.entries) for i in backend.logs()] == [
        (name, it.head, it.oldest, len(it.live)) for name, it in sorted(ledgers.items())
    ]
    for name, it in ledgers.items():
        assert backend.diff(name, DiffRequest()).changes == it.diff(DiffRequest()).changes
        for low in {0, it.oldest, it.head}:
            shown = [attrs.evolve(info, committed_at=_WHEN) for info in backend.versions(name, low)]
            assert shown == list(it.versions(low))


def write_files(path: str, files: dict[str, bytes]) -> None:
    """Put a database and what stands beside it in place of what was there."""
    for name in ("", "-journal", "-wal", "-shm"):
        if name in files:
            Path(path + name).write_bytes(files[name])
        else:
            Path(path + name).unlink(missing_ok=True)
