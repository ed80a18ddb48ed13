"""Receipts: what is kept under a transaction's id, and the fingerprint that tells its content (S16)."""

import hashlib
import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.engine import Rejection
from indelible.errors import NonexistentValue, TransactionIdReused, UnexpectedVersion
from indelible.receipts import Receipt, fingerprint, is_final
from indelible.records import Committed
from indelible.testing import strategies

COMMITTED = Committed(3, changed=True, replayed=False)
UNCHANGED = Committed(3, changed=False, replayed=False)
REJECTED = Rejection(NonexistentValue.code, 1, "Update", 3)


def size(data):
    return len(data).to_bytes(8, "little")


# As a file holds them: a release that made other ones would refuse the retries of the release before it.
KNOWN = {
    "nothing": (Transaction([]), b""),
    "a source": (Transaction([], "s\u00e9"), b"source" + size(b"s\xc3\xa9") + b"s\xc3\xa9"),
    "an empty source": (Transaction([], ""), b"source" + bytes(8)),
    "an expected version": (Transaction([ExpectVersion(258)]), b"E\x02\x01" + bytes(6)),
    "all kinds": (
        Transaction([Insert(b"k", b"vv"), Update(b"", b"v"), Upsert(b"kk", b""), Remove(b"\0", b"\xff")], "x"),
        b"source" + size(b"x") + b"x"
        b"I" + size(b"k") + size(b"vv") + b"kvv"
        b"U" + size(b"") + size(b"v") + b"v"
        b"P" + size(b"kk") + size(b"") + b"kk"
        b"R" + size(b"\0") + size(b"\xff") + b"\0\xff",
    ),
    "both": (
        Transaction([Upsert(b"k", b"v"), ExpectVersion(1)], "x"),
        b"source" + size(b"x") + b"xP" + size(b"k") + size(b"v") + b"kvE\x01" + bytes(7),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_fingerprints_are_known(name):
    """S16: the fingerprint is this hash of this text, in every release: it outlives the program that made it."""
    transaction, text = KNOWN[name]
    assert fingerprint(transaction) == hashlib.blake2b(text, digest_size=32, person=b"indelible-tx").digest()


def test_one_fingerprint_is_known_by_its_digits():
    """S16: and one of them as it was first written, so that the test cannot change along with the product."""
    transaction = Transaction([Upsert(b"key", b"value"), ExpectVersion(7)], "source")
    assert fingerprint(transaction).hex() == "baa84861f908963b13ead9e7aa41becb5065ca9f2b65dd250b70438cc26e25c6"


@given(strategies.transactions(), strategies.transactions())
def test_fingerprints_differ_as_contents_do(one, other):
    """S16: two transactions share a fingerprint only if source and commands are the same; the id is not in it."""
    same = (one.source, one.commands) == (other.source, other.commands)
    assert (fingerprint(one) == fingerprint(other)) == same
    assert fingerprint(one) == fingerprint(Transaction(one.commands, one.source))


@given(strategies.transactions(), st.data())
def test_each_part_is_in_the_fingerprint(transaction, data):
    """S16: another kind, key, value, border between them, version or source, at any command, is another content."""
    told = {fingerprint(transaction)}
    variants = [Transaction(transaction.commands, "another"), Transaction([*transaction.commands, ExpectVersion(0)])]
    for index, command in enumerate(transaction.commands):
        if isinstance(command, ExpectVersion):
            others = [ExpectVersion(command.version + 1)]
        else:
            key, value = command.key, command.value
            others = [kind(key, value) for kind in (Insert, Update, Upsert, Remove) if kind is not type(command)]
            others += [attrs.evolve(command, key=key + b"x"), attrs.evolve(command, value=value + b"x")]
            if key:
                others.append(attrs.evolve(command, key=key[:-1], value=key[-1:] + value))
        variants += [
            Transaction([*transaction.commands[:index], other, *transaction.commands[index + 1 :]], transaction.source)
            for other in others
        ]
    for variant in variants:
        told.add(fingerprint(variant))
    assert len(told) == len(variants) + 1


@pytest.mark.parametrize(("outcome", "attempt"), list(itertools.product([COMMITTED, UNCHANGED, REJECTED], [1, 2, 3])))
def test_what_is_final(outcome, attempt):
    """S16: a commit is final always, any answer from the second attempt on."""
    assert is_final(outcome, attempt) == (outcome is COMMITTED or attempt >= 2)


@pytest.mark.parametrize("outcome", [COMMITTED, UNCHANGED])
def test_an_answer_is_given_again(outcome):
    """S6, S16: the same answer, which now says that it is one given again."""
    assert Receipt(b"f", outcome).answer("log", b"f") == attrs.evolve(outcome, replayed=True)


def test_a_rejection_is_given_again():
    """S3, S16: as it was, under the name by which the log was asked for."""
    with pytest.raises(NonexistentValue) as raised:
        Receipt(b"f", REJECTED).answer("log", b"f")
    assert attrs.asdict(raised.value) == {"log": "log", "index": 1, "command": "Update", "head": 3}
    with pytest.raises(UnexpectedVersion) as raised:
        Receipt(b"f", Rejection(UnexpectedVersion.code, 0, "ExpectVersion", 3, 5)).answer("log", b"f")
    assert (raised.value.expected, raised.value.actual) == (5, 3)


@pytest.mark.parametrize("outcome", [COMMITTED, UNCHANGED, REJECTED])
def test_other_content_is_refused(outcome):
    """S16: whatever the answer was, other content does not get it; no command is at fault and no head was looked at."""
    with pytest.raises(TransactionIdReused) as raised:
        Receipt(b"f", outcome).answer("log", b"g")
    assert attrs.asdict(raised.value) == {"log": "log", "index": -1, "command": "Transaction", "head": -1}
