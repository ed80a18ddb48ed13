"""Backends that wrap another and make it worse, to try how callers cope: slow, forgetful of answers, read-only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from indelible.backend import Backend, key_history
from indelible.changes import Revision
from indelible.commands import Transaction
from indelible.errors import IndelibleError, InvalidRequest, NotExecuted, OutcomeUnknown
from indelible.pages import DiffRequest, Page
from indelible.records import Committed, LogInfo, VersionInfo

When: TypeAlias = Callable[[str, Transaction[bytes, bytes], int], bool]
"""Whether something is to happen to this update: its log, its transaction, its attempt."""


class WithoutKeyHistory:
    """Passes every call on, and has nothing beyond the protocol ``Backend``."""

    def __init__(self, backend: Backend) -> None:
        self.inner = backend

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        self.inner.create(log, group)

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        return self.inner.update(log, transaction, attempt)

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        return self.inner.diff(log, request)

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        return self.inner.describe(log)

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        return self.inner.logs(group)

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        return self.inner.versions(log, from_version, to_version)

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        self.inner.trim(log, before)

    def close(self) -> None:
        """See ``Backend.close``."""
        self.inner.close()


class Passing(WithoutKeyHistory):
    """Passes every call on, key histories too; the base of what changes one of them."""

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``; where the inner backend has none of its own, the walk over its versions."""
        return key_history(self.inner, log, key)


class Latency(Passing):
    """Every call takes longer: half of the seconds before it is passed on, half before its answer is.

    ``seconds`` is a number or a function that gives one for each call. Closing is not delayed.
    """

    def __init__(self, backend: Backend, seconds: float | Callable[[], float]) -> None:
        super().__init__(backend)
        self._seconds = seconds

    @contextlib.contextmanager
    def _slowly(self) -> Iterator[None]:
        half = (self._seconds() if callable(self._seconds) else self._seconds) / 2
        time.sleep(half)
        try:
            yield
        finally:
            time.sleep(half)

    def create(self, log: str, group: str | None = None) -> None:
        """See ``Backend.create``."""
        with self._slowly():
            super().create(log, group)

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        with self._slowly():
            return super().update(log, transaction, attempt)

    def diff(self, log: str, request: DiffRequest) -> Page:
        """See ``Backend.diff``."""
        with self._slowly():
            return super().diff(log, request)

    def describe(self, log: str) -> LogInfo:
        """See ``Backend.describe``."""
        with self._slowly():
            return super().describe(log)

    def logs(self, group: str | None = None) -> Sequence[LogInfo]:
        """See ``Backend.logs``."""
        with self._slowly():
            return super().logs(group)

    def versions(self, log: str, from_version: int = 0, to_version: int | None = None) -> Sequence[VersionInfo]:
        """See ``Backend.versions``."""
        with self._slowly():
            return super().versions(log, from_version, to_version)

    def trim(self, log: str, before: int) -> None:
        """See ``Backend.trim``."""
        with self._slowly():
            super().trim(log, before)

    def history(self, log: str, key: bytes) -> Sequence[Revision[bytes, bytes]]:
        """See ``KeyHistory.history``."""
        with self._slowly():
            return super().history(log, key)


class LostAnswers(Passing):
    """Some updates are carried out and their answer is lost: the caller gets ``OutcomeUnknown``.

    ``when`` says which. A rejection is lost as a commit is; only what never left the caller, an ``InvalidRequest``,
    still comes back.
    """

    def __init__(self, backend: Backend, when: When) -> None:
        super().__init__(backend)
        self._when = when

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:
        """See ``Backend.update``."""
        if not self._when(log, transaction, attempt):
            return super().update(log, transaction, attempt)
        try:
            super().update(log, transaction, attempt)
        except InvalidRequest:
            raise
        except IndelibleError:
            pass
        raise OutcomeUnknown(log, transaction, attempt, "a test lost the answer")


class ReadOnly(Passing):
    """Reads are passed on; ``create``, ``update`` and ``trim`` raise ``NotExecuted`` and change nothing."""

    def create(self, log: str, group: str | None = None) -> None:  # noqa: ARG002 (refused unread)
        """Raise ``NotExecuted``."""
        raise NotExecuted(_READ_ONLY)

    def update(self, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed:  # noqa: ARG002 (refused unread)
        """Raise ``NotExecuted``."""
        raise NotExecuted(_READ_ONLY)

    def trim(self, log: str, before: int) -> None:  # noqa: ARG002 (refused unread)
        """Raise ``NotExecuted``."""
        raise NotExecuted(_READ_ONLY)


_READ_ONLY = "this backend was opened for reading; write through another"
