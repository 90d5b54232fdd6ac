"""Golden vectors: answers written down once, that every later version must repeat to the bit.

A family is a module ``tests/golden/families/NAME.py`` with a function ``make()`` that returns what JSON can hold;
``tests/golden/NAME.json`` is what it returned when its contract was settled, and test_golden.py compares with ``==``.
Floats are written by ``float.hex``. A change of a golden file is a change of every user's answers: it bumps the
contract number and wants its reason in the changelog.

    python -m tests.golden.make NAME ...     writes these families
    python -m tests.golden.make --all        writes all of them
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Families that have a module."""
    return sorted(path.stem for path in (FOLDER / "families").glob("[!_]*.py"))


def made(name: str) -> Any:
    """What the family returns today, as JSON gives it back."""
    module = importlib.import_module(f"tests.golden.families.{name}")
    return json.loads(json.dumps(module.make()))


def recorded(name: str) -> Any:
    """What the family returned when it was written down."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def main(arguments: list[str]) -> int:
    chosen = names() if arguments == ["--all"] else arguments
    unknown = sorted(set(chosen) - set(names()))
    if not chosen or unknown:
        print(f"unknown: {unknown}; families: {names()}, or --all", file=sys.stderr)
        return 2
    for name in chosen:
        text = json.dumps(made(name), indent=1) + "\n"
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")
        print(f"wrote tests/golden/{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
