"""What is tried with arbitrary bytes: each target takes some and raises if a law does not hold for them."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
from fuzz_input import Choices, value
from fuzz_targets_wire import bodies, update_stream

from indelible import cipher, codecs
from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import IndelibleError, IntegrityError, InvalidRequest, NotFound, Rejected, Undecodable
from indelible.ledger import Ledger
from indelible.pages import AtCommand, AtKey, DiffRequest, Page
from indelible.profile import Profile
from indelible.secret import MasterKey
from indelible.testing.model import ModelLog
from indelible.testing.oracle import ModelBackend

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
KEY = MasterKey(bytes(range(3, 35)))


@attrs.frozen
class Point:
    """A class with a field of each simple type."""

    x: int
    y: float = 0.0
    name: str = ""
    data: bytes = b""
    more: tuple[int, ...] = ()
    when: dt.datetime | None = None


@attrs.frozen
class Line:
    """A class of classes."""

    points: list[Point]
    names: dict[str, Point | None] = attrs.Factory(dict)


CODECS: tuple[codecs.Codec[Any], ...] = (
    codecs.STRING,
    codecs.BYTES,
    codecs.JSON,
    codecs.JSON_ASCII,
    codecs.typed(Point),
    codecs.typed(Line),
    codecs.typed(Point | Line, tags={"p": Point, "l": Line}),
)


def codecs_decode(data: bytes) -> None:
    """Any bytes decode or are ``Undecodable``; what was decoded is encoded, in one form, and decodes to the same."""
    codec, data = CODECS[data[0] % len(CODECS)] if data else codecs.BYTES, data[1:]
    try:
        first = codec.decode(data)
    except Undecodable:
        return
    if codec is codecs.JSON_ASCII:
        with contextlib.suppress(InvalidRequest):  # it reads more than it writes
            codec.encode(first)
        return
    written = codec.encode(first)
    again = codec.decode(written)
    assert again == first
    assert repr(again) == repr(first) or isinstance(first, dict | list | Point | Line)
    assert codec.encode(again) == written
    assert codec.encode(first) == written


def codecs_encode(data: bytes) -> None:
    """Any value is refused with ``InvalidRequest``, or comes back equal and is written alike the second time."""
    choices = Choices(data)
    codec = choices.one(CODECS)
    it = value(choices)
    if choices.number(2):
        it = Point(it, value(choices), value(choices), value(choices), value(choices))
        if choices.number(2):
            it = Line([it], {"a": None, "b": it})
    try:
        written = codec.encode(it)
    except InvalidRequest:
        return
    back = codec.decode(written)
    if codec is not codecs.JSON_ASCII:  # it bends what ``json`` bends
        assert back == it
        assert codec.encode(back) == written


CIPHERS = [cipher.SecretBoxCipher(KEY, scheme=2, padded=True), cipher.SecretBoxCipher(KEY, scheme=2, padded=False)]
LOGS = [it.log("log") for it in (*CIPHERS, cipher.SecretBoxCipher(KEY, scheme=1))]


def cipher_open(data: bytes) -> None:
    """What nobody sealed does not open; what was sealed opens to itself, and not with one byte of it changed."""
    choices = Choices(data)
    log = choices.one(LOGS)
    altered, by = choices.number(2**16), 1 + choices.number(255)
    sealed_key, message = choices.some(64), choices.rest()
    for opened in (log.open_key, functools.partial(log.open_value, sealed_key)):
        _refuses(opened, message)
    names = choices.one(CIPHERS)
    _refuses(names.open_name, message.decode("latin-1"))
    key = log.seal_key(message)
    sealed = log.seal_value(key, message)
    assert log.open_key(key) == message == log.open_value(key, sealed)
    for whole, opened in ((key, log.open_key), (sealed, functools.partial(log.open_value, key))):
        at = altered % len(whole)
        _refuses(opened, whole[:at] + bytes([whole[at] ^ by]) + whole[at + 1 :])
        _refuses(opened, whole[:at])
    plain = cipher._unpad(message)
    assert plain is None or cipher._pad(plain) == message
    assert cipher._unpad(cipher._pad(message)) == message


def _refuses(open_: Callable[[Any], Any], sealed: Any) -> None:
    try:
        open_(sealed)
    except IntegrityError:
        return
    raise AssertionError("what nobody sealed was opened")


KEYS = [b"a", b"b", b"c", b"", b"\0", b"\xff"]


def _transaction(choices: Choices, number: int) -> Transaction[bytes, bytes]:
    commands: list[Any] = []
    for _ in range(choices.number(5)):
        kind = choices.one([Insert, Update, Upsert, Upsert, Remove, Remove, ExpectVersion])
        commands.append(
            ExpectVersion(choices.number(8))
            if kind is ExpectVersion
            else kind(choices.one(KEYS), choices.one([b"1", b"2", b""]))
        )
    # An id that was used is used again now and then.
    return Transaction(
        commands, choices.one([None, "s"]), id=(choices.number(number + 1) or number).to_bytes(16, "little")
    )


def _request(choices: Choices) -> DiffRequest | None:
    order: Any = choices.one(["command", "key", "command", "key", "other"])
    cursor: Any = choices.one([None, AtCommand, AtKey])
    with contextlib.suppress(InvalidRequest):
        if cursor is AtCommand:
            cursor = AtCommand(choices.number(12), choices.number(6), bool(choices.number(2)))
        elif cursor is AtKey:
            cursor = AtKey(choices.one([*KEYS, b"aa"]), bool(choices.number(2)))
        return DiffRequest(
            choices.number(10),
            choices.one([None, None, choices.number(10)]),
            order=order,
            limit=choices.one([1, 2, 3, 0, 100, 2**63 - 1]),
            cursor=cursor,
        )
    return None


def _told(ask: Callable[[], Any]) -> Any:
    """An answer or what is in its error, to compare."""
    try:
        answer = ask()
    except (Rejected, NotFound) as error:
        return type(error), attrs.asdict(error)
    return list(answer) if isinstance(answer, list | tuple) else answer


def diffs(data: bytes) -> None:
    """S2-S19: a ledger answers a made-up history, and any request for a page of it, as the oracle does."""
    _compare(data, lambda: _LedgerBackend(Ledger("log")))


def diffs_on_file(data: bytes) -> None:
    """S2-S19: a file answers a made-up history, and any request for a page of it, as the oracle does."""
    _compare(data, _file)


@attrs.frozen
class _LedgerBackend:
    """A ledger, called as a backend is."""

    ledger: Ledger

    def update(self, _log: str, transaction: Transaction[bytes, bytes], attempt: int) -> Any:
        """See ``Backend.update``."""
        return self.ledger.update(transaction, attempt, NOW)

    def __getattr__(self, name: str) -> Any:
        return lambda _log, *arguments: getattr(self.ledger, name)(*arguments)


@functools.cache
def _folder() -> Path:
    # Whoever starts this says by TMPDIR where it may write, and clears that away: atheris ends without a last word.
    in_memory = "TMPDIR" not in os.environ and Path("/dev/shm").is_dir()
    made = Path(tempfile.mkdtemp(prefix="indelible-fuzz-", dir="/dev/shm" if in_memory else None))
    _created.append(made)
    return made


_created: list[Path] = []


def clean() -> None:
    """Remove what the targets wrote."""
    while _created:
        shutil.rmtree(_created.pop(), ignore_errors=True)
    _folder.cache_clear()
    _store.cache_clear()


@functools.cache
def _store() -> SQLiteBackend:
    return SQLiteBackend(_folder() / f"logs {os.getpid()}.db")


_numbers = iter(range(10**9))


@attrs.frozen
class _Log:
    """A new log of one store, called as if it were the log ``log``."""

    name: str

    def __getattr__(self, name: str) -> Any:
        return lambda _log, *arguments: getattr(_store(), name)(self.name, *arguments)


def _file() -> _Log:
    log = _Log(f"log {next(_numbers)}")
    log.create("log")
    return log


def _compare(data: bytes, make: Callable[[], Any]) -> None:
    choices = Choices(data)
    oracle, backend = ModelBackend(), make()
    oracle.create("log")
    number = 0
    while choices and number < 12:
        number += 1
        if choices.number(16) == 15:
            before = choices.number(8)
            assert _named(_told(lambda: oracle.trim("log", before))) == _named(
                _told(lambda: backend.trim("log", before))
            )
        transaction, attempt = _transaction(choices, number), 1 + choices.number(2)
        wanted = _told(lambda: oracle.update("log", transaction, attempt))
        assert _named(_told(lambda: backend.update("log", transaction, attempt))) == _named(wanted)
        request = _request(choices)
        if request is not None:
            wanted = _told(lambda: oracle.diff("log", request))
            assert _named(_told(lambda: backend.diff("log", request))) == _named(wanted), request
    model: ModelLog = oracle.log("log")
    assert backend.describe("log").entries == len(model.states[-1])
    for key in KEYS:
        assert list(backend.history("log", key)) == model.history(key)
    start = choices.number(10)
    told, wanted = (_told(lambda it=it: it.versions("log", start)) for it in (backend, oracle))
    if isinstance(told, list):
        told, wanted = ([attrs.evolve(info, committed_at=NOW) for info in it] for it in (told, wanted))
    assert _named(told) == _named(wanted)


def _named(told: Any) -> Any:
    """Without what need not agree: the log's name, and the words of a refused id."""
    return (told[0], told[1] | {"log": ""}) if isinstance(told, tuple) and isinstance(told[0], type) else told


