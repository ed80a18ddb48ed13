"""What customers notice of each other, and those who wait of each other: nothing. Each test holds the store still at
the place it is about.
"""

import asyncio
import contextlib
import threading

import pytest
import urllib3
from serving import PATIENCE, Connection, head_of, nothing_goes_wrong, serving, until

from indelible import wire
from indelible.backend import Submission
from indelible.backends.memory import MemoryBackend
from indelible.commands import Transaction, Upsert
from indelible.errors import DamagedStore, Overloaded
from indelible.pages import DiffRequest
from indelible.server import service as service_module
from indelible.server import store as store_module
from indelible.server.admission import Admission, Slots
from indelible.server.settings import ServiceLimits, Settings
from indelible.server.store import Store
from indelible.testing.faults import Passing, WithoutKeyHistory


class Held(Passing):
    """A store of which a test holds some calls still: those for which ``holds(name, *arguments)``."""

    def __init__(self, inner, still):
        super().__init__(inner)
        self._still = still

    def subscribe(self, log, after, notify):
        return self.inner.subscribe(log, after, notify)

    def update_all(self, submissions):
        self._still.at("update_all", submissions)
        return [self.inner.update(it.log, it.transaction, it.attempt) for it in submissions]


def _held(name):
    def method(self, *arguments):
        self._still.at(name, *arguments)
        return getattr(super(Held, self), name)(*arguments)

    return method


for _name in ("create", "diff", "describe", "trim"):
    setattr(Held, _name, _held(_name))


class Still:
    """What holds calls still: whose, how many there are, all that came, and when they may go on."""

    def __init__(self):
        self.holds = lambda *_call: False
        self.came = []
        self.waiting = 0
        self._open = threading.Event()
        self._lock = threading.Lock()

    def at(self, *call):
        with self._lock:
            self.came.append(call)
        if self.holds(*call):
            with self._lock:
                self.waiting += 1
            assert self._open.wait(PATIENCE)

    def release(self):
        self.holds = lambda *_call: False
        self._open.set()


@pytest.fixture
def still():
    return Still()


@pytest.fixture
def service(still):
    class Holding(Settings):
        def open_store(self):
            return Held(super().open_store(), still)

    with nothing_goes_wrong(), serving(kind=Holding) as service:
        for log in ("acme/log", "other/log"):
            service.store.create(log)
        try:
            yield service
        finally:
            still.release()


@pytest.fixture
def who(service):
    return service.credentials("acme")


@pytest.fixture
def other(service):
    return service.credentials("other")


class Asking:
    """Calls that are under way, each on a connection of its own."""

    def __init__(self, service):
        self._service = service
        self.connections = []

    def ask(self, name, question, who, count=1):
        for _ in range(count):
            connection = Connection(self._service)
            self.connections.append(connection)
            body = question if isinstance(question, bytes) else wire.encode(question)
            connection.send(head_of(name, body, who) + body)

    def answers(self):
        return [connection.answer() for connection in self.connections]

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for connection in self.connections:
            connection.close()


def update(log="log", key=b"k", value=b"v"):
    command = {"type": "Upsert", "key": wire.base64(key), "value": wire.base64(value)}
    return wire.encode({"logName": log}) + wire.encode(command)


def test_reads_that_take_long_keep_only_their_customer_waiting(service, still, who, other):
    """While all that one customer may ask at once stands still in the store, others are answered."""
    still.holds = lambda name, log, *_: name == "describe" and log == "acme/log"
    with Asking(service) as asking:
        asking.ask("describe", {"logName": "log"}, who, service.settings.limits.requests_per_tenant)
        until(lambda: still.waiting >= 4)
        for _ in range(5):
            assert service.call("describe", {"logName": "log"}, other).status == 200
            assert service.call("diff", {"logName": "log"}, other).status == 200
        still.release()
        assert {answer.status for answer in asking.answers()} == {200}


@pytest.mark.parametrize(
    ("call", "question"), [("create", {"logName": "log"}), ("trim", {"logName": "log", "before": 0})]
)
def test_writes_that_take_long_keep_no_read_waiting(service, still, who, call, question):
    """While a customer's creating and trimming stand still in the store, everybody's reads are answered."""
    still.holds = lambda name, *_: name == call
    with Asking(service) as asking:
        asking.ask(call, question, who, 20)
        until(lambda: still.waiting == 1)
        assert service.call("describe", {"logName": "log"}, who).status == 200
        assert service.call("list", {}, who).status == 200
        still.release()
        assert {answer.status for answer in asking.answers()} == {200}


def customers(submissions):
    return [submission.log.partition("/")[0] for submission in submissions]


