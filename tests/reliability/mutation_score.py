"""How many one-token mutants of the pure modules the tests kill, by ``mutmut``; the aim is 90 % in each module.

.. code-block:: console

    $ python tests/reliability/mutation_score.py            # all modules, about an hour on two cores
    $ python tests/reliability/mutation_score.py history    # one of them
    $ python tests/reliability/mutation_score.py --show     # and the diff of every survivor

It works on a copy in a folder of its own, so that the checkout stays as it is. Exits with 1 below the aim.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
AIM = 90.0

# What each module is tried by: everything that says something of it, and nothing that takes long.
TESTS = {
    "engine": ["tests/test_engine.py"],
    "history": ["tests/test_history.py"],
    "ledger": ["tests/test_ledger.py", "tests/test_contract_memory.py"],
    "receipts": ["tests/test_receipts.py"],
    "cipher": ["tests/test_cipher.py", "tests/test_refusals.py", "tests/property/test_cipher_properties.py"],
    "codecs": ["tests/test_codecs.py", "tests/test_refusals.py", "tests/property/test_codecs_properties.py"],
    "wire": ["tests/test_wire.py", "tests/property/test_wire_properties.py"],
    "shapes": ["tests/test_shapes.py", "tests/test_wire_published.py", "tests/property/test_wire_properties.py"],
    "updates": ["tests/test_updates.py", "tests/property/test_wire_properties.py"],
    "faults": ["tests/test_wire_errors.py"],
}

CONFIGURATION = """
[tool.mutmut]
source_paths = ["indelible"]
only_mutate = ["indelible/{module}.py"]
also_copy = ["README.md"]
pytest_add_cli_args = ["-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-seed=1", "-k", "{without}"]
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
track_dependencies = false
timeout_multiplier = 5.0
timeout_constant = 10.0

[tool.pytest.ini_options]
addopts = ["-ra"]
timeout = 300
"""

# Tests of the wait are slow, and need no module of these; these others look at the source itself, or start processes.
WITHOUT = "not s13 and not every_check_is and not only_the_cipher and not imported_for and not every_process and not TestOracle"


def run(module: str, folder: Path, children: int) -> tuple[Counter[str], list[str]]:
    """What became of the module's mutants, by verdict, and the names of those that lived."""
    for part in ("indelible", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "corpus"))
    shutil.copy(ROOT / "README.md", folder)
    tests = [test for test in TESTS[module] if (ROOT / test).exists()]
    (folder / "pyproject.toml").write_text(CONFIGURATION.format(module=module, tests=tests, without=WITHOUT))
    mutmut = [sys.executable, "-m", "mutmut"]
    environment = os.environ | {"HYPOTHESIS_PROFILE": "dev"}
    with (folder / "mutmut.log").open("w") as log:
        subprocess.run(
            [*mutmut, "run", "--max-children", str(children)], cwd=folder, env=environment, stdout=log, stderr=log
        )
    listed = subprocess.run([*mutmut, "results", "--all", "true"], cwd=folder, capture_output=True, text=True).stdout
    found = re.findall(r"^\s*(\S+__mutmut_\d+): (.+?)\s*$", listed, re.MULTILINE)
    if not found:
        sys.exit(f"mutmut made nothing of {module}:\n{(folder / 'mutmut.log').read_text()[-3000:]}")
    return Counter(verdict for _, verdict in found), [name for name, it in found if it in ("survived", "no tests")]


def main() -> int:
    """Print a line for each module and say whether all reach the aim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(TESTS)}")
    parser.add_argument("--show", action="store_true", help="print the diff of every mutant that lived")
    parser.add_argument("--children", type=int, default=2, help="mutants tried at once")
    parser.add_argument("--folder", type=Path, help="where to work, and leave what mutmut wrote")
    asked = parser.parse_args()
    reached = True
    for module in asked.modules or TESTS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (asked.folder / module) if asked.folder else Path(temporary, "work")
            folder.mkdir(parents=True)
            verdicts, alive = run(module, folder, asked.children)
            total, killed = verdicts.total(), verdicts.total() - len(alive)
            score = 100 * killed / total
            reached &= score >= AIM
            print(f"{module:10} {killed:4} of {total:4} killed, {score:5.1f} %   {dict(verdicts)}", flush=True)
            for name in alive if asked.show else ():
                shown = [sys.executable, "-m", "mutmut", "show", name]
                print(subprocess.run(shown, cwd=folder, capture_output=True, text=True).stdout, flush=True)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
