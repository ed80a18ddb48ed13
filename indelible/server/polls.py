"""Those who wait for a log to change: no thread, no database transaction, one subscription a log."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import attrs

from indelible.backend import Backend, Notifying
from indelible.errors import BadApiKey, IndelibleError
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
    """One who waits: until something is new (a ``Wake``), until there is no more to wait for (None), or an error.

    Once it is a context, leaving that ends it.
    """

    grant: Grant
    woken: asyncio.Future[Wake | None]
    _topic: _Topic

    def rest(self) -> None:
        """Wait anew."""
        self.woken = self.woken.get_loop().create_future()

    async def ready(self) -> None:
        """Come back once changes are told: what was there before is to be looked up. Raises as the store does."""
        subscribed = self._topic.subscribed
        if not subscribed.done():
            await asyncio.wait([subscribed])
        subscribed.result()

    def end(self) -> None:
        """Let it go: its time is over, its client has gone, or the service stops."""
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
        return sum(poll.grant.key_id != "" for topic in self._topics.values() for poll in topic.polls)

    def wait(self, log: str, after: int, grant: Grant) -> Poll:
        """One who waits for ``log`` to go beyond ``after``, and is to ``leave``; look once it is ``ready``."""
        topic = self._topics.get(log)
        if topic is None:
            subscribed = self._loop.create_task(self._subscribe(log, after))
            topic = self._topics[log] = _Topic(set(), subscribed, functools.partial(self._left, log))
        poll = Poll(grant, self._loop.create_future(), topic)
        topic.polls.add(poll)
        if self._stopped:
            poll.end()
        return poll

    def _left(self, log: str) -> None:
        topic = self._topics.get(log)
        if topic is not None and not topic.polls:
            del self._topics[log]
            topic.subscribed.add_done_callback(_unsubscribe)

    async def _subscribe(self, log: str, after: int) -> Callable[[], None]:
        def told() -> None:
            self._loop.call_soon_threadsafe(self._tell, log)

        backend = self._store.backend
        if isinstance(backend, Notifying):
            return await self._store.run(backend.subscribe, log, after, told)
        glancing = self._loop.create_task(self._glance(backend, log, after))
        return glancing.cancel  # type: ignore[return-value] # whether it was too late to cancel is nobody's concern

    async def _glance(self, backend: Backend, log: str, head: int) -> None:
        while True:
            await asyncio.sleep(_GLANCE_SECONDS)
            try:
                now = (await self._store.run(backend.describe, log)).head
            except IndelibleError:
                # Those who wait meet it when they look, and say so.
                now = head + 1
            if now > head:
                head = now
                self._wake(log)

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
        for topic in self._topics.values():
            for poll in topic.polls:
                if not poll.woken.done() and not still_valid(poll.grant):
                    poll.woken.set_exception(BadApiKey())

    def stop(self) -> None:
        """Let everybody go, and whoever comes from now on."""
        self._stopped = True
        for topic in self._topics.values():
            for poll in topic.polls:
                poll.end()


def _unsubscribe(subscribed: asyncio.Task[Callable[[], None]]) -> None:
    if not subscribed.cancelled() and subscribed.exception() is None:
        subscribed.result()()
