"""The three places where the outside world reaches in: time, randomness, and points at which a test may stop a process.

Product code asks here and nowhere else, so that a test can put something repeatable in its place. Nothing here does
anything of its own: an unarmed ``failpoint`` is one look into an empty dict.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable

clock: Callable[[], float] = time.time
"""Seconds since 1970 in UTC, for the times that are recorded."""

monotonic: Callable[[], float] = time.monotonic
"""Seconds that never go back, for deadlines."""

entropy: Callable[[int], bytes] = os.urandom
"""So many random bytes, fit for keys and ids."""

armed: dict[str, Callable[[], None]] = {}
"""What to do at which failpoint; empty except under test."""


def now() -> dt.datetime:
    """The present as an aware UTC time."""
    return dt.datetime.fromtimestamp(clock(), tz=dt.UTC)


def failpoint(name: str) -> None:
    """Do what a test armed for this point; otherwise nothing."""
    if armed and (action := armed.get(name)) is not None:
        action()
