"""One entry through codec and cipher."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import samples
from benchmarks.floors import BareSealing
from benchmarks.run import MASTER, Run
from benchmarks.table import Row, timed
from benchmarks.timing import Work, compare, peak
from indelible import codecs
from indelible.cipher import SecretBoxCipher

KEY, VALUE = samples.key(1), samples.value(1)


def sealing(run: Run) -> Iterator[Row]:
    """Seal and open one entry, a text key and a JSON value."""
    cipher, bare = SecretBoxCipher(MASTER).log("log"), BareSealing(MASTER, "log")

    def ours(_: object) -> object:
        key = cipher.seal_key(codecs.STRING.encode(KEY))
        value = cipher.seal_value(key, codecs.JSON.encode(VALUE))
        opened = codecs.STRING.decode(cipher.open_key(key))
        return (key, value), (opened, codecs.JSON.decode(cipher.open_value(key, value)))

    def theirs(_: object) -> object:
        sealed = bare.seal(KEY, VALUE)
        return sealed, bare.open(*sealed)

    assert ours(None) == theirs(None), "the floor must make the same bytes"
    one, other = Work(ours), Work(theirs)
    found = compare(one, other, run.effort)
    yield timed(
        "seal and open an entry (text key, JSON value)",
        "bare json, blake2b, secretbox",
        found,
        1.6,
        peak_ours=peak(one),
        peak_theirs=peak(other),
    )
