"""What a process did, in a file that outlives it: each call is written down before it is passed on and after."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indelible.testing.recorder import Call

BEGUN, ENDED = 0, 1

_LENGTH = struct.Struct(">I")


class Journal:
    """A ``note`` for a ``Recorder`` of one thread. A killed process loses nothing that was written, only its memory.

    What an earlier owner was killed in the middle of writing is taken away: what it says has not begun, or not ended.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.ftruncate(self._file, max((end for _, end in _records(path)), default=0))
        self._begun: Call | None = None

    def __call__(self, call: Call) -> None:
        if self._begun is not call:
            self._begun = call
            self.write(BEGUN, (call.operation, call.log, call.arguments, call.called, call.thread))
        else:
            self.write(ENDED, (call.returned, call.answer, call.error))

    def write(self, kind: int, content: object) -> None:
        """One record, in one write."""
        record = pickle.dumps((kind, content))
        os.write(self._file, _LENGTH.pack(len(record)) + record)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def read(path: Path) -> list[Call]:
    """The calls in a journal, oldest first; the last may have no answer, and its record may be cut short."""
    calls: list[Call] = []
    for (kind, content), _ in _records(path):
        if kind == BEGUN:
            operation, log, arguments, called, thread = content
            calls.append(Call(operation, log, arguments, called, thread=thread))
        else:
            calls[-1].returned, calls[-1].answer, calls[-1].error = content
    return calls


def _records(path: Path) -> Iterator[tuple[Any, int]]:
    """The whole records, and where each ends."""
    data = path.read_bytes() if path.exists() else b""
    end = 0
    while len(data) >= (begin := end + _LENGTH.size):
        end = begin + _LENGTH.unpack_from(data, end)[0]
        if end > len(data):
            return
        yield pickle.loads(data[begin:end]), end
