"""Minutes of writing and watching through a faulty way: nothing is missed, told twice or kept for ever (S13, S15, S16)."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import statistics
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import attrs
import pytest
from crews import together
from effort import minimum
from proxy import proxied_apart
from serving import RUN, serving_apart, until
from settings import folder, impatient

from indelible.backend import Backend
from indelible.backends.http import HTTPBackend
from indelible.backends.scoped import ScopedBackend
from indelible.changes import Added, Change, Removed
from indelible.commands import Insert, Transaction, Upsert
from indelible.errors import NotExecuted, OutcomeUnknown
from indelible.pages import DiffRequest
from indelible.records import Committed
from indelible.testing.samples import commit

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="what a process holds is read from /proc"),
]

__all__ = ["folder", "impatient"]  # fixtures

SECONDS = minimum(300, 10)
SAMPLES = 20
COMMITS = minimum(3_000, 100)

LOGS, WRITERS, WATCHERS, CLIENTS = 4, 16, 64, 8
SHARE = 0.02
"""Of all exchanges, these fail."""

TIMEOUT, WAIT = 1.0, 2.0

FRUGAL = """
from indelible.backends.sqlite import file
file._SETTINGS["cache_size"] = -256
"""
"""A store that keeps few pages of its file in memory: filling what it may use would look like growth for an hour."""


@attrs.frozen
class Holding:
    """What a process holds: megabytes, descriptors, threads; and a service its tasks and the logs it listens to."""

    megabytes: float
    descriptors: int
    threads: int
    tasks: float = 0
    polls: float = 0
    logs: float = 0


def holding(pid: int, **more: float) -> Holding:
    """What this process holds now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Holding(
        int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]), **more
    )


def holding_of(service) -> Holding:
    """What the service holds now, by its own count too."""
    names = {"tasks": "indelible_tasks", "polls": "indelible_polls", "logs": "indelible_polled_logs"}
    return holding(service.process.pid, **{name: service.metric(metric) for name, metric in names.items()})


def no_growth(samples: Sequence[Holding]) -> None:
    """Raise if the last third of the samples shows more of anything than the first, beyond what chance explains."""
    third = len(samples) // 3
    for field, slack in attrs.asdict(Holding(8, 48, 8, 64, 8, 0)).items():
        first, last = (
            statistics.median(getattr(it, field) for it in part) for part in (samples[:third], samples[-third:])
        )
        assert last <= first * 1.2 + slack, f"{field} grew from {first} to {last}: {[*map(str, samples)]}"


class Seen:
    """All versions of a log, one after the other; of what they held, only a digest is kept, and the newest counts."""

    def __init__(self) -> None:
        self.version = 0
        self.counts: dict[bytes, bytes] = {}
        self._digest = hashlib.blake2b()

    def take(self, changes: Sequence[Change[bytes, bytes]], until: int) -> None:
        """What came between the last version and ``until``. Raises if a version is missing, again, or out of order."""
        version = self.version
        for it in changes:
            if it.key.startswith(b"n/"):
                assert type(it) is Added, "what nobody removed was removed"
                assert it.version == version + 1, f"{it.version} came after {version}"
                version += 1
                self._digest.update(b"%d %s %s\n" % (it.version, it.key, it.value))
            elif type(it) is Added:
                self.counts[it.key] = it.value
            else:
                assert self.counts.get(it.key) == it.value, "what was not there was removed"
        assert version == until, f"{until} was reached, and {version} is the last that was told"
        self.version = until

    @property
    def state(self) -> tuple[int, dict[bytes, bytes], str]:
        """All that was seen, in a form to compare."""
        return self.version, self.counts, self._digest.hexdigest()


def write(backend: Backend, log: str, name: int, turn: int, counts: Counter[str]) -> None:
    """One transaction, sent until it is known what became of it; it adds a key of its own and counts."""
    sent, attempt = Transaction([Insert(b"n/%d/%d" % (name, turn), b"1"), Upsert(b"%d" % name, b"%d" % turn)]), 1
    while True:
        try:
            answer = backend.update(log, sent, attempt)
        except OutcomeUnknown as error:
            attempt = error.attempt + 1
            counts["outcomes unknown at first"] += 1
        except NotExecuted:
            counts["transactions put off"] += 1
        else:
            assert isinstance(answer, Committed)
            assert answer.changed
            return


def changes_after(backend: Backend, log: str, version: int) -> tuple[list[Change[bytes, bytes]], int]:
    """What came after a version, waited for, on pages; and up to which version. Raises ``NotExecuted``."""
    request = DiffRequest(version, wait_seconds=WAIT, limit=100)
    page = backend.diff(log, request)
    changes = list(page.changes)
    while page.next is not None:
        following = attrs.evolve(request, to_version=page.to_version, wait_seconds=0.0, cursor=page.next)
        page = backend.diff(log, following)
        changes += page.changes
    return changes, page.to_version


