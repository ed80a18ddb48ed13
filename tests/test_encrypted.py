"""Sealing in front of a store: what reaches the store, what comes back, and what is told when something was altered."""

import base64
import traceback

import apsw
import attrs
import pytest

from indelible.backends.encrypted import EncryptedBackend
from indelible.backends.memory import MemoryBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.cipher import SecretBoxCipher
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import (
    IndelibleError,
    IntegrityError,
    InvalidRequest,
    LogExists,
    NonexistentLog,
    NotExecuted,
    OutcomeUnknown,
    UnexpectedValue,
)
from indelible.pages import AtKey, DiffRequest
from indelible.secret import MasterKey

KEY = MasterKey.generate()
NAME, K, V = "canary-name-zebra", b"canary-key-giraffe", b"canary-value-okapi"


def forms(plain):
    """A text as it could show: as it is, in hex, and in Base64 at each of its three alignments."""
    data = plain.encode() if isinstance(plain, str) else plain
    yield data
    yield data.hex().encode()
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + data).rstrip(b"=")
        yield coded[4 if shift else 0 : -2]


def shows(haystack, plain):
    haystack = haystack if isinstance(haystack, bytes) else haystack.encode()
    return any(form in haystack for form in forms(plain))


class Spy:
    """Writes down everything that a backend is asked."""

    def __init__(self, inner):
        self.inner, self.seen = inner, []

    def __getattr__(self, name):
        method = getattr(self.inner, name)

        def spied(*args):
            for arg in args:
                self.seen.append(repr(arg))
                if isinstance(arg, Transaction):
                    for command in arg.commands:
                        self.seen.append(repr(attrs.astuple(command)))
                        self.seen += [
                            value.decode("latin-1") for value in attrs.astuple(command) if isinstance(value, bytes)
                        ]
                if isinstance(arg, DiffRequest) and isinstance(arg.cursor, AtKey):
                    self.seen.append(arg.cursor.key.decode("latin-1"))
            return method(*args)

        return spied


def sealed(inner, key=KEY, scheme=2):
    return EncryptedBackend(inner, SecretBoxCipher(key, scheme=scheme))


def use(backend):
    """Everything a backend can do, with the canaries in it."""
    backend.create(NAME)
    backend.update(NAME, Transaction([Insert(K, V), ExpectVersion(0), Upsert(K + b"2", V)]))
    backend.update(NAME, Transaction([Update(K, V + V), Remove(K + b"2", V)]))
    backend.diff(NAME, DiffRequest())
    first = backend.diff(NAME, DiffRequest(0, 1, order="key", limit=1))
    backend.diff(NAME, DiffRequest(0, 1, order="key", limit=1, cursor=first.next))
    backend.diff(NAME, DiffRequest(order="key", cursor=AtKey(K)))
    backend.history(NAME, K)
    backend.versions(NAME)
    backend.describe(NAME)
    backend.logs()
    backend.trim(NAME, 2)


@pytest.mark.parametrize("scheme", [1, 2])
def test_nothing_readable_reaches_the_store(scheme):
    """No name, key or value reaches the inner backend, by any call, raw, in hex or in Base64."""
    spy = Spy(MemoryBackend())
    use(sealed(spy, scheme=scheme))
    assert len(spy.seen) > 20
    for canary in (NAME, K, V):
        assert not [seen for seen in spy.seen if shows(seen.encode("latin-1"), canary)]


def test_the_spy_sees_what_is_not_sealed():
    """The control of the above: without sealing, the same search finds every canary."""
    spy = Spy(MemoryBackend())
    use(spy)
    for canary in (NAME, K, V):
        assert [seen for seen in spy.seen if shows(seen.encode("latin-1"), canary)]


@pytest.mark.parametrize("scheme", [1, 2, None])
def test_nothing_readable_reaches_the_file(tmp_path, scheme):
    """The file and its log hold no canary when sealed (and the control: they hold all when not)."""
    inner = SQLiteBackend(tmp_path / "logs.db")
    use(inner if scheme is None else sealed(inner, scheme=scheme))
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    inner.close()
    data += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [shows(data, canary) for canary in (NAME, K, V)] == [scheme is None] * 3


