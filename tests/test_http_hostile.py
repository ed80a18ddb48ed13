"""A hostile service: every trick it may play, what is noticed of it, and what cannot be.

``TRICKS`` is the table, from which ``rows`` makes one to read. Each trick is played on a client that trusts nobody and
on one that seals, over real connections, by a service that is honest but for the trick; the honest one is the control.
"""

import contextlib
import datetime as dt
import functools
import gzip
import itertools
import json
import socket
import ssl
import threading
import time
import types

import attrs
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from http_scripted import CREDENTIALS, Answer, Gone, Scripted, fault

from indelible import (
    BadApiKey,
    HistoryRolledBack,
    IndelibleError,
    IntegrityError,
    InvalidRequest,
    LogExists,
    LogInfo,
    MasterKey,
    NonexistentLog,
    NonexistentValue,
    NotExecuted,
    OutcomeUnknown,
    Overloaded,
    ProtocolViolation,
    Rejected,
    TransactionConflict,
    TransactionIdReused,
    UnexpectedValue,
    UnexpectedVersion,
    VersionInfo,
    wire,
)
from indelible.backends import EncryptedBackend, HTTPBackend, MemoryBackend
from indelible.backends.http import Pins, answers, listings, paging, retrying, service, verdicts
from indelible.changes import Added, Entry, Removed, Revision
from indelible.cipher import SecretBoxCipher
from indelible.commands import ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.messages import (
    LARGEST_PAGE,
    KeyRevisions,
    ListLogs,
    ListVersions,
    LogPage,
    RevisionPage,
    UpdateLog,
    VersionPage,
)
from indelible.pages import AtCommand, DiffRequest, Page
from indelible.records import Committed
from indelible.routes import DIFF, LIST

KEY = MasterKey.generate()
ORDERS, OTHERS = "orders", "others"
HISTORY = [
    [Insert(b"a", b"1"), Insert(b"b", b"1"), Insert(b"c", b"1")],
    [Update(b"a", b"2"), Insert(b"d", b"1")],
    [Remove(b"b", b"1"), Insert(b"e", b"1")],
    [Update(b"a", b"3"), Update(b"c", b"2")],
    [Insert(b"f", b"1"), Insert(b"g", b"1")],
]
HEAD = len(HISTORY)
SMALL = 64 * 1024
"""The largest answer that the clients here take."""

BELIEVED = "believed"
"""The lie is taken for the truth: nothing in the protocol can tell it."""

HARMLESS = "harmless"
"""The answer is the right one all the same."""


def fill(logs):
    for name, more in ((ORDERS, b""), (OTHERS, b" of others")):
        logs.create(name, "g")
        for commands in HISTORY:
            logs.update(name, Transaction([attrs.evolve(it, value=it.value + more) for it in commands]))


# What a client may ask


def walk(logs, start, end=None, order="command", limit=2):
    page = logs.diff(ORDERS, DiffRequest(start, end, order=order, limit=limit))
    told = list(page.changes)
    for _ in range(50):
        if page.next is None:
            return told
        page = logs.diff(ORDERS, DiffRequest(start, page.to_version, order=order, limit=limit, cursor=page.next))
        told += page.changes
    raise AssertionError("the pages do not come to an end")


def by_key(told):
    """Sorted by the keys themselves, as who seals cannot ask for."""
    return sorted(told, key=lambda it: (it.key, type(it) is Added))


def infos(logs):
    return [(it.version, it.source, it.effects) for it in logs.versions(ORDERS)]


def commit(*commands):
    return lambda logs: logs.update(ORDERS, Transaction(commands))


def commit_and_look(logs):
    logs.update(ORDERS, Transaction([Upsert(b"new", b"1")]))
    return logs.describe(ORDERS).head


ASKS = {
    "everything": lambda logs: walk(logs, 0),
    "one page": lambda logs: logs.diff(ORDERS, DiffRequest()).changes,
    "few bytes": lambda logs: logs.diff(ORDERS, DiffRequest(max_bytes=1)).changes,
    "since version 2": lambda logs: walk(logs, 2),
    "back to version 2": lambda logs: walk(logs, HEAD, 2),
    "by key": lambda logs: by_key(walk(logs, 0, order="key")),
    "by key, since version 2": lambda logs: by_key(walk(logs, 2, order="key")),
    "one page since version 2": lambda logs: logs.diff(ORDERS, DiffRequest(2)).changes,
    "one page by key": lambda logs: by_key(logs.diff(ORDERS, DiffRequest(2, order="key")).changes),
    "wait": lambda logs: logs.diff(ORDERS, DiffRequest(HEAD, wait_seconds=0.1)),
    "wait for more": lambda logs: logs.diff(ORDERS, DiffRequest(2, wait_seconds=5)).to_version,
    "describe": lambda logs: logs.describe(ORDERS),
    "list": lambda logs: [it.name for it in logs.logs("g")],
    "versions": infos,
    "some versions": lambda logs: [it.version for it in logs.versions(ORDERS, 1, 4)],
    "history": lambda logs: logs.history(ORDERS, b"a"),
    "commit": commit(ExpectVersion(HEAD), Upsert(b"new", b"1")),
    "commit something": commit(Upsert(b"new", b"1")),
    "commit nothing": commit(ExpectVersion(HEAD)),
    "commit what is refused": commit(Upsert(b"new", b"1"), ExpectVersion(2)),
    "commit and look": commit_and_look,
    "trim": lambda logs: logs.trim(ORDERS, 2),
    "create": lambda logs: logs.create("new"),
}


# What a service may do


@attrs.frozen
class Trick:
    """What the service does, at which call it shows, and what becomes of it: an error, or one of the words above.

    ``sealed`` is what a client makes of it that seals; unless given, the same as one that does not.
    """

    name: str
    ask: str
    play: object
    raw: object
    sealed: object = attrs.field()
    before: object = None

    @sealed.default
    def _same(self):
        return self.raw


def page(change, only=None, when=lambda page: True):
    """Change the JSON of every page, or of the ``only``-th of a walk."""

    def begin():
        count = itertools.count()

        def play(scene, request, answer):
            if request.name == "diff" and answer.status == 200:
                number, plain = next(count), answer.plain
                if only in (None, number) and when(plain):
                    change(plain)
                    answer.say(plain)
            return answer

        return play

    return begin


def fresh(play):
    """A trick that keeps no count."""
    return lambda: play


def says(name, plain=None, **fields):
    """Replace what a call answers, or some of its fields."""

    def play(scene, request, answer):
        if request.name == name:
            answer.say({**answer.plain, **fields} if plain is None else plain(answer.plain))
        return answer

    return fresh(play)


def raw(data):
    """Send these bytes whatever is asked."""

    def play(scene, request, answer):
        answer.raw = data(answer) if callable(data) else data
        return answer

    return fresh(play)


def refuses(error, status=None):
    """Answer with an error, having done what was asked."""
    return lambda: lambda scene, request, answer: fault(error, status)


def headers(**given):
    def play(scene, request, answer):
        answer.headers |= {name.replace("_", "-"): value for name, value in given.items()}
        return answer

    return fresh(play)


def swap(path):
    def change(plain):
        one, other = (plain["page"][it] for it in (0, 2))
        one["entry"][path], other["entry"][path] = other["entry"][path], one["entry"][path]

    return change


def flip(path):
    def change(plain):
        entry = plain["page"][0]["entry"]
        data = bytearray(wire.unbase64(entry[path], ""))
        data[-1] ^= 64
        entry[path] = wire.base64(bytes(data))

    return change


def edit(index=0, **fields):
    def change(plain):
        it = plain["page"][index]
        for name, value in fields.items():
            if name in ("key", "value"):
                it["entry"][name] = value
            else:
                it[name] = value

    return change


def put(**fields):
    return lambda plain: plain.update(fields)


