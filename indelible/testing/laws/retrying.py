"""S16, S17: a transaction sent more than once, and what its sender learns."""

from __future__ import annotations

from typing import Any

import pytest

from indelible.backend import Backend
from indelible.changes import Entry
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import (
    IndelibleError,
    InvalidRequest,
    NonexistentLog,
    NonexistentValue,
    Rejected,
    TransactionIdReused,
    UnexpectedValue,
    UnexpectedVersion,
)
from indelible.records import Committed
from indelible.testing.laws.base import Laws
from indelible.testing.samples import LOG, Bytes, commit, state, transaction

K = b"k"
SENT = transaction(Insert(K, b"1"), Upsert(b"l", b"2"), source="me")
OTHERS: dict[str, Transaction[bytes, bytes]] = {
    "another value": Transaction([Insert(K, b"2"), Upsert(b"l", b"2")], "me", id=SENT.id),
    "another key": Transaction([Insert(b"", b"1"), Upsert(b"l", b"2")], "me", id=SENT.id),
    "another kind": Transaction([Upsert(K, b"1"), Upsert(b"l", b"2")], "me", id=SENT.id),
    "another order": Transaction([Upsert(b"l", b"2"), Insert(K, b"1")], "me", id=SENT.id),
    "one more": Transaction([*SENT.commands, ExpectVersion(0)], "me", id=SENT.id),
    "one less": Transaction(SENT.commands[:1], "me", id=SENT.id),
    "none": Transaction([], "me", id=SENT.id),
    "another source": Transaction(SENT.commands, "you", id=SENT.id),
    "no source": Transaction(SENT.commands, id=SENT.id),
    "moved bytes": Transaction([Insert(b"k1", b""), Upsert(b"l", b"2")], "me", id=SENT.id),
}
REFUSED: list[tuple[Bytes, type[Rejected], Bytes]] = [
    # refused while k holds 1 at version 1, and what then makes it pass
    (Insert(K, b"2"), UnexpectedValue, Remove(K, b"1")),
    (Update(b"absent", b"2"), NonexistentValue, Insert(b"absent", b"1")),
    (ExpectVersion(2), UnexpectedVersion, Upsert(b"other", b"1")),
]


