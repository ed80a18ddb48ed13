"""The client of the service: where it connects, how long it waits, what it sends again, and what it tells its caller."""

import base64
import contextlib
import gc
import itertools
import json
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

import attrs
import pytest
import trustme
from http_scripted import CREDENTIALS, Answer, Gone, Honest, Scripted, fault, hang, hang_up, in_turn, reset

import indelible
from indelible import (
    BadApiKey,
    Closed,
    Credentials,
    InvalidRequest,
    MasterKey,
    NonexistentLog,
    NotAllowed,
    NotExecuted,
    OutcomeUnknown,
    Overloaded,
    Profile,
    ProtocolViolation,
    TooLarge,
    TransactionConflict,
    UnexpectedValue,
    compat,
    errors,
    seams,
)
from indelible.backends import EncryptedBackend, HTTPBackend, MemoryBackend
from indelible.backends.http import Pins
from indelible.backends.http import backend as backend_module
from indelible.backends.http import calls, retrying
from indelible.backends.http.location import Location, tls_context
from indelible.commands import ExpectVersion, Insert, Transaction, Upsert
from indelible.errors import IndelibleError
from indelible.pages import AtKey, DiffRequest, Page
from indelible.records import Committed
from indelible.testing import BackendContract
from indelible.testing.laws.keeping import KeepingLaws
from indelible.testing.laws.reading import ReadingLaws

KEY = MasterKey.generate()
LOG = "log"
SOON = 5.0
"""Well within a time-out that is not to be met, and more than a busy machine needs."""

CANARY = "secret-of-mine"


@pytest.fixture
def server():
    with Scripted() as it:
        it.honest.store.create(LOG)
        yield it


@pytest.fixture
def quick(monkeypatch):
    """Pauses between tries too short to wait for."""
    monkeypatch.setattr(retrying, "_FIRST", 0.001)
    monkeypatch.setattr(retrying, "_LONGEST", 0.01)


@pytest.fixture
def logs(server):
    it = server.backend()
    yield it
    it.close()


class Background:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, ask):
        self._ask = ask
        self.answer = self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.answer = self._ask()
        except BaseException as error:
            self.error = error

    def result(self, patience=30):
        self.thread.join(patience)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.answer


def put(key=b"k", value=b"v"):
    return Transaction([Insert(key, value)])


def heads(server):
    """What stands first in each update that came: its attempts."""
    return [json.loads(body[: body.index(b"}") + 1]) for body in server.bodies("update")]


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# The contract


class TestOverHTTP(BackendContract):
    """Every clause, over a service that is honest; its pages may be larger than asked for in bytes, and are cut here."""

    @pytest.fixture(autouse=True)
    def _server(self):
        with Scripted() as self.server:
            yield

    def make_backend(self, tmp_path):
        return self.server.backend()


class TestOverSmallPages(ReadingLaws, KeepingLaws):
    """Reading and housekeeping where the service gives three of anything at a time."""

    @pytest.fixture(autouse=True)
    def _server(self):
        with Scripted(Honest(page=3)) as self.server:
            yield

    def make_backend(self, tmp_path):
        return self.server.backend()


# Where to connect


@pytest.mark.parametrize(
    ("url", "host", "port", "shown"),
    [
        ("https://example.org", "example.org", 443, "https://example.org"),
        ("HTTPS://Example.ORG:8443/", "example.org", 8443, "https://example.org:8443"),
        ("https://192.0.2.1:443", "192.0.2.1", 443, "https://192.0.2.1"),
        ("https://[2001:db8::1]:8443", "2001:db8::1", 8443, "https://[2001:db8::1]:8443"),
        ("http://localhost", "localhost", 80, "http://localhost"),
        ("http://127.0.0.1:8080", "127.0.0.1", 8080, "http://127.0.0.1:8080"),
        ("http://127.8.9.10:8080", "127.8.9.10", 8080, "http://127.8.9.10:8080"),
        ("http://[::1]:8080/", "::1", 8080, "http://[::1]:8080"),
    ],
)
def test_a_url_names_host_and_port(url, host, port, shown):
    """``https://host[:port]``, or ``http://`` on this machine; it prints as it was meant."""
    location = Location.parse(url)
    assert (location.host, location.port, str(location)) == (host, port, shown)


@pytest.mark.parametrize(
    "url",
    [
        *("", "https:", "https://", "https://:8443", "example.org", "ftp://example.org", "https//example.org"),
        *("https://me:hunter2@example.org", "https://hunter2@example.org", "https://example.org/v1"),
        *("https://example.org//", "https://example.org?hunter2", "https://example.org#hunter2"),
        *("https://example.org:0", "https://example.org:65536", "https://example.org:x", "https://example.org:"),
        *("https://exa mple.org", "https://example.org\n", " https://example.org", "https://exämple.org"),
        *("https://[::1", "https://[hunter2]", "https://[1:2]", "https://[127.0.0.1]x"),
    ],
)
def test_what_is_no_url_of_a_service_is_refused(url):
    """Users, paths, queries, fragments and what is no URL at all are refused, and never shown."""
    with pytest.raises(InvalidRequest) as caught:
        HTTPBackend(url, CREDENTIALS, allow_plain_http=True)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "http://192.0.2.1", "http://[2001:db8::1]", "http://127.1", "http://[::ffff:127.0.0.1]"],
)
def test_plain_http_stays_on_this_machine(url):
    """An API key goes over no network in the clear, unless that is said."""
    with pytest.raises(InvalidRequest, match="allow_plain_http"):
        HTTPBackend(url, CREDENTIALS)
    HTTPBackend(url, CREDENTIALS, allow_plain_http=True).close()
    HTTPBackend(url.replace("http:", "https:"), CREDENTIALS).close()


