"""Reading JSON that a person or a file gives: strictly, so that what is stored is what was meant."""

from __future__ import annotations

import json
from typing import Any, NoReturn

_DIGITS = 4_000
"""Python refuses to read numbers that are a little longer: the time it takes grows with their square."""


def parse(text: str) -> Any:
    """The JSON value of a text. Raises ``ValueError``, also for NaN, infinities and keys that stand twice."""
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_int, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _int(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of more than {_DIGITS} digits")
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found
