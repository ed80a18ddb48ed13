"""Whether what concurrent callers were told could have happened one operation at a time (S15, S16).

Every answer names the version it was given at, so there is little to search: put the commits in the order of their
versions, let the oracle judge each where it stands, ask it what every read should have seen, and see that nothing had
returned before something was called that must come first. Only commits that nobody was told of leave a choice; a
history that ends with ``versions(log)`` leaves none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn, TypeAlias

import attrs

from indelible.changes import Added
from indelible.commands import Transaction
from indelible.errors import NonexistentLog, NonexistentVersion, Rejected, TransactionIdReused
from indelible.pages import DiffRequest, Page
from indelible.testing.model import ModelLog
from indelible.testing.oracle import page
from indelible.testing.recorder import Call, Recorder

__all__ = ["Call", "NotLinearizable", "Recorder", "check"]

Sent: TypeAlias = Mapping[bytes, Sequence[Call]]


class NotLinearizable(AssertionError):
    """No order of the operations explains the answers; the message says which answer, and why."""


def check(history: Iterable[Call], *, sorted_keys: bool = True) -> None:
    """Raise ``NotLinearizable`` unless one order of the operations, true to real time, gives every answer in it.

    ``history`` is what a ``Recorder`` wrote down, and tells of every log from its version 0 on; logs are judged one by
    one, for nothing is promised across them. ``sorted_keys=False``: do not judge the order of keys in order ``key``.
    """
    by_log: dict[str, list[Call]] = {}
    for call in list(history):
        by_log.setdefault(call.log, []).append(call)
    for log, calls in by_log.items():
        _Checker(log, calls, sorted_keys).check()


@attrs.frozen
class _Seen:
    """What an answer shows of its instant: the log's head was ``low`` or above, and ``high`` or below."""

    call: Call
    low: int
    high: float


