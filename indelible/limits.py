"""How large things may be. A store checks what reaches it, so sizes count sealing."""

from __future__ import annotations

import attrs

from indelible import checks
from indelible.commands import ExpectVersion, Transaction
from indelible.errors import InvalidRequest, TooLarge


@attrs.frozen(kw_only=True)
class Limits:
    """The most a store takes: bytes of a key, value, name, group and source, and commands in a transaction."""

    key: int = 4 * 1024
    value: int = 1024 * 1024
    name: int = 1024
    group: int = 256
    source: int = 256
    commands: int = 10_000

    def __attrs_post_init__(self) -> None:
        for limit, maximum in attrs.asdict(self).items():
            checks.version(maximum, f"the limit {limit!r}")

    def check_name(self, log: object) -> None:
        """Raise unless ``log`` can name a log."""
        self._fits("name", len(checks.name(log, "a log's name").encode()))

    def check_group(self, group: object) -> None:
        """Raise unless ``group`` can be a log's group."""
        if group is not None:
            self._fits("group", len(checks.text(group, "group").encode()))

    def check_key(self, key: bytes) -> None:
        """Raise unless ``key`` can be the key of an entry."""
        self._fits("key", len(key))

    def check(self, transaction: Transaction[bytes, bytes]) -> None:
        """Raise ``InvalidRequest`` or ``TooLarge`` unless a store can take this transaction."""
        self._fits("commands", len(transaction.commands))
        if transaction.source is not None:
            self._fits("source", len(transaction.source.encode()))
        key, value = self.key, self.value
        for index, command in enumerate(transaction.commands):
            if isinstance(command, ExpectVersion):
                continue
            if type(command.key) is not bytes or type(command.value) is not bytes:
                raise InvalidRequest(f"command {index}: a store takes keys and values as bytes; encode them first")
            if len(command.key) > key:
                self._fits("key", len(command.key), f"command {index}: ")
            if len(command.value) > value:
                self._fits("value", len(command.value), f"command {index}: ")

    def _fits(self, limit: str, size: int, where: str = "") -> None:
        maximum: int = getattr(self, limit)
        if size > maximum:
            unit = "commands" if limit == "commands" else "bytes"
            reason = (
                f"{where}the {limit} limit is {maximum} {unit} and this has {size}, sealing included; "
                "make it smaller, or raise it with Limits(...)"
            )
            raise TooLarge(reason, limit, size, maximum)
