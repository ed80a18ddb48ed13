"""Trying again: after how long, how often, until when."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final, TypeVar

from indelible import seams
from indelible.backends.http.calls import Call
from indelible.backends.http.failures import Failed

T = TypeVar("T")

TRIES: Final = 8
"""How often a request is sent, within its time, before its caller is told; a poll is sent until its time is over."""

_FIRST: Final = 0.1
_LONGEST: Final = 5.0


def pause(tries: int, after: float | None = None) -> float:
    """Seconds to wait after so many tries: at least ``after``, and a random share of a bound that doubles each time.

    All of it is random ("full jitter"), so that callers who were refused together do not come back together.
    """
    bound = min(_FIRST * 2.0 ** min(tries - 1, 32), _LONGEST)
    return (after or 0.0) + bound * (int.from_bytes(seams.entropy(7), "big") / 2**56)


def persist(call: Call, send: Callable[[], T], tries: int | None = TRIES) -> T:
    """Send until there is an answer. Raises the last ``Failed`` when tries or time are over, or none can help."""
    for number in itertools.count(1):
        try:
            return send()
        except Failed as failed:
            failure = failed
        # Whatever a service asks for, nobody waits longer than the call may take.
        last = number == tries or not failure.again
        # A connection that had been kept open too long says nothing about the service: another one is tried at once.
        at_once = number == 1 and call.fresh and not call.closed
        if last or not (at_once or call.rest(pause(number, failure.after))):
            try:
                raise failure
            finally:
                # Or the error would hold on, through this frame, to itself.
                del failure
    raise AssertionError("unreachable")
