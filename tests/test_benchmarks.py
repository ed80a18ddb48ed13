"""The benchmarks run, every one of them, on sizes that say nothing about speed; no time is looked at here."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PEERS = ("kvgit", "diskcache", "eventsourcing", "matplotlib")

WORKS = {
    ("seal and open an entry", "bare json"),
    ("commit of 10 commands, memory", "eventsourcing in memory"),
    ("commit of 10 commands, memory", "kvgit in memory"),
    ("durable commit of 10 commands", "bare apsw, same rows, sealed before"),
    ("durable commit of 10 commands", "bare apsw, same rows, bare seal"),
    ("durable commit of 10 commands", "kvgit on disk, made to sync"),
    ("durable commit of 10 commands", "kvgit on disk, as it comes"),
    ("durable commit of 10 commands", "eventsourcing on SQLite"),
    ("bulk load", "bare seal, bare insert"),
    ("read the present", "bare select, bare open"),
    ("diff(head - 1, head)", "at "),
    ("read ", "none dead"),
    ("diff of a middle range", "at "),
    ("import indelible", "import attrs, cattrs, urllib3"),
    ("memory for each live entry", "a dict"),
    ("read a log of ", "the client before this one"),
    ("read a log of ", "straight from the SQLite file"),
    ("commits a second", "one client"),
    ("commits a second", "the same server with durability off"),
    ("wake ", "one empty request"),
    ("an idle long poll", "20 kB"),
}

ETCD = {
    ("commits a second", "etcd"),
    ("commit sent to watcher told, p50", "etcd"),
    ("commit sent to watcher told, p99", "etcd"),
}
"""Measured where etcd is installed."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one quick run says, prints and draws."""
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("benchmarks/ is not beside the tests: it is no part of the wheel")
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        why = f"the extra 'bench' is not installed: no {', '.join(missing)}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    folder = tmp_path_factory.mktemp("benchmarks")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--directory", folder]
        + ["--json", folder / "x.json", "--markdown", folder / "x.md", "--plot", folder / "x.svg"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    files = {suffix: (folder / f"x.{suffix}").read_text(encoding="utf-8") for suffix in ("json", "md", "svg")}
    return {"text": done.stdout, **files}


def test_every_row_is_there(found):
    """Each work of the table is measured beside its floor or peer, and told in text, Markdown and JSON."""
    rows = json.loads(found["json"])["rows"]
    works = WORKS | (ETCD if shutil.which("etcd") else set())
    assert len(rows) == len(works)
    for work, beside in works:
        hits = [row for row in rows if row["work"].startswith(work) and row["beside"].startswith(beside)]
        assert len(hits) == 1 or work == "read ", (work, beside)
        for row in hits:
            assert row["ours"] > 0 and row["theirs"] > 0 and row["ratio"] > 0
            elsewhere = (
                "service" in row["work"] or "HTTP" in row["work"] or (work, beside) in ETCD or "poll" in row["work"]
            )
            assert elsewhere or (row["peak_ours"] is not None and row["peak_theirs"] is not None)
            assert row["work"] in found["text"] and row["work"] in found["md"]


def test_growth_is_drawn(found):
    """Cost against size is there for commit, diff and read, and drawn."""
    curves = json.loads(found["json"])["growth"]
    assert {word for curve in curves for word in ("commit", "diff", "read") if word in curve["name"]} == {
        "commit",
        "diff",
        "read",
    }
    assert all(seconds > 0 for curve in curves for _, seconds in curve["points"])
    assert "<svg" in found["svg"] and all(curve["name"] in found["svg"] for curve in curves)
