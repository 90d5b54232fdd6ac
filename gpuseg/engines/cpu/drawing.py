"""numba kernels that draw rows (CPU engine): the seeding sample and the rounds of k-means||.

Draws are those of :mod:`gpuseg.core.philox`, made for a tile of rows at a time in a loop that compiles to SIMD; only
then are rows picked. Kernels write into buffers of the caller and count on past their end: with too little room the
caller asks again.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.adding import COPIES, add_inertia, close_copies
from gpuseg.engines.cpu.distances import chain
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.preparing import WEIGHT_INTEGER, WEIGHT_NONE
from gpuseg.engines.cpu.simd import fma, less, load, select, splat, splat_at, store, sub
from gpuseg.engines.cpu.vectors import LANES

TILE = 256
"""Rows whose draws wait in the first-level cache."""
SUM_ROWS = 1 << 20
"""Rows whose distances are added at a time."""
ZERO = np.float32(0.0)
LOW32 = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
MULTIPLIER_0 = np.uint64(0xD2511F53)
MULTIPLIER_1 = np.uint64(0xCD9E8D57)
WEYL_0 = np.uint64(0x9E3779B9)
WEYL_1 = np.uint64(0xBB67AE85)
ELEVEN = np.uint64(11)
UNIT53 = np.float64(2.0**-53)


@kernel
def draw_tile(identity, first, m, seed, stage, index, out):
    """out[j] = the draw of row first + j, j < m: :func:`gpuseg.core.philox.draw64`. All but m are uint64 or int64."""
    for j in range(m):
        who = identity[first + j]
        c0 = who & LOW32
        c1 = who >> HALF
        c2 = index
        c3 = stage
        k0 = seed & LOW32
        k1 = seed >> HALF
        for _ in range(10):
            left = MULTIPLIER_0 * c0
            right = MULTIPLIER_1 * c2
            c0 = (right >> HALF) ^ c1 ^ k0
            c1 = right & LOW32
            c2 = (left >> HALF) ^ c3 ^ k1
            c3 = left & LOW32
            k0 = (k0 + WEYL_0) & LOW32
            k1 = (k1 + WEYL_1) & LOW32
        out[j] = c0 | (c1 << HALF)


@kernel
def weight_of(weights, real, mode, i):
    """Weight of row i in float64."""
    if mode == WEIGHT_NONE:
        return np.float64(1.0)
    if mode == WEIGHT_INTEGER:
        return np.float64(weights[i])
    return np.float64(real[i])


@kernel
def sample_rows(identity, start, stop, weights, real, mode, seed, stage, threshold, rows, draws):
    """Numbers and draws of the rows in [start, stop) of positive weight whose draw is at most ``threshold``.

    Returns how many there are, also where that is more than ``rows`` has room for.
    """
    drawn = np.empty(TILE, np.uint64)
    found = 0
    for low in range(start, stop, TILE):
        m = min(TILE, stop - low)
        draw_tile(identity, low, m, seed, stage, np.uint64(0), drawn)
        for j in range(m):
            if drawn[j] <= threshold and weight_of(weights, real, mode, low + j) > 0.0:
                if found < rows.size:
                    rows[found] = low + j
                    draws[found] = drawn[j]
                found += 1
    return found


@kernel
def nearer_rows(x, stride, start, stop, points, n_points, d, closest):
    """closest[i] = min(closest[i], d2 to each point), rows [start, stop); four chains hide each other's latency."""
    whole = start + (stop - start) // LANES * LANES
    for i in range(start, whole, LANES):
        near = load(closest, i)
        p = 0
        while p + 4 <= n_points:
            a0 = splat(ZERO)
            a1 = a0
            a2 = a0
            a3 = a0
            base = p * d
            for f in range(d):
                v = load(x, f * stride + i)
                t = sub(v, splat_at(points, base + f))
                a0 = fma(t, t, a0)
                t = sub(v, splat_at(points, base + d + f))
                a1 = fma(t, t, a1)
                t = sub(v, splat_at(points, base + 2 * d + f))
                a2 = fma(t, t, a2)
                t = sub(v, splat_at(points, base + 3 * d + f))
                a3 = fma(t, t, a3)
            near = select(less(a0, near), a0, near)
            near = select(less(a1, near), a1, near)
            near = select(less(a2, near), a2, near)
            near = select(less(a3, near), a3, near)
            p += 4
        while p < n_points:
            a0 = splat(ZERO)
            for f in range(d):
                t = sub(load(x, f * stride + i), splat_at(points, p * d + f))
                a0 = fma(t, t, a0)
            near = select(less(a0, near), a0, near)
            p += 1
        store(closest, i, near)
    for i in range(whole, stop):
        for p in range(n_points):
            value = chain(x, stride, i, points[p * d : p * d + d], d)
            closest[i] = min(closest[i], value)


@kernel
def distance_bins(closest, start, stop, weights, real, mode, hi, lo):
    """Exponent bins of the weighted distances of rows [start, stop): their exact sum."""
    bins = np.zeros(32 * COPIES, np.int64)
    run = np.zeros(2, np.int64)
    for low in range(start, stop, SUM_ROWS):
        m = min(SUM_ROWS, stop - low)
        add_inertia(closest[low : low + m], m, weights, real, mode, low, bins, run, hi, lo)
    close_copies(bins, hi, lo)


@kernel
def keep_rows(closest, start, stop, weights, real, mode, identity, seed, stage, index, factor, total, rows):
    """Numbers of the rows in [start, stop) with u < ((factor * w) * d2) / total, u the uniform of their draw.

    Returns how many there are, also where that is more than ``rows`` has room for.
    """
    drawn = np.empty(TILE, np.uint64)
    found = 0
    for low in range(start, stop, TILE):
        m = min(TILE, stop - low)
        draw_tile(identity, low, m, seed, stage, index, drawn)
        for j in range(m):
            u = np.float64(drawn[j] >> ELEVEN) * UNIT53
            w = weight_of(weights, real, mode, low + j)
            if u < ((factor * w) * np.float64(closest[low + j])) / total:
                if found < rows.size:
                    rows[found] = low + j
                found += 1
    return found
