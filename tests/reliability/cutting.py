"""Power cuts in a recorded run: every state the disk may be left in is opened and compared with what may be there."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import attrs
from disk import Disk, Files
from recording_vfs import RecordingVFS, recording
from store_states import (
    EMPTY,
    Broken,
    Ledgers,
    Step,
    check_public_view,
    digest,
    random_steps,
    random_transaction,
    read_beside,
    read_plainly,
    write_files,
)

from indelible.backends.sqlite import SQLiteBackend, file

MEMORY = Path("/dev/shm")


@attrs.define
class Counts:
    """What was done."""

    runs: int = 0
    events: int = 0
    cuts: int = 0
    states: int = 0
    by_backend: int = 0
    second: int = 0
    third: int = 0
    lost: list[str] = attrs.field(factory=list)

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in attrs.fields(Counts)))


@attrs.define
class Cutter:
    """Records workloads in a folder of its own and opens what power cuts leave of them.

    Each distinct content of the folder is opened once and counted once, whatever number of cuts leads to it; each cut
    is then judged on what was found. ``plainly`` is the share of states that are recovered and read with SQLite alone,
    as read-only tools would; all others are opened by the backend, fence and all, and read beside it.
    """

    path: str
    rng: random.Random
    effort: int = 2
    early: bool = False
    plainly: float = 0.25
    again: float = 0.004
    counts: Counts = attrs.field(factory=Counts)
    known: dict[str, Ledgers] = attrs.field(factory=dict)
    _found: dict[bytes, str] = attrs.field(factory=dict)

    def record(self, count: int) -> list[tuple]:
        """Run a random workload; what may be read is noted before and after every step of it."""
        write_files(self.path, {})
        self.known = {EMPTY: {}}
        self._found.clear()
        self.counts.runs += 1
        with recording(self.path) as vfs:
            vfs.events.append(("allow", frozenset({EMPTY})))
            backend, state = SQLiteBackend(self.path), EMPTY
            for step, ledgers, answer in random_steps(self.rng, count):
                backend, state = self._step(vfs, backend, state, step, ledgers, answer)
            backend.close()
        self.counts.events += len(vfs.events)
        return vfs.events

    def _step(
        self, vfs: RecordingVFS, backend: SQLiteBackend, state: str, step: Step, ledgers: Ledgers, answer: str
    ) -> tuple[SQLiteBackend, str]:
        after = digest(ledgers)
        self.known[after] = ledgers
        vfs.events.append(("allow", frozenset({after} if self.early else {state, after})))
        if step.kind == "reopen":
            backend.close()
            backend = SQLiteBackend(self.path)
        elif (actual := step.perform(backend)) != answer:
            raise Broken(f"{step.kind} was answered {actual!r} and not {answer!r}")
        vfs.events.append(("allow", frozenset({after})))
        return backend, after

    def cut(self, events: list[tuple], disk: Disk | None = None, start: int = 0, generation: int = 1) -> None:
        """Cut the power after every event from ``start`` on, ``disk`` being how the disk was then."""
        disk = disk or Disk()
        allowed: frozenset[str] = frozenset({EMPTY})
        for event in events[:start]:
            allowed = event[1] if event[0] == "allow" else allowed
        for place, event in enumerate(events[start:], start):
            if event[0] == "allow":
                allowed = event[1]
            else:
                disk.apply(event)
            effort = self.effort if generation == 1 else 1
            for files in disk.after_power_cut(self.rng, effort):
                self._judge(files, allowed, f"generation {generation}, after event {place} {event[:2]}")
                if generation < 3 and self.rng.random() < self.again / 4 ** (generation - 1):
                    self._cut_again(files, Disk(files), Disk(files).events(), allowed, generation)
            # Killed here instead: all that was written is seen by whoever opens it next, and may not be on the disk.
            if generation == 1 and self.rng.random() < self.again * 8:
                self._cut_again(disk.unchanged(), copy.deepcopy(disk), events[: place + 1], allowed, generation)

    def _cut_again(
        self, files: Files, disk: Disk, events: list[tuple], allowed: frozenset[str], generation: int
    ) -> None:
        """Open what was left, show it, write to it, and cut the power somewhere in all that."""
        write_files(self.path, files)
        with recording(self.path, [*events, ("allow", allowed)]) as vfs:
            backend = SQLiteBackend(self.path)
            state = read_beside(self.path)
            if state not in allowed:
                self._lose(f"opened in generation {generation}", allowed)
                backend.close()
                return
            # It was seen, so it may not vanish, whoever was told what before.
            vfs.events.append(("allow", frozenset({state})))
            check_public_view(backend, self.known[state])
            for log in sorted(self.known[state])[:1]:
                step = Step("update", log, random_transaction(self.rng), attempt=self.rng.choice((1, 2)))
                ledgers, answer = step.judge(self.known[state])
                backend, state = self._step(vfs, backend, state, step, ledgers, answer)
            backend.close()
        self.cut(vfs.events, disk, len(events), generation + 1)
        if generation == 1:
            self.counts.second += 1
        else:
            self.counts.third += 1

    def _judge(self, files: Files, allowed: frozenset[str], where: str) -> None:
        self.counts.cuts += 1
        name = _name_of(files)
        if name not in self._found:
            self.counts.states += 1
            self._found[name] = self._open(files)
        if self._found[name] not in allowed:
            self._lose(where, allowed, self._found[name])

    def _open(self, files: Files) -> str:
        write_files(self.path, files)
        try:
            if self.rng.random() < self.plainly:
                return read_plainly(self.path)
            self.counts.by_backend += 1
            backend = SQLiteBackend(self.path)
            with contextlib.closing(backend):
                return read_beside(self.path)
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"

    def _lose(self, where: str, allowed: frozenset[str], found: str = "") -> None:
        heads = {name: it.head for name, it in self.known[found].items()} if found in self.known else found
        wanted = [{name: it.head for name, it in self.known[state].items()} for state in allowed]
        self.counts.lost.append(f"{where}: found {heads}, allowed {wanted}")


def _name_of(files: Files) -> bytes:
    name = hashlib.blake2b(digest_size=16)
    for part in sorted(files):
        name.update(b"%d %d " % (len(part), len(files[part])) + part.encode() + files[part])
    return name.digest()


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """The path of a database in a new folder in memory; checkpoints come often within it."""
    where = MEMORY if MEMORY.is_dir() else None
    often = mock.patch.dict(file._SETTINGS, {"wal_autocheckpoint": 24})
    with tempfile.TemporaryDirectory(prefix="indelible-", dir=where) as made, often:
        yield f"{made}/store.db"


def cut_until(seed: int, states: int, steps: int) -> Counts:
    """Record and cut workloads of so many steps until so many states were opened, or something was lost."""
    with folder() as path:
        cutter = Cutter(path, random.Random(seed))
        while cutter.counts.states < states and not cutter.counts.lost:
            cutter.cut(cutter.record(steps))
        return cutter.counts
