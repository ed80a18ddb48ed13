"""Errors as they travel: each has one code, number and status, and what is said is safe on both sides."""

import json

import attrs
import pytest

from indelible import errors, faults, wire
from indelible.backends.memory import MemoryBackend
from indelible.backends.scoped import ScopedBackend
from indelible.commands import ExpectVersion, Insert, Transaction, Update, Upsert
from indelible.errors import IndelibleError
from indelible.faults import FAULTS, INTERNAL, decode, encode, fault_of, plain_text
from indelible.limits import Limits
from indelible.pages import DiffRequest

# Append only: no number is given a second meaning, and 1006 and 1007 never get one.
NUMBERS = {
    1001: ("BAD_API_KEY", 401),
    1002: ("TRANSACTION_CONFLICT", 412),
    1003: ("UNEXPECTED_VERSION", 412),
    1004: ("NONEXISTENT_VERSION", 404),
    1005: ("NONEXISTENT_LOG", 404),
    1008: ("UNEXPECTED_VALUE", 412),
    1009: ("NONEXISTENT_VALUE", 412),
    1010: ("LOG_EXISTS", 412),
    1020: ("INVALID_REQUEST", 400),
    1021: ("TRANSACTION_ID_REUSED", 422),
    1022: ("VERSION_TRIMMED", 410),
    1023: ("TOO_LARGE", 413),
    1024: ("OVERLOADED", 503),
    1025: ("NOT_ALLOWED", 403),
    1099: ("INTERNAL_ERROR", 500),
}
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, IndelibleError)]

PATH = "/var/lib/indelible/logs.db"
SAMPLES = [
    errors.BadApiKey(),
    errors.NotAllowed("this API key lacks the scope 'write'; use one that has it"),
    errors.UnexpectedVersion("l", 2, "ExpectVersion", 7, 5, 7),
    errors.UnexpectedValue("l", 0, "Insert", 2**63 - 1),
    errors.NonexistentValue("l", 9_999, "Update", 0),
    errors.TransactionIdReused("l", -1, "Transaction", -1),
    errors.NonexistentLog("l"),
    errors.NonexistentVersion("l", 2**63 - 1, 3),
    errors.VersionTrimmed("l", 1, 4),
    errors.LogExists("l"),
    errors.InvalidRequest("logName is missing"),
    errors.TooLarge("the key limit is 4096 bytes and this has 4097", "key", 4097, 4096),
]
BUSY = [
    (errors.TransactionConflict(f"{PATH}: others were first"), 1002),
    (errors.Overloaded(f"{PATH} was locked by another writer for too long"), 1024),
    (errors.NotExecuted(f"the disk that holds {PATH} is full"), 1024),
    (errors.Closed(f"the store {PATH} was closed"), 1024),
]
OURS_ALONE = [
    IndelibleError(),
    errors.Rejected("l", 0, "Insert", 1),
    errors.NotFound("l"),
    errors.UnsuitableStore(PATH),
    errors.OutcomeUnknown("l", Transaction([Upsert(b"k", b"v")]), 1, PATH),
    errors.IntegrityError(PATH),
    errors.Undecodable(PATH),
    errors.DamagedStore(PATH),
    errors.ProtocolViolation(PATH),
    errors.HistoryRolledBack(PATH, "l", 3, 2),
    ValueError(PATH),
    KeyError(PATH),
    RecursionError(PATH),
    KeyboardInterrupt(PATH),
]


def body(error):
    """What travels, as the other side parses it."""
    return wire.document(encode(error, "r1"))


def status(plain):
    return NUMBERS[plain["codeNumber"]][1]


def back(error, log="l"):
    """The error on the other side."""
    plain = body(error)
    return decode(status(plain), plain, log)


# The table


def test_numbers_are_never_given_a_second_meaning():
    """Each number has the code and status it was first given; to add one is to add a line to the list."""
    assert {fault.number: (fault.code, fault.status) for fault in FAULTS} == NUMBERS
    assert len({fault.code for fault in FAULTS}) == len({fault.number for fault in FAULTS}) == len(FAULTS)
    assert not {1006, 1007} & NUMBERS.keys()


def test_every_error_with_a_number_travels():
    """What has a number on the wire is in the table, under its own code; what has none is not."""
    numbered = {kind for kind in KINDS if kind.number is not None and "number" in vars(kind)}
    assert {fault.kind for fault in FAULTS} == numbered
    assert all((fault.code, fault.number) == (fault.kind.code, fault.kind.number) for fault in FAULTS)
    tried = {type(error) for error in SAMPLES + [error for error, _ in BUSY] + OURS_ALONE}
    assert tried >= set(KINDS), "every error is tried below"