@pytest.mark.parametrize(
    "options",
    [
        *({"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"timeout": "5"}, {"timeout": None}),
        *({"largest_answer": 0}, {"largest_answer": -1}, {"largest_answer": 1.5}, {"ca_file": "/absent.pem"}),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options):
    """A time-out, a size or a file that is none is ``InvalidRequest``."""
    with pytest.raises(InvalidRequest):
        HTTPBackend("https://localhost", CREDENTIALS, **options)
    HTTPBackend("https://localhost", CREDENTIALS, timeout=1e12, largest_answer=1).close()


@pytest.mark.parametrize("wrong", [None, "me:key", ("me", "key")])
def test_credentials_are_asked_for(wrong):
    """A service asks who you are; nothing else will do."""
    with pytest.raises(InvalidRequest, match="Credentials"):
        HTTPBackend("https://localhost", wrong)


# What is sent


def test_what_a_request_carries(server, logs, monkeypatch):
    """Basic credentials, JSON, a length, no coding, an id of its own; proxies of the environment are left alone."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    logs.describe(LOG)
    logs.update(LOG, put())
    for request in server.seen:
        head = request.headers
        assert base64.b64decode(head["authorization"].removeprefix("Basic ")).decode() == f"me:{CANARY}"
        assert (head["content-type"], head["accept-encoding"]) == ("application/json", "identity")
        assert head["host"] == f"localhost:{server.port}"
        assert int(head["content-length"]) == len(request.body)
        assert "transfer-encoding" not in head
        assert CANARY not in request.body.decode()
    one, other = (it.headers["x-request-id"] for it in server.seen)
    assert re.fullmatch("[0-9a-f]{16}", one)
    assert one != other


def test_tries_of_one_call_share_its_id(server, logs, quick):
    """A service's log shows which requests were one call."""
    server.script = in_turn(reset, reset)
    logs.describe(LOG)
    assert len({it.headers["x-request-id"] for it in server.seen}) == 1
    assert len(server.seen) == 3


def test_a_connection_is_kept_for_the_next_call(server, logs):
    """One caller at a time needs one connection; a waiting diff has its own, which is kept too."""
    for turn in range(5):
        logs.update(LOG, put(b"%d" % turn))
        logs.diff(LOG, DiffRequest())
    assert server.connections == 1
    for _ in range(3):
        logs.diff(LOG, DiffRequest(5, wait_seconds=0.01))
    assert server.connections == 2


def test_a_connection_that_was_kept_too_long_is_not_used(server, logs, monkeypatch):
    """What something on the way may have forgotten is opened anew."""
    now = [1000.0]
    monkeypatch.setattr(seams, "monotonic", lambda: now[0])
    logs.describe(LOG)
    now[0] += 29
    logs.describe(LOG)
    assert server.connections == 1
    now[0] += 31
    logs.describe(LOG)
    assert server.connections == 2


def test_connections_that_nobody_comes_for_are_closed(server, logs, monkeypatch):
    """After a burst, what lies idle for long is let go of as soon as another connection is given back."""
    now = [1000.0]
    monkeypatch.setattr(seams, "monotonic", lambda: now[0])
    together = threading.Barrier(3)
    server.script = lambda *_: (together.wait(20), None)[1]
    for it in [Background(lambda: logs.describe(LOG)) for _ in range(3)]:
        it.result()
    server.script = None
    pool = logs._service._transport._pools[False]
    for step, left in ((0, 3), (29, 3), (29, 1)):
        now[0] += step
        logs.describe(LOG)
        assert len(pool._idle) == left
    assert server.connections == 3


def test_a_connection_the_service_has_closed_is_not_used(server, logs):
    """A kept connection that was ended meanwhile costs nobody anything: the first attempt goes over a new one."""
    logs.update(LOG, put(b"a"))
    server.drop()
    time.sleep(0.05)
    logs.update(LOG, put(b"b"))
    assert [it["attempt"] for it in heads(server)] == [1, 1]
    assert server.connections == 2


def test_a_connection_that_ends_as_it_is_used_is_replaced_at_once(server, logs, monkeypatch):
    """A kept connection that breaks under a request says nothing about the service: another is tried, without a pause."""
    monkeypatch.setattr(retrying, "_FIRST", 1000.0)
    monkeypatch.setattr(retrying, "_LONGEST", 1000.0)
    logs.describe(LOG)
    server.script = in_turn(hang_up)
    assert logs.update(LOG, put()) == Committed(1, changed=True, replayed=False)
    assert [it["attempt"] for it in heads(server)] == [1, 2]
    server.script = in_turn(hang_up)
    assert logs.describe(LOG).head == 1


def test_limits_of_a_page(server, logs):
    """A page is asked for with at most 10,000 changes; 0 asks for none; bytes are kept on this side."""
    for limit in (0, 1, 10_000, 10_001, 2**63 - 1):
        logs.diff(LOG, DiffRequest(limit=limit, max_bytes=5))
    asked = [it.plain for it in server.seen]
    assert [it["limit"] for it in asked] == [0, 1, 10_000, 10_000, 10_000]
    assert {name for it in asked for name in it} <= {"logName", "fromVersion", "waitSeconds", "orderResultsBy", "limit"}


def test_a_page_is_put_together_while_there_is_time(server):
    """S12: where a service gives less at once than was asked for, a page is asked for in parts; in time, not for ever."""
    for key in b"abcdefghij":
        server.honest.store.update(LOG, put(bytes([key])))
    server.honest.page = 1
    with Closing(server.backend(timeout=2.0)) as logs:
        whole = logs.diff(LOG, DiffRequest())
        assert (len(whole.changes), whole.next) == (10, None)
        part = logs.diff(LOG, DiffRequest(limit=4))
        assert part.changes == whole.changes[:4]
        assert logs.diff(LOG, DiffRequest(0, 10, cursor=part.next)).changes == whole.changes[4:]
        server.script = lambda _request, _connection: time.sleep(0.4)
        began = time.monotonic()
        part = logs.diff(LOG, DiffRequest())
        assert 1 <= len(part.changes) < 10
        assert part.next is not None
        assert time.monotonic() - began < SOON


@pytest.mark.parametrize("wrong", ["text", bytearray(b"b"), None])
def test_nothing_is_sent_that_is_no_request(server, logs, wrong):
    """What is wrong on this side is told on this side."""
    for ask in (
        lambda: logs.update(LOG, Transaction([Insert(wrong, b"v")])),
        lambda: logs.update(LOG, Transaction([Insert(b"k", wrong)])),
        lambda: logs.history(LOG, wrong),
        lambda: logs.update(LOG, put(), 0),
        lambda: logs.describe(""),
        lambda: logs.accept_rollback(""),
        lambda: logs.create(LOG, b"group"),
        lambda: logs.logs(5),
        lambda: logs.versions(LOG, -1),
        lambda: logs.trim(LOG, True),
        lambda: logs.diff(LOG, DiffRequest(0, "1")),
    ):
        with pytest.raises(InvalidRequest):
            ask()
    assert server.seen == []


# How long it takes


def dripping_head(_request, connection):
    connection.drip(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + b"X: y\r\n" * 1000, 0.05)
    raise Gone


def dripping_body(_request, connection):
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    connection.drip(b" " * 1000, 0.05)
    raise Gone


def dripping_chunks(_request, connection):
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.drip(b"1\r\n \r\n" * 1000, 0.05)
    raise Gone


def dripping_trailer(_request, connection):
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    connection.drip(b"X: y\r\n" * 1000, 0.05)
    raise Gone


def dripping_interim(_request, connection):
    connection.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0.02)
    raise Gone


SLOW = [dripping_head, dripping_body, dripping_chunks, dripping_trailer, dripping_interim, hang]


@pytest.mark.parametrize("script", SLOW, ids=lambda it: it.__name__)
def test_no_call_takes_longer_than_its_time(server, script):
    """However slowly a service answers, a read ends as ``NotExecuted`` in time, an update as ``OutcomeUnknown``."""
    server.script = script
    with Closing(server.backend(timeout=0.5)) as logs:
        for ask, error in [
            (lambda: logs.describe(LOG), NotExecuted),
            (lambda: logs.update(LOG, put()), OutcomeUnknown),
            (lambda: logs.diff(LOG, DiffRequest(wait_seconds=0.3)), NotExecuted),
        ]:
            began = time.monotonic()
            with pytest.raises(error, match="in time"):
                ask()
            assert 0.4 < time.monotonic() - began < SOON


def test_a_slow_answer_in_time_is_an_answer(server):
    """The control: an answer that drips in while there is time is taken."""

    def slow(request, connection):
        connection.drip(server.honest.answer(request).encoded(), 0.0005)
        raise Gone

    server.script = slow
    with Closing(server.backend()) as logs:
        assert logs.describe(LOG).head == 0


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_service_that_does_not_read_holds_nobody(ca, ca_file, secure):
    """A body that nobody takes is given up in time, over TLS as well, where it goes in many pieces."""
    release = threading.Event()
    tls = server_context(ca.issue_cert("localhost")) if secure else None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take_and_wait, args=(listener, tls, release), daemon=True)
        thread.start()
        url = f"{'https' if tls else 'http'}://localhost:{listener.getsockname()[1]}"
        with Closing(HTTPBackend(url, CREDENTIALS, timeout=1.0, ca_file=ca_file)) as logs:
            began = time.monotonic()
            with pytest.raises(OutcomeUnknown, match="in time"):
                logs.update(LOG, Transaction([Upsert(b"%d" % i, bytes(10**6)) for i in range(30)]))
            assert time.monotonic() - began < SOON
        release.set()
        thread.join(10)


def server_context(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def take_and_wait(listener, tls, release):
    """Accept one connection, and then do nothing with it."""
    sock, _ = listener.accept()
    if tls:
        sock = tls.wrap_socket(sock, server_side=True)
    release.wait(20)
    sock.close()


class Closing:
    def __init__(self, it):
        self.it = it

    def __enter__(self):
        return self.it

    def __exit__(self, *_):
        self.it.close()


def test_a_handshake_that_drips_holds_nobody():
    """A peer that speaks TLS a byte at a time is given up in time: ``NotExecuted``, for nothing was sent."""
    release = threading.Event()

    def drip(listener):
        sock, _ = listener.accept()
        with sock, contextlib.suppress(OSError):
            # The beginning of a record that takes minutes to be whole.
            for byte in b"\x16\x03\x03\x40\x00" + bytes(16_384):
                if release.wait(0.02):
                    return
                sock.sendall(bytes([byte]))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        with Closing(HTTPBackend(f"https://localhost:{listener.getsockname()[1]}", CREDENTIALS, timeout=0.5)) as logs:
            began = time.monotonic()
            with pytest.raises(NotExecuted, match="does not answer in time"):
                logs.update(LOG, put())
            assert 0.4 < time.monotonic() - began < SOON
        release.set()
    thread.join(10)


def test_calls_take_turns(server, monkeypatch):
    """So many calls are under way at once; another waits for its turn, and is ``NotExecuted`` if it does not come."""
    monkeypatch.setattr(calls, "AT_ONCE", 3)
    release = threading.Event()

    def slow(request, _connection):
        if request.name == "describe":
            release.wait(20)

    server.script = slow
    with Closing(server.backend(timeout=20)) as logs:
        first = [Background(lambda: logs.describe(LOG)) for _ in range(3)]
        until(lambda: len(server.seen) == 3)
        later = Background(lambda: logs.describe(LOG))
        logs._service._timeout = 0.2
        with pytest.raises(NotExecuted, match="under way"):
            logs.logs()
        assert len(server.seen) == 3
        release.set()
        assert {it.result().head for it in [*first, later]} == {0}


def test_polls_keep_nobody_waiting(server):
    """A crowd that waits takes no turn and no connection from a commit, and is woken by it."""
    with Closing(server.backend()) as logs:
        crowd = [Background(lambda: logs.diff(LOG, DiffRequest(wait_seconds=30))) for _ in range(calls.AT_ONCE + 8)]
        until(lambda: len(server.seen) == len(crowd))
        began = time.monotonic()
        assert logs.update(LOG, put()).version == 1
        assert time.monotonic() - began < SOON
        assert {it.result().to_version for it in crowd} == {1}


# What failed, and what its caller is told


def html(status):
    return lambda _request, _connection: Answer(status, b"<html>", headers={"Content-Type": "text/html"})


def cut(request, connection):
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    raise Gone


def cut_chunks(request, connection):
    connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    )
    raise Gone


def says(data, **headers):
    return lambda _request, _connection: Answer(200, data, headers=headers)


def busy(_request, _connection):
    return fault(Overloaded("later"))


def conflict(_request, _connection):
    return fault(TransactionConflict("others"))


IN_DOUBT = {
    # what happens: what a read is told in the end, and whether it was sent again
    "reset": (reset, NotExecuted, True),
    "closed": (hang_up, NotExecuted, True),
    "cut off": (cut, NotExecuted, True),
    "cut off in chunks": (cut_chunks, NotExecuted, True),
    "500": (html(500), NotExecuted, True),
    "502": (html(502), NotExecuted, True),
    "504": (html(504), NotExecuted, True),
    "429": (html(429), NotExecuted, True),
    "our 500": (lambda *_: fault(ValueError("a bug")), NotExecuted, True),
    "503 of a stranger": (html(503), NotExecuted, True),
    "503 that does not say what was done": (
        lambda *_: Answer(503, b'{"code":"OVERLOADED","codeNumber":1024,"message":"","details":{}}'),
        NotExecuted,
        True,
    ),
    "404 of a stranger": (html(404), ProtocolViolation, False),
    "no JSON": (says(b"{"), ProtocolViolation, False),
    "no answer of ours": (says(b'{"hello":1}'), ProtocolViolation, False),
    "not HTTP": (lambda *_: b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ProtocolViolation, False),
}


@pytest.mark.parametrize(("script", "read_error", "again"), IN_DOUBT.values(), ids=IN_DOUBT)
def test_what_may_have_been_done_is_told_as_unknown(server, logs, quick, script, read_error, again):
    """S17: after the first byte left, no usable answer means ``OutcomeUnknown``, which names the last attempt sent."""
    sent = put()
    server.script = script
    with pytest.raises(OutcomeUnknown) as caught:
        logs.update(LOG, sent)
    assert (caught.value.log, caught.value.transaction, caught.value.attempt) == (LOG, sent, retrying.TRIES)
    assert [it["attempt"] for it in heads(server)] == list(range(1, retrying.TRIES + 1))
    server.seen.clear()
    with pytest.raises(read_error) as caught:
        logs.describe(LOG)
    assert type(caught.value) is read_error
    assert len(server.seen) == (retrying.TRIES if again else 1)
    server.script = None
    assert logs.update(LOG, sent, 9) == Committed(1, changed=True, replayed=False)


CERTAIN = {
    "overloaded": (busy, Overloaded),
    "a conflict": (conflict, TransactionConflict),
}


@pytest.mark.parametrize(("script", "error"), CERTAIN.values(), ids=CERTAIN)
def test_what_was_certainly_not_done_is_sent_again_as_the_same_attempt(server, logs, quick, script, error):
    """S17: an answer that says that nothing was done is believed: tried again, and told as it is in the end."""
    server.script = in_turn(script, script)
    assert logs.update(LOG, put()) == Committed(1, changed=True, replayed=False)
    assert [it["attempt"] for it in heads(server)] == [1, 1, 1]
    server.script = script
    with pytest.raises(error) as caught:
        logs.update(LOG, put(), 4)
    assert type(caught.value) is error
    assert [it["attempt"] for it in heads(server)[3:]] == [4] * retrying.TRIES


def test_a_service_that_cannot_be_reached_did_nothing(server, logs, quick):
    """S17: refused connections and names that do not exist are ``NotExecuted``, and say what to check."""
    logs.describe(LOG)
    server.stop_listening()
    server.drop()
    for ask in (lambda: logs.update(LOG, put()), lambda: logs.describe(LOG), lambda: logs.create("new")):
        with pytest.raises(NotExecuted, match="nothing listens there; check the URL"):
            ask()


def test_a_name_that_is_not_found(quick, monkeypatch):
    """A host whose name is unknown is ``NotExecuted``."""

    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with (
        Closing(HTTPBackend("https://no-such-host.invalid", CREDENTIALS)) as logs,
        pytest.raises(NotExecuted, match="name is not found"),
    ):
        logs.update(LOG, put())


def test_a_name_that_cannot_be_one(quick):
    """A host whose name is too long for any resolver is ``NotExecuted``, and no other error."""
    with Closing(HTTPBackend(f"https://{'a' * 70}.invalid", CREDENTIALS)) as logs, pytest.raises(NotExecuted):
        logs.update(LOG, put())


def test_every_address_of_a_host_is_tried(server, monkeypatch):
    """Where a host has several addresses, one that answers will do."""
    found = socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = [(*found[0][:4], closed.getsockname())]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: dead + found)
    with Closing(server.backend()) as logs:
        assert logs.describe(LOG).head == 0


