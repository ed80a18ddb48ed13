"""Access: who gets in, who does not, and that changing it is as strict as changing any log."""

import base64
import copy
import datetime as dt
import logging
import pickle
import threading
import traceback

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indelible import codecs, seams
from indelible.backends.memory import MemoryBackend
from indelible.backends.scoped import ScopedBackend
from indelible.backends.sqlite import SQLiteBackend
from indelible.commands import Transaction, Upsert
from indelible.credentials import Credentials
from indelible.errors import (
    BadApiKey,
    InvalidRequest,
    NonexistentLog,
    NotAllowed,
    NotExecuted,
    OutcomeUnknown,
    TooLarge,
    TransactionConflict,
    Undecodable,
)
from indelible.limits import Limits
from indelible.log import Log
from indelible.secret import Secret
from indelible.server import access as access_module
from indelible.server import keys as keys_module
from indelible.server.access import LOG_NAME, Access, Directory
from indelible.server.keys import SCOPES, ApiKey, Customer, Grant

NOW = dt.datetime(2027, 1, 31, 12, tzinfo=dt.UTC)
TICK = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that goes a second further each time it is looked at."""
    times = iter(range(10**6))
    monkeypatch.setattr(seams, "clock", lambda: NOW.timestamp() + next(times))


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def access(backend):
    """Two customers."""
    it = Access(backend).open()
    it.add_customer("acme", "Acme Ltd")
    it.add_customer("zeta")
    return it


def text_of(secret):
    return secret.reveal().decode()


def refused(directory, customer_id, apikey, now=NOW):
    """Whether these credentials are refused, and as every other: same class, same message, nothing chained to it."""
    with pytest.raises(BadApiKey) as caught:
        directory.authenticate(Credentials(customer_id, apikey), now)
    error = caught.value
    assert type(error) is BadApiKey and str(error) == str(BadApiKey())
    assert error.__cause__ is None and error.__context__ is None
    return True


# Who gets in


def test_an_issued_key_is_accepted(access):
    """The text that ``issue`` gives, with its customer's id, is what is needed, and grants what was asked for."""
    key, text = access.issue("acme", ["write", "read"], group="g", expires_at=NOW + DAY, label="laptop")
    assert key.scopes == ("read", "write") and key.label == "laptop" and key.created_at < NOW + DAY
    grant = access.directory().authenticate(Credentials("acme", text), NOW)
    assert grant == Grant("acme", key.id, ("read", "write"), "g", NOW + DAY)
    assert access.directory().authenticate(Credentials("acme", text_of(text)), NOW) == grant


def test_a_key_has_the_form_that_tools_can_look_for():
    """A key is ``idl_``, an id and a secret of 256 bits, all new each time; nothing in it needs quoting."""
    made = [keys_module.generate() for _ in range(50)]
    for identity, digest, text in made:
        prefix, its_id, secret = text_of(text).split("_")
        assert (prefix, its_id) == ("idl", identity) and len(identity) == 12
        assert len(base64.b32decode(secret.upper() + "====")) == 32
        assert (text_of(text).replace("_", "") + identity).isalnum() and text_of(text) == text_of(text).lower()
        assert digest not in text_of(text) and len(digest) == 64
    assert len({identity for identity, _, _ in made}) == len({digest for _, digest, _ in made}) == 50


def test_the_randomness_of_a_key_is_the_systems(monkeypatch):
    """Id and secret are all of what ``seams.entropy`` gives, 56 and 256 bits of it."""
    asked = []
    monkeypatch.setattr(seams, "entropy", lambda size: asked.append(size) or bytes([size]) * size)
    _, _, text = keys_module.generate()
    assert asked == [7, 32]
    _, identity, secret = text_of(text).split("_")
    assert base64.b32decode(identity.upper() + "====") == bytes([7]) * 7
    assert base64.b32decode(secret.upper() + "====") == bytes([32]) * 32


