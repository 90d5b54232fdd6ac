"""nvcc takes every kernel: alone with its headers, and as the one text that the engine compiles."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gpuseg.engines.launch import inline_headers
from tests.emulator import compilers
from tests.emulator.sources import FOLDER, read
from tests.emulator.usage import usages

KERNELS = Path(__file__).parents[2] / "kernels"
FILES = [*sorted(KERNELS.glob("*.cu")), *sorted(FOLDER.glob("*.cu"))]
ARCHITECTURES = compilers.ARCHITECTURES if os.environ.get("GPUSEG_TESTS") == "full" else (80, 100)

needs_nvcc = pytest.mark.skipif(
    shutil.which("nvcc") is None or shutil.which("g++") is None, reason="nvcc and g++ are not both on PATH"
)


def nvcc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nvcc", *arguments], capture_output=True, text=True, check=False)


def compiled(source: Path, architecture: int, folder: Path) -> str:
    """What nvcc says; fails unless it succeeds without a warning."""
    if f"sm_{architecture}" not in nvcc("--list-gpu-code").stdout:
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    target = folder / "out.cubin"
    strict = ("-Werror", "all-warnings", "-Xptxas", "-v")
    done = nvcc(
        "-std=c++17",
        f"-I{KERNELS}",
        f"-arch=sm_{architecture}",
        "-cubin",
        *strict,
        "-o",
        str(target),
        str(source),
    )
    assert done.returncode == 0, done.stderr
    assert target.stat().st_size > 0
    return done.stderr


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", FILES, ids=lambda path: path.name)
def test_each_file_compiles_alone_without_spills(source, architecture):
    if architecture not in compilers.nvcc().architectures:
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    used = usages(compilers.nvcc(), source, architecture)
    assert used
    wrong = source.name == "faults.cu"  # one of its bugs is an array of its own
    assert wrong or all((one.stack, one.spills) == (0, 0) for one in used)


@needs_nvcc
@pytest.mark.parametrize("name", [path.name for path in FILES])
def test_each_file_compiles_as_one_text(name, tmp_path):
    whole = tmp_path / name
    whole.write_text(inline_headers(name, read), encoding="utf-8")
    compiled(whole, ARCHITECTURES[0], tmp_path)
