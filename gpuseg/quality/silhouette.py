"""Silhouettes (quality): exact, in integers, for the Euclidean and the squared-Euclidean distance.

The Euclidean form compares every pair in blocks (O(n) memory); the squared form needs one pass over the labelled rows,
from each cluster's count, mean and variance. ONE_ANSWER section 7.
"""

from __future__ import annotations

import functools
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from gpuseg.cluster.inputs import open_table
from gpuseg.cluster.lloyd import Finished
from gpuseg.cluster.preparing import Prepared, prepare
from gpuseg.core.silhouette import MEAN_BITS, ClusterShape, mean_silhouette
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import Block, ClusteredRows, Engine, label_dtype
from gpuseg.engines.choose import check_engine
from gpuseg.errors import InputError
from gpuseg.graph.executors import Executor, executor_for
from gpuseg.graph.memo import memo_bytes
from gpuseg.graph.quality_tasks import (
    block_partition,
    label_moments_partition,
    merge_moments,
    merge_totals,
    model_silhouettes_partition,
    square_silhouettes_partition,
)
from gpuseg.graph.tasks import FEW, Job

METRICS = ("euclidean", "sqeuclidean")

_DISTANCE_BITS = 50
_SUM_BITS = 62
_TABLE_CELLS = 1 << 20
"""Cells of the integer sums (rows of a block times clusters) held at a time."""


@dataclass(frozen=True)
class Silhouettes:
    """Silhouette of each row and their mean.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        In [-1, 1]; 0 for a row alone in its cluster (Rousseeuw 1987).
    mean : float
        Of ``rint(s * 2**40)``, rounded once.
    metric : str
        "euclidean" or "sqeuclidean".
    """

    values: npt.NDArray[np.float64]
    mean: float
    metric: str


def silhouette_score(
    X: Any, labels: Any, *, metric: str = "euclidean", engine: str = "auto", n_jobs: int | None = None
) -> float:
    """Mean silhouette over all rows.

    Parameters
    ----------
    X : array_like, DataFrame, pyarrow.Table, Dask collection, or path, shape (n, d)
        Rows by features.
    labels : array_like or Dask array, shape (n,)
        Cluster of each row: integers or text.
    metric : {"euclidean", "sqeuclidean"}, default="euclidean"
        Kaufman & Rousseeuw's bands (.7, .5, .25) apply to the Euclidean form only; the squared form runs higher.
    engine : {"auto", "cpu", "cuda"}, default="auto"
        Who computes.
    n_jobs : int or None, default=None
        Threads of the CPU engine.

    Returns
    -------
    float
        In [-1, 1].

    Raises
    ------
    InputError
        For fewer than 2 clusters, as many clusters as rows, or data that cannot be used.

    Notes
    -----
    Euclidean: exact over all pairs, O(n**2 d / 2) nothing is sampled; the data are gathered in this process. Squared:
    O(n k d), where the data are. Squared values differ from scikit-learn's by about 3e-7 (float32 centres).

    References
    ----------
    Rousseeuw 1987; Kaufman & Rousseeuw 1990.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import silhouette_score
    >>> X = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> round(silhouette_score(X, [0, 0, 1, 1]), 6)
    0.899749
    """
    return silhouettes(X, labels, metric=metric, engine=engine, n_jobs=n_jobs).mean


def silhouette_samples(
    X: Any, labels: Any, *, metric: str = "euclidean", engine: str = "auto", n_jobs: int | None = None
) -> npt.NDArray[np.float64]:
    """Silhouette of each row.

    Parameters
    ----------
    X : array_like, DataFrame, pyarrow.Table, Dask collection, or path, shape (n, d)
        Rows by features.
    labels : array_like or Dask array, shape (n,)
        Cluster of each row: integers or text.
    metric : {"euclidean", "sqeuclidean"}, default="euclidean"
        See :func:`silhouette_score`.
    engine : {"auto", "cpu", "cuda"}, default="auto"
        Who computes.
    n_jobs : int or None, default=None
        Threads of the CPU engine.

    Returns
    -------
    ndarray of float64, shape (n,)
        In [-1, 1]; 0 for a row alone in its cluster.

    Raises
    ------
    InputError
        See :func:`silhouette_score`.

    References
    ----------
    Rousseeuw 1987.

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import silhouette_samples
    >>> silhouette_samples(np.array([[0.0], [1.0], [3.0]]), [0, 0, 1], metric="sqeuclidean").round(4).tolist()
    [0.8889, 0.75, 0.0]
    """
    return silhouettes(X, labels, metric=metric, engine=engine, n_jobs=n_jobs).values


