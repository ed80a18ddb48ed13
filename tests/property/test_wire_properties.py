"""Laws of the messages over arbitrary values and arbitrary bytes: each comes back, and nothing breaks a reader."""

import contextlib
import datetime as dt
import json

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from indelible import errors, faults, routes, shapes, updates, wire
from indelible.changes import Added, Entry, Removed, Revision
from indelible.credentials import Credentials
from indelible.errors import InvalidRequest
from indelible.limits import Limits
from indelible.messages import (
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
    UpdateLog,
    VersionPage,
)
from indelible.pages import AtCommand, AtKey, DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo
from indelible.testing import strategies
from indelible.updates import read_update, write_update

LIMITS = Limits()

texts = st.text(st.characters(exclude_categories=["Cs"]))
names = strategies.log_names()
wholes = st.one_of(st.integers(0, 9), st.integers(0, 2**63 - 1), st.just(2**63 - 1))
versions = wholes.filter(bool)
keys, values = st.one_of(strategies.keys(), st.binary()), st.one_of(strategies.values(), st.binary())
moments = st.datetimes(timezones=st.just(dt.UTC))
maybe = {
    "text": st.one_of(st.none(), texts),
    "whole": st.one_of(st.none(), wholes),
    "name": st.one_of(st.none(), names),
}

changes = st.builds(
    lambda kind, key, value, version: kind(key, value, version),
    st.sampled_from([Added, Removed]),
    keys,
    values,
    versions,
)
cursors = {
    "command": st.builds(AtCommand, wholes, wholes, st.booleans()),
    "key": st.builds(AtKey, keys, st.booleans()),
}
entries = st.builds(Entry, keys, values, wholes)


@st.composite
def requests(draw):
    order = draw(st.sampled_from(["command", "key"]))
    return DiffRequest(
        draw(wholes),
        draw(maybe["whole"]),
        wait_seconds=draw(st.one_of(st.floats(0, 60), st.integers(0, 60))),
        order=order,
        limit=draw(wholes),
        cursor=draw(st.one_of(st.none(), cursors[order])),
    )


pages = st.builds(
    Page, wholes, wholes, st.lists(changes, max_size=6).map(tuple), st.one_of(st.none(), *cursors.values())
)
REQUESTS = {
    "create": st.builds(CreateLog, names, maybe["text"]),
    "diff": st.builds(DiffLog, names, requests()),
    "describe": st.builds(DescribeLog, names),
    "list": st.builds(ListLogs, maybe["text"], maybe["name"], wholes),
    "versions": st.builds(ListVersions, names, wholes, maybe["whole"]),
    "history": st.builds(KeyRevisions, names, keys, wholes),
    "trim": st.builds(TrimLog, names, wholes),
}
infos = st.builds(LogInfo, names, maybe["text"], wholes, wholes, wholes)
made = st.builds(VersionInfo, wholes, maybe["text"], st.binary(min_size=16, max_size=16), moments, wholes)
revisions = st.builds(Revision, wholes, st.one_of(st.none(), entries), st.one_of(st.none(), entries))


def tuples(of):
    return st.lists(of, max_size=4).map(tuple)


ANSWERS = {
    "create": st.builds(Done),
    "update": st.builds(Committed, wholes, st.booleans(), st.booleans()),
    "diff": pages,
    "describe": infos,
    "list": st.builds(LogPage, tuples(infos), maybe["name"]),
    "versions": st.builds(VersionPage, tuples(made), maybe["whole"]),
    "history": st.builds(RevisionPage, tuples(revisions), maybe["whole"]),
    "trim": st.builds(Done),
}
ROUTES = {route.name: route for route in routes.ROUTES}
sent = st.builds(UpdateLog, names, strategies.transactions(), versions)


def stream(update):
    return b"".join(write_update(update))


# There and back


@pytest.mark.parametrize("name", REQUESTS)
@given(st.data())
def test_a_request_comes_back(name, data):
    """Every request that can be made is read as it was written."""
    value, kind = data.draw(REQUESTS[name]), ROUTES[name].request
    assert kind.read(wire.document(wire.encode(kind.write(value))), "") == value


@pytest.mark.parametrize("name", ANSWERS)
@given(st.data())
def test_an_answer_comes_back(name, data):
    """Every answer that can be given is read as it was written, by the route's own way of writing it."""
    value, route = data.draw(ANSWERS[name]), ROUTES[name]
    assert route.answer.read(wire.document(route.encode(value)), "") == value


@given(sent)
def test_an_update_comes_back(update):
    """Every transaction is read as it was written: its commands in order, its source, its id and the attempt."""
    assert read_update(wire.documents(stream(update)), LIMITS) == (None, update)


