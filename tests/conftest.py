"""Hypothesis profiles: ``dev`` unless HYPOTHESIS_PROFILE says ``ci`` or ``nightly``."""

import os

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
