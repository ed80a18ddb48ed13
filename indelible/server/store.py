"""A backend as an event loop asks it: nothing blocks, and transactions that come together are committed together."""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeAlias, TypeVar

from indelible.backend import Backend, GroupCommit, Submission
from indelible.errors import IndelibleError
from indelible.records import Committed

P = ParamSpec("P")
T = TypeVar("T")

_LARGEST_GROUP: Final = 256
"""Transactions in one commit, at most: the first of them waits for the last."""

_TURNS: Final = 32
"""Turns of the loop that the first of a group waits for others, at most."""

_MOST_COMMANDS: Final = 10_000
"""Commands in one commit, unless a single transaction has more: whoever comes next waits for all of them."""

_THREADS: Final = 8
"""Reads at once. They are short, and hold the interpreter for most of their time."""

_EACH: Final = _THREADS // 2
"""Reads at once for one customer: those that take long leave room for everybody else's."""

_Waiting: TypeAlias = tuple[Submission, "asyncio.Future[Committed]"]


class Store:
    """The backend of a service, for one event loop. Closing it closes the backend, once what was begun is done.

    What is asked for one customer keeps others waiting as little as can be: reads take some of the threads, and
    writes take turns.
    """

    def __init__(self, backend: Backend, *, committed: Callable[[int], object] = lambda _size: None) -> None:
        self.backend = backend
        self._committed = committed
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="indelible-store")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="indelible-commit")
        self._reading = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(_EACH))
        self._changing = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self._queues: dict[str, deque[_Waiting]] = {}
        self._writing: asyncio.Task[None] | None = None

    async def run(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a blocking call gives, made in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: _called(ask, *args, **kwargs))

    async def run_for(self, customer_id: str, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As ``run``, for one customer."""
        async with self._reading[customer_id]:
            return await self.run(ask, *args, **kwargs)

    async def change_for(self, customer_id: str, change: Callable[[], T]) -> T:
        """What a blocking call gives that writes, made where commits are: in the store, one waits for the other."""
        async with self._changing[customer_id]:
            return await asyncio.get_running_loop().run_in_executor(self._writer, _called, change)

    async def update_for(self, customer_id: str, submission: Submission) -> Committed:
        """See ``Backend.update``. Whoever stops waiting for the answer does not undo it."""
        answer: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(customer_id, deque()).append((submission, answer))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await answer

    async def _write(self) -> None:
        """Commit what is queued, together as far as it comes together."""
        loop = asyncio.get_running_loop()
        try:
            while self._queues:
                await self._gather()
                group = self._next_group()
                submissions = [submission for submission, _ in group]
                answers = await loop.run_in_executor(self._writer, self._commit, submissions)
                self._committed(len(group))
                for (_, waiting), answer in zip(group, answers, strict=True):
                    _give(waiting, answer)
        finally:
            self._writing = None

    async def _gather(self) -> None:
        """Let those join who are about to come, as long as each turn of the loop brings one.

        A sync takes as long for many as for one, and while the thread that commits is busy, it and the loop take the
        interpreter from each other at every statement.
        """
        before = 0
        for _ in range(_TURNS):
            queued = sum(map(len, self._queues.values()))
            if not before < queued < _LARGEST_GROUP:
                return
            before = queued
            await asyncio.sleep(0)

    def _next_group(self) -> list[_Waiting]:
        """What is to be committed next: a transaction of each customer in turn, until it is enough."""
        group: list[_Waiting] = []
        commands = 0
        while self._queues and len(group) < _LARGEST_GROUP:
            customer_id, queue = next(iter(self._queues.items()))
            commands += len(queue[0][0].transaction.commands)
            if group and commands > _MOST_COMMANDS:
                break
            group.append(queue.popleft())
            # To the end of the line, if there is more.
            del self._queues[customer_id]
            if queue:
                self._queues[customer_id] = queue
        return group

    def _commit(self, submissions: Sequence[Submission]) -> Sequence[Committed | Exception]:
        """An answer to each, whatever happens: somebody waits for it."""
        if not isinstance(self.backend, GroupCommit):
            return [self._one(submission) for submission in submissions]
        broken: Exception = TypeError("a store that commits many together answers each of them")
        try:
            answers = _called(self.backend.update_all, submissions)
            if [isinstance(answer, Committed | IndelibleError) for answer in answers] == [True] * len(submissions):
                return answers
        except Exception as error:  # noqa: BLE001 - whatever it is
            broken = error
        # Each its own: whoever is given one raises it.
        return [copy.copy(broken) for _ in submissions]

    def _one(self, submission: Submission) -> Committed | Exception:
        try:
            return _called(self.backend.update, submission.log, submission.transaction, submission.attempt)
        except Exception as error:  # noqa: BLE001 - whatever it is
            return error

    async def close(self) -> None:
        """Finish what was begun, and close the backend; nothing may be asked afterwards."""
        if self._writing is not None:
            await self._writing
        for threads in (self._writer, self._threads):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self.backend.close)


def _called(ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return ask(*args, **kwargs)
    except StopIteration as error:
        # Nobody who awaits an answer would ever get this one.
        raise RuntimeError("an iterator came to its end unawaited") from error


def _give(waiting: asyncio.Future[Committed], answer: Committed | Exception) -> None:
    if waiting.cancelled():
        return
    if isinstance(answer, Committed):
        waiting.set_result(answer)
    else:
        waiting.set_exception(answer)
