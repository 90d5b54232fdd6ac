"""A spend state, finished (room ``personality``, called by the state): decayed counts and spend of each customer.

The one place where integers become floats. For each customer and category: the sum over epochs e, ascending, of
``ldexp(float64(S_e), 8 (e - e_last) - 30)``, times ``2**30 / weight(last)``; e_last and last are those of the
customer's own last record. ONE_ANSWER section 8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.core.decay import as_of, per_record
from gpuseg.customers.keyed import Int64, first_of
from gpuseg.errors import InputError
from gpuseg.personality.evidence import Evidence
from gpuseg.personality.spend_cells import unpack_cells

if TYPE_CHECKING:
    from gpuseg.personality.spend_state import SpendState

Float64 = npt.NDArray[np.float64]


def evidence_of(state: SpendState, rows: slice | Int64 | None) -> Evidence:
    """The evidence of some customers of a state.

    Parameters
    ----------
    state : SpendState
        Facts.
    rows : slice or ndarray of int64, or None
        Ascending rows in its keys; ``None`` for all.

    Raises
    ------
    InputError
        The rows do not ascend, or are not there.
    """
    chosen = _rows(state.n_customers, rows)
    entries, owner = _entries(state.cells, chosen)
    _, category, epoch = unpack_cells(state.cells[entries])
    pair = (owner << 32) | category
    starts = first_of(pair)
    last = state.last[chosen]
    count = _decayed(state.weight[entries].astype(np.float64), epoch, last, owner, starts)
    spend = _decayed(state.spend[entries].to_float64(), epoch, last, owner, starts)
    # Under "subtract" more may have come back than went out: nothing is less than nothing.
    spend = np.maximum(spend, 0.0) / float(10**state.rule.minor_units)
    owner, category = owner[starts], category[starts]
    categories = state.rule.categories.categories
    told = (category < len(categories)) & (count > 0)
    bounds = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(np.bincount(owner[told], minlength=len(chosen)), out=bounds[1:])
    total = np.zeros(len(chosen))
    whose = first_of(owner)
    total[owner[whose]] = _ordered_sums(spend, whose)
    return Evidence(
        state.keys.take(pa.array(chosen)),
        categories,
        bounds,
        category[told].astype(np.int32),
        count[told],
        spend[told],
        state.count("records")[chosen],
        total,
    )


def _rows(n: int, rows: slice | Int64 | None) -> Int64:
    if rows is None:
        return np.arange(n)
    if isinstance(rows, slice):
        return np.arange(n)[rows]
    chosen = np.asarray(rows, np.int64)
    if len(chosen) and (chosen[0] < 0 or chosen[-1] >= n or (np.diff(chosen) <= 0).any()):
        raise InputError(f"rows are not ascending numbers from 0 to {n - 1}; sort them, each once")
    return chosen


def _entries(cells: Int64, rows: Int64) -> tuple[slice | Int64, Int64]:
    """Where the cells of some customers are, and the place in ``rows`` of the customer of each."""
    first = np.searchsorted(cells, rows << 32)
    counts = np.searchsorted(cells, (rows + 1) << 32) - first
    owner = np.repeat(np.arange(len(rows)), counts)
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(first[0]), int(first[0]) + len(owner)), owner
    before = np.cumsum(counts) - counts
    return np.arange(len(owner)) + np.repeat(first - before, counts), owner


def _decayed(sums: Float64, epoch: Int64, last: Int64, owner: Int64, starts: npt.NDArray[np.intp]) -> Float64:
    """Sums of epochs as of the last step of their customer, one a customer and category."""
    total = _ordered_sums(as_of(sums, epoch, last[owner]), starts)
    return per_record(total, last[owner[starts]])


def _ordered_sums(values: Float64, starts: npt.NDArray[np.intp]) -> Float64:
    """Sums of runs, each from its first value to its last: ``np.add.reduceat`` states no order."""
    lengths = np.diff(starts, append=len(values))
    total = values[starts] + 0.0  # of two zeros it is always the positive one
    longer = np.flatnonzero(lengths > 1)
    place = 1
    while len(longer):
        total[longer] += values[starts[longer] + place]
        place += 1
        longer = longer[lengths[longer] > place]
    return total
