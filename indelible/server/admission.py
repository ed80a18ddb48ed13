"""How much may go on at once: whatever is too much is refused before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from indelible.errors import Overloaded
from indelible.server.settings import ServiceLimits

_STRANGERS: Final = 256
"""Requests at once of those who have not said yet who they are."""


class Admission:
    """Counts requests and polls of each customer, and the bytes of bodies that are held for all of them."""

    def __init__(self, limits: ServiceLimits) -> None:
        self._limits = limits
        self._requests: Counter[str] = Counter()
        self._polls: Counter[str] = Counter()
        self._bodies = 0

    @contextmanager
    def request(self, customer_id: str) -> Iterator[None]:
        """One request of a customer. Raises ``Overloaded``."""
        with _one_of(self._requests, customer_id, self._limits.requests_per_tenant, "requests"):
            yield

    @contextmanager
    def poll(self, customer_id: str) -> Iterator[None]:
        """One long poll of a customer. Raises ``Overloaded``."""
        with _one_of(self._polls, customer_id, self._limits.polls_per_tenant, "long polls"):
            yield

    @contextmanager
    def stranger(self) -> Iterator[None]:
        """One request whose body says who it is from. Raises ``Overloaded``."""
        with _one_of(self._requests, "", _STRANGERS, "requests without an Authorization header"):
            yield

    def hold(self, size: int) -> None:
        """Count bytes of a body that are held from now on. Raises ``Overloaded``."""
        if self._bodies + size > self._limits.bodies:
            raise Overloaded("the service holds as many request bodies as it can; try again")
        self._bodies += size

    def let_go(self, size: int) -> None:
        """Count bytes that are held no more."""
        self._bodies -= size


@contextmanager
def _one_of(counts: Counter[str], who: str, most: int, what: str) -> Iterator[None]:
    if counts[who] >= most:
        raise Overloaded(f"{most} {what} at once are as many as there may be; try again when one is done")
    counts[who] += 1
    try:
        yield
    finally:
        counts[who] -= 1
        if not counts[who]:
            del counts[who]
