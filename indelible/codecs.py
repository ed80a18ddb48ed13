"""Codecs: values to bytes and back, before sealing and after opening.

Two promises hold for every codec. What was encoded decodes to something equal, or was refused with ``InvalidRequest``;
and equal JSON has one encoding, since stored values are compared as bytes (S2). Bytes that do not fit raise
``Undecodable``. Both name the codec, types and a path, and never a value, not even in an error chained to them: they
are raised outside every ``except``. In a path, ``.*`` is some member of a mapping, whose name is data as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, overload

import attrs

from indelible.errors import InvalidRequest, Undecodable

if TYPE_CHECKING:
    from indelible.structuring import Shape

T = TypeVar("T")


class Codec(Protocol[T]):
    """Makes bytes of values of one type, and values of its bytes; free of side effects, and so shared by threads."""

    @property
    def name(self) -> str:
        """What errors call it."""

    def encode(self, value: T) -> bytes:
        """The bytes of ``value``; raises ``InvalidRequest`` for what would not come back equal."""

    def decode(self, data: bytes) -> T:
        """The value of these bytes; raises ``Undecodable`` if there is none."""


@attrs.frozen
class _String:
    name: str = "STRING"

    def encode(self, value: str) -> bytes:
        fault = ""
        if isinstance(value, str):
            try:
                return value.encode()
            except UnicodeEncodeError:
                fault = "a str without lone surrogates"
        raise InvalidRequest(f"codec {self.name} takes {fault or f'a str, not {type(value).__name__}'}")

    def decode(self, data: bytes) -> str:
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError:
            pass
        raise Undecodable(f"codec {self.name}: the bytes are not UTF-8")


@attrs.frozen
class _Bytes:
    name: str = "BYTES"

    def encode(self, value: bytes) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise InvalidRequest(f"codec {self.name} takes bytes, not {type(value).__name__}")
        return bytes(value)

    def decode(self, data: bytes) -> bytes:
        return bytes(data)


# Built once: json.dumps and json.loads with options build one for every call. Without check_circular, what contains
# itself ends in a RecursionError, as what is nested too deeply does.
_canonical = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode
_ascii = json.JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":")).encode
_read_back = json.JSONDecoder().raw_decode


def _constant(_token: str) -> NoReturn:
    raise ValueError


def _finite(token: str) -> float:
    number = float(token)
    if math.isinf(number):
        raise ValueError
    return number


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


_strict = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant, parse_float=_finite).decode
_lenient = json.JSONDecoder().decode


def _load(data: bytes) -> Any:
    """The JSON value in ``data``; raises ``ValueError`` or ``RecursionError`` for what ``JSON`` would not have written.

    White space and the order of members are forgiven.
    """
    text = str(data, "utf-8")
    value = _strict(text)
    if "\\u" in text:  # the only way in for a lone surrogate
        _canonical(value).encode()
    return value


_TOO_DEEP = "what is nested too deeply, or contains itself"
_WHY = {float: " (not a number, or infinite)", str: " (with lone surrogates)", int: " (of too many digits)"}


def _misfit(value: object, path: str = "$") -> str:
    """What JSON cannot carry in ``value``, by type and path; "" if there is no such thing."""
    if isinstance(value, dict):
        if odd := next((type(key).__name__ for key in value if not isinstance(key, str)), None):
            return f"a member name of type {odd} at {path}"
        inner: Iterable[tuple[str, object]] = [(f"{path}.*", child) for pair in value.items() for child in pair]
    elif isinstance(value, list):
        inner = ((f"{path}[{index}]", child) for index, child in enumerate(value))
    else:
        try:
            if _read_back(_canonical(value).encode().decode())[0] == value:
                return ""
        except (TypeError, ValueError):
            pass
        return f"{type(value).__name__}{_WHY.get(type(value), '')} at {path}"
    return next((fault for where, child in inner if (fault := _misfit(child, where))), "")


@attrs.frozen
class _Json:
    name: str = "JSON"

    def encode(self, value: object) -> bytes:
        try:
            text = _canonical(value)
            data = text.encode()
            # Subclasses of JSON's types may come back as what they equal; all else that JSON bends is seen here.
            if _read_back(text)[0] == value:
                return data
        except (TypeError, ValueError, RecursionError):
            pass
        try:
            fault = _misfit(value) or "what would not come back equal"
        except RecursionError:
            fault = _TOO_DEEP
        raise InvalidRequest(f"codec {self.name} cannot carry {fault}")

    def decode(self, data: bytes) -> Any:
        try:
            return _load(data)
        except (ValueError, RecursionError):
            pass
        raise Undecodable(f"codec {self.name}: the bytes are not JSON as this codec writes it")


@attrs.frozen
class _JsonAscii:
    name: str = "JSON_ASCII"

    def encode(self, value: object) -> bytes:
        try:
            return _ascii(value).encode()
        except (TypeError, ValueError):
            fault = "what has no form in JSON"
        except RecursionError:
            fault = _TOO_DEEP
        raise InvalidRequest(f"codec {self.name} cannot carry {fault} in this {type(value).__name__}")

    def decode(self, data: bytes) -> Any:
        try:
            return _lenient(str(data, "utf-8"))
        except (ValueError, RecursionError):
            pass
        raise Undecodable(f"codec {self.name}: the bytes are not JSON")


STRING: Codec[str] = _String()
"""Text, as UTF-8."""

BYTES: Codec[bytes] = _Bytes()
"""Bytes as they are; what is given as a ``bytearray`` or ``memoryview`` comes back as ``bytes``."""

JSON: Codec[Any] = _Json()
"""JSON in one form only: members sorted, no white space, UTF-8. Takes what comes back equal, and nothing else."""

JSON_ASCII: Codec[Any] = _JsonAscii()
"""JSON as the published client ``indelible_log`` wrote it: members in their order, ASCII with escapes. It bends tuples
and member names as ``json`` does, and reads the NaN and Infinity that the old client let through."""


_NOTHING = object()


@attrs.frozen(eq=False, repr=False)
class _Typed(Generic[T]):
    name: str
    _shape: Shape

    def encode(self, value: T) -> bytes:
        plain: Any = _NOTHING
        try:
            plain = self._shape.write(value)
            text = _canonical(plain)
            data = text.encode()
            fault = self._shape.differs(value, self._shape.read(_read_back(text)[0]))
            if fault is None:
                return data
        except RecursionError:
            fault = _TOO_DEEP
        except Exception:  # noqa: BLE001 - constructors and validators of the caller's classes run in here
            fault = "some field is not of its declared type" if plain is _NOTHING else self._shape.fault(plain)
        if not fault:
            try:
                fault = _misfit(plain) or "what would not come back equal"
            except RecursionError:
                fault = _TOO_DEEP
        raise InvalidRequest(f"codec {self.name} cannot carry this {type(value).__name__}: {fault}")

    def decode(self, data: bytes) -> T:
        plain: Any = None
        try:
            plain = _load(data)
        except (ValueError, RecursionError):
            fault = "the bytes are not JSON as this codec writes it"
        else:
            try:
                value: T = self._shape.read(plain)
            except Exception:  # noqa: BLE001 - constructors and validators of the caller's classes run in here
                fault = self._shape.fault(plain) or "what was read does not fit"
            else:
                return value
        raise Undecodable(f"codec {self.name}: {fault}")

    def __repr__(self) -> str:
        return self.name


@overload
def typed(cls: type[T], tags: Mapping[str, type] | None = None) -> Codec[T]: ...
@overload
def typed(cls: Any, tags: Mapping[str, type] | None = None) -> Codec[Any]: ...
def typed(cls: Any, tags: Mapping[str, type] | None = None) -> Codec[Any]:
    """The codec of an attrs class or dataclass, or of a union of them, as canonical JSON.

    Nothing is converted on the way: an ``int`` field takes an ``int``, and a value whose fields are not what their
    class declares is refused. ``bytes`` stand as Base64; aware datetimes with their offset (the name of a zone is
    lost), dates, UUIDs, decimals and enumerations as text or by value. Unknown members are refused, and missing ones
    take the field's default, so that a class may grow.

    Classes in a union are told apart by tags, which are stored as the member ``"type"`` and therefore stay as they are
    when a class is renamed: ``typed(Circle | Square, tags={"circle": Circle, "square": Square})``. Type checkers know
    no type for such an expression; annotate the result: ``codec: Codec[Circle | Square] = typed(...)``.

    Raises ``InvalidRequest`` for a type that it cannot carry, and for a union without a tag for each of its classes.
    """
    from indelible.structuring import Shape  # noqa: PLC0415 - brings in cattrs, which is slow to import

    shape: Shape = Shape(cls, tags or {})
    return _Typed(f"typed({shape.name})", shape)