def test_each_thing_that_can_be_wrong_is_refused_alike(access):
    """Unknown customer, unknown key, another's key, wrong secret, no key at all: one error, whichever it was."""
    _, text = access.issue("acme", ["read"])
    _, other = access.issue("zeta", ["read"])
    directory = access.directory()
    mine, theirs = text_of(text), text_of(other)
    prefix, identity, secret = mine.split("_")
    assert refused(directory, "nobody", mine)
    assert refused(directory, "zeta", mine)
    assert refused(directory, "acme", theirs)
    assert refused(directory, "acme", f"{prefix}_{'a' * 12}_{secret}")
    assert refused(directory, "acme", f"{prefix}_{identity}_{theirs.split('_')[2]}")
    assert refused(directory, "acme", f"{prefix}_{identity}_{directory.keys[identity].digest}")
    assert refused(directory, "acme", identity)
    assert refused(directory, "acme", secret)
    assert refused(directory, "ACME", mine)
    assert refused(Directory(), "acme", mine)
    directory.authenticate(Credentials("acme", mine), NOW)
    directory.authenticate(Credentials("zeta", theirs), NOW)


ONE = Access(MemoryBackend()).open()
ONE.add_customer("acme")
ONE_KEY, ONE_TEXT = ONE.issue("acme", ["read", "write"], expires_at=dt.datetime(9000, 1, 1, tzinfo=dt.UTC))
ONE_DIRECTORY = ONE.directory()
FORM = "idl_[a-z2-7]{12}_[a-z2-7]{52}"


@given(st.one_of(st.text(min_size=1), st.from_regex(FORM, fullmatch=True), st.binary()))
def test_no_other_text_is_a_key(text):
    """Any text that is not exactly the issued one is refused, of the right form or not."""
    apikey = Secret(text) if isinstance(text, bytes) else text
    assert refused(ONE_DIRECTORY, "acme", apikey)
    ONE_DIRECTORY.authenticate(Credentials("acme", ONE_TEXT), NOW)


@given(st.data())
def test_no_change_of_a_key_is_a_key(data):
    """A key that is altered in any place, by any character, put in, taken out or exchanged, is refused."""
    text = text_of(ONE_TEXT)
    place = data.draw(st.integers(0, len(text)))
    size = data.draw(st.integers(0, 3))
    new = data.draw(st.text("abz27_ =-A\n\x00é", max_size=3))
    altered = text[:place] + new + text[place + size :]
    if altered == text:
        ONE_DIRECTORY.authenticate(Credentials("acme", altered), NOW)
    elif altered:
        assert refused(ONE_DIRECTORY, "acme", altered)


@pytest.mark.parametrize(
    "alter",
    [
        str.upper,
        str.title,
        lambda t: t + "\n",
        lambda t: " " + t,
        lambda t: t + "\0",
        lambda t: t[:-1],
        lambda t: t * 2,
    ],
)
def test_no_spelling_of_a_key_is_a_key(alter):
    """Case, white space and length count."""
    assert refused(ONE_DIRECTORY, "acme", alter(text_of(ONE_TEXT)))


@pytest.mark.parametrize("field", ["id", "customer_id", "digest", "expires_at"])
def test_every_field_that_decides_decides(field):
    """A directory in which one of these fields of the key is another does not accept it; with none changed it does."""
    other = {
        "id": "a" * 12,
        "customer_id": "zeta",
        "digest": ONE_KEY.digest[:-1] + ("0" if ONE_KEY.digest[-1] != "0" else "1"),
        "expires_at": NOW,
    }
    changed = attrs.evolve(ONE_KEY, **{field: other[field]})
    customers = {**ONE_DIRECTORY.customers, "zeta": Customer("zeta", "", NOW)}
    grant = Directory(1, customers, {ONE_KEY.id: ONE_KEY}).authenticate(Credentials("acme", ONE_TEXT), NOW)
    directory = Directory(1, customers, {changed.id: changed})
    assert refused(directory, "acme", ONE_TEXT)
    # A key's digest never changes, and so is no part of what it grants.
    assert directory.grant_still_valid(grant, NOW) == (field == "digest")
    assert refused(Directory(1, {}, {ONE_KEY.id: ONE_KEY}), "acme", ONE_TEXT)
    assert not Directory(1, {}, {ONE_KEY.id: ONE_KEY}).grant_still_valid(grant, NOW)


