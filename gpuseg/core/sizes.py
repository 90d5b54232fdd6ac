"""Segments of a minimum size (core): which cluster is dissolved, and what is left of a run of Lloyd's algorithm.

The rule looks at exact counts of rows only, so it is the same for any chunking, worker and engine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gpuseg.core.lloyd import LloydState
from gpuseg.errors import TooFewRowsError


@dataclass(frozen=True)
class SizeChange:
    """A cluster that was dissolved.

    Parameters
    ----------
    cluster : int
        Its number among the ``n_clusters`` of the start: the row of ``init``, where that is an array.
    n_rows : int
        Rows of positive weight that it had.
    n_iter : int
        Full passes made until then.
    """

    cluster: int
    n_rows: int
    n_iter: int


@dataclass(frozen=True)
class Sized:
    """A run of Lloyd's algorithm at rest, under a minimum size.

    Parameters
    ----------
    state : LloydState
        With the centres that are left.
    least : int
        Rows of positive weight that each cluster needs.
    left : tuple of int
        Which clusters of the start those are.
    changes : tuple of SizeChange
        The others, in the order in which they went.
    """

    state: LloydState
    least: int
    left: tuple[int, ...]
    changes: tuple[SizeChange, ...] = ()

    @classmethod
    def whole(cls, state: LloydState, least: int) -> Sized:
        """Nothing dissolved yet."""
        return cls(state, least, tuple(range(len(state.centres))))

    def dissolved(self, counts: npt.NDArray[np.int64]) -> Sized | None:
        """Without its smallest cluster (ties: the lowest), whose rows go to the nearest centre that is left.

        None where that cluster is large enough. The other centres move on from where they are: the shift is that of a
        run which has not begun, passes go on being counted.
        """
        smallest = int(np.argmin(counts))
        n_rows = int(counts[smallest])
        if n_rows >= self.least:
            return None
        centres = np.delete(self.state.centres, smallest, axis=0)
        change = SizeChange(self.left[smallest], n_rows, self.state.iteration)
        return replace(
            self,
            state=replace(self.state, centres=centres, shift=math.inf),
            left=self.left[:smallest] + self.left[smallest + 1 :],
            changes=(*self.changes, change),
        )


def require_size(least: int, n_positive: int) -> None:
    """Refuse a minimum size that not even one cluster of all rows has.

    Raises
    ------
    TooFewRowsError
        Names both.
    """
    if least > n_positive:
        rows = f"the {n_positive} rows of X with positive weight"
        msg = f"min_cluster_size={least} exceeds {rows}; lower min_cluster_size"
        raise TooFewRowsError(msg)
