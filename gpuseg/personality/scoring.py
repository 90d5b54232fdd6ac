"""Scores of customers relative to a frozen reference (room ``personality``; the facade, groups and reports use them).

A score says how a customer's spending stands among the reference's on what studies tied to a trait. It is *estimated*,
and loosely tied to the person: see :mod:`gpuseg.personality.intervals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.core.overindex import N_REASONS, CategoryCounts
from gpuseg.core.promise import Promise
from gpuseg.engines.base import Engine
from gpuseg.engines.choose import choose_engine
from gpuseg.errors import InputError
from gpuseg.personality.evidence import Evidence
from gpuseg.personality.intervals import VALIDITY, intervals, quantile, validities
from gpuseg.personality.measurable import Measurability, counting
from gpuseg.personality.reference import Reference, require_categories
from gpuseg.personality.reference_sums import BINS, SPEND_BITS, bin_of, counts_of, require_countable, standing
from gpuseg.personality.weights import TraitWeights

Float64 = npt.NDArray[np.float64]
Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]

_ROWS = 1 << 14
"""Customers whose figures are made together: few enough for the cache."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Estimated traits of n customers, a column a trait.

    Parameters
    ----------
    keys : pyarrow.Array, length n
        Customers, as the evidence has them.
    traits : tuple of str
        Always all of the construct's, in their order.
    values : ndarray of float64, shape (n, T)
        T = 50 + 10 z n / (n + kappa); NaN in the column of a trait that is not measurable, as in all that follow.
    percentile : ndarray of float64, shape (n, T)
        Of the reference's customers, the part that stands lower, half of those who stand alike included; 0 to 100.
    low, high : ndarray of float64, shape (n, T)
        Interval of the trait, sampling error and validity ceiling included.
    evidence : ndarray of float64, shape (n,)
        Transactions that scores rest on, decayed, in mapped categories.
    covered : ndarray of float64, shape (n, T)
        Share of the customer's spend in categories that count for the trait; 0 of no spend.
    evidenced : ndarray of int16, shape (n, T)
        Categories that count for the trait in which the customer bought.
    reasons : ndarray of int16, shape (n, T, 3)
        The three categories that contribute most, the first one most; numbers in ``categories``, -1 for none.
    categories : tuple of str
        The mapped categories.
    measurability : tuple of Measurability
        What each trait rests on, and why one is not measurable.
    alike : tuple of str
        Traits in which all customers of the reference stand alike: their scores are 50.
    level : float
        Of the intervals.
    reference_digest : str
        Of the reference.
    promise : Promise
        Always exact.
    """

    keys: pa.Array
    traits: tuple[str, ...]
    values: Float64
    percentile: Float64
    low: Float64
    high: Float64
    evidence: Float64
    covered: Float64
    evidenced: Int16
    reasons: Int16
    categories: tuple[str, ...]
    measurability: tuple[Measurability, ...]
    alike: tuple[str, ...]
    level: float
    reference_digest: str
    promise: Promise = Promise.EXACT

    def to_arrow(self, key: str = "customer") -> pa.Table:
        """The customers' column and one column a trait, always all of them.

        Parameters
        ----------
        key : str, default "customer"
            Name of the customers' column.

        Returns
        -------
        pyarrow.Table
            float64, NaN where a trait is not measurable.
        """
        columns = {trait: pa.array(self.values[:, t]) for t, trait in enumerate(self.traits)}
        return pa.table({key: self.keys} | columns)

    def reasons_of(self, row: int) -> dict[str, tuple[str, ...]]:
        """The categories that contribute most to each score of one customer.

        Parameters
        ----------
        row : int
            Of the customer.
        """
        named = zip(self.traits, self.reasons[row].tolist(), strict=True)
        return {trait: tuple(self.categories[c] for c in found if c >= 0) for trait, found in named}


def score(
    evidence: Evidence,
    reference: Reference,
    weights: TraitWeights,
    *,
    validity: float | Mapping[str, float] = VALIDITY,
    level: float = 0.95,
    engine: Engine | None = None,
) -> Scores:
    """Score customers.

    Parameters
    ----------
    evidence : Evidence
        Of any customers: a score depends on the customer's own alone.
    reference : Reference
        What it is relative to.
    weights : TraitWeights
        Those that the reference was made with.
    validity : float or mapping of str to float, default .15
        Correlation of score and trait: the literature's for the Big Five, or what a calibration found.
    level : float, default .95
        Of the intervals: .5, .8, .9, .95 or .99.
    engine : Engine, optional
        Does the work; default: what ``engine="auto"`` takes. It changes no bit.

    Returns
    -------
    Scores
        The same bits whatever other customers are scored along with them.

    Raises
    ------
    InputError
        The categories are not those of the reference; ``validity`` or ``level`` is out of range.
    ContractError
        The weights are not those of the reference.
    RangeError
        A count or an amount is below 0, or too large.
    """
    require_categories(evidence, reference.categories)
    require_countable(evidence)
    quantile(level)
    r, terms = validities(validity, reference.traits), reference.terms(weights)
    by = choose_engine().build() if engine is None else engine
    n, n_traits = evidence.n_customers, terms.n_traits
    raw, counted = np.empty((n_traits, n)), np.empty(n)
    reasons = np.empty((n_traits, N_REASONS, n), np.int16)
    by.trait_scores(counts_of(evidence), terms, raw, counted, reasons)
    values, percentile, low, high = (np.empty((n_traits, n)) for _ in range(4))
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        stands = _standing(raw[:, rows], counted[rows], reference)
        values[:, rows] = 50.0 + 10.0 * stands
        percentile[:, rows] = _percentiles(stands, reference.histogram)
        low[:, rows], high[:, rows] = intervals(stands, counted[rows], reference.shrinkage, r, level)
    covered, evidenced = _covered(evidence, counting(weights, reference.categories))
    for t, found in enumerate(reference.measurability):
        if not found.measurable:
            for figures in (values, percentile, low, high):
                figures[t] = np.nan
            reasons[t] = -1
    return Scores(
        evidence.keys, reference.traits, values.T, percentile.T, low.T, high.T, counted, covered.T, evidenced.T,
        reasons.transpose(2, 0, 1), reference.categories, reference.measurability, reference.alike, level,
        reference.digest,
    )  # fmt: skip


def score_counts(
    counts: npt.NDArray[np.float64],
    reference: Reference,
    weights: TraitWeights,
    *,
    engine: Engine | None = None,
) -> Float64:
    """Only the scores, from a table of counts: for those who have counted themselves.

    Parameters
    ----------
    counts : ndarray of float64, shape (n, C)
        Transactions in the categories of the reference; a table in C order is not copied.
    reference : Reference
        What scores are relative to.
    weights : TraitWeights
        Those that the reference was made with.
    engine : Engine, optional
        Does the work; default: what ``engine="auto"`` takes.

    Returns
    -------
    ndarray of float64, shape (n, T)
        The ``values`` of :func:`score`, bit for bit.

    Raises
    ------
    InputError
        The table has another width, or holds negative or not finite values.
    ContractError
        The weights are not those of the reference.
    """
    if counts.ndim != 2 or counts.shape[1] != len(reference.categories):
        wanted = f"a column for each of its {len(reference.categories)} categories"
        msg = f"counts of shape {counts.shape} do not fit the reference; give {wanted}"
        raise InputError(msg)
    terms = reference.terms(weights)
    by = choose_engine().build() if engine is None else engine
    raw, counted = np.empty((terms.n_traits, len(counts))), np.empty(len(counts))
    by.trait_scores(CategoryCounts.of_table(counts), terms, raw, counted)
    if not np.isfinite(counted).all():
        raise InputError("counts hold infinite values; give 0 or more")
    for start in range(0, len(counts), _ROWS):
        rows = slice(start, start + _ROWS)
        raw[:, rows] = 50.0 + 10.0 * _standing(raw[:, rows], counted[rows], reference)
    for t, found in enumerate(reference.measurability):
        if not found.measurable:
            raw[t] = np.nan
    return raw.T


def _standing(raw: Float64, counted: Float64, reference: Reference) -> Float64:
    return standing(raw, counted, reference.trait_mean, reference.trait_sd, reference.shrinkage)


def _percentiles(stands: Float64, histogram: Int64) -> Float64:
    """Part of the reference below each standing's bin and half of it within, in percent."""
    found = np.empty(stands.shape)
    for t, row in enumerate(histogram):
        upto = np.cumsum(row)
        middle = (2 * upto - row).astype(np.float64) * 50.0 / float(upto[BINS - 1])
        found[t] = middle[bin_of(stands[t])]
    return found


def _covered(evidence: Evidence, counts: npt.NDArray[np.bool_]) -> tuple[Float64, Int16]:
    """Covered share of spend and categories bought in, by trait and customer.

    Spend adds up in integers; a running sum may wrap, and its differences are right all the same.
    """
    shares = np.zeros((len(counts), evidence.n_customers))
    bought = np.zeros((len(counts), evidence.n_customers), np.int16)
    total = np.rint(np.ldexp(evidence.total_spend, SPEND_BITS))
    money = np.rint(np.ldexp(evidence.spend, SPEND_BITS)).astype(np.int64)
    for t, counted in enumerate(counts):
        mine = counted[evidence.category]
        part = _by_customer(np.where(mine, money, 0), evidence.starts).astype(np.float64)
        np.divide(part, total, out=shares[t], where=total > 0.0)
        bought[t] = _by_customer(mine.astype(np.int64), evidence.starts)
    return shares, bought


def _by_customer(values: Int64, starts: Int64) -> Int64:
    running = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    return np.asarray(running[starts[1:]] - running[starts[:-1]])