@pytest.mark.parametrize("field", [{"scopes": ("read",)}, {"group": "g"}, {"expires_at": NOW + DAY}])
def test_a_grant_is_valid_as_long_as_it_would_be_given(field):
    """A grant that a key would not give any more is not valid, though the key is; one that says more or less neither."""
    grant = ONE_DIRECTORY.authenticate(Credentials("acme", ONE_TEXT), NOW)
    assert ONE_DIRECTORY.grant_still_valid(grant, NOW)
    changed = Directory(1, ONE_DIRECTORY.customers, {ONE_KEY.id: attrs.evolve(ONE_KEY, **field)})
    assert not changed.grant_still_valid(grant, NOW)
    assert changed.grant_still_valid(changed.authenticate(Credentials("acme", ONE_TEXT), NOW), NOW)
    for other in ({**field}, {"key_id": "a" * 12}, {"customer_id": "zeta"}):
        assert not ONE_DIRECTORY.grant_still_valid(attrs.evolve(grant, **other), NOW)


def test_a_key_ends_at_its_instant(access):
    """A key is good until a microsecond before it expires, and refused at that instant and ever after."""
    _, text = access.issue("acme", ["read"], expires_at=NOW + DAY)
    directory = access.directory()
    grant = directory.authenticate(Credentials("acme", text), NOW + DAY - TICK)
    assert directory.grant_still_valid(grant, NOW + DAY - TICK)
    for after in (dt.timedelta(), TICK, 1000 * DAY):
        assert refused(directory, "acme", text, NOW + DAY + after)
        assert not directory.grant_still_valid(grant, NOW + DAY + after)


def test_a_key_without_an_end_does_not_expire(access):
    """With no ``expires_at`` a key is good at any time."""
    _, text = access.issue("acme", ["read"])
    for now in (NOW, dt.datetime.max.replace(tzinfo=dt.UTC)):
        access.directory().authenticate(Credentials("acme", text), now)


def test_the_same_instant_in_another_zone_is_the_same():
    """Times are kept in UTC, whatever zone they are given in."""
    there = dt.timezone(dt.timedelta(hours=5, minutes=30))
    key = attrs.evolve(ONE_KEY, expires_at=NOW.astimezone(there))
    assert key.expires_at == NOW and key.expires_at.tzinfo is dt.UTC
    assert key.expired(NOW.astimezone(there)) and not key.expired((NOW - TICK).astimezone(there))


def test_a_digest_is_made_and_compared_in_every_case(monkeypatch):
    """Known key or not, the same work is done before the answer."""
    done = []
    compare, digest = access_module.hmac.compare_digest, keys_module._digest
    monkeypatch.setattr(access_module.hmac, "compare_digest", lambda *both: done.append("compare") or compare(*both))
    monkeypatch.setattr(keys_module, "_digest", lambda secret: done.append("digest") or digest(secret))
    text = text_of(ONE_TEXT)
    for customer, apikey in (
        ("acme", text[:-8] + "a" * 8),
        ("zeta", text),
        ("acme", f"idl_{'a' * 12}_{'b' * 52}"),
        ("a", "?"),
    ):
        done.clear()
        assert refused(ONE_DIRECTORY, customer, apikey)
        assert done == ["digest", "compare"]
    done.clear()
    ONE_DIRECTORY.authenticate(Credentials("acme", ONE_TEXT), NOW)
    assert done == ["digest", "compare"]


# What it grants


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_is_granted_by_itself_only(scope):
    """A grant passes for its own scopes and refuses each other one, with an error that names what is missing."""
    grant = Grant("acme", "a" * 12, (scope,), None, None)
    grant.require(scope)
    for other in set(SCOPES) - {scope}:
        with pytest.raises(NotAllowed, match=repr(other)):
            grant.require(other)


def test_a_group_restricts():
    """A grant for a group passes for its logs only; without a group it passes for all."""
    grant = Grant("acme", "a" * 12, ("read",), "g", None)
    grant.require_group("g")
    for other in ("h", None, "", "G"):
        with pytest.raises(NotAllowed):
            grant.require_group(other)
        attrs.evolve(grant, group=None).require_group(other)
    attrs.evolve(grant, group="").require_group("")
    with pytest.raises(NotAllowed):
        attrs.evolve(grant, group="").require_group(None)


# Taking it back


def test_a_revoked_key_is_refused(access):
    """After ``revoke`` the key is refused, earlier grants are no longer valid, and all others go on."""
    key, text = access.issue("acme", ["read"])
    _, other = access.issue("acme", ["read"])
    before = access.directory()
    grant = before.authenticate(Credentials("acme", text), NOW)
    assert access.revoke(key.id) == key
    after = access.directory(before)
    assert refused(after, "acme", text) and not after.grant_still_valid(grant, NOW)
    assert after.grant_still_valid(after.authenticate(Credentials("acme", other), NOW), NOW)
    assert before.grant_still_valid(grant, NOW)
    with pytest.raises(InvalidRequest, match="no key"):
        access.revoke(key.id)


