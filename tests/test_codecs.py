"""The codecs: what they write, what they refuse, and that no error tells a value."""

import dataclasses
import datetime as dt
import decimal
import enum
import json
import subprocess
import sys
import traceback
import uuid
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs
import pytest

from indelible.codecs import BYTES, JSON, JSON_ASCII, STRING, typed
from indelible.errors import IntegrityError, InvalidRequest, Undecodable

SECRET = "canary-4711"


def raises(kind, action, argument, *, match=""):
    """The error of this kind: it names no canary, and no other error hangs on to it."""
    with pytest.raises(kind, match=match or None) as caught:
        action(argument)
    error = caught.value
    assert type(error) is kind
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(error))
    assert "4711" not in str(error)
    return error


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


LOOP: list = []
LOOP.append(LOOP)


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1


@attrs.frozen
class Circle:
    r: float


@dataclasses.dataclass(frozen=True)
class Square:
    side: float
    by: Color = Color.RED


class Disc(Circle):
    pass


@attrs.frozen
class Node:
    v: int
    next: "Node | None" = None


@attrs.frozen
class Wide:
    a: list[int]
    b: dict[str, Circle]
    c: frozenset[str]
    d: bytes
    e: dt.datetime
    f: dt.date
    g: uuid.UUID
    h: decimal.Decimal
    i: Level
    j: Color
    k: Any
    l: tuple[int, ...]
    m: tuple[str, int]
    n: Circle | Square | None
    o: int | str | None
    p: Sequence[str]
    q: Node | None
    r: Mapping[str, int]
    s: bool
    t: str = "t"
    u: frozenset[Circle] = frozenset()
    _v: int = 3


TAGS = {"circle": Circle, "square": Square}
WIDE = Wide(
    a=[1, -2],
    b={"x": Circle(2.5)},
    c=frozenset("xyz"),
    d=b"\0\xff",
    e=dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC),
    f=dt.date(2026, 1, 2),
    g=uuid.UUID(int=7),
    h=decimal.Decimal("1.50"),
    i=Level.LOW,
    j=Color.BLUE,
    k=[1, {"a": None}],
    l=(1, 2),
    m=("a", 1),
    n=Square(1.0),
    o="x",
    p=("a", "b"),
    q=Node(1, Node(2)),
    r={"a": 1},
    s=True,
    u=frozenset([Circle(1.0), Circle(2.0)]),
    v=5,
)


# Text and bytes


def test_strings_are_utf_8():
    """STRING writes UTF-8 and reads it back; other types and lone surrogates are refused."""
    for value in ("", "foo", "snö☃\0\U0001f600", "\ufeff"):
        assert STRING.encode(value) == value.encode()
        assert STRING.decode(value.encode()) == value
    for value in (SECRET.encode(), 4711, None, ["a"]):
        raises(InvalidRequest, STRING.encode, value, match=f"STRING .*{type(value).__name__}")
    raises(InvalidRequest, STRING.encode, SECRET + "\ud800", match="surrogates")
    for data in (b"\xff", SECRET.encode() + b"\xed\xa0\x80", b"\xc0\x80", b"\xf0\x9f"):
        raises(Undecodable, STRING.decode, data, match="STRING")


def test_bytes_are_copied():
    """BYTES gives bytes of whatever holds bytes, apart from it, and refuses the rest."""
    buffer = bytearray(b"ab")
    made = [BYTES.encode(buffer), BYTES.encode(memoryview(buffer)), BYTES.encode(b"ab"), BYTES.decode(buffer)]
    buffer[0] = 0
    assert made == [b"ab"] * 4
    assert {type(x) for x in made} == {bytes}
    for value in (SECRET, 4711, None, [1, 2]):
        raises(InvalidRequest, BYTES.encode, value, match=f"BYTES .*{type(value).__name__}")


