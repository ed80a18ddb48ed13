"""S2-S6, S15-S17 for many transactions at once. For backends that can commit groups, ``GroupCommit``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs
import pytest

from indelible.backend import Backend, GroupCommit, Submission
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import (
    Closed,
    IndelibleError,
    InvalidRequest,
    NonexistentLog,
    TooLarge,
    TransactionIdReused,
    UnexpectedValue,
    UnexpectedVersion,
)
from indelible.records import Committed
from indelible.testing.laws.base import Laws
from indelible.testing.laws.waiting import Background
from indelible.testing.oracle import ModelBackend
from indelible.testing.samples import HISTORIES, LOG, changes, commit, state, transaction

Answer: TypeAlias = Committed | IndelibleError
UpdateAll: TypeAlias = Callable[[Sequence[Submission]], Sequence[Answer]]

OTHER = "other"


def grouping(backend: Backend) -> UpdateAll:
    """The backend's way to commit a group; where there is none, its laws are skipped."""
    if not isinstance(backend, GroupCommit):
        pytest.skip("this backend does not claim to commit groups: it has no update_all()")
    return backend.update_all


def submit(*commands: Any, log: str = LOG, attempt: int = 1) -> Submission:
    """A submission of these commands, under a fresh id."""
    return Submission(log, transaction(*commands), attempt)


def one_by_one(backend: Backend, submissions: Sequence[Submission]) -> Iterator[Answer]:
    """What ``update`` answers or raises when it is sent each in turn."""
    for it in submissions:
        try:
            yield backend.update(it.log, it.transaction, it.attempt)
        except IndelibleError as error:
            yield error


def told(answers: Sequence[Answer]) -> list[Any]:
    """Answers and errors in a form to compare; reasons are anybody's own words, sizes those of the store."""
    fields = attrs.filters.exclude("reason", "size", "maximum")
    return [(type(it), attrs.asdict(it, filter=fields)) if isinstance(it, IndelibleError) else it for it in answers]


def mixed(longest: int) -> list[Submission]:
    """Submissions of every fate, that depend on those before them or must not disturb those after them."""
    first = submit(ExpectVersion(0), Insert(b"k", b"1"))
    refused = submit(Insert(b"k", b"2"), attempt=2)
    return [
        first,
        submit(Insert(b"k", b"2")),
        submit(ExpectVersion(1), Update(b"k", b"2"), Upsert(b"l", b"1")),
        submit(ExpectVersion(1), Upsert(b"k", b"9")),
        Submission(LOG, first.transaction, 2),
        submit(Upsert(b"k", b"9"), log="absent"),
        submit(Insert(b"k", b"1"), log=OTHER),
        Submission(LOG, Transaction([Upsert(b"k", b"9")], id=first.transaction.id)),
        Submission(OTHER, Transaction([Upsert(b"k", b"3")], id=first.transaction.id)),
        submit(),
        submit(Upsert(b"k" * (longest + 1), b"9")),
        submit(Upsert(b"k", b"9"), log=""),
        submit(Upsert(b"k", b"9"), attempt=0),
        refused,
        submit(Remove(b"k", b"2"), Remove(b"l", b"2")),
        refused,
        Submission(LOG, refused.transaction, 1),
        submit(Remove(b"k", b"2"), attempt=3),
        submit(Insert(b"k", b"4"), Remove(b"l", b"1")),
        submit(ExpectVersion(2), Remove(b"k", b"3"), log=OTHER),
    ]


