"""Who gets what from the service: every call, asked by everybody who should not, and what the answers give away."""

import base64
import contextlib
import datetime as dt
import http.client
import json
import threading

import pytest
from serving import PATIENCE, Connection, head_of, serving, serving_apart, until

from indelible import routes, seams
from indelible.commands import Insert, Transaction, Upsert
from indelible.credentials import Credentials
from indelible.pages import DiffRequest
from indelible.server import keyring

REQUEST_ID = "the-same"
KEY = base64.b64encode(b"k").decode()


def asked(name, log="mine", group=None):
    """A call about a log that is right in every way."""
    who = {} if group is None else {"logGroup": group}
    return {
        "create": {"logName": log} | who,
        "update": {"logName": log},
        "diff": {"logName": log, "waitSeconds": 0},
        "describe": {"logName": log},
        "list": {},
        "versions": {"logName": log},
        "history": {"logName": log, "key": KEY},
        "trim": {"logName": log, "before": 0},
    }[name]


def body_of(name, question, command="Upsert"):
    """The body of that call; an update would change something."""
    text = json.dumps(question)
    return (text + json.dumps({"type": command, "key": KEY, "value": KEY}) * (name == "update")).encode()


CALLS = [route.name for route in routes.ROUTES]
EVERY_CALL = pytest.mark.parametrize("call", CALLS)
ABOUT_A_LOG = pytest.mark.parametrize("call", [name for name in CALLS if name not in ("create", "list")])

WAYS = {
    "Basic": lambda who, question: (basic(who), question),
    "authinfo": lambda who, question: ({}, {"authinfo": info(who)} | question),
    "authInfo": lambda who, question: ({}, {"authInfo": info(who)} | question),
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS)


def text_of(who):
    return who.apikey.reveal().decode()


def basic(who):
    given = base64.b64encode(f"{who.customer_id}:{text_of(who)}".encode()).decode()
    return {"Authorization": f"Basic {given}"}


def info(who):
    return {"customer_id": who.customer_id, "apikey": text_of(who)}


def ask(service, call, way, who, **about):
    """One call, by one way to say who asks."""
    headers, question = WAYS[way](who, asked(call, **about))
    return service.call(call, body_of(call, question), headers=headers)


def told(answer):
    """An answer as its reader sees it: everything but the time."""
    return answer.status, sorted((name, value) for name, value in answer.headers.items() if name != "date"), answer.data


def contents(service):
    """All that the store holds."""
    store = service.store
    return [(info, store.diff(info.name, DiffRequest()), store.versions(info.name)) for info in store.logs()]


@pytest.fixture(scope="module")
def service():
    """A service with a log of each of two customers, and one of a group."""
    with serving() as service:
        store = service.store
        service.credentials("acme")
        service.credentials("evil")
        for name, group in {"acme/mine": None, "acme/grouped": "g", "evil/theirs": None, "evil/both": None}.items():
            store.create(name, group)
            store.update(name, Transaction([Insert(b"there", b"already")]))
        yield service


@contextlib.contextmanager
def nothing_changes(service):
    before = contents(service)
    yield
    assert contents(service) == before


# Who is refused


@EVERY_WAY
@EVERY_CALL
def test_a_key_that_may_is_let_in(service, call, way):
    """Each call succeeds with a key of its scope alone, said in the header or in the body; what else is refused, is
    not refused for nothing."""
    (route,) = [route for route in routes.ROUTES if route.name == call]
    who = service.credentials("acme", [route.scope])
    answer = ask(service, call, way, who)
    assert answer.status == 200, answer.data


@EVERY_WAY
@EVERY_CALL
def test_a_key_without_the_scope_is_not_allowed(service, call, way):
    """A key with the two other scopes is told that it may not, and does nothing."""
    (route,) = [route for route in routes.ROUTES if route.name == call]
    who = service.credentials("acme", {"read", "write", "admin"} - {route.scope})
    with nothing_changes(service):
        answer = ask(service, call, way, who)
    assert (answer.status, answer.json()["code"], answer.json()["codeNumber"]) == (403, "NOT_ALLOWED", 1025)
    assert answer.json()["details"]["effect"] == "none"


def other(who, customer=None, apikey=None):
    return Credentials(customer or who.customer_id, apikey or text_of(who))


