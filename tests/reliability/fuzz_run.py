"""Fuzz one target under atheris.

.. code-block:: console

    $ python tests/reliability/fuzz_run.py diffs 60 /tmp/found tests/reliability/corpus/diffs

goes on for a minute from the inputs in the folders; what reaches new code goes into the first of them, and the input
that breaks a law into a file beside it. ``merge`` in place of the seconds puts into the first folder as few of the
inputs of the others as reach the same code.
"""

from __future__ import annotations

import os
import sys

import atheris

with atheris.instrument_imports(include=["indelible"]):
    import fuzz_targets


SEED = os.environ.get("INDELIBLE_FUZZ_SEED", "1")
"""Where the inputs begin: the same in every run, so that what CI finds can be found again; 0 is another each time."""


def main(name: str, seconds: str, *rest: str) -> None:
    """Run libFuzzer, which ends the process."""
    limits = [
        "-max_len=2000",
        "-len_control=0",
        "-timeout=60",
        "-rss_limit_mb=4096",
        f"-seed={SEED}",
        f"-artifact_prefix={rest[0]}.",
    ]
    how = "-merge=1" if seconds == "merge" else f"-max_total_time={seconds}"
    # To merge, it calls itself by its first argument, with arguments of its own.
    arguments = rest if "-merge_inner=1" in rest else (how, *limits, *rest)
    atheris.Setup([f"{sys.executable} {__file__} {name} {seconds}", *arguments], fuzz_targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