def test_a_removed_customer_is_refused(access):
    """``remove_customer`` takes all its keys, and no other's; added again, the customer has none."""
    made = [access.issue("acme", ["read"]) for _ in range(3)]
    _, other = access.issue("zeta", ["read"])
    assert access.remove_customer("acme") == [key for key, _ in made]
    directory = access.directory()
    assert all(refused(directory, "acme", text) for _, text in made)
    directory.authenticate(Credentials("zeta", other), NOW)
    access.add_customer("acme")
    assert access.keys("acme") == []
    assert all(refused(access.directory(), "acme", text) for _, text in made)


def test_a_customer_goes_with_its_keys_in_one_version(access, backend):
    """No version holds the customer without its keys, or a key without its customer."""
    for _ in range(5):
        access.issue("acme", ["read"])
    log = Log(backend, LOG_NAME, codecs.STRING, codecs.JSON)
    before = log.version
    access.remove_customer("acme")
    assert log.version == before + 1
    assert next(iter(log.versions(before))).effects == 6
    assert len(log.snapshot(before)) == 7 and list(log.snapshot()) == ["customer:zeta"]


def test_every_change_is_a_version_with_its_history(backend):
    """What was changed, when and by whom can be read for ever after."""
    access = Access(backend, source="ada").open()
    access.add_customer("acme", "Acme")
    key, _ = access.issue("acme", ["read"])
    access.revoke(key.id)
    log = Log(backend, LOG_NAME, codecs.STRING, codecs.JSON)
    assert [(it.version, it.source) for it in log.versions()] == [(1, "ada"), (2, "ada"), (3, "ada")]
    issued, revoked = log.history(f"key:{key.id}")
    assert issued.after.value["scopes"] == ["read"] and revoked.after is None


def test_what_an_older_release_wrote_can_be_taken_back(access, backend):
    """A record goes even if its bytes are not those that this release would write."""
    key, text = access.issue("acme", ["read"])
    log = Log(backend, LOG_NAME, codecs.STRING, codecs.BYTES)
    for name, value in log.snapshot().items():
        log.update([Upsert(name, value.replace(b'","', b'", "'))])
        assert log.get(name) != value
    access.directory().authenticate(Credentials("acme", text), NOW)
    access.revoke(key.id)
    assert refused(access.directory(), "acme", text)
    access.remove_customer("acme")
    assert list(access.directory().customers) == ["zeta"]


# Reading it


def test_before_it_is_opened_there_is_no_access(backend):
    """A store without the access log says so; opening makes it, once or often."""
    with pytest.raises(NonexistentLog):
        Access(backend).directory()
    Access(backend).open().open()
    assert Access(backend).directory() == Directory() == Access(backend).open().directory()


def test_lists_are_in_order(access):
    """Customers are listed by id, keys by customer and age; a customer that is not there is an error."""
    access.add_customer("beta")
    keys = [access.issue(customer, ["read"])[0] for customer in ("zeta", "acme", "beta", "acme")]
    assert [customer.id for customer in access.customers()] == ["acme", "beta", "zeta"]
    assert access.customers()[0] == access.directory().customer("acme")
    assert access.keys() == [keys[1], keys[3], keys[2], keys[0]]
    assert access.keys("acme") == [keys[1], keys[3]]
    with pytest.raises(InvalidRequest, match="no customer 'nobody'"):
        access.keys("nobody")


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "issue", "revoke"]), st.sampled_from("abc"), st.integers(0, 9)),
    max_size=25,
)


