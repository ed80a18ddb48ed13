"""Whatever fails at whatever byte between client and service: nothing happens twice, nobody is told wrongly (S16, S17)."""

from __future__ import annotations

import math
import queue
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from unittest import mock

import attrs
import pytest
import urllib3
from actors import AT_ONCE, Actor
from crews import together
from effort import WHOLE, minimum
from lanes import HASTE, Lane, every_byte, in_lanes, shown, sizes_of, some, struck
from proxy import CUT, KINDS, LATE, PATIENT, RACE, RESET, STALL, SWALLOW, Chance, Fault, is_whole, proxied
from serving import PATIENCE, basic, serving_apart, until
from settings import folder, impatient

from indelible.backends.http import HTTPBackend, retrying
from indelible.backends.http.delivery import Delivery
from indelible.backends.http.failures import Failed
from indelible.changes import Added
from indelible.commands import Insert, Remove, Transaction, Upsert
from indelible.errors import IndelibleError, NonexistentVersion, NotExecuted, OutcomeUnknown, Rejected, UnexpectedValue
from indelible.messages import UpdateLog
from indelible.pages import AtKey, DiffRequest, Page
from indelible.records import Committed
from indelible.testing.laws.waiting import LONG, Background
from indelible.testing.linearize import NotLinearizable, check
from indelible.testing.recorder import Call, Recorder
from indelible.testing.samples import HISTORIES, commit

pytestmark = pytest.mark.timeout(1800)

__all__ = ["folder", "impatient"]  # fixtures

# Faults that must come; in transactions CI promises 3,000.
IN_TRANSACTIONS = minimum(3_000, 300)
IN_READS = minimum(3_000, 100)
IN_POLLS = minimum(500, 40)

# Operations to be judged, and how many each client makes on one log.
OPERATIONS = minimum(20_000, 1_000)
TURNS = 60

KEY, OURS, THEIRS = b"key", b"ours", b"theirs"

FREE = "free"
"""Nobody else wants the key; but what was put there is gone when the transaction comes again."""
TAKEN = "taken"
"""When the transaction comes again and there is nothing, somebody else has put something there."""
THERE = "there"
"""It is there already, put by somebody else; it is gone when the transaction comes again."""
GIVEN = "given"
"""When the transaction comes again and there is nothing, somebody else has just put there what it wants."""
FATES = (FREE, TAKEN, THERE, GIVEN)


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """Clients do not wait long before they try again: nobody is overloaded here."""
    monkeypatch.setattr(retrying, "_FIRST", 0.0002)


@pytest.fixture
def service(folder):
    with serving_apart(f"sqlite:///{folder}/logs.db") as running:
        yield running
        page = urllib3.request("GET", f"{running.url}/metrics", retries=False, timeout=PATIENCE).data
        assert b"INTERNAL_ERROR" not in page, "the service has failed by itself"


