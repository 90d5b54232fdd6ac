"""A segmentation that can be kept (room ``insight``; jobs and the public API call it): new customers get a segment.

:class:`SegmentModel` holds what assignment needs and no customer. The customers that it was made from get the segments
that the fit gave them, bit for bit. :mod:`gpuseg.insight.model_files` saves and loads it.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg import __version__
from gpuseg.cluster.predicting import Fitted
from gpuseg.core.promise import CONTRACT
from gpuseg.customers.outliers import OutlierBounds
from gpuseg.customers.scaling import ExactScaler
from gpuseg.engines.choose import choose_engine
from gpuseg.insight.baselines import Bins
from gpuseg.insight.customer_rows import CustomerRows, Recipe, rows_of

logger = logging.getLogger("gpuseg.insight")

Float64 = npt.NDArray[np.float64]

FALLBACK_ID = 0
"""Segment of the customers who cannot be placed, each with the reason."""
FALLBACK_NAME = "Not placed"
NOVEL_IN_1000 = 999
"""A customer is novel who is farther from the centre than this many of 1,000 training customers of the segment."""
NOVELTY = (
    "novel: farther from the centre of the own segment than 999 of 1,000 of its training customers "
    "(below 1,000 of them: than every one)"
)
MARGIN = (
    "margin: (second - nearest) / second of the distances to the two nearest centres, Euclidean, in scaled units: "
    "0 on the border, 1 on the centre"
)
_TILE = 1 << 16
"""Rows whose distances to every centre are held at once."""


@dataclass(frozen=True)
class ModelSegment:
    """One segment of a model.

    Parameters
    ----------
    segment_id : int
        Its number, stable over refits.
    name : str
        Its name.
    cluster : int
        Row of the centre.
    customers : int
        Training customers.
    reach : float
        Distance from the centre beyond which a customer is novel.
    outcome_rate : float or None
        Share of its training customers with the outcome, where the job has one.
    """

    segment_id: int
    name: str
    cluster: int
    customers: int
    reach: float
    outcome_rate: float | None = None


@dataclass(frozen=True)
class SegmentModel:
    """A fitted segmentation without its customers.

    Parameters
    ----------
    fitted : Fitted
        Centres and layout, in scaled units.
    scaler : ExactScaler
        From features to scaled units.
    segments : tuple of ModelSegment
        Ascending by id.
    fallback : tuple of int and str
        Id and name of the segment of customers who cannot be placed.
    recipe : Recipe
        How features are made of transactions.
    drift : mapping of str to Bins
        Where each feature's values lay in training, before any was pulled in, and how the outcome went with them.
    used_ids : tuple of int
        Every segment id that this line of models ever used: none of them is given to another segment.
    outliers : OutlierBounds or None
        Who is extreme, and what becomes of them; None: nobody is looked at.
    made_by : str
        Version of gpuseg.
    contract : int
        Version of the arithmetic contract.

    See Also
    --------
    gpuseg.load_model : Load a saved one.
    """

    fitted: Fitted
    scaler: ExactScaler
    segments: tuple[ModelSegment, ...]
    fallback: tuple[int, str]
    recipe: Recipe
    drift: Mapping[str, Bins]
    used_ids: tuple[int, ...]
    outliers: OutlierBounds | None = None
    made_by: str = field(default=__version__)
    contract: int = field(default=CONTRACT)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """What builds the segments, in order."""
        return tuple(str(name) for name in self.scaler.feature_names_in_)

    @property
    def names(self) -> dict[int, str]:
        """Name of each segment, the fallback included."""
        fallback_id, fallback_name = self.fallback
        return {fallback_id: fallback_name} | {found.segment_id: found.name for found in self.segments}

    @property
    def centres(self) -> Float64:
        """Centres in units of the features, shape (segments, d), in order of :attr:`segments`."""
        inside = self.fitted.centres.astype(np.float64) + self.fitted.layout.centre
        restored = np.asarray(self.scaler.inverse_transform(inside))
        return restored[[found.cluster for found in self.segments]]

    def assign(self, customers: Any, as_of: str | dt.date | None = None, attributes: Any = None) -> pa.Table:
        """The segment of each customer.

        Parameters
        ----------
        customers : Transactions, pyarrow.Table, pandas or polars DataFrame
            Transactions, from which the features are made as in training; or a table of features as
            :func:`gpuseg.features` makes it, with the customer's column.
        as_of : str ("YYYY-MM-DD") or date, optional
            Last local day that counts, for transactions. Default: the day that the job declared, else the last day
            with a record.
        attributes : pyarrow.Table, pandas or polars DataFrame, optional
            For transactions: what customers are, one row a customer, where the model was made with such a table.
            Attributes that came with the records are read with them (``attributes=``).

        Returns
        -------
        pyarrow.Table
            One row a customer: the key with its own name and type, ``segment_id``, ``segment_name``, ``margin``,
            ``second_segment_id``, ``is_fallback``, ``fallback_reason``, ``is_novel``, ``is_outlier``. Transactions give
            customers ascending by key, a table keeps its order. What has no meaning for a customer of the fallback
            segment is null; a ``fallback_reason`` is null for all others. ``is_outlier`` is null for customers without
            all features.

        Raises
        ------
        InputError
            The features are not those of the model, or have values that cannot be used.

        Notes
        -----
        The segment is that of the nearest centre by the float32 chain, as in the fit. With d1 <= d2 the Euclidean
        distances to the two nearest centres, in scaled units, ``margin = (d2 - d1) / d2``: 0 on the border of two
        segments, 1 on a centre (0 where both centres coincide). A customer is novel who is farther from the centre
        than 999 of 1,000 training customers of the segment. A customer without a purchase, or with a missing
        feature, is in the fallback segment. Memory: the features, and 2**16 rows of distances.

        An outlier is beyond the bounds of the training customers in some feature. A model that drops outliers puts them
        in the fallback segment; one that winsorises pulls their values in to the bounds, for segment and margin. Only
        novelty is told by the values as they are, there as in training: who was pulled in from afar is near no centre.
        """
        rows = rows_of(customers, self.recipe, self.feature_names, as_of, attributes)
        rows, marked = _without_dropped(self, rows)
        nearest = _nearest(self, rows.values[rows.usable])
        table = _table(self, rows, nearest, marked)
        return table.sort_by(rows.name) if rows.from_transactions else table


@dataclass(frozen=True)
class _Nearest:
    """Rows of :attr:`SegmentModel.segments` that are nearest and second nearest, and the distance to each.

    ``far`` is the distance to the nearest of the values as they are: ``near`` where no outlier was pulled in.
    """

    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]
    near: Float64
    next_near: Float64
    far: Float64


def build_model(
    estimator: Any,
    scaler: ExactScaler,
    built: Any,
    segments: Sequence[tuple[int, str, int]],
    *,
    recipe: Recipe,
    fallback: tuple[int, str] = (FALLBACK_ID, FALLBACK_NAME),
    outcome_rates: Mapping[int, float] | None = None,
    used_ids: Sequence[int] = (),
    truths: Float64 | None = None,
    min_cell: int = 10,
    outliers: OutlierBounds | None = None,
) -> SegmentModel:
    """A model from a finished fit.

    Parameters
    ----------
    estimator : KMeans
        Fitted on the scaled features.
    scaler : ExactScaler
        Fitted on the features.
    built : pyarrow.Table
        The features of the training customers, unscaled, as :func:`gpuseg.features` made them.
    segments : sequence of (int, str, int)
        Id, name and cluster of each segment.
    recipe : Recipe
        How the features were made.
    fallback : (int, str), default (0, "Not placed")
        Id and name of the fallback segment.
    outcome_rates : mapping of int to float, optional
        By segment id: share of its customers with the outcome.
    used_ids : sequence of int
        Ids of earlier models of the line, never to be used again.
    truths : ndarray of float64, shape (n,), optional
        The outcome of each training customer, for the baselines: 1, 0, or NaN for those whom nobody contacted.
    min_cell : int, default 10
        Customers contacted below which the baselines keep no outcome.
    outliers : OutlierBounds, optional
        Bounds in units of the features; under winsorise the scaler and the estimator were fitted on values pulled in to
        them, under drop ``built`` has nobody outside.

    Returns
    -------
    SegmentModel

    Raises
    ------
    InputError
        The features are not those of scaler and estimator.
    """
    names = tuple(str(name) for name in scaler.feature_names_in_)
    fitted = Fitted.from_arrays(estimator.to_arrays(), names, choose_engine())
    ordered = sorted(segments)
    blank = tuple(ModelSegment(number, name, cluster, 0, 0.0) for number, name, cluster in ordered)
    values = rows_of(built, recipe, names, None).values
    drift = {name: Bins.of(values[:, column], truths, min_cell) for column, name in enumerate(names)}
    ids = tuple(sorted({*used_ids, fallback[0], *(number for number, _, _ in ordered)}))
    model = SegmentModel(fitted, scaler, blank, fallback, recipe, drift, ids, outliers)
    nearest = _nearest(model, values)
    rates = outcome_rates or {}
    described = []
    for position, segment in enumerate(blank):
        far = nearest.far[nearest.first == position]
        number = segment.segment_id
        described.append(
            ModelSegment(number, segment.name, segment.cluster, len(far), _reach(far), rates.get(number))
        )
    return replace(model, segments=tuple(described))


def _reach(far: Float64) -> float:
    """The smallest training distance that 999 of 1,000 do not exceed."""
    if not len(far):
        return 0.0
    return float(np.sort(far)[-(-len(far) * NOVEL_IN_1000 // 1000) - 1])


def _without_dropped(model: SegmentModel, rows: CustomerRows) -> tuple[CustomerRows, pa.Array]:
    """Rows of which those that the model drops are not usable, and who is an outlier; null: nobody knows."""
    bounds = model.outliers
    if bounds is None:
        return rows, pa.nulls(len(rows.keys), pa.bool_())
    # Infinity is no outlier but an error: it must neither be pulled in nor left out.
    model.fitted.engine.build().scan(rows.values[rows.usable], None, None).require_finite(bounds.names)
    outside = bounds.outside(rows.values)
    marked = outside.any(axis=1)
    told = pa.array(marked, mask=~rows.usable)
    if bounds.action != "drop":
        return rows, told
    reasons = pc.coalesce(rows.reasons, bounds.reasons(outside))
    return replace(rows, usable=rows.usable & ~marked, reasons=reasons), told


def _nearest(model: SegmentModel, values: Float64) -> _Nearest:
    """The two nearest segments of rows of features; in tiles, so that memory stays bounded."""
    position = np.zeros(len(model.fitted.centres), np.intp)
    for row, segment in enumerate(model.segments):
        position[segment.cluster] = row
    parts = [
        _nearest_tile(model, values[first : first + _TILE], position)
        for first in range(0, len(values), _TILE)
    ]
    if not parts:
        return _Nearest(*(np.zeros(0, np.intp),) * 2, *(np.zeros(0),) * 3)
    columns = zip(*parts, strict=True)
    return _Nearest(*(np.concatenate(column) for column in columns))


def _nearest_tile(model: SegmentModel, values: Float64, position: npt.NDArray[np.intp]) -> tuple[Any, ...]:
    built_on = values if model.outliers is None else model.outliers.as_built(values)
    squared = model.fitted.squared_distances(model.scaler.transform(built_on))
    every = np.arange(squared.shape[1])
    first = squared.argmin(axis=0)  # the lowest cluster of a tie, as the engines label
    near = np.sqrt(squared[first, every].astype(np.float64))
    far = near.copy()
    moved = np.flatnonzero((built_on != values).any(axis=1))
    if len(moved):
        as_they_are = model.fitted.squared_distances(model.scaler.transform(values[moved]))
        far[moved] = np.sqrt(as_they_are[first[moved], np.arange(len(moved))].astype(np.float64))
    if len(squared) == 1:
        return position[first], np.full(len(every), -1, np.intp), near, np.full(len(every), math.inf), far
    rest = squared.copy()
    rest[first, every] = np.inf
    second = rest.argmin(axis=0)
    next_near = np.sqrt(squared[second, every].astype(np.float64))
    return position[first], position[second], near, next_near, far


def _table(model: SegmentModel, rows: CustomerRows, nearest: _Nearest, marked: pa.Array) -> pa.Table:
    n, usable = len(rows.keys), rows.usable
    fallback_id, _ = model.fallback
    ids = np.full(n, fallback_id, np.int32)
    second = np.full(n, fallback_id, np.int32)
    margin, novel = np.zeros(n), np.zeros(n, np.bool_)
    own = np.array([segment.segment_id for segment in model.segments], np.int32)
    reach = np.array([segment.reach for segment in model.segments])
    ids[usable] = own[nearest.first]
    novel[usable] = nearest.far > reach[nearest.first]
    has_second = len(own) > 1
    if has_second:
        second[usable] = own[nearest.second]
        gap = nearest.next_near - nearest.near
        margin[usable] = np.divide(
            gap, nearest.next_near, out=np.zeros_like(gap), where=nearest.next_near > 0
        )
    names = model.names
    absent = ~usable if has_second else np.ones(n, np.bool_)
    return pa.table(
        {
            rows.name: rows.keys,
            "segment_id": pa.array(ids),
            "segment_name": pa.array([names[number] for number in ids.tolist()], pa.string()),
            "margin": pa.array(margin, mask=absent),
            "second_segment_id": pa.array(second, mask=absent),
            "is_fallback": pa.array(~usable),
            "fallback_reason": rows.reasons,
            "is_novel": pa.array(novel, mask=~usable),
            "is_outlier": marked,
        }
    )