@attrs.frozen
class _Checker:
    log: str
    calls: list[Call]
    sorted_keys: bool

    def check(self) -> None:
        self._created_logs_are_there()
        sent: dict[bytes, list[Call]] = {}
        for call in self.calls:
            if call.operation == "update":
                sent.setdefault(call.arguments[0].id, []).append(call)
        for calls in sent.values():
            self._one_id_has_one_answer(calls)
        seen = [it for call in self.calls if (it := _seen(call, sent)) is not None]
        claims = self._claims()
        failure: NotLinearizable | None = None
        for makers in self._orders(claims, max([0, *claims, *(it.low for it in seen)]), sent):
            try:
                self._explain(makers, seen, sent)
            except NotLinearizable as error:
                failure = failure or error
            else:
                return
        if failure:
            raise failure

    def _fail(self, reason: str, *calls: Call) -> NoReturn:
        raise NotLinearizable("\n".join([f"log {self.log!r}: {reason}", *(f"  {call}" for call in calls)]))

    def _created_logs_are_there(self) -> None:
        """S1: once a ``create`` was acknowledged, the log is there for every later call."""
        created = min((c.returned for c in self.calls if c.operation == "create" and not c.error), default=math.inf)
        for call in self.calls:
            if isinstance(call.error, NonexistentLog) and call.called > created:
                self._fail("the log had been created and was not there", call)

    def _one_id_has_one_answer(self, calls: list[Call]) -> None:
        """S16: one content, one commit, one first answer to it, and none beside a retry's final other answer."""
        reused = [call for call in calls if isinstance(call.error, TransactionIdReused)]
        if reused and len({_content(call) for call in calls}) == 1:
            self._fail("an id was refused as used with other content, and there was no other", *calls)
        commits = [call for call in calls if call.commits]
        if len({(call.answer.version, _content(call)) for call in commits}) > 1:
            self._fail("one transaction was committed twice", *commits)
        if len([call for call in commits if not call.answer.replayed]) > 1:
            self._fail("one transaction was told twice that it took effect just now", *commits)
        final = [call for call in calls if call.arguments[1] > 1 and _judged(call)]
        if final and commits:
            self._fail("a transaction took effect though its retry had a final answer to the contrary", *calls)
        for kept, later in itertools.product(final, filter(_judged, calls)):
            if later.called > kept.returned and _judged_at(later) != _judged_at(kept):
                self._fail("a retry's final answer was not given again", kept, later)

    def _claims(self) -> dict[int, bytes]:
        """Which transaction made which version, by what the callers were told."""
        told: dict[int, tuple[bytes, Call]] = {}
        for call in self.calls:
            if call.commits:
                pairs = [(call.answer.version, call.arguments[0].id)]
            else:
                pairs = [
                    (i.version, i.transaction_id) for i in (call.answer if call.operation == "versions" else ()) or ()
                ]
            for version, transaction_id in pairs:
                first = told.setdefault(version, (transaction_id, call))
                if first[0] != transaction_id:
                    self._fail(f"version {version} was made by two transactions", first[1], call)
        return {version: transaction_id for version, (transaction_id, _) in told.items()}

    def _orders(self, claims: dict[int, bytes], top: int, sent: Sent) -> Iterator[list[Call]]:
        """Every way to say which call made which of the versions up to ``top``."""
        makers = {id_: maker for id_, calls in sent.items() if (maker := _maker(calls)) is not None}
        for version, id_ in claims.items():
            if id_ not in makers:
                self._fail(
                    f"version {version} was made by a transaction that no call can have made", *sent.get(id_, ())
                )
        missing = [version for version in range(1, top + 1) if version not in claims]
        spare = [id_ for id_ in makers if id_ not in claims.values()]
        if len(missing) > len(spare):
            self._fail(f"versions {missing} are there, and too few transactions that can have made them")
        for guess in itertools.permutations(spare, len(missing)):
            whole = claims | dict(zip(missing, guess, strict=True))
            yield [makers[whole[version]] for version in range(1, top + 1)]

    def _explain(self, makers: list[Call], seen: list[_Seen], sent: Sent) -> None:
        """Raise unless this order of commits, judged by the oracle, explains every answer."""
        model = ModelLog(self.log)
        made = {maker.arguments[0].id: version for version, maker in enumerate(makers, 1)}
        by_low = sorted(seen, key=lambda it: it.low)
        judged = {head: [i.call for i in group if _judged(i.call)] for head, group in itertools.groupby(by_low, _low)}
        for head in range(len(makers) + 1):
            for call in judged.get(head, ()):
                if made.get(call.arguments[0].id, math.inf) <= head:
                    self._fail("a committed transaction was judged again", *sent[call.arguments[0].id])
                self._judges(model, call.arguments[0], call)
            if head < len(makers):
                self._judges(model, makers[head].arguments[0], makers[head], version=head + 1)
        for it in seen:
            self._reads(model, it.call)
        self._real_time(makers, by_low)

    def _judges(self, model: ModelLog, transaction: Transaction[bytes, bytes], call: Call, version: int = 0) -> None:
        head, answer = model.head, model.judge(transaction)
        if version:
            right = not isinstance(answer, Rejected) and answer.version == version
        elif isinstance(answer, Rejected):
            right = type(answer) is type(call.error) and attrs.asdict(answer) == attrs.asdict(call.error)
        else:
            right = call.error is None and not answer.changed
        if not right:
            what = f"commit version {version}" if version else "be answered so"
            self._fail(f"at version {head} this could not {what}; the contract says {answer!r}", call)

    def _reads(self, model: ModelLog, call: Call) -> None:
        """Whether a read saw what the versions it names hold."""
        if call.error is not None:
            return
        if call.operation == "diff":
            request: DiffRequest = attrs.evolve(call.arguments[0], to_version=call.answer.to_version, wait_seconds=0.0)
            wanted = page(model, request)
            if not self._same(request, call.answer, wanted):
                self._fail(f"a diff is wrong; it should be {wanted!r}", call)
        elif call.operation == "describe" and call.answer.entries != len(model.states[call.answer.head]):
            self._fail(f"there are {len(model.states[call.answer.head])} entries at that version", call)
        elif call.operation == "versions":
            for info in call.answer:
                wanted_info = attrs.evolve(model.infos[info.version - 1], committed_at=info.committed_at)
                if info != wanted_info:
                    self._fail(f"a version is told wrongly; it should be {wanted_info!r}", call)

    def _same(self, request: DiffRequest, told: Page, wanted: Page) -> bool:
        if told.from_version != wanted.from_version:
            return False
        if request.order == "key" and not self.sorted_keys:
            whole = request.cursor is None and told.next is None and request.limit >= len(wanted.changes)
            ranked = sorted(told.changes, key=lambda change: (change.key, isinstance(change, Added)))
            return not whole or tuple(ranked) == wanted.changes
        # A page may be shorter than its limit, if it says that there is more.
        return wanted.changes[: len(told.changes)] == told.changes and (
            told.next is not None or (wanted.next is None and len(told.changes) == len(wanted.changes))
        )

    def _real_time(self, makers: list[Call], by_low: list[_Seen]) -> None:
        """Whether nothing had returned before something that must come first was called."""
        latest: Call | None = None
        waiting = {low: list(group) for low, group in itertools.groupby(by_low, _low)}
        leaving = {high: list(group) for high, group in itertools.groupby(sorted(by_low, key=_high), _high)}
        for head in range(len(makers) + 1):
            first = makers[head - 1 : head] if head else []
            for call in [*first, *(it.call for it in waiting.get(head, ()))]:
                if latest is not None and call.returned < latest.called:
                    self._fail(
                        f"at version {head} the second of these came too late to be before the first", call, latest
                    )
                if call in first and (latest is None or call.called > latest.called):
                    latest = call
            for it in leaving.get(head, ()):
                if latest is None or it.call.called > latest.called:
                    latest = it.call


