"""Whatever is sent to the service, it answers as it promised, or ends the connection; it never fails, and it lives on.

What it takes, it takes as its readers do: an update that was accepted did what the oracle says of the same bytes.
"""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from effort import minimum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Connection, head_of, nothing_goes_wrong, serving

from indelible import faults, routes, updates, wire
from indelible.commands import Transaction, Upsert
from indelible.errors import IndelibleError
from indelible.limits import Limits
from indelible.pages import DiffRequest
from indelible.testing import strategies
from indelible.testing.oracle import ModelBackend

EXAMPLES = minimum(1_000, 60)
EACH = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

STATUSES = {200} | {fault.status for fault in faults.FAULTS} - {500}
CODES = {fault.code: fault for fault in faults.FAULTS}


@pytest.fixture(scope="module")
def service():
    with nothing_goes_wrong(), serving() as service:
        service.store.create("acme/log", "g")
        for number in range(37):
            # A head that is hit by no accident: who names it may wait for a minute.
            service.store.update("acme/log", Transaction([Upsert(b"k", b"%d" % number)]))
        yield service


@pytest.fixture(scope="module")
def who(service):
    return service.credentials()


class Line:
    """A connection that is opened again when it was ended."""

    def __init__(self, service):
        self._service = service
        self._connection = None

    def ask(self, sent):
        """The answer to what is sent; None if there was none."""
        if self._connection is None:
            self._connection = Connection(self._service)
        try:
            self._connection.send(sent)
            answer = self._connection.answer()
        except (OSError, ValueError):
            answer = None
        if answer is None or "close" in answer.headers.get("connection", ""):
            self.close()
        return answer

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@pytest.fixture(scope="module")
def line(service):
    line = Line(service)
    yield line
    line.close()


def holds(answer, name):
    """What every answer of a call keeps to."""
    assert answer.status in STATUSES, answer
    assert answer.headers["content-type"] == "application/json"
    plain = answer.json()
    if answer.status == 200:
        (route,) = [route for route in routes.ROUTES if route.name == name]
        route.answer.read(plain, "")
        return
    assert set(plain) == {"code", "codeNumber", "message", "details"}
    fault = CODES[plain["code"]]
    assert (fault.status, fault.number) == (answer.status, plain["codeNumber"])
    assert plain["details"]["effect"] == "none"
    assert plain["details"]["requestId"] == answer.headers["x-request-id"]
    assert all(type(value) is str for value in plain["details"].values())
    assert plain["message"].isprintable()


GOOD = {
    "create": {"logName": "log", "logGroup": "g"},
    "update": {"logName": "log", "updateSource": "s", "transactionId": "0" * 32, "attempt": 2},
    "diff": {
        "logName": "log",
        "fromVersion": 0,
        "toVersion": 0,
        "waitSeconds": 0,
        "orderResultsBy": "key",
        "limit": 5,
        "paginationOptions": {"skipToKey": "aw==", "removeAlreadySeen": "true"},
    },
    "describe": {"logName": "log"},
    "list": {"logGroup": "g", "afterName": "a", "limit": 5},
    "versions": {"logName": "log", "fromVersion": 0, "toVersion": 0},
    "history": {"logName": "log", "key": "aw==", "fromVersion": 0},
    "trim": {"logName": "log", "before": 0},
}
COMMANDS = [{"type": kind, "key": "aw==", "value": "dg=="} for kind in ("Insert", "Update", "Upsert", "Remove")]
COMMANDS.append({"type": "ExpectVersion", "version": 0})

ODD = st.sampled_from(
    [None, True, False, 0, 1, -1, 2**63 - 1, 2**63, 10**30, 1.0, 0.5, -0.0, 1e308, "", "0", "1", "01", "-1", "1.0"]
    + ["true", "aw==", "aw", "aw=", "a w==", "AW==", "\0", "\ud800", "log", "key", "command", [], {}, [[]], {"": {}}]
    + [
        "Insert",
        "insert",
        "x" * 2_000,
        {"skipToVersion": 1},
        {"skipToKey": "aw=="},
        {"customer_id": "a", "apikey": "b"},
    ]
)
NAMES = st.sampled_from(
    sorted({name for good in GOOD.values() for name in good})
    + ["type", "key", "value", "version", "authinfo", "authInfo", "skipToVersion", "skipToCommand", "", "more"]
)
MEMBERS = st.dictionaries(NAMES, st.one_of(ODD, ODD, strategies.json_values(4)), max_size=3)


