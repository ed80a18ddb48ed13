"""Transaction ids that a repeated run makes again, so that nothing is committed twice (S16).

They are derived under the master key: whoever keeps the store sees the ids, and must not be able to try out contents.
"""

from __future__ import annotations

import hashlib

from indelible.secret import MasterKey


def _lp(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little") + part


def derive(key: MasterKey, *parts: bytes) -> bytes:
    """The id that belongs to these parts under this key; other parts or another key give another."""
    data = b"".join(map(_lp, parts))
    return hashlib.blake2b(data, digest_size=16, key=key.reveal(), person=b"indelible2-txid").digest()
