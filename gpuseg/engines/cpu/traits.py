"""numba kernels for scores from over-indexing (CPU engine): :func:`gpuseg.core.overindex.trait_scores`, same bits.

Sixteen customers advance together, one a lane: their counts are turned into a tile, a vector a category, in which a
category that a customer did not buy in is 0 and adds nothing. Then logarithms are taken side by side; where all counts
are small whole numbers, as those without decay are, they come from a table of the same logarithms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg.core import detmath
from gpuseg.core.overindex import N_REASONS, CategoryCounts, TraitTerms
from gpuseg.engines.checks import require_scored
from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.pool import run_parallel
from gpuseg.engines.cpu.vectors import LANES
from gpuseg.engines.cpu.wide import (
    add_f64,
    less_f64,
    load_f64,
    mul_f64,
    select_f64,
    splat_f64,
    store_f64,
    sub_f64,
)
from gpuseg.errors import ContractError, RangeError

KNOWN = 512
"""Whole counts below this have their logarithm in the table."""

INFINITE = np.float64(np.inf)

_FINE, _COUNT, _CATEGORY = 0, 1, 2  # what a kernel found

Float64 = npt.NDArray[np.float64]

_log = kernel(detmath.log)


def trait_scores(
    ranges: list[tuple[int, int]],
    counts: CategoryCounts,
    terms: TraitTerms,
    scores: Float64,
    evidence: Float64,
    reasons: npt.NDArray[np.int16] | None,
) -> None:
    """Scores of customers, a range of them a thread: see :meth:`gpuseg.engines.base.Engine.trait_scores`.

    Parameters
    ----------
    ranges : list of (int, int)
        Rows of each thread.
    counts : CategoryCounts
        Transactions.
    terms : TraitTerms
        What they are scored with.
    scores, evidence : ndarray of float64, shapes (T, n) and (n,)
        Overwritten.
    reasons : ndarray of int16, shape (T, 3, n), or None
        Overwritten.

    Raises
    ------
    ContractError
        A buffer does not fit, or a category is none of the terms'.
    RangeError
        A count is below 0 or not finite.
    """
    require_scored(counts, terms, scores, evidence, reasons)
    base = detmath.log(terms.floor)
    table = detmath.log(np.arange(float(KNOWN)) + terms.floor[:, None]) - base[:, None]
    named = np.empty(0, np.int16) if reasons is None else reasons.reshape(-1)
    traits, used = np.nonzero(terms.weight)
    first = np.searchsorted(traits, np.arange(terms.n_traits + 1)).astype(np.int64)
    given = (terms.floor, base, table.reshape(-1), terms.mean)
    weighed = (first, used.astype(np.int64), terms.weight[traits, used], terms.slope, terms.constant)
    log_smoothing = detmath.log(terms.smoothing)

    def work(start: int, stop: int) -> int:
        done: int = _score_rows(
            counts.starts, counts.category, counts.dense, counts.count, start, stop,
            terms.smoothing, log_smoothing, *given, *weighed, scores.reshape(-1), evidence, named, reasons is not None,
        )  # fmt: skip
        return done

    trouble = max(run_parallel(work, ranges))
    if trouble == _CATEGORY:
        last = terms.floor.size - 1
        msg = f"categories of a customer do not ascend within 0 .. {last}; count by those of the reference"
        raise ContractError(msg)
    if trouble == _COUNT:
        raise RangeError("counts hold negative or not finite values; give 0 or more")


@kernel
def _logarithms(values, m):
    """The logarithm of each of the first m values, in place: one array, so that the compiler takes several at once."""
    for j in range(m):
        values[j] = _log(values[j])


@kernel
def _score_rows(
    starts, category, dense, count, start, stop, smoothing, log_smoothing, floor, base, table, mean,
    first, used, packed, slope, constant, scores, evidence, reasons, want_reasons,
):  # fmt: skip
    """Scores of customers [start, stop), up to where something is wrong: _FINE, _COUNT or _CATEGORY."""
    n, n_categories, n_traits = evidence.size, floor.size, slope.size
    tile = np.zeros(n_categories * LANES, np.float64)
    row = np.empty(LANES, np.float64)
    length = np.empty(LANES, np.float64)
    values = np.empty(n_traits * LANES, np.float64)
    known = dense
    for low in range(start, stop, LANES):
        rows = min(LANES, stop - low)
        known = (
            known and rows == LANES and _look_up(count, low * n_categories, n_categories, table, tile, row)
        )
        if not known:
            if not _turn(starts, category, dense, count, low, rows, n_categories, tile):
                return _CATEGORY
            total = splat_f64(np.float64(0.0))
            for c in range(n_categories):
                total = add_f64(total, load_f64(tile, c * LANES))
            store_f64(row, 0, total)
        total = load_f64(row, 0)
        for j in range(rows):
            evidence[low + j] = row[j]
        store_f64(length, 0, add_f64(total, splat_f64(smoothing)))
        _logarithms(length, LANES)
        own = sub_f64(load_f64(length, 0), splat_f64(log_smoothing))
        if not known and not _gains(tile, n_categories, floor, base, table):
            return _COUNT
        _weigh(tile, own, first, used, packed, slope, constant, values)
        for t in range(n_traits):
            for j in range(rows):
                scores[t * n + low + j] = values[t * LANES + j]
        if want_reasons:
            for c in range(n_categories):
                at = c * LANES
                store_f64(tile, at, sub_f64(sub_f64(load_f64(tile, at), own), splat_f64(mean[c])))
            for t in range(n_traits):
                _name(
                    tile, first[t], first[t + 1], used, packed, row, reasons, t * N_REASONS * n + low, n, rows
                )
    return _FINE


@kernel
def _look_up(count, begin, n_categories, table, tile, row):
    """Gains and transactions of sixteen customers of a dense table in one go; False if a count is not in the table.

    Where that happens once it is likely to happen again: the caller then goes the long way, to the same bits.
    """
    odd = 0
    for j in range(LANES):
        total = np.float64(0.0)
        for c in range(n_categories):
            value = count[begin + j * n_categories + c]
            whole = np.int64(value)
            odd |= (np.float64(whole) != value) | (np.uint64(whole) >= np.uint64(KNOWN))
            tile[c * LANES + j] = table[c * KNOWN + (whole & (KNOWN - 1))]
            total += value
        row[j] = total
        if odd:
            return False
    return True


@kernel
def _turn(starts, category, dense, count, low, rows, n_categories, tile):
    """tile[c, j] = count of customer ``low + j`` in category c; lanes beyond the last customer are 0."""
    if dense and rows == LANES:
        begin = low * n_categories
        for c in range(n_categories):
            for j in range(LANES):
                tile[c * LANES + j] = count[begin + j * n_categories + c]
        return True
    tile[:] = 0.0
    for j in range(rows):
        if dense:
            for c in range(n_categories):
                tile[c * LANES + j] = count[(low + j) * n_categories + c]
            continue
        before = np.int64(-1)
        for i in range(starts[low + j], starts[low + j + 1]):
            code = np.int64(category[i])
            if code <= before or code >= n_categories:
                return False
            tile[code * LANES + j] = count[i]
            before = code
    return True


@kernel
def _gains(tile, n_categories, floor, base, table):
    """tile[c, j] = log(tile[c, j] + floor[c]) - log(floor[c]), from the table where it has all; False if one is < 0."""
    m = n_categories * LANES
    odd = 0
    bad = 0
    for i in range(m):
        whole = np.int64(tile[i])
        odd |= (np.float64(whole) != tile[i]) | (np.uint64(whole) >= np.uint64(KNOWN))
        bad |= not 0.0 <= tile[i] < INFINITE
    if bad:
        return False
    if odd:
        for c in range(n_categories):
            at = c * LANES
            store_f64(tile, at, add_f64(load_f64(tile, at), splat_f64(floor[c])))
        _logarithms(tile, m)
        for c in range(n_categories):
            at = c * LANES
            store_f64(tile, at, sub_f64(load_f64(tile, at), splat_f64(base[c])))
        return True
    for c in range(n_categories):
        for i in range(c * LANES, (c + 1) * LANES):
            tile[i] = table[c * KNOWN + np.int64(tile[i])]
    return True


@kernel
def _weigh(tile, own, first, used, packed, slope, constant, values):
    """values[t, j] = constant[t] - slope[t] * own, then + weight * gain for each category with a weight, in turn.

    Where two traits have weights in the same categories, as most do, both are added to while a gain is at hand.
    """
    n_traits = slope.size
    t = 0
    while t < n_traits:
        begin, many = first[t], first[t + 1] - first[t]
        value = sub_f64(splat_f64(constant[t]), mul_f64(splat_f64(slope[t]), own))
        pair = t + 1 < n_traits and first[t + 2] - first[t + 1] == many
        if pair:
            for k in range(begin, begin + many):
                pair &= used[k] == used[k + many]
        if pair:
            other = sub_f64(splat_f64(constant[t + 1]), mul_f64(splat_f64(slope[t + 1]), own))
            for k in range(begin, begin + many):
                gain = load_f64(tile, used[k] * LANES)
                value = add_f64(value, mul_f64(splat_f64(packed[k]), gain))
                other = add_f64(other, mul_f64(splat_f64(packed[k + many]), gain))
            store_f64(values, (t + 1) * LANES, other)
        else:
            for k in range(begin, begin + many):
                value = add_f64(value, mul_f64(splat_f64(packed[k]), load_f64(tile, used[k] * LANES)))
        store_f64(values, t * LANES, value)
        t += 2 if pair else 1


@kernel
def _name(standing, begin, end, used, packed, row, reasons, to, n, rows):
    """The three categories with the largest contribution to a trait, the largest first, the lower of equal ones."""
    zero = splat_f64(np.float64(0.0))
    none = splat_f64(np.float64(-1.0))
    size0, size1, size2 = zero, zero, zero
    at0, at1, at2 = none, none, none
    for k in range(begin, end):
        part = mul_f64(splat_f64(packed[k]), load_f64(standing, used[k] * LANES))
        size = select_f64(less_f64(part, zero), sub_f64(zero, part), part)
        code = splat_f64(np.float64(used[k]))
        # Sorted in from below: what is larger than the last takes its place, then changes places upwards.
        last = less_f64(size2, size)
        size2, at2 = select_f64(last, size, size2), select_f64(last, code, at2)
        middle = less_f64(size1, size2)
        size1, size2 = select_f64(middle, size2, size1), select_f64(middle, size1, size2)
        at1, at2 = select_f64(middle, at2, at1), select_f64(middle, at1, at2)
        top = less_f64(size0, size1)
        size0, size1 = select_f64(top, size1, size0), select_f64(top, size0, size1)
        at0, at1 = select_f64(top, at1, at0), select_f64(top, at0, at1)
    store_f64(row, 0, at0)
    for j in range(rows):
        reasons[to + j] = np.int16(row[j])
    store_f64(row, 0, at1)
    for j in range(rows):
        reasons[to + n + j] = np.int16(row[j])
    store_f64(row, 0, at2)
    for j in range(rows):
        reasons[to + 2 * n + j] = np.int16(row[j])
