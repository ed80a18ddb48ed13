"""What the service takes and for how long it waits: each limit at it and one past it, and what the hostile get."""

import contextlib
import gc
import json
import socket
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import serving as serving_module
from serving import Connection, basic, head_of, nothing_goes_wrong, overheard, serving, until

from indelible import wire
from indelible.commands import Transaction, Upsert
from indelible.server import calls, exchange, protocol, running
from indelible.server.protocol import LimitedProtocol
from indelible.server.settings import ServiceLimits

SMALL = {
    "body": 40_000,
    "commands": 20,
    "key": 40,
    "value": 400,
    "name": 60,
    "group": 30,
    "source": 20,
    "page": 30,
    "requests_per_tenant": 4,
    "polls_per_tenant": 3,
    "bodies": 160_000,
    "head_bytes": 2_000,
    "head_seconds": 20,
}
UNCOUNTED = 4096
"""What is not counted of each body."""


@pytest.fixture(scope="module")
def told():
    """What the services here tell of errors of theirs: nothing."""
    with nothing_goes_wrong(), overheard() as told:
        yield told


@pytest.fixture(scope="module")
def service(told):
    with serving(limits=SMALL) as service:
        service.store.create("acme/log")
        service.store.create("other/log")
        yield service


@pytest.fixture(scope="module")
def impatient(told):
    """A service that does not wait long for anything, on a system that takes little off its hands."""

    def listen(settings):
        listener = running.listen(settings)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000)
        return listener

    limits = SMALL | {"page": 10_000, "head_seconds": 0.3, "body_seconds": 0.6, "send_seconds": 0.6}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving_module, "listen", listen)
        patch.setattr(running, "_KEEP_ALIVE_SECONDS", 2)
        patch.setattr(exchange, "_REST_SECONDS", 0.3)
        with serving(limits=limits) as service:
            service.store.create("acme/log")
            yield service


@pytest.fixture(scope="module")
def who(service):
    return service.credentials("acme")


@pytest.fixture(scope="module")
def other(service):
    return service.credentials("other")


@pytest.fixture(scope="module")
def whoever(impatient):
    return impatient.credentials("acme")


NOTHING = (0, {"@/access"}, 0, 0, 0)


def held(service):
    """What a service holds of its requests: how many run, the logs that are waited for, and what is counted."""
    app, tasks = service.app.service, service.server.server_state.tasks
    counts = [counted(service)._requests, counted(service)._polls, counted(service)._bodies]
    return (len(tasks), set(app.polls._topics), *(count.total() for count in counts))


def counted(service):
    return service.app.service.admission


@pytest.fixture(autouse=True)
def _nothing_is_left(request):
    """After each test, whatever it did, its service holds nothing of it; one connection is kept for ``call``."""
    yield
    for name in {"service", "impatient"} & set(request.fixturenames):
        service = request.getfixturevalue(name)
        until(lambda service=service: held(service) == NOTHING)
        until(lambda service=service: len(service.server.server_state.connections) <= 1)


def command(key=b"k", value=b"v", **more):
    return {"type": "Upsert", "key": wire.base64(key), "value": wire.base64(value)} | more


def stream(*objects):
    return "".join(map(json.dumps, objects)).encode()


def padded(body, size):
    """The same message with white space around it."""
    assert len(body) <= size
    return body + b" " * (size - len(body))


# Sizes

SIZES = {
    "key": lambda size: ("update", stream({"logName": "log"}, command(key=b"k" * size))),
    "value": lambda size: ("update", stream({"logName": "log"}, command(value=b"v" * size))),
    "commands": lambda size: ("update", stream({"logName": "log"}, *[command()] * size)),
    "source": lambda size: ("update", stream({"logName": "log", "updateSource": "s" * size}, command())),
    "group": lambda size: ("create", stream({"logName": f"of {size}", "logGroup": "g" * size})),
    "name": lambda size: ("create", stream({"logName": "n" * size})),
    "body": lambda size: ("update", padded(stream({"logName": "log"}, command()), size)),
}


@pytest.mark.parametrize("limit", SIZES)
def test_a_size_is_limited_to_the_byte(service, who, limit):
    """At the limit it is taken; one past it is ``TOO_LARGE``, which names limit, size and maximum, and changes nothing."""
    most = SMALL[limit]
    call, body = SIZES[limit](most)
    assert service.call(call, body, who).status == 200
    before = service.store.logs()
    call, body = SIZES[limit](most + 1)
    answer = service.call(call, body, who)
    assert (answer.status, answer.json()["code"], answer.json()["codeNumber"]) == (413, "TOO_LARGE", 1023)
    details = answer.json()["details"]
    assert details.items() >= {"limit": limit, "size": str(most + 1), "maximum": str(most), "effect": "none"}.items()
    assert service.store.logs() == before