@given(STEPS, st.data())
def test_a_directory_is_what_was_done(steps, data):
    """After any changes, the directory is that of a plain model; read on from any earlier one, it is the same."""
    access = Access(MemoryBackend()).open()
    customers, keys, seen = set(), {}, [access.directory()]
    for step, customer, number in steps:
        try:
            if step == "add":
                access.add_customer(customer)
                assert customer not in customers
                customers.add(customer)
            elif step == "remove":
                access.remove_customer(customer)
                customers.remove(customer)
                keys = {id_: pair for id_, pair in keys.items() if pair[0] != customer}
            elif step == "issue":
                key, text = access.issue(customer, ["read"])
                assert customer in customers
                keys[key.id] = (customer, text)
            else:
                wanted = sorted(keys)[number] if number < len(keys) else "a" * 12
                access.revoke(wanted)
                del keys[wanted]
        except InvalidRequest:
            assert {"add": customer in customers, "revoke": number >= len(keys)}.get(step, customer not in customers)
        seen.append(access.directory(data.draw(st.sampled_from(seen))))
        assert seen[-1] == access.directory()
        assert set(seen[-1].customers) == customers and set(seen[-1].keys) == set(keys)
    for customer, text in keys.values():
        seen[-1].authenticate(Credentials(customer, text), NOW)


def test_a_directory_waits_for_a_change(access):
    """Reading on waits until somebody changes access, and gives the same one if nobody does in time."""
    known = access.directory()
    assert access.directory(known, wait_seconds=0.01) is known
    thread = threading.Timer(0.05, access.add_customer, ["late"])
    thread.start()
    assert "late" in access.directory(known, wait_seconds=30).customers
    thread.join()


def test_a_directory_survives_what_it_stands_on(access, backend):
    """From a version that was trimmed away, or that an older copy of the store does not have, all is read anew."""
    known = access.directory()
    key, _ = access.issue("acme", ["read"])
    access.revoke(key.id)
    backend.trim(LOG_NAME, 4)
    assert access.directory(known) == access.directory()
    assert access.directory(attrs.evolve(known, version=99)) == access.directory()
    assert set(access.directory(known).customers) == {"acme", "zeta"}


def test_a_record_that_nobody_wrote_is_not_believed(access, backend):
    """Bytes in the access log that are no record are an error, not a customer."""
    Log(backend, LOG_NAME, codecs.STRING, codecs.JSON).update([Upsert("customer:evil", {"type": "customer"})])
    with pytest.raises(Undecodable):
        access.directory()


@pytest.mark.parametrize("customer", ["acme", "a", "0", "a.b-c_d", "a" * 63])
def test_no_customer_reaches_the_access_log(access, backend, customer):
    """Under any id that a customer can have, the access log can be neither named nor listed."""
    if customer != "acme":
        access.add_customer(customer)
    scoped = ScopedBackend(backend, customer)
    assert scoped.logs() == []
    for name in (LOG_NAME, "access", "../@/access"):
        with pytest.raises(NonexistentLog):
            scoped.describe(name)
    assert [info.name for info in backend.logs()] == [LOG_NAME]


# Two administrators


class Meddling:
    """A backend that does something else just before each of the first few updates."""

    def __init__(self, inner, *others):
        self._inner = inner
        self._others = list(others)
        self.updates = 0

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def update(self, log, transaction, attempt=1):
        self.updates += 1
        if self._others:
            self._others.pop(0)()
        return self._inner.update(log, transaction, attempt)


def test_a_race_is_judged_anew(access, backend):
    """A change that another's came before is planned again on what there is then; both take effect."""
    meddling = Meddling(backend, lambda: access.add_customer("one"), lambda: access.add_customer("two"))
    Access(meddling).add_customer("three")
    assert meddling.updates == 3
    assert {"one", "two", "three"} < set(access.directory().customers)


def test_a_key_does_not_outlive_a_race_for_its_customer(access, backend):
    """A customer removed while a key is issued to it leaves neither customer nor key; the other way round too."""
    with pytest.raises(InvalidRequest, match="no customer 'acme'"):
        Access(Meddling(backend, lambda: access.remove_customer("acme"))).issue("acme", ["read"])
    assert access.keys() == []
    issued = []
    removed = Access(Meddling(backend, lambda: issued.append(access.issue("zeta", ["read"])))).remove_customer("zeta")
    assert removed == [issued[0][0]]
    assert (access.keys(), access.customers()) == ([], [])


def test_what_another_did_first_is_told(access, backend):
    """The same customer added, the same key revoked by another meanwhile: an error that says so, and nothing changed."""
    key, _ = access.issue("acme", ["read"])
    with pytest.raises(InvalidRequest, match="'new' already"):
        Access(Meddling(backend, lambda: access.add_customer("new", "theirs"))).add_customer("new", "mine")
    assert access.directory().customers["new"].name == "theirs"
    with pytest.raises(InvalidRequest, match="revoked already"):
        Access(Meddling(backend, lambda: access.revoke(key.id))).revoke(key.id)


