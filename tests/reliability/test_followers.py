"""Who waits for a log to change gets every version: in order, once, none missed, whole, and again after a stop (S13)."""

from __future__ import annotations

import random
from pathlib import Path

import attrs
import pytest
from actors import plain, sealed, sqlite
from crews import Slot, see_through, together
from effort import minimum
from followers import Following, Step, Writing, check, follow, read, write
from settings import folder, impatient

from indelible.backends.memory import MemoryBackend
from indelible.changes import Added

pytestmark = pytest.mark.timeout(1800)

__all__ = ["folder", "impatient"]  # fixtures

LOG = "followed"
WRITERS, FOLLOWERS, TURNS = 4, 4, 40

# Versions delivered, over all followers of a setting.
LEAST = minimum(20_000, 1_000)


def by_threads(open, log: str) -> int:
    """Four write and four follow, each of whom must get it all; how many versions were delivered."""
    open().create(log)
    told: list[list[Step]] = [[] for _ in range(FOLLOWERS)]
    head = WRITERS * TURNS
    together(
        *(lambda it=it: write(open(), log, it, TURNS) for it in range(WRITERS)),
        *(
            lambda it=it: follow(open, log, head, random.Random(f"{log} {it}"), told[it].append)
            for it in range(FOLLOWERS)
        ),
    )
    for steps in told:
        check(steps, head)
    return head * FOLLOWERS


def by_processes(folder: Path, log: str, wrap) -> tuple[int, int]:
    """The same as processes, some of them killed and followed by others; versions delivered, and kills."""
    path, head = str(folder / "logs.db"), WRITERS * TURNS
    first = wrap(sqlite(path))
    first.create(log)
    rng = random.Random(log)
    files = [folder / f"{log} follower {it}" for it in range(FOLLOWERS)]
    work = [Writing(path, log, it, TURNS, folder / f"{log} writer {it}", wrap) for it in range(WRITERS)]
    work += [Following(path, log, head, file, wrap) for file in files]
    kills = see_through(
        [Slot(it.work, [rng.uniform(0, 0.1) for _ in range(rng.randrange(3))], it.file.exists) for it in work]
    )
    for file in files:
        check(read(file), head)
    # S16: what was sent again after a kill took effect once.
    assert first.describe(log).head == head
    first.close()
    return head * FOLLOWERS, kills


@pytest.mark.parametrize("wrap", [plain, sealed], ids=["plain", "sealed"])
@pytest.mark.parametrize("where", ["memory", "file"])
def test_threads_follow(tally, folder, where, wrap):
    """S13: threads that follow in memory or on a file, shared or newly opened, miss nothing and get nothing twice."""
    shared = wrap(MemoryBackend() if where == "memory" else sqlite(str(folder / "logs.db")))
    turns = iter(range(10**9))

    def open():
        # Every fourth store on the file is one of its own, which hears of commits only by looking.
        return wrap(sqlite(str(folder / "logs.db"))) if where == "file" and next(turns) % 4 == 0 else shared

    count = round_ = 0
    while count < LEAST:
        count += by_threads(open, f"{LOG} {(round_ := round_ + 1)}")
    tally(f"versions followed by threads, {where}, {wrap.__name__}", count, LEAST, f"{round_} logs, 4 write, 4 follow")


@pytest.mark.parametrize("wrap", [plain, sealed], ids=["plain", "sealed"])
def test_processes_follow(tally, folder, wrap):
    """S13, S16, S21: processes that follow, killed and resumed, miss nothing; nor is what was sent again there twice."""
    count = kills = round_ = 0
    while count < LEAST or not kills:
        delivered, killed = by_processes(folder, f"{LOG} {(round_ := round_ + 1)}", wrap)
        count, kills = count + delivered, kills + killed
    more = f"{round_} logs, 4 write, 4 follow, {kills} processes killed"
    tally(f"versions followed by processes, {wrap.__name__}", count, LEAST, more)


class Skipping(MemoryBackend):
    """A wait gives only the newest version."""

    def diff(self, log, request):
        page = super().diff(log, request)
        return attrs.evolve(page, changes=tuple(it for it in page.changes if it.version == page.to_version))


class Repeating(MemoryBackend):
    """A wait gives the version it starts from once more."""

    def diff(self, log, request):
        page = super().diff(log, request)
        again = super().diff(log, attrs.evolve(request, from_version=max(0, page.from_version - 1), wait_seconds=0.0))
        return attrs.evolve(again, from_version=page.from_version)


class Tearing(MemoryBackend):
    """A wait leaves the last change for the next."""

    def diff(self, log, request):
        page = super().diff(log, request)
        return attrs.evolve(page, changes=page.changes[:-1])


class Jumping(MemoryBackend):
    """A page says that it leads further than it does."""

    def diff(self, log, request):
        page = super().diff(log, request)
        return attrs.evolve(page, to_version=super().describe(log).head)


@pytest.mark.parametrize("kind", [Skipping, Repeating, Tearing, Jumping])
def test_a_broken_follow_is_seen(kind):
    """Control: versions that are skipped, repeated or torn, and an end that was not reached, are found."""
    with pytest.raises(AssertionError):
        for turn in range(20):
            backend = kind()
            by_threads(lambda backend=backend: backend, f"{LOG} {turn}")


def test_the_check_of_a_follower_sees_each_fault():
    """Control: of the ways to be told wrongly, each is refused by itself; what is right passes."""

    def both(version):
        name = b"0/%d" % version
        return Added(name + b"/a", name, version), Added(name + b"/b", name, version)

    right: list[Step] = [(0, 1, both(1)), (1, 1, ()), (1, 3, (*both(2), *both(3)))]
    check(right, 3)
    wrong = {
        "missed": [right[0], (1, 3, both(3))],
        "twice": [right[0], right[0]],
        "again": [right[0], (1, 3, (*both(1), *both(2), *both(3)))],
        "order": [right[0], (1, 3, (*both(3), *both(2)))],
        "torn": [(0, 1, both(1)[:1]), (1, 3, (*both(1)[1:], *both(2), *both(3)))],
        "gap": [right[0], (2, 3, both(3))],
        "short": right[:2],
        "mixed": [(0, 1, (both(1)[0], Added(b"0/2/b", b"0/2", 1))), *right[1:]],
    }
    for steps in wrong.values():
        with pytest.raises(AssertionError):
            check(steps, 3)
