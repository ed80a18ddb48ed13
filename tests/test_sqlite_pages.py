"""Pages of the file from any place and of any size, against the oracle: what index scans may get wrong (S8-S12)."""

import itertools

import pytest

from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import Insert, Transaction
from indelible.errors import DamagedStore, UnexpectedValue
from indelible.pages import AtCommand, AtKey, DiffRequest
from indelible.testing.oracle import page
from indelible.testing.samples import HISTORIES, LOG, fill


@pytest.fixture
def backend(tmp_path):
    backend = SQLiteBackend(tmp_path / "logs.db")
    backend.create(LOG)
    yield backend
    backend.close()


@pytest.mark.parametrize("name", HISTORIES)
def test_s12_any_cursor_and_any_limit(backend, name):
    """S12: from a cursor at any place, past its removal or not, a page of any size is the oracle's, and tells what follows."""
    model = fill(backend, name).log(LOG)
    keys = sorted({key for state in model.states for key in state})
    cursors = {
        "command": [AtCommand(*place) for place in itertools.product(range(model.head + 2), range(6), (False, True))],
        "key": [AtKey(key, seen) for key in keys for seen in (False, True)],
    }
    ranges = {(0, model.head), (model.head, 0), (model.head // 2, model.head), (model.head, model.head // 2)}
    for (start, end), order in itertools.product(sorted(ranges), cursors):
        for cursor, limit in itertools.product(cursors[order], (1, 2, 3, 2**63 - 1)):
            request = DiffRequest(start, end, order=order, limit=limit, cursor=cursor)
            assert backend.diff(LOG, request) == page(model, request), request


@pytest.mark.parametrize(
    ("statement", "ask"),
    [
        ("UPDATE versions SET source = CAST(x'ff' AS TEXT)", lambda it: it.versions(LOG)),
        ("UPDATE versions SET committed_at = 9223372036854775807", lambda it: it.versions(LOG)),
        ("UPDATE logs SET log_group = CAST(x'ff' AS TEXT)", lambda it: it.describe(LOG)),
        ("UPDATE logs SET log_group = CAST(x'ff' AS TEXT)", lambda it: it.logs()),
    ],
)
def test_s17_a_row_that_nobody_wrote_is_told_as_damage(backend, tmp_path, statement, ask):
    """S17: a text that is no UTF-8 or a time beyond the calendar is a damaged store; nothing of it is in the error."""
    import apsw

    fill(backend, "there and back")
    other = apsw.Connection(str(tmp_path / "logs.db"))
    other.execute(statement)
    other.close()
    with pytest.raises(DamagedStore, match="not as it was written") as raised:
        ask(backend)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    "kept",
    [
        '["UNEXPECTED_VALLE", 0, "Insert", null]',
        '["UNEXPECTED_VERSION", 0, "ExpectVersion", null]',
        "[[], 0, 1, 2]",
        "7",
    ],
)
def test_s16_s17_a_rejection_that_no_rule_gives_is_told_as_damage(backend, tmp_path, kept):
    """S16, S17: a kept rejection is told again as it was; where its row was changed, the store is damaged."""
    import apsw

    backend.update(LOG, Transaction([Insert(b"k", b"v")]))
    refused = Transaction([Insert(b"k", b"other")])
    for _ in range(2):
        with pytest.raises(UnexpectedValue):
            backend.update(LOG, refused, 2)
    other = apsw.Connection(str(tmp_path / "logs.db"))
    other.execute("UPDATE receipts SET rejection = ? WHERE rejection IS NOT NULL", (kept,))
    other.close()
    with pytest.raises(DamagedStore, match="not as it was written"):
        backend.update(LOG, refused, 2)
