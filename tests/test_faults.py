"""The faulty backends are faulty in the way they say and in no other."""

import time

import pytest

from indelible.backend import KeyHistory
from indelible.backends.memory import MemoryBackend
from indelible.commands import Insert, Transaction, Upsert
from indelible.errors import InvalidRequest, NotExecuted, OutcomeUnknown, UnexpectedValue
from indelible.pages import DiffRequest
from indelible.records import Committed
from indelible.testing.contract import BackendContract
from indelible.testing.faults import Latency, LostAnswers, ReadOnly, WithoutKeyHistory

LOG = "log"
READS = {
    "diff": lambda it: it.diff(LOG, DiffRequest()),
    "describe": lambda it: it.describe(LOG),
    "logs": lambda it: it.logs(),
    "versions": lambda it: it.versions(LOG),
    "history": lambda it: it.history(LOG, b"k"),
}


@pytest.fixture
def filled():
    backend = MemoryBackend()
    backend.create(LOG)
    backend.update(LOG, Transaction([Insert(b"k", b"1")]))
    return backend


class TestSlowButRight(BackendContract):
    """A backend that is only slow keeps the contract."""

    def make_backend(self, tmp_path):
        return Latency(MemoryBackend(), lambda: 0.0)


class TestNothingLost(BackendContract):
    """``LostAnswers`` that never strikes passes everything through."""

    def make_backend(self, tmp_path):
        return LostAnswers(MemoryBackend(), lambda log, transaction, attempt: False)


@pytest.mark.parametrize("wrap", [lambda it: Latency(it, 0), lambda it: LostAnswers(it, lambda *_: True), ReadOnly])
@pytest.mark.parametrize("read", READS)
def test_reads_pass_through(filled, wrap, read):
    """Each wrapper passes reads and key histories on."""
    assert READS[read](wrap(filled)) == READS[read](filled)
    assert isinstance(wrap(filled), KeyHistory)
    assert not isinstance(WithoutKeyHistory(filled), KeyHistory)


@pytest.mark.parametrize("read", READS)
def test_latency_takes_its_time(filled, read):
    """Every call takes at least the seconds asked for, given as a number or by a function."""
    for seconds in (0.02, lambda: 0.02):
        began = time.monotonic()
        READS[read](Latency(filled, seconds))
        assert time.monotonic() - began >= 0.018


def test_latency_delays_writes_and_errors(filled):
    """Writes take their time too, and so do answers that are errors."""
    slow = Latency(filled, 0.02)
    for ask in (
        lambda: slow.create("new"),
        lambda: slow.trim(LOG, 0),
        lambda: slow.update(LOG, Transaction([Insert(b"k", b"2")])),
    ):
        began = time.monotonic()
        try:
            ask()
        except UnexpectedValue:
            pass
        assert time.monotonic() - began >= 0.018


def test_a_lost_answer_is_an_executed_transaction(filled):
    """The transaction took effect; sent again as it is, it gets its answer; others are answered as ever."""
    lossy = LostAnswers(filled, lambda log, transaction, attempt: attempt == 1 and transaction.source == "lose")
    sent = Transaction([Upsert(b"k", b"2")], "lose")
    with pytest.raises(OutcomeUnknown) as caught:
        lossy.update(LOG, sent)
    assert filled.describe(LOG).head == 2
    assert (caught.value.log, caught.value.transaction, caught.value.attempt) == (LOG, sent, 1)
    assert lossy.update(LOG, caught.value.transaction, caught.value.attempt + 1) == Committed(2, True, replayed=True)
    assert lossy.update(LOG, Transaction([Upsert(b"k", b"3")])) == Committed(3, True, replayed=False)


def test_a_rejection_is_lost_as_well(filled):
    """Who loses answers loses rejections too, but not what never left the caller."""
    lossy = LostAnswers(filled, lambda log, transaction, attempt: attempt == 2)
    refused = Transaction([Insert(b"k", b"2")])
    with pytest.raises(OutcomeUnknown):
        lossy.update(LOG, refused, 2)
    with pytest.raises(UnexpectedValue):
        lossy.update(LOG, refused, 3)
    with pytest.raises(InvalidRequest):
        lossy.update(LOG, Transaction([Insert("text", b"")]), 2)


def test_read_only_changes_nothing(filled):
    """``create``, ``update`` and ``trim`` are ``NotExecuted`` and leave everything as it was; the inner still writes."""
    closed = ReadOnly(filled)
    for ask in (
        lambda it: it.create("new"),
        lambda it: it.update(LOG, Transaction([Upsert(b"k", b"2")])),
        lambda it: it.trim(LOG, 1),
    ):
        before = filled.logs()
        with pytest.raises(NotExecuted):
            ask(closed)
        assert filled.logs() == before
        ask(filled)
