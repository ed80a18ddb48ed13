"""The contract on every backend that stands on a disk or in front of another."""

import os
import pathlib
from importlib import metadata

import pytest

import indelible
from indelible.backends.encrypted import EncryptedBackend
from indelible.backends.memory import MemoryBackend
from indelible.backends.scoped import ScopedBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.cipher import SecretBoxCipher
from indelible.client import ENTRY_POINTS
from indelible.secret import MasterKey
from indelible.testing import BackendContract

KEY = MasterKey.generate()


def scoped(inner):
    return ScopedBackend(inner, "tenant")


def sealed(inner, scheme=2):
    return EncryptedBackend(inner, SecretBoxCipher(KEY, scheme=scheme))


class OnDisk(BackendContract):
    """What SQLite keeps outlives its backend; ``wrap`` says what stands in front."""

    path: pathlib.Path

    def wrap(self, inner):
        return inner

    def make_backend(self, tmp_path):
        self.path = tmp_path / "logs.db"
        return self.wrap(SQLiteBackend(self.path))

    def reopen(self, backend):
        return self.wrap(SQLiteBackend(self.path))

    def beside(self, backend):
        return self.wrap(SQLiteBackend(self.path))


class TestSQLite(OnDisk):
    pass


class TestScopedOverMemory(BackendContract):
    exact_limits = False

    def make_backend(self, tmp_path):
        return scoped(MemoryBackend())


class TestScopedOverSQLite(OnDisk):
    exact_limits = False

    def wrap(self, inner):
        return scoped(inner)


class TestScheme2OverMemory(BackendContract):
    sorted_keys = False
    exact_limits = False

    def make_backend(self, tmp_path):
        return sealed(MemoryBackend())


class TestScheme1OverMemory(BackendContract):
    sorted_keys = False
    exact_limits = False

    def make_backend(self, tmp_path):
        return sealed(MemoryBackend(), scheme=1)


class TestScheme2OverSQLite(OnDisk):
    sorted_keys = False
    exact_limits = False

    def wrap(self, inner):
        return sealed(inner)


class TestScheme1OverSQLite(OnDisk):
    sorted_keys = False
    exact_limits = False

    def wrap(self, inner):
        return sealed(inner, scheme=1)


class TestSealedOverScopedOverSQLite(OnDisk):
    sorted_keys = False
    exact_limits = False

    def wrap(self, inner):
        return sealed(scoped(inner))


class TestScopedOverSealedOverMemory(BackendContract):
    sorted_keys = False
    exact_limits = False

    def make_backend(self, tmp_path):
        return scoped(sealed(MemoryBackend()))


@pytest.mark.skipif(
    "CI" not in os.environ and "shelf" not in metadata.entry_points(group=ENTRY_POINTS).names,
    reason="examples/shelf_backend is not installed here",
)
class TestShelfExample(BackendContract):
    """The example of a backend of one's own, found by its URL scheme."""

    path: pathlib.Path

    def make_backend(self, tmp_path):
        self.path = tmp_path / "shelf"
        return self.reopen(None)

    def reopen(self, backend):
        return indelible.connect(f"shelf:{self.path}", master_key=None).backend
