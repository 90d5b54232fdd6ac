"""numba kernels of the bounds (CPU engine): slack is kept, and says which rows have to be looked at.

What slack is and why it never lies: :mod:`gpuseg.engines.cpu.bounds`.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.bits import count_bits, trailing_zeros
from gpuseg.engines.cpu.gathering import ask_for_group, ask_for_row
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import compiled_once, take
from gpuseg.engines.cpu.simd import (
    absolute,
    add,
    equal_i32,
    load,
    load_labels,
    mul,
    not_above,
    root,
    select,
    splat,
    splat_at,
    splat_i32,
    store,
    sub,
)
from gpuseg.engines.cpu.vectors import LANES

TILE = 1024
"""Rows that are looked at together, or not."""
SAMPLED = 32
"""One tile in so many tells whether bounds would pay."""
LAST_BITS = np.float32(2.0**-22)
FEW = 16
"""Clusters up to which comparing all of them is faster than a gather."""


@kernel
def is_sampled(low):
    """Whether the tile that starts at row ``low`` keeps its slack in passes that only ask whether bounds would pay."""
    return low % (SAMPLED * TILE) < TILE


@kernel
def count_doubtful(slack, start, stop, labels, ceilings):
    """Rows of the sampled tiles in [start, stop) whose label may have changed, and rows of those tiles."""
    marks = np.empty(TILE // LANES, np.int32)
    found = 0
    seen = 0
    for low in range(start, stop, TILE):
        if is_sampled(low):
            m = min(TILE, stop - low)
            found += mark_doubtful(slack, low, m, labels, ceilings, marks)
            seen += m
    return found, seen


@kernel
def by_label(table, k, label):
    """``table[label]`` in every lane: few clusters by comparing, many by reading."""
    if k > FEW:
        return take(table, label)
    found = splat_at(table, 0)
    for c in range(1, k):
        found = select(equal_i32(label, splat_i32(np.int32(c))), splat_at(table, c), found)
    return found


@kernel
def mark_doubtful(slack, first, m, labels, ceilings, marks):
    """Mark the rows first .. first + m - 1 whose label may have changed, a bit a row; returns how many there are."""
    compiled_once()
    n_rows = 0
    k = ceilings.size
    whole = m - m % LANES
    for j in range(0, whole, LANES):
        limit = by_label(ceilings, k, load_labels(labels, first + j))
        mask = not_above(load(slack, first + j), limit)
        marks[j // LANES] = mask
        n_rows += count_bits(mask)
    if whole < m:
        mask = np.int32(0)
        for j in range(whole, m):
            if not slack[first + j] > ceilings[labels[first + j]]:
                mask |= np.int32(1) << np.int32(j - whole)
                n_rows += 1
        marks[whole // LANES] = mask
    return n_rows


@kernel
def list_marked(marks, first, m, x, stride, d, row_major, rows, n_rows):
    """Append the marked rows to ``rows``; their values are asked for now, so that they are here when gathered."""
    compiled_once()
    for group in range((m + LANES - 1) // LANES):
        mask = marks[group]
        if mask != 0:
            at = first + group * LANES
            if row_major.size == 0:
                ask_for_group(x, stride, at, d)
            while mask != 0:
                rows[n_rows] = at + trailing_zeros(mask)
                if row_major.size > 0:
                    ask_for_row(row_major, rows[n_rows], d)
                n_rows += 1
                mask &= mask - np.int32(1)
    return n_rows


@kernel
def keep_slack(nearest, second, labels, m, share, least, floors, slack, first):
    """Slack of m rows, a multiple of 16, from their two chain values and what their labels have spent."""
    compiled_once()
    k = floors.size
    for j in range(0, m, LANES):
        b = root(load(second, j))
        s = sub(sub(sub(b, root(load(nearest, j))), mul(splat(share), b)), splat(least))
        s = add(s, by_label(floors, k, load_labels(labels, j)))
        store(slack, first + j, sub(s, mul(absolute(s), splat(LAST_BITS))))
