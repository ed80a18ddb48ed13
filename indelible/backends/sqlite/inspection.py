"""A store's file looked at from outside: whether it is ours and whole, and what it holds. Nothing in it is changed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import apsw
import attrs

from indelible.backends.sqlite import schema
from indelible.backends.sqlite.failures import translate, translated
from indelible.errors import InvalidRequest, UnsuitableStore

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_BUSY_SECONDS: Final = 5
_SOUND: Final = (3, 51, 3)
"""Where the WAL-reset bug was fixed, by which two connections that checkpoint at once may damage a file."""

_FAULTS_TOLD: Final = 5


def path_of(url: str) -> Path:
    """The absolute path in ``sqlite:///relative.db`` or ``sqlite:////absolute.db``. Raises ``InvalidRequest``."""
    scheme, _, place = url.partition(":")
    path = unquote(place)
    if scheme.lower() != "sqlite" or not path.startswith("///") or not path[3:]:
        raise InvalidRequest("a SQLite URL is sqlite:///relative/path.db or sqlite:////absolute/path.db")
    return Path(path[3:]).absolute()


def sqlite_version() -> tuple[str, bool]:
    """The version of SQLite that is in use, and whether it is free of faults that damage files."""
    version = apsw.sqlite_lib_version()
    return version, tuple(map(int, version.split("."))) >= _SOUND


@contextmanager
def looking(path: Path, *, still: bool = False) -> Iterator[apsw.Connection]:
    """A connection to a file that is there, within one read transaction: all that is read is of one moment.

    ``still`` is for a file to which nobody writes, without a write-ahead log: it is opened without a lock, wherever it
    is, and no file appears beside it. Raises ``UnsuitableStore`` if the file is not ours or has a newer schema, and
    errors of ours for SQLite's.
    """
    with translated(str(path)):
        db = _open(path, still=still)
    try:
        with translated(str(path)):
            db.execute("BEGIN")
            _refuse_foreign(db, path)
        yield db
    except apsw.Error as error:
        raise translate(error, str(path)) from error
    finally:
        db.close(force=True)


def _open(path: Path, *, still: bool) -> apsw.Connection:
    if still:
        place = f"{path.as_uri()}?immutable=1"
        db = apsw.Connection(place, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    else:
        # Who only reads would leave a write-ahead log behind, and who was the last to close would carry one over that
        # is there, where nobody asked for a change.
        has_log = path.with_name(f"{path.name}-wal").exists()
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(has_log))
    db.set_busy_timeout(_BUSY_SECONDS * 1000)
    db.execute("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")
    return db


def _refuse_foreign(db: apsw.Connection, path: Path) -> None:
    application, version = db.pragma("application_id"), db.pragma("user_version")
    if application != schema.APPLICATION_ID or version < 1:
        raise UnsuitableStore(f"{path} is no store of ours; name another file")
    if version > schema.SCHEMA_VERSION:
        raise UnsuitableStore(
            f"{path} has schema {version}, and this release knows up to {schema.SCHEMA_VERSION}; "
            "install a newer release of indelible"
        )


def damage(db: apsw.Connection, *, quick: bool = False) -> list[str]:
    """What SQLite finds wrong with the file, a few lines of it; nothing that was stored is in them.

    ``quick`` leaves out whether the indexes agree with their tables, which takes most of the time.
    """
    check = "quick_check" if quick else "integrity_check"
    return [text for (text,) in db.execute(f"PRAGMA {check}({_FAULTS_TOLD})") if text != "ok"]


@attrs.frozen
class Contents:
    """What a store holds: how many logs, and when the newest version of all that are kept was made."""

    logs: int
    newest: dt.datetime | None


def contents(db: apsw.Connection) -> Contents:
    """What the file holds."""
    with translated(db.filename):
        [(logs, newest)] = db.execute("SELECT (SELECT count(*) FROM logs), (SELECT max(committed_at) FROM versions)")
        return Contents(logs, None if newest is None else _EPOCH + newest * _MICROSECOND)