@pytest.mark.parametrize("scheme", [1, 2])
def test_equal_things_are_sealed_equally(scheme):
    """S2: two clients with one key seal alike, so what one inserted the other's command finds."""
    inner = MemoryBackend()
    one, other = sealed(inner, scheme=scheme), sealed(inner, scheme=scheme)
    one.create(NAME)
    one.update(NAME, Transaction([Insert(K, V)]))
    assert not other.update(NAME, Transaction([Insert(K, V)])).changed
    with pytest.raises(UnexpectedValue):
        other.update(NAME, Transaction([Insert(K, b"else")]))
    assert other.update(NAME, Transaction([Remove(K, V)])).changed


@pytest.mark.parametrize("scheme", [1, 2])
def test_another_key_or_scheme_sees_no_log(scheme):
    """S20: under another master key, or the other scheme, the log does not exist and is not listed."""
    inner = MemoryBackend()
    mine = sealed(inner, scheme=scheme)
    mine.create(NAME, "g")
    for other in (sealed(inner, MasterKey.generate(), scheme), sealed(inner, scheme=3 - scheme)):
        with pytest.raises(NonexistentLog) as caught:
            other.describe(NAME)
        assert caught.value.log == NAME
        assert other.logs() == []
    assert [info.name for info in mine.logs("g")] == [NAME]


def test_logs_are_those_of_this_key_by_name():
    """S18: ``logs`` gives this key's, sorted by their plain names; others' and unsealed ones do not show."""
    inner = MemoryBackend()
    mine, other = sealed(inner), sealed(inner, MasterKey.generate())
    for name in ("b", "c", "a"):
        mine.create(name, "g" if name != "c" else None)
        other.create(name)
    inner.create("readable")
    assert [info.name for info in mine.logs()] == ["a", "b", "c"]
    assert [info.name for info in mine.logs("g")] == ["a", "b"]


def errors_of(backend):
    """One error of each kind that names a log."""
    for ask in (
        lambda: backend.describe("canary-missing"),
        lambda: backend.create(NAME, "another group"),
        lambda: backend.update(NAME, Transaction([Insert(K, b"else")])),
        lambda: backend.update(NAME, Transaction([ExpectVersion(9)])),
        lambda: backend.update(NAME, Transaction([Update(b"missing", V)])),
        lambda: backend.diff(NAME, DiffRequest(9)),
        lambda: backend.versions(NAME, 9),
        lambda: backend.trim(NAME, 9),
    ):
        with pytest.raises(IndelibleError) as caught:
            ask()
        yield caught.value


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("scheme", [1, 2])
def test_errors_name_the_log_as_the_caller_does(scheme):
    """Whatever the inner backend says of a log, its caller reads the name it knows; no key or value hangs on it."""
    inner = MemoryBackend()
    backend = sealed(inner, scheme=scheme)
    backend.create(NAME)
    backend.update(NAME, Transaction([Insert(K, V)]))
    (stored,) = inner.logs()
    (change,) = inner.diff(stored.name, DiffRequest()).changes
    kinds = set()
    for error in errors_of(backend):
        kinds.add(type(error).__name__)
        assert error.log in (NAME, "canary-missing")
        assert stored.name not in f"{error} {error!r}"
        assert stored.name not in "".join(traceback.format_exception(error))
        for linked in chain(error):
            told = f"{linked} {linked!r}"
            for secret in (K, V, change.key, change.value):
                assert not shows(told.encode(), secret)
    assert len(kinds) >= 5


@pytest.mark.parametrize("name", ["", 5, None, b"x", [], "\ud800"])
def test_names_are_checked_before_they_are_sealed(name):
    """A name that is none is refused as such, by every call; the control is one that is."""
    backend = sealed(MemoryBackend())
    for ask in (backend.create, backend.describe, backend.versions, lambda it: backend.diff(it, DiffRequest())):
        with pytest.raises(InvalidRequest):
            ask(name)
    backend.create("name")
    assert backend.describe("name").head == 0


class Lossy(MemoryBackend):
    def update(self, log, transaction, attempt=1):
        super().update(log, transaction, attempt)
        raise OutcomeUnknown(log, transaction, attempt, "lost") from ConnectionError("the cause")


