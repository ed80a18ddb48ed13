"""The entries that are measured: made from a number, the same in every run."""

from __future__ import annotations

import hashlib
from typing import Any


def key(number: int) -> str:
    """A key in no order, so that an index is entered at random, as sealed keys do."""
    return "order-" + hashlib.blake2b(number.to_bytes(8, "little"), digest_size=8).hexdigest()


def value(number: int, revision: int = 0) -> dict[str, Any]:
    """A small document, as JSON holds it: 117 bytes and up."""
    return {
        "customer": f"c-{number % 10_000:05}",
        "items": [{"count": 3, "sku": "tea-012"}, {"count": 1, "sku": "cup-007"}],
        "number": number,
        "paid": True,
        "revision": revision,
        "total": 41.5,
    }


def encoded(number: int, revision: int = 0) -> tuple[bytes, bytes]:
    """Key and value as the codecs ``STRING`` and ``JSON`` encode them, put together without them, for big stores."""
    text = (
        f'{{"customer":"c-{number % 10_000:05}","items":[{{"count":3,"sku":"tea-012"}},{{"count":1,"sku":"cup-007"}}],'
        f'"number":{number},"paid":true,"revision":{revision},"total":41.5}}'
    )
    return key(number).encode(), text.encode()
