"""Sending a transaction until it is known what became of it (S16, S17)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TypeVar

from indelible.commands import Transaction
from indelible.errors import IndelibleError, OutcomeUnknown, Rejected
from indelible.log import Log
from indelible.records import Committed

K = TypeVar("K")
V = TypeVar("V")


def send(log: Log[K, V], transaction: Transaction[K, V], pauses: Iterable[float], attempt: int = 1) -> Committed:
    """Send a transaction, and again under the same id while its outcome is unknown.

    Each time comes after one of the ``pauses``, in seconds. Once the outcome is unknown, it stays so until the store
    has answered: ``OutcomeUnknown`` is raised whatever failed then.
    """
    unknown: OutcomeUnknown | None = None
    for pause in pauses:
        time.sleep(pause)
        try:
            return log.update(transaction, attempt=attempt)
        except Rejected:
            raise
        except OutcomeUnknown as error:
            # A backend that sends again by itself counts on, so this may have been a later attempt than was asked for.
            unknown, attempt = error, error.attempt + 1
        except IndelibleError as error:
            # It speaks for its own attempt, and not for those before.
            if unknown is None:
                raise
            raise unknown from error
    assert unknown is not None
    raise unknown
