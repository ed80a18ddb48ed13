"""JSON read strictly, and the kinds of value and shapes of object that messages are made of.

What is refused is refused with ``InvalidRequest``, which names the place and holds nothing of what was sent.
"""

import datetime as dt
import json
import time

import attrs
import pytest

from indelible import wire
from indelible.errors import InvalidRequest, TooLarge
from indelible.wire import (
    BINARY,
    FLAG,
    FLAG_TEXT,
    IDENTIFIER,
    MOMENT,
    NAME,
    TEXT,
    WAIT,
    WHOLE,
    Field,
    Kind,
    choice,
    listed,
    nullable,
    shape,
)

HUGE = 10**400


def refusal(act, *arguments):
    """What this says when it refuses; no error below it shows anything of what was sent."""
    with pytest.raises(InvalidRequest) as raised:
        act(*arguments)
    assert type(raised.value) is InvalidRequest
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None or raised.value.__suppress_context__
    return str(raised.value)


# JSON


JSON = {
    "a byte that is no UTF-8": (b'{"a":"\xc3\xa9"}', b'{"a":"\xe9"}'),
    "a character cut off": (b'{"a":"\xc3\xa9"}', b'{"a":"\xc3"}'),
    "a character at length": (b'{"a":"/"}', b'{"a":"\xc0\xaf"}'),
    "half a pair as bytes": (b'{"a":"\xf0\x9f\x98\x80"}', b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}'),
    "a mark of the byte order": (b'{"a":1}', b'\xef\xbb\xbf{"a":1}'),
    "UTF-16": ('{"a":1}'.encode(), '{"a":1}'.encode("utf-16")),
    "a name twice": (b'{"a":1,"b":1}', b'{"a":1,"a":1}'),
    "a name twice, within": (b'{"a":{"b":1},"b":{"b":1}}', b'{"a":{"b":1,"b":1}}'),
    "a name twice, in an array": (b'{"a":[{"b":1},{"b":1}]}', b'{"a":[{"b":1,"b":1}]}'),
    "a name twice, once in disguise": (b'{"a":1,"\\u0062":1}', b'{"a":1,"\\u0061":1}'),
    "a name twice in disguise, half a pair": (b'{"\\ud800":1,"\\ud801":1}', b'{"\\ud800":1,"\\uD800":1}'),
    "no number": (b'{"a":"NaN"}', b'{"a":NaN}'),
    "an infinity": (b'{"a":"Infinity"}', b'{"a":Infinity}'),
    "an infinity below": (b'{"a":"-Infinity"}', b'{"a":-Infinity}'),
    "a number of 5000 digits": (b'{"a":%b}' % (b"9" * 4300), b'{"a":%b}' % (b"9" * 5000)),
    "a sign before a number": (b'{"a":-1}', b'{"a":+1}'),
    "a zero before a number": (b'{"a":10}', b'{"a":01}'),
    "half a fraction": (b'{"a":1.0}', b'{"a":1.}'),
    "another half": (b'{"a":0.5}', b'{"a":.5}'),
    "hexadecimal": (b'{"a":1}', b'{"a":0x1}'),
    "a comma too many": (b'{"a":1}', b'{"a":1,}'),
    "no comma": (b'{"a":1,"b":1}', b'{"a":1 "b":1}'),
    "a comment": (b'{"a":1}', b'{"a":1/* so */}'),
    "single quotes": (b'{"a":1}', b"{'a':1}"),
    "no quotes": (b'{"a":1}', b"{a:1}"),
    "a line within a text": (b'{"a":"\\n"}', b'{"a":"\n"}'),
    "a NUL within a text": (b'{"a":"\\u0000"}', b'{"a":"\0"}'),
    "an unknown escape": (b'{"a":"\\t"}', b'{"a":"\\x41"}'),
    "half an escape": (b'{"a":"\\u0041"}', b'{"a":"\\u004"}'),
    "True": (b'{"a":true}', b'{"a":True}'),
    "no end": (b'{"a":1}', b'{"a":1'),
    "an end too many": (b'{"a":1}', b'{"a":1}}'),
    "an array": (b'{"a":[1]}', b"[1]"),
    "a text": (b'{"a":"b"}', b'"b"'),
    "a number": (b'{"a":1}', b"1"),
    "null": (b'{"a":null}', b"null"),
    "what is white elsewhere": (b' \t\r\n{"a":1} \t\r\n', '\u00a0{"a":1}'.encode()),
    "a form feed": (b' {"a":1}', b'\f{"a":1}'),
    "a NUL after it": (b'{"a":1} ', b'{"a":1}\0'),
    "nothing": (b"{}", b""),
    "white space": (b" {} ", b"  "),
    "two of them": (b"{}", b"{}{}"),
    "two of them, apart": (b"{} ", b"{}\n{}"),
    "rubbish after it": (b"{}", b"{}x"),
}