@attrs.define
class Soak:
    """Who writes and who watches, each by one of the clients, until the time is over and all was seen."""

    service: object
    store: Backend
    clients: Sequence[Backend]
    over: threading.Event = attrs.field(factory=threading.Event)
    done: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    heads: dict[str, int] = attrs.field(factory=dict)
    counts: Counter[str] = attrs.field(factory=Counter)
    seen: list[Seen] = attrs.field(factory=lambda: [Seen() for _ in range(WATCHERS)])
    samples: list[tuple[Holding, Holding]] = attrs.field(factory=list)

    def write(self, number: int) -> None:
        """Commit after commit."""
        turns = itertools.count()
        try:
            while not self.over.is_set():
                write(self.clients[number % CLIENTS], log_of(number), number, next(turns), self.counts)
        finally:
            self.counts["commits"] += next(turns)
            self.done.release()

    def watch(self, number: int) -> None:
        """Every version of a log, in order, until the last."""
        seen, log = self.seen[number], log_of(number)
        while seen.version != self.heads.get(log):
            try:
                changes, version = changes_after(self.clients[number % CLIENTS], log, seen.version)
            except NotExecuted:
                self.counts["waits put off"] += 1
                continue
            self.counts["wakes" if changes else "waits in vain"] += 1
            seen.take(changes, version)

    def control(self) -> None:
        """See what is held, now and then, until the time is over; then make the last version of each log."""
        try:
            for _ in range(SAMPLES):
                self.over.wait(SECONDS / SAMPLES)
                self.samples.append((holding_of(self.service), holding(os.getpid())))
        finally:
            self.over.set()
            for _ in range(WRITERS):
                self.done.acquire()
            for number in range(LOGS):
                last = commit(self.store, Insert(b"n/last", b"1"), log=log_of(number))
                self.heads[log_of(number)] = last.version

    def run(self) -> None:
        """All of it at once."""
        writers = [functools.partial(self.write, number) for number in range(WRITERS)]
        together(self.control, *writers, *(functools.partial(self.watch, number) for number in range(WATCHERS)))


def log_of(number: int) -> str:
    """The log that this writer or watcher works on."""
    return f"log {number % LOGS}"


def state(store: Backend, log: str) -> tuple[int, dict[bytes, bytes], str]:
    """What everybody should have seen, read from the store at once."""
    seen, page = Seen(), store.diff(log, DiffRequest(limit=2**62, max_bytes=2**62))
    assert page.next is None
    seen.take(page.changes, page.to_version)
    return seen.state


def test_soak(tally, folder):
    """S13, S15, S16: everybody sees every version, once, in order, and the same in the end; and nothing grows."""
    with serving_apart(f"sqlite:///{folder}/logs.db", code=FRUGAL + RUN) as service:
        credentials = service.credentials()
        store = ScopedBackend(service.store, credentials.customer_id)
        for number in range(LOGS):
            store.create(log_of(number))
        before = holding_of(service), holding(os.getpid())
        with proxied_apart(int(service.url.rpartition(":")[2]), 1, SHARE) as proxy, ExitStack() as running:
            url = f"http://127.0.0.1:{proxy.port}"
            clients = [
                running.enter_context(closing(HTTPBackend(url, credentials, timeout=TIMEOUT))) for _ in range(CLIENTS)
            ]
            soak = Soak(service, store, clients)
            soak.run()
        states = [state(store, log_of(number)) for number in range(LOGS)]
        for number, seen in enumerate(soak.seen):
            assert seen.state == states[number % LOGS]
        commits, faults = soak.counts.pop("commits"), proxy.struck.total()
        assert sum(version for version, _, _ in states) == commits + LOGS, "as many versions as were acknowledged"
        for samples in zip(*soak.samples, strict=True):
            no_growth(samples)
        # Whoever went away is forgotten, and what is left is what was there before.
        service.waits(0)
        until(lambda: holding_of(service).tasks <= before[0].tasks and holding_of(service).logs == before[0].logs)
        after = holding_of(service), holding(os.getpid())
        for one, other in zip(before, after, strict=True):
            assert other.descriptors <= one.descriptors + 16
            assert other.threads <= one.threads + 12
    more = f"{SECONDS} s, {WRITERS} write, {WATCHERS} watch, {CLIENTS} clients, {LOGS} logs; "
    more += ", ".join(f"{count:,} {what}" for what, count in sorted(soak.counts.items()))
    more += f"; {faults:,} faults in {proxy.exchanges:,} exchanges"
    for name, (first, last) in zip(("service", "client"), zip(soak.samples[0], soak.samples[-1], strict=True)):
        more += f"; {name} {first.megabytes:.0f} to {last.megabytes:.0f} MB, {first.descriptors} to "
        more += f"{last.descriptors} descriptors, {first.threads} to {last.threads} threads"
    tally("commits in a soak", commits, COMMITS, more)
    assert faults > 0


@pytest.mark.parametrize("field", [field.name for field in attrs.fields(Holding)])
def test_growth_is_seen(field):
    """Control: whatever grows as the time goes by is found, and what goes up and down is not."""
    steady = [attrs.evolve(Holding(60, 80, 20, 130, 64, 5), **{field: 50 + turn % 5}) for turn in range(SAMPLES)]
    no_growth(steady)
    with pytest.raises(AssertionError, match=field):
        no_growth([attrs.evolve(it, **{field: 50 + 10 * turn}) for turn, it in enumerate(steady)])


@pytest.mark.parametrize("wrong", ["missed", "again", "order", "short", "removed"])
def test_the_check_of_a_watcher_sees_each_fault(wrong):
    """Control: a version that is missed, told again, out of order, announced and not told, or taken back, is found."""

    def made(*versions):
        return [Added(b"n/%d" % version, b"1", version) for version in versions]

    right = Seen()
    right.take(made(1, 2), 2)
    right.take([], 2)
    right.take(made(3), 3)
    told = {
        "missed": (made(2), 2),
        "again": (made(1, 1, 2), 2),
        "order": (made(2, 1), 2),
        "short": (made(1), 2),
        "removed": ([*made(1), Removed(b"n/1", b"1", 1)], 1),
    }
    with pytest.raises(AssertionError):
        Seen().take(*told[wrong])
