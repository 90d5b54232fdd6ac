"""What validity figures ask of one partition (graph): moments of each cluster, squared-Euclidean silhouettes.

Labels come with the task: they are the question, not part of the table.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import Moments
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import Block
from gpuseg.graph.memo import MEMO
from gpuseg.graph.partitions import Partition
from gpuseg.graph.tasks import Job, prepared_block, require_layout


def label_moments_partition(
    partition: Partition, labels: npt.NDArray[np.int32], job: Job, k: int
) -> list[Moments]:
    """Moments of each cluster's rows in the partition."""
    with MEMO.entry(partition.token, job.bound()) as entry:
        block, _ = prepared_block(entry, partition, job)
        [found] = job.engine.build().label_moments(block, [labels], [k], require_layout(job).scales)
        return found


def square_silhouettes_partition(
    partition: Partition, labels: npt.NDArray[np.int32], job: Job, shape: ClusterShape
) -> tuple[npt.NDArray[np.float64], WideSum]:
    """Squared-Euclidean silhouette of each row, and the exact sum of ``rint(s * 2**40)``."""
    with MEMO.entry(partition.token, job.bound()) as entry:
        block, _ = prepared_block(entry, partition, job)
        values = np.empty(block.shape[1], np.float64)
        [total] = job.engine.build().square_silhouettes(block, [labels], [shape], [values])
        return values, total


def block_partition(partition: Partition, job: Job) -> Block:
    """The partition's rows in block coordinates, for figures that compare every pair."""
    with MEMO.entry(partition.token, job.bound()) as entry:
        return prepared_block(entry, partition, job)[0]


def merge_moments(a: list[Moments], b: list[Moments]) -> list[Moments]:
    """Merge the moments of each cluster."""
    return [x.merge(y) for x, y in zip(a, b, strict=True)]
