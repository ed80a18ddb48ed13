"""The checks that frozen values make of what they are built from; each raises ``InvalidRequest`` with what to do."""

from __future__ import annotations

import math
import threading
from typing import Any

from indelible.errors import InvalidRequest


def version(value: object, what: str) -> int:
    """A version number as S14 wants it: a non-negative ``int``, and ``True`` is not one."""
    if type(value) is not int:
        raise InvalidRequest(f"{what} must be a whole number, not {type(value).__name__}")
    if not 0 <= value < 2**63:
        raise InvalidRequest(f"{what} must lie between 0 and 2**63 - 1, not {value}")
    return value


def data(value: object, what: str) -> bytes:
    """Bytes as a store takes them: not text, and nothing that can still change."""
    if type(value) is not bytes:
        raise InvalidRequest(f"{what} must be bytes, not {type(value).__name__}; encode it first")
    return value


def attempt(value: object) -> int:
    """How often a transaction was sent, this time included: 1 or more (S16)."""
    if (count := version(value, "attempt")) < 1:
        raise InvalidRequest("attempt counts from 1: the first time a transaction is sent")
    return count


def text(value: object, what: str) -> str:
    """A text that UTF-8 can carry."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{what} must be a str, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{what} must not contain lone surrogates") from None
    return value


def name(value: object, what: str) -> str:
    """A text that is not empty."""
    if not text(value, what):
        raise InvalidRequest(f"{what} must not be empty")
    return str(value)


def seconds(value: Any, what: str) -> float:
    """A duration: finite, not negative, and never longer than a thread can wait (some 292 years)."""
    # Compared before it is converted: a whole number may be larger than any float.
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise InvalidRequest(f"{what} must be a finite number of seconds, 0 or more")
    return float(min(value, threading.TIMEOUT_MAX))
