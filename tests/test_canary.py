"""Canary keys: a run through everything, after which no key shows in anything that was printed, logged or raised."""

import base64
import contextlib
import io
import json
import logging
import pickle
import traceback

import pytest

import indelible
from indelible import MasterKey, Profile, compat
from indelible.backends.encrypted import EncryptedBackend
from indelible.backends.memory import MemoryBackend
from indelible.backends.scoped import ScopedBackend
from indelible.cipher import SecretBoxCipher
from indelible.commands import ExpectVersion, Insert, Transaction, Update, Upsert
from indelible.errors import OutcomeUnknown
from indelible.secret import Secret

CANARY = bytes(range(64, 96))[::-1][:16] + bytes(range(200, 216))
APIKEY = "canary-api-key-wombat"


def forms(key):
    """Every way in which a key may show: Base64 of either alphabet, hex, a bytes literal, a list of numbers."""
    yield base64.b64encode(key).decode().rstrip("=")
    yield base64.urlsafe_b64encode(key).decode().rstrip("=")
    yield key.hex()
    yield key.hex().upper()
    yield repr(key)[2:-1]
    yield ", ".join(map(str, key))
    yield key.decode("latin-1")


def shows(text):
    return [form for form in (*forms(CANARY), APIKEY) if form in text]


def safe_repr(value):
    """What a debugger would print; an object that is half made may not have it."""
    try:
        return repr(value)
    except AttributeError:
        return f"<half a {type(value).__name__}>"


class Collected:
    """All that a run lets out: what it prints, logs and raises, with and without the locals of its frames."""

    def __init__(self):
        self.texts = []
        self.frames = []

    def add(self, *things):
        for thing in things:
            self.texts += [repr(thing), str(thing), f"{thing}", f"{[thing]}"]

    @contextlib.contextmanager
    def errors(self):
        try:
            yield
        except Exception as error:
            self.error(error)
        else:
            raise AssertionError("an error was expected")

    def error(self, error):
        self.add(error, *error.args)
        self.texts += ["".join(traceback.format_exception(error))]
        seen = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            self.add(error)
            self.texts += [repr(vars(error)), repr(getattr(error, "doc", ""))]
            for frame, _ in traceback.walk_tb(error.__traceback__):
                if "/indelible/" in frame.f_code.co_filename:
                    held = {name: safe_repr(value) for name, value in frame.f_locals.items()}
                    self.frames.append((frame.f_code.co_name, str(held)))
            error = error.__cause__ or error.__context__


@pytest.fixture
def collected(caplog, capfd):
    it = Collected()
    caplog.set_level(logging.DEBUG)
    yield it
    it.texts += [caplog.text, *capfd.readouterr()]
    for text in it.texts:
        assert not shows(text), text[:300]


def profile_text(**changes):
    fields = {
        "endpoint_url": "memory:",
        "customer_id": "me",
        "apikey": APIKEY,
        "master_key_base64": base64.b64encode(CANARY).decode(),
    }
    return json.dumps(fields | changes)


def test_the_search_finds_what_was_planted():
    """The control of all below: a key in any of its forms is found, and so is one in a chained error."""
    for form in forms(CANARY):
        assert shows(f"some {form} text")
    planted = Collected()
    try:
        try:
            json.loads(profile_text() + "}")
        except ValueError as error:
            raise KeyError from error
    except KeyError as error:
        planted.error(error)
    assert any(map(shows, planted.texts))
    assert not shows("nothing of it")


def test_no_object_shows_a_key(collected):
    """Nothing that holds a key prints it, nor lets it be pickled or copied."""
    key = MasterKey(CANARY)
    profile = Profile.from_json(profile_text())
    client = indelible.connect(profile)
    log = client.log("orders")
    log.create()
    log.update([Upsert("k", [1])])
    cipher = SecretBoxCipher(key)
    log_cipher = cipher.log("orders")
    backend = client.backend
    collected.add(key, profile, client, log, cipher, log_cipher, backend, ScopedBackend(backend, "s"))
    collected.add(log.diff(), log.snapshot(), log.describe(), list(log.versions()), log.history("k"), client.logs())
    collected.add(Secret(CANARY), EncryptedBackend(MemoryBackend(), SecretBoxCipher(key, scheme=1)))
    old = compat.Log("old", compat.profileFromJson(profile_text()))
    collected.add(old, vars(old), compat.profileFromJson(profile_text())["master_key"])
    for holder in (key, profile.apikey, cipher, log_cipher):
        with collected.errors():
            pickle.dumps(holder)
    collected.add(*(getattr(it, "__dict__", None) for it in (client, log, backend, cipher, key, profile)))


