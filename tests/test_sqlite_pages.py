"""Pages of the file from any place and of any size, against the oracle: what index scans may get wrong (S8-S12)."""

import itertools
import os

import apsw
import attrs
import pytest

from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import Insert, Transaction, Upsert
from indelible.errors import DamagedStore, UnexpectedValue
from indelible.pages import AtCommand, AtKey, DiffRequest
from indelible.testing.oracle import page
from indelible.testing.samples import HISTORIES, LOG, fill, state


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


def bounded(model, request):
    """The oracle's page of the fewest changes that use its bytes up, or of all."""
    for limit in itertools.count(1):
        it = page(model, attrs.evolve(request, limit=limit))
        size = sum(len(change.key) + len(change.value) for change in it.changes)
        if it.next is None or limit == request.limit or size >= request.max_bytes:
            return it


@pytest.mark.parametrize("name", HISTORIES)
def test_s12_any_cursor_and_any_bytes(backend, name):
    """S12: from a cursor at any place, a page of any bytes is that of the oracle which they are used up by."""
    model = fill(backend, name).log(LOG)
    keys = sorted({key for state in model.states for key in state})
    cursors = {
        "command": [AtCommand(*place) for place in itertools.product(range(model.head + 2), range(4), (False, True))],
        "key": [AtKey(key, seen) for key in keys for seen in (False, True)],
    }
    ranges = {(0, model.head), (model.head, 0), (model.head // 2, model.head)}
    for (start, end), order in itertools.product(sorted(ranges), cursors):
        for cursor, most, limit in itertools.product([None, *cursors[order]], (1, 2, 4, 9), (2, 1000)):
            request = DiffRequest(start, end, order=order, limit=limit, max_bytes=most, cursor=cursor)
            assert backend.diff(LOG, request) == bounded(model, request), request


def test_s12_a_page_ends_at_8_mib_unless_told_otherwise(backend):
    """S12: the bytes of a page that nobody bounds are 8 MiB; the control: with one more, it goes on."""
    for number in range(17):
        backend.update(LOG, Transaction([Insert(b"%c" % (65 + number), bytes(512 * 1024 - 1))]))
    for most, count in [({}, 16), ({"max_bytes": 8 * 1024 * 1024}, 16), ({"max_bytes": 8 * 1024 * 1024 + 1}, 17)]:
        assert len(backend.diff(LOG, DiffRequest(**most)).changes) == count


@pytest.mark.parametrize(("low", "high"), [(0, 300), (300, 0), (150, 300), (100, 200), (300, 100)])
def test_s12_a_page_bounded_in_bytes_reads_little_more_than_it_holds(backend, low, high):
    """S12: rows beyond a page are not read, but for the few that tell where the next begins; and no read goes on."""
    for number in range(300):
        backend.update(LOG, Transaction([Upsert(b"%d" % (number % 100), b"%d" % number)]))
    rows = []
    db = backend._file._borrow()
    backend._file._idle[:] = [db]
    db.trace_v2(apsw.SQLITE_TRACE_ROW, rows.append)
    told = backend.diff(LOG, DiffRequest(low, high, max_bytes=20))
    few = len(rows)
    rows.clear()
    backend.diff(LOG, DiffRequest(low, high))
    db.trace_v2(0)
    assert told.next is not None
    assert few < len(told.changes) + 8
    assert len(rows) >= 100, "the control: a whole diff reads many"
    other = apsw.Connection(backend._file.path)
    assert other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0, "somebody is still reading"
    other.close()
    assert len(state(backend)) == 100


@pytest.mark.parametrize(("low", "high"), [(0, 40), (40, 0), (40, 80), (80, 40), (80, 120), (120, 80)])
def test_s12_a_page_in_key_order_takes_no_more_memory_than_it_holds(backend, low, high):
    """S9, S12: a short range is sorted for its page without the values in it, those it added and those it ended."""
    large = 512 * 1024
    for size in (large, 1, large, *[1] * 4):
        for number in range(40):
            backend.update(LOG, Transaction([Upsert(b"%d" % number, os.urandom(size - 1) + bytes([size % 2]))]))
            backend.update(LOG, Transaction([Upsert(b"other", os.urandom(16))]))
    low, high = 2 * low, 2 * high
    db = backend._file._borrow()
    backend._file._idle[:] = [db]
    # What SQLite keeps of the file is bounded by itself, and would hide what is looked for.
    db.pragma("cache_size", -64)
    peaks = []
    for most in (large, 2**40):
        request = DiffRequest(low, high, order="key", max_bytes=most)
        before = apsw.memory_used()
        apsw.memory_high_water(True)
        told = backend.diff(LOG, request)
        peaks.append(apsw.memory_high_water() - before)
    assert len(told.changes) > 40
    assert sum(len(change.value) for change in told.changes) >= 40 * large
    assert max(peaks) < 8 * large


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