def silhouettes(
    X: Any, labels: Any, *, metric: str = "euclidean", engine: str = "auto", n_jobs: int | None = None
) -> Silhouettes:
    """Silhouette of each row and their mean, from one computation; parameters as :func:`silhouette_score`."""
    if metric not in METRICS:
        msg = f"metric={metric!r} is not known; use one of {', '.join(map(repr, METRICS))}"
        raise InputError(msg)
    check_engine(engine, n_jobs)
    table = open_table(_Names(), X, None, None, reset=True)
    executor = executor_for(table, engine, n_jobs)
    try:
        job = Job(uuid.uuid4().hex, executor.engine, memo_bytes(), turns=FEW)
        prepared = prepare(executor, job, single=table.single, n_clusters=1, columns=table.columns)
        codes, k = _codes(labels, prepared.seen.n_rows)
        if metric == "sqeuclidean":
            return _squared(executor, prepared, codes, k)
        block, engine_here = gathered(executor, prepared), executor.engine.on_driver().build()
        return _euclidean(block, prepared, codes, k, engine_here)
    finally:
        executor.close()


class _Names(BaseEstimator):  # type: ignore[misc]
    """Takes the names and counts that an estimator would keep."""


def _codes(labels: Any, n_rows: int) -> tuple[npt.NDArray[np.int32], int]:
    """Labels as codes 0 .. k - 1 in sorted order of the labels."""
    if hasattr(labels, "compute"):
        labels = labels.compute()
    given = np.asarray(labels).reshape(-1)
    if given.size != n_rows:
        msg = f"labels has {given.size} entries for {n_rows} rows; give one label a row"
        raise InputError(msg)
    codes, k = _small_codes(given) if _are_small(given) else _any_codes(given)
    _require_labels(k, n_rows)
    return codes, k


def _are_small(given: npt.NDArray[Any]) -> bool:
    """Whether the labels are integers that a table can be made of, as those of a fit are."""
    if given.dtype.kind not in "iu" or not given.size:
        return False
    return int(given.min()) >= 0 and int(given.max()) < _TABLE_CELLS


def _small_codes(given: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], int]:
    """As ``_any_codes``, without sorting."""
    present = np.bincount(given) > 0
    codes = np.cumsum(present, dtype=np.int32) - np.int32(1)
    return codes[given], int(np.count_nonzero(present))


def _any_codes(given: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], int]:
    distinct, codes = np.unique(given, return_inverse=True)
    return codes.reshape(-1).astype(np.int32), int(distinct.size)


def _require_labels(n_labels: int, n_rows: int) -> None:
    if not 2 <= n_labels <= n_rows - 1:
        msg = f"Number of labels is {n_labels}. Valid values are 2 to n_samples - 1 (inclusive), {n_rows - 1} here"
        raise InputError(msg)


def _squared(executor: Executor, prepared: Prepared, codes: npt.NDArray[np.int32], k: int) -> Silhouettes:
    parts = np.split(codes.astype(label_dtype(k)), prepared.first_rows[1:])
    moments = executor.reduce(label_moments_partition, merge_moments, prepared.job, k, each=parts)
    shape = ClusterShape.of(moments)
    results = executor.map(square_silhouettes_partition, prepared.job, shape, each=parts)
    values = np.concatenate([part for part, _ in results])
    total = functools.reduce(WideSum.merge, [part for _, part in results])
    return Silhouettes(values, mean_silhouette(total.to_ints()[0], codes.size), "sqeuclidean")


