"""The update stream: one JSON object that says where, then one for each command, read whole before anything is done."""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from indelible import checks, wire
from indelible.commands import Command, ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.credentials import Credentials
from indelible.errors import InvalidRequest, TooLarge
from indelible.limits import Limits
from indelible.messages import UpdateLog
from indelible.shapes import credentials
from indelible.wire import BINARY, IDENTIFIER, NAME, TEXT, WHOLE, Field, shape

_KEYED: Final[Mapping[str, Any]] = {"Insert": Insert, "Update": Update, "Upsert": Upsert, "Remove": Remove}
_NAMES: Final[Mapping[type, bytes]] = {kind: name.encode() for name, kind in _KEYED.items()}


def _command(plain: Mapping[str, Any]) -> Command[bytes, bytes]:
    kind, version = plain.get("type"), plain.get("version")
    if kind == "ExpectVersion":
        if plain.get("key") is not None or plain.get("value") is not None:
            wire.fault("key and value", "absent or null in ExpectVersion")
        return ExpectVersion(WHOLE.read(version, "version"))
    build = _KEYED.get(kind) if type(kind) is str else None
    if build is None:
        wire.fault("type", "Insert, Update, Upsert, Remove or ExpectVersion")
    if version is not None:
        wire.fault("version", f"absent or null in {kind}")
    key, value = wire.unbase64(plain.get("key"), "key"), wire.unbase64(plain.get("value"), "value")
    command: Command[bytes, bytes] = build(key, value)
    return command


def _encode_command(command: Command[bytes, bytes]) -> bytes:
    # Written by the ten thousand, and Base64 needs no escaping.
    if isinstance(command, ExpectVersion):
        return b'{"type":"ExpectVersion","version":%d}' % command.version
    return b'{"type":"%b","key":"%b","value":"%b"}' % (
        _NAMES[type(command)],
        binascii.b2a_base64(command.key, newline=False),
        binascii.b2a_base64(command.value, newline=False),
    )


@attrs.frozen
class _UpdateHead:
    log: str
    source: str | None = None
    id: bytes | None = None
    attempt: int = attrs.field(default=1, converter=checks.attempt)

    def __attrs_post_init__(self) -> None:
        if self.attempt > 1 and self.id is None:
            raise InvalidRequest("transactionId is missing: without it, sending again is another transaction")


UPDATE_HEAD: Final = shape(
    _UpdateHead,
    Field("logName", "log", NAME),
    Field("updateSource", "source", TEXT, required=False, description="Who makes the change, in the clear."),
    Field("transactionId", "id", IDENTIFIER, required=False, description="Makes sending it again safe (S16)."),
    Field("attempt", "attempt", WHOLE, required=False, description="How often it was sent, this time included."),
)

COMMAND_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": [*_KEYED, "ExpectVersion"]},
        "key": {"anyOf": [BINARY.schema, {"type": "null"}]},
        "value": {"anyOf": [BINARY.schema, {"type": "null"}]},
        "version": {"anyOf": [WHOLE.schema, {"type": "null"}]},
    },
    "required": ["type"],
}


def read_update(documents: Iterator[Mapping[str, Any]], limits: Limits) -> tuple[Credentials | None, UpdateLog]:
    """Who asks, and what the objects of an update stream ask: the first says where, each of the others is a command.

    All of it is read and checked before anything is given back. Raises ``InvalidRequest`` or ``TooLarge``.
    """
    first = next(documents, None)
    if first is None:
        raise InvalidRequest("an update begins with an object that names its log")
    who = credentials(first)
    head = UPDATE_HEAD.read(first, "")
    commands = []
    for index, plain in enumerate(documents):
        if index == limits.commands:
            maximum = limits.commands
            reason = f"a transaction has at most {maximum} commands here; send it in parts"
            raise TooLarge(reason, "commands", maximum + 1, maximum)
        try:
            commands.append(_command(plain))
        except InvalidRequest as error:
            raise InvalidRequest(f"command {index}: {error}") from None
    transaction: Transaction[bytes, bytes] = (
        Transaction(commands, head.source) if head.id is None else Transaction(commands, head.source, id=head.id)
    )
    return who, UpdateLog(head.log, transaction, head.attempt)


def write_update(update: UpdateLog) -> Iterator[bytes]:
    """The objects of an update stream, each as bytes: everything but the first is the same in every attempt."""
    transaction = update.transaction
    head = _UpdateHead(update.log, transaction.source, transaction.id, update.attempt)
    yield wire.encode(UPDATE_HEAD.write(head))
    for command in transaction.commands:
        yield _encode_command(command)
