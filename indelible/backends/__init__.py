"""The backends: where logs are kept, and what wraps them. Each is loaded when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from indelible.backend import Backend

if TYPE_CHECKING:
    from indelible.backends.encrypted import EncryptedBackend
    from indelible.backends.http import HTTPBackend
    from indelible.backends.memory import MemoryBackend
    from indelible.backends.scoped import ScopedBackend
    from indelible.backends.sqlite import SQLiteBackend

__all__ = ["Backend", "EncryptedBackend", "HTTPBackend", "MemoryBackend", "SQLiteBackend", "ScopedBackend"]

_MODULES = {
    "EncryptedBackend": "encrypted",
    "HTTPBackend": "http",
    "MemoryBackend": "memory",
    "SQLiteBackend": "sqlite",
    "ScopedBackend": "scoped",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
