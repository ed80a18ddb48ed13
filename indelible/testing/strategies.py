"""Hypothesis strategies for all that goes into a log, made to collide: few keys, fewer values, odd ones among them."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

from indelible.commands import Command, ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.limits import Limits

ODD = (b"", b"\0", b"\0\0", b"\xff", b"\xff\xff", b"a\0", b"aa", b"\x80", b"a\xff")
"""Keys that a store may compare, escape or end wrongly."""


def keys() -> st.SearchStrategy[bytes]:
    """Keys that mostly meet again, some odd, a few of any kind."""
    common = st.sampled_from([b"a", b"b", b"c"])
    return st.one_of(common, common, st.sampled_from(ODD), st.binary(max_size=3))


def values() -> st.SearchStrategy[bytes]:
    """Values that are often equal."""
    common = st.sampled_from([b"1", b"2"])
    return st.one_of(common, common, st.sampled_from(ODD), st.binary(max_size=20))


def versions(most: int = 8) -> st.SearchStrategy[int]:
    """Small versions, of which some will be the head."""
    return st.integers(0, most)


def commands() -> st.SearchStrategy[Command[bytes, bytes]]:
    """Commands of every kind; those that are often rejected are rare, or few transactions of some length would pass."""
    kinds: Any = st.sampled_from([Upsert] * 8 + [Remove] * 5 + [Insert, Update])
    keyed = st.builds(lambda kind, key, value: kind(key, value), kinds, keys(), values())
    expecting = st.builds(ExpectVersion, versions())
    return st.integers(0, 24).flatmap(lambda turn: expecting if turn == 24 else keyed)


def puts() -> st.SearchStrategy[Command[bytes, bytes]]:
    """Commands that are never rejected and mostly change something, on few keys."""
    few = st.sampled_from([b"a", b"b", b""])
    upsert: Any = st.builds(Upsert, few, values())
    remove: Any = st.builds(Remove, few, st.sampled_from([b"1", b"2"]))
    return st.one_of(upsert, upsert, upsert, remove)


def sources() -> st.SearchStrategy[str | None]:
    """Who made a change, or nobody."""
    return st.one_of(st.none(), st.sampled_from(["", "python", "é\U0001f600"]))


def transactions(max_size: int = 6) -> st.SearchStrategy[Transaction[bytes, bytes]]:
    """Transactions of up to ``max_size`` commands, under ids that do not repeat by accident."""
    ids = st.binary(min_size=16, max_size=16)
    return st.builds(
        lambda body, source, id_: Transaction(body, source, id=id_),
        st.lists(commands(), max_size=max_size),
        sources(),
        ids,
    )


def histories(max_size: int = 8) -> st.SearchStrategy[list[Transaction[bytes, bytes]]]:
    """Transactions to send one after the other, each id used once; some will be rejected, some change nothing."""
    return st.lists(transactions(), max_size=max_size, unique_by=lambda sent: sent.id)


def limits() -> st.SearchStrategy[int]:
    """How many changes fit on a page: none, few, or all."""
    return st.one_of(st.integers(1, 4), st.sampled_from([0, 1, 1, 10_000]))


def store_limits() -> st.SearchStrategy[Limits]:
    """Limits of a store that are soon reached, or the usual ones."""
    small = st.integers(1, 8)
    return st.one_of(st.just(Limits()), st.builds(Limits, key=small, value=small, commands=small))


def log_names() -> st.SearchStrategy[str]:
    """Names of logs: few, odd ones among them, and any text."""
    common = st.sampled_from(["a", "b", "a/b", " ", "\0", "é", "\U0001f600", ".."])
    return st.one_of(common, common, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8))


def json_values(max_leaves: int = 10) -> st.SearchStrategy[Any]:
    """What JSON can carry and give back unchanged: no NaN, no lone surrogates, whole numbers within 64 bits."""
    text = st.one_of(st.text(string.ascii_letters, max_size=5), st.text(st.characters(exclude_categories=["Cs"])))
    numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
    leaves = st.one_of(st.none(), st.booleans(), numbers, text)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
        max_leaves=max_leaves,
    )
