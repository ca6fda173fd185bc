"""Writes down what a page asked of a program: ``stand_ins.sh`` calls it in its place."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Append the arguments, the settings and the folder to the page's record."""
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("SG_", "VLLM_"))
    }
    found = {"arguments": sys.argv[1:], "settings": settings, "folder": os.getcwd()}
    with Path(os.environ["DOCS_RECORD"]).open("a", encoding="utf-8") as record:
        record.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
