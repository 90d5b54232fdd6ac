"""What would be otherwise had a choice been made otherwise (room ``insight``; jobs and reports call it).

Each alternative is fitted, and the adjusted Rand index says how far its segments agree with those of the run: 1 is the
same segments, 0 is chance.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
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


@dataclass(frozen=True)
class Alternative:
    """Another choice, and how far its segments agree.

    Parameters
    ----------
    choice : {"k", "scaling", "outliers", "draw", "feature"}
        Which choice is made otherwise.
    what : str
        How: a number of segments, a group of features that is left out, what becomes of outliers, or nothing to add.
    agreement : float
        Adjusted Rand index with the segments of the run, over the customers who are in both.
    """

    choice: str
    what: str
    agreement: float


@dataclass(frozen=True)
class Otherwise:
    """What segments would be built on, had a choice about the customers been made otherwise.

    Parameters
    ----------
    choice : str
        Which choice.
    what : str
        How it is made.
    scaled : pyarrow.Table
        Scaled features with the customer's column.
    own : ndarray of bool
        Which of its customers are in the segments of the run.
    run : ndarray of bool
        Which customers of the run are in it, in the same order.
    """

    choice: str
    what: str
    scaled: pa.Table
    own: npt.NDArray[np.bool_]
    run: npt.NDArray[np.bool_]


def alternatives(
    scaled: pa.Table,
    weights: Float64,
    labels: npt.NDArray[np.integer],
    choice: KChoice,
    seed: int,
    others: Iterable[Otherwise] = (),
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
    others : iterable of Otherwise
        Other choices about the customers.

    Returns
    -------
    tuple of Alternative
        k less 1 and k plus 1 where they were tried, each column weighing the same, other draws, each group of features
        left out, and then the others.
    """
    found = [
        Alternative("k", str(k), adjusted_rand_index(labels, np.asarray(choice.models[k].labels_)))
        for k in (choice.k - 1, choice.k + 1)
        if k in choice.models
    ]
    for kind, what, table, own_seed in _same_customers(scaled, weights, seed):
        found.append(Alternative(kind, what, adjusted_rand_index(labels, _fit(table, choice.k, own_seed))))
    for other in others:
        fitted = _fit(other.scaled, choice.k, seed)
        found.append(
            Alternative(other.choice, other.what, adjusted_rand_index(labels[other.run], fitted[other.own]))
        )
    return tuple(found)


def _fit(table: pa.Table, k: int, seed: int) -> npt.NDArray[np.integer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an alternative may fill fewer segments
        return np.asarray(KMeans(k, random_state=seed).fit(table).labels_)


def _same_customers(
    scaled: pa.Table, weights: Float64, seed: int
) -> Iterator[tuple[str, str, pa.Table, int]]:
    customer = scaled.schema.metadata[CUSTOMER].decode()
    names = tuple(name for name in scaled.column_names if name != customer)
    if (weights != 1.0).any():
        each = {name: scaled[name].to_numpy() * weight for name, weight in zip(names, weights, strict=True)}
        yield "scaling", "", _with(scaled, each), seed
    yield "draw", "", scaled, seed + 1
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name), []).append(name)
    for group, columns in groups.items():
        if len(groups) > 1:
            yield "feature", group, scaled.drop_columns(columns), seed


def _with(table: pa.Table, columns: Mapping[str, Float64]) -> pa.Table:
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return table
