"""Hypothesis profiles (``dev`` unless HYPOTHESIS_PROFILE says ``ci`` or ``nightly``), and the counts of the suites."""

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", max_examples=25, stateful_step_count=30, deadline=None, print_blob=True)
settings.register_profile(
    "ci", max_examples=200, stateful_step_count=50, deadline=None, derandomize=False, print_blob=True
)
settings.register_profile(
    "nightly",
    max_examples=3000,
    stateful_step_count=80,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


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