def test_customers_take_turns_at_writing(service, still, who, other, monkeypatch):
    """However much one customer has in line, another's transaction is in the next commit."""
    monkeypatch.setattr(store_module, "_LARGEST_GROUP", 4)
    still.holds = lambda name, *_: name == "update_all"
    with Asking(service) as asking:
        asking.ask("update", update(), who)
        until(lambda: still.waiting == 1)
        asking.ask("update", update(), who, 9)
        store = service.app.service.store
        until(lambda: sum(map(len, store._queues.values())) == 9)
        asking.ask("update", update(), other, 2)
        until(lambda: sum(map(len, store._queues.values())) == 11)
        still.release()
        assert {answer.status for answer in asking.answers()} == {200}
    groups = [customers(call[1]) for call in still.came if call[0] == "update_all"]
    assert groups == [
        ["acme"],
        ["acme", "other", "acme", "other"],
        ["acme"] * 4,
        ["acme"] * 3,
    ]


def test_a_commit_is_of_so_many_commands_only(service, still, who, other, monkeypatch):
    """Large transactions are not committed together: who comes next would wait for all of them."""
    monkeypatch.setattr(store_module, "_MOST_COMMANDS", 3)
    still.holds = lambda name, *_: name == "update_all"
    large = update() + b"".join(update(key=b"%d" % n).partition(b"}")[2] for n in range(4))
    with Asking(service) as asking:
        asking.ask("update", update(), who)
        until(lambda: still.waiting == 1)
        store = service.app.service.store
        for given, body, count in [(who, large, 2), (other, update(), 3)]:
            asking.ask("update", body, given, count)
            until(lambda count=count: sum(map(len, store._queues.values())) >= count)
        until(lambda: sum(map(len, store._queues.values())) == 5)
        still.release()
        assert {answer.status for answer in asking.answers()} == {200}
    groups = [customers(call[1]) for call in still.came if call[0] == "update_all"]
    assert groups == [["acme"], ["acme"], ["other"], ["acme"], ["other", "other"]]


@pytest.mark.parametrize(("count", "first"), [(1, 1), (2, 2), (7, 7), (1_000, 1 + store_module._TURNS)])
def test_who_comes_right_after_is_committed_with_the_first(count, first):
    """A transaction waits for those that come turn after turn of the loop, but not for ever; one alone, for nobody."""
    sizes = []

    async def come():
        backend = MemoryBackend()
        backend.create("acme/log")
        store = Store(backend, committed=sizes.append)
        asked = []
        for n in range(count):
            submission = Submission("acme/log", Transaction([Upsert(b"k", b"%d" % n)]))
            asked.append(asyncio.create_task(store.update_for("acme", submission)))
            await asyncio.sleep(0)
        committed = await asyncio.gather(*asked)
        await store.close()
        return [it.version for it in committed]

    assert asyncio.run(come()) == [*range(1, count + 1)]
    assert sizes[0] == first


