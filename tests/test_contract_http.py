"""The contract over HTTP: on every kind of store, sealed and not, and by both ways to one store at once."""

import contextlib
import itertools
from typing import ClassVar

import pytest
from serving import House

from indelible.backend import GroupCommit, KeyHistory, Notifying
from indelible.backends.encrypted import EncryptedBackend
from indelible.backends.scoped import ScopedBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.changes import Added
from indelible.cipher import SecretBoxCipher
from indelible.commands import ExpectVersion, Insert, Update, Upsert
from indelible.errors import Closed, LogExists, NonexistentLog, UnexpectedValue, UnexpectedVersion
from indelible.pages import DiffRequest, Page
from indelible.records import Committed, LogInfo
from indelible.secret import MasterKey
from indelible.server.access import LOG_NAME
from indelible.server.settings import Settings
from indelible.testing import BackendContract
from indelible.testing.faults import Passing, WithoutKeyHistory
from indelible.testing.laws.waiting import LONG, Background
from indelible.testing.samples import LOG, changes, commit, fill, state, transaction

KEY = MasterKey.generate()


class Busy(Passing):
    """A store where somebody commits while one who waits is being subscribed, which is for that one to look up (S13)."""

    def subscribe(self, log, after, notify):
        if log != LOG_NAME:
            commit(self.inner, Upsert(b"k", b"%d" % after), log=log)
        return self.inner.subscribe(log, self.inner.describe(log).head, notify)


class BusyStore(Settings):
    """Opens such a store."""

    def open_store(self):
        return Busy(super().open_store())


class Bare(Settings):
    """Opens a store that has nothing beyond the protocol ``Backend``."""

    def open_store(self):
        return WithoutKeyHistory(super().open_store())


@pytest.fixture(scope="class")
def in_memory():
    with House() as house:
        yield house


@pytest.fixture(scope="class")
def over_bare():
    with House(kind=Bare) as house:
        yield house


@pytest.fixture(scope="class")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("service") / "logs.db"


@pytest.fixture(scope="class")
def on_disk(path):
    with House(f"sqlite:///{path}") as house:
        yield house


class OverHTTP(BackendContract):
    """The house named ``where`` holds the logs; ``wrap`` says what stands in front of its client."""

    where: ClassVar[str] = "in_memory"

    @pytest.fixture(autouse=True)
    def _in_a_house(self, request):
        self.house = request.getfixturevalue(self.where)

    def wrap(self, client):
        return client

    def make_backend(self, tmp_path):
        self.credentials = self.house.newcomer()
        return self.beside(None)

    def beside(self, backend):
        return self.wrap(self.house.client(self.credentials))

    def reopen(self, backend):
        """Through another client, which has seen nothing yet."""
        return self.beside(backend)


class OnDisk(OverHTTP):
    """What the service keeps in a file outlives it."""

    where = "on_disk"

    def reopen(self, backend):
        """Through another client of another service, on the same file."""
        self.house.stop()
        self.house.start()
        return self.beside(backend)


class Sealed(OverHTTP):
    scheme: ClassVar[int] = 2
    sorted_keys = False
    exact_limits = False

    def wrap(self, client):
        return EncryptedBackend(client, SecretBoxCipher(KEY, scheme=self.scheme))


class TestMemory(OverHTTP):
    pass


class TestSQLite(OnDisk):
    pass


class TestBareStore(OverHTTP):
    """A store that can neither commit groups nor tell of changes is served as any other."""

    where = "over_bare"


class TestScheme1OverMemory(Sealed):
    scheme = 1


class TestScheme2OverSQLite(Sealed, OnDisk):
    pass


class InTurn(Passing):
    """Each call goes by the next of several ways to the same logs."""

    def __init__(self, *ways):
        self._ways, self._turns = ways, itertools.cycle(ways)

    @property
    def inner(self):
        return next(self._turns)

    def close(self):
        for way in self._ways:
            way.close()


class TestBothWays(OnDisk):
    """Every second call goes to the service's file directly: no law can tell by which way anything came or went."""

    exact_limits = False

    @pytest.fixture(autouse=True)
    def _file(self, path):
        self.path = path

    def wrap(self, client):
        return InTurn(client, ScopedBackend(SQLiteBackend(self.path), self.credentials.customer_id))


@pytest.fixture
def ways(on_disk, path):
    """A customer's logs over HTTP and in the file, each of which made one."""
    credentials = on_disk.newcomer()
    with (
        contextlib.closing(on_disk.client(credentials)) as http,
        contextlib.closing(ScopedBackend(SQLiteBackend(path), credentials.customer_id)) as file,
    ):
        yield {"http": http, "file": file}


BOTH = pytest.mark.parametrize(("written", "other"), [("http", "file"), ("file", "http")])


@BOTH
def test_what_is_written_one_way_is_read_the_other(ways, written, other):
    """S1, S7, S15, S18: a log made and filled by one way is by the other what it is by the first, at every version."""
    here, there = ways[written], ways[other]
    with pytest.raises(NonexistentLog):
        there.describe(LOG)
    here.create(LOG, "g")
    oracle = fill(here, "net within a transaction")
    head = oracle.describe(LOG).head
    for low, high in itertools.product(range(head + 1), repeat=2):
        assert changes(there, low, high) == changes(oracle, low, high)
    assert there.logs() == here.logs() == [LogInfo(LOG, "g", head, 0, oracle.describe(LOG).entries)]
    assert list(there.versions(LOG)) == list(here.versions(LOG))
    assert [info.transaction_id for info in there.versions(LOG)] == [it.transaction_id for it in oracle.versions(LOG)]
    with pytest.raises(LogExists):
        there.create(LOG, "another")


