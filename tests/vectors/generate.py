"""Writes the vectors: ``python -m tests.vectors.generate``, or ``--check`` to compare."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.vectors import (
    body_cases,
    cases,
    key_cases,
    recovery_cases,
    request_cases,
    sealed_answer_cases,
)
from tests.vectors.vocabulary import CASES

FOLDER = Path(cases.__file__).parent
# Whoever imports them has their cases in CASES.
MODULES = (
    cases,
    body_cases,
    key_cases,
    request_cases,
    sealed_answer_cases,
    recovery_cases,
)


def documents() -> dict[str, str]:
    """Every vector's text, by file name."""
    return {
        f"{name}.json": json.dumps(vector(), indent=2, ensure_ascii=True) + "\n"
        for name, vector in CASES.items()
    }


def differences() -> list[str]:
    """The names of files that are missing, not made here, or not the same."""
    made = documents()
    there = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    names = sorted(made.keys() | there.keys())
    return [name for name in names if made.get(name) != there.get(name)]


def write() -> int:
    made = documents()
    for path in FOLDER.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, document in made.items():
        (FOLDER / name).write_text(document, "utf-8", newline="\n")
    return len(made)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if parser.parse_args().check:
        different = differences()
        for name in different:
            print(f"differs: {name}")
        return 1 if different else 0
    print(f"{write()} vectors written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
