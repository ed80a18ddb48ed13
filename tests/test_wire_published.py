"""What the published client sends is read as it is meant, and what we answer is what it understands."""

import indelible_log
import pytest
import requests

from indelible import faults, shapes, wire
from indelible.changes import Added, Removed
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.credentials import Credentials
from indelible.errors import UnexpectedVersion
from indelible.limits import Limits
from indelible.messages import CreateLog, DiffLog
from indelible.pages import AtCommand, AtKey, DiffRequest, Page
from indelible.shapes import DIFF_LOG, credentials, encode_page
from indelible.updates import read_update

WHO = {"customer_id": "acme", "apikey": "sesame"}
US = Credentials("acme", "sesame")
CHANGES = (Added(b"k", b"v", 1), Removed(b"", b"\xff", 2**63 - 1), Added(b"\0" * 3, b"", 3))


class Wire:
    """In place of a network: what the published client sends, and what it is answered."""

    def __init__(self):
        self.path = self.body = None
        self.status, self.answer = 200, b""

    def post(self, url, **content):
        sent = requests.Request("POST", url, **content).prepare()
        self.path = sent.path_url
        self.body = sent.body if isinstance(sent.body, bytes) else b"".join(sent.body)
        response = requests.Response()
        response.status_code, response._content = self.status, self.answer
        return response


@pytest.fixture
def sent(monkeypatch):
    it = Wire()
    monkeypatch.setattr(indelible_log.requests, "post", it.post)
    return it


def published(name="l", **modes):
    profile = {**WHO, "master_key": b"k" * 32, "endpoint_url": "https://logs.example"}
    return indelible_log.Log(name, profile, **{"encrypt": False, "name_mode": "raw", "key_mode": "binary"} | modes)


def test_what_the_published_client_creates(sent):
    """The published client's ``create`` is read as it is meant, with a group and without."""
    for group in (None, "g"):
        published().create(group)
        plain = wire.document(sent.body)
        assert (sent.path, credentials(plain)) == ("/v1/log/create", US)
        assert shapes.CREATE_LOG.read(plain, "") == CreateLog("l", group)


DIFFS = {
    "nothing": ({"from_version": None}, DiffRequest(limit=50)),
    "versions": ({"from_version": 1, "to_version": 2}, DiffRequest(1, 2, limit=50)),
    "waiting": ({"from_version": 1, "wait_seconds": 60}, DiffRequest(1, wait_seconds=60, limit=50)),
    "a key": (
        {"from_version": 0, "order_results_by": "key", "limit": 1, "pagination_options": {"skipToKey": b"k"}},
        DiffRequest(order="key", limit=1, cursor=AtKey(b"k")),
    ),
    "hand-made numbers": ({"from_version": "1", "limit": "2"}, DiffRequest(1, limit=2)),
}


@pytest.mark.parametrize(("asked", "meant"), DIFFS.values(), ids=DIFFS)
def test_what_the_published_client_asks(sent, asked, meant):
    """The published client's ``diff_page`` is read as it is meant."""
    sent.answer = encode_page(Page(0, 0, (), None))
    published().diff_page(**asked)
    plain = wire.document(sent.body)
    assert (sent.path, credentials(plain)) == ("/v1/log/diff", US)
    assert DIFF_LOG.read(plain, "") == DiffLog("l", meant)


@pytest.mark.parametrize("cursor", [AtCommand(3, 4), AtCommand(3, 4, True), AtKey(b"k"), AtKey(b"", True)])
def test_the_published_client_understands_a_page(sent, cursor):
    """It reads our pages, and sends back the options of the next one so that they are the same place."""
    log = published(value_mode="binary")
    sent.answer = encode_page(Page(1, 3, CHANGES, cursor))
    order = "key" if isinstance(cursor, AtKey) else None
    answer = log.diff_page(1, 3, order_results_by=order)
    assert (answer["fromVersion"], answer["toVersion"]) == (1, 3)
    assert answer["page"] == [
        {"change": "Add", "entry": {"key": b"k", "value": b"v"}, "version": 1},
        {"change": "Remove", "entry": {"key": b"", "value": b"\xff"}, "version": 2**63 - 1},
        {"change": "Add", "entry": {"key": b"\0" * 3, "value": b""}, "version": 3},
    ]
    log.diff_page(1, 3, order_results_by=order, pagination_options=answer["nextPageOptions"])
    assert DIFF_LOG.read(wire.document(sent.body), "").request.cursor == cursor
    sent.answer = encode_page(Page(1, 3, CHANGES, None))
    assert len(list(log.version_diff(1, 3).changes())) == 3


def test_the_published_client_names_sealed_logs(sent):
    """The name of a sealed log is a text like any other."""
    log = published("l", encrypt=True, name_mode="string")
    log.create()
    assert shapes.CREATE_LOG.read(wire.document(sent.body), "").log == log.remote_name


COMMANDS = [
    (indelible_log.Cmd.ExpectVersion(3), ExpectVersion(3)),
    (indelible_log.Cmd.Insert(b"k", b"v"), Insert(b"k", b"v")),
    (indelible_log.Cmd.Update(b"", b"\xff"), Update(b"", b"\xff")),
    (indelible_log.Cmd.Upsert(b"\0", b""), Upsert(b"\0", b"")),
    (indelible_log.Cmd.Remove(b"k", b"v"), Remove(b"k", b"v")),
]


@pytest.mark.parametrize("source", [None, "", "é"])
@pytest.mark.parametrize("count", range(len(COMMANDS) + 1))
def test_what_the_published_client_updates(sent, count, source):
    """The published client's stream, objects without anything between them, is read as it is meant."""
    theirs, ours = zip(*COMMANDS[:count], strict=True) if count else ((), ())
    published(value_mode="binary").update(theirs, source)
    assert sent.path == "/v1/log/update"
    assert sent.body.count(b"}{") == count
    who, update = read_update(wire.documents(sent.body), Limits())
    assert (who, update.log, update.attempt) == (US, "l", 1)
    assert update.transaction == Transaction(ours, source, id=update.transaction.id)


def test_each_sending_of_the_published_client_is_a_transaction_of_its_own(sent):
    """S16: a transaction that comes without an id is given one, another each time."""
    published(value_mode="binary").update([indelible_log.Cmd.Upsert(b"k", b"v")])
    first, second = (read_update(wire.documents(sent.body), Limits())[1].transaction for _ in range(2))
    assert first.id != second.id
    assert first.commands == second.commands


def test_the_published_client_takes_any_answer_to_an_update(sent):
    """It reads nothing of an answer to ``create`` and ``update`` but that it is one."""
    for sent.answer in (wire.encode({}), wire.encode({"version": 1, "changed": True, "replayed": False})):
        assert published().create() is None
        assert published().update([]) is None


def test_the_published_client_understands_an_error(sent):
    """Code, number and message are where it looks for them."""
    sent.status = 412
    sent.answer = faults.encode(UnexpectedVersion("l", 0, "ExpectVersion", 3, 1, 3), "r1")
    with pytest.raises(indelible_log.ApiErrorException) as raised:
        published().update([indelible_log.Cmd.ExpectVersion(1)])
    assert (raised.value.code, raised.value.codeNumber) == ("UNEXPECTED_VERSION", 1003)
    assert raised.value.message.startswith("command 0 (ExpectVersion) on log 'l' at version 3: expected version 1")
