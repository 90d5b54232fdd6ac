"""numba kernels over labelled rows (CPU engine): moments of each cluster, squared-Euclidean silhouettes.

Both read a block once, whatever the number of clusters. ONE_ANSWER sections 4 and 7.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.adding import BY_ROW, turn_block
from gpuseg.engines.cpu.bits import bits_f64
from gpuseg.engines.cpu.distances import distance_rows
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import add_squared, copy_element
from gpuseg.engines.cpu.nearest import ZERO
from gpuseg.engines.cpu.preparing import MAGIC, MAGIC_BITS, add_shifted
from gpuseg.engines.cpu.simd import (
    both,
    equal_i32,
    less,
    load,
    load_labels,
    select,
    select_i32,
    splat,
    splat_i32,
    store_labels,
)
from gpuseg.engines.cpu.storing import turn_rows
from gpuseg.engines.cpu.turning import FEATURES
from gpuseg.engines.cpu.vectors import LANES
from gpuseg.engines.cpu.wide import (
    add_f64,
    add_i64,
    bits_of,
    div_f64,
    less_f64,
    mul_f64,
    select_f64,
    splat_f64,
    splat_i64,
    store_f64,
    sub_f64,
    sum_i64,
    widen,
)

CARRIED = 1 << 13
"""Rows of a cluster after which its float64 sums are carried into integers."""
SILHOUETTE_TILE = 256
"""Rows whose distances to all centres are on hand together."""
UNIT = np.float64(1 << 40)
INF = np.float32(np.inf)


@kernel
def _close_cluster(sums, c, d, width, total_hi, total_lo, square_hi, square_lo):
    """Carry one cluster's float64 sums, rows of eight, into the limbs ``[c, f]`` and empty them."""
    for f in range(d):
        at = 4 * (c * width + f // FEATURES * FEATURES) + f % FEATURES
        to = c * d + f
        add_shifted(total_hi, total_lo, to, np.int64(sums[at]), 0)
        add_shifted(square_hi, square_lo, to, np.int64(sums[at + FEATURES]), 40)
        add_shifted(square_hi, square_lo, to, np.int64(sums[at + 2 * FEATURES]), 21)
        add_shifted(square_hi, square_lo, to, np.int64(sums[at + 3 * FEATURES]), 0)
    sums[4 * c * width : 4 * (c + 1) * width] = 0.0


@kernel
def fill_rows(flat, first, m, d, rows, width):
    """Rows first .. first + m - 1 of a row-major table, each filled up to whole groups of eight features with zeros."""
    for j in range(m):
        for f in range(d):
            copy_element(rows, j * width + f, flat, (first + j) * d + f)
        for f in range(d, width):
            rows[j * width + f] = ZERO


@kernel
def label_moments_rows(
    x, stride, start, stop, labels, k, d, scale, count, total_hi, total_lo, square_hi, square_lo
):
    """Rows, sums of x_q and of x_q**2 of each cluster over rows [start, stop), every weight 1.

    ``scale`` is filled up with zeros to whole groups of eight features, as rows are when they are turned. The sums are
    whole numbers below 2**53, so float64 holds them: products are at most 2**40, and a cluster's are carried before
    more than 2**13 rows have been added. A row of another label is left out: its values may be anything. Where
    ``stride`` is 0, ``x`` is row-major.
    """
    width = scale.size
    sums = np.zeros(4 * k * width, np.float64)
    waiting = np.zeros(k, np.int64)
    rows = np.empty(BY_ROW * width, np.float32)
    for low in range(start, stop, BY_ROW):
        m = min(BY_ROW, stop - low)
        whole = m - m % LANES
        if stride == 0:
            fill_rows(x, low, m, d, rows, width)
        else:
            turn_block(x, stride, low, whole, d, rows, width)
            for j in range(whole, m):
                for f in range(width):
                    rows[j * width + f] = x[f * stride + low + j] if f < d else ZERO
        for j in range(m):
            c = np.int64(labels[low + j])
            if not 0 <= c < k:
                continue
            count[c] += 1
            waiting[c] += 1
            for f in range(0, width, FEATURES):
                add_squared(sums, 4 * (c * width + f), rows, j * width + f, scale, f, MAGIC)
            if waiting[c] == CARRIED:
                _close_cluster(sums, c, d, width, total_hi, total_lo, square_hi, square_lo)
                waiting[c] = 0
    for cluster in range(k):
        _close_cluster(sums, cluster, d, width, total_hi, total_lo, square_hi, square_lo)


@kernel
def square_silhouette_rows(
    x, stride, start, stop, labels, labelling, fresh, centres, k, d, spread, counts, out, want_out, bad
):  # fmt: skip
    """Squared-Euclidean silhouettes of rows [start, stop), 2**22 at most; returns the sum of rint(s * 2**40).

    The mean squared distance of a row to cluster c is d2(row, centre) + spread[c]; the own cluster's mean leaves the
    row itself out by the factor N / (N - 1). With ``labelling`` the own cluster is the nearest centre's, written to
    ``fresh``: as the nearest so far changes, its mean changes places with that of the one before. ``bad[0]`` is set
    where a label that was given is none of the clusters. Where ``stride`` is 0, ``x`` is row-major, eight features at
    least.
    """
    apart = SILHOUETTE_TILE + LANES
    tile = np.empty(d * apart if stride == 0 else 0, np.float32)
    table = np.empty(k * SILHOUETTE_TILE, np.float32)
    given = np.zeros(SILHOUETTE_TILE, labels.dtype)
    values = np.empty(SILHOUETTE_TILE, np.float64)
    inf = splat_f64(np.float64(np.inf))
    zero = splat_f64(np.float64(0.0))
    one = splat_f64(np.float64(1.0))
    unit = splat_f64(UNIT)
    magic = splat_f64(MAGIC)
    total = np.int64(0)
    for low in range(start, stop, SILHOUETTE_TILE):
        m = min(SILHOUETTE_TILE, stop - low)
        if stride == 0:
            whole = m - m % LANES
            turn_rows(x, d, low, low + whole, tile, 0, apart)
            for j in range(whole, m):
                for f in range(d):
                    copy_element(tile, f * apart + j, x, (low + j) * d + f)
            distance_rows(tile, apart, 0, m, centres, k, d, True, table, SILHOUETTE_TILE)
        else:
            distance_rows(x[low:], stride, 0, m, centres, k, d, True, table, SILHOUETTE_TILE)
        if not labelling:
            for j in range(m):
                given[j] = labels[low + j]
                if not 0 <= np.int64(given[j]) < k:
                    bad[0] = 1
        sums = splat_i64(np.int64(0))
        for j in range(0, m, LANES):
            # Lanes past the end hold what was there before; they are dropped.
            own = load_labels(given, j)
            best = splat(INF)
            mine = inf
            nearest = inf
            size = zero
            for c in range(k):
                d2 = load(table, c * SILHOUETTE_TILE + j)
                mean = inf
                if counts[c] > 0:
                    mean = add_f64(widen(d2), splat_f64(spread[c]))
                rows = splat_f64(np.float64(counts[c]))
                if labelling:
                    # Where nothing is less than infinity, the first one stays.
                    closer = less(d2, best)
                    if c == 0:
                        closer = equal_i32(splat_i32(np.int32(0)), splat_i32(np.int32(0)))
                        best = select(less(d2, best), d2, best)
                        own = splat_i32(np.int32(0))
                    else:
                        best = select(closer, d2, best)
                        own = select_i32(closer, splat_i32(np.int32(c)), own)
                    other = select_f64(closer, mine, mean)
                    mine = select_f64(closer, mean, mine)
                    size = select_f64(closer, rows, size)
                    nearest = select_f64(less_f64(other, nearest), other, nearest)
                else:
                    is_own = equal_i32(own, splat_i32(np.int32(c)))
                    other = select_f64(is_own, inf, mean)
                    mine = select_f64(is_own, mean, mine)
                    size = select_f64(is_own, rows, size)
                    nearest = select_f64(less_f64(other, nearest), other, nearest)
            a = div_f64(mul_f64(mine, size), sub_f64(size, one))
            larger = select_f64(less_f64(a, nearest), nearest, a)
            value = div_f64(sub_f64(nearest, a), larger)
            value = select_f64(both(less_f64(one, size), less_f64(zero, larger)), value, zero)
            store_f64(values, j, value)
            if labelling:
                store_labels(given, j, own)
            if j + LANES <= m:
                sums = add_i64(sums, bits_of(add_f64(mul_f64(value, unit), magic)))
        whole = m // LANES * LANES
        # Each lane carries the magic number's bits as often as it was added to; modulo 2**64 they come off.
        total += sum_i64(sums) - np.int64(whole) * MAGIC_BITS
        for j in range(whole, m):
            total += bits_f64(values[j] * UNIT + MAGIC) - MAGIC_BITS
        if want_out:
            for j in range(m):
                out[low + j] = values[j]
        if labelling:
            for j in range(m):
                fresh[low + j] = given[j]
    return total
