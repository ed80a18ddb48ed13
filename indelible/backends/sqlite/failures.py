"""What SQLite says when something fails, and what that means here: one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw

from indelible.errors import DamagedStore, IndelibleError, NotExecuted, Overloaded, UnsuitableStore

_DISK_FULL = "the disk that holds {path} is full; nothing was written; make room and send the same again"
_MEANING: Final[tuple[tuple[type[apsw.Error], type[NotExecuted | DamagedStore | UnsuitableStore], str], ...]] = (
    (apsw.BusyError, Overloaded, "{path} was locked by another writer for too long; nothing was written; try again"),
    (apsw.LockedError, Overloaded, "{path} was locked by another writer for too long; nothing was written; try again"),
    (apsw.FullError, NotExecuted, _DISK_FULL),
    (apsw.CorruptError, DamagedStore, "{path} is damaged ({detail}); restore it from a backup"),
    (apsw.NotADBError, UnsuitableStore, "{path} is not a database of ours; name another file"),
    (apsw.ReadOnlyError, NotExecuted, "{path} cannot be written ({detail}); check the permissions of file and folder"),
    (
        apsw.CantOpenError,
        NotExecuted,
        "{path} cannot be opened ({detail}); check that its folder exists and is writable",
    ),
    (
        apsw.PermissionsError,
        NotExecuted,
        "{path} cannot be opened ({detail}); check the permissions of file and folder",
    ),
    (apsw.NoMemError, NotExecuted, "out of memory while working on {path}; nothing was written"),
    (apsw.IOError, NotExecuted, "the disk that holds {path} failed ({detail}); nothing was written"),
    (apsw.Error, NotExecuted, "{path} cannot be used ({detail}); nothing was written"),
)


def translate(error: apsw.Error, path: str) -> IndelibleError:
    """The error of ours that says what ``error`` means, for a statement that certainly did not commit."""
    kind, text = next((kind, text) for their, kind, text in _MEANING if isinstance(error, their))
    return kind(text.format(path=path, detail=detail(error)))


def detail(error: apsw.Error) -> str:
    """SQLite's own name for what went wrong, such as ``SQLITE_IOERR_FSYNC``; never anything that was stored."""
    code = getattr(error, "extendedresult", getattr(error, "result", -1))
    name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(code & 0xFF)
    return str(name or type(error).__name__)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Within this context, SQLite's errors come out as ours, and so does what Python says of rows nobody wrote."""
    try:
        yield
    except IndelibleError:
        raise
    except apsw.Error as error:
        raise translate(error, path) from error
    except (ArithmeticError, TypeError, ValueError):
        # A text that is not UTF-8, a time beyond the calendar, nothing where a number must be.
        damaged = DamagedStore(f"{path} is damaged (a row is not as it was written); restore it from a backup")
        try:
            raise damaged from None
        finally:
            # What Python says of a text that cannot be read holds the text; it must not hang on to this error.
            damaged.__context__ = None