def test_an_address_that_this_system_does_not_speak_is_passed_over(server, monkeypatch):
    """A host's address of a family that there is no socket for is an address that does not answer; so are all of them."""
    found = socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
    unknown = [(250, *found[0][1:])]
    with pytest.raises(OSError, match="not supported"):
        socket.socket(250, socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: unknown + found)
    with Closing(server.backend()) as logs:
        assert logs.describe(LOG).head == 0
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: unknown)
    monkeypatch.setattr(retrying, "TRIES", 1)
    with Closing(server.backend(timeout=1.0)) as logs, pytest.raises(NotExecuted, match="not supported"):
        logs.describe(LOG)


def test_one_try_in_doubt_puts_the_whole_in_doubt(server, logs, quick):
    """S17: what later tries are told of themselves says nothing of an earlier one that may have arrived."""
    for last in (busy, conflict):
        server.seen.clear()
        sent = put(os.urandom(4))
        server.script = in_turn(reset, *[last] * 20)
        with pytest.raises(OutcomeUnknown) as caught:
            logs.update(LOG, sent)
        assert caught.value.attempt == 2
        assert [it["attempt"] for it in heads(server)] == [1, *[2] * (retrying.TRIES - 1)]
    server.script = in_turn(reset, lambda *_: server.stop_listening() or reset(*_))
    with pytest.raises(OutcomeUnknown) as caught:
        logs.update(LOG, put())
    assert caught.value.attempt == 2