# JSON


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ([1, 2, 3], b"[1,2,3]"),
        ({"b": 1, "a": {"d": None, "c": True}}, b'{"a":{"c":true,"d":null},"b":1}'),
        ("é☃\U0001f600\n\x01", '"é☃\U0001f600\\n\\u0001"'.encode()),
        (10**4000, str(10**4000).encode()),
        (2**63 + 1, b"9223372036854775809"),
        (1.0, b"1.0"),
        (-0.0, b"-0.0"),
        (1e308, b"1e+308"),
        (0.1 + 0.2, b"0.30000000000000004"),
        ({"": ""}, b'{"":""}'),
        (None, b"null"),
    ],
)
def test_json_has_one_form(value, data):
    """JSON writes this form and no other, and it comes back with its types."""
    assert JSON.encode(value) == data
    assert repr(JSON.decode(data)) == repr(JSON.decode(JSON.encode(JSON.decode(data))))
    assert JSON.decode(data) == value
    assert type(JSON.decode(data)) is type(value)


def test_json_tells_true_from_one_from_one_point_zero():
    """Bool, int and float keep their kind, though Python calls them equal."""
    assert [JSON.encode([x]) for x in (True, 1, 1.0)] == [b"[true]", b"[1]", b"[1.0]"]
    assert [type(JSON.decode(JSON.encode(x))) for x in (True, 1, 1.0)] == [bool, int, float]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ((1, 2), r"tuple at \$"),
        ([1, (2,)], r"tuple at \$\[1\]"),
        ({SECRET: {1: 2}}, r"name of type int at \$\.\*"),
        ({True: 1}, "name of type bool"),
        ({None: 1}, "name of type NoneType"),
        ({1: 1, "1": 2}, "name of type int"),
        ({SECRET: [0, float("nan")]}, r"float .*at \$\.\*\[1\]"),
        (float("inf"), "float"),
        (-float("inf"), "float"),
        ([SECRET, "\ud800"], r"str .*at \$\[1\]"),
        ({"\udfff": SECRET}, "str"),
        (decimal.Decimal(4711), "Decimal"),
        ({SECRET}, "set"),
        (SECRET.encode(), "bytes"),
        ([dt.date(4711, 1, 1)], r"date at \$\[0\]"),
        (10**5000, "digits"),
        (Color.RED, "Color"),
        (object(), "object"),
        (deep(100_000), "deep"),
        (LOOP, "itself"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_json_refuses_what_would_not_come_back(value, where):
    """What JSON would bend or cannot write is refused, with codec, type and path and without the value."""
    raises(InvalidRequest, JSON.encode, value, match=f"codec JSON .*{where}")
    assert JSON.decode(JSON.encode([1, {"a": [2]}])) == [1, {"a": [2]}]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[1", b"[1]]", b"1 2", b'{"a":1,"a":2}', b'[{"x":{"a":1,"a":1}}]', b"NaN", b"[Infinity]", b"-Infinity", b'"\xff"',
        b'"\xed\xa0\x80"', b'"\\ud800"', b'{"\\udc00":1}', b"1e999", b"-1e999", b"\xef\xbb\xbf1", b"'a'", b"nan", b"[1,]", b"01",
        b'"\n"', b"1" * 5000, b"[" * 100_000, f'"{SECRET}'.encode(), f'{{"{SECRET}":1,"{SECRET}":2}}'.encode(), "1".encode("utf-16"),
    ],
    ids=lambda data: ascii(data)[:20],
)  # fmt: skip
def test_json_does_not_read_what_it_would_not_write(data):
    """Duplicate members, NaN, numbers beyond floats, bad UTF-8, lone surrogates and depth are Undecodable."""
    error = raises(Undecodable, JSON.decode, data, match="codec JSON")
    assert isinstance(error, IntegrityError)


def test_json_forgives_spelling():
    """White space, the order of members and escapes of whole characters are read."""
    assert JSON.decode(b' { "b" : 1 ,\n"a" : "\\u00e9\\ud83d\\ude00" } ') == {"a": "é\U0001f600", "b": 1}


