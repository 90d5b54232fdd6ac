"""numba kernel that puts features which were turned in registers where they belong (CPU engine)."""

from __future__ import annotations

from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.simd import store


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
