"""What codecs and ciphers say when they refuse, word for word: it is all that their caller has to go by."""

import attrs
import pytest

from indelible import cipher
from indelible.cipher import SecretBoxCipher
from indelible.codecs import BYTES, JSON, JSON_ASCII, STRING, typed
from indelible.errors import InvalidRequest, Undecodable

KEY = bytes(range(5, 37))


@attrs.frozen
class Kept:
    """A class with fields that JSON may not carry."""

    a: dict
    b: float = 0.0


def wavers(value):
    """A validator's whim: it refuses every second time."""
    wavers.turn += 1
    if wavers.turn % 2:
        raise ValueError("no")
    return value


wavers.turn = 0


@attrs.frozen
class Wavering:
    """A class that takes a value or not, as it likes."""

    x: int = attrs.field(converter=lambda value: value, validator=lambda _i, _a, value: wavers(value))


def wavering():
    """One that was taken; the next to be made will be refused, the one after it not."""
    wavers.turn = 1
    made = Wavering(1)
    assert wavers.turn == 2
    return made


def nested(levels, inside=0):
    for _ in range(levels):
        inside = [inside]
    return inside


IN_NONE = "codec typed(Kept) cannot carry this Kept: "
REFUSED = {
    "a number as text": (STRING, 3, "codec STRING takes a str, not int"),
    "a surrogate": (STRING, "\ud800", "codec STRING takes a str without lone surrogates"),
    "text as bytes": (BYTES, "x", "codec BYTES takes bytes, not str"),
    "a set": (JSON, {1}, "codec JSON cannot carry set at $"),
    "an infinity": (JSON, [float("inf")], "codec JSON cannot carry float (not a number, or infinite) at $[0]"),
    "too deep": (JSON, nested(5000), "codec JSON cannot carry what is nested too deeply, or contains itself"),
    "a set in ASCII": (JSON_ASCII, {1}, "codec JSON_ASCII cannot carry what has no form in JSON in this set"),
    "an infinity in ASCII": (
        JSON_ASCII,
        [float("inf")],
        "codec JSON_ASCII cannot carry what has no form in JSON in this list",
    ),
    "too deep in ASCII": (
        JSON_ASCII,
        nested(5000),
        "codec JSON_ASCII cannot carry what is nested too deeply, or contains itself in this list",
    ),
    "a field never set": (typed(Kept), object.__new__(Kept), IN_NONE + "some field is not of its declared type"),
    "a deep field": (typed(Kept), Kept({"d": nested(5000)}), IN_NONE + "what is nested too deeply, or contains itself"),
    "a deep field before an odd one": (
        typed(Kept),
        Kept({"d": nested(700), "e": float("nan")}),
        IN_NONE + "what is nested too deeply, or contains itself",
    ),
    "an odd field": (
        typed(Kept),
        Kept({"e": float("nan")}),
        IN_NONE + "float (not a number, or infinite) at $.*.*",
    ),
    "a whim": (
        typed(Wavering),
        wavering,
        "codec typed(Wavering) cannot carry this Wavering: what would not come back equal",
    ),
}

UNREADABLE = {
    "bytes": (STRING, b"\xff", "codec STRING: the bytes are not UTF-8"),
    "no JSON": (JSON, b"x", "codec JSON: the bytes are not JSON as this codec writes it"),
    "no JSON in ASCII": (JSON_ASCII, b"x", "codec JSON_ASCII: the bytes are not JSON"),
    "no UTF-8": (JSON_ASCII, b'"\xff"', "codec JSON_ASCII: the bytes are not JSON"),
    "no JSON of a class": (typed(Kept), b"x", "codec typed(Kept): the bytes are not JSON as this codec writes it"),
    "another class": (typed(Kept), b'{"a":{},"c":1}', "codec typed(Kept): a field that the class does not have at $"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_value_is_told(name):
    """Codecs: which codec, what it cannot carry, by type, and where; never the value."""
    codec, value, said = REFUSED[name]
    value = value() if callable(value) else value
    with pytest.raises(InvalidRequest) as raised:
        codec.encode(value)
    assert str(raised.value) == said


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_bytes_are_told(name):
    """Codecs: which codec, and what is wrong with the bytes."""
    codec, data, said = UNREADABLE[name]
    with pytest.raises(Undecodable) as raised:
        codec.decode(data)
    assert str(raised.value) == said


def test_a_class_that_wavers_is_told():
    """Codecs: what was refused a moment ago and is taken now is refused all the same."""
    codec = typed(Wavering)
    wavers.turn = 0
    with pytest.raises(Undecodable) as raised:
        codec.decode(b'{"x":1}')
    assert str(raised.value) == "codec typed(Wavering): what was read does not fit"


@pytest.mark.parametrize(("scheme", "padded"), [(1, True), (2, True), (2, False)])
def test_ciphers_say_what_they_are(scheme, padded):
    """Sealing: a cipher's text tells scheme and padding, a log's the scheme, and nothing else."""
    ours = SecretBoxCipher(KEY, scheme, padded)
    assert repr(ours) == f"SecretBoxCipher(scheme={scheme}{'' if padded else ', padded=False'})"
    assert repr(ours.log("orders")) == f"<a log's cipher, scheme {scheme}>"


def test_ciphers_say_what_they_refuse():
    """Sealing: a scheme that is none, and a name that is no text, are told word for word."""
    with pytest.raises(InvalidRequest) as raised:
        SecretBoxCipher(KEY, 3)
    assert str(raised.value) == "the scheme is 2, or 1 for logs of the published client indelible_log"
    for call in (SecretBoxCipher(KEY).seal_name, SecretBoxCipher(KEY).log):
        with pytest.raises(InvalidRequest) as raised:
            call(b"orders")
        assert str(raised.value) == "a log's name must be a str, not bytes"


@pytest.mark.parametrize("filling", range(1, 256))
def test_padding_is_filled_with_zeros_only(filling):
    """Sealing: behind the mark stands nothing but zeros, whatever else might stand there."""
    for length in (1, 5, 30):
        plain = (b"m" * (31 - length) + b"\x80").ljust(32, bytes([filling]))
        assert cipher._unpad(plain) is None or plain[-1:] == b"\x80"