# JSON of the published client


@pytest.mark.parametrize(
    "value",
    [[1, 2, 3], {"b": 1, "a": "é"}, "\ud800", (1, (2,)), {1: 2, True: 3}, {1: 1, "1": 2}, 1e300, None, 10**1000],
)
def test_json_ascii_writes_what_the_published_client_wrote(value):
    """The bytes are json.dumps's with compact separators, and read as json.loads reads them."""
    data = json.dumps(value, separators=(",", ":")).encode()
    assert JSON_ASCII.encode(value) == data
    assert JSON_ASCII.decode(data) == json.loads(data)


def test_json_ascii_reads_more_than_it_writes():
    """NaN and Infinity are read, as old data may hold them, and not written; nor is anything else json refuses."""
    assert str(JSON_ASCII.decode(b"[NaN,Infinity,-Infinity]")) == "[nan, inf, -inf]"
    for value in (
        float("nan"),
        [float("inf")],
        {float("nan"): 1},
        {SECRET},
        SECRET.encode(),
        deep(100_000),
        LOOP,
        {(1,): SECRET},
        10**5000,
    ):
        raises(InvalidRequest, JSON_ASCII.encode, value, match="JSON_ASCII")
    for data in (b"", b"\xff", f'"{SECRET}'.encode(), b"[" * 100_000, b"1" * 5000):
        raises(Undecodable, JSON_ASCII.decode, data, match="JSON_ASCII")


# Declared types


def test_typed_values_come_back():
    """A value of a wide class comes back equal, in one canonical form that does not hang on the process."""
    codec = typed(Wide, tags=TAGS)
    data = codec.encode(WIDE)
    assert codec.decode(data) == WIDE
    assert codec.encode(codec.decode(data)) == data
    assert data == JSON.encode(JSON.decode(data))
    plain = JSON.decode(data)
    assert plain["d"] == "AP8="
    assert plain["e"] == "2026-01-02T03:00:00+00:00"
    assert plain["n"] == {"type": "square", "side": 1.0, "by": "r"}
    assert (plain["c"], plain["u"]) == (["x", "y", "z"], [{"r": 1.0}, {"r": 2.0}])
    assert (plain["h"], plain["i"], plain["j"], plain["_v"]) == ("1.50", 1, "b", 5)


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("a", [1, SECRET], r"int at \$\.a\[1\]"), ("a", [True], r"int at \$\.a\[0\]"), ("a", [1.0], "a"), ("a", (1,), r"\$\.a"), ("a", 4711, ""), ("a", None, ""),
        ("b", {SECRET: Square(1.0)}, r"Circle at \$\.b\.\*"), ("b", {SECRET: Circle(SECRET)}, r"float at \$\.b\.\*\.r"),
        ("b", {SECRET: Circle(float("nan"))}, r"float at \$\.b\.\*\.r"), ("b", {SECRET: Disc(1.0)}, r"\$\.b\.\*"), ("b", {SECRET: Circle(10**400)}, r"\.r"),
        ("b", {SECRET: Circle(True)}, r"\.r"), ("c", SECRET, r"\$\.c"), ("c", frozenset([4711]), "str at"), ("d", SECRET, r"bytes at \$\.d"), ("d", bytearray(b"a"), ""),
        ("e", dt.datetime(4711, 1, 2), r"datetime at \$\.e"), ("e", dt.date(4711, 1, 2), r"\$\.e"), ("e", SECRET, r"\$\.e"),
        ("f", dt.datetime(4711, 1, 2, tzinfo=dt.UTC), r"date at \$\.f"), ("g", SECRET, r"UUID at \$\.g"), ("g", str(uuid.UUID(int=7)), r"\$\.g"),
        ("h", decimal.Decimal("NaN"), r"Decimal at \$\.h"), ("h", decimal.Decimal("Infinity"), "h"), ("h", "1.50", "h"), ("i", 4711, r"\$\.i"), ("j", "r", r"\$\.j"), ("j", SECRET, r"\$\.j"),
        ("k", decimal.Decimal(4711), r"\$\.k"), ("k", (1,), r"\$\.k"), ("k", {1: SECRET}, r"\$\.k"), ("k", Circle(1.0), r"\$\.k"), ("k", "\ud800", "str"), ("k", LOOP, "itself|deep"),
        ("k", float("nan"), "float"), ("k", object(), "object|k"), ("l", [1], r"\$\.l"), ("m", ("a", 4711, 2), r"\$\.m"), ("m", (4711, 1), r"\$\.m"), ("n", Node(4711), r"\$\.n"), ("n", SECRET, r"\$\.n"),
        ("o", 47.11, r"\$\.o"), ("o", True, r"\$\.o"), ("p", [SECRET], r"\$\.p"), ("q", Circle(1.0), r"\$\.q"), ("q", Node(1, Node(SECRET)), r"int at \$\.q\.next\.v|\$\.q"),
        ("r", {1: 1}, r"\$\.r"), ("s", 1, r"bool at \$\.s"), ("t", 4711, r"str at \$\.t"), ("t", None, r"\$\.t"), ("u", frozenset([4711]), ""), ("v", "4711", r"int at \$\._v"),
    ],
)  # fmt: skip
def test_typed_refuses_fields_of_other_types(field, value, place):
    """A field that is not what its class declares is refused with its path and without its value."""
    codec = typed(Wide, tags=TAGS)
    assert codec.decode(codec.encode(WIDE)) == WIDE
    raises(
        InvalidRequest,
        codec.encode,
        attrs.evolve(WIDE, **{field: value}),
        match=rf"codec typed\(Wide\) cannot carry this Wide: .*{place}",
    )