def test_endless_races_end(access, backend):
    """Who is overtaken every time gives up with ``TransactionConflict``, having done nothing."""
    names = (f"c{number}" for number in range(10**6))
    endless = Meddling(backend, *[lambda: access.add_customer(next(names))] * 1000)
    with pytest.raises(TransactionConflict):
        Access(endless).add_customer("mine")
    assert "mine" not in access.directory().customers


def test_many_administrators_of_one_file_lose_nothing(tmp_path):
    """Several at once, each with a connection of its own: every change that was acknowledged is there, once."""
    path, count, each = tmp_path / "logs.db", 4, 6
    first = SQLiteBackend(path)
    Access(first).open().add_customer("acme")
    made, failures = [], []

    def administer():
        backend = SQLiteBackend(path)
        try:
            for _ in range(each):
                made.append(Access(backend).issue("acme", ["read"]))
        except BaseException as error:
            failures.append(error)
        finally:
            backend.close()

    threads = [threading.Thread(target=administer) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    directory = Access(first).directory()
    assert not failures and directory.version == 1 + count * each
    assert {key.id for key, _ in made} == set(directory.keys) and len(directory.keys) == count * each
    for _, text in made:
        directory.authenticate(Credentials("acme", text), NOW)
    first.close()


class Forgetful:
    """A backend whose first answers to updates are lost, after or before they took effect."""

    def __init__(self, inner, losses, executed=True):
        self._inner = inner
        self._losses = losses
        self._executed = executed
        self.sent = []

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def update(self, log, transaction, attempt=1):
        self.sent.append((transaction.id, attempt))
        lost = self._losses > 0
        self._losses -= 1
        committed = self._inner.update(log, transaction, attempt) if self._executed or not lost else None
        if lost:
            raise OutcomeUnknown(log, transaction, attempt, "connection lost")
        return committed


@pytest.mark.parametrize("executed", [True, False])
def test_a_lost_answer_is_asked_for_again(access, backend, executed):
    """A change whose answer is lost takes effect once; if it stays lost, that is told."""
    forgetful = Forgetful(backend, 2, executed)
    key, text = Access(forgetful).issue("acme", ["read"])
    assert access.keys() == [key]
    assert [attempt for _, attempt in forgetful.sent] == [1, 2, 3] and len({tx for tx, _ in forgetful.sent}) == 1
    access.directory().authenticate(Credentials("acme", text), NOW)
    with pytest.raises(OutcomeUnknown):
        Access(Forgetful(backend, 3, executed)).issue("acme", ["read"])


@pytest.mark.parametrize("losses", [0, 1])
def test_what_is_not_known_stays_so_whatever_fails_then(access, backend, losses):
    """S17: that a second attempt was not made says nothing of the first; the control says that nothing was done."""

    class Failing(Forgetful):
        def update(self, log, transaction, attempt=1):
            if self._losses <= 0:
                raise NotExecuted("the disk is full")
            return super().update(log, transaction, attempt)

    with pytest.raises(OutcomeUnknown if losses else NotExecuted):
        Access(Failing(backend, losses)).issue("acme", ["read"])
    assert len(access.keys()) == losses


# What is refused


@pytest.mark.parametrize(
    "customer",
    [
        "",
        "@",
        "A",
        "a/b",
        "/",
        "-a",
        ".a",
        "_a",
        "a b",
        "a:b",
        "é",
        "a" * 64,
        "a\n",
        "a\0",
        "..",
        None,
        3,
        b"a",
        "\ud800",
    ],
)
def test_what_is_no_customers_id_is_refused(access, customer):
    """An id that could be mistaken for another name, or reach into one, is refused, and nothing changes."""
    before = access.directory()
    with pytest.raises(InvalidRequest, match="customer's id"):
        access.add_customer(customer)
    with pytest.raises(InvalidRequest, match="customer's id"):
        access.issue(customer, ["read"])
    with pytest.raises(InvalidRequest, match="customer's id"):
        access.remove_customer(customer)
    assert access.directory() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scopes": []}, "one or more of read, write, admin"),
        ({"scopes": ["root"]}, "one or more of"),
        ({"scopes": ["read", "root"]}, "one or more of"),
        ({"scopes": "read"}, "one or more of"),
        ({"scopes": None}, "one or more of"),
        ({"scopes": [["read"]]}, "one or more of"),
        ({"scopes": ["read", 1]}, "one or more of"),
        ({"group": 3}, "group must be a str"),
        ({"group": "\ud800"}, "surrogates"),
        ({"label": None}, "label must be a str"),
        ({"expires_at": NOW.replace(tzinfo=None)}, "offset from UTC"),
        ({"expires_at": 1.0}, "offset from UTC"),
        ({"expires_at": dt.datetime.max.replace(tzinfo=dt.timezone(-DAY / 2))}, "1 to 9999"),
        ({"expires_at": NOW - TICK}, "has passed"),
        ({"expires_at": NOW}, "has passed"),
    ],
)
def test_what_no_key_can_have_is_refused(access, fields, message):
    """Each field that is not what it should be is refused by name, and no key is made; with good ones it is."""
    good = {"scopes": ["read"], "group": "g", "label": "l", "expires_at": NOW + DAY}
    with pytest.raises(InvalidRequest, match=message):
        access.issue("acme", **{**good, **fields})
    assert access.keys() == []
    access.issue("acme", **good)