def _low(it: _Seen) -> int:
    return it.low


def _high(it: _Seen) -> float:
    return it.high


def _content(call: Call) -> tuple[object, ...]:
    return call.arguments[0].source, call.arguments[0].commands


def _judged(call: Call) -> bool:
    """Whether an update was answered, and not with a commit: it was judged at the head its answer names."""
    if call.operation != "update" or isinstance(call.error, TransactionIdReused):
        return False
    return isinstance(call.error, Rejected) or (call.answer is not None and not call.commits)


def _judged_at(call: Call) -> int:
    return call.error.head if isinstance(call.error, Rejected) else int(call.answer.version)


def _maker(calls: Sequence[Call]) -> Call | None:
    """The call in which a transaction took effect, if it did: the one told so first, else one without an answer."""
    for call in calls:
        if call.commits and not call.answer.replayed:
            return call
    unanswered = [call for call in calls if not call.is_answered]
    return attrs.evolve(min(unanswered, key=lambda call: call.called), returned=math.inf) if unanswered else None


def _seen(call: Call, sent: Sent) -> _Seen | None:  # noqa: PLR0911 (a table of operations)
    """What an answer shows of the head; None if nothing, or if it made the version it names."""
    if isinstance(call.error, NonexistentVersion):
        return _Seen(call, call.error.head, call.error.head)
    if isinstance(call.error, Rejected) and call.error.head >= 0:
        final = any(other.arguments[1] > 1 for other in sent[call.arguments[0].id])
        return _Seen(call, call.error.head, math.inf if final else call.error.head)
    if call.error is not None or call.returned == math.inf:
        return None
    match call.operation:
        case "update":
            answer = call.answer
            if answer.changed and not answer.replayed:
                return None
            return _Seen(call, answer.version, math.inf if answer.replayed else answer.version)
        case "diff":
            low, fixed = max(call.answer.from_version, call.answer.to_version), call.arguments[0].to_version is not None
        case "describe":
            low, fixed = call.answer.head, False
        case "versions":
            low, fixed = max(call.arguments[0], call.arguments[1] or 0), call.arguments[1] is not None
            low = call.answer[-1].version if call.answer and not fixed else low
        case "trim":
            low, fixed = call.arguments[0], True
        case _:
            return None
    return _Seen(call, low, math.inf if fixed else low)
