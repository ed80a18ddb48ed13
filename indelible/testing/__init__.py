"""Tools to test code that uses indelible, and backends that implement it; ``pip install indelible[testing]``.

Each name is loaded when it is first used, so that the oracle needs no pytest and the contract no hypothesis.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indelible.testing.contract import BackendContract, SequentialContract
    from indelible.testing.faults import Latency, LostAnswers, ReadOnly
    from indelible.testing.linearize import NotLinearizable, check
    from indelible.testing.machine import Subject, backend_machine
    from indelible.testing.oracle import ModelBackend
    from indelible.testing.recorder import Recorder

__all__ = [
    "BackendContract",
    "Latency",
    "LostAnswers",
    "ModelBackend",
    "NotLinearizable",
    "ReadOnly",
    "Recorder",
    "SequentialContract",
    "Subject",
    "backend_machine",
    "check",
]

_HOMES = {
    "BackendContract": "contract",
    "Latency": "faults",
    "LostAnswers": "faults",
    "ModelBackend": "oracle",
    "NotLinearizable": "linearize",
    "ReadOnly": "faults",
    "Recorder": "recorder",
    "SequentialContract": "contract",
    "Subject": "machine",
    "backend_machine": "machine",
    "check": "linearize",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
