"""Logs that are versioned, immutable, strongly consistent, reactive and end-to-end encrypted.

>>> import indelible
>>> from indelible import Upsert
>>> with indelible.connect("memory:") as client:
...     log = client.log("orders")
...     log.create()
...     print(log.update([Upsert("foo", [1, 2, 3])]).version)
...     print(log.get("foo"))
1
[1, 2, 3]
"""

from indelible import codecs
from indelible.changes import Added, Change, Entry, Removed, Revision
from indelible.client import Client, connect
from indelible.commands import Command, ExpectVersion, Insert, Remove, Transaction, Update, Upsert
from indelible.credentials import Credentials
from indelible.errors import (
    BadApiKey,
    Closed,
    DamagedStore,
    HistoryRolledBack,
    IndelibleError,
    IntegrityError,
    InvalidRequest,
    LogExists,
    NonexistentLog,
    NonexistentValue,
    NonexistentVersion,
    NotAllowed,
    NotExecuted,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    ProtocolViolation,
    Rejected,
    TooLarge,
    TransactionConflict,
    TransactionIdReused,
    Undecodable,
    UnexpectedValue,
    UnexpectedVersion,
    UnsuitableStore,
    VersionTrimmed,
)
from indelible.limits import Limits
from indelible.log import Log
from indelible.profile import Profile
from indelible.records import Committed, LogInfo, VersionInfo
from indelible.secret import MasterKey
from indelible.snapshot import Snapshot
from indelible.version_diff import VersionDiff

__all__ = [
    "Added",
    "BadApiKey",
    "Change",
    "Client",
    "Closed",
    "Command",
    "Committed",
    "Credentials",
    "DamagedStore",
    "Entry",
    "ExpectVersion",
    "HistoryRolledBack",
    "IndelibleError",
    "Insert",
    "IntegrityError",
    "InvalidRequest",
    "Limits",
    "Log",
    "LogExists",
    "LogInfo",
    "MasterKey",
    "NonexistentLog",
    "NonexistentValue",
    "NonexistentVersion",
    "NotAllowed",
    "NotExecuted",
    "NotFound",
    "OutcomeUnknown",
    "Overloaded",
    "Profile",
    "ProtocolViolation",
    "Rejected",
    "Remove",
    "Removed",
    "Revision",
    "Snapshot",
    "TooLarge",
    "Transaction",
    "TransactionConflict",
    "TransactionIdReused",
    "Undecodable",
    "UnexpectedValue",
    "UnexpectedVersion",
    "UnsuitableStore",
    "Update",
    "Upsert",
    "VersionDiff",
    "VersionInfo",
    "VersionTrimmed",
    "codecs",
    "connect",
]
