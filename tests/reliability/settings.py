"""Where and how the suites of histories run: fixtures, apart from what processes import."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["folder", "impatient"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: what is tried here is order, and syncs would only make it slow."""
    memory = Path("/dev/shm")
    made = Path(tempfile.mkdtemp(prefix="indelible-", dir=memory if memory.is_dir() else None))
    yield made
    shutil.rmtree(made)


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """Threads give way to each other often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(before)
