"""Preparing a table (cluster): the two reads of ONE_ANSWER section 3 over any executor, and their refusals."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import (
    FeatureRange,
    Layout,
    Moments,
    Scales,
    offset_features,
    wide_features,
)
from gpuseg.errors import TooFewRowsError
from gpuseg.graph.executors import Executor
from gpuseg.graph.tasks import Job, moments_partition, raw_moments_partition, scan_partition

logger = logging.getLogger("gpuseg.cluster")


@dataclass(frozen=True)
class Prepared:
    """What is known of a table once it has been read twice.

    Parameters
    ----------
    job : Job
        With the layout decided.
    seen : FeatureRange
        Range over all rows.
    moments : Moments
        Of the block, after centring.
    first_rows : list of int
        Global number of each partition's first row.
    wide : ndarray of bool, shape (d,)
        Features whose largest magnitude exceeds 2**30 standard deviations.
    """

    job: Job
    seen: FeatureRange
    moments: Moments
    first_rows: list[int]
    wide: npt.NDArray[np.bool_]

    @property
    def layout(self) -> Layout:
        """Centring and scales."""
        assert self.job.layout is not None, "a prepared job has a layout"
        return self.job.layout


def prepare(
    executor: Executor, job: Job, *, single: bool, n_clusters: int, columns: Sequence[str] | None
) -> Prepared:
    """Read a table twice, decide its layout, refuse what the contract cannot hold.

    Parameters
    ----------
    executor : Executor
        Over the table's partitions.
    job : Job
        Without a layout.
    single : bool
        Whether every feature is float32; otherwise all are centred in float64.
    n_clusters : int
        Rows needed at least.
    columns : sequence of str, optional
        Feature names for messages.

    Raises
    ------
    NotFiniteError, RangeError, TooFewRowsError, InputError
        See :class:`gpuseg.core.moments.FeatureRange`, :class:`~gpuseg.core.moments.Layout` and
        :class:`~gpuseg.core.weights.WeightRange`.
    """
    parts = executor.map(scan_partition, job)
    seen = functools.reduce(FeatureRange.merge, parts)
    first_rows = np.cumsum([0, *(part.n_rows for part in parts[:-1])]).tolist()
    seen.require_finite(columns)
    require_rows(seen, n_clusters)
    seen.weights.mode()
    seen.require_representable(columns)
    every = np.ones(seen.minimum.size, np.bool_)
    if single:
        layout = Layout.plain(seen)
        layout.require_range(seen.weights, columns)
        moments = executor.reduce(moments_partition, Moments.merge, job.with_layout(layout))
        which = offset_features(moments)
        if which.any():
            _say_centred(which, columns)
            layout = Layout.centring(seen, moments.mean(), which)
            moments = executor.reduce(moments_partition, Moments.merge, job.with_layout(layout))
    else:
        scales = Scales.of(seen.max_abs(), seen.weights)
        mean = executor.reduce(raw_moments_partition, Moments.merge, job, scales).mean()
        layout = Layout.centring(seen, mean, every)
        layout.require_range(seen.weights, columns)
        moments = executor.reduce(moments_partition, Moments.merge, job.with_layout(layout))
    wide = wide_features(layout, moments)
    if wide.any():
        logger.warning(
            "%s: the largest value exceeds 2**30 standard deviations; small differences are lost",
            _names(wide, columns),
        )
    return Prepared(job.with_layout(layout), seen, moments, first_rows, wide)


def require_rows(seen: FeatureRange, n_clusters: int) -> None:
    """Refuse fewer rows, or fewer rows with positive weight, than clusters."""
    if seen.n_rows < n_clusters:
        msg = f"n_samples={seen.n_rows} should be >= n_clusters={n_clusters}; lower n_clusters"
        raise TooFewRowsError(msg)


def _say_centred(which: npt.NDArray[np.bool_], columns: Sequence[str] | None) -> None:
    logger.info("%s: |mean| exceeds 2**10 standard deviations; centred in float64", _names(which, columns))


def _names(which: npt.NDArray[np.bool_], columns: Sequence[str] | None) -> str:
    return ", ".join(columns[f] if columns else f"feature {f}" for f in np.flatnonzero(which).tolist())
