"""What a process did, in a file that outlives it: each call is written down before it is passed on and after."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

from indelible.testing.recorder import Call

BEGUN, ENDED = 0, 1


class Journal:
    """A ``note`` for a ``Recorder`` of one thread. A killed process loses nothing that was written, only its memory."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._begun: Call | None = None

    def __call__(self, call: Call) -> None:
        if self._begun is not call:
            self._begun = call
            self.write(BEGUN, (call.operation, call.log, call.arguments, call.called, call.thread))
        else:
            self.write(ENDED, (call.returned, call.answer, call.error))

    def write(self, kind: int, content: object) -> None:
        """One record, in one write."""
        os.write(self._file, pickle.dumps((kind, content)))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


def read(path: Path) -> list[Call]:
    """The calls in a journal, oldest first; the last may have no answer, and its record may be cut short."""
    calls: list[Call] = []
    file = io.BytesIO(path.read_bytes() if path.exists() else b"")
    while True:
        try:
            kind, content = pickle.load(file)
        except (EOFError, pickle.UnpicklingError):
            return calls
        if kind == BEGUN:
            operation, log, arguments, called, thread = content
            calls.append(Call(operation, log, arguments, called, thread=thread))
        else:
            calls[-1].returned, calls[-1].answer, calls[-1].error = content