@given(pages)
def test_a_page_is_encoded_fast_and_the_same(page):
    """The fast way and the plain way give the same bytes for any page."""
    assert shapes.encode_page(page) == wire.encode(shapes.PAGE.write(page))


@given(strategies.json_values())
def test_json_comes_back(value):
    """What JSON can carry is written and read as it was, up to the depth that is allowed."""
    plain = {"it": value}
    written = wire.encode(plain)
    try:
        read = wire.document(written)
    except InvalidRequest as error:
        assert "nest" in str(error)
    else:
        assert read == plain
        assert wire.encode(read) == written


@given(st.binary(max_size=40), st.text("ABab01+/=-_ \n", max_size=12))
def test_bytes_have_one_spelling(data, spelling):
    """Base64 is read from exactly what is written of some bytes, and from nothing else."""
    assert wire.unbase64(wire.base64(data), "it") == data
    with contextlib.suppress(InvalidRequest):
        assert wire.base64(wire.unbase64(spelling, "it")) == spelling


@given(moments, st.sampled_from([dt.timedelta(hours=hours) for hours in (-12, 0, 5.5, 14)]))
def test_a_moment_comes_back(moment, offset):
    """Every time comes back as the same moment, from whatever zone it was told in."""
    with contextlib.suppress(OverflowError):
        moment = moment.astimezone(dt.timezone(offset))
    try:
        written = wire.MOMENT.write(moment)
    except OverflowError:  # before or after all time
        return
    assert wire.MOMENT.read(written, "it") == moment


@given(names, texts.filter(lambda it: it and ":" not in it))
def test_who_asks_is_read(customer, apikey):
    """Any customer and any key are read from the body, and the key stays hidden."""
    told = None
    with contextlib.suppress(InvalidRequest):
        told = Credentials(customer, apikey)
    plain = json.dumps({"authinfo": {"customer_id": customer, "apikey": apikey}}).encode()
    if told is not None:
        assert shapes.credentials(wire.document(plain)) == told


# What is told of errors

known = st.one_of(
    st.builds(errors.UnexpectedVersion, names, wholes, st.just("ExpectVersion"), wholes, wholes, wholes),
    st.builds(errors.UnexpectedValue, names, wholes, st.just("Insert"), wholes),
    st.builds(errors.NonexistentValue, names, wholes, st.just("Update"), wholes),
    st.builds(errors.TransactionIdReused, names, st.just(-1), st.just("Transaction"), st.just(-1)),
    st.builds(errors.NonexistentLog, names),
    st.builds(errors.NonexistentVersion, names, wholes, wholes),
    st.builds(errors.VersionTrimmed, names, wholes, wholes),
    st.builds(errors.LogExists, names),
    st.builds(errors.BadApiKey),
    st.builds(errors.TooLarge, st.text(max_size=50), st.sampled_from(["key", "value"]), wholes, wholes),
    st.builds(errors.InvalidRequest, st.text(max_size=50)),
    st.builds(errors.NotAllowed, st.text(max_size=50)),
)


@given(known)
def test_an_error_comes_back(error):
    """Every error comes back with all it carries; what it says in words comes back fit to be shown."""
    fault = faults.fault_of(error)
    told = faults.decode(fault.status, wire.document(faults.encode(error, "r")), getattr(error, "log", "l"))
    wanted = attrs.asdict(error)
    if "reason" in wanted:
        wanted["reason"] = faults.plain_text(error.reason)
    assert (type(told), attrs.asdict(told)) == (type(error), wanted)
    assert str(told).isprintable()


# Whatever comes


def nothing_breaks(data):
    """Every reader takes these bytes, or says what is wrong with them."""
    with contextlib.suppress(InvalidRequest):
        read_update(wire.documents(data), Limits(commands=3))
    try:
        plain = wire.document(data)
    except InvalidRequest:
        return
    with contextlib.suppress(InvalidRequest):
        shapes.credentials(plain)
    for route in routes.ROUTES:
        for kind in (route.request, route.answer):
            with contextlib.suppress(InvalidRequest):
                kind.read(plain, "")
    for status in {fault.status for fault in faults.FAULTS}:
        told = faults.decode(status, plain, "l")
        assert told is None or str(told).isprintable()