def test_whether_it_is_ready_is_looked_up_once(service, still, who, monkeypatch):
    """Anybody may ask, so those who ask together share one look at the store; if that takes long, it is not ready."""
    monkeypatch.setattr(service_module, "_PATIENCE", 0.2)
    still.holds = lambda name, *arguments: (name, arguments) == ("describe", ("@/access",))
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Connection(service)) for _ in range(20)]
        for connection in connections:
            connection.send(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [connection.answer().status for connection in connections] == [503] * 20
    assert still.waiting == 1
    assert service.call("describe", {"logName": "log"}, who).status == 200
    still.release()
    until(lambda: urllib3.request("GET", f"{service.url}/readyz", retries=False).status == 200)


# Those who wait for one log


def waits(log="log", after=0, **more):
    return {"logName": log, "fromVersion": after, "waitSeconds": 60} | more


def commit(service, log="acme/log", key=b"k"):
    return service.store.update(log, Transaction([Upsert(key, wire.base64(key).encode())])).version


def test_who_knows_too_much_keeps_nobody_waiting(service, still, who):
    """Who waits for a log beyond a version that it never had is refused, and others who wait for it are woken."""
    still.holds = lambda name, _log, request=None, *_: name == "diff" and request.from_version == 10**9
    with Asking(service) as wrong, Asking(service) as right:
        wrong.ask("diff", waits(after=10**9), who)
        until(lambda: still.waiting == 1)
        right.ask("diff", waits(), who)
        service.waits(2)
        until(lambda: len([call for call in still.came if call[:2] == ("diff", "acme/log")]) == 2)
        commit(service)
        (answer,) = right.answers()
        assert answer.json()["toVersion"] == 1
        still.release()
        assert wrong.answers()[0].code == "NONEXISTENT_VERSION"


def test_those_who_ask_the_same_are_given_the_same(service, still, who):
    """S13: one commit wakes all who wait for a log; what they ask alike is looked up once, and is the same bytes."""
    with Asking(service) as alike, Asking(service) as otherwise:
        alike.ask("diff", waits(), who, 30)
        otherwise.ask("diff", waits(orderResultsBy="key"), who, 5)
        service.waits(35)
        looks = [call for call in still.came if call[:2] == ("diff", "acme/log")]
        until(lambda: len([call for call in still.came if call[:2] == ("diff", "acme/log")]) == 35)
        before = len(still.came)
        commit(service)
        bodies = {answer.body for answer in alike.answers()}
        assert len(bodies) == 1 and b'"toVersion":1' in bodies.pop()
        assert {answer.status for answer in otherwise.answers()} == {200}
    looks = [call for call in still.came[before:] if call[:2] == ("diff", "acme/log")]
    assert len(looks) == 2


def looking_for_nothing(service, still):
    """Wake those who wait for ``acme/log`` for nothing, and hold them still while they look."""
    before = still.waiting
    still.holds = lambda name, *arguments: (name, *arguments[:1]) == ("diff", "acme/log")
    polls = service.app.service.polls
    polls._loop.call_soon_threadsafe(polls._tell, "acme/log")
    until(lambda: still.waiting > before)


def waiting(service, still, asking, who):
    """One poll that waits, and has looked."""
    asking.ask("diff", waits(), who)
    until(lambda: ("diff", "acme/log") in [call[:2] for call in still.came])
    service.waits(1)
    until(lambda: not service.app.service.polls._topics["acme/log"].told)


def test_a_revocation_is_not_missed_while_looking(service, still, who):
    """Who is woken for nothing just as its key is taken back does not go on waiting."""
    with Asking(service) as asking:
        waiting(service, still, asking, who)
        looking_for_nothing(service, still)
        service.access.revoke(who.apikey.reveal().decode().split("_")[1])
        until(lambda: service.call("list", {}, who).status == 401)
        still.release()
        assert asking.answers()[0].code == "BAD_API_KEY"


def test_what_was_found_for_a_key_that_was_taken_back_is_not_told(service, still, who):
    """Whoever's key was taken back while the answer was looked up does not get it."""
    with Asking(service) as asking:
        waiting(service, still, asking, who)
        looking_for_nothing(service, still)
        service.access.revoke(who.apikey.reveal().decode().split("_")[1])
        until(lambda: service.call("list", {}, who).status == 401)
        commit(service)
        still.release()
        assert asking.answers()[0].code == "BAD_API_KEY"


def test_the_end_is_not_missed_while_looking(service, still, who):
    """Who is woken for nothing just as the service stops is answered, and does not keep it from stopping."""
    with Asking(service) as asking:
        waiting(service, still, asking, who)
        looking_for_nothing(service, still)
        app = service.app.service
        app.polls._loop.call_soon_threadsafe(app.drain)
        until(lambda: app.draining)
        still.release()
        (answer,) = asking.answers()
        assert (answer.status, answer.json()["page"]) == (200, [])


def test_a_service_that_stops_answers_who_waits_and_takes_nobody_else(service, still, who):
    """While it drains: who waits is answered, who comes is ``OVERLOADED``, it is not ready, and it lives; it goes on
    to follow who may use it, without haste.
    """
    with Asking(service) as asking:
        waiting(service, still, asking, who)
        app = service.app.service
        app.polls._loop.call_soon_threadsafe(app.drain)
        (answer,) = asking.answers()
        assert (answer.status, answer.json()["toVersion"]) == (200, 0)
    answer = service.call("diff", waits(), who)
    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (503, "OVERLOADED", "1")
    for path, status in {"healthz": 200, "readyz": 503}.items():
        assert urllib3.request("GET", f"{service.url}/{path}", retries=False).status == status
    (own,) = app.polls._topics["@/access"].polls
    assert not own._ended


class Forgetful(WithoutKeyHistory):
    """A store that tells of nothing by itself, and fails while it is told to."""

    failing = False

    def describe(self, log):
        if self.failing:
            raise self.failing
        return super().describe(log)


@pytest.mark.parametrize("failure", [Overloaded("busy"), DamagedStore("broken"), RuntimeError("a bug")])
def test_a_store_that_tells_of_nothing_is_looked_at(failure, monkeypatch):
    """S13: who waits is woken though the store tells of nothing; that it failed for a time makes nobody miss anything."""

    class Opening(Settings):
        def open_store(self):
            return Forgetful(super().open_store())

    with serving(kind=Opening) as service:
        who = service.credentials("acme")
        service.store.create("acme/log")
        with Asking(service) as asking:
            asking.ask("diff", waits(), who)
            service.waits(1)
            backend = service.app.service.store.backend
            looked = []
            monkeypatch.setattr(backend, "failing", failure, raising=False)
            monkeypatch.setattr(
                backend, "diff", lambda *it: looked.append(it) or backend.inner.diff(*it), raising=False
            )
            until(lambda: len([log for log, _ in looked if log == "acme/log"]) >= 3)
            monkeypatch.setattr(backend, "failing", False)
            assert commit(service) == 1
            assert asking.answers()[0].json()["toVersion"] == 1
        assert service.store.diff("acme/log", DiffRequest()).to_version == 1


def test_polls_are_answered_in_turns():
    """Of the polls of one customer no more are answered at once than it may have requests; others' are."""

    async def turns():
        admission = Admission(ServiceLimits(requests_per_tenant=2))
        held = [Slots() for _ in range(3)]
        for slots in held[:2]:
            await admission.turn("acme", slots)
        third = asyncio.ensure_future(admission.turn("acme", held[2]))
        await admission.turn("other", Slots())
        assert not third.done()
        held[0].close()
        await third

    asyncio.run(asyncio.wait_for(turns(), PATIENCE))
