"""What ``codecs.typed`` is made of: values of declared classes to plain JSON values and back, through cattrs.

The rules are strict, since stored values are compared as bytes: nothing is converted to fit, there is one text for
each value, and no class's name is stored. This module is imported by ``codecs.typed`` only, when it is first called.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import types
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Union, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory

from indelible.errors import InvalidRequest

_GROUPS = (cattrs.ClassValidationError, cattrs.IterableValidationError)
_SCALARS = (str, bool, int, float)


def _aware(text: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(text)
    if value.utcoffset() is None:
        raise ValueError
    return value


def _decimal(text: str) -> decimal.Decimal:
    value = decimal.Decimal(text)
    if not value.is_finite():
        raise ValueError
    return value


_TEXTS: dict[type, tuple[Callable[[str], Any], Callable[[Any], str]]] = {
    bytes: (lambda text: base64.b64decode(text, validate=True), lambda value: base64.b64encode(value).decode()),
    dt.datetime: (_aware, lambda value: str(value.isoformat())),
    dt.date: (dt.date.fromisoformat, lambda value: str(value.isoformat())),
    uuid.UUID: (uuid.UUID, str),
    decimal.Decimal: (_decimal, str),
}
"""How to read and write what JSON has no form for; a text is read only if it is the very one that is written."""


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).replace("typing.", "")


def _is_record(kind: Any) -> bool:
    kind = get_origin(kind) or kind
    return isinstance(kind, type) and (attrs.has(kind) or dataclasses.is_dataclass(kind))


def _is_union(kind: Any) -> bool:
    """Whether more than one type is meant; ``X | None`` is a matter of its own, and cattrs'."""
    return get_origin(kind) in (Union, types.UnionType) and len(set(get_args(kind)) - {types.NoneType}) > 1


def _is_list(kind: Any) -> bool:
    return kind is list or get_origin(kind) is list


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is Sequence or (get_origin(kind) is tuple and get_args(kind)[-1:] == (...,))


def _fields(kind: Any) -> list[str]:
    fields: Iterable[Any] = attrs.fields(kind) if attrs.has(kind) else dataclasses.fields(kind)
    return [field.name for field in fields if field.init]


def _sorted(items: Iterable[Any]) -> list[Any]:
    """The members of a set in an order that does not depend on the process."""
    return sorted(items, key=json.JSONEncoder(sort_keys=True).encode)


# Writing passes on what is not of the declared type: reading back then refuses it, and knows the path to it.


