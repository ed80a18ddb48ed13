"""What values check when they are built: the corners that a caller may meet."""

import math

import pytest

from indelible import checks
from indelible.commands import Insert, Transaction
from indelible.errors import InvalidRequest


@pytest.mark.parametrize("value", [0, 0.0, 1, 2.5, 10**400, 1e308])
def test_a_duration_may_be_of_any_length(value):
    """However long somebody is willing to wait, the number is taken, and shortened to what a thread can wait."""
    assert checks.seconds(value, "it") == min(value, checks.threading.TIMEOUT_MAX)


@pytest.mark.parametrize("value", [-1, -(10**400), math.inf, -math.inf, math.nan, True, "1", None])
def test_what_is_no_duration_is_refused(value):
    """Negative, endless and other things are InvalidRequest, never an error of arithmetic."""
    with pytest.raises(InvalidRequest, match="it must be a finite number of seconds"):
        checks.seconds(value, "it")


class Special(Insert):
    """A command of somebody's own making."""


def test_a_transaction_takes_no_commands_of_another_make():
    """The kinds of command are closed: what derives from one has no place in a receipt or on the wire."""
    assert len(Transaction([Insert(b"k", b"v")]).commands) == 1
    with pytest.raises(InvalidRequest, match="command 1 is Special"):
        Transaction([Insert(b"k", b"v"), Special(b"k", b"v")])
