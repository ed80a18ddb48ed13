"""The rules of a transaction (S2-S5): they live here and nowhere else. Arithmetic on values; no store, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Final, NamedTuple

import attrs

from indelible.commands import ExpectVersion, Transaction
from indelible.errors import NonexistentValue, Rejected, UnexpectedValue, UnexpectedVersion

# What a command does, by kind and by what it finds (S2): keep the key as it is, set it to the command's value,
# drop it, or reject the transaction with a code.
KEEP: Final = "keep"
SET: Final = "set"
DROP: Final = "drop"

RULES: Final[Mapping[str, tuple[str, str, str]]] = {
    #          key absent              same value there  other value there
    "Insert": (SET, KEEP, UnexpectedValue.code),
    "Update": (NonexistentValue.code, KEEP, SET),
    "Upsert": (SET, KEEP, SET),
    "Remove": (KEEP, DROP, KEEP),
}


class Effect(NamedTuple):
    """What a transaction did to one key, net (S4); ``command`` is the index of the last command that changed it."""

    key: bytes
    before: bytes | None
    after: bytes | None
    command: int


@attrs.frozen
class Decision:
    """A transaction that passed: the head after it, and its effects in the order of their positions (S5)."""

    version: int
    effects: tuple[Effect, ...]


@attrs.frozen
class Rejection:
    """A transaction that did not pass: the first rejected command and the head at which it was judged (S3).

    Raises ``ValueError`` for a code that no rule gives: a store may have read it from a damaged row.
    """

    code: str
    index: int
    command: str
    head: int
    expected: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.code not in _ERRORS or (self.code == UnexpectedVersion.code) != (self.expected is not None):
            raise ValueError("a rejection that no rule gives")

    def error(self, log: str) -> Rejected:
        """The exception a caller gets for it."""
        place = (log, self.index, self.command, self.head)
        if self.expected is not None:
            return UnexpectedVersion(*place, self.expected, self.head)
        return _ERRORS[self.code](*place)


_ERRORS: Final[Mapping[str, Callable[..., Rejected]]] = {
    kind.code: kind for kind in (UnexpectedVersion, UnexpectedValue, NonexistentValue)
}


def read_set(transaction: Transaction[bytes, bytes]) -> tuple[bytes, ...]:
    """The keys whose present values ``decide`` needs, each once, in order of first use."""
    return tuple(dict.fromkeys([c.key for c in transaction.commands if not isinstance(c, ExpectVersion)]))


def decide(transaction: Transaction[bytes, bytes], head: int, current: Mapping[bytes, bytes]) -> Decision | Rejection:
    """Judge a transaction against the log at ``head`` whose keys in the read set hold ``current``.

    Commands see what the earlier ones did (S2); the first that is rejected rejects all (S3); effects are net (S4) and
    make exactly one version, or none (S5).
    """
    values: dict[bytes, bytes | None] = {}
    changed_by: dict[bytes, int] = {}
    for index, command in enumerate(transaction.commands):
        kind = type(command).__name__
        if isinstance(command, ExpectVersion):
            if command.version != head:
                return Rejection(UnexpectedVersion.code, index, kind, head, command.version)
            continue
        key, value = command.key, command.value
        there = values[key] if key in values else current.get(key)
        outcome = RULES[kind][0 if there is None else 1 if there == value else 2]
        if outcome == SET:
            values[key] = value
        elif outcome == DROP:
            values[key] = None
        elif outcome == KEEP:
            continue
        else:
            return Rejection(outcome, index, kind, head)
        changed_by[key] = index
    effects = [
        Effect(key, before, after, changed_by[key])
        for key, after in values.items()
        if (before := current.get(key)) != after
    ]
    effects.sort(key=attrgetter("command"))
    return Decision(head + 1 if effects else head, tuple(effects))
