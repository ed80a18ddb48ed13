"""Reading the history of one key: its entries in the order of their lives, as far as they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import apsw

from indelible.backends.sqlite import schema
from indelible.backends.sqlite.rows import LogRow
from indelible.changes import Entry, Revision
from indelible.history import Span


def read(db: apsw.Connection, it: LogRow, key: bytes, from_version: int) -> Iterator[Revision[bytes, bytes]]:
    """What happened to ``key`` after ``from_version``, oldest first. Two rows beyond what is asked for are read."""
    spans = _spans(db, it.id, key, max(from_version, it.oldest))
    return (revision for revision in _revisions(spans) if revision.version > from_version)


def _spans(db: apsw.Connection, log: int, key: bytes, after: int) -> Iterator[Span]:
    """The entries of a key that outlived a version, oldest first: those that ended, then the one that lives."""
    for value, version, command, ended, by in db.execute(schema.SELECT_KEY_ENDED, (log, key, after)):
        yield Span(key, value, (version, command), (ended, by))
    for value, version, command in db.execute(schema.SELECT_KEY_LIVE, (log, key)):
        yield Span(key, value, (version, command))


def _revisions(spans: Iterable[Span]) -> Iterator[Revision[bytes, bytes]]:
    """As ``history.revisions``, of spans that come in order, and each when it is asked for."""
    for old, new in itertools.pairwise(itertools.chain([None], spans, [None])):
        before = None if old is None else _entry(old)
        if old is not None and old.ended is not None and (new is None or new.added != old.ended):
            yield Revision(old.ended[0], before, None)
            before = None
        if new is not None:
            yield Revision(new.added[0], before, _entry(new))


def _entry(span: Span) -> Entry[bytes, bytes]:
    return Entry(span.key, span.value, span.added[0])
