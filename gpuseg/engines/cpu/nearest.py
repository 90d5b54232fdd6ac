"""Nearest centres of a tile of rows (CPU engine): sixteen customers a register, four or eight centres at a time.

The chain of ONE_ANSWER section 5, whatever else is kept beside it. Two kernels of one text: ``nearest_tile`` keeps the
nearest centre's distance, ``nearest_two_tile`` the second nearest's as well, from which bounds are made.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.bits import trailing_zeros
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import compiled_once, prefetch
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
    splat_at,
    splat_i32,
    store,
    store_labels,
    sub,
)
from gpuseg.engines.cpu.turning import FEATURES, gather_to_features
from gpuseg.engines.cpu.vectors import LANES

WIDE = 16
"""Features from which values are asked for ahead, more streams than a processor follows, and eight centres pay."""
AHEAD = 4 * LANES
"""Rows that they are asked for ahead."""
INF = np.float32(np.inf)
ZERO = np.float32(0.0)


@kernel
def take_first(distance, c, nearest, label):
    """The nearest centre's distance and number, now that centre ``c`` is known; of equals the earlier."""
    mask = less(distance, nearest)
    return select(mask, distance, nearest), select_i32(mask, splat_i32(np.int32(c)), label)


@kernel
def take_second(distance, nearest, next_nearest):
    """The second nearest's distance, before ``take_first`` has looked at the same centre."""
    return smaller(select(less(distance, nearest), nearest, distance), next_nearest)


