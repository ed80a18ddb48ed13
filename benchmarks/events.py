"""What ``eventsourcing`` needs a class for. Imported only where that library is."""

from __future__ import annotations

from typing import Any

from eventsourcing.domain import Aggregate, event


class EventLog(Aggregate):
    """An aggregate that keeps nothing of its events: to store them is what is measured."""

    @event("Put")
    def put(self, key: str, value: Any) -> None:
        """Say that a key was given a value."""
