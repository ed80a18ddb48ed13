"""Every backend beside the memory store against the oracle, step by step, in an order that hypothesis makes up."""

import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from indelible.backends.encrypted import EncryptedBackend
from indelible.backends.memory import MemoryBackend
from indelible.backends.scoped import ScopedBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.cipher import SecretBoxCipher
from indelible.secret import MasterKey
from indelible.testing.machine import Subject, backend_machine

KEY = MasterKey.generate()


class Sealed(EncryptedBackend):
    """Sealed in front of a file, which it knows how to open again."""

    def __init__(self, path, scheme):
        super().__init__(SQLiteBackend(path), SecretBoxCipher(KEY, scheme=scheme))
        self.path, self.scheme = path, scheme


class Scoped(ScopedBackend):
    """A scope in front of a file of its own, closed and opened with it."""

    def __init__(self, path):
        super().__init__(SQLiteBackend(path), "tenant")
        self.path = path

    def close(self):
        self._inner.close()


def subjects(tmp_path):
    numbers = itertools.count()

    def new():
        return tmp_path / f"{next(numbers)}.db"

    return {
        "sqlite": Subject(make=lambda: SQLiteBackend(new()), reopen=lambda old: SQLiteBackend(old._file.path)),
        "scheme 1 over sqlite": Subject(
            make=lambda: Sealed(new(), 1), reopen=lambda old: Sealed(old.path, old.scheme), sorted_keys=False
        ),
        "scheme 2 over sqlite": Subject(
            make=lambda: Sealed(new(), 2), reopen=lambda old: Sealed(old.path, old.scheme), sorted_keys=False
        ),
        "scoped over sqlite": Subject(make=lambda: Scoped(new()), reopen=lambda old: Scoped(old.path)),
        "scheme 2 over memory": Subject(
            make=lambda: EncryptedBackend(MemoryBackend(), SecretBoxCipher(KEY)), sorted_keys=False
        ),
    }


def brief(share):
    """Files are slow: a share of what the profile asks for."""
    return settings(max_examples=max(5, settings().max_examples // share), suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", subjects(None))
def test_a_backend_does_what_the_oracle_does(name, tmp_path):
    """S1-S21: whatever is asked in whatever order, closing and opening again included, the answer is the oracle's."""
    it = subjects(tmp_path)[name]
    share = 1 if name == "sqlite" else 3
    machine = backend_machine(it.make, it.reopen, sorted_keys=it.sorted_keys)
    run_state_machine_as_test(machine, settings=brief(share))


def test_backends_side_by_side_do_the_same(tmp_path):
    """S1-S21: all of them, told the same, answer the same."""
    machine = backend_machine(MemoryBackend, beside=list(subjects(tmp_path).values()))
    run_state_machine_as_test(machine, settings=brief(4))
