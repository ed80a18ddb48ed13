"""One workload, one fault: what each answer then means, live, after a kill and after a power cut."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import apsw
import attrs
from cutting import folder
from disk import Disk
from recording_vfs import OPERATIONS, Fault, RecordingVFS, recording
from store_states import (
    EMPTY,
    Broken,
    Ledgers,
    Step,
    check_public_view,
    digest,
    random_steps,
    read_beside,
    read_plainly,
    write_files,
)

from indelible.backends.sqlite import SQLiteBackend
from indelible.errors import NotExecuted, OutcomeUnknown, UnsuitableStore

NOT_EXECUTED, UNKNOWN, ANSWERED = "not executed", "outcome unknown", "answered"


@attrs.define
class Counts:
    """What was done."""

    faults: int = 0
    answered: int = 0
    not_executed: int = 0
    unknown: int = 0
    states: int = 0
    unborn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in attrs.fields(Counts)))


class Trial:
    """A workload under one fault: each step is sent again until it is answered, and each error is looked into."""

    def __init__(self, path: str, vfs: RecordingVFS, rng: random.Random, counts: Counts) -> None:
        self._path = path
        self._vfs = vfs
        self._rng = rng
        self._counts = counts
        self._backend: SQLiteBackend | None = None
        self._disk = Disk()
        self._replayed = 0

    def run(self, steps: list[tuple[Step, Ledgers, str]]) -> None:
        """Take every step, then close, cut the power and look once more."""
        state = EMPTY
        ledgers: Ledgers = {}
        for step, ledgers, answer in steps:
            after = digest(ledgers)
            self._take(step, answer, state, after)
            state = after
        if self._backend is not None:
            with contextlib.suppress(NotExecuted):
                check_public_view(self._backend, ledgers)
        self._look(frozenset({state}), "at the end")
        if self._backend is not None:
            self._backend.close()
        self._look(frozenset({state}), "closed")

    def _take(self, step: Step, answer: str, before: str, after: str) -> None:
        """One step until it is answered. A fault for ever outlasts one more attempt, and is then over."""
        verdict, actual = self._attempt(step)
        # Creating and trimming again is the same as once, so an error need not say whether it happened.
        either = step.kind in {"create", "trim"}
        sent = 1
        allowed = frozenset({before})
        while verdict != ANSWERED:
            if verdict == UNKNOWN or either:
                # From now on "not executed" can only speak of the later attempts.
                allowed = frozenset({before, after})
            self._look(allowed, f"{step.kind} was answered {verdict}: {actual}")
            if sent >= 2:
                self._vfs.fault = None
            if sent >= 4:
                raise Broken(f"{step.kind} still {verdict}, long after the fault was over: {actual}")
            sent += 1
            verdict, actual = self._attempt(attrs.evolve(step, attempt=step.attempt + sent - 1))
        if actual != answer:
            raise Broken(f"{step.kind} was answered {actual!r} and not {answer!r}, sent {sent} times")
        if sent > 1 and (state := read_beside(self._path)) != after:
            raise Broken(f"{step.kind} was done after {sent} attempts, and the store is in state {state}")

    def _attempt(self, step: Step) -> tuple[str, str]:
        """Send it once: what it came to, and the answer or error. Anything but our own errors goes through."""
        hits = self._vfs.fault.hits if self._vfs.fault else 0
        try:
            if step.kind == "reopen" and self._backend is not None:
                self._backend.close()
                self._backend = None
            if self._backend is None:
                self._backend = SQLiteBackend(self._path)
            actual = step.perform(self._backend)
        except (NotExecuted, UnsuitableStore) as error:
            if isinstance(error, UnsuitableStore) and self._backend is not None:
                raise
            self._counts.not_executed += 1
            return NOT_EXECUTED, f"{type(error).__name__}: {error}"
        except OutcomeUnknown as error:
            if error.transaction != step.transaction or error.attempt != step.attempt:
                raise Broken("OutcomeUnknown carries another transaction or attempt") from error
            self._counts.unknown += 1
            return UNKNOWN, str(error)
        if self._vfs.fault is not None and self._vfs.fault.hits > hits:
            self._counts.answered += 1
        return ANSWERED, actual

    def _look(self, allowed: frozenset[str], where: str) -> None:
        """What readers see now is allowed, and so is what is left by a kill or a power cut at this moment."""
        if self._backend is not None and (state := read_beside(self._path)) not in allowed:
            raise Broken(f"{where}; what is seen now is neither what was nor what was asked for ({state})")
        for event in self._vfs.events[self._replayed :]:
            self._disk.apply(event)
        self._replayed = len(self._vfs.events)
        for files in [self._disk.unchanged(), *self._disk.after_power_cut(self._rng, 1)]:
            self._counts.states += 1
            write_files(f"{self._path}.cut", files)
            try:
                state = read_plainly(f"{self._path}.cut")
            except (apsw.NotADBError, apsw.CorruptError):
                # The very first page did not come whole to the disk: nothing was acknowledged, and nothing is lost.
                if EMPTY not in allowed:
                    raise
                self._counts.unborn += 1
                continue
            if state not in allowed:
                raise Broken(f"{where}; a kill or a power cut then left what is neither: {state}")


def faults(rng: random.Random) -> Iterator[tuple[str, str, bool]]:
    """Every kind of fault, in an order of its own."""
    kinds = [(op, error, forever) for op in OPERATIONS for error in ("EIO", "ENOSPC") for forever in (False, True)]
    yield from rng.sample(kinds, len(kinds))


def fail_everywhere(seed: int, count: int, stride: int) -> Counts:
    """Workloads, each run with every kind of fault at every ``stride``-th place, until so many faults were injected."""
    counts = Counts()
    rng = random.Random(seed)
    with folder() as path:
        while counts.faults < count:
            steps = list(random_steps(rng, 12))
            for kind in faults(rng):
                # Rare operations are all tried, however great the stride.
                pace = stride if kind[0] in {"write", "sync"} else 1
                nth = rng.randint(1, pace)
                while fail_at(path, steps, nth, kind, rng, counts):
                    nth += pace
    return counts


def fail_at(
    path: str,
    steps: list[tuple[Step, Ledgers, str]],
    nth: int,
    kind: tuple[str, str, bool],
    rng: random.Random,
    counts: Counts | None = None,
) -> bool:
    """Run the workload with a fault at the ``nth`` place; whether there was such a place. Raises ``Broken``."""
    operation, error, forever = kind
    counts = counts or Counts()
    write_files(path, {})
    fault = Fault(operation, nth, error, forever)
    with recording(path) as vfs:
        vfs.fault = fault
        try:
            Trial(path, vfs, rng, counts).run(steps)
        except Exception as failure:
            failure.add_note(f"{fault}")
            raise
    counts.faults += fault.hits > 0
    return fault.hits > 0
