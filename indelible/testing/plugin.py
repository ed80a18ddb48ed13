"""The pytest plugin: an in-memory client as a fixture. Every pytest run loads it, so it imports as little as it can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from indelible import Client

# The assertions of the contract stand outside of test modules; whoever's backend fails one wants to see both sides.
pytest.register_assert_rewrite("indelible.testing.laws", "indelible.testing.samples")


@pytest.fixture
def indelible_client() -> Iterator[Client]:
    """A client whose logs live in memory, unsealed, for one test."""
    import indelible  # noqa: PLC0415 (only who uses the fixture pays for it)

    client = indelible.connect("memory:", master_key=None)
    yield client
    client.close()
