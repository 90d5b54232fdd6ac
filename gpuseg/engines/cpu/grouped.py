"""numba kernels that compare rows with groups of similar centres (CPU engine), and keep a bound of each group.

Of a tile where most has to be looked at, sixteen rows fill a vector (``nearest_groups_tile``); elsewhere eight centres
do, and the rows that a group is doubtful for follow one another wherever they lie (``compare_doubtful``). Either way
each distance is the chain of ONE_ANSWER section 5, features ascending, and of equal ones the lowest cluster wins.

Bounds lie in blocks of sixteen rows, a vector a group: that of row i and group g at
``(i // 16 * G + g) * 16 + i % 16``. What they mean and why they never lie: :mod:`gpuseg.engines.cpu.groups`.
"""

from __future__ import annotations

import numpy as np

from gpuseg.engines.cpu.adding import turn_block
from gpuseg.engines.cpu.bits import count_bits, trailing_zeros
from gpuseg.engines.cpu.eights import add_square, load_eight, store_eight, zero_eight
from gpuseg.engines.cpu.gathering import ask_for_group, ask_for_row
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.memory import compiled_once, copied_in, copy_element, prefetch, take
from gpuseg.engines.cpu.nearest import AHEAD, INF, WIDE, ZERO, take_first, take_second
from gpuseg.engines.cpu.simd import (
    absolute,
    add,
    add_i32,
    fma,
    larger,
    load,
    load_labels,
    mul,
    not_above,
    root,
    select,
    select_i32,
    set_bits,
    smaller,
    sooner,
    splat,
    splat_at,
    splat_i32,
    store,
    store_labels,
    sub,
)
from gpuseg.engines.cpu.slack import LAST_BITS, by_label
from gpuseg.engines.cpu.turning import FEATURES, turn_to_features
from gpuseg.engines.cpu.vectors import HALF, LANES

NO_CENTRE = np.float32(2.0**126)
"""Squared distance that stands for the nearest of no centres: its bound is a number, and no distance is as large."""
MARGIN = np.float32(1.0 + 2.0**-22)


@kernel
def _reach(nearest, grow, least):
    """Upper bounds that a skip is decided by, from chain values."""
    return add(mul(root(nearest), splat(grow)), splat(least))


@kernel
def _low(distance, shrink, least):
    """Lower bounds that a skip is decided by, from chain values."""
    return sub(mul(root(smaller(distance, splat(NO_CENTRE))), splat(shrink)), splat(least))


@kernel
def _kept_low(low, floor):
    """A lower bound as it is kept: plus what its group had moved, rounded down."""
    s = add(low, floor)
    return sub(s, mul(absolute(s), splat(LAST_BITS)))


@kernel
def _kept_low_scalar(low, floor):
    """As ``_kept_low``, of one row."""
    s = np.float32(low + floor)
    return np.float32(s - np.float32(abs(s) * LAST_BITS))


@kernel
def _kept_upper(reach, floor):
    """An upper bound as it is kept: less what its centre had moved, rounded up."""
    s = sub(reach, floor)
    return add(s, mul(absolute(s), splat(LAST_BITS)))


