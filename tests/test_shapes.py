"""How each message stands in JSON: what must be said, what may be, and in which spellings."""

import json

import attrs
import pytest

from indelible import shapes, wire
from indelible.changes import Added, Entry, Removed, Revision
from indelible.credentials import Credentials
from indelible.errors import InvalidRequest
from indelible.messages import (
    LARGEST_PAGE,
    CreateLog,
    DescribeLog,
    DiffLog,
    Done,
    KeyRevisions,
    ListLogs,
    ListVersions,
    LogPage,
    RevisionPage,
    TrimLog,
    VersionPage,
)
from indelible.pages import AtCommand, AtKey, DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo
from indelible.seams import now
from indelible.shapes import CURSOR, DIFF_LOG, PAGE, credentials, encode_page

INFINITE = float("inf")
WHO = {"customer_id": "acme", "apikey": "sesame"}
NEVER_WHOLE = [-1, 2**63, 1.0, INFINITE, True, "01", "+1", "١", "", [], {}]
NEVER_NAME = ["", "\ud800", 1, True, [], {}]
NEVER_TEXT = ["\ud800", 1, True, [], {}]
NEVER_BINARY = ["A", "AB==", "AA==\n", 1, True, [], {}]


@attrs.frozen
class Sample:
    """A request as it is sent and what it means; which fields it needs; what else each may be, and never is."""

    kind: wire.Kind
    sent: dict
    meant: object
    least: object
    required: tuple
    spellings: dict
    never: dict
    addition: bool = True


SAMPLES = {
    "create": Sample(
        shapes.CREATE_LOG,
        {"logName": "l", "logGroup": "g"},
        CreateLog("l", "g"),
        CreateLog("l"),
        ("logName",),
        {},
        {"logName": NEVER_NAME, "logGroup": NEVER_TEXT},
        addition=False,
    ),
    "diff": Sample(
        DIFF_LOG,
        {
            "logName": "l",
            "fromVersion": 1,
            "toVersion": 9,
            "waitSeconds": 0.5,
            "orderResultsBy": "command",
            "limit": 7,
            "paginationOptions": {"skipToVersion": 3, "skipToCommand": 4, "removeAlreadySeen": "true"},
        },
        DiffLog("l", DiffRequest(1, 9, wait_seconds=0.5, limit=7, cursor=AtCommand(3, 4, removal_seen=True))),
        DiffLog("l", DiffRequest(limit=50)),
        ("logName",),
        {"fromVersion": ["1"], "toVersion": ["9"], "limit": ["7"]},
        {
            "logName": NEVER_NAME,
            "fromVersion": NEVER_WHOLE,
            "toVersion": NEVER_WHOLE,
            "waitSeconds": [-1, 61, INFINITE, 10**400, True, "0.5", "", [], {}],
            "orderResultsBy": ["", "Key", "version", "key", True, 1, [], {}],
            "limit": NEVER_WHOLE,
            "paginationOptions": [True, 1, "", "3", [], {}],
        },
        addition=False,
    ),
    "describe": Sample(
        shapes.DESCRIBE_LOG,
        {"logName": "l"},
        DescribeLog("l"),
        DescribeLog("l"),
        ("logName",),
        {},
        {"logName": NEVER_NAME},
    ),
    "list": Sample(
        shapes.LIST_LOGS,
        {"logGroup": "", "afterName": "a", "limit": 2},
        ListLogs("", "a", 2),
        ListLogs(limit=LARGEST_PAGE),
        (),
        {"limit": ["2"]},
        {"logGroup": NEVER_TEXT, "afterName": NEVER_NAME, "limit": NEVER_WHOLE},
    ),
    "versions": Sample(
        shapes.LIST_VERSIONS,
        {"logName": "l", "fromVersion": 1, "toVersion": 2},
        ListVersions("l", 1, 2),
        ListVersions("l"),
        ("logName",),
        {"fromVersion": ["1"], "toVersion": ["2"]},
        {"logName": NEVER_NAME, "fromVersion": NEVER_WHOLE, "toVersion": NEVER_WHOLE},
    ),
    "history": Sample(
        shapes.KEY_REVISIONS,
        {"logName": "l", "key": "aw==", "fromVersion": 1},
        KeyRevisions("l", b"k", 1),
        KeyRevisions("l", b"k"),
        ("logName", "key"),
        {"fromVersion": ["1"]},
        {"logName": NEVER_NAME, "key": NEVER_BINARY, "fromVersion": NEVER_WHOLE},
    ),
    "trim": Sample(
        shapes.TRIM_LOG,
        {"logName": "l", "before": 3},
        TrimLog("l", 3),
        TrimLog("l", 3),
        ("logName", "before"),
        {"before": ["3"]},
        {"logName": NEVER_NAME, "before": NEVER_WHOLE},
    ),
}
ALL = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def read(sample, plain):
    """As the service reads it: from bytes, in which a number may be too large for any number of Python's."""
    return sample.kind.read(wire.document(json.dumps(plain).replace("Infinity", "1e400").encode()), "")


