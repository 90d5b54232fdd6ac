"""numba kernels for scores from over-indexing (CPU engine): :func:`gpuseg.core.overindex.trait_scores`, same bits.

Customers advance in blocks: first the entries that are not 0 are gathered, then their logarithms are taken side by side,
then each customer's are weighed, sixteen traits at a time. Counts that are small whole numbers, as those without decay
are, come from a table of the same logarithms.
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
from gpuseg.engines.cpu.wide import add_f64, load_f64, mul_f64, splat_f64, store_f64, sub_f64
from gpuseg.errors import ContractError

ROWS = 64
"""Customers that are gathered together."""
KNOWN = 64
"""Whole counts below this have their logarithm in the table."""

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
    """
    require_scored(counts, terms, scores, evidence, reasons)
    width = -(-terms.n_traits // LANES) * LANES
    weight, slope, constant = np.zeros((terms.floor.size, width)), np.zeros(width), np.zeros(width)
    weight[:, : terms.n_traits] = terms.weight.T
    slope[: terms.n_traits], constant[: terms.n_traits] = terms.slope, terms.constant
    base = detmath.log(terms.floor)
    table = detmath.log(np.arange(float(KNOWN)) + terms.floor[:, None]) - base[:, None]
    named = np.empty(0, np.int16) if reasons is None else reasons.reshape(-1)
    start_of, used = _weighted(terms.weight)

    def work(start: int, stop: int) -> bool:
        return bool(
            _trait_rows(
                counts.starts, counts.category, counts.dense, counts.count, start, stop, terms.smoothing,
                detmath.log(terms.smoothing), terms.floor, base, table.reshape(-1), weight.reshape(-1), width, slope,
                constant, terms.n_traits, scores.reshape(-1), evidence, evidence.size,
                named, reasons is not None, start_of, used, terms.mean,
            )
        )  # fmt: skip

    if not all(run_parallel(work, ranges)):
        msg = f"a category is not one of 0 .. {terms.floor.size - 1}; score with the reference of the same categories"
        raise ContractError(msg)


def _weighted(weight: Float64) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Categories with a weight, trait by trait."""
    traits, used = np.nonzero(weight)
    start_of = np.searchsorted(traits, np.arange(len(weight) + 1))
    return start_of.astype(np.int64), used.astype(np.int64)


@kernel
def _logarithms(values, m):
    """The logarithm of each of the first m values, in place: one array, so that the compiler takes several at once."""
    for j in range(m):
        values[j] = _log(values[j])


@kernel
def _trait_rows(
    starts, category, dense, count, start, stop, smoothing, log_smoothing, floor, base, table, weight, width, slope,
    constant, n_traits, scores, evidence, n, reasons, want_reasons, start_of, used, mean,
):  # fmt: skip
    """Scores of customers [start, stop); False where a category is none of the C there are."""
    n_categories = floor.size
    code = np.empty(ROWS * n_categories + 1, np.int64)
    gain = np.empty(ROWS * n_categories + 1, np.float64)
    first = np.empty(ROWS + 1, np.int64)
    length = np.empty(ROWS, np.float64)
    row = np.empty(width, np.float64)
    whole_row = np.zeros(n_categories, np.float64)
    for low in range(start, stop, ROWS):
        rows = min(ROWS, stop - low)
        m = 0
        whole = True
        for i in range(rows):
            first[i] = m
            total = np.float64(0.0)
            begin = starts[low + i]
            for j in range(begin, starts[low + i + 1]):
                c = j - begin if dense else np.int64(category[j])
                if c < 0 or c >= n_categories:
                    return False
                value = count[j]
                total += value
                code[m] = c
                gain[m] = value
                if value != 0.0:
                    m += 1
                    if not (value < KNOWN and np.float64(np.int64(value)) == value):
                        whole = False
            evidence[low + i] = total
            length[i] = total + smoothing
        first[rows] = m
        _logarithms(length, rows)
        if whole:
            for j in range(m):
                gain[j] = table[code[j] * KNOWN + np.int64(gain[j])]
        else:
            for j in range(m):
                gain[j] += floor[code[j]]
            _logarithms(gain, m)
            for j in range(m):
                gain[j] -= base[code[j]]
        for i in range(rows):
            own = length[i] - log_smoothing
            _weigh(gain, code, first[i], first[i + 1], own, weight, width, slope, constant, row)
            for t in range(n_traits):
                scores[t * n + low + i] = row[t]
            if want_reasons:
                for j in range(first[i], first[i + 1]):
                    whole_row[code[j]] = gain[j]
                _name(whole_row, own, weight, width, mean, start_of, used, n_traits, reasons, n, low + i)
                for j in range(first[i], first[i + 1]):
                    whole_row[code[j]] = 0.0
    return True


@kernel
def _weigh(gain, code, first, last, length, weight, width, slope, constant, row):
    """row[t] = constant[t] - slope[t] * length, then + weight[c, t] * gain for each entry, in turn."""
    shift = splat_f64(length)
    for t in range(0, width, LANES):
        total = sub_f64(load_f64(constant, t), mul_f64(load_f64(slope, t), shift))
        for j in range(first, last):
            total = add_f64(total, mul_f64(load_f64(weight, code[j] * width + t), splat_f64(gain[j])))
        store_f64(row, t, total)


@kernel
def _name(gain, length, weight, width, mean, start_of, used, n_traits, reasons, n, i):
    """The three categories with the largest contribution to each trait of customer i, the lower of equal ones."""
    for t in range(n_traits):
        size0, size1, size2 = 0.0, 0.0, 0.0
        at0, at1, at2 = -1, -1, -1
        for k in range(start_of[t], start_of[t + 1]):
            c = used[k]
            size = abs(weight[c * width + t] * ((gain[c] - length) - mean[c]))
            if size > size0:
                size0, size1, size2 = size, size0, size1
                at0, at1, at2 = c, at0, at1
            elif size > size1:
                size1, size2 = size, size1
                at1, at2 = c, at1
            elif size > size2:
                size2 = size
                at2 = c
        reasons[(t * N_REASONS) * n + i] = at0
        reasons[(t * N_REASONS + 1) * n + i] = at1
        reasons[(t * N_REASONS + 2) * n + i] = at2
