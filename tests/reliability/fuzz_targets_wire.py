"""What is tried with arbitrary bytes of the HTTP API: streams of commands, and the bodies of requests and answers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import attrs
from fuzz_input import Choices, text, value

from indelible import faults, routes, shapes, wire
from indelible.commands import Command, ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import InvalidRequest, TooLarge
from indelible.limits import Limits
from indelible.messages import UpdateLog
from indelible.updates import COMMAND_SCHEMA, UPDATE_HEAD, read_update, write_update

MOST = Limits(commands=4)
SPACES = [b"", b"", b" ", b"\n", b"\r\n\t "]
NUMBERS = [0, 1, 2, 50, 60, 2**63 - 1, 2**63, -1, 0.5, "1", "01", "2", True, 10**400]
MOMENTS = ["2026-01-31T12:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "2026-01-31T12:00:00Z", "Z"]


def update_stream(data: bytes) -> None:
    """S2, S16: a stream is read as it is meant, whatever white space is in it; other bytes are read or refused."""
    choices = Choices(data)
    how = choices.number(3)
    if how == 0:
        _read_stream(choices.rest())
        return
    if how == 1:
        parts = [
            _made(choices, UPDATE_HEAD.schema),
            *(_made(choices, COMMAND_SCHEMA) for _ in range(choices.number(6))),
        ]
        _read_stream(choices.one(SPACES).join(map(_encoded, parts)))
        return
    update = UpdateLog("l", _transaction(choices), 1 + choices.number(3))
    space = choices.one(SPACES)
    stream = space + space.join(write_update(update)) + space
    try:
        read = read_update(wire.documents(stream), MOST)
    except TooLarge as error:
        assert len(update.transaction.commands) > MOST.commands == error.maximum
        return
    assert read == (None, update)
    at, by = choices.number(len(stream)), choices.some(4)
    _read_stream(stream[:at] + by + stream[at + choices.number(8) :])


def _read_stream(stream: bytes) -> None:
    try:
        _, update = read_update(wire.documents(stream), MOST)
    except InvalidRequest:
        return
    assert len(update.transaction.commands) <= MOST.commands
    assert read_update(wire.documents(b"".join(write_update(update))), MOST) == (None, update)


def _transaction(choices: Choices) -> Transaction[bytes, bytes]:
    commands: list[Command[bytes, bytes]] = []
    for _ in range(choices.number(6)):
        kind = choices.one([Insert, Update, Upsert, Remove, ExpectVersion])
        commands.append(
            ExpectVersion(choices.number(2**63)) if kind is ExpectVersion else kind(choices.some(9), choices.some(9))
        )
    return Transaction(commands, choices.one([None, "", "s"]), id=choices.some(16).ljust(16, b"\0"))


def bodies(data: bytes) -> None:
    """A body is a message or refused; a message is written and read as the same; an error that was told can be shown."""
    choices = Choices(data)
    route, how = choices.one(routes.ROUTES), choices.number(4)
    if how == 0:
        body = choices.rest()
    elif how == 1:
        body = _encoded(_fault(choices))
    else:
        body = _encoded(_made(choices, (route.request if how == 2 else route.answer).schema))
    try:
        plain = wire.document(body)
    except InvalidRequest:
        return
    with contextlib.suppress(InvalidRequest):
        shapes.credentials(plain)
    _read_message(route.request, plain)
    answer = _read_message(route.answer, plain)
    if answer is not None:
        assert route.encode(answer) == wire.encode(route.answer.write(answer))
    for fault in faults.FAULTS:
        told = faults.decode(fault.status, plain, "l")
        if told is not None:
            assert str(told).isprintable()
            again = faults.decode(fault.status, wire.document(faults.encode(told, "r")), "l")
            assert type(again) is type(told)
            assert isinstance(told, faults.errors.NotExecuted) or attrs.asdict(again) == attrs.asdict(told)


def _read_message(kind: wire.Kind[Any], plain: Mapping[str, Any]) -> Any:
    try:
        message = kind.read(plain, "")
    except InvalidRequest:
        return None
    assert kind.read(wire.document(wire.encode(kind.write(message))), "") == message
    return message


def _fault(choices: Choices) -> Any:
    fault = choices.one(faults.FAULTS)
    odd: Any = choices.one([None, value(choices)])
    details = {name: choices.one(["0", "-1", "5", "Insert", "key", "Transaction", odd]) for name in fault.fields}
    told = {
        "code": fault.code,
        "codeNumber": fault.number,
        "message": choices.one(["\x1b[2J", text(choices)]),
        "details": {**details, "effect": "none", "requestId": "r"},
    }
    if choices.number(8) == 7:
        told[choices.one(list(told))] = odd
    return told


def _made(choices: Choices, schema: Mapping[str, Any]) -> Any:
    """Plain JSON that is as its schema says, or nearly."""
    if choices.number(24) == 23:
        return value(choices)
    if "anyOf" in schema:
        return _made(choices, choices.one(schema["anyOf"]))
    if "enum" in schema:
        return choices.one(schema["enum"])
    match schema["type"]:
        case "object":
            members = {
                name: _made(choices, inner)
                for name, inner in schema["properties"].items()
                if (name in schema["required"]) != (choices.number(6) == 5)
            }
            return members | {"authinfo": {"customer_id": "c", "apikey": "k"}} if choices.number(8) == 7 else members
        case "array":
            return [_made(choices, schema["items"]) for _ in range(choices.number(3))]
        case "integer" | "number":
            return choices.one(NUMBERS)
        case "boolean":
            return choices.number(2) == 1
        case "null":
            return None
    if "contentEncoding" in schema:
        return wire.base64(choices.some(6))
    if "pattern" in schema:
        return choices.some(16).ljust(16, b"\0").hex()
    if "format" in schema:
        return choices.one(MOMENTS)
    return text(choices)


def _encoded(plain: Any) -> bytes:
    # With NaN, and with halves of pairs as escapes.
    return json.dumps(plain, skipkeys=True, default=repr).encode()
