"""Any backend against the oracle, step by step, in an order that hypothesis makes up and makes small when it fails.

.. code-block:: python

    TestMyBackend = backend_machine(lambda: MyBackend(new_path()), reopen=lambda old: MyBackend(old.path)).TestCase
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from indelible.backend import Backend, key_history
from indelible.changes import Added, Change
from indelible.commands import Command, Transaction
from indelible.errors import IndelibleError, TransactionIdReused
from indelible.pages import AtCommand, AtKey, Cursor, DiffRequest, Order, Page
from indelible.testing import strategies
from indelible.testing.oracle import ModelBackend

LOGS = ("a", "b", "c/\0é")


@attrs.frozen(kw_only=True)
class Subject:
    """A backend under test: how to make it, how to reopen it after it was closed, whether order ``key`` is bytewise."""

    make: Callable[[], Backend]
    reopen: Callable[[Backend], Backend] | None = None
    sorted_keys: bool = True


@attrs.frozen
class Walk:
    """A diff that was begun: what is still to come from each backend, and where each goes on."""

    log: str
    page: Page
    order: Order
    limit: int
    left: tuple[tuple[Change[bytes, bytes], ...], ...]
    cursors: tuple[Cursor | None, ...]


def outcome(ask: Callable[[], Any]) -> tuple[Any, ...]:
    """What a call answers, or what is in its error, in a form to compare; other people's exceptions come through."""
    try:
        answer = ask()
    except TransactionIdReused:
        return (TransactionIdReused,)
    except IndelibleError as error:
        return (type(error), *(value for name, value in attrs.asdict(error).items() if name != "reason"))
    return ("answer", list(answer) if isinstance(answer, Sequence) else answer)


def backend_machine(
    make_backend: Callable[[], Backend],
    reopen: Callable[[Backend], Backend] | None = None,
    *,
    sorted_keys: bool = True,
    beside: Sequence[Subject] = (),
) -> type[RuleBasedStateMachine]:
    """A state machine class that holds ``make_backend``'s backend, and those of ``beside``, to the oracle.

    ``reopen`` gives the same logs again after a close; None: they are not closed on the way. ``sorted_keys=False`` is
    for backends that seal keys. Run it through its ``TestCase``.
    """
    subjects = (Subject(make=make_backend, reopen=reopen, sorted_keys=sorted_keys), *beside)
    return type("BackendMachine", (_Machine,), {"subjects": subjects})