class GroupingLaws(Laws):
    """A group is what would have been without groups, but for what it costs."""

    def oracle(self, backend: Backend) -> ModelBackend:
        """An oracle that holds what the backend holds: two logs, empty."""
        model = ModelBackend(self.limits)
        for it in (backend, model):
            it.create(OTHER)
        model.create(LOG)
        return model

    def same(self, backend: Backend, model: ModelBackend) -> None:
        """The backend holds what the oracle holds, at every version, and says so."""
        for log in (LOG, OTHER):
            assert backend.describe(log) == model.describe(log)
            assert [(it.version, it.transaction_id, it.effects) for it in backend.versions(log)] == [
                (it.version, it.transaction_id, it.effects) for it in model.versions(log)
            ]
            for version in range(model.describe(log).head + 1):
                assert changes(backend, version, log=log) == changes(model, version, log=log)

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
    def test_s02_s15_s16_a_group_is_judged_in_order(self, backend: Backend, size: int) -> None:
        """S2, S15, S16: groups of any size answer and leave behind what one by one would, whatever is in them."""
        update_all, model = grouping(backend), self.oracle(backend)
        everything, fates = mixed(self.limits.key), set[type]()
        for start in range(0, len(everything), size):
            group = everything[start : start + size]
            answers = update_all(group)
            assert told(answers) == told(list(one_by_one(model, group)))
            self.same(backend, model)
            fates |= {type(it) for it in answers}
        refusals = {UnexpectedValue, UnexpectedVersion, TransactionIdReused, NonexistentLog, TooLarge, InvalidRequest}
        assert fates == {Committed, *refusals}, "the control: there was one of each fate"

    @pytest.mark.parametrize("name", list(HISTORIES))
    def test_s05_s07_a_group_makes_a_version_for_each(self, backend: Backend, name: str) -> None:
        """S5, S7: each transaction of a group makes its own version, or none, which can be read like any other."""
        update_all, model = grouping(backend), self.oracle(backend)
        group = [submit(*commands, log=log) for commands in HISTORIES[name] for log in (LOG, OTHER)]
        assert told(update_all(group)) == told(list(one_by_one(model, group)))
        self.same(backend, model)

    def test_s03_one_that_is_refused_does_not_disturb_the_others(self, backend: Backend) -> None:
        """S3, S17: what is wrong with one, or refused of it, is its own answer; nothing of it is written."""
        update_all = grouping(backend)
        refused, too_long = submit(Upsert(b"x", b"1"), Insert(b"a", b"2")), bytes(self.limits.key + 1)
        answers = update_all(
            [submit(Insert(b"a", b"1")), refused, submit(Upsert(too_long, b"")), submit(Insert(b"b", b"1"))]
        )
        assert [it.version for it in answers if isinstance(it, Committed)] == [1, 2]
        assert [type(it) for it in answers] == [Committed, UnexpectedValue, TooLarge, Committed]
        assert list(state(backend)) == [b"a", b"b"]
        commit(backend, Update(b"a", b"2"))
        assert backend.update(LOG, refused.transaction).changed, "the rejection of attempt 1 is not kept"

    def test_s16_the_same_id_twice_in_a_group_takes_effect_once(self, backend: Backend) -> None:
        """S16: of two with the same id in one group the first is judged and the second gets its answer again."""
        update_all = grouping(backend)
        sent = submit(Insert(b"k", b"1"))
        reused = Submission(LOG, Transaction([Insert(b"l", b"1")], id=sent.transaction.id))
        *both, other = update_all([sent, sent, reused])
        assert both == [Committed(1, changed=True, replayed=False), Committed(1, changed=True, replayed=True)]
        assert type(other) is TransactionIdReused
        assert backend.describe(LOG).head == 1

    def test_s16_a_group_sent_again_is_answered_again(self, backend: Backend) -> None:
        """S16, S17: a whole group sent a second time takes effect once, and gets the answers it had."""
        update_all = grouping(backend)
        group = [submit(Insert(b"%d" % number, b"1")) for number in range(5)]
        assert told(update_all(group)) == [Committed(n, changed=True, replayed=False) for n in range(1, 6)]
        again = [attrs.evolve(it, attempt=2) for it in reversed(group)]
        assert told(update_all(again)) == [Committed(n, changed=True, replayed=True) for n in range(5, 0, -1)]
        assert backend.describe(LOG).head == 5

    def test_s15_groups_of_several_threads_do_not_mix_up(self, backend: Backend) -> None:
        """S15: groups sent at once lose nothing, and every version is one transaction's."""
        update_all = grouping(backend)

        def send(name: int) -> list[Answer]:
            groups = [[submit(Insert(b"%d/%d/%d" % (name, turn, n), b"1")) for n in range(4)] for turn in range(10)]
            return [answer for group in groups for answer in update_all(group)]

        threads = [Background(functools.partial(send, name)) for name in range(3)]
        answers = [answer for thread in threads for answer in thread.result()]
        assert sorted(it.version for it in answers) == list(range(1, 121))
        assert backend.describe(LOG).entries == 120

    def test_an_empty_group_is_answered_with_nothing(self, backend: Backend) -> None:
        """A group may be empty: nothing is answered and nothing happens."""
        assert list(grouping(backend)([])) == []
        assert backend.describe(LOG).head == 0

    def test_s17_a_closed_backend_refuses_each(self, backend: Backend) -> None:
        """``close``, S17: what refuses the whole group is answered to each, by an error of its own, and not raised."""
        update_all = grouping(backend)
        backend.close()
        answers = update_all([submit(Insert(b"k", b"1")) for _ in range(3)])
        assert [type(it) for it in answers] == [Closed] * 3
        assert len({id(it) for it in answers}) == 3
