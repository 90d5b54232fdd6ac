"""What would be otherwise had a choice been made otherwise (room ``insight``; jobs and reports call it).

Each alternative is fitted, and the adjusted Rand index says how far its segments agree with those of the run: 1 is the
same segments, 0 is chance.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.exceptions import ConvergenceWarning

from gpuseg.cluster.kmeans import KMeans
from gpuseg.customers.frames import CUSTOMER
from gpuseg.insight.groups import group_of
from gpuseg.quality.agreement import adjusted_rand_index
from gpuseg.quality.choose_k import KChoice

Float64 = npt.NDArray[np.float64]

_OUTER = 100
"""One in so many customers at either end of a feature is pulled in, where outliers are."""


@dataclass(frozen=True)
class Alternative:
    """Another choice, and how far its segments agree.

    Parameters
    ----------
    choice : {"k", "scaling", "outliers", "draw", "feature"}
        Which choice is made otherwise.
    what : str
        How: a number of segments, a group of features that is left out, or nothing to add.
    agreement : float
        Adjusted Rand index with the segments of the run.
    """

    choice: str
    what: str
    agreement: float


def alternatives(
    scaled: pa.Table, weights: Float64, labels: npt.NDArray[np.integer], choice: KChoice, seed: int
) -> tuple[Alternative, ...]:
    """Fit every alternative and compare.

    Parameters
    ----------
    scaled : pyarrow.Table
        Scaled features with the customer's column.
    weights : ndarray of float64
        From :func:`gpuseg.insight.groups.group_weights`, of the features in order.
    labels : ndarray of integer, shape (n,)
        Of the run.
    choice : KChoice
        Its number of segments, and the models of the others.
    seed : int
        Of its draws.

    Returns
    -------
    tuple of Alternative
        k less 1 and k plus 1 where they were tried, each column weighing the same, outliers pulled in, other draws,
        and each group of features left out.
    """
    found = [
        Alternative("k", str(k), adjusted_rand_index(labels, np.asarray(choice.models[k].labels_)))
        for k in (choice.k - 1, choice.k + 1)
        if k in choice.models
    ]
    for kind, what, table, own_seed in _others(scaled, weights, seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # an alternative may fill fewer segments
            model = KMeans(choice.k, random_state=own_seed).fit(table)
        found.append(Alternative(kind, what, adjusted_rand_index(labels, np.asarray(model.labels_))))
    return tuple(found)


def _others(scaled: pa.Table, weights: Float64, seed: int) -> Iterator[tuple[str, str, pa.Table, int]]:
    customer = scaled.schema.metadata[CUSTOMER].decode()
    names = tuple(name for name in scaled.column_names if name != customer)
    if (weights != 1.0).any():
        each = {name: scaled[name].to_numpy() * weight for name, weight in zip(names, weights, strict=True)}
        yield "scaling", "", _with(scaled, each), seed
    yield "outliers", "", _with(scaled, {name: _pulled_in(scaled[name].to_numpy()) for name in names}), seed
    yield "draw", "", scaled, seed + 1
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    for group, columns in groups.items():
        if len(groups) > 1:
            yield "feature", group, scaled.drop_columns(columns), seed


def _pulled_in(values: Float64) -> Float64:
    ordered = np.sort(values)
    outer = len(ordered) // _OUTER
    return np.clip(values, ordered[outer], ordered[len(ordered) - 1 - outer])


def _with(table: pa.Table, columns: Mapping[str, Float64]) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table
