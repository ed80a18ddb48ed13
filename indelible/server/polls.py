"""Those who wait for a log to change: no thread, no database transaction, one subscription a log."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Hashable, Iterator
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import attrs

from indelible.backend import Backend, Notifying
from indelible.errors import BadApiKey, NonexistentLog
from indelible.server.keys import Grant
from indelible.server.store import Store

T = TypeVar("T")

_GLANCE_SECONDS: Final = 0.1
"""How often a log is looked at whose store does not tell of changes by itself."""


class Wake:
    """What those who were woken together share: each thing that several of them look up is looked up once.

    It is looked up after all of them began to wait, so that each may take it for its own answer (S15).
    """

    def __init__(self) -> None:
        self._found: dict[Hashable, asyncio.Task[Any]] = {}

    async def once(self, key: Hashable, look: Callable[[], asyncio.Task[T]]) -> T:
        """What ``look`` gives, from the first who asks for ``key``."""
        task = self._found.get(key)
        if task is None:
            task = self._found[key] = look()
        # Not shielded: whoever waits here is cancelled only when the server stops, and then all are.
        found: T = await task
        return found


@attrs.define(eq=False)
class Poll:
    """One who waits: until something is new (a ``Wake``), or until there is no more to wait for (None).

    Once it is a context, leaving that ends it. ``error`` is why it was turned away, if it was.
    """

    grant: Grant
    woken: asyncio.Future[Wake | None]
    _topic: _Topic
    error: BadApiKey | None = None
    _ended: bool = False

    def rest(self) -> None:
        """Wait anew; not at all if it was ended meanwhile."""
        self.woken = self.woken.get_loop().create_future()
        if self._ended:
            self.woken.set_result(None)

    async def ready(self) -> None:
        """Come back once changes are told: what was there before is to be looked up. Raises as the store does."""
        subscribed = self._topic.subscribed
        if not subscribed.done():
            await asyncio.wait([subscribed])
        subscribed.result()

    def end(self) -> None:
        """Let it go, for good: its time is over, its client has gone, or the service stops."""
        self._ended = True
        if not self.woken.done():
            self.woken.set_result(None)

    def leave(self) -> None:
        """Wait no more."""
        self._topic.polls.discard(self)
        self._topic.left()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()


@attrs.define(eq=False)
class _Topic:
    """A log that somebody waits for; ``left`` is called whenever somebody leaves."""

    polls: set[Poll]
    subscribed: asyncio.Task[Callable[[], None]]
    left: Callable[[], None]
    told: bool = False


class Polls:
    """All who wait, by log."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._topics: dict[str, _Topic] = {}
        self._loop = asyncio.get_running_loop()
        self._stopped = False

    def __len__(self) -> int:
        """How many customers' polls wait."""
        return sum(1 for _ in self._customers())

    @property
    def logs(self) -> int:
        """How many logs somebody waits for, the service itself included."""
        return len(self._topics)

    def _customers(self) -> Iterator[Poll]:
        """All but the service's own."""
        return (poll for topic in self._topics.values() for poll in topic.polls if poll.grant.key_id)

    def wait(self, log: str, grant: Grant) -> Poll:
        """One who waits for ``log`` to change, and is to ``leave``; look once it is ``ready``."""
        topic = self._topics.get(log)
        if topic is None:
            subscribed = self._loop.create_task(self._subscribe(log))
            topic = self._topics[log] = _Topic(set(), subscribed, functools.partial(self._left, log))
        poll = Poll(grant, self._loop.create_future(), topic)
        topic.polls.add(poll)
        if self._stopped and grant.key_id:
            poll.end()
        return poll

    def _left(self, log: str) -> None:
        topic = self._topics.get(log)
        if topic is not None and not topic.polls:
            del self._topics[log]
            topic.subscribed.add_done_callback(_unsubscribe)

    async def _subscribe(self, log: str) -> Callable[[], None]:
        """Be told of whatever comes after the present head: those who will wait here may know of less or of more."""
        backend = self._store.backend

        def told() -> None:
            self._loop.call_soon_threadsafe(self._tell, log)

        def subscribe() -> Callable[[], None] | None:
            return backend.subscribe(log, _head(backend, log), told) if isinstance(backend, Notifying) else None

        ends = await self._store.run(subscribe)
        if ends is not None:
            return ends
        glancing = self._loop.create_task(self._glance(backend, log))
        return glancing.cancel  # type: ignore[return-value] # whether it was too late to cancel is nobody's concern

    async def _glance(self, backend: Backend, log: str) -> None:
        head = -1
        while True:
            try:
                now = await self._store.run(_head, backend, log)
            except Exception:  # noqa: BLE001 - those who wait meet it when they look, and say so
                self._wake(log)
            else:
                if now != head:
                    self._wake(log)
                head = now
            await asyncio.sleep(_GLANCE_SECONDS)

    def _tell(self, log: str) -> None:
        topic = self._topics.get(log)
        # Many commits may be told before the loop comes round to waking; one waking sees them all.
        if topic is not None and not topic.told:
            topic.told = True
            self._loop.call_soon(self._wake, log)

    def _wake(self, log: str) -> None:
        topic = self._topics.get(log)
        if topic is None:
            return
        topic.told = False
        wake = Wake()
        for poll in topic.polls:
            if not poll.woken.done():
                poll.woken.set_result(wake)

    def expel(self, still_valid: Callable[[Grant], bool]) -> None:
        """Turn away those whose grant is not valid any more."""
        for poll in self._customers():
            if not still_valid(poll.grant):
                poll.error = BadApiKey()
                poll.end()

    def stop(self) -> None:
        """Let every customer go, and whoever comes from now on."""
        self._stopped = True
        for poll in self._customers():
            poll.end()


def _head(backend: Backend, log: str) -> int:
    try:
        return backend.describe(log).head
    except NonexistentLog:
        return 0


def _unsubscribe(subscribed: asyncio.Task[Callable[[], None]]) -> None:
    if not subscribed.cancelled() and subscribed.exception() is None:
        subscribed.result()()
