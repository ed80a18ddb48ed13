"""The HTTP API, version 1, once and as data: its calls, what each needs, is asked and answers.

Server and client both read this table, and the published description is made from it; none of them opens a socket here.
Every call is a ``POST`` of JSON to ``/v1/log/<name>``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

import attrs

from indelible import shapes, updates, wire
from indelible.wire import Kind

Q = TypeVar("Q")
A = TypeVar("A")
Scope: TypeAlias = Literal["read", "write", "admin"]

VERSION_HEADER: Final = "Indelible-Version"
"""Carried by every answer about a log that exists: a head not older than the one at which it was judged."""

REQUEST_ID_HEADER: Final = "X-Request-Id"
"""Names a request in the server's log; a client may choose it."""

MEDIA_TYPE: Final = "application/json"


@attrs.frozen
class Route(Generic[Q, A]):
    """One call: the scope its key needs, what it is asked, what it answers.

    ``encoder`` makes the bytes of an answer faster than its kind does, if it is not None. ``stream`` is what may follow
    the request's first object, as JSON Schema.
    """

    name: str
    scope: Scope
    summary: str
    request: Kind[Q]
    answer: Kind[A]
    encoder: Callable[[A], bytes] | None = None
    stream: Any = None

    @property
    def path(self) -> str:
        """Where it stands."""
        return f"/v1/log/{self.name}"

    def encode(self, answer: A) -> bytes:
        """The bytes of an answer."""
        return wire.encode(self.answer.write(answer)) if self.encoder is None else self.encoder(answer)


CREATE: Final = Route("create", "write", "Make a log exist, empty, at version 0.", shapes.CREATE_LOG, shapes.DONE)
UPDATE: Final = Route(
    "update",
    "write",
    "Judge and apply commands as one transaction: all of it or nothing.",
    updates.UPDATE_HEAD,
    shapes.COMMITTED,
    stream=updates.COMMAND_SCHEMA,
)
DIFF: Final = Route(
    "diff",
    "read",
    "One page of what changed between two versions, at once or when there is something new.",
    shapes.DIFF_LOG,
    shapes.PAGE,
    shapes.encode_page,
)
DESCRIBE: Final = Route("describe", "read", "What is known of a log.", shapes.DESCRIBE_LOG, shapes.LOG_INFO)
LIST: Final = Route("list", "read", "The logs there are, by name.", shapes.LIST_LOGS, shapes.LOG_PAGE)
VERSIONS: Final = Route(
    "versions", "read", "Who made which version, and when.", shapes.LIST_VERSIONS, shapes.VERSION_PAGE
)
HISTORY: Final = Route(
    "history", "read", "What happened to one key, oldest first.", shapes.KEY_REVISIONS, shapes.REVISION_PAGE
)
TRIM: Final = Route("trim", "admin", "Forget the versions below one, for good.", shapes.TRIM_LOG, shapes.DONE)

ROUTES: Final[tuple[Route[Any, Any], ...]] = (CREATE, UPDATE, DIFF, DESCRIBE, LIST, VERSIONS, HISTORY, TRIM)
