"""Lanes: each a customer whose clients reach the service by a proxy of their own, so that faults are tried side by side."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from crews import together
from effort import WHOLE
from proxy import KINDS, PATIENT, Fault, proxied
from serving import PATIENCE

from indelible.backends.http import HTTPBackend
from indelible.backends.scoped import ScopedBackend

LANES = 6

HASTE = 0.15
"""Seconds after which a client gives up that is to do so; more where the machine is too busy for it to get so far."""


class Lane:
    """Clients behind a proxy, ``kept`` ones and new ones; one that is ``sure`` to get through; and the ``store`` itself."""

    def __init__(self, service, number: int) -> None:
        self.credentials = service.credentials(f"lane-{number:02}")
        self.store = ScopedBackend(service.store, self.credentials.customer_id)
        self.outcomes: Counter[str] = Counter()
        self.plan()
        self._names = (f"log {number:06}" for number in itertools.count())
        self._running = contextlib.ExitStack()
        self.proxy = self._running.enter_context(proxied(int(service.url.rpartition(":")[2]), self._decide))
        self.url = f"http://127.0.0.1:{self.proxy.port}"
        self.sure = self._running.enter_context(contextlib.closing(HTTPBackend(service.url, self.credentials)))
        self._haste = HASTE
        self._kept: dict[float, HTTPBackend] = {}

    def __enter__(self) -> Lane:
        return self

    def __exit__(self, *_error: object) -> None:
        self._running.close()

    def _new_client(self, timeout: float) -> contextlib.closing[HTTPBackend]:
        return contextlib.closing(HTTPBackend(self.url, self.credentials, timeout=timeout))

    @contextlib.contextmanager
    def client(self, *faults: Fault, fresh: bool = False) -> Iterator[HTTPBackend]:
        """A client for these faults: one that gives up soon where it must, and with no connection yet if ``fresh``."""
        timeout = self._haste if any(fault.kind in PATIENT for fault in faults) else PATIENCE
        if fresh:
            with self._new_client(timeout) as newcomer:
                yield newcomer
            return
        if timeout not in self._kept:
            self._kept[timeout] = self._running.enter_context(self._new_client(timeout))
        yield self._kept[timeout]

    def until_struck(self, fault: Fault, send: Callable[[], object]) -> None:
        """Do this until the fault has come: on a busy machine, who is to wait in vain may give up before."""
        before = self.proxy.struck[fault]
        send()
        while self.proxy.struck[fault] == before:
            assert fault.kind in PATIENT, "the fault did not come"
            self._haste *= 2
            send()

    def new_log(self) -> str:
        """An empty log; the names of all are of one length."""
        log = next(self._names)
        self.store.create(log)
        return log

    def plan(self, *faults: Fault, between: Callable[[], object] = lambda: None) -> None:
        """The faults of the next exchanges, then none; ``between`` is done before each of them but the first."""
        self._faults, self._between, self._is_first = iter(faults), between, True

    def _decide(self) -> Fault | None:
        if not self._is_first:
            self._between()
        self._is_first = False
        return next(self._faults, None)


def in_lanes(service, tasks: Sequence[Callable[[Lane], object]]) -> list[Lane]:
    """Do all of it, some at a time, each in the next lane that is free; gives the lanes, closed."""
    lanes, left, lock = [Lane(service, number) for number in range(LANES)], iter(tasks), threading.Lock()

    def work(lane: Lane) -> None:
        with lane:
            while True:
                with lock:
                    task = next(left, None)
                if task is None:
                    return
                task(lane)

    together(*(lambda lane=lane: work(lane) for lane in lanes))
    return lanes


def sizes_of(service, ask: Callable[[Lane], object]) -> dict[str, int]:
    """How many bytes the last request and its answer have, sent without a fault."""
    with Lane(service, 99) as lane:
        ask(lane)
        return dict(zip(KINDS, lane.proxy.sizes, strict=True))


def every_byte(sizes: dict[str, int]) -> list[Fault]:
    """Every kind of fault at every byte, both ways: before the first, between any two, and after the last."""
    return [Fault(side, kind, at) for side, size in sizes.items() for kind in KINDS[side] for at in range(size + 1)]


def some(faults: Sequence, taste: int) -> Sequence:
    """All of them, or about so many from all over."""
    return faults if WHOLE else faults[:: max(1, len(faults) // taste)]


def struck(lanes: Sequence[Lane]) -> Counter[Fault]:
    """The faults that came, and how often each."""
    return sum((lane.proxy.struck for lane in lanes), Counter())


def shown(lanes: Sequence[Lane]) -> str:
    """What came of it, in words."""
    counts = sum((lane.outcomes for lane in lanes), Counter())
    counts["came late"] = sum(lane.proxy.late for lane in lanes)
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
