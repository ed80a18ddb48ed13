"""The command line as tests use it: in this process for speed, and as a process of its own where that matters."""

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from indelible.cli import main


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def ndjson(self):
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """Runs commands in a folder with a profile; no output may ever hold the profile's key."""

    def __init__(self, folder, capsys, monkeypatch):
        self.folder = folder
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self._key = None
        monkeypatch.chdir(folder)
        monkeypatch.delenv("INDELIBLE_PROFILE", raising=False)
        monkeypatch.setenv("COLUMNS", "100")

    def __call__(self, *argv, stdin=b""):
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        code = main([str(word) for word in argv])
        out, err = self._capsys.readouterr()
        return self._checked(Ran(code, out, err))

    def ok(self, *argv, stdin=b""):
        """Run what must succeed, in silence on stderr."""
        ran = self(*argv, stdin=stdin)
        assert (ran.code, ran.err) == (0, ""), ran
        return ran

    def fails(self, code, *argv, stdin=b""):
        """Run what must fail with this code, printing nothing but one line; give that line."""
        ran = self(*argv, stdin=stdin)
        assert (ran.code, ran.out) == (code, ""), ran
        assert ran.err.startswith("error: ") and ran.err.count("\n") == 1 and ran.err.endswith("\n"), ran
        assert "Traceback" not in ran.err
        return ran.err

    def start(self, *argv, **options):
        """Start a process of its own."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": self.folder, **options}
        return subprocess.Popen([sys.executable, "-m", "indelible", *map(str, argv)], **options)

    def process(self, *argv, stdin=b"", **options):
        """Run a process of its own to its end."""
        with self.start(*argv, stdin=subprocess.PIPE, **options) as process:
            out, err = process.communicate(stdin)
        return self._checked(Ran(process.returncode, out.decode(), err.decode()))

    def _checked(self, ran):
        path = self.folder / "indelible.json"
        if self._key is None and path.exists():
            self._key = json.loads(path.read_text())["master_key_base64"]
        assert self._key is None or (self._key not in ran.out and self._key not in ran.err)
        return ran


def skip_or_fail(reason):
    """Skip a test, but fail under CI, where what it needs ought to be there."""
    import pytest

    if os.environ.get("CI"):
        pytest.fail(f"under CI this must run: {reason}")
    pytest.skip(reason)
