"""Whether all is well with a store and with what it stands on: one finding after the other, and what to do about each.

Nothing is changed on the way, but for the mark that every opening of a SQLite store commits.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import attrs

from indelible import seams
from indelible.client import Client, connect
from indelible.errors import IndelibleError, IntegrityError
from indelible.profile import Profile

Verdict: TypeAlias = Literal["ok", "warning", "FAILED"]
ServiceClock: TypeAlias = Callable[[str], dt.datetime | None]
"""What time it is at the service of a URL, None where that cannot be told."""

_SOUND_PYNACL: Final = (1, 6, 2)
"""The first release with a libsodium in which CVE-2025-69277 is fixed."""

_LITTLE_ROOM: Final = 256 * 1024 * 1024
_NO_ROOM: Final = 16 * 1024 * 1024
"""Bytes free on the disk."""

_LONG_LOG: Final = 64 * 1024 * 1024
"""Bytes of a write-ahead log that was not begun anew for long; SQLite cuts it back to this when it begins one."""

_BUILT: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
"""A time that is over."""

_SKEW_SECONDS: Final = 2.0
_SERVICE_SKEW_SECONDS: Final = 60.0
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@attrs.frozen
class Finding:
    """What was looked at, how it is, and what to do if that is not well.

    ``integrity`` is set where what is stored cannot be trusted.
    """

    check: str
    verdict: Verdict
    text: str
    integrity: bool = False


def examine(target: Path | str, *, quick: bool = False, service_clock: ServiceClock | None = None) -> Iterator[Finding]:
    """What there is to say of a profile, by the path of its file, or of a store, by its URL; and of this machine.

    The findings come as they are made; what depends on something that failed is left out. ``quick`` leaves out the
    slowest, whether a SQLite file's indexes agree with its tables. ``service_clock`` asks a service for its time.
    """
    yield from _software()
    if isinstance(target, str):
        yield from _store(target, lambda: connect(target, master_key=None), quick, service_clock)
        return
    try:
        profile = Profile.load(target)
    except IndelibleError as error:
        yield _failed("profile", error)
        return
    yield _profile(target)
    yield from _store(profile.endpoint_url, lambda: connect(profile), quick, service_clock)


def _profile(path: Path) -> Finding:
    """What is left to say of a profile that was loaded, and so is nobody else's to read."""
    folder = path.absolute().parent
    if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
        return Finding("profile", "warning", f"others can put another in its place: they can write the folder {folder}")
    return Finding("profile", "ok", f"{path} is readable by its owner alone")


def _failed(check: str, error: IndelibleError) -> Finding:
    return Finding(check, "FAILED", str(error), isinstance(error, IntegrityError))


# Software


def _software() -> Iterator[Finding]:
    yield Finding("indelible", "ok", importlib.metadata.version("indelible"))
    python = platform.python_version()
    if sys.version_info.releaselevel == "final":
        yield Finding("python", "ok", python)
    else:
        yield Finding("python", "warning", f"{python} is not a final release; use one for what must last")
    yield _sqlite_version()
    yield _libsodium()


def _sqlite_version() -> Finding:
    from indelible.backends.sqlite import inspection  # noqa: PLC0415 - a driver

    version, sound = inspection.sqlite_version()
    if sound:
        return Finding("sqlite", "ok", version)
    return Finding(
        "sqlite", "FAILED", f"{version} may damage a store when two connections write (WAL-reset bug); upgrade apsw"
    )


def _libsodium() -> Finding:
    # That it loads, and works on this machine, shows when it seals something.
    from indelible.cipher import SecretBoxCipher  # noqa: PLC0415 - only who seals pays for loading it
    from indelible.secret import MasterKey  # noqa: PLC0415

    version = importlib.metadata.version("pynacl")
    cipher = SecretBoxCipher(MasterKey.generate())
    try:
        works = cipher.open_name(cipher.seal_name("a log")) == "a log"
    except IntegrityError:
        works = False
    if not works:
        return Finding("libsodium", "FAILED", f"PyNaCl {version} does not open what it sealed; install it anew", True)
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers < _SOUND_PYNACL:
        return Finding("libsodium", "warning", f"PyNaCl {version} brings one with CVE-2025-69277; upgrade pynacl")
    return Finding("libsodium", "ok", f"as PyNaCl {version} brings it")


# Stores


def _store(
    url: str, connected: Callable[[], Client], quick: bool, service_clock: ServiceClock | None
) -> Iterator[Finding]:
    if url.partition(":")[0].lower() == "sqlite":
        yield from _sqlite(url, connected, quick)
    else:
        yield from _service(url, connected, service_clock)


def _service(url: str, connected: Callable[[], Client], service_clock: ServiceClock | None) -> Iterator[Finding]:
    yield _clock(None)
    try:
        with connected() as client:
            logs = len(client.logs())
    except IndelibleError as error:
        yield _failed("service", error)
        return
    # No more of the URL is shown: a password may stand in it.
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.hostname}" if parts.hostname else f"{parts.scheme}:"
    yield Finding("service", "ok", f"{place} answers; logs under this key: {logs}")
    if parts.scheme == "https":
        yield Finding("tls", "ok", "its certificate was accepted")
    elif parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        yield Finding("tls", "warning", f"nothing is encrypted on the way to {place}, the API key neither; use https")
    there = service_clock(url) if service_clock else None
    if there is not None:
        yield _service_time(there)


