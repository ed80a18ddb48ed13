"""What the service does for each call: the customer's logs are the store's under the customer's id, and no others."""

from __future__ import annotations

import asyncio
from itertools import accumulate
from typing import Final

import attrs

from indelible import routes, seams
from indelible.backend import Submission, history_page
from indelible.backends.naming import Named
from indelible.errors import BadApiKey, NonexistentLog, NonexistentVersion, Rejected
from indelible.history import resolve
from indelible.messages import (
    LARGEST_PAGE,
    CreateLog,
    DescribeLog,
    DiffLog,
    Done,
    KeyRevisions,
    ListLogs,
    ListVersions,
    LogPage,
    TrimLog,
    UpdateLog,
    VersionPage,
)
from indelible.pages import DiffRequest
from indelible.records import Committed
from indelible.server.admission import Admission, Slots
from indelible.server.exchange import ClientGone, Exchange
from indelible.server.keys import Grant
from indelible.server.polls import Poll, Polls
from indelible.server.settings import ServiceLimits
from indelible.server.store import Store

_LARGEST_ANSWER: Final = 1024 * 1024
"""Bytes of keys and values after which an answer ends, and the rest is for the next: it is held until it was taken."""

_INFO: Final = 128
"""Bytes of the description of a log, besides its name and group."""

_EARLY_SECONDS: Final = 0.01

_VERSIONS: Final = 2_000
"""Descriptions of versions in an answer, at most."""


@attrs.frozen
class Answer:
    """The body of an answer, and the head of the log it is about."""

    body: bytes
    head: int | None = None


