"""How the messages stand in JSON: a shape for each."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from indelible import wire
from indelible.changes import Added, Change, Entry, Removed, Revision
from indelible.credentials import Credentials
from indelible.errors import InvalidRequest
from indelible.messages import (
    LARGEST_PAGE,
    CreateLog,
    DescribeLog,
    DiffLog,
    Done,
    KeyRevisions,
    ListLogs,
    ListVersions,
    LogPage,
    RevisionPage,
    TrimLog,
    VersionPage,
)
from indelible.pages import AtCommand, AtKey, Cursor, DiffRequest, Order, Page
from indelible.records import Committed, LogInfo, VersionInfo
from indelible.wire import BINARY, FLAG, FLAG_TEXT, IDENTIFIER, MOMENT, NAME, TEXT, WAIT, WHOLE, Field, Kind, shape

DEFAULT_LIMIT: Final = 50
"""Changes on a page for who does not ask for another number: the most there were before."""

_AUTHINFO: Final = frozenset({"authinfo", "authInfo"})

CREDENTIALS: Final = shape(
    Credentials,
    Field("customer_id", "customer_id", NAME),
    # Never written: our own client says who it is in a header.
    Field("apikey", "apikey", Kind(NAME.schema, NAME.read, lambda _secret: "")),
)


def credentials(plain: Mapping[str, Any]) -> Credentials | None:
    """Who asks, as the body says it; None if it does not. Raises ``InvalidRequest``."""
    given = [plain[name] for name in sorted(_AUTHINFO) if plain.get(name) is not None]
    if len(given) > 1:
        raise InvalidRequest("say authinfo once")
    return CREDENTIALS.read(given[0], "authinfo") if given else None


def _cursor(
    version: int | None = None, command: int = 0, key: bytes | None = None, removal_seen: bool = False
) -> Cursor:
    if version is not None and key is None:
        return AtCommand(version, command, removal_seen)
    if key is not None and version is None:
        return AtKey(key, removal_seen)
    raise InvalidRequest("paginationOptions must hold skipToVersion and skipToCommand, or skipToKey")


def _cursor_plain(cursor: Cursor) -> Mapping[str, Any]:
    seen = {"removeAlreadySeen": FLAG_TEXT.write(cursor.removal_seen)}
    if isinstance(cursor, AtKey):
        return {"skipToKey": wire.base64(cursor.key), **seen}
    return {"skipToVersion": cursor.version, "skipToCommand": cursor.command, **seen}


CURSOR: Final[Kind[Cursor]] = attrs.evolve(
    shape(
        _cursor,
        Field("skipToVersion", "version", WHOLE, required=False),
        Field("skipToCommand", "command", WHOLE, required=False),
        Field("skipToKey", "key", BINARY, required=False),
        Field("removeAlreadySeen", "removal_seen", FLAG_TEXT, required=False),
    ),
    write=_cursor_plain,
)


def _diff(
    log: str, order: Order = "command", limit: int = DEFAULT_LIMIT, cursor: Cursor | None = None, **fields: Any
) -> DiffLog:
    if cursor is not None and isinstance(cursor, AtKey) != (order == "key"):
        raise InvalidRequest("paginationOptions must be of the order that orderResultsBy asks for")
    return DiffLog(log, DiffRequest(order=order, limit=limit, cursor=cursor, **fields))


_CHANGES: Final[Mapping[str, Callable[..., Change[bytes, bytes]]]] = {"Add": Added, "Remove": Removed}


def _read_change(plain: Any, where: str) -> Change[bytes, bytes]:
    try:
        entry, version = plain["entry"], plain["version"]
        build, key, value = _CHANGES[plain["change"]], entry["key"], entry["value"]
    except (KeyError, TypeError):
        wire.fault(where, "made of changes, each with its change, entry and version")
    if type(version) is not int or not 0 < version < 2**63:
        wire.fault(f"{where}.version", "a version above 0")
    # Read by the ten thousand: no place is put together that nobody has to be told.
    return build(wire.unbase64(key, "an entry's key"), wire.unbase64(value, "an entry's value"), version)


def _change_plain(change: Change[bytes, bytes]) -> Mapping[str, Any]:
    return {
        "change": "Add" if isinstance(change, Added) else "Remove",
        "entry": {"key": wire.base64(change.key), "value": wire.base64(change.value)},
        "version": change.version,
    }


_ENTRY_SCHEMA: Final = {
    "type": "object",
    "properties": {"key": BINARY.schema, "value": BINARY.schema},
    "required": ["key", "value"],
}
CHANGE: Final[Kind[Change[bytes, bytes]]] = Kind(
    {
        "type": "object",
        "properties": {
            "change": {"type": "string", "enum": list(_CHANGES)},
            "entry": _ENTRY_SCHEMA,
            "version": {**WHOLE.schema, "minimum": 1},
        },
        "required": ["change", "entry", "version"],
    },
    _read_change,
    _change_plain,
)


PAGE: Final = shape(
    Page,
    Field("fromVersion", "from_version", WHOLE),
    Field("toVersion", "to_version", WHOLE),
    Field("page", "changes", wire.listed(CHANGE)),
    Field("nextPageOptions", "next", wire.nullable(CURSOR), description="Send it back as paginationOptions, unread."),
)


def encode_page(page: Page) -> bytes:
    """What ``encode(PAGE.write(page))`` gives, at a fraction of the time: Base64 needs no escaping."""
    encoded = binascii.b2a_base64
    changes = [
        b'{"change":"%b","entry":{"key":"%b","value":"%b"},"version":%d}'
        % (
            b"Add" if type(change) is Added else b"Remove",
            encoded(change.key, newline=False),
            encoded(change.value, newline=False),
            change.version,
        )
        for change in page.changes
    ]
    following = wire.encode(None if page.next is None else _cursor_plain(page.next))
    versions = (page.from_version, page.to_version)
    return b'{"fromVersion":%d,"toVersion":%d,"page":[%b],"nextPageOptions":%b}' % (
        *versions,
        b",".join(changes),
        following,
    )


LOG_INFO: Final = shape(
    LogInfo,
    Field("name", "name", NAME),
    Field("group", "group", wire.nullable(TEXT)),
    Field("head", "head", WHOLE, description="The newest version."),
    Field(
        "oldest", "oldest", WHOLE, description="The oldest version that can be named, besides 0; 0 if none was trimmed."
    ),
    Field("entries", "entries", WHOLE),
)

VERSION_INFO: Final = shape(
    VersionInfo,
    Field("version", "version", WHOLE),
    Field("source", "source", wire.nullable(TEXT)),
    Field("transactionId", "transaction_id", IDENTIFIER),
    Field("committedAt", "committed_at", MOMENT),
    Field("effects", "effects", WHOLE),
)

ENTRY: Final = shape(
    Entry,
    Field("key", "key", BINARY),
    Field("value", "value", BINARY),
    Field("version", "version", WHOLE),
)

REVISION: Final = shape(
    Revision,
    Field("version", "version", WHOLE),
    Field("before", "before", wire.nullable(ENTRY)),
    Field("after", "after", wire.nullable(ENTRY)),
)

COMMITTED: Final = shape(
    Committed,
    Field("version", "version", WHOLE),
    Field("changed", "changed", FLAG),
    Field("replayed", "replayed", FLAG),
)
DONE: Final = shape(Done)

_NEXT_FROM: Final = Field("nextFromVersion", "next_from", wire.nullable(WHOLE), description="Null on the last page.")
LOG_PAGE: Final = shape(
    LogPage,
    Field("logs", "logs", wire.listed(LOG_INFO)),
    Field("nextAfterName", "next_after", wire.nullable(NAME), description="Null on the last page."),
)
VERSION_PAGE: Final = shape(VersionPage, Field("versions", "versions", wire.listed(VERSION_INFO)), _NEXT_FROM)
REVISION_PAGE: Final = shape(RevisionPage, Field("revisions", "revisions", wire.listed(REVISION)), _NEXT_FROM)

_LOG: Final = Field("logName", "log", NAME, description="The log's name; a sealed one is Base64.")
_FROM: Final = Field("fromVersion", "from_version", WHOLE, required=False, description="0 unless given.")
_TO: Final = Field("toVersion", "to_version", WHOLE, required=False, description="The newest unless given.")


def _addition(build: Callable[..., Any], *fields: Field) -> Kind[Any]:
    """What a call of ours is asked: a name that nobody knows is a mistake, not something old."""
    return shape(build, *fields, exact=True, ignored=_AUTHINFO)


CREATE_LOG: Final = shape(CreateLog, _LOG, Field("logGroup", "group", TEXT, required=False))
DIFF_LOG: Final = shape(
    _diff,
    _LOG,
    attrs.evolve(_FROM, attribute="request.from_version"),
    attrs.evolve(_TO, attribute="request.to_version"),
    Field("waitSeconds", "request.wait_seconds", WAIT, required=False),
    Field("orderResultsBy", "request.order", wire.choice("command", "key"), required=False),
    Field(
        "limit", "request.limit", WHOLE, required=False, description=f"Changes, at most; {DEFAULT_LIMIT} unless given."
    ),
    Field(
        "paginationOptions", "request.cursor", CURSOR, required=False, description="The last page's nextPageOptions."
    ),
)
DESCRIBE_LOG: Final[Kind[DescribeLog]] = _addition(DescribeLog, _LOG)
LIST_LOGS: Final[Kind[ListLogs]] = _addition(
    ListLogs,
    Field("logGroup", "group", TEXT, required=False, description="Only logs of this group."),
    Field("afterName", "after", NAME, required=False, description="Go on after this name."),
    Field("limit", "limit", WHOLE, required=False, description=f"Logs, at most; {LARGEST_PAGE} unless given."),
)
LIST_VERSIONS: Final[Kind[ListVersions]] = _addition(ListVersions, _LOG, _FROM, _TO)
KEY_REVISIONS: Final[Kind[KeyRevisions]] = _addition(
    KeyRevisions, _LOG, Field("key", "key", BINARY), attrs.evolve(_FROM, description="Only later revisions.")
)
TRIM_LOG: Final[Kind[TrimLog]] = _addition(TrimLog, _LOG, Field("before", "before", WHOLE))
