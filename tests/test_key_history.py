"""The history of one key: from a backend that cannot tell it by itself, and what a page of it costs."""

import base64
import tracemalloc

import apsw
import attrs
import pytest
from serving import serving

from indelible.backend import PagedKeyHistory, history_page, key_history
from indelible.backends.memory import MemoryBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import Remove, Transaction, Upsert


class Short:
    """A backend whose pages end after so many bytes, and which has no way of its own to tell a key's history."""

    def __init__(self, inner, max_bytes):
        self.diff = lambda log, request: inner.diff(log, attrs.evolve(request, max_bytes=max_bytes))
        self.describe = inner.describe


def test_a_history_is_whole_however_short_the_pages():
    """S12: where a removal fills a page, the addition of the same version stands on the next, and is told as well."""
    inner = MemoryBackend()
    inner.create("log")
    for value in (b"one", b"two", b"three"):
        inner.update("log", Transaction([Upsert(b"k", value), Upsert(b"other", value)]))
    whole = list(inner.history("log", b"k"))
    assert [revision.after.value for revision in whole] == [b"one", b"two", b"three"]
    for max_bytes in (1, 4, 1000):
        assert list(key_history(Short(inner, max_bytes), "log", b"k")) == whole


@pytest.fixture
def backend(tmp_path):
    backend = SQLiteBackend(tmp_path / "logs.db")
    backend.create("log")
    yield backend
    backend.close()


def grow(backend, count, size=1, log="log"):
    """Change the key so often, each time to another value."""
    for number in range(count):
        value = number.to_bytes(4, "big") + bytes(size)
        backend.update(log, Transaction([Upsert(b"k", value), Upsert(b"other", value)]))
        if number % 5 == 4:
            backend.update(log, Transaction([Remove(b"k", value)]))


def work(backend, ask):
    """The rows that SQLite gives for a call, and the steps that it takes."""
    rows, steps = [], []
    db = backend._file._borrow()
    backend._file._idle[:] = [db]
    db.trace_v2(apsw.SQLITE_TRACE_ROW, rows.append)
    db.set_progress_handler(lambda: bool(steps.append(1)), 1)
    try:
        ask()
    finally:
        db.trace_v2(0)
        db.set_progress_handler(None)
    return len(rows), len(steps)


@pytest.mark.parametrize("part", [0.0, 0.5, 0.9])
def test_a_page_of_a_history_costs_what_it_holds(backend, part):
    """S18, S19: a page of a key's history takes the rows that are on it, wherever it begins and however long the whole is."""
    assert isinstance(backend, PagedKeyHistory)
    costs = []
    for _ in range(4):
        grow(backend, 100)
        start = int(part * backend.describe("log").head)
        for limit, most in [(2, 10**6), (100, 1)]:
            page = history_page(backend, "log", b"k", start, limit, most)
            assert page.next_from == page.revisions[-1].version
            rows, steps = work(backend, lambda: backend.history_page("log", b"k", start, limit, most))
            assert rows <= len(page.revisions) + 6
            costs.append(steps)
    assert max(costs) < 2 * min(costs)
    rows, _ = work(backend, lambda: backend.history("log", b"k"))
    assert rows >= 400, "the control: the whole reads it all"
    other = apsw.Connection(backend._file.path)
    assert other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0, "somebody is still reading"
    other.close()


def peak(ask):
    """Bytes that Python holds at once for a call, beyond those before it."""
    tracemalloc.start()
    try:
        answer = ask()
        return tracemalloc.get_traced_memory()[1], answer
    finally:
        tracemalloc.stop()


LARGE = 512 * 1024


def test_a_service_answers_a_long_history_with_the_memory_of_a_page(tmp_path):
    """S18: what one answer of the service takes does not grow with the history, of which all answers tell the whole."""
    asked = {"logName": "log", "key": base64.b64encode(b"k").decode()}
    with serving(f"sqlite:///{tmp_path}/logs.db") as service:
        service.store.create("acme/log")
        grow(service.store, 100, LARGE, "acme/log")
        who = service.credentials()
        held, answer = peak(lambda: service.call("history", asked, who))
        assert answer.status == 200
        assert answer.json()["nextFromVersion"] == answer.json()["revisions"][-1]["version"]
        assert held < 30 * LARGE
        held, _ = peak(lambda: key_history(service.store, "acme/log", b"k"))
        assert held > 100 * LARGE, "the control: a whole history is larger"