def duplicated(plain):
    plain["page"].append(json.loads(json.dumps(plain["page"][-1])))


def dropped(plain):
    del plain["page"][0]


def exchanged_pair(plain):
    """Put the addition under a key before the removal there."""
    told = plain["page"]
    places = {}
    for at, it in enumerate(told):
        places.setdefault(it["entry"]["key"], []).append(at)
    one, other = next(pair for pair in places.values() if len(pair) == 2)
    told[one], told[other] = told[other], told[one]


def reversed_page(plain):
    plain["page"].reverse()


def invented(plain):
    plain["page"][0]["entry"] = {"key": wire.base64(b"aaa" * 20), "value": wire.base64(b"invented" * 20)}


def cut_short(plain):
    plain["page"], plain["nextPageOptions"] = plain["page"][:1], None


def repeat_first():
    """Each page after the first tells its first change again."""
    first = []

    def play(scene, request, answer):
        if request.name == "diff":
            plain = answer.plain
            if first:
                plain["page"] = [first[0], *plain["page"][1:]]
                answer.say(plain)
            elif plain["page"]:
                first.append(plain["page"][0])
        return answer

    return play


def endless():
    """The first page for ever, each time with a cursor that leads on."""
    first = []

    def play(scene, request, answer):
        if request.name == "diff":
            first[:] = first or [answer.plain]
            number = int(request.plain.get("paginationOptions", {}).get("skipToCommand", 0)) + 1
            following = {"skipToVersion": HEAD, "skipToCommand": number, "removeAlreadySeen": "false"}
            answer.say({**first[0], "nextPageOptions": following})
        return answer

    return play


def cursor(**fields):
    def change(plain):
        plain["nextPageOptions"] = {"removeAlreadySeen": "false", **fields}

    return change


def same_cursor(scene, request, answer):
    asked = request.plain.get("paginationOptions")
    if asked is not None and request.name == "diff":
        answer.say({**answer.plain, "nextPageOptions": asked})
    return answer


def old_value(scene, request, answer):
    """An entry of an old version, authentic in itself, in the place of the new one."""
    if request.name == "diff":
        old = scene.store.diff(scene.sealed_name, DiffRequest(0, 1)).changes
        plain = answer.plain
        for it in plain["page"]:
            for change in old:
                if it["entry"]["key"] == wire.base64(change.key) and it["entry"]["value"] != wire.base64(change.value):
                    it["entry"]["value"] = wire.base64(change.value)
        answer.say(plain)
    return answer


def from_other_log(scene, request, answer):
    if request.name == "diff":
        other = scene.honest_answer(request, log=scene.other_name).plain
        plain = answer.plain
        if plain["page"] and other["page"]:
            plain["page"][0] = other["page"][0]
            answer.say(plain)
    return answer


def another_log(scene, request, answer):
    return scene.honest_answer(request, log=scene.other_name)


def older_head(scene, request, answer):
    """Show the log as it was two versions ago."""
    return scene.past(request)


def gone(scene, request, answer):
    return fault(NonexistentLog("x"))


def two_clients(scene, request, answer):
    """Tell this client of an entry less, every time, and the other of all."""
    if request.name == "diff":
        plain = answer.plain
        plain["page"] = [it for it in plain["page"] if it["entry"]["key"] != scene.first_key]
        answer.say(plain)
    return answer


def not_done():
    """Say that it is committed, and do nothing."""

    def play(scene, request, answer):
        if request.name == "update":
            return Answer(200, wire.encode({"version": HEAD + 1, "changed": True, "replayed": False}))
        return answer

    play.unheard = True
    return play


def done_and_denied():
    """Do it, and say that nothing was done; the first time only."""
    count = itertools.count()

    def play(scene, request, answer):
        return fault(Overloaded("later")) if request.name == "update" and next(count) == 0 else answer

    return play


def rejection(**fields):
    whole = {"log": "x", "index": 1, "command": "ExpectVersion", "head": HEAD, "expected": 2, "actual": HEAD} | fields
    return refuses(UnexpectedVersion(**whole))


def error_body(code, number, status, **details):
    body = wire.encode({"code": code, "codeNumber": number, "message": "no", "details": {"effect": "none", **details}})
    return fresh(lambda scene, request, answer: Answer(status, body))


def http(head, body=b"{}"):
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head + b"\r\n" + body


def in_chunks(body, size):
    """An answer as it is, with so many bytes."""
    padded = body + b" " * (size - len(body))
    return http(b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (size, padded))


def text(data):
    return raw(http(b"Content-Length: %d\r\n" % len(data), data))


def with_text(change):
    """Change the bytes of a body."""

    def play(scene, request, answer):
        answer.body = change(answer.body)
        return answer

    return fresh(play)


def flood(piece, before=b"", most=100_000):
    """Send the beginning of an answer, and then this for ever."""

    def play(scene, request, answer):
        answer.raw = b""
        with contextlib.suppress(OSError):
            scene.connection.send(http(before, b"") if before else answer_begins)
            for _ in range(most):
                scene.connection.send(piece)
        raise Gone

    answer_begins = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    return fresh(play)


def interim_flood(scene, request, answer):
    with contextlib.suppress(OSError):
        for _ in range(100_000):
            scene.connection.send(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 50)
    raise Gone


def drip(scene, request, answer):
    scene.connection.drip(http(b"Content-Length: 100000\r\n", b" " * 100_000), 0.02)
    raise Gone


def two_answers(scene, request, answer):
    """A second answer, that nobody asked for, after the first."""
    other = Answer(200, wire.encode({"fromVersion": 0, "toVersion": 99, "page": [], "nextPageOptions": None}))
    answer.raw = answer.encoded() + other.encoded()
    return answer


