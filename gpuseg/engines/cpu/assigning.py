"""numba kernels of Lloyd's assignment (CPU engine): nearest centre and exact sums, fused over tiles of rows.

A tile's labels come from explicit SIMD (sixteen customers a register, four centres at a time, the centres' chain of
ONE_ANSWER section 5); only rows whose label changed then touch the integer sums, so a settled pass costs the
distances alone. The first pass has a route of its own: every row is added, none removed.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.preparing import (
    BLOCK_MASS,
    MAGIC,
    MAGIC_BITS,
    WEIGHT_INTEGER,
    WEIGHT_NONE,
    WEIGHT_REAL,
    add_shifted,
    add_to_bins,
    close_bins,
)
from gpuseg.engines.cpu.simd import (
    bits_f64,
    changed,
    fma,
    less,
    load,
    load_labels,
    select,
    select_i32,
    splat,
    splat_i32,
    store,
    store_labels,
    sub,
)

LANES = 16
TILE = 1024
"""Rows whose fresh labels and distances wait in the first-level cache for the sums."""
INF = np.float32(np.inf)
ZERO = np.float32(0.0)
BIN_MASS = np.int64(1 << 31)
LOW16 = np.int64((1 << 16) - 1)


@kernel
def nearest_tile(x, stride, first, m, centres, d, k, old, old_first, fresh, best, masks):
    """Labels and chain distances of rows first .. first + m - 1 (m a multiple of 16).

    ``fresh[0:m]`` and ``best[0:m]`` receive them; ``masks[j]`` has a bit for each of the 16 rows of group j whose label
    differs from ``old``. ``x`` is flat, feature f of row i at ``f * stride + i``; centres are flat ``[k, d]``.
    """
    for j in range(0, m, LANES):
        i = first + j
        nearest = splat(INF)
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
            nearest = select(mask, a0, nearest)
            label = select_i32(mask, splat_i32(np.int32(c)), label)
            mask = less(a1, nearest)
            nearest = select(mask, a1, nearest)
            label = select_i32(mask, splat_i32(np.int32(c + 1)), label)
            mask = less(a2, nearest)
            nearest = select(mask, a2, nearest)
            label = select_i32(mask, splat_i32(np.int32(c + 2)), label)
            mask = less(a3, nearest)
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
            nearest = select(mask, a0, nearest)
            label = select_i32(mask, splat_i32(np.int32(c)), label)
            c += 1
        masks[j // LANES] = changed(label, load_labels(old, old_first + j))
        store_labels(fresh, j, label)
        store(best, j, nearest)


@kernel
def _fixed(x, at, scale):
    """rint(x[at] * scale) as int64."""
    return bits_f64(np.float64(x[at]) * scale + MAGIC) - MAGIC_BITS


@kernel
def _close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k):
    """Carry int64 sums (feature-major ``acc[f * k + c]``) into the limbs ``[c, f]`` and empty them."""
    for c in range(k):
        if count[c] != 0:
            add_shifted(mass_hi, mass_lo, c, count[c], 0)
            count[c] = 0
        for f in range(d):
            if acc[f * k + c] != 0:
                add_shifted(total_hi, total_lo, c * d + f, acc[f * k + c], 0)
                acc[f * k + c] = 0


@kernel
def _add_first(x, stride, first, m, scale, d, k, fresh, acc, count):
    """First pass, unit weights: add every row of the tile to its cluster."""
    for j in range(m):
        count[fresh[j]] += 1
    for f in range(d):
        s = scale[f]
        at = f * stride + first
        row = f * k
        for j in range(m):
            acc[row + fresh[j]] += _fixed(x, at + j, s)


@kernel
def _add_moved(x, stride, first, n_moved, moved, scale, d, k, old, fresh, acc, count):
    """Later passes, unit weights: move each changed row from its old cluster to its new one."""
    for r in range(n_moved):
        j = moved[r]
        count[fresh[j]] += 1
        count[old[first + j]] -= 1
    for f in range(d):
        s = scale[f]
        at = f * stride + first
        row = f * k
        for r in range(n_moved):
            j = moved[r]
            q = _fixed(x, at + j, s)
            acc[row + fresh[j]] += q
            acc[row + old[first + j]] -= q


@kernel
def _add_weighted(
    x, stride, i, weights, real, mode, scale, d, k, new, old, is_first, acc, count, run,
    total_hi, total_lo, mass_hi, mass_lo,
):  # fmt: skip
    """Add one weighted row to cluster ``new`` and, unless it is the first pass, take it from ``old``."""
    if mode == WEIGHT_INTEGER:
        w = weights[i]
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
            _close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
            run[0] = 0
        run[0] += w
        count[new] += w
        if not is_first:
            count[old] -= w
        for f in range(d):
            q = w * _fixed(x, f * stride + i, scale[f])
            acc[f * k + new] += q
            if not is_first:
                acc[f * k + old] -= q
        return
    w32 = real[i]
    if w32 == ZERO:
        return
    if run[0] + 1 > BLOCK_MASS:
        _close_real(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
        run[0] = 0
    run[0] += 1
    add_to_bins(count[new * 32 : new * 32 + 32], w32, np.int64(1))
    if not is_first:
        add_to_bins(count[old * 32 : old * 32 + 32], w32, np.int64(-1))
    wide = np.float64(w32)
    for f in range(d):
        q = bits_f64((wide * np.float64(x[f * stride + i])) * scale[f] + MAGIC) - MAGIC_BITS
        acc[f * k + new] += q
        if not is_first:
            acc[f * k + old] -= q


@kernel
def _close_real(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k):
    """As ``_close_sums`` where the mass is 32 exponent bins a cluster."""
    for c in range(k):
        close_bins(count[c * 32 : c * 32 + 32], mass_hi, mass_lo, c * 32)
        for f in range(d):
            if acc[f * k + c] != 0:
                add_shifted(total_hi, total_lo, c * d + f, acc[f * k + c], 0)
                acc[f * k + c] = 0


@kernel
def _add_inertia(best, m, weights, real, mode, first, bins, run, hi, lo):
    """Add the tile's weighted chain distances to the exponent bins."""
    for j in range(m):
        value = best[j]
        times = np.int64(1)
        if mode == WEIGHT_INTEGER:
            times = weights[first + j]
            if times == 0:
                continue
        elif mode == WEIGHT_REAL:
            w = real[first + j]
            if w == ZERO:
                continue
            # Two float32 multiply exactly in float64: one rounding.
            value = np.float32(np.float64(w) * np.float64(value))
        if run[1] + times >= BIN_MASS:
            close_bins(bins, hi, lo, 0)
            run[1] = 0
        run[1] += times
        add_to_bins(bins, value, times)