def squared_means(
    executor: Executor, prepared: Prepared, done: Sequence[Finished]
) -> tuple[list[npt.NDArray[np.int64]], list[float]]:
    """Rows of each cluster and the mean squared silhouette of fitted models, all in one more read of the table.

    Parameters
    ----------
    executor : Executor
        Over the table's partitions.
    prepared : Prepared
        The table that the models were fitted to.
    done : sequence of Finished
        With the moments of the closing pass.

    Raises
    ------
    InputError
        If a model has fewer than 2 clusters with rows, or as many as rows.
    """
    n = prepared.seen.n_rows
    centres = [one.state.centres for one in done]
    shapes = [ClusterShape.of(one.moments or [], one.state.centres) for one in done]
    for shape in shapes:
        _require_labels(int(np.count_nonzero(shape.counts)), n)
    totals = executor.reduce(model_silhouettes_partition, merge_totals, prepared.job, centres, shapes)
    return [shape.counts for shape in shapes], [mean_silhouette(total.to_ints()[0], n) for total in totals]


def euclidean_means(
    executor: Executor, prepared: Prepared, labels: Sequence[npt.NDArray[np.int32]]
) -> list[float]:
    """The mean Euclidean silhouette of all rows for each labelling; the rows are gathered once.

    Raises
    ------
    InputError
        If a labelling has fewer than 2 clusters, or as many as rows.
    """
    coded = [_codes(given, prepared.seen.n_rows) for given in labels]
    block = gathered(executor, prepared)
    engine = executor.engine.on_driver().build()
    return [_euclidean(block, prepared, codes, k, engine).mean for codes, k in coded]


def gathered(executor: Executor, prepared: Prepared) -> Block:
    """All rows of the table in this process."""
    return np.concatenate(executor.map(block_partition, prepared.job), axis=1)


def _euclidean(
    block: Block, prepared: Prepared, codes: npt.NDArray[np.int32], k: int, engine: Engine
) -> Silhouettes:
    n = codes.size
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=k)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    others = ClusteredRows(np.ascontiguousarray(block[:, order]), starts)
    exponent = distance_exponent(prepared, n)
    values = np.empty(n, np.float64)
    rows_a_time = max(64, _TABLE_CELLS // k)
    for low in range(0, n, rows_a_time):
        rows = np.ascontiguousarray(block[:, low : low + rows_a_time])
        sums = np.zeros((rows.shape[1], k), np.int64)
        engine.silhouette_sums(rows, others, exponent, sums)
        values[low : low + rows_a_time] = from_distance_sums(sums, codes[low : low + rows_a_time], counts)
    total = sum(np.rint(np.ldexp(values, MEAN_BITS)).astype(np.int64).tolist())
    return Silhouettes(values, mean_silhouette(total, n), "euclidean")


def distance_exponent(prepared: Prepared, n: int) -> int:
    """Scale of the distances: the diagonal of the range box stays below 2**50, and n of them below 2**62."""
    span = 2.0 * prepared.layout.max_abs
    # The float32 chain may exceed the exact diagonal by a few units in the last place.
    diagonal = math.sqrt(math.fsum((span * span).tolist())) * (1.0 + 2.0**-10)
    power = math.frexp(diagonal)[1]
    return min(_DISTANCE_BITS, _SUM_BITS - (n - 1).bit_length()) - power


def from_distance_sums(
    sums: npt.NDArray[np.int64], codes: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Silhouettes from integer distance sums: a, then b over the other clusters ascending, then (b - a) / max(a, b)."""
    rows = np.arange(codes.size)
    own = counts[codes].astype(np.float64)
    alone = own == 1.0
    a = sums[rows, codes].astype(np.float64) / np.where(alone, 1.0, own - 1.0)
    means = sums.astype(np.float64) / counts.astype(np.float64)
    means[rows, codes] = np.inf
    b = means.min(axis=1)
    larger = np.maximum(a, b)
    values: npt.NDArray[np.float64] = np.divide(b - a, larger, out=np.zeros(codes.size), where=larger > 0.0)
    values[alone] = 0.0
    return values
