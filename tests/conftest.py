"""Settings of the whole suite: hypothesis profiles, chosen by GPUSEG_TESTS (``ci``, or ``full``)."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.emulator.plugin"]  # the option --device, and the devices behind it

# deadline=None: kernels compile on first use, and CI machines stall.
settings.register_profile(
    "ci", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "full", deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow]
)

PROFILE = os.environ.get("GPUSEG_TESTS", "ci")
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave tests marked ``full`` to .ci/full."""
    if PROFILE == "full":
        return
    left_out = pytest.mark.skip(reason="full counts: set GPUSEG_TESTS=full, as .ci/full does")
    for item in items:
        if item.get_closest_marker("full") is not None:
            item.add_marker(left_out)
