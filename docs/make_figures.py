"""Draws the figures of the pages by running the real command line: ``python docs/make_figures.py``.

Each scene runs in an empty folder with a clock, a key and ids that are the same every time, so that running this
again changes a file only if what the commands print has changed. ``--into FOLDER`` writes somewhere else.
"""

import argparse
import datetime as dt
import io
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from indelible import seams
from indelible.cli import main
from indelible.cli.app import app

HERE = Path(__file__).parent / "figures"
WIDTH = 88

SCENES = {
    "tour": """
        + indelible init
        indelible create prices --group shop
        indelible put prices apple 120 pear 200 --source ada
        indelible put prices apple 130 --expect 1 --source ada
        indelible put prices apple 99 --expect 1 --source bob
        indelible diff prices 1
    """,
    "history": """
        + indelible init
        + indelible create prices
        + indelible put prices apple 120 pear 200 --source ada
        + indelible put prices apple 130 --source ada
        + indelible rm prices pear --source bob
        indelible versions prices
        indelible history prices apple
        indelible show prices --at 1
        indelible diff prices 3 1
    """,
    "git-import": """
        + indelible init
        + git init -q -b main notes
        + printf 'one\\n' > notes/README
        + git -C notes add .
        + git -C notes commit -q -m first
        + printf 'two\\n' > notes/README
        + printf 'x = 1\\n' > notes/app.py
        + git -C notes add .
        + git -C notes commit -q -m second
        indelible git-import notes
        indelible diff notes 1 2
        indelible versions notes
    """,
}

# Rich's own frame fetches a font from a public server; readers' machines have one.
_FRAME = re.sub(r" *@font-face {{.*?}}\n", "", CONSOLE_SVG_FORMAT, flags=re.S).replace(
    "Fira Code", "DejaVu Sans Mono, Menlo, Consolas"
)


class Screen(io.StringIO):
    """What a terminal would be given."""

    def isatty(self):
        return True


class Aside:
    """Where errors go: the same screen, without what moves there."""

    encoding = "utf-8"

    def __init__(self, screen):
        self.write = screen.write
        self.flush = screen.flush

    def isatty(self):
        return False


def arrange():
    """Make the clock, the key and the ids the same every time."""
    chance = random.Random("indelible figures")
    ticks = iter(range(0, 10**6, 60))
    start = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC).timestamp()
    seams.entropy = chance.randbytes
    seams.clock = lambda: start + next(ticks)
    os.environ.update(
        {"COLUMNS": str(WIDTH), "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", "TERM": "xterm-256color"}
        | dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "Ada")
        | dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "ada@example.org")
        | dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-01-01T12:00:00Z")
    )
    for name in ("NO_COLOR", "INDELIBLE_PROFILE", "INDELIBLE_TRACEBACK", "FORCE_COLOR", "GIT_DIR", "GIT_INDEX_FILE"):
        os.environ.pop(name, None)


def run(command, screen):
    """Run one command and give its exit code; what it prints goes to the screen."""
    words = shlex.split(command)
    if words[0] != "indelible":
        subprocess.run(["sh", "-c", command], check=True)
        return 0
    with redirect_stdout(screen), redirect_stderr(Aside(screen)):
        return main(words[1:])


def draw(name, scene):
    """The scene as SVG. Lines that begin with + are run and not shown."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        os.environ["HOME"] = folder
        for line in filter(None, map(str.strip, scene.strip().splitlines())):
            screen = Screen()
            hidden = line.startswith("+ ")
            command = line.removeprefix("+ ")
            code = run(command, screen)
            if hidden:
                assert code == 0, f"{command}: {screen.getvalue()}"
                continue
            console.print(Text.assemble(("$ ", "dim"), (command, "bold")))
            console.print(Text.from_ansi(screen.getvalue().rstrip("\n")))
            if code:
                console.print(Text(f"(exit code {code})", style="dim"))
    return console.export_svg(title="", unique_id=name, code_format=_FRAME, theme=SVG_EXPORT_THEME) + "\n"


def helps():
    """The help of every command, as text."""
    for command in ["", *commands()]:
        screen = io.StringIO()
        assert run(f"indelible {command} --help", screen) == 0
        text = "\n".join(line.rstrip() for line in screen.getvalue().strip().splitlines())
        yield f"help-{command or 'indelible'}.txt", text + "\n"


def commands():
    """The names of all commands, as the command line lists them."""
    return [name for name in app if not name.startswith("-")]


def figures():
    """All figures, by file name."""
    arrange()
    found = dict(helps())
    for name, scene in SCENES.items():
        found[f"{name}.svg"] = draw(name, scene)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=HERE)
    into = parser.parse_args().into
    into.mkdir(exist_ok=True)
    for file, text in figures().items():
        (into / file).write_text(text, encoding="utf-8")
    sys.stdout.write(f"figures are in {into}\n")
