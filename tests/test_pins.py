"""Pins: the newest version seen of each log, kept, shared between processes, and given up only on purpose."""

import json
import logging
import os
import stat
import subprocess
import sys
import threading
import types

import pytest
from commandline import CommandLine
from http_scripted import CREDENTIALS, Scripted, in_turn

import indelible
from indelible import (
    Client,
    Committed,
    HistoryRolledBack,
    InvalidRequest,
    MasterKey,
    NonexistentLog,
    OutcomeUnknown,
    Profile,
    Upsert,
    backend,
    seams,
)
from indelible.backends import EncryptedBackend, MemoryBackend, ScopedBackend
from indelible.backends.http import Pins
from indelible.backends.http import pins as pins_module
from indelible.cipher import SecretBoxCipher
from indelible.commands import Insert, Transaction
from indelible.pages import DiffRequest

KEY = MasterKey.generate()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.pins"


@pytest.fixture
def server():
    with Scripted() as it:
        yield it


@pytest.fixture
def timers(monkeypatch):
    """The timers that were started, which run when they are told to."""
    started = []

    class ByHand:
        daemon = False

        def __init__(self, seconds, run):
            self.seconds, self.run = seconds, run

        def start(self):
            assert self.daemon, "nobody waits for it at the end"
            started.append(self)

    monkeypatch.setattr(pins_module, "Timer", ByHand)
    return started


@pytest.fixture
def clock(monkeypatch, timers):
    """A clock that stands still until it is moved, and timers that run when they are told to."""
    now = [1000.0]
    monkeypatch.setattr(seams, "monotonic", lambda: now[0])
    return now


def written(path):
    return {log: version for log, (_, version) in json.loads(path.read_bytes())["pins"].get("me", {}).items()}


# What is remembered


def test_the_highest_version_counts():
    """Versions go up and never down; each customer and each log has its own."""
    pins = Pins()
    for version in (3, 1, 7, 7, 2):
        pins.see("me", "log", version)
    pins.see("you", "log", 5)
    pins.see("me", "other", 1)
    assert [pins.get(*it) for it in [("me", "log"), ("you", "log"), ("me", "other"), ("me", "absent")]] == [7, 5, 1, 0]
    assert pins.all("me") == {"log": 7, "other": 1}
    assert pins.all("nobody") == {}


def test_version_0_is_nothing_to_remember(path):
    """A log seen empty is not pinned: it may be gone tomorrow, and no history is lost by that."""
    pins = Pins(path)
    pins.see("me", "log", 0)
    pins.flush()
    assert pins.all("me") == {}
    assert not path.exists()


def test_a_rollback_that_was_accepted_is_forgotten(path):
    """After ``accept`` a log is taken as it is shown next, and pinned from there; others stay."""
    for pins in (Pins(), Pins(path)):
        pins.see("me", "log", 7)
        pins.see("me", "other", 7)
        pins.accept("me", "log")
        assert (pins.get("me", "log"), pins.get("me", "other")) == (0, 7)
        pins.see("me", "log", 3)
        assert pins.get("me", "log") == 3
        pins.accept("me", "never seen")