def test_typed_refuses_other_classes():
    """Anything but the class itself is refused: other classes, its subclasses, and plain data of its shape."""
    codec = typed(Circle)
    assert codec.encode(Circle(1.0)) == b'{"r":1.0}'
    for value in (Square(1.0), Disc(1.0), {"r": 1.0}, 4711, None, SECRET, Circle):
        raises(InvalidRequest, codec.encode, value, match=type(value).__name__)


def test_a_whole_number_is_a_float_where_one_is_declared():
    """Equal values have equal bytes: Circle(2) is written as Circle(2.0) is."""
    codec = typed(Circle)
    assert codec.encode(Circle(2)) == codec.encode(Circle(2.0)) == b'{"r":2.0}'
    assert codec.decode(b'{"r":2}') == Circle(2.0)
    raises(InvalidRequest, codec.encode, Circle(2**53 + 1))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{}", r"missing at \$\.r"), (b'{"r":1.0,"canary-4711":2}', "does not have"), (b'{"r":"canary-4711"}', r"float at \$\.r"), (b"[]", "Circle"),
        (b"null", "Circle"), (b'"canary-4711"', "Circle"), (b'{"r":true}', "float"), (b'{"r":1e999}', "JSON"), (b'{"r":NaN}', "JSON"),
        (b'{"r":1,"r":1}', "JSON"), (b"\xff", "JSON"), (b'{"r":1.0}x', "JSON"), (b'{"r":[1.0]}', "float"), (b'{"r":null}', "float"),
    ],
)  # fmt: skip
def test_typed_does_not_read_what_does_not_fit(data, why):
    """Unknown, missing and wrong members are Undecodable, with a path and without the bytes."""
    codec = typed(Circle)
    assert codec.decode(b'{"r":1.0}') == Circle(1.0)
    raises(Undecodable, codec.decode, data, match=rf"codec typed\(Circle\): .*{why}")


