"""Errors as they travel: which error of ours has which code, number and status, and the way there and back.

What is said is one printable line, and what the other side said is not trusted to be one, nor to be short.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from indelible import errors, wire
from indelible.errors import IndelibleError


@attrs.frozen
class Fault:
    """A code of the wire: its error here, the status it travels with, and the fields it carries in ``details``."""

    kind: type[IndelibleError]
    status: int
    fields: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """What it is called."""
        return self.kind.code

    @property
    def number(self) -> int:
        """What it is numbered; no number is ever given a second meaning, and 1006 and 1007 stay reserved."""
        assert self.kind.number is not None
        return self.kind.number


_PLACE: Final = ("index", "command", "head")

FAULTS: Final = (
    Fault(errors.BadApiKey, 401),
    Fault(errors.TransactionConflict, 412),
    Fault(errors.UnexpectedVersion, 412, (*_PLACE, "expected", "actual")),
    Fault(errors.NonexistentVersion, 404, ("version", "head")),
    Fault(errors.NonexistentLog, 404),
    Fault(errors.UnexpectedValue, 412, _PLACE),
    Fault(errors.NonexistentValue, 412, _PLACE),
    Fault(errors.LogExists, 412),
    Fault(errors.InvalidRequest, 400),
    Fault(errors.TransactionIdReused, 422, _PLACE),
    Fault(errors.VersionTrimmed, 410, ("version", "oldest")),
    Fault(errors.TooLarge, 413, ("limit", "size", "maximum")),
    Fault(errors.Overloaded, 503),
    Fault(errors.NotAllowed, 403),
    Fault(errors.IndelibleError, 500),
)
"""Every code there is. The last stands for what is nobody's business but the server's."""

INTERNAL: Final = FAULTS[-1]

_BY_CODE: Final[Mapping[str, Fault]] = {fault.code: fault for fault in FAULTS}
OVERLOADED: Final = _BY_CODE["OVERLOADED"]

_COMMANDS: Final = ("Insert", "Update", "Upsert", "Remove", "ExpectVersion", "Transaction")
_LONGEST: Final = 500

# What says of itself that nothing was done: a store that is busy, full, or being closed. It may name its file, too.
_NOT_NOW: Final = (errors.NotExecuted, errors.Closed)
_BUSY: Final = "the service cannot take this now; nothing was done; try again"
_FAILED: Final = "the service failed; whoever runs it finds the reason under the request id"

# -1 stands where no single command is at fault.
_NUMBER: Final = re.compile(r"-1|0|[1-9][0-9]{0,18}")


def fault_of(error: BaseException) -> Fault:
    """The code an error travels under."""
    exact = next((fault for fault in FAULTS[:-1] if type(error) is fault.kind), None)
    if exact is not None:
        return exact
    return OVERLOADED if isinstance(error, _NOT_NOW) else INTERNAL


def encode(error: BaseException, request_id: str) -> bytes:
    """The body of an answer that says ``error``. Nothing of what only concerns the server is in it."""
    fault = fault_of(error)
    if fault is INTERNAL:
        message, details = _FAILED, {}
    else:
        message = _BUSY if isinstance(error, _NOT_NOW) else str(error)
        details = {name: str(getattr(error, name)) for name in fault.fields} | {"effect": "none"}
    details["requestId"] = request_id
    return wire.encode(
        {
            "code": fault.code,
            "codeNumber": fault.number,
            "message": _printable(message),
            "details": {name: _printable(text) for name, text in details.items()},
        }
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def plain_text(text: object) -> str:
    """What the other side said, as one line that is safe to show."""
    return _printable(text[:_LONGEST]) if isinstance(text, str) else "no reason was given"


def decode(status: int, plain: object, log: str) -> IndelibleError | None:
    """The error that an answer says; None if it is not one of this protocol, or says that the service failed."""
    if not isinstance(plain, dict) or not isinstance(code := plain.get("code"), str):
        return None
    fault, details = _BY_CODE.get(code), plain.get("details")
    if fault is None or fault is INTERNAL or fault.status != status or plain.get("codeNumber") != fault.number:
        return None
    if not isinstance(details, dict) or details.get("effect") != "none":
        return None
    fields: dict[str, Any] = {}
    known = {field.name for field in attrs.fields(fault.kind)}
    for name in fault.fields:
        value = _detail(name, details.get(name))
        if value is None:
            return None
        fields[name] = value
    if "log" in known:
        fields["log"] = log
    if "reason" in known:
        fields["reason"] = plain_text(plain.get("message"))
    return fault.kind(**fields)


def _detail(name: str, text: object) -> int | str | None:
    if not isinstance(text, str):
        return None
    if name == "command":
        return text if text in _COMMANDS else None
    if name == "limit":
        return plain_text(text)
    return int(text) if _NUMBER.fullmatch(text) else None
