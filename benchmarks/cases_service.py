"""The service over HTTP: reading, committing, waking, waiting."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import attrs

import indelible
from benchmarks import etcd, service, swarm
from benchmarks.run import MASTER, Run, batches
from benchmarks.table import Row, timed
from benchmarks.timing import Comparison, Work, compare, quiet, summary
from indelible import Insert, MasterKey, Profile

_CLIENTS = 32


def _profile(place: str, running: service.Running | None = None) -> Profile:
    credentials = {} if running is None else {"customer_id": "bench", "apikey": running.credentials.apikey}
    return Profile(endpoint_url=place, master_key=MasterKey(MASTER), scheme=1, **credentials)


class _Seeds:
    """The client before this one, reading the same log from the same service."""

    def __init__(self, running: service.Running) -> None:
        from indelible_log import Log

        profile = {
            "endpoint_url": running.url,
            "customer_id": "bench",
            "apikey": running.credentials.apikey.reveal().decode(),
            "master_key": MASTER,
        }
        self._log: Any = Log("log", profile)

    def read(self, _: object = None) -> int:
        return sum(1 for _ in self._log)


def read(run: Run) -> Iterator[Row]:
    """All of a log's present, opened and decoded; the keys are those of the client before this one (scheme 1)."""
    sizes = run.sizes
    path = run.fresh("service.db")
    with service.running(path) as running, indelible.connect(_profile(running.url, running)) as client:
        log = client.log("log")
        log.create()
        fresh = batches(sizes.bulk_step)
        for _ in range(sizes.bulk // sizes.bulk_step):
            log.update([Insert(*item) for item in fresh()])
        seed = _Seeds(running)
        # The same file, by another way: the customer's logs stand under its name.
        direct = _direct(path)

        def ours(_: object = None) -> int:
            return sum(1 for _ in log)

        assert ours() == direct.read() == sizes.bulk
        work = f"read a log of {sizes.bulk:,} sealed entries over HTTP"
        effort = attrs.evolve(run.effort.waiting(), turns_at_least=min(3, run.effort.turns_at_least), turns_at_most=3)
        yield timed(work, "the client before this one", compare(Work(ours), Work(seed.read), effort), 0.1)
        effort = attrs.evolve(run.effort.waiting(), turns_at_most=max(sizes.rounds, run.effort.turns_at_least))
        yield timed(work, "straight from the SQLite file", compare(Work(ours), Work(direct.read), effort), 2.0)
        direct.close()


class _direct:
    def __init__(self, path: Any) -> None:
        from indelible.backends import EncryptedBackend, ScopedBackend, SQLiteBackend
        from indelible.cipher import SecretBoxCipher
        from indelible.limits import Limits

        inner = ScopedBackend(SQLiteBackend(path, limits=Limits(name=2048)), "bench")
        backend = EncryptedBackend(inner, SecretBoxCipher(MasterKey(MASTER), scheme=1))
        self._client = indelible.Client(backend, indelible.codecs.JSON_ASCII)
        self._log = self._client.log("log")

    def read(self, _: object = None) -> int:
        return sum(1 for _ in self._log)

    def close(self) -> None:
        self._client.close()


def commits(run: Run) -> Iterator[Row]:
    """One upsert a transaction, over HTTP, durable when answered."""
    seconds, turns = (0.2, 2) if run.effort.budget == 0 else (2.0, 7)
    with (
        service.running(run.fresh("durable.db")) as durable,
        service.running(run.fresh("fast.db"), durable=False) as fast,
    ):
        targets = {"durable": _target(durable), "fast": _target(fast)}
        for target in targets.values():
            swarm.run(_create(target))

        def measure(name: str, clients: int) -> float:
            return float(swarm.run(swarm.rate(targets[name], clients, seconds)).each)

        work = f"commits a second, {_CLIENTS} clients, durable, over HTTP"
        pairs = _turns(lambda: measure("durable", _CLIENTS), lambda: measure("durable", 1), turns)
        yield timed(work, "one client", pairs, 0.25)
        pairs = _turns(lambda: measure("durable", _CLIENTS), lambda: measure("fast", _CLIENTS), turns)
        yield timed(work, "the same server with durability off", pairs, 2.0)
        if not etcd.installed():
            return
        with etcd.running(run.fresh("etcd")) as peer:
            ours = targets["durable"]
            pairs = _turns(
                lambda: measure("durable", _CLIENTS),
                lambda: float(swarm.run(swarm.rate(peer, _CLIENTS, seconds)).each),
                turns,
            )
            yield timed(work, "etcd, puts, same clients", pairs, 2.0)
            yield from _watching(ours, peer, run.effort.budget == 0)


def _watching(ours: swarm.Ours, peer: etcd.Etcd, quick: bool) -> Iterator[Row]:
    watchers, puts, turns = (4, 3, 2) if quick else (_CLIENTS, 50, 5)
    found: list[tuple[list[float], list[float]]] = []
    with quiet():
        for turn in range(turns):
            sides: dict[Any, list[float]] = {}
            for target in (ours, peer) if turn % 2 else (peer, ours):
                sides[target] = sorted(swarm.run(swarm.wake_times(target, watchers, puts, 0.02)))
            found.append((sides[ours], sides[peer]))
    for name, share, aim in (("p50", 0.5, None), ("p99", 0.99, 1.0)):
        pairs = [tuple(times[int(share * (len(times) - 1))] for times in sides) for sides in found]
        yield timed(
            f"commit sent to watcher told, {name}, {watchers} watchers",
            "etcd, put and watch, same clients",
            summary(pairs),  # type: ignore[arg-type]
            aim,
            strictly=True,
        )


def waking(run: Run) -> Iterator[Row]:
    """Long polls on one log: what they take while nothing happens, and waking them all."""
    quick = run.effort.budget == 0
    polls, turns = (20, 2) if quick else (1_000, 15)
    with service.running(run.fresh("polls.db")) as running:
        target = _target(running)
        swarm.run(_create(target))
        with quiet():
            pairs = swarm.run(swarm.woken(target, polls, turns))
        yield timed(
            f"wake {polls:,} long polls on one log, the last of them told", "one empty request", summary(pairs), 200.0
        )
    taken = []
    for _ in range(2 if quick else 3):
        with service.running(run.fresh("idle.db")) as running:
            target = _target(running)
            swarm.run(_create(target))
            taken.append(max(1, int(swarm.run(swarm.idle(target, polls, running.memory)))))
    most = 20_000
    middle = statistics.median(taken)
    spread = (min(taken) / most, max(taken) / most)
    yield Row(
        "an idle long poll, the server's memory",
        "20 kB",
        middle,
        most,
        middle / most,
        spread,
        len(taken),
        1.0,
        unit="B",
    )


def _target(running: service.Running) -> swarm.Ours:
    return swarm.Ours.of(running.port, "bench", running.credentials.apikey.reveal())


async def _create(target: swarm.Ours) -> None:
    connection = await swarm.Connection.open(target.port)
    await target.create(connection)
    connection.close()


def _turns(ours: Any, theirs: Any, turns: int) -> Comparison:
    """Both in turns; each call measures for as long as it is told to."""
    pairs: list[tuple[float, float]] = []
    with quiet():
        for turn in range(turns + 1):
            took = {}
            for side in (ours, theirs) if turn % 2 else (theirs, ours):
                took[side] = side()
                time.sleep(0.05)
            # The first turn warms up.
            if turn:
                pairs.append((took[ours], took[theirs]))
    return summary(pairs)
