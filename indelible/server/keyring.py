"""The customers and keys as the service knows them: kept in memory, and kept current."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from indelible import seams
from indelible.credentials import Credentials
from indelible.server.access import LOG_NAME, Access, Directory
from indelible.server.keys import Grant
from indelible.server.polls import Polls
from indelible.server.store import Store

_LOOK_SECONDS: Final = 10.0
"""How long a change of access may go unnoticed at the most, and how often expiry is looked at."""

_PAUSE_SECONDS: Final = 1.0

_OWN: Final = Grant("@", "", ("read",), None, None)

_log = logging.getLogger("indelible.server")


class Keyring:
    """Answers who asks from memory; follows the log of access, so that a revocation takes effect at once."""

    def __init__(self, store: Store, polls: Polls) -> None:
        self._store = store
        self._polls = polls
        self._access = Access(store.backend)
        self._directory = Directory()

    async def open(self) -> None:
        """Read who there is. Raises whatever the store does."""
        await self._store.run(self._access.open)
        await self._refresh()

    def authenticate(self, credentials: Credentials) -> Grant:
        """What these credentials grant now. Raises ``BadApiKey``, the same whatever is wrong with them."""
        return self._directory.authenticate(credentials, seams.now())

    def still_valid(self, grant: Grant) -> bool:
        """Whether a grant would be given again now."""
        return self._directory.grant_still_valid(grant, seams.now())

    async def follow(self) -> None:
        """Take in every change of access, and turn away running polls that it concerns; until cancelled."""
        while True:
            try:
                await self._next_change()
            except Exception as error:  # noqa: BLE001 - who was known stays known, until the store can be read again
                _log.warning("the log of access cannot be read (%s)", type(error).__name__)
                await asyncio.sleep(_PAUSE_SECONDS)
            self._polls.expel(self.still_valid)

    async def _next_change(self) -> None:
        with self._polls.wait(LOG_NAME, _OWN) as poll:
            await poll.ready()
            # Whatever came before the subscription is looked up; whatever comes after it wakes the poll.
            await self._refresh()
            timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, poll.end)
            try:
                await poll.woken
            finally:
                timer.cancel()
        await self._refresh()

    async def _refresh(self) -> None:
        self._directory = await self._store.run(self._access.directory, self._directory)
