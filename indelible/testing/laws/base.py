"""What every group of laws needs: the backend under test, and what may be said about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from indelible.backend import Backend
from indelible.limits import Limits
from indelible.testing.samples import LOG


class Laws:
    """The backend under test; an author's subclass says how it is made."""

    sorted_keys: ClassVar[bool] = True
    """Whether order ``key`` is that of the caller's bytes; a sealing wrapper sorts by the sealed bytes."""

    limits: ClassVar[Limits] = Limits()
    """The limits of the store at the bottom."""

    exact_limits: ClassVar[bool] = True
    """Whether sizes reach the store as given; False for a wrapper that makes keys, values or names longer."""

    def make_backend(self, tmp_path: Path) -> Backend:
        """A new backend without any logs; ``tmp_path`` is an empty directory for its files."""
        raise NotImplementedError("a contract test says in make_backend how its backend is made")

    def reopen(self, backend: Backend) -> Backend | None:  # noqa: ARG002 (authors use it)
        """The same logs through another backend after ``backend`` was closed; None if they do not outlive it."""
        return None

    def beside(self, backend: Backend) -> Backend | None:  # noqa: ARG002 (authors use it)
        """The same logs through a second backend while ``backend`` is in use; None if there can be no such one."""
        return None

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        """A backend that holds one log, empty."""
        backend = self.make_backend(tmp_path)
        try:
            backend.create(LOG)
            yield backend
        finally:
            backend.close()