def _write_as(kind: type, write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: write(value) if isinstance(value, kind) else value


def _write_float(value: Any) -> Any:
    whole = type(value) is int and value.bit_length() < 1024
    return float(value) if whole and float(value) == value else value


def _read_scalar(value: Any, kind: Any) -> Any:
    base: Any = next(scalar for scalar in (bool, *_SCALARS) if issubclass(kind, scalar))
    if type(value) is base:
        if base is float and not math.isfinite(value):
            raise ValueError
        return kind(value)
    if base is float and type(value) is int:
        return kind(value)
    raise TypeError


def _read_text(read: Callable[[str], Any], write: Callable[[Any], str]) -> Callable[[Any, Any], Any]:
    def structure(text: Any, _kind: Any) -> Any:
        if type(text) is not str:
            raise TypeError
        value = read(text)
        if write(value) != text:
            raise ValueError
        return value

    return structure


def _reading_only(wanted: type, read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Read from what JSON gives for this kind of thing: to cattrs, a text would do for a list of texts."""

    def structure(value: Any, kind: Any) -> Any:
        if type(value) is not wanted:
            raise TypeError
        return read(value, kind)

    return structure


class _Union:
    """Several types in one place: classes by their tag, JSON's scalars and None as they are."""

    def __init__(self, converter: cattrs.Converter, members: Iterable[Any], tags: Mapping[str, Any]) -> None:
        self._converter = converter
        self._plain = tuple(kind for kind in members if kind in (*_SCALARS, types.NoneType))
        classes = [kind for kind in members if kind not in self._plain]
        for kind in classes:
            if not isinstance(kind, type) or not _is_record(kind):
                raise InvalidRequest(
                    f"a union is of attrs classes, dataclasses, str, bool, int, float, not {_name(kind)}"
                )
            if "type" in _fields(kind):
                raise InvalidRequest(f"{_name(kind)} has a field 'type', where its tag would stand; rename the field")
        if missing := [_name(kind) for kind in classes if kind not in tags.values()]:
            raise InvalidRequest(
                f"classes in a union need a tag each, which is stored and must not change; pass "
                f"tags={{{', '.join(f'{name.lower()!r}: {name}' for name in missing)}}} as well, or tags of your own"
            )
        self._classes = {tag: kind for tag, kind in tags.items() if kind in classes}
        self._tags = {kind: tag for tag, kind in self._classes.items()}

    def write(self, value: Any) -> Any:
        tag = self._tags.get(type(value))
        return value if tag is None else {"type": tag, **self._converter.unstructure(value, type(value))}

    def read(self, value: Any, _kind: Any) -> Any:
        if type(value) in self._plain:
            return value
        if type(value) is not dict or value.get("type") not in self._classes:
            raise TypeError
        members = dict(value)
        return self._converter.structure(members, self._classes[members.pop("type")])


def _converter(tags: Mapping[str, Any]) -> cattrs.Converter:
    """A converter of its own for each codec, so that nobody's hooks reach another's data."""
    new = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={AbstractSet: _sorted})
    for scalar in _SCALARS:
        new.register_structure_hook(scalar, _read_scalar)
    new.register_unstructure_hook(float, _write_float)
    for kind, (read, write) in _TEXTS.items():
        new.register_structure_hook(kind, _read_text(read, write))
        new.register_unstructure_hook(kind, _write_as(kind, write))
    new.register_unstructure_hook(enum.Enum, lambda value: value.value if isinstance(value, enum.Enum) else value)

    def read_record(kind: Any) -> Callable[[Any, Any], Any]:
        return _reading_only(dict, new.gen_structure_attrs_fromdict(kind))

    def write_record(kind: Any) -> Callable[[Any], Any]:
        write, exact = new.gen_unstructure_attrs_fromdict(kind), get_origin(kind) or kind
        return lambda value: write(value) if type(value) is exact else value

    def read_list(kind: Any) -> Callable[[Any, Any], Any]:
        return _reading_only(list, list_structure_factory(kind, new))

    def read_tuple(kind: Any) -> Callable[[Any, Any], Any]:
        return _reading_only(list, homogenous_tuple_structure_factory(kind, new))

    new.register_structure_hook_factory(_is_record, read_record)
    new.register_unstructure_hook_factory(_is_record, write_record)
    new.register_structure_hook_factory(_is_list, read_list)
    new.register_structure_hook_factory(_is_tuple, read_tuple)
    new.register_structure_hook_factory(_is_union, lambda kind: _Union(new, get_args(kind), tags).read)
    new.register_unstructure_hook_factory(_is_union, lambda kind: _Union(new, get_args(kind), tags).write)
    return new


def _differs(value: Any, back: Any) -> str | None:
    """The path of the first thing in ``back`` that is not as it was in ``value``, by class and content."""
    inner: Iterable[tuple[str, Any, Any]] = ()
    if _is_record(type(back)):
        if same := type(value) is type(back):
            inner = ((f".{name}", getattr(value, name), getattr(back, name)) for name in _fields(type(back)))
    elif isinstance(back, dict):
        if same := isinstance(value, Mapping) and value.keys() == back.keys():
            inner = ((".*", value[name], back[name]) for name in back)
    elif isinstance(back, list | tuple):
        # What is declared as a Sequence comes back as a tuple, and so has to be one.
        if same := isinstance(value, type(back)) and len(value) == len(back):
            inner = ((f"[{index}]", *pair) for index, pair in enumerate(zip(value, back, strict=True)))
    elif isinstance(back, dt.datetime) and isinstance(value, dt.datetime):
        # Python calls the hour that clocks repeat unequal to itself in any other zone (PEP 495); its text is the same.
        same = value.isoformat() == back.isoformat()
    else:
        same = bool(value == back)
    if not same:
        return ""
    return next((step + rest for step, one, other in inner if (rest := _differs(one, other)) is not None), None)


def _cause(error: BaseException, wanted: Any) -> str:
    """What is wrong at the end of a path, in names and types of the code: nothing that stood in the data."""
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return "a field that the class does not have"
    if isinstance(error, KeyError):
        return "a field missing"
    return "what is not accepted" if wanted is None else f"what is not {_name(wanted)}"


def _place(error: BaseException, wanted: Any) -> str:
    """The first fault that cattrs found: what, and where."""
    path = "$"
    while isinstance(error, _GROUPS):
        noted, bare = error.group_exceptions()
        if not noted:
            error, wanted = bare[0], None
            continue
        error, note = noted[0]
        wanted = note.type
        if isinstance(note, cattrs.AttributeValidationNote):
            path += f".{note.name}"
        else:
            path += f"[{note.index}]" if isinstance(note.index, int) else ".*"
    return f"{_cause(error, wanted)} at {path}"


class Shape:
    """Values of one declared type, to plain JSON values and back. Raises ``InvalidRequest`` for a type it cannot carry.

    ``write`` and ``read`` raise whatever comes; ``fault`` then says what was wrong.
    """

    def __init__(self, kind: Any, tags: Mapping[str, Any]) -> None:
        self.name: str = _name(kind)
        if not all(isinstance(tag, str) and tag for tag in tags) or len(set(tags.values())) < len(tags):
            raise InvalidRequest("tags are non-empty texts, each for another class")
        self._kind = kind
        converter = _converter(tags)
        fault = ""
        try:
            if not _is_union(kind) and kind in tags.values():
                alone = _Union(converter, (kind,), tags)
                self._write: Callable[[Any], Any] = alone.write
                self._read: Callable[[Any, Any], Any] = alone.read
            else:
                self._write = converter.get_unstructure_hook(kind)
                self._read = converter.get_structure_hook(kind)
        except (cattrs.StructureHandlerNotFoundError, NameError, TypeError) as error:
            unknown = getattr(error, "type_", kind)
            fault = f"typed cannot carry {_name(unknown)}; use attrs classes or dataclasses with annotated fields"
        if fault:
            raise InvalidRequest(fault)

    def write(self, value: Any) -> Any:
        """The plain form of ``value``."""
        return self._write(value)

    def read(self, plain: Any) -> Any:
        """The value of this plain form."""
        return self._read(plain, self._kind)

    def differs(self, value: Any, back: Any) -> str | None:
        """What in ``back`` is not as it was in ``value``, and where."""
        path = _differs(value, back)
        return None if path is None else f"what would not come back equal at ${path}"

    def fault(self, plain: Any) -> str:
        """What keeps ``plain`` from being read, and where; "" if nothing does."""
        try:
            self.read(plain)
        except RecursionError:
            return ""
        except Exception as error:  # noqa: BLE001 - constructors and validators of the caller's classes run in here
            return _place(error, self._kind)
        return ""
