"""Writes the description of the HTTP API from the table of its calls: ``python docs/make_openapi.py``.

The same code gives the same bytes. ``--into FOLDER`` writes somewhere else.
"""

import argparse
import json
import sys
from pathlib import Path

from indelible import openapi

HERE = Path(__file__).parent / "reference"
NAME = "openapi.json"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=HERE)
    path = parser.parse_args().into / NAME
    path.write_text(json.dumps(openapi.document(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"the description is {path}\n")
