"""Laws of the ciphers over arbitrary names, keys and values."""

import base64

import indelible_log.crypto as seed
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from indelible import cipher
from indelible.cipher import SecretBoxCipher
from indelible.errors import IntegrityError

K = bytes(range(100, 132))
CIPHERS = [SecretBoxCipher(K, 1), SecretBoxCipher(K, 2), SecretBoxCipher(K, 2, padded=False)]
ciphers = st.sampled_from(CIPHERS)
names = st.text(st.characters(exclude_categories=["Cs"]))
messages = st.binary(max_size=300) | st.binary(max_size=20).map(lambda x: x + b"\x80" + bytes(30))


@given(ciphers, names, messages, messages)
def test_what_is_sealed_opens(ours, name, key, value):
    """Names, keys and values come back from their sealed forms, which are the same each time."""
    log, again = ours.log(name), SecretBoxCipher(K, ours.scheme, ours._padded).log(name)
    sealed_key = log.seal_key(key)
    sealed = log.seal_value(sealed_key, value)
    assert ours.open_name(ours.seal_name(name)) == name
    assert log.open_key(sealed_key) == key
    assert log.open_value(sealed_key, sealed) == value
    assert (again.seal_key(key), again.seal_value(sealed_key, value)) == (sealed_key, sealed)


@given(ciphers, messages, messages)
def test_sealing_is_injective(ours, one, other):
    """Sealed forms are equal exactly where the messages are."""
    log = ours.log("l")
    assert (log.seal_key(one) == log.seal_key(other)) == (one == other)
    assert (log.seal_value(b"k", one) == log.seal_value(b"k", other)) == (one == other)


@given(ciphers, messages, st.data())
def test_a_changed_byte_does_not_open(ours, message, data):
    """Any other bytes in place of some of the sealed ones do not open, while the sealed ones do."""
    log = ours.log("l")
    sealed = log.seal_value(b"k", message)
    start = data.draw(st.integers(0, len(sealed)))
    end = data.draw(st.integers(start, len(sealed)))
    other = sealed[:start] + data.draw(st.binary(max_size=40)) + sealed[end:]
    assume(other != sealed)
    assert log.open_value(b"k", sealed) == message
    with pytest.raises(IntegrityError):
        log.open_value(b"k", other)


@given(ciphers, st.binary(max_size=120), st.text(max_size=60))
def test_what_nobody_sealed_does_not_open(ours, data, text):
    """Arbitrary bytes and texts raise IntegrityError and nothing else."""
    log = ours.log("l")
    for action, argument in (
        (log.open_key, data),
        (ours.open_name, text),
        (ours.open_name, base64.b64encode(data).decode()),
    ):
        with pytest.raises(IntegrityError) as caught:
            action(argument)
        assert str(caught.value) == cipher._REFUSED


@given(messages, messages, messages)
def test_a_value_is_bound_to_its_key(key, other, value):
    """In scheme 2 a value opens under another sealed key never, and under its own always."""
    assume(key != other)
    for ours in CIPHERS[1:]:
        log = ours.log("l")
        sealed = log.seal_value(log.seal_key(key), value)
        assert log.open_value(log.seal_key(key), sealed) == value
        with pytest.raises(IntegrityError):
            log.open_value(log.seal_key(other), sealed)


@given(st.binary(max_size=2000))
def test_padding_is_undone_and_only_padding(plain):
    """unpad undoes pad; and whatever unpad takes is what pad made."""
    assert cipher._unpad(cipher._pad(plain)) == plain
    made = cipher._unpad(plain)
    assert made is None or cipher._pad(made) == plain


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_padded_sizes_grow(one, other):
    """Padded sizes are monotone, leave room for the mark, and are their own padded size less the mark."""
    size = cipher._padded_size(one)
    assert size >= max(32, one + 1)
    assert cipher._padded_size(size - 1) == size
    assert (size <= cipher._padded_size(other)) or one > other
    assert one < 32 or size - one - 1 <= 0.12 * one


@given(names, messages)
def test_scheme_1_is_the_published_client_s(name, message):
    """Both seal the same bytes for every name and message."""
    log, key = CIPHERS[0].log(name), seed.derive_key(K, name.encode())
    assert log.seal_key(message) == log.seal_value(b"", message) == seed.encrypt(key, message)
    assert base64.b64decode(CIPHERS[0].seal_name(name)) == seed.encrypt(K, name.encode())
