"""Each suite's counts, printed at the end whatever pytest captured."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[[str, int, int, str], None]:
    """Say how much was done and fail if it was less than the least: ``tally(what, count, least, more)``."""

    def say(what: str, count: int, least: int, more: str) -> None:
        record_property("reliability", f"{what}: {count:,} (at least {least:,}); {more}")
        assert count >= least, f"{what}: only {count:,} of at least {least:,}"

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was tallied; the properties come from xdist's workers too."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "reliability"
    ]
    if lines:
        terminalreporter.section("reliability")
        for line in lines:
            terminalreporter.write_line(str(line))
