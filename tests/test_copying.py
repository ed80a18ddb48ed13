"""Copying logs: the copy is what the original is, however often it was interrupted, and nothing else is ever touched."""

import contextlib
import itertools
import subprocess
import time

import attrs
import pytest
from commandline import CommandLine
from hypothesis import given
from hypothesis import strategies as st

from indelible import batches, copying, seams
from indelible.backend import key_history
from indelible.backends import EncryptedBackend, MemoryBackend, SQLiteBackend
from indelible.cipher import SecretBoxCipher
from indelible.commands import Insert, Remove, Transaction, Update, Upsert
from indelible.copying import CopyReport, copy_log, verify
from indelible.errors import (
    IndelibleError,
    IntegrityError,
    InvalidRequest,
    LogExists,
    NonexistentLog,
    NotExecuted,
    OutcomeUnknown,
    Overloaded,
    ProtocolViolation,
    TooLarge,
    TransactionIdReused,
    VersionTrimmed,
)
from indelible.limits import Limits
from indelible.pages import DiffRequest
from indelible.profile import Profile
from indelible.secret import MasterKey
from indelible.testing import strategies
from indelible.testing.faults import Passing, WithoutKeyHistory
from indelible.testing.oracle import ModelBackend
from indelible.testing.samples import HISTORIES, changes

LOG = "a/\0é"


def versions_of(info):
    return [0, *range(max(info.oldest, 1), info.head + 1)]


def told(backend, log=LOG):
    """All that a backend says of a log and that a copy must say too."""
    info = backend.describe(log)
    nameable = versions_of(info)
    diffs = {
        (a, b, order): changes(backend, a, b, order, log)
        for a, b in itertools.product(nameable, nameable)
        for order in ("command", "key")
    }
    keys = sorted({change.key for told in diffs.values() for change in told})
    histories = {key: list(key_history(backend, log, key)) for key in keys}
    made = [(it.version, it.source, it.transaction_id, it.effects) for it in backend.versions(log)]
    return info, made, histories, diffs


def filled(backend, steps, log=LOG, group=None):
    """A backend after transactions and trims, some of them rejected."""
    backend.create(log, group)
    for step in steps:
        try:
            if isinstance(step, int):
                backend.trim(log, step % (backend.describe(log).head + 1))
            else:
                backend.update(log, step)
        except IndelibleError:
            pass
    return backend


def steps():
    """Transactions that mostly change something, and trims."""
    several = st.lists(strategies.puts(), min_size=1, max_size=4).map(Transaction)
    step = st.one_of(strategies.transactions(), several, several, st.integers(0, 20))
    return st.lists(step, max_size=12, unique_by=lambda step: step if isinstance(step, int) else step.id)


def put(backend, *pairs, log=LOG, source=None):
    return backend.update(log, Transaction([Upsert(key, value) for key, value in pairs], source))


def trimmed(commands, oldest):
    """A log of these transactions, trimmed."""
    return filled(MemoryBackend(), [*map(Transaction, commands), oldest])


@pytest.fixture
def sqlite(tmp_path):
    backend = SQLiteBackend(tmp_path / "copy.db")
    yield backend
    backend.close()


# The copy is what the original is


@given(steps=steps(), group=st.sampled_from([None, "", "g"]))
def test_a_copy_says_what_the_original_says(tmp_path_factory, steps, group):
    """From memory to SQLite and back, every nameable diff, history, version and description is the original's."""
    original = filled(MemoryBackend(), steps, group=group)
    stored, back = SQLiteBackend(tmp_path_factory.mktemp("copy") / "s.db"), MemoryBackend()
    try:
        report = copy_log(original, stored, LOG)
        copy_log(stored, back, LOG)
        info = original.describe(LOG)
        assert report == CopyReport(LOG, group, info.head, info.oldest, info.entries, info.head)
        assert told(original) == told(stored) == told(back)
        verify(original, back, LOG, every=True)
    finally:
        stored.close()


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize("oldest", range(6))
def test_histories_that_are_easy_to_get_wrong(name, oldest):
    """Each of the known histories, trimmed anywhere or not, copies from the oracle too."""
    original = filled(ModelBackend(), [*map(Transaction, HISTORIES[name])])
    if oldest > original.describe(LOG).head:
        return
    original.trim(LOG, oldest)
    copy = MemoryBackend()
    copy_log(original, copy, LOG)
    assert told(original) == told(copy)


a, b, c = (Upsert(key, b"1") for key in (b"a", b"b", b"c"))
BEGINNINGS = {
    "one version below that was replaced whole": ([[a], [Upsert(b"a", b"2")]], 2),
    "nothing left of many, and nothing removed": ([*([Upsert(b"a", b"%d" % i)] for i in range(6))], 6),
    "nothing left at all": ([[a], [b], [Remove(b"a", b"1"), Remove(b"b", b"1")]], 3),
    "removed one by one": ([[a, b, c], [Remove(b"a", b"1")], [Remove(b"b", b"1")], [Remove(b"c", b"1")]], 4),
    "removed and added": ([[a, b], [c], [Remove(b"a", b"1"), Upsert(b"d", b"1"), Remove(b"b", b"1")]], 3),
    "gaps between what is left": ([[a], [Upsert(b"x", b"1")], [Upsert(b"x", b"2")], [b], [Remove(b"x", b"2"), c]], 5),
    "the last introduces the empty key": ([[Upsert(b"", b"1")], [Upsert(b"", b"")]], 2),
}


