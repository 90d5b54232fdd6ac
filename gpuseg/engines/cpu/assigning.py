"""numba kernels of Lloyd's assignment (CPU engine): nearest centre and exact sums, fused over tiles of rows.

Rows whose bound holds keep their label unseen. Of a tile where few fail, those few are gathered side by side; of one
where many do, all are looked at. Only rows whose label changed then touch the integer sums. The first pass has a route
of its own: every row is added, none removed.
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
from gpuseg.engines.cpu.gathering import gather_row_major, gather_rows
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import compiled_once
from gpuseg.engines.cpu.nearest import (
    all_rows,
    changed_rows,
    nearest_tile,
    nearest_two_tile,
    own_tile,
)
from gpuseg.engines.cpu.preparing import WEIGHT_NONE, WEIGHT_REAL
from gpuseg.engines.cpu.slack import TILE, is_sampled, keep_slack, list_marked, mark_doubtful
from gpuseg.engines.cpu.storing import turn_rows
from gpuseg.engines.cpu.vectors import LANES

APART = TILE + LANES
"""From one feature of gathered rows to the next: were it a power of two, all features would share few cache lines."""


@kernel
def _look(
    x, stride, first, m, centres, d, k, fresh, best, second, keep, share, least, floors, slack, slack_first
):
    """Nearest centre of m rows, a multiple of 16, and their slack where it is kept."""
    compiled_once()
    if keep:
        nearest_two_tile(x, stride, first, m, centres, d, k, fresh, best, second)
        keep_slack(best, second, fresh, m, share, least, floors, slack, slack_first)
    else:
        nearest_tile(x, stride, first, m, centres, d, k, fresh, best, second)


@kernel
def assign_rows(
    x, stride, row_major, start, stop, centres, own, d, k, labels, is_first, scale, weights, real, mode, want_sums,
    want_inertia, distance, want_distance, slack, bounded, settled, keep_all, paying, ceilings, floors, share, least,
    total_hi, total_lo, mass_hi, mass_lo, bin_hi, bin_lo,
):  # fmt: skip
    """One pass over rows [start, stop): labels in place, *changes* of the sums into the limbs.

    ``start`` is a multiple of 16. With ``is_first`` the labels buffer holds nothing yet and the change is the full sum.
    Where ``slack`` has rows it is kept, of every tile or of the sampled ones; with ``bounded`` it says which rows need
    not be looked at (with ``settled`` none need), unless a larger share than ``paying`` needs to be. Where inertia or
    distances are wanted, rows that need not are compared with their own centre alone (``own``: the centres as
    ``own_tile`` takes them). ``row_major`` holds the rows once more, or is empty; where ``x`` is empty it holds them
    alone, eight features at least, and tiles are turned on the way. Returns rows moved and distances
    computed.
    """
    fresh = np.empty(TILE, labels.dtype)
    old = np.empty(TILE, labels.dtype)
    best = np.empty(TILE, np.float32)
    second = np.empty(TILE, np.float32)
    fresh_slack = np.empty(TILE, np.float32)
    rows = np.empty(2 * TILE, np.int64)
    every = np.empty(TILE, np.int64)
    marks = np.empty(TILE // LANES, np.int32)
    moved = np.empty(TILE, np.int64)
    by_row = np.zeros(BY_ROW * scale.size, np.float32)
    # Numbers, not constants, so that what takes them is compiled once.
    apart, origin, one = np.int64(APART), np.int64(0), np.int64(1)
    dense = np.empty(d * apart, np.float32)
    acc = np.zeros(k * scale.size, np.int64)
    count = np.zeros(k * 32 if mode == WEIGHT_REAL else k, np.int64)
    bins = np.zeros(32 * COPIES, np.int64)
    run = np.zeros(2, np.int64)
    n_changed = 0
    n_seen = 0
    n_waiting = 0
    each = want_inertia or want_distance  # row has its distance looked at
    turned = x.size == 0
    for low in range(start, stop, TILE):
        m = min(TILE, stop - low)
        n_rows = m
        if settled:
            n_rows = 0
        elif bounded:
            n_rows = mark_doubtful(slack, low, m, labels, ceilings, marks)
        keep = keep_all or (slack.size > 0 and is_sampled(low))
        dense_tile = not bounded or n_rows > paying * m or (each and m % LANES > 0)
        if dense_tile:
            # Most have to be looked at: all are, where they lie; what does not fill a vector waits.
            whole = m - m % LANES
            for j in range(low + whole, low + m):
                rows[n_waiting] = j
                n_waiting += 1
            tile, step, lies = x, stride, np.int64(low)
            if turned:
                turn_rows(row_major, d, low, low + whole, dense, origin, apart)
                tile, step, lies = dense, apart, origin
            _look(
                tile, step, lies, whole, centres, d, k, fresh, best, second, keep, share, least, floors, slack,
                low,
            )  # fmt: skip
            n_moved = all_rows(whole, moved) if is_first else changed_rows(fresh, labels, low, whole, moved)
            if want_sums and n_moved > 0:
                if mode != WEIGHT_NONE:
                    for j in range(whole):
                        every[j] = low + j
                add_rows(
                    tile, step, lies, whole, weights, real, mode, every, scale, d, k, n_moved, moved, labels, low,
                    fresh, is_first, acc, count, run, by_row, total_hi, total_lo, mass_hi, mass_lo,
                )  # fmt: skip
            if is_first:
                labels[low : low + whole] = fresh[:whole]
            else:
                for r in range(n_moved):
                    labels[low + moved[r]] = fresh[moved[r]]
            if want_inertia:
                add_inertia(best, whole, weights, real, mode, low, bins, run, bin_hi, bin_lo)
            if want_distance:
                distance[low : low + whole] = best[:whole]
            n_changed += n_moved
            n_seen += whole
        elif n_rows > 0:
            n_waiting = list_marked(marks, low, m, x, stride, d, row_major, rows, n_waiting)
        if n_waiting < TILE // 2 and low + TILE < stop and not each:
            continue
        # Those that wait are gathered side by side, at most a tile at a time.
        for at in range(0, n_waiting, TILE):
            n = min(TILE, n_waiting - at)
            these = rows[at : at + n]
            if row_major.size > 0:
                width = gather_row_major(row_major, rows[at:], n, d, dense, apart)
            else:
                width = gather_rows(x, stride, these, n, d, dense, apart)
            _look(
                dense, apart, origin, width, centres, d, k, fresh, best, second, slack.size > 0, share, least, floors,
                fresh_slack, origin,
            )  # fmt: skip
            for r in range(n):
                old[r] = labels[these[r]]
            n_moved = all_rows(n, moved) if is_first else changed_rows(fresh, old, origin, n, moved)
            if want_sums and n_moved > 0:
                add_rows(
                    dense, apart, origin, n, weights, real, mode, these, scale, d, k, n_moved, moved, old, origin,
                    fresh, is_first, acc, count, run, by_row, total_hi, total_lo, mass_hi, mass_lo,
                )  # fmt: skip
            for r in range(n):
                labels[these[r]] = fresh[r]
                if slack.size > 0:
                    slack[these[r]] = fresh_slack[r]
                if want_inertia and dense_tile:
                    add_inertia(best[r:], one, weights, real, mode, these[r], bins, run, bin_hi, bin_lo)
                if want_distance and dense_tile:
                    distance[these[r]] = best[r]
            n_changed += n_moved
            n_seen += n
        n_waiting = 0
        if each and not dense_tile:
            if turned:
                turn_rows(row_major, d, low, low + m, dense, origin, apart)
                own_tile(dense, apart, origin, m, own, d, labels, low, best)
            else:
                own_tile(x, stride, low, m, own, d, labels, low, best)
            if want_inertia:
                add_inertia(best, m, weights, real, mode, low, bins, run, bin_hi, bin_lo)
            if want_distance:
                distance[low : low + m] = best[:m]
    if mode == WEIGHT_REAL:
        close_real(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
    else:
        close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
    close_copies(bins, bin_hi, bin_lo)
    return n_changed, n_seen * k
