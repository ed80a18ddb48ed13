"""What an answer says: its JSON as one of our values, or as one of our errors. Nothing of it is believed yet."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from typing import Any, Final, NoReturn, TypeVar

from indelible import faults
from indelible.backends.http.failures import Failed
from indelible.backends.http.transport import Reply
from indelible.errors import IndelibleError, InvalidRequest, ProtocolViolation
from indelible.routes import MEDIA_TYPE, VERSION_HEADER, Route
from indelible.wire import MOST_VALUES, WHOLE, Plain

A = TypeVar("A")

_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_BUSY: Final = frozenset({408, 425, 429})
"""Statuses below 500 with which something between here and there asks to come again."""


def violation(what: str) -> ProtocolViolation:
    """The error for an answer that the contract does not allow; ``what`` quotes nothing of the answer."""
    return ProtocolViolation(f"the service broke the protocol: {what}")


def _no_constant(_name: str) -> NoReturn:
    raise ValueError


# A name that stands twice in an object is let through, the last one counts: all that is believed of an answer is
# checked as it was read here, and nobody else reads it in another way.
_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


_UP_TO_A_COMMA: Final = re.compile(rb'(?:[^",]++|"(?:[^"\\]++|\\.)*+"?)*+(?:,|\Z)', re.DOTALL)
"""All that stands before the next comma that is in no text, or before the end; it never goes back, nor fails."""


def _holds_too_much(body: bytes) -> bool:
    """Whether it has more values than any message; counted before it is parsed, as each takes many times its bytes."""
    if body.count(b",") <= MOST_VALUES:
        return False
    # Names and sources may hold commas of their own.
    return next(itertools.islice(_UP_TO_A_COMMA.finditer(body), MOST_VALUES + 2, None), None) is not None


def parse(body: bytes) -> Plain:
    """The JSON value that a body is. Raises ``ProtocolViolation``."""
    if _holds_too_much(body):
        raise violation("its answer holds more than any may")
    try:
        return _DECODER.decode(body.decode())
    except (ValueError, RecursionError):  # a UnicodeDecodeError is one, and so is what refuses a number too long
        pass
    # Raised out here: the parser's error holds the whole text, and would hang on to this one.
    raise violation("its answer is not JSON")


def head(reply: Reply) -> int | None:
    """The head of the log that an answer is about, if it says so. Raises ``ProtocolViolation``."""
    text = reply.headers.get(VERSION_HEADER)
    try:
        return None if text is None else WHOLE.read(text, "")
    except InvalidRequest:
        pass
    raise violation(f"the header {VERSION_HEADER} holds no version")


def read(route: Route[Any, A], reply: Reply, log: str, request_id: str) -> A | IndelibleError:
    """The value or the error that an answer says.

    Raises ``Failed`` where the service failed without saying what it did, and ``ProtocolViolation``.
    """
    if reply.status != 200:
        return _error(reply, log, request_id)
    if not _is_json(reply):
        raise violation("its answer is not declared as JSON")
    try:
        return route.answer.read(parse(reply.body), "")
    except InvalidRequest as error:
        # The place and what must stand there are ours.
        what = str(error)
    raise violation(f"in its answer, {what}")


def _is_json(reply: Reply) -> bool:
    return reply.headers.get("Content-Type", "").partition(";")[0].strip().lower() == MEDIA_TYPE


def _error(reply: Reply, log: str, request_id: str) -> IndelibleError:
    status = reply.status
    if _is_json(reply):
        plain = None
        with contextlib.suppress(ProtocolViolation):
            plain = parse(reply.body)
        if (error := faults.decode(status, plain, log)) is not None:
            return error
    if status >= 500 or status in _BUSY:
        raise Failed(f"the service failed (status {status}, request {request_id})", after=retry_after(reply))
    if 300 <= status < 400:
        raise violation("it answers with a redirection, which is never followed; check the URL")
    raise violation(f"its answer has status {status} and is none of this protocol; check the URL")


def retry_after(reply: Reply) -> float | None:
    """The seconds after which the service wants to be asked again; None if it does not say, or in another form."""
    text = reply.headers.get("Retry-After", "")
    return float(text) if _NUMBER.fullmatch(text) else None
