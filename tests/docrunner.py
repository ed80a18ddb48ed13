"""Runs what a page shows: its Python, its commands, and compares with the output it shows.

A page is run from top to bottom, in an empty folder of its own and in one namespace. What a fenced block means:

``python``
    Runs. What it prints must stand in a ``text`` block right after it. A block whose first line is a comment with a
    file name, such as ``# follow.py``, is written to that file instead.
``console``
    Lines that begin with ``$`` run in a shell; the lines below each are what it prints. A command that fails must be
    followed by ``$ echo $?``.
``text``
    After a ``python`` block: its output. Elsewhere: an illustration.
``sh``
    Setting up: only ``SETUP`` may stand in it, and it is not run here.
``toml``, ``json``, ``ini``, ``csv``
    Illustrations.

A comment on the line before a block says what differs: ``<!-- file: NAME -->`` writes the block to a file, ``<!-- not
run: REASON -->`` leaves it out, ``<!-- second terminal -->`` starts a command that goes on beside all that follows,
until it ends with the page or the next such command takes its terminal; on a ``text`` block it is what that command
prints from there on. In shown output, a line of ``...`` stands for any lines; times, random ids and durations match any
others.

A page that starts the service on its usual port has that port of this machine to itself.
"""

import contextlib
import fcntl
import io
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from sybil import Document, Region, Sybil

BLOCK = re.compile(r"^(?:<!-- (?P<note>[^\n]*?) -->\n)?```(?P<language>[^\n`]*)\n(?P<body>.*?)^```$", re.M | re.S)
FILE = re.compile(r"# ([\w.-]+\.(?:py|toml))\n")
SETUP = re.compile(r"(python3 -m venv|\.venv/bin/\S+|pip install|git clone|cd) ")
ILLUSTRATIONS = {"toml", "json", "ini", "csv"}
PATIENCE = 30

_VARYING = [
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "<time>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\bin \d+\.\d+s\b( \(\d:\d\d:\d\d\))?"), "in <duration>"),
    (re.compile(r"\b\d{2,} passed(, \d+ skipped)?"), "<many> passed"),
]


@contextlib.contextmanager
def usual_port():
    """The port that the service takes by itself, for one test of this machine at a time."""
    from commandline import skip_or_fail

    with (Path(tempfile.gettempdir()) / "indelible-tests-8420.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", 8420))
            except OSError:
                skip_or_fail("another program of this machine listens on port 8420")
        yield


def normal(text):
    for pattern, name in _VARYING:
        text = pattern.sub(name, text)
    return "\n".join(line.rstrip() for line in text.strip("\n").split("\n"))


def matches(printed, shown):
    parts = [re.escape(part) for part in re.split(r"^\.\.\.$", normal(shown), flags=re.M)]
    return re.fullmatch(r"[\s\S]*".join(parts), normal(printed)) is not None


def compare(printed, shown, what):
    assert matches(printed, shown), f"{what} prints\n\n{printed}\nand the page shows\n\n{shown}"


class Process:
    """A command in a second terminal, and how much of its output was shown."""

    def __init__(self, command, folder, env):
        self._leader, follower = pty.openpty()
        modes = termios.tcgetattr(follower)
        modes[1] &= ~termios.OPOST  # lines end as they are printed
        termios.tcsetattr(follower, termios.TCSANOW, modes)
        self._process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            cwd=folder,
            env=env,
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        self._printed = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._command = command
        self._shown = 0

    def _read(self):
        # A terminal that nobody writes to any more is an error on Linux, and empty elsewhere.
        with contextlib.suppress(OSError):
            while piece := os.read(self._leader, 65536):
                self._printed += piece

    def unshown(self):
        return self._printed.decode(errors="replace")[self._shown :]

    def prints(self, shown):
        deadline = time.monotonic() + PATIENCE
        while not matches(self.unshown(), shown) and time.monotonic() < deadline:
            time.sleep(0.02)
        compare(self.unshown(), shown, self._command)
        self._shown += len(self.unshown())

    def stop(self):
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._reader.join(PATIENCE)
            os.close(self._leader)


