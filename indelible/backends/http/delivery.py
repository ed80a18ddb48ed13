"""A transaction on its way: which attempt it is, and whether an earlier one may have taken effect."""

from __future__ import annotations

import itertools

from indelible import checks
from indelible.backends.http.failures import Failed
from indelible.commands import ExpectVersion, Transaction
from indelible.errors import HistoryRolledBack, IndelibleError, NotExecuted, OutcomeUnknown
from indelible.messages import UpdateLog
from indelible.records import Committed
from indelible.updates import write_update


class Delivery:
    """Sends the same commands under the same id each time, and tells its sender the truth about what became of them.

    ``attempt`` is the number of the next try. It goes up when a try may have taken effect, and stays when one
    certainly did not (S16). Raises ``InvalidRequest`` for what is no transaction of bytes.
    """

    def __init__(self, log: str, transaction: Transaction[bytes, bytes], attempt: int) -> None:
        for index, command in enumerate(transaction.commands):
            if not isinstance(command, ExpectVersion):
                checks.data(command.key, f"command {index}: the key")
                checks.data(command.value, f"command {index}: the value")
        self.attempt: int = checks.attempt(attempt)
        self._last = attempt
        self._log = checks.name(log, "a log's name")
        self._transaction = transaction
        # Written once: only the first object of the stream says which attempt it is.
        self._commands = b"".join(itertools.islice(write_update(self.update), 1, None))
        self._doubt: str | None = None

    @property
    def update(self) -> UpdateLog:
        """What the next try asks."""
        return UpdateLog(self._log, self._transaction, self.attempt)

    def body(self) -> bytes:
        """What the next try sends."""
        return next(write_update(self.update)) + self._commands

    def failed(self, failure: Failed) -> None:
        """Take note of a try that brought no answer."""
        if not failure.certain:
            self._last = self.attempt
            self._doubt = failure.reason
            self.attempt += 1

    def refused(self, error: IndelibleError, after: float | None) -> Failed:
        """What an error other than a rejection means, which says that its own try had no effect.

        It speaks for no earlier try. Raises it where none is in doubt and sending again is of no use; ``after`` is when
        the service wants to be asked again.
        """
        self._last = self.attempt
        if isinstance(error, NotExecuted):
            return Failed(error.reason, certain=True, after=after, error=error)
        if self._doubt is None:
            raise error
        self._doubt = f"{self._doubt}; sent again, it was refused with {error.code}"
        return Failed(self._doubt, certain=True, again=False)

    def rolled_back(self, answer: Committed | IndelibleError, error: HistoryRolledBack) -> OutcomeUnknown | None:
        """What its sender is told where the log of a transaction that may be in it was rolled back; None if none may.

        Whether what was committed is still in the log, only another answer can say, once the rollback is accepted.
        """
        doubt = "the service says that it is committed" if isinstance(answer, Committed) else self._doubt
        if doubt is None:
            return None
        reason = (
            f"{doubt}, but shows version {error.head} as the newest after {error.pinned} was seen; 'indelible "
            "accept-rollback LOG', or accept_rollback of the backend, comes first"
        )
        return OutcomeUnknown(self._log, self._transaction, self.attempt, reason)

    def verdict(self, failure: Failed) -> IndelibleError:
        """What its sender is told when no try brought an answer, and ``failure`` was the last."""
        if self._doubt is None:
            return failure.error or NotExecuted(f"{failure.reason}; nothing was done")
        return OutcomeUnknown(self._log, self._transaction, self._last, self._doubt)

    @property
    def in_doubt(self) -> bool:
        """Whether a try may have taken effect."""
        return self._doubt is not None