@kernel
def mark_groups(upper, lower, n_groups, first, m, labels, own_ceilings, group_ceilings, doubt):
    """Mark the rows first .. first + m - 1 that a group is doubtful for, a bit a row; returns how many pairs are.

    ``first`` and ``m`` are multiples of 16, here and below.
    """
    compiled_once()
    n_pairs = 0
    k = own_ceilings.size
    for j in range(0, m, LANES):
        ceiling = by_label(own_ceilings, k, load_labels(labels, first + j))
        reach = mul(add(load(upper, first + j), ceiling), splat(MARGIN))
        mask = np.int32(0)
        at = (first + j) * n_groups
        for g in range(n_groups):
            failed = not_above(sub(load(lower, at + g * LANES), splat_at(group_ceilings, g)), reach)
            mask |= failed
            n_pairs += count_bits(failed)
        doubt[j // LANES] = mask
    return n_pairs


@kernel
def nearest_groups_tile(
    x, stride, first, m, table, names, n_groups, d, fresh, best, grow, shrink, least, own_floors, group_floors,
    upper, lower, first_bound, homes, seconds,
):  # fmt: skip
    """Labels and chain distances of m rows into ``[0:m]``, and every bound of theirs from row ``first_bound`` on.

    ``table`` is flat ``[group, block, d, 8]``, ``names`` flat ``[group, block, 8]``: which clusters these are.
    """
    compiled_once()
    blocks = names.size // (n_groups * HALF)
    k = own_floors.size
    for j in range(0, m, LANES):
        i = first + j
        to_bound = first_bound + j
        if d >= WIDE:
            for f in range(d):
                prefetch(x, f * stride + i + AHEAD)
        nearest = splat(INF)
        next_nearest = nearest
        label = splat_i32(np.int32(0))
        home = label
        for g in range(n_groups):
            group_nearest = splat(INF)
            group_next = group_nearest
            group_label = splat_i32(np.int32(0))
            for block in range(g * blocks, (g + 1) * blocks):
                a0 = splat(ZERO)
                a1 = a0
                a2 = a0
                a3 = a0
                a4 = a0
                a5 = a0
                a6 = a0
                a7 = a0
                at = block * d * HALF
                for f in range(d):
                    v = load(x, f * stride + i)
                    t = sub(v, splat_at(table, at))
                    a0 = fma(t, t, a0)
                    t = sub(v, splat_at(table, at + 1))
                    a1 = fma(t, t, a1)
                    t = sub(v, splat_at(table, at + 2))
                    a2 = fma(t, t, a2)
                    t = sub(v, splat_at(table, at + 3))
                    a3 = fma(t, t, a3)
                    t = sub(v, splat_at(table, at + 4))
                    a4 = fma(t, t, a4)
                    t = sub(v, splat_at(table, at + 5))
                    a5 = fma(t, t, a5)
                    t = sub(v, splat_at(table, at + 6))
                    a6 = fma(t, t, a6)
                    t = sub(v, splat_at(table, at + 7))
                    a7 = fma(t, t, a7)
                    at += HALF
                to = block * HALF
                group_next = take_second(a0, group_nearest, group_next)
                group_nearest, group_label = take_first(a0, names[to], group_nearest, group_label)
                group_next = take_second(a1, group_nearest, group_next)
                group_nearest, group_label = take_first(a1, names[to + 1], group_nearest, group_label)
                group_next = take_second(a2, group_nearest, group_next)
                group_nearest, group_label = take_first(a2, names[to + 2], group_nearest, group_label)
                group_next = take_second(a3, group_nearest, group_next)
                group_nearest, group_label = take_first(a3, names[to + 3], group_nearest, group_label)
                group_next = take_second(a4, group_nearest, group_next)
                group_nearest, group_label = take_first(a4, names[to + 4], group_nearest, group_label)
                group_next = take_second(a5, group_nearest, group_next)
                group_nearest, group_label = take_first(a5, names[to + 5], group_nearest, group_label)
                group_next = take_second(a6, group_nearest, group_next)
                group_nearest, group_label = take_first(a6, names[to + 6], group_nearest, group_label)
                group_next = take_second(a7, group_nearest, group_next)
                group_nearest, group_label = take_first(a7, names[to + 7], group_nearest, group_label)
            low = _kept_low(_low(group_nearest, shrink, least), splat_at(group_floors, g))
            store(lower, to_bound * n_groups + g * LANES, low)
            mask = sooner(group_nearest, group_label, nearest, label)
            nearest = select(mask, group_nearest, nearest)
            next_nearest = select(mask, group_next, next_nearest)
            label = select_i32(mask, group_label, label)
            home = select_i32(mask, splat_i32(np.int32(g)), home)
        store_labels(fresh, j, label)
        store(best, j, nearest)
        floor = by_label(own_floors, k, label)
        store(upper, to_bound, _kept_upper(_reach(nearest, grow, least), floor))
        # A row's own centre is no other one: its group's bound is of the second nearest in it.
        store_labels(homes, 0, home)
        store(seconds, 0, _low(next_nearest, shrink, least))
        for r in range(LANES):
            g = homes[r]
            lower[to_bound * n_groups + g * LANES + r] = _kept_low_scalar(seconds[r], group_floors[g])


@kernel
def _append(mask, j, step, listed, spots, n):
    """Append the rows ``j + r`` of the bits r of a mask to a list, and where their bounds lie; returns its new length.

    No branch waits for a bit; what is written too much is written over.
    """
    found = set_bits(mask)
    store_labels(listed, n, add_i32(found, splat_i32(np.int32(j))))
    store_labels(spots, n, add_i32(found, splat_i32(np.int32(j * step))))
    return n + count_bits(mask)


@kernel
def _eight_rows(values, width, origin, listed, r, table, base, d, out, to):
    """Chain distances of eight listed rows to eight centres, a row after the other."""
    copied_in()
    p0 = origin + np.int64(listed[r]) * width
    p1 = origin + np.int64(listed[r + 1]) * width
    p2 = origin + np.int64(listed[r + 2]) * width
    p3 = origin + np.int64(listed[r + 3]) * width
    p4 = origin + np.int64(listed[r + 4]) * width
    p5 = origin + np.int64(listed[r + 5]) * width
    p6 = origin + np.int64(listed[r + 6]) * width
    p7 = origin + np.int64(listed[r + 7]) * width
    a0 = zero_eight()
    a1 = a0
    a2 = a0
    a3 = a0
    a4 = a0
    a5 = a0
    a6 = a0
    a7 = a0
    for f in range(d):
        c = load_eight(table, base + f * HALF)
        a0 = add_square(a0, values, p0 + f, c)
        a1 = add_square(a1, values, p1 + f, c)
        a2 = add_square(a2, values, p2 + f, c)
        a3 = add_square(a3, values, p3 + f, c)
        a4 = add_square(a4, values, p4 + f, c)
        a5 = add_square(a5, values, p5 + f, c)
        a6 = add_square(a6, values, p6 + f, c)
        a7 = add_square(a7, values, p7 + f, c)
    store_eight(out, to, a0)
    store_eight(out, to + 8, a1)
    store_eight(out, to + 16, a2)
    store_eight(out, to + 24, a3)
    store_eight(out, to + 32, a4)
    store_eight(out, to + 40, a5)
    store_eight(out, to + 48, a6)
    store_eight(out, to + 56, a7)


@kernel
def _two_least(a, b, c, d):
    """The two smallest of a <= b and c <= d."""
    return smaller(a, c), smaller(larger(a, c), smaller(b, d))


@kernel
def _place_of(distance, eights, at, parts):
    """Which centre of a group is the first at this distance from a row."""
    for part in range(parts):
        for j in range(HALF):
            if eights[part * LANES * HALF + at + j] == distance:
                return part * HALF + j
    return 0


@kernel
def compare_doubtful(
    x, stride, row_major, first, m, labels, table, names, n_groups, d, group_of, doubt, fresh, best, turned,
    grow, shrink, least, own_floors, group_ceilings, group_floors, upper, lower,
):  # fmt: skip
    """Nearest centre of the marked rows of a tile, and their bounds; of the others ``fresh`` is the label they have.

    Each row is compared with its own centre's group, after which its upper bound is as good as it gets, and then with
    those that are doubtful still. ``best`` is of the marked rows alone. Returns distances computed.
    """
    compiled_once()
    blocks = m // LANES
    parts = names.size // (n_groups * HALF)
    home = np.empty(m, np.int32)
    reach = np.empty(m, np.float32)
    low_best = np.empty(m, np.float32)
    listed = np.empty(m + 2 * LANES, np.int32)
    spots = np.empty(m + 2 * LANES, np.int32)
    own = np.zeros(n_groups * blocks, np.int32)
    eights = np.empty(LANES * HALF * parts, np.float32)
    out = np.empty(4 * LANES, np.float32)
    sizes = np.zeros(n_groups, np.int64)
    for c in range(group_of.size):
        sizes[group_of[c]] += 1
    rows_lie_there = row_major.size > 0
    width = d if rows_lie_there else (d + FEATURES - 1) // FEATURES * FEATURES
    origin = first * d if rows_lie_there else 0
    values = row_major if rows_lie_there else turned
    fresh[:m] = labels[first : first + m]
    for block in range(blocks):
        mask = doubt[block]
        if mask == 0:
            continue
        j = block * LANES
        if not rows_lie_there:
            ahead = block + AHEAD // LANES
            if ahead < blocks and doubt[ahead] != 0:
                ask_for_group(x, stride, first + ahead * LANES, d)
            turn_block(x, stride, first + j, LANES, d, turned[j * width :], width)
        while mask != 0:
            r = trailing_zeros(mask)
            mask &= mask - np.int32(1)
            if rows_lie_there:
                ask_for_row(row_major, first + j + r, d)
            h = group_of[fresh[j + r]]
            home[j + r] = h
            own[h * blocks + block] |= np.int32(1) << r
            best[j + r] = INF
            fresh[j + r] = 0
    n_computed = 0
    for step in range(2 * n_groups):
        g = step % n_groups
        at = first * n_groups + g * LANES
        n = 0
        for block in range(blocks):
            if doubt[block] == 0:
                continue
            mask = own[g * blocks + block]
            if step >= n_groups:
                j = block * LANES
                low = sub(load(lower, at + j * n_groups), splat_at(group_ceilings, g))
                mask = doubt[block] & ~mask & not_above(low, load(reach, j))
            n = _append(mask, block * LANES, n_groups, listed, spots, n)
        if n == 0:
            continue
        # What does not fill a vector is filled up with the last row.
        store_labels(listed, n, splat_i32(listed[n - 1]))
        n_computed += n * sizes[g]
        floor = splat_at(group_floors, g)
        for start in range(0, n, LANES):
            some = min(LANES, n - start)
            halves = 1 + (some > HALF)
            nearest = splat(INF)
            next_nearest = nearest
            for part in range(parts):
                base = (g * parts + part) * d * HALF
                for half in range(halves):
                    to = (part * 2 + half) * HALF * HALF
                    _eight_rows(
                        values, width, origin, listed, start + half * HALF, table, base, d, eights, to
                    )
                v = turn_to_features(eights, part * LANES * HALF, FEATURES)
                least_two, next_two = _two_least(
                    *_two_least(
                        smaller(v[0], v[1]), larger(v[0], v[1]), smaller(v[2], v[3]), larger(v[2], v[3])
                    ),
                    *_two_least(
                        smaller(v[4], v[5]), larger(v[4], v[5]), smaller(v[6], v[7]), larger(v[6], v[7])
                    ),
                )
                nearest, next_nearest = _two_least(nearest, next_nearest, least_two, next_two)
            low = _low(nearest, shrink, least)
            store(out, 0, _kept_low(low, floor))
            for r in range(some):
                copy_element(lower, at + spots[start + r], out, r)
            mask = not_above(nearest, take(best, load_labels(listed, start)))
            if some < LANES:
                mask &= (np.int32(1) << np.int32(some)) - np.int32(1)
            if mask == 0:
                continue
            store(out, 0, nearest)
            store(out, LANES, low)
            store(out, 2 * LANES, _kept_low(_low(next_nearest, shrink, least), floor))
            store(out, 3 * LANES, _reach(nearest, grow, least))
            while mask != 0:
                r = trailing_zeros(mask)
                mask &= mask - np.int32(1)
                row = listed[start + r]
                label = names[(g * parts) * HALF + _place_of(out[r], eights, r * HALF, parts)]
                if out[r] < best[row] or (out[r] == best[row] and label < fresh[row]):
                    # The nearest so far is another one's now: it counts in its own group's bound.
                    h = home[row]
                    spot = first * n_groups + spots[start + r]
                    lower[spot + h * LANES] = _kept_low_scalar(low_best[row], group_floors[h])
                    lower[spot + g * LANES] = out[2 * LANES + r]
                    home[row] = g
                    best[row] = out[r]
                    low_best[row] = out[LANES + r]
                    reach[row] = out[3 * LANES + r]
                    fresh[row] = label
    for block in range(blocks):
        mask = doubt[block]
        if mask != 0:
            j = block * LANES
            floor = by_label(own_floors, own_floors.size, load_labels(fresh, j))
            store(out, 0, _kept_upper(_reach(load(best, j), grow, least), floor))
        while mask != 0:
            r = trailing_zeros(mask)
            mask &= mask - np.int32(1)
            upper[first + block * LANES + r] = out[r]
    return n_computed
