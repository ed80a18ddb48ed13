"""Sealing: deterministic, authenticated encryption of log names, keys and values, in two schemes.

Equal inputs seal to equal bytes, because the store must compare what it cannot read (S2). What that shows, and what
it does not, is on the security page. Scheme 2 is the default; scheme 1 reads and writes what the published client
``indelible_log`` wrote, and is weaker: a hostile server can serve one key's value under another key, equal values
under different keys look equal, and lengths show. Which of them a log uses is configuration, never guessed from data.

Everything that does not open raises ``IntegrityError`` with one text, whatever the reason. It is raised outside every
``except``, so that no error of a lower layer, with keys in its frames, hangs on to it.
"""

from __future__ import annotations

import base64
import hashlib
from hmac import compare_digest
from typing import Protocol

from nacl.bindings import crypto_pwhash_alg, crypto_secretbox_easy, crypto_secretbox_open_easy
from nacl.bindings.crypto_pwhash import crypto_pwhash_ALG_ARGON2ID13
from nacl.exceptions import CryptoError

from indelible import checks
from indelible.errors import IntegrityError, InvalidRequest
from indelible.secret import Guarded, MasterKey

_REFUSED = "what was read does not open here: it was altered or moved, or sealed with another key, scheme or suite"

_AS_IS, _PADDED = b"\x20", b"\x21"
"""The suites of scheme 2."""

_NO_AD = bytes(8)
"""``_lp(b"")``: nothing else to authenticate."""

_NONCE, _TAG = 24, 16
"""Bytes that XSalsa20-Poly1305 wants as a nonce, and adds as a tag."""


class LogCipher(Protocol):
    """Seals the keys and values of one log; opening what was not sealed for this place raises ``IntegrityError``."""

    def seal_key(self, key: bytes) -> bytes:
        """The bytes that stand for ``key`` in the store."""

    def open_key(self, sealed: bytes) -> bytes:
        """The key that was sealed."""

    def seal_value(self, sealed_key: bytes, value: bytes) -> bytes:
        """The bytes that stand for ``value`` under this key."""

    def open_value(self, sealed_key: bytes, sealed: bytes) -> bytes:
        """The value that was sealed for this key."""


class Cipher(Protocol):
    """Seals the names of logs, and gives each log a cipher of its own."""

    def seal_name(self, name: str) -> str:
        """The name as the store knows it."""

    def open_name(self, sealed: str) -> str:
        """The name that was sealed; raises ``IntegrityError`` if it was not sealed by this cipher."""

    def log(self, name: str) -> LogCipher:
        """The cipher of the log with this name; worth keeping, since its keys are derived here."""


def _prf(key: bytes, label: bytes, data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size, key=key, person=b"indelible2-" + label).digest()


