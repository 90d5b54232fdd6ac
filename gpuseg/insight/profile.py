"""Segments in original units (room ``insight``; jobs and reports call it): sizes, means, medians, index, effect size.

The figures describe; they test nothing. On columns that built the segments a p-value would be circular (Gao, Bien &
Witten 2022), so none is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.errors import InputError
from gpuseg.insight.measures import Measure

if TYPE_CHECKING:
    from gpuseg.insight.withheld import Withheld

Float64 = npt.NDArray[np.float64]

MIN_BASE = 100
"""Customers below which an index is "too few to say"."""
HIGH_INDEX, LOW_INDEX = 120.0, 80.0
"""An index between these two is no difference worth telling."""


@dataclass(frozen=True)
class Figures:
    """One measure over one group of customers.

    Parameters
    ----------
    known : int
        Customers for whom it is defined; the others count nowhere.
    mean, median : float
        In original units; NaN where nobody is known.
    """

    known: int
    mean: float
    median: float


@dataclass(frozen=True)
class SegmentFigures:
    """One measure in one segment, against everybody and against the rest.

    Parameters
    ----------
    segment_id : int
        The segment.
    figures : Figures
        Its own figures.
    index : float or None
        100 x mean in the segment / mean over all customers, each customer counting once. None for signed scores and
        where the population's mean is not positive.
    superiority : float
        Probability that a random customer of the segment lies above a random one of the rest, ties counting half
        (Vargha & Delaney's A). 0.5 is no difference; NaN where one side is empty.
    """

    segment_id: int
    figures: Figures
    index: float | None
    superiority: float

    @property
    def stands_out(self) -> bool:
        """Whether the index, as a whole number, is far enough from 100, on a base large enough, to be told."""
        if self.index is None or self.figures.known < MIN_BASE:
            return False
        return not LOW_INDEX < round(self.index) < HIGH_INDEX


@dataclass(frozen=True)
class MeasureProfile:
    """One measure over the population and in every segment.

    Parameters
    ----------
    measure : Measure
        What it is.
    population : Figures
        Of everybody.
    segments : tuple of SegmentFigures
        By segment id.
    binary : bool
        Whether every customer has 0 or 1: its mean is a count told as a share.
    """

    measure: Measure
    population: Figures
    segments: tuple[SegmentFigures, ...]
    binary: bool = False

    def segment(self, segment_id: int) -> SegmentFigures:
        """Figures of one segment."""
        return next(found for found in self.segments if found.segment_id == segment_id)


@dataclass(frozen=True)
class Profiles:
    """All measures of all segments.

    Parameters
    ----------
    segment_ids : tuple of int
        Ascending.
    sizes : tuple of int
        Customers in each segment.
    measures : tuple of MeasureProfile
        In the order in which the measures were given.
    """

    segment_ids: tuple[int, ...]
    sizes: tuple[int, ...]
    measures: tuple[MeasureProfile, ...]

    @property
    def n_customers(self) -> int:
        """Customers in all segments."""
        return sum(self.sizes)

    def size(self, segment_id: int) -> int:
        """Customers in one segment."""
        return self.sizes[self.segment_ids.index(segment_id)]

    def share(self, segment_id: int) -> float:
        """Share of customers in one segment."""
        return self.size(segment_id) / self.n_customers

    def share_of(self, column: str, segment_id: int) -> float | None:
        """Share of the total of a measure that falls to one segment; None without the measure or a positive total."""
        found = next((entry for entry in self.measures if entry.measure.column == column), None)
        if found is None:
            return None
        whole = found.population.mean * found.population.known
        part = found.segment(segment_id).figures
        return part.mean * part.known / whole if whole > 0 and part.known else None

    def to_table(self, names: dict[int, str], withheld: Withheld | None = None) -> pa.Table:
        """The profiles as an Arrow table, a row a segment and measure.

        Parameters
        ----------
        names : dict of int to str
            Name of each segment.
        withheld : Withheld, optional
            What is not told: null in the table.
        """
        rows = [
            self._row(entry, entry.segment(segment_id), names[segment_id])
            | ({} if withheld is None else _hidden(entry.measure.column, segment_id, withheld))
            for segment_id in self.segment_ids
            for entry in self.measures
        ]
        return pa.Table.from_pylist(rows, schema=_SCHEMA)

    def _row(self, entry: MeasureProfile, found: SegmentFigures, name: str) -> dict[str, Any]:
        return {
            "segment_id": found.segment_id,
            "segment_name": name,
            "customers": self.size(found.segment_id),
            "share_of_customers": self.share(found.segment_id),
            "measure": entry.measure.column,
            "label": entry.measure.label,
            "unit": entry.measure.unit.value,
            "known": found.figures.known,
            "mean": _or_null(found.figures.mean),
            "median": _or_null(found.figures.median),
            "population_mean": _or_null(entry.population.mean),
            "population_median": _or_null(entry.population.median),
            "index": found.index,
            "superiority": _or_null(found.superiority),
        }


def _hidden(column: str, segment_id: int, withheld: Withheld) -> dict[str, None]:
    """The cells of a row that are empty because they are not told."""
    names: list[str] = []
    if segment_id in withheld.sizes:
        names += ["customers", "share_of_customers"]
    if segment_id in withheld.number_known(column):
        names += ["known"]
    if segment_id in withheld.measure(column):
        names += ["mean", "median", "index", "superiority"]
    if column in withheld.whole:
        names += ["population_mean", "population_median"]
    return dict.fromkeys(names)


_SCHEMA = pa.schema(
    {
        "segment_id": pa.int32(),
        "segment_name": pa.string(),
        "customers": pa.int64(),
        "share_of_customers": pa.float64(),
        "measure": pa.string(),
        "label": pa.string(),
        "unit": pa.string(),
        "known": pa.int64(),
        "mean": pa.float64(),
        "median": pa.float64(),
        "population_mean": pa.float64(),
        "population_median": pa.float64(),
        "index": pa.float64(),
        "superiority": pa.float64(),
    }
)


def profile_segments(customers: Any, segment_ids: npt.ArrayLike, measures: Sequence[Measure]) -> Profiles:
    """Describe segments by measures of their customers.

    Parameters
    ----------
    customers : Table or DataFrame (Arrow, pandas, polars), n rows
        One row a customer, in original units; null (NaN) where a measure is not defined for a customer.
    segment_ids : array_like of int, shape (n,)
        Segment of each row.
    measures : sequence of Measure
        What to describe; each column must be there.

    Returns
    -------
    Profiles
        Every segment that has a customer.

    Raises
    ------
    InputError
        No rows, a length that differs, or a column that is missing.

    Notes
    -----
    Means are rounded once from exact sums and medians are of sorted values, so the order of the rows does not matter.
    Index: share or mean in the segment over that of the customer-weighted population. Cost: one sort a measure.

    References
    ----------
    A. Vargha, H. D. Delaney. A critique and improvement of the CL common language effect size statistics of McGraw and
    Wong. Journal of Educational and Behavioral Statistics 25 (2000).

    Examples
    --------
    >>> import pyarrow as pa
    >>> from gpuseg.insight.measures import measures_of
    >>> customers = pa.table({"visits": [1, 2, 9, 10]})
    >>> profiles = profile_segments(customers, [1, 1, 2, 2], measures_of(customers.column_names))
    >>> profiles.measures[0].segment(2).figures.median, profiles.measures[0].segment(2).superiority
    (9.5, 1.0)
    """
    frame = nw.from_native(customers, eager_only=True)
    ids = np.asarray(segment_ids)
    if len(frame) == 0 or ids.shape != (len(frame),):
        raise InputError(
            f"{ids.size} segment ids for {len(frame)} customers; give one id a row, and at least one row"
        )
    missing = [measure.column for measure in measures if measure.column not in frame.columns]
    if missing:
        raise InputError(f"the customers have no column {missing[0]!r}; they have {', '.join(frame.columns)}")
    distinct, sizes = np.unique(ids, return_counts=True)
    profiled = [
        _profile(measure, frame[measure.column].to_numpy().astype(np.float64), ids, distinct)
        for measure in measures
    ]
    return Profiles(tuple(distinct.tolist()), tuple(sizes.tolist()), tuple(profiled))


def _profile(measure: Measure, values: Float64, ids: Any, distinct: Any) -> MeasureProfile:
    known = ~np.isnan(values)
    values, ids = values[known], ids[known]
    ordered = np.sort(values)
    ranks = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1
    population = _figures(values)
    found = []
    for segment_id in distinct.tolist():
        inside = ids == segment_id
        figures = _figures(values[inside])
        superiority = _superiority(int(ranks[inside].sum()), figures.known, population.known)
        index = None if measure.signed else _index(figures, population)
        found.append(SegmentFigures(segment_id, figures, index, superiority))
    binary = bool(((values == 0) | (values == 1)).all())
    return MeasureProfile(measure, population, tuple(found), binary)


def _figures(values: Float64) -> Figures:
    n = len(values)
    if n == 0:
        return Figures(0, math.nan, math.nan)
    middle = np.partition(values, [(n - 1) // 2, n // 2])[[(n - 1) // 2, n // 2]]
    return Figures(n, math.fsum(values.tolist()) / n, float(middle[0] + middle[1]) / 2.0)


def _index(part: Figures, whole: Figures) -> float | None:
    return 100.0 * part.mean / whole.mean if part.known and whole.mean > 0 else None


def _superiority(twice_ranks: int, part: int, whole: int) -> float:
    """Vargha & Delaney's A from the sum of twice the mid-ranks: integers, divided once."""
    rest = whole - part
    return (twice_ranks - part * (part + 1)) / (2 * part * rest) if part and rest else math.nan


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value
