"""The newest version seen of each log: what tells a history that was rolled back from one that is only short."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any, Final, NamedTuple, TypeAlias

from indelible import seams
from indelible.errors import InvalidRequest

try:
    import fcntl
except ImportError:  # there is none on Windows
    fcntl = None  # type: ignore[assignment]

_SECONDS: Final = 1.0
"""A file is written no more often than this."""

_PATIENCE: Final = 2.0
_GLANCE: Final = 0.005
_FORMAT: Final = 1


class Pin(NamedTuple):
    """``version`` is the newest one seen since a rollback was accepted for the ``accepted``-th time.

    Of two pins the greater counts, in that order, so that processes may merge theirs at any time.
    """

    accepted: int
    version: int


_Table: TypeAlias = dict[str, dict[str, Pin]]
_NONE: Final = Pin(0, 0)


class Pins:
    """The pins of any number of customers' logs, in memory, or kept in a file that processes share.

    The file is for its owner alone (mode 0600), is replaced as a whole, and is written about once a second while there
    is something to write, and by ``flush``. Nobody waits for another process but who opens, accepts or flushes. Raises
    ``InvalidRequest`` for a file that is damaged or cannot be used: to go on without it is to trust the service anew,
    which is for its owner to decide.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else _place(path)
        # Reentrant: whoever is inside may be the one in whom the garbage collector, or a signal, closes a backend.
        self._lock = threading.RLock()
        self._table: _Table = {}
        self._changed = False
        # Whoever holds this is at the file, which takes as long as the disk does. Never waited for under the other.
        self._writing = threading.RLock()
        self._inside = False
        self._written = -_SECONDS
        self._timer: Timer | None = None
        if self._path is not None:
            with _locked(self._path, _PATIENCE):
                self._table = _load(self._path)

    def __repr__(self) -> str:
        return f"Pins({None if self._path is None else str(self._path)!r})"

    def get(self, customer: str, log: str) -> int:
        """The newest version seen of a log; 0 if it was never seen, or its rollback was accepted."""
        with self._lock:
            return self._table.get(customer, {}).get(log, _NONE).version

    def all(self, customer: str) -> dict[str, int]:
        """The newest version seen of each log, as it is now."""
        with self._lock:
            return {log: pin.version for log, pin in self._table.get(customer, {}).items()}

    def reread(self, customer: str, log: str) -> int:
        """As ``get``, after a look at what other processes wrote; a file that cannot be read says nothing new."""
        if self._path is not None:
            # It is replaced as a whole, so nobody need be kept from it meanwhile.
            with contextlib.suppress(InvalidRequest):
                self._merge(_load(self._path))
        return self.get(customer, log)

    def see(self, customer: str, log: str, version: int) -> None:
        """Remember that a log has reached ``version``."""
        with self._lock:
            pin = self._table.get(customer, {}).get(log, _NONE)
            if version > pin.version:
                self._table.setdefault(customer, {})[log] = pin._replace(version=version)
                self._changed = True
        if self._changed and self._path is not None and not self._write_at_once(self._path):
            self._write_later()

    def accept(self, customer: str, log: str) -> None:
        """Forget the version seen of a log, in the file too: an older one is believed from now on.

        Raises ``InvalidRequest`` if the file cannot be read or written.
        """
        self.flush()
        with self._lock:
            pin = self._table.get(customer, {}).get(log, _NONE)
            self._table.setdefault(customer, {})[log] = Pin(pin.accepted + 1, 0)
            self._changed = True
        self.flush()

    def flush(self) -> None:
        """Bring memory and file to what both know. Raises ``InvalidRequest`` if the file cannot be read or written."""
        if self._path is not None:
            with self._writing:
                self._write(self._path, _PATIENCE)

    def _write_at_once(self, path: Path) -> bool:
        """Whether it was time to write, nobody was in the way, and all is written."""
        if not self._is_time() or not self._writing.acquire(blocking=False):
            return False
        try:
            # What cannot be written now is still remembered, and tried again: an answer is not given up for it.
            with contextlib.suppress(InvalidRequest):
                # Another thread may have been here meanwhile.
                if self._is_time():
                    self._write(path, patience=0.0)
        finally:
            self._writing.release()
        return not self._changed

    def _is_time(self) -> bool:
        return seams.monotonic() - self._written >= _SECONDS

    def _write_later(self) -> None:
        """Write when the second is over, even if nothing more is seen until then."""
        with self._lock:
            if self._timer is None:
                rest = self._written + _SECONDS - seams.monotonic()
                timer = Timer(min(max(rest, 0.0), _SECONDS), self._write_late)
                timer.daemon = True
                # Where no thread can be had, the next answer or the end will do.
                with contextlib.suppress(RuntimeError):
                    timer.start()
                    self._timer = timer

    def _write_late(self) -> None:
        with self._lock:
            self._timer = None
        if self._changed:
            # If it fails, the next answer begins anew.
            with contextlib.suppress(InvalidRequest):
                self.flush()

    def _write(self, path: Path, patience: float) -> None:
        if self._inside:
            return
        self._inside, self._written = True, seams.monotonic()
        try:
            with _locked(path, patience):
                self._merge(_load(path))
                with self._lock:
                    table = {customer: dict(logs) for customer, logs in self._table.items()}
                    changed, self._changed = self._changed, False
                if changed:
                    try:
                        _store(path, table)
                    except BaseException:
                        self._changed = True
                        raise
        finally:
            self._inside = False

    def _merge(self, kept: _Table) -> None:
        with self._lock:
            for customer, logs in kept.items():
                mine = self._table.setdefault(customer, {})
                for log, pin in logs.items():
                    mine[log] = max(pin, mine.get(log, _NONE))