class Page:
    """One page while it is run."""

    def __init__(self, path, folder):
        self.path = path
        self.folder = folder / "page"
        self.folder.mkdir()
        self.left_out = []
        self._second = None
        self._python = ""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "INDELIBLE", "COV", "GIT", "XDG"))}
        self._env = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "COLUMNS": "80",
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": "-p no:randomly -p no:cacheprovider",
            "GIT_CONFIG_NOSYSTEM": "1",
            **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "Ada"),
            **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "ada@example.org"),
            **dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-01-01T12:00:00Z"),
        }

    def run(self):
        alone = re.search(r"^\$ indelible serve\b", self.path.read_text(encoding="utf-8"), re.M)
        with usual_port() if alone else contextlib.nullcontext():
            self._run_all()

    def _run_all(self):
        document = Sybil(parsers=[self._blocks]).parse(self.path)
        document.namespace["__name__"] = "__main__"
        try:
            for example in document.examples():
                self._run(example)
            self._nothing_unshown()
            assert self._second is None or not self._second.unshown(), "a second terminal printed more than is shown"
        finally:
            if self._second is not None:
                self._second.stop()

    def _blocks(self, document: Document):
        assert not re.search(r"^[ \t]+```", document.text, re.M), "an indented fence is not run; do not indent it"
        for match in BLOCK.finditer(document.text):
            if not match["language"].startswith("{"):
                yield Region(match.start("body"), match.end(), match, lambda _example: None)

    def _run(self, example):
        note, language, body = example.parsed["note"] or "", example.parsed["language"], example.parsed["body"]
        where = f"{self.path}:{example.line}"
        if language != "text":
            self._nothing_unshown()
        try:
            if note.startswith("not run: "):
                self.left_out.append(f"{where}: {note}")
            elif note.startswith("file: "):
                (self.folder / note.removeprefix("file: ")).write_text(body)
            elif language == "python" and (name := FILE.match(body)):
                (self.folder / name[1]).write_text(body)
            elif language == "python":
                self._run_python(body, example)
            elif language == "text":
                self._compare(body, note)
            elif language == "console":
                self._console(body, note)
            elif language == "sh":
                for line in body.replace("\\\n", " ").splitlines():
                    assert SETUP.match(line), f"only setting up stands in sh blocks, commands in console blocks: {line}"
            else:
                assert language in ILLUSTRATIONS, f"nobody said what a block of {language!r} means"
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error

    def _run_python(self, body, example):
        code = compile("\n" * (example.line - 1) + body, example.path, "exec", dont_inherit=True)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, example.namespace)
        self._python = out.getvalue()

    def _compare(self, body, note):
        if note == "second terminal":
            self._second.prints(body)
        elif self._python:
            compare(self._python, body, "the block above")
            self._python = ""

    def _nothing_unshown(self):
        assert not self._python, f"{self.path}: a block prints what the page does not show:\n{self._python}"

    def _console(self, body, note):
        body = body.replace("\\\n", "")
        assert body.startswith("$ "), "a console block begins with a command"
        steps = [step.partition("\n") for step in re.split(r"^\$ ", body, flags=re.M)[1:]]
        if note == "second terminal":
            [(command, _, shown)] = steps
            if self._second is not None:
                assert not self._second.unshown(), "a second terminal printed more than is shown"
                self._second.stop()
            self._second = Process(command, self.folder, self._env)
            self._second.prints(shown)
            return
        code = 0
        for index, (command, _, shown) in enumerate(steps):
            done = subprocess.run(
                ["sh", "-c", f"(exit {code})\n{command}"],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=240,
                check=False,
            )
            code = done.returncode
            printed = done.stdout.decode()
            following = steps[index + 1][0] if index + 1 < len(steps) else ""
            assert code == 0 or following == "echo $?", f"{command} ends with {code}:\n{printed}"
            compare(printed, shown, command)
