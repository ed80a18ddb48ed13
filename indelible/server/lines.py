"""Lines written for whoever reads them, by a thread: nobody waits for the reader."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from typing import IO, Final

_MOST: Final = 10_000
"""Lines that wait to be written; whatever comes when there are as many is dropped."""

_PATIENCE_SECONDS: Final = 1.0


class Lines(logging.Handler):
    """Writes each record to ``stream`` as a line of ``form``, in order and soon.

    A reader that takes nothing, such as a full pipe or a stopped terminal, loses lines and stops nobody. At the end of
    the process what is left is written, as far as that takes no longer than a second.
    """

    def __init__(self, stream: IO[str] | None, form: str) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(form))
        self._number = _descriptor(stream)
        self._lines = queue.Queue[str](_MOST)
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``. Never blocks."""
        if self._number is None:
            return
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, args=(self._number,), name="lines", daemon=True)
            self._writer.start()
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(f"{self.format(record)}\n")

    def flush(self) -> None:
        """Wait until all is written, a second at most; at the end of the process, this is called."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def _write(self, number: int) -> None:
        while True:
            line = self._lines.get().encode(errors="replace")
            # Nobody may read any more. And past the stream's own buffer: whoever waits for a reader would hold its
            # lock, which the end of the process waits for.
            with contextlib.suppress(OSError):
                while line:
                    line = line[os.write(number, line) :]
            self._lines.task_done()


def _descriptor(stream: IO[str] | None) -> int | None:
    """Where a stream writes to; None if it is no file. One that was closed at the start may be another file by now."""
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