NASTY = [
    b"\xff",
    b"\xef\xbb\xbf{}",
    b"{" * 2000,
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b'{"":{"":[{"":{"":{"":{"":{"":{}}}}}}}]}',
    b'{"logName":"l","waitSeconds":1' + b"0" * 4299 + b"}",
    b'{"logName":"l","waitSeconds":1' + b"0" * 4300 + b"}",
    b'{"logName":"l","waitSeconds":1e400}',
    b'{"logName":"l","waitSeconds":-1e400,"limit":1e-400}',
    b'{"logName":"l","limit":-' + b"9" * 4000 + b"}",
    b'{"logName":"\\ud800","logGroup":"\\udfff"}',
    b'{"logName":"l","\\ud800":1}',
    b'{"logName":"l","authinfo":{"customer_id":"\\ud800","apikey":"\\ud800"}}',
    b'{"logName":"l","paginationOptions":{"skipToKey":"=","removeAlreadySeen":[]}}',
    b'{"logName":"l"}{"type":{},"key":[],"value":{},"version":"x"}',
    b'{"logName":"l"}{"type":"Insert","key":"\\ud800","value":"AA=="}',
    b'{"logName":"l"}' + b'{"type":"ExpectVersion","version":1}' * 4,
    b'{"fromVersion":0,"toVersion":0,"page":[{"change":{},"entry":[],"version":0}],"nextPageOptions":{}}',
    b'{"fromVersion":0,"toVersion":0,"page":[[]],"nextPageOptions":[]}',
    b'{"logs":[0],"nextAfterName":null}',
    b'{"versions":[{"version":1,"source":null,"transactionId":"","committedAt":"0000-00-00T00:00:00.000000Z"}]}',
    b'{"code":"UNEXPECTED_VERSION","codeNumber":1e400,"message":[],"details":{"effect":"none"}}',
    b'{"code":"TOO_LARGE","codeNumber":1023,"message":"\\u001b[2J\\ud800","details":{"effect":"none","limit":"\\u009b","size":"'
    + b"9" * 5000
    + b'","maximum":"1"}}',
]


@pytest.mark.parametrize("data", NASTY, ids=lambda data: str(data[:60]))
def test_what_is_known_to_be_nasty_breaks_nothing(data):
    """Bytes that broke readers elsewhere, or here before."""
    nothing_breaks(data)


@given(st.binary(max_size=200))
@example(b"")
def test_no_bytes_break_a_reader(data):
    """Arbitrary bytes are read, or refused with ``InvalidRequest``; nothing else comes out."""
    nothing_breaks(data)


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.binary(max_size=6).map(wire.base64),
        st.sampled_from(["1", "true", "Add", "Remove", "Upsert", "ExpectVersion", "key", "command", "none", "0" * 32]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=8,
)


@st.composite
def nearly(draw):
    """A message of ours with one of its parts, at any depth, replaced by anything."""
    name = draw(st.sampled_from(sorted(ROUTES)))
    told = draw(st.booleans())
    if told:
        plain = json.loads(ROUTES[name].encode(draw(ANSWERS[name])))
    elif name == "update":
        plain = [json.loads(it) for it in write_update(draw(sent))]
    else:
        plain = ROUTES[name].request.write(draw(REQUESTS[name]))
    place = plain = json.loads(json.dumps(plain))
    while place:
        at = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[at], dict | list) or draw(st.booleans()):
            place[at] = draw(anything)
            break
        place = place[at]
    # As other languages write them: escapes, NaN, and half pairs among them.
    return "".join(map(json.dumps, plain if isinstance(plain, list) else [plain])).encode()


@given(nearly())
def test_no_part_of_a_message_breaks_a_reader(data):
    """A message with anything in the place of one of its parts is read, or refused with ``InvalidRequest``."""
    nothing_breaks(data)


@given(sent, st.data())
def test_no_damage_to_a_stream_breaks_its_reader(update, data):
    """A stream with some of its bytes replaced is read, or refused with ``InvalidRequest``."""
    whole = stream(update)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    nothing_breaks(whole[:start] + data.draw(st.binary(max_size=12)) + whole[end:])


@given(known, st.data())
def test_no_error_that_is_told_breaks_its_reader(error, data):
    """An error's body with anything in the place of one of its parts is an error that is safe to show, or none."""
    fault, plain = faults.fault_of(error), wire.document(faults.encode(error, "r"))
    place = data.draw(st.sampled_from([plain, plain["details"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(anything)
    told = faults.decode(fault.status, plain, "l")
    assert told is None or (type(told) is type(error) and str(told).isprintable())


# What is published


@pytest.mark.parametrize("name", ROUTES)
@given(st.data())
def test_what_is_written_is_what_is_published(name, data):
    """Every request and answer that we write is as its schema says, in which all but ``$ref`` is spelt out."""
    schemas = pytest.importorskip("jsonschema_rs", reason="it comes with schemathesis, which is not installed")
    route = ROUTES[name]
    schemas.validate(route.answer.schema, wire.document(route.encode(data.draw(ANSWERS[name]))))
    if name == "update":
        first, *commands = wire.documents(stream(data.draw(sent)))
        schemas.validate(route.request.schema, first)
        for command in commands:
            schemas.validate(updates.COMMAND_SCHEMA, command)
    else:
        schemas.validate(route.request.schema, json.loads(wire.encode(route.request.write(data.draw(REQUESTS[name])))))
