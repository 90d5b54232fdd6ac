"""What validity figures ask of one partition (graph): moments of each cluster, squared-Euclidean silhouettes.

Labels come with the task: they are the question, not part of the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import Moments
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import AssignState, Block
from gpuseg.graph.memo import MEMO
from gpuseg.graph.partitions import Partition
from gpuseg.graph.tasks import Float32Array, Job, feature_major_block, prepared_block, require_layout


def label_moments_partition(
    partition: Partition, labels: npt.NDArray[np.int32], job: Job, k: int
) -> list[Moments]:
    """Moments of each cluster's rows in the partition."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, _ = prepared_block(entry, partition, job)
        [found] = job.engine.build().label_moments(block, [labels], [k], require_layout(job).scales)
        return found


def square_silhouettes_partition(
    partition: Partition, labels: npt.NDArray[np.int32], job: Job, shape: ClusterShape
) -> tuple[npt.NDArray[np.float64], WideSum]:
    """Squared-Euclidean silhouette of each row, and the exact sum of ``rint(s * 2**40)``."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, _ = prepared_block(entry, partition, job)
        values = np.empty(block.shape[1], np.float64)
        [total] = job.engine.build().square_silhouettes(block, [labels], [shape], [values])
        return values, total


def model_silhouettes_partition(
    partition: Partition, job: Job, centres: Sequence[Float32Array], shapes: Sequence[ClusterShape]
) -> list[WideSum]:
    """Exact sum of ``rint(s * 2**40)`` over the rows as each model's centres label them, squared-Euclidean.

    Labels neither travel nor have to be remembered: where a fit has come to rest its centres are the means of its
    clusters, and labels come with the silhouettes.
    """
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        block, weights = prepared_block(entry, partition, job)
        engine, scales = job.engine.build(), require_layout(job).scales
        states = [AssignState.fresh(block.shape[1], len(c)) for c in centres]
        at_rest = [np.array_equal(c, shape.centres) for c, shape in zip(centres, shapes, strict=True)]
        moving = [m for m, rests in enumerate(at_rest) if not rests]
        if moving:
            some = [centres[m] for m in moving]
            engine.assign(block, weights, some, [states[m] for m in moving], scales, sums=False)
        totals: dict[int, WideSum] = {}
        for labelling in (True, False):
            chosen = [m for m, rests in enumerate(at_rest) if rests is labelling]
            if chosen:
                labels, some_shapes = [states[m].labels for m in chosen], [shapes[m] for m in chosen]
                found = engine.square_silhouettes(block, labels, some_shapes, labelling=labelling)
                totals.update(zip(chosen, found, strict=True))
        return [totals[m] for m in range(len(centres))]


def block_partition(partition: Partition, job: Job) -> Block:
    """The partition's rows in block coordinates, for figures that compare every pair."""
    with MEMO.entry(partition.token, job.bound(), job.fit) as entry:
        return feature_major_block(entry, partition, job)[0]


def merge_totals(a: list[WideSum], b: list[WideSum]) -> list[WideSum]:
    """Merge the sums of each model."""
    return [x.merge(y) for x, y in zip(a, b, strict=True)]


def merge_moments(a: list[Moments], b: list[Moments]) -> list[Moments]:
    """Merge the moments of each cluster."""
    return [x.merge(y) for x, y in zip(a, b, strict=True)]