@pytest.mark.parametrize("text", ["", "A" * 12, "a" * 11, "a" * 13, "a" * 11 + "1", None, b"a" * 12])
def test_what_is_no_keys_id_is_refused_unseen(access, text):
    """Revoking what is no id is refused without showing it: it may be a whole key."""
    _, whole = access.issue("acme", ["read"])
    for it in (text, text_of(whole)):
        with pytest.raises(InvalidRequest, match="12 characters") as caught:
            access.revoke(it)
        assert not it or str(it) not in str(caught.value)
    assert len(access.keys()) == 1


def test_values_check_what_they_are_built_of():
    """A digest that is none, and names that no text can carry, are refused."""
    for digest in ("", "0" * 63, "0" * 65, "G" * 64, None, b"0" * 64):
        with pytest.raises(InvalidRequest, match="64 hexadecimal"):
            attrs.evolve(ONE_KEY, digest=digest)
    with pytest.raises(InvalidRequest, match="name"):
        Customer("acme", "\ud800", NOW)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ONE_KEY.group = None


def test_a_customer_is_added_once(access):
    """Adding a customer that is there is refused, with another name or the same; removing one that is not, too."""
    for name in ("Acme Ltd", "other"):
        with pytest.raises(InvalidRequest, match="'acme' already"):
            access.add_customer("acme", name)
    assert access.directory().customers["acme"].name == "Acme Ltd"
    with pytest.raises(InvalidRequest, match="no customer 'nobody'"):
        access.remove_customer("nobody")


def test_there_is_a_most_of_keys(access, monkeypatch):
    """A customer's keys are limited, so that it can always be removed as one; one less is possible."""
    monkeypatch.setattr(access_module, "MOST_KEYS", 3)
    keys = [access.issue("acme", ["read"])[0] for _ in range(3)]
    with pytest.raises(TooLarge, match="revoke some first") as caught:
        access.issue("acme", ["read"])
    assert (caught.value.limit, caught.value.size, caught.value.maximum) == ("keys", 4, 3)
    access.issue("zeta", ["read"])
    access.revoke(keys[0].id)
    access.issue("acme", ["read"])


def test_the_most_of_keys_can_be_removed_as_one():
    """The largest customer fits into one transaction of a store with the limits as they come."""
    assert 2 * (access_module.MOST_KEYS + 1) + 1 <= Limits().commands


def test_an_id_that_was_drawn_before_overwrites_nothing(access, monkeypatch):
    """If randomness ever repeats an id, the key that has it stays as it is."""
    key, text = access.issue("acme", ["read"])
    digest, other = "0" * 64, Secret(b"x")
    monkeypatch.setattr(access_module, "generate", lambda: (key.id, digest, other))
    with pytest.raises(Exception, match="another value"):
        access.issue("zeta", ["admin"])
    access.directory().authenticate(Credentials("acme", text), NOW)


# What does not get out


def forms(secret):
    """Every way in which a secret may show."""
    raw = base64.b32decode(secret.upper() + "====")
    return [secret, secret.upper(), raw.hex(), base64.b64encode(raw).decode().rstrip("="), repr(raw)[2:-1]]


