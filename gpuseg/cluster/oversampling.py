"""Seeding by k-means|| (cluster): rounds over all rows leave a few weighted candidates, which then serve as the sample.

Each round is one task a partition; candidates travel, rows do not. ONE_ANSWER section 6; Bahmani et al. 2012.
"""

from __future__ import annotations

import logging

import numpy as np

from gpuseg.cluster.preparing import Prepared
from gpuseg.cluster.seeding import gather_sample
from gpuseg.core.moments import merge_mass
from gpuseg.core.oversampling import Kept, Round, join_candidates, weighted_candidates
from gpuseg.core.seeding import Sample
from gpuseg.graph.executors import Executor
from gpuseg.graph.tasks import oversample_partition, weigh_partition

logger = logging.getLogger("gpuseg.cluster")


def gather_candidates(
    executor: Executor, prepared: Prepared, seed: int, *, n_clusters: int, factor: float, n_rounds: int
) -> Sample:
    """Rows that k-means|| keeps, each with the weight of the rows nearest to it.

    Parameters
    ----------
    executor : Executor
        Over the table's partitions.
    prepared : Prepared
        The table, read twice.
    seed : int
        64-bit seed.
    n_clusters : int
        Clusters that the candidates are for.
    factor : float
        Rows that a round keeps on average, over ``n_clusters``.
    n_rounds : int
        Rounds at most; it ends sooner where every row equals a candidate.

    Returns
    -------
    Sample
        In identity order. It begins with the row of positive weight and the smallest draw, so there is at least one.
    """
    first = gather_sample(executor, prepared, seed, 1)
    batches, rounds = [np.ascontiguousarray(first.rows.T)], []
    for number in range(n_rounds):
        drawing = Round(seed, number, float(factor) * n_clusters)
        kept: Kept = executor.reduce(
            oversample_partition, Kept.merge, prepared.job, batches, drawing, each=prepared.first_rows
        )
        if not kept.total.to_float64():
            break
        rounds.append(kept)
        batches.append(np.ascontiguousarray(kept.rows.T))
    candidates = join_candidates(first, rounds)
    points = np.ascontiguousarray(candidates.rows.T)
    mass = executor.reduce(weigh_partition, merge_mass, prepared.job, points).to_float64()
    found = weighted_candidates(candidates, mass)
    logger.info("k-means||: %d candidates after %d rounds", found.identity.size, len(rounds))
    if found.identity.size < n_clusters:
        logger.warning(
            "k-means|| kept %d candidates for %d clusters; the others start at the rows farthest from their centres",
            found.identity.size,
            n_clusters,
        )
    return found