@st.composite
def objects(draw, good):
    """Such an object, with a few members gone, others put in their places, and more."""
    kept = {name: value for name, value in good.items() if draw(st.integers(0, 9)) > 0}
    return kept | (draw(MEMBERS) if draw(st.booleans()) else {})


@st.composite
def broken(draw, data):
    """Such bytes, here and there cut, doubled, or changed."""
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 3]))):
        at, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        put = draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"{", b"}", b"[" * 20, b"\xff", b"NaN", data[at:end]]))
        )
        data = data[:at] + put + (data[end:] if draw(st.booleans()) else data[at:])
    return data


@st.composite
def messages(draw, name):
    """What a client that is mistaken, or wicked, might send to a call."""
    parts = [draw(objects(GOOD[name]))]
    if name == "update":
        parts += [draw(objects(draw(st.sampled_from(COMMANDS)))) for _ in range(draw(st.integers(0, 4)))]
    between = draw(st.sampled_from(["", "", "\n", " \t\r\n", ",", "\f"]))
    text = between.join(json.dumps(part, ensure_ascii=draw(st.booleans())) for part in parts)
    return draw(broken(text.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("name", list(GOOD))
def test_every_message_has_an_answer(service, who, line, name):
    """Whatever the body of a call is, the answer is one that was promised."""

    @EACH
    @given(body=messages(name))
    def check(body):
        answer = line.ask(head_of(name, body, who) + body)
        assert answer is not None
        holds(answer, name)

    check()


def test_what_is_accepted_did_what_it_says(service, line):
    """S2-S6: an update stream does what the oracle says that the same bytes do, whatever was done to them before."""
    # Whose logs nobody else makes.
    who = service.credentials("judge")
    service.store.create("judge/log")
    oracle = ModelBackend(Limits())
    oracle.create("log")

    @EACH
    @given(body=messages("update"))
    def check(body):
        answer = line.ask(head_of("update", body, who) + body)
        holds(answer, "update")
        try:
            given, asked = updates.read_update(wire.documents(body), Limits())
            if given is not None:
                assert answer.status == 401
                return
            told = oracle.update(asked.log, asked.transaction, asked.attempt)
        except IndelibleError as error:
            assert answer.json()["code"] == error.code
        else:
            assert routes.UPDATE.answer.read(answer.json(), "") == told
        head = service.store.describe("judge/log").head
        assert head == oracle.describe("log").head
        request = DiffRequest(max(0, head - 3), head)
        assert service.store.diff("judge/log", request) == oracle.diff("log", request)

    check()


LINES = st.sampled_from(
    [
        b"POST /v1/log/describe HTTP/1.1",
        b"GET /healthz HTTP/1.1",
        b"Host: a",
        b"Content-Length: 17",
        b"Content-Length: 0",
    ]
    + [
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Connection: close",
        b"Connection: Upgrade",
        b"Upgrade: x",
    ]
    + [b"Authorization: Basic YTpi", b"Authorization: Basic", b"X-Request-Id: 1", b"X: \xff", b"Content-Encoding: gzip"]
    + [b"", b"", b"5", b"11", b"0", b'{"logName":"log"}', b"Trailer: x", b": ", b"POST * HTTP/1.0", b"\0"]
)


@st.composite
def heads(draw):
    """Requests of a sort, whole lines of them mixed up, and bytes of those."""
    start = draw(
        st.sampled_from([b"POST /v1/log/describe HTTP/1.1", b"GET /metrics HTTP/1.1", b"HEAD / HTTP/1.1", b""])
    )
    lines = [start, *draw(st.lists(LINES, max_size=8))]
    return draw(broken(draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"])).join(lines) + b"\r\n\r\n"))


def test_every_connection_comes_to_an_end(service):
    """Whatever is sent in place of a request, what comes back is HTTP, no failure, and the service lives."""

    @EACH
    @given(sent=heads())
    def check(sent):
        with Connection(service) as connection:
            with contextlib.suppress(ConnectionError):
                connection.send(sent)
                connection.socket.shutdown(1)
            found = b""
            with contextlib.suppress(ConnectionError):
                while part := connection.socket.recv(65536):
                    found += part
        statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", found)]
        assert statuses or not found
        assert not [status for status in statuses if status >= 500]

    check()
    assert service.call("describe", {"logName": "log"}).status == 401
