"""Where a database file may stand."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from indelible import checks
from indelible.errors import InvalidRequest, UnsuitableStore

_NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
    | {"fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs"}
)
"""File systems on which locks or the shared memory of the write-ahead log do not hold between machines."""


def refuse(path: Path) -> None:
    """Raise unless a database may stand at ``path``: ``UnsuitableStore``, or ``InvalidRequest`` for no place at all."""
    checks.text(str(path), "a path")
    try:
        is_other, has_folder = path.exists() and not path.is_file(), path.parent.is_dir()
        path.resolve()
    except (OSError, RuntimeError, ValueError):  # no permission, too long a name, a loop of links, a zero in it
        raise InvalidRequest(f"{str(path)!r} cannot be looked at; name a file in a folder of yours") from None
    if is_other:
        raise InvalidRequest(f"{path} is a folder or another thing that is no file; name a file")
    if not has_folder:
        raise InvalidRequest(f"the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UnsuitableStore(f"the folder {path.parent} cannot be written, and the store's log must stand beside it")
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise UnsuitableStore(f"{path} cannot be read and written; check its permissions")
    if (kind := file_system(path)) in _NETWORK:
        raise UnsuitableStore(
            f"{path} is on a network file system ({kind}), where locks do not hold; keep the file on a local disk"
        )


def file_system(path: Path, mounts: str = "/proc/self/mountinfo") -> str | None:
    """The type of the file system that holds ``path``; None where it cannot be told."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    folder = path.resolve().parent
    best: tuple[int, str] | None = None
    for line in lines:
        # Fields as proc(5) lists them: the mount point is the fifth, the type the first after " - ".
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split(" ")[4])
        if folder.is_relative_to(point) and (best is None or len(point) >= best[0]):
            best = len(point), after.split(" ")[0]
    return best[1] if best else None