def profile(data: bytes) -> None:
    """Any text is a profile or an ``InvalidRequest``; a profile is written and read back as it was."""
    for text in (
        data,
        data.decode("utf-8", "surrogatepass" if data[:1] == b"\0" else "replace") if _is_utf8(data) else "",
    ):
        try:
            it = Profile.from_json(text)
        except InvalidRequest:
            continue
        assert Profile.from_json(it.to_json()) == it
        # The address and the customer are shown as they are, whatever somebody put there.
        assert it.master_key.to_base64() not in repr(attrs.evolve(it, endpoint_url="memory:", customer_id=None))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


@functools.cache
def _sound() -> bytes:
    """A database with two logs, a trim, rejections and replaced values, in one file."""
    path = _folder() / f"sound {os.getpid()}.db"
    backend = SQLiteBackend(path)
    for log in ("a", "b"):
        backend.create(log, "group" if log == "b" else None)
        for turn in range(12):
            kept = Transaction(
                [Upsert(b"k%d" % (turn % 5), b"%d" % turn * 30), Upsert(b"own %d" % turn, b"")], "source"
            )
            backend.update(log, attrs.evolve(kept, id=b"%16d" % turn))
            with contextlib.suppress(Rejected):
                backend.update(log, Transaction([Insert(b"k0", b"?")], id=b"r%15d" % turn), 2)
    backend.trim("b", 4)
    backend.close()
    return path.read_bytes()