@pytest.mark.parametrize(("good", "bad"), JSON.values(), ids=JSON)
def test_json_is_read_strictly(good, bad):
    """A message is one JSON object in UTF-8, and nothing that only some parsers take; its twin beside it is read."""
    assert wire.document(good) == json.loads(good)
    assert refusal(wire.document, bad) in {
        "a message must be UTF-8",
        "a message must be valid JSON",
        "a message is made of JSON objects",
        "a JSON object must not hold one name twice",
        "JSON knows neither NaN nor Infinity",
        "the message must be one JSON object",
    }


NESTING = {
    "objects": ('{"a":', "}"),
    "arrays": ("[", "]"),
    "arrays of several": ('[0,"[[",', ',"{"]'),
    "objects of several": ('{"z":"{[{[{[{[{[{[","a":', ',"b":1}'),
}


def nested(levels, opening, closing):
    """An object of so many levels."""
    return ('{"x":' + opening * (levels - 1) + '"}"' + closing * (levels - 1) + "}").encode()


@pytest.mark.parametrize(("opening", "closing"), NESTING.values(), ids=NESTING)
def test_nesting_ends_at_eight(opening, closing):
    """Eight levels are read, nine are refused, and brackets within a text are no levels."""
    deepest = nested(8, opening, closing)
    assert wire.document(deepest) == json.loads(deepest)
    assert refusal(wire.document, nested(9, opening, closing)) == "a message must not nest deeper than 8"


@pytest.mark.parametrize("levels", [100, 990, 100_000])
@pytest.mark.parametrize(("opening", "closing"), NESTING.values(), ids=NESTING)
def test_the_deepest_nesting_is_only_refused(opening, closing, levels):
    """Whatever is nested however deeply, closed again or not, it is refused as anything else is."""
    refusal(wire.document, nested(levels, opening, closing))
    refusal(wire.document, nested(levels, opening, ""))


def test_a_wide_message_is_no_deep_one():
    """Level eight may hold as much as it likes."""
    wide = {"a": [[[[[[[]] * 1000] + [0] * 1000]]]]}
    assert wire.document(json.dumps(wide).encode()) == wide
    wide["a"][0][0][0][0][0].append([[0]])
    refusal(wire.document, json.dumps(wide).encode())


def test_a_message_holds_half_a_million_values():
    """As many are read; one more is too large, whatever it is, before any of them takes room."""
    many = b'{"a":[%b0]}' % (b"0," * 500_000)
    assert len(wire.document(many)["a"]) == 500_001
    for more in (many[:-1] + b',"b":0}', b"," * 500_001):
        with pytest.raises(TooLarge) as raised:
            wire.document(more)
        assert (raised.value.limit, raised.value.size, raised.value.maximum) == ("values", 500_001, 500_000)
        assert str(raised.value) == "a message holds at most 500000 values; send it in parts"


def test_documents_stand_one_after_another():
    """With or without white space between them; each is given before the next is looked at."""
    apart = [b"", b" ", b"\n", b"\r\n\t ", b" " * 1000]
    for space in apart:
        stream = space + b'{"a":"}{"}' + space + b"{}" + space + b'{"b":{}}' + space
        assert list(wire.documents(stream)) == [{"a": "}{"}, {}, {"b": {}}]
    assert list(wire.documents(b" ")) == []
    found = wire.documents(b"{}!")
    assert next(found) == {}
    assert refusal(next, found) == "a message is made of JSON objects"


def test_what_is_written_is_short_and_read_back():
    """No white space, no escape that is not needed; what JSON does not have is not written."""
    plain = {"é": ["\U0001f600\x00\x7f\u2028", None, True, 2**63, 0.5], "": {}}
    assert (
        wire.encode(plain) == '{"é":["\U0001f600\\u0000\x7f\u2028",null,true,9223372036854775808,0.5],"":{}}'.encode()
    )
    assert wire.document(wire.encode(plain)) == plain
    for never in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="Out of range"):
            wire.encode([never])


# Kinds


INFINITE = float("inf")
IDENTITY = "0123456789abcdef" * 2


def moment(*parts):
    return dt.datetime(*parts, tzinfo=dt.UTC)


