"""Each suite's counts; ``tests/conftest.py`` prints them, since under xdist only that is loaded where it counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[[str, int, int, str], None]:
    """Say how much was done and fail if it was less than the least: ``tally(what, count, least, more)``."""

    def say(what: str, count: int, least: int, more: str) -> None:
        record_property("reliability", f"{what}: {count:,} (at least {least:,}); {more}")
        assert count >= least, f"{what}: only {count:,} of at least {least:,}"

    return say
