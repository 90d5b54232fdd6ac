"""numba kernels that add rows to exact sums (CPU engine): a cluster's features side by side, eight to a vector.

Values come feature-major; rows are turned, or picked where few are wanted, before any is added. ONE_ANSWER section 4.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.bits import bits_f64
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import add_at, add_fixed, compiled_once, copy_element
from gpuseg.engines.cpu.nearest import ZERO
from gpuseg.engines.cpu.preparing import (
    BLOCK_MASS,
    MAGIC,
    MAGIC_BITS,
    WEIGHT_INTEGER,
    WEIGHT_NONE,
    add_shifted,
    add_to_bins,
    close_bins,
)
from gpuseg.engines.cpu.simd import load
from gpuseg.engines.cpu.turning import turn_to_rows
from gpuseg.engines.cpu.vectors import LANES

BIN_MASS = np.int64(1 << 31)
LOW16 = np.int64((1 << 16) - 1)
BY_ROW = 128
"""Rows that are turned from feature-major to row-major before any is added: a load never waits for their stores."""
TURN = 6
"""One row in so many from which turning all of them costs less than picking some."""
COPIES = 4
"""Sets of exponent bins that rows take turns at, so that an addition need not wait for the one before it."""


@kernel
def _fixed(x, at, scale):
    """rint(x[at] * scale) as int64."""
    return bits_f64(np.float64(x[at]) * scale + MAGIC) - MAGIC_BITS


@kernel
def close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k):
    """Carry int64 sums (``acc[c, f]``, a cluster's features padded to whole vectors) into the limbs and empty them."""
    width = acc.size // k
    for c in range(k):
        if count[c] != 0:
            add_shifted(mass_hi, mass_lo, c, count[c], 0)
            count[c] = 0
        for f in range(d):
            if acc[c * width + f] != 0:
                add_shifted(total_hi, total_lo, c * d + f, acc[c * width + f], 0)
                acc[c * width + f] = 0


@kernel
def turn_block(x, stride, first, n, d, rows, width):
    """Values of n rows from ``first`` on, a row's features together; up to 15 rows more are read and written."""
    for f in range(0, width, 8):
        for j in range(0, n, LANES):
            # Features that only fill a vector up repeat the last one; their scale is 0.
            at = first + j
            turn_to_rows(
                rows, j * width + f, width,
                load(x, f * stride + at), load(x, min(f + 1, d - 1) * stride + at),
                load(x, min(f + 2, d - 1) * stride + at), load(x, min(f + 3, d - 1) * stride + at),
                load(x, min(f + 4, d - 1) * stride + at), load(x, min(f + 5, d - 1) * stride + at),
                load(x, min(f + 6, d - 1) * stride + at), load(x, min(f + 7, d - 1) * stride + at),
            )  # fmt: skip


@kernel
def _pick(x, stride, first, picked, start, stop, d, rows, width):
    """Values of the rows ``first + picked[start:stop]`` side by side, a row's features together."""
    for f in range(d):
        at = f * stride + first
        for r in range(start, stop):
            copy_element(rows, (r - start) * width + f, x, at + picked[r])


@kernel
def _add_first(x, stride, first, m, scale, d, fresh, acc, count, rows):
    """First pass, unit weights: add every row of the tile to its cluster."""
    width = scale.size
    for start in range(0, m, BY_ROW):
        stop = min(start + BY_ROW, m)
        turn_block(x, stride, first + start, stop - start, d, rows, width)
        for j in range(start, stop):
            new = np.int64(fresh[j])
            add_at(count, new, 1)
            for f in range(0, width, 8):
                add_fixed(acc, new * width + f, rows, (j - start) * width + f, scale, f, MAGIC, 0)


@kernel
def _add_moved(x, stride, first, m, picked, n_moved, scale, d, old, old_first, fresh, acc, count, rows):
    """Later passes, unit weights: move each changed row of the tile from its old cluster to its new one."""
    width = scale.size
    turned = n_moved * TURN > m
    start = 0
    while start < n_moved:
        if turned:
            base = picked[start] // BY_ROW * BY_ROW
            turn_block(x, stride, first + base, min(BY_ROW, m - base), d, rows, width)
        else:
            base = 0
            _pick(x, stride, first, picked, start, min(start + BY_ROW, n_moved), d, rows, width)
        r = start
        while r < n_moved and (picked[r] < base + BY_ROW if turned else r < start + BY_ROW):
            j = picked[r]
            new = np.int64(fresh[j])
            former = np.int64(old[old_first + j])
            add_at(count, new, 1)
            add_at(count, former, -1)
            at = (j - base if turned else r - start) * width
            for f in range(0, width, 8):
                add_fixed(acc, new * width + f, rows, at + f, scale, f, MAGIC, 0)
                add_fixed(acc, former * width + f, rows, at + f, scale, f, MAGIC, -1)
            r += 1
        start = r


@kernel
def _add_weighted(
    x, stride, i, weights, real, mode, weight_row, scale, d, k, new, old, is_first, acc, count, run,
    total_hi, total_lo, mass_hi, mass_lo,
):  # fmt: skip
    """Add one weighted row to cluster ``new`` and, unless it is the first pass, take it from ``old``."""
    width = acc.size // k
    if mode == WEIGHT_INTEGER:
        w = weights[weight_row]
        if w == 0:
            return
        if w > BLOCK_MASS:
            # A heavy row goes straight to the limbs, in 16-bit halves so that w * x_q stays in int64.
            for half in range(2):
                part = w & LOW16 if half == 0 else w >> np.int64(16)
                for f in range(d):
                    q = part * _fixed(x, f * stride + i, scale[f])
                    add_shifted(total_hi, total_lo, new * d + f, q, 16 * half)
                    if not is_first:
                        add_shifted(total_hi, total_lo, old * d + f, -q, 16 * half)
            add_shifted(mass_hi, mass_lo, new, w, 0)
            if not is_first:
                add_shifted(mass_hi, mass_lo, old, -w, 0)
            return
        if run[0] + w > BLOCK_MASS:
            close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
            run[0] = 0
        run[0] += w
        count[new] += w
        if not is_first:
            count[old] -= w
        for f in range(d):
            q = w * _fixed(x, f * stride + i, scale[f])
            acc[new * width + f] += q
            if not is_first:
                acc[old * width + f] -= q
        return
    w32 = real[weight_row]
    if w32 == ZERO:
        return
    if run[0] + 1 > BLOCK_MASS:
        close_real(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
        run[0] = 0
    run[0] += 1
    add_to_bins(count, new * 32, w32, np.int64(1))
    if not is_first:
        add_to_bins(count, old * 32, w32, np.int64(-1))
    wide = np.float64(w32)
    for f in range(d):
        q = bits_f64((wide * np.float64(x[f * stride + i])) * scale[f] + MAGIC) - MAGIC_BITS
        acc[new * width + f] += q
        if not is_first:
            acc[old * width + f] -= q


@kernel
def close_real(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k):
    """As ``close_sums`` where the mass is 32 exponent bins a cluster."""
    width = acc.size // k
    for c in range(k):
        close_bins(count[c * 32 : c * 32 + 32], mass_hi, mass_lo, c * 32)
        for f in range(d):
            if acc[c * width + f] != 0:
                add_shifted(total_hi, total_lo, c * d + f, acc[c * width + f], 0)
                acc[c * width + f] = 0


@kernel
def add_inertia(best, m, weights, real, mode, first, bins, run, hi, lo):
    """Add the tile's weighted chain distances to the exponent bins, in turns to each of their copies."""
    compiled_once()
    if mode == WEIGHT_NONE:
        if run[1] + m >= BIN_MASS:
            close_copies(bins, hi, lo)
            run[1] = 0
        run[1] += m
        for j in range(m):
            add_to_bins(bins, (j & (COPIES - 1)) * 32, best[j], np.int64(1))
        return
    for j in range(m):
        value = best[j]
        if mode == WEIGHT_INTEGER:
            times = weights[first + j]
            if times == 0:
                continue
        else:
            times = np.int64(1)
            w = real[first + j]
            if w == ZERO:
                continue
            # Two float32 multiply exactly in float64: one rounding.
            value = np.float32(np.float64(w) * np.float64(value))
        if run[1] + times >= BIN_MASS:
            close_copies(bins, hi, lo)
            run[1] = 0
        run[1] += times
        add_to_bins(bins, (j & (COPIES - 1)) * 32, value, times)


@kernel
def close_copies(bins, hi, lo):
    """Carry the copies of the 32 bins into their limbs and empty them."""
    for copy in range(COPIES):
        close_bins(bins[32 * copy : 32 * copy + 32], hi, lo, 0)


@kernel
def add_rows(
    x, stride, first, m, weights, real, mode, weight_rows, scale, d, k, n_moved, moved, old, old_first, fresh,
    is_first, acc, count, run, by_row, total_hi, total_lo, mass_hi, mass_lo,
):  # fmt: skip
    """Bring the sums up to date with the rows of a tile that moved; in a first pass with all ``m`` of them.

    ``x`` holds the tile from ``first`` on and ``old`` its former labels from ``old_first`` on; ``weight_rows[j]`` is
    where the weight of the tile's row j lies.
    """
    compiled_once()
    if mode == WEIGHT_NONE:
        if run[0] + n_moved > BLOCK_MASS:
            close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
            run[0] = 0
        run[0] += n_moved
        if is_first:
            _add_first(x, stride, first, m, scale, d, fresh, acc, count, by_row)
        else:
            _add_moved(
                x, stride, first, m, moved, n_moved, scale, d, old, old_first, fresh, acc, count, by_row
            )
        return
    for r in range(n_moved):
        j = moved[r]
        _add_weighted(
            x, stride, first + j, weights, real, mode, weight_rows[j], scale, d, k, fresh[j], old[old_first + j],
            is_first, acc, count, run, total_hi, total_lo, mass_hi, mass_lo,
        )  # fmt: skip
