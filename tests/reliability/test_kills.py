"""Killed processes: what was acknowledged is there, what was in flight is there whole or not at all (S15, S16, S21).

Processes write to one file after another until they are killed with SIGKILL: at random, at every failpoint of the
backend, and at writes, syncs and truncations within SQLite. Each file survives several of them.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cutting import folder
from effort import PROCESSES, minimum
from killed_writer import Death, write
from store_states import Ledgers, Step, check_public_view, digest, read_beside, write_files

import indelible.backends.sqlite
from indelible.backends.sqlite import SQLiteBackend

Tally = Callable[[str, int, int, str], None]

# Nothing acknowledged waits for a backup: tests/test_backup.py kills those.
FAILPOINTS = sorted(
    {
        name
        for source in Path(indelible.backends.sqlite.__file__).parent.glob("*.py")
        for name in re.findall(r'seams\.failpoint\("([a-z.]+)"\)', source.read_text())
        if source.stem != "backup"
    }
)
LIVES = 8
"""Kills that one file survives before the next file is begun."""


def _deaths(rng: random.Random, least: int) -> Iterator[Death]:
    """Every failpoint first, then at random: a third each at failpoints, at operations of the storage, by another."""
    yield from (_at(name, 1) for name in FAILPOINTS)
    yield from (Death(operation=operation) for operation in ("write", "sync", "truncate"))
    for _ in range(least - len(FAILPOINTS) - 3):
        kind = rng.randrange(3)
        if kind == 0:
            yield _at(rng.choice(FAILPOINTS), rng.randint(1, 3))
        elif kind == 1:
            operation, most = rng.choice((("write", 120), ("sync", 20), ("truncate", 3)))
            yield Death(operation=operation, nth=rng.randint(1, most))
        else:
            yield Death()


def _at(failpoint: str, nth: int) -> Death:
    """A death at a failpoint; what only follows an error is reached by one."""
    return Death(failpoint, failing=True) if failpoint == "sqlite.settle" else Death(failpoint, nth=nth)


class Survivor:
    """One file through several deaths, and what it must hold."""

    def __init__(self, path: str, rng: random.Random) -> None:
        self.path = path
        self.rng = rng
        self.ledgers: Ledgers = {}
        self.acknowledged: list[tuple[Step, str]] = []
        write_files(path, {})

    def die(self, death: Death) -> bool:
        """Let a process write until it dies, and check what it left; whether it was killed."""
        ours, theirs = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=write, args=(theirs, self.path, self.rng.randrange(2**32), death))
        process.start()
        theirs.close()
        if death == Death():
            # From before it has opened the store to some dozen steps later.
            if self.rng.random() < 0.8:
                ours.poll(10)
            time.sleep(self.rng.random() * 0.03)
            process.kill()
        in_flight = self._listen(ours)
        process.join()
        assert process.exitcode in {0, -signal.SIGKILL}
        self._check(in_flight)
        return process.exitcode != 0

    def _listen(self, pipe) -> Step | None:
        """Take in every step that was answered; the one that was not."""
        in_flight: Step | None = None
        with pipe:
            while True:
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    # A step of which only a part was told was not begun.
                    return in_flight
                if isinstance(message, Step):
                    in_flight = message
                elif in_flight is not None:
                    self.ledgers, answer = in_flight.judge(self.ledgers)
                    assert message == answer, in_flight
                    if in_flight.kind == "update":
                        self.acknowledged.append((in_flight, answer))
                    in_flight = None

    def _check(self, in_flight: Step | None) -> None:
        """All that was acknowledged is there, and the transactions' ids answer as before (S16)."""
        backend = SQLiteBackend(self.path)
        before = digest(self.ledgers)
        after = digest(in_flight.judge(self.ledgers)[0]) if in_flight else before
        state = read_beside(self.path)
        assert state in {before, after}, in_flight
        if state == after and in_flight:
            self.ledgers, _ = in_flight.judge(self.ledgers)
        check_public_view(backend, self.ledgers)
        for step, answer in [*self.acknowledged[-3:], *self.rng.sample(self.acknowledged, len(self.acknowledged) // 8)]:
            if answer.startswith("version") and answer.endswith("changed True"):
                assert step.perform(backend) == answer
                assert backend.update(step.log, step.transaction, 2).replayed
        assert read_beside(self.path) == digest(self.ledgers)
        if in_flight and in_flight.kind != "reopen":
            self._send_again(backend, in_flight)
        backend.close()

    def _send_again(self, backend: SQLiteBackend, step: Step) -> None:
        """What was in flight is answered again if it was there, or takes effect just once."""
        again = Step(step.kind, step.log, step.transaction, 2, step.before)
        self.ledgers, answer = again.judge(self.ledgers)
        for _ in range(2):
            assert again.perform(backend) == answer
            assert read_beside(self.path) == digest(self.ledgers)


@pytest.mark.timeout(900)
def test_a_killed_process_loses_nothing_acknowledged(tally: Tally) -> None:
    """After a kill all that was acknowledged is there, at most what was in flight more, and ids answer (S16, S21)."""
    least = minimum(400, 60)
    seed = random.SystemRandom().randrange(2**32)
    rng = random.Random(seed)
    began = time.monotonic()
    kills: Counter[str] = Counter()
    steps = files = 0
    with folder() as path:
        survivor = Survivor(path, rng)
        for number, death in enumerate(_deaths(rng, least)):
            # What happens once in a file's life needs a new one.
            if number % LIVES == 0 or death.failpoint == "sqlite.migrate":
                survivor, files = Survivor(path, rng), files + 1
            before = len(survivor.acknowledged)
            killed = survivor.die(death)
            steps += len(survivor.acknowledged) - before
            kills[death.failpoint or death.operation or "at random"] += killed
    missed = [name for name in FAILPOINTS if not kills[name]]
    assert not missed, f"nothing died at {missed}; seed {seed}"
    tally(
        "kills",
        kills.total(),
        minimum(300, 40),
        f"{steps:,} updates acknowledged to {files} files; seed {seed}, {time.monotonic() - began:.0f} s; "
        + ", ".join(f"{name} {count}" for name, count in sorted(kills.items())),
    )