@pytest.mark.parametrize("scheme", [1, 2])
def test_no_error_of_a_run_shows_a_key(collected, scheme, tmp_path):
    """Errors of every kind, their chains and their tracebacks show no key; nor do the locals of our own frames."""
    with indelible.connect(f"sqlite:///{tmp_path}/logs.db", master_key=CANARY, scheme=scheme) as client:
        log = client.log("orders")
        with collected.errors():
            log.describe()
        log.create()
        log.update([Insert("k", 1)])
        for bad in (
            lambda: log.create("g"),
            lambda: log.update([Insert("k", 2)]),
            lambda: log.update([ExpectVersion(7)]),
            lambda: log.update([Update("missing", 2)]),
            lambda: log.update([Upsert("k", {1, 2})]),
            lambda: log.update([Upsert(5, 1)]),
            lambda: log.diff(-1),
            lambda: log.diff(9),
            lambda: log.get(5),
            lambda: log.get("\ud800"),
            lambda: log.trim(9),
            lambda: client.log("").create(),
            lambda: client.backend.update("orders", Transaction([Insert("text", "text")])),
            lambda: list(indelible.Log(client.backend, "orders", indelible.codecs.BYTES, indelible.codecs.typed(int))),
        ):
            with contextlib.suppress(StopIteration):
                try:
                    bad()
                except Exception as error:
                    collected.error(error)
        with collected.errors():
            client.backend._inner.update(client.backend._cipher.seal_name("orders"), Transaction([Insert(1, 1)]))
        inner = client.backend._inner
        inner.update(client.backend._cipher.seal_name("orders"), Transaction([Insert(b"altered", b"x")]))
        with collected.errors():
            list(log)
    with collected.errors():
        log.describe()
    assert len(collected.frames) > 20
    for name, held in collected.frames:
        assert not shows(held), f"the frame of {name} holds the key: {held[:300]}"


@pytest.mark.parametrize(
    "text",
    [
        profile_text() + "}",
        profile_text()[:-1],
        profile_text(extra=1),
        profile_text(endpoint_url=""),
        profile_text(endpoint_url=None),
        profile_text(apikey=5),
        profile_text(customer_id=5),
        profile_text(scheme=3),
        profile_text(master_key_base64=base64.b64encode(CANARY).decode()[:-1]),
        profile_text(master_key_base64=" " + base64.b64encode(CANARY).decode()),
        profile_text(master_key_base64=base64.b64encode(CANARY + b"x").decode()),
        profile_text(master_key_base64=CANARY.hex()),
        json.dumps([profile_text()]),
    ],
)
def test_no_error_about_a_profile_shows_a_key(collected, tmp_path, text):
    """A profile that does not load says why, and shows nothing of what stood in it, not in a chained error either."""
    path = tmp_path / "profile.json"
    path.write_text(text)
    path.chmod(0o600)
    with collected.errors():
        Profile.load(path)
    with collected.errors():
        indelible.connect(path)
    with collected.errors():
        Profile.from_json(text)
    try:
        compat.profileFromJson(text)
    except Exception as error:
        collected.error(error)


def test_a_profile_that_others_can_read_is_refused_and_not_shown(collected, tmp_path):
    """Refusing a file for its mode shows nothing of it."""
    path = tmp_path / "profile.json"
    path.write_text(profile_text())
    path.chmod(0o644)
    with collected.errors():
        Profile.load(path)
    path.chmod(0o600)
    with collected.errors():
        Profile.load(path).save(path)


def test_what_is_sent_again_shows_nothing(collected):
    """An unknown outcome carries the transaction, and prints neither it nor a key."""

    class Lossy(MemoryBackend):
        def update(self, log, transaction, attempt=1):
            raise OutcomeUnknown(log, transaction, attempt, "lost")

    log = indelible.Client(EncryptedBackend(Lossy(), SecretBoxCipher(CANARY))).log("orders")
    log.create()
    with collected.errors():
        log.update([Upsert("k", CANARY.hex())])


def test_the_old_errors_show_nothing(collected):
    """The errors of the old interface, and what they hang on to, show no key."""
    log = compat.Log("old", compat.profileFromJson(profile_text()))
    with collected.errors():
        list(log)
    log.create()
    log.update([compat.Cmd.Upsert("k", 1)])
    for bad in ([compat.Cmd.Insert("k", 2)], [compat.Cmd.ExpectVersion(9)], [compat.Cmd.Update("l", 1)]):
        with collected.errors():
            log.update(bad)
    with collected.errors():
        compat.Log("old", compat.profileFromJson(profile_text()), key_mode="nonsense")


def test_key_derivation_prints_nothing(collected):
    """Making, storing and reading keys prints and logs nothing."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        text = MasterKey(CANARY).to_base64()
        assert MasterKey.from_base64(text) == MasterKey(CANARY)
        MasterKey.generate()
    assert out.getvalue() == ""