@pytest.mark.parametrize(("commands", "oldest"), BEGINNINGS.values(), ids=BEGINNINGS)
def test_a_trimmed_beginning_is_made_up_exactly(commands, oldest):
    """The oldest version of a trimmed log holds each entry with its own version, and touched as many as it did."""
    original, copy = trimmed(commands, oldest), MemoryBackend()
    assert original.describe(LOG).oldest == oldest
    copy_log(original, copy, LOG)
    assert told(original) == told(copy)
    put(original, (b"later", b"1"))
    assert copy_log(original, copy, LOG).made == 1
    assert told(original) == told(copy)


def test_a_filler_never_meets_an_entry():
    """An entry that begins with what a filler would have begun with is copied as it is; fillers begin otherwise."""
    id_ = bytes(16)
    oldest = attrs.make_class("Version", ["version", "transaction_id"])(2, id_)
    first = copying._made_up(oldest, 0, b"filler")
    for clash in (Upsert(first + bytes(8), b"1"), Upsert(b"k", first)):
        original = filled(MemoryBackend(), [Transaction([clash, a]), Transaction([Remove(b"a", b"1")], id=id_), 2])
        assert copying._survey(original, LOG, original.versions(LOG)[0])[2] != first
        copy = MemoryBackend()
        copy_log(original, copy, LOG)
        assert told(original) == told(copy)
    plain = filled(MemoryBackend(), [Transaction([a, b]), Transaction([Remove(b"a", b"1")], id=id_), 2])
    assert copying._survey(plain, LOG, plain.versions(LOG)[0])[2] == first


def test_what_was_sealed_is_read_with_the_key(sqlite):
    """A sealed log is copied by who has no key, and read, with its history, by who has it."""
    cipher = SecretBoxCipher(MasterKey.generate())
    inner = MemoryBackend()
    original, copy = EncryptedBackend(inner, cipher), EncryptedBackend(sqlite, cipher)
    filled(original, [Transaction([Insert(b"k", b"v")]), Transaction([Update(b"k", b"w"), a]), 2], group="g")
    put(original, (b"later", b"1"), source="me")
    [stored] = inner.logs()
    copy_log(inner, sqlite, stored.name)
    assert LOG not in stored.name
    assert told(original) == told(copy)
    with pytest.raises(NonexistentLog):
        EncryptedBackend(sqlite, SecretBoxCipher(MasterKey.generate())).describe(LOG)


def test_a_log_can_be_sealed_anew_on_the_way():
    """Between two sealing backends, a log comes under another key, history and all."""
    original, copy = (EncryptedBackend(MemoryBackend(), SecretBoxCipher(MasterKey.generate())) for _ in range(2))
    filled(original, [Transaction([a, b]), Transaction([Remove(b"a", b"1")]), Transaction([c]), 2])
    copy_log(original, copy, LOG)
    for low, high in itertools.product([0, 2, 3], repeat=2):
        assert changes(original, low, high, log=LOG) == changes(copy, low, high, log=LOG)


@pytest.mark.parametrize("oldest", [0, 2])
def test_a_version_as_large_as_a_store_takes(sqlite, oldest):
    """10,000 changes in a version pass, although the limit leaves no room for a command more; pages stay small."""
    asked = []

    class Paged(Passing):
        def diff(self, log, request):
            asked.append(request.limit)
            return super().diff(log, request)

    original = MemoryBackend()
    original.create(LOG)
    for value in (b"1", b"2"):
        original.update(LOG, Transaction([Upsert(b"%d" % number, value) for number in range(10_000)]))
    original.trim(LOG, oldest)
    copy_log(Paged(original), sqlite, LOG)
    assert original.describe(LOG) == sqlite.describe(LOG)
    for low, high in [(0, 2), (1, 2)] if oldest == 0 else [(0, 2)]:
        assert changes(original, low, high, log=LOG) == changes(sqlite, low, high, log=LOG)
    assert asked and max(asked) <= 1_000


@pytest.mark.parametrize("oldest", [0, 2, 3, 4])
def test_versions_as_large_as_the_target_takes(oldest):
    """The same for removals and replacements, and for fillers beside entries, with a smaller limit."""
    keys = [b"%d" % number for number in range(50)]
    original, copy = MemoryBackend(), MemoryBackend(Limits(commands=50))
    original.create(LOG)
    for commands in (
        [Insert(key, b"1") for key in keys],
        [Update(key, b"2") for key in keys],
        [Remove(key, b"2") for key in keys],
        [Insert(key, b"1") for key in keys[::-1]],
    ):
        original.update(LOG, Transaction(commands))
    original.trim(LOG, oldest)
    copy_log(original, copy, LOG)
    assert told(original) == told(copy)