REFUSED = {
    "a wrong secret": lambda who, _evil: other(
        who, apikey=text_of(who)[:-1] + ("a" if text_of(who)[-1] != "a" else "b")
    ),
    "no key at all": lambda who, _evil: other(who, apikey="x"),
    "an unknown customer": lambda who, _evil: other(who, customer="nobody"),
    "the customer of nobody": lambda who, _evil: other(who, customer="@"),
    "another's customer": lambda who, _evil: other(who, customer="evil"),
    "another's key": lambda who, evil: other(who, apikey=text_of(evil)),
    "a key in capitals": lambda who, _evil: other(who, apikey=text_of(who).upper()),
    "a key with a space": lambda who, _evil: other(who, apikey=text_of(who) + " "),
}


@pytest.fixture(scope="module")
def who(service):
    return service.credentials("acme")


@pytest.fixture(scope="module")
def evil(service):
    return service.credentials("evil")


@EVERY_WAY
@EVERY_CALL
def test_whoever_is_not_known_gets_the_same_answer(service, who, evil, call, way):
    """Whatever is wrong with a customer and key, the answer is the same, byte for byte, and nothing is done (S20)."""
    answers = {}
    with nothing_changes(service):
        for what, change in REFUSED.items():
            headers, question = WAYS[way](change(who, evil), asked(call))
            headers["X-Request-Id"] = REQUEST_ID
            answers[what] = told(service.call(call, body_of(call, question), headers=headers))
    assert len(set(map(repr, answers.values()))) == 1, answers
    status, headers, body = answers["a wrong secret"]
    assert (status, json.loads(body)["code"], json.loads(body)["codeNumber"]) == (401, "BAD_API_KEY", 1001)
    assert dict(headers)["www-authenticate"].startswith("Basic ")


@EVERY_CALL
def test_whoever_does_not_say_is_refused(service, call):
    """Without customer and key in header or body: the same refusal as with wrong ones."""
    with nothing_changes(service):
        answer = service.call(call, body_of(call, asked(call)))
    assert (answer.status, answer.json()["code"]) == (401, "BAD_API_KEY")


def encoded(data):
    return base64.b64encode(data).decode()


MALFORMED = {
    "empty": "",
    "the scheme alone": "Basic",
    "the scheme and a space": "Basic ",
    "another scheme": "Bearer {good}",
    "no scheme": "{good}",
    "a list": "Basic {good}, Basic {good}",
    "twice": "Basic {good} {good}",
    "no Base64": "Basic !!!!",
    "cut Base64": "Basic {good}x",
    "URL-safe Base64": "Basic _-_-",
    "a break within": "Basic {half} {rest}",
    "no colon": f"Basic {encoded(b'acme')}",
    "no customer": f"Basic {encoded(b':key')}",
    "no key": f"Basic {encoded(b'acme:')}",
    "a colon": f"Basic {encoded(b':')}",
    "not UTF-8": f"Basic {encoded(bytes([0xFF, 0x3A, 0xFF]))}",
    "a surrogate": f"Basic {encoded(bytes([0xED, 0xA0, 0x80, 0x3A, 0x61]))}",
    "a null": f"Basic {encoded(b'acme' + bytes(1) + b':key')}",
    "very long": f"Basic {encoded(b'a:' + b'x' * 8_000)}",
}


@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_malformed_header_is_refused_before_the_body(service, who, malformed):
    """A header that says nobody is refused as a wrong key is, whatever the body says, and before it is read."""
    good = basic(who)["Authorization"].removeprefix("Basic ")
    value = MALFORMED[malformed].format(good=good, half=good[:20], rest=good[20:])
    question = {"authinfo": info(who)} | asked("describe")
    answer = service.call("describe", question, headers={"Authorization": value, "X-Request-Id": REQUEST_ID})
    wrong = service.call("describe", asked("describe"), other(who, apikey="x"), headers={"X-Request-Id": REQUEST_ID})
    assert told(answer) == told(wrong)
    assert service.call("describe", b"\xff", headers={"Authorization": value}).status == 401


@pytest.mark.parametrize("spelling", ["Basic {}", "basic {}", "BASIC {}", "Basic  {} "])
def test_spellings_of_the_header_that_mean_the_same(service, who, spelling):
    """The scheme's name knows no case, and space around the credentials does not matter (RFC 9110)."""
    good = basic(who)["Authorization"].removeprefix("Basic ")
    answer = service.call("describe", asked("describe"), headers={"Authorization": spelling.format(good)})
    assert answer.status == 200


