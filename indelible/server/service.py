"""The service: its parts, put together and taken apart."""

from __future__ import annotations

import asyncio
import contextlib

from indelible.server.access import LOG_NAME
from indelible.server.admission import Admission
from indelible.server.calls import Calls
from indelible.server.keyring import Keyring
from indelible.server.polls import Polls
from indelible.server.settings import Settings
from indelible.server.store import Store
from indelible.server.telemetry import Telemetry

_PATIENCE = 2.0


class Service:
    """What all requests share: ``open`` it before the first, ``drain`` it when told to stop, then ``close`` it."""

    store: Store
    polls: Polls
    keyring: Keyring
    calls: Calls

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.telemetry: Telemetry = Telemetry()
        self.admission: Admission = Admission(settings.limits)
        self.draining: bool = False
        self._following: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[bool] | None = None

    async def open(self) -> None:
        """Open the store and read who may use it. Raises whatever keeps it from that."""
        backend = await asyncio.to_thread(self.settings.open_store)
        self.store = Store(backend, committed=self.telemetry.committed)
        try:
            self.polls = Polls(self.store)
            self.keyring = Keyring(self.store, self.polls)
            self.calls = Calls(self.store, self.polls, self.admission, self.settings.limits)
            await self.keyring.open()
        except BaseException:
            await self.store.close()
            raise
        self.telemetry.gauge("indelible_polls", "Long polls that wait.", lambda: float(len(self.polls)))
        self.telemetry.gauge("indelible_polled_logs", "Logs that somebody waits for.", lambda: float(self.polls.logs))
        self.telemetry.gauge("indelible_tasks", "Tasks of the event loop.", lambda: float(len(asyncio.all_tasks())))
        self._following = asyncio.create_task(self.keyring.follow())

    async def ready(self) -> bool:
        """Whether requests can be answered: the store can be read, and nobody has told it to stop."""
        if self._looking is None or self._looking.done():
            # One look for all who ask meanwhile: anybody may.
            self._looking = asyncio.create_task(self._look())
        await asyncio.wait([self._looking], timeout=_PATIENCE)
        return not self.draining and self._looking.done() and self._looking.result()

    async def _look(self) -> bool:
        try:
            await self.store.run(self.store.backend.describe, LOG_NAME)
        except Exception:  # noqa: BLE001 - whatever it is, it is not ready
            return False
        return True

    def drain(self) -> None:
        """Answer all who wait, and refuse whoever comes from now on; commits that were begun are finished."""
        self.draining = True
        self.polls.stop()

    async def close(self) -> None:
        """Let go of the store, once everything begun is done."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        await self.store.close()