def test_as_many_fillers_as_there_were_removals(monkeypatch):
    """As many fillers as the oldest version removed are spread over the versions below it, as far as they have room."""
    monkeypatch.setattr(copying, "_FULL", 50)
    keys = [b"%d" % number for number in range(50)]
    commands = [[Upsert(b"x%d" % n, b"1") for n in range(49)], [Upsert(key, b"1") for key in keys]]
    original = trimmed([*commands, [Remove(key, b"1") for key in keys]], 3)
    copy = MemoryBackend(Limits(commands=50))
    copy_log(original, copy, LOG)
    assert told(original) == told(copy)


def test_the_targets_limits_hold():
    """What the target does not take is not copied, and the error names the limit; with a higher one it is."""
    original = MemoryBackend()
    original.create(LOG)
    put(original, (b"k", b"v" * 100))
    with pytest.raises(TooLarge) as caught:
        copy_log(original, MemoryBackend(Limits(value=99)), LOG)
    assert caught.value.limit == "value"
    copy_log(original, MemoryBackend(Limits(value=100)), LOG)
    put(original, *((b"%d" % n, b"1") for n in range(5)))
    with pytest.raises(TooLarge):
        copy_log(original, MemoryBackend(Limits(commands=4)), LOG)
    copy_log(original, MemoryBackend(Limits(commands=5)), LOG)


def test_a_late_retry_of_an_original_transaction_is_refused():
    """What the docstring says of ids: the copy knows them, and not what was sent under them."""
    original, copy = MemoryBackend(), MemoryBackend()
    original.create(LOG)
    sent = Transaction([Insert(b"k", b"v")])
    original.update(LOG, sent)
    copy_log(original, copy, LOG)
    assert original.update(LOG, sent, 2).replayed
    with pytest.raises(TransactionIdReused):
        copy.update(LOG, sent, 2)


def test_to_a_service_and_back():
    """Through a service, versions of the largest size among others, a copy says what the original says."""
    pytest.importorskip("uvicorn", reason="a service needs the extra server, which is not installed")
    from serving import serving

    from indelible.backends import HTTPBackend

    original, back = rich(4), MemoryBackend()
    original.create("large")
    for value in (b"1", b"2"):
        original.update("large", Transaction([Upsert(b"%d" % number, value) for number in range(10_000)], "me"))
    with serving() as service:
        there = HTTPBackend(service.url, service.credentials())
        for log in (LOG, "large"):
            copy_log(original, there, log)
            copy_log(there, back, log)
            verify(original, back, log, every=True)
        assert told(original) == told(there) == told(back)
        there.close()


# Going on


class Interrupted(BaseException):
    """What ctrl-C raises."""


class Failing(WithoutKeyHistory):
    """Raises at the call of number ``at``: before it, or after it took effect."""

    def __init__(self, backend, at, after=False, error=Interrupted):
        super().__init__(backend)
        self.calls, self.at, self.after, self.error = 0, at, after, error

    def _count(self, ask):
        self.calls += 1
        if self.calls != self.at:
            return ask()
        if self.after:
            with contextlib.suppress(IndelibleError):
                ask()
        raise self.error

    def create(self, *args):
        return self._count(lambda: super(Failing, self).create(*args))

    def update(self, *args):
        return self._count(lambda: super(Failing, self).update(*args))

    def diff(self, *args):
        return self._count(lambda: super(Failing, self).diff(*args))

    def describe(self, *args):
        return self._count(lambda: super(Failing, self).describe(*args))

    def versions(self, *args):
        return self._count(lambda: super(Failing, self).versions(*args))

    def trim(self, *args):
        return self._count(lambda: super(Failing, self).trim(*args))


def rich(oldest):
    """A log with replacements, removals and gaps."""
    commands = [[a, b], [c], [Upsert(b"a", b"2")], [Remove(b"b", b"1"), Upsert(b"a", b"3")], [b], [Remove(b"c", b"1")]]
    return trimmed(commands, oldest)


@pytest.mark.parametrize("oldest", [0, 2, 4, 6])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("side", ["source", "target"])
def test_an_interrupted_copy_goes_on(oldest, after, side):
    """Interrupted at any call, before or after it took effect, a copy run again ends as if nothing had happened."""
    original = rich(oldest)
    for at in itertools.count(1):
        copy = MemoryBackend()
        failing = Failing(original if side == "source" else copy, at, after)
        try:
            copy_log(*((failing, copy) if side == "source" else (original, failing)), LOG)
        except Interrupted:
            pass
        else:
            break
        copy_log(original, copy, LOG)
        assert told(original) == told(copy), at
    assert at > 5


@given(steps=steps(), more=steps(), at=st.integers(1, 60), after=st.booleans())
def test_an_interrupted_copy_of_anything_goes_on(steps, more, at, after):
    """The same for any log, if what happens to the original meanwhile leaves what the copy has reached."""
    original, copy = filled(MemoryBackend(), steps), MemoryBackend()
    try:
        copy_log(original, Failing(copy, at, after), LOG)
    except Interrupted:
        pass
    filled(original, [step for step in more if not isinstance(step, int)])
    copy_log(original, copy, LOG)
    assert told(original) == told(copy)