def _nearest(two):
    """The kernel; ``two`` is known when it is compiled, so what it does not keep costs nothing."""

    def tile(x, stride, first, m, centres, d, k, fresh, best, second) -> None:
        """Labels and chain distances of rows first .. first + m - 1 (m a multiple of 16), into ``[0:m]``.

        ``x`` is flat, feature f of row i at ``f * stride + i``; centres are flat ``[k, d]``.
        """
        compiled_once()
        wide = d >= WIDE
        for j in range(0, m, LANES):
            i = first + j
            nearest = splat(INF)
            next_nearest = nearest
            label = splat_i32(np.int32(0))
            if wide:
                for f in range(d):
                    prefetch(x, f * stride + i + AHEAD)
            c = 0
            while wide and c + 8 <= k:
                a0 = splat(ZERO)
                a1 = a0
                a2 = a0
                a3 = a0
                a4 = a0
                a5 = a0
                a6 = a0
                a7 = a0
                base = c * d
                for f in range(d):
                    v = load(x, f * stride + i)
                    t = sub(v, splat_at(centres, base + f))
                    a0 = fma(t, t, a0)
                    t = sub(v, splat_at(centres, base + d + f))
                    a1 = fma(t, t, a1)
                    t = sub(v, splat_at(centres, base + 2 * d + f))
                    a2 = fma(t, t, a2)
                    t = sub(v, splat_at(centres, base + 3 * d + f))
                    a3 = fma(t, t, a3)
                    t = sub(v, splat_at(centres, base + 4 * d + f))
                    a4 = fma(t, t, a4)
                    t = sub(v, splat_at(centres, base + 5 * d + f))
                    a5 = fma(t, t, a5)
                    t = sub(v, splat_at(centres, base + 6 * d + f))
                    a6 = fma(t, t, a6)
                    t = sub(v, splat_at(centres, base + 7 * d + f))
                    a7 = fma(t, t, a7)
                if two:
                    next_nearest = take_second(a0, nearest, next_nearest)
                nearest, label = take_first(a0, c, nearest, label)
                if two:
                    next_nearest = take_second(a1, nearest, next_nearest)
                nearest, label = take_first(a1, c + 1, nearest, label)
                if two:
                    next_nearest = take_second(a2, nearest, next_nearest)
                nearest, label = take_first(a2, c + 2, nearest, label)
                if two:
                    next_nearest = take_second(a3, nearest, next_nearest)
                nearest, label = take_first(a3, c + 3, nearest, label)
                if two:
                    next_nearest = take_second(a4, nearest, next_nearest)
                nearest, label = take_first(a4, c + 4, nearest, label)
                if two:
                    next_nearest = take_second(a5, nearest, next_nearest)
                nearest, label = take_first(a5, c + 5, nearest, label)
                if two:
                    next_nearest = take_second(a6, nearest, next_nearest)
                nearest, label = take_first(a6, c + 6, nearest, label)
                if two:
                    next_nearest = take_second(a7, nearest, next_nearest)
                nearest, label = take_first(a7, c + 7, nearest, label)
                c += 8
            while c + 4 <= k:
                a0 = splat(ZERO)
                a1 = a0
                a2 = a0
                a3 = a0
                base = c * d
                for f in range(d):
                    v = load(x, f * stride + i)
                    t = sub(v, splat_at(centres, base + f))
                    a0 = fma(t, t, a0)
                    t = sub(v, splat_at(centres, base + d + f))
                    a1 = fma(t, t, a1)
                    t = sub(v, splat_at(centres, base + 2 * d + f))
                    a2 = fma(t, t, a2)
                    t = sub(v, splat_at(centres, base + 3 * d + f))
                    a3 = fma(t, t, a3)
                if two:
                    next_nearest = take_second(a0, nearest, next_nearest)
                nearest, label = take_first(a0, c, nearest, label)
                if two:
                    next_nearest = take_second(a1, nearest, next_nearest)
                nearest, label = take_first(a1, c + 1, nearest, label)
                if two:
                    next_nearest = take_second(a2, nearest, next_nearest)
                nearest, label = take_first(a2, c + 2, nearest, label)
                if two:
                    next_nearest = take_second(a3, nearest, next_nearest)
                nearest, label = take_first(a3, c + 3, nearest, label)
                c += 4
            while c < k:
                a0 = splat(ZERO)
                base = c * d
                for f in range(d):
                    t = sub(load(x, f * stride + i), splat_at(centres, base + f))
                    a0 = fma(t, t, a0)
                if two:
                    next_nearest = take_second(a0, nearest, next_nearest)
                nearest, label = take_first(a0, c, nearest, label)
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
    compiled_once()
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
def own_tile(x, stride, first, m, table, d, labels, label_first, best):
    """Chain distances of rows first .. first + m - 1 (m a multiple of 16) to the centre of their label, into ``[0:m]``.

    Their labels lie from ``label_first`` on.
    ``table`` holds the centres row-major, each filled up to whole groups of eight features.
    """
    compiled_once()
    width = (d + FEATURES - 1) // FEATURES * FEATURES
    for j in range(0, m, LANES):
        i = first + j
        if d >= WIDE:
            for f in range(d):
                prefetch(x, f * stride + i + AHEAD)
        acc = splat(ZERO)
        for f in range(0, d, FEATURES):
            c = gather_to_features(table, f, width, labels, label_first + j)
            at = f * stride + i
            t = sub(load(x, at), c[0])
            acc = fma(t, t, acc)
            if f + 1 < d:
                t = sub(load(x, at + stride), c[1])
                acc = fma(t, t, acc)
            if f + 2 < d:
                t = sub(load(x, at + 2 * stride), c[2])
                acc = fma(t, t, acc)
            if f + 3 < d:
                t = sub(load(x, at + 3 * stride), c[3])
                acc = fma(t, t, acc)
            if f + 4 < d:
                t = sub(load(x, at + 4 * stride), c[4])
                acc = fma(t, t, acc)
            if f + 5 < d:
                t = sub(load(x, at + 5 * stride), c[5])
                acc = fma(t, t, acc)
            if f + 6 < d:
                t = sub(load(x, at + 6 * stride), c[6])
                acc = fma(t, t, acc)
            if f + 7 < d:
                t = sub(load(x, at + 7 * stride), c[7])
                acc = fma(t, t, acc)
        store(best, j, acc)