def refuses(sample, plain):
    """What is said when this request is refused."""
    with pytest.raises(InvalidRequest) as raised:
        read(sample, plain)
    return str(raised.value)


# Requests


@ALL
def test_a_request_is_read_and_written(sample):
    """What is sent is read as it is meant, and written alike."""
    assert read(sample, sample.sent) == sample.meant
    assert sample.kind.write(sample.meant) == sample.sent


@ALL
def test_a_required_field_is_missed(sample):
    """Without a field that is required, or with null in it, a request is refused, which names it."""
    assert tuple(sample.kind.schema["required"]) == sample.required
    assert read(sample, sample.sent) == sample.meant
    for name in sample.required:
        without = {other: value for other, value in sample.sent.items() if other != name}
        assert refuses(sample, without) == refuses(sample, without | {name: None}) == f"{name} is missing"


@ALL
def test_what_is_not_required_has_a_default(sample):
    """The fields that are required are enough; null in the others is as good as nothing."""
    least = {name: sample.sent[name] for name in sample.required}
    assert read(sample, least) == sample.least
    assert read(sample, dict.fromkeys(sample.sent) | least) == sample.least


@ALL
def test_numbers_may_be_text(sample):
    """Whole numbers may be sent as decimal text."""
    for name, spellings in sample.spellings.items():
        for spelling in spellings:
            assert read(sample, sample.sent | {name: spelling}) == sample.meant


@ALL
def test_a_field_of_another_type_is_refused(sample):
    """Each field is of its kind and in its range, or the request is refused; the others are as they were."""
    assert set(sample.never) == set(sample.sent)
    assert read(sample, sample.sent) == sample.meant
    for name, never in sample.never.items():
        for value in never:
            assert name in refuses(sample, sample.sent | {name: value})


@ALL
def test_unknown_fields_are_ignored_where_they_were(sample):
    """The old calls pass over what they do not know; ours refuse it. Both let a request say who asks."""
    for plain in (sample.sent | {"authinfo": WHO}, sample.sent | {"authInfo": WHO}, sample.sent | {"authinfo": None}):
        assert read(sample, plain) == sample.meant
    for name in ("other", "LogName", "logname", "", "\ud800"):
        if sample.addition:
            assert "and nothing else" in refuses(sample, sample.sent | {name: {"a": [1]}})
        else:
            assert read(sample, sample.sent | {name: {"a": [1]}}) == sample.meant


# Who asks


def who(plain):
    return credentials(wire.document(json.dumps(plain).encode()))


@pytest.mark.parametrize("name", ["authinfo", "authInfo"])
def test_who_asks_stands_in_the_body(name):
    """Either spelling says who asks, and so does none."""
    told = who({name: WHO, "logName": "l"})
    assert told == Credentials("acme", "sesame")
    assert told.apikey.reveal() == b"sesame"
    assert who({name: {**WHO, "more": 1}}) == told
    assert who({"authInfo": None, "authinfo": None} | {name: WHO}) == told
    assert who({name: None}) is who({}) is None


@pytest.mark.parametrize("second", [WHO, {**WHO, "apikey": "other"}, {}, "x"])
def test_who_asks_is_said_once(second):
    """Both spellings at once are refused, even if they agree: nothing in front of the service may read the other one."""
    with pytest.raises(InvalidRequest, match="say authinfo once"):
        who({"authinfo": WHO, "authInfo": second})


@pytest.mark.parametrize(
    "wrong",
    [True, 1, "acme:sesame", [], [WHO], {}, {"customer_id": "acme"}, {"apikey": "sesame"}]
    + [{**WHO, "customer_id": it} for it in ["", "a:b", "\ud800", 1, None, [], {}]]
    + [{**WHO, "apikey": it} for it in ["", "\ud800", 1, None, [], {}]],
    ids=repr,
)
def test_who_asks_is_two_texts(wrong):
    """Anything but two texts is refused, without a word of the key."""
    with pytest.raises(InvalidRequest, match="authinfo|customer id") as raised:
        who({"authinfo": wrong})
    assert "sesame" not in repr(raised.value)


def test_our_own_requests_hold_no_key():
    """What we write does not say who asks: our client says that in a header."""
    assert shapes.CREDENTIALS.write(Credentials("acme", "sesame")) == {"customer_id": "acme", "apikey": ""}
    assert not any("auth" in name for sample in SAMPLES.values() for name in sample.kind.write(sample.meant))


# Places in a diff

