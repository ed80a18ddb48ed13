"""Secrets: what holds key material shows it to nobody who does not ask by name."""

import base64
import copy
import json
import pickle
import traceback

import pytest

from indelible import seams
from indelible.errors import InvalidRequest
from indelible.secret import MasterKey, Secret

KEY = bytes(range(128, 160))


def shows(text, key=KEY):
    """Whether any 6 bytes of the key stand in the text, in any of the usual spellings."""
    spellings = [
        key.hex(),
        base64.b64encode(key).decode(),
        repr(key)[2:-1],
        key.decode("latin-1"),
        str(list(key))[1:-1],
    ]
    width = {0: 12, 1: 8, 2: 24, 3: 6, 4: 28}
    return any(s[i : i + width[n]] in text for n, s in enumerate(spellings) for i in range(len(s) - width[n] + 1))


def test_the_canary_is_seen_when_it_shows():
    """The control of every test below: the search finds the key where it stands."""
    for text in (KEY.hex(), base64.b64encode(KEY).decode(), repr(KEY), repr({"k": KEY}), str(list(KEY))):
        assert shows(f"x{text}x")
    assert not shows("a text without it")


@pytest.mark.parametrize("secret", [Secret(KEY), MasterKey(KEY)])
def test_printing_gives_nothing_away(secret):
    """No way of making text of a secret shows a byte of it; reveal gives them all."""
    name = type(secret).__name__
    texts = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r}",
        f"{secret!s:>40}",
        f"{secret:>40}",
        "%s" % secret,
        "%r" % (secret,),
    ]
    texts += [repr([secret]), repr({"k": secret}), format(secret, "")]
    assert all(f"{name}(<32 bytes>)" in text for text in texts)
    assert not any(shows(text) for text in texts)
    assert secret.reveal() == KEY


@pytest.mark.parametrize("secret", [Secret(KEY), MasterKey(KEY)])
def test_nothing_carries_a_secret_off(secret):
    """Pickling and copying refuse, and say why."""
    attempts = [
        lambda: pickle.dumps(secret),
        lambda: copy.copy(secret),
        lambda: copy.deepcopy(secret),
        lambda: copy.deepcopy({"k": [secret]}),
        lambda: secret.__reduce__(),
        lambda: secret.__reduce_ex__(2),
        lambda: secret.__getstate__(),
        *(lambda protocol=protocol: pickle.dumps(secret, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError, match="key material") as caught:
            attempt()
        assert not shows("".join(traceback.format_exception(caught.value)))
    assert pickle.loads(pickle.dumps(KEY)) == KEY


def test_a_secret_has_nothing_to_look_into():
    """There is no __dict__, no length, no iteration, no bytes() and no JSON of a secret."""
    secret = Secret(KEY)
    for look in (vars, len, iter, bytes, json.dumps, memoryview, hash):
        with pytest.raises(TypeError):
            look(secret)
    with pytest.raises(AttributeError):
        secret.other = 1


def test_secrets_are_equal_by_content():
    """A secret equals another of the same bytes, and neither other bytes nor the bytes themselves."""
    assert Secret(KEY) == Secret(KEY)
    assert Secret(KEY) == MasterKey(KEY)
    assert Secret(KEY) != Secret(KEY[:-1])
    assert Secret(KEY) != Secret(KEY[:-1] + b"\0")
    assert Secret(KEY) != KEY
    assert Secret(KEY).__eq__(KEY) is NotImplemented


@pytest.mark.parametrize("value", ["text", bytearray(KEY), memoryview(KEY), None, 32, list(KEY), Secret(KEY)])
@pytest.mark.parametrize("kind", [Secret, MasterKey])
def test_a_secret_is_made_of_bytes(kind, value):
    """Anything but bytes is refused with its type alone."""
    with pytest.raises(InvalidRequest, match=type(value).__name__) as caught:
        kind(value)
    assert not shows(str(caught.value))
    assert kind(KEY).reveal() == KEY


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "32 bytes"),
        (KEY[:31], "32 bytes"),
        (KEY + b"\0", "32 bytes"),
        (bytes(32), "not random"),
        (b"\xff" * 32, "not random"),
        (bytes(range(16)) * 2, "not random"),
        (bytes(range(19)) + bytes(13), "not random"),
        (b"correct horse battery staple 123", "text"),
        (base64.b64encode(KEY)[:32], "text"),
        (b"0123456789abcdef" * 2, "text"),
    ],
)
def test_a_weak_master_key_is_refused(value, why):
    """Another length and what is plainly not random is refused with what to do, and without the key."""
    with pytest.raises(InvalidRequest, match=why) as caught:
        MasterKey(value)
    assert "MasterKey.generate()" in str(caught.value)
    formatted = "".join(traceback.format_exception(caught.value))
    assert value == b"" or (repr(value)[2:-1] not in formatted and value.hex() not in formatted)


def test_the_checks_of_a_master_key_stop_where_they_say():
    """Twenty distinct bytes are enough, and one byte that does not print makes it no text."""
    assert MasterKey(bytes(range(20)) + bytes(12)).reveal()
    assert MasterKey(b"abcdefghijklmnopqrstuvwxyz12345\x7f").reveal()


def test_generated_keys_come_from_the_seam(monkeypatch):
    """generate asks seams.entropy for 32 bytes, and refuses what is not random from there as well."""
    assert MasterKey.generate() != MasterKey.generate()
    asked = []
    monkeypatch.setattr(seams, "entropy", lambda size: asked.append(size) or KEY)
    assert MasterKey.generate() == MasterKey(KEY)
    assert asked == [32]
    monkeypatch.setattr(seams, "entropy", bytes)
    with pytest.raises(InvalidRequest):
        MasterKey.generate()


def test_base64_is_read_as_it_was_written():
    """A key's text gives the key back, and every other spelling is refused without showing it."""
    key = MasterKey(b"\xfb\xff\xfe" + KEY[3:])
    text = key.to_base64()
    assert MasterKey.from_base64(text) == key
    assert len(text) == 44
    others = [
        text[:-1],
        text + "=",
        text + "\n",
        " " + text,
        text.replace("+", "-").replace("/", "_"),
        text[:-2] + chr(ord(text[-2]) + 1) + "=",
        text[:10] + "\n" + text[10:],
        text[:20] + "é" + text[21:],
        text + text,
        "",
        text[:-4],
        text.encode(),
        None,
        7,
        text[:20] + "\0" + text[20:],
    ]
    for other in others:
        with pytest.raises(InvalidRequest) as caught:
            MasterKey.from_base64(other)
        assert caught.value.__context__ is None
        assert not shows("".join(traceback.format_exception(caught.value)), key.reveal())
