"""Eight at work through processes of their own, some of which are killed and followed by others."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

import attrs
import journal
from actors import AT_ONCE, Actor, plain, send, sqlite, unanswered
from effort import PROCESSES

from indelible.backend import Backend
from indelible.testing.recorder import Call, Recorder

# The process that makes the others has these imported already; it must not have been started yet.
PROCESSES.set_forkserver_preload(
    ["indelible.backends.sqlite", "indelible.backends.encrypted", "indelible.testing.faults"]
)


def together(*tasks: Callable[[], None]) -> None:
    """Run all at once, each in a thread, and raise what any of them raised."""
    failures: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@attrs.define
class Slot:
    """A place for one process at a time: how long the next ones may live, and who is there."""

    target: Callable[[], Any]
    patience: list[float]
    started: Callable[[], bool]
    process: Any = None
    deadline: float = 0.0

    def step(self) -> int | None:
        """Let time pass: start, kill or replace. How many were killed; None once one came to its end."""
        if self.process is None:
            self.process = PROCESSES.Process(target=self.target, daemon=True)
            self.process.start()
            self.deadline = 0.0
        if not self.process.is_alive():
            assert self.process.exitcode == 0, f"a process ended with an error of its own: {self.process.exitcode}"
            return None
        if not self.patience or not self.started():
            return 0
        # It is given time to begin: one that is killed before shows nothing.
        self.deadline = self.deadline or time.monotonic() + self.patience[0]
        if time.monotonic() < self.deadline:
            return 0
        self.process.kill()
        self.process.join()
        killed = int(self.process.exitcode != 0)
        self.process = None
        self.patience.pop(0)
        return killed


def see_through(slots: list[Slot]) -> int:
    """Run until each slot had a process that came to its end; how many were killed on the way."""
    killed = 0
    left = list(slots)
    while left:
        for slot in list(left):
            step = slot.step()
            killed += step or 0
            if step is None:
                left.remove(slot)
        connection.wait([slot.process.sentinel for slot in left if slot.process], 0.003)
    return killed


@attrs.frozen
class Orders:
    """What a process is to do, in a form that travels to it."""

    path: str
    log: str
    seed: int
    turns: int
    journals: tuple[Path, ...]
    open: Callable[[str], Backend] = sqlite
    wrap: Callable[[Backend], Backend] = plain

    def work(self) -> None:
        """One thread a journal, each with a recorder of its own; what an earlier owner left unanswered comes first."""
        sys.setswitchinterval(0.0001)
        backend = self.wrap(self.open(self.path))
        together(*(lambda path=path: self._act(backend, path) for path in self.journals))

    def _act(self, backend: Backend, path: Path) -> None:
        before = journal.read(path)
        recorder = Recorder(backend, clock=time.monotonic_ns, note=journal.Journal(path))
        for transaction, attempt in unanswered(before):
            send(recorder, self.log, transaction, attempt)
        rng = random.Random(f"{self.seed} {path.name} {len(before)}")
        Actor(recorder, self.log, rng).act(max(0, self.turns - len(before)))


@attrs.frozen
class Crew:
    """Eight at work on a log of their own in one file, as processes of one thread or of several."""

    folder: Path
    seed: int
    threads_each: int = 1
    turns: int = 100
    open: Callable[[str], Backend] = sqlite
    wrap: Callable[[Backend], Backend] = plain

    def work(self) -> tuple[list[Call], int]:
        """What all were told, and how many processes were killed on the way."""
        path, log = str(self.folder / "logs.db"), f"log {self.seed}"
        here = self.folder / log
        here.mkdir()
        recorder = Recorder(self.wrap(sqlite(path)), clock=time.monotonic_ns)
        recorder.create(log)
        rng = random.Random(self.seed)
        slots, journals = [], []
        for first in range(0, AT_ONCE, self.threads_each):
            names = tuple(here / f"{name}.journal" for name in range(first, first + self.threads_each))
            journals += names
            orders = Orders(path, log, self.seed, self.turns, names, self.open, self.wrap)
            patience = [rng.uniform(0, 0.1) for _ in range(rng.randrange(3))]
            slots.append(Slot(orders.work, patience, names[0].exists))
        killed = see_through(slots)
        recorder.versions(log)
        recorder.close()
        return [*recorder.calls, *(call for name in journals for call in journal.read(name))], killed