NAMED = {
    "a cursor": ("diff", lambda key: {"orderResultsBy": "key", "paginationOptions": {"skipToKey": key}}),
    "a cursor of who waits": (
        "diff",
        lambda key: {"orderResultsBy": "key", "paginationOptions": {"skipToKey": key}, "waitSeconds": 0.01},
    ),
    "a history": ("history", lambda key: {"key": key}),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_key_that_is_asked_for_is_limited_as_one_that_is_put(service, who, name):
    """Nobody makes the service hold, while it waits or looks, more than it could find."""
    call, asked = NAMED[name]
    for size, status in [(SMALL["key"], 200), (SMALL["key"] + 1, 413)]:
        answer = service.call(call, {"logName": "log"} | asked(wire.base64(b"k" * size)), who)
        assert answer.status == status
    assert answer.json()["details"].items() >= {"limit": "key", "maximum": str(SMALL["key"])}.items()


@pytest.mark.parametrize("limit", ["key", "value", "name"])
def test_a_size_is_counted_in_bytes(service, who, limit):
    """Sizes count what is stored, not the characters or the Base64 that it was sent as."""
    most = SMALL[limit]
    if limit == "name":
        assert service.call("create", {"logName": "é" * (most // 2)}, who).status == 200
        assert service.call("create", {"logName": "é" * (most // 2 + 1)}, who).status == 413
    else:
        for size, status in [(most, 200), (most + 1, 413)]:
            body = stream({"logName": "log"}, command(**{limit: b"\xff" * size}))
            assert service.call("update", body, who).status == status


def test_the_limits_that_were_promised():
    """Unless told otherwise, the limits are those of the protocol's description."""
    limits = ServiceLimits()
    assert (limits.body, limits.commands, limits.key, limits.value) == (16 << 20, 10_000, 4 << 10, 1 << 20)
    assert (limits.name, limits.group, limits.source, limits.page) == (1 << 10, 256, 256, 10_000)
    assert (limits.requests_per_tenant, limits.polls_per_tenant) == (64, 1_000)
    assert (limits.head_seconds, limits.body_seconds) == (10, 60)


def chunked(body, size):
    """A body in chunks of one size."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


LARGE = 300_000


@pytest.mark.parametrize("call", ["list", "versions"])
def test_a_list_is_limited_in_bytes(told, monkeypatch, call):
    """However long what it names is, an answer ends after about as many bytes as any; the pages tell of all of it."""
    monkeypatch.setattr(calls, "_LARGEST_ANSWER", 3_000)
    monkeypatch.setattr(calls, "_VERSIONS", 7)
    with serving() as service:
        who = service.credentials()
        names = [f"{number:02}" + "n" * 998 for number in range(10)]
        for name in names:
            service.store.create(f"acme/{name}")
        for number in range(20):
            service.store.update(f"acme/{names[0]}", Transaction([Upsert(b"k", b"%d" % number)], "s" * 256))
        found, following = [], None
        field, start = {"list": ("logs", "afterName"), "versions": ("versions", "fromVersion")}[call]
        while following is not None or not found:
            asked = ({} if call == "list" else {"logName": names[0]}) | ({start: following} if found else {})
            answer = service.call(call, asked, who).json()
            assert 0 < len(answer[field]) <= 7
            found += answer[field]
            following = answer.get({"list": "nextAfterName", "versions": "nextFromVersion"}[call])
        whole = names if call == "list" else list(range(1, 21))
        assert [it["name" if call == "list" else "version"] for it in found] == whole


@pytest.mark.parametrize("size", [7, 1_000, 100_000])
def test_a_body_in_chunks_is_limited_alike(service, who, size):
    """Without a length, what has come is counted: at the limit it is taken, one past it is not."""
    body = stream({"logName": "log"}, command())
    for most, status in [(SMALL["body"], 200), (SMALL["body"] + 1, 413)]:
        with Connection(service) as connection:
            head = head_of("update", credentials=who, transfer_encoding="chunked")
            connection.send(head + chunked(padded(body, most), size))
            answer = connection.answer()
            assert answer.status == status
            assert status == 200 or answer.json()["details"]["limit"] == "body"


@pytest.mark.parametrize("promised", [SMALL["body"] + 1, 10**17, 10**18, 2**63, 2**64 - 1])
def test_a_body_that_says_it_is_too_large_is_not_waited_for(service, who, promised, monkeypatch):
    """A length beyond the limit is refused by itself, and the connection ends with what does not come."""
    monkeypatch.setattr(exchange, "_REST_SECONDS", 0.1)
    with Connection(service) as connection:
        connection.ask("update", b"", who, promised=promised)
        assert connection.answer().code == "TOO_LARGE"
        assert connection.is_cut()


@pytest.mark.parametrize(
    "length", ["-1", "+5", "1e3", "0x10", "five", "", "5, 5", str(2**64), "9" * 400, "5\r\nContent-Length: 6"]
)
def test_a_length_that_is_none_is_no_request(service, who, length):
    """What is no length, or two of them, is refused as no HTTP, and the connection is ended."""
    with Connection(service) as connection:
        connection.ask("describe", b"12345", who, promised=length)
        answer = connection.answer()
        assert answer.status == 400
        assert connection.is_cut()


def test_a_length_and_chunks_are_no_request(service, who):
    """Both at once is how requests are smuggled; neither is believed."""
    with Connection(service) as connection:
        connection.ask("describe", b"0\r\n\r\n", who, promised=5, Transfer_Encoding="chunked")
        assert connection.answer().status == 400
        assert connection.is_cut()


def test_a_page_is_limited(service, who):
    """However many changes are asked for, a page has as many as the service allows, and says how to go on."""
    service.store.create("acme/pages")
    for part in range(4):
        commands = [Upsert(b"%d" % n, b"v") for n in range(part * 10, part * 10 + 10)]
        service.store.update("acme/pages", Transaction(commands))
    page = service.call("diff", {"logName": "pages", "limit": 10**6}, who).json()
    assert len(page["page"]) == SMALL["page"]
    rest = {"logName": "pages", "toVersion": page["toVersion"], "paginationOptions": page["nextPageOptions"]}
    page = service.call("diff", rest, who).json()
    assert (len(page["page"]), page["nextPageOptions"]) == (10, None)


def test_an_answer_is_limited_in_bytes(told):
    """S12: a page ends at some size, too, with one change at least; put together, pages are the diff."""
    with serving() as service:
        who = service.credentials("acme")
        service.store.create("acme/large")
        values = {b"%d" % n: bytes([n]) * (1 << 20) for n in range(4)}
        for key, value in values.items():
            service.store.update("acme/large", Transaction([Upsert(key, value)]))
        found, options = {}, None
        while True:
            question = {"logName": "large", "toVersion": 4, "limit": 10_000, "paginationOptions": options}
            answer = service.call("diff", question, who)
            assert len(answer.data) < 3 << 20
            page = answer.json()
            assert page["page"]
            found |= {it["entry"]["key"]: it["entry"]["value"] for it in page["page"]}
            options = page["nextPageOptions"]
            if options is None:
                break
        assert found == {wire.base64(key): wire.base64(value) for key, value in values.items()}


@pytest.mark.parametrize("filler", ["{},", "[],", "1,", '"a":1,'])
def test_a_message_of_very_many_members_is_refused_unread(service, who, filler):
    """What would be a thousand objects for each that is meant is not read: a few bytes each would become a hundred."""
    many = (filler * 6_000)[:-1]
    text = f'{{"logName":"log","more":{{{many}}}}}' if ":" in filler else f'{{"logName":"log","more":[{many}]}}'
    answer = service.call("describe", text.encode(), who)
    assert answer.json()["code"] == "INVALID_REQUEST"
    answer = service.call("update", text.encode(), who)
    assert (answer.status, answer.json()["details"]["limit"]) == (413, "commands")
    commas = {"logName": "," * SMALL["name"], "logGroup": "," * SMALL["group"]}
    assert service.call("create", commas, who).status == 200
    # What an old call does not know it passes over.
    assert service.call("create", commas | {"more": [{}, [], 1, {"a": 1}]}, who).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br, gzip", ""])
def test_a_body_must_come_as_it_is(service, who, encoding):
    """``Content-Encoding`` is refused, whatever it says: a small body could be a large one."""
    body = stream({"logName": "log"})
    answer = service.call("describe", body, who, headers={"Content-Encoding": encoding})
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert service.call("describe", body, who).status == 200


# The head

ABOUT = len(b"/v1/log/describe")


@pytest.mark.parametrize("pieces", [1, 2, 50, "its end"])
def test_the_head_is_limited(service, who, pieces):
    """At the limit it is taken; one past it is refused, whether it comes at once, in pieces, or short of its end."""
    body = stream({"logName": "log"})
    head = head_of("describe", body, who, X_Filler="")
    counted = ABOUT + sum(len(line) + 2 for line in head.split(b"\r\n")[1:-2])
    for more, status in [(0, 200), (1, 400)]:
        filled = head_of("describe", body, who, X_Filler="x" * (SMALL["head_bytes"] - counted + more))
        with Connection(service) as connection:
            sent = filled + body
            if pieces == "its end":
                connection.send(filled[:-1])
                time.sleep(0.05)
                connection.send(filled[-1:] + body)
            else:
                size = -(-len(sent) // pieces)
                for at in range(0, len(sent), size):
                    connection.send(sent[at : at + size])
            assert connection.answer().status == status
            if status == 400:
                assert connection.is_cut()


CHUNKED = b"POST /v1/log/diff HTTP/1.1\r\nHost: service\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a field after the body": b"0\r\nx: " + b"y" * LARGE,
    "fields after the body": b"0\r\n" + b"x: y\r\n" * (LARGE // 6),
    "what is said of a chunk": b"5;x=" + b"y" * LARGE,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_stands_between_and_behind_chunks_is_limited(service, name):
    """A stranger who sends it without end is cut off, as with a head."""
    with Connection(service) as connection:
        with contextlib.suppress(ConnectionError):
            connection.send(CHUNKED + ENDLESS[name])
            # What is sent in one piece is taken in pieces of the system's choice.
            for _ in range(20):
                connection.send(b"y" * 1_000)
        assert connection.is_cut()


def test_a_body_of_many_small_chunks_is_one(service, who):
    """Control: chunks of a byte each, which say more about themselves than they hold, are a body like any other."""
    body = padded(stream({"logName": "log"}, command()), SMALL["head_bytes"])
    with Connection(service) as connection:
        connection.send(head_of("update", credentials=who, transfer_encoding="chunked"))
        connection.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nx-after: all\r\n\r\n")
        assert connection.answer().status == 200


def test_what_follows_a_body_is_no_head(service, who):
    """Who asks, and under which id, stands in the head or nowhere: what looks so after the body is passed over."""
    body = stream({"logName": "log"})
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    after = f"Authorization: {basic(who)}\r\nX-Request-Id: mine\r\n\r\n".encode()
    for credentials, status in [(who, 200), (None, 401)]:
        with Connection(service) as connection:
            head = head_of("describe", credentials=credentials, transfer_encoding="chunked")
            connection.send(head + chunks + after)
            answer = connection.answer()
            assert (answer.status, answer.headers["x-request-id"] == "mine") == (status, False)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /" + b"x" * 300_000,
        b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 50_000,
        b"POST / HTTP/1.1\r\nX: " + b"y" * 300_000,
        b"POST / HTTP/1.1\r\n" + b"x" * 300_000,
    ],
    ids=["a path", "headers", "a value", "a name"],
)
def test_a_head_without_end_is_cut_off(service, head):
    """Whatever of it is large, it is not waited for its end."""
    with Connection(service) as connection, contextlib.suppress(ConnectionError):
        connection.send(head)
    with Connection(service) as connection:
        with contextlib.suppress(ConnectionError):
            connection.send(head)
        assert connection.is_cut()


@pytest.mark.parametrize(
    "beginning", [b"", b"P", b"POST /v1/log/describe HTTP/1.1\r\nHost: a\r\n", b"\r\n", b"\r\n\r\n"]
)
def test_who_does_not_send_a_head_is_cut_off(impatient, whoever, beginning):
    """A connection on which no head comes is ended; one on which the head has come waits for the body."""
    with Connection(impatient) as silent, Connection(impatient) as slow:
        body = stream({"logName": "log"})
        slow.send(head_of("describe", body, whoever))
        silent.send(beginning)
        assert silent.is_cut()
        slow.send(body)
        assert slow.answer().status == 200


def trickle(connection, data):
    """Send byte by byte until it is cut off, or there is no more; whether it was cut off."""
    connection.socket.settimeout(0.02)
    for byte in data:
        try:
            connection.send(bytes([byte]))
            if not connection.socket.recv(1):
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def test_a_head_that_trickles_is_cut_off(impatient):
    """A head must be whole in its time, however long something of it comes."""
    with Connection(impatient) as connection:
        assert trickle(connection, b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 500)


@pytest.mark.parametrize("more", [b"\r\n", b"P"])
def test_what_comes_after_an_answer_must_become_a_head(impatient, whoever, more):
    """A used connection may rest; once anything more comes, the next head is awaited as the first was."""
    with Connection(impatient) as connection, Connection(impatient) as resting:
        body = stream({"logName": "log"})
        for it in (resting, connection):
            it.ask("describe", body, whoever)
            assert it.answer().status == 200
        connection.send(more)
        assert connection.is_cut()
        resting.ask("describe", body, whoever)
        assert resting.answer().status == 200


def test_an_empty_line_after_a_body_is_passed_over(impatient, whoever):
    """Some old programs send one: it ends no poll."""
    with Connection(impatient) as connection:
        connection.ask("diff", stream({"logName": "log", "waitSeconds": 1}), whoever)
        connection.send(b"\r\n")
        assert connection.answer().status == 200


# The body


def test_a_slow_body_is_not_waited_for(impatient, whoever):
    """A body must be whole in its time; its sender is told, and cut off if it goes on like that."""
    with Connection(impatient) as connection:
        connection.ask("describe", b'{"logName"', whoever, promised=5_000)
        answer = connection.answer()
        assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
        assert "took longer" in answer.json()["message"]
    with Connection(impatient) as connection:
        connection.ask("describe", b'{"logName"', whoever, promised=5_000)
        assert trickle(connection, b" " * 4_000)


@pytest.mark.parametrize("ending", [{}, {"Connection": "close"}])
@pytest.mark.parametrize("way", ["length", "chunks"])
def test_who_is_refused_early_gets_the_answer(service, who, ending, way):
    """Who is still sending a large body when it is refused can send it to its end, and then reads why."""
    body = b" " * 3_000_000
    for given, status in [(None, 413), ("Basic bm9ib2R5Omtub3c=", 401), (basic(who), 413)]:
        headers = ending | ({} if given is None else {"Authorization": given})
        with Connection(service) as connection:
            if way == "length":
                connection.ask("update", body, **headers)
            else:
                head = head_of("update", transfer_encoding="chunked", **headers)
                connection.send(head + chunked(body, 50_000))
            assert connection.answer().status == status
            if ending:
                assert connection.is_cut()
            else:
                connection.ask("describe", stream({"logName": "log"}), who)
                assert connection.answer().status == 200


def test_who_never_sends_the_rest_is_cut_off(service, monkeypatch):
    """What is left of a refused body is waited for a short time only, in a call and anywhere else."""
    monkeypatch.setattr(exchange, "_REST_SECONDS", 0.1)
    monkeypatch.setattr(protocol, "_REST_SECONDS", 0.1)
    for name in ("describe", "nothing", "../../healthz"):
        with Connection(service) as connection:
            connection.ask(name, b"", promised=100, Authorization="nobody")
            assert connection.answer().status in (401, 404)
            assert connection.is_cut()
    with Connection(service) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        assert connection.answer().status == 200
        assert connection.is_cut()


def test_an_answer_goes_out_in_one_piece(service, who, monkeypatch):
    """Head and body are written together, so that whoever waits is woken once; also before a connection is closed."""
    written = []

    class Watched:
        def __init__(self, transport):
            self._transport = transport

        def __getattr__(self, name):
            return getattr(self._transport, name)

        def write(self, data):
            written.append(data)
            self._transport.write(data)

    made = LimitedProtocol.connection_made
    monkeypatch.setattr(LimitedProtocol, "connection_made", lambda it, transport: made(it, Watched(transport)))
    with Connection(service) as connection:
        for log, more, status in ("log", {}, 200), ("none", {}, 404), ("log", {"Connection": "close"}, 200):
            connection.ask("describe", stream({"logName": log}), who, **more)
            answer = connection.answer()
            assert answer.status == status
            (whole,) = written
            assert whole.startswith(b"HTTP/1.1 ") and whole.endswith(b"\r\n\r\n" + answer.body)
            written.clear()
        assert connection.is_cut()


def test_a_connection_that_ended_leaves_nothing(service, who, monkeypatch):
    """Nothing of it holds itself: garbage of that kind would wait for a collector that a service seldom runs."""
    ended = []
    made = LimitedProtocol.connection_made

    def watched(it, transport):
        ended.append(weakref.ref(it))
        made(it, transport)

    monkeypatch.setattr(LimitedProtocol, "connection_made", watched)
    at_rest = gc.isenabled()
    gc.disable()
    try:
        with contextlib.ExitStack() as connections:
            for call, more in [
                ("describe", {}),
                ("describe", {"logName": "none"}),
                ("diff", {}),
                ("diff", {"waitSeconds": 60, "fromVersion": service.store.describe("acme/log").head}),
            ]:
                connection = connections.enter_context(Connection(service))
                connection.ask(call, stream({"logName": "log"} | more), who)
                if "waitSeconds" not in more:
                    connection.answer()
            connections.enter_context(Connection(service)).send(b"no HTTP at all\r\n\r\n")
            service.waits(1)
            until(lambda: len(ended) >= 5)
        service.waits(0)
        # The counts are asked for on others.
        until(lambda: [it() for it in ended[:5]] == [None] * 5)
    finally:
        if at_rest:
            gc.enable()


def test_a_client_that_waits_to_be_asked_is_asked(service, who):
    """``Expect: 100-continue``: the body is asked for, unless the head is reason enough to refuse it."""
    body = stream({"logName": "log"})
    with Connection(service) as connection:
        connection.send(head_of("describe", body, who, Expect="100-continue"))
        assert connection.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(body)
        assert connection.answer().status == 200
    for refused in ({"promised": 10**9}, {"Authorization": "nobody"}):
        with Connection(service) as connection:
            connection.ask(
                "describe", b"", None if "Authorization" in refused else who, Expect="100-continue", **refused
            )
            beginning = b""
            while b"\r\n" not in beginning and (byte := connection.socket.recv(1)):
                beginning += byte
            assert beginning in (
                b"HTTP/1.1 401 Unauthorized\r\n",
                b"HTTP/1.1 413 Content Too Large\r\n",
                b"HTTP/1.1 413 Request Entity Too Large\r\n",
            )


# At once


class Held:
    """Requests of one customer whose bodies do not come to their end."""

    def __init__(self, service, who, count, sent=b"", promised=100):
        self._service = service
        self.connections = [Connection(service) for _ in range(count)]
        for connection in self.connections:
            connection.ask("describe", sent, who, promised=promised)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        for connection in self.connections:
            connection.close()


def test_requests_at_once_are_limited_for_each_customer(service, who, other):
    """The last one is served; one more is ``OVERLOADED``, by its head alone; other customers notice nothing."""
    most = SMALL["requests_per_tenant"]
    with Held(service, who, most - 1):
        until(lambda: counted(service)._requests["acme"] == most - 1)
        assert service.call("describe", {"logName": "log"}, who).status == 200
        with Held(service, who, 1):
            until(lambda: counted(service)._requests["acme"] == most)
            with Connection(service) as connection:
                connection.ask("describe", b"", who, promised=100)
                answer = connection.answer()
            assert (answer.status, answer.code, answer.json()["codeNumber"]) == (503, "OVERLOADED", 1024)
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["details"]["effect"] == "none"
            question = {"authinfo": {"customer_id": "acme", "apikey": who.apikey.reveal().decode()}, "logName": "log"}
            assert service.call("describe", question).status == 503
            assert service.call("describe", {"logName": "log"}, other).status == 200
        until(lambda: counted(service)._requests["acme"] == most - 1)
        assert service.call("describe", {"logName": "log"}, who).status == 200


def test_strangers_cannot_keep_customers_out(service, who):
    """However many say nothing of who they are, and send nothing, customers are served, by either way to say it."""
    question = {"authinfo": {"customer_id": "acme", "apikey": who.apikey.reveal().decode()}, "logName": "log"}
    with Held(service, None, 300, b"{"):
        until(lambda: len(service.server.server_state.tasks) >= 300)
        assert service.call("describe", question).status == 200
        assert service.call("describe", {"logName": "log"}, who).status == 200


def test_polls_at_once_are_limited_for_each_customer(service, who, other):
    """The last one waits; one more is ``OVERLOADED``; requests go on, and so do other customers' polls."""
    question = {"logName": "log", "waitSeconds": 60}
    question["fromVersion"] = service.store.describe("acme/log").head
    with contextlib.ExitStack() as polls:

        def poll(credentials, **more):
            connection = polls.enter_context(Connection(service))
            connection.ask("diff", stream(question | more), credentials)
            return connection

        mine = [poll(who) for _ in range(SMALL["polls_per_tenant"])]
        service.waits(3)
        answer = poll(who).answer()
        assert (answer.status, answer.code) == (503, "OVERLOADED")
        assert int(answer.headers["retry-after"]) > 0
        assert service.call("describe", {"logName": "log"}, who).status == 200
        poll(other, fromVersion=0)
        service.waits(4)
        mine.pop().close()
        service.waits(3)
        poll(who)
        service.waits(4)
    service.waits(0)


def test_who_says_to_wait_and_need_not_is_limited_as_others_are(told, monkeypatch):
    """No more polls are being answered at once than there may be requests, however slowly the answers are taken."""

    def slow(settings):
        listener = running.listen(settings)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000)
        return listener

    monkeypatch.setattr(serving_module, "listen", slow)
    with serving(limits={"requests_per_tenant": 2}) as service, contextlib.ExitStack() as polls:
        who = service.credentials()
        service.store.create("acme/log")
        service.store.update("acme/log", Transaction([Upsert(b"k", bytes(500_000))]))
        asked = [polls.enter_context(Connection(service, receives=4_000)) for _ in range(20)]
        for connection in asked:
            connection.ask("diff", stream({"logName": "log", "waitSeconds": 60}), who)
        service.waits(18)
        assert service.call("describe", {"logName": "log"}, who).status == 200
        # Whose turn it is first nobody knows, and it lasts until the answer is taken.
        with ThreadPoolExecutor(20) as threads:
            assert [answer.status for answer in threads.map(Connection.answer, asked)] == [200] * 20


def test_bodies_at_once_are_limited_for_each_customer(service, who, other):
    """What a customer may hold of large bodies is a part of what all may: at it they are taken, one byte past it not."""
    share = SMALL["bodies"] // 4
    assert share == SMALL["body"]
    whole = SMALL["body"] - 1
    held = whole - UNCOUNTED
    with Held(service, who, 1, b"{" + b" " * (whole - 1), whole + 1):
        until(lambda: counted(service)._bodies["acme"] == held)
        with Held(service, who, 1, b"{" + b" " * (share - held + UNCOUNTED - 1), 20_000) as second:
            until(lambda: counted(service)._bodies["acme"] == share)
            (connection,) = second.connections
            connection.send(b" ")
            answer = connection.answer()
            assert (answer.status, answer.code) == (503, "OVERLOADED")
            assert "retry-after" in answer.headers
        # Small ones are taken all the same, and everybody else's.
        assert service.call("describe", {"logName": "log"}, who).status == 200
        assert service.call("describe", padded(stream({"logName": "log"}), 30_000), other).status == 200
        until(lambda: counted(service)._bodies["acme"] == held)


def test_bodies_at_once_are_limited_for_all(service, who):
    """When all may hold no more, large bodies are ``OVERLOADED`` whoever sends them; small ones are not."""
    others = [service.credentials(f"customer-{n}") for n in range(4)]
    service.store.create("customer-3/log")
    whole = SMALL["body"] - 1
    held = whole - UNCOUNTED
    with contextlib.ExitStack() as stack:
        for given in (None, *others[:3]):
            stack.enter_context(Held(service, given, 1, b"{" + b" " * (whole - 1), whole + 1))
        until(lambda: counted(service)._bodies.total() == 4 * held)
        room = SMALL["bodies"] - 4 * held + UNCOUNTED
        assert service.call("describe", padded(stream({"logName": "log"}), room), others[3]).status == 200
        answer = service.call("describe", padded(stream({"logName": "log"}), room + 1), others[3])
        assert (answer.status, answer.json()["code"]) == (503, "OVERLOADED")
        assert service.call("describe", padded(stream({"logName": "log"}), UNCOUNTED), others[3]).status == 200


def test_connections_are_limited(told):
    """Beyond the limit a connection is ended at once; whoever is there goes on, and who leaves makes room."""
    with serving(limits=SMALL | {"connections": 20}) as service:
        who = service.credentials("acme")
        service.store.create("acme/log")
        state = service.server.server_state
        there = []
        while len(state.connections) < 20:
            before = len(state.connections)
            there.append(Connection(service))
            until(lambda before=before: len(state.connections) > before)
        with Connection(service) as one_more:
            assert one_more.is_cut()
        there[0].ask("describe", stream({"logName": "log"}), who)
        assert there[0].answer().status == 200
        there.pop().close()
        until(lambda: len(state.connections) < 20)
        with Connection(service) as in_its_place:
            in_its_place.ask("describe", stream({"logName": "log"}), who)
            assert in_its_place.answer().status == 200
        for connection in there:
            connection.close()


# Those who never read


@pytest.fixture(scope="module")
def large(impatient):
    """A log of a megabyte."""
    impatient.store.create("acme/large")
    for part in range(100):
        commands = [Upsert(b"%d %d" % (part, n), bytes([part]) * 400) for n in range(20)]
        impatient.store.update("acme/large", Transaction(commands))
    return {"logName": "large", "limit": 10_000}


def call(name, question, who, version="1.1", **headers):
    body = stream(question)
    return head_of(name, body, who, version, **headers) + body


FEW = {"limit": 60}
UNREAD = {
    "a large answer": lambda large, who: call("diff", large, who),
    "a large answer and the end": lambda large, who: call("diff", large, who, Connection="close"),
    "a large answer as of old": lambda large, who: call("diff", large, who, version="1.0"),
    "an answer": lambda large, who: call("diff", large | FEW, who),
    "an answer and the end": lambda large, who: call("diff", large | FEW, who, Connection="close"),
    "an answer as of old": lambda large, who: call("diff", large | FEW, who, version="1.0"),
    "many answers": lambda _large, who: call("describe", {}, who) * 100,
    "many refusals": lambda _large, _who: call("describe", {}, None) * 100,
    "what is not found": lambda _large, _who: call("nothing", {}, None) * 100,
    "what operators ask": lambda _large, _who: b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 30,
    "what is no HTTP": lambda _large, _who: call("describe", {}, None) * 99 + b"x\r\n\r\n",
}


def unsent(service):
    """Bytes that clients have not taken."""
    return sum(it.transport.get_write_buffer_size() for it in list(service.server.server_state.connections))


@pytest.mark.parametrize("what", UNREAD)
def test_who_does_not_read_is_cut_off(impatient, whoever, large, what):
    """What nobody takes is held for a time, and then its connection is ended, whatever it is and however it ends."""
    with Connection(impatient, receives=2_000) as connection:
        connection.send(UNREAD[what](large, whoever))
        if what != "what is no HTTP":
            until(lambda: unsent(impatient) > 0)
        until(lambda: unsent(impatient) == 0)
        assert connection.is_cut()


def test_who_reads_slowly_gets_all_of_it(impatient, whoever, large):
    """Whoever goes on reading gets all of it."""
    with Connection(impatient, receives=2_000) as connection:
        connection.send(UNREAD["a large answer"](large, whoever))
        until(lambda: unsent(impatient) > 0)
        assert len(connection.answer().json()["page"]) == 2_000


# HTTP


def test_requests_may_come_before_the_answers(service, who):
    """Pipelined requests are answered in their order, each to itself."""
    head = service.store.describe("acme/log").head
    waits = stream({"logName": "log", "waitSeconds": 0.1, "fromVersion": head})
    with Connection(service) as connection:
        sent = b""
        for call, body in [("diff", waits), ("describe", stream({"logName": "log"})), ("describe", b"{}")]:
            sent += head_of(call, body, who) + body
        connection.send(sent)
        assert connection.answer().json()["page"] == []
        assert connection.answer().json()["name"] == "log"
        assert connection.answer().code == "INVALID_REQUEST"


def test_a_request_in_line_may_take_its_time(service, who, monkeypatch):
    """The rest of a body is only hurried when its own request was answered, not when one before it was."""
    monkeypatch.setattr(protocol, "_REST_SECONDS", 0.1)
    monkeypatch.setattr(exchange, "_REST_SECONDS", 0.1)
    body = stream({"logName": "log"})
    with Connection(service) as connection, Connection(service) as refused:
        connection.send(head_of("describe", body, who) + body + head_of("describe", body, who))
        assert connection.answer().status == 200
        refused.ask("describe", b"", promised=10, Authorization="nobody")
        assert refused.is_cut()
        connection.send(body)
        assert connection.answer().status == 200


def test_who_asks_too_much_in_advance_is_cut_off(service, who):
    """So many requests may be in line as were promised; with one more, the connection ends."""
    head = service.store.describe("acme/log").head
    waits = stream({"logName": "log", "waitSeconds": 0.2, "fromVersion": head})
    body = stream({"logName": "log"})
    for count, served in [(100, True), (101, False)]:
        with Connection(service) as connection:
            connection.send(head_of("diff", waits, who) + waits + (head_of("describe", body, who) + body) * count)
            if served:
                assert [connection.answer().status for _ in range(count + 1)] == [200] * (count + 1)
            else:
                assert connection.is_cut()


def test_who_asks_in_advance_and_leaves_is_no_error(service, who, told):
    """A client that goes while requests of it are in line leaves nothing, in the log neither."""
    body = stream({"logName": "log"})
    for count in (2, 10, 50):
        for _ in range(10):
            with Connection(service) as connection:
                connection.send((head_of("describe", body, who) + body) * count)
    until(lambda: held(service) == NOTHING)
    assert [record.getMessage() for record in told if record.levelname == "ERROR"] == []


def test_old_http_is_spoken(service, who):
    """HTTP/1.0: an answer, and the end of the connection."""
    with Connection(service) as connection:
        connection.ask("describe", stream({"logName": "log"}), who, version="1.0")
        answer = connection.answer()
        assert answer.status == 200 and answer.headers["connection"] == "close"
        assert connection.is_cut()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"\0" * 100,
        b"POST /v1/log/describe\r\n\r\n",
        b"POST  /v1/log/describe HTTP/1.1\r\n\r\n",
        b"POST /v1/log/describe HTTP/1.1\r\nHost a\r\n\r\n",
        b"POST /v1/log/describe HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"POST /v1/log/describe HTTP/1.1\r\nX-Y\0: a\r\n\r\n",
        b"POST /v1/log/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/log/describe HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/log/describe HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(service, sent):
    """A connection that speaks something else is told so, or nothing, and ended; the service lives."""
    with Connection(service) as connection:
        connection.send(sent)
        connection.socket.shutdown(1)
        found = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.socket.recv(4096):
                found += part
        assert found == b"" or found.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200")) is True
        assert b"HTTP/1.1 200" not in found
    assert service.call("healthz", {}).status == 404


def request(service, method, path, body=b""):
    with Connection(service) as connection:
        connection.send(b"%b %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, path, len(body)) + body)
        return connection.answer(method.decode())


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE"])
def test_a_call_is_made_by_post(service, who, method):
    """Any other method is told which one there is, and does nothing."""
    for body in (b"", b"{}"):
        answer = request(service, method, b"/v1/log/create", body)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert answer.headers["x-request-id"]
        assert method == b"HEAD" or answer.code == "INVALID_REQUEST"


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/v1/log",
        b"/v1/log/",
        b"/v1/log/create/",
        b"/v1/log/Create",
        b"/v1/log/create%0A",
        b"/v1/log/%63reate/",
        b"//v1/log/create",
        b"/v2/log/create",
        b"/v1/log/../log/create",
        b"/healthz/",
        b"*",
    ],
)
def test_elsewhere_there_is_nothing(service, path):
    """What is no call is not found, and nobody is sent elsewhere."""
    for method in (b"POST", b"GET"):
        answer = request(service, method, path)
        assert (answer.status, answer.code) == (404, "INVALID_REQUEST")
        assert answer.headers["x-request-id"] == answer.json()["details"]["requestId"]
        assert "location" not in answer.headers


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/metrics"])
def test_operators_ask_by_get(service, path):
    """What operators ask is answered to anybody, and changed by nobody."""
    assert request(service, b"GET", path).status == 200
    answer = request(service, b"HEAD", path)
    assert (answer.status, answer.body) == (200, b"")
    answer = request(service, b"POST", path, b"{}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_a_question_mark_changes_nothing(service, who):
    """What stands after a path is not looked at."""
    with Connection(service) as connection:
        body = stream({"logName": "log"})
        connection.ask("describe?log=other", body, who)
        assert connection.answer().json()["name"] == "log"


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
def test_nothing_but_http_is_spoken_on_request(service, who, upgrade):
    """A wish to change the protocol is refused, and not half fulfilled."""
    with Connection(service) as connection:
        connection.ask("describe", stream({"logName": "log"}), who, Connection="Upgrade", Upgrade=upgrade)
        assert connection.answer().status == 400
        assert connection.is_cut()
    with Connection(service) as connection:
        connection.ask("describe", stream({"logName": "log"}), who, Upgrade=upgrade)
        assert connection.answer().status == 200


# Those who leave


def test_who_goes_away_waits_no_more(service, who):
    """A poll whose client has gone is dropped, and its log is not waited for any more; others are."""
    head = service.store.describe("acme/log").head
    question = stream({"logName": "log", "waitSeconds": 60, "fromVersion": head})
    with Connection(service) as stays:
        stays.ask("diff", question, who)
        for _ in range(5):
            with Connection(service) as goes, Connection(service) as goes_too:
                goes.ask("diff", question, who)
                goes_too.ask("diff", question, who)
                service.waits(3)
                goes_too.socket.shutdown(2)
            service.waits(1)
        service.store.update("acme/log", Transaction([Upsert(b"woken", b"%d" % head)]))
        assert stays.answer().json()["toVersion"] == head + 1
    until(lambda: set(service.app.service.polls._topics) == {"@/access"})


def test_a_service_leaves_nothing_behind(told):
    """After its end: no thread, no task, no open file of it."""
    threads = set(threading.enumerate())
    with serving(limits=SMALL) as service:
        who = service.credentials("acme")
        service.store.create("acme/log")
        with Connection(service) as connection:
            connection.ask("diff", stream({"logName": "log", "waitSeconds": 60}), who)
            service.waits(1)
        service.waits(0)
    until(lambda: set(threading.enumerate()) <= threads)
