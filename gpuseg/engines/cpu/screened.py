"""numba kernels of the screen (CPU engine): rows whose nearest centre a matrix product tells, and the others.

Why a label that is kept is right: :mod:`gpuseg.engines.cpu.screening`. Sums, labels and distances come as in
:mod:`gpuseg.engines.cpu.assigning`: from the rows themselves, never from the product.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.adding import (
    BY_ROW,
    add_inertia,
    add_rows,
    close_copies,
    close_real,
    close_sums,
)
from gpuseg.engines.cpu.assigning import APART
from gpuseg.engines.cpu.bits import trailing_zeros
from gpuseg.engines.cpu.gathering import gather_rows
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import compiled_once, prefetch, take
from gpuseg.engines.cpu.nearest import (
    AHEAD,
    INF,
    ZERO,
    all_rows,
    changed_rows,
    nearest_tile,
    own_tile,
    take_first,
    take_second,
)
from gpuseg.engines.cpu.preparing import WEIGHT_NONE, WEIGHT_REAL
from gpuseg.engines.cpu.screening import LARGEST
from gpuseg.engines.cpu.simd import (
    add,
    fma,
    load,
    mul,
    not_above,
    root,
    splat,
    splat_at,
    splat_i32,
    store,
    store_labels,
    sub,
)
from gpuseg.engines.cpu.slack import TILE
from gpuseg.engines.cpu.vectors import LANES

FAR = np.float32(LARGEST)
TWICE = np.float32(-2.0)
LAST_BITS = np.float32(1.0 + 2.0**-20)
"""Pays for the roundings of the bound itself."""


@kernel
def shift_tile(x, stride, first, m, middle, d, shifted, apart, squares):
    """Rows first .. first + m - 1 (m a multiple of 16) less ``middle``, feature-major, and their squared lengths."""
    compiled_once()
    together = 4 * LANES
    many = m - m % together
    for j in range(0, many, together):
        a0 = splat(ZERO)
        a1 = a0
        a2 = a0
        a3 = a0
        for f in range(d):
            at = f * stride + first + j
            to = f * apart + j
            prefetch(x, at + AHEAD)
            v = splat_at(middle, f)
            t = sub(load(x, at), v)
            store(shifted, to, t)
            a0 = fma(t, t, a0)
            t = sub(load(x, at + LANES), v)
            store(shifted, to + LANES, t)
            a1 = fma(t, t, a1)
            t = sub(load(x, at + 2 * LANES), v)
            store(shifted, to + 2 * LANES, t)
            a2 = fma(t, t, a2)
            t = sub(load(x, at + 3 * LANES), v)
            store(shifted, to + 3 * LANES, t)
            a3 = fma(t, t, a3)
        store(squares, j, a0)
        store(squares, j + LANES, a1)
        store(squares, j + 2 * LANES, a2)
        store(squares, j + 3 * LANES, a3)
    for j in range(many, m, LANES):
        a0 = splat(ZERO)
        for f in range(d):
            t = sub(load(x, f * stride + first + j), splat_at(middle, f))
            store(shifted, f * apart + j, t)
            a0 = fma(t, t, a0)
        store(squares, j, a0)


@kernel
def sift_tile(products, apart, at, m, squares, levels, reach, least, limits, k, fresh, rows):
    """Nearest centres of m rows (a multiple of 16) by their products; those that are not certain go into ``rows``.

    ``products[c * apart + at + j]`` is row j with centre c. Returns how many are not certain.
    """
    compiled_once()
    n_rows = 0
    for j in range(0, m, LANES):
        squared = fma(load(squares, at + j), splat_at(limits, 0), splat_at(limits, 1))
        length = mul(root(squared), splat_at(limits, 2))
        minus = sub(splat(ZERO), length)
        nearest = splat(INF)
        second = nearest
        label = splat_i32(np.int32(0))
        for c in range(k):
            low = fma(load(products, c * apart + at + j), splat(TWICE), splat_at(levels, c))
            low = fma(minus, splat_at(reach, c), low)
            second = take_second(low, nearest, second)
            nearest, label = take_first(low, c, nearest, label)
        error = fma(length, take(reach, label), take(least, label))
        error = add(error, error)
        distance = add(squared, add(nearest, error))
        bound = add(fma(distance, splat_at(limits, 3), error), splat_at(limits, 4))
        bound = mul(bound, splat(LAST_BITS))
        mask = not_above(sub(second, nearest), bound) | not_above(splat(FAR), length)
        store_labels(fresh, j, label)
        while mask != 0:
            rows[n_rows] = j + trailing_zeros(mask)
            n_rows += 1
            mask &= mask - np.int32(1)
    return n_rows


@kernel
def assign_screened(
    x, stride, lies, start, stop, products, apart, squares, levels, reach, least, limits, centres, own, d, k, labels,
    is_first, scale, weights, real, mode, want_sums, want_inertia, distance, want_distance, acc, count, bins, run,
    total_hi, total_lo, mass_hi, mass_lo, bin_hi, bin_lo,
):  # fmt: skip
    """Rows [start, stop), whole vectors, of which the products with all centres are at hand: as ``assign_rows``.

    In ``x`` they lie from ``lies`` on.
    What is added stays in ``acc``, ``count`` and ``bins`` until ``close_screened``. Returns rows moved and redone.
    """
    fresh = np.empty(TILE, labels.dtype)
    again = np.empty(TILE, labels.dtype)
    best = np.empty(TILE, np.float32)
    second = np.empty(TILE, np.float32)
    rows = np.empty(TILE, np.int64)
    every = np.empty(TILE, np.int64)
    moved = np.empty(TILE, np.int64)
    by_row = np.zeros(BY_ROW * scale.size, np.float32)
    # Numbers, not constants, so that what takes them is compiled once.
    gap, origin = np.int64(APART), np.int64(0)
    dense = np.empty(d * gap, np.float32)
    n_changed = 0
    n_redone = 0
    for low in range(start, stop, TILE):
        m = min(TILE, stop - low)
        at = lies + low - start
        n_rows = sift_tile(
            products, apart, low - start, m, squares, levels, reach, least, limits, k, fresh, rows
        )
        n_redone += n_rows
        if 2 * n_rows > m:
            nearest_tile(x, stride, at, m, centres, d, k, fresh, best, second)
        elif n_rows > 0:
            for r in range(n_rows):
                every[r] = at + rows[r]
            width = gather_rows(x, stride, every, n_rows, d, dense, gap)
            nearest_tile(dense, gap, origin, width, centres, d, k, again, best, second)
            for r in range(n_rows):
                fresh[rows[r]] = again[r]
        n_moved = all_rows(m, moved) if is_first else changed_rows(fresh, labels, low, m, moved)
        if want_sums and n_moved > 0:
            if mode != WEIGHT_NONE:
                for j in range(m):
                    every[j] = low + j
            add_rows(
                x, stride, at, m, weights, real, mode, every, scale, d, k, n_moved, moved, labels, low, fresh,
                is_first, acc, count, run, by_row, total_hi, total_lo, mass_hi, mass_lo,
            )  # fmt: skip
        labels[low : low + m] = fresh[:m]
        n_changed += n_moved
        if want_inertia or want_distance:
            own_tile(x, stride, at, m, own, d, labels, low, best)
            if want_inertia:
                add_inertia(best, m, weights, real, mode, low, bins, run, bin_hi, bin_lo)
            if want_distance:
                distance[low : low + m] = best[:m]
    return n_changed, n_redone


@kernel
def close_screened(mode, acc, count, bins, d, k, total_hi, total_lo, mass_hi, mass_lo, bin_hi, bin_lo):
    """Carry what ``assign_screened`` has added into the limbs."""
    if mode == WEIGHT_REAL:
        close_real(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
    else:
        close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
    close_copies(bins, bin_hi, bin_lo)
