"""What a backend tells about transactions, logs and versions."""

from __future__ import annotations

import datetime as dt

import attrs


@attrs.frozen
class Committed:
    """The answer to a transaction that was not rejected (S6).

    ``version`` is the head after it, ``changed`` whether it made that version, ``replayed`` whether this answer repeats
    an earlier one to the same transaction (S16).
    """

    version: int
    changed: bool
    replayed: bool


@attrs.frozen
class LogInfo:
    """What is known of a log (S18). ``oldest`` and all after it can be named, and 0; it is 0 if none was trimmed."""

    name: str
    group: str | None
    head: int
    oldest: int
    entries: int


@attrs.frozen
class VersionInfo:
    """Who made a version, when (UTC) and how many entries it touched (S18)."""

    version: int
    source: str | None
    transaction_id: bytes
    committed_at: dt.datetime
    effects: int
