"""How well a ridge does with customers whom it has not seen (room ``personality``; calibration calls it).

Folds are of customers, never of rows. Whatever is learned from data (means, spreads, the penalty, the weights) is
learned from the training folds alone. scikit-learn's ridge and BLAS are in the path: REPEATABLE, not exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core import detmath
from gpuseg.core.philox import Stage, draw64
from gpuseg.customers.keyed import Int64

Float64 = npt.NDArray[np.float64]

PENALTIES = (10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
"""Of the ridge, on standardised features."""
N_FOLDS = 5

_LOG2_E = 1.4426950408889634


def fold_of(identity: npt.NDArray[np.uint64], n_folds: int, seed: int, index: int = 0) -> Int64:
    """Which fold each customer is in: dealt round in the order of a draw that goes by who they are.

    Parameters
    ----------
    identity : ndarray of uint64, shape (n,)
        Customers, each once.
    n_folds : int
        2 or more.
    seed, index : int
        Of the draw.
    """
    order = np.lexsort((identity, draw64(seed, Stage.FOLD, identity, index)))
    fold = np.empty(len(identity), np.int64)
    fold[order] = np.arange(len(identity)) % n_folds
    return fold


@dataclass(frozen=True, eq=False)
class SurveyedRows:
    """Features by row, and whose each row is. Every customer has the weight 1, shared among the rows."""

    values: Float64
    customer: Int64
    identity: npt.NDArray[np.uint64]

    def of(self, customers: npt.NDArray[np.bool_]) -> SurveyedRows:
        """The rows of some customers, renumbered."""
        use = customers[self.customer]
        number = np.cumsum(customers) - 1
        return SurveyedRows(self.values[use], number[self.customer[use]], self.identity[customers])

    def weight(self) -> Float64:
        """1 / rows of the same customer."""
        return 1.0 / np.bincount(self.customer, minlength=len(self.identity))[self.customer]

    def moments(self) -> tuple[Float64, Float64]:
        """Mean and spread of each feature, over what is known."""
        weight = np.where(np.isnan(self.values), 0.0, self.weight()[:, None])
        total = np.maximum(weight.sum(axis=0), 1e-300)
        mean = (weight * np.where(np.isnan(self.values), 0.0, self.values)).sum(axis=0) / total
        away = np.where(np.isnan(self.values), 0.0, self.values - mean)
        spread = np.sqrt((weight * away * away).sum(axis=0) / total)
        return mean, np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1e-300), spread, 0.0)

    def by_customer(self, of_rows: Float64) -> Float64:
        """Mean over the rows of each customer, which stand together; shape (customers, columns)."""
        counts = np.bincount(self.customer, minlength=len(self.identity))
        total = np.add.reduceat(of_rows, np.cumsum(counts) - counts, axis=0)
        return np.asarray(total / counts[:, None])


def correlation_unseen(rows: SurveyedRows, y: Float64, level: float, seed: int) -> tuple[float, float, float]:
    """Correlation with customers whom the model has not seen, and its interval."""
    fold = fold_of(rows.identity, N_FOLDS, seed)
    total, weight = 0.0, 0.0
    for number in range(N_FOLDS):
        seen = fold != number
        part = rows.of(seen)
        penalty = best_penalty(part, y[seen], seed, number + 1)
        predicted = RidgeFits.of(part, y[seen], (penalty,)).predict(rows.of(~seen))[:, 0]
        total += (len(predicted) - 3) * _fisher(_correlation(predicted, y[~seen]))
        weight += len(predicted) - 3
    z, half = total / weight, NormalDist().inv_cdf(0.5 + level / 2.0) / float(np.sqrt(weight))
    return _back(z), _back(z - half), _back(z + half)


def best_penalty(rows: SurveyedRows, y: Float64, seed: int, index: int) -> float:
    """The penalty with the smallest squared error among customers not seen; of equals the largest."""
    fold = fold_of(rows.identity, N_FOLDS, seed, index + 1)
    error = np.zeros(len(PENALTIES))
    for number in range(N_FOLDS):
        seen = fold != number
        away = y[~seen][:, None] - RidgeFits.of(rows.of(seen), y[seen], PENALTIES).predict(rows.of(~seen))
        error += (away * away).sum(axis=0)
    return PENALTIES[len(PENALTIES) - 1 - int(np.argmin(error[::-1]))]


@dataclass(frozen=True, eq=False)
class RidgeFits:
    """Ridge models of the same rows, one a penalty."""

    mean: Float64
    spread: Float64
    ridge: Any

    @classmethod
    def of(cls, rows: SurveyedRows, y: Float64, penalties: Sequence[float]) -> RidgeFits:
        """Fit scores, one a customer."""
        from sklearn.linear_model import Ridge

        mean, spread = rows.moments()
        ridge = Ridge(alpha=np.array(penalties), solver="cholesky")
        targets = np.repeat(y[rows.customer][:, None], len(penalties), axis=1)
        ridge.fit(standardised(rows.values, mean, spread), targets, sample_weight=rows.weight())
        return cls(mean, spread, ridge)

    def predict(self, rows: SurveyedRows) -> Float64:
        """Of each customer and penalty."""
        of_rows = self.ridge.predict(standardised(rows.values, self.mean, self.spread))
        return rows.by_customer(np.asarray(of_rows, np.float64).reshape(len(rows.values), -1))


def standardised(values: Float64, mean: Float64, spread: Float64) -> Float64:
    """(x - mean) / spread; 0 where x is not known, or the feature was constant."""
    z = (values - mean) / np.where(spread > 0.0, spread, 1.0)
    return np.where(np.isnan(z) | (spread == 0.0), 0.0, z)


def linear(z: Float64, coefficients: Sequence[float] | Float64) -> Float64:
    """Sum of the columns, each times its coefficient, in their order."""
    total = np.zeros(len(z))
    for column, weight in enumerate(coefficients):
        total = total + weight * z[:, column]
    return total


def _correlation(x: Float64, y: Float64) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0.0 else 0.0


def _fisher(r: float) -> float:
    r = min(max(r, -0.999999), 0.999999)
    return 0.5 * float(detmath.log((1.0 + r) / (1.0 - r)))


def _back(z: float) -> float:
    power = float(detmath.exp2(2.0 * z * _LOG2_E))
    return (power - 1.0) / (power + 1.0)