def test_no_value_shows_a_secret(caplog):
    """No repr, format, pickle, message, log or traceback of access holds the secret; the text itself does."""
    caplog.set_level(logging.DEBUG)
    access = Access(MemoryBackend()).open()
    access.add_customer("acme")
    key, text = access.issue("acme", ["read"], group="g", label="l")
    directory = access.directory()
    credentials = Credentials("acme", text)
    grant = directory.authenticate(credentials, NOW)
    shown = [f"{it!r} {it!s} {it}" for it in (access, key, text, directory, grant, credentials, [key, text])]
    shown += [repr(pickle.dumps(it)) for it in (key, directory, grant)]
    shown += [repr(copy.deepcopy(it)) for it in (key, directory, grant)]
    wrong = text_of(text)[:-1] + ("b" if text_of(text).endswith("a") else "a")
    for customer, apikey in (("zeta", text), ("acme", Secret(wrong.encode()))):
        try:
            directory.authenticate(Credentials(customer, apikey), NOW)
        except BadApiKey as error:
            summary = traceback.TracebackException.from_exception(error, capture_locals=True)
            # The first frame is this test's own, which has the text.
            shown += [
                str(list(summary.stack)[1:]),
                str([frame.locals for frame in list(summary.stack)[1:]]),
                str(error),
            ]
    shown.append(caplog.text)
    secret = text_of(text).split("_")[2]
    assert secret in text_of(text)
    for form in (*forms(secret), secret[:20], wrong.split("_")[2]):
        assert not any(form in it for it in shown)
    assert pickle.loads(pickle.dumps(directory)) == directory
    assert pickle.loads(pickle.dumps(grant)) == grant


def test_a_listing_does_not_show_digests():
    """The repr of a key, and of all that holds it, leaves its digest out."""
    assert ONE_KEY.digest not in f"{ONE_KEY!r} {ONE_DIRECTORY!r}"
    assert ONE_KEY.id in repr(ONE_KEY)


def test_the_store_holds_the_digest_alone(tmp_path):
    """The file of the store has a key's id and digest in it, and its secret in no spelling."""
    backend = SQLiteBackend(tmp_path / "logs.db")
    access = Access(backend).open()
    access.add_customer("acme")
    key, text = access.issue("acme", ["read"])
    during = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    backend.close()
    after = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    secret = text_of(text).split("_")[2]
    for stored in (during, after):
        assert key.id.encode() in stored and key.digest.encode() in stored
        assert not any(form.encode() in stored for form in forms(secret))
        assert base64.b32decode(secret.upper() + "====") not in stored


def test_the_digest_is_what_it_is():
    """The digest of a secret is pinned: keys that were issued must be accepted by every later release."""
    identity, digest = keys_module.claim(Secret(b"idl_" + b"a" * 12 + b"_" + b"b" * 52))
    assert identity == "a" * 12
    assert digest == "20a29b1c6106282d6ac517e7e9cc578fd3dd8de76c8c39752b28a4cfb6245aeb"


def test_what_is_stored_is_pinned(access, backend):
    """The records have these names and members: later releases must read them."""
    record = ApiKey(
        id="a" * 12,
        customer_id="acme",
        digest="0" * 64,
        scopes=["write", "read", "read"],
        group=None,
        expires_at=None,
        created_at=NOW,
        label="é",
    )
    stored = {
        "customer:acme": b'{"created_at":"2027-01-31T12:00:00+00:00","id":"acme","name":"Acme","type":"customer"}',
        "key:aaaaaaaaaaaa": b'{"created_at":"2027-01-31T12:00:00+00:00","customer_id":"acme","digest":"'
        + b"0" * 64
        + b'","expires_at":null,"group":null,"id":"aaaaaaaaaaaa","label":"\xc3\xa9","scopes":["read","write"],"type":"key"}',
    }
    log = Log(MemoryBackend(), LOG_NAME, codecs.STRING, codecs.BYTES)
    log.create()
    log.update(Transaction([Upsert(name, value) for name, value in stored.items()]))
    directory = Access(log._backend).directory()
    assert directory.customers == {"acme": Customer("acme", "Acme", NOW)} and directory.keys == {record.id: record}
    for it in (directory.customers["acme"], record):
        assert access_module._RECORDS.encode(it) == stored[access_module._place(it)]
