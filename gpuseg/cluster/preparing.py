"""Preparing a table (cluster): the two reads of ONE_ANSWER section 3 over any executor, and their refusals."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import (
    LARGEST,
    LARGEST_RAW,
    FeatureRange,
    Layout,
    Moments,
    Scales,
    centred_max_abs,
    offset_features,
    wide_features,
)
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.graph.executors import Executor
from gpuseg.graph.tasks import Job, moments_partition, raw_moments_partition, scan_partition

logger = logging.getLogger("gpuseg.cluster")

_NAMED_PARTS = 4


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
    parts, seen = scan(executor, job, columns)
    first_rows = np.cumsum([0, *(part.n_rows for part in parts[:-1])]).tolist()
    require_rows(seen, n_clusters)
    seen.require_span()
    every = np.ones(seen.minimum.size, np.bool_)
    if single:
        layout = Layout.plain(seen)
        require_range(layout, seen, parts, executor.where, columns)
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
        require_range(layout, seen, parts, executor.where, columns)
        moments = executor.reduce(moments_partition, Moments.merge, job.with_layout(layout))
    # A feature that varies, but by less than the scale of its real weights shows, has lost all its small differences.
    lost = (seen.minimum < seen.maximum) & (moments.variance() == 0)
    wide = wide_features(layout, moments) | lost
    if wide.any():
        logger.warning(
            "%s: the largest value exceeds 2**30 standard deviations; small differences are lost",
            _names(wide, columns),
        )
    return Prepared(job.with_layout(layout), seen, moments, first_rows, wide)


def scan(
    executor: Executor, job: Job, columns: Sequence[str] | None
) -> tuple[list[FeatureRange], FeatureRange]:
    """Read 1 of every partition, and of the table; refused where a value or a weight cannot be used.

    Raises
    ------
    NotFiniteError, RangeError, InputError
        The message names features, counts and the partitions concerned.
    """
    parts = executor.map(scan_partition, job)
    seen = functools.reduce(FeatureRange.merge, parts)
    with _named(parts, executor.where, lambda part: bool(part.n_bad.any())):
        seen.require_finite(columns)
    with _named(parts, executor.where, lambda part: part.weights.n_bad > 0):
        seen.weights.mode()
    with _named(parts, executor.where, lambda part: bool((part.max_abs() > LARGEST_RAW).any())):
        seen.require_representable(columns)
    return parts, seen


def require_range(
    layout: Layout,
    seen: FeatureRange,
    parts: Sequence[FeatureRange],
    where: Sequence[str],
    columns: Sequence[str] | None,
) -> None:
    """Refuse values or weights beyond the contract's range, naming the partitions concerned.

    Raises
    ------
    RangeError
        See :meth:`gpuseg.core.moments.Layout.require_range`.
    """
    with _named(parts, where, lambda part: bool((centred_max_abs(part, layout.centre) > LARGEST).any())):
        layout.require_range(seen.weights, columns)


@contextmanager
def _named(
    parts: Sequence[FeatureRange], where: Sequence[str], is_bad: Callable[[FeatureRange], bool]
) -> Iterator[None]:
    """Add to a refusal which partitions, files and row groups it is about, where they have names."""
    try:
        yield
    except InputError as error:
        found = [name for name, part in zip(where, parts, strict=True) if name and is_bad(part)]
        if not found:
            raise
        rest = len(found) - _NAMED_PARTS
        more = f" and {rest} more" if rest > 0 else ""
        msg = f"{error} ({'; '.join(found[:_NAMED_PARTS])}{more})"
        raise type(error)(msg) from None


def require_rows(seen: FeatureRange, n_clusters: int) -> None:
    """Refuse an empty table, and fewer rows than clusters."""
    if not seen.n_rows:
        msg = "X has no rows; give at least as many as n_clusters"
        raise TooFewRowsError(msg)
    if seen.n_rows < n_clusters:
        msg = f"n_samples={seen.n_rows} should be >= n_clusters={n_clusters}; lower n_clusters"
        raise TooFewRowsError(msg)


def _say_centred(which: npt.NDArray[np.bool_], columns: Sequence[str] | None) -> None:
    logger.info("%s: |mean| exceeds 2**10 standard deviations; centred in float64", _names(which, columns))


def _names(which: npt.NDArray[np.bool_], columns: Sequence[str] | None) -> str:
    return ", ".join(columns[f] if columns else f"feature {f}" for f in np.flatnonzero(which).tolist())
