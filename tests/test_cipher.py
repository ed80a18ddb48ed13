"""The ciphers: known answers, what they refuse, and where a sealed thing opens."""

import base64
import copy
import hashlib
import hmac
import itertools
import json
import math
import pathlib
import pickle
import sys
import traceback

import indelible_log
import indelible_log.crypto as seed
import pytest
from nacl.bindings import crypto_secretbox_easy

from indelible import cipher
from indelible.cipher import SecretBoxCipher
from indelible.errors import IntegrityError, InvalidRequest
from indelible.secret import MasterKey

VECTORS = pathlib.Path(__file__).parent / "vectors"
V1 = json.loads((VECTORS / "cipher_v1.json").read_text())
V2 = json.loads((VECTORS / "cipher_v2.json").read_text())
K1, K2 = bytes(range(100, 132)), bytes(range(200, 232))
CONFIGS = [(1, True), (2, True), (2, False)]
b64 = base64.b64decode


def text(data):
    return base64.b64encode(data).decode()


def refused(action, *arguments):
    """The one error that everything which does not open raises, of which nothing else hangs."""
    with pytest.raises(IntegrityError) as caught:
        action(*arguments)
    error = caught.value
    assert type(error) is IntegrityError
    assert str(error) == cipher._REFUSED
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


def changed(data):
    """Every way to flip one bit, cut the end or the start off, or add a byte at either end."""
    for index in range(len(data)):
        for bit in range(8):
            yield data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]
    yield from (data[:size] for size in range(len(data)))
    yield from (data[size:] for size in range(1, len(data)))
    for byte in (0, 1, 0x80, 0xFF, data[0], data[-1]):
        yield data + bytes([byte])
        yield bytes([byte]) + data


# Known answers


@pytest.mark.parametrize("case", V1["nonce"])
def test_scheme_1_nonces_are_known(case):
    """The nonce of scheme 1 is the published client's."""
    assert cipher._nonce(b64(case["message"]), b64(case["key"]), case["length"]) == b64(case["nonce"])


@pytest.mark.parametrize("case", V1["seal"])
def test_scheme_1_boxes_are_known(case):
    """Scheme 1 seals to the published client's bytes, and opens them."""
    box = cipher._NonceBox(b64(case["key"]))
    assert box.seal(b64(case["message"])) == b64(case["sealed"])
    assert box.open(b64(case["sealed"])) == b64(case["message"])


@pytest.mark.parametrize("case", V1["derive_key"])
def test_scheme_1_log_keys_are_known(case):
    """A log's key of scheme 1 is the published client's: what one seals with it, the other seals alike."""
    log = SecretBoxCipher(b64(case["master_key"]), scheme=1).log(b64(case["context"]).decode())
    assert log.seal_key(b"m") == cipher._NonceBox(b64(case["key"])).seal(b"m") == seed.encrypt(b64(case["key"]), b"m")


@pytest.mark.parametrize("case", V1["names"])
def test_scheme_1_names_are_known(case):
    """Remote names of scheme 1 are the published client's, list names included, given as the text they encode to."""
    ours = SecretBoxCipher(b64(case["master_key"]), scheme=1)
    name = b64(case["encoded_name"]).decode()
    assert case["name_mode"] == "stringlist" or name == case["name"]
    assert ours.seal_name(name) == case["remote_name"]
    assert ours.open_name(case["remote_name"]) == name


@pytest.mark.parametrize("case", [case for case in V1["entries"] if case["master_key"]])
def test_scheme_1_entries_are_known(case):
    """Keys and values of scheme 1 are the published client's, byte for byte and back."""
    encode = {"string": str.encode, "json": lambda x: json.dumps(x, separators=(",", ":")).encode(), "binary": b64}
    key, value = encode[case["key_mode"]](case["key"]), encode[case["value_mode"]](case["value"])
    log = SecretBoxCipher(b64(case["master_key"]), scheme=1).log(case["log"])
    assert text(log.seal_key(key)) == case["wire_key"]
    assert text(log.seal_value(b64(case["wire_key"]), value)) == case["wire_value"]
    assert log.open_key(b64(case["wire_key"])) == key
    assert log.open_value(b64(case["wire_key"]), b64(case["wire_value"])) == value