def test_the_fields_of_an_error_are_told():
    """What an error carries beyond the log and its words travels in the details."""
    for fault in FAULTS:
        assert set(fault.fields) == {field.name for field in attrs.fields(fault.kind)} - {"log", "reason"}


# There and back


@pytest.mark.parametrize("error", SAMPLES, ids=lambda it: it.code)
def test_an_error_comes_back(error):
    """Encoded and decoded an error is what it was; the log has the name that the caller gave."""
    assert (type(back(error)), attrs.asdict(back(error))) == (type(error), attrs.asdict(error))
    assert str(back(error)) == str(error)
    assert getattr(back(error, "mine"), "log", "mine") == "mine"


@pytest.mark.parametrize("error", SAMPLES, ids=lambda it: it.code)
def test_a_body_has_four_parts(error):
    """Code, number, message, and details that are texts, with the request's name and that nothing was done."""
    plain = body(error)
    assert list(plain) == ["code", "codeNumber", "message", "details"]
    assert (plain["code"], plain["codeNumber"], plain["message"]) == (error.code, error.number, str(error))
    details = {field: str(getattr(error, field)) for field in fault_of(error).fields}
    assert plain["details"] == {**details, "effect": "none", "requestId": "r1"}


@pytest.mark.parametrize(("error", "number"), BUSY, ids=lambda it: type(it).__name__)
def test_a_store_that_cannot_now_says_no_more(error, number):
    """S17: whoever says that nothing was done is believed, and what it says of its files stays here."""
    plain, told = body(error), back(error)
    assert (plain["codeNumber"], plain["details"]) == (number, {"effect": "none", "requestId": "r1"})
    assert PATH not in json.dumps(plain)
    assert isinstance(told, errors.NotExecuted)
    assert str(told) == "the service cannot take this now; nothing was done; try again"


@pytest.mark.parametrize("error", OURS_ALONE, ids=lambda it: type(it).__name__)
def test_what_only_concerns_the_service_stays_there(error):
    """Anything else is a failure without a word but the request's name, and does not say that nothing was done."""
    plain = body(error)
    assert fault_of(error) is INTERNAL
    assert (plain["code"], plain["codeNumber"], plain["details"]) == ("INTERNAL_ERROR", 1099, {"requestId": "r1"})
    assert plain["message"] == "the service failed; whoever runs it finds the reason under the request id"
    assert back(error) is None


def raised(act):
    with pytest.raises(IndelibleError) as caught:
        act()
    return caught.value


def test_no_stored_value_is_told():
    """What a log holds is in no answer to a rejected command, nor is any name but the one its tenant gave it."""
    tenant = ScopedBackend(MemoryBackend(Limits(value=20)), "customer")
    tenant.create("l", "group")
    tenant.update("l", Transaction([Upsert(b"kept-key", b"kept-value")]))
    asked = [
        lambda: tenant.create("l", "another"),
        lambda: tenant.update("l", Transaction([Insert(b"kept-key", b"unheard")])),
        lambda: tenant.update("l", Transaction([Update(b"none", b"unheard")])),
        lambda: tenant.update("l", Transaction([ExpectVersion(0)])),
        lambda: tenant.update("l", Transaction([Upsert(b"k", b"unheard" * 9)])),
        lambda: tenant.diff("l", DiffRequest(9)),
        lambda: tenant.diff("missing", DiffRequest()),
    ]
    for act in asked:
        text = encode(raised(act), "r1").decode()
        assert "effect" in text
        assert not any(word in text for word in ("kept", "unheard", "customer", "a2Vw"))


# What may not be trusted


HOSTILE = "\x1b]0;owned\x07\x1b[31mred\r\n\u202egnp\u2028\x9b1m\x00\x7f\ud800"


@pytest.mark.parametrize("error", [errors.InvalidRequest(HOSTILE), errors.NotAllowed(HOSTILE)])
def test_what_is_told_is_one_printable_line(error):
    """No escape, line end or half a pair leaves this side, whatever an error was made of; nor does it fail."""
    message = body(error)["message"]
    assert message.isprintable()
    assert "red" in message
    assert wire.document(encode(errors.BadApiKey(), HOSTILE))["details"]["requestId"].isprintable()
    assert body(errors.InvalidRequest("käse \U0001f9c0"))["message"] == "käse \U0001f9c0"


