"""The floors: the same bytes and rows by bare calls of the libraries, as short as a careful user would write them.

A floor promises nothing: it judges no command, knows no version, keeps no index to find a key by, and checks no input.
It does leave the same bytes and rows behind, and keeps them as safe.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw
from nacl.bindings import crypto_secretbox_easy, crypto_secretbox_open_easy

# json.dumps and json.loads with these options build one of these in every call, so this is the lower floor.
encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode
decode = json.JSONDecoder().decode

_SUITE = b"\x21"
_NO_AD = bytes(8)


def _keyed(key: bytes, label: bytes, data: bytes, size: int) -> bytes:
    return hashlib.blake2b(data, digest_size=size, key=key, person=b"indelible2-" + label).digest()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data


def _padded(size: int) -> int:
    if size < 32:
        return 32
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


class BareSealing:
    """Scheme 2 in straight lines: for each of key and value one BLAKE2b and one secretbox call, padding and a join.

    The bytes are those of ``SecretBoxCipher``, so what makes them safe is all there: the nonce is computed again on
    opening. The hashes' keyed states are made once and copied. What is missing are the layers: no objects for keys,
    no codecs that look whether a value comes back, no checks of length and header, no errors that tell anything.
    """

    def __init__(self, master: bytes, name: str) -> None:
        key = _keyed(master, b"log", _SUITE + _sized(name.encode()), 32)
        keys, values = _keyed(key, b"sub", b"\x01", 64), _keyed(key, b"sub", b"\x02", 64)
        self._key_hash, self._key_box = self._hash(keys[:32]), keys[32:]
        self._value_hash, self._value_box = self._hash(values[:32]), values[32:]

    @staticmethod
    def _hash(key: bytes) -> Any:
        return hashlib.blake2b(_sized(_SUITE), digest_size=24, key=key, person=b"indelible2-siv")

    def seal(self, key: str, value: object) -> tuple[bytes, bytes]:
        """A key and a value as they stand in the store."""
        plain = key.encode() + b"\x80"
        plain = plain.ljust(_padded(len(plain)), b"\0")
        state = self._key_hash.copy()
        state.update(_NO_AD + plain)
        nonce = state.digest()
        sealed = _SUITE + nonce + crypto_secretbox_easy(plain, nonce, self._key_box)
        plain = encode(value).encode() + b"\x80"
        plain = plain.ljust(_padded(len(plain)), b"\0")
        state = self._value_hash.copy()
        state.update(len(sealed).to_bytes(8, "little") + sealed + plain)
        nonce = state.digest()
        return sealed, _SUITE + nonce + crypto_secretbox_easy(plain, nonce, self._value_box)

    def open(self, sealed_key: bytes, sealed_value: bytes) -> tuple[str, Any]:
        """The key and the value that were sealed."""
        nonce = sealed_key[1:25]
        plain = crypto_secretbox_open_easy(sealed_key[25:], nonce, self._key_box)
        state = self._key_hash.copy()
        state.update(_NO_AD + plain)
        if state.digest() != nonce:
            raise ValueError
        key = plain.rstrip(b"\0")[:-1].decode()
        nonce = sealed_value[1:25]
        plain = crypto_secretbox_open_easy(sealed_value[25:], nonce, self._value_box)
        state = self._value_hash.copy()
        state.update(len(sealed_key).to_bytes(8, "little") + sealed_key + plain)
        if state.digest() != nonce:
            raise ValueError
        return key, decode(plain.rstrip(b"\0")[:-1].decode())


class BareTables:
    """Tables by hand: the rows and columns that ``SQLiteBackend`` writes, in plain tables without any index.

    As durable: write-ahead log and ``synchronous=FULL``, so that a commit is one sync of the disk. A commit writes its
    entries, its row of versions, its receipt and the log's head. What is missing: looking the transaction's id and the
    present values up, judging, and the indexes by which any of it is found again.
    """

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path))
        self._db.pragma("journal_mode", "WAL")
        self._db.pragma("synchronous", "FULL")
        assert (self._db.pragma("journal_mode"), self._db.pragma("synchronous")) == ("wal", 2)
        self._db.execute(
            """
            CREATE TABLE logs (id INTEGER PRIMARY KEY, name TEXT, log_group TEXT, head INTEGER, oldest INTEGER,
                entries INTEGER);
            CREATE TABLE live (log INTEGER, version INTEGER, command INTEGER, key BLOB, value BLOB);
            CREATE TABLE versions (log INTEGER, version INTEGER, source TEXT, transaction_id BLOB,
                committed_at INTEGER, effects INTEGER);
            CREATE TABLE receipts (log INTEGER, transaction_id BLOB, fingerprint BLOB, version INTEGER,
                changed INTEGER, rejection TEXT);
            INSERT INTO logs VALUES (1, 'log', NULL, 0, 0, 0)
            """
        )

    def commit(self, version: int, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Insert sealed entries as one version."""
        execute = self._db.execute
        rows = [(1, version, command, key, value) for command, (key, value) in enumerate(entries)]
        execute("BEGIN IMMEDIATE")
        self._db.executemany("INSERT INTO live VALUES (?, ?, ?, ?, ?)", rows)
        execute("INSERT INTO versions VALUES (1, ?, NULL, ?, 0, ?)", (version, bytes(16), len(rows)))
        execute("INSERT INTO receipts VALUES (1, ?, ?, ?, 1, NULL)", (bytes(16), bytes(32), version))
        execute("UPDATE logs SET head = ?, entries = entries + ? WHERE id = 1", (version, len(rows)))
        execute("COMMIT")

    def read(self) -> Iterable[Sequence[Any]]:
        """Key, value and version of every entry, as sealed."""
        return self._db.execute("SELECT key, value, version FROM live")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
