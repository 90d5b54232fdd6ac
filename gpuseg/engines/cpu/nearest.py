"""Nearest centres of a tile of rows (CPU engine): sixteen customers a register, four centres at a time.

The chain of ONE_ANSWER section 5, whatever else is kept beside it. Two kernels of one text: ``nearest_tile`` keeps the
nearest centre's distance, ``nearest_two_tile`` the second nearest's as well, from which bounds are made.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.bits import trailing_zeros
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import copy_element
from gpuseg.engines.cpu.simd import (
    changed,
    fma,
    less,
    load,
    load_labels,
    select,
    select_i32,
    smaller,
    splat,
    splat_i32,
    store,
    store_labels,
    sub,
)
from gpuseg.engines.cpu.vectors import LANES

INF = np.float32(np.inf)
ZERO = np.float32(0.0)


def _nearest(two):
    """The kernel; ``two`` is known when it is compiled, so what it does not keep costs nothing."""

    def tile(x, stride, first, m, centres, d, k, fresh, best, second) -> None:
        """Labels and chain distances of rows first .. first + m - 1 (m a multiple of 16), into ``[0:m]``.

        ``x`` is flat, feature f of row i at ``f * stride + i``; centres are flat ``[k, d]``.
        """
        for j in range(0, m, LANES):
            i = first + j
            nearest = splat(INF)
            next_nearest = nearest
            label = splat_i32(np.int32(0))
            c = 0
            while c + 4 <= k:
                a0 = splat(ZERO)
                a1 = a0
                a2 = a0
                a3 = a0
                base = c * d
                for f in range(d):
                    v = load(x, f * stride + i)
                    t = sub(v, splat(centres[base + f]))
                    a0 = fma(t, t, a0)
                    t = sub(v, splat(centres[base + d + f]))
                    a1 = fma(t, t, a1)
                    t = sub(v, splat(centres[base + 2 * d + f]))
                    a2 = fma(t, t, a2)
                    t = sub(v, splat(centres[base + 3 * d + f]))
                    a3 = fma(t, t, a3)
                mask = less(a0, nearest)
                if two:
                    next_nearest = smaller(select(mask, nearest, a0), next_nearest)
                nearest = select(mask, a0, nearest)
                label = select_i32(mask, splat_i32(np.int32(c)), label)
                mask = less(a1, nearest)
                if two:
                    next_nearest = smaller(select(mask, nearest, a1), next_nearest)
                nearest = select(mask, a1, nearest)
                label = select_i32(mask, splat_i32(np.int32(c + 1)), label)
                mask = less(a2, nearest)
                if two:
                    next_nearest = smaller(select(mask, nearest, a2), next_nearest)
                nearest = select(mask, a2, nearest)
                label = select_i32(mask, splat_i32(np.int32(c + 2)), label)
                mask = less(a3, nearest)
                if two:
                    next_nearest = smaller(select(mask, nearest, a3), next_nearest)
                nearest = select(mask, a3, nearest)
                label = select_i32(mask, splat_i32(np.int32(c + 3)), label)
                c += 4
            while c < k:
                a0 = splat(ZERO)
                base = c * d
                for f in range(d):
                    t = sub(load(x, f * stride + i), splat(centres[base + f]))
                    a0 = fma(t, t, a0)
                mask = less(a0, nearest)
                if two:
                    next_nearest = smaller(select(mask, nearest, a0), next_nearest)
                nearest = select(mask, a0, nearest)
                label = select_i32(mask, splat_i32(np.int32(c)), label)
                c += 1
            store_labels(fresh, j, label)
            store(best, j, nearest)
            if two:
                store(second, j, next_nearest)

    return tile


nearest_tile = kernel(_nearest(two=False))
nearest_two_tile = kernel(_nearest(two=True))


@kernel
def changed_rows(fresh, labels, first, m, moved):
    """Write the indices j < m with ``fresh[j] != labels[first + j]`` to ``moved``, ascending; returns how many."""
    n_moved = 0
    whole = m - m % LANES
    for j in range(0, whole, LANES):
        mask = changed(load_labels(fresh, j), load_labels(labels, first + j))
        while mask != 0:
            moved[n_moved] = j + trailing_zeros(mask)
            n_moved += 1
            mask &= mask - np.int32(1)
    for j in range(whole, m):
        if fresh[j] != labels[first + j]:
            moved[n_moved] = j
            n_moved += 1
    return n_moved


@kernel
def all_rows(m, moved):
    """What ``changed_rows`` says where nothing was known: all of them."""
    for j in range(m):
        moved[j] = j
    return m


@kernel
def gather_rows(x, stride, rows, n, d, dense, dense_stride):
    """Copy rows ``rows[0:n]`` side by side, feature-major; up to 15 more repeat the last. Returns the width."""
    width = (n + LANES - 1) // LANES * LANES
    for f in range(d):
        at = f * stride
        to = f * dense_stride
        for r in range(n):
            copy_element(dense, to + r, x, at + rows[r])
        for r in range(n, width):
            dense[to + r] = dense[to + n - 1]
    return width
