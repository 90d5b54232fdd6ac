"""Spending styles of segments (room ``insight``; jobs and reports call it): medians, and how firm one score is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.insight.profile import Figures
from gpuseg.insight.styles import Reliability, SpendingStyles, Style

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StyleProfile:
    """One style over all customers and in every segment.

    Parameters
    ----------
    style : Style
        What it says and how it is reckoned.
    reliability : Reliability
        How well its halves agree.
    population : Figures
        Of all customers.
    half_width : float
        Median over customers of half their interval: how far one score may be off; NaN where nobody has one.
    segments : tuple of (int, Figures)
        By segment id.
    """

    style: Style
    reliability: Reliability
    population: Figures
    half_width: float
    segments: tuple[tuple[int, Figures], ...]


def style_profiles(
    styles: SpendingStyles, keys: pa.Array, segment_ids: npt.NDArray[np.int32]
) -> tuple[StyleProfile, ...]:
    """Each style in each segment.

    Parameters
    ----------
    styles : SpendingStyles
        Of every customer.
    keys : pyarrow.Array, n customers
        Who is in the segments.
    segment_ids : ndarray of int32, shape (n,)
        Of each of them.
    """
    table = styles.to_arrow()
    row = pc.index_in(keys, value_set=table.column(0).combine_chunks())
    found = []
    for style in styles.styles:
        score, low, high = (_values(table[style.name + end].take(row)) for end in ("", "_low", "_high"))
        segments = tuple(
            (segment_id, _figures(score[segment_ids == segment_id]))
            for segment_id in np.unique(segment_ids).tolist()
        )
        width = _figures((high - low) / 2.0).median
        found.append(StyleProfile(style, styles.reliability_of(style.name), _figures(score), width, segments))
    return tuple(found)


def _values(column: pa.ChunkedArray) -> Float64:
    return np.asarray(column.cast(pa.float64()).to_numpy())


def _figures(values: Float64) -> Figures:
    known = np.sort(values[~np.isnan(values)])
    n = len(known)
    if not n:
        return Figures(0, math.nan, math.nan)
    return Figures(n, math.fsum(known.tolist()) / n, float(known[(n - 1) // 2] + known[n // 2]) / 2.0)