ENDED = {
    "a key that was withdrawn": BadApiKey(),
    "a scope that was withdrawn": NotAllowed("no"),
    "a request that is called invalid": InvalidRequest("no"),
    "a request that is called too large": TooLarge("no", "body", 2, 1),
    "a log that is said not to exist": NonexistentLog(LOG),
}


@pytest.mark.parametrize("error", ENDED.values(), ids=ENDED)
def test_a_refusal_speaks_for_itself_alone(server, logs, quick, error):
    """S17: a refusal is told at once and never tried again; after a try in doubt, that doubt is what is told."""
    server.script = in_turn(lambda *_: fault(error))
    with pytest.raises(type(error)):
        logs.update(LOG, put())
    assert len(server.seen) == 1
    server.script = in_turn(reset, lambda *_: fault(error))
    with pytest.raises(OutcomeUnknown, match=error.code) as caught:
        logs.update(LOG, put())
    assert caught.value.attempt == 2
    assert len(server.seen) == 3


def test_a_commit_whose_answer_was_lost_is_found_again(server, logs, quick):
    """S16: sent again under its id, a transaction that did commit is answered as it was, and commits no second time."""

    def lose(request, connection):
        server.honest.answer(request)
        connection.reset()

    server.script = in_turn(lose, lose)
    assert logs.update(LOG, put()) == Committed(1, changed=True, replayed=True)
    assert [it["attempt"] for it in heads(server)] == [1, 2, 3]
    assert server.honest.store.describe(LOG).head == 1


