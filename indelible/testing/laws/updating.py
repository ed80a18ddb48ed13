"""S1-S7: creating a log, judging a transaction, making a version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from indelible.backend import Backend, key_history
from indelible.changes import Added, Entry, Removed
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.errors import (
    LogExists,
    NonexistentLog,
    NonexistentValue,
    Rejected,
    UnexpectedValue,
    UnexpectedVersion,
)
from indelible.pages import DiffRequest
from indelible.records import Committed, LogInfo
from indelible.testing.laws.base import Laws
from indelible.testing.samples import HISTORIES, LOG, Bytes, changes, commit, fill, state, transaction

A, B, K = b"a", b"b", b"k"

# The table of S2, from its text: the kind, what is under the key, what becomes of it (an error: the rejection).
# Every command names the value A; "same value there" is A, "other value there" is B.
TABLE: list[tuple[Any, bytes | None, bytes | type[Rejected] | None]] = [
    (Insert, None, A),
    (Insert, A, A),
    (Insert, B, UnexpectedValue),
    (Update, None, NonexistentValue),
    (Update, A, A),
    (Update, B, A),
    (Upsert, None, A),
    (Upsert, A, A),
    (Upsert, B, A),
    (Remove, None, None),
    (Remove, A, None),
    (Remove, B, B),
]

# Commands after which the key holds this, whatever it held, each with a detour.
BEFOREHAND: dict[bytes | None, list[Bytes]] = {
    None: [Upsert(K, b"detour"), Remove(K, b"detour")],
    A: [Upsert(K, b"detour"), Update(K, A)],
    B: [Upsert(K, A), Upsert(K, B)],
}


class UpdatingLaws(Laws):
    """Creating and updating, one caller at a time."""

    def test_s01_a_created_log_is_empty_at_version_0(self, backend: Backend) -> None:
        """S1: ``create`` makes the log exist, empty, at version 0, in its group."""
        backend.create("new", "g")
        assert backend.describe("new") == LogInfo("new", "g", 0, 0, 0)
        assert changes(backend, 0, log="new") == []

    def test_s01_creating_again_with_the_same_group_does_nothing(self, backend: Backend) -> None:
        """S1: repeating ``create`` with the same group changes nothing, with or without a group."""
        backend.create("grouped", "g")
        commit(backend, Insert(K, A))
        commit(backend, Insert(K, A), log="grouped")
        backend.create(LOG)
        backend.create("grouped", "g")
        assert [info.head for info in backend.logs()] == [1, 1]

    @pytest.mark.parametrize(("first", "second"), [("g", "h"), (None, "g"), ("g", None), ("", None), (None, "")])
    def test_s01_creating_again_with_another_group_fails(
        self, backend: Backend, first: str | None, second: str | None
    ) -> None:
        """S1: ``create`` with another group is ``LogExists``, and the log stays as it was."""
        backend.create("new", first)
        commit(backend, Insert(K, A), log="new")
        with pytest.raises(LogExists) as caught:
            backend.create("new", second)
        assert caught.value.log == "new"
        assert backend.describe("new") == LogInfo("new", first, 1, 0, 1)
        backend.create("new", first)

    def test_s01_nothing_can_be_done_with_a_log_never_created(self, backend: Backend) -> None:
        """S1: every operation but ``create`` on a log never created is ``NonexistentLog``, and creates nothing."""
        operations: dict[str, Callable[[], object]] = {
            "update": lambda: commit(backend, Insert(K, A), log="absent"),
            "empty update": lambda: commit(backend, log="absent"),
            "diff": lambda: backend.diff("absent", DiffRequest()),
            "waiting diff": lambda: backend.diff("absent", DiffRequest(wait_seconds=30)),
            "describe": lambda: backend.describe("absent"),
            "versions": lambda: backend.versions("absent"),
            "trim": lambda: backend.trim("absent", 0),
            "history": lambda: key_history(backend, "absent", K),
        }
        for name, operation in operations.items():
            with pytest.raises(NonexistentLog) as caught:
                operation()
            assert caught.value.log == "absent", name
        assert [info.name for info in backend.logs()] == [LOG]

    @pytest.mark.parametrize("stored", [None, A, B])
    @pytest.mark.parametrize("directly", [True, False], ids=["stored", "made by earlier commands"])
    @pytest.mark.parametrize(("kind", "there", "outcome"), TABLE)
    def test_s02_every_cell_of_the_table(
        self,
        backend: Backend,
        kind: Any,
        there: bytes | None,
        outcome: bytes | type[Rejected] | None,
        stored: bytes | None,
        directly: bool,
    ) -> None:
        """S2, S4: each kind does what its cell says, whether the store or its own transaction made the situation."""
        if directly and stored != there:
            stored = there
        commit(backend, Insert(b"other", b""), *([Insert(K, stored)] if stored is not None else []))
        commands = [*([] if directly else BEFOREHAND[there]), kind(K, A)]
        before = state(backend)
        if isinstance(outcome, type):
            with pytest.raises(outcome) as caught:
                commit(backend, *commands)
            error = caught.value
            assert (error.log, error.index, error.command, error.head) == (LOG, len(commands) - 1, kind.__name__, 1)
            assert type(error) is outcome
            assert state(backend) == before
        elif outcome == stored:
            assert commit(backend, *commands) == Committed(1, changed=False, replayed=False)
            assert state(backend) == before
        else:
            assert commit(backend, *commands) == Committed(2, changed=True, replayed=False)
            held = {b"other": Entry(b"other", b"", 1)}
            assert state(backend) == held | ({} if outcome is None else {K: Entry(K, outcome, 2)})

    def test_s02_expect_version_passes_at_head_and_nowhere_else(self, backend: Backend) -> None:
        """S2, S3: ``ExpectVersion(n)`` passes only if the head before is ``n``; the error carries both."""
        commit(backend, ExpectVersion(0), Insert(K, A))
        commit(backend, Upsert(K, B), ExpectVersion(1), Upsert(K, b"c"), ExpectVersion(1))
        for wrong in (0, 1, 3, 2**62):
            with pytest.raises(UnexpectedVersion) as caught:
                commit(backend, Upsert(K, A), ExpectVersion(2), ExpectVersion(wrong))
            error = caught.value
            assert (error.log, error.index, error.command, error.head) == (LOG, 2, "ExpectVersion", 2)
            assert (error.expected, error.actual) == (wrong, 2)
        assert state(backend) == {K: Entry(K, b"c", 2)}
        assert commit(backend, ExpectVersion(2)) == Committed(2, changed=False, replayed=False)

    @pytest.mark.parametrize("name", [name for name in HISTORIES if name != "nothing"])
    def test_s02_commands_are_bytewise(self, backend: Backend, name: str) -> None:
        """S2: keys and values are compared as bytes, the empty ones and those with zeros included."""
        oracle = fill(backend, name)
        assert state(backend) == oracle.log(LOG).states[-1]

    def test_s03_the_first_rejected_command_rejects_the_whole_transaction(self, backend: Backend) -> None:
        """S3: one rejected command and nothing is written: no entry, no version, no answer kept under the id."""
        commit(backend, Insert(K, A), Insert(b"gone", b"1"))
        refused = transaction(
            Insert(b"new", b"1"), Remove(b"gone", b"1"), Update(K, B), Insert(K, A), Update(b"absent", B)
        )
        with pytest.raises(UnexpectedValue) as caught:
            backend.update(LOG, refused)
        assert (caught.value.index, caught.value.command, caught.value.head) == (3, "Insert", 1)
        assert state(backend) == {K: Entry(K, A, 1), b"gone": Entry(b"gone", b"1", 1)}
        assert backend.describe(LOG) == LogInfo(LOG, None, 1, 0, 2)
        assert [info.version for info in backend.versions(LOG)] == [1]
        accepted: Transaction[bytes, bytes] = Transaction(
            [c for c in refused.commands if c != Insert(K, A)][:3], id=refused.id
        )
        assert backend.update(LOG, accepted) == Committed(2, changed=True, replayed=False)

    def test_s03_the_error_names_the_first_of_several(self, backend: Backend) -> None:
        """S3: where several commands would be rejected, the first is named."""
        commit(backend, Insert(K, A))
        with pytest.raises(NonexistentValue) as caught:
            commit(backend, Upsert(b"x", A), Update(b"absent", A), Insert(K, B), ExpectVersion(9))
        assert (caught.value.index, caught.value.command, caught.value.head) == (1, "Update", 1)
        with pytest.raises(UnexpectedVersion) as caught_version:
            commit(backend, ExpectVersion(9), Update(b"absent", A))
        assert caught_version.value.index == 0

    def test_s04_a_key_left_as_it_was_has_no_effect(self, backend: Backend) -> None:
        """S4: equal before and after means no effect, and the entry keeps its old version."""
        commit(backend, Insert(K, A))
        commit(backend, Remove(K, A), Insert(b"other", A), Insert(K, A), Insert(b"brief", A), Remove(b"brief", A))
        assert state(backend) == {K: Entry(K, A, 1), b"other": Entry(b"other", A, 2)}
        assert [info.effects for info in backend.versions(LOG)] == [1, 1]
        assert changes(backend, 1, 2) == [Added(b"other", A, 2)]

    def test_s04_an_effect_stands_at_the_last_command_that_changed_its_key(self, backend: Backend) -> None:
        """S4: an effect stands at the last command that changed the key, not the last that named it."""
        first = [Upsert(b"c", A), Upsert(b"a", A), Upsert(b"b", A), Upsert(b"c", B), Upsert(b"a", A)]
        commit(backend, *first)
        assert [change.key for change in changes(backend, 0)] == [b"a", b"b", b"c"]
        commit(backend, Update(b"b", B), Upsert(b"a", B), Remove(b"b", B), Update(b"a", B), Remove(b"b", B))
        removed_and_added = [Removed(b"a", A, 1), Added(b"a", B, 2), Removed(b"b", A, 1)]
        assert changes(backend, 1, 2) == removed_and_added

    def test_s05_effects_make_exactly_one_version(self, backend: Backend) -> None:
        """S5: any number of effects make head + 1, which every added entry carries."""
        for version in range(1, 4):
            keys = [bytes([version, i]) for i in range(version)]
            answer = commit(backend, *(Insert(key, A) for key in keys))
            assert answer == Committed(version, changed=True, replayed=False)
            assert {state(backend)[key].version for key in keys} == {version}

    def test_s05_no_effect_makes_no_version(self, backend: Backend) -> None:
        """S5, S6: an empty or idempotent transaction is legal, answers the head and leaves it where it is."""
        commit(backend, Insert(K, A))
        for commands in ([], [Insert(K, A)], [Upsert(K, A), Update(K, A)], [Remove(K, B)], [Remove(b"absent", A)]):
            assert commit(backend, *commands) == Committed(1, changed=False, replayed=False)
        assert backend.describe(LOG) == LogInfo(LOG, None, 1, 0, 1)
        assert [info.version for info in backend.versions(LOG)] == [1]

    def test_s06_an_answer_tells_head_and_change(self, backend: Backend) -> None:
        """S6: ``Committed`` names the head after the transaction and whether it made a version."""
        answers = [commit(backend, Upsert(K, value)) for value in (A, A, B, B, A)]
        assert [(it.version, it.changed, it.replayed) for it in answers] == [
            (1, True, False),
            (1, False, False),
            (2, True, False),
            (2, False, False),
            (3, True, False),
        ]

    @pytest.mark.parametrize("name", list(HISTORIES))
    def test_s07_a_state_never_changes(self, backend: Backend, name: str) -> None:
        """S7: ``state(v)`` is the same however much is committed after it, and versions have no gaps."""
        seen = [state(backend)]
        for commands in HISTORIES[name]:
            commit(backend, *commands)
            seen.append(state(backend))
        assert [state(backend, version) for version in range(len(seen))] == seen
        assert [info.version for info in backend.versions(LOG)] == list(range(1, len(seen)))
