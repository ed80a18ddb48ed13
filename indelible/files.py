"""New files that have their name once all of them is on the disk, and never take the place of another."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from indelible import seams


def write_new(path: Path, data: bytes) -> None:
    """Make a file that only its owner can read (mode 0600), whole or not at all, whatever happens meanwhile.

    Raises ``FileExistsError`` if something of that name is there, and ``OSError`` if it cannot be written.
    """
    _refuse_taken(path)
    partial = beside(path)
    descriptor = create(partial)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        seams.failpoint("files.name")
        give_name(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()
    if os.name == "posix":
        # The file is there. A folder that may be written and not read cannot be synced.
        with suppress(OSError):
            sync(path.parent, os.O_RDONLY)


def create(path: Path) -> int:
    """Make an empty file for its owner alone (mode 0600), and give its descriptor. Raises ``OSError``."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def beside(path: Path) -> Path:
    """A name in the same folder, for what is to have that of ``path`` when it is complete."""
    return path.with_name(f"{path.name}.{seams.entropy(4).hex()}.partial")


def give_name(partial: Path, path: Path) -> None:
    """Give a complete file its name; ``partial`` may stay as another. Raises ``FileExistsError`` if it is taken."""
    try:
        # Unlike a renaming, this does not replace what somebody put there a moment ago.
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        _refuse_taken(path)
        partial.rename(path)


def sync(path: Path, flags: int) -> None:
    """Bring a file, or what a folder says of its files, to the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_taken(path: Path) -> None:
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
