"""Copies of a whole store in one file, made while it is in use, and stores made from them.

SQLite's online backup copies page by page within one read transaction. So the copy is of one moment, however much is
committed meanwhile: writers go on beside a reader, and the copy never begins anew, as it would without that transaction
whenever somebody commits. ``VACUUM INTO`` would hold the same transaction for longer, to sort every index anew, and
could not tell how far it is. All that a copy costs others is that the write-ahead log keeps growing until it is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw
import attrs

from indelible import files, seams
from indelible.backends.sqlite import inspection, location
from indelible.backends.sqlite.failures import translate
from indelible.backends.sqlite.store import SQLiteBackend
from indelible.errors import DamagedStore, InvalidRequest, NotExecuted

_PAGES: Final = 2_048
"""Copied between two looks at whether to go on: 8 MiB."""

_BUSY_SECONDS: Final = 60.0
_BESIDE: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database of this name, and would take for its own again."""

Progress = Callable[[int, int], object]


@attrs.frozen
class Copied:
    """A copy that was made: its file, the bytes in it, and what it holds."""

    path: Path
    size: int
    contents: inspection.Contents


def back_up(store: Path, target: Path, progress: Progress = lambda _done, _pages: None) -> Copied:
    """Copy the store in the file ``store``, as it is at one moment, into the new file ``target``.

    Others may read and write meanwhile. The copy is checked, on the disk, and for its owner's eyes only (mode 0600)
    before it gets its name; interrupted, there is no file of that name. Like the store itself, it may still hold, in
    pages not used again, something of what was trimmed. ``progress`` is told pages done and pages in all.
    Raises ``InvalidRequest`` if there is no such store or the target exists, ``UnsuitableStore`` for a store that is
    not ours, ``DamagedStore`` if the copy is not whole, and ``NotExecuted`` if the storage fails.
    """
    store = store.absolute()
    if not store.is_file():
        raise InvalidRequest(f"there is no store at {store}; check its name")
    # Whoever opens a store brings to the disk what is in it (S21), so that no copy is ahead of its original.
    with closing(SQLiteBackend(store, busy_seconds=_BUSY_SECONDS)), inspection.looking(store) as source:
        return _copy(source, store, target.absolute(), progress)


def restore(backup: Path, store: Path, progress: Progress = lambda _done, _pages: None) -> Copied:
    """Make a new store in the file ``store`` from a backup, which is checked first and stays as it is.

    What was committed after the backup was made is not in it. A client that saw newer versions of a log raises
    ``HistoryRolledBack`` until it is told to accept that. The new file is for its owner's eyes only (mode 0600), and
    complete once it is there. ``progress`` is told pages done and pages in all.
    Raises ``InvalidRequest`` if there is no such backup, if it is in use, or if there is a store already,
    ``UnsuitableStore`` for a file that is not ours or a place where no store can be, ``DamagedStore`` for a file that
    is not whole, and ``NotExecuted`` if the storage fails.
    """
    backup = backup.absolute()
    if not backup.is_file():
        raise InvalidRequest(f"there is no backup at {backup}; check its name")
    if beside := next(_there(backup, _BESIDE), None):
        raise InvalidRequest(
            f"{beside} stands beside {backup.name}: this is a store in use, or a plain copy of one; "
            "make a backup of it with 'indelible backup', and restore that"
        )
    _refuse_taken(store.absolute())
    location.refuse(store.absolute())
    with inspection.looking(backup, still=True) as source:
        _refuse_damaged(source, backup)
        return _copy(source, backup, store.absolute(), progress)


def _copy(source: apsw.Connection, original: Path, target: Path, progress: Progress) -> Copied:
    with _new(target) as partial:
        try:
            _copy_pages(source, partial, progress)
        except apsw.Error as error:
            at_fault = original if isinstance(error, apsw.CorruptError) else target
            raise translate(error, str(at_fault)) from error
        with _told(target):
            _make_self_contained(partial)
        with inspection.looking(partial, still=True) as copy:
            _refuse_damaged(copy, original)
            return Copied(target, partial.stat().st_size, inspection.contents(copy))


def _copy_pages(source: apsw.Connection, partial: Path, progress: Progress) -> None:
    # Without locks, which nobody needs and a network drive may not have.
    place = f"{partial.as_uri()}?nolock=1"
    with closing(apsw.Connection(place, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)) as db:
        # It is brought to the disk once, at the end; until then nobody would miss it.
        db.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")
        with db.backup("main", source, "main") as copying:
            while not copying.step(_PAGES):
                progress(copying.page_count - copying.remaining, copying.page_count)
                seams.failpoint("sqlite.backup.step")


def _make_self_contained(partial: Path) -> None:
    """Have the file say that it needs no write-ahead log beside it; a store that is opened gets its log anew."""
    # The file format's read and write version, https://sqlite.org/fileformat2.html: 1 without such a log, 2 with one.
    with partial.open("r+b") as file:
        file.seek(18)
        file.write(b"\1\1")


def _refuse_damaged(db: apsw.Connection, path: Path) -> None:
    if found := inspection.damage(db):
        raise DamagedStore(f"{path} is damaged ({'; '.join(found)}); restore it from a backup that is whole")


@contextmanager
def _new(target: Path) -> Iterator[Path]:
    """A file beside ``target`` that gets its name at the end, when it is on the disk; on an error it is gone."""
    _refuse_taken(target)
    partial = files.beside(target)
    with _told(target):
        os.close(files.create(partial))
    try:
        yield partial
        with _told(target):
            files.sync(partial, os.O_RDWR)
            seams.failpoint("sqlite.backup.name")
            _refuse_taken(target)
            _name(partial, target)
            if os.name == "posix":
                files.sync(target.parent, os.O_RDONLY)
    finally:
        for file in (partial, *_there(partial, _BESIDE)):
            with suppress(OSError):
                file.unlink()


def _refuse_taken(target: Path) -> None:
    if taken := next(_there(target, ("", *_BESIDE)), None):
        raise InvalidRequest(f"{taken} exists, and nothing is overwritten; choose another name")
    if not target.parent.is_dir():
        raise InvalidRequest(f"the folder {target.parent} does not exist; make it first")


def _there(path: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    files = (path.with_name(path.name + ending) for ending in endings)
    return (file for file in files if os.path.lexists(file))


def _name(partial: Path, target: Path) -> None:
    """Give the file its name, unless there is a file of that name by now."""
    try:
        files.give_name(partial, target)
    except FileExistsError:
        raise InvalidRequest(f"{target} exists by now, and nothing is overwritten; choose another name") from None


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Within this context, what the operating system refuses is an error of ours."""
    try:
        yield
    except OSError as error:
        raise NotExecuted(f"{target} cannot be written ({error.strerror}); nothing is there") from error
