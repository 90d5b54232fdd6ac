"""Fixtures that give a test its device, and the option that chooses it.

    pytest --device=emulated-plain      the default: kernels as a host build of fibers

``pytest_plugins = ["tests.emulator.plugin"]`` in tests/conftest.py (or ``-p tests.emulator.plugin``) adds the option;
the fixtures alone come through tests/emulator/conftest.py and take the default then.
"""

from __future__ import annotations

from typing import Any

import pytest

from gpuseg.engines.launch import DeviceProps
from tests.emulator.build import BUILDS, unavailable
from tests.emulator.device import PROPS, EmulatedDevice

DEVICES = {f"emulated-{how}": how for how in BUILDS}
DEFAULT = "emulated-plain"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=sorted(DEVICES), default=DEFAULT, help="what kernels run on")


@pytest.fixture(scope="session")
def make_device(request):
    """``make_device(order="forward", seed=0, props=PROPS, **options)``: a fresh device of the chosen kind."""
    reason = unavailable()
    if reason is not None:
        pytest.skip(reason)
    how = DEVICES[request.config.getoption("--device", default=DEFAULT)]

    def make(
        order: str = "forward", seed: int = 0, props: DeviceProps = PROPS, **options: Any
    ) -> EmulatedDevice:
        return EmulatedDevice(how, order, seed, props, **options)

    return make


@pytest.fixture
def emulated_device(make_device) -> EmulatedDevice:
    """A fresh device that runs threads in their natural order."""
    return make_device()
