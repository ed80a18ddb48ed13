"""Uses that type checkers must refuse, each marked with what it is; the control of ``api.py``."""

# pyright: strict

from indelible import Client, ExpectVersion, Insert, Log, codecs
from indelible.backends import Backend, MemoryBackend


def wrong(client: Client, log: Log[str, int]) -> None:
    log.get(5)  # WRONG a key of another type
    log.update([Insert(5, 5)])  # WRONG a command with such a key
    log.update([Insert("k", "text")])  # WRONG a value of another type
    log.update(["Insert"])  # WRONG no command
    log.diff(order="value")  # WRONG an order there is not
    log.diff("1")  # WRONG a version in text
    ExpectVersion("1")  # WRONG the same in a command
    number: int = log.get("k")  # WRONG there may be none
    client.log("a", values=int)  # WRONG no codec
    values: Log[str, int] = client.log("a", values=codecs.STRING)  # WRONG a codec of other values
    Insert("k", 1).value = 2  # WRONG frozen
    log.nonsense()  # WRONG no such method
    backend: Backend = object()  # WRONG no backend
    MemoryBackend().update("a", [])  # WRONG a backend takes transactions
    print(number, values, backend)
