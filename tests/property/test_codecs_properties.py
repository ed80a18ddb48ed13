"""Laws of the codecs over arbitrary values and arbitrary bytes."""

import datetime as dt
import decimal
import json
import uuid

import attrs
from hypothesis import given
from hypothesis import strategies as st

from indelible.codecs import BYTES, JSON, JSON_ASCII, STRING, typed
from indelible.errors import InvalidRequest, Undecodable

texts = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(scalars, lambda x: st.lists(x, max_size=4) | st.dictionaries(texts, x, max_size=4), max_leaves=20)
anything = st.recursive(
    scalars | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda x: (
        st.lists(x, max_size=3)
        | st.tuples(x)
        | st.dictionaries(st.text() | st.integers() | st.none() | st.booleans(), x, max_size=3)
    ),
    max_leaves=10,
)


@attrs.frozen
class Leaf:
    x: float
    y: bytes = b""


@attrs.frozen
class Branch:
    name: str
    at: dt.datetime
    on: dt.date
    id: uuid.UUID
    price: decimal.Decimal
    leaves: list[Leaf]
    by: dict[str, int]
    some: frozenset[int]
    what: Leaf | int | str | None
    inner: "Branch | None" = None


leaves = st.builds(Leaf, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53), st.binary())
branches = st.deferred(
    lambda: st.builds(
        Branch, texts, st.datetimes(timezones=st.timezones() | st.just(dt.UTC)), st.dates(), st.uuids(),
        st.decimals(allow_nan=False, allow_infinity=False), st.lists(leaves, max_size=3), st.dictionaries(texts, st.integers(), max_size=3),
        st.frozensets(st.integers(), max_size=4), leaves | st.integers() | texts | st.none(), st.none() | branches,
    )
)  # fmt: skip


def fixed(value):
    """The same with fixed offsets: Python calls the hour that clocks repeat unequal to itself in another zone (PEP 495)."""
    if not isinstance(value, Branch):
        return value
    at = dt.datetime.fromisoformat(value.at.isoformat()) if isinstance(value.at, dt.datetime) else value.at
    return attrs.evolve(value, at=at, inner=fixed(value.inner))


CODEC = typed(Branch, tags={"leaf": Leaf})


@given(texts, st.binary())
def test_text_and_bytes_come_back(text, data):
    """STRING and BYTES give back what they were given, and STRING reads exactly UTF-8."""
    assert STRING.decode(STRING.encode(text)) == text
    assert BYTES.decode(BYTES.encode(data)) == data
    try:
        assert STRING.encode(STRING.decode(data)) == data
    except Undecodable:
        assert data.decode(errors="replace").encode() != data


@given(values)
def test_json_comes_back_with_its_types(value):
    """What JSON takes comes back the same to its repr, apart from the order of members, and has one form."""
    data = JSON.encode(value)
    back = JSON.decode(data)
    assert json.dumps(back, sort_keys=True) == json.dumps(value, sort_keys=True)
    assert JSON.encode(back) == data
    assert JSON.encode(json.loads(json.dumps(value))) == data


@given(anything)
def test_json_takes_what_comes_back_and_nothing_else(value):
    """Whatever is accepted comes back equal; whatever is refused is InvalidRequest and nothing else."""
    try:
        data = JSON.encode(value)
    except InvalidRequest:
        return
    assert JSON.decode(data) == value


@given(anything)
def test_json_ascii_is_json_dumps(value):
    """JSON_ASCII writes what json.dumps writes without NaN, or refuses."""
    try:
        expected = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError):
        expected = None
    try:
        assert JSON_ASCII.encode(value) == expected
    except InvalidRequest:
        assert expected is None


@given(
    st.binary()
    | values.map(lambda x: json.dumps(x).encode())
    | st.text(alphabet='[]{}":,0123456789eE.-truefalsn \\ud').map(str.encode)
)
def test_arbitrary_bytes_decode_or_are_undecodable(data):
    """No bytes get anything but a value or Undecodable out of a codec; what JSON reads it can write."""
    for codec in (JSON, JSON_ASCII, CODEC):
        try:
            value = codec.decode(data)
        except Undecodable:
            continue
        if codec is not JSON_ASCII:
            assert codec.decode(codec.encode(value)) == value


@given(branches)
def test_typed_values_come_back(value):
    """A value of declared classes comes back equal, with the same bytes, which are canonical JSON."""
    data = CODEC.encode(value)
    back = CODEC.decode(data)
    assert back == fixed(value)
    assert CODEC.encode(back) == data
    assert JSON.encode(JSON.decode(data)) == data


@given(branches, st.sampled_from([a.name for a in attrs.fields(Branch)]), anything)
def test_typed_takes_what_comes_back_and_nothing_else(value, field, other):
    """With anything in any field, a value either comes back equal or is refused."""
    changed = attrs.evolve(value, **{field: other})
    try:
        data = CODEC.encode(changed)
    except InvalidRequest:
        return
    assert CODEC.decode(data) == fixed(changed)


@given(branches, st.data())
def test_typed_reads_only_what_fits(value, data):
    """With anything in any member, what was stored either does not decode or gives a value that can be stored."""
    plain = JSON.decode(CODEC.encode(value))
    plain[data.draw(st.sampled_from(sorted(plain)))] = data.draw(values)
    try:
        back = CODEC.decode(JSON.encode(plain))
    except Undecodable:
        return
    assert CODEC.decode(CODEC.encode(back)) == back