class _Machine(RuleBasedStateMachine):
    subjects: tuple[Subject, ...] = ()
    sent = Bundle("sent")
    walks = Bundle("walks")
    logs = st.sampled_from([LOGS[0], LOGS[0], *LOGS])

    def __init__(self) -> None:
        super().__init__()
        self.oracle = ModelBackend()
        self.backends = [subject.make() for subject in self.subjects]

    def teardown(self) -> None:
        """Compare every state of every log, then let go."""
        try:
            for info in self.oracle.logs():
                for version in [0, *range(max(info.oldest, 1), info.head + 1)]:
                    request = DiffRequest(0, version)
                    self.same(operator.methodcaller("diff", info.name, request))
        finally:
            for backend in self.backends:
                backend.close()

    def same(self, ask: Callable[[Any], Any]) -> tuple[Any, ...]:
        """Ask the oracle and every backend the same; all must answer as the oracle does."""
        wanted = outcome(lambda: ask(self.oracle))
        for backend in self.backends:
            told = outcome(functools.partial(ask, backend))
            assert told == wanted, f"{type(backend).__name__}: {told} is not {wanted}"
        return wanted

    def version(self, log: str, number: int) -> int:
        """A version that is mostly there, and sometimes the one above the head."""
        found = {info.name: info.head for info in self.oracle.logs()}
        return number % (found.get(log, 0) + 2)

    @initialize()
    def first_log(self) -> None:
        """Most histories need a log."""
        self.same(lambda it: it.create(LOGS[0]))

    @rule(log=logs, group=st.sampled_from([None, "g", ""]))
    def create(self, log: str, group: str | None) -> None:
        """S1."""
        self.same(lambda it: it.create(log, group))

    @rule(target=sent, log=logs, transaction=strategies.transactions(), attempt=st.sampled_from([1, 1, 2]))
    def send(self, log: str, transaction: Transaction[bytes, bytes], attempt: int) -> Transaction[bytes, bytes]:
        """S2-S6, and S16 for a transaction whose first attempt was lost on the way."""
        self.same(lambda it: it.update(log, transaction, attempt))
        return transaction

    @rule(log=logs, bodies=st.lists(st.lists(strategies.puts(), min_size=1, max_size=4), min_size=2, max_size=4))
    def send_several(self, log: str, bodies: list[list[Command[bytes, bytes]]]) -> None:
        """S4-S7: versions to tell apart, for diffs have little to say of a log with one or two."""
        for body in bodies:
            transaction: Transaction[bytes, bytes] = Transaction(body)
            self.same(operator.methodcaller("update", log, transaction))

    @rule(log=logs, transaction=sent, attempt=st.sampled_from([1, 2, 3]))
    def send_again(self, log: str, transaction: Transaction[bytes, bytes], attempt: int) -> None:
        """S16: the same content."""
        self.same(lambda it: it.update(log, transaction, attempt))

    @rule(log=logs, used=sent, other=strategies.transactions(), attempt=st.sampled_from([1, 2]))
    def reuse_an_id(
        self, log: str, used: Transaction[bytes, bytes], other: Transaction[bytes, bytes], attempt: int
    ) -> None:
        """S16: other content."""
        reusing: Transaction[bytes, bytes] = Transaction(other.commands, other.source, id=used.id)
        self.same(lambda it: it.update(log, reusing, attempt))

    @rule(
        target=walks,
        log=logs,
        numbers=st.tuples(strategies.versions(50), st.none() | strategies.versions(50)),
        order=st.sampled_from(["command", "key"]),
        limit=strategies.limits(),
    )
    def diff(self, log: str, numbers: tuple[int, int | None], order: Order, limit: int) -> Any:
        """S8-S12, S14, S19: the first page of a diff."""
        start, end = self.version(log, numbers[0]), None if numbers[1] is None else self.version(log, numbers[1])
        whole = outcome(lambda: self.oracle.diff(log, DiffRequest(start, end, order=order)))
        if whole[0] != "answer":
            self.same(lambda it: it.diff(log, DiffRequest(start, end, order=order, limit=limit)))
            return multiple()
        left = tuple(self.whole(subject, it, log, whole[1], order) for subject, it in self.pairs())
        page: Page = attrs.evolve(whole[1], next=None)
        if limit == 0:
            empty = attrs.evolve(page, changes=())
            assert all(it.diff(log, DiffRequest(start, end, order=order, limit=0)) == empty for it in self.backends)
            return multiple()
        request = DiffRequest(start, end, order=order, limit=limit)
        return self.onward(Walk(log, page, order, limit, left, (None,) * len(left)), request)

    def pairs(self) -> list[tuple[Subject, Backend]]:
        """Each backend with what is known of it."""
        return list(zip(self.subjects, self.backends, strict=True))

    @staticmethod
    def whole(
        subject: Subject, backend: Backend, log: str, wanted: Page, order: Order
    ) -> tuple[Change[bytes, bytes], ...]:
        """All changes of a diff in the order in which this backend must give them."""
        if order == "command" or subject.sorted_keys:
            return wanted.changes
        told = backend.diff(log, DiffRequest(wanted.from_version, wanted.to_version, order=order)).changes
        assert tuple(sorted(told, key=lambda it: (it.key, isinstance(it, Added)))) == wanted.changes
        return told

    @rule(target=walks, walk=consumes(walks))
    def go_on(self, walk: Walk) -> Any:
        """S12, S19: the next page, whatever happened since the last."""
        return self.next_page(walk)

    @rule(walk=walks)
    def ask_for_a_page_twice(self, walk: Walk) -> None:
        """S12: a page that stays to be asked for again."""
        self.next_page(walk)

    def next_page(self, walk: Walk) -> Any:
        """Go on where each backend said, unless a trim took the versions away."""
        request = DiffRequest(walk.page.from_version, walk.page.to_version, order=walk.order, limit=walk.limit)
        if outcome(lambda: self.oracle.diff(walk.log, request))[0] != "answer":
            cursor = AtCommand(0, 0) if walk.order == "command" else AtKey(b"")
            self.same(lambda it: it.diff(walk.log, attrs.evolve(request, cursor=cursor)))
            return multiple()
        return self.onward(walk, request)

    def onward(self, walk: Walk, request: DiffRequest) -> Any:
        """Take a page from every backend; a walk that is not over comes back."""
        left, cursors = [], []
        for backend, rest, cursor in zip(self.backends, walk.left, walk.cursors, strict=True):
            page = backend.diff(walk.log, attrs.evolve(request, cursor=cursor))
            count = len(page.changes)
            assert (page.from_version, page.to_version) == (walk.page.from_version, walk.page.to_version)
            assert page.changes == rest[:count]
            assert count <= walk.limit
            assert (page.next is None) == (count == len(rest)), "the last page has no next, the others have one"
            assert count or not rest, "a page before the last gives nothing"
            left.append(rest[count:])
            cursors.append(page.next)
        going = attrs.evolve(walk, left=tuple(left), cursors=tuple(cursors))
        return going if all(left) and left else multiple()

    @rule(log=logs, number=strategies.versions(50))
    def trim(self, log: str, number: int) -> None:
        """S19."""
        before = self.version(log, number)
        self.same(lambda it: it.trim(log, before))

    @rule(log=logs, numbers=st.tuples(strategies.versions(50), st.none() | strategies.versions(50)))
    def versions(self, log: str, numbers: tuple[int, int | None]) -> None:
        """S18: all but the time, which no two stores share."""
        start, end = self.version(log, numbers[0]), None if numbers[1] is None else self.version(log, numbers[1])

        def timeless(it: Backend) -> list[Any]:
            return [
                attrs.astuple(info, filter=lambda field, _: field.name != "committed_at")
                for info in it.versions(log, start, end)
            ]

        self.same(timeless)

    @rule(log=logs, key=strategies.keys())
    def history(self, log: str, key: bytes) -> None:
        """What happened to a key."""
        self.same(lambda it: key_history(it, log, key))

    @rule()
    def close_and_reopen(self) -> None:
        """S21: what was acknowledged is kept."""
        for index, (subject, backend) in enumerate(self.pairs()):
            if subject.reopen is not None:
                backend.close()
                self.backends[index] = subject.reopen(backend)

    @invariant()
    def logs_agree(self) -> None:
        """S18, S20."""
        self.same(lambda it: it.logs())
        for log in LOGS:
            self.same(operator.methodcaller("describe", log))
