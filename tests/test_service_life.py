"""The service from its start to its end, and what it tells on the way: signals, kills, failing stores, its log."""

import contextlib
import http.client
import json
import os
import re
import signal
import threading

import apsw
import attrs
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serving import PATIENCE, Connection, basic, head_of, overheard, serving, serving_apart, until

from indelible import errors, routes, wire
from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import Transaction, Upsert
from indelible.pages import DiffRequest
from indelible.server import telemetry
from indelible.server.running import listen
from indelible.server.settings import Settings
from indelible.testing.faults import Passing

SECONDS = 5
"""How long a service may take to stop, whatever is going on."""


def update(log="log", key=b"k", value=b"v", **more):
    command = {"type": "Upsert", "key": wire.base64(key), "value": wire.base64(value)}
    return wire.encode({"logName": log} | more) + wire.encode(command)


def waits(log="log", after=0):
    return wire.encode({"logName": log, "fromVersion": after, "waitSeconds": 60})


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/logs.db"


def keys(tmp_path, log="acme/log"):
    """What the store holds, after the service."""
    store = SQLiteBackend(tmp_path / "logs.db")
    changes = store.diff(log, DiffRequest()).changes
    store.close()
    return {change.key for change in changes}


def printed(folder):
    return (folder / "out").read_text(), (folder / "err").read_text()


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_answers_who_waits_and_ends_well(url, tmp_path, number):
    """All who wait are told what there is; the process ends with 0, and without a word."""
    with serving_apart(url, output=tmp_path) as service, contextlib.ExitStack() as stack:
        who = service.credentials()
        service.store.create("acme/log")
        polls = [stack.enter_context(Connection(service)) for _ in range(20)]
        for poll in polls:
            poll.send(head_of("diff", waits(), who) + waits())
        service.waits(len(polls))
        service.process.send_signal(number)
        for poll in polls:
            answer = poll.answer()
            assert (answer.status, answer.json()["page"]) == (200, [])
            assert poll.is_cut()
        assert service.process.wait(SECONDS) == 0
    assert printed(tmp_path) == ("", "")


HELD = """
import pathlib, pickle, socket, sys, time
from indelible import seams
from indelible.server.running import serve

def hold():
    folder = pathlib.Path(settings.store.removeprefix("sqlite:///")).parent
    if (folder / "hold").exists():
        (folder / "held").touch()
        while (folder / "hold").exists():
            time.sleep(0.01)

if __name__ == "__main__":
    settings, number = pickle.loads(bytes.fromhex(sys.argv[1])), int(sys.argv[2])
    seams.armed["sqlite.commit.before"] = hold
    serve(settings, socket.socket(fileno=number))
"""
"""A service whose commits are held while there is a file ``hold`` beside the store; then there is one ``held``, too."""


def test_a_running_commit_is_finished(url, tmp_path):
    """S21: what is being committed when the signal comes is committed, kept and answered; what is in line, too."""
    with serving_apart(url, code=HELD, output=tmp_path) as service, contextlib.ExitStack() as stack:
        who = service.credentials()
        service.store.create("acme/log")
        (tmp_path / "hold").touch()
        asking = [stack.enter_context(Connection(service)) for _ in range(5)]
        for number, connection in enumerate(asking):
            body = update(key=b"%d" % number)
            connection.send(head_of("update", body, who) + body)
            if number == 0:
                until((tmp_path / "held").exists)
        # Answered on the same loop, after the others were read.
        assert service.call("list", {}, who).status == 200
        service.process.send_signal(signal.SIGTERM)
        (tmp_path / "hold").unlink()
        for connection in asking:
            answer = connection.answer()
            assert (answer.status, answer.json()["changed"]) == (200, True)
        assert service.process.wait(SECONDS) == 0
    assert printed(tmp_path) == ("", "")
    assert keys(tmp_path) == {b"%d" % number for number in range(5)}