@attrs.define
class Trial:
    """A transaction on a log of its own that is sent through faults.

    Whenever it comes again, somebody has been at the store meanwhile, so that what takes effect twice is seen twice,
    and what was refused would now pass.
    """

    lane: Lane
    fate: str
    log: str = attrs.field()
    sent: Transaction[bytes, bytes] = attrs.field(factory=lambda: Transaction([Insert(KEY, OURS)]))
    given: list[int] = attrs.field(factory=list)
    faults: Sequence[Fault] = ()

    @log.default
    def _new_log(self) -> str:
        return self.lane.new_log()

    def __attrs_post_init__(self) -> None:
        if self.fate == THERE:
            self.give(OURS)

    def give(self, value: bytes) -> bool:
        """Somebody else puts it there, unless it has just come by itself."""
        with suppress(UnexpectedValue):
            answer = commit(self.lane.store, Insert(KEY, value), log=self.log)
            self.given.extend([answer.version] * answer.changed)
            return answer.changed
        return False

    def there(self) -> tuple[Added[bytes, bytes], ...]:
        """What is under the key, if anything."""
        return self.lane.store.diff(self.log, DiffRequest(order="key", limit=1, cursor=AtKey(KEY))).changes

    def interfere(self) -> None:
        """What others do between two attempts."""
        if self.fate in (TAKEN, GIVEN) and not self.there() and self.give(THEIRS if self.fate == TAKEN else OURS):
            return
        for entry in self.there():
            if self.fate == THERE or entry.version not in self.given:
                commit(self.lane.store, Remove(KEY, OURS), log=self.log)

    def send(self, *faults: Fault, fresh: bool = False) -> None:
        """Send it through these faults until its outcome is known, let what is late come, and judge."""
        self.faults = faults
        self.lane.plan(*faults, between=self.interfere)
        with self.lane.client(*faults, fresh=fresh) as client:
            answer = told(client, self.log, self.sent)
        if isinstance(answer, OutcomeUnknown):
            self.lane.outcomes["unknown at first"] += 1
            assert answer.transaction == self.sent
            self.interfere()
            answer = told(self.lane.sure, self.log, answer.transaction, answer.attempt + 1)
        self.judge(answer)

    def judge(self, answer: Committed | IndelibleError) -> None:
        """S17: what was told to have happened happened once and at its version, anything else never and never will."""
        self.clear()
        self.lane.proxy.release()
        assert isinstance(answer, Committed | Rejected), "a service that can be reached says what happened"
        version = [answer.version] if isinstance(answer, Committed) and answer.changed else []
        assert self.made() == self.added() == version, f"{self.fate}: told {answer!r}"
        assert isinstance(answer, Committed) or (type(answer), self.fate) == (UnexpectedValue, TAKEN)
        assert version or self.fate != FREE
        self.lane.outcomes[
            "committed" if version else "unchanged" if isinstance(answer, Committed) else "rejected"
        ] += 1

    def clear(self) -> None:
        """Nothing is under the key any more: whatever comes now would take effect."""
        commit(self.lane.store, Upsert(KEY, b""), Remove(KEY, b""), log=self.log)

    def made(self) -> list[int]:
        """The versions that the store says it made."""
        return [it.version for it in self.lane.store.versions(self.log) if it.transaction_id == self.sent.id]

    def added(self) -> list[int]:
        """The versions in which its value came under the key, whatever the store thinks of ids."""
        history = self.lane.store.history(self.log, KEY)
        return [it.version for it in history if it.after and it.after.value == OURS and it.version not in self.given]


def told(backend: object, log: str, sent: Transaction[bytes, bytes], attempt: int = 1) -> Committed | IndelibleError:
    """What a sender learns: one of four things (S17), and anything else is raised."""
    try:
        return backend.update(log, sent, attempt)
    except (Rejected, NotExecuted, OutcomeUnknown) as error:
        return error


def test_a_fault_at_every_byte_of_a_transaction(tally, service):
    """S16, S17: cut, reset, stalled, swallowed, late or overtaking at any byte, a transaction happens once or never."""
    sizes = sizes_of(service, lambda lane: Trial(lane, FREE).send())
    faults = some(every_byte(sizes), IN_TRANSACTIONS)

    def task(fault: Fault) -> Callable[[Lane], None]:
        # Each kind meets each fate on kept and on new connections.
        fate, fresh = FATES[fault.at % 4], fault.at // 4 % 2 == 0
        return lambda lane: lane.until_struck(fault, lambda: Trial(lane, fate).send(fault, fresh=fresh))

    lanes = in_lanes(service, [task(fault) for fault in faults])
    hit = struck(lanes)
    assert set(hit) == set(faults), "the control: each fault has come, at its very byte"
    if WHOLE:
        assert {(it.side, it.at) for it in hit} == {
            (side, at) for side, size in sizes.items() for at in range(size + 1)
        }
    tally("faults in transactions", hit.total(), IN_TRANSACTIONS, f"at any of {sizes} bytes; {shown(lanes)}")


def test_every_attempt_fails(tally, service):
    """S16, S17: where each attempt of a client fails, it says that it does not know, and the next to come is told."""
    sizes = sizes_of(service, lambda lane: Trial(lane, FREE).send())
    faults = some([it for it in every_byte(sizes) if it.kind not in PATIENT and it.at % 5 == 0], 25)

    def task(number: int, fault: Fault) -> Callable[[Lane], None]:
        return lambda lane: Trial(lane, FATES[number % 4]).send(*[fault] * retrying.TRIES, fresh=number % 8 < 4)

    lanes = in_lanes(service, [task(*it) for it in enumerate(faults)])
    more = f"{len(faults)} transactions, each sent {retrying.TRIES} times; {shown(lanes)}"
    tally("faults in every attempt", struck(lanes).total(), 2 * len(faults), more)


