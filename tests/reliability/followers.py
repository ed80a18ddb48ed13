"""Writers of pairs and those who follow them: every version has two changes, and none is ever undone."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import attrs
import journal
from actors import plain, send, sqlite, unanswered

from indelible.backend import Backend
from indelible.changes import Added, Change
from indelible.commands import Insert, Transaction
from indelible.pages import DiffRequest
from indelible.testing.recorder import Recorder

Step: TypeAlias = tuple[int, int, tuple[Change[bytes, bytes], ...]]
"""What one wait gave: from which version, to which, and all changes of all its pages."""


def pair(writer: int, turn: int) -> Transaction[bytes, bytes]:
    """Two keys that nobody else writes, under an id that tells whose and which."""
    name = b"%d/%d" % (writer, turn)
    return Transaction(
        [Insert(name + b"/a", name), Insert(name + b"/b", name)], id=hashlib.blake2b(name, digest_size=16).digest()
    )


def write(backend: Backend, log: str, writer: int, turns: int) -> None:
    """Every pair of a writer, one after the other."""
    for turn in range(turns):
        assert send(backend, log, pair(writer, turn))


def step(backend: Backend, log: str, version: int, rng: random.Random) -> Step:
    """What comes after a version, waited for, page by page."""
    request = DiffRequest(version, wait_seconds=rng.choice([0.0, 0.01, 10.0]), limit=rng.choice([1, 3, 1000]))
    page = backend.diff(log, request)
    changes = list(page.changes)
    while page.next is not None:
        following = attrs.evolve(request, to_version=page.to_version, wait_seconds=0.0, cursor=page.next)
        page = backend.diff(log, following)
        changes += page.changes
    return page.from_version, page.to_version, tuple(changes)


def follow(
    open: Callable[[], Backend],
    log: str,
    until: int,
    rng: random.Random,
    keep: Callable[[Step], None],
    version: int = 0,
) -> None:
    """Go on from ``version`` until ``until``, now and then stopping and going on through a store newly opened."""
    backend = open()
    while version < until:
        if rng.random() < 0.02:
            backend = open()
        told = step(backend, log, version, rng)
        keep(told)
        version = told[1]


def check(steps: Sequence[Step], head: int) -> None:
    """Raise unless all versions up to ``head`` came: in order, once each, none missed, both changes in one step."""
    version = 0
    for begin, end, changes in steps:
        assert begin == version <= end, "a step does not begin where the one before it ended"
        seen = [change.version for change in changes]
        assert seen == [v for v in range(begin + 1, end + 1) for _ in "ab"], (
            "a version is missing, torn or out of place"
        )
        for first, second in zip(changes[::2], changes[1::2], strict=True):
            assert isinstance(first, Added)
            assert isinstance(second, Added)
            assert (first.key, second.key) == (first.value + b"/a", second.value + b"/b")
            assert first.value == second.value, "changes of two transactions stand under one version"
        version = end
    assert version == head, "the end was not reached"


@attrs.frozen
class Writing:
    """A writer in a process of its own; a later one goes on where a killed one was."""

    path: str
    log: str
    writer: int
    turns: int
    file: Path
    wrap: Callable[[Backend], Backend] = plain

    def work(self) -> None:
        """What was not answered is sent again; then come the pairs that were never sent."""
        before = journal.read(self.file)
        recorder = Recorder(self.wrap(sqlite(self.path)), clock=time.monotonic_ns, note=journal.Journal(self.file))
        for transaction, attempt in unanswered(before):
            assert send(recorder, self.log, transaction, attempt)
        for turn in range(len({call.arguments[0].id for call in before}), self.turns):
            assert send(recorder, self.log, pair(self.writer, turn))


@attrs.frozen
class Following:
    """A follower in a process of its own; a later one goes on from the last version that a killed one wrote down."""

    path: str
    log: str
    until: int
    file: Path
    wrap: Callable[[Backend], Backend] = plain

    def work(self) -> None:
        """Each step is written down before the next is asked for."""
        steps = read(self.file)
        # What a kill cut short is cut off: the step will come again.
        self.file.write_bytes(b"".join(map(pickle.dumps, steps)))
        out = os.open(self.file, os.O_WRONLY | os.O_APPEND)
        follow(
            lambda: self.wrap(sqlite(self.path)),
            self.log,
            self.until,
            random.Random(f"{self.file.name} {len(steps)}"),
            lambda told: os.write(out, pickle.dumps(told)),
            steps[-1][1] if steps else 0,
        )


def read(path: Path) -> list[Step]:
    """The steps that a follower wrote down."""
    steps: list[Step] = []
    if path.exists():
        with path.open("rb") as file:
            while True:
                try:
                    steps.append(pickle.load(file))
                except (EOFError, pickle.UnpicklingError):
                    break
    return steps
