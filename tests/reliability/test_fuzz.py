"""Arbitrary bytes: codecs, ciphers, messages, profiles and damaged files answer, or raise errors of ours (S17).

The corpora are inputs that reach different code, found by atheris; they are replayed everywhere. With atheris each
target goes on from there, for a minute under CI.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fuzz_targets
import pytest
from effort import WHOLE, WORKERS, minimum
from fuzz_targets import TARGETS
from settings import folder

from indelible import cipher, codecs, faults, history, updates
from indelible.backends.sqlite import failures
from indelible.commands import KEYED
from indelible.errors import InvalidRequest
from indelible.profile import Profile

__all__ = ["folder"]  # a fixture

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
SECONDS = minimum(60, 2)

# Inputs tried by atheris, summed up; a slow machine tries fewer of those that open a file.
LEAST = minimum(100_000, 100)


@pytest.fixture(autouse=True)
def _cleaned() -> Iterator[None]:
    yield
    fuzz_targets.clean()


def inputs(target: str) -> list[bytes]:
    """The corpus of a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_holds(tally, target):
    """Each law holds for every input that was kept."""
    kept = inputs(target)
    for data in kept:
        TARGETS[target](data)
    tally(f"fuzzing, inputs of {target} replayed", len(kept), 3, "without atheris")


def test_the_corpora_are_small():
    """The corpora are for reading a repository, too: few files, small ones, and one folder for each target."""
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert len(files) < 300
    assert sum(path.stat().st_size for path in files) < 300_000


@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not WHOLE and importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed; the corpora were replayed without it",
)
def test_fuzzing_finds_nothing(tally, tmp_path, folder):
    """Each law holds for the inputs that atheris makes up, beginning with the corpora."""

    def fuzz(target: str) -> tuple[str, int, str]:
        # Its inputs of before, by their own names: a folder that libFuzzer may write into.
        found = tmp_path / target
        shutil.copytree(CORPUS / target, found)
        command = [sys.executable, str(HERE / "fuzz_run.py"), target, str(SECONDS), str(found)]
        environment = os.environ | {"TMPDIR": str(folder), "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        ran = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
        failed = [path.read_bytes() for path in tmp_path.glob(f"{target}.*")]
        fault = f"{target}: exit code {done.returncode}, inputs {failed}\n{done.stderr[-3000:]}"
        return target, int(ran[1]) if ran else 0, fault if done.returncode or failed or not ran else ""

    with ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(fuzz, TARGETS))
    faults = [fault for _, _, fault in results if fault]
    assert not faults, "\n".join(faults)
    for target, ran, _ in results:
        assert ran, f"{target} was not tried"
    each = ", ".join(f"{target} {ran:,}" for target, ran, _ in results)
    tally("fuzzing, inputs tried", sum(ran for _, ran, _ in results), LEAST, f"{SECONDS} s each: {each}")


def _lenient_profile(text):
    raise (
        KeyError(text) if b"apikey" in bytes(text if isinstance(text, bytes) else text.encode()) else InvalidRequest("")
    )


BROKEN = {
    "codecs_decode": (codecs, "_strict", json.loads),
    "codecs_encode": (codecs, "_read_back", lambda text: (Everything(), 0)),
    "cipher_open": (cipher, "_unpad", lambda plain: plain.rstrip(b"\0")[:-1]),
    "diffs": (history, "_cursor", lambda step, last, order: None),
    "diffs_on_file": (history, "_cursor", lambda step, last, order: None),
    "profile": (Profile, "from_json", staticmethod(_lenient_profile)),
    "damaged_file": (failures, "_MEANING", ()),
    "update_stream": (updates, "_NAMES", dict.fromkeys(KEYED, b"Upsert")),
    "bodies": (faults, "_printable", str),
}


class Everything:
    """Equal to whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None


@pytest.mark.parametrize("target", TARGETS)
def test_a_broken_product_is_seen(monkeypatch, target):
    """Control: with a fault in what a target tries, some input of its corpus fails."""
    monkeypatch.setattr(*BROKEN[target])

    def fails(data: bytes) -> bool:
        try:
            TARGETS[target](data)
        except Exception:
            return True
        return False

    assert any(fails(data) for data in inputs(target))
