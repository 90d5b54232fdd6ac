"""From integers to the figures of each customer (room ``customers``, called by features and summary).

Each function takes a :class:`~gpuseg.customers.customer_state.CustomerState` and returns one float64 or integer a
customer. Only + - * / and sqrt, and the logarithm of ``core.detmath``: the same bits everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.core import detmath
from gpuseg.customers.customer_state import CustomerState
from gpuseg.customers.keyed import Int64, first_of
from gpuseg.customers.reading.reader import UNKNOWN

Float64 = npt.NDArray[np.float64]

_ENTROPY_BITS = 44
"""Entropy terms are rounded to 2**-44 and added as integers: no order of summation, room for 2**20 categories."""

_MEAN_BITS = 32
"""Scores are rounded to 2**-32 for their mean: room for 2**31 customers."""


@dataclass(frozen=True)
class Rhythm:
    """When a customer buys; arrays have one entry a customer.

    Parameters
    ----------
    visit_days : ndarray of int64
        Distinct days with a purchase.
    first, last : ndarray of int64
        First and last of them, counted from 1970-01-01; 0 without a purchase.
    gap_mean : ndarray of float64
        Mean days between consecutive visit days; NaN with fewer than two.
    regularity : ndarray of float64
        (mean - sd) / (mean + sd) of those gaps, -1 to 1; 0 with fewer than three visit days.
    """

    visit_days: Int64
    first: Int64
    last: Int64
    gap_mean: Float64
    regularity: Float64


def visits(state: CustomerState, *, by_basket: bool) -> Int64:
    """Distinct receipts a customer, or distinct days with a purchase where there are no receipts."""
    pairs = state.basket_pairs if by_basket else state.days
    return np.bincount(pairs >> 32, minlength=state.n_customers).astype(np.int64)


def rhythm(state: CustomerState) -> Rhythm:
    """Days of purchase and how regularly they follow each other.

    Notes
    -----
    Regularity is minus the burstiness B = (sd - mean) / (sd + mean) of Goh & Barabasi (2008), with the population sd of
    the days between consecutive visit days: 1 for a clockwork, 0 for a Poisson process, towards -1 for bursts. From the
    integers m = gaps, S = their sum, Q = their squares: sd / mean = sqrt(m Q - S^2) / S.
    """
    customer, day = state.visit_days()
    n = state.n_customers
    count = np.bincount(customer, minlength=n).astype(np.int64)
    first, last = np.zeros(n, np.int64), np.zeros(n, np.int64)
    starts = first_of(customer)
    first[customer[starts]] = day[starts]
    last[customer[starts]] = day[np.append(starts[1:], len(day)) - 1] if len(day) else 0
    gap = np.diff(day, prepend=0)
    gap[starts] = 0
    square = np.zeros(n, np.int64)
    np.add.at(square, customer, gap * gap)
    m, total = count - 1, last - first
    spread = np.sqrt(np.maximum(m * square - total * total, 0).astype(np.float64))
    known = count >= 3
    span = np.where(known, total, 1).astype(np.float64)
    regularity = np.where(known, (span - spread) / (span + spread), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap_mean = np.where(count >= 2, total.astype(np.float64) / m, np.nan)
    return Rhythm(count, first, last, gap_mean, regularity)


def share(part: Int64, whole: Int64) -> Float64:
    """Part / whole, 0 where the whole is 0."""
    return part.astype(np.float64) / np.where(whole > 0, whole, 1).astype(np.float64)


def diversity(state: CustomerState) -> Float64:
    """Shannon entropy of the spend over categories, divided by ln C: 0 for one category, 1 for all alike.

    C is the number of categories of the state, "unknown" included. 0 where C is 1, and for who bought in none of them.
    """
    n_categories = len(state.categories)
    entropy = np.zeros(state.n_customers, np.int64)
    if n_categories < 2:
        return entropy.astype(np.float64)
    customer = state.spend_pairs >> 32
    p = state.spend.astype(np.float64) / counted_spend(state)[customer].astype(np.float64)
    terms = np.rint(-(p * detmath.log(p)) * 2.0**_ENTROPY_BITS).astype(np.int64)
    np.add.at(entropy, customer, terms)
    scaled = entropy.astype(np.float64) * 2.0**-_ENTROPY_BITS / float(detmath.log(float(n_categories)))
    return np.minimum(scaled, 1.0)


def counted_spend(state: CustomerState) -> Int64:
    """Minor units that each customer spent in the categories of the state: the whole of which a share is a part."""
    spend = np.zeros(state.n_customers, np.int64)
    np.add.at(spend, state.spend_pairs >> 32, state.spend)
    return spend


def mean_of_scores(values: Float64) -> float:
    """Mean of values from 0 to 1, to about 2**-32; of none: 0. An integer sum: no order of the customers matters."""
    if not len(values):
        return 0.0
    return int(np.rint(values * 2.0**_MEAN_BITS).astype(np.int64).sum()) / len(values) * 2.0**-_MEAN_BITS


def category_spend(state: CustomerState, name: str) -> Int64:
    """Minor units that each customer spent in one category; 0 for a name that nobody bought."""
    names = state.categories.to_pylist()
    spend = np.zeros(state.n_customers, np.int64)
    if name in names:
        chosen = (state.spend_pairs & 0xFFFFFFFF) == names.index(name)
        spend[state.spend_pairs[chosen] >> 32] = state.spend[chosen]
    return spend


def categories_bought(state: CustomerState) -> Int64:
    """Distinct categories a customer."""
    return np.bincount(state.spend_pairs >> 32, minlength=state.n_customers).astype(np.int64)


def category_totals(state: CustomerState) -> dict[str, int]:
    """Money spent in each category, over all customers."""
    totals = np.zeros(len(state.categories), np.int64)
    np.add.at(totals, state.spend_pairs & 0xFFFFFFFF, state.spend)
    return dict(zip(state.categories.to_pylist(), totals.tolist(), strict=True))


def top_categories(totals: dict[str, int], count: int) -> tuple[str, ...]:
    """The categories with the most money, ties by name; never "unknown", which is the lack of one."""
    named = [name for name in totals if name != UNKNOWN]
    return tuple(sorted(named, key=lambda name: (-totals[name], name))[:count])


def top_category(state: CustomerState) -> pa.Array:
    """Name of the category with the most money of each customer, ties by name; null without a purchase in any."""
    customer = state.spend_pairs >> 32
    # By customer, then money descending; the sort is stable and pairs ascend, so ties stay in the order of names.
    order = np.lexsort((-state.spend, customer))
    starts = first_of(customer[order])
    best = np.full(state.n_customers, -1, np.int64)
    best[customer[order][starts]] = state.spend_pairs[order][starts] & 0xFFFFFFFF
    return state.categories.cast(pa.string()).take(pa.array(best, mask=best < 0))
