"""How features go with a later outcome (room ``insight``; reached through outcome): AUC and rank-biserial, no cause."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt

from gpuseg.insight.rates import Z_95, Rate, require_varied, truths

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FeatureAssociation:
    """How a feature goes with a later outcome; never a cause.

    Parameters
    ----------
    feature : str
        Its name.
    auc : float
        Probability that a customer with the outcome has the higher value, ties counting half; 0.5 is no association.
        NaN where the feature is known on one side only.
    interval : (float, float)
        95 %, DeLong's, within [0, 1]; (0, 1) where a side has fewer than two customers.
    n_with, n_without : int
        Customers contacted with and without the outcome for whom the feature is known.
    """

    feature: str
    auc: float
    interval: tuple[float, float]
    n_with: int
    n_without: int

    @property
    def rank_biserial(self) -> float:
        """2 AUC - 1: from -1 to 1, 0 is no association."""
        return 2.0 * self.auc - 1.0

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of one half."""
        return self.interval[0] > 0.5 or self.interval[1] < 0.5


def feature_associations(
    features: Any, outcome: npt.ArrayLike, contacted: npt.ArrayLike | None
) -> tuple[FeatureAssociation, ...]:
    """How each feature goes with the outcome in the later window, among those contacted; strongest first.

    Parameters
    ----------
    features : Table or DataFrame (Arrow, pandas, polars), n rows
        A column a feature, known before the window. Columns that are no numbers (the customer) are left out, and so is
        an Arrow table's customer column; null and NaN count nowhere.
    outcome, contacted : array_like of bool, shape (n,)
        ``contacted`` may be None, as in :func:`outcome_rates`.

    Returns
    -------
    tuple of FeatureAssociation
        By distance of the AUC from one half, descending; ties by name. Those without an AUC come last.

    Raises
    ------
    InputError
        Lengths that differ, or an outcome that separates nothing.

    Notes
    -----
    Integers, + - x / and sqrt: the same bits everywhere. Cost: a sort a feature.

    References
    ----------
    E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson. Comparing the areas under two or more correlated receiver
    operating characteristic curves. Biometrics 44 (1988).

    Examples
    --------
    >>> import pyarrow as pa
    >>> table = pa.table({"visits": [1, 2, 8, 9], "age": [5, 1, 1, 5]})
    >>> [(f.feature, f.auc) for f in feature_associations(table, [0, 0, 1, 1], [1, 1, 1, 1])]
    [('visits', 1.0), ('age', 0.5)]
    """
    frame = nw.from_native(features, eager_only=True)
    happened, base = truths(outcome, "outcome", len(frame)), _base(contacted, len(frame))
    require_varied(Rate(int(np.count_nonzero(base & happened)), int(np.count_nonzero(base))))
    key = (
        (getattr(getattr(features, "schema", None), "metadata", None) or {}).get(b"gpuseg.customer") or b""
    ).decode()
    names = [name for name in frame.columns if name != key and frame[name].dtype.is_numeric()]
    found = []
    for name in names:
        values = frame[name].to_numpy().astype(np.float64)
        found.append(_association(name, values[base & happened], values[base & ~happened]))
    return tuple(sorted(found, key=lambda f: (math.isnan(f.auc), -abs(f.auc - 0.5), f.feature)))


def _base(contacted: npt.ArrayLike | None, n: int) -> npt.NDArray[np.bool_]:
    """Who counts: those contacted, or everybody where nothing is known of contacts."""
    return np.ones(n, np.bool_) if contacted is None else truths(contacted, "contacted", n)


def _association(name: str, having: Float64, lacking: Float64) -> FeatureAssociation:
    having, lacking = np.sort(having[~np.isnan(having)]), np.sort(lacking[~np.isnan(lacking)])
    m, n = len(having), len(lacking)
    if not m or not n:
        return FeatureAssociation(name, math.nan, (0.0, 1.0), m, n)
    # Twice the customers below, ties counting one: integers.
    below = np.searchsorted(lacking, having, "left") + np.searchsorted(lacking, having, "right")
    above = 2 * m - np.searchsorted(having, lacking, "left") - np.searchsorted(having, lacking, "right")
    auc = int(below.sum()) / (2 * m * n)
    if m < 2 or n < 2:
        return FeatureAssociation(name, auc, (0.0, 1.0), m, n)
    half = Z_95 * math.sqrt(_spread(below, 2 * n) / m + _spread(above, 2 * m) / n)
    return FeatureAssociation(name, auc, (max(0.0, auc - half), min(1.0, auc + half)), m, n)


def _spread(placements: npt.NDArray[np.intp], scale: int) -> float:
    """Sample variance of placements / scale, rounded once from Python integers."""
    values: list[int] = placements.tolist()
    count, total = len(values), sum(values)
    return (count * sum(value * value for value in values) - total * total) / (
        count * (count - 1) * scale * scale
    )
