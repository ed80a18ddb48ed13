"""What the file holds, and every statement asked of it.

One row an entry, in ``live`` until an effect ends it and in ``ended`` from then on: reading the present never walks the
past. Both are clustered by position within their log, so that a diff reads just its range.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x494E444C
"""``INDL``: how a database file says that it is one of ours."""

MIGRATIONS: Final = (
    """
    CREATE TABLE store (fence INTEGER NOT NULL) STRICT;
    INSERT INTO store VALUES (0);
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        log_group TEXT,
        head INTEGER NOT NULL DEFAULT 0,
        oldest INTEGER NOT NULL DEFAULT 0,
        entries INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE live (
        log INTEGER NOT NULL, version INTEGER NOT NULL, command INTEGER NOT NULL,
        key BLOB NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (log, version, command)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX live_by_key ON live (log, key);
    CREATE TABLE ended (
        log INTEGER NOT NULL, ended_version INTEGER NOT NULL, ended_command INTEGER NOT NULL,
        version INTEGER NOT NULL, command INTEGER NOT NULL,
        key BLOB NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (log, ended_version, ended_command)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX ended_by_added ON ended (log, version, command);
    CREATE INDEX ended_by_key ON ended (log, key, version);
    CREATE TABLE versions (
        log INTEGER NOT NULL, version INTEGER NOT NULL,
        source TEXT, transaction_id BLOB NOT NULL,
        committed_at INTEGER NOT NULL, -- microseconds since 1970, UTC
        effects INTEGER NOT NULL,
        PRIMARY KEY (log, version)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE receipts (
        log INTEGER NOT NULL, transaction_id BLOB NOT NULL, fingerprint BLOB NOT NULL,
        version INTEGER NOT NULL, changed INTEGER NOT NULL,
        rejection TEXT, -- JSON [code, index, command, expected]; null for what was not rejected
        PRIMARY KEY (log, transaction_id)
    ) STRICT, WITHOUT ROWID;
    """,
)
"""The steps from an empty file to the present schema; the file's ``user_version`` counts those it has taken."""

SCHEMA_VERSION: Final = len(MIGRATIONS)

RAISE_FENCE: Final = "UPDATE store SET fence = fence + 1"

CREATE_LOG: Final = "INSERT INTO logs (name, log_group) VALUES (?, ?)"
SELECT_LOG: Final = "SELECT id, log_group, head, oldest, entries FROM logs WHERE name = ?"
SELECT_LOGS: Final = (
    "SELECT name, log_group, head, oldest, entries FROM logs WHERE ?1 IS NULL OR log_group = ?1 ORDER BY name"
)
SELECT_HEAD: Final = "SELECT head FROM logs WHERE name = ?"
SET_HEAD: Final = "UPDATE logs SET head = ?, entries = entries + ? WHERE id = ?"

SELECT_RECEIPT: Final = (
    "SELECT fingerprint, version, changed, rejection FROM receipts WHERE log = ? AND transaction_id = ?"
)
INSERT_RECEIPT: Final = "INSERT INTO receipts VALUES (?, ?, ?, ?, ?, ?)"
SELECT_CURRENT: Final = "SELECT key, value FROM live WHERE log = ? AND key = ?"
INSERT_LIVE: Final = "INSERT INTO live VALUES (?, ?, ?, ?, ?)"
END_LIVE: Final = "INSERT INTO ended SELECT log, ?, ?, version, command, key, value FROM live WHERE log = ? AND key = ?"
DELETE_LIVE: Final = "DELETE FROM live WHERE log = ? AND key = ?"
INSERT_VERSION: Final = "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?)"
SELECT_VERSIONS: Final = (
    "SELECT version, source, transaction_id, committed_at, effects FROM versions "
    "WHERE log = ? AND version > ? AND version <= ? ORDER BY version"
)

SELECT_KEY_ENDED: Final = (
    "SELECT value, version, command, ended_version, ended_command FROM ended INDEXED BY ended_by_key "
    "WHERE log = ?1 AND key = ?2 AND ended_version > ?3 AND version >= "
    # Where the entry of that version began: the index knows the order in which they begin.
    "(SELECT ifnull(max(version), 0) FROM ended WHERE log = ?1 AND key = ?2 AND version <= ?3) ORDER BY version"
)
SELECT_KEY_LIVE: Final = "SELECT value, version, command FROM live WHERE log = ?1 AND key = ?2"

SET_OLDEST: Final = "UPDATE logs SET oldest = ? WHERE id = ?"
TRIM_ENDED: Final = "DELETE FROM ended WHERE log = ? AND ended_version <= ?"
TRIM_VERSIONS: Final = "DELETE FROM versions WHERE log = ? AND version < ?"
