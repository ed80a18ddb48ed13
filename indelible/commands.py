"""What a caller asks for: commands, and the transaction that carries them.

Frozen, generic in key and value, and valid from the moment they exist: whatever takes one need not check it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeAlias, TypeVar

import attrs

from indelible import checks, seams
from indelible.errors import InvalidRequest

K = TypeVar("K")
V = TypeVar("V")
K2 = TypeVar("K2")
V2 = TypeVar("V2")


@attrs.frozen
class Insert(Generic[K, V]):
    """Add ``value`` under ``key``; rejected if another value is there, nothing if it is this one."""

    key: K
    value: V


@attrs.frozen
class Update(Generic[K, V]):
    """Replace what is under ``key``; rejected if nothing is there."""

    key: K
    value: V


@attrs.frozen
class Upsert(Generic[K, V]):
    """Make ``key`` hold ``value``, whatever was there."""

    key: K
    value: V


@attrs.frozen
class Remove(Generic[K, V]):
    """Take ``key`` away if it holds ``value``; nothing if it is gone or holds another."""

    key: K
    value: V


@attrs.frozen
class ExpectVersion:
    """Go on only if the log's head, before this transaction, is ``version``."""

    version: int = attrs.field()

    @version.validator
    def _check(self, _attribute: object, value: object) -> None:
        checks.version(value, "ExpectVersion's version")


KEYED = (Insert, Update, Upsert, Remove)
"""The kinds of command that name a key and a value."""

_KINDS: frozenset[type] = frozenset((*KEYED, ExpectVersion))

Command: TypeAlias = Insert[K, V] | Update[K, V] | Upsert[K, V] | Remove[K, V] | ExpectVersion


def new_id() -> bytes:
    """A fresh transaction id: 128 random bits."""
    return seams.entropy(16)


def _commands(value: Iterable[Command[K, V]]) -> tuple[Command[K, V], ...]:
    try:
        commands = tuple(value)
    except TypeError:
        raise InvalidRequest(f"a transaction takes a list of commands, not {type(value).__name__}") from None
    if _KINDS.issuperset(map(type, commands)):
        return commands
    for index, command in enumerate(commands):
        if type(command) not in _KINDS:
            raise InvalidRequest(
                f"command {index} is {type(command).__name__}; "
                "a transaction takes Insert, Update, Upsert, Remove and ExpectVersion"
            )
    return commands


@attrs.frozen(repr=False)
class Transaction(Generic[K, V]):
    """Commands that take effect together or not at all, judged in order (S2-S5).

    ``source`` says who made the change, in the clear, for whoever reads the history. ``id`` makes sending it again safe
    (S16): 16 bytes, random unless given. Raises ``InvalidRequest`` when built from anything else.
    """

    commands: tuple[Command[K, V], ...] = attrs.field(converter=_commands)
    source: str | None = None
    id: bytes = attrs.field(factory=new_id, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.source is not None:
            checks.text(self.source, "source")
        if type(self.id) is not bytes or len(self.id) != 16:
            raise InvalidRequest("a transaction id is exactly 16 bytes; leave it out to get a fresh one")

    def map(self, translate: Callable[[K, V], tuple[K2, V2]]) -> Transaction[K2, V2]:
        """The same transaction, under the same id, with every key and value translated."""
        commands: list[Any] = [
            command if isinstance(command, ExpectVersion) else type(command)(*translate(command.key, command.value))  # type: ignore[arg-type]
            for command in self.commands
        ]
        return Transaction(commands, self.source, id=self.id)

    def __repr__(self) -> str:
        return f"Transaction(<{len(self.commands)} commands>, source={self.source!r}, id={self.id.hex()})"
