"""A transaction's way into the file: judged in its turn, durable with its group, answered for itself."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeAlias

import apsw
import attrs

from indelible import checks, receipts
from indelible.backend import Submission
from indelible.backends.sqlite import rows
from indelible.backends.sqlite.file import CommitFailed, DatabaseFile
from indelible.commands import Transaction
from indelible.engine import Rejection
from indelible.errors import IndelibleError, NonexistentLog, NotExecuted, OutcomeUnknown, Rejected
from indelible.limits import Limits
from indelible.records import Committed

Answer: TypeAlias = Committed | IndelibleError
"""What becomes of a submission: what ``update`` would have answered, or the error that it would have raised."""


@attrs.frozen
class Candidate:
    """A submission that can be judged, for nothing is wrong with it by itself."""

    log: str
    transaction: Transaction[bytes, bytes]
    attempt: int
    fingerprint: bytes

    def judge(self, db: apsw.Connection) -> Answer:
        """Judge it and write what it does, within a database transaction that shows what was done before it."""
        try:
            it = rows.require(db, self.log)
            # Looked up before anything is judged (S16); another of this group may have had the same id.
            kept = rows.receipt(db, it.id, self.transaction.id)
            if kept is not None:
                return kept.answer(self.log, self.fingerprint)
            outcome = rows.apply(db, it, self.transaction, self.fingerprint, self.attempt)
        except (NonexistentLog, Rejected) as error:
            return error
        return outcome.error(self.log) if isinstance(outcome, Rejection) else outcome

    def found(self, db: apsw.Connection, judged: Answer, failure: CommitFailed) -> Answer:
        """What became of it when the commit failed after it had been judged so, by what is kept under its id (S22)."""
        it = rows.find(db, self.log)
        kept = rows.receipt(db, it.id, self.transaction.id) if it else None
        if kept is None:
            return _caused(NotExecuted(f"the storage failed ({failure}) and nothing was written; try again"), failure)
        if kept.outcome == judged:
            return judged
        try:
            return kept.answer(self.log, self.fingerprint)
        except Rejected as error:
            return error

    def lost(self, failure: CommitFailed) -> Answer:
        """What is said of it when the commit failed and nothing can be found out."""
        reason = f"the storage failed: {failure}"
        return _caused(OutcomeUnknown(self.log, self.transaction, self.attempt, reason), failure)


def commit(file: DatabaseFile, limits: Limits, submissions: Sequence[Submission]) -> list[Answer]:
    """Judge submissions in their order and make them durable in one database transaction: an answer to each.

    Where something of a group cannot be stored, it is committed one by one, so that none is hurt by another.
    """
    checked = [_candidate(it, limits) for it in submissions]
    judged = iter(_commit(file, [it for it in checked if isinstance(it, Candidate)]))
    answers = [next(judged) if isinstance(it, Candidate) else it for it in checked]
    for it in answers:
        if isinstance(it, IndelibleError):
            # Whoever raises it begins another. Through its frames, the error would hold these answers and so itself.
            it.__traceback__ = None
    return answers


def _candidate(submission: Submission, limits: Limits) -> Candidate | IndelibleError:
    log, transaction = submission.log, submission.transaction
    try:
        limits.check_name(log)
        limits.check(transaction)
        return Candidate(log, transaction, checks.attempt(submission.attempt), receipts.fingerprint(transaction))
    except IndelibleError as error:
        return error


def _commit(file: DatabaseFile, group: Sequence[Candidate]) -> list[Answer]:
    if not group:
        return []
    begun, judged = False, list[Answer]()
    try:
        with file.writing() as db:
            begun = True
            judged.extend(it.judge(db) for it in group)
    except CommitFailed as failure:
        return _find_out(file, group, judged, failure)
    except IndelibleError as error:
        if not begun or len(group) == 1:
            # Each gets one of its own, for whoever is given an error may raise it.
            return [error, *(copy.copy(error) for _ in group[1:])]
    else:
        return judged
    return [answer for it in group for answer in _commit(file, [it])]


def _find_out(
    file: DatabaseFile, group: Sequence[Candidate], judged: Sequence[Answer], failure: CommitFailed
) -> list[Answer]:
    """What a failed commit came to (S22)."""
    try:
        file.settle()
        with file.reading() as db:
            return [it.found(db, answer, failure) for it, answer in zip(group, judged, strict=True)]
    except IndelibleError:
        return [it.lost(failure) for it in group]


def _caused(error: IndelibleError, cause: Exception) -> IndelibleError:
    error.__cause__ = cause
    return error
