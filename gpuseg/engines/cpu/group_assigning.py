"""numba kernel of Lloyd's assignment with bounds of groups of centres (CPU engine): as ``assigning``, for many centres.

Every tile says by its bounds how many pairs of a row and a group are doubtful. Where most are, all rows are compared
with all centres where they lie; elsewhere rows meet the groups that they have to. Only rows whose label changed then
touch the integer sums.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.adding import (
    BY_ROW,
    COPIES,
    add_inertia,
    add_rows,
    close_copies,
    close_real,
    close_sums,
)
from gpuseg.engines.cpu.assigning import APART
from gpuseg.engines.cpu.gathering import gather_row_major, gather_rows
from gpuseg.engines.cpu.grouped import compare_doubtful, mark_groups, nearest_groups_tile
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.nearest import all_rows, changed_rows, nearest_tile, own_tile
from gpuseg.engines.cpu.preparing import WEIGHT_REAL
from gpuseg.engines.cpu.slack import TILE, is_sampled
from gpuseg.engines.cpu.storing import turn_rows
from gpuseg.engines.cpu.turning import FEATURES
from gpuseg.engines.cpu.vectors import LANES


@kernel
def assign_by_groups(
    x, stride, row_major, start, stop, centres, own, d, k, labels, is_first, scale, weights, real, mode, want_sums,
    want_inertia, distance, want_distance, upper, lower, known_all, known_some, keep_all, settled, paying, table,
    names, group_of, own_ceilings, own_floors, group_ceilings, group_floors, grow, shrink, least,
    total_hi, total_lo, mass_hi, mass_lo, bin_hi, bin_lo,
):  # fmt: skip
    """One pass over rows [start, stop): as ``assign_rows``, whose arguments the first and the last ones are.

    Bounds are there of all tiles (``known_all``), of the sampled ones (``known_some``) or of none; they are kept of
    all (``keep_all``, which has to be so with ``known_all``) or of the sampled ones. A tile in which more than
    ``paying`` of all pairs of a row and a group are doubtful is compared as a whole. Rows that do not fill a vector,
    the last few of a block, have no bounds. Returns rows moved and distances computed.
    """
    n_groups = group_floors.size
    fresh = np.empty(TILE, labels.dtype)
    old = np.empty(LANES, labels.dtype)
    best = np.empty(TILE, np.float32)
    rows = np.empty(TILE, np.int64)
    doubt = np.empty(TILE // LANES, np.int32)
    moved = np.empty(TILE, np.int64)
    homes = np.empty(LANES, np.int32)
    seconds = np.empty(LANES, np.float32)
    padded = (d + FEATURES - 1) // FEATURES * FEATURES
    by_rows = np.empty(TILE * padded if known_some and row_major.size == 0 else 0, np.float32)
    by_row = np.zeros(BY_ROW * scale.size, np.float32)
    # Numbers, not constants, so that what takes them is compiled once.
    apart, origin, step = np.int64(LANES), np.int64(0), np.int64(APART)
    acc = np.zeros(k * scale.size, np.int64)
    count = np.zeros(k * 32 if mode == WEIGHT_REAL else k, np.int64)
    bins = np.zeros(32 * COPIES, np.int64)
    run = np.zeros(2, np.int64)
    turned = x.size == 0
    laid = np.empty(d * step if turned else 0, np.float32)
    n_changed = 0
    n_computed = 0
    each = want_inertia or want_distance  # row has its distance looked at
    rest = stop - (stop - start) % LANES
    for low in range(start, rest, TILE):
        m = min(TILE, rest - low)
        n_pairs = 0
        sampled = is_sampled(low)
        whole = not settled
        if whole and (known_all or (known_some and sampled)):
            n_pairs = mark_groups(upper, lower, n_groups, low, m, labels, own_ceilings, group_ceilings, doubt)
            whole = n_pairs > paying * m * n_groups
        tile, width, lies = x, stride, np.int64(low)
        if turned and (whole or each or n_pairs > 0):
            turn_rows(row_major, d, low, low + m, laid, origin, step)
            tile, width, lies = laid, step, origin
        if whole:
            if keep_all or sampled:
                nearest_groups_tile(
                    tile, width, lies, m, table, names, n_groups, d, fresh, best, grow, shrink, least, own_floors,
                    group_floors, upper, lower, low, homes, seconds,
                )  # fmt: skip
            else:
                nearest_tile(tile, width, lies, m, centres, d, k, fresh, best, best)
            n_computed += m * k
        elif n_pairs > 0:
            n_computed += compare_doubtful(
                x, stride, row_major, low, m, labels, table, names, n_groups, d, group_of, doubt, fresh, best, by_rows,
                grow, shrink, least, own_floors, group_ceilings, group_floors, upper, lower,
            )  # fmt: skip
        if whole or n_pairs > 0:
            n_moved = all_rows(m, moved) if is_first else changed_rows(fresh, labels, low, m, moved)
            if want_sums and n_moved > 0:
                for j in range(m):
                    rows[j] = low + j
                add_rows(
                    tile, width, lies, m, weights, real, mode, rows, scale, d, k, n_moved, moved, labels, low, fresh,
                    is_first, acc, count, run, by_row, total_hi, total_lo, mass_hi, mass_lo,
                )  # fmt: skip
            labels[low : low + m] = fresh[:m]
            n_changed += n_moved
        if each:
            if not whole:
                own_tile(tile, width, lies, m, own, d, labels, low, best)
            if want_inertia:
                add_inertia(best, m, weights, real, mode, low, bins, run, bin_hi, bin_lo)
            if want_distance:
                distance[low : low + m] = best[:m]
    n = stop - rest
    if n > 0 and (each or not settled):
        for r in range(n):
            rows[r] = rest + r
            old[r] = labels[rest + r]
        few = np.empty(d * LANES, np.float32)
        if row_major.size > 0:
            filled = gather_row_major(row_major, rows, n, d, few, apart)
        else:
            filled = gather_rows(x, stride, rows[:n], n, d, few, apart)
        nearest_tile(few, apart, origin, filled, centres, d, k, fresh, best, best)
        n_moved = all_rows(n, moved) if is_first else changed_rows(fresh, old, origin, n, moved)
        if want_sums and n_moved > 0:
            add_rows(
                few, apart, origin, n, weights, real, mode, rows, scale, d, k, n_moved, moved, old, origin, fresh,
                is_first, acc, count, run, by_row, total_hi, total_lo, mass_hi, mass_lo,
            )  # fmt: skip
        labels[rest:stop] = fresh[:n]
        if want_inertia:
            add_inertia(best, n, weights, real, mode, rest, bins, run, bin_hi, bin_lo)
        if want_distance:
            distance[rest:stop] = best[:n]
        n_changed += n_moved
        n_computed += n * k
    if mode == WEIGHT_REAL:
        close_real(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
    else:
        close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
    close_copies(bins, bin_hi, bin_lo)
    return n_changed, n_computed
