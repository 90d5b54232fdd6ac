"""numba kernels for the common inputs (CPU engine): float32 tables whose rows, or whose features, lie side by side.

The same figures as the kernels of :mod:`gpuseg.engines.cpu.preparing`, which take any strides and types and the rows
that do not fill a vector; sixteen rows at a time. ONE_ANSWER sections 3 and 4.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.preparing import BLOCK_MASS, MAGIC, add_shifted
from gpuseg.engines.cpu.simd import (
    add,
    any_nonzero,
    equal_i32,
    larger,
    least_of,
    load,
    load_labels,
    most_of,
    select,
    smaller,
    splat,
    splat_i32,
    sub,
)
from gpuseg.engines.cpu.storing import turn_rows
from gpuseg.engines.cpu.vectors import LANES
from gpuseg.engines.cpu.wide import add_f64, fma_f64, mul_f64, splat_f64, sub_f64, sum_of_whole, widen

TILE = 512
"""Rows that are turned, and then looked at while they are in the cache."""
APART = TILE + LANES
"""From one feature of them to the next: were it a power of two, all features would share few cache lines."""
TURNED = 2048
"""Rows that are turned and then added: fewer would spend their time on carrying the sums into integers."""
FLUSH = LANES * (1 << 13)
"""Rows after which float64 lanes are carried into integers: sums of whole numbers up to 2**40 stay below 2**53."""
INF = np.float32(np.inf)
MINUS_HALF = np.float64(-(2.0**20))
INVERSE_HALF = np.float64(2.0**-20)


@kernel
def range_of(x, at, n, positive, first, use_positive):
    """Least and most of ``x[at : at + n]`` where ``positive`` (from ``first`` on) counts; whether one is not finite."""
    least = splat(INF)
    most = splat(-INF)
    poison = splat(np.float32(0.0))
    none = splat_i32(np.int32(0))
    for i in range(0, n, LANES):
        v = load(x, at + i)
        # x - x is 0 for a finite x and NaN otherwise.
        poison = add(poison, sub(v, v))
        if use_positive:
            ignored = equal_i32(load_labels(positive, first + i), none)
            least = smaller(select(ignored, least, v), least)
            most = larger(select(ignored, most, v), most)
        else:
            least = smaller(v, least)
            most = larger(v, most)
    return least_of(least), most_of(most), any_nonzero(poison)


@kernel
def scan_block(x, at, stride, d, start, stop, positive, use_positive, minimum, maximum, dubious):
    """Range of each feature over rows [start, stop), whole vectors, of a feature-major table.

    Feature f of row ``start`` lies at ``at + f * stride``; ``dubious[f]`` becomes true where a value is not finite.
    """
    for f in range(d):
        least, most, poisoned = range_of(x, at + f * stride, stop - start, positive, start, use_positive)
        minimum[f] = min(minimum[f], np.float64(least))
        maximum[f] = max(maximum[f], np.float64(most))
        if poisoned:
            dubious[f] = True


@kernel
def scan_row_major(flat, d, start, stop, positive, use_positive, minimum, maximum, dubious, out, stride):
    """As ``scan_block``, of a row-major table that is copied to feature-major ``out`` unless that is empty."""
    tile = np.empty(0 if out.size > 0 else d * APART, np.float32)
    for low in range(start, stop, TILE):
        high = min(low + TILE, stop)
        if out.size > 0:
            turn_rows(flat, d, low, high, out, low, stride)
            scan_block(out, low, stride, d, low, high, positive, use_positive, minimum, maximum, dubious)
        else:
            turn_rows(flat, d, low, high, tile, 0, APART)
            scan_block(tile, 0, APART, d, low, high, positive, use_positive, minimum, maximum, dubious)


@kernel
def moments_block(x, stride, d, start, stop, scale, total_hi, total_lo, square_hi, square_lo):
    """Exact sums of x_q and x_q**2 over rows [start, stop), whole vectors, of a feature-major table; every weight 1.

    x_q = h * 2**20 + l with |l| <= 2**19, so x_q**2 = h*h * 2**40 + h*l * 2**21 + l*l: all of them whole numbers of at
    most 2**40, which float64 lanes add without error until they are carried; an fma saves the product's own step.
    """
    magic = splat_f64(MAGIC)
    for block in range(start, stop, BLOCK_MASS):
        end = min(block + BLOCK_MASS, stop)
        for f in range(d):
            s = splat_f64(scale[f])
            total = np.int64(0)
            high_high = np.int64(0)
            high_low = np.int64(0)
            low_low = np.int64(0)
            for low in range(block, end, FLUSH):
                t = splat_f64(np.float64(0.0))
                hh = t
                hl = t
                ll = t
                for i in range(f * stride + low, f * stride + min(low + FLUSH, end), LANES):
                    q = sub_f64(add_f64(mul_f64(widen(load(x, i)), s), magic), magic)
                    h = sub_f64(fma_f64(q, splat_f64(INVERSE_HALF), magic), magic)
                    rest = fma_f64(h, splat_f64(MINUS_HALF), q)
                    t = add_f64(t, q)
                    hh = fma_f64(h, h, hh)
                    hl = fma_f64(h, rest, hl)
                    ll = fma_f64(rest, rest, ll)
                total += sum_of_whole(t)
                high_high += sum_of_whole(hh)
                high_low += sum_of_whole(hl)
                low_low += sum_of_whole(ll)
            add_shifted(total_hi, total_lo, f, total, 0)
            add_shifted(square_hi, square_lo, f, high_high, 40)
            add_shifted(square_hi, square_lo, f, high_low, 21)
            add_shifted(square_hi, square_lo, f, low_low, 0)


@kernel
def moments_row_major(flat, d, start, stop, scale, total_hi, total_lo, square_hi, square_lo):
    """As ``moments_block``, of a row-major table that is turned on the way, some rows at a time."""
    tile = np.empty(d * (TURNED + LANES), np.float32)
    apart = TURNED + LANES
    for low in range(start, stop, TURNED):
        high = min(low + TURNED, stop)
        turn_rows(flat, d, low, high, tile, 0, apart)
        moments_block(tile, apart, d, 0, high - low, scale, total_hi, total_lo, square_hi, square_lo)
