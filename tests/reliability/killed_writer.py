"""A process that writes to a store, tells each step before and each answer after, and is killed at some moment."""

from __future__ import annotations

import itertools
import os
import random
import signal
from multiprocessing.connection import Connection
from typing import NoReturn

import attrs
from recording_vfs import Fault, RecordingVFS, recording
from store_states import LOGS, Step, random_transaction

from indelible import seams
from indelible.backends.sqlite import SQLiteBackend


@attrs.frozen
class Death:
    """When to die: at the ``nth`` time of a failpoint or an operation of the storage; of neither, when killed.

    With ``failing``, the first sync of each update fails, so that what follows an error is reached.
    """

    failpoint: str = ""
    operation: str = ""
    nth: int = 1
    failing: bool = False


def die() -> NoReturn:
    """Be killed, at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed, and still here")


def write(pipe: Connection, path: str, seed: int, death: Death) -> None:
    """Open the store and write to it until killed, or for a hundred steps."""
    visits = itertools.count(1)

    def visit() -> None:
        if next(visits) == death.nth:
            die()

    if death.failpoint:
        seams.armed[death.failpoint] = visit
    if not death.operation and not death.failing:
        _write(pipe, path, seed)
        return
    with recording(path) as vfs:
        if death.operation:
            vfs.fault = Fault(death.operation, death.nth, act=die)
        _write(pipe, path, seed, vfs if death.failing else None)


def _write(pipe: Connection, path: str, seed: int, failing: RecordingVFS | None = None) -> None:
    rng = random.Random(seed)
    backend = SQLiteBackend(path)
    pipe.send("opened")
    for _ in range(100):
        step = _next(rng, backend)
        pipe.send(step)
        if step.kind == "reopen":
            backend.close()
            backend = SQLiteBackend(path)
        if failing is not None:
            failing.fault = Fault("sync", 1) if step.kind == "update" else None
        pipe.send(step.perform(backend))
    backend.close()


def _next(rng: random.Random, backend: SQLiteBackend) -> Step:
    heads = {info.name: info.head for info in backend.logs()}
    absent = [log for log in LOGS if log not in heads]
    draw = rng.random()
    if not heads or (absent and draw < 0.1):
        return Step("create", absent[0])
    log = rng.choice(sorted(heads))
    if draw < 0.2:
        return Step("reopen")
    if draw < 0.3 and heads[log] > 2:
        return Step("trim", log, before=rng.randint(2, heads[log]))
    return Step("update", log, random_transaction(rng), attempt=rng.choice((1, 1, 1, 2)))
