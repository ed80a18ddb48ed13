"""A try that brought no answer to go by."""

from __future__ import annotations

from indelible.errors import IndelibleError


class Failed(Exception):
    """Why one request was not answered, and what that leaves open.

    ``certain`` says that it certainly had no effect, ``again`` whether another try may do better, after ``after``
    seconds at the least if that is not None. ``error`` is the answer, where the service said so itself.
    """

    def __init__(
        self,
        reason: str,
        *,
        certain: bool = False,
        again: bool = True,
        after: float | None = None,
        error: IndelibleError | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.certain = certain
        self.again = again
        self.after = after
        self.error = error
