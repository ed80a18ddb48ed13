"""A backend that writes down who asked what, when, and what came back."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs

from indelible.backend import Backend, key_history
from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.errors import IndelibleError, OutcomeUnknown
from indelible.pages import DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo

T = TypeVar("T")


@attrs.define(eq=False)
class Call:
    """One call: its operation and arguments, when it began and ended by a counter, and its answer or its error.

    A call that never came back keeps ``returned`` at infinity: it may have had its effect or not.
    """

    operation: str
    log: str
    arguments: tuple[Any, ...]
    called: int
    returned: float = math.inf
    answer: Any = None
    error: BaseException | None = None
    thread: str = attrs.field(factory=lambda: threading.current_thread().name)

    @property
    def is_answered(self) -> bool:
        """Whether the caller knows what happened; an ``OutcomeUnknown`` is no answer, nor is a foreign exception."""
        if self.error is None:
            return self.returned < math.inf
        return isinstance(self.error, IndelibleError) and not isinstance(self.error, OutcomeUnknown)

    @property
    def commits(self) -> bool:
        """Whether this is an update that was told that it made a version."""
        return isinstance(self.answer, Committed) and self.answer.changed

    def __str__(self) -> str:
        said = repr(self.answer) if self.error is None else f"{type(self.error).__name__}: {self.error}"
        arguments = ", ".join(map(repr, self.arguments))
        return f"[{self.called}..{self.returned}] {self.thread}: {self.operation}({arguments}) -> {said}"


class Recorder:
    """Passes every call on and keeps it in ``calls``, for ``linearize.check``; for any number of threads.

    Several recorders may share one list: give the later ones the first. Recorders in several processes of one machine
    share its clock, ``clock=time.monotonic_ns``. ``note`` gets every call twice, before it is passed on and after it
    came back: what it writes to a file outlives a killed process.
    """

    def __init__(
        self,
        backend: Backend,
        sharing: Recorder | None = None,
        *,
        clock: Callable[[], int] | None = None,
        note: Callable[[Call], None] | None = None,
    ) -> None:
        self.inner = backend
        self.calls: list[Call] = sharing.calls if sharing else []
        self._clock: Callable[[], int] = sharing._clock if sharing else clock or itertools.count().__next__  # noqa: SLF001 (its own class)
        self._lock: threading.Lock = sharing._lock if sharing else threading.Lock()  # noqa: SLF001 (its own class)
        self._note = note or _nothing

    def _tick(self) -> int:
        with self._lock:
            return self._clock()

    def _record(self, operation: str, log: str, arguments: tuple[Any, ...], ask: Callable[[], T]) -> T:
        call = Call(operation, log, arguments, self._tick())
        self.calls.append(call)
        self._note(call)
        try:
            call.answer = answer = ask()
        except BaseException as error:
            call.error = error
            raise
        finally:
            call.returned = self._tick()
            self._note(call)
        return answer

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        self._record("create", log, (group,), lambda: self.inner.create(log, group))

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        arguments = (transaction, attempt)
        return self._record("update", log, arguments, lambda: self.inner.update(log, transaction, attempt))

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        return self._record("diff", log, (request,), lambda: self.inner.diff(log, request))

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        return self._record("describe", log, (), lambda: self.inner.describe(log))

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``. Not written down: nothing is promised across logs."""
        return self.inner.logs(group)

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        arguments = (from_version, to_version)
        return self._record("versions", log, arguments, lambda: self.inner.versions(log, from_version, to_version))

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``. Not written down: its answer names no head."""
        return key_history(self.inner, log, key)

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        self._record("trim", log, (before,), lambda: self.inner.trim(log, before))

    def close(self) -> None:
        """See ``Backend.close``."""
        self.inner.close()


def _nothing(_call: Call) -> None:
    """The note nobody keeps."""