class RetryingLaws(Laws):
    """Sending a transaction again."""

    @pytest.mark.parametrize("attempt", [1, 2, 7])
    def test_s16_the_same_id_and_content_give_the_first_answer_again(self, backend: Backend, attempt: int) -> None:
        """S16: a commit is answered again as it was, ``replayed``, and does nothing more."""
        assert backend.update(LOG, SENT, attempt) == Committed(1, changed=True, replayed=False)
        commit(backend, Upsert(b"l", b"3"))
        for again in (1, 2, 3):
            assert backend.update(LOG, SENT, again) == Committed(1, changed=True, replayed=True)
        assert state(backend) == {K: Entry(K, b"1", 1), b"l": Entry(b"l", b"3", 2)}
        assert backend.describe(LOG).head == 2

    @pytest.mark.parametrize("attempt", [0, -1, True, "1", 1.0, None])
    def test_s16_attempts_are_counted_from_one(self, backend: Backend, attempt: Any) -> None:
        """S16: what counts no attempt is refused, and nothing happens; 1 is taken."""
        with pytest.raises(InvalidRequest):
            backend.update(LOG, SENT, attempt)
        assert backend.describe(LOG).head == 0
        assert backend.update(LOG, SENT, 1) == Committed(1, changed=True, replayed=False)

    def test_s16_the_id_is_looked_up_before_anything_is_judged(self, backend: Backend) -> None:
        """S16: the first answer comes again even where the commands would now be rejected."""
        first = transaction(ExpectVersion(0), Insert(K, b"1"))
        backend.update(LOG, first)
        commit(backend, Update(K, b"2"))
        assert backend.update(LOG, first, 2) == Committed(1, changed=True, replayed=True)
        assert backend.update(LOG, first) == Committed(1, changed=True, replayed=True)
        with pytest.raises(UnexpectedVersion):
            commit(backend, *first.commands)
        assert state(backend) == {K: Entry(K, b"2", 2)}

    @pytest.mark.parametrize("other", list(OTHERS))
    @pytest.mark.parametrize("attempt", [1, 2])
    def test_s16_other_content_under_a_used_id_is_refused(self, backend: Backend, other: str, attempt: int) -> None:
        """S16: the same id with other content, source included, is ``TransactionIdReused`` and does nothing."""
        backend.update(LOG, SENT)
        before = state(backend)
        with pytest.raises(TransactionIdReused) as caught:
            backend.update(LOG, OTHERS[other], attempt)
        assert (caught.value.log, caught.value.index) == (LOG, -1)
        assert state(backend) == before
        assert backend.update(LOG, SENT, 2) == Committed(1, changed=True, replayed=True)
        fresh: Transaction[bytes, bytes] = Transaction(OTHERS[other].commands, OTHERS[other].source)
        assert isinstance(self._answer(backend, fresh), Committed | Rejected)

    @pytest.mark.parametrize(("command", "error", "enabling"), REFUSED)
    def test_s16_the_rejection_of_a_retry_is_final(
        self, backend: Backend, command: Bytes, error: type[Rejected], enabling: Bytes
    ) -> None:
        """S16: what a retry was told is final: neither a late first attempt nor a later one takes effect."""
        commit(backend, Insert(K, b"1"))
        refused = transaction(Upsert(b"x", b"1"), command)
        answer = self._answer(backend, refused, 2)
        assert type(answer) is error
        assert (answer.index, answer.head) == (1, 1)
        commit(backend, enabling)
        before = state(backend)
        for attempt in (1, 3, 2):
            again = self._answer(backend, refused, attempt)
            assert type(again) is error
            assert (again.log, again.index, again.command, again.head) == (LOG, 1, answer.command, 1)
            if isinstance(answer, UnexpectedVersion) and isinstance(again, UnexpectedVersion):
                assert (again.expected, again.actual) == (answer.expected, answer.actual)
        assert state(backend) == before
        with pytest.raises(TransactionIdReused):
            backend.update(LOG, Transaction([], id=refused.id))
        assert backend.update(LOG, Transaction(refused.commands[:1])).changed, "the control: this could be committed"

    @pytest.mark.parametrize(("command", "error", "enabling"), REFUSED)
    def test_s16_the_rejection_of_a_first_attempt_is_not_kept(
        self, backend: Backend, command: Bytes, error: type[Rejected], enabling: Bytes
    ) -> None:
        """S3, S16: nothing is written for a rejected attempt 1, so the same transaction may pass later.

        A backend that has to send it again by itself is at attempt 2, whose rejection is final.
        """
        commit(backend, Insert(K, b"1"))
        refused = transaction(Upsert(b"x", b"1"), command)
        assert type(self._answer(backend, refused)) is error
        commit(backend, enabling)
        assert backend.update(LOG, refused, 2) == Committed(3, changed=True, replayed=False)
        assert backend.update(LOG, refused) == Committed(3, changed=True, replayed=True)

    @pytest.mark.parametrize("commands", [[], [Remove(b"absent", b"1")]], ids=["empty", "idempotent"])
    def test_s16_nothing_changed_is_final_for_a_retry(self, backend: Backend, commands: list[Bytes]) -> None:
        """S16: a retry told that nothing changed stays so, though a late attempt would now change something."""
        commit(backend, Insert(K, b"1"))
        idle = transaction(*commands)
        assert backend.update(LOG, idle, 2) == Committed(1, changed=False, replayed=False)
        commit(backend, Insert(b"absent", b"1"))
        for attempt in (1, 2, 3):
            assert backend.update(LOG, idle, attempt) == Committed(1, changed=False, replayed=True)
        assert state(backend)[b"absent"] == Entry(b"absent", b"1", 2)
        with pytest.raises(TransactionIdReused):
            backend.update(LOG, Transaction([Upsert(K, b"9")], id=idle.id))

    def test_s16_nothing_changed_is_not_kept_for_a_first_attempt(self, backend: Backend) -> None:
        """S5, S16: a first attempt that changes nothing writes nothing, so its id is as good as new."""
        idle = transaction(Remove(b"absent", b"1"))
        assert backend.update(LOG, idle) == Committed(0, changed=False, replayed=False)
        commit(backend, Insert(b"absent", b"1"))
        assert backend.update(LOG, idle) == Committed(2, changed=True, replayed=False)

    def test_s16_ids_outlive_trimming(self, backend: Backend) -> None:
        """S16, S19: after a trim every answer ever kept is given again, and ids stay used."""
        backend.update(LOG, SENT)
        commit(backend, Upsert(b"n", b"1"))
        refused, idle = transaction(Insert(K, b"9")), transaction(Remove(b"absent", b"1"))
        assert isinstance(self._answer(backend, refused, 2), UnexpectedValue)
        backend.update(LOG, idle, 2)
        commit(backend, Remove(K, b"1"), Insert(b"absent", b"1"))
        backend.trim(LOG, 3)
        assert backend.update(LOG, SENT) == Committed(1, changed=True, replayed=True)
        assert isinstance(self._answer(backend, refused), UnexpectedValue)
        assert backend.update(LOG, idle) == Committed(2, changed=False, replayed=True)
        with pytest.raises(TransactionIdReused):
            backend.update(LOG, OTHERS["another value"])
        assert backend.describe(LOG).head == 3

    def test_s16_s20_ids_belong_to_one_log(self, backend: Backend) -> None:
        """S16, S20: an id used on one log says nothing on another."""
        backend.create("second")
        for log in (LOG, "second"):
            assert backend.update(log, SENT) == Committed(1, changed=True, replayed=False)
        with pytest.raises(NonexistentLog):
            backend.update("third", SENT, 2)
        backend.create("third")
        assert backend.update("third", OTHERS["another value"]) == Committed(1, changed=True, replayed=False)

    def test_s16_a_transaction_without_an_id_gets_its_own(self, backend: Backend) -> None:
        """S16: transactions built without an id are different ones, however equal their commands."""
        ids = {transaction().id for _ in range(100)}
        assert len(ids) == 100
        assert commit(backend, Upsert(K, b"1")).changed
        commit(backend, Upsert(K, b"2"))
        assert commit(backend, Upsert(K, b"1")) == Committed(3, changed=True, replayed=False)

    def test_s17_every_refusal_is_one_of_ours(self, backend: Backend) -> None:
        """S17: what comes out of ``update`` is an answer or an ``IndelibleError``, never a bare error."""
        for log in (LOG, "absent", "", "\0", "\U0010ffff", "../..", "a" * 5000):
            for commands in ([Insert(b"", b"")], [Update(b"\0", b"")], [ExpectVersion(2**63 - 1)]):
                try:
                    backend.update(log, transaction(*commands), 2)
                except IndelibleError:
                    continue

    @staticmethod
    def _answer(backend: Backend, sent: Transaction[bytes, bytes], attempt: int = 1) -> Committed | Rejected:
        try:
            return backend.update(LOG, sent, attempt)
        except Rejected as error:
            return error
