"""For backends that pass on to another under another name: errors say the name the caller knows."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import attrs

from indelible.errors import IndelibleError


class Named:
    """Within this context, an error that names a log names ``log``; other fields may be replaced with it."""

    __slots__ = ("_fields",)

    def __init__(self, log: str, **fields: Any) -> None:
        self._fields = {"log": log, **fields}

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and (named := self._naming(error)) is not error:
            # What the inner backend said is told in full; only its name for the log is not the caller's.
            cause = error.__cause__
            raise named.with_traceback(traceback) from cause and self._naming(cause)

    def _naming(self, error: BaseException) -> BaseException:
        if not isinstance(error, IndelibleError):
            return error
        known = {field.name for field in attrs.fields(type(error))}
        fields = {name: value for name, value in self._fields.items() if name in known}
        return attrs.evolve(error, **fields) if fields else error