@pytest.mark.parametrize(
    ("field", "text"),
    [("d", "AP9="), ("d", "AP8"), ("d", "AP8=\n"), ("d", "A P8="), ("e", "2026-01-02T03:00:00"), ("e", "2026-01-02T03:00:00Z"), ("e", "20260102T030000+0000"), ("f", "20260102"),
     ("g", "{00000000-0000-0000-0000-000000000007}"), ("h", "NaN"), ("h", " 1.5"), ("h", "1_0"), ("j", "x"), ("i", 2), ("i", True), ("a", "12"), ("l", "12"), ("p", "ab"), ("p", {"a": 1})],
)  # fmt: skip
def test_typed_reads_texts_only_as_they_are_written(field, text):
    """There is one text for each value: another spelling of bytes, times and numbers is Undecodable."""
    codec = typed(Wide, tags=TAGS)
    plain = JSON.decode(codec.encode(WIDE))
    assert codec.decode(JSON.encode(plain)) == WIDE
    raises(Undecodable, codec.decode, JSON.encode({**plain, field: text}), match=rf"\$\.{field}")


def test_the_hour_that_clocks_repeat_is_carried():
    """A time in the repeated hour keeps its moment and offset, either time round, though its zone's name is lost."""
    stamped = attrs.make_class("Stamped", {"at": attrs.field(type=dt.datetime)}, frozen=True)
    codec, zone = typed(stamped), zoneinfo.ZoneInfo("Europe/Berlin")
    for fold, offset in ((0, 2), (1, 1)):
        at = dt.datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold)
        back = codec.decode(codec.encode(stamped(at))).at
        assert (back.isoformat(), back.utcoffset()) == (at.isoformat(), dt.timedelta(hours=offset))
        assert back.timestamp() == at.timestamp()


def test_a_class_may_grow():
    """A missing member takes its field's default."""
    assert typed(Square).decode(b'{"side":1.0}') == Square(1.0, Color.RED)


def test_unions_go_by_tags():
    """A union is stored with its tags, fixed texts, and a renamed class reads what the old one wrote."""
    codec = typed(Circle | Square, tags=TAGS)
    for value in (Circle(1.0), Square(2.0, Color.BLUE)):
        assert codec.decode(codec.encode(value)) == value
    assert codec.encode(Circle(1.0)) == b'{"r":1.0,"type":"circle"}'
    renamed = attrs.make_class("Round", {"r": attrs.field(type=float)}, frozen=True)
    assert typed(renamed | Square, tags={"circle": renamed, "square": Square}).decode(
        codec.encode(Circle(1.0))
    ) == renamed(1.0)
    for value in (Node(1), 4711, None, Disc(1.0), {"type": "circle", "r": 1.0}):
        raises(InvalidRequest, codec.encode, value)
    for data in (
        b'{"r":1.0}',
        b'{"r":1.0,"type":"Circle"}',
        b'{"r":1.0,"type":["circle"]}',
        b'{"r":1.0,"type":"square"}',
        b"[]",
        b'{"r":1.0,"type":null}',
    ):
        raises(Undecodable, codec.decode, data)


def test_a_single_class_may_have_its_tag():
    """With a tag of its own a class is written as in a union, and can join one later."""
    codec = typed(Circle, tags={"circle": Circle})
    assert codec.encode(Circle(1.0)) == typed(Circle | Square, tags=TAGS).encode(Circle(1.0))
    assert codec.decode(codec.encode(Circle(1.0))) == Circle(1.0)
    raises(Undecodable, codec.decode, b'{"r":1.0}')
    raises(InvalidRequest, codec.encode, Square(1.0))


@attrs.frozen
class Typeful:
    type: str