@pytest.mark.parametrize("oldest", [0, 4])
@pytest.mark.parametrize("reached", [False, True])
def test_a_lost_answer_is_asked_for_again(monkeypatch, oldest, reached):
    """``OutcomeUnknown``, whether or not it took effect, is sent again as the next attempt, and commits nothing twice."""
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    original, copy, attempts = rich(oldest), MemoryBackend(), []

    class Lost(Passing):
        def update(self, log, transaction, attempt=1):
            attempts.append(attempt)
            if attempt < 3:
                if reached:
                    super().update(log, transaction, attempt)
                raise OutcomeUnknown(log, transaction, attempt, "a test")
            return super().update(log, transaction, attempt)

    copy_log(original, Lost(copy), LOG)
    assert told(original) == told(copy)
    assert attempts == [1, 2, 3] * 6


def test_an_overloaded_target_is_tried_again_a_few_times(monkeypatch):
    """``NotExecuted`` is sent again as the same attempt; one that does not pass comes out, and the copy can go on."""
    paused, attempts = [], []
    monkeypatch.setattr(time, "sleep", paused.append)
    original, copy = rich(0), MemoryBackend()

    class Busy(Passing):
        def update(self, log, transaction, attempt=1):
            attempts.append(attempt)
            if len(attempts) % 3:
                raise Overloaded("busy")
            return super().update(log, transaction, attempt)

    class Full(Passing):
        def update(self, log, transaction, attempt=1):
            raise NotExecuted("the disk is full")

    with pytest.raises(NotExecuted, match="full"):
        copy_log(original, Full(copy), LOG)
    assert len(paused) == 5
    copy_log(original, Busy(copy), LOG)
    assert told(original) == told(copy)
    assert set(attempts) == {1}


def test_a_complete_copy_takes_over_what_came_since(sqlite):
    """Run again, a copy makes only the versions that are new, and forgets what the original forgot."""
    original = rich(0)
    assert copy_log(original, sqlite, LOG).made == 6
    assert copy_log(original, sqlite, LOG).made == 0
    put(original, (b"new", b"1"))
    original.trim(LOG, 3)
    assert copy_log(original, sqlite, LOG) == CopyReport(LOG, None, 7, 3, 3, 1)
    assert told(original) == told(sqlite)


def test_a_copy_follows_while_the_original_goes_on():
    """What is committed to the original, or trimmed, while a copy runs is in the copy when it ends."""
    original, copy = rich(0), MemoryBackend()
    left = iter(range(40))

    class Written(Passing):
        def versions(self, *args):
            for number in itertools.islice(left, 1):
                put(original, (b"new", b"%d" % number))
                original.trim(LOG, copy.describe(LOG).head)
            return super().versions(*args)

    report = copy_log(Written(original), copy, LOG)
    assert told(original) == told(copy)
    assert report.made == original.describe(LOG).head == 46


@pytest.mark.parametrize("at", range(1, 8))
def test_two_copies_at_once_make_one(at):
    """Somebody who runs the same copy meanwhile does no harm: both send the same transactions."""
    original, copy = rich(4), MemoryBackend()

    class Raced(Passing):
        calls = 0

        def update(self, *args):
            Raced.calls += 1
            if Raced.calls == at:
                copy_log(original, copy, LOG)
            return super().update(*args)

    copy_log(original, Raced(copy), LOG)
    assert told(original) == told(copy)


# Committing many at once


class Grouped(Passing):
    """Takes many transactions at once; ``faulty`` says which answers become errors, and whether they took effect."""

    def __init__(self, backend, faulty=lambda number: None):
        super().__init__(backend)
        self.sizes, self.faulty, self.number = [], faulty, 0

    def update_all(self, submissions):
        self.sizes.append(len(submissions))
        return [self._answer(it) for it in submissions]

    def _answer(self, it):
        self.number += 1
        error = self.faulty(self.number)
        if error == "refused":
            return Overloaded("busy")
        try:
            answer = self.inner.update(it.log, it.transaction, it.attempt)
        except IndelibleError as rejected:
            return rejected
        return OutcomeUnknown(it.log, it.transaction, it.attempt, "lost") if error == "lost" else answer


@given(steps=steps(), errors=st.lists(st.sampled_from([None, "refused", "lost"]), max_size=12))
def test_a_target_that_commits_many_at_once(steps, errors):
    """A target that takes many transactions at once gets them together; whichever fail are settled one by one."""
    original = filled(MemoryBackend(), steps)
    faults = iter(errors)
    copy = MemoryBackend()
    copy_log(original, Grouped(copy, lambda _number: next(faults, None)), LOG)
    assert told(original) == told(copy)


def test_batches_have_a_size(monkeypatch):
    """As many versions go together as fit a batch, by number and by bytes."""
    original = MemoryBackend()
    original.create(LOG)
    for number in range(600):
        put(original, (b"k", b"%d" % number))
    target = Grouped(MemoryBackend())
    copy_log(original, target, LOG)
    assert target.sizes == [256, 256, 88]
    monkeypatch.setattr(batches, "_BATCH_BYTES", 40)
    target = Grouped(MemoryBackend())
    copy_log(original, target, LOG)
    assert max(target.sizes) <= 20 and len(target.sizes) >= 30


