"""Engines that really split small inputs, and the layouts in which a table can arrive."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg.engines.cpu import pool
from gpuseg.engines.cpu.engine import CpuEngine


@pytest.fixture(scope="module", autouse=True)
def _small_splits():
    """Sixteen rows are worth a thread, so that a few dozen rows are split like millions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_MIN_ROWS", 16)
        patch.setattr(pool, "_pool", None)
        patch.setattr(pool, "available_cpus", lambda: 3)
        yield


@pytest.fixture(scope="session")
def engines():
    """One, two and five threads."""
    return [CpuEngine(1), CpuEngine(2), CpuEngine(5)]


def _strided(rows: np.ndarray) -> np.ndarray:
    n, d = rows.shape
    wide = np.full((2 * n, d + 2), np.nan, rows.dtype)
    wide[::2, 1:-1] = rows
    return wide[::2, 1:-1]


def _reversed(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows[::-1, ::-1])[::-1, ::-1]


def _frozen(rows: np.ndarray) -> np.ndarray:
    copy = rows.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": _strided,
    "reversed": _reversed,
    "read-only": _frozen,
    "read-only F": lambda rows: _frozen(rows.T).T,
}


@pytest.fixture(scope="session", params=LAYOUTS)
def layout(request):
    """A function that gives the same values in another layout."""
    return LAYOUTS[request.param]
