"""How much may go on at once: whatever is too much is refused before any work."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from indelible.errors import Overloaded
from indelible.server.settings import ServiceLimits

_STRANGERS: Final = 256
"""Requests at once of those who have not said yet who they are."""


class Slots:
    """What a request holds of what there is only so much of: let go at its end, or before."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[Callable[[], object]] = []

    def hold(self, let_go: Callable[[], object]) -> None:
        """Hold something that ``let_go`` gives back."""
        self._held.append(let_go)

    def close(self) -> None:
        """Give everything back; more may be held afterwards."""
        while self._held:
            self._held.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Admission:
    """Counts requests and polls of each customer, and the bytes of bodies that are held for all of them."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._requests: Counter[str] = Counter()
        self._polls: Counter[str] = Counter()
        self._bodies = 0

    def request(self, customer_id: str, slots: Slots) -> None:
        """Let in one request of a customer. Raises ``Overloaded``."""
        _let_in(self._requests, customer_id, self._limits.requests_per_tenant, "requests", slots)

    def poll(self, customer_id: str, slots: Slots) -> None:
        """Let in one long poll of a customer. Raises ``Overloaded``."""
        _let_in(self._polls, customer_id, self._limits.polls_per_tenant, "long polls", slots)

    def stranger(self, slots: Slots) -> None:
        """Let in one request whose body says who it is from. Raises ``Overloaded``."""
        _let_in(self._requests, "", _STRANGERS, "requests without an Authorization header", slots)

    def hold(self, size: int, slots: Slots) -> None:
        """Count bytes of a body that are held from now on. Raises ``Overloaded``."""
        if self._bodies + size > self._limits.bodies:
            raise Overloaded("the service holds as many request bodies as it can; try again")
        self._bodies += size
        slots.hold(functools.partial(self._let_go, size))

    def _let_go(self, size: int) -> None:
        self._bodies -= size


def _let_in(counts: Counter[str], who: str, most: int, what: str, slots: Slots) -> None:
    if counts[who] >= most:
        raise Overloaded(f"{most} {what} at once are as many as there may be; try again when one is done")
    counts[who] += 1
    slots.hold(functools.partial(_let_out, counts, who))


def _let_out(counts: Counter[str], who: str) -> None:
    counts[who] -= 1
    if not counts[who]:
        del counts[who]
