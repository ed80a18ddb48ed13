"""Who works on a log in the suites of histories: threads and processes that write, read, retry, and may be killed."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import journal

from indelible.backend import Backend
from indelible.backends.encrypted import EncryptedBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.cipher import SecretBoxCipher
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import IndelibleError, NonexistentVersion, NotExecuted, OutcomeUnknown
from indelible.pages import DiffRequest
from indelible.secret import MasterKey
from indelible.testing.recorder import Call, Recorder

AT_ONCE = 8
KEY = MasterKey(bytes(range(7, 39)))
VALUES = [b"1", b"2", b"3"]


def sealed(backend: Backend) -> Backend:
    """The same backend, behind a cipher of one key for all processes."""
    return EncryptedBackend(backend, SecretBoxCipher(KEY))


def plain(backend: Backend) -> Backend:
    """The same backend."""
    return backend


def sqlite(path: str) -> Backend:
    """The store under test. Writers queue for as long as it takes: the machine may be busy with other things."""
    return SQLiteBackend(path, busy_seconds=60)


def unanswered(calls: Sequence[Call]) -> list[tuple[Transaction[bytes, bytes], int]]:
    """The transactions whose fate their caller does not know, and the attempt to send them as now."""
    last: dict[bytes, Call] = {}
    for call in calls:
        if call.operation == "update":
            last[call.arguments[0].id] = call
    return [(call.arguments[0], call.arguments[1] + 1) for call in last.values() if not call.is_answered]


def send(backend: Backend, log: str, transaction: Transaction[bytes, bytes], attempt: int = 1) -> bool:
    """Send until there is an answer that says what happened; whether it is a commit."""
    while True:
        try:
            return backend.update(log, transaction, attempt).changed
        except OutcomeUnknown:
            attempt += 1
        except NotExecuted:
            time.sleep(0.001)
        except IndelibleError:
            return False


@attrs.define
class Actor:
    """One who does ``turns`` things to a log, chosen by ``rng``: writes, retries and reads, over few keys."""

    backend: Backend
    log: str
    rng: random.Random
    head: int = 0
    sent: list[Transaction[bytes, bytes]] = attrs.field(factory=list)

    def act(self, turns: int) -> None:
        """Do so many things, retries not counted."""
        ways = [self.write, self.repeat, self.read, self.describe, self.list]
        for _ in range(turns):
            try:
                self.rng.choices(ways, [8, 1, 6, 2, 1])[0]()
            except NonexistentVersion:  # written down, and for the judge to say whether it may be
                continue

    def write(self) -> None:
        """A transaction of a few commands, sometimes one that expects the version last seen."""
        rng = self.rng
        commands: list[Any] = [ExpectVersion(self.head)] if rng.random() < 0.25 else []
        for _ in range(rng.randint(1, 4)):
            kind = rng.choice([Insert, Update, Upsert, Upsert, Remove])
            commands.append(kind(b"key %d" % rng.randrange(6), rng.choice(VALUES)))
        transaction = Transaction(commands, rng.choice([None, "actor"]), id=rng.randbytes(16))
        self.sent = [*self.sent[-3:], transaction]
        send(self.backend, self.log, transaction)

    def repeat(self) -> None:
        """What was sent before, once more: its answer stays (S16)."""
        if self.sent:
            send(self.backend, self.log, self.rng.choice(self.sent), 2)

    def read(self) -> None:
        """A page, and sometimes the ones after it; sometimes a wait."""
        rng = self.rng
        waits = 0.001 if rng.random() < 0.1 else 0.0
        start = self.head if waits else rng.choice([0, self.head])
        order = rng.choice(["command", "command", "key"])
        request = DiffRequest(start, wait_seconds=waits, order=order, limit=rng.choice([1, 3, 100]))
        page = self.backend.diff(self.log, request)
        self.head = max(self.head, page.to_version)
        if page.next is not None and rng.random() < 0.5:
            following = attrs.evolve(request, wait_seconds=0.0, to_version=page.to_version, cursor=page.next)
            self.backend.diff(self.log, following)

    def describe(self) -> None:
        """How long the log is."""
        self.head = self.backend.describe(self.log).head

    def list(self) -> None:
        """Who made the newest versions."""
        self.backend.versions(self.log, max(0, self.head - 2))
