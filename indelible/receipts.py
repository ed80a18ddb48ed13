"""Answers that stay: what a store keeps under a transaction's id, so that sending it again is safe (S16)."""

from __future__ import annotations

import hashlib

import attrs

from indelible.commands import ExpectVersion, Transaction
from indelible.engine import Rejection
from indelible.errors import TransactionIdReused
from indelible.records import Committed


@attrs.frozen
class Receipt:
    """The final answer to a transaction, and the fingerprint of what it asked."""

    fingerprint: bytes
    outcome: Committed | Rejection

    def answer(self, log: str, fingerprint: bytes) -> Committed:
        """Give the kept answer again, to the same content only.

        Raises ``TransactionIdReused`` for other content, and the rejection again where that was the answer.
        """
        if fingerprint != self.fingerprint:
            raise TransactionIdReused(log, -1, "Transaction", -1)
        if isinstance(self.outcome, Rejection):
            raise self.outcome.error(log)
        return attrs.evolve(self.outcome, replayed=True)


def fingerprint(transaction: Transaction[bytes, bytes]) -> bytes:
    """32 bytes that two transactions share only if their source and commands are the same."""
    parts: list[bytes] = []
    if transaction.source is not None:
        source = transaction.source.encode()
        parts += (b"source", len(source).to_bytes(8, "little"), source)
    for command in transaction.commands:
        if isinstance(command, ExpectVersion):
            parts += (b"E", command.version.to_bytes(8, "little"))
        else:
            key, value = command.key, command.value
            sizes = len(key).to_bytes(8, "little") + len(value).to_bytes(8, "little")
            parts += (_TAGS[type(command).__name__], sizes, key, value)
    return hashlib.blake2b(b"".join(parts), digest_size=32, person=b"indelible-tx").digest()


_TAGS = {"Insert": b"I", "Update": b"U", "Upsert": b"P", "Remove": b"R"}


def is_final(outcome: Committed | Rejection, attempt: int) -> bool:
    """Whether an answer must be kept: a commit always, any answer to a second or later attempt (S16)."""
    return attempt > 1 or (isinstance(outcome, Committed) and outcome.changed)