@pytest.mark.parametrize("drain_seconds", [1, 4])
def test_nobody_keeps_a_service_from_stopping(url, tmp_path, drain_seconds):
    """Who sends slowly, or nothing, or does not read, is cut off when the time is over; the process ends well."""
    with contextlib.ExitStack() as stack:
        limits = {"drain_seconds": drain_seconds}
        service = stack.enter_context(serving_apart(url, output=tmp_path, limits=limits))
        who = service.credentials()
        service.store.create("acme/large")
        commands = [Upsert(b"%d" % n, bytes(100_000)) for n in range(100)]
        service.store.update("acme/large", Transaction(commands))
        large = wire.encode({"logName": "large", "limit": 100})
        for sent in [
            b"",
            b"POST /v1/log/describe HTTP/1.1\r\nHost:",
            head_of("describe", credentials=who, promised=100) + b"{",
            head_of("describe", promised=100),
            head_of("diff", large, who) + large,
            (head_of("diff", large, who) + large) * 20,
            b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 100,
        ]:
            connection = stack.enter_context(Connection(service, receives=2_000))
            connection.send(sent)
        with Connection(service) as resting:
            resting.ask("describe", b"{}", who)
            assert resting.answer().status == 400
            service.process.send_signal(signal.SIGTERM)
            assert resting.is_cut()
        assert service.process.wait(drain_seconds + SECONDS) == 0
    out, err = printed(tmp_path)
    assert out == "" and "Traceback" not in err


def test_a_kill_loses_nothing_that_was_acknowledged(url, tmp_path):
    """S21, S16: after SIGKILL, what was answered is there; the rest, sent again as it is, is done once."""
    acknowledged, unknown, lock = set(), [], threading.Lock()

    def write(service, who, worker):
        with (
            contextlib.suppress(ConnectionError, AssertionError, OSError, Exception),
            Connection(service) as connection,
        ):
            for number in range(10_000):
                body = update(key=b"%d %d" % (worker, number), transactionId=f"{worker:016x}{number:016x}")
                with lock:
                    unknown.append((worker, number))
                connection.send(head_of("update", body, who) + body)
                assert connection.answer().status == 200
                with lock:
                    unknown.remove((worker, number))
                    acknowledged.add((worker, number))

    with serving_apart(url) as service:
        who = service.credentials()
        service.store.create("acme/log")
        writers = [threading.Thread(target=write, args=(service, who, worker)) for worker in range(4)]
        for writer in writers:
            writer.start()
        until(lambda: len(acknowledged) >= 40)
        service.process.send_signal(signal.SIGKILL)
        service.process.wait(PATIENCE)
        for writer in writers:
            writer.join(PATIENCE)
    assert {b"%d %d" % it for it in acknowledged} <= keys(tmp_path)
    with serving_apart(url) as service:
        before = service.store.describe("acme/log").head
        assert before - len(acknowledged) <= len(unknown)
        for worker, number in unknown:
            body = update(key=b"%d %d" % (worker, number), transactionId=f"{worker:016x}{number:016x}", attempt=2)
            answer = service.call("update", body, who)
            assert answer.status == 200 and answer.json()["changed"]
    assert keys(tmp_path) == {b"%d %d" % it for it in [*acknowledged, *unknown]}


def children(process):
    """The processes that a process started and that live."""
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as found:
        return found.read().split()


def end(pids):
    """End what should have ended by itself."""
    for pid in filter(lives, pids):
        os.kill(int(pid), signal.SIGKILL)


