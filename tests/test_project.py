"""What the project promises about itself: set-up commands, CI, rooms on disk."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = 'python3 -m venv .venv && .venv/bin/pip install ".[demo]" && .venv/bin/gpuseg demo'
TEST = 'python3 -m venv .venv && .venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest'
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", [DEMO, TEST])
def test_readme_has_the_set_up_commands_to_the_letter(command):
    assert README.splitlines().count(command) == 1


def test_readme_begins_with_the_promise():
    first = README.split("\n\n")[1]
    for words in (
        "transactions",
        "segments tied to one decision",
        "honest uncertainty",
        "same answer on any hardware",
    ):
        assert words in " ".join(first.split())


def test_relative_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "asv_benchmarks/README.md"):
        path = ROOT / name
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{name}: {target}"


@pytest.mark.parametrize("script", [".ci/run", ".ci/full"])
def test_ci_scripts_are_executable(script):
    assert os.access(ROOT / script, os.X_OK)


def test_every_room_is_a_package():
    for folder in {path.parent for path in (ROOT / "gpuseg").rglob("*.py")}:
        assert (folder / "__init__.py").exists(), f"{folder} would be left out of the wheel"


def test_rooms_have_a_place_in_the_arrows():
    (contract,) = PROJECT["tool"]["importlinter"]["contracts"]
    placed = set(re.findall(r"\w+", " ".join([*contract["layers"], *contract["exhaustive_ignores"]])))
    rooms = {path.stem for path in (ROOT / "gpuseg").glob("[a-z]*") if path.suffix in {"", ".py"}}
    assert rooms <= placed


def test_mypy_loosens_kernel_modules_only():
    for override in PROJECT["tool"]["mypy"]["overrides"]:
        for module in override["module"]:
            if module.startswith("gpuseg."):
                kernel = re.fullmatch(r"gpuseg\.engines\.cpu\.\w+", module)
                assert kernel, module
                assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module


def test_license_is_apache():
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:200]
