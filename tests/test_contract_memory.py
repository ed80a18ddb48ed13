"""The contract on the memory backend, and what of it one thread can see on the oracle itself."""

from indelible.backends.memory import MemoryBackend
from indelible.testing.contract import BackendContract, SequentialContract
from indelible.testing.oracle import ModelBackend


class TestMemoryBackend(BackendContract):
    def make_backend(self, tmp_path):
        return MemoryBackend()


class TestOracle(SequentialContract):
    """The laws are written from the contract, so the oracle must obey them as well."""

    def make_backend(self, tmp_path):
        return ModelBackend()