@attrs.frozen
class Calls:
    """The calls, by the name of their route. Each is given what it is asked, who asks, and the slots that it holds."""

    store: Store
    polls: Polls
    admission: Admission
    limits: ServiceLimits

    async def create(self, asked: CreateLog, grant: Grant, _exchange: Exchange, _slots: Slots) -> Answer:
        """See ``Backend.create``."""
        grant.require_group(asked.group)

        def make() -> Answer:
            name = self._name(grant, asked.log)
            with Named(asked.log):
                self.store.backend.create(name, asked.group)
            return Answer(routes.CREATE.encode(Done()), self._head(grant, asked.log))

        return await self.store.change_for(grant.customer_id, make)

    async def update(self, asked: UpdateLog, grant: Grant, _exchange: Exchange, _slots: Slots) -> Answer:
        """See ``Backend.update``."""
        name = self._name(grant, asked.log)
        if grant.group is not None:
            await self.store.run_for(grant.customer_id, self._admit, grant, asked.log)
        with Named(asked.log):
            submission = Submission(name, asked.transaction, asked.attempt)
            committed: Committed = await self.store.update_for(grant.customer_id, submission)
        # What is told again was true at its version; the head may be beyond it.
        head = await self.head(grant, asked.log) if committed.replayed else committed.version
        return Answer(routes.UPDATE.encode(committed), head)

    async def diff(self, asked: DiffLog, grant: Grant, exchange: Exchange, slots: Slots) -> Answer:
        """See ``Backend.diff``. Whoever waits holds no thread, and is no request among those at once."""
        limit = min(asked.request.limit, self.limits.page, LARGEST_PAGE)
        request = attrs.evolve(asked.request, limit=limit, max_bytes=_LARGEST_ANSWER, wait_seconds=0.0)
        if asked.request.wait_seconds == 0 or request.to_version is not None:
            return (await self._look(grant, asked.log, request))[0]
        ends = seams.monotonic() + asked.request.wait_seconds
        if grant.expires_at is not None:
            # A timer may come a moment early, and who is let go then would not know that it is over.
            ends = min(ends, seams.monotonic() + (grant.expires_at - seams.now()).total_seconds() + _EARLY_SECONDS)
        slots.close()
        self.admission.poll(grant.customer_id, slots)
        # A turn to be answered, kept until the answer was taken: who need not wait does not get round the limit.
        turn = Slots()
        slots.hold(turn.close)
        with self.polls.wait(self._name(grant, asked.log), grant) as poll:
            await poll.ready()
            await self.admission.turn(grant.customer_id, turn)
            answer, newer = await self._look(grant, asked.log, request)
            if not newer:
                turn.close()
                answer = await self._wait(poll, exchange, turn, ends, answer, asked.log, request)
            if poll.error is not None:
                raise poll.error
            if grant.expired(seams.now()):
                raise BadApiKey
            return answer

    async def _wait(
        self, poll: Poll, exchange: Exchange, turn: Slots, ends: float, answer: Answer, log: str, request: DiffRequest
    ) -> Answer:
        """The page once there is something newer than ``answer``; at the end of the time, what there is."""
        connection, grant = exchange.connection, poll.grant
        timer = asyncio.get_running_loop().call_later(max(0.0, ends - seams.monotonic()), poll.end)

        def look() -> asyncio.Task[tuple[Answer, bool]]:
            return asyncio.create_task(self._look(grant, log, request))

        try:
            connection.when_lost = poll.end
            if connection.is_lost:
                raise ClientGone
            while (wake := await poll.woken) is not None:
                poll.rest()
                await self.admission.turn(grant.customer_id, turn)
                answer, newer = await wake.once((grant.group, request), look)
                if newer:
                    return answer
                turn.close()
            if connection.is_lost:
                raise ClientGone
            return answer
        finally:
            timer.cancel()
            connection.when_lost = None

    async def _look(self, grant: Grant, log: str, request: DiffRequest) -> tuple[Answer, bool]:
        """A page, and whether it leads to a version newer than the one it starts from."""

        def look() -> tuple[Answer, bool]:
            name = self._admit(grant, log)
            with Named(log):
                page = self.store.backend.diff(name, request)
            head = page.to_version if request.to_version is None else self._head(grant, log)
            return Answer(routes.DIFF.encode(page), head), page.to_version != request.from_version

        return await self.store.run_for(grant.customer_id, look)

    async def describe(self, asked: DescribeLog, grant: Grant, _exchange: Exchange, _slots: Slots) -> Answer:
        """See ``Backend.describe``."""

        def look() -> Answer:
            name = self._admit(grant, asked.log)
            with Named(asked.log):
                info = self.store.backend.describe(name)
            return Answer(routes.DESCRIBE.encode(attrs.evolve(info, name=asked.log)), info.head)

        return await self.store.run_for(grant.customer_id, look)

    async def list(self, asked: ListLogs, grant: Grant, _exchange: Exchange, _slots: Slots) -> Answer:
        """See ``Backend.logs``."""

        def look() -> Answer:
            prefix = self._name(grant, "")
            found = [
                attrs.evolve(info, name=info.name.removeprefix(prefix))
                for info in self.store.backend.logs(asked.group if grant.group is None else grant.group)
                if info.name.startswith(prefix) and asked.group in (None, info.group)
            ]
            if asked.after is not None:
                found = [info for info in found if info.name > asked.after]
            sizes = accumulate(len(info.name) + len(info.group or "") + _INFO for info in found)
            most = min(asked.limit, LARGEST_PAGE, sum(size <= _LARGEST_ANSWER for size in sizes))
            page = tuple(found[:most])
            return Answer(routes.LIST.encode(LogPage(page, page[-1].name if page and len(found) > most else None)))

        return await self.store.run_for(grant.customer_id, look)

    async def versions(self, asked: ListVersions, grant: Grant, _exchange: Exchange, _slots: Slots) -> Answer:
        """See ``Backend.versions``."""

        def look() -> Answer:
            name = self._admit(grant, asked.log)
            with Named(asked.log):
                info = self.store.backend.describe(name)
                request = DiffRequest(asked.from_version, asked.to_version)
                end = resolve(asked.log, request, info.head, info.oldest).high
                # In a trimmed log the first answer reaches to the oldest version that can be named.
                until = min(end, max(asked.from_version + _VERSIONS, info.oldest))
                found = tuple(self.store.backend.versions(name, asked.from_version, until))
            return Answer(routes.VERSIONS.encode(VersionPage(found, until if until < end else None)), info.head)

        return await self.store.run_for(grant.customer_id, look)

    async def history(self, asked: KeyRevisions, grant: Grant, _exchange: Exchange, _slots: Slots) -> Answer:
        """See ``KeyHistory.history``."""

        def look() -> Answer:
            name = self._admit(grant, asked.log)
            with Named(asked.log):
                page = history_page(
                    self.store.backend, name, asked.key, asked.from_version, LARGEST_PAGE, _LARGEST_ANSWER
                )
                head = self.store.backend.describe(name).head
            return Answer(routes.HISTORY.encode(page), head)

        return await self.store.run_for(grant.customer_id, look)

    async def trim(self, asked: TrimLog, grant: Grant, _exchange: Exchange, _slots: Slots) -> Answer:
        """See ``Backend.trim``."""

        def forget() -> Answer:
            name = self._admit(grant, asked.log)
            with Named(asked.log):
                self.store.backend.trim(name, asked.before)
            return Answer(routes.TRIM.encode(Done()), self._head(grant, asked.log))

        return await self.store.change_for(grant.customer_id, forget)

    async def head_at(self, error: BaseException, grant: Grant | None, log: str | None) -> int | None:
        """The head at which something was refused; None where there is no log, or none that this key may know of."""
        if isinstance(error, Rejected | NonexistentVersion) and error.head >= 0:
            return error.head
        if grant is None or log is None or isinstance(error, NonexistentLog):
            return None
        return await self.head(grant, log)

    async def head(self, grant: Grant, log: str) -> int | None:
        """The head of a log, for who may know of it."""
        return await self.store.run_for(grant.customer_id, self._head, grant, log)

    def _head(self, grant: Grant, log: str) -> int | None:
        try:
            return self.store.backend.describe(self._admit(grant, log)).head
        except Exception:  # noqa: BLE001 - what was done was done, and what was refused, refused, without this
            return None

    def _admit(self, grant: Grant, log: str) -> str:
        """The store's name for a log. To a key for one group, logs of others are as if they were not there (S20)."""
        name = self._name(grant, log)
        if grant.group is not None:
            with Named(log):
                if self.store.backend.describe(name).group != grant.group:
                    raise NonexistentLog(log)
        return name

    def _name(self, grant: Grant, log: str) -> str:
        return f"{grant.customer_id}/{log}"