PLACES = [
    ("command", {"skipToVersion": 3, "skipToCommand": 4, "removeAlreadySeen": "false"}, AtCommand(3, 4)),
    ("command", {"skipToVersion": 3, "skipToCommand": 4, "removeAlreadySeen": "true"}, AtCommand(3, 4, True)),
    ("command", {"skipToVersion": 3, "skipToCommand": 4, "removeAlreadySeen": True}, AtCommand(3, 4, True)),
    ("command", {"skipToVersion": 3, "skipToCommand": 4}, AtCommand(3, 4)),
    ("command", {"skipToVersion": "3", "skipToCommand": "4"}, AtCommand(3, 4)),
    ("command", {"skipToVersion": 3}, AtCommand(3, 0)),
    ("command", {"skipToVersion": 0}, AtCommand(0, 0)),
    ("command", {"skipToVersion": 3, "skipToCommand": 4, "skipToKey": None}, AtCommand(3, 4)),
    ("command", {"skipToVersion": 3, "skipToCommand": None, "removeAlreadySeen": None, "x": 1}, AtCommand(3, 0)),
    ("key", {"skipToKey": "aw==", "removeAlreadySeen": "true"}, AtKey(b"k", True)),
    ("key", {"skipToKey": "aw==", "removeAlreadySeen": "false"}, AtKey(b"k")),
    ("key", {"skipToKey": "aw=="}, AtKey(b"k")),
    ("key", {"skipToKey": ""}, AtKey(b"")),
    ("key", {"skipToKey": "aw==", "skipToVersion": None, "skipToCommand": None}, AtKey(b"k")),
    ("key", {"skipToKey": "aw==", "skipToCommand": 0}, AtKey(b"k")),
]


@pytest.mark.parametrize(("order", "plain", "cursor"), PLACES, ids=str)
def test_a_place_is_read_in_every_form(order, plain, cursor):
    """S12: the options of a page are read back as we write them, and as they are made by hand."""
    wanted = {"logName": "l", "orderResultsBy": order, "paginationOptions": plain}
    assert DIFF_LOG.read(wanted, "").request.cursor == cursor
    assert CURSOR.read(CURSOR.write(cursor), "") == cursor


@pytest.mark.parametrize(
    "plain",
    [{}, {"removeAlreadySeen": "true"}, {"skipToCommand": 4}, {"skipToVersion": 3, "skipToKey": "aw=="}, {"x": 1}]
    + [{"skipToVersion": it} for it in NEVER_WHOLE]
    + [{"skipToVersion": 3, "skipToCommand": it} for it in NEVER_WHOLE]
    + [{"skipToKey": it} for it in NEVER_BINARY]
    + [{"skipToVersion": 3, "removeAlreadySeen": it} for it in ("", "True", "yes", 1, 0, [], {})],
    ids=str,
)
@pytest.mark.parametrize("order", ["command", "key"])
def test_what_names_no_place_is_refused(order, plain):
    """No place, two places, or one that is not of its kind: refused, and the field is named."""
    with pytest.raises(InvalidRequest, match="^paginationOptions"):
        DIFF_LOG.read({"logName": "l", "orderResultsBy": order, "paginationOptions": plain}, "")


@pytest.mark.parametrize(("order", "plain"), [place[:2] for place in PLACES], ids=str)
def test_a_place_is_of_the_order_asked_for(order, plain):
    """A place in the other order is refused; the order is ``command`` unless given."""
    other = {"command": "key", "key": "command"}[order]
    said = "paginationOptions must be of the order that orderResultsBy asks for"
    with pytest.raises(InvalidRequest, match=said):
        DIFF_LOG.read({"logName": "l", "orderResultsBy": other, "paginationOptions": plain}, "")
    unsaid = {"logName": "l", "paginationOptions": plain}
    if order == "key":
        with pytest.raises(InvalidRequest, match=said):
            DIFF_LOG.read(unsaid, "")
    else:
        assert DIFF_LOG.read(unsaid, "").request.order == "command"


def test_the_limit_is_50_unless_given():
    """Who names no limit gets pages of the size there was before; 0 and large ones are taken as they are."""
    limits = {None: 50, 0: 0, 50: 50, 51: 51, "1": 1, 10_000: 10_000, 2**63 - 1: 2**63 - 1}
    for given, meant in limits.items():
        assert DIFF_LOG.read({"logName": "l", "limit": given}, "").request.limit == meant


def test_one_waits_up_to_a_minute():
    """S13: from 0 to 60 seconds, in fractions too; 0 unless given."""
    for given, meant in {None: 0.0, 0: 0.0, 0.001: 0.001, 60: 60.0, "60": 60.0}.items():
        assert DIFF_LOG.read({"logName": "l", "waitSeconds": given}, "").request.wait_seconds == meant