def test_a_rejection_after_a_try_in_doubt_is_final(server, logs, quick):
    """S16: what a second attempt is told is kept, so it is told to the caller as it is."""
    logs.update(LOG, put())
    server.script = in_turn(reset)
    with pytest.raises(UnexpectedValue):
        logs.update(LOG, put(value=b"other"))


def test_every_try_sends_the_same_bytes(server, logs, quick):
    """S16: the id and the commands are the same in each attempt, and so is the source: only the count goes on."""
    server.script = in_turn(reset, hang_up, cut)
    sent = Transaction([ExpectVersion(0), *(Upsert(b"%d" % i, b"v") for i in range(20))], "émile")
    logs.update(LOG, sent, 3)
    assert [it.pop("attempt") for it in heads(server)] == [3, 4, 5, 6]
    bodies = [re.sub(rb'"attempt":\d', b"", body) for body in server.bodies("update")]
    assert len(set(bodies)) == 1
    assert sent.id.hex().encode() in bodies[0]


def test_a_transaction_is_sealed_once(server, quick):
    """What is sent again is what was sent: no second sealing, whose bytes would differ by their nonce."""
    from indelible.cipher import SecretBoxCipher

    sealed = EncryptedBackend(server.backend(), SecretBoxCipher(KEY))
    sealed.create("orders")
    server.script = in_turn(reset, reset)
    sealed.update("orders", put())
    assert len({re.sub(rb'"attempt":\d', b"", body) for body in server.bodies("update")}) == 1
    server.script = reset
    with pytest.raises(OutcomeUnknown) as caught:
        sealed.update("orders", sent := put(b"l"))
    assert (caught.value.log, caught.value.transaction) == ("orders", sent)
    sealed.close()


def test_what_may_be_repeated_is(server, logs, quick):
    """``create``, ``trim`` and reads are sent again whatever became of them; in the end they are ``NotExecuted``."""
    asks = {
        "create": lambda: logs.create("new", "g"),
        "trim": lambda: logs.trim(LOG, 0),
        "diff": lambda: logs.diff(LOG, DiffRequest()),
        "describe": lambda: logs.describe(LOG),
        "list": logs.logs,
        "versions": lambda: logs.versions(LOG),
        "history": lambda: logs.history(LOG, b"k"),
    }
    for name, ask in asks.items():
        server.seen.clear()
        server.script = in_turn(reset, cut, busy, html(502))
        ask()
        assert [it.name for it in server.seen] == [name] * 5
        server.script = reset
        with pytest.raises(NotExecuted, match="broke off"):
            ask()


def test_a_refusal_that_comes_before_the_body_was_read_is_heard(server, logs, quick):
    """A service may answer and hang up while a large request is still under way; its answer is what counts."""

    class Early(Scripted):
        def _read(self, file, number):
            request = None
            line = file.readline()
            if line:
                while file.readline().strip():
                    pass
                file.raw._sock.sendall(fault(TooLarge("too much", "body", 2, 1)).encoded())
                file.raw._sock.shutdown(socket.SHUT_WR)
                time.sleep(0.2)
            return request

    with Early() as early, Closing(early.backend()) as it, pytest.raises(TooLarge, match="too much"):
        it.update(LOG, Transaction([Upsert(b"k", bytes(20_000_000))]))


# Pauses


def test_pauses_grow_and_are_all_chance(monkeypatch):
    """Full jitter: a random share of a bound that doubles up to 5 s, after what the service asks for."""
    monkeypatch.setattr(seams, "entropy", lambda size: b"\xff" * size)
    longest = [retrying.pause(tries) for tries in range(1, 10)]
    assert longest == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5])
    assert retrying.pause(1, 7.0) == pytest.approx(7.1)
    assert retrying.pause(10**6) == pytest.approx(5)
    monkeypatch.setattr(seams, "entropy", bytes)
    assert [retrying.pause(tries) for tries in range(1, 10)] == [0.0] * 9
    monkeypatch.undo()
    assert len({retrying.pause(3) for _ in range(20)}) > 10


def test_a_service_is_asked_again_when_it_wants_to_be(server, logs, quick):
    """``Retry-After`` is waited for while there is time, and if it leads beyond, nobody waits at all."""
    later = lambda seconds: lambda *_: fault(Overloaded("later"), Retry_After=seconds)  # noqa: E731
    server.script = in_turn(later("1"))
    began = time.monotonic()
    logs.update(LOG, put())
    assert 1.0 <= time.monotonic() - began < SOON
    for seconds in ("3600", "999999999"):
        server.script = later(seconds)
        began = time.monotonic()
        with pytest.raises(Overloaded):
            logs.update(LOG, put(b"l"))
        assert time.monotonic() - began < SOON
    for seconds in ("soon", "-1", "1.5", "", "٣", "9" * 5000, "Wed, 21 Oct 2026 07:28:00 GMT"):
        server.script = in_turn(
            lambda *_, it=seconds: fault(Overloaded("later"), Retry_After=it.encode().decode("latin-1"))
        )
        logs.describe(LOG)


def test_there_is_no_trying_beyond_the_time(server):
    """Tries end with the time of the call, however many are left."""
    server.script = busy
    with Closing(server.backend(timeout=0.6)) as logs:
        began = time.monotonic()
        with pytest.raises(Overloaded):
            logs.update(LOG, put())
        assert time.monotonic() - began < SOON
        assert 1 < len(server.seen) < retrying.TRIES


