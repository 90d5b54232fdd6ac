"""numba kernels that put features which were turned in registers where they belong (CPU engine)."""

from __future__ import annotations

from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import prefetch
from gpuseg.engines.cpu.simd import store
from gpuseg.engines.cpu.turning import FEATURES, turn_to_features
from gpuseg.engines.cpu.vectors import LANES

AHEAD = 16 * LANES
"""Rows that are asked for ahead: sixteen rows at once are no stream that a processor follows."""


@kernel
def store_features(out, at, stride, d, v) -> None:
    """Store the first ``d`` of eight vectors, at most all, feature f of sixteen rows at ``at + f * stride``."""
    store(out, at, v[0])
    if d > 1:
        store(out, at + stride, v[1])
    if d > 2:
        store(out, at + 2 * stride, v[2])
    if d > 3:
        store(out, at + 3 * stride, v[3])
    if d > 4:
        store(out, at + 4 * stride, v[4])
    if d > 5:
        store(out, at + 5 * stride, v[5])
    if d > 6:
        store(out, at + 6 * stride, v[6])
    if d > 7:
        store(out, at + 7 * stride, v[7])


@kernel
def turn_rows(flat, d, start, stop, out, to, stride):
    """Copy rows [start, stop), whole vectors, of row-major ``flat`` to ``out``, feature f from ``to + f * stride`` on.

    Eight features at a time; where fewer are left, the last eight once more. With fewer than eight in all, eight values
    are read from each row's beginning: the caller keeps the table's last sixteen rows out.
    """
    for i in range(start, stop, LANES):
        for line in range(d):
            prefetch(flat, (i + AHEAD) * d + line * LANES)
        for block in range(0, d, FEATURES):
            first = max(0, min(block, d - FEATURES))
            v = turn_to_features(flat, i * d + first, d)
            store_features(out, first * stride + to + i - start, stride, d, v)
