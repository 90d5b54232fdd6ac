"""The squared-Euclidean silhouette (core): what it needs to know of all clusters, from their exact moments.

The mean squared distance of a row to a cluster's rows is its squared distance to their mean plus their spread, so no
pairs are compared. ONE_ANSWER section 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import Moments
from gpuseg.core.widesum import fraction_to_float

MEAN_BITS = 40
"""Silhouettes are summed as ``rint(s * 2**40)``."""


@dataclass(frozen=True)
class ClusterShape:
    """What the squared form needs to know of all clusters of one model.

    Parameters
    ----------
    centres : ndarray of float32, shape (k, d)
        Means, in block coordinates; any finite values where a cluster has no rows.
    spread : ndarray of float64, shape (k,)
        Mean squared distance of a cluster's rows to their mean.
    counts : ndarray of int64, shape (k,)
        Rows; a cluster without any is nobody's neighbour.
    """

    centres: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, moments: Sequence[Moments], spare: npt.NDArray[np.float32] | None = None) -> ClusterShape:
        """Shape of clusters from the exact moments of each.

        Parameters
        ----------
        moments : sequence of Moments
            One a cluster, unweighted.
        spare : ndarray of float32, shape (k, d), optional
            What stands for the centre of a cluster without rows; default zeros.
        """
        counts = [part.mass.to_fractions()[0].numerator for part in moments]
        d = moments[0].exponent.size
        centres = np.zeros((len(moments), d), np.float32) if spare is None else spare.copy()
        spread = np.zeros(len(moments))
        for c, part in enumerate(moments):
            if counts[c]:
                centres[c] = part.mean()
                spread[c] = fraction_to_float(sum(part.variance_fractions(), Fraction(0)))
        return cls(centres, spread, np.array(counts, np.int64))


def mean_silhouette(total: int, n: int) -> float:
    """Mean of n silhouettes from the sum of ``rint(s * 2**40)``, rounded once."""
    return fraction_to_float(Fraction(total, n << MEAN_BITS))
