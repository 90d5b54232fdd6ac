"""``import gpuseg``: quick, lazy, and every public name loads."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import gpuseg

ROOT = Path(__file__).parents[1]
STAY_OUT = (
    "cupy",
    "dask",
    "dask.dataframe",
    "distributed",
    "llvmlite",
    "numba",
    "pandas",
    "polars",
    "pyarrow",
    "rich",
    "scipy",
    "sklearn",
    "typer",
)


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_stays_lazy():
    loaded = run_python("import sys, gpuseg; print(*sys.modules)").split()
    assert "gpuseg" in loaded
    assert sorted(set(STAY_OUT) & set(loaded)) == []


def test_the_lazy_test_can_fail():
    loaded = run_python("import sys, gpuseg, numba; print(*sys.modules)").split()
    assert "numba" in loaded


def test_errors_load_nothing_either():
    loaded = run_python("import sys, gpuseg; gpuseg.errors.InputError; print(*sys.modules)").split()
    assert sorted(set(STAY_OUT) & set(loaded)) == []


@pytest.mark.parametrize("name", gpuseg.__all__)
def test_every_public_name_loads(name):
    value = getattr(gpuseg, name)
    if name not in {"__version__", "datasets", "errors"}:
        assert value.__doc__
        assert value.__module__.startswith("gpuseg.")


def test_homes_and_all_agree():
    assert sorted([*gpuseg._HOMES, "__version__"]) == gpuseg.__all__ == sorted(set(gpuseg.__all__))
    assert dir(gpuseg) == gpuseg.__all__


def test_type_checkers_see_the_same_names():
    tree = inspect.getsource(gpuseg)
    block = tree[tree.index("if TYPE_CHECKING:") : tree.index("__version__ =")]
    for name in gpuseg._HOMES:
        assert f" {name}" in block, name


def test_features_is_the_function_even_after_its_module_is_imported():
    code = "import gpuseg, gpuseg.customers.features as module; print(gpuseg.features is module.features)"
    assert run_python(code).strip() == "True"


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'gpuseg' has no attribute 'kmean'"):
        gpuseg.kmean  # noqa: B018
    assert not hasattr(gpuseg, "__wrapped__")


def test_one_version():
    assert importlib.metadata.version("gpuseg") == gpuseg.__version__


def test_kernels_are_installed_as_data_of_gpuseg_kernels():
    found = {path.name for path in files("gpuseg.kernels").iterdir()}
    sources = {path.name for path in (ROOT / "kernels").iterdir() if path.suffix in {".cu", ".cuh", ".md"}}
    assert sources, "no kernel sources in kernels/"
    assert sources <= found


def test_every_module_imports():
    for path in sorted((ROOT / "gpuseg").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
