"""What a reference is made from (room ``personality``; ``reference`` calls it): sums over customers, pass by pass.

Every pass over some customers is a full partial state, and states merge as integers (ONE_ANSWER section 4): any split
of the customers gives the same bits. Customers without a transaction in a mapped category count in nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import Moments, Scales
from gpuseg.core.overindex import CategoryCounts, TraitTerms
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.core.widesum import WideSum, scale_exponent
from gpuseg.engines.base import Engine
from gpuseg.errors import RangeError
from gpuseg.personality.evidence import Evidence

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

COUNT_BITS = 30
"""Counts add up in units of 2**-30, the unit in which decay weighs a record."""
SPEND_BITS = 20
"""Spend adds up in units of 2**-20 of the currency's."""
LARGEST_COUNT = float(1 << 32)
"""Decayed transactions a customer may have in a category; logarithms of over-indices then stay below 2**7."""
LARGEST_SPEND = float(1 << 42)
"""Units of the currency that a customer may have spent."""
INDEX_EXPONENT = 33
"""Scale of log over-indices: their magnitudes stay below 2**7 (a share is at least 2**-62 if it is not 0)."""
BINS = 4096
"""Bins of the histogram of standings."""
BINS_A_UNIT = 256
"""Bins a standard deviation: from 8 below the mean to 8 above; what is beyond is in the outermost ones."""

_ROWS = 1 << 15
"""Customers whose over-indices are held at a time."""
_LOW32 = np.int64((1 << 32) - 1)


@dataclass(frozen=True)
class ShareSums:
    """Pass 1: transactions and spend a category; ``merge`` is associative and commutative, ``zero`` neutral.

    Parameters
    ----------
    n_customers : int
        With a transaction in a mapped category.
    count : WideSum, shape (C,)
        Transactions, in units of 2**-30.
    spend : WideSum, shape (C,)
        Their spend, in units of 2**-20.
    total_spend : WideSum, shape ()
        Spend of all lines, mapped or not.
    """

    n_customers: int
    count: WideSum
    spend: WideSum
    total_spend: WideSum

    @classmethod
    def zero(cls, n_categories: int) -> ShareSums:
        """No customers."""
        return cls(0, WideSum.zero(n_categories), WideSum.zero(n_categories), WideSum.zero(()))

    def merge(self, other: ShareSums) -> ShareSums:
        """Sums over the customers of both."""
        return ShareSums(
            self.n_customers + other.n_customers,
            self.count.merge(other.count),
            self.spend.merge(other.spend),
            self.total_spend.merge(other.total_spend),
        )

    def shares(self) -> Float64:
        """Share of each category in all transactions; some customer must have counted."""
        total = WideSum.from_ints([sum(self.count.to_ints())], ())
        return np.asarray(self.count.to_float64() / total.to_float64())


@dataclass(frozen=True)
class IndexSums:
    """Pass 2: moments of the log over-indices; ``merge`` is associative and commutative, ``zero`` neutral.

    Parameters
    ----------
    moments : Moments
        Of each category.
    largest : ndarray of float64, shape (C,)
        Largest magnitude.
    """

    moments: Moments
    largest: Float64

    @classmethod
    def zero(cls, n_categories: int) -> IndexSums:
        """No customers."""
        return cls(Moments.zero(_scales(np.full(n_categories, INDEX_EXPONENT))), np.zeros(n_categories))

    def merge(self, other: IndexSums) -> IndexSums:
        """Sums over the customers of both."""
        return IndexSums(self.moments.merge(other.moments), np.maximum(self.largest, other.largest))


def partition_shares(evidence: Evidence) -> ShareSums:
    """Pass 1 over some customers.

    Raises
    ------
    RangeError
        A count or an amount is too large for the sums.
    """
    n_categories = len(evidence.categories)
    require_countable(evidence)
    return ShareSums(
        int(np.count_nonzero(np.diff(evidence.starts))),
        _summed(evidence.category, evidence.count, COUNT_BITS, n_categories),
        _summed(evidence.category, evidence.spend, SPEND_BITS, n_categories),
        _summed(np.zeros(evidence.n_customers, np.int32), evidence.total_spend, SPEND_BITS, 1)[0],
    )


def partition_indices(evidence: Evidence, share: Float64, smoothing: float, engine: Engine) -> IndexSums:
    """Pass 2 over some customers.

    Parameters
    ----------
    evidence : Evidence
        Of the customers.
    share : ndarray of float64, shape (C,)
        From pass 1.
    smoothing : float
        a.
    engine : Engine
        Does the work.
    """
    terms = TraitTerms.indices(smoothing, share)
    sums = IndexSums.zero(share.size)
    scales = _scales(np.full(share.size, INDEX_EXPONENT))
    for scores, _ in scored(evidence, terms, engine):
        found = IndexSums(
            engine.moments(scores.T, Weights.ones(), scales), np.abs(scores).max(axis=1, initial=0.0)
        )
        sums = sums.merge(found)
    return sums