@pytest.mark.parametrize("case", V2["logs"])
def test_scheme_2_is_known(case):
    """Names, keys and values of scheme 2 are the known ones, byte for byte and back."""
    ours = SecretBoxCipher(b64(case["master_key"]), padded=case["suite"] == 0x21)
    assert ours.seal_name(case["name"]) == case["remote_name"]
    assert ours.open_name(case["remote_name"]) == case["name"]
    assert b64(case["remote_name"])[:5] == bytes([case["suite"]]) + b64(case["key_id"])
    log = ours.log(case["name"])
    for entry in case["entries"]:
        key, value, sealed_key, sealed = (b64(entry[x]) for x in ("key", "value", "sealed_key", "sealed_value"))
        assert log.seal_key(key) == sealed_key
        assert log.seal_value(sealed_key, value) == sealed
        assert log.open_key(sealed_key) == key
        assert log.open_value(sealed_key, sealed) == value


def test_the_vectors_are_not_empty():
    """The control of the two above: both files hold cases of each kind, and scheme 2 both suites."""
    assert all(len(V1[kind]) >= 3 for kind in ("nonce", "derive_key", "seal", "names", "entries"))
    assert {case["suite"] for case in V2["logs"]} == {0x20, 0x21}
    assert sum(len(case["entries"]) for case in V2["logs"]) >= 72


# The specification once more, in other words, and the published client


