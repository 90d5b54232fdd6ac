"""What every engine refuses before a kernel, which checks no bounds, is given it (room: engines)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.base import AssignState
from gpuseg.errors import ContractError


def require_weights(weights: Weights, mode: WeightMode, n_rows: int) -> None:
    """Refuse what a kernel, which checks no bounds, would read beyond its end or add in the wrong arithmetic."""
    held = {WeightMode.INTEGER: weights.integers.size, WeightMode.REAL: weights.reals.size}.get(
        weights.mode, n_rows
    )
    if held != n_rows:
        msg = f"{held} weights do not fit a block of {n_rows} rows; give one weight a row"
        raise ContractError(msg)
    if (weights.mode is WeightMode.REAL) != (mode is WeightMode.REAL):
        modes = f"weights of mode {weights.mode.name} do not fit scales of mode {mode.name}"
        msg = f"{modes}; take both from one WeightRange"
        raise ContractError(msg)


def require_models(
    centres: Sequence[npt.NDArray[np.float32]], states: Sequence[AssignState], d: int, n_rows: int
) -> None:
    """Refuse centres of other features and label buffers of other rows, for the same reason."""
    for c, state in zip(centres, states, strict=True):
        if c.shape[1] != d or state.labels.size != n_rows:
            msg = (
                f"centres of shape {c.shape} and {state.labels.size} labels do not fit a block of {n_rows} rows "
                f"and {d} features; make both for this block"
            )
            raise ContractError(msg)
