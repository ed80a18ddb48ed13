"""How much may go on at once: whatever is too much is refused before any work."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter, defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from indelible.errors import Overloaded
from indelible.server.settings import ServiceLimits

_SHARES: Final = 4
"""One customer's part of the bodies that may be held, if no single body is larger; and that of all who have not said
yet who they are.
"""

_UNCOUNTED: Final = 4 * 1024
"""Bytes of each body that are not counted: all of most requests, and no more than a connection costs anyway."""


class NotNow(Overloaded):
    """Refused by the service itself, whose store has nothing to do with it."""


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
        self._turns = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(limits.requests_per_tenant))
        self._bodies: Counter[str] = Counter()
        self._share = max(limits.body, limits.bodies // _SHARES)

    def request(self, customer_id: str, slots: Slots) -> None:
        """Let in one request of a customer. Raises ``Overloaded``."""
        _let_in(self._requests, customer_id, self._limits.requests_per_tenant, "requests", slots)

    def poll(self, customer_id: str, slots: Slots) -> None:
        """Let in one long poll of a customer. Raises ``Overloaded``."""
        _let_in(self._polls, customer_id, self._limits.polls_per_tenant, "long polls", slots)

    async def turn(self, customer_id: str, slots: Slots) -> None:
        """Wait until no more polls of a customer are being answered than it may have requests."""
        turns = self._turns[customer_id]
        await turns.acquire()
        slots.hold(turns.release)

    def body(self, customer_id: str, slots: Slots) -> Body:
        """The body of a request that is about to be read; of who has not said who it is, if that is ""."""
        body = Body(self, customer_id)
        slots.hold(body.let_go)
        return body

    def hold(self, customer_id: str, size: int) -> None:
        """Count bytes that are held from now on. Raises ``Overloaded``."""
        held = self._bodies
        if held[customer_id] + size > self._share or held.total() + size > self._limits.bodies:
            raise NotNow("the service holds as many request bodies as it can; try again")
        held[customer_id] += size

    def let_go(self, customer_id: str, size: int) -> None:
        """Count bytes that are held no more."""
        self._bodies[customer_id] -= size
        if not self._bodies[customer_id]:
            del self._bodies[customer_id]


class Body:
    """What is held of the body of one request.

    The first bytes are not counted: who sends much, and slowly, keeps nobody from sending little.
    """

    __slots__ = ("_admission", "_customer_id", "_held")

    def __init__(self, admission: Admission, customer_id: str) -> None:
        self._admission = admission
        self._customer_id = customer_id
        self._held = 0

    def grow(self, size: int) -> None:
        """Hold so many bytes in all. Raises ``Overloaded``."""
        more = size - _UNCOUNTED - self._held
        if more > 0:
            self._admission.hold(self._customer_id, more)
            self._held += more

    def belongs_to(self, customer_id: str) -> None:
        """Count what is held as this customer's, who has now said so. Raises ``Overloaded``."""
        held = self._held
        self.let_go()
        self._customer_id = customer_id
        if held:
            self._admission.hold(customer_id, held)
            self._held = held

    def let_go(self) -> None:
        """Hold nothing any more."""
        if self._held:
            self._admission.let_go(self._customer_id, self._held)
            self._held = 0


def _let_in(counts: Counter[str], who: str, most: int, what: str, slots: Slots) -> None:
    if counts[who] >= most:
        raise NotNow(f"{most} {what} at once are as many as there may be; try again when one is done")
    counts[who] += 1
    slots.hold(functools.partial(_let_out, counts, who))


def _let_out(counts: Counter[str], who: str) -> None:
    counts[who] -= 1
    if not counts[who]:
        del counts[who]