@pytest.mark.parametrize("given", ["61", "-1", "1e400", "-1e400", "60.1", "1" + "0" * 400, '"1e1"', "true", "[]"])
def test_one_waits_no_longer(given):
    """Beyond a minute, or for what is no time, nobody waits."""
    with pytest.raises(InvalidRequest, match=r"waitSeconds must be a number of seconds from 0 to 60"):
        DIFF_LOG.read(wire.document(b'{"logName":"l","waitSeconds":%b}' % given.encode()), "")


# Answers

CHANGES = (Added(b"k", b"v", 1), Removed(b"", b"\xff", 2**63 - 1), Added(b"\0" * 3, b"", 3))
MADE = VersionInfo(3, "é", bytes(range(16)), now(), 2)
ANSWERS = [
    (PAGE, Page(0, 3, CHANGES, AtCommand(3, 1, True))),
    (PAGE, Page(3, 0, CHANGES[:1], AtKey(b"k"))),
    (PAGE, Page(2**63 - 1, 2**63 - 1, (), None)),
    (shapes.COMMITTED, Committed(1, changed=True, replayed=False)),
    (shapes.DONE, Done()),
    (shapes.LOG_INFO, LogInfo("l", "g", 3, 0, 2)),
    (shapes.LOG_INFO, LogInfo("l", None, 3, 2, 0)),
    (shapes.LOG_PAGE, LogPage((LogInfo("\0", "", 0, 0, 0),), "\0")),
    (shapes.LOG_PAGE, LogPage(())),
    (shapes.VERSION_PAGE, VersionPage((MADE, attrs.evolve(MADE, source=None)), 3)),
    (shapes.VERSION_PAGE, VersionPage(())),
    (shapes.REVISION_PAGE, RevisionPage((Revision(2, Entry(b"k", b"v", 1), None),), 2)),
    (shapes.REVISION_PAGE, RevisionPage((Revision(1, None, Entry(b"k", b"v", 1)),))),
]


@pytest.mark.parametrize(("kind", "value"), ANSWERS, ids=lambda it: type(it).__name__)
def test_an_answer_is_read_as_it_is_written(kind, value):
    """Every answer comes back equal; what a newer service adds is passed over."""
    plain = wire.document(wire.encode(kind.write(value)))
    assert kind.read(plain, "") == value
    assert kind.read(plain | {"added later": [1]}, "") == value


@pytest.mark.parametrize(("kind", "value"), ANSWERS, ids=lambda it: type(it).__name__)
def test_an_answer_is_whole(kind, value):
    """Without any of its fields an answer is refused, and so is null where there must be something."""
    plain = kind.write(value)
    assert kind.read(plain, "") == value
    for name in plain:
        with pytest.raises(InvalidRequest, match=name):
            kind.read({other: it for other, it in plain.items() if other != name}, "")
        if plain[name] is not None and name not in ("group", "nextPageOptions", "nextAfterName", "nextFromVersion"):
            with pytest.raises(InvalidRequest, match=name):
                kind.read(plain | {name: None}, "")


@pytest.mark.parametrize("page", [value for kind, value in ANSWERS if kind is PAGE])
def test_a_page_is_encoded_fast_and_the_same(page):
    """The fast way and the plain way give the same bytes."""
    assert encode_page(page) == wire.encode(PAGE.write(page))


CHANGE = {"change": "Add", "entry": {"key": "aw==", "value": "dg=="}, "version": 1}


@pytest.mark.parametrize(
    "wrong",
    [None, True, 1, "change", [], ["change", "entry", "version"], {}, {**CHANGE, "entry": "aw=="}]
    + [{**CHANGE, "change": it} for it in (None, "", "add", "Added", True, ["Add"], {})]
    + [{**CHANGE, "version": it} for it in (None, 0, -1, 2**63, 1.0, True, "1", [], {})]
    + [{**CHANGE, "entry": it} for it in (None, 1, [], {}, {"key": "aw=="}, {"value": "aw=="})]
    + [{**CHANGE, "entry": {"key": it, "value": "dg=="}} for it in (None, *NEVER_BINARY)]
    + [{**CHANGE, "entry": {"key": "aw==", "value": it}} for it in (None, *NEVER_BINARY)]
    + [{name: it for name, it in CHANGE.items() if name != left} for left in CHANGE],
    ids=str,
)
def test_a_change_is_whole(wrong):
    """A change that lacks something, or has another thing in its place, is refused; whole, it is read."""
    assert shapes.CHANGE.read(CHANGE, "page") == Added(b"k", b"v", 1)
    assert shapes.CHANGE.read({**CHANGE, "change": "Remove", "more": 1}, "page") == Removed(b"k", b"v", 1)
    with pytest.raises(InvalidRequest, match=r"page|entry's"):
        shapes.CHANGE.read(wrong, "page")