@pytest.mark.parametrize(
    ("kind", "tags", "why"),
    [
        (Circle | Square, None, r"tags=\{'circle': Circle, 'square': Square\}"),
        (Circle | Square, {"circle": Circle}, "'square': Square"),
        (Circle | Square | None, None, "tag"),
        (Wide, None, "tag"),
        (Circle | list[int], TAGS, "union"),
        (Circle | Typeful, {**TAGS, "t": Typeful}, "'type'"),
        (Typeful, {"t": Typeful}, "'type'"),
        (Circle | Square, {"a": Circle, "b": Circle, "c": Square}, "each for another"),
        (Circle | Square, {"": Circle, "b": Square}, "non-empty"),
        (Circle | Square, {1: Circle, "b": Square}, "non-empty"),
        (complex, None, "cannot carry complex"),
        (attrs.make_class("Odd", {"x": attrs.field(type=complex)}), None, "cannot carry complex"),
    ],
)
def test_typed_says_early_what_it_cannot_carry(kind, tags, why):
    """A union without complete tags, and a type without a form, are refused when the codec is made."""
    raises(InvalidRequest, lambda kind: typed(kind, tags), kind, match=why)
    assert typed(Circle | Square, TAGS)
    assert typed(Typeful).encode(Typeful("x")) == b'{"type":"x"}'


def test_depth_is_refused_and_not_fatal():
    """A chain of a hundred comes back; one of ten thousand is refused both ways."""
    codec, chain = typed(Node), None
    for index in range(100):
        chain = Node(index, chain)
    assert codec.decode(codec.encode(chain)) == chain
    for index in range(10_000):
        chain = Node(index, chain)
    raises(InvalidRequest, codec.encode, chain, match="deep")
    raises(Undecodable, codec.decode, b'{"v":1,"next":' * 10_000 + b"null" + b"}" * 10_000)


def test_a_validator_s_refusal_is_undecodable_without_its_words():
    """What the class's own validator says may quote the value, and is not passed on."""

    def check(_instance, _attribute, value):
        if value < 0:
            raise ValueError(f"{value} is below zero {SECRET}")

    positive = attrs.make_class("Positive", {"x": attrs.field(type=int, validator=check)})
    codec = typed(positive)
    assert codec.decode(b'{"x":1}').x == 1
    raises(Undecodable, codec.decode, b'{"x":-4711}')


T = TypeVar("T")


@attrs.frozen
class Box(Generic[T]):
    inside: T


def test_generic_classes_and_collections_have_codecs():
    """typed takes generic classes, lists and scalars too."""
    for kind, value in (
        (Box[int], Box(1)),
        (list[Circle], [Circle(1.0)]),
        (dict[str, Node], {"a": Node(1)}),
        (int, 7),
        (Circle | None, None),
        (bytes, b"\0"),
    ):
        codec = typed(kind)
        assert codec.decode(codec.encode(value)) == value
    raises(InvalidRequest, typed(Box[int]).encode, Box(SECRET), match=r"int at \$\.inside")


def test_sets_are_written_alike_in_every_process():
    """The order of a set's members does not hang on the hash seed."""
    code = "import attrs\nfrom indelible.codecs import typed\nprint(typed(frozenset[str]).encode(frozenset('abcdefghij')).decode())"
    made = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed)}, check=True, capture_output=True
        ).stdout
        for seed in (1, 2)
    }
    assert made == {b'["a","b","c","d","e","f","g","h","i","j"]\n'}


def test_cattrs_is_imported_for_typed_only():
    """Importing the codecs costs no cattrs; asking for a typed one does."""
    code = "import sys\nfrom indelible.codecs import JSON, typed\nassert 'cattrs' not in sys.modules\ntyped(int)\nassert 'cattrs' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_codecs_have_names():
    """Each codec says its name, which its errors use."""
    assert [codec.name for codec in (STRING, BYTES, JSON, JSON_ASCII, typed(Circle))] == [
        "STRING",
        "BYTES",
        "JSON",
        "JSON_ASCII",
        "typed(Circle)",
    ]
    assert repr(typed(Circle)) == "typed(Circle)"
