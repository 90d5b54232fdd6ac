"""The options --device and --require-gpu, in a pytest of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator.build import asan_environment, asan_is_loaded
from tests.emulator.plugin import no_gpu

ROOT = Path(__file__).parents[2]
QUICK = "tests/emulator/test_elementwise.py::test_uniforms_are_those_of_numpy"


def pytest_with(*arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-rs", *arguments]
    # Not what this process was started with: the option decides.
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "GPUSEG_EMULATED")}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)


def test_a_gpu_can_be_required_of_cuda_only():
    done = pytest_with("--require-gpu", QUICK)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--require-gpu goes with --device=cuda" in done.stderr


@pytest.mark.parametrize("required", [False, True])
def test_without_a_gpu_tests_skip_or_fail_with_the_reason(required):
    reason = no_gpu()
    done = pytest_with("--device=cuda", *(["--require-gpu"] if required else []), QUICK)
    if reason is None:
        assert " passed" in done.stdout
    else:
        assert reason[:40] in done.stdout
        assert done.stdout.splitlines()[-1].startswith("1 error" if required else "1 skipped")


@pytest.mark.parametrize("how", ["check", "asan"])
def test_each_emulated_build_can_be_chosen(make_emulated, how):
    del make_emulated  # skips where nothing can be built
    if how == "asan" and asan_environment() is None:
        pytest.skip("g++ has no libasan")
    done = pytest_with(f"--device=emulated-{how}", f"{__file__}::test_this_build_was_chosen")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_this_build_was_chosen(make_emulated, request):
    chosen = request.config.getoption("--device").removeprefix("emulated-")
    how = "plain" if chosen == "cuda" else chosen
    assert make_emulated().how == how
    assert make_emulated(how=None).how == os.environ.get("GPUSEG_EMULATED", "plain") == how
    assert asan_is_loaded() == (how == "asan")