@pytest.mark.parametrize(
    "authinfo",
    [{}, [], "acme", 1, {"customer_id": "acme"}, {"apikey": "x"}, {"customer_id": 1, "apikey": 2}]
    + [{"customer_id": "a:b", "apikey": "x"}, {"customer_id": "", "apikey": "x"}, {"customer_id": "a", "apikey": ""}],
)
def test_a_malformed_authinfo_is_refused(service, who, authinfo):
    """What is no ``authinfo`` is an invalid request, and lets nobody in."""
    with nothing_changes(service):
        answer = service.call("create", {"authinfo": authinfo, "logName": "new"})
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_REQUEST")
    assert service.call("describe", {"authinfo": info(who)} | asked("describe")).status == 200


def test_authinfo_said_twice_is_refused(service, who, evil):
    """Two customers in one body cannot be told apart; one of them is enough."""
    for first, second in [(who, who), (who, evil)]:
        body = {"authinfo": info(first), "authInfo": info(second)} | asked("describe")
        assert service.call("describe", body).json()["code"] == "INVALID_REQUEST"
    assert service.call("describe", {"authInfo": None, "authinfo": info(who)} | asked("describe")).status == 200


def test_two_authorization_headers_are_refused(service, who, evil):
    """Two headers cannot be told apart either: somebody in front of the service might read the other one."""
    host = service.url.removeprefix("http://")
    for second, status in [(None, 200), (who, 401), (evil, 401)]:
        connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        with contextlib.closing(connection):
            body = body_of("describe", asked("describe"))
            connection.putrequest("POST", "/v1/log/describe")
            for given in filter(None, [who, second]):
                connection.putheader("Authorization", basic(given)["Authorization"])
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            assert connection.getresponse().status == status


def test_the_header_and_the_body_must_agree(service, who, evil):
    """Credentials in the header count, and others in the body beside them are refused."""
    answer = service.call("describe", {"authinfo": info(evil)} | asked("describe"), who)
    assert (answer.status, answer.json()["code"]) == (401, "BAD_API_KEY")
    assert service.call("describe", {"authinfo": info(who)} | asked("describe"), who).status == 200


@EVERY_CALL
def test_a_revoked_key_is_refused(service, call):
    """A key that was taken back is refused as one that never was."""
    gone = service.credentials("acme")
    assert ask(service, call, "Basic", gone).status == 200
    service.access.revoke(text_of(gone).split("_")[1])
    until(lambda: service.call("list", {}, gone).status == 401)
    with nothing_changes(service):
        for way in WAYS:
            answer = ask(service, call, way, gone)
            assert (answer.status, answer.json()["code"]) == (401, "BAD_API_KEY")


@EVERY_CALL
def test_an_expired_key_is_refused(service, call, monkeypatch):
    """From its last instant on, a key is refused as one that never was."""
    ends = seams.now() + dt.timedelta(hours=1)
    who = service.credentials("acme", expires_at=ends)
    assert ask(service, call, "Basic", who).status == 200
    monkeypatch.setattr(seams, "clock", ends.timestamp)
    with nothing_changes(service):
        for way in WAYS:
            answer = ask(service, call, way, who)
            assert (answer.status, answer.json()["code"]) == (401, "BAD_API_KEY")


def test_a_key_that_expires_while_its_poll_waits(monkeypatch):
    """Whoever waits is turned away at the end of their key's time, and is told nothing that came after it."""
    monkeypatch.setattr(keyring, "_LOOK_SECONDS", 1_000)
    with serving() as service:
        service.store.create("acme/log")
        lasting = service.credentials()
        ends = seams.now() + dt.timedelta(seconds=1)
        passing = service.credentials("acme", expires_at=ends)
        question = json.dumps({"logName": "log", "waitSeconds": 60}).encode()
        with Connection(service) as mine, Connection(service) as theirs:
            mine.ask("diff", question, lasting)
            theirs.ask("diff", question, passing)
            answer = theirs.answer()
            assert (answer.status, answer.code) == (401, "BAD_API_KEY")
            service.store.update("acme/log", Transaction([Upsert(b"k", b"v")]))
            assert mine.answer().status == 200


@pytest.mark.parametrize("seconds", [-1, 1])
def test_a_key_that_expires_while_a_body_comes(service, monkeypatch, seconds):
    """What is not all there in the key's time is not done; the control is there a moment before."""
    ends = seams.now() + dt.timedelta(hours=1)
    who = service.credentials("acme", expires_at=ends)
    body = b'{"logName":"mine"}{"type":"Upsert","key":"YQ==","value":"%d"}' % (2000 + seconds)
    before = service.store.describe("acme/mine").head
    with Connection(service) as connection:
        connection.send(head_of("update", body, who) + body[:10])
        until(lambda: service.app.service.admission._requests["acme"] == 1)
        monkeypatch.setattr(seams, "clock", lambda: ends.timestamp() + seconds)
        connection.send(body[10:])
        assert connection.answer().status == (200 if seconds < 0 else 401)
    assert service.store.describe("acme/mine").head == before + (seconds < 0)