# Each kind, what it reads and writes, what it reads besides, and what it refuses.
KINDS = {
    "WHOLE": (
        WHOLE,
        [(0, 0), (1, 1), (2**63 - 1, 2**63 - 1)],
        [("0", 0), ("1", 1), ("10", 10), ("9223372036854775807", 2**63 - 1)],
        [-1, 2**63, HUGE, -HUGE, 1.0, 0.0, -0.0, 1e18, INFINITE, -INFINITE, float("nan")]
        + [True, False, None, [], [1], {}]
        + "01 00 +1 -1 -0 1.0 1e3 1_000 1,000 0x1 ١ １ ² one None 9223372036854775808 9999999999999999999".split()
        + ["", " ", " 1", "1 ", "1\n", "\n1", "9" * 20, "9" * 5000, "\ud800"],
    ),
    "WAIT": (
        WAIT,
        [(0.0, 0.0), (0.5, 0.5), (60.0, 60.0), (5e-324, 5e-324)],
        [(0, 0.0), (60, 60.0), ("0", 0.0), ("60", 60.0)],
        [-1, -5e-324, 61, 60.00000000000001, HUGE, -HUGE, INFINITE, -INFINITE, float("nan"), True, False, None, [], {}]
        + ["", "61", "0.5", "060", "-1", "9" * 5000],
    ),
    "FLAG": (FLAG, [(True, True), (False, False)], [], [1, 0, 1.0, "true", "false", "", None, [], {}]),
    "FLAG_TEXT": (
        FLAG_TEXT,
        [("true", True), ("false", False)],
        [(True, True), (False, False)],
        [1, 0, 1.0, "True", "TRUE", " true", "yes", "1", "", None, [], {}, ["true"]],
    ),
    "NAME": (NAME, [(it, it) for it in ("a", " ", "\0", "\U0001f600")], [], ["", "\ud800", 1, True, None, [], {}]),
    "TEXT": (TEXT, [(it, it) for it in ("", "a", "\0")], [], ["\ud800", "a\udfff", 1, True, None, [], {}]),
    "BINARY": (
        BINARY,
        [("", b""), ("AA==", b"\0"), ("AAA=", b"\0\0"), ("AAAA", b"\0\0\0"), ("+/+/", b"\xfb\xff\xbf")],
        [],
        "= == A AA AAA A=== AA=A AA=== AAAA= AAAA==== AA==AA== =AAA -_-_ AB== AAB= ＡＡ== é".split()
        + [" AA==", "AA== ", "AA==\n", "A A=", "A\nA=", "AA=\0", "AA==\ud800", b"", b"AA==", 1, True, None, [], {}],
    ),
    "IDENTIFIER": (
        IDENTIFIER,
        [(IDENTITY, bytes.fromhex(IDENTITY))],
        [],
        ["", "a" * 31, "a" * 33, "A" * 32, "g" * 32, "a" * 32 + "\n", "0x" + "a" * 30, "١" * 32, 1, None, [], {}],
    ),
    "MOMENT": (
        MOMENT,
        [
            ("2026-01-31T12:00:00.000000Z", moment(2026, 1, 31, 12)),
            ("0001-01-01T00:00:00.000000Z", moment(1, 1, 1)),
            ("9999-12-31T23:59:59.999999Z", moment(9999, 12, 31, 23, 59, 59, 999_999)),
        ],
        [],
        "2026-01-31T12:00:00Z 2026-01-31T12:00Z 2026-01-31T12Z 2026-01-31Z 20260131T120000.000000Z Z now".split()
        + "2026-01-31T12:00:00.000000 2026-01-31T12:00:00.000000+00:00 2026-01-31T12:00:00.000000+01:00".split()
        + "2026-01-31T12:00:00.000000z 2026-01-31T12:00:00,000000Z 2026-01-31T12:00:00.0000000Z".split()
        + "2026-01-31T24:00:00.000000Z 2026-02-30T12:00:00.000000Z 0000-01-01T00:00:00.000000Z".split()
        + "9999-12-31T24:00:00.000000Z 2026-01-31T12:00:60.000000Z 2026-W05-6T12:00:00.000000Z".split()
        + ["2026-01-31 12:00:00.000000Z", "٢026-01-31T12:00:00.000000Z", "", "\ud800Z", 0, None, [], {}],
    ),
}
READ = [(name, *pair) for name, (_, same, more, _) in KINDS.items() for pair in same + more]
WRITTEN = [(name, *pair) for name, (_, same, _, _) in KINDS.items() for pair in same]
REFUSED = [(name, plain) for name, (_, _, _, never) in KINDS.items() for plain in never]