def damaged_file(data: bytes) -> None:
    """A file with some bytes changed, or cut off, raises errors of ours or answers; nothing else comes out of it."""
    choices = Choices(data)
    content = bytearray(_sound())
    while choices:
        at = choices.number(len(content) or 1)
        match choices.number(4):
            case 0:
                content[at : at + 1] = bytes([choices.number(256)])
            case 1:
                patch = choices.some(16)
                content[at : at + len(patch)] = patch
            case 2:
                source, size = choices.number(len(content) or 1), choices.number(256)
                content[at : at + size] = content[source : source + size]
            case _:
                if choices.number(16) == 0:
                    del content[at:]
    path = _folder() / f"damaged {os.getpid()}.db"
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    path.write_bytes(content)
    use(path)


def use(path: Path) -> None:
    """Everything there is to ask of a store, whatever is wrong with it."""
    try:
        backend = SQLiteBackend(path, busy_seconds=0)
    except IndelibleError:
        return
    with contextlib.suppress(IndelibleError):
        backend.logs()
    for log in ("a", "b"):
        changed = Transaction([Upsert(b"k1", b"new"), Remove(b"own 3", b""), Insert(b"fresh", b"")])
        for ask in (
            lambda log=log: backend.describe(log),
            lambda log=log: _all(backend, log, DiffRequest(limit=7)),
            lambda log=log: _all(backend, log, DiffRequest(9, 5, limit=3)),
            lambda log=log: _all(backend, log, DiffRequest(4, order="key", limit=4)),
            lambda log=log: backend.versions(log),
            lambda log=log: backend.history(log, b"k1"),
            lambda log=log: backend.update(log, Transaction([Upsert(b"k", b"v")], id=b"%16d" % 3), 2),
            lambda log=log: backend.update(log, Transaction([Insert(b"k0", b"?")], id=b"r%15d" % 3), 2),
            lambda log=log, changed=changed: backend.update(log, changed),
            lambda log=log: backend.trim(log, 6),
        ):
            with contextlib.suppress(IndelibleError):
                ask()
    with contextlib.suppress(IndelibleError):
        backend.create("new")
    backend.close()


def _all(backend: SQLiteBackend, log: str, request: DiffRequest) -> None:
    page: Page = backend.diff(log, request)
    for _ in range(30):
        if page.next is None:
            return
        page = backend.diff(log, attrs.evolve(request, to_version=page.to_version, cursor=page.next))


_ALL = (codecs_decode, codecs_encode, cipher_open, diffs, diffs_on_file, profile, damaged_file, update_stream, bodies)

TARGETS: Mapping[str, Callable[[bytes], None]] = {it.__name__: it for it in _ALL}