def test_a_stranger_is_refused_by_the_first_object(service):
    """Of who does not say who asks, no command is read; of who says so in the body, all are."""
    who = service.credentials()
    commands = b'{"type":"Upsert","key":"YQ==","value":"YQ=="}' * 3 + b"no command"
    given = info(who)
    for more, status in [({}, 401), ({"authinfo": given | {"apikey": "wrong"}}, 401), ({"authinfo": given}, 400)]:
        answer = service.call("update", json.dumps({"logName": "mine"} | more).encode() + commands)
        assert answer.status == status


# What answers give away


@ABOUT_A_LOG
def test_the_logs_of_another_customer_are_as_if_they_were_not_there(service, who, evil, call):
    """S20: asked for a log that only another customer has, the answer is that for one nobody has, byte for byte."""
    assert ask(service, call, "Basic", evil, log="theirs").status == 200

    def answer(log):
        body = body_of(call, asked(call, log))
        status, headers, data = told(service.call(call, body, who, headers={"X-Request-Id": REQUEST_ID}))
        return status, headers, data.replace(log.encode(), b"its name")

    with nothing_changes(service):
        assert answer("theirs") == answer("nobody")
    assert answer("theirs")[0] == 404


QUESTIONS = {
    "plain": lambda call, log: (asked(call, log), "Upsert"),
    "another version": lambda call, log: (asked(call, log) | VERSIONS.get(call, {}), "Upsert"),
    "a rejection": lambda call, log: (asked(call, log), "Update"),
    "waiting": lambda call, log: (asked(call, log) | ({"waitSeconds": 0.01} if call == "diff" else {}), "Insert"),
    "no sense": lambda call, log: (asked(call, log) | NONSENSE[call], "Insert"),
}
VERSIONS = {
    "diff": {"toVersion": 7},
    "versions": {"toVersion": 7},
    "trim": {"before": 7},
    "history": {"fromVersion": 7},
}
NONSENSE = {
    "update": {"attempt": 0},
    "diff": {"limit": -1},
    "describe": {"more": 1},
    "versions": {"fromVersion": -1},
    "history": {"key": "x"},
    "trim": {"before": -1},
}


@pytest.mark.parametrize("question", QUESTIONS)
@ABOUT_A_LOG
def test_the_logs_of_another_group_are_as_if_they_were_not_there(service, call, question):
    """S20: to a key for one group, a log of another answers, byte for byte, as the same name did before it was there."""
    limited = service.credentials("acme", group="g")
    log = f"{call} {question}"
    body, command = QUESTIONS[question](call, log)

    def ask_again():
        headers = {"X-Request-Id": REQUEST_ID}
        return told(service.call(call, body_of(call, body, command), limited, headers=headers))

    absent = ask_again()
    service.store.create(f"acme/{log}", "h")
    service.store.update(f"acme/{log}", Transaction([Insert(b"k", b"another value")]))
    with nothing_changes(service):
        assert ask_again() == absent
    assert absent[0] == (400 if question == "no sense" else 404)
    assert "indelible-version" not in dict(absent[1])
    service.store.create(f"acme/{log} of g", "g")
    body, command = QUESTIONS["plain"](call, f"{log} of g")
    assert service.call(call, body_of(call, body, command), limited).status == 200


def test_a_key_for_a_group_makes_and_lists_logs_of_that_group_only(service):
    """A key for one group makes logs of it, and no others; its list is of them, whatever group it asks for."""
    limited = service.credentials("acme", group="g")
    for group in ("h", None):
        with nothing_changes(service):
            answer = ask(service, "create", "Basic", limited, log="new", group=group)
        assert (answer.status, answer.json()["code"]) == (403, "NOT_ALLOWED")
    assert ask(service, "create", "Basic", limited, log="made by a limited key", group="g").status == 200
    logs = service.call("list", {}, limited).json()["logs"]
    assert {log["group"] for log in logs} == {"g"}
    assert {log["name"] for log in logs} >= {"grouped", "made by a limited key"}
    assert service.call("list", {"logGroup": "h"}, limited).json() == {"logs": [], "nextAfterName": None}


def test_a_list_has_the_customers_own_logs_only(service, who, evil):
    """Each customer sees its own logs, and by the names that it gave them; the log of access is nobody's."""
    mine = {log["name"] for log in service.call("list", {}, who).json()["logs"]}
    theirs = {log["name"] for log in service.call("list", {}, evil).json()["logs"]}
    assert mine >= {"mine", "grouped"} and theirs == {"theirs", "both"}
    assert not any("access" in name or "/" in name for name in mine | theirs)