def contradictions(db: apsw.Connection) -> list[tuple[str, str]]:
    """The logs of which the file says two things at once, by their stored names, and what."""
    conditions = ", ".join(condition for condition, _ in _CONTRADICTIONS)
    with translated(db.filename):
        return [
            (name, text)
            for name, *found in db.execute(f"SELECT name, {conditions} FROM logs ORDER BY name")
            for broken, (_, text) in zip(found, _CONTRADICTIONS, strict=True)
            if broken
        ]


def orphans(db: apsw.Connection) -> int:
    """Of how many logs something is stored, and not that there is such a log."""
    with translated(db.filename):
        [(count,)] = db.execute(_ORPHANS)
        return int(count)


_ORPHANS: Final = """
    SELECT count(*) FROM (
        SELECT log FROM live UNION SELECT log FROM ended UNION SELECT log FROM versions UNION SELECT log FROM receipts
    ) WHERE log NOT IN (SELECT id FROM logs)
"""

# With a row of ``logs`` at hand, each is true if what the text says is so.
_CONTRADICTIONS: Final = (
    ("oldest > head OR oldest = 1", "its oldest version is not one that it has"),
    (
        "head <> (SELECT ifnull(max(version), 0) FROM versions WHERE log = id)",
        "its newest version is not the last that was recorded",
    ),
    (
        "head - max(oldest, 1) + 1 <> (SELECT count(*) FROM versions WHERE log = id AND version >= oldest)",
        "there are gaps between its versions",
    ),
    (
        """
        EXISTS (SELECT 1 FROM versions WHERE log = id AND version < oldest)
        OR EXISTS (SELECT 1 FROM ended WHERE log = id AND ended_version <= oldest)
        """,
        "what was trimmed is still there",
    ),
    ("entries <> (SELECT count(*) FROM live WHERE log = id)", "its number of entries is not what it holds"),
    (
        """
        EXISTS (SELECT 1 FROM live WHERE log = id AND version NOT BETWEEN 1 AND head)
        OR EXISTS (SELECT 1 FROM ended WHERE log = id AND ended_version NOT BETWEEN 2 AND head)
        OR EXISTS (SELECT 1 FROM ended WHERE log = id AND version NOT BETWEEN 1 AND ended_version - 1)
        """,
        "an entry stands at a version at which none can",
    ),
    (
        """
        (SELECT ifnull(sum(effects), 0) FROM versions WHERE log = id AND version > oldest) <> (SELECT count(*) FROM (
            SELECT version, command FROM live WHERE log = id AND version > oldest
            UNION SELECT version, command FROM ended WHERE log = id AND version > oldest
            UNION SELECT ended_version, ended_command FROM ended WHERE log = id AND ended_version > oldest
        ))
        """,
        "its versions do not touch as many entries as they say",
    ),
    (
        """
        EXISTS (SELECT 1 FROM versions AS made WHERE log = id AND NOT EXISTS (
            SELECT 1 FROM receipts WHERE log = id AND transaction_id = made.transaction_id
            AND version = made.version AND changed AND rejection IS NULL
        ))
        """,
        "the id of a transaction that made a version is not kept",
    ),
    (
        "EXISTS (SELECT 1 FROM receipts WHERE log = id AND length(fingerprint) <> 32)",
        "what a transaction asked for cannot be told from what is kept of it",
    ),
    # In the order of their beginnings, an entry that overlaps with any overlaps with the next. Each is met once.
    (
        """
        EXISTS (
            SELECT 1 FROM (
                SELECT ended_version, lead(version) OVER (PARTITION BY key ORDER BY version) AS next_version
                FROM ended INDEXED BY ended_by_key WHERE log = id
            ) WHERE next_version < ended_version
        ) OR EXISTS (
            SELECT 1 FROM live CROSS JOIN ended INDEXED BY ended_by_key ON ended.log = id AND ended.key = live.key
            WHERE live.log = id AND live.version < ended_version
        )
        """,
        "a key has two entries at one version",
    ),
)
