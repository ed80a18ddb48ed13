"""A client of a service against the oracle, step by step, in an order that hypothesis makes up."""

import contextlib
import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from serving import House

from indelible.backends.encrypted import EncryptedBackend
from indelible.backends.memory import MemoryBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.cipher import SecretBoxCipher
from indelible.secret import MasterKey
from indelible.testing.faults import Passing
from indelible.testing.machine import Subject, backend_machine

KEY = MasterKey.generate()


class Visit(Passing):
    """A client of a house, which knows how to come again as who it was."""

    def __init__(self, house, credentials, wrap):
        super().__init__(wrap(house.client(credentials)))
        self._again = house, credentials, wrap

    def again(self):
        return Visit(*self._again)


def plain(client):
    return client


def sealed(scheme):
    return lambda client: EncryptedBackend(client, SecretBoxCipher(KEY, scheme=scheme))


WAYS = {
    "memory": (None, plain),
    "sqlite": ("sqlite:///{folder}/logs.db", plain),
    "scheme 1 over memory": (None, sealed(1)),
    "scheme 2 over memory": (None, sealed(2)),
}


@pytest.fixture
def subject(tmp_path):
    """Each time somebody new, whose logs are behind the service when their client is closed and another opened."""
    with contextlib.ExitStack() as running:

        def made(name):
            store, wrap = WAYS[name]
            house = running.enter_context(House(store and store.format(folder=tmp_path)))
            return Subject(
                make=lambda: Visit(house, house.newcomer(), wrap),
                reopen=lambda old: old.again(),
                sorted_keys=wrap is plain,
            )

        yield made


def brief(share):
    """A round trip a step is slow: a share of what the profile asks for."""
    return settings(max_examples=max(5, settings().max_examples // share), suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", WAYS)
def test_a_client_does_what_the_oracle_does(name, subject):
    """S1-S21: whatever is asked in whatever order, other clients of the same logs included, the answer is the oracle's."""
    it = subject(name)
    machine = backend_machine(it.make, it.reopen, sorted_keys=it.sorted_keys)
    run_state_machine_as_test(machine, settings=brief(2 if name == "memory" else 4))


def test_clients_and_stores_side_by_side_do_the_same(subject, tmp_path):
    """S1-S21: services over every store, and the stores themselves, told the same, answer the same."""
    numbers = itertools.count()
    stores = [
        Subject(
            make=lambda: SQLiteBackend(tmp_path / f"beside-{next(numbers)}.db"),
            reopen=lambda old: SQLiteBackend(old._file.path),
        ),
        *map(subject, WAYS),
    ]
    machine = backend_machine(MemoryBackend, beside=stores)
    run_state_machine_as_test(machine, settings=brief(6))
