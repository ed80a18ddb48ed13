"""Reading the history of one key: its entries in the order of their lives, as far as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from indelible.backends.sqlite import schema
from indelible.backends.sqlite.rows import LogRow
from indelible.changes import Revision
from indelible.history import Span, revisions_in_order


def read(db: apsw.Connection, it: LogRow, key: bytes, from_version: int) -> Iterator[Revision[bytes, bytes]]:
    """What happened to ``key`` after ``from_version``, oldest first. Two rows beyond what is asked for are read."""
    spans = _spans(db, it.id, key, max(from_version, it.oldest))
    return (revision for revision in revisions_in_order(spans) if revision.version > from_version)


def _spans(db: apsw.Connection, log: int, key: bytes, after: int) -> Iterator[Span]:
    """The entries of a key that outlived a version, oldest first: those that ended, then the one that lives."""
    for value, version, command, ended, by in db.execute(schema.SELECT_KEY_ENDED, (log, key, after)):
        yield Span(key, value, (version, command), (ended, by))
    for value, version, command in db.execute(schema.SELECT_KEY_LIVE, (log, key)):
        yield Span(key, value, (version, command))
