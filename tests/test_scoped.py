"""Tenants of one backend: nothing said about one tells anything about another (S20)."""

import pytest

from indelible.backends.memory import MemoryBackend
from indelible.backends.scoped import ScopedBackend
from indelible.commands import Insert, Transaction
from indelible.errors import InvalidRequest, NonexistentLog
from indelible.pages import DiffRequest


@pytest.fixture
def shared():
    return MemoryBackend()


def fill(backend, log, turns, group=None):
    backend.create(log, group)
    for turn in range(turns):
        backend.update(log, Transaction([Insert(b"%d" % turn, b"v")]))


def test_s20_tenants_do_not_see_each_other(shared):
    """S18, S20: each lists its own logs and no other's, by the names it gave, whatever others call theirs."""
    for number, scope in enumerate(["a", "b", "ab", "a b", "é"]):
        tenant = ScopedBackend(shared, scope)
        fill(tenant, "log", number, "group")
        fill(tenant, f"own {scope}", 1)
    for number, scope in enumerate(["a", "b", "ab", "a b", "é"]):
        tenant = ScopedBackend(shared, scope)
        assert [info.name for info in tenant.logs()] == sorted(["log", f"own {scope}"])
        assert [(info.name, info.head) for info in tenant.logs("group")] == [("log", number)]
        assert tenant.describe("log").head == tenant.diff("log", DiffRequest()).to_version == number
    assert ScopedBackend(shared, "c").logs() == []


def test_s20_a_name_reaches_into_no_other_scope(shared):
    """S20: a log's name may hold slashes and dots, and still names a log of this tenant only."""
    fill(ScopedBackend(shared, "a"), "log", 1)
    other = ScopedBackend(shared, "b")
    for name in ("a/log", "../a/log", "/a/log", "log"):
        with pytest.raises(NonexistentLog) as raised:
            other.describe(name)
        assert raised.value.log == name
        other.create(name)
        assert other.describe(name).head == 0
    assert ScopedBackend(shared, "a").describe("log").head == 1


@pytest.mark.parametrize("scope", ["", "a/b", "/", None, 3])
def test_a_scope_is_a_name_without_a_slash(shared, scope):
    """S20: no scope lies within another."""
    with pytest.raises(InvalidRequest):
        ScopedBackend(shared, scope)


def test_closing_a_scope_closes_what_it_stands_on(shared):
    """``close``: whoever waits in the scope is woken, so the backend is closed; its owner is who calls it."""
    fill(ScopedBackend(shared, "b"), "log", 1)
    ScopedBackend(shared, "a").close()
    assert shared.closed
