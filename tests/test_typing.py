"""The public API as type checkers see it: what is right passes, what is wrong is found, and nothing is unknown."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "typing"
ROOT = Path(__file__).parent.parent
WRONG = {
    number
    for number, line in enumerate((HERE / "wrong.py").read_text(encoding="utf-8").splitlines(), 1)
    if "# WRONG" in line
}


def run(*command):
    # ``--verifytypes`` asks the first Python on the path where packages are, whatever ``--pythonpath`` says.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PATH": path})


def mypy(name, tmp_path):
    """The lines at which mypy finds something, and all it says."""
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\n")
    cache = f"--cache-dir={tmp_path / 'cache'}"
    options = ["--config-file", str(config), cache, "--hide-error-context", "--no-pretty"]
    ran = run(sys.executable, "-m", "mypy", *options, str(HERE / name))
    lines = {int(it[1]) for it in re.finditer(rf"{name}:(\d+):(?:\d+:)? error", ran.stdout)}
    return lines, ran.stdout + ran.stderr


def test_mypy_knows_the_api(tmp_path):
    """``mypy --strict`` finds nothing in right uses, and something in each wrong one and nowhere else."""
    found, said = mypy("api.py", tmp_path)
    assert found == set(), said
    assert "error" not in said, said
    found, said = mypy("wrong.py", tmp_path)
    assert found == WRONG, said


@pytest.fixture(scope="module")
def pyright():
    beside = Path(sys.executable).with_name("pyright")
    command = str(beside) if beside.exists() else shutil.which("pyright")
    if command is None:
        assert "CI" not in os.environ, "pyright is missing under CI"
        pytest.skip("pyright is not installed here")
    ran = run(command, "--version")
    if ran.returncode != 0:
        assert "CI" not in os.environ, ran.stderr
        pytest.skip("pyright cannot run here (it brings its own node, and found none)")
    return command


def test_pyright_knows_the_api(pyright):
    """pyright, strict, finds nothing in right uses, and something in each wrong one and nowhere else."""
    ran = run(pyright, "--outputjson", "--pythonpath", sys.executable, str(HERE / "api.py"), str(HERE / "wrong.py"))
    found = {"api.py": {}, "wrong.py": {}}
    for it in json.loads(ran.stdout)["generalDiagnostics"]:
        if it["severity"] == "error":
            found[Path(it["file"]).name][it["range"]["start"]["line"] + 1] = it["message"]
    assert found["api.py"] == {}
    assert set(found["wrong.py"]) == WRONG, found["wrong.py"]


def test_every_public_name_has_a_known_type(pyright):
    """``pyright --verifytypes``: nothing that the package exports is of unknown or partly unknown type."""
    ran = run(
        pyright,
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "--verifytypes",
        "indelible",
        "--ignoreexternal",
    )
    report = json.loads(ran.stdout)["typeCompleteness"]
    lacking = [it["name"] for it in report["symbols"] if it["isExported"] and not it["isTypeKnown"]]
    assert lacking == []
    assert sum(it["isExported"] for it in report["symbols"]) > 100
