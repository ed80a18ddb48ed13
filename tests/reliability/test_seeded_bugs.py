"""Bugs are put into copies of the product, one at a time, and the tests must find each: a survivor is a missing test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from effort import WHOLE, WORKERS, minimum
from mutants import MUTANTS as KEPT
from mutants_service import SERVICE
from seeding import Mutant

MUTANTS = (*KEPT, *SERVICE)
ROOT = Path(__file__).parents[2]
LEAST = minimum(20, 5)

GUARD = """
import indelible, pathlib
assert pathlib.Path(indelible.__file__).is_relative_to(pathlib.Path(__file__).parent), "this is not the copy"
"""


def run(folder: Path, tests: tuple[str, ...], only: str, mutant: Mutant | None = None) -> tuple[int, str]:
    """pytest's exit code and output for these tests, on a copy of the package with this bug in it, or none."""
    shutil.copytree(ROOT / "indelible", folder / "indelible", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "copy_guard.py").write_text(GUARD)
    if mutant is not None:
        file = folder / "indelible" / mutant.file
        file.write_text(mutant.apply(file.read_text()))
    # The copy comes before the checkout; -P keeps the folder it runs in from coming before the copy.
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "INDELIBLE_RELIABILITY"}}
    environment |= {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "HYPOTHESIS_PROFILE": "dev"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout=40", "--tb=line", "-p", "copy_guard"]
    command += ["-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist", "--hypothesis-seed=1"]
    done = subprocess.run([*command, "-k", only, *tests], cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_table_is_not_stale():
    """Each seeded bug still has its place in the product, exactly once, and makes a program of it."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    for mutant in MUTANTS:
        compile(mutant.apply((ROOT / "indelible" / mutant.file).read_text()), mutant.file, "exec")


def test_a_stale_bug_is_seen():
    """Control: a bug whose line is gone, or stands twice, is refused."""
    mutant = Mutant("gone", "none", "engine.py", [("old", "new")], [])
    assert mutant.apply("the old one") == "the new one"
    for source in ("nothing", "old and old"):
        with pytest.raises(AssertionError, match="gone"):
            mutant.apply(source)


@pytest.mark.timeout(1800)
def test_the_tests_pass_without_a_bug(tmp_path):
    """Control: on an unchanged copy every test passes that is to find a bug, so what it finds is the bug."""
    chosen: dict[tuple[str, ...], list[str]] = {}
    for mutant in MUTANTS if WHOLE else MUTANTS[:LEAST]:
        chosen.setdefault(tuple(mutant.tests), []).append(mutant.only)

    def fault(number: int) -> str:
        tests, only = list(chosen.items())[number]
        code, output = run(tmp_path / str(number), tests, "" if "" in only else " or ".join(f"({it})" for it in only))
        return f"{tests} fail without any bug:\n{output}" if code else ""

    with ThreadPoolExecutor(WORKERS) as pool:
        faults = [it for it in pool.map(fault, range(len(chosen))) if it]
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(1800)
def test_every_seeded_bug_is_found(tally, tmp_path):
    """S1-S22: no seeded bug passes the tests of the law it breaks."""
    mutants = MUTANTS if WHOLE else MUTANTS[:LEAST]

    def killed(number: int) -> str:
        mutant = mutants[number]
        code, output = run(tmp_path / str(number), tuple(mutant.tests), mutant.only, mutant)
        shutil.rmtree(tmp_path / str(number))
        # Tests ran, and one failed. Anything else says nothing of the bug.
        found = code == 1 and re.search(r"^1 failed", output, re.MULTILINE)
        return "" if found else f"{mutant.name} ({mutant.law}), exit code {code}:\n{output[-3000:]}"

    with ThreadPoolExecutor(WORKERS) as pool:
        alive = [it for it in pool.map(killed, range(len(mutants))) if it]
    assert not alive, "\n".join(["these seeded bugs were not found:", *alive])
    tally("seeded bugs found", len(mutants), LEAST, f"of {len(mutants)} tried, {len(MUTANTS)} in the table")
