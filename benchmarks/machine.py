"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path

import apsw

from indelible.backends.sqlite import location


def describe(folder: Path) -> dict[str, str]:
    """Processor, disk and versions, as short texts."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "files": location.file_system(folder / "x") or "unknown",
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        **{name: version(name) for name in ("indelible", "apsw", "pynacl", "kvgit", "eventsourcing")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def load() -> str:
    """How busy the machine is: processes that want to run, on average over a minute."""
    return f"{os.getloadavg()[0]:.1f}"


def peak() -> int:
    """The most memory this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
