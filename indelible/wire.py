"""Messages as data: JSON read strictly, and the kinds of value and shapes of object that a message is made of.

A kind reads its value from plain JSON, writes it, and describes itself as JSON Schema; a shape is a kind for a frozen
value of ours, field by field. Whatever does not fit raises ``InvalidRequest`` with the place, and nothing of the data.
"""

from __future__ import annotations

import binascii
import datetime as dt
import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar, cast

import attrs

from indelible import checks
from indelible.errors import InvalidRequest

T = TypeVar("T")
Plain: TypeAlias = Any

DEEPEST: Final = 8
"""Objects and arrays within each other, at most."""

LONGEST_WAIT: Final = 60
"""Seconds that one request may wait."""


def fault(where: str, must: str) -> NoReturn:
    """Refuse a message: what stands at ``where``, and what it must be."""
    raise InvalidRequest(f"{where} must be {must}" if where else must)


def _unique(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidRequest("a JSON object must not hold one name twice")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise InvalidRequest("JSON knows neither NaN nor Infinity")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def documents(data: bytes) -> Iterator[dict[str, Plain]]:
    """The JSON objects that stand in ``data`` one after another, with or without white space between them.

    Strict UTF-8, no name twice, no NaN, nothing nested deeper than 8. Raises ``InvalidRequest``.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("a message must be UTF-8") from None
    at = _SPACE.match(text).end()  # type: ignore[union-attr] # it matches nothing, too
    while at < len(text):
        if text[at] != "{":
            raise InvalidRequest("a message is made of JSON objects")
        try:
            plain, at = _DECODER.raw_decode(text, at)
        except InvalidRequest:
            raise
        except (ValueError, RecursionError):
            plain = None
        # Raised out here: the parser's error holds the whole text, and would hang on to this one.
        if plain is None:
            raise InvalidRequest("a message must be valid JSON")
        _check_depth(plain)
        yield plain
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]


def document(data: bytes) -> dict[str, Plain]:
    """The one JSON object that ``data`` is. Raises ``InvalidRequest``."""
    found = documents(data)
    plain = next(found, None)
    if plain is None or next(found, None) is not None:
        raise InvalidRequest("the message must be one JSON object")
    return plain


def _check_depth(plain: Plain) -> None:
    level = [plain]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    if any(isinstance(value, dict | list) for value in level):
        raise InvalidRequest(f"a message must not nest deeper than {DEEPEST}")


def encode(plain: Plain) -> bytes:
    """Plain JSON as bytes, as short as it gets."""
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


@attrs.frozen
class Kind(Generic[T]):
    """One kind of value: ``read`` takes plain JSON and the place it stands at, ``write`` makes it, ``schema`` tells."""

    schema: Mapping[str, Any]
    read: Callable[[Plain, str], T]
    write: Callable[[T], Plain] = lambda value: value
    nullable: bool = False


def base64(data: bytes) -> str:
    """Bytes as they travel: standard Base64 with padding."""
    return binascii.b2a_base64(data, newline=False).decode()


def unbase64(plain: Plain, where: str) -> bytes:
    """The bytes that ``base64`` wrote, from exactly that spelling. Raises ``InvalidRequest``."""
    if type(plain) is str and plain.isascii():
        raw = plain.encode()
        try:
            data = binascii.a2b_base64(raw, strict_mode=True)
        except binascii.Error:
            pass
        else:
            if binascii.b2a_base64(data, newline=False) == raw:
                return data
    fault(where, "standard Base64 with padding, as an encoder writes it")


def _text(plain: Plain, where: str) -> str:
    return checks.text(plain, where)


def _name(plain: Plain, where: str) -> str:
    return checks.name(plain, where)


_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def _whole(plain: Plain, where: str) -> int:
    # Hand-written requests give numbers as text.
    if type(plain) is str and _DECIMAL.fullmatch(plain):
        plain = int(plain)
    return checks.version(plain, where)


def _wait(plain: Plain, where: str) -> float:
    if type(plain) is str and _DECIMAL.fullmatch(plain):
        plain = int(plain)
    if type(plain) not in (int, float) or not math.isfinite(plain) or not 0 <= plain <= LONGEST_WAIT:
        fault(where, f"a number of seconds from 0 to {LONGEST_WAIT}")
    return float(plain)


def _flag(plain: Plain, where: str) -> bool:
    if type(plain) is not bool:
        fault(where, "true or false")
    return plain


def _flag_text(plain: Plain, where: str) -> bool:
    if plain not in ("true", "false") and type(plain) is not bool:
        fault(where, '"true" or "false"')
    return plain in ("true", True)


_IDENTIFIER: Final = re.compile("[0-9a-f]{32}")


def _identifier(plain: Plain, where: str) -> bytes:
    if type(plain) is not str or not _IDENTIFIER.fullmatch(plain):
        fault(where, "32 lower-case hexadecimal digits")
    return bytes.fromhex(plain)


def _moment(plain: Plain, where: str) -> dt.datetime:
    if type(plain) is str and plain.isascii() and plain.endswith("Z"):
        try:
            return dt.datetime.fromisoformat(plain)
        except ValueError:
            pass
    fault(where, "a time in UTC such as 2026-01-31T12:00:00.000000Z")


_WHOLE_SCHEMA: Final = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}

TEXT: Final = Kind[str]({"type": "string"}, _text)
NAME: Final = Kind[str]({"type": "string", "minLength": 1}, _name)
WHOLE: Final = Kind[int](_WHOLE_SCHEMA, _whole)
WAIT: Final = Kind[float]({"type": "number", "minimum": 0, "maximum": LONGEST_WAIT}, _wait)
FLAG: Final = Kind[bool]({"type": "boolean"}, _flag)
FLAG_TEXT: Final = Kind[bool](
    {"type": "string", "enum": ["true", "false"]}, _flag_text, lambda value: "true" if value else "false"
)
BINARY: Final = Kind[bytes]({"type": "string", "contentEncoding": "base64"}, unbase64, base64)
IDENTIFIER: Final = Kind[bytes]({"type": "string", "pattern": "^[0-9a-f]{32}$"}, _identifier, lambda value: value.hex())
MOMENT: Final = Kind[dt.datetime](
    {"type": "string", "format": "date-time"},
    _moment,
    lambda value: value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
)


def choice(*values: str) -> Kind[Any]:
    """One of these texts."""

    def read(plain: Plain, where: str) -> str:
        if type(plain) is not str or plain not in values:
            fault(where, " or ".join(f'"{value}"' for value in values))
        return plain

    return Kind({"type": "string", "enum": list(values)}, read)


def listed(kind: Kind[T]) -> Kind[tuple[T, ...]]:
    """An array of one kind."""

    def read(plain: Plain, where: str) -> tuple[T, ...]:
        if type(plain) is not list:
            fault(where, "an array")
        return tuple([kind.read(inner, where) for inner in plain])

    def write(values: tuple[T, ...]) -> Plain:
        return [kind.write(value) for value in values]

    return Kind({"type": "array", "items": kind.schema}, read, write)


def nullable(kind: Kind[T]) -> Kind[T | None]:
    """That kind, or null."""
    return Kind(
        {"anyOf": [kind.schema, {"type": "null"}]},
        lambda plain, where: None if plain is None else kind.read(plain, where),
        lambda value: None if value is None else kind.write(value),
        nullable=True,
    )


@attrs.frozen
class Field:
    """A member of an object: its name there, the attribute it is (dotted within another value), its kind.

    A field that is not required may be absent or null, and is then left to the default of what is built.
    """

    name: str
    attribute: str
    kind: Kind[Any]
    required: bool = True
    description: str = ""

    @property
    def argument(self) -> str:
        """What the builder calls it."""
        return self.attribute.rpartition(".")[2]


def shape(
    build: Callable[..., T], *fields: Field, exact: bool = False, ignored: frozenset[str] = frozenset()
) -> Kind[T]:
    """An object with these fields, as what ``build`` makes of them; ``exact`` refuses any other but ``ignored``."""
    known = ignored | {field.name for field in fields}
    getters = [(field, operator.attrgetter(field.attribute)) for field in fields]

    def read(plain: Plain, where: str) -> T:
        if type(plain) is not dict:
            fault(where, "an object")
        prefix = f"{where}." if where else ""
        if exact and not known.issuperset(plain):
            fault(where, f"an object of {', '.join(sorted(known - ignored))} and nothing else")
        arguments: dict[str, Any] = {}
        for field in fields:
            member = plain.get(field.name)
            if member is not None or (field.kind.nullable and field.name in plain):
                arguments[field.argument] = field.kind.read(member, prefix + field.name)
            elif field.required:
                raise InvalidRequest(f"{prefix}{field.name} is missing")
        return build(**arguments)

    def write(value: T) -> Plain:
        plain = {}
        for field, get in getters:
            member = get(value)
            if member is not None or field.required:
                plain[field.name] = field.kind.write(member)
        return plain

    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            field.name: {**field.kind.schema, **({"description": field.description} if field.description else {})}
            for field in fields
        },
        "required": [field.name for field in fields if field.required],
    }
    return Kind(cast("Mapping[str, Any]", schema), read, write)
