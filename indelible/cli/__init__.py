"""The command line: ``indelible COMMAND ...``, and ``python -m indelible``.

``exits.py`` has the exit codes, ``app.py`` the list of commands. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_EXTRA = frozenset({"cyclopts", "rich"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default the one of ``sys.argv``, and give the exit code. Raises nothing."""
    try:
        from indelible.cli.app import run  # noqa: PLC0415 - what it imports may not be installed
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write("error: the command line is an extra; to get it: pip install 'indelible[cli]'\n")
        return 2
    except KeyboardInterrupt:  # while it was still loading
        return 130
    return run(sys.argv[1:] if argv is None else argv)