def test_pins_are_used_from_many_threads(path):
    """Nothing is lost when threads see versions at once."""
    pins = Pins(path)

    def see(name):
        for version in range(1, 200):
            pins.see("me", f"log {(name + version) % 5}", version)

    threads = [threading.Thread(target=see, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pins.flush()
    assert max(pins.all("me").values()) == 199
    assert Pins(path).all("me") == pins.all("me") == written(path)


# The file


def test_what_was_seen_outlives_the_process(path):
    """What is flushed is there for the next to open the file; nothing but the pins is in it, for its owner alone."""
    pins = Pins(path)
    pins.see("me", "log", 7)
    pins.flush()
    assert Pins(path).get("me", "log") == 7
    assert json.loads(path.read_bytes()) == {"format": 1, "pins": {"me": {"log": [0, 7]}}}
    for file in (path, path.with_name("some.pins.lock")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(it.name for it in path.parent.iterdir()) == ["some.pins", "some.pins.lock"]


def test_the_file_is_written_about_once_a_second(path, clock):
    """The first version is written at once, others at most once a second, the last by ``flush``."""
    pins = Pins(path)
    pins.see("me", "log", 1)
    assert written(path) == {"log": 1}
    for step in range(2, 10):
        clock[0] += 0.1
        pins.see("me", "log", step)
    assert written(path) == {"log": 1}
    clock[0] += 0.3
    pins.see("me", "log", 5)
    assert written(path) == {"log": 9}
    pins.see("me", "log", 10)
    assert written(path) == {"log": 9}
    pins.flush()
    assert written(path) == {"log": 10}


def test_what_is_seen_last_is_written_when_the_second_is_over(path, clock, timers):
    """What was seen since the last write is written without another answer, by one timer at a time."""
    pins = Pins(path)
    pins.see("me", "log", 1)
    assert timers == []
    clock[0] += 0.25
    for step in range(2, 6):
        pins.see("me", "log", step)
    assert [it.seconds for it in timers] == [0.75]
    assert written(path) == {"log": 1}
    timers.pop().run()
    assert written(path) == {"log": 5}
    pins.see("me", "log", 6)
    assert [it.seconds for it in timers] == [1.0]
    pins.flush()
    before = path.stat()
    timers.pop().run()
    assert path.stat().st_ino == before.st_ino, "nothing is left to write"


def test_a_program_that_is_killed_a_second_later_has_lost_nothing(path):
    """The timer is one that runs by itself; who is killed does not flush."""
    code = (
        "import os, sys, time\n"
        "from indelible.backends.http import Pins\n"
        "pins = Pins(sys.argv[1])\n"
        "pins.see('me', 'log', 1)\n"
        "pins.see('me', 'log', 2)\n"
        "deadline = time.monotonic() + 20\n"
        "while '2' not in open(sys.argv[1]).read() and time.monotonic() < deadline:\n"
        "    time.sleep(0.01)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    assert written(path) == {"log": 2}


def test_where_no_thread_can_be_had_the_next_answer_writes(path, clock, monkeypatch):
    """A timer that cannot be started spoils no answer."""

    class Refused:
        def __init__(self, *_):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pins_module, "Timer", Refused)
    pins = Pins(path)
    for version in (1, 2):
        pins.see("me", "log", version)
    assert written(path) == {"log": 1}
    clock[0] += 1
    pins.see("me", "log", 2)
    assert written(path) == {"log": 2}


def test_what_did_not_change_is_not_written(path):
    """A flush with nothing new leaves the file as it is."""
    pins = Pins(path)
    pins.see("me", "log", 1)
    pins.flush()
    before = path.stat()
    pins.see("me", "log", 1)
    pins.flush()
    assert path.stat().st_ino == before.st_ino


def test_processes_merge_what_they_saw(path):
    """Two who share a file keep the highest version that either saw, whoever writes last."""
    one, other = Pins(path), Pins(path)
    one.see("me", "a", 7)
    one.see("me", "b", 2)
    other.see("me", "a", 3)
    other.see("me", "c", 4)
    for pins in (one, other, one):
        pins.flush()
    assert written(path) == one.all("me") == other.all("me") == {"a": 7, "b": 2, "c": 4}


def test_an_accepted_rollback_reaches_who_has_the_file_open(path):
    """What one process accepted is not undone by another that still remembers more, and is found by rereading."""
    one, other = Pins(path), Pins(path)
    one.see("me", "log", 7)
    one.flush()
    other.flush()
    other.accept("me", "log")
    other.see("me", "log", 2)
    other.flush()
    assert (one.get("me", "log"), one.reread("me", "log")) == (7, 2)
    one.see("me", "log", 3)
    one.flush()
    assert written(path) == {"log": 3}
    assert other.reread("me", "log") == 3


def test_many_processes_lose_nothing(path):
    """Processes that write at once leave the highest version of each log, and a whole file at every moment."""
    code = (
        "import sys\n"
        "from indelible.backends.http import Pins\n"
        "pins, name = Pins(sys.argv[1]), int(sys.argv[2])\n"
        "for version in range(1, 40):\n"
        "    pins.see('me', 'shared', version * 10 + name)\n"
        "    pins.see('me', f'own {name}', version)\n"
        "    pins.flush()\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(name)]) for name in range(4)]
    while any(it.poll() is None for it in running):
        Pins(path)
    assert [it.returncode for it in running] == [0] * 4
    assert Pins(path).all("me") == {"shared": 393, **{f"own {name}": 39 for name in range(4)}}


WHOLE = {"format": 1, "pins": {"me": {"log": [0, 7]}}}
DAMAGED = {
    "empty": b"",
    "cut off": json.dumps(WHOLE).encode()[:-1],
    "zeros": bytes(40),
    "no object": b"[]",
    "null": b"null",
    "another format": json.dumps(WHOLE | {"format": 2}).encode(),
    "something more": json.dumps(WHOLE | {"more": 1}).encode(),
    "no pins": json.dumps({"format": 1}).encode(),
    "a list of pins": json.dumps(WHOLE | {"pins": []}).encode(),
    "a customer that is none": json.dumps(WHOLE | {"pins": {"me": 1}}).encode(),
    "a negative version": json.dumps(WHOLE | {"pins": {"me": {"log": [0, -1]}}}).encode(),
    "a version that is none": json.dumps(WHOLE | {"pins": {"me": {"log": [0, True]}}}).encode(),
    "a version in text": json.dumps(WHOLE | {"pins": {"me": {"log": "01"}}}).encode(),
    "a huge version": json.dumps(WHOLE | {"pins": {"me": {"log": [0, 2**63]}}}).encode(),
    "one number": json.dumps(WHOLE | {"pins": {"me": {"log": [7]}}}).encode(),
    "three numbers": json.dumps(WHOLE | {"pins": {"me": {"log": [0, 7, 7]}}}).encode(),
    "deep": b"[" * 100_000,
    "not UTF-8": b'{"\xff": 1}',
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_never_ignored(path, data):
    """A file that is not whole is ``InvalidRequest`` and stays as it is; the way on is named, and works."""
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(InvalidRequest, match="delete it"):
        Pins(path)
    assert path.read_bytes() == data
    path.write_text(json.dumps(WHOLE))
    assert Pins(path).get("me", "log") == 7
    path.unlink()
    assert Pins(path).get("me", "log") == 0


def test_a_file_that_is_damaged_later_is_told_at_the_end(path, clock):
    """A file that breaks while it is in use does not spoil an answer, and is not overwritten: a flush tells."""
    pins = Pins(path)
    pins.see("me", "log", 1)
    path.write_bytes(b"broken")
    clock[0] += 10
    pins.see("me", "log", 2)
    assert pins.get("me", "log") == 2
    with pytest.raises(InvalidRequest, match="damaged"):
        pins.flush()
    assert path.read_bytes() == b"broken"
    path.unlink()
    pins.flush()
    assert written(path) == {"log": 2}


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_refused(path, mode):
    """Who could lower a pin could hide a rollback."""
    path.write_text(json.dumps(WHOLE))
    path.chmod(mode)
    with pytest.raises(InvalidRequest, match="chmod 600"):
        Pins(path)
    path.chmod(0o600)
    assert Pins(path).get("me", "log") == 7


def test_a_place_that_is_none_is_refused(tmp_path):
    """A missing folder, or a folder in place of the file, is ``InvalidRequest``."""
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "missing" / "x.pins", tmp_path / "folder"):
        with pytest.raises(InvalidRequest, match=r"cannot be kept .*pins in the profile, or connect\(.*pins="):
            Pins(place)
    with pytest.raises(InvalidRequest, match="NUL"):
        Pins("x\0.pins")
    Pins(tmp_path / "x.pins")


def test_a_write_that_fails_leaves_the_file_whole(path, monkeypatch):
    """A full disk is told, nothing is left lying about, and what was written before is still there."""
    pins = Pins(path)
    pins.see("me", "log", 1)
    pins.see("me", "log", 2)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InvalidRequest, match="No space left"):
            pins.flush()
    assert written(path) == {"log": 1}
    assert sorted(it.name for it in path.parent.iterdir()) == ["some.pins", "some.pins.lock"]
    pins.flush()
    assert written(path) == {"log": 2}


def test_nobody_hangs_with_a_process_that_was_stopped(path, monkeypatch, clock):
    """Who holds the file for longer than a write takes spoils no answer, and is told of at the end."""
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(pins_module, "_PATIENCE", 0.05)
    pins = Pins(path)
    with path.with_name("some.pins.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        clock[0] += 10
        pins.see("me", "log", 7)
        assert pins.get("me", "log") == 7
        for ask in (pins.flush, lambda: Pins(path), lambda: pins.accept("me", "log")):
            with pytest.raises(InvalidRequest, match="another process"):
                ask()
        assert pins.get("me", "log") == 7
    pins.flush()
    assert written(path) == {"log": 7}


def test_an_answer_waits_for_nobody(path, monkeypatch, clock, timers):
    """While another process holds the file, what was seen is remembered without a wait, and written later."""
    fcntl = pytest.importorskip("fcntl")

    def sleep(_seconds):
        raise AssertionError("somebody waits")

    monkeypatch.setattr(pins_module, "time", types.SimpleNamespace(sleep=sleep))
    pins = Pins(path)
    with path.with_name("some.pins.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        pins.see("me", "log", 7)
        assert (pins.get("me", "log"), pins.reread("me", "log"), pins.all("me")) == (7, 7, {"log": 7})
        with pytest.raises(AssertionError, match="somebody waits"):
            pins.flush()
    assert not path.exists()
    timers.pop().run()
    assert written(path) == {"log": 7}


def test_an_answer_waits_for_no_other_thread(path, monkeypatch, clock, timers):
    """While another thread is at a slow disk, everybody else goes on, and one of them does not write for a second."""
    pins, store = Pins(path), pins_module._store
    at_disk, go, stored = threading.Event(), threading.Event(), []

    def slow(place, table):
        stored.append(table)
        at_disk.set()
        go.wait(20)
        store(place, table)

    monkeypatch.setattr(pins_module, "_store", slow)
    thread = threading.Thread(target=pins.see, args=("me", "log", 1))
    thread.start()
    at_disk.wait(20)
    clock[0] += 10
    pins.see("me", "log", 2)
    assert (pins.get("me", "log"), pins.reread("me", "log"), pins.all("me")) == (2, 2, {"log": 2})
    go.set()
    thread.join(20)
    assert written(path) == {"log": 1}
    timers.pop().run()
    assert written(path) == {"log": 2}
    assert len(stored) == 2


def test_who_comes_second_does_not_write_again(path, clock, timers):
    """Of two threads that find that it is time to write, the one that gets to the file later looks again."""
    pins = Pins(path)
    lock = pins._writing

    class Overtaken:
        def acquire(self, blocking):
            pins._written = clock[0]
            return lock.acquire(blocking)

        def release(self):
            lock.release()

    pins._writing = Overtaken()
    pins.see("me", "log", 1)
    assert not path.exists()
    pins._writing = lock
    timers.pop().run()
    assert written(path) == {"log": 1}


def test_the_garbage_collector_may_come_at_any_time(path, monkeypatch):
    """Who lets go of a backend in the middle of writing its pins neither hangs nor breaks the file."""
    pins, load = Pins(path), pins_module._load

    def interrupted(place):
        pins.flush()
        pins.see("me", "other", 1)
        return load(place)

    monkeypatch.setattr(pins_module, "_load", interrupted)
    pins.see("me", "log", 7)
    pins.flush()
    assert written(path) == {"log": 7, "other": 1}


def test_a_file_is_found_again_from_another_folder(path, monkeypatch, tmp_path):
    """A relative path is the file it was when the pins were opened."""
    monkeypatch.chdir(tmp_path)
    pins = Pins("some.pins")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    pins.see("me", "log", 1)
    pins.flush()
    assert written(path) == {"log": 1}
    assert repr(pins) == f"Pins('{path}')"


# What a backend does with them


def older(store, version):
    """A store that ends at an earlier version: the backup that is restored."""
    restored = MemoryBackend()
    for info in store.logs():
        restored.create(info.name, info.group)
        for number in range(1, min(version, info.head) + 1):
            changes = store.diff(info.name, DiffRequest(number - 1, number)).changes
            restored.update(info.name, Transaction([Upsert(change.key, change.value) for change in changes]))
    return restored


def fill(logs, name="log", versions=5):
    logs.create(name)
    for version in range(versions):
        logs.update(name, Transaction([Insert(b"%d" % version, b"1")]))


ASKING = {
    "an open diff": lambda it: it.diff("log", DiffRequest()),
    "a waiting diff": lambda it: it.diff("log", DiffRequest(2, wait_seconds=0.2)),
    "a diff between versions": lambda it: it.diff("log", DiffRequest(0, 2)),
    "a version that is gone": lambda it: it.diff("log", DiffRequest(0, 5)),
    "describe": lambda it: it.describe("log"),
    "logs": lambda it: it.logs(),
    "versions": lambda it: it.versions("log"),
    "history": lambda it: it.history("log", b"0"),
    "an update": lambda it: it.update("log", Transaction([Upsert(b"x", b"1")])),
    "an update of nothing": lambda it: it.update("log", Transaction([])),
    "trim": lambda it: it.trim("log", 1),
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
@pytest.mark.parametrize("headers", [True, False], ids=["with the header", "without"])
def test_an_older_head_is_noticed_by_every_call(server, ask, headers):
    """S7: after version 5 was seen, any call that shows an older one raises ``HistoryRolledBack``, and not before."""
    if not headers:
        server.script = lambda request, _: headless(server.honest.answer(request))
    told_by_header = ASKING["a diff between versions"], ASKING["history"], ASKING["trim"]
    logs = server.backend()
    fill(logs)
    wanted = server.honest.store
    if ask is not ASKING["a waiting diff"]:
        ask(logs)
    server.honest.store = older(wanted, 2)
    if not headers and ask in told_by_header:
        ask(logs)
    else:
        error = rolled_back(logs, ask)
        assert error.log == "log"
        assert error.pinned in (5, 6)
        assert error.head == 2
        assert "accept-rollback" in str(error)
    logs.close()
    server.honest.store.close()
    server.honest.store = wanted


def rolled_back(logs, ask):
    """The error of a call that a rollback ends. An update is in by then, so that its outcome is what is unknown."""
    with pytest.raises((HistoryRolledBack, OutcomeUnknown)) as caught:
        ask(logs)
    updates = ASKING["an update"], ASKING["an update of nothing"]
    assert isinstance(caught.value, OutcomeUnknown) == (ask in updates)
    return caught.value.__cause__ if ask in updates else caught.value


def headless(answer):
    answer.head = None
    return answer


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_a_log_that_is_gone_was_rolled_back(server, ask):
    """S1, S7: a log seen at a version above 0 that does not exist any more was rolled back to nothing."""
    logs = server.backend()
    fill(logs)
    wanted, server.honest.store = server.honest.store, MemoryBackend()
    if ask is ASKING["logs"]:
        assert list(ask(logs)) == [], "a key for one group is not shown the others, so this says nothing"
    else:
        with pytest.raises(HistoryRolledBack) as caught:
            ask(logs)
        assert (caught.value.pinned, caught.value.head) == (5, 0)
    with pytest.raises(NonexistentLog):
        logs.describe("never seen")
    logs.close()
    server.honest.store = wanted


@pytest.mark.parametrize("damaged", [False, True], ids=["pins", "damaged pins"])
def test_a_commit_to_a_log_that_was_rolled_back_is_in_doubt(server, path, damaged):
    """S16, S17: who is told that it is committed, to an older log, may ask again once the rollback is accepted."""
    logs = server.backend(pins=Pins(path))
    fill(logs)
    wanted, server.honest.store = server.honest.store, older(server.honest.store, 2)
    if damaged:
        path.write_text("{")
    sent = Transaction([Insert(b"new", b"1")])
    for attempt in (1, 2):
        with pytest.raises(OutcomeUnknown, match="accept-rollback") as caught:
            logs.update("log", sent, attempt)
        told = caught.value
        assert (told.log, told.transaction, told.attempt) == ("log", sent, attempt)
        assert isinstance(told.__cause__, HistoryRolledBack)
        assert server.honest.store.describe("log").head == 3, "it is in"
    if damaged:
        with pytest.raises(InvalidRequest, match="damaged"):
            logs.accept_rollback("log")
        path.unlink()
    logs.accept_rollback("log")
    assert logs.update("log", sent, 3) == Committed(3, changed=True, replayed=True)
    logs.close()
    wanted.close()


def test_a_refusal_after_a_try_in_doubt_of_a_log_that_is_gone(server, monkeypatch):
    """S17: a log that is gone refuses a transaction for certain; one that may be in it is in doubt all the same."""
    logs = server.backend()
    fill(logs)
    wanted = server.honest.store

    def restored(request, connection):
        server.honest.answer(request)
        server.honest.store = MemoryBackend()
        connection.reset()

    server.script = in_turn(restored)
    with pytest.raises(OutcomeUnknown, match="broke off.*accept-rollback") as caught:
        logs.update("log", Transaction([Upsert(b"x", b"1")]))
    assert caught.value.attempt == 2
    assert isinstance(caught.value.__cause__, HistoryRolledBack)
    with pytest.raises(HistoryRolledBack):
        logs.update("log", Transaction([Upsert(b"x", b"1")]))
    logs.close()
    wanted.close()


def test_pins_that_cannot_be_read_do_not_hide_a_rollback(server, path):
    """S17: what was sent is never told as a refusal of this side; what this side has seen still counts."""
    logs = server.backend(pins=Pins(path))
    fill(logs)
    path.write_text("{")
    for ask in ASKING.values():
        ask(logs)
    wanted, server.honest.store = server.honest.store, older(server.honest.store, 2)
    for ask in ASKING.values():
        rolled_back(logs, ask)
    logs.close()
    wanted.close()


def test_pins_that_cannot_be_written_do_not_hide_an_outcome(server, path, caplog):
    """Closing raises nothing for the pins, and says once what was not remembered, why, and what to do."""
    for damaged in (False, True):
        logs = server.backend(pins=Pins(path))
        logs.create("log")
        for turn in range(2):
            logs.update("log", Transaction([Upsert(b"k", b"%d" % turn)]))
        if damaged:
            path.write_text("{")
            with pytest.raises(InvalidRequest, match="damaged"):
                logs.accept_rollback("log")
        assert caplog.record_tuples == []
        logs.close()
        logs.close()
    ((logger, level, text),) = caplog.record_tuples
    assert (logger, level) == ("indelible.pins", logging.WARNING)
    assert all(it in text for it in ("newest versions", str(path), "damaged", "delete it"))


def test_what_passes_is_not_replaced_by_closing():
    """An exception that leaves the block is the one that arrives; closing alone raises what it has to say."""

    class Stuck(MemoryBackend):
        def close(self):
            raise InvalidRequest("it is stuck")

    with pytest.raises(OutcomeUnknown) as caught, Client(Stuck()):
        raise OutcomeUnknown("log", None, 1, "a test says so")
    assert "it is stuck" in caught.value.__notes__[0]
    with pytest.raises(InvalidRequest, match="stuck"), Client(Stuck()):
        pass


def test_a_rollback_is_told_with_the_name_that_the_caller_knows(server):
    """The message names log and versions, as they were given; behind a seal too, in a list, and in a cause."""
    sealed = EncryptedBackend(server.backend(), SecretBoxCipher(KEY))
    fill(sealed, "orders")
    (name,) = [info.name for info in server.honest.store.logs()]
    wanted, server.honest.store = server.honest.store, older(server.honest.store, 2)
    for ask in (
        lambda: sealed.logs(),
        lambda: sealed.describe("orders"),
        lambda: sealed.update("orders", Transaction([Upsert(b"x", b"1")])),
    ):
        with pytest.raises((HistoryRolledBack, OutcomeUnknown)) as caught:
            ask()
        error = caught.value.__cause__ or caught.value
        assert (error.log, error.pinned, error.head) == ("orders", 5, 2)
        assert str(error).startswith("log 'orders' is shown at version 2, after version 5 was seen: ")
        assert "group" not in str(error)
        for it in (error, caught.value):
            assert name not in str(it) + repr(it)
    older_still, server.honest.store = server.honest.store, MemoryBackend()
    with pytest.raises(HistoryRolledBack, match="'orders' is shown at version 0.*API key is for another group"):
        sealed.describe("orders")
    sealed.close()
    older_still.close()
    wanted.close()


def test_what_is_seen_by_any_call_is_pinned(server):
    """Each call that shows a head pins it: diffs, commits, descriptions, lists, and the header of any other."""
    first = server.backend()
    fill(first)
    for name, ask in ASKING.items():
        pins = Pins()
        logs = server.backend(pins=pins)
        try:
            ask(logs)
        finally:
            assert pins.get("me", "log") == server.honest.store.describe("log").head, name
            logs.close()
    first.close()


def test_a_replayed_answer_of_an_old_version_is_no_rollback(server):
    """S16: an answer that is given again names an old version, and so does a rejection; neither is a rollback."""
    logs = server.backend()
    fill(logs)
    sent = Transaction([Upsert(b"y", b"1")])
    refused = Transaction([Insert(b"0", b"other")])
    logs.update("log", sent)
    with pytest.raises(indelible.UnexpectedValue):
        logs.update("log", refused, 2)
    logs.update("log", Transaction([Upsert(b"z", b"1")]))
    assert logs.update("log", sent) == indelible.Committed(6, changed=True, replayed=True)
    with pytest.raises(indelible.UnexpectedValue):
        logs.update("log", refused, 3)
    logs.close()


def test_a_rollback_is_accepted_on_purpose(server):
    """``accept_rollback`` is the way on: the log is taken as it is shown, and pinned from there."""
    logs = server.backend()
    fill(logs)
    wanted, server.honest.store = server.honest.store, older(server.honest.store, 2)
    with pytest.raises(HistoryRolledBack):
        logs.describe("log")
    logs.accept_rollback("log")
    assert logs.describe("log").head == 2
    logs.update("log", Transaction([Insert(b"new", b"1")]))
    restored, server.honest.store = server.honest.store, older(wanted, 1)
    with pytest.raises(HistoryRolledBack) as caught:
        logs.describe("log")
    assert (caught.value.pinned, caught.value.head) == (3, 1)
    logs.close()
    restored.close()


def test_accepting_goes_through_sealing_and_scopes(server):
    """The plain name of a log leads to the pin of its sealed one; a backend that pins nothing says so."""
    pins = Pins()
    inner = server.backend(pins=pins)
    sealed = EncryptedBackend(ScopedBackend(inner, "s"), SecretBoxCipher(KEY))
    fill(sealed, "orders")
    (name,) = pins.all("me")
    assert "orders" not in name
    backend.accept_rollback(sealed, "orders")
    assert pins.all("me") == {name: 0}
    with MemoryBackendOpen() as memory:
        for other in (memory, EncryptedBackend(memory, SecretBoxCipher(KEY)), ScopedBackend(memory, "s")):
            with pytest.raises(InvalidRequest, match="not behind a service"):
                backend.accept_rollback(other, "orders")
    sealed.close()


class MemoryBackendOpen:
    def __enter__(self):
        self.it = MemoryBackend()
        return self.it

    def __exit__(self, *_):
        self.it.close()


def test_a_slow_answer_is_compared_with_what_was_seen_before_it_was_asked(server):
    """S15: an answer judged before another thread saw a newer version is old, and no rollback."""
    logs = server.backend()
    fill(logs)
    asked, go = threading.Event(), threading.Event()

    def slow(request, _connection):
        if request.name == "describe":
            answer = server.honest.answer(request)
            asked.set()
            go.wait(20)
            return answer
        return None

    server.script = slow
    told = []
    thread = threading.Thread(target=lambda: told.append(logs.describe("log").head))
    thread.start()
    asked.wait(20)
    assert logs.update("log", Transaction([Insert(b"new", b"1")])).version == 6
    go.set()
    thread.join(20)
    assert told == [5]
    logs.close()


# Profiles and the command line


@pytest.fixture
def profile(server, tmp_path):
    file = tmp_path / "indelible.json"
    Profile(
        endpoint_url=server.url, master_key=KEY, customer_id="me", apikey=CREDENTIALS.apikey.reveal().decode()
    ).save(file)
    return file


def test_pins_stand_beside_the_profile_they_belong_to(server, profile):
    """A profile's file keeps its pins beside it, across clients; the same profile without a file keeps none."""
    with indelible.connect(profile) as client:
        client.log("orders").create()
        client.log("orders").update([Upsert("a", 1), Upsert("b", 2)])
        client.log("orders").update([Upsert("a", 2)])
    kept = profile.with_name("indelible.json.pins")
    assert list(written(kept).values()) == [2]
    assert "orders" not in kept.read_text()
    wanted, server.honest.store = server.honest.store, older(server.honest.store, 1)
    for target in (profile, str(profile), Profile.load(profile)):
        with indelible.connect(target) as client, pytest.raises(HistoryRolledBack) as caught:
            client.log("orders").get("a")
        assert (caught.value.log, caught.value.pinned, caught.value.head) == ("orders", 2, 1)
    with indelible.connect(Profile.from_json(profile.read_text())) as client:
        assert client.log("orders").version == 1
    server.honest.store.close()
    server.honest.store = wanted


def test_pins_may_stand_elsewhere(server, profile, tmp_path):
    """A profile whose folder cannot be written names another place, from its folder on; ``connect`` may, too."""
    (tmp_path / "state").mkdir()
    fields = json.loads(profile.read_text())
    profile.write_text(json.dumps(fields | {"pins": "state/kept"}))
    for place, target in ((tmp_path / "state" / "kept", {}), (tmp_path / "given", {"pins": tmp_path / "given"})):
        with indelible.connect(profile, **target) as client:
            client.log("orders").create()
            client.log("orders").update([Upsert("a", str(place))])
        assert list(written(place).values()) == [server.honest.store.logs()[0].head]
    with indelible.connect(
        server.url, master_key=KEY, credentials=CREDENTIALS, pins=os.fspath(tmp_path / "of a URL")
    ) as client:
        assert client.log("orders").version == 2
    assert list(written(tmp_path / "of a URL").values()) == [2]
    assert not profile.with_name("indelible.json.pins").exists()
    with pytest.raises(InvalidRequest, match="pins are for a service"):
        indelible.connect("memory:", pins=tmp_path / "none")


def test_pins_stand_beside_the_file_and_not_beside_a_link_to_it(server, profile, tmp_path):
    """A profile that is found by a link has one file of pins, wherever the links are."""
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "p.json"
    link.symlink_to(profile)
    with indelible.connect(link) as client:
        client.log("orders").create()
        client.log("orders").update([Upsert("a", 1)])
    assert list(written(profile.with_name("indelible.json.pins")).values()) == [1]
    assert [it.name for it in link.parent.iterdir()] == ["p.json"]


def test_the_command_line_refuses_a_rollback_and_accepts_it(server, profile, tmp_path, capsys, monkeypatch):
    """Exit code 7 until ``accept-rollback`` was run; then the log is as the service shows it."""
    cli = CommandLine(tmp_path, capsys, monkeypatch)
    cli.ok("create", "orders")
    cli.ok("put", "orders", "a", "1")
    cli.ok("put", "orders", "a", "2")
    wanted, server.honest.store = server.honest.store, older(server.honest.store, 1)
    line = cli.fails(7, "get", "orders", "a")
    assert "indelible accept-rollback LOG" in line
    assert cli.ok("accept-rollback", "orders").out == "log orders is taken as it is shown now, at version 1\n"
    assert cli.ok("get", "orders", "a").out == "1\n"
    assert cli.ok("accept-rollback", "orders", "--output", "json").json == {"log": "orders", "version": 1}
    cli.fails(3, "accept-rollback", "absent")
    server.honest.store.close()
    server.honest.store = wanted


def test_the_command_line_says_where_nothing_is_pinned(tmp_path, capsys, monkeypatch):
    """A store that is no service has nothing to accept: exit code 2."""
    cli = CommandLine(tmp_path, capsys, monkeypatch)
    cli.ok("init")
    cli.ok("create", "notes")
    assert "not behind a service" in cli.fails(2, "accept-rollback", "notes")
