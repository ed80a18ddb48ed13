"""Logs in one SQLite file: embedded, durable, shared by the processes of one machine."""

from indelible.backends.sqlite.store import SQLiteBackend, open_url

__all__ = ["SQLiteBackend", "open_url"]
