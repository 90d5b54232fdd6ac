"""numba kernels that pick rows out of a table (CPU engine): side by side, feature-major, so that whole vectors fill.

Of a feature-major table each picked row costs a cache line a feature. Where the same values also lie row-major (the
caller's own array) it costs one or two in all, and sixteen rows are turned in registers.
"""

from __future__ import annotations

from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import compiled_once, copy_element, prefetch
from gpuseg.engines.cpu.storing import store_features
from gpuseg.engines.cpu.turning import FEATURES, gather_to_features
from gpuseg.engines.cpu.vectors import LANES

LINE = 16
"""float32 of a cache line."""


@kernel
def ask_for_group(x, stride, at, d):
    """Ask for sixteen rows of a feature-major table from row ``at`` on, so that they are here when gathered."""
    for f in range(d):
        prefetch(x, f * stride + at)


@kernel
def ask_for_row(rows, at, d):
    """Ask for row ``at`` of a row-major table."""
    for f in range(0, d, LINE):
        prefetch(rows, at * d + f)
    prefetch(rows, at * d + d - 1)


@kernel
def gather_rows(x, stride, picked, n, d, dense, dense_stride):
    """Copy rows ``picked[0:n]`` of a feature-major table; up to 15 more repeat the last. Returns the width."""
    compiled_once()
    width = (n + LANES - 1) // LANES * LANES
    for f in range(d):
        at = f * stride
        to = f * dense_stride
        for r in range(n):
            copy_element(dense, to + r, x, at + picked[r])
        for r in range(n, width):
            dense[to + r] = dense[to + n - 1]
    return width


@kernel
def gather_row_major(rows, picked, n, d, dense, dense_stride):
    """As ``gather_rows``, of a row-major table; ``picked`` ascends and has room for 15 more.

    Eight features at a time; where fewer are left, the last eight once more. With fewer than eight in all, eight values
    are read from each row's beginning, except at the end of the table.
    """
    compiled_once()
    width = (n + LANES - 1) // LANES * LANES
    for r in range(n, width):
        picked[r] = picked[n - 1]
    for j in range(0, width, LANES):
        if picked[j + LANES - 1] * d + max(d, FEATURES) > rows.size:
            for r in range(j, j + LANES):
                for f in range(d):
                    copy_element(dense, f * dense_stride + r, rows, picked[r] * d + f)
            continue
        for block in range(0, d, FEATURES):
            f = max(0, min(block, d - FEATURES))
            v = gather_to_features(rows, f, d, picked, j)
            store_features(dense, f * dense_stride + j, dense_stride, d, v)
    return width
