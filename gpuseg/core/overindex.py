"""Scores from over-indexing (core): how much more of a category than others, weighed for each trait; the definition.

With n_c transactions in category c, n of all, share b_c of the population and smoothing a, the log over-index is

    L_c = log(n_c + a b_c) - log(n + a) - log(b_c) = g_c - l,
    g_c = log(n_c + a b_c) - log(a b_c),    l = log(n + a) - log(a),

so that whoever bought nothing has 0 in every category. A trait is t = sum of w_c (L_c - mu_c) / sigma_c. Grouped as
``constant - slope * l + sum of v_c g_c``, v_c = w_c / sigma_c, categories with n_c = 0 add nothing, and the same bits
come from a table of counts and from a list of those that are not 0. Engines reproduce :func:`trait_scores` bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core import detmath
from gpuseg.errors import ContractError

Float64Array = npt.NDArray[np.float64]

N_REASONS = 3
"""Categories that are named for a score."""


@dataclass(frozen=True)
class CategoryCounts:
    """How often each of n customers bought in each of C categories: entries, or a whole table.

    Parameters
    ----------
    starts : ndarray of int64, shape (n + 1,)
        Entries of customer i are ``starts[i]`` to ``starts[i + 1]``; of a whole table (0, m) will do.
    category : ndarray of int32, shape (m,)
        Of each entry, ascending for a customer; empty where every customer has an entry for every category.
    count : ndarray of float64, shape (m,)
        Finite, 0 or more; below 2**32.
    n_categories : int
        C.
    dense : bool
        Whether every customer has an entry for every category.
    """

    starts: npt.NDArray[np.int64]
    category: npt.NDArray[np.int32]
    count: Float64Array
    n_categories: int
    dense: bool = False

    def __post_init__(self) -> None:
        starts, entries = self.starts, self.count.size
        if starts.ndim != 1 or not starts.size or starts[0] != 0 or starts[-1] != entries:
            raise ContractError(
                f"starts of {entries} entries do not go from 0 to {entries}; give n + 1 of them"
            )
        if self.dense:
            if self.category.size or entries % max(self.n_categories, 1):
                raise ContractError(f"{entries} entries are no table of {self.n_categories} categories")
            return
        if (np.diff(starts) < 0).any() or (np.diff(starts) > self.n_categories).any():
            raise ContractError(f"a customer has fewer than 0 or more than {self.n_categories} entries")
        if self.category.size != entries:
            raise ContractError(
                f"{self.category.size} categories do not fit {entries} entries; give one an entry"
            )

    @classmethod
    def of_table(cls, counts: Float64Array) -> CategoryCounts:
        """Of a table of shape (n, C); a C-ordered float64 table is not copied."""
        flat = np.ascontiguousarray(counts, np.float64).reshape(-1)
        ends = np.array([0, flat.size], np.int64)
        return cls(ends, np.empty(0, np.int32), flat, counts.shape[1], dense=True)

    @property
    def n_rows(self) -> int:
        """Customers."""
        return self.count.size // max(self.n_categories, 1) if self.dense else self.starts.size - 1


@dataclass(frozen=True)
class TraitTerms:
    """What scores are made with: numbers of a reference and weights, grouped as they are used.

    Parameters
    ----------
    smoothing : float
        a, transactions of the population's shares that are added to everybody's.
    floor : ndarray of float64, shape (C,)
        a b_c; 1 where a category is left out.
    mean : ndarray of float64, shape (C,)
        mu_c.
    weight : ndarray of float64, shape (T, C)
        v_c; 0 where a category is left out.
    slope : ndarray of float64, shape (T,)
        Sum of the weights.
    constant : ndarray of float64, shape (T,)
        Minus the sum of v_c mu_c.
    """

    smoothing: float
    floor: Float64Array
    mean: Float64Array
    weight: Float64Array
    slope: Float64Array
    constant: Float64Array

    @classmethod
    def of(
        cls,
        smoothing: float,
        share: Float64Array,
        mean: Float64Array,
        sd: Float64Array,
        weights: Float64Array,
    ) -> TraitTerms:
        """Terms of a reference; a category that nobody bought, or that everybody bought alike, is left out.

        Parameters
        ----------
        smoothing : float
            a, above 0.
        share, mean, sd : ndarray of float64, shape (C,)
            b_c, mu_c and sigma_c.
        weights : ndarray of float64, shape (T, C)
            w_c.
        """
        used = (share > 0.0) & (sd > 0.0)
        weight = np.where(used, weights / np.where(used, sd, 1.0), 0.0)
        slope, constant = np.zeros(len(weights)), np.zeros(len(weights))
        for c in range(share.size):
            slope = slope + weight[:, c]
            constant = constant - weight[:, c] * mean[c]
        return cls(smoothing, np.where(used, smoothing * share, 1.0), mean, weight, slope, constant)

    @classmethod
    def indices(cls, smoothing: float, share: Float64Array) -> TraitTerms:
        """Terms whose scores are the log over-indices themselves, a category a trait; 0 of one that nobody bought."""
        ones = np.ones(share.size)
        return cls.of(smoothing, share, np.zeros(share.size), ones, np.diag(ones))

    @property
    def n_traits(self) -> int:
        """T."""
        return len(self.weight)


def trait_scores(
    counts: Float64Array, terms: TraitTerms
) -> tuple[Float64Array, Float64Array, npt.NDArray[np.int16]]:
    """The definition, in plain numpy.

    Parameters
    ----------
    counts : ndarray of float64, shape (n, C)
        Transactions.
    terms : TraitTerms
        What they are scored with.

    Returns
    -------
    scores : ndarray of float64, shape (T, n)
        t, before it is standardised.
    evidence : ndarray of float64, shape (n,)
        Transactions of each customer: sum of the counts, categories ascending.
    reasons : ndarray of int16, shape (T, 3, n)
        The categories whose contributions v_c (L_c - mu_c) are the largest in magnitude, the largest first, of equal
        ones the lower; -1 where there are no more that are not 0.
    """
    n, n_categories = counts.shape
    evidence = np.zeros(n)
    for c in range(n_categories):
        evidence = evidence + counts[:, c]
    length = detmath.log(evidence + terms.smoothing) - detmath.log(terms.smoothing)
    gain = detmath.log(counts + terms.floor) - detmath.log(terms.floor)
    scores = terms.constant[:, None] - terms.slope[:, None] * length
    for c in range(n_categories):
        scores = scores + terms.weight[:, c, None] * gain[:, c]
    standing = (gain - length[:, None]) - terms.mean
    reasons = np.full((terms.n_traits, N_REASONS, n), -1, np.int16)
    for t in range(terms.n_traits):
        size = np.abs(terms.weight[t] * standing)
        order = np.argsort(-size, axis=1, kind="stable")[:, :N_REASONS]
        found = np.where(np.take_along_axis(size, order, axis=1) > 0.0, order, -1)
        reasons[t, : found.shape[1]] = found.T
    return scores, evidence, reasons