def _place(path: str | os.PathLike[str]) -> Path:
    if "\0" in os.fspath(path):
        raise InvalidRequest("pins must be the path of a file; no name of one holds a NUL")
    return Path(path).absolute()


@contextlib.contextmanager
def _locked(path: Path, patience: float) -> Iterator[None]:
    """Keep other processes from the file meanwhile; where there are no such locks, the last to write wins."""
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        if fcntl is not None:
            _lock(descriptor, path, patience)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, patience: float) -> None:
    for glances_left in range(int(patience / _GLANCE), -1, -1):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if glances_left:
            time.sleep(_GLANCE)
    # It is held for milliseconds; nobody hangs with a process that was stopped in between.
    raise InvalidRequest(f"the pins {path} are held by another process that does not let go of them; end it")


def _load(path: Path) -> _Table:
    try:
        with path.open("rb") as file:
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o022:
                raise InvalidRequest(
                    f"the pins {path} can be written by others; make them yours alone: chmod 600 {path}"
                )
            data = file.read()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(path, error) from None
    table = None
    with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError, AttributeError):
        table = _read(json.loads(data))
    if table is None:
        raise InvalidRequest(
            f"the pins {path} are damaged; put the file back from a backup, or delete it to trust what the service "
            "shows now"
        )
    return table


def _read(plain: Any) -> _Table | None:
    if plain["format"] != _FORMAT or plain.keys() != {"format", "pins"}:
        return None
    return {
        customer: {log: Pin(*map(_number, pin)) for log, pin in logs.items()}
        for customer, logs in plain["pins"].items()
    }


def _number(plain: Any) -> int:
    if type(plain) is not int or not 0 <= plain < 2**63:
        raise ValueError
    return plain


def _store(path: Path, table: _Table) -> None:
    data = json.dumps({"format": _FORMAT, "pins": table}, indent=1).encode()
    try:
        # Made for its owner alone, and on the disk before it takes the old one's place.
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest(
        f"the pins {path} cannot be kept ({error.strerror}); they must stand in a folder that you can write: name "
        "another place as pins in the profile, or connect(..., pins=...)"
    )