def short(value):
    return f"{value!a:.24}"


@pytest.mark.parametrize(("name", "plain", "value"), READ, ids=short)
def test_a_kind_reads_what_it_is_for(name, plain, value):
    """Each kind reads its values, and numbers and flags in the spellings of hand-made requests too."""
    read = KINDS[name][0].read(plain, "here")
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(("name", "plain", "value"), WRITTEN, ids=short)
def test_a_kind_has_one_way_to_write(name, plain, value):
    """What a kind writes is what it reads best."""
    kind = KINDS[name][0]
    assert kind.write(value) == plain
    assert kind.read(json.loads(wire.encode(kind.write(value))), "here") == value


@pytest.mark.parametrize(("name", "plain"), REFUSED, ids=short)
def test_a_kind_refuses_all_else(name, plain):
    """Anything else is refused, with the place."""
    assert refusal(KINDS[name][0].read, plain, "here").startswith("here must ")


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has no local time that a process may change")
def test_a_moment_is_told_in_utc(monkeypatch):
    """A time is written in UTC, to the microsecond, from whatever zone and in whatever zone."""
    elsewhere = dt.datetime(2026, 1, 1, 1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    for zone in ("UTC", "XXX+5", "XXX-14"):
        with monkeypatch.context() as patched:
            patched.setenv("TZ", zone)
            time.tzset()
            assert MOMENT.write(elsewhere) == "2025-12-31T23:02:03.000004Z"
            assert MOMENT.read("2025-12-31T23:02:03.000004Z", "it") == elsewhere
    time.tzset()


SAYS = {
    "WHOLE": "a whole number from 0 to 2**63 - 1",
    "WAIT": "a number of seconds from 0 to 60",
    "FLAG": "true or false",
    "FLAG_TEXT": '"true" or "false"',
    "NAME": "a string",
    "TEXT": "a string",
    "BINARY": "standard Base64 with padding, as an encoder writes it",
    "IDENTIFIER": "32 lower-case hexadecimal digits",
    "MOMENT": "a time in UTC such as 2026-01-31T12:00:00.000000Z",
}


@pytest.mark.parametrize("name", KINDS)
def test_a_refusal_says_what_there_must_be(name):
    """What a kind says when it refuses is the place and what must stand there, and the same for any text."""
    read = KINDS[name][0].read
    assert refusal(read, [], "here") == f"here must be {SAYS[name]}"
    assert len({refusal(read, f"\ud800{sent}", "here") for sent in ("secret", "hidden")}) == 1


def test_a_choice_is_one_of_its_texts():
    """One of the texts, and nothing else."""
    kind = choice("a", "b")
    assert [kind.read(it, "here") for it in ("a", "b")] == [kind.write(it) for it in ("a", "b")] == ["a", "b"]
    for never in ("", "A", "c", "ab", None, True, ["a"], {"a": 1}):
        assert refusal(kind.read, never, "here") == 'here must be "a" or "b"'
    assert kind.schema == {"type": "string", "enum": ["a", "b"]}


def test_nullable_is_null_or_the_kind():
    """Null, or what the kind reads and writes."""
    kind = nullable(BINARY)
    assert [kind.read(it, "here") for it in (None, "AA==")] == [None, b"\0"]
    assert [kind.write(it) for it in (None, b"\0")] == [None, "AA=="]
    for never in ("nil", False, 0, [], {}):
        assert refusal(kind.read, never, "here") == f"here must be {SAYS['BINARY']}"
    assert kind.schema == {"anyOf": [BINARY.schema, {"type": "null"}]}
    assert (kind.nullable, BINARY.nullable) == (True, False)


def test_listed_is_an_array_of_the_kind():
    """An array, each of which the kind reads and writes, in order."""
    kind = listed(BINARY)
    assert kind.read([], "here") == ()
    assert kind.read(["AA==", ""], "here") == (b"\0", b"")
    assert kind.write((b"\0", b"")) == ["AA==", ""]
    for never in (None, "AA==", {"AA==": ""}, 1, ()):
        assert refusal(kind.read, never, "here") == "here must be an array"
    assert refusal(kind.read, ["AA==", None], "here") == f"here must be {SAYS['BINARY']}"
    assert kind.schema == {"type": "array", "items": BINARY.schema}


# Shapes


@attrs.frozen
class Inner:
    """A part of another."""

    size: int = 3


@attrs.frozen
class Outer:
    """What a shape is tried with."""

    name: str
    inner: Inner = Inner()
    note: str | None = "nothing said"

    @classmethod
    def build(cls, name, size=None, **rest):
        return cls(name, **rest) if size is None else cls(name, Inner(size), **rest)


FIELDS = (
    Field("theName", "name", NAME, description="A name."),
    Field("theSize", "inner.size", WHOLE, required=False),
    Field("note", "note", nullable(TEXT), required=False),
)


@pytest.fixture
def loose():
    return shape(Outer.build, *FIELDS)


@pytest.fixture
def exact():
    return shape(Outer.build, *FIELDS, exact=True, ignored=frozenset({"who"}))


def test_a_shape_is_read_and_written(loose):
    """Fields become arguments, dotted ones from within another value; what is not said is left to the default."""
    whole = {"theName": "n", "theSize": 1, "note": "x"}
    assert loose.read(whole, "") == Outer("n", Inner(1), "x")
    assert loose.write(Outer("n", Inner(1), "x")) == whole
    assert loose.read({"theName": "n"}, "") == Outer("n", Inner(3), "nothing said")
    assert loose.write(Outer("n")) == {"theName": "n", "theSize": 3, "note": "nothing said"}
    assert loose.write(Outer("n", note=None)) == {"theName": "n", "theSize": 3}


def test_null_is_the_same_as_nothing(loose):
    """A field that need not be there may be null, which says nothing; unless null is one of its values."""
    assert loose.read({"theName": "n", "theSize": None}, "") == Outer("n")
    assert loose.read({"theName": "n", "note": None}, "") == Outer("n", note=None)
    assert refusal(loose.read, {"theName": None}, "") == "theName is missing"
    assert refusal(loose.read, {}, "it") == "it.theName is missing"


def test_null_is_told_where_it_must_be():
    """A field that is required and may be null is there, and is written."""
    kind = shape(dict, Field("a", "a", nullable(WHOLE)))
    assert kind.read({"a": None}, "") == {"a": None}
    assert refusal(kind.read, {}, "") == "a is missing"
    assert shape(dict, Field("a", "real", nullable(WHOLE))).write(3) == {"a": 3}
    assert shape(Outer.build, attrs.evolve(FIELDS[2], required=True)).write(Outer("n", note=None)) == {"note": None}


def test_only_an_exact_shape_minds_other_fields(loose, exact):
    """What nobody knows is passed over in a loose shape; an exact one refuses it, but for what it is told to ignore."""
    more = {"theName": "n", "other": [{}]}
    assert loose.read(more, "") == Outer("n")
    said = "must be an object of note, theName, theSize and nothing else"
    assert refusal(exact.read, more, "") == f"the message {said}"
    assert refusal(exact.read, more, "it") == f"it {said}"
    assert exact.read({"theName": "n", "who": 1}, "") == Outer("n")
    assert refusal(exact.read, {"theName": "n", "\ud800": 1}, "") == f"the message {said}"


@pytest.mark.parametrize("plain", [None, True, 1, 1.0, "", "theName", [], ["theName"], [["theName", "n"]]])
def test_a_shape_is_an_object(loose, plain):
    """Nothing but an object has fields."""
    assert refusal(loose.read, plain, "") == "the message must be an object"
    assert refusal(loose.read, plain, "it") == "it must be an object"
    assert loose.read({"theName": "n"}, "it") == Outer("n")


def test_a_fault_names_the_place(loose):
    """Within what, and which field: by the names that were sent."""
    said = "theSize must be a whole number from 0 to 2**63 - 1"
    assert refusal(loose.read, {"theName": "n", "theSize": "?"}, "") == said
    assert refusal(loose.read, {"theName": "n", "theSize": "?"}, "it") == f"it.{said}"
    assert refusal(listed(loose).read, [{"theName": "n"}, {"theName": ""}], "rows") == "rows.theName must not be empty"
    assert listed(loose).read([{"theName": "n"}], "rows") == (Outer("n"),)


def test_a_shape_describes_itself(loose, exact):
    """The schema tells each field's kind, which are required, and whether there may be others."""
    fields = {
        "theName": {"type": "string", "minLength": 1, "description": "A name."},
        "theSize": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }
    assert loose.schema == {"type": "object", "properties": fields, "required": ["theName"]}
    assert exact.schema == {**loose.schema, "additionalProperties": False}


def test_a_kind_writes_as_it_is_unless_told():
    """A kind without a way to write gives the value itself."""
    assert Kind({}, lambda plain, where: plain).write("x") == "x"