def nested(body):
    return body[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def list_of(change):
    return says("list", lambda plain: {**plain, "logs": change(plain["logs"])})


def versions_of(change):
    return says("versions", lambda plain: {**plain, "versions": change(plain["versions"])})


def history_of(change):
    return says("history", lambda plain: {**plain, "revisions": change(plain["revisions"])})


def edited(items, index, **fields):
    return [{**it, **fields} if at == index % len(items) else it for at, it in enumerate(items)]


PV, UNKNOWN = ProtocolViolation, OutcomeUnknown

TRICKS = [
    # entries
    Trick("swaps the values of two entries", "one page", page(swap("value")), BELIEVED, IntegrityError),
    Trick("swaps the keys of two entries", "one page", page(swap("key")), BELIEVED, IntegrityError),
    Trick("alters a value", "one page", page(flip("value")), BELIEVED, IntegrityError),
    Trick("alters a key", "one page", page(flip("key")), BELIEVED, IntegrityError),
    Trick("invents an entry", "one page", page(invented), BELIEVED, IntegrityError),
    Trick("moves an entry here from another log", "one page", fresh(from_other_log), BELIEVED, IntegrityError),
    Trick("gives the entries of another log", "one page", fresh(another_log), BELIEVED, IntegrityError),
    Trick("replays an old value of a key as its new one", "one page", fresh(old_value), BELIEVED),
    Trick("gives an entry another version that fits", "one page", page(edit(0, version=1)), BELIEVED),
    Trick("drops an entry, from every page to everyone", "everything", page(dropped, only=0), BELIEVED),
    Trick("drops the removal of an entry", "since version 2", page(dropped, only=0), BELIEVED),
    Trick("says that a page is the last which is not", "everything", page(cut_short), BELIEVED),
    Trick("tells a change twice on a page", "one page", page(duplicated), PV),
    Trick("tells a change twice on a page, by key", "by key, since version 2", page(duplicated, only=0), PV),
    Trick("tells a change of an earlier page again", "everything", lambda: repeat_first(), PV),
    Trick("tells a change of an earlier page again, by key", "by key", lambda: repeat_first(), PV),
    Trick("tells changes in another order", "one page", page(reversed_page), PV),
    Trick(
        "tells changes backward in another order",
        "back to version 2",
        page(reversed_page, when=lambda it: len({i["version"] for i in it["page"]}) > 1),
        PV,
    ),
    Trick("tells keys in another order", "by key", page(reversed_page, when=lambda it: len(it["page"]) > 1), PV),
    Trick("adds an entry before it removes the old one", "one page since version 2", page(exchanged_pair), PV),
    Trick("adds an entry before it removes the old one, by key", "one page by key", page(exchanged_pair), PV),
    Trick("makes a removal of an addition", "one page", page(edit(change="Remove")), PV),
    Trick("makes an addition of a removal", "since version 2", page(edit(change="Add"), only=0), PV),
    Trick("adds an entry of a version above the diff", "one page", page(edit(-1, version=HEAD + 1)), PV),
    Trick("adds an entry of a version below the diff", "since version 2", page(edit(-1, version=1), only=2), PV),
    Trick("removes an entry of a version within the diff", "since version 2", page(edit(0, version=4), only=0), PV),
    Trick("adds an entry of a version above the diff, by key", "by key", page(edit(0, version=HEAD + 1), only=0), PV),
    Trick("tells of version 0", "one page", page(edit(version=0)), PV),
    Trick("tells of a kind of change that there is none", "one page", page(edit(change="Change")), PV),
    # pages
    Trick("answers from another version", "since version 2", page(put(fromVersion=1)), PV),
    Trick("answers to another version", "back to version 2", page(put(toVersion=3)), PV),
    Trick(
        "answers to a lower version than it starts from",
        "since version 2",
        page(put(toVersion=1, page=[], nextPageOptions=None)),
        PV,
    ),
    Trick("lets a later page lead to an older version", "everything", page(put(toVersion=HEAD - 1), only=1), PV),
    Trick("lets a later page lead to a newer version", "everything", page(put(toVersion=HEAD + 1), only=1), PV),
    Trick(
        "gives more changes than were asked for",
        "everything",
        page(
            lambda it: it["page"].append(
                {
                    "change": "Add",
                    "entry": {"key": wire.base64(b"z" * 60), "value": wire.base64(b"z" * 60)},
                    "version": HEAD,
                }
            ),
            only=2,
        ),
        PV,
    ),
    Trick("gives an empty page that is not the last", "everything", page(put(page=[])), PV),
    Trick("gives pages without end", "everything", endless, PV),
    Trick("gives a cursor that goes back", "everything", page(cursor(skipToVersion=1, skipToCommand=0), only=2), PV),
    Trick("gives a cursor that stays where it is", "everything", fresh(same_cursor), PV),
    Trick("gives a cursor that stays where it is, by key", "by key", fresh(same_cursor), PV),
    Trick(
        "gives a cursor outside the diff",
        "everything",
        page(cursor(skipToVersion=HEAD + 1, skipToCommand=0), only=0),
        PV,
    ),
    Trick("gives a cursor that goes back, by key", "by key", page(cursor(skipToKey=""), only=1), PV),
    Trick("gives a cursor of the other order", "everything", page(cursor(skipToKey="YQ=="), only=0), PV),
    Trick(
        "gives a cursor of the other order, by key",
        "by key",
        page(cursor(skipToVersion=2, skipToCommand=0), only=0),
        PV,
    ),
    Trick("gives a cursor of both orders", "everything", page(cursor(skipToKey="YQ==", skipToVersion=2), only=0), PV),
    Trick("answers the same question in two ways", "few bytes", page(edit(0, version=1), only=1), PV),
    # history
    Trick(
        "shows an old state to who has seen a newer one",
        "one page",
        fresh(older_head),
        HistoryRolledBack,
        before="one page",
    ),
    Trick(
        "describes an old state to who has seen a newer one",
        "describe",
        fresh(older_head),
        HistoryRolledBack,
        before="describe",
    ),
    Trick(
        "lists an old state to who has seen a newer one", "list", fresh(older_head), HistoryRolledBack, before="list"
    ),
    Trick(
        "lists old versions to who has seen newer ones",
        "versions",
        fresh(older_head),
        HistoryRolledBack,
        before="versions",
    ),
    Trick(
        "denies a version that was seen", "back to version 2", fresh(older_head), HistoryRolledBack, before="describe"
    ),
    Trick("commits on top of an old state", "commit something", fresh(older_head), UNKNOWN, before="describe"),
    Trick("denies a log that was seen", "describe", fresh(gone), HistoryRolledBack, before="describe"),
    Trick("shows an old state to who is new", "one page", fresh(older_head), BELIEVED),
    Trick(
        "withholds new versions from who waits",
        "wait for more",
        page(lambda it: it.update(toVersion=4, page=[], nextPageOptions=None)),
        BELIEVED,
    ),
    Trick(
        "tells who waits of a version that changed nothing",
        "wait for more",
        page(put(toVersion=3, page=[], nextPageOptions=None)),
        PV,
    ),
    Trick("tells two clients different histories", "one page", fresh(two_clients), BELIEVED),
    Trick("denies a log to who is new", "describe", fresh(gone), NonexistentLog),
    Trick("shows a newer version than it says is the newest", "one page", headers(Indelible_Version="1"), PV),
    Trick("says that the newest version is none", "one page", headers(Indelible_Version="five"), PV),
    Trick("says that the newest version is negative", "one page", headers(Indelible_Version="-1"), PV),
    # other readings
    Trick("describes another log", "describe", fresh(another_log), PV),
    Trick("describes a log trimmed beyond its head", "describe", says("describe", oldest=HEAD + 1), PV),
    Trick("describes entries where nothing happened", "describe", says("describe", head=0), PV),
    Trick("miscounts the entries", "describe", says("describe", entries=99), BELIEVED),
    Trick("lists logs in another order", "list", list_of(lambda it: it[::-1]), PV),
    Trick("lists a log twice", "list", list_of(lambda it: [*it, it[-1]]), PV),
    Trick("lists a log of another group", "list", list_of(lambda it: edited(it, 0, group="h")), PV),
    Trick("leaves a log out of the list", "list", list_of(lambda it: it[1:]), BELIEVED),
    Trick("gives lists without end", "list", says("list", nextAfterName="a"), PV),
    Trick("gives an empty list that is not the last", "list", says("list", logs=[], nextAfterName="a"), PV),
    Trick("lists versions with a gap", "versions", versions_of(lambda it: it[:1] + it[2:]), PV),
    Trick("lists versions in another order", "versions", versions_of(lambda it: it[::-1]), PV),
    Trick("lists fewer versions than were asked for", "some versions", versions_of(lambda it: it[:-1]), PV),
    Trick(
        "lists later versions than were asked for",
        "some versions",
        versions_of(lambda it: edited(it, -1, version=9)),
        PV,
    ),
    Trick(
        "lists a version in which nothing happened", "versions", versions_of(lambda it: edited(it, 0, effects=0)), PV
    ),
    Trick("lists versions without end", "versions", says("versions", nextFromVersion=1), PV),
    Trick(
        "says that someone else made a version",
        "versions",
        versions_of(lambda it: edited(it, 0, source="eve")),
        BELIEVED,
    ),
    Trick(
        "leaves the first versions out, as if they were trimmed", "versions", versions_of(lambda it: it[1:]), BELIEVED
    ),
    Trick(
        "gives the history of another key",
        "history",
        history_of(lambda it: edited(it, 0, after={**it[0]["after"], "key": "enp6"})),
        PV,
    ),
    Trick("leaves a version out of a key's history", "history", history_of(lambda it: it[:1] + it[2:]), PV),
    Trick("leaves the newest version out of a key's history", "history", history_of(lambda it: it[:-1]), BELIEVED),
    Trick("tells a key's history in another order", "history", history_of(lambda it: it[::-1]), PV),
    Trick(
        "tells of a version that did nothing to a key",
        "history",
        history_of(lambda it: [*it, {"version": 5, "before": None, "after": None}]),
        PV,
    ),
    Trick(
        "alters a value in a key's history",
        "history",
        history_of(lambda it: edited(it, -1, after={**it[-1]["after"], "value": "enp6"})),
        BELIEVED,
        IntegrityError,
    ),
    Trick("gives a key's history without end", "history", says("history", nextFromVersion=1), PV),
    Trick(
        "denies a version that exists",
        "back to version 2",
        error_body("NONEXISTENT_VERSION", 1004, 404, version="2", head="5"),
        PV,
    ),
    Trick(
        "denies a version that was not asked for",
        "back to version 2",
        error_body("NONEXISTENT_VERSION", 1004, 404, version="9", head="5"),
        PV,
    ),
    Trick(
        "says that a version was trimmed that was not asked for",
        "back to version 2",
        error_body("VERSION_TRIMMED", 1022, 410, version="3", oldest="4"),
        PV,
    ),
    Trick(
        "says that a version was trimmed which cannot have been",
        "back to version 2",
        error_body("VERSION_TRIMMED", 1022, 410, version="2", oldest="2"),
        PV,
    ),
    # transactions
    Trick("says that a commit made version 0", "commit something", says("update", version=0), UNKNOWN),
    Trick("commits at another version than was expected", "commit", says("update", version=HEAD + 2), UNKNOWN),
    Trick(
        "says that a transaction without changes changed something",
        "commit nothing",
        says("update", version=HEAD + 1, changed=True),
        UNKNOWN,
    ),
    Trick(
        "says that nothing changed, at another version than was expected",
        "commit nothing",
        says("update", version=HEAD - 1),
        UNKNOWN,
    ),
    Trick("says that a commit changed nothing", "commit something", says("update", changed=False), BELIEVED),
    Trick(
        "says that it is committed, and does nothing, until the next look",
        "commit and look",
        not_done,
        HistoryRolledBack,
    ),
    Trick("commits, and says that it was not executed, once", "commit something", done_and_denied, HARMLESS),
    Trick(
        "commits, and says that it was not executed, always",
        "commit something",
        refuses(Overloaded("later")),
        Overloaded,
    ),
    Trick(
        "commits, and rejects with what could be true",
        "commit",
        rejection(index=0, expected=HEAD, actual=HEAD + 1, head=HEAD + 1),
        UnexpectedVersion,
    ),
    Trick("rejects a command that was not sent", "commit what is refused", rejection(index=7), UNKNOWN),
    Trick("rejects a negative command", "commit what is refused", rejection(index=-1), UNKNOWN),
    Trick("rejects a command as another kind", "commit what is refused", rejection(command="Insert"), UNKNOWN),
    Trick(
        "rejects a command for what its kind never is",
        "commit what is refused",
        rejection(index=0, command="Upsert"),
        UNKNOWN,
    ),
    Trick("names another expected version", "commit what is refused", rejection(expected=3), UNKNOWN),
    Trick(
        "rejects a version for being the expected one", "commit what is refused", rejection(actual=2, head=2), UNKNOWN
    ),
    Trick("names another head than the actual version", "commit what is refused", rejection(head=3), UNKNOWN),
    Trick(
        "rejects an Upsert for the value there",
        "commit something",
        error_body("UNEXPECTED_VALUE", 1008, 412, index="0", command="Upsert", head="5"),
        UNKNOWN,
    ),
    Trick(
        "says that an id was reused by a command",
        "commit something",
        error_body("TRANSACTION_ID_REUSED", 1021, 422, index="0", command="Upsert", head="5"),
        UNKNOWN,
    ),
    Trick(
        "answers a transaction with an error of reading",
        "commit something",
        error_body("NONEXISTENT_VERSION", 1004, 404, version="5", head="4"),
        UNKNOWN,
    ),
    Trick(
        "answers a transaction with a page",
        "commit something",
        says("update", lambda _: {"fromVersion": 0, "toVersion": 5, "page": [], "nextPageOptions": None}),
        UNKNOWN,
    ),
    Trick("answers a transaction with nothing", "commit something", says("update", lambda _: {}), UNKNOWN),
    Trick(
        "answers a transaction with a failure that says nothing was done, but is none",
        "commit something",
        error_body("INTERNAL_ERROR", 1099, 500),
        UNKNOWN,
    ),
    # errors
    Trick(
        "answers a reading with a rejection",
        "describe",
        error_body("UNEXPECTED_VALUE", 1008, 412, index="0", command="Insert", head="5"),
        PV,
    ),
    Trick("answers with a code that nobody knows", "describe", error_body("OUT_OF_PAPER", 1077, 400), PV),
    Trick("answers with a number of another code", "describe", error_body("BAD_API_KEY", 1005, 401), PV),
    Trick("answers with a status of another code", "describe", error_body("BAD_API_KEY", 1001, 400), PV),
    Trick("answers with an error as if all were well", "describe", error_body("BAD_API_KEY", 1001, 200), PV),
    Trick(
        "answers with an answer as if it were an error",
        "describe",
        fresh(lambda scene, request, answer: attrs.evolve(answer, status=400)),
        PV,
    ),
    Trick(
        "leaves out what an error must say",
        "back to version 2",
        error_body("NONEXISTENT_VERSION", 1004, 404, version="5"),
        PV,
    ),
    Trick(
        "says numbers in an error that are none",
        "back to version 2",
        error_body("NONEXISTENT_VERSION", 1004, 404, version="5", head="٣"),
        PV,
    ),
    Trick("says that the key is not known", "describe", refuses(BadApiKey()), BadApiKey),
    Trick("refuses to serve", "describe", refuses(Overloaded("later")), Overloaded),
    Trick(
        "puts terminal escapes into a message",
        "describe",
        refuses(InvalidRequest("\x1b[2Jgone\r\n\u202e\0")),
        InvalidRequest,
    ),
    Trick("sends a message of megabytes", "describe", refuses(InvalidRequest("x" * (SMALL // 2))), InvalidRequest),
    # HTTP
    Trick(
        "sends somewhere else",
        "describe",
        fresh(
            lambda scene, request, answer: attrs.evolve(
                answer, status=302, headers={"Location": scene.server.url + "/v1/log/list"}
            )
        ),
        PV,
    ),
    Trick(
        "sends somewhere else for good, with the method kept",
        "describe",
        fresh(lambda scene, request, answer: attrs.evolve(answer, status=308, headers={"Location": "/v1/log/list"})),
        PV,
    ),
    Trick(
        "answers with another status that means success",
        "describe",
        fresh(lambda scene, request, answer: attrs.evolve(answer, status=206)),
        PV,
    ),
    Trick(
        "answers with no content",
        "describe",
        fresh(lambda scene, request, answer: attrs.evolve(answer, status=204, body=b"")),
        PV,
    ),
    Trick("switches protocols", "describe", raw(b"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 0\r\n\r\n"), PV),
    Trick(
        "sends a bomb of gzip",
        "describe",
        fresh(
            lambda scene, request, answer: attrs.evolve(
                answer, body=gzip.compress(bytes(10**6)), headers={"Content-Encoding": "gzip"}
            )
        ),
        PV,
    ),
    Trick("declares an encoding and uses none", "describe", headers(Content_Encoding="identity"), PV),
    Trick("declares another type", "describe", headers(Content_Type="text/html"), PV),
    Trick("declares no type", "describe", headers(Content_Type=None), PV),
    Trick("says nothing of the length", "describe", headers(Content_Length=None, Connection="close"), PV),
    Trick("says the length in two ways", "describe", headers(Transfer_Encoding="chunked"), PV),
    Trick(
        "encodes its answer for the way",
        "describe",
        headers(Content_Length=None, Transfer_Encoding="gzip, chunked"),
        PV,
    ),
    Trick("sends a little more than may be, in chunks", "describe", raw(lambda it: in_chunks(it.body, SMALL + 1)), PV),
    Trick("sends as much as may be, in chunks", "describe", raw(lambda it: in_chunks(it.body, SMALL)), HARMLESS),
    Trick("says a length that is none", "describe", headers(Content_Length="ten"), PV),
    Trick("says a negative length", "describe", headers(Content_Length="-1"), PV),
    Trick("says two lengths", "describe", raw(http(b"Content-Length: 2\r\nContent-Length: 3\r\n")), PV),
    Trick("says a length beyond all bounds", "describe", headers(Content_Length=str(10**12)), PV),
    Trick("sends more than may be", "describe", with_text(lambda body: body + b" " * (SMALL + 1)), PV),
    Trick(
        "sends chunks without end",
        "describe",
        flood(b"1000\r\n" + b" " * 4096 + b"\r\n", b"Transfer-Encoding: chunked\r\n"),
        PV,
    ),
    Trick(
        "sends a chunk without end",
        "describe",
        raw(http(b"Transfer-Encoding: chunked\r\n", b"f" * 100_000 + b"\r\n")),
        PV,
    ),
    Trick(
        "sends a chunk of negative size",
        "describe",
        raw(http(b"Transfer-Encoding: chunked\r\nConnection: close\r\n", b"-5\r\n{}\r\n0\r\n\r\n")),
        PV,
    ),
    Trick(
        "sends a chunk whose size is none",
        "describe",
        raw(http(b"Transfer-Encoding: chunked\r\nConnection: close\r\n", b"two\r\n{}\r\n0\r\n\r\n")),
        NotExecuted,
    ),
    Trick("sends headers without end", "describe", flood(b"X: y\r\n" * 100), PV),
    Trick("sends a header without end", "describe", flood(b"x" * 4096), PV),
    Trick("sends interim answers without end", "describe", fresh(interim_flood), PV),
    Trick("sends an answer a byte at a time", "describe", fresh(drip), NotExecuted),
    Trick("sends less than it says", "describe", headers(Content_Length="1000", Connection="close"), NotExecuted),
    Trick("speaks something else than HTTP", "describe", raw(b"220 mail.example ESMTP\r\n"), PV),
    Trick("speaks HTTP of another century", "describe", raw(b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}"), PV),
    Trick("sends a second answer that nobody asked for", "describe", fresh(two_answers), HARMLESS, before="describe"),
    # JSON
    Trick("sends no JSON", "describe", text(b"{"), PV),
    Trick("sends JSON and more", "describe", with_text(lambda body: body + b"{}"), PV),
    Trick("sends a list", "describe", text(b"[]"), PV),
    Trick("sends null", "describe", text(b"null"), PV),
    Trick("sends NaN", "describe", with_text(lambda body: body[:-1] + b',"more":NaN}'), PV),
    Trick("sends Infinity", "describe", with_text(lambda body: body[:-1] + b',"more":-Infinity}'), PV),
    Trick(
        "nests without end",
        "describe",
        with_text(lambda body: body[:-1] + b',"more":' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
        PV,
    ),
    Trick(
        "sends a number of ten thousand digits",
        "describe",
        with_text(lambda body: body.replace(b'"head":5', b'"head":' + b"9" * 10_000)),
        PV,
    ),
    Trick("sends a number beyond 2**63", "describe", says("describe", head=2**63), PV),
    Trick("sends a fraction for a version", "describe", says("describe", head=5.0), PV),
    Trick("sends true for a version", "describe", says("describe", head=True), PV),
    Trick("sends a negative version", "describe", says("describe", head=-1), PV),
    Trick("sends null for a version", "describe", says("describe", head=None), PV),
    Trick(
        "sends half a character in a name",
        "describe",
        with_text(lambda body: body.replace(b'"group":"g"', b'"group":"\\ud800"')),
        PV,
    ),
    Trick(
        "sends what is not UTF-8",
        "describe",
        with_text(lambda body: body.replace(b'"group":"g"', b'"group":"\xff"')),
        PV,
    ),
    Trick("sends UTF-16", "describe", with_text(lambda body: body.decode().encode("utf-16")), PV),
    Trick("says a name twice in an object", "describe", with_text(lambda body: body[:-1] + b',"head":5}'), HARMLESS),
    Trick("says more than is asked for", "describe", says("describe", more={"of": ["this"]}), HARMLESS),
    Trick("says less than is asked for", "describe", says("describe", lambda it: {"name": it["name"]}), PV),
    Trick("sends Base64 without padding", "one page", page(edit(value="eA")), PV),
    Trick("sends Base64 that another encoder would not", "one page", page(edit(value="eB==")), PV),
    Trick("sends Base64 of another alphabet", "one page", page(edit(value="_-__")), PV),
    Trick("sends an entry without a value", "one page", page(lambda it: it["page"][0]["entry"].pop("value")), PV),
    Trick("sends a page that is none", "one page", page(put(page={"0": {}})), PV),
]


def rows():
    """The table to read: what the service does, what a client makes of it, and what one makes that seals."""

    def shown(outcome):
        return outcome if isinstance(outcome, str) else outcome.__name__

    return [(trick.name, shown(trick.raw), shown(trick.sealed)) for trick in TRICKS]


# The stage


class Scene:
    """A service with two logs, and the client that looks at one of them."""

    def __init__(self, sealed):
        self.server = Scripted()
        self.sealed = sealed
        self.cipher = SecretBoxCipher(KEY)
        self.store = self.server.honest.store
        fill(self.client())
        self.expected = MemoryBackend()
        fill(self.expected)
        name = self.cipher.seal_name if sealed else str
        self.sealed_name, self.other_name = name(ORDERS), name(OTHERS)
        self.first_key = wire.base64(self.store.diff(self.sealed_name, DiffRequest()).changes[0].key)
        self._past = None

    def client(self, **options):
        it = self.server.backend(largest_answer=SMALL, timeout=options.pop("timeout", 10.0), **options)
        return EncryptedBackend(it, self.cipher) if self.sealed else it

    def honest_answer(self, request, log):
        body = request.plain
        if "logName" in body:
            body["logName"] = log
        return self.server.honest.answer(attrs.evolve(request, body=wire.encode(body)))

    def past(self, request):
        """What the honest service would have said two versions ago."""
        if self._past is None:
            self._past = MemoryBackend()
            for info in self.store.logs():
                self._past.create(info.name, info.group)
                for version in range(1, HEAD - 1):
                    told = self.store.diff(info.name, DiffRequest(version - 1, version)).changes
                    commands = [(Upsert if isinstance(it, Added) else Remove)(it.key, it.value) for it in told]
                    self._past.update(info.name, Transaction(commands))
        present, self.server.honest.store = self.server.honest.store, self._past
        try:
            return self.server.honest.answer(request)
        finally:
            self.server.honest.store = present

    def play(self, trick):
        play = trick.play()

        def script(request, connection):
            self.connection = connection
            heard = not getattr(play, "unheard", False) or request.name != "update"
            return play(self, request, self.server.honest.answer(request) if heard else None)

        self.server.script = script

    def close(self):
        self.server.close()
        if self._past is not None:
            self._past.close()
        self.expected.close()


@pytest.fixture(params=[False, True], ids=["raw", "sealed"])
def scene(request, monkeypatch):
    monkeypatch.setattr(retrying, "_FIRST", 0.001)
    monkeypatch.setattr(retrying, "_LONGEST", 0.01)
    it = Scene(request.param)
    yield it
    it.close()


@pytest.mark.parametrize("trick", TRICKS, ids=lambda it: it.name)
def test_what_becomes_of_a_trick(scene, trick):
    """Each trick is noticed as the table says, or believed as the table says; without it, all is as it should be."""
    ask, outcome = ASKS[trick.ask], trick.sealed if scene.sealed else trick.raw
    client = scene.client(timeout=0.3 if trick.name == "sends an answer a byte at a time" else 10.0)
    try:
        if trick.before is not None:
            assert ASKS[trick.before](client) == ASKS[trick.before](scene.expected)
        scene.play(trick)
        before = len(scene.server.seen)
        if isinstance(outcome, str):
            told = ask(client)
            if isinstance(told, Committed):
                # Whoever had to ask again is told again.
                told = attrs.evolve(told, replayed=False)
            expected = ask(scene.expected)
            assert (told == expected) == (outcome is HARMLESS), (told, expected)
        else:
            with pytest.raises(outcome) as caught:
                ask(client)
            assert type(caught.value) is outcome
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 1000
        assert len(scene.server.seen) > before, "the trick was played"
    finally:
        client.close()


@pytest.mark.parametrize("ask", ASKS)
def test_an_honest_service_is_believed(scene, ask):
    """The control of every trick: the same call to the same service, without it, gives what the log holds."""
    with contextlib.closing(scene.client()) as client:
        told = expected = None
        try:
            expected = ASKS[ask](scene.expected)
        except IndelibleError as error:
            with pytest.raises(type(error)):
                ASKS[ask](client)
        else:
            told = ASKS[ask](client)
        assert told == expected


def test_the_table_is_large_enough_and_tells_each_trick_once():
    """There are many tricks, each with a name of its own, most are noticed, and what is not is a short list."""
    names = [name for name, _, _ in rows()]
    assert len(set(names)) == len(names) > 100
    believed = [name for name, _, sealed in rows() if sealed == BELIEVED]
    assert len(believed) < 20
    assert {name for name, raw, sealed in rows() if raw != sealed} == {
        name for name, raw, sealed in rows() if (raw, sealed) == (BELIEVED, "IntegrityError")
    }


def test_nothing_of_the_service_is_quoted(scene):
    """A violation says what is wrong in our own words: no byte of an answer is in any message."""
    marker = "quoted-by-mistake"
    bodies = [
        wire.encode({marker: marker}),
        marker.encode(),
        wire.encode({"name": marker, "group": marker, "head": marker, "oldest": 0, "entries": 0}),
        wire.encode({"code": marker, "codeNumber": 1, "message": marker, "details": {"effect": "none"}}),
    ]
    with contextlib.closing(scene.client()) as client:
        for status, body in itertools.product((200, 302, 404, 500), bodies):
            answer = Answer(status, body, headers={"X-" + marker: marker, "Indelible-Version": marker})
            scene.server.script = lambda _request, _connection, answer=answer: answer
            for ask in ("describe", "one page", "commit", "list"):
                with pytest.raises(IndelibleError) as caught:
                    ASKS[ask](client)
                assert marker not in str(caught.value) + repr(caught.value)


def test_redirections_lead_nowhere(scene):
    """No request, and no API key, goes where a redirection points."""
    with Scripted() as other, contextlib.closing(scene.client()) as client:
        for status in (300, 301, 302, 303, 307, 308):
            answer = Answer(status, b"{}", headers={"Location": other.url + "/v1/log/describe"})
            scene.server.script = lambda _request, _connection, answer=answer: answer
            with pytest.raises(ProtocolViolation, match="redirection"):
                ASKS["describe"](client)
        assert other.connections == 0


def test_what_is_too_large_is_not_read_to_its_end(scene):
    """Of an answer without end, little more is taken than the largest that may be."""
    sent = 0

    def script(_request, connection):
        nonlocal sent
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while sent < 100 * 2**20:
                connection.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
                sent += 65536
        except OSError:
            raise Gone from None

    scene.server.script = script
    with contextlib.closing(scene.client()) as client, pytest.raises(ProtocolViolation, match="largest_answer"):
        ASKS["describe"](client)
    time.sleep(0.05)
    assert sent < 32 * 2**20, "what is in between are buffers of the system"


def test_an_answer_of_too_many_values_is_not_parsed(monkeypatch):
    """What would take many times its bytes in memory is refused by its commas, but for those that texts hold."""
    most = wire.MOST_VALUES
    decoded = []
    decoder = answers._DECODER
    watching = types.SimpleNamespace(decode=lambda text: decoded.append(True) or decoder.decode(text))
    monkeypatch.setattr(answers, "_DECODER", watching)
    with Scripted() as server, contextlib.closing(server.backend()) as client:
        for body in (b"[" + b"[]," * (most + 1) + b"0]", b'["' + b'","' * (most + 1) + b'"]', b"," * 2 * most + b'"'):
            server.script = lambda *_, body=body: Answer(200, body)
            with pytest.raises(ProtocolViolation, match="holds more"):
                client.describe(ORDERS)
            assert not decoded
    for fitting in ([0] * (most + 1), [","] * most, ['",\\"' * most, "\\,", ","], "," * 2 * most):
        assert answers.parse(wire.encode(fitting)) == fitting


def test_the_largest_pages_are_read():
    """A page of as many changes or logs as there may be, named with all that a name may hold, is an answer."""
    added = tuple(Added(b"%d" % n, b"v", n) for n in range(1, LARGEST_PAGE + 1))
    infos = tuple(LogInfo(f"{n:05}" + "," * 60, "," * 60, 1, 0, 1) for n in range(LARGEST_PAGE))
    for route, said in ((DIFF, Page(0, LARGEST_PAGE, added, None)), (LIST, LogPage(infos, None))):
        body = route.encode(said)
        assert route.answer.read(answers.parse(body), "") == said
    assert body.count(b",") > wire.MOST_VALUES


def test_a_list_of_ever_more_has_a_bound():
    """Pages that each lead on are taken up to a bound for all of them together."""
    count = itertools.count()
    group = "g" * 30_000

    def script(request, _connection):
        infos = [{"name": f"{next(count):09}", "group": group, "head": 0, "oldest": 0, "entries": 0}]
        return Answer(200, wire.encode({"logs": infos, "nextAfterName": infos[-1]["name"]}))

    with Scripted(script=script) as server, contextlib.closing(server.backend(largest_answer=SMALL)) as client:
        with pytest.raises(ProtocolViolation, match="largest_answer"):
            client.logs()
        assert 20 < len(server.seen) < 100


# Whatever comes


PIECES = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\0",
    b'"',
    b"{",
    b"}",
    b"[",
    b",",
    b"-",
    b"9" * 30,
    b"1e999",
    b"null",
    b"HTTP/1.1 100 \r\n\r\n",
]
PIECES += [
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Indelible-Version: 0\r\n",
    b"\xff\xfe",
    b"\\ud800",
]
WHAT = st.binary(max_size=4) | st.sampled_from(PIECES)


def test_whatever_comes_is_an_answer_or_an_error_of_ours(mangled):
    """No bytes that a service may send lead to anything but an answer or an ``IndelibleError``."""
    server, client = mangled
    answered = []

    @settings(max_examples=400)
    @given(
        st.sampled_from(["one page", "describe", "list", "versions", "history", "commit something"]),
        st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 2, 8, 100]), WHAT), min_size=1, max_size=4),
    )
    def mangle(name, edits):
        def script(request, connection):
            said = bytearray(server.honest.answer(request).encoded())
            for place, size, piece in edits:
                at = int(place * len(said))
                said[at : at + size] = piece
            with contextlib.suppress(OSError):
                connection.send(bytes(said))
            raise Gone

        server.script = script
        with contextlib.suppress(IndelibleError):
            ASKS[name](client)
            answered.append(name)

    mangle()
    assert answered, "some of what is mangled is an answer all the same"


@pytest.fixture
def mangled(monkeypatch):
    monkeypatch.setattr(retrying, "TRIES", 1)
    monkeypatch.setattr(service, "TRIES", 1)
    monkeypatch.setattr(retrying, "_FIRST", 0.0001)
    with Scripted() as server, contextlib.closing(server.backend(timeout=0.5, largest_answer=SMALL)) as client:
        fill(client)
        yield server, client


# Walks: what is remembered between pages, and what falls out


def changes(keys, version=1):
    return tuple(Added(key, b"", version) for key in keys)


def test_walks_are_forgotten_when_there_are_too_many(monkeypatch):
    """What is remembered is bounded in keys and in walks: the oldest is forgotten, and then believed."""
    monkeypatch.setattr(paging, "_KEYS", 10)
    walks = paging.Walks()
    first = DiffRequest(0, 9)

    def begin(log, keys):
        walk = walks.take(log, first)
        told = Page(0, 9, changes(keys), AtCommand(2, 0))
        paging.check_page(first, told, walk)
        walks.keep(log, told, walk)

    following = DiffRequest(0, 9, cursor=AtCommand(2, 0))
    again = Page(0, 9, changes([b"1"], 2), None)
    begin("a", [b"1", b"2", b"3", b"4"])
    begin("b", [b"1", b"2", b"3", b"4"])
    with pytest.raises(ProtocolViolation):
        paging.check_page(following, again, walks.take("a", following))
    begin("a", [b"1", b"2", b"3", b"4"])
    begin("c", [b"1", b"2", b"3", b"4"])
    paging.check_page(following, again, walks.take("b", following))
    with pytest.raises(ProtocolViolation):
        paging.check_page(following, again, walks.take("c", following))
    begin("d", [b"%d" % it for it in range(11)])
    assert len(walks._walks) == 0, "a walk larger than all that is remembered is forgotten at once"


def test_a_page_may_be_asked_for_twice_and_by_two(scene):
    """S12: whoever asks for a page again, or walks the same way as another, is not accused of anything."""
    with contextlib.closing(scene.client()) as client:
        wanted = walk(scene.expected, 0)
        for limits in itertools.product((1, 2, 3), repeat=2):
            pages = [client.diff(ORDERS, DiffRequest(0, HEAD, limit=limit)) for limit in limits]
            told = [list(it.changes) for it in pages]
            while any(it.next for it in pages):
                for index, limit in enumerate(limits):
                    if pages[index].next is not None:
                        request = DiffRequest(0, HEAD, limit=limit, cursor=pages[index].next)
                        client.diff(ORDERS, request)
                        pages[index] = client.diff(ORDERS, request)
                        told[index] += pages[index].changes
            assert told == [wanted, wanted]


@pytest.mark.parametrize(
    ("start", "end", "asked", "last", "following", "leads_on"),
    [
        (0, 9, None, 3, AtCommand(3, 0), True),
        (0, 9, None, 3, AtCommand(2, 9), False),
        (0, 9, AtCommand(3, 5), None, AtCommand(3, 5), False),
        (0, 9, AtCommand(3, 5), None, AtCommand(3, 4), False),
        (0, 9, AtCommand(3, 5), None, AtCommand(3, 5, removal_seen=True), True),
        (0, 9, AtCommand(3, 5, removal_seen=True), None, AtCommand(3, 5), False),
        (0, 9, AtCommand(3, 5), None, AtCommand(3, 6), True),
        (2, 9, AtCommand(3, 5), None, AtCommand(2, 0), False),
        (9, 2, None, 7, AtCommand(7, 0), True),
        (9, 2, None, 7, AtCommand(8, 0), False),
        (9, 2, AtCommand(7, 5), None, AtCommand(7, 5), False),
        (9, 2, AtCommand(7, 5), None, AtCommand(7, 6), False),
        (9, 2, AtCommand(7, 5), None, AtCommand(7, 4), True),
        (9, 2, AtCommand(3, 5), None, AtCommand(2, 0), False),
    ],
)
def test_a_cursor_leads_on(start, end, asked, last, following, leads_on):
    """S12: the next page begins after the last change, and after where this one began, whichever way the diff goes."""
    begins, ends = (Removed, Added) if start > end else (Added, Removed)
    change = ends(b"k", b"", 1) if last is None else begins(b"k", b"", last)
    request = DiffRequest(start, end, cursor=asked)
    told = Page(start, end, (change,), following)
    if start == 0 and last is None:
        told = attrs.evolve(told, changes=(begins(b"k", b"", 3),))
    if leads_on:
        paging.check_page(request, told, paging.Walk())
    else:
        with pytest.raises(ProtocolViolation, match="does not lead on|none of this diff"):
            paging.check_page(request, told, paging.Walk())


# Each check by itself: what it lets pass, and what not


def info(name="b", group="g", head=3, oldest=0, entries=1):
    return LogInfo(name, group, head, oldest, entries)


def version(number, effects=1):
    return VersionInfo(number, None, bytes(16), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), effects)


def entry(number, key=b"k"):
    return Entry(key, b"v", number)


def logs(*infos, following=None, group=None, after=None, limit=3):
    return listings.check_logs, ListLogs(group, after, limit), LogPage(infos, following)


def versions(start, end, *numbers, following=None, effects=1):
    page = VersionPage(tuple(version(it, effects) for it in numbers), following)
    return listings.check_versions, ListVersions("l", start, end), page


def revisions(*told, start=0, before=None, following=None):
    page = RevisionPage(tuple(Revision(*it) for it in told), following)
    return functools.partial(listings.check_revisions, before=before), KeyRevisions("l", b"k", start), page


FIRST = (1, None, entry(1))
LISTS = [
    # what, whether it may be
    (logs(), True),
    (logs(info("a"), info("b")), True),
    (logs(info("a"), info("b"), following="b"), True),
    (logs(info("a"), info("b"), following="c"), True),
    (logs(info("a"), info("b"), following="a"), False),
    (logs(following="b"), False),
    (logs(info("b"), info("b")), False),
    (logs(info("b"), info("a")), False),
    (logs(info("b"), after="a"), True),
    (logs(info("a"), after="a"), False),
    (logs(*map(info, "abc")), True),
    (logs(*map(info, "abcd")), False),
    (logs(info(group="g"), group="g"), True),
    (logs(info(group="h"), group="g"), False),
    (logs(info(group=None), group="g"), False),
    (logs(info(group=""), group=""), True),
    (logs(info(group="g"), group=""), False),
    (logs(info(oldest=3)), True),
    (logs(info(oldest=4)), False),
    (logs(info(head=0, entries=0)), True),
    (logs(info(head=0, entries=1)), False),
    (versions(0, None), True),
    (versions(0, None, 1, 2, 3), True),
    (versions(0, 3, 1, 2, 3), True),
    (versions(0, 3, 2, 3), True),  # the log was trimmed
    (versions(0, 3, 1, 2), False),
    (versions(0, 3, 1, 2, 3, 4), False),
    (versions(0, 3), False),
    (versions(0, None, 0, 1), False),
    (versions(0, None, 1, 3), False),
    (versions(0, None, 2, 1), False),
    (versions(0, None, 1, 1), False),
    (versions(2, 4, 3, 4), True),
    (versions(2, 4, 2, 3, 4), False),
    (versions(2, 4, 4), False),
    (versions(2, None, 4), False),
    (versions(4, 2), True),
    (versions(4, 4), True),
    (versions(4, 2, 5), False),
    (versions(0, None, 1, effects=0), False),
    (versions(0, 9, 1, 2, following=2), True),
    (versions(0, 9, 1, 2, following=3), False),
    (versions(0, 9, 1, 2, following=1), False),
    (versions(0, 9, following=2), False),
    (revisions(), True),
    (revisions(FIRST, (3, entry(1), entry(3)), (4, entry(3), None), (6, None, entry(6))), True),
    (revisions(FIRST, (1, entry(1), None)), False),
    (revisions((3, None, entry(3)), (2, entry(3), entry(2))), False),
    (revisions(FIRST, (3, None, entry(3))), False),
    (revisions(FIRST, (4, entry(3), None)), False),
    (revisions((3, None, None)), False),
    (revisions((3, entry(3), None)), False),
    (revisions((3, entry(4), None)), False),
    (revisions((3, entry(0), None)), False),
    (revisions((3, entry(2), None)), True),  # the log was trimmed
    (revisions((3, None, entry(2))), False),
    (revisions((3, None, entry(4))), False),
    (revisions((3, None, entry(3, b"l"))), False),
    (revisions((3, entry(1, b"l"), None)), False),
    (revisions(FIRST, following=1), True),
    (revisions(FIRST, following=7), True),
    (revisions(FIRST, following=0), False),
    (revisions(following=7), False),
    (revisions((4, entry(1), entry(4)), start=3, before=Revision(*FIRST)), True),
    (revisions((4, entry(2), entry(4)), start=3, before=Revision(*FIRST)), False),
    (revisions((3, entry(1), entry(3)), start=3, before=Revision(*FIRST)), False),
]


@pytest.mark.parametrize(("given", "accepted"), LISTS)
def test_what_a_list_may_say(given, accepted):
    """S18: each page of a list is checked by itself and against the one before it."""
    check, asked, told = given
    if accepted:
        check(asked, told)
    else:
        with pytest.raises(ProtocolViolation):
            check(asked, told)


UPDATES = [
    # commands, answer, whether it may be
    ([], Committed(0, changed=False, replayed=False), True),
    ([], Committed(1, changed=True, replayed=False), False),
    ([Upsert(b"k", b"")], Committed(0, changed=False, replayed=False), True),
    ([Upsert(b"k", b"")], Committed(0, changed=True, replayed=False), False),
    ([Upsert(b"k", b"")], Committed(1, changed=True, replayed=True), True),
    ([ExpectVersion(4), Upsert(b"k", b"")], Committed(5, changed=True, replayed=True), True),
    ([ExpectVersion(4), Upsert(b"k", b"")], Committed(4, changed=False, replayed=False), True),
    ([ExpectVersion(4), Upsert(b"k", b"")], Committed(4, changed=True, replayed=False), False),
    ([ExpectVersion(4), Upsert(b"k", b"")], Committed(5, changed=False, replayed=True), False),
    ([ExpectVersion(4), ExpectVersion(5)], Committed(4, changed=False, replayed=False), False),
    ([ExpectVersion(4)], Committed(5, changed=True, replayed=True), False),
    ([ExpectVersion(4), ExpectVersion(7)], UnexpectedVersion("l", 1, "ExpectVersion", 4, 7, 4), True),
    ([ExpectVersion(4), ExpectVersion(7)], UnexpectedVersion("l", 1, "ExpectVersion", 5, 7, 5), False),
    ([ExpectVersion(4), ExpectVersion(7)], UnexpectedVersion("l", 0, "ExpectVersion", 5, 4, 5), True),
    ([ExpectVersion(4), Insert(b"k", b"")], UnexpectedValue("l", 1, "Insert", 4), True),
    ([ExpectVersion(4), Insert(b"k", b"")], UnexpectedValue("l", 1, "Insert", 5), False),
    ([Insert(b"k", b"")], UnexpectedValue("l", 0, "Insert", -1), False),
    ([Insert(b"k", b"")], NonexistentValue("l", 0, "Insert", 1), False),
    ([Update(b"k", b"")], NonexistentValue("l", 0, "Update", 1), True),
    ([Update(b"k", b"")], UnexpectedValue("l", 0, "Update", 1), False),
    ([Update(b"k", b"")], UnexpectedVersion("l", 0, "Update", 1, 2, 1), False),
    ([Update(b"k", b"")], TransactionIdReused("l", -1, "Transaction", -1), True),
    ([Update(b"k", b"")], TransactionIdReused("l", -1, "Update", -1), False),
    ([Update(b"k", b"")], TransactionIdReused("l", 0, "Transaction", -1), False),
    ([], Rejected("l", 0, "Transaction", 1), False),
    ([], TransactionConflict("later"), True),
    ([], LogExists("l"), False),
    ([], IndelibleError(), False),
]


@pytest.mark.parametrize(("commands", "answer", "accepted"), UPDATES)
def test_what_a_transaction_may_be_answered(commands, answer, accepted):
    """S2-S6, S16: an answer that the rules do not give to these commands is none; its head is told where it has one."""
    update = UpdateLog("l", Transaction(commands))
    if not accepted:
        with pytest.raises(ProtocolViolation):
            verdicts.check_update(update, answer)
        return
    head = answer.version - answer.changed if isinstance(answer, Committed) and not answer.replayed else None
    assert verdicts.check_update(update, answer) == head


# Certificates


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


def impostor(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def expired(ca):
    return ca.issue_cert("localhost", not_before=dt.datetime(2020, 1, 1), not_after=dt.datetime(2021, 1, 1))


CERTIFICATES = {
    "another host's": lambda ca: ca.issue_cert("elsewhere.example"),
    "one whose time is over": expired,
    "one of an authority that nobody trusts": lambda ca: trustme.CA().issue_cert("localhost"),
    "one of the name in the old place alone": lambda ca: ca.issue_cert(common_name="localhost"),
    "one of another machine's address": lambda ca: ca.issue_cert("127.0.0.2"),
}


@pytest.mark.parametrize("make", CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_wrong_certificate_is_told_and_nothing_is_sent(ca, tmp_path, make):
    """Whoever has no certificate for this name gets no request and no API key: ``NotExecuted``, and no second try."""
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for context, works in ((impostor(make(ca)), False), (impostor(ca.issue_cert("localhost")), True)):
        with Scripted(tls=context) as server:
            server.honest.store.create(ORDERS)
            with contextlib.closing(server.backend(ca_file=tmp_path / "ca.pem")) as client:
                if works:
                    assert client.describe(ORDERS).head == 0
                    continue
                with pytest.raises(NotExecuted, match="certificate is not accepted"):
                    client.update(ORDERS, Transaction([]))
            assert server.seen == []
            assert server.connections == 1


def test_the_systems_authorities_are_trusted_unless_told_otherwise(ca):
    """Without ``ca_file``, a certificate of an authority of one's own is not accepted."""
    with Scripted(tls=impostor(ca.issue_cert("localhost"))) as server:
        with contextlib.closing(server.backend()) as client, pytest.raises(NotExecuted, match="certificate"):
            client.describe(ORDERS)
        assert server.seen == []


def test_a_service_without_tls_where_tls_is_wanted(monkeypatch):
    """A plain answer to a handshake is ``NotExecuted``, and nothing of a request was sent."""
    monkeypatch.setattr(retrying, "_FIRST", 0.001)
    heard = []

    def plain(listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                heard.append(sock.recv(4096))
                sock.sendall(http(b"Content-Length: 2\r\n"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=plain, args=(listener,), daemon=True)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        with (
            contextlib.closing(HTTPBackend(url, CREDENTIALS, timeout=2.0)) as client,
            pytest.raises(NotExecuted, match="TLS"),
        ):
            client.describe(ORDERS)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert heard
    assert not any(b"POST" in it or b"Basic" in it for it in heard)


def test_what_cannot_be_noticed_is_noticed_by_who_saw_more(scene):
    """Withheld versions are believed by who is new, and told by a pin: the reason to keep pins in a file."""
    pins = Pins()
    with contextlib.closing(scene.client(pins=pins)) as client:
        ASKS["describe"](client)
    scene.play(next(it for it in TRICKS if it.name == "shows an old state to who is new"))
    with contextlib.closing(scene.client()) as newcomer:
        assert ASKS["one page"](newcomer) != ASKS["one page"](scene.expected)
    with contextlib.closing(scene.client(pins=pins)) as again, pytest.raises(HistoryRolledBack):
        ASKS["one page"](again)
