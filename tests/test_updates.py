"""The update stream: objects one after another, all of them read and checked before any counts (S2, S16)."""

import json

import pytest

from indelible import updates, wire
from indelible.commands import KEYED, ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.credentials import Credentials
from indelible.errors import InvalidRequest, TooLarge
from indelible.limits import Limits
from indelible.messages import UpdateLog
from indelible.updates import read_update, write_update

ID = bytes(range(16))
HEAD = {"logName": "l", "updateSource": "s", "transactionId": ID.hex(), "attempt": 2}
KEYS = {"key": "aw==", "value": "dg=="}
UPSERT = {"type": "Upsert", **KEYS}
EXPECT = {"type": "ExpectVersion", "version": 3}
COMMANDS = (ExpectVersion(3), Insert(b"k", b"v"), Update(b"", b"\xff"), Upsert(b"\0", b""), Remove(b"}{", b"]"))
UPDATE = UpdateLog("l", Transaction(COMMANDS, "é{", id=ID), 2)
OBJECTS = list(write_update(UPDATE))


def read(stream, limits=None):
    """As the service reads it; who asks is left out."""
    return read_update(wire.documents(stream), limits or Limits())[1]


def sent(*objects):
    """A stream of these."""
    return "".join(map(json.dumps, objects)).replace("Infinity", "1e400").encode()


def refuses(*objects):
    """What is said when this stream is refused."""
    with pytest.raises(InvalidRequest) as raised:
        read(sent(*objects))
    assert type(raised.value) is InvalidRequest
    return str(raised.value)


# The stream


@pytest.mark.parametrize("space", ["", " ", "\n", "\r\n", "\t \r\n ", " " * 5000], ids=repr)
def test_objects_stand_with_or_without_white_space(space):
    """A stream is read alike whatever white space stands before, between and after its objects."""
    between = space.encode()
    assert read(between + between.join(OBJECTS) + between) == UPDATE


@pytest.mark.parametrize(
    "garbage", [b",", b";", b"\0", b"\x1e", b"[]", b"1", b'""', b"null", b"}", b"{", b"\f", b"\xc2\xa0"]
)
@pytest.mark.parametrize("place", range(len(OBJECTS) + 1))
def test_nothing_else_stands_between(place, garbage):
    """Anything but white space before, between or after the objects refuses the stream."""
    assert read(b"".join([*OBJECTS[:place], b" ", *OBJECTS[place:]])) == UPDATE
    with pytest.raises(InvalidRequest):
        read(b"".join([*OBJECTS[:place], garbage, *OBJECTS[place:]]))


def test_a_stream_cut_off_is_refused():
    """Cut within an object it is refused, at every byte; between two it is a shorter transaction, and whole."""
    whole = b"".join(OBJECTS)
    ends = [len(b"".join(OBJECTS[: count + 1])) for count in range(len(OBJECTS))]
    for end in range(len(whole)):
        if end in ends:
            assert read(whole[:end]).transaction.commands == COMMANDS[: ends.index(end)]
        else:
            with pytest.raises(InvalidRequest):
                read(whole[:end])
    assert read(whole) == UPDATE


def test_the_last_command_is_read_before_the_first_counts():
    """Nothing is given back of a stream whose last object is not right."""
    right, wrong = sent(HEAD, *[UPSERT] * 3), sent(HEAD, *[UPSERT] * 2, {"type": "Upsert"})
    assert len(read(right).transaction.commands) == 3
    with pytest.raises(InvalidRequest, match="command 2: key"):
        read(wrong)


@pytest.mark.parametrize("count", [0, 1, 9_999, 10_000])
def test_ten_thousand_commands_are_read(count):
    """As many as the limit allows."""
    assert len(read(sent(HEAD) + sent(UPSERT) * count).transaction.commands) == count