def _lp(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def _padded_size(size: int) -> int:
    """The size to which a message of ``size`` bytes is padded: Padmé (Nikitin et al. 2019), and never below 32."""
    marked = size + 1
    if marked <= 32:
        return 32
    exponent = marked.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (marked + mask) & ~mask


def _pad(message: bytes) -> bytes:
    return (message + b"\x80").ljust(_padded_size(len(message)), b"\0")


def _unpad(plain: bytes) -> bytes | None:
    """The message that ``_pad`` made this of, or None if it made no such thing."""
    marked = plain.rstrip(b"\0")
    if not marked.endswith(b"\x80") or len(plain) != _padded_size(len(marked) - 1):
        return None
    return marked[:-1]


class _SivBox(Guarded):
    """Scheme 2: the nonce is a keyed hash of all that is authenticated, and is computed again on opening.

    That second look is the only thing that authenticates ``ad``: the box alone does not know it. ``ad`` comes with its
    length in front, as ``_lp`` puts it there.
    """

    __slots__ = ("_enc", "_header", "_padded", "_siv")

    def __init__(self, pair: bytes, header: bytes, padded: bool) -> None:
        # A hash that has its key and the header in it already: copying it takes half the time of a new one.
        self._siv = hashlib.blake2b(_lp(header), digest_size=_NONCE, key=pair[:32], person=b"indelible2-siv")
        self._enc = pair[32:]
        self._header = header
        self._padded = padded

    def seal(self, message: bytes, ad: bytes = _NO_AD) -> bytes:
        plain = _pad(message) if self._padded else message
        siv = self._siv.copy()
        siv.update(ad + plain)
        nonce = siv.digest()
        return self._header + nonce + crypto_secretbox_easy(plain, nonce, self._enc)

    def open(self, sealed: bytes, ad: bytes = _NO_AD) -> bytes:
        start = len(self._header)
        nonce = sealed[start : start + _NONCE]
        plain = None
        if len(sealed) >= start + _NONCE + _TAG and compare_digest(sealed[:start], self._header):
            try:
                plain = crypto_secretbox_open_easy(sealed[start + _NONCE :], nonce, self._enc)
            except CryptoError:
                plain = None
        if plain is not None:
            siv = self._siv.copy()
            siv.update(ad + plain)
            if compare_digest(siv.digest(), nonce):
                message = _unpad(plain) if self._padded else plain
                if message is not None:
                    return message
        raise IntegrityError(_REFUSED)


def _nonce(message: bytes, key: bytes, size: int) -> bytes:
    """Scheme 1's nonce: an unkeyed hash with the key at its end."""
    return hashlib.blake2b(message + key, digest_size=size).digest()


class _NonceBox(Guarded):
    """Scheme 1: what the published client does, and the check of the nonce that it left out."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, message: bytes) -> bytes:
        nonce = _nonce(message, self._key, _NONCE)
        return nonce + crypto_secretbox_easy(message, nonce, self._key)

    def open(self, sealed: bytes) -> bytes:
        message = None
        if len(sealed) >= _NONCE + _TAG:
            try:
                message = crypto_secretbox_open_easy(sealed[_NONCE:], sealed[:_NONCE], self._key)
            except CryptoError:
                message = None
        if message is not None and compare_digest(_nonce(message, self._key, _NONCE), sealed[:_NONCE]):
            return message
        raise IntegrityError(_REFUSED)


class _Log1(Guarded):
    """Scheme 1's log: keys and values are sealed alike, wherever they stand."""

    __slots__ = ("_box",)

    def __init__(self, master: bytes, name: bytes) -> None:
        # Far too cheap for a password, which the master key is not; and other parameters would give other bytes.
        salt = _nonce(name, master, 16)
        password = base64.b64encode(master)
        self._box = _NonceBox(crypto_pwhash_alg(32, password, salt, 1, 8192, crypto_pwhash_ALG_ARGON2ID13))

    def seal_key(self, key: bytes) -> bytes:
        return self._box.seal(key)

    def open_key(self, sealed: bytes) -> bytes:
        return self._box.open(sealed)

    def seal_value(self, sealed_key: bytes, value: bytes) -> bytes:  # noqa: ARG002 - scheme 1 does not bind it
        return self._box.seal(value)

    def open_value(self, sealed_key: bytes, sealed: bytes) -> bytes:  # noqa: ARG002 - scheme 1 does not bind it
        return self._box.open(sealed)

    def __repr__(self) -> str:
        return "<a log's cipher, scheme 1>"


class _Log2(Guarded):
    """Scheme 2's log: a value opens only as a value, in its log, under its key."""

    __slots__ = ("_keys", "_values")

    def __init__(self, master: bytes, name: bytes, suite: bytes) -> None:
        key = _prf(master, b"log", suite + _lp(name), 32)
        padded = suite == _PADDED
        self._keys = _SivBox(_prf(key, b"sub", b"\x01", 64), suite, padded)
        self._values = _SivBox(_prf(key, b"sub", b"\x02", 64), suite, padded)

    def seal_key(self, key: bytes) -> bytes:
        return self._keys.seal(key)

    def open_key(self, sealed: bytes) -> bytes:
        return self._keys.open(sealed)

    def seal_value(self, sealed_key: bytes, value: bytes) -> bytes:
        return self._values.seal(value, _lp(sealed_key))

    def open_value(self, sealed_key: bytes, sealed: bytes) -> bytes:
        return self._values.open(sealed, _lp(sealed_key))

    def __repr__(self) -> str:
        return "<a log's cipher, scheme 2>"


class SecretBoxCipher(Guarded):
    """Seals under one master key, by scheme 2 unless told otherwise; ``padded=False`` lets lengths show.

    Raises ``InvalidRequest`` for a key that is none (see ``MasterKey``) and for a scheme that is not 1 or 2; scheme 1
    never pads. It can be shared between threads, and not pickled or copied.
    """

    __slots__ = ("_master", "_names", "_padded", "scheme")

    def __init__(self, master_key: MasterKey | bytes, scheme: int = 2, padded: bool = True) -> None:
        if type(scheme) is not int or scheme not in (1, 2):
            raise InvalidRequest("the scheme is 2, or 1 for logs of the published client indelible_log")
        self.scheme = scheme
        self._master = master_key if isinstance(master_key, MasterKey) else MasterKey(master_key)
        self._padded = padded
        master = self._master.reveal()
        self._names: _NonceBox | _SivBox
        if scheme == 1:
            self._names = _NonceBox(master)
        else:
            suite = self._suite
            header = suite + _prf(master, b"keyid", b"", 4)
            self._names = _SivBox(_prf(master, b"names", suite, 64), header, padded)

    @property
    def _suite(self) -> bytes:
        return _PADDED if self._padded else _AS_IS

    def seal_name(self, name: str) -> str:
        """The name as the store knows it, in Base64; raises ``InvalidRequest`` for what UTF-8 cannot carry."""
        return base64.b64encode(self._names.seal(checks.text(name, "a log's name").encode())).decode()

    def open_name(self, sealed: str) -> str:
        """The name that was sealed; raises ``IntegrityError`` for any text that ``seal_name`` did not give."""
        try:
            data = base64.b64decode(sealed, validate=True)
            # Base64 has several texts for one sequence of bytes; only the one that was written will do.
            name = self._names.open(data).decode() if base64.b64encode(data).decode() == sealed else None
        except ValueError:  # neither Base64 nor UTF-8
            name = None
        if name is None:
            raise IntegrityError(_REFUSED)
        return name

    def log(self, name: str) -> LogCipher:
        """The cipher of the log with this name; raises ``InvalidRequest`` for what UTF-8 cannot carry."""
        encoded = checks.text(name, "a log's name").encode()
        master = self._master.reveal()
        return _Log1(master, encoded) if self.scheme == 1 else _Log2(master, encoded, self._suite)

    def __repr__(self) -> str:
        return f"SecretBoxCipher(scheme={self.scheme}{'' if self._padded else ', padded=False'})"
