"""``python -m benchmarks``: measure, and print one table."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import (
    cases_bulk,
    cases_commit,
    cases_process,
    cases_sealing,
    cases_service,
    cases_size,
    growth,
    machine,
    peers,
    plot,
    run,
    stores,
    table,
)

CASES: dict[str, run.Case] = {
    "sealing": cases_sealing.sealing,
    "memory-commit": cases_commit.in_memory,
    "durable-commit": cases_commit.durable,
    "bulk-load": cases_bulk.load,
    "read": cases_bulk.read,
    "newest": cases_size.newest,
    "dead": cases_size.dead,
    "middle": cases_size.middle,
    "import": cases_process.importing,
    "memory": cases_process.memory,
    "service-read": cases_service.read,
    "service-commits": cases_service.commits,
    "service-waking": cases_service.waking,
}
GROWTH = "growth"


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs; no figures")
    parser.add_argument(
        "--only", metavar="NAME", action="append", choices=[*CASES, GROWTH], help=", ".join([*CASES, GROWTH])
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="all figures, for programs")
    parser.add_argument("--plot", metavar="FILE.svg", type=Path, help="ratios, and cost against size")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="the table, for the documentation")
    parser.add_argument(
        "--directory", type=Path, help="where the files are made: on a real disk (the system's temporary)"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    options = _arguments(arguments)
    if missing := peers.missing():
        print(f"install what is missing: {', '.join(missing)} (the extra 'bench' has them all)", file=sys.stderr)
        return 2
    wanted = options.only or [*CASES, GROWTH]
    with tempfile.TemporaryDirectory(prefix="indelible-bench-", dir=options.directory) as name:
        folder = Path(name)
        this = run.new(folder, options.quick)
        about = {**machine.describe(folder), "load at the start": machine.load()}
        started = time.monotonic()
        stores.check_samples()
        stores.check(folder)
        rows: list[table.Row] = []
        for case in [case for case in CASES if case in wanted]:
            print(f"{time.monotonic() - started:6.1f} s  {case}", file=sys.stderr)
            rows += CASES[case](this)
        curves: list[growth.Curve] = []
        if GROWTH in wanted:
            print(f"{time.monotonic() - started:6.1f} s  {GROWTH}", file=sys.stderr)
            curves = growth.measure(this)
        this.stores.close()
    about["load at the end"] = machine.load()
    about["peak memory of this process"] = table.quantity(machine.peak(), "B")
    about["took"] = f"{time.monotonic() - started:.0f} s"
    _report(options, about, rows, curves)
    return 0


def _report(
    options: argparse.Namespace, about: dict[str, str], rows: list[table.Row], curves: list[growth.Curve]
) -> None:
    tables = [[table.HEAD, *map(table.cells, rows)]] if rows else []
    if curves:
        tables.append(growth.lines(curves))
    footer = "; ".join(f"{name}: {value}" for name, value in about.items())
    print("\n\n".join([*map(table.text, tables), footer]))
    if options.markdown:
        options.markdown.write_text("\n\n".join([*map(table.markdown, tables), footer]) + "\n", encoding="utf-8")
    if options.json:
        found: dict[str, Any] = {
            "quick": options.quick,
            "machine": about,
            "rows": [row.as_json() for row in rows],
            "growth": [growth.as_json(curve) for curve in curves],
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if options.plot:
        plot.save(options.plot, rows, curves)


if __name__ == "__main__":
    sys.exit(main())
