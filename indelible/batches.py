"""Transactions on their way to a target that nobody else writes to: many together, each as the next version."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import attrs

from indelible.backend import Backend, GroupCommit, Submission
from indelible.commands import ExpectVersion, Transaction
from indelible.errors import (
    IndelibleError,
    IntegrityError,
    InvalidRequest,
    NotExecuted,
    OutcomeUnknown,
    Rejected,
    TooLarge,
)
from indelible.records import Committed

_BATCH: Final = 256
_BATCH_BYTES: Final = 4 * 1024 * 1024
"""Transactions, and bytes of keys and values, handed over together to a target that commits them together."""

_PAUSES: Final = (0.0, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each further attempt at a transaction."""

Bytes: TypeAlias = Transaction[bytes, bytes]


def batches(transactions: Iterable[Bytes]) -> Iterator[list[Bytes]]:
    """The same transactions in their order, as many together as a target is to hold at once."""
    batch: list[Bytes] = []
    size = 0
    for transaction in transactions:
        batch.append(transaction)
        size += sum(len(it.key) + len(it.value) for it in transaction.commands if not isinstance(it, ExpectVersion))
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def commit(target: Backend, log: str, head: int, batch: Sequence[Bytes]) -> None:
    """Have the target make the versions after ``head``, one of each transaction.

    Raises ``InvalidRequest`` or ``IntegrityError`` if somebody else writes to the log, and what the target does.
    """
    sent = [Submission(log, _expecting(head + index, it)) for index, it in enumerate(batch)]
    answers: list[Committed | IndelibleError | None] = [*_answers(target, sent)]
    answers += [None] * (len(sent) - len(answers))
    for version, (submission, answer) in enumerate(zip(sent, answers, strict=True), head + 1):
        if not isinstance(answer, Committed):
            # One that comes after one that failed was rejected for its sake. It is judged anew, in its turn and not
            # before: the answer to a second attempt would be final (S16).
            answer = _insisted(target, submission, None if isinstance(answer, Rejected) else answer)  # noqa: PLW2901
        if not answer.changed or answer.version != version:
            raise IntegrityError(
                f"the target made version {answer.version} of log {log!r} of what was to become version {version}; "
                "somebody else writes to it; do not use the copy"
            )


def _expecting(head: int, transaction: Bytes) -> Bytes:
    return Transaction([ExpectVersion(head), *transaction.commands], transaction.source, id=transaction.id)


def _answers(target: Backend, sent: Sequence[Submission]) -> Sequence[Committed | IndelibleError]:
    """The answers, up to the first that is an error where the target takes one transaction at a time."""
    if isinstance(target, GroupCommit):
        return target.update_all(sent)
    answers: list[Committed | IndelibleError] = []
    for it in sent:
        try:
            answers.append(target.update(it.log, it.transaction, it.attempt))
        except IndelibleError as error:
            return [*answers, error]
    return answers


def _insisted(target: Backend, sent: Submission, error: IndelibleError | None) -> Committed:
    """The answer to a transaction that failed with ``error``, or was not judged yet if that is None."""
    for pause in _PAUSES:
        match error:
            case OutcomeUnknown(attempt=attempt):
                sent = attrs.evolve(sent, attempt=attempt + 1)
            case TooLarge(limit="commands") if isinstance(sent.transaction.commands[0], ExpectVersion):
                # There is no room for one command more. What comes before is committed, and who else would write?
                it = sent.transaction
                sent = attrs.evolve(sent, transaction=Transaction(it.commands[1:], it.source, id=it.id))
            case Rejected():
                raise InvalidRequest(
                    f"the target refused a version of log {sent.log!r} ({error.code}): somebody else writes to it; "
                    "copy to a store to which nobody does"
                ) from error
            case None | NotExecuted():
                pass
            case _:
                raise error
        time.sleep(pause)
        try:
            return target.update(sent.log, sent.transaction, sent.attempt)
        except IndelibleError as again:
            error = again
    assert error is not None
    raise error
