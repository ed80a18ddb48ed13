"""A log in memory, called by itself: what its callers do not check for it."""

import pytest

from indelible.commands import Insert, Transaction
from indelible.errors import InvalidRequest
from indelible.ledger import Ledger
from indelible.seams import now


@pytest.fixture
def ledger():
    """A log of three versions."""
    ledger = Ledger("log")
    for key in (b"a", b"b", b"c"):
        ledger.update(Transaction([Insert(key, b"1")]), 1, now())
    return ledger


@pytest.mark.parametrize("wrong", [-1, True, 1.0, "1", None, 2**63])
def test_s14_s16_what_is_no_number_is_refused_by_name(ledger, wrong):
    """S14, S16: an attempt and a version to trim to are whole numbers; the refusal says which of them is not."""
    with pytest.raises(InvalidRequest, match="^attempt must "):
        ledger.update(Transaction([Insert(b"k", b"v")]), wrong, now())
    with pytest.raises(InvalidRequest, match="^before must "):
        ledger.trim(wrong)
    assert ledger.head == 3
    assert ledger.oldest == 0


def test_s18_versions_default_to_all(ledger):
    """S18: from 0 to the head, unless told otherwise."""
    assert [info.version for info in ledger.versions()] == [1, 2, 3]
    assert [info.version for info in ledger.versions(1)] == [2, 3]
    assert [info.version for info in ledger.versions(1, 2)] == [2]