def lives(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat") as found:
        return found.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def waiting_at(service):
    """How many polls wait at each of the workers, as far as was seen."""
    seen = set()
    for _ in range(20):
        with Connection(service) as connection:
            connection.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            seen.add(float(re.search(rb"^indelible_polls (\S+)$", connection.answer("GET").body, re.M)[1]))
    return seen


def test_several_workers_are_one_service(url, tmp_path):
    """Processes on one store and one port: what one commits wakes who waits at another, and a signal ends them all."""
    with serving_apart(url, output=tmp_path, workers=2) as service, contextlib.ExitStack() as stack:
        who = service.credentials()
        service.store.create("acme/log")
        polls = []

        def both_have_some():
            poll = stack.enter_context(Connection(service))
            poll.send(head_of("diff", waits(), who) + waits())
            polls.append(poll)
            seen = waiting_at(service)
            return len(seen) == 2 and min(seen) > 0 and sum(seen) == len(polls)

        until(both_have_some)
        with Connection(service) as writer:
            writer.send(head_of("update", update(), who) + update())
            assert writer.answer().json()["version"] == 1
        for poll in polls:
            assert poll.answer().json()["toVersion"] == 1
            body = waits(after=1)
            poll.send(head_of("diff", body, who) + body)
        until(lambda: sum(waiting_at(service)) == len(polls))
        workers = children(service.process)
        assert len(workers) >= 2
        service.process.send_signal(signal.SIGTERM)
        for poll in polls:
            assert poll.answer().json()["page"] == []
        assert service.process.wait(2 * SECONDS) == 0
        until(lambda: not any(map(lives, workers)))
    assert printed(tmp_path) == ("", "")


def test_workers_do_not_outlive_their_parent(url, tmp_path):
    """After SIGKILL of the parent its workers stop as on SIGTERM: who waits is answered, and the port is free again."""
    with serving_apart(url, output=tmp_path, workers=2) as service, contextlib.ExitStack() as stack:
        who = service.credentials()
        service.store.create("acme/log")
        poll = stack.enter_context(Connection(service))
        poll.send(head_of("diff", waits(), who) + waits())
        until(lambda: waiting_at(service) == {0, 1})
        workers = children(service.process)
        assert len(workers) >= 2 and all(map(lives, workers))
        stack.callback(end, workers)
        service.process.send_signal(signal.SIGKILL)
        service.process.wait(PATIENCE)
        answer = poll.answer()
        assert (answer.status, answer.json()["page"]) == (200, [])
        until(lambda: not any(map(lives, workers)))
        listen(attrs.evolve(service.settings, port=int(service.url.rpartition(":")[2]))).close()
    out, err = printed(tmp_path)
    assert out == "" and "Traceback" not in err


# A store that fails

SECRET = "what nobody may see"


class Failing(Passing):
    """A store every call of which fails, when it is told to."""

    failure = None

    def _maybe(self):
        if Failing.failure is not None:
            raise Failing.failure


def _failing(name):
    def method(self, *arguments):
        self._maybe()
        return getattr(super(Failing, self), name)(*arguments)

    return method


for _name in ("create", "update", "diff", "describe", "logs", "versions", "trim", "history"):
    setattr(Failing, _name, _failing(_name))


class FailingTogether(Failing):
    """The same, with commits of many."""

    answers = None

    def update_all(self, submissions):
        self._maybe()
        if self.answers is not None:
            return self.answers
        return [self.inner.update(it.log, it.transaction, it.attempt) for it in submissions]


@pytest.fixture(scope="module", params=[Failing, FailingTogether])
def failing(request):
    class Opening(Settings):
        def open_store(self):
            return request.param(super().open_store())

    with serving(kind=Opening) as service:
        service.store.create("acme/log")
        yield service


@pytest.fixture(scope="module")
def who(failing):
    return failing.credentials()


QUESTIONS = {
    "create": {"logName": "log"},
    "update": {"logName": "log"},
    "diff": {"logName": "log"},
    "describe": {"logName": "log"},
    "list": {},
    "versions": {"logName": "log"},
    "history": {"logName": "log", "key": "aw=="},
    "trim": {"logName": "log", "before": 0},
}
FAILURES = [
    (errors.Overloaded(SECRET), 503, "OVERLOADED"),
    (errors.NotExecuted(SECRET), 503, "OVERLOADED"),
    (errors.Closed(SECRET), 503, "OVERLOADED"),
    (errors.TransactionConflict(SECRET), 412, "TRANSACTION_CONFLICT"),
    (errors.OutcomeUnknown("log", Transaction(()), 1, SECRET), 500, "INTERNAL_ERROR"),
    (errors.DamagedStore(SECRET), 500, "INTERNAL_ERROR"),
    (errors.UnsuitableStore(SECRET), 500, "INTERNAL_ERROR"),
    (errors.ProtocolViolation(SECRET), 500, "INTERNAL_ERROR"),
    (RuntimeError(SECRET), 500, "INTERNAL_ERROR"),
    (KeyError(SECRET), 500, "INTERNAL_ERROR"),
    (OSError(5, SECRET), 500, "INTERNAL_ERROR"),
    (MemoryError(SECRET), 500, "INTERNAL_ERROR"),
    (RecursionError(SECRET), 500, "INTERNAL_ERROR"),
    (StopIteration(SECRET), 500, "INTERNAL_ERROR"),
    (TimeoutError(SECRET), 500, "INTERNAL_ERROR"),
    (apsw.BusyError(SECRET), 500, "INTERNAL_ERROR"),
]


def fails(failing, failure):
    """Within this context, the store does."""

    @contextlib.contextmanager
    def failed():
        Failing.failure = failure
        try:
            yield
        finally:
            Failing.failure = None

    return failed()


@pytest.mark.parametrize("call", QUESTIONS)
@pytest.mark.parametrize(
    ("failure", "status", "code"), FAILURES, ids=[type(failure).__name__ for failure, *_ in FAILURES]
)
def test_whatever_fails_has_its_code(failing, who, call, failure, status, code):
    """S17: each failure of the store is told by its code, and by nothing of what it says; a request id leads to that in
    the server's log, which tells nothing of what was sent.
    """
    body = update() if call == "update" else wire.encode(QUESTIONS[call])
    with overheard() as records, fails(failing, failure):
        answer = failing.call(call, body, who)
    problem = answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert set(problem) == {"code", "codeNumber", "message", "details"}
    request_id = problem["details"].pop("requestId")
    assert answer.headers["x-request-id"] == request_id
    assert problem["details"] == ({} if status == 500 else {"effect": "none"})
    assert ("retry-after" in answer.headers) == (status == 503)
    assert SECRET not in answer.data.decode()
    (line,) = [record.getMessage() for record in records if request_id in record.getMessage()]
    assert (type(failure).__name__ if status == 500 else SECRET) in line.replace("RuntimeError", type(failure).__name__)
    for secret in ("log'", who.apikey.reveal().decode(), basic(who), *[SECRET] * (status == 500)):
        assert secret not in line
    assert failing.call(call, body, who).status == 200


def test_an_error_does_not_need_the_store(failing, who):
    """What is wrong with a request is told though the head, which should stand beside it, cannot be looked up."""
    with overheard(), fails(failing, RuntimeError(SECRET)):
        answer = failing.call("diff", {"logName": "log", "limit": -1}, who)
        assert (answer.status, answer.json()["code"]) == (400, "INVALID_REQUEST")
        assert failing.call("describe", {}, who).status == 400
        assert failing.call("describe", {}).status == 401


@pytest.mark.parametrize("answers", [[], [None], [None, None], 5])
def test_a_store_that_breaks_its_word_hurts_nobody_else(answers):
    """Commits of many that are not answered one by one are a failure of the service, and the next one is well."""

    class Opening(Settings):
        def open_store(self):
            return FailingTogether(super().open_store())

    with overheard() as records, serving(kind=Opening) as service:
        who = service.credentials()
        service.store.create("acme/log")
        backend = service.app.service.store.backend
        backend.answers = answers
        for _ in range(3):
            assert service.call("update", update(), who).json()["code"] == "INTERNAL_ERROR"
        del backend.answers
        assert service.call("update", update(), who).json()["version"] == 1
    assert len([record for record in records if record.levelname == "ERROR"]) == 3


# What it tells


@pytest.fixture(scope="module")
def spoken_to(tmp_path_factory):
    """A service that was asked this and that, and all that it printed; the key that was used; what was sent."""
    folder = tmp_path_factory.mktemp("spoken")
    with serving_apart(f"sqlite:///{folder}/logs.db", output=folder, access_log=True) as service:
        who = service.credentials()
        log, key, value = "the-name-of-the-log", b"the key it is under", b"the value that is kept"
        texts = [log, wire.base64(key), wire.base64(value), key.decode(), value.decode(), "the-source", "the-group"]
        texts += [who.apikey.reveal().decode(), basic(who), basic(who).removeprefix("Basic ")]
        body = update(log, key, value, updateSource="the-source")
        for call, sent in [
            ("create", {"logName": log, "logGroup": "the-group"}),
            ("update", body),
            ("update", body.replace(b"Upsert", b"Insert").replace(wire.base64(value).encode(), b"")),
            ("diff", {"logName": log}),
            ("describe", {"logName": log}),
            ("history", {"logName": log, "key": wire.base64(key)}),
            ("describe", {"logName": "the-name-of-the-log-that-is-not-there"}),
            ("describe", b"the-name-of-the-log"),
            ("diff", {"logName": log, "limit": "the-name-of-the-log"}),
        ]:
            service.call(call, sent, who)
        info = {"customer_id": "acme", "apikey": who.apikey.reveal().decode()}
        service.call("describe", {"logName": log, "authinfo": info})
        service.call("describe", {"logName": log, "authinfo": info | {"apikey": "the-wrong-key"}})
        service.call("describe", {"logName": log}, headers={"X-Request-Id": "mine.0-A"})
        with Connection(service) as connection:
            connection.send(b"POST /v1/log/describe?the-name-of-the-log HTTP/1.1\r\nthe-source\r\n\r\n")
            connection.is_cut()
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(2 * SECONDS) == 0
    return printed(folder), texts


def test_each_request_is_a_line(spoken_to):
    """The access log is JSON, a line a request: which call, by which customer and key, how it went, and how long."""
    (out, err), _ = spoken_to
    lines = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    fields = {"time", "request_id", "call", "status", "code", "customer", "key", "received", "sent", "seconds"}
    assert {frozenset(line) for line in lines} == {frozenset(fields)}
    assert {line["call"] for line in lines} <= {route.name for route in routes.ROUTES}
    asked = [(line["call"], line["status"], line["code"], line["customer"]) for line in lines if line["call"] != "list"]
    assert asked == [
        ("create", 200, "OK", "acme"),
        ("update", 200, "OK", "acme"),
        ("update", 412, "UNEXPECTED_VALUE", "acme"),
        ("diff", 200, "OK", "acme"),
        ("describe", 200, "OK", "acme"),
        ("history", 200, "OK", "acme"),
        ("describe", 404, "NONEXISTENT_LOG", "acme"),
        ("describe", 400, "INVALID_REQUEST", "acme"),
        ("diff", 400, "INVALID_REQUEST", "acme"),
        ("describe", 200, "OK", "acme"),
        ("describe", 401, "BAD_API_KEY", None),
        ("describe", 401, "BAD_API_KEY", None),
    ]
    assert lines[-1]["request_id"] == "mine.0-A"
    assert all(line["sent"] > 0 for line in lines)


def test_nothing_that_was_sent_is_in_the_log(spoken_to):
    """No name of a log, no key, value, source or group, and no secret is in anything that is printed."""
    (out, err), texts = spoken_to
    for text in [*texts, "the-wrong-key"]:
        assert text not in out + err, text


GOOD_IDS = ["a", "A.b-c_9", "x" * 64]
BAD_IDS = ["", "x" * 65, "a b", "é", "a\tb", '"', "<script>", "a,b", "{}", "..\\", "a;b"]


@pytest.mark.parametrize("path", ["describe", "diff", "nothing"])
def test_every_error_carries_an_id(failing, who, path):
    """A request is named by its client, if that is harmless, or by the service, and never twice the same."""
    seen = set()
    for given in [None, *GOOD_IDS, *BAD_IDS]:
        headers = {} if given is None else {"X-Request-Id": given}
        for credentials in (who, None):
            answer = failing.call(path, {"logName": "missing"}, credentials, headers=headers)
            assert answer.status in (401, 404)
            told = answer.headers["x-request-id"]
            assert answer.json()["details"]["requestId"] == told
            assert re.fullmatch("[A-Za-z0-9._-]{1,64}", told)
            assert (told == given) == (given in GOOD_IDS)
            assert told in GOOD_IDS or told not in seen
            seen.add(told)
    assert failing.call("describe", {"logName": "log"}, who).headers["x-request-id"]


def test_an_id_adds_no_header(failing, who):
    """A line break in an id ends the header, whatever stands after it, and nothing of that comes back."""
    with Connection(failing) as connection:
        connection.send(head_of("describe", b"{}", who, X_Request_Id="a\r\nSet-Cookie: b") + b"{}")
        answer = connection.answer()
        assert answer.headers["x-request-id"] == "a" and "set-cookie" not in answer.headers
    for broken in ("a\nSet-Cookie: b", "a\rSet-Cookie: b", "a\0b"):
        with Connection(failing) as connection:
            connection.send(head_of("describe", b"{}", who, X_Request_Id=broken) + b"{}")
            assert b"set-cookie" not in connection.socket.recv(65536).lower()


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def test_each_request_is_a_span(spans):
    """With OpenTelemetry, every call is a span with call, request id and outcome, and nothing of what was sent."""
    with serving() as service:
        who = service.credentials()
        service.store.create("acme/the-log")
        spans.clear()
        answers = [
            service.call("update", update("the-log", b"the-key", b"the-value"), who),
            service.call("describe", {"logName": "the-missing-log"}, who),
            service.call("describe", {"logName": "the-log"}),
        ]
        until(lambda: len(spans.get_finished_spans()) == 3)
    found = [(span.name, dict(span.attributes)) for span in spans.get_finished_spans()]
    assert found == [
        (f"indelible {call}", {"indelible.call": call, "indelible.request_id": request_id, "indelible.code": code})
        for call, code, request_id in zip(
            ["update", "describe", "describe"],
            ["OK", "NONEXISTENT_LOG", "BAD_API_KEY"],
            [answer.headers["x-request-id"] for answer in answers],
            strict=True,
        )
    ]
    text = "".join(span.to_json() for span in spans.get_finished_spans())
    for sent in ("the-", wire.base64(b"the-key"), wire.base64(b"the-value"), who.apikey.reveal().decode()):
        assert sent not in text


def test_opentelemetry_is_an_extra(monkeypatch):
    """Without it, the service serves."""
    monkeypatch.setattr(telemetry.importlib.util, "find_spec", lambda _name: None)
    with serving() as service:
        who = service.credentials()
        assert service.call("list", {}, who).json() == {"logs": [], "nextAfterName": None}
        assert service.app.service.telemetry._tracer is None


def test_metrics_count(failing, who):
    """Requests are counted by call and outcome, and their bytes and times; of commits, how many they took together."""

    def count(line):
        with contextlib.suppress(ValueError):
            return failing.metric(line)
        return 0

    sent = [wire.encode({"logName": log}) for log in ("log", "log", "missing")] + [update()]
    lines = {
        'indelible_requests_total{call="describe",code="OK"}': 2,
        'indelible_requests_total{call="describe",code="NONEXISTENT_LOG"}': 1,
        'indelible_request_seconds_count{call="describe"}': 3,
        "indelible_received_bytes_total": sum(map(len, sent)),
        "indelible_commit_transactions_count": 1,
        "indelible_commit_transactions_sum": 1,
    }
    before = {line: count(line) for line in lines}
    for body in sent:
        failing.call("update" if body == update() else "describe", body, who)
    assert {line: count(line) - before[line] for line in lines} == lines