# Refusing


def unlike(kind):
    """A target that must not be copied to, and one like it that may be."""
    good = rich(0)
    bad = MemoryBackend()
    if kind == "written to":
        copy_log(good, bad, LOG)
        put(bad, (b"mine", b"1"))
    elif kind == "another log":
        put(filled(bad, []), (b"a", b"1"))
    elif kind == "another log as long":
        filled(bad, [Transaction([Upsert(b"k", b"%d" % number)]) for number in range(6)])
    elif kind == "another beginning":
        filled(bad, [Transaction([c])])
        for it in good.versions(LOG, 1):
            bad.update(LOG, Transaction([Upsert(b"k", b"%d" % it.version)], it.source, id=it.transaction_id))
    elif kind == "trimmed further":
        copy_log(good, bad, LOG)
        bad.trim(LOG, 3)
    elif kind == "left behind":
        copy_log(good, bad, LOG)
        for _ in range(3):
            put(good, (b"x", seams.entropy(8)))
        good.trim(LOG, 8)
    elif kind == "begun before a trim":
        good.trim(LOG, 3)
        with pytest.raises(Interrupted):
            copy_log(good, Failing(bad, 3, after=True), LOG)
        assert bad.describe(LOG).head == 1
        good.trim(LOG, 5)
    return good, bad