def test_nobody_listens(tally, service):
    """S17: what was never sent never happens; what was sent to somebody who vanished is unknown, until asked again."""
    with Lane(service, 0) as lane:
        Trial(lane, FREE).send()
        size, _ = lane.proxy.sizes
        for at in range(0, size + 1, 1 if WHOLE else 40):
            # Open a connection, which stays when nobody listens any more.
            Trial(lane, FREE).send()
            trial, never = Trial(lane, FREE), Trial(lane, FREE)
            lane.proxy.refuse()
            lane.plan(Fault("request", CUT, at))
            with lane.client(fresh=True) as newcomer, lane.client() as client:
                assert isinstance(told(newcomer, never.log, never.sent), NotExecuted)
                answer = told(client, trial.log, trial.sent)
                assert isinstance(answer, OutcomeUnknown)
                lane.proxy.accept()
                trial.interfere()
                trial.judge(told(client, trial.log, trial.sent, answer.attempt + 1))
            assert never.made() == never.added() == []
        assert lane.proxy.struck.total() == len(range(0, size + 1, 1 if WHOLE else 40))
    count = lane.proxy.struck.total()
    tally("transactions cut off with nobody there to ask again", count, 10, "as many never sent, which never happened")


def test_a_fault_in_a_large_transaction(tally, service):
    """S16, S17: a request that fails while most of it has still to be sent holds the same."""
    size = 3 * 1024 * 1024
    places = [size * part // 32 for part in range(1, 32)] if WHOLE else [1, size // 2]
    faults = [Fault("request", kind, at) for kind in (CUT, RESET, LATE, RACE) for at in places]
    large = [Insert(b"large %d" % part, bytes(1024 * 1024)) for part in range(3)]
    with Lane(service, 0) as lane:
        for fault in faults:
            trial = Trial(lane, FREE, sent=Transaction([*large, Insert(KEY, OURS)]))
            trial.send(fault)
            lane.store.trim(trial.log, lane.store.describe(trial.log).head)
    assert lane.proxy.struck == Counter(faults)
    tally("faults in transactions of 4 MB", len(faults), 8, shown([lane]))


def send_plainly(trial: Trial) -> None:
    """A client without ids: it sends until it is told that it was done, as anybody would with any HTTP library."""
    text = b'{"logName":"%s"}{"type":"Insert","key":"a2V5","value":"b3Vycw=="}' % trial.log.encode()
    url, headers = f"{trial.lane.url}/v1/log/update", {"Authorization": basic(trial.lane.credentials)}
    for _ in range(retrying.TRIES):
        with suppress(urllib3.exceptions.HTTPError):
            urllib3.request("POST", url, body=text, headers=headers, retries=False, timeout=PATIENCE)
            return


def test_without_ids_the_same_faults_double(tally, service):
    """Control: who sends again without an id does twice what these faults let happen once."""
    sizes = sizes_of(service, lambda lane: send_plainly(Trial(lane, FREE)))
    faults = some([it for it in every_byte(sizes) if it.kind not in PATIENT], 60)
    doubled = Counter()

    def task(fault: Fault) -> Callable[[Lane], None]:
        def send(lane: Lane) -> None:
            trial = Trial(lane, FREE)
            lane.plan(fault, between=trial.interfere)
            send_plainly(trial)
            trial.clear()
            lane.proxy.release()
            doubled[fault.side] += len(trial.added()) > 1

        return send

    in_lanes(service, [task(fault) for fault in faults])
    assert doubled["request"] > 0, "what came late was done again"
    assert doubled["answer"] > 0, "what was done and not heard of was done again"
    tally(
        "transactions without ids that took effect twice", doubled.total(), 10, f"of {len(faults)}, by the same faults"
    )


LOG = "read"
READS: dict[str, Callable[[object], object]] = {
    "a diff": lambda it: it.diff(LOG, DiffRequest(1, 5)),
    "a page": lambda it: it.diff(LOG, DiffRequest(order="key", limit=1, to_version=4)),
    "a description": lambda it: it.describe(LOG),
    "a list": lambda it: list(it.logs()),
    "versions": lambda it: list(it.versions(LOG)),
    "a history": lambda it: list(it.history(LOG, b"a")),
    "no such version": lambda it: vars(pytest.raises(NonexistentVersion, it.diff, LOG, DiffRequest(99)).value),
}


def ask(lane: Lane, name: str, *faults: Fault) -> None:
    """Read through these faults what the store has for everybody."""
    if lane.store.logs() == []:
        lane.store.create(LOG)
        for commands in HISTORIES["there and back"]:
            commit(lane.store, *commands, log=LOG)
    lane.plan(*faults)
    with lane.client(*faults) as client:
        try:
            answer = READS[name](client)
        except NotExecuted:
            assert any(fault.kind in PATIENT for fault in faults), "there was time to ask again"
            lane.outcomes["not executed"] += 1
        else:
            assert answer == READS[name](lane.store)
            lane.outcomes["right"] += 1
    lane.proxy.drop()


def test_a_fault_at_every_byte_of_a_read(tally, service):
    """S15, S17: through the same faults a read gives the right answer, or says that it was not made; never a wrong one."""
    tasks = []
    for name in READS:
        sizes = sizes_of(service, lambda lane, name=name: ask(lane, name))
        chance = random.Random(name)
        faults = [Fault(side, chance.choice(KINDS[side]), at) for side, size in sizes.items() for at in range(size + 1)]
        tasks += [
            lambda lane, name=name, fault=fault: lane.until_struck(fault, lambda: ask(lane, name, fault))
            for fault in faults
        ]
    lanes = in_lanes(service, some(tasks, IN_READS))
    more = f"at any byte of {len(READS)} kinds of question and their answers; {shown(lanes)}"
    tally("faults in reads", struck(lanes).total(), IN_READS, more)


def test_a_fault_at_every_byte_of_a_poll(tally, service):
    """S13, S17: through the same faults whoever waits is told of the next version, whole and once, or that nobody waited."""

    def poll(lane: Lane, *faults: Fault) -> None:
        request = DiffRequest(head := lane.store.describe(LOG).head, wait_seconds=LONG)
        lane.plan(*faults)
        if any(fault.kind in PATIENT for fault in faults):

            def in_vain() -> None:
                lane.plan(*faults)
                with lane.client(*faults) as client, pytest.raises(NotExecuted):
                    client.diff(LOG, attrs.evolve(request, wait_seconds=0.01))
                lane.outcomes["not executed, then right"] += 1

            lane.until_struck(*faults, in_vain)
        with lane.client() as client:
            waiter = Background(lambda: client.diff(LOG, request))
            until(lambda: service.metric("indelible_polls") >= 1)
            commit(lane.store, Insert(b"%09d" % head, b"1"), log=LOG)
            assert waiter.result() == Page(head, head + 1, (Added(b"%09d" % head, b"1", head + 1),), None)
        lane.proxy.drop()
        service.waits(0)
        until(lambda: service.metric("indelible_polled_logs") == 1)
        lane.outcomes["right"] += 1

    with Lane(service, 0) as lane:
        lane.store.create(LOG)
        poll(lane)
        chance, (asked, answered) = random.Random(0), lane.proxy.sizes
        requests = [Fault("request", chance.choice(KINDS["request"]), at) for at in range(asked - 8)]
        answers = [Fault("answer", chance.choice([CUT, RESET]), at) for at in range(answered)]
        faults = some([*requests, *answers], IN_POLLS)
        for fault in faults:
            poll(lane, fault)
    assert set(lane.proxy.struck) == set(faults)
    tally("faults in polls", len(faults), IN_POLLS, shown([lane]))


class Visitor(Actor):
    """An actor whose reads may come to nothing."""

    def act(self, turns: int) -> None:
        for _ in range(turns):
            with suppress(NotExecuted):
                super().act(1)


class Doubts(threading.local):
    """Which calls had to ask again by themselves, not knowing whether they had been heard."""

    calls: list[Call]
    came = False

    def __init__(self, calls: list[Call]) -> None:
        self.calls = calls

    def note(self, call: Call) -> None:
        """A call begins or, once it has returned, ends."""
        if call.returned < math.inf and self.came:
            self.calls.append(call)
        self.came = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        failed = Delivery.failed

        def noting(delivery: Delivery, failure: Failed) -> None:
            self.came |= not failure.certain
            failed(delivery, failure)

        with mock.patch.object(Delivery, "failed", noting):
            yield


def by_clients(service, seed: int, faults: Counter[str]) -> list[Call]:
    """What eight clients were told of a log of their own, by a proxy where one exchange in twenty fails."""
    log, credentials = f"log {seed}", service.credentials()
    chance = Chance(random.Random(seed), 0.05)
    doubts = Doubts([])
    with (
        closing(HTTPBackend(service.url, credentials)) as sure,
        proxied(int(service.url.rpartition(":")[2]), chance, most=3) as proxy,
        doubts.noted(),
    ):
        recorder = Recorder(sure)
        recorder.create(log)
        url = f"http://127.0.0.1:{proxy.port}"
        clients = [HTTPBackend(url, credentials, timeout=2 * HASTE) for _ in range(AT_ONCE)]
        actors = [
            Visitor(Recorder(client, recorder, note=doubts.note), log, random.Random(f"{seed} {name}"))
            for name, client in enumerate(clients)
        ]
        together(*(lambda actor=actor: actor.act(TURNS) for actor in actors))
        for client in clients:
            client.close()
        proxy.release()
        recorder.versions(log)
        faults.update(fault.kind for fault in proxy.struck.elements())
    return told_first(recorder.calls, doubts.calls)


def told_first(calls: Sequence[Call], doubtful: Sequence[Call]) -> list[Call]:
    """A client that had to ask again by itself is told again; whoever asked the client was told the first time.

    Unless it had been asked before, and that may have had an effect.
    """
    heard: set[bytes] = set()
    for call in sorted(calls, key=lambda it: it.called):
        if call.operation != "update" or (call.is_answered and not call.commits):
            continue
        if call.commits and call.arguments[0].id not in heard and call in doubtful:
            call.answer = attrs.evolve(call.answer, replayed=False)
        heard.add(call.arguments[0].id)
    return list(calls)


def test_histories_through_faults(tally, service):
    """S15, S16: what several clients are told by a faulty way could have happened one operation at a time."""
    faults, count, seed = Counter(), 0, 0
    while count < OPERATIONS:
        calls = by_clients(service, seed := seed + 1, faults)
        check(calls)
        count += len(calls)
    tally("operations through a faulty proxy", count, OPERATIONS, f"{seed} logs, {AT_ONCE} at once, {dict(faults)}")


def test_clients_that_forget_are_seen(service, monkeypatch):
    """Control: clients that send again under another id commit twice, and the same histories show it."""

    def forgetful(self: Delivery) -> UpdateLog:
        sent = self._transaction
        return UpdateLog(self._log, Transaction(sent.commands, sent.source, id=random.randbytes(16)))

    monkeypatch.setattr(Delivery, "update", property(forgetful))
    with pytest.raises(NotLinearizable):
        for seed in range(20):
            check(by_clients(service, seed, Counter()))


REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nwelcome"


class Upstream:
    """A service that answers whatever is whole, and tells what came on each connection and how that ended."""

    def __init__(self) -> None:
        self.ended: queue.Queue[tuple[bytes, bool]] = queue.Queue()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        got, reset = received(connection, answer=ANSWER)
        connection.close()
        self.ended.put((got, reset))

    def __enter__(self) -> Upstream:
        return self

    def __exit__(self, *_error: object) -> None:
        # It may still be waiting for a connection; closing alone would not wake it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def received(connection: socket.socket, answer: bytes = b"") -> tuple[bytes, bool]:
    """All that comes, answered once it is a request, and whether the end was a reset."""
    got = b""
    try:
        while data := connection.recv(4096):
            got += data
            if answer and is_whole(got):
                connection.sendall(answer)
    except ConnectionError:
        return got, True
    return got, False


def test_the_proxy_does_what_it_says():
    """Control: each kind of fault passes on as many bytes as it says, and then shows both sides what it says."""
    sizes = {"request": len(REQUEST), "answer": len(ANSWER)}
    faults = every_byte(sizes) if WHOLE else every_byte(sizes)[::7]
    plan = iter(faults)
    with Upstream() as upstream, proxied(upstream.port, lambda: next(plan)) as proxy:
        for fault in faults:
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.sendall(REQUEST)
                client.settimeout(PATIENCE)
                if fault.kind in PATIENT:
                    until(lambda fault=fault: proxy.struck[fault])
                    seen = client.recv(4096) if fault.side == "answer" and fault.at else b""
                    client.setblocking(False)
                    with pytest.raises(BlockingIOError):
                        client.recv(4096)
                else:
                    seen, reset = received(client)
                    assert reset == (fault.kind == RESET), fault
            if fault.kind in (LATE, RACE, STALL):
                assert upstream.ended.empty(), "it is not there yet"
                proxy.release()
            got, reset = upstream.ended.get(timeout=PATIENCE)
            if fault.kind != RESET:
                assert seen == (ANSWER[: fault.at] if fault.side == "answer" else b""), fault
                passed = fault.at if fault.side == "request" and fault.kind in (CUT, SWALLOW) else len(REQUEST)
                assert got == REQUEST[:passed], fault
                assert not reset
    assert proxy.struck == Counter(faults)
    assert proxy.late == sum(fault.kind in (LATE, RACE, STALL) for fault in faults)
