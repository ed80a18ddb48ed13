"""Messages as data: JSON read strictly, and the kinds of value and shapes of object that a message is made of.

A kind reads its value from plain JSON, writes it, and describes itself as JSON Schema; a shape is a kind for a frozen
value of ours, field by field. Whatever does not fit raises ``InvalidRequest`` with the place, and nothing of the data.
"""

from __future__ import annotations

import binascii
import contextlib
import datetime as dt
import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, NoReturn, TypeAlias, TypeVar

import attrs

from indelible import checks
from indelible.errors import InvalidRequest, TooLarge

T = TypeVar("T")
Plain: TypeAlias = Any

DEEPEST: Final = 8
"""Objects and arrays within each other, at most."""

MOST_VALUES: Final = 500_000
"""Values in a message, at most, counted by the commas between them: in memory each takes many times its few bytes."""

LONGEST_WAIT: Final = 60
"""Seconds that one request may wait."""


def fault(where: str, must: str) -> NoReturn:
    """Refuse a message: what stands at ``where`` (all of it if that is ""), and what it must be."""
    raise InvalidRequest(f"{where or 'the message'} must be {must}")


def _unique(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise InvalidRequest("a JSON object must not hold one name twice")
    return members


def _no_constant(_name: str) -> NoReturn:
    raise InvalidRequest("JSON knows neither NaN nor Infinity")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def documents(data: bytes) -> Iterator[dict[str, Plain]]:
    """The JSON objects that stand in ``data`` one after another, with or without white space between them.

    Strict UTF-8, no name twice, no NaN, nothing nested deeper than 8. Raises ``InvalidRequest``, ``TooLarge``.
    """
    if len(data) > MOST_VALUES and (commas := data.count(b",")) > MOST_VALUES:
        reason = f"a message holds at most {MOST_VALUES} values; send it in parts"
        raise TooLarge(reason, "values", commas, MOST_VALUES)
    text = _decoded(data)
    at = _past_space(text, 0)
    while at < len(text):
        if text[at] != "{":
            raise InvalidRequest("a message is made of JSON objects")
        plain, at = _parsed(text, at)
        _check_depth(plain)
        yield plain
        at = _past_space(text, at)


# What Python raises holds all of the message: the two below let go of it before they raise what they do.


def _decoded(data: bytes) -> str:
    with contextlib.suppress(UnicodeDecodeError):
        return data.decode()
    raise InvalidRequest("a message must be UTF-8")


def _parsed(text: str, at: int) -> tuple[dict[str, Plain], int]:
    try:
        return _DECODER.raw_decode(text, at)
    except InvalidRequest:
        raise
    except (ValueError, RecursionError):
        pass
    raise InvalidRequest("a message must be valid JSON")


def document(data: bytes) -> dict[str, Plain]:
    """The one JSON object that ``data`` is. Raises ``InvalidRequest``, ``TooLarge``."""
    found = documents(data)
    plain = next(found, None)
    if plain is None or next(found, None) is not None:
        raise InvalidRequest("the message must be one JSON object")
    return plain


def _check_depth(plain: dict[str, Plain]) -> None:
    level: list[Plain] = [plain]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return
    raise InvalidRequest(f"a message must not nest deeper than {DEEPEST}")


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(plain: Plain) -> bytes:
    """Plain JSON as bytes, as short as it gets."""
    return _ENCODER.encode(plain).encode()


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
    if type(plain) is str:
        try:
            data = binascii.a2b_base64(plain, strict_mode=True)
        except ValueError:
            pass
        else:
            if base64(data) == plain:
                return data
    fault(where, "standard Base64 with padding, as an encoder writes it")


def _text(plain: Plain, where: str) -> str:
    if type(plain) is not str:
        fault(where, "a string")
    return checks.text(plain, where)


def _name(plain: Plain, where: str) -> str:
    return checks.name(_text(plain, where), where)


_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def _number(plain: Plain) -> Plain:
    # Hand-written requests give numbers as text.
    return int(plain) if type(plain) is str and _DECIMAL.fullmatch(plain) else plain


def _whole(plain: Plain, where: str) -> int:
    number = _number(plain)
    if type(number) is not int or not 0 <= number < 2**63:
        fault(where, "a whole number from 0 to 2**63 - 1")
    return number


def _wait(plain: Plain, where: str) -> float:
    number = _number(plain)
    if type(number) not in (int, float) or not 0 <= number <= LONGEST_WAIT:
        fault(where, f"a number of seconds from 0 to {LONGEST_WAIT}")
    return float(number)


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


def _moment_plain(value: dt.datetime) -> Plain:
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _moment(plain: Plain, where: str) -> dt.datetime:
    if type(plain) is str and plain.endswith("Z"):
        try:
            value = dt.datetime.fromisoformat(plain)
        except ValueError:
            pass
        else:
            if _moment_plain(value) == plain:
                return value
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
MOMENT: Final = Kind[dt.datetime]({"type": "string", "format": "date-time"}, _moment, _moment_plain)


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

    return Kind(_schema(fields, exact=exact), read, write)


def _schema(fields: Iterable[Field], *, exact: bool) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": {
            field.name: {**field.kind.schema, **({"description": field.description} if field.description else {})}
            for field in fields
        },
        "required": [field.name for field in fields if field.required],
        **({"additionalProperties": False} if exact else {}),
    }
