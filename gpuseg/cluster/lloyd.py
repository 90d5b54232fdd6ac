"""Lloyd's algorithm over a table (cluster): passes by an executor, steps by core, on the driver."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.preparing import Prepared
from gpuseg.cluster.progress import Watch
from gpuseg.core.lloyd import ClusterSums, Farthest, LloydState, empty_clusters, step
from gpuseg.core.moments import Moments
from gpuseg.core.sizes import SizeChange, Sized
from gpuseg.graph.executors import Executor
from gpuseg.graph.quality_tasks import merge_moments
from gpuseg.graph.tasks import (
    Closed,
    Job,
    assign_partition,
    close_partition,
    count_partition,
    farthest_partition,
    merge_counts,
    merge_models,
)

logger = logging.getLogger("gpuseg.cluster")

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
    size_changes : tuple of SizeChange
        Clusters dissolved because they were too small, in order.
    """

    state: LloydState
    n_used: int
    inertia: float
    labels: npt.NDArray[np.int32] | None
    moments: list[Moments] | None = None
    size_changes: tuple[SizeChange, ...] = ()


def run_lloyd(
    executor: Executor,
    prepared: Prepared,
    starts: Sequence[LloydState],
    watches: Sequence[Watch],
    *,
    want_labels: bool,
    want_moments: bool = False,
    least: Sequence[int] = (),
) -> list[Finished]:
    """Full passes until the centres of each model rest or its watch stops it, then one closing pass with these.

    Every pass reads the table once, for all models that still move; each ends as it would alone. The closing pass gives
    labels and inertia that belong to ``state.centres``, so ``predict(X) == labels_``; it does not count towards
    ``max_iter``. Other passes add their inertia only where somebody looks. ``least`` is the minimum size of each
    model, 0 for none (empty: no model has one): clusters of fewer rows are dissolved before the closing pass, the
    smallest first, with passes to rest after each.
    """
    states = _rest(executor, prepared, list(starts), watches)
    changes: list[tuple[SizeChange, ...]] = [() for _ in states]
    for m, wanted in enumerate(least):
        if wanted:
            states[m], changes[m] = _without_small(executor, prepared, m, states[m], watches[m], wanted)
    job = _renamed(prepared.job, "sized") if any(changes) else prepared.job
    closed = executor.map(
        close_partition, job, [state.centres for state in states], want_labels, want_moments
    )
    return [
        replace(_finished(state, parts), size_changes=made)
        for state, parts, made in zip(states, zip(*closed, strict=True), changes, strict=True)
    ]


def _rest(
    executor: Executor, prepared: Prepared, states: list[LloydState], watches: Sequence[Watch]
) -> list[LloydState]:
    """Full passes until the centres of each model rest, its passes are used up or its watch stops it."""
    while running := [m for m, state in enumerate(states) if not state.finished]:
        centres = [states[m].centres for m in running]
        looks = any(watches[m].looks for m in running)
        found = executor.reduce(assign_partition, merge_models, prepared.job, centres, running, looks)
        for m, result in zip(running, found, strict=True):
            before = states[m]
            states[m] = step(before, result.sums, _spare_rows(executor, prepared, before, result.sums, m))
            if watches[m].stops(before, result, states[m]):
                # As if its passes were used up: none follow, whatever comes of its clusters.
                states[m] = replace(states[m], max_iter=states[m].iteration)
    return states


def _without_small(
    executor: Executor, prepared: Prepared, number: int, state: LloydState, watch: Watch, least: int
) -> tuple[LloydState, tuple[SizeChange, ...]]:
    """While a cluster has too few rows: dissolve the smallest and let the other centres come to rest again."""
    sized, job = Sized.whole(state, least), prepared.job
    while True:
        [counts] = executor.reduce(count_partition, merge_counts, job, [sized.state.centres], [number])
        fewer = sized.dissolved(counts)
        if fewer is None:
            return sized.state, sized.changes
        gone = fewer.changes[-1]
        logger.info(
            "cluster %d has %d rows, min_cluster_size=%d: its rows go to the nearest of the other %d",
            gone.cluster, gone.n_rows, least, len(fewer.left),
        )  # fmt: skip
        job = _renamed(prepared.job, f"{number}-{len(fewer.left)}")
        number = 0
        [rested] = _rest(executor, replace(prepared, job=job), [fewer.state], [watch])
        sized = replace(fewer, state=rested)


def _renamed(job: Job, name: str) -> Job:
    """The job under another name: what is remembered of a model belongs to the clusters that it had."""
    return replace(job, run=f"{job.run}-{name}")


def _finished(state: LloydState, parts: Sequence[Closed]) -> Finished:
    """A model's end from the closing passes of all partitions."""
    total = functools.reduce(ClusterSums.merge, [part.sums for part in parts])
    labels = [part.labels for part in parts if part.labels is not None]
    joined = np.concatenate(labels, dtype=np.int32) if labels else None
    moments = [part.moments for part in parts if part.moments is not None]
    return Finished(
        state,
        int(np.count_nonzero(total.masses())),
        float(total.inertia.to_float64()),
        joined,
        functools.reduce(merge_moments, moments) if moments else None,
    )


def _spare_rows(
    executor: Executor, prepared: Prepared, state: LloydState, sums: ClusterSums, number: int
) -> Float32Array | None:
    """Rows that empty clusters of model ``number`` move to; the extra pass runs only when there is an empty cluster."""
    n_empty = empty_clusters(sums).size
    if not n_empty:
        return None
    given = prepared.job, state.centres, n_empty, number
    found = executor.reduce(farthest_partition, Farthest.merge, *given, each=prepared.first_rows)
    return found.rows