@pytest.mark.parametrize("name", ["../evil/theirs", "/evil/theirs", "evil/theirs", "@/access", "/../@/access", "\0"])
@ABOUT_A_LOG
def test_no_name_leads_to_another_customer(service, who, call, name):
    """Whatever a customer calls a log, it is the customer's own."""
    with nothing_changes(service):
        assert service.call(call, body_of(call, asked(call, name)), who).json()["code"] == "NONEXISTENT_LOG"


def test_an_error_shows_no_secret(service, who):
    """Neither the key that was sent nor what is stored is in any refusal."""
    for call in CALLS:
        for given in (who, other(who, apikey="a wrong one")):
            body = {"authinfo": info(given), "more": text_of(given), "logName": 5, "attempt": text_of(given)}
            data = service.call(call, body).data.decode()
            assert text_of(given) not in data and "already" not in data


# While somebody waits


class Waiting(threading.Thread):
    """A poll in a thread of its own."""

    def __init__(self, service, who, log="mine", after=1, **more):
        super().__init__(daemon=True)
        self._ask = lambda: service.call("diff", {"logName": log, "fromVersion": after, "waitSeconds": 60} | more, who)
        self.start()

    def run(self):
        self._answer = self._ask()

    def answer(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "the poll was not answered"
        return self._answer


def test_a_revocation_ends_running_polls(service, who):
    """Who waits with a key that is taken back is told so at once; who waits with another goes on, and is woken."""
    service.store.create("acme/waited for")
    gone = service.credentials("acme")
    ended = [Waiting(service, gone, "waited for", 0, limit=limit) for limit in (1, 2)]
    goes_on = Waiting(service, who, "waited for", 0)
    service.waits(3)
    service.access.revoke(text_of(gone).split("_")[1])
    for poll in ended:
        assert (poll.answer().status, poll.answer().json()["code"]) == (401, "BAD_API_KEY")
    service.waits(1)
    service.store.update("acme/waited for", Transaction([Insert(b"k", b"v")]))
    assert (goes_on.answer().status, goes_on.answer().json()["toVersion"]) == (200, 1)


def test_removing_a_customer_ends_its_polls(service):
    """A customer goes with its keys, and with all who wait under them."""
    gone = service.credentials("going")
    service.store.create("going/log")
    poll = Waiting(service, gone, "log", 0)
    service.waits(1)
    service.access.remove_customer("going")
    assert poll.answer().status == 401


def test_a_key_that_expires_ends_its_polls(monkeypatch):
    """Who waits with a key whose time is over is turned away soon."""
    monkeypatch.setattr(keyring, "_LOOK_SECONDS", 0.05)
    with serving() as service:
        ends = seams.now() + dt.timedelta(hours=1)
        who = service.credentials("acme", expires_at=ends)
        service.store.create("acme/log")
        poll = Waiting(service, who, "log", 0)
        service.waits(1)
        monkeypatch.setattr(seams, "clock", ends.timestamp)
        assert poll.answer().status == 401


@pytest.mark.parametrize(("revoked", "status"), [(False, 200), (True, 401)])
def test_a_key_that_is_taken_back_while_a_body_comes_does_nothing(service, revoked, status):
    """Who began to send with a good key, and was still sending when it was taken back, is refused."""
    who, log = service.credentials("acme"), f"while a body comes, {revoked}"
    service.store.create(f"acme/{log}")
    body = body_of("update", asked("update", log))
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/v1/log/update")
        connection.putheader("Authorization", basic(who)["Authorization"])
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10])
        if revoked:
            service.access.revoke(text_of(who).split("_")[1])
            until(lambda: service.call("list", {}, who).status == 401)
        connection.send(body[10:])
        assert connection.getresponse().status == status
    assert service.store.describe(f"acme/{log}").head == (0 if revoked else 1)


def test_what_another_process_changes_is_known_soon(tmp_path):
    """A key that another process issues is let in, one that it revokes is not, and who waits with it is told."""
    with serving_apart(f"sqlite:///{tmp_path}/logs.db") as service:
        who = service.credentials("acme")
        service.store.create("acme/log")
        poll = Waiting(service, who, "log", 0)
        service.waits(1)
        service.access.revoke(text_of(who).split("_")[1])
        assert poll.answer().status == 401
        assert service.call("list", {}, who).status == 401
        assert service.call("list", {}, service.credentials("acme")).status == 200