def test_an_unknown_outcome_gives_the_callers_transaction_back():
    """S17: ``OutcomeUnknown`` carries what the caller sent, in the clear, and the cause that the inner backend gave."""
    backend = sealed(Lossy())
    backend.create(NAME)
    sent = Transaction([Insert(K, V)])
    with pytest.raises(OutcomeUnknown) as caught:
        backend.update(NAME, sent, 3)
    assert caught.value.transaction is sent
    assert (caught.value.log, caught.value.attempt) == (NAME, 3)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert "canary-key" not in repr(caught.value)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_key_cursors_travel(limit):
    """S12: pages in key order go on from cursors in plain keys, and give everything once."""
    backend = sealed(MemoryBackend())
    backend.create(NAME)
    backend.update(NAME, Transaction([Insert(b"%d" % n, b"1") for n in range(7)]))
    backend.update(NAME, Transaction([Update(b"%d" % n, b"2") for n in range(5)]))
    whole = list(backend.diff(NAME, DiffRequest(1, 2, order="key")).changes)
    told, cursor = [], None
    while True:
        page = backend.diff(NAME, DiffRequest(1, 2, order="key", limit=limit, cursor=cursor))
        told += page.changes
        if (cursor := page.next) is None:
            break
        assert cursor.key in {b"%d" % n for n in range(7)}
    assert told == whole
    assert len(whole) == 10


# Alterations, by hand in the file


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "logs.db"
    backend = sealed(SQLiteBackend(path))
    for name in (NAME, "other"):
        backend.create(name)
        backend.update(name, Transaction([Insert(K, V), Insert(b"second", b"2")]))
    backend.close()
    return path


def altered(path, *statements):
    db = apsw.Connection(str(path))
    for statement in statements:
        db.execute(statement)
    db.close()


SWAP_VALUES = (
    "CREATE TEMP TABLE old AS SELECT * FROM live",
    "UPDATE live SET value = (SELECT value FROM old WHERE old.log = live.log AND old.key <> live.key)",
)
SWAP_LOGS = (
    "CREATE TEMP TABLE old AS SELECT * FROM live",
    "DELETE FROM live",
    "INSERT INTO live SELECT 3 - log, version, command, key, value FROM old",
)
FLIP_VALUE = ("UPDATE live SET value = CAST(substr(value, 1, length(value) - 1) || x'00' AS BLOB)",)
FLIP_KEY = ("UPDATE live SET key = CAST(x'00' || substr(key, 2) AS BLOB)",)
CUT_VALUE = ("UPDATE live SET value = x''",)


@pytest.mark.parametrize("alteration", [SWAP_VALUES, SWAP_LOGS, FLIP_VALUE, FLIP_KEY, CUT_VALUE])
def test_what_was_altered_does_not_open(path, alteration):
    """Values under another key, entries in another log and changed bytes raise ``IntegrityError`` naming the log."""
    altered(path, *alteration)
    backend = sealed(SQLiteBackend(path))
    try:
        with pytest.raises(IntegrityError, match=NAME) as caught:
            backend.diff(NAME, DiffRequest())
        for linked in chain(caught.value):
            assert not any(shows(f"{linked} {linked!r}", secret) for secret in (K, V))
    finally:
        backend.close()


def test_what_was_not_altered_opens(path):
    """The control of the above: the same file, untouched, reads as it was written."""
    altered(path, "UPDATE live SET value = value")
    backend = sealed(SQLiteBackend(path))
    assert [change.value for change in backend.diff(NAME, DiffRequest()).changes] == [V, b"2"]
    backend.close()


def test_what_scheme_1_does_not_see(tmp_path):
    """Scheme 1 serves one key's value under another, as the security page says; scheme 2 is the control above."""
    path = tmp_path / "old.db"
    backend = sealed(SQLiteBackend(path), scheme=1)
    backend.create(NAME)
    backend.update(NAME, Transaction([Insert(K, V), Insert(b"second", b"2")]))
    backend.close()
    altered(path, *SWAP_VALUES)
    backend = sealed(SQLiteBackend(path), scheme=1)
    assert [change.value for change in backend.diff(NAME, DiffRequest()).changes] == [b"2", V]
    backend.close()


def test_the_inner_error_is_told_once():
    """An error without a log in it passes as it is."""

    class Busy(MemoryBackend):
        def update(self, log, transaction, attempt=1):
            raise NotExecuted("busy")

    backend = sealed(Busy())
    backend.create(NAME)
    with pytest.raises(NotExecuted, match="^busy$"):
        backend.update(NAME, Transaction([]))
    with pytest.raises(LogExists):
        backend.create(NAME, "g")
