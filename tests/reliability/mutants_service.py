"""Bugs to seed in the service and in its client: what is told before it is true, and what is sent again wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from seeding import Mutant, bug

CALLS, STORE, POLLS, KEYRING = (f"server/{name}.py" for name in ("calls", "store", "polls", "keyring"))
DELIVERY, TRANSPORT, CONNECTION = (f"backends/http/{name}.py" for name in ("delivery", "transport", "connection"))

CONTRACT: Final = "tests/test_contract_http.py"
MEMORY: Final = f"{CONTRACT}::TestMemory"
BARE: Final = f"{CONTRACT}::TestBareStore"
EXACTLY_ONCE: Final = "tests/reliability/test_exactly_once.py"
ACCESS: Final = "tests/test_service_access.py"

SERVICE: Final[Sequence[Mutant]] = (
    # What the service does, and when it says so.
    bug(
        "the service answers before the commit",
        "S15, S21",
        STORE,
        "        return await answer\n",
        "        head = (await self.run(self.backend.describe, submission.log)).head\n"
        "        return Committed(head + 1, changed=True, replayed=False)\n",
        MEMORY,
        only="s15 or s16",
    ),
    bug(
        "answers of a group are mixed up",
        "S6, S15",
        STORE,
        "in zip(group, answers, strict=True):",
        "in zip(group, reversed(answers), strict=True):",
        EXACTLY_ONCE,
        only="histories",
    ),
    bug(
        "a store without groups answers all as the first",
        "S6",
        STORE,
        "return [self._one(submission) for submission in submissions]",
        "return [self._one(submissions[0])] * len(submissions)",
        BARE,
        only="s15 or s13_a_follower",
    ),
    bug(
        "the service forgets which attempt it is",
        "S16",
        CALLS,
        "Submission(name, asked.transaction, asked.attempt)",
        "Submission(name, asked.transaction)",
        MEMORY,
        only="s16",
    ),
    bug(
        "the service gives an id of its own",
        "S16",
        "updates.py",
        "Transaction(commands, head.source) if head.id is None else",
        "Transaction(commands, head.source) if True else",
        MEMORY,
        only="s16",
    ),
    bug(
        "the tenant's prefix is forgotten",
        "S20",
        CALLS,
        'return f"{grant.customer_id}/{log}"',
        'return f"{log}"',
        CONTRACT,
        only="one_way",
    ),
    # Who waits.
    bug(
        "a poll reads before it subscribes",
        "S13",
        CALLS,
        "            await poll.ready()\n"
        "            await self.admission.turn(grant.customer_id, turn)\n"
        "            answer, newer = await self._look(grant, asked.log, request)\n",
        "            await self.admission.turn(grant.customer_id, turn)\n"
        "            answer, newer = await self._look(grant, asked.log, request)\n"
        "            await poll.ready()\n",
        CONTRACT,
        only="while_a_wait_begins",
    ),
    bug(
        "those who did not wait together share a page",
        "S15, S20",
        POLLS,
        "        wake = Wake()\n",
        '        wake = self.__dict__.setdefault("wake", Wake())\n',
        CONTRACT,
        only="own_log",
    ),
    bug(
        "a revoked key's poll goes on",
        "access",
        KEYRING,
        "            self._polls.expel(self.still_valid)\n",
        "            pass\n",
        ACCESS,
        only="poll or wait",
    ),
    bug(
        "a poll goes on when its client has gone",
        "S13",
        CALLS,
        "            connection.when_lost = poll.end\n",
        "",
        CONTRACT,
        only="ends_with_its_client",
    ),
    bug(
        "a log is listened to for ever",
        "S13",
        POLLS,
        "            del self._topics[log]\n",
        "",
        EXACTLY_ONCE,
        only="of_a_poll",
    ),
    bug(
        "a store that tells nothing is looked at once",
        "S13",
        POLLS,
        "                if now != head:\n",
        "                if now != head and head < 0:\n",
        BARE,
        only="s13",
    ),
    # What the client sends, and what it makes of the answer or of none.
    bug(
        "the client sends again under a new id",
        "S16",
        DELIVERY,
        "return UpdateLog(self._log, self._transaction, self.attempt)",
        "return UpdateLog(self._log, Transaction(self._transaction.commands, self._transaction.source), self.attempt)",
        EXACTLY_ONCE,
        only="of_a_transaction",
    ),
    bug(
        "the client does not count its attempts",
        "S16",
        DELIVERY,
        "            self.attempt += 1\n",
        "",
        EXACTLY_ONCE,
        only="of_a_transaction",
    ),
    bug(
        "the client counts an attempt that it has not made",
        "S17",
        DELIVERY,
        "return OutcomeUnknown(self._log, self._transaction, self._last, self._doubt)",
        "return OutcomeUnknown(self._log, self._transaction, 0, self._doubt)",
        EXACTLY_ONCE,
        only="of_a_transaction",
    ),
    bug(
        "a connection that broke off is 'not executed'",
        "S17",
        TRANSPORT,
        'return Failed("the connection broke off before the answer was whole", certain=not began)',
        'return Failed("the connection broke off before the answer was whole", certain=True)',
        EXACTLY_ONCE,
        only="every_attempt",
    ),
    bug(
        "an answer that did not come in time is 'not executed'",
        "S17",
        TRANSPORT,
        'return Failed("the service did not answer in time", certain=not began)',
        'return Failed("the service did not answer in time", certain=True)',
        EXACTLY_ONCE,
        only="of_a_transaction",
    ),
    bug(
        "nobody knows what became of what was never sent",
        "S17",
        TRANSPORT,
        'cannot be reached: {reason}", certain=True, again=again)',
        'cannot be reached: {reason}", certain=False, again=again)',
        EXACTLY_ONCE,
        only="nobody_listens",
    ),
    bug(
        "a head that was cut off is taken for whole",
        "S17",
        CONNECTION,
        'if not line.endswith(b"\\n") and len(line) != size:',
        "if False:",
        EXACTLY_ONCE,
        only="of_a_read",
    ),
)
