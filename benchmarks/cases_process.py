"""What it costs a program to have it: importing, and memory."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import indelible
from benchmarks import samples
from benchmarks.run import Run
from benchmarks.table import Row
from benchmarks.timing import summary
from indelible import Insert, Transaction
from indelible.backends import MemoryBackend

OURS, THEIRS = "import indelible", "import attrs, cattrs, urllib3"
LINUX = sys.platform == "linux"


def importing(run: Run) -> Iterator[Row]:
    """A whole process that imports, less one that does nothing, with the bytecode there from a first time."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    package = str(Path(indelible.__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))

    def process(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], env=environment, cwd=run.folder, check=True)
        return time.perf_counter() - start

    for code in (OURS, THEIRS, "pass"):
        process(code)
    quick = run.effort.budget == 0
    turns = [(process(OURS), process(THEIRS), process("pass")) for _ in range(2 if quick else 25)]
    # A process that does nothing may take longer than one that does something, on a machine that is busy.
    least = 1e-4
    found = summary([(max(ours - idle, least), max(theirs - idle, least)) for ours, theirs, idle in turns])
    bare = _most(environment, "pass") if LINUX else 0
    peaks = [_most(environment, code) - bare if LINUX else None for code in (OURS, THEIRS)]
    yield Row(
        OURS + ", bytecode warm",
        THEIRS,
        found.ours,
        found.theirs,
        found.ratio,
        found.quartiles,
        found.turns,
        1.5,
        peak_ours=peaks[0],
        peak_theirs=peaks[1],
    )


_TELL = "; print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def _most(environment: dict[str, str], code: str) -> int:
    """The most memory that a process running ``code`` had, as Linux tells it."""
    told = subprocess.run(
        [sys.executable, "-c", code + _TELL], env=environment, check=True, capture_output=True, text=True
    )
    return int(told.stdout.split()[-2]) * 1024


def memory(run: Run) -> Iterator[Row]:
    """Bytes held for each live entry, written ten a transaction, receipts and versions included."""
    count = run.sizes.held
    numbers = range(count)

    def ours() -> object:
        backend = MemoryBackend()
        backend.create("log")
        for start in range(0, count, 10):
            backend.update("log", Transaction([Insert(*samples.encoded(n)) for n in numbers[start : start + 10]]))
        return backend

    held = [_held(ours), _held(lambda: dict(samples.encoded(number) for number in numbers))]
    ratio = held[0][0] / held[1][0]
    yield Row(
        f"memory for each live entry, of {count:,}, memory backend",
        "a dict of the same bytes",
        held[0][0] / count,
        held[1][0] / count,
        ratio,
        (ratio, ratio),
        1,
        4.0,
        unit="B",
        peak_ours=held[0][1],
        peak_theirs=held[1][1],
    )


def _held(make: Callable[[], Any]) -> tuple[int, int]:
    """Bytes that what ``make`` gives holds on to, and the most that there were on the way."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = make()
        gc.collect()
        now, most = tracemalloc.get_traced_memory()
        del kept
        return now - before, most - before
    finally:
        tracemalloc.stop()
