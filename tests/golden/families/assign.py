"""One pass over a small table: scales, labels, masses, sums, inertia, and the centres of the step that follows.

Integers are hexadecimal, masses and inertia exact fractions.
"""

from __future__ import annotations

import numpy as np

from gpuseg.core.lloyd import LloydState, step
from gpuseg.core.moments import Layout
from gpuseg.core.weights import Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu.engine import CpuEngine
from tests.golden.families import _data


def make() -> dict[str, object]:
    return {name: _one(weights) for name, weights in _data.weights().items()}


def _one(values: np.ndarray | None) -> dict[str, object]:
    rows, engine = _data.rows(), CpuEngine()
    block = np.empty((_data.D, _data.N), np.float32)
    seen = engine.scan(rows, values, block)
    layout = Layout.plain(seen)
    weights = Weights.of(values, layout.scales.mode)
    moments = engine.moments(rows, weights, layout.scales)
    centres = rows[[0, 1, 2, 3, 0]]
    state, distance = AssignState.fresh(_data.N, 5), np.empty(_data.N, np.float32)
    [result] = engine.assign(
        block, weights, [centres], [state], layout.scales, inertia=True, distance=distance
    )
    after = step(LloydState(centres, 0, 0.0, 1), result.sums, rows[7:8])
    return {
        "exponent": layout.scales.exponent.tolist(),
        "square_exponent": layout.scales.square_exponent.tolist(),
        "moments": [f"{v:x}" for v in (*moments.total.to_ints(), *moments.square.to_ints())],
        "variance": [v.hex() for v in moments.variance().tolist()],
        "labels": "".join(map(str, state.labels.tolist())),
        "distance": [v.hex() for v in distance.tolist()],
        "mass": [str(m) for m in result.sums.mass.to_fractions()],
        "total": [f"{v:x}" for v in result.sums.total.to_ints()],
        "inertia": str(result.sums.inertia.to_fractions()[0]),
        "centres": [[v.hex() for v in row] for row in after.centres.tolist()],
        "shift": after.shift.hex(),
    }