KINDS = [
    *("written to", "another log", "another log as long", "another beginning", "trimmed further"),
    *("left behind", "begun before a trim"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_copy_is_refused_and_left_alone(kind):
    """A target whose log is another one, or cannot be shown to be the same, is refused and not changed."""
    original, other = unlike(kind)
    before = told(other)
    with pytest.raises(InvalidRequest, match="copy to another store"):
        copy_log(original, other, LOG)
    assert told(other) == before
    with pytest.raises(IntegrityError):
        verify(original, other, LOG)
    copy = MemoryBackend()
    copy_log(original, copy, LOG)
    verify(original, copy, LOG)


MIDDLES = {
    "another id": ({"id": b"x" * 16}, {}),
    "another source": ({"source": "you"}, {}),
    "other contents under the same id": ({"commands": [Upsert(b"middle", b"2")]}, {}),
    "another number of entries": ({"commands": [Upsert(b"middle", b"1"), Upsert(b"more", b"1")]}, {}),
    "another id, and the same was trimmed": ({"id": b"x" * 16}, {"oldest": 2}),
}


def long(middle, oldest=0):
    """Nine versions, of which the one in the middle is made of ``middle``; the ids of all others are always the same."""
    made = [Transaction([Upsert(b"%d" % number, b"1")], "me", id=bytes([number] * 16)) for number in range(1, 10)]
    made[4] = Transaction(**{"commands": [Upsert(b"middle", b"1")], "source": "me", "id": b"5" * 16} | middle)
    return filled(MemoryBackend(), [*made, oldest])


@pytest.mark.parametrize("page", [1, 2, 5, 1_000])
@pytest.mark.parametrize(("other", "more"), MIDDLES.values(), ids=MIDDLES)
def test_what_only_begins_and_ends_alike_is_refused_and_left_alone(monkeypatch, other, more, page):
    """A log that differs in a version between, or in what it holds, is no copy, and nothing is sent to it."""
    monkeypatch.setattr(copying, "_PAGE", page)
    original, target, copy = long({}, **more), long(other, **more), long({}, **more)
    put(original, (b"new", b"1"))
    before = told(target)
    with pytest.raises(InvalidRequest, match="copy to another store"):
        copy_log(original, target, LOG)
    assert told(target) == before
    with pytest.raises(IntegrityError):
        verify(original, target, LOG, every=True)
    assert copy_log(original, copy, LOG).made == 1, "the control: what is the same all along"


def test_a_beginning_made_up_by_somebody_else_is_refused():
    """Of the versions that were made up below the oldest of a trimmed log, each has to be the one that belongs there."""
    original, copy, other = rich(6), MemoryBackend(), MemoryBackend()
    with pytest.raises(Interrupted):
        copy_log(original, Failing(copy, 6, after=True), LOG)
    assert copy.describe(LOG).head == 4
    other.create(LOG)
    for it in copy.versions(LOG):
        other.update(
            LOG, Transaction([Upsert(b"%d" % it.version, b"1")], id=it.transaction_id if it.version != 2 else b"x" * 16)
        )
    with pytest.raises(InvalidRequest, match="copy to another store"):
        copy_log(original, other, LOG)
    assert other.describe(LOG).head == 4
    assert copy_log(original, copy, LOG).made == 2


def test_only_what_was_there_before_is_compared(monkeypatch):
    """A target that holds nothing is not read at all, and one that does only once, however long a copy follows."""
    monkeypatch.setattr(batches, "_BATCH", 1)
    asked = []

    class Asked(Passing):
        def diff(self, log, request):
            asked.append("diff")
            return super().diff(log, request)

        def versions(self, *args):
            asked.append("versions")
            return super().versions(*args)

    original, copy = rich(0), MemoryBackend()
    copy_log(original, Asked(copy), LOG)
    assert asked == []
    left = iter(range(10))

    class Growing(Passing):
        def describe(self, log):
            for number in itertools.islice(left, 1):
                put(original, (b"new", b"%d" % number))
            return super().describe(log)

    assert copy_log(Growing(original), Asked(copy), LOG).made == 10
    assert asked.count("diff") == 1, "what it holds is compared once"
    assert told(original) == told(copy)


def test_a_trim_while_versions_are_compared(monkeypatch):
    """An original that is trimmed while it is compared is compared again, and a copy of it goes on."""
    monkeypatch.setattr(copying, "_PAGE", 1)
    for at in range(1, 12):
        original, copy = long({}), long({})
        put(original, (b"new", b"1"))
        calls = itertools.count(1)

        class Trimming(Passing):
            def versions(self, *args):
                if next(calls) == at:  # noqa: B023
                    original.trim(LOG, 4)  # noqa: B023
                return super().versions(*args)

        copy_log(Trimming(original), copy, LOG)
        assert told(original) == told(copy)


def test_another_group_is_refused():
    """A log that exists with another group is not copied to; one with the same is."""
    original = filled(MemoryBackend(), [Transaction([a])], group="g")
    copy = MemoryBackend()
    copy.create(LOG, "other")
    with pytest.raises(LogExists):
        copy_log(original, copy, LOG)
    assert copy.describe(LOG).head == 0
    copy = MemoryBackend()
    copy.create(LOG, "g")
    assert copy_log(original, copy, LOG).head == 1


def test_a_log_that_is_not_there_is_not_made():
    """A log that the source does not have is an error, and does not appear in the target."""
    original, copy = MemoryBackend(), MemoryBackend()
    with pytest.raises(NonexistentLog):
        copy_log(original, copy, LOG)
    assert copy.logs() == []
    original.create(LOG)
    assert copy_log(original, copy, LOG) == CopyReport(LOG, None, 0, 0, 0, 0)
    assert [info.name for info in copy.logs()] == [LOG]


@pytest.mark.parametrize("without_room", [False, True])
def test_somebody_who_writes_to_the_target_is_noticed(without_room):
    """A version that somebody else makes in the target meanwhile ends the copy; nothing is put after it unseen."""
    original = rich(0)
    copy = MemoryBackend(Limits(commands=2) if without_room else None)

    class Written(Passing):
        sent = 0

        def update(self, *args):
            Written.sent += 1
            if Written.sent == 4:
                put(copy, (b"mine", b"1"))
            return super().update(*args)

    with pytest.raises((InvalidRequest, IntegrityError), match="somebody else writes to it"):
        copy_log(original, Written(copy), LOG)
    with pytest.raises(InvalidRequest, match="another log"):
        copy_log(original, copy, LOG)


def test_a_source_that_contradicts_itself_is_noticed():
    """A source whose diffs do not fit what it tells of its versions is not copied."""

    class Forgetful(Passing):
        def diff(self, log, request):
            page = super().diff(log, request)
            return attrs.evolve(page, changes=page.changes[1:]) if request.from_version == 3 else page

    class Silent(Passing):
        def versions(self, *args):
            return []

    with pytest.raises(IntegrityError, match="version 4 is said to have touched"):
        copy_log(Forgetful(rich(0)), MemoryBackend(), LOG)
    with pytest.raises(ProtocolViolation):
        copy_log(Silent(rich(3)), MemoryBackend(), LOG)


def test_a_target_that_contradicts_itself_is_noticed():
    """A target that took every version and then describes something else is no copy."""
    with pytest.raises(IntegrityError, match="do not use the copy"):
        copy_log(rich(3), altered(entries=7)(MemoryBackend()), LOG)
    copy_log(rich(3), altered()(MemoryBackend()), LOG)


@pytest.mark.parametrize("wrong", [{"version": 7}, {"changed": False}])
def test_a_target_that_answers_something_else_is_noticed(wrong):
    """An answer that does not tell of exactly the version that was sent ends the copy."""

    class Confused(Passing):
        def update(self, *args):
            answer = super().update(*args)
            return attrs.evolve(answer, **wrong) if answer.version == 4 else answer

    with pytest.raises(IntegrityError, match="what was to become version 4"):
        copy_log(rich(0), Confused(MemoryBackend()), LOG)


def test_a_source_that_was_trimmed_past_the_copy_says_so(monkeypatch):
    """A trim of the source beyond where a running copy is ends it with an error that names the versions."""
    monkeypatch.setattr(batches, "_BATCH", 1)
    original, copy = rich(0), MemoryBackend()

    class Trimming(Passing):
        def update(self, *args):
            original.trim(LOG, 5)
            return super().update(*args)

    with pytest.raises(InvalidRequest, match="up to 5 were trimmed"):
        copy_log(original, Trimming(copy), LOG)

    class Confused(Passing):
        def diff(self, log, request):
            raise VersionTrimmed(log, request.from_version, 3)

    with pytest.raises(VersionTrimmed):
        copy_log(Confused(rich(0)), MemoryBackend(), LOG)


# Verifying


def altered(**fields):
    """A backend that tells something else than it holds."""

    class Altered(Passing):
        def describe(self, log):
            return attrs.evolve(super().describe(log), **fields)

    return Altered


class AlteredValue(Passing):
    def diff(self, log, request):
        page = super().diff(log, request)
        if request.to_version != 4:
            return page
        return attrs.evolve(page, changes=tuple(attrs.evolve(it, value=b"altered") for it in page.changes))


class AlteredEntry(Passing):
    def diff(self, log, request):
        page = super().diff(log, request)
        return page if request.from_version else attrs.evolve(page, changes=page.changes[:-1])


class AlteredState(Passing):
    def diff(self, log, request):
        page = super().diff(log, request)
        whole = (request.from_version, request.to_version) == (0, 6)
        return attrs.evolve(page, changes=page.changes[:-1]) if whole else page


class AlteredVersion(Passing):
    def versions(self, *args):
        return [attrs.evolve(it, source="altered" if it.version == 4 else it.source) for it in super().versions(*args)]


@pytest.mark.parametrize("oldest", [0, 3])
@pytest.mark.parametrize(
    ("worse", "every"),
    [
        (altered(entries=7), False),
        (altered(oldest=2), False),
        (altered(group="x"), False),
        (AlteredValue, True),
        (AlteredEntry, True),
        (AlteredState, True),
        (AlteredVersion, True),
    ],
)
def test_verify_sees_what_differs(oldest, worse, every):
    """A copy that differs in a number, an entry, a value or a version fails; the true copy passes."""
    original, copy = rich(oldest), MemoryBackend()
    copy_log(original, copy, LOG)
    seen = []
    verify(original, copy, LOG, every=every, progress=seen.append)
    assert seen == (versions_of(copy.describe(LOG))[1:] if every else [])
    with pytest.raises(IntegrityError, match="do not use the copy"):
        verify(original, worse(copy), LOG, every=every)


def test_verify_takes_an_original_that_went_on():
    """A copy of what the original was is a true copy."""
    original, copy = rich(3), MemoryBackend()
    copy_log(original, copy, LOG)
    put(original, (b"new", b"1"))
    verify(original, copy, LOG, every=True)
    empty = MemoryBackend()
    empty.create(LOG)
    verify(empty, copy_of(empty), LOG, every=True)


def copy_of(original):
    copy = MemoryBackend()
    copy_log(original, copy, LOG)
    return copy


# As a user


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch):
    cli = CommandLine(tmp_path, capsys, monkeypatch)
    cli.ok("init")
    cli.ok("create", "notes", "--group", "g")
    for number in range(5):
        cli.ok("put", "notes", "a", number, "--source", "me")
    cli.ok("create", "empty")
    return cli


def test_copy_on_the_command_line(cli):
    """``copy`` takes every log of a store to another, under the names they are stored by; both read the same."""
    assert cli.ok("init", "--profile", "other.json", "--url", "sqlite:///copy.db").code == 0
    ran = cli.ok("copy", "indelible.json", "sqlite:///copy.db", "--check", "--output", "json")
    assert [(it["version"], it["oldest"], it["copied"]) for it in ran.json] in (
        [(0, 0, 0), (5, 0, 5)],
        [(5, 0, 5), (0, 0, 0)],
    )
    assert not any("notes" in it["log"] for it in ran.json)
    cli.ok("put", "notes", "b", "1")
    cli.ok("trim", "notes", "3", "--yes")
    ran = cli.ok("copy", "sqlite:///indelible.db", "other.json", "--check")
    assert ran.out.splitlines()[0].split() == ["LOG", "VERSION", "OLDEST", "COPIED"]
    assert sorted(line.split()[1:] for line in ran.out.splitlines()[1:]) == [["0", "0", "0"], ["6", "3", "1"]]
    text = (cli.folder / "indelible.json").read_text().replace("indelible.db", "copy.db")
    (cli.folder / "other.json").write_text(text)
    for argv in (["show", "notes"], ["diff", "notes", "3"], ["history", "notes", "a"], ["logs"]):
        assert cli.ok(*argv).out == cli.ok(*argv, "--profile", "other.json").out
    assert cli.ok("versions", "notes", "--profile", "other.json", "--output", "json").json[0]["source"] == "me"


def test_copy_takes_only_the_logs_that_it_is_told(cli):
    """``--log`` names logs by their stored names; one that is not there is not found."""
    stored = [it["log"] for it in cli.ok("copy", "indelible.json", "memory:", "--output", "ndjson").ndjson]
    assert len(stored) == 2
    ran = cli.ok("copy", "indelible.json", "sqlite:///copy.db", "--log", stored[0], "--output", "ndjson")
    assert [it["log"] for it in ran.ndjson] == stored[:1]
    cli.fails(3, "copy", "indelible.json", "sqlite:///copy.db", "--log", "notes")
    ran = cli.ok("copy", "indelible.json", "memory:", "--log", stored[0], "--log", stored[1], "--output", "ndjson")
    assert [it["log"] for it in ran.ndjson] == stored


def test_copy_refuses_on_the_command_line(cli):
    """A source that is not there is not made, and a target with another log is left as it is."""
    assert "no store at" in cli.fails(2, "copy", "sqlite:///nope.db", "sqlite:///copy.db")
    assert not list(cli.folder.glob("*nope*")) + list(cli.folder.glob("copy*"))
    cli.ok("copy", "indelible.json", "sqlite:///copy.db")
    text = (cli.folder / "indelible.json").read_text().replace("indelible.db", "copy.db")
    (cli.folder / "other.json").write_text(text)
    (cli.folder / "other.json").chmod(0o600)
    cli.ok("put", "notes", "mine", "1", "--profile", "other.json")
    assert "copy to another store" in cli.fails(2, "copy", "indelible.json", "sqlite:///copy.db")
    cli.fails(2, "copy", "nope.json", "sqlite:///copy.db")
    assert "no backend" in cli.fails(2, "copy", "indelible.json", "nonesuch:")


def test_copy_refuses_a_log_that_only_ends_alike(cli):
    """Two logs into which the same file was imported end with the same id; what was put in between tells them apart."""
    text = (cli.folder / "indelible.json").read_text().replace("indelible.db", "copy.db")
    (cli.folder / "other.json").write_text(text)
    (cli.folder / "other.json").chmod(0o600)
    profiles = ("indelible.json", "other.json")
    for profile in profiles:
        cli.ok("import", "mine", "-", "--batch", "1", "--profile", profile, stdin=b'{"key":"1","value":1}\n')
        cli.ok("put", "mine", "who", profile, "--text", "--profile", profile)
        both = b'{"key":"1","value":1}\n{"key":"2","value":2}\n'
        cli.ok("import", "mine", "-", "--batch", "1", "--profile", profile, stdin=both)
    cli.ok("put", "mine", "more", "1")
    stored = next(
        it["log"] for it in cli.ok("copy", *profiles[:1], "memory:", "--output", "json").json if it["version"] == 4
    )
    before = cli.ok("show", "mine", "--profile", "other.json").out
    assert "copy to another store" in cli.fails(2, "copy", *profiles, "--log", stored)
    assert cli.ok("show", "mine", "--profile", "other.json").out == before


def test_copy_reads_no_service_that_was_rolled_back(cli):
    """S7: through a profile, the pins beside it hold for ``copy`` too, until ``accept-rollback``."""
    from http_scripted import CREDENTIALS, Scripted

    with Scripted() as server:
        secret = CREDENTIALS.apikey.reveal().decode()
        profile = Profile(endpoint_url=server.url, master_key=MasterKey.generate(), customer_id="me", apikey=secret)
        profile.save(cli.folder / "service.json")
        cli.ok("create", "orders", "--profile", "service.json")
        cli.ok("put", "orders", "a", "1", "--profile", "service.json")
        [stored] = server.honest.store.logs()
        early = MemoryBackend()
        copy_log(server.honest.store, early, stored.name)
        cli.ok("put", "orders", "a", "2", "--profile", "service.json")
        cli.ok("copy", "service.json", "sqlite:///late.db")
        later, server.honest.store = server.honest.store, early
        assert "accept-rollback" in cli.fails(7, "copy", "service.json", "sqlite:///early.db")
        cli.ok("accept-rollback", "orders", "--profile", "service.json")
        cli.ok("copy", "service.json", "sqlite:///early.db")
        later.close()


def test_copy_takes_what_is_larger_than_stores_take_by_themselves(cli):
    """What was written with higher limits, as by git-import, is copied too."""
    large = SQLiteBackend(cli.folder / "large.db", limits=Limits(commands=20_000, value=2**21))
    large.create("x" * 1000)
    large.update("x" * 1000, Transaction([Upsert(b"%d" % number, b"") for number in range(11_000)]))
    large.update("x" * 1000, Transaction([Upsert(b"large", bytes(2**21))]))
    large.close()
    cli.ok("copy", "sqlite:///large.db", "sqlite:///copy.db", "--check")


def test_a_killed_copy_goes_on(cli):
    """Killed at any time and run again, ``copy`` ends with the same copy, and one that ran through agrees."""
    store = SQLiteBackend(cli.folder / "long.db")
    store.create("a")
    for number in range(600):
        store.update("a", Transaction([Upsert(b"%d" % (number % 7), b"%d" % number)]))
    store.trim("a", 300)
    for wait in (0.4, 0.6, 0.7, 0.8):
        with cli.start("copy", "sqlite:///long.db", "sqlite:///copy.db") as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait)
            process.kill()
            process.communicate()
    ran = cli.ok("copy", "sqlite:///long.db", "sqlite:///copy.db", "--check", "--output", "ndjson")
    assert [(it["version"], it["oldest"]) for it in ran.ndjson] == [(600, 300)]
    with contextlib.closing(SQLiteBackend(cli.folder / "copy.db")) as copy:
        assert store.describe("a") == copy.describe("a")
        assert changes(store, 300, log="a") == changes(copy, 300, log="a")
    store.close()