def test_what_is_heard_is_one_short_printable_line():
    """What the other side says is cut to a line that a terminal can show; what is no text is not shown."""
    assert plain_text(HOSTILE) == "�]0;owned��[31mred���gnp��1m���"
    assert plain_text("käse \U0001f9c0") == "käse \U0001f9c0"
    assert plain_text("x" * 501) == "x" * 500
    for nothing in (None, 1, [], {}, b"x"):
        assert plain_text(nothing) == "no reason was given"


@pytest.mark.parametrize("error", SAMPLES, ids=lambda it: it.code)
def test_a_hostile_answer_is_safe_to_show(error):
    """Whatever stands in the message and the details of an error that is read, what is shown of it is one line."""
    plain = body(error)
    told = decode(status(plain), plain | {"message": HOSTILE * 100}, "l")
    assert str(told).isprintable()
    assert len(str(told)) <= 500
    for field in plain["details"]:
        told = decode(status(plain), plain | {"details": plain["details"] | {field: HOSTILE}}, "l")
        assert told is None or str(told).isprintable()


NOT_AN_ERROR = [None, True, 1, "", "BAD_API_KEY", [], ["code"], {}, {"code": None}, {"code": ["BAD_API_KEY"]}]


@pytest.mark.parametrize("plain", NOT_AN_ERROR, ids=repr)
def test_what_is_no_error_of_ours_is_none(plain):
    """Another shape is no error of this protocol."""
    assert decode(401, plain, "l") is None
    assert type(decode(401, body(errors.BadApiKey()), "l")) is errors.BadApiKey


@pytest.mark.parametrize("error", SAMPLES, ids=lambda it: it.code)
def test_code_number_and_status_agree(error):
    """With another status, number or code an error is not believed, and neither is one that may have done something."""
    plain, right = body(error), status(body(error))
    assert type(decode(right, plain, "l")) is type(error)
    for other in {200, 301, 418, 500, *(fault.status for fault in FAULTS)} - {right}:
        assert decode(other, plain, "l") is None
    for number in (None, "1001", True, 0, 1006, 1007, error.number + 0.5, str(error.number), [error.number]):
        assert decode(right, plain | {"codeNumber": number}, "l") is None
    for code in ("", "UNKNOWN", error.code.lower(), "INTERNAL_ERROR", "REJECTED", "NOT_EXECUTED", "OUTCOME_UNKNOWN"):
        assert decode(right, plain | {"code": code}, "l") is None
    for effect in (None, "", "some", "None", True, ["none"]):
        assert decode(right, plain | {"details": plain["details"] | {"effect": effect}}, "l") is None
    for missing in plain:
        rest = {name: it for name, it in plain.items() if name != missing}
        assert (decode(right, rest, "l") is None) == (missing != "message")


@pytest.mark.parametrize("details", [None, True, 1, "none", [], ["effect"], {}], ids=repr)
@pytest.mark.parametrize("error", SAMPLES, ids=lambda it: it.code)
def test_details_are_an_object(error, details):
    """Anything else in their place is not believed."""
    plain = body(error)
    assert decode(status(plain), plain | {"details": details}, "l") is None


NEVER = [None, True, 1, -1, "", " 1", "1 ", "1\n", "+1", "01", "-0", "-2", "--1", "1.0", "1e3", "٣", "²", "x", HOSTILE]
NEVER += ["9" * 20, "9" * 5000, [], {}]


@pytest.mark.parametrize("error", [it for it in SAMPLES if fault_of(it).fields], ids=lambda it: it.code)
def test_hostile_details_are_not_believed(error):
    """A detail that is missing or not as we write it leaves no error at all, rather than half of one."""
    plain = body(error)
    assert type(decode(status(plain), plain, "l")) is type(error)
    for field in fault_of(error).fields:
        details = {name: it for name, it in plain["details"].items() if name != field}
        assert decode(status(plain), plain | {"details": details}, "l") is None
        for value in [value for value in NEVER if field != "limit" or not isinstance(value, str)]:
            assert decode(status(plain), plain | {"details": details | {field: value}}, "l") is None
    assert decode(status(plain), plain | {"details": plain["details"] | {"more": {}}}, "l") is not None


def test_what_a_limit_is_called_is_shown_safely():
    """The name of a limit is the only detail that may be any text, and is neutralised like the message."""
    plain = body(errors.TooLarge("too large", "key", 2, 1))
    told = decode(413, plain | {"details": plain["details"] | {"limit": HOSTILE * 100}}, "l")
    assert told.limit.isprintable()
    assert len(told.limit) == 500
