"""Every backend against the oracle, step by step. A new backend is one line in ``SUBJECTS``."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from indelible.backends.memory import MemoryBackend
from indelible.testing.faults import WithoutKeyHistory
from indelible.testing.machine import Subject, backend_machine

# Steps are cheap in memory, and what goes wrong needs several of them to meet.
MORE = settings(max_examples=settings().max_examples * 4)

SUBJECTS = {
    "memory": Subject(make=MemoryBackend),
    "memory, the history of keys by walking": Subject(make=lambda: WithoutKeyHistory(MemoryBackend())),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_backend_does_what_the_oracle_does(name):
    """S1-S20: whatever is asked in whatever order, a backend answers as the oracle does."""
    it = SUBJECTS[name]
    run_state_machine_as_test(backend_machine(it.make, it.reopen, sorted_keys=it.sorted_keys), settings=MORE)


def test_backends_side_by_side_do_the_same():
    """Several backends told the same answer the same."""
    run_state_machine_as_test(backend_machine(MemoryBackend, beside=[Subject(make=MemoryBackend)]), settings=MORE)


class Forgetful(MemoryBackend):
    def update(self, log, transaction, attempt=1):
        return super().update(log, transaction, 1)


class Short(MemoryBackend):
    def diff(self, log, request):
        page = super().diff(log, request)
        return (
            page if len(page.changes) < 3 else type(page)(page.from_version, page.to_version, page.changes[:-1], None)
        )


@pytest.mark.parametrize(
    "subject",
    [Subject(make=Forgetful), Subject(make=Short), Subject(make=MemoryBackend, reopen=lambda old: MemoryBackend())],
    ids=["retries not kept", "a change dropped", "lost on reopening"],
)
def test_the_machine_sees_what_is_wrong(subject):
    """The machine fails for a backend that breaks the contract, so that passing says something."""
    machine = backend_machine(MemoryBackend, beside=[subject])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            machine, settings=settings(max_examples=400, database=None, print_blob=False, phases=["generate"])
        )