@BOTH
def test_a_transaction_is_judged_by_what_the_other_way_wrote(ways, written, other):
    """S2, S15, S16: each way sees at once what the other did, refuses by it, and answers again what the other answered."""
    here, there = ways[written], ways[other]
    here.create(LOG)
    sent = transaction(ExpectVersion(0), Insert(b"k", b"1"))
    assert here.update(LOG, sent) == Committed(1, changed=True, replayed=False)
    assert there.update(LOG, sent, 2) == Committed(1, changed=True, replayed=True)
    with pytest.raises(UnexpectedVersion):
        commit(there, ExpectVersion(0), Upsert(b"k", b"2"))
    refused = transaction(Insert(b"k", b"2"))
    with pytest.raises(UnexpectedValue):
        there.update(LOG, refused, 2)
    commit(here, Update(b"k", b"2"))
    with pytest.raises(UnexpectedValue):
        here.update(LOG, refused)
    assert commit(there, Insert(b"k", b"2")) == Committed(2, changed=False, replayed=False), (
        "the control: it would pass"
    )


@BOTH
def test_a_wait_one_way_is_woken_by_the_other(on_disk, ways, written, other):
    """S13: who waits by one way is told of a commit by the other, each time."""
    here, there = ways[written], ways[other]
    here.create(LOG)
    for version in range(3):
        request = DiffRequest(version, wait_seconds=LONG)
        waiters = [Background(lambda request=request: there.diff(LOG, request)) for _ in range(3)]
        if other == "http":
            on_disk.service.waits(3)
        commit(here, Insert(b"%d" % version, b"1"))
        for waiter in waiters:
            assert waiter.result() == Page(version, version + 1, (Added(b"%d" % version, b"1", version + 1),), None)


@BOTH
def test_what_is_sealed_one_way_opens_the_other(ways, written, other):
    """Sealing: the service adds nothing and takes nothing away; with another key the log is not even there."""
    sealed = {name: EncryptedBackend(way, SecretBoxCipher(KEY)) for name, way in ways.items()}
    sealed[written].create(LOG)
    fill(sealed[written], "odd keys")
    assert state(sealed[other]) == state(sealed[written]) != {}
    with pytest.raises(NonexistentLog):
        EncryptedBackend(ways[other], SecretBoxCipher(MasterKey.generate())).describe(LOG)
    with pytest.raises(NonexistentLog):
        ways[other].describe(LOG)


def test_what_is_committed_while_a_wait_begins_is_told():
    """S13: who waits is told of what came between the question and the subscription, and of what comes then."""
    with House(kind=BusyStore) as house, contextlib.closing(house.client(house.newcomer())) as client:
        client.create(LOG)
        assert client.diff(LOG, DiffRequest(wait_seconds=2)) == Page(0, 1, (Added(b"k", b"0", 1),), None)
        page = client.diff(LOG, DiffRequest(1, wait_seconds=2, limit=0))
        assert page == Page(1, 2, (), None), "the control: somebody commits whenever a wait begins"


@pytest.mark.parametrize("where", ["in_memory", "over_bare"])
def test_a_wait_is_told_of_its_own_log(request, where):
    """S13, S20: those who ask the same of several logs, of one customer or of several, are each told of theirs."""
    house = request.getfixturevalue(where)
    here, there = (house.client(house.service.credentials(f"{where}-{name}")) for name in "ab")
    with contextlib.closing(here), contextlib.closing(there):
        asked = [(client, log) for client in (here, there) for log in ("one", "two")]
        for client, log in asked:
            client.create(log)
        question = DiffRequest(wait_seconds=LONG)
        waiters = [Background(lambda it=it: it[0].diff(it[1], question)) for it in asked]
        house.service.waits(4)
        for number, (client, log) in enumerate(asked):
            commit(client, Insert(b"k", b"%d" % number), log=log)
            assert waiters[number].result() == Page(0, 1, (Added(b"k", b"%d" % number, 1),), None)


def test_a_wait_ends_with_its_client(in_memory):
    """S13: whoever goes while it waits is forgotten by the service at once, and not when its time is over."""
    client, gone = in_memory.client(credentials := in_memory.newcomer()), in_memory.client(credentials)
    with contextlib.closing(client), contextlib.closing(gone):
        client.create(LOG)
        waiters = [Background(lambda it=it: it.diff(LOG, DiffRequest(wait_seconds=LONG))) for it in (client, gone)]
        in_memory.service.waits(2)
        gone.close()
        with pytest.raises(Closed):
            waiters[1].result()
        in_memory.service.waits(1)
        commit(client, Insert(b"k", b"1"))
        assert waiters[0].result().to_version == 1, "the control: who stayed still waited"


def test_a_bare_store_is_bare(over_bare):
    """Control: the service over it cannot but do without groups, subscriptions and histories of keys."""
    assert not isinstance(over_bare.service.store, GroupCommit | Notifying | KeyHistory)
    assert type(over_bare.service.app.service.store.backend) is WithoutKeyHistory
