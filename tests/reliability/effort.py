"""How much the reliability suites do: a taste on a developer's machine, all of it under CI."""

from __future__ import annotations

import multiprocessing
import os

_ASKED = os.environ.get(
    "INDELIBLE_RELIABILITY", "full" if os.environ.get("CI", "").lower() in {"1", "true"} else "taste"
)

WHOLE = _ASKED == "full"
"""Whether everything is to be done that the evidence rests on."""

WORKERS = 2
"""Processes at once: what the machine of CI has cores for."""

PROCESSES = multiprocessing.get_context("forkserver")
"""Where new processes come from: a small one that has no threads and no open database."""


def minimum(whole: int, taste: int) -> int:
    """The least a suite must do to pass."""
    return whole if WHOLE else taste
