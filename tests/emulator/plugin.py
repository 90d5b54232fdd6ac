"""Fixtures that give a test its device, and the options that choose it.

    pytest --device=emulated-plain      the default: kernels as a host build of fibers
    pytest --device=emulated-check      every load and store looked at (host/check.cpp)
    pytest --device=emulated-asan       with gcc's sanitizers; pytest starts itself again with libasan preloaded
    pytest --device=cuda                on a GPU that compiles and runs a kernel; --require-gpu: fail where none does

``pytest_plugins = ["tests.emulator.plugin"]`` in tests/conftest.py (or ``-p tests.emulator.plugin``) adds the options.
The choice of an emulated build reaches worker processes as GPUSEG_EMULATED.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest

from gpuseg.engines.launch import DeviceProps
from tests.emulator.build import BUILDS, asan_environment, asan_is_loaded, unavailable
from tests.emulator.device import PROPS, EmulatedDevice
from tests.emulator.sources import source_of

DEVICES = {f"emulated-{how}": how for how in BUILDS}
DEFAULT = "emulated-plain"
CUDA = "cuda"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=[*DEVICES, CUDA], default=DEFAULT, help="what kernels run on")
    parser.addoption(
        "--require-gpu", action="store_true", help="with --device=cuda: fail, do not skip, without a GPU"
    )


def pytest_configure(config: pytest.Config) -> None:
    chosen = config.getoption("--device")
    if config.getoption("--require-gpu") and chosen != CUDA:
        raise pytest.UsageError("--require-gpu goes with --device=cuda")
    if chosen != DEFAULT:
        os.environ["GPUSEG_EMULATED"] = DEVICES.get(chosen, "plain")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Start pytest again under AddressSanitizer, which has to be the first library of a process."""
    if DEVICES.get(config.getoption("--device")) != "asan" or asan_is_loaded() or unavailable():
        return None
    added = asan_environment()
    if added is None:
        raise pytest.UsageError("--device=emulated-asan needs libasan of g++")
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        again = [sys.executable, "-m", "pytest", *map(str, config.invocation_params.args)]
        done = subprocess.run(
            again, check=False, cwd=config.invocation_params.dir, env={**os.environ, **added}
        )
    return done.returncode


@pytest.fixture(scope="session")
def make_emulated(request):
    """``make_emulated(order="forward", seed=0, props=PROPS, **options)``: a fresh emulator, of the chosen build."""
    reason = unavailable()
    if reason is not None:
        pytest.skip(reason)
    how = DEVICES.get(request.config.getoption("--device", default=DEFAULT), "plain")

    def make(
        order: str = "forward", seed: int = 0, props: DeviceProps = PROPS, **options: Any
    ) -> EmulatedDevice:
        return EmulatedDevice(**{"how": how, **options}, order=order, seed=seed, props=props)

    return make


@pytest.fixture(scope="session")
def make_device(request):
    """The same with a GPU behind it under ``--device=cuda``; what only an emulator has is then skipped."""
    if request.config.getoption("--device", default=DEFAULT) != CUDA:
        return request.getfixturevalue("make_emulated")
    reason = no_gpu()
    if reason is not None:
        (pytest.fail if request.config.getoption("--require-gpu") else pytest.skip)(reason)

    def make(order: str = "forward", seed: int = 0, props: DeviceProps = PROPS, **options: Any) -> Card:
        del order, seed  # a GPU has its own
        if options or props is not PROPS:
            pytest.skip("a GPU has limits of its own")
        return Card()

    return make


@pytest.fixture
def emulated_device(make_emulated) -> EmulatedDevice:
    """A fresh emulator that runs threads in their natural order."""
    return make_emulated()


class Card:
    """The CUDA device; a test that looks at what only an emulator keeps is skipped."""

    def __init__(self) -> None:
        import cupy

        from gpuseg.engines.cuda import CudaDevice

        self._device = CudaDevice(cupy)

    def __getattr__(self, name: str) -> Any:
        if hasattr(EmulatedDevice("plain"), name) and not hasattr(self._device, name):
            pytest.skip(f"only an emulator has {name!r}")
        return getattr(self._device, name)


@cache
def no_gpu() -> str | None:
    """Why no kernel runs on a GPU here, or None: found by compiling and running one."""
    try:
        from gpuseg.engines import cuda
    except ImportError as error:
        return f"no CUDA engine: {error}"
    reason = cuda.unavailable()
    if reason is not None:
        return reason
    device = Card()
    source = np.arange(1000, dtype=np.float32)
    out = device.empty(1000, np.float32)
    twice = device.module(source_of("dialect.cu"), ["twice"])["twice"]
    twice((4,), (64,), (device.to_device(source), np.int64(1000), out))
    return None if np.array_equal(device.to_host(out), 2 * source) else "the GPU computes 2 x wrongly"