def plain_seal(master, name, sub, header, ad, message, padded):
    """Scheme 2 as the document has it, one keyed hash after the other."""

    def prf(key, label, data, size):
        return hashlib.blake2b(
            data, digest_size=size, key=key, person=(b"indelible2-" + label).ljust(16, b"\0")
        ).digest()

    def lp(data):
        return len(data).to_bytes(8, "little") + data

    suite = b"\x21" if padded else b"\x20"
    if sub is None:
        pair, header = prf(master, b"names", suite, 64), suite + prf(master, b"keyid", b"", 4)
    else:
        pair, header = prf(prf(master, b"log", suite + lp(name), 32), b"sub", sub, 64), suite
    if padded:
        n = len(message) + 1
        e = math.floor(math.log2(n)) if n > 1 else 0
        s = math.floor(math.log2(e)) + 1 if e else 0
        step = 2 ** (e - s) if e else 1
        message = (message + b"\x80").ljust(max(32, -(-n // step) * step), b"\0")
    nonce = prf(pair[:32], b"siv", lp(header) + lp(ad) + message, 24)
    return header + nonce + crypto_secretbox_easy(message, nonce, pair[32:])


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("size", [0, 1, 30, 31, 32, 33, 62, 63, 64, 127, 128, 1000, 4095, 70_000])
def test_scheme_2_is_what_the_document_says(padded, size):
    """Sealing agrees with a second, slow reading of the document at every size class."""
    log, message = SecretBoxCipher(K1, padded=padded).log("snö"), bytes(x % 251 for x in range(size))
    sealed_key = log.seal_key(message)
    assert sealed_key == plain_seal(K1, "snö".encode(), b"\1", b"", b"", message, padded)
    assert log.seal_value(b"ad", message) == plain_seal(K1, "snö".encode(), b"\2", b"", b"ad", message, padded)
    name = SecretBoxCipher(K1, padded=padded).seal_name("a" * size)
    assert b64(name) == plain_seal(K1, None, None, None, b"", b"a" * size, padded)


@pytest.mark.parametrize("name", ["orders", "snö☃", "", "\0", "x" * 500])
def test_scheme_1_agrees_with_the_published_client(name):
    """What we seal the published client opens, and the other way round, to the same bytes."""
    ours, key = SecretBoxCipher(K1, scheme=1), seed.derive_key(K1, name.encode())
    log = ours.log(name)
    assert ours.seal_name(name) == text(indelible_log.encrypt_name(name.encode(), {"master_key": K1}))
    for message in (b"", b"a", b"\0" * 40, bytes(range(256)) * 9):
        sealed = seed.encrypt(key, message)
        assert log.seal_key(message) == log.seal_value(b"any", message) == sealed
        assert (
            log.open_key(sealed)
            == log.open_value(b"any", sealed)
            == message
            == seed.decrypt(key, log.seal_key(message))
        )


# What does not open


@pytest.mark.parametrize(("scheme", "padded"), CONFIGS)
@pytest.mark.parametrize("message", [b"", b"foo", bytes(40)])
def test_no_altered_bytes_open(scheme, padded, message):
    """A key or value with any bit flipped, any end missing or any byte more does not open; unaltered it does."""
    log = SecretBoxCipher(K1, scheme, padded).log("orders")
    sealed_key = log.seal_key(message)
    sealed = log.seal_value(sealed_key, message)
    assert log.open_key(sealed_key) == log.open_value(sealed_key, sealed) == message
    for other in changed(sealed_key):
        refused(log.open_key, other)
    for other in changed(sealed):
        refused(log.open_value, sealed_key, other)


@pytest.mark.parametrize(("scheme", "padded"), CONFIGS)
def test_no_altered_name_opens(scheme, padded):
    """A sealed name opens as it was written and in no other way, neither altered nor spelled differently."""
    ours = SecretBoxCipher(K1, scheme, padded)
    sealed = ours.seal_name("orders")
    assert ours.open_name(sealed) == "orders"
    for other in changed(b64(sealed)):
        refused(ours.open_name, text(other))
    spellings = [
        sealed + "\n",
        " " + sealed,
        sealed + "=",
        sealed.rstrip("=") + "====",
        sealed[:7] + "\n" + sealed[7:],
        sealed[:-1],
        sealed + "é",
    ]
    spellings += [sealed.rstrip("="), sealed.swapcase(), "", "=", "orders", "\ud800"]
    for other in spellings:
        if other != sealed:
            refused(ours.open_name, other)


def test_base64_with_stray_bits_does_not_open():
    """The bits that Base64 leaves over must be zero, as they are when written."""
    ours = SecretBoxCipher(K1, scheme=1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    seen = 0
    for size in range(1, 7):
        sealed = ours.seal_name("x" * size)
        assert ours.open_name(sealed) == "x" * size
        body = sealed.rstrip("=")
        for letter in alphabet:
            other = body[:-1] + letter + sealed[len(body) :]
            if other != sealed:
                seen += b64(other) == b64(sealed)
                refused(ours.open_name, other)
    assert seen  # some of these were the same bytes


def test_bytes_that_are_no_text_are_no_name():
    """A name that opens to something that UTF-8 is not is refused like any other; one that is text opens."""
    ours = SecretBoxCipher(K1)
    assert ours.open_name(text(ours._names.seal("é".encode()))) == "é"
    refused(ours.open_name, text(ours._names.seal(b"\xff")))


@pytest.mark.parametrize(("scheme", "padded"), CONFIGS)
def test_another_nonce_does_not_open(scheme, padded):
    """A box made with the right key and a nonce of one's own does not open: the nonce is checked, in both schemes."""
    log = SecretBoxCipher(K1, scheme, padded).log("orders")
    box = log._box if scheme == 1 else log._keys
    plain = cipher._pad(b"foo") if scheme == 2 and padded else b"foo"
    key, header = (box._key, b"") if scheme == 1 else (box._enc, box._header)

    def with_nonce(nonce):
        return header + nonce + crypto_secretbox_easy(plain, nonce, key)

    sealed = log.seal_key(b"foo")
    assert log.open_key(with_nonce(sealed[len(header) : len(header) + 24])) == b"foo"
    refused(log.open_key, with_nonce(bytes(24)))
    refused(log.open_key, with_nonce(hashlib.blake2b(b"foo", digest_size=24).digest()))


# Padding


@pytest.mark.parametrize(
    "message", [b"", b"\x80", b"\0", b"a" * 31, b"a" * 32, b"\x80" * 40, b"a\x80" + bytes(60), bytes(100)]
)
def test_unpad_takes_only_what_pad_gave(message):
    """Padding comes off again, and any other amount of it, or another filling, is refused."""
    padded = cipher._pad(message)
    assert cipher._unpad(padded) == message
    for other in (
        padded + b"\0",
        padded[:-1],
        padded + bytes(32),
        message + b"\x80" + bytes(len(padded)),
        message,
        padded[:-1] + b"\1",
    ):
        made = cipher._unpad(other)
        assert made is None or cipher._pad(made) == other
        assert made != message
    for never in (b"", b"\x80", bytes(32), b"\x01" * 32, b"\x80" + bytes(30), b"\x80" + bytes(32), b"a" * 31 + b"\x81"):
        assert cipher._unpad(never) is None


def test_unpad_refuses_all_that_pad_does_not_make():
    """Over every place of the mark at every length up to 200, unpad takes exactly what pad makes."""
    for length in range(201):
        for mark in range(length):
            made = cipher._unpad(b"m" * mark + b"\x80" + bytes(length - mark - 1))
            assert (made == b"m" * mark) == (cipher._padded_size(mark) == length)


def test_padding_that_is_wrong_does_not_open_even_when_sealed():
    """Whoever holds the keys cannot make two sealed forms of one message: padding is checked after the seal."""
    log = SecretBoxCipher(K1).log("orders")
    raw = cipher._SivBox.__new__(cipher._SivBox)
    for slot in ("_enc", "_header", "_siv"):
        setattr(raw, slot, getattr(log._keys, slot))
    raw._padded = False
    assert log.open_key(raw.seal(cipher._pad(b"foo"))) == b"foo"
    for plain in (b"foo", b"foo\x80", b"foo\x80" + bytes(27), b"foo\x80" + bytes(29), b"", bytes(32)):
        refused(log.open_key, raw.seal(plain))


def test_padded_sizes_are_padme():
    """A padded size is padme's and at least 32: monotone, at most 12 % above, and of few different values."""

    def padme(n):
        e = math.floor(math.log2(n))
        s = math.floor(math.log2(e)) + 1
        return -(-n // 2 ** (e - s)) * 2 ** (e - s)

    sizes = [cipher._padded_size(size) for size in range(20_000)]
    assert all(made == max(32, padme(size + 1) if size else 0) for size, made in enumerate(sizes) if size)
    assert sizes[0] == sizes[30] == sizes[31] == 32
    assert sizes == sorted(sizes)
    assert all(made > size and (size < 32 or made - size - 1 <= 0.12 * size) for size, made in enumerate(sizes))
    assert len(set(sizes)) == 125


def test_short_values_look_alike_when_padded():
    """Up to 31 bytes all values have one sealed length; unpadded and in scheme 1 the length shows."""
    lengths = {c: {len(SecretBoxCipher(K1, *c).log("l").seal_key(bytes(n))) for n in range(32)} for c in CONFIGS}
    assert [len(lengths[c]) for c in CONFIGS] == [32, 1, 32]


# Where a sealed thing opens


def places():
    """One of every place something can be sealed for: configuration, master key, log, role (with its key)."""
    made = {}
    for (scheme, padded), (m, master) in itertools.product(CONFIGS, enumerate((K1, K2))):
        ours = SecretBoxCipher(master, scheme, padded)
        made[scheme, padded, m, None, "name", None] = (
            lambda data, ours=ours: b64(ours.seal_name(data.decode())),
            lambda sealed, ours=ours: ours.open_name(text(sealed)).encode(),
        )
        for name in ("orders", "others"):
            log = ours.log(name)
            made[scheme, padded, m, name, "key", None] = (log.seal_key, log.open_key)
            for key in (b"foo", b"bar"):
                at = log.seal_key(key)
                made[scheme, padded, m, name, "value", key] = (
                    lambda data, log=log, at=at: log.seal_value(at, data),
                    lambda sealed, log=log, at=at: log.open_value(at, sealed),
                )
    return made


@pytest.mark.parametrize("message", [b"foo", b"", b"a text of more than 32 bytes, so padding differs"])
def test_a_sealed_thing_opens_only_in_its_place(message):
    """What was sealed for a scheme, suite, master key, log, role and key opens there alone; scheme 1 knows fewer places."""
    made = places()
    assert len(made) == 3 * 2 * (1 + 2 * 3)
    for source, (seal, _) in made.items():
        sealed = seal(message)
        for target, (_, opens) in made.items():
            # The documented weakness: in scheme 1, keys and values of one log are one place.
            same = source[:4] == target[:4] and (source == target or source[0] == 1)
            if same:
                assert opens(sealed) == message
            else:
                refused(opens, sealed)


def test_scheme_1_serves_a_value_under_another_key():
    """The documented weakness of scheme 1, and its absence in scheme 2, side by side."""
    for scheme in (1, 2):
        log = SecretBoxCipher(K1, scheme).log("orders")
        foo, bar = log.seal_key(b"foo"), log.seal_key(b"bar")
        sealed = log.seal_value(foo, b"1")
        assert log.open_value(foo, sealed) == b"1"
        assert (log.seal_value(bar, b"1") == sealed) == (scheme == 1)
        if scheme == 1:
            assert log.open_value(bar, sealed) == b"1"
        else:
            refused(log.open_value, bar, sealed)


def test_the_sealed_key_is_bound_whole():
    """No bit of the key a value stands under can change, nor can bytes move between key and value."""
    log = SecretBoxCipher(K1, padded=False).log("orders")
    at = log.seal_key(b"foo")
    sealed = log.seal_value(at, b"value")
    assert log.open_value(at, sealed) == b"value"
    for other in changed(at):
        refused(log.open_value, other, sealed)
    assert log.seal_value(b"ab", b"c") != log.seal_value(b"a", b"bc")
    refused(log.open_value, b"a", log.seal_value(b"ab", b"c"))


@pytest.mark.parametrize(("scheme", "padded"), CONFIGS)
def test_equal_things_seal_equal(scheme, padded):
    """Sealing is a function: again, by another cipher and after other calls, the bytes are the same, and others differ."""
    one, two = SecretBoxCipher(K1, scheme, padded), SecretBoxCipher(MasterKey(K1), scheme, padded)
    first, second = one.log("orders"), two.log("orders")
    first.seal_key(b"something else")
    assert one.seal_name("orders") == two.seal_name("orders") != one.seal_name("others")
    assert first.seal_key(b"a") == second.seal_key(b"a") == first.seal_key(b"a") != first.seal_key(b"b")
    assert first.seal_value(b"k", b"a") == second.seal_value(b"k", b"a") != first.seal_value(b"k", b"b")


# Refusals and silence


@pytest.mark.parametrize("scheme", [0, 3, True, "2", 2.0, None, b"\2"])
def test_there_are_two_schemes(scheme):
    """Any scheme but 1 and 2 is refused."""
    with pytest.raises(InvalidRequest, match="scheme"):
        SecretBoxCipher(K1, scheme)
    assert [SecretBoxCipher(K1, good).scheme for good in (1, 2)] == [1, 2]
    assert SecretBoxCipher(K1).scheme == 2


@pytest.mark.parametrize("scheme", [1, 2])
def test_a_cipher_wants_a_good_key_and_good_names(scheme):
    """Weak keys, and names that UTF-8 cannot carry, are refused when given."""
    for weak in (bytes(32), K1[:31], "x" * 32, None):
        with pytest.raises(InvalidRequest):
            SecretBoxCipher(weak, scheme)
    ours = SecretBoxCipher(K1, scheme)
    for name in ("\ud800", b"orders", None):
        for call in (ours.seal_name, ours.log):
            with pytest.raises(InvalidRequest, match="log's name"):
                call(name)
    assert ours.open_name(ours.seal_name("orders")) == "orders"


CANARY = hashlib.blake2b(b"canary", digest_size=32).digest()


def spellings(key):
    return [key.hex(), text(key).rstrip("="), repr(key)[2:-1], str(key)[2:-1], key.decode("latin-1")]


def shows(texts, keys):
    return any(spelling in one for one in texts for key in keys for spelling in spellings(key))


def secrets_of(master, name):
    """The master key and all keys that are derived from it."""
    keys = [master, seed.derive_key(master, name.encode())]
    for suite in (0x20, 0x21):
        lp = len(name).to_bytes(8, "little") + name.encode()
        log_key = hashlib.blake2b(bytes([suite]) + lp, digest_size=32, key=master, person=b"indelible2-log").digest()
        pairs = [hashlib.blake2b(bytes([suite]), digest_size=64, key=master, person=b"indelible2-names").digest()]
        pairs += [
            hashlib.blake2b(sub, digest_size=64, key=log_key, person=b"indelible2-sub").digest()
            for sub in (b"\1", b"\2")
        ]
        keys += [log_key, *(half for pair in pairs for half in (pair[:32], pair[32:]))]
    return keys


@pytest.mark.parametrize(("scheme", "padded"), CONFIGS)
def test_no_key_shows_anywhere(scheme, padded):
    """No repr, str, format, attribute listing or traceback, locals of our frames included, shows a key."""
    keys = secrets_of(CANARY, "orders")
    ours = SecretBoxCipher(CANARY, scheme, padded)
    log = ours.log("orders")
    boxes = [ours._names, ours._master] + ([log._box] if scheme == 1 else [log._keys, log._values])
    held = [box._key if scheme == 1 else box._enc for box in (ours._names, *boxes[2:])]
    assert all(key in keys for key in held)  # the list of canaries is the right one
    texts = []
    for thing in (ours, log, *boxes):
        texts += [repr(thing), str(thing), f"{thing}", repr([thing]), repr(dir(thing))]
        with pytest.raises(TypeError):
            vars(thing)
    sealed = log.seal_value(b"k", b"v")
    for action, *arguments in (
        (log.open_value, b"k", sealed[:-1] + b"\0\0"),
        (log.open_key, b""),
        (log.open_key, SecretBoxCipher(K2, scheme, padded).log("orders").seal_key(b"a")),
        (ours.open_name, "AAAA"),
        (ours.open_name, "no Base64"),
    ):
        error = refused(action, *arguments)
        texts += [repr(error), str(error.args), "".join(traceback.format_exception(error))]
        ours_only = error.__traceback__
        while ours_only.tb_frame.f_code.co_filename == __file__:
            ours_only = ours_only.tb_next
        texts.append("".join(traceback.TracebackException(type(error), error, ours_only, capture_locals=True).format()))
    assert not shows(texts, keys)
    assert shows([repr({"held": CANARY})], keys)
    assert repr(SecretBoxCipher(CANARY)) == "SecretBoxCipher(scheme=2)"


@pytest.mark.parametrize(("scheme", "padded"), CONFIGS)
def test_ciphers_are_not_carried_off(scheme, padded):
    """A cipher, a log's cipher and what they are made of refuse to be pickled or copied."""
    ours = SecretBoxCipher(K1, scheme, padded)
    for thing in (ours, ours.log("orders"), ours._names):
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="key material"):
                attempt(thing)
    assert ours.open_name(ours.seal_name("orders")) == "orders"


def test_every_check_is_in_constant_time(monkeypatch):
    """Nonces are compared by hmac.compare_digest: without it nothing opens."""
    log = SecretBoxCipher(K1).log("orders")
    sealed = log.seal_key(b"a")
    assert cipher.compare_digest is hmac.compare_digest
    assert log.open_key(sealed) == b"a"
    monkeypatch.setattr(cipher, "compare_digest", lambda a, b: len(a) == 1)
    refused(log.open_key, sealed)


def test_only_the_cipher_knows_nacl():
    """Nothing but the cipher's own module names nacl in the modules of this layer."""
    package = pathlib.Path(cipher.__file__).parent
    assert "nacl" in sys.modules
    assert {p.name for p in package.glob("*.py") if "import nacl" in (t := p.read_text()) or "from nacl" in t} == {
        "cipher.py"
    }
