"""How a bug is seeded: what to change, the law it breaks, and the tests that must find it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

MEMORY: Final = "tests/test_contract_memory.py::TestMemoryBackend"
FILE: Final = "tests/test_contract_backends.py::TestSQLite"
SEALED: Final = "tests/test_contract_backends.py::TestScheme2OverMemory"
SCOPED: Final = "tests/test_contract_backends.py::TestScopedOverMemory"
LAWS: Final = "tests/test_history.py"
ENGINE: Final = "tests/test_engine.py"
CIPHER: Final = "tests/test_cipher.py"
RECEIPTS: Final = "tests/test_receipts.py"
CODECS: Final = "tests/test_codecs.py"
PAGES: Final = "tests/test_sqlite_pages.py"
WAKING: Final = "tests/test_waking.py"
SCOPES: Final = "tests/test_scoped.py"
WAITING: Final = "tests/test_sqlite_waiting.py"
FAILING: Final = "tests/test_sqlite_failing.py"
HISTORIES: Final = "tests/reliability/test_histories.py"
POWER_CUTS: Final = "tests/reliability/test_power_cuts.py"
IO_ERRORS: Final = "tests/reliability/test_io_errors.py"

STORE, ROWS, SCHEMA = "backends/sqlite/store.py", "backends/sqlite/rows.py", "backends/sqlite/schema.py"
OPENED, RANGES, WAITERS = "backends/sqlite/file.py", "backends/sqlite/ranges.py", "backends/sqlite/waiters.py"


@attrs.frozen
class Mutant:
    """A bug: its name, the clause it breaks, its file below ``indelible``, old and new texts, and what must find it."""

    name: str
    law: str
    file: str
    edits: Sequence[tuple[str, str]]
    tests: Sequence[str]
    only: str = ""

    def apply(self, source: str) -> str:
        """The file's text with the bug in it. Raises if an old text is not there exactly once."""
        for old, new in self.edits:
            found = source.count(old)
            assert found == 1, (
                f"seeded bug {self.name!r}: {self.file} has this {found} times, and must have it once: {old}"
            )
            source = source.replace(old, new)
        return source


def bug(
    name: str,
    law: str,
    file: str,
    old: str,
    new: str,
    *tests: str,
    only: str = "",
    also: Sequence[tuple[str, str]] = (),
) -> Mutant:
    """A bug of one line, or of those in ``also`` with it."""
    return Mutant(name, law, file, ((old, new), *also), tests, only)
