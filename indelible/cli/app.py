"""The list of commands, and what happens around each: errors become one line and an exit code."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from cyclopts import App, CycloptsError

from indelible.cli import admin, doctor, exits, gitimport, importing, keeping, pins, reading, serve, watching, writing
from indelible.cli.output import line, visible
from indelible.errors import IndelibleError

_GLOBAL = ("--profile", "--output")


def _version() -> str:
    return importlib.metadata.version("indelible")


app: App = App(
    name="indelible",
    help="Logs that are versioned, immutable, strongly consistent, reactive and end-to-end encrypted.",
    version=_version,
    help_format="markdown",
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
app.register_install_completion_command(help="Install completion for the shell in use, and end.")

for _command in (
    writing.init,
    writing.create,
    writing.put,
    writing.rm,
    reading.get,
    reading.show,
    reading.diff,
    reading.history,
    reading.versions,
    reading.logs,
    watching.watch,
    importing.import_,
    reading.export,
    writing.trim,
    pins.accept_rollback,
    gitimport.git_import,
    keeping.backup,
    keeping.restore,
    keeping.copy,
    doctor.doctor,
    serve.serve,
):
    app.command(_command, name=_command.__name__.strip("_").replace("_", "-"), sort_key=len(list(app)))
admin.app.sort_key = len(list(app))
app.command(admin.app)


def run(argv: Sequence[str]) -> int:
    """Run one command and give its exit code; print one line about whatever goes wrong."""
    # Both are None where the caller closed them.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        # JSON is UTF-8, whatever the terminal's locale says.
        if callable(reconfigure := getattr(stream, "reconfigure", None)):
            reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = _guarded(_command_first(argv))
    except BrokenPipeError:
        # Python would flush stdout once more on its way out, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.BROKEN_PIPE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except OSError:
        # Even the error could not be printed.
        return exits.FAILED
    return code


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _guarded(tokens: Sequence[str]) -> int:
    try:
        app(tokens)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except Exception as error:
        message, code = _explained(error)
        if not isinstance(error, OSError):
            # What came before the error belongs before its line; the reader may be gone by now.
            sys.stdout.flush()
        if message is None:
            if os.environ.get("INDELIBLE_TRACEBACK"):
                raise
            message = f"a bug in indelible ({type(error).__name__}); INDELIBLE_TRACEBACK=1 shows where"
        line("error: " + visible(" ".join(message.split("\n"))), sys.stderr)
        return code
    return exits.OK


def _explained(error: Exception) -> tuple[str | None, int]:
    """What to tell about an error, None if nobody thought of it, and the exit code."""
    if isinstance(error, CycloptsError):
        return f"{error} See 'indelible --help'.", exits.USAGE
    if isinstance(error, exits.Failure):
        return str(error), error.code
    if isinstance(error, IndelibleError):
        return exits.message_of(error), exits.code_of(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or type(error).__name__}", exits.FAILED
    return None, exits.FAILED


def _command_first(argv: Sequence[str]) -> list[str]:
    """Move options of every command that stand before the command to where the parser looks for them."""
    rest, leading = list(argv), []
    while rest and rest[0].partition("=")[0] in _GLOBAL:
        size = 1 if "=" in rest[0] else 2
        leading += rest[:size]
        rest = rest[size:]
    if not rest or rest[0].startswith("-"):
        return rest
    words = len(app.parse_commands(rest)[0]) or 1
    return [*rest[:words], *leading, *rest[words:]]
