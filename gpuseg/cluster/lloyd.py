"""Lloyd's algorithm over a table (cluster): passes by an executor, steps by core, on the driver."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.preparing import Prepared
from gpuseg.core.lloyd import ClusterSums, Farthest, LloydState, empty_clusters, step
from gpuseg.graph.executors import Executor
from gpuseg.graph.tasks import assign_partition, close_partition, farthest_partition, merge_models

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Finished:
    """A fit's end.

    Parameters
    ----------
    state : LloydState
        Final centres and how they came about.
    n_used : int
        Clusters with weight.
    inertia : float
        Of the final centres, rounded once from the exact sum.
    labels : ndarray of int32, shape (n,), or None
        Labels by the final centres, where they were wanted.
    """

    state: LloydState
    n_used: int
    inertia: float
    labels: npt.NDArray[np.int32] | None


def run_lloyd(executor: Executor, prepared: Prepared, state: LloydState, *, want_labels: bool) -> Finished:
    """Full passes until the centres rest, then one closing pass with the final centres.

    The closing pass gives labels and inertia that belong to ``state.centres``, so ``predict(X) == labels_``; it does
    not count towards ``max_iter``.
    """
    while not state.finished:
        [sums] = executor.reduce(assign_partition, merge_models, prepared.job, [state.centres])
        state = step(state, sums, _spare_rows(executor, prepared, state, sums))
    closed = executor.map(close_partition, prepared.job, state.centres, want_labels)
    total = functools.reduce(ClusterSums.merge, [sums for sums, _ in closed])
    labels = np.concatenate([part for _, part in closed if part is not None]) if want_labels else None
    n_used = int(np.count_nonzero(total.masses()))
    return Finished(state, n_used, float(total.inertia.to_float64()), labels)


def _spare_rows(
    executor: Executor, prepared: Prepared, state: LloydState, sums: ClusterSums
) -> Float32Array | None:
    """Rows that empty clusters move to; the extra pass runs only when there is an empty cluster."""
    n_empty = empty_clusters(sums).size
    if not n_empty:
        return None
    found = executor.reduce(
        farthest_partition, Farthest.merge, prepared.job, state.centres, n_empty, each=prepared.first_rows
    )
    return found.rows