def trait_scales(terms: TraitTerms, largest: Float64) -> Scales:
    """Fixed-point scales of pass 3, from the largest over-indices of pass 2.

    Parameters
    ----------
    terms : TraitTerms
        What is scored with.
    largest : ndarray of float64, shape (C,)
        Largest magnitude of each log over-index.
    """
    reach = np.zeros(terms.n_traits)
    for c in range(largest.size):
        reach = reach + np.abs(terms.weight[:, c]) * (largest[c] + np.abs(terms.mean[c]))
    # A little more than the bound: scores are rounded, and so is the bound.
    return _scales(scale_exponent(reach * 1.0625))


def partition_traits(evidence: Evidence, terms: TraitTerms, scales: Scales, engine: Engine) -> Moments:
    """Pass 3 over some customers: moments of their scores.

    Parameters
    ----------
    evidence : Evidence
        Of the customers.
    terms : TraitTerms
        What is scored with.
    scales : Scales
        From :func:`trait_scales`.
    engine : Engine
        Does the work.
    """
    sums = Moments.zero(scales)
    for scores, _ in scored(evidence, terms, engine):
        sums = sums.merge(engine.moments(scores.T, Weights.ones(), scales))
    return sums


def partition_histogram(
    evidence: Evidence, terms: TraitTerms, mean: Float64, sd: Float64, shrinkage: float, engine: Engine
) -> Int64:
    """Pass 4 over some customers: how many stand where; these add up.

    Parameters
    ----------
    evidence : Evidence
        Of the customers.
    terms : TraitTerms
        What is scored with.
    mean, sd : ndarray of float64, shape (T,)
        From pass 3.
    shrinkage : float
        kappa.
    engine : Engine
        Does the work.

    Returns
    -------
    ndarray of int64, shape (T, 4096)
    """
    histogram = np.zeros((terms.n_traits, BINS), np.int64)
    for scores, counted in scored(evidence, terms, engine):
        stands = bin_of(standing(scores, counted, mean, sd, shrinkage))
        for t, bins in enumerate(stands):
            histogram[t] += np.bincount(bins, minlength=BINS)
    return histogram


def standing(scores: Float64, evidence: Float64, mean: Float64, sd: Float64, shrinkage: float) -> Float64:
    """Where customers stand: z n / (n + kappa), in standard deviations of the reference.

    Parameters
    ----------
    scores : ndarray of float64, shape (T, n)
        t.
    evidence : ndarray of float64, shape (n,)
        Transactions.
    mean, sd : ndarray of float64, shape (T,)
        Of t in the reference; where the deviation is 0 everybody stands at 0.
    shrinkage : float
        kappa.
    """
    alike = sd == 0.0
    z = (scores - mean[:, None]) / np.where(alike, 1.0, sd)[:, None]
    z[alike] = 0.0
    return np.asarray(z * (evidence / (evidence + shrinkage)))


def bin_of(stands: Float64) -> Int64:
    """Bin of the histogram in which each standing falls."""
    bins = np.floor(stands * float(BINS_A_UNIT)) + float(BINS // 2)
    return np.clip(bins, 0.0, float(BINS - 1)).astype(np.int64)


def scored(evidence: Evidence, terms: TraitTerms, engine: Engine) -> Iterator[tuple[Float64, Float64]]:
    """Scores (T, rows) and transactions (rows,) of customers with any, some thousand at a time."""
    for start in range(0, evidence.n_customers, _ROWS):
        part = evidence.slice(start, start + _ROWS)
        counts = counts_of(part)
        scores, counted = np.empty((terms.n_traits, counts.n_rows)), np.empty(counts.n_rows)
        engine.trait_scores(counts, terms, scores, counted)
        known = counted > 0.0
        yield (scores, counted) if known.all() else (scores[:, known], counted[known])


def counts_of(evidence: Evidence) -> CategoryCounts:
    """The counts as the engines take them."""
    return CategoryCounts(evidence.starts, evidence.category, evidence.count, len(evidence.categories))


def require_countable(evidence: Evidence) -> None:
    """Refuse counts and amounts that the sums cannot hold.

    Raises
    ------
    RangeError
        Names the largest.
    """
    for name, values, most in (
        ("count", evidence.count, LARGEST_COUNT),
        ("spend", evidence.spend, LARGEST_SPEND),
        ("total spend", evidence.total_spend, LARGEST_SPEND),
    ):
        if values.size and not (values.min() >= 0.0 and values.max() <= most):
            found = f"{values.min():g} to {values.max():g}"
            raise RangeError(f"{name} of a customer goes from {found}; 0 to {most:g} is allowed")


def _summed(group: npt.NDArray[np.int32], values: Float64, bits: int, n_groups: int) -> WideSum:
    """Exact sums of ``rint(values * 2**bits)`` by group."""
    fixed = np.rint(np.ldexp(values, bits)).astype(np.int64)
    high, low = np.zeros(n_groups, np.int64), np.zeros(n_groups, np.int64)
    np.add.at(high, group, fixed >> np.int64(32))
    np.add.at(low, group, fixed & _LOW32)
    exact = [(h << 32) + rest for h, rest in zip(high.tolist(), low.tolist(), strict=True)]
    return WideSum.from_ints(exact, n_groups)


def _scales(exponent: Int64) -> Scales:
    return Scales(WeightMode.NONE, exponent.astype(np.int64), 2 * exponent.astype(np.int64))