def _service_time(there: dt.datetime) -> Finding:
    skew = abs((seams.now() - there).total_seconds())
    if skew > _SERVICE_SKEW_SECONDS:
        return Finding("service time", "warning", f"{skew:.0f} s from this machine's; set the clock that is wrong")
    return Finding("service time", "ok", "the same as here")


def _sqlite(url: str, connected: Callable[[], Client], quick: bool) -> Iterator[Finding]:
    from indelible.backends.sqlite import inspection, location  # noqa: PLC0415 - a driver

    try:
        path = inspection.path_of(url)
        location.refuse(path)
    except IndelibleError as error:
        yield _failed("place", error)
        return
    yield Finding("place", "ok", f"{path} on {location.file_system(path) or 'a local file system'}")
    yield _room(path.parent)
    if not path.is_file():
        text = f"there is no {path}; 'indelible create' makes it; if it was there, put it back or restore a backup"
        yield Finding("file", "FAILED", text)
        return
    yield _permissions(path)
    yield _write_ahead_log(path)
    check = "file"
    try:
        with inspection.looking(path) as db:
            contents = inspection.contents(db)
            yield Finding(check, "ok", f"{in_bytes(path.stat().st_size)}; logs: {contents.logs}")
            check = "integrity"
            if found := inspection.damage(db, quick=quick):
                yield Finding(check, "FAILED", f"{path} is damaged ({'; '.join(found)}); restore a backup", True)
                return
            yield Finding(check, "ok", "every page is sound" + (", as far as a quick look shows" if quick else ""))
            check = "logs"
            contradictions, orphans = inspection.contradictions(db), inspection.orphans(db)
    except IndelibleError as error:
        yield _failed(check, error)
        return
    for log, text in contradictions:
        yield Finding(check, "FAILED", f"log {log!r}: {text}; restore a backup, or copy what can be read", True)
    if orphans:
        text = f"logs of which something is stored, and not that they are there: {orphans}; restore a backup"
        yield Finding(check, "FAILED", text, True)
    if not contradictions and not orphans:
        yield Finding(check, "ok", "what each says of itself is what is there")
    yield _opening(connected, contents.logs)
    yield _clock(contents.newest)


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    if free < _NO_ROOM:
        return Finding("room", "FAILED", f"{in_bytes(free)} are free in {folder}: writes will fail; make room")
    if free < _LITTLE_ROOM:
        return Finding("room", "warning", f"{in_bytes(free)} are free in {folder}; make room")
    return Finding("room", "ok", f"{in_bytes(free)} are free")


def _permissions(path: Path) -> Finding:
    if os.name != "posix":
        return Finding("permissions", "ok", "not looked at on this system")
    if path.stat().st_mode & stat.S_IWOTH:
        return Finding("permissions", "FAILED", f"others can write {path}: chmod o-w {path}")
    if path.parent.stat().st_mode & stat.S_IWOTH:
        return Finding("permissions", "FAILED", f"others can write the folder {path.parent}; give the store its own")
    if path.stat().st_mode & stat.S_IWGRP:
        return Finding("permissions", "warning", f"its group can write {path}; unless that is meant, chmod g-w {path}")
    # What others cannot come to, they cannot read.
    if path.stat().st_mode & stat.S_IROTH and all(it.stat().st_mode & stat.S_IXOTH for it in path.parents):
        text = f"others can read {path}, and in it all that is not sealed: chmod o-r {path}"
        return Finding("permissions", "warning", text)
    return Finding("permissions", "ok", "others can neither read nor write it")


def _write_ahead_log(path: Path) -> Finding:
    beside = path.with_name(f"{path.name}-wal")
    size = beside.stat().st_size if beside.exists() else 0
    if size > _LONG_LOG:
        text = f"{in_bytes(size)}: somebody has been reading for so long that it cannot begin anew; look for who it is"
        return Finding("write-ahead log", "warning", text)
    return Finding("write-ahead log", "ok", in_bytes(size))


def _opening(connected: Callable[[], Client], stored: int) -> Finding:
    """Whether the store opens, which takes the settings that keep its promise and a commit."""
    try:
        with connected() as client:
            logs = len(client.logs())
    except IndelibleError as error:
        return _failed("settings", error)
    if stored and not logs:
        return Finding(
            "settings", "warning", f"none of the logs ({stored}) is under this key; is it the right profile?"
        )
    return Finding("settings", "ok", f"what is committed is on the disk; logs under this key: {logs}")


def _clock(newest: dt.datetime | None) -> Finding:
    now = seams.now()
    text = f"{now:%Y-%m-%d %H:%M:%S}Z"
    if now < _BUILT:
        return Finding("clock", "FAILED", f"{text} is long ago; set the clock")
    if newest is not None and (newest - now).total_seconds() > _SKEW_SECONDS:
        return Finding("clock", "warning", f"{text} is before the newest version, {newest:%Y-%m-%d %H:%M:%S}Z; set it")
    return Finding("clock", "ok", text)


def in_bytes(size: int) -> str:
    """A number of bytes as people read it."""
    if size < 1000:
        return f"{size} bytes"
    for power, unit in enumerate(("kB", "MB", "GB"), 1):
        if size < 1000 ** (power + 1):
            return f"{size / 1000**power:.1f} {unit}"
    return f"{size / 1000**4:.1f} TB"
