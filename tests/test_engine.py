"""The engine alone: the table of S2 from the contract's text, and S3-S5."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.engine import Decision, Effect, Rejection, decide, read_set
from indelible.errors import NonexistentValue, UnexpectedValue, UnexpectedVersion
from indelible.testing import strategies
from indelible.testing.model import ModelLog

K = b"k"

# As the contract has it: | command | key absent | same value there | other value there |
TABLE = """
    Insert | add                      | nothing | reject UnexpectedValue
    Update | reject NonexistentValue  | nothing | replace
    Upsert | add                      | nothing | replace
    Remove | nothing                  | remove  | nothing
"""
THERE = {"absent": None, "same": b"v", "other": b"w"}
CELLS = [
    (row.split("|")[0].strip(), there, cell.strip())
    for row in TABLE.strip().splitlines()
    for there, cell in zip(THERE, row.split("|")[1:], strict=True)
]
KINDS = {"Insert": Insert, "Update": Update, "Upsert": Upsert, "Remove": Remove}
ERRORS = {"UnexpectedValue": UnexpectedValue, "NonexistentValue": NonexistentValue}


def judge(head, current, *commands):
    return decide(Transaction(commands), head, current)


@pytest.mark.parametrize(("kind", "there", "cell"), CELLS)
def test_s02_a_cell_on_what_is_stored(kind, there, cell):
    """S2: each cell of the table, on what the log holds."""
    before = THERE[there]
    told = judge(7, {} if before is None else {K: before}, KINDS[kind](K, b"v"))
    match cell.split():
        case ["nothing"]:
            assert told == Decision(7, ())
        case ["add"] | ["replace"]:
            assert told == Decision(8, (Effect(K, before, b"v", 0),))
        case ["remove"]:
            assert told == Decision(8, (Effect(K, before, None, 0),))
        case ["reject", error]:
            assert told == Rejection(ERRORS[error].code, 0, kind, 7)
            raised = told.error("log")
            assert type(raised) is ERRORS[error]
            assert (raised.log, raised.index, raised.command, raised.head) == ("log", 0, kind, 7)


@pytest.mark.parametrize(("kind", "there", "cell"), CELLS)
@pytest.mark.parametrize("stored", THERE.values())
def test_s02_a_cell_on_what_earlier_commands_made(kind, there, cell, stored):
    """S2, S4: each cell on what earlier commands of the same transaction made of anything stored; effects are net."""
    made = THERE[there]
    earlier = [Upsert(K, b"x"), Remove(K, b"x") if made is None else Update(K, made)]
    told = judge(7, {} if stored is None else {K: stored}, *earlier, KINDS[kind](K, b"v"))
    if cell.startswith("reject"):
        assert told == Rejection(ERRORS[cell.split()[1]].code, 2, kind, 7)
        return
    after = {"nothing": made, "add": b"v", "replace": b"v", "remove": None}[cell]
    last = 1 if cell == "nothing" else 2
    assert told == (Decision(7, ()) if after == stored else Decision(8, (Effect(K, stored, after, last),)))


@pytest.mark.parametrize(("expected", "head"), list(itertools.product([0, 1, 2, 2**63 - 1], [0, 1, 2])))
def test_s02_expect_version(expected, head):
    """S2, S3: ``ExpectVersion`` looks at the head before the transaction, wherever it stands in it."""
    for earlier in ([], [Upsert(K, b"v")]):
        told = judge(head, {}, *earlier, ExpectVersion(expected))
        if expected == head:
            assert isinstance(told, Decision)
        else:
            assert told == Rejection(UnexpectedVersion.code, len(earlier), "ExpectVersion", head, expected)
            raised = told.error("log")
            assert (type(raised), raised.expected, raised.actual) == (UnexpectedVersion, expected, head)


def test_s03_the_first_rejected_command_is_named():
    """S3: later rejections do not matter."""
    told = judge(3, {K: b"w"}, Upsert(b"a", b"1"), Insert(K, b"v"), Update(b"absent", b""), ExpectVersion(9))
    assert told == Rejection(UnexpectedValue.code, 1, "Insert", 3)


@pytest.mark.parametrize("first", [ExpectVersion(3), Upsert(K, b"v"), Insert(K, b"v"), Remove(b"absent", b"v")])
def test_s02_what_did_nothing_does_not_end_the_transaction(first):
    """S2: after a command that passed and changed nothing, the next is judged like any other."""
    assert judge(3, {K: b"v"}, first, Insert(b"a", b"1")) == Decision(4, (Effect(b"a", None, b"1", 1),))
    assert judge(3, {K: b"v"}, first, Update(b"a", b"1")) == Rejection(NonexistentValue.code, 1, "Update", 3)


def test_s04_positions_are_those_of_the_last_command_that_changed_the_key():
    """S4: a later command that finds its work done does not move an effect; effects come in order of position."""
    told = judge(
        0, {}, Upsert(b"a", b"1"), Upsert(b"b", b"1"), Upsert(b"a", b"2"), Upsert(b"b", b"1"), Insert(b"a", b"2")
    )
    assert told == Decision(1, (Effect(b"b", None, b"1", 1), Effect(b"a", None, b"2", 2)))


def test_s04_a_key_left_as_it_was_has_no_effect():
    """S4: there and back is nothing, and so is a key that came and went."""
    assert judge(5, {K: b"v"}, Remove(K, b"v"), Insert(K, b"v"), Upsert(b"a", b"1"), Remove(b"a", b"1")) == Decision(
        5, ()
    )


def test_s05_no_commands_no_version():
    """S5: an empty transaction passes at any head."""
    assert judge(0, {}) == Decision(0, ())
    assert judge(9, {}) == Decision(9, ())


@given(strategies.transactions(max_size=12))
def test_the_read_set_is_the_keys_of_the_commands_once_each(transaction):
    """``decide`` needs the keys that are named, each once, in order of first use."""
    keys = [command.key for command in transaction.commands if not isinstance(command, ExpectVersion)]
    assert list(read_set(transaction)) == sorted(set(keys), key=keys.index)


@given(st.dictionaries(strategies.keys(), strategies.values()), strategies.transactions(max_size=12))
def test_s02_to_s05_decide_agrees_with_the_oracle(stored, transaction):
    """S2-S5: the same answer, the same new state, the same positions; given the read set or the whole log."""
    model = ModelLog("log")
    model.update(Transaction([Upsert(key, value) for key, value in stored.items()]))
    head = model.head
    wanted = model.judge(transaction)
    told = decide(transaction, head, stored)
    assert decide(transaction, head, {k: v for k, v in stored.items() if k in read_set(transaction)}) == told
    if isinstance(told, Rejection):
        raised = told.error("log")
        assert (type(raised), raised.index, raised.command, raised.head) == (
            type(wanted),
            wanted.index,
            wanted.command,
            head,
        )
        return
    assert told.version == wanted.version
    assert [(effect.key, effect.command) for effect in told.effects] == sorted(
        (model.effects[head + 1] if wanted.changed else {}).items(), key=lambda item: item[1]
    )
    after = dict(stored)
    for effect in told.effects:
        assert after.get(effect.key) == effect.before != effect.after
        after.pop(effect.key, None)
        if effect.after is not None:
            after[effect.key] = effect.after
    assert after == {entry.key: entry.value for entry in model.states[-1].values()}
