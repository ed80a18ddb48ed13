"""The SQLite backend's way to its data: by index and without sorting, and room given back by a trim."""

import apsw
import pytest
from sqlitetools import put

from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import Transaction, Upsert
from indelible.pages import DiffRequest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs.db"


@pytest.fixture
def backend(path):
    backend = SQLiteBackend(path)
    backend.create("a")
    put(backend, b"k")
    yield backend
    backend.close()


def test_a_trim_gives_pages_back(backend, path):
    """S19: what was trimmed no longer takes room in the file."""
    for number in range(200):
        backend.update("a", Transaction([Upsert(b"k", bytes([number]) * 20_000)]))
    backend.close()
    before = path.stat().st_size
    backend = SQLiteBackend(path)
    backend.trim("a", 201)
    backend.close()
    assert before > 200 * 20_000
    assert path.stat().st_size < 100_000


def plan(db, statement, bindings):
    return " | ".join(row[3] for row in db.execute("EXPLAIN QUERY PLAN " + statement, bindings))


@pytest.fixture
def told(backend):
    """Every statement that calls made, with how SQLite goes about it."""
    for number in range(40):
        backend.update("a", Transaction([Upsert(b"%d" % (number % 7), b"%d" % number)]))
    plans = {}

    def traced(ask):
        statements = []
        db = backend._file._borrow()
        backend._file._idle[:] = [db]
        db.trace_v2(apsw.SQLITE_TRACE_STMT, lambda event: statements.append(event["sql"]))
        try:
            ask()
        finally:
            db.trace_v2(0)
        for statement in statements:
            if statement.startswith("SELECT"):
                plans[statement] = plan(db, statement, [None] * statement_parameters(statement))
        return [plans[statement] for statement in statements if statement in plans]

    return traced


def statement_parameters(statement):
    numbered = [int(part[0]) for part in statement.split("?")[1:] if part[:1].isdigit()]
    return max(numbered) if numbered else statement.count("?")


RANGES = [(0, 41), (0, 20), (20, 41), (10, 20), (41, 0), (20, 10), (39, 41), (5, 6)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_a_diff_in_command_order_reads_its_range_by_index(backend, told, low, high):
    """A diff costs what happened in its range: no table is scanned and nothing is sorted, with a cursor or without."""
    first = backend.diff("a", DiffRequest(low, high, limit=1))
    for cursor in (None, first.next):
        plans = told(lambda: backend.diff("a", DiffRequest(low, high, limit=3, cursor=cursor)))
        assert len(plans) >= 2
        for it in plans:
            assert "SCAN" not in it, plans
            assert "TEMP B-TREE" not in it, plans


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_a_diff_in_key_order_scans_no_table(backend, told, low, high):
    """A diff in key order searches as well; only a short range is sorted."""
    first = backend.diff("a", DiffRequest(low, high, order="key", limit=1))
    for cursor in (None, first.next):
        plans = told(lambda: backend.diff("a", DiffRequest(low, high, order="key", limit=3, cursor=cursor)))
        for it in plans:
            # What was sorted is gone through; each of its rows is then found by its primary key.
            assert "SCAN" not in it.replace("SCAN found | SEARCH", ""), plans
            assert it.count("TEMP B-TREE") <= (2 * abs(high - low) < 41), plans


@pytest.mark.parametrize(
    "ask",
    [
        lambda it: it.describe("a"),
        lambda it: it.versions("a", 3, 20),
        lambda it: it.history("a", b"1"),
    ],
    ids=["describe", "versions", "history"],
)
def test_other_reads_go_by_index(backend, told, ask):
    """Reads about one log search for it."""
    plans = told(lambda: ask(backend))
    assert plans
    assert not [it for it in plans if "SCAN" in it.replace("SCAN CONSTANT ROW", "")], plans


def test_the_search_for_scans_would_find_one(backend):
    """The control of the three above: a statement without an index is seen to scan and to sort."""
    it = plan(backend._file._writer, "SELECT key FROM live ORDER BY value", ())
    assert "SCAN" in it
    assert "TEMP B-TREE" in it
