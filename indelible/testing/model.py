"""The oracle: what the contract says of one log, in the plainest way there is, with a dict for every version.

It shares no code with ``indelible.engine`` and ``indelible.history``: the rules stand here a second time, taken from
the text of S2-S19, so that two mistakes must agree before a test is blind.
"""

from __future__ import annotations

import itertools
from typing import Any

import attrs

from indelible import seams
from indelible.changes import Added, Change, Entry, Removed, Revision
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update
from indelible.errors import NonexistentValue, Rejected, TransactionIdReused, UnexpectedValue, UnexpectedVersion
from indelible.records import Committed, VersionInfo


@attrs.define
class ModelLog:
    """Every state of a log, and for every version which keys it changed, each with the index of its last command."""

    name: str
    group: str | None = None
    oldest: int = 0
    states: list[dict[bytes, Entry[bytes, bytes]]] = attrs.field(factory=lambda: [{}])
    effects: list[dict[bytes, int]] = attrs.field(factory=lambda: [{}])
    infos: list[VersionInfo] = attrs.field(factory=list)
    answers: dict[bytes, tuple[object, Committed | Rejected]] = attrs.field(factory=dict)

    @property
    def head(self) -> int:
        """The newest version."""
        return len(self.states) - 1

    def update(self, transaction: Transaction[bytes, bytes], attempt: int = 1) -> Committed | Rejected:
        """S16: look the id up, then judge, then keep what is final. A rejection is returned, not raised."""
        content = (transaction.source, transaction.commands)
        if transaction.id in self.answers:
            first, answer = self.answers[transaction.id]
            if first != content:
                return TransactionIdReused(self.name, -1, "Transaction", -1)
            return answer if isinstance(answer, Rejected) else attrs.evolve(answer, replayed=True)
        answer = self.judge(transaction)
        if attempt > 1 or (isinstance(answer, Committed) and answer.changed):
            self.answers[transaction.id] = (content, answer)
        return answer

    def judge(self, transaction: Transaction[bytes, bytes]) -> Committed | Rejected:
        """S2-S6: the answer to a transaction never seen before; the new state, if there is one, is appended."""
        before, version = self.states[-1], self.head + 1
        old = {key: entry.value for key, entry in before.items()}
        values, last = dict(old), dict[bytes, int]()
        for index, command in enumerate(transaction.commands):
            place = (self.name, index, type(command).__name__, self.head)
            if isinstance(command, ExpectVersion):
                if command.version != self.head:
                    return UnexpectedVersion(*place, command.version, self.head)
                continue
            key, there = command.key, values.get(command.key)
            if isinstance(command, Insert) and there not in (None, command.value):
                return UnexpectedValue(*place)
            if isinstance(command, Update) and there is None:
                return NonexistentValue(*place)
            if isinstance(command, Remove) and there == command.value:
                del values[key]
                last[key] = index
            elif not isinstance(command, Remove) and there != command.value:
                values[key] = command.value
                last[key] = index
        net = {key: index for key, index in last.items() if values.get(key) != old.get(key)}
        if not net:
            return Committed(self.head, changed=False, replayed=False)
        kept = {key: entry for key, entry in before.items() if key not in net}
        self.states.append(kept | {key: Entry(key, values[key], version) for key in net if key in values})
        self.effects.append(net)
        self.infos.append(VersionInfo(version, transaction.source, transaction.id, seams.now(), len(net)))
        return Committed(version, changed=True, replayed=False)

    def changes(self, start: int, end: int, order: str = "command") -> list[tuple[Any, Change[bytes, bytes]]]:
        """S8-S10: the whole diff, each change with the place it stands at: a position, or its key."""
        low, high = sorted((start, end))
        old, new = self.states[low], self.states[high]
        listed: list[tuple[Any, Change[bytes, bytes]]] = []
        for key in {*old, *new}:
            if old.get(key) != new.get(key):
                hits = [(v, self.effects[v][key]) for v in range(low + 1, high + 1) if key in self.effects[v]]
                listed += [(hits[0], Removed(key, entry.value, entry.version))] if (entry := old.get(key)) else []
                listed += [(hits[-1], Added(key, entry.value, entry.version))] if (entry := new.get(key)) else []
        listed.sort(key=lambda item: (item[0], isinstance(item[1], Added)))
        if start > end:
            listed = [(place, exchanged(change)) for place, change in reversed(listed)]
        if order == "key":
            listed = [(change.key, change) for _, change in listed]
            listed.sort(key=lambda item: (item[0], isinstance(item[1], Added)))
        return listed

    def history(self, key: bytes) -> list[Revision[bytes, bytes]]:
        """What each version that can be named did to a key, as seen from the one before it."""
        named = [0, *range(max(self.oldest, 1), self.head + 1)]
        pairs = [(v, self.states[u].get(key), self.states[v].get(key)) for u, v in itertools.pairwise(named)]
        return [Revision(new.version if new else v, old, new) for v, old, new in pairs if old != new]


def exchanged(change: Change[bytes, bytes]) -> Change[bytes, bytes]:
    """The same change seen from the other side."""
    return (Removed if isinstance(change, Added) else Added)(change.key, change.value, change.version)