@kernel
def assign_rows(
    x, stride, start, stop, centres, d, k, labels, is_first, scale, weights, real, mode, want_sums, want_inertia,
    distance, want_distance, total_hi, total_lo, mass_hi, mass_lo, bin_hi, bin_lo,
):  # fmt: skip
    """One pass over rows [start, stop): labels in place, *changes* of the sums into the limbs; returns rows moved.

    ``start`` is a multiple of 16. With ``is_first`` the labels buffer holds nothing yet and the change is the full sum.
    """
    fresh = np.empty(TILE, labels.dtype)
    best = np.empty(TILE, np.float32)
    masks = np.empty(TILE // LANES, np.int32)
    moved = np.empty(TILE, np.int64)
    acc = np.zeros(d * k, np.int64)
    count = np.zeros(k * 32 if mode == WEIGHT_REAL else k, np.int64)
    bins = np.zeros(32, np.int64)
    run = np.zeros(2, np.int64)
    tail_x = np.zeros(d * LANES, np.float32)
    tail_old = np.zeros(LANES, labels.dtype)
    n_changed = 0
    for low in range(start, stop, TILE):
        m = min(TILE, stop - low)
        whole = m - m % LANES
        nearest_tile(x, stride, low, whole, centres, d, k, labels, low, fresh, best, masks)
        if whole < m:
            rest = m - whole
            for f in range(d):
                for j in range(rest):
                    tail_x[f * LANES + j] = x[f * stride + low + whole + j]
            for j in range(rest):
                tail_old[j] = labels[low + whole + j]
            nearest_tile(
                tail_x,
                LANES,
                0,
                LANES,
                centres,
                d,
                k,
                tail_old,
                0,
                fresh[whole:],
                best[whole:],
                masks[whole // LANES :],
            )
            masks[whole // LANES] &= np.int32((1 << rest) - 1)
        n_moved = 0
        if is_first:
            n_moved = m
        else:
            for g in range((m + LANES - 1) // LANES):
                if masks[g] != 0:
                    for j in range(g * LANES, min(g * LANES + LANES, m)):
                        if fresh[j] != labels[low + j]:
                            moved[n_moved] = j
                            n_moved += 1
        n_changed += n_moved
        if want_sums and n_moved > 0:
            if mode == WEIGHT_NONE:
                if run[0] + n_moved > BLOCK_MASS:
                    _close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
                    run[0] = 0
                run[0] += n_moved
                if is_first:
                    _add_first(x, stride, low, m, scale, d, k, fresh, acc, count)
                else:
                    _add_moved(x, stride, low, n_moved, moved, scale, d, k, labels, fresh, acc, count)
            else:
                for r in range(n_moved):
                    j = r if is_first else moved[r]
                    _add_weighted(
                        x, stride, low + j, weights, real, mode, scale, d, k, fresh[j], labels[low + j], is_first,
                        acc, count, run, total_hi, total_lo, mass_hi, mass_lo,
                    )  # fmt: skip
        if is_first:
            labels[low : low + m] = fresh[:m]
        else:
            for r in range(n_moved):
                labels[low + moved[r]] = fresh[moved[r]]
        if want_inertia:
            _add_inertia(best, m, weights, real, mode, low, bins, run, bin_hi, bin_lo)
        if want_distance:
            for j in range(m):
                distance[low + j] = best[j]
    if mode == WEIGHT_REAL:
        _close_real(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
    else:
        _close_sums(acc, count, total_hi, total_lo, mass_hi, mass_lo, d, k)
    close_bins(bins, bin_hi, bin_lo, 0)
    return n_changed