# Waiting


def test_a_long_wait_is_made_of_several(server, logs, monkeypatch):
    """S13: a wait that is longer than a request may be is asked for piece by piece, and ends when it should."""
    monkeypatch.setattr(backend_module, "LONGEST_WAIT", 0.2)
    began = time.monotonic()
    assert logs.diff(LOG, DiffRequest(wait_seconds=0.7)) == Page(0, 0, (), None)
    assert 0.7 <= time.monotonic() - began < SOON
    waits = [it.plain["waitSeconds"] for it in server.seen]
    assert all(0 < wait <= 0.2 for wait in waits)
    # Where the machine is busy a piece takes longer than was asked for, and there may be no fourth.
    assert len(waits) >= 3
    assert sum(waits) < 0.8
    waiter = Background(lambda: logs.diff(LOG, DiffRequest(wait_seconds=30)))
    time.sleep(0.3)
    logs.update(LOG, put())
    assert waiter.result().to_version == 1


@pytest.mark.parametrize("seconds", [61, 1e9, 1e300])
def test_no_wait_is_too_long_to_ask_for(server, logs, seconds):
    """However long somebody wants to wait, each request asks for a minute, and a commit ends it."""
    waiter = Background(lambda: logs.diff(LOG, DiffRequest(wait_seconds=seconds)))
    until(lambda: server.seen)
    assert 59 < server.seen[0].plain["waitSeconds"] <= 60
    logs.update(LOG, put())
    assert waiter.result().to_version == 1


def test_a_broken_wait_goes_on(server, logs, quick):
    """S13: who waits is not disturbed by a connection that breaks; the rest of the time is waited, and no more."""
    breaks = threading.Event()

    def script(request, connection):
        if request.name == "diff" and request.number < 3:
            breaks.wait(0.1)
            connection.reset()

    server.script = script
    began = time.monotonic()
    assert logs.diff(LOG, DiffRequest(wait_seconds=0.8)).to_version == 0
    assert 0.75 < time.monotonic() - began < SOON
    waits = [it.plain["waitSeconds"] for it in server.seen]
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] < 0.6
    waiter = Background(lambda: logs.diff(LOG, DiffRequest(wait_seconds=30)))
    until(lambda: len(server.seen) > 4)
    server.drop()
    logs.update(LOG, put())
    assert waiter.result().to_version == 1


def test_a_wait_that_is_sent_away_is_no_storm(server, logs):
    """A service that answers at once that there is nothing new is asked again less and less often."""

    def nothing(request, _connection):
        if request.name == "diff":
            request = attrs.evolve(request, body=request.body.replace(b'"waitSeconds"', b'"waitSecondsNot"'))
            return server.honest.answer(request)
        return None

    server.script = nothing
    assert logs.diff(LOG, DiffRequest(wait_seconds=1.0)).to_version == 0
    assert 2 <= len(server.seen) < 60


def test_a_wait_ends_when_nobody_answers(server):
    """A wait for a service that has gone ends after its own time and that of a call, and not before its own."""
    with Closing(server.backend(timeout=0.3)) as logs:
        logs.describe(LOG)
        server.stop_listening()
        server.drop()
        began = time.monotonic()
        with pytest.raises(NotExecuted, match="nothing listens"):
            logs.diff(LOG, DiffRequest(wait_seconds=0.5))
        assert time.monotonic() - began < SOON


# The end


def test_close_wakes_everybody(server, monkeypatch):
    """``close``: who waits, who reads, who pauses and who has no turn yet is woken at once, with ``Closed``."""
    monkeypatch.setattr(calls, "AT_ONCE", 3)

    def script(request, connection):
        if request.name in ("describe", "update"):
            connection.hang()
        if request.name == "trim":
            return fault(Overloaded("later"), Retry_After="20")
        return None

    server.script = script
    logs = server.backend()
    waiter = Background(lambda: logs.diff(LOG, DiffRequest(wait_seconds=60)))
    reader = Background(lambda: logs.describe(LOG))
    writer = Background(lambda: logs.update(LOG, put()))
    pausing = Background(lambda: logs.trim(LOG, 1))
    until(lambda: len(server.seen) == 4)
    turnless = Background(lambda: logs.logs())
    time.sleep(0.1)
    began = time.monotonic()
    logs.close()
    logs.close()
    for it in (waiter, reader, pausing, turnless):
        with pytest.raises(Closed):
            it.result()
    with pytest.raises(OutcomeUnknown) as caught:
        writer.result()
    assert caught.value.attempt == 1, "what was sent may be done, whoever hung up"
    assert time.monotonic() - began < SOON


def own_code(frame):
    return "/backends/http/" in frame.f_code.co_filename.replace(os.sep, "/")


@contextlib.contextmanager
def at_line(number, act):
    """Do something at the so-manieth line of the client's own code, as a signal's handler may. Gives whether it was."""
    done = []
    left = number

    def local(_frame, event, _arg):
        nonlocal left
        left -= event == "line"
        if left == 0 and not done:
            done.append(True)
            act()
        return local

    before = sys.gettrace()
    sys.settrace(lambda frame, *_: local if own_code(frame) else None)
    try:
        yield done
    finally:
        sys.settrace(before)


def test_a_signal_may_close_at_any_moment(server, quick, tmp_path):
    """``close`` in a signal's handler hangs nobody, whatever it interrupts: a call, a pause, a turn, a pin's writing.

    The call ends with its answer or as closed, and from then on everything is closed.
    """
    closed = 0
    for line in itertools.count(1):
        server.script = in_turn(busy)
        logs = server.backend(pins=Pins(tmp_path / "some.pins"))
        sent = Transaction([Upsert(b"k", b"%d" % line)])
        with at_line(line, logs.close) as done:
            try:
                assert logs.update(LOG, sent).changed
            except Closed:
                closed += 1
            except OutcomeUnknown as error:
                assert error.transaction == sent
        if not done:
            logs.close()
            break
        with pytest.raises(Closed):
            logs.describe(LOG)
        assert logs._service._calls._running == {False: set(), True: set()}
    assert line > 200, "all of a call was gone through"
    assert closed > 50