@pytest.mark.parametrize(("most", "count"), [(10_000, 10_001), (10_000, 50_000), (3, 4), (0, 1)])
def test_one_command_more_is_too_large(most, count):
    """One more is refused as soon as it is seen, whatever it is and whatever follows."""
    limits = Limits(commands=most)
    assert len(read(sent(HEAD) + sent(UPSERT) * most, limits).transaction.commands) == most
    found = wire.documents(sent(HEAD) + sent(UPSERT) * most + b"{}" * (count - most) + b"never read")
    with pytest.raises(TooLarge) as raised:
        read_update(found, limits)
    error = raised.value
    assert (error.limit, error.size, error.maximum) == ("commands", most + 1, most)
    assert str(error) == f"a transaction has at most {most} commands here; send it in parts"


def test_what_is_written_is_what_is_sent():
    """Short objects, of which only the first differs between attempts; nobody is named in them."""
    assert OBJECTS == [
        '{"logName":"l","updateSource":"é{","transactionId":"000102030405060708090a0b0c0d0e0f","attempt":2}'.encode(),
        b'{"type":"ExpectVersion","version":3}',
        b'{"type":"Insert","key":"aw==","value":"dg=="}',
        b'{"type":"Update","key":"","value":"/w=="}',
        b'{"type":"Upsert","key":"AA==","value":""}',
        b'{"type":"Remove","key":"fXs=","value":"XQ=="}',
    ]
    assert list(write_update(UpdateLog("l", UPDATE.transaction, 3)))[1:] == OBJECTS[1:]
    assert set(updates._KEYED.values()) == set(KEYED)


# The first object


def test_the_first_object_says_where():
    """Log, source, id and attempt; all but the log may be left out, or null."""
    assert read(sent(HEAD)) == UpdateLog("l", Transaction([], "s", id=ID), 2)
    for least in ({"logName": "l"}, dict.fromkeys(HEAD) | {"logName": "l"}):
        update = read(sent(least))
        assert (update.log, update.transaction.source, update.attempt) == ("l", None, 1)
        assert len(update.transaction.id) == 16
    assert read(sent(HEAD | {"attempt": "2"})).attempt == 2
    assert read(sent(HEAD | {"other": [1]})) == read(sent(HEAD))


def test_without_a_first_object_there_is_no_update():
    """Nothing, or white space, is no update."""
    for nothing in (b"", b" \n"):
        with pytest.raises(InvalidRequest, match="begins with an object that names its log"):
            read(nothing)


NEVER = {
    "logName": [None, "", "\ud800", 1, True, [], {}],
    "updateSource": ["\ud800", 1, True, [], {}],
    "transactionId": ["", "0" * 31, "0" * 33, "A" * 32, ID.hex() + "\n", 1, True, [], {}],
    "attempt": [0, -1, 2**63, 1.0, float("inf"), True, "0", "01", "", [], {}],
}


@pytest.mark.parametrize("name", NEVER)
def test_a_field_of_the_first_object_is_of_its_kind(name):
    """Anything else in a field of the first object refuses the stream, and names the field."""
    assert read(sent(HEAD, UPSERT)) == UpdateLog("l", Transaction([Upsert(b"k", b"v")], "s", id=ID), 2)
    for value in NEVER[name]:
        assert name in refuses(HEAD | {name: value}, UPSERT)


def test_a_log_is_named():
    """The log's name alone must be there."""
    assert refuses({name: it for name, it in HEAD.items() if name != "logName"}) == "logName is missing"


def test_a_second_attempt_names_its_transaction():
    """S16: an attempt after the first, without the id of the first, would be another transaction; it is refused."""
    assert read(sent({"logName": "l", "attempt": 1})).attempt == 1
    assert read(sent(HEAD | {"attempt": 2**63 - 1})).attempt == 2**63 - 1
    assert "transactionId is missing" in refuses({"logName": "l", "attempt": 2})
    assert "transactionId is missing" in refuses(HEAD | {"transactionId": None})


@pytest.mark.parametrize("name", ["authinfo", "authInfo"])
def test_the_first_object_says_who(name):
    """Who asks stands in the first object in either spelling, or nowhere, or is refused; in both it is refused."""
    who = {"customer_id": "acme", "apikey": "sesame"}

    def asks(head):
        return read_update(wire.documents(sent(head, UPSERT | {name: who})), Limits())[0]

    assert asks(HEAD | {name: who}) == Credentials("acme", "sesame")
    assert asks(HEAD) is asks(HEAD | {name: None}) is None
    assert "authinfo" in refuses(HEAD | {name: "acme:sesame"})
    assert refuses(HEAD | {"authinfo": who, "authInfo": who}) == "say authinfo once"


