"""What a service is asked, and how its answer is told from a lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from indelible.routes import Route

Q = TypeVar("Q")
A = TypeVar("A")


def _as_it_is(asked: Q) -> Q:
    return asked


@attrs.frozen
class Question(Generic[Q, A]):
    """``asked`` of ``route``, about ``log``, or about none in particular if that is None.

    ``check`` is given what was asked and the answer: it raises ``ProtocolViolation`` for what cannot be true, and gives
    the head at which it was judged, or None where it does not say. ``anew`` makes what each try asks.
    """

    route: Route[Q, A]
    asked: Q
    log: str | None
    check: Callable[[Q, A], int | None]
    anew: Callable[[Q], Q] = _as_it_is