def test_an_interruption_costs_no_turn(server, quick, monkeypatch):
    """Ctrl-C within a call, wherever it comes, gives the turn back: there are as many as before."""
    logs = server.backend()
    logs.describe(LOG)
    for poll in (False, True):
        for count in itertools.count(1):
            left = count

            def interrupt(frame, event, _arg):
                nonlocal left
                # What is going on, where turns are given and taken, when a signal is looked for.
                if event == "c_return" and isinstance(frame.f_locals.get("self"), calls.Calls):
                    left -= 1
                    if left == 0:
                        raise KeyboardInterrupt

            before = sys.getprofile()
            sys.setprofile(interrupt)
            try:
                with contextlib.suppress(KeyboardInterrupt):
                    logs.diff(LOG, DiffRequest(wait_seconds=0.001 if poll else 0))
            finally:
                sys.setprofile(before)
            assert logs._service._calls._running == {False: set(), True: set()}
            if left > 0:
                break
        assert count > 5, "a call was interrupted all over"
    monkeypatch.setattr(calls, "AT_ONCE", 1)
    assert logs.describe(LOG).head == 0
    logs.close()


def test_close_ends_a_handshake():
    """``close``: who is still connecting is woken with ``Closed``, an update too: nothing was sent."""
    release = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=take_and_wait, args=(listener, None, release), daemon=True)
        thread.start()
        logs = HTTPBackend(f"https://localhost:{listener.getsockname()[1]}", CREDENTIALS)
        writer = Background(lambda: logs.update(LOG, put()))
        time.sleep(0.2)
        began = time.monotonic()
        logs.close()
        with pytest.raises(Closed):
            writer.result()
        assert time.monotonic() - began < SOON
        release.set()
        thread.join(10)


