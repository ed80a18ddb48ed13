"""Questions to a service: each asked until it is answered, and no answer taken that is older than one before."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final, TypeVar

import attrs

from indelible import wire
from indelible.backends.http import answers, verdicts
from indelible.backends.http.answers import violation
from indelible.backends.http.calls import Call, Calls, closed
from indelible.backends.http.connection import too_large
from indelible.backends.http.delivery import Delivery
from indelible.backends.http.failures import Failed
from indelible.backends.http.pins import Pins
from indelible.backends.http.question import Question
from indelible.backends.http.retrying import TRIES, persist
from indelible.backends.http.transport import Transport
from indelible.commands import Transaction
from indelible.errors import (
    HistoryRolledBack,
    IndelibleError,
    InvalidRequest,
    NonexistentLog,
    NotExecuted,
    ProtocolViolation,
    Rejected,
)
from indelible.records import Committed
from indelible.routes import UPDATE

A = TypeVar("A")
Q = TypeVar("Q")

_WHOLE: Final = 16
"""How many of the largest answers the pages of one list may be together."""

_ROLLED_BACK: Final = "an old backup was restored, or what is newer is being withheld"
_GONE: Final = "an old backup was restored, it is being withheld, or this API key is for another group"
_WAY_ON: Final = (
    "if it was restored on purpose, 'indelible accept-rollback LOG', or accept_rollback of the backend, takes the log "
    "as it is shown now"
)

_log: Final = logging.getLogger("indelible.pins")


class Service:
    """A service as one customer sees it.

    A request may take ``timeout`` seconds beside the wait of a poll, and is tried up to eight times within them.
    """

    def __init__(self, transport: Transport, customer: str, pins: Pins, timeout: float) -> None:
        self._transport = transport
        self._customer = customer
        self._pins = pins
        self._timeout = timeout
        self._calls = Calls()

    def begin(self, wait: float = 0.0) -> AbstractContextManager[Call]:
        """A call, in which the service may wait so many seconds before it answers."""
        return self._calls.run(wait + self._timeout, poll=wait > 0)

    def ask(self, question: Question[Q, A]) -> A:
        """Ask until there is an answer, up to eight times, and give it or raise the error that it is.

        Every question may be repeated, so a failure is ``NotExecuted``, whatever became of it.
        """
        with self.begin() as call:
            return self.ask_in(call, question)[0]

    def ask_all(self, question: Question[Q, A], following: Callable[[Q, A], Q | None]) -> Iterator[A]:
        """Ask, and ask on where a page says that there are more. All pages together have a bound as well."""
        left = _WHOLE * self._transport.largest
        asked: Q | None = question.asked
        while asked is not None:
            with self.begin() as call:
                page, size = self.ask_in(call, attrs.evolve(question, asked=asked))
            left -= size
            if left < 0:
                raise too_large()
            yield page
            asked = following(asked, page)

    def ask_in(self, call: Call, question: Question[Q, A]) -> tuple[A, int]:
        """As ``ask``, within the time of a call; gives how many bytes the answer had, too."""
        try:
            return persist(call, lambda: self._try(call, question), None if call.poll else TRIES)
        except Failed as failure:
            raise closed() if call.closed else _unanswered(failure) from None

    def _try(self, call: Call, question: Question[Q, A]) -> tuple[A, int]:
        route, log, asked = question.route, question.log, question.anew(question.asked)
        floor = 0 if log is None else self._pins.get(self._customer, log)
        reply = self._transport.exchange(call, route.path, wire.encode(route.request.write(asked)))
        answer = answers.read(route, reply, log or "", call.name)
        if not isinstance(answer, IndelibleError):
            self._see(log, floor, answer, question.check(asked, answer), answers.head(reply))
            return answer, len(reply.body)
        self._see(log, floor, answer, verdicts.check_error(route.name, asked, answer), answers.head(reply))
        if isinstance(answer, NotExecuted):
            raise Failed(answer.reason, certain=True, after=answers.retry_after(reply), error=answer)
        raise answer

    def deliver(self, log: str, transaction: Transaction[bytes, bytes], attempt: int) -> Committed:
        """Send a transaction until its outcome is known, up to eight times. See ``Backend.update`` for its errors."""
        delivery = Delivery(log, transaction, attempt)
        with self.begin() as call:
            try:
                return persist(call, lambda: self._try_delivery(call, log, delivery))
            except Failed as failure:
                # What has left this side may have arrived, whoever hung up.
                raise closed() if call.closed and not delivery.in_doubt else delivery.verdict(failure) from None

    def _try_delivery(self, call: Call, log: str, delivery: Delivery) -> Committed:
        floor = self._pins.get(self._customer, log)
        try:
            reply = self._transport.exchange(call, UPDATE.path, delivery.body())
            answer = answers.read(UPDATE, reply, log, call.name)
            told = verdicts.check_update(delivery.update, answer)
            self._see(log, floor, answer, told, answers.head(reply))
        except Failed as failure:
            delivery.failed(failure)
            raise
        except ProtocolViolation as violation:
            # Whatever it did, this is no answer to go by.
            no_answer = Failed(str(violation))
            delivery.failed(no_answer)
            raise no_answer from None
        except HistoryRolledBack as error:
            if (unknown := delivery.rolled_back(answer, error)) is None:
                raise
            raise unknown from error
        if isinstance(answer, Committed):
            self._pins.see(self._customer, log, answer.version)
            return answer
        raise answer if isinstance(answer, Rejected) else delivery.refused(answer, answers.retry_after(reply))

    def newest(self) -> dict[str, int]:
        """The newest version that was seen of each log: in an answer to what is asked from now on, none is older."""
        self._calls.check()
        return self._pins.all(self._customer)

    def _see(self, log: str | None, floor: int, answer: object, told: int | None, head: int | None) -> None:
        """Compare the heads that an answer shows with the newest that was seen when it was asked for, and remember."""
        if log is None:
            return
        if told is not None and head is not None and told > head:
            raise violation("its answer is about a newer version than it shows as the newest")
        shown = 0 if isinstance(answer, NonexistentLog) else head if told is None else told
        # A rejection may repeat an earlier answer (S16), and then shows the head of that time.
        if shown is not None and not isinstance(answer, Rejected):
            self.compare(log, floor, shown, _GONE if isinstance(answer, NonexistentLog) else _ROLLED_BACK)
        self._pins.see(self._customer, log, max(told or 0, head or 0))

    def compare(self, log: str, floor: int, shown: int, cause: str = _ROLLED_BACK) -> None:
        """Raise ``HistoryRolledBack`` if a log is shown at an older head than it had, and nobody accepted that."""
        if shown < floor and shown < self._pins.reread(self._customer, log):
            raise HistoryRolledBack(f"{cause}; {_WAY_ON}", log, floor, shown)

    def see(self, log: str, version: int) -> None:
        """Remember that a log has reached this version."""
        self._pins.see(self._customer, log, version)

    def accept_rollback(self, log: str) -> None:
        """Forget the newest version that was seen of a log."""
        self._calls.check()
        self._pins.accept(self._customer, log)

    def rest(self, seconds: float) -> None:
        """Wait between two calls. Raises ``Closed`` if everything is closed meanwhile."""
        with self._calls.run(seconds + 1, poll=True) as call:
            call.rest(seconds)
            if call.closed:
                raise closed()

    def close(self) -> None:
        """End every call, let go of every connection, and write down what was seen; a second time, nothing.

        That it could not be written down is logged.
        """
        if not self._calls.here:
            self._transport.drop()
        elif self._calls.close():
            self._transport.close()
            try:
                self._pins.flush()
            except InvalidRequest as error:
                # Not raised: it would stand in the place of what became of a call, and looks like a refusal of one.
                _log.warning("the newest versions seen of logs were not written down: %s", error)

    def abandon(self) -> None:
        """Close what nobody closed, and tell nobody what went wrong: there is nobody any more."""
        with contextlib.suppress(Exception):
            self.close()


def _unanswered(failure: Failed) -> IndelibleError:
    """What is told of a question that nobody answered; whatever became of it, it may be put again."""
    again = "" if failure.certain else "; this may simply be tried again"
    return failure.error or NotExecuted(failure.reason + again)
