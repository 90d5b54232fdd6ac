"""How far to trust a segmentation (room ``insight``; jobs and reports call it): figures, and a sentence that is honest.

A silhouette is never read alone: one giant segment can score well. Beside it stand the largest share and the number of
equal segments that would be as varied, exp(entropy).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BANDS = (
    (0.7, "strong", "The segments are well apart: strong structure."),
    (0.5, "reasonable", "The segments are fairly well apart: reasonable structure."),
    (0.25, "weak", "The segments overlap: weak structure, which may be an artefact of the cut."),
)
CONTINUUM = "A useful cut of a continuum, not natural types."


@dataclass(frozen=True)
class SegmentCertainty:
    """How firmly a segment holds its customers.

    Parameters
    ----------
    segment_id : int
        The segment.
    median : float
        Median Euclidean silhouette of its customers.
    nearer_elsewhere : float
        Share of its customers with a negative silhouette: on average nearer to another segment.
    tenth, ninetieth : float
        Silhouettes below which a tenth, and nine tenths, of its customers lie (order statistics, not interpolated).
    """

    segment_id: int
    median: float
    nearer_elsewhere: float
    tenth: float
    ninetieth: float


@dataclass(frozen=True)
class Certainty:
    """How far to trust a segmentation.

    Parameters
    ----------
    silhouette : float
        Mean Euclidean silhouette, over all pairs of customers.
    silhouette_squared : float
        Mean squared-Euclidean silhouette; runs higher, and no bands apply to it.
    largest_share : float
        Share of customers in the largest segment.
    effective_segments : float
        exp(entropy) of the shares.
    segments : tuple of SegmentCertainty
        In order of segment id.
    """

    silhouette: float
    silhouette_squared: float
    largest_share: float
    effective_segments: float
    segments: tuple[SegmentCertainty, ...]

    @property
    def band(self) -> str:
        """By the Euclidean silhouette "strong", "reasonable", "weak" or "none" (Kaufman & Rousseeuw 1990)."""
        return next((name for least, name, _ in _BANDS if self.silhouette > least), "none")

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        return next((sentence for least, _, sentence in _BANDS if self.silhouette > least), CONTINUUM)

    def segment(self, segment_id: int) -> SegmentCertainty:
        """Figures of one segment."""
        return next(found for found in self.segments if found.segment_id == segment_id)


def segment_certainties(
    silhouettes: npt.NDArray[np.float64], segment_ids: npt.NDArray[np.int32]
) -> tuple[SegmentCertainty, ...]:
    """How firmly each segment holds its customers, from the Euclidean silhouettes.

    Parameters
    ----------
    silhouettes : ndarray of float64, shape (n,)
        Of each customer.
    segment_ids : ndarray of int32, shape (n,)
        Of each customer.
    """
    found = []
    for segment_id in np.unique(segment_ids).tolist():
        own = np.sort(silhouettes[segment_ids == segment_id])
        n = len(own)
        found.append(
            SegmentCertainty(
                segment_id,
                median=float(own[(n - 1) // 2] + own[n // 2]) / 2.0,
                nearer_elsewhere=int(np.count_nonzero(own < 0)) / n,
                tenth=float(own[n // 10]),
                ninetieth=float(own[n - 1 - n // 10]),
            )
        )
    return tuple(found)