def test_nothing_is_left_behind(server):
    """A backend that is closed, or just forgotten, leaves no socket, no thread and no memory of its own."""
    gc.collect()
    before, threads = (
        len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
        threading.active_count(),
    )
    for close in (True, False):
        logs = server.backend()
        polls = [Background(lambda logs=logs: logs.diff(LOG, DiffRequest(wait_seconds=0.05))) for _ in range(5)]
        logs.describe(LOG)
        for it in polls:
            it.result()
        del polls, it
        if close:
            logs.close()
        del logs
        gc.collect()
    server.drop()
    until(lambda: threading.active_count() == threads)
    if before:
        until(lambda: len(os.listdir("/proc/self/fd")) == before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_is_closed_out(server):
    """After a fork the child's use of a backend is ``Closed``, and its end leaves the parent's connections alone."""
    code = (
        "import os, sys, threading, indelible\n"
        "from indelible import Credentials, Closed\n"
        "from indelible.backends import HTTPBackend\n"
        "from indelible.pages import DiffRequest\n"
        "logs = HTTPBackend(sys.argv[1], Credentials('me', 'key'))\n"
        "logs.describe('log')\n"
        "held = threading.Thread(target=lambda: logs.diff('log', DiffRequest(wait_seconds=3)))\n"
        "held.start()\n"
        "logs._service._calls._end.lock.acquire()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    for ask in (lambda: logs.describe('log'), logs.logs, lambda: logs.accept_rollback('log'),\n"
        "                lambda: logs.diff('log', DiffRequest(wait_seconds=1)), lambda: logs.versions('log')):\n"
        "        try:\n"
        "            ask()\n"
        "        except Closed:\n"
        "            continue\n"
        "        os._exit(1)\n"
        "    logs.close()\n"
        "    del logs\n"
        "    sys.exit(0)\n"
        "logs._service._calls._end.lock.release()\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert logs.describe('log').head == 0\n"
        "held.join()\n"
        "logs.close()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, server.url], check=True, timeout=60)
    assert server.connections == 2


# What is never shown


def test_no_secret_is_shown(server, caplog, capsys, quick):
    """No message, no representation and no log line holds the API key, a key or a value, whatever happens."""
    caplog.set_level(logging.DEBUG)
    value = b"a-value-that-nobody-may-see"
    hidden = [
        CANARY,
        base64.b64encode(f"me:{CANARY}".encode()).decode(),
        value.decode(),
        base64.b64encode(value).decode(),
    ]
    shown = []
    with Closing(server.backend()) as logs:
        for script in (
            None,
            *(it[0] for it in IN_DOUBT.values()),
            busy,
            conflict,
            *(lambda *_, e=e: fault(e) for e in ENDED.values()),
        ):
            server.script = script
            for ask in (
                lambda: logs.update(LOG, put(value, value)),
                lambda: logs.describe(LOG),
                lambda: logs.diff(LOG, DiffRequest(order="key", cursor=AtKey(value))),
            ):
                try:
                    ask()
                except IndelibleError as error:
                    shown += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
        shown += [
            repr(logs),
            str(vars(logs)),
            repr(vars(logs._service)),
            repr(vars(logs._service._transport)),
            repr(CREDENTIALS),
        ]
    shown += [caplog.text, *capsys.readouterr()]
    for text in shown:
        assert not [it for it in hidden if it in text], text
    assert repr(logs) == f"HTTPBackend('http://localhost:{server.port}', customer_id='me')"


def test_importing_does_not_load_what_is_not_needed():
    """``import indelible``, and a client of a store in a file, load no HTTP library."""
    code = (
        "import sys, indelible, indelible.backends, indelible.compat\n"
        "indelible.connect('memory:', master_key=None).close()\n"
        "assert 'urllib3' not in sys.modules and 'ssl' not in sys.modules\n"
        "indelible.backends.HTTPBackend\n"
        "assert 'urllib3' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# TLS


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def ca_file(ca, tmp_path):
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def test_a_service_is_spoken_to_over_tls(ca, ca_file):
    """A certificate of an authority in ``ca_file`` is accepted, for names and for addresses."""
    with Scripted(tls=server_context(ca.issue_cert("localhost", "127.0.0.1"))) as server:
        server.honest.store.create(LOG)
        for host in ("localhost", "127.0.0.1"):
            with Closing(HTTPBackend(f"https://{host}:{server.port}", CREDENTIALS, ca_file=ca_file)) as logs:
                assert logs.update(LOG, put(host.encode())).changed
                assert logs.diff(LOG, DiffRequest()).to_version > 0
        assert server.connections == 2


def test_tls_is_no_older_than_1_2(ca_file):
    """Names and certificates are checked, and nothing before TLS 1.2 is spoken."""
    for given in (None, ca_file):
        context = tls_context(given)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname


def test_a_file_of_authorities_that_is_none_is_refused(tmp_path):
    """A file that is missing, holds no certificates, or can be none, is ``InvalidRequest``."""
    (tmp_path / "none.pem").write_text("hello")
    for place in (tmp_path / "none.pem", tmp_path / "absent.pem", tmp_path, "", "a\0b"):
        with pytest.raises(InvalidRequest, match="ca_file"):
            HTTPBackend("https://localhost", CREDENTIALS, ca_file=place)


# The ways in


def use(client):
    with client:
        log = client.log("orders")
        log.create()
        log.update([Upsert("a", [1])])
        assert log.get("a") == [1]
        assert [info.name for info in client.logs()] == ["orders"]


def test_a_url_and_credentials_open_a_service(server):
    """``connect``: a URL with credentials and a key is a sealed backend over HTTP; with None, nothing is sealed."""
    client = indelible.connect(server.url, master_key=KEY, credentials=CREDENTIALS)
    assert isinstance(client.backend, EncryptedBackend)
    use(client)
    with indelible.connect(server.url, master_key=None, credentials=CREDENTIALS) as client:
        assert isinstance(client.backend, HTTPBackend)
        assert sorted(info.name for info in client.logs()) == sorted(it.name for it in server.honest.store.logs())


def test_a_profile_opens_a_service(server, tmp_path, ca, ca_file):
    """A profile's URL, customer and key are enough; ``ca_file`` is taken from its folder, wherever one stands."""
    fields = {"master_key": KEY, "customer_id": "me", "apikey": CANARY}
    use(indelible.connect(Profile(endpoint_url=server.url, **fields)))
    with Scripted(tls=server_context(ca.issue_cert("localhost"))) as other:
        Profile(endpoint_url=other.url, ca_file="ca.pem", **fields).save(tmp_path / "p.json")
        assert json.loads((tmp_path / "p.json").read_text())["ca_file"] == "ca.pem"
        assert Profile.load(tmp_path / "p.json").ca_file == ca_file
        use(indelible.connect(tmp_path / "p.json"))
    with pytest.raises(InvalidRequest, match="allow_plain_http"):
        indelible.connect(Profile(endpoint_url="http://192.0.2.1", **fields))
    plain = Profile(endpoint_url="http://192.0.2.1", allow_plain_http=True, **fields)
    plain.save(tmp_path / "plain.json")
    assert Profile.load(tmp_path / "plain.json").allow_plain_http
    indelible.connect(tmp_path / "plain.json").close()


@pytest.mark.parametrize(
    "fields",
    [
        *({"ca_file": 5}, {"ca_file": ""}, {"ca_file": "a\0b"}, {"pins": 5}, {"pins": ""}, {"pins": "a\0b"}),
        *({"allow_plain_http": 1}, {"allow_plain_http": "yes"}, {"path": "x"}),
    ],
    ids=str,
)
def test_wrong_fields_of_a_profile_are_refused(fields):
    """What is no path and no truth value is refused, and so is what only a loaded profile knows."""
    whole = {"endpoint_url": "https://localhost", "master_key_base64": KEY.to_base64()}
    assert Profile.from_json(json.dumps(whole)).ca_file is None
    with pytest.raises(InvalidRequest):
        Profile.from_json(json.dumps(whole | fields))


def test_a_service_is_not_opened_without_credentials():
    """A service asks who you are; without an answer, or with one where nobody asks, nothing is opened."""
    refused = [
        lambda: indelible.connect("https://localhost", master_key=KEY),
        lambda: indelible.connect(Profile(endpoint_url="https://localhost", master_key=KEY)),
        lambda: indelible.connect(Profile(endpoint_url="https://localhost", master_key=KEY, customer_id="me")),
        lambda: indelible.connect("memory:", credentials=CREDENTIALS),
        lambda: indelible.connect(Profile(endpoint_url="memory:", master_key=KEY), credentials=CREDENTIALS),
        lambda: indelible.connect(
            "https://localhost", master_key=KEY, credentials=CREDENTIALS, limits=indelible.Limits()
        ),
    ]
    for ask in refused:
        with pytest.raises(InvalidRequest):
            ask()
    with pytest.raises(InvalidRequest, match="master_key"):
        indelible.connect("https://localhost", credentials=CREDENTIALS)
    indelible.connect("https://localhost", master_key=KEY, credentials=CREDENTIALS).close()


def test_the_old_interface_speaks_to_a_service(server):
    """``compat.Log``: the endpoint, customer and key of an old profile reach the service, one connection for all logs."""
    profile = {"endpoint_url": server.url, "customer_id": "me", "apikey": CANARY, "master_key": KEY}
    log = compat.Log("orders", profile)
    log.create()
    log.update([compat.Cmd.Insert("a", [1])])
    assert [it["entry"] for it in log] == [{"key": "a", "value": [1]}]
    other = compat.Log("others", profile)
    assert other._backend._inner is log._backend._inner
    assert server.seen[0].headers["authorization"] == "Basic " + base64.b64encode(f"me:{CANARY}".encode()).decode()
    stranger = compat.Log("orders", profile | {"apikey": "another"})
    assert stranger._backend._inner is not log._backend._inner
    assert CANARY not in repr(list(compat._open))
    with pytest.raises(compat.ApiErrorException):
        list(other)


def test_the_public_names():
    """``HTTPBackend`` and ``Credentials`` stand where they are looked for."""
    assert indelible.backends.HTTPBackend is HTTPBackend
    assert indelible.Credentials is Credentials
    assert isinstance(HTTPBackend("https://localhost", CREDENTIALS), indelible.backend.KeyHistory)
    assert isinstance(HTTPBackend("https://localhost", CREDENTIALS), indelible.backend.Pinned)
    assert not isinstance(MemoryBackend(), indelible.backend.Pinned)
    assert errors.HistoryRolledBack("reason", "log", 2, 1).code == "HISTORY_ROLLED_BACK"
