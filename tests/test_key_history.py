"""The history of one key, from a backend that cannot tell it by itself."""

import attrs

from indelible.backend import key_history
from indelible.backends.memory import MemoryBackend
from indelible.commands import Transaction, Upsert


class Short:
    """A backend whose pages end after so many bytes, and which has no way of its own to tell a key's history."""

    def __init__(self, inner, max_bytes):
        self.diff = lambda log, request: inner.diff(log, attrs.evolve(request, max_bytes=max_bytes))
        self.describe = inner.describe


def test_a_history_is_whole_however_short_the_pages():
    """S12: where a removal fills a page, the addition of the same version stands on the next, and is told as well."""
    inner = MemoryBackend()
    inner.create("log")
    for value in (b"one", b"two", b"three"):
        inner.update("log", Transaction([Upsert(b"k", value), Upsert(b"other", value)]))
    whole = list(inner.history("log", b"k"))
    assert [revision.after.value for revision in whole] == [b"one", b"two", b"three"]
    for max_bytes in (1, 4, 1000):
        assert list(key_history(Short(inner, max_bytes), "log", b"k")) == whole
