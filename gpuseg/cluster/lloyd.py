"""Lloyd's algorithm over a table (cluster): passes by an executor, steps by core, on the driver."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.preparing import Prepared
from gpuseg.cluster.progress import Watch
from gpuseg.core.lloyd import ClusterSums, Farthest, LloydState, empty_clusters, step
from gpuseg.core.moments import Moments
from gpuseg.graph.executors import Executor
from gpuseg.graph.quality_tasks import merge_moments
from gpuseg.graph.tasks import Closed, assign_partition, close_partition, farthest_partition, merge_models

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
    moments : list of Moments or None
        Of each cluster's rows, unweighted, where they were wanted.
    """

    state: LloydState
    n_used: int
    inertia: float
    labels: npt.NDArray[np.int32] | None
    moments: list[Moments] | None = None


def run_lloyd(
    executor: Executor,
    prepared: Prepared,
    starts: Sequence[LloydState],
    watches: Sequence[Watch],
    *,
    want_labels: bool,
    want_moments: bool = False,
) -> list[Finished]:
    """Full passes until the centres of each model rest or its watch stops it, then one closing pass with these.

    Every pass reads the table once, for all models that still move; each ends as it would alone. The closing pass gives
    labels and inertia that belong to ``state.centres``, so ``predict(X) == labels_``; it does not count towards
    ``max_iter``. Other passes add their inertia only where somebody looks.
    """
    states, job = list(starts), prepared.job
    running = [m for m, state in enumerate(states) if not state.finished]
    while running:
        centres = [states[m].centres for m in running]
        looks = any(watches[m].looks for m in running)
        found = executor.reduce(assign_partition, merge_models, job, centres, running, looks)
        stopped = set()
        for m, result in zip(running, found, strict=True):
            before = states[m]
            states[m] = step(before, result.sums, _spare_rows(executor, prepared, before, result.sums))
            if watches[m].stops(before, result, states[m]):
                stopped.add(m)
        running = [m for m in running if m not in stopped and not states[m].finished]
    closed = executor.map(
        close_partition, job, [state.centres for state in states], want_labels, want_moments
    )
    return [_finished(state, parts) for state, parts in zip(states, zip(*closed, strict=True), strict=True)]


def _finished(state: LloydState, parts: Sequence[Closed]) -> Finished:
    """A model's end from the closing passes of all partitions."""
    total = functools.reduce(ClusterSums.merge, [part.sums for part in parts])
    labels = [part.labels for part in parts if part.labels is not None]
    # One partition's are all of them: joining would copy.
    joined = labels[0] if len(labels) == 1 else np.concatenate(labels) if labels else None
    moments = [part.moments for part in parts if part.moments is not None]
    return Finished(
        state,
        int(np.count_nonzero(total.masses())),
        float(total.inertia.to_float64()),
        joined,
        functools.reduce(merge_moments, moments) if moments else None,
    )


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