# Commands


@pytest.mark.parametrize("kind", KEYED)
def test_a_command_with_a_key(kind):
    """Type, key and value; a version that does not apply may be null, and what nobody knows is passed over."""
    plain = {"type": kind.__name__, **KEYS}
    for spelling in (plain, plain | {"version": None}, plain | {"more": {}}, dict(reversed(plain.items()))):
        assert read(sent(HEAD, spelling)).transaction.commands == (kind(b"k", b"v"),)


def test_a_command_with_a_version():
    """Type and version, which may be text; key and value that do not apply may be null."""
    for spelling in (EXPECT, EXPECT | {"version": "3"}, EXPECT | {"key": None, "value": None}, EXPECT | {"more": 1}):
        assert read(sent(HEAD, spelling)).transaction.commands == (ExpectVersion(3),)


@pytest.mark.parametrize(
    "kind", [None, "", "upsert", "UPSERT", "Upsert ", "Transaction", "Added", 1, True, [], {}, ["Upsert"]]
)
def test_a_command_has_a_type(kind):
    """One of five, as they are written, or the stream is refused."""
    said = "command 1: type must be Insert, Update, Upsert, Remove or ExpectVersion"
    assert len(read(sent(HEAD, EXPECT, UPSERT)).transaction.commands) == 2
    assert refuses(HEAD, EXPECT, UPSERT | {"type": kind}) == said
    assert refuses(HEAD, EXPECT, KEYS) == said


@pytest.mark.parametrize("kind", KEYED)
@pytest.mark.parametrize("field", KEYS)
def test_a_key_and_a_value_are_base64(field, kind):
    """Missing, null or anything but Base64: refused, with the index of the command and the field."""
    plain = {"type": kind.__name__, **KEYS}
    said = f"command 1: {field} must be standard Base64 with padding, as an encoder writes it"
    assert len(read(sent(HEAD, EXPECT, plain)).transaction.commands) == 2
    assert refuses(HEAD, EXPECT, {name: it for name, it in plain.items() if name != field}) == said
    for wrong in (None, 1, True, [], {}, "A", "AB==", "AA==\n", "-_-_", "é", "\ud800"):
        assert refuses(HEAD, EXPECT, plain | {field: wrong}) == said


def test_a_version_is_a_whole_number():
    """Missing, null or anything but a whole number in range: refused."""
    said = "command 0: version must be a whole number from 0 to 2**63 - 1"
    for right in (0, 2**63 - 1):
        assert read(sent(HEAD, EXPECT | {"version": right})).transaction.commands == (ExpectVersion(right),)
    assert refuses(HEAD, {"type": "ExpectVersion"}) == said
    for wrong in (None, -1, 2**63, 1.0, float("inf"), True, "01", "", [], {}):
        assert refuses(HEAD, EXPECT | {"version": wrong}) == said


@pytest.mark.parametrize("value", ["aw==", "", 0, False, [], {}])
def test_fields_that_do_not_apply_say_nothing(value):
    """A field that does not apply is absent or null: whoever fills it means something else than is done."""
    for kind in KEYED:
        plain = {"type": kind.__name__, **KEYS}
        assert refuses(HEAD, plain | {"version": value}) == (
            f"command 0: version must be absent or null in {kind.__name__}"
        )
    for name in KEYS:
        assert (
            refuses(HEAD, EXPECT | {name: value}) == "command 0: key and value must be absent or null in ExpectVersion"
        )
    assert read(sent(HEAD, UPSERT | {"version": None}, EXPECT | dict.fromkeys(KEYS))).transaction.commands


def test_nothing_of_the_data_is_in_a_refusal():
    """A refused stream is told by index and field, and nothing that it held."""
    for wrong in (UPSERT | {"key": "secret!"}, UPSERT | {"type": "secret"}, EXPECT | {"version": "secret"}):
        assert "secret" not in refuses(HEAD, wrong)
