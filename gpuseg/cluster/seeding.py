"""Seeding (cluster): greedy k-means++ on the sample, a Lloyd run from each seeding, the best goes on.

The sample is gathered once and seeded on the CPU engine on every platform. ONE_ANSWER section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.preparing import Prepared
from gpuseg.core.lloyd import LloydState, empty_clusters, step
from gpuseg.core.moments import Scales
from gpuseg.core.seeding import (
    SAMPLE_ROWS,
    Sample,
    first_potentials,
    local_trials,
    pick_rows,
    potential_exponent,
    sample_threshold,
    seeding_draws,
)
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.engines.base import AssignState, Block, Engine
from gpuseg.graph.executors import Executor
from gpuseg.graph.tasks import farthest_rows, sample_partition

Float32Array = npt.NDArray[np.float32]
Greedy = Callable[[Engine, Block, Weights, int, int, int], Float32Array]
"""``greedy(engine, rows, weights, k, seed, number)`` gives the seeds (k, d) of one seeding."""


@dataclass(frozen=True)
class Seeding:
    """One seeding and where Lloyd's algorithm takes it.

    Parameters
    ----------
    seeds : ndarray of float32, shape (k, d)
        Rows that k-means++ picked.
    centres : ndarray of float32, shape (k, d)
        After Lloyd's algorithm on the same rows.
    inertia : Fraction
        Exact inertia of ``centres`` on them.
    """

    seeds: Float32Array
    centres: Float32Array
    inertia: Fraction


def gather_sample(executor: Executor, prepared: Prepared, seed: int, limit: int = SAMPLE_ROWS) -> Sample:
    """The rows with positive weight and the smallest draws, in identity order."""
    n_positive = prepared.seen.weights.n_positive
    wanted = min(limit, n_positive)
    sample = _sample(executor, prepared, seed, limit, sample_threshold(limit, n_positive))
    if sample.draw.size < wanted:
        sample = _sample(executor, prepared, seed, limit, sample_threshold(limit, 0))
    return sample.finish()


def _sample(executor: Executor, prepared: Prepared, seed: int, limit: int, threshold: int) -> Sample:
    return executor.reduce(
        sample_partition, Sample.merge, prepared.job, limit, seed, threshold, each=prepared.first_rows
    )


def best_seeding(
    engine: Engine,
    sample: Sample,
    scales: Scales,
    template: LloydState,
    k: int,
    n_init: int,
    seed: int,
    greedy: Greedy | None = None,
) -> Seeding:
    """The seeding whose Lloyd run on the sample has the lowest inertia; ties go to the earlier one.

    Parameters
    ----------
    engine : Engine
        The CPU engine, on every platform.
    sample : Sample
        In identity order: all of it or a draft, on which seedings are tried out.
    scales : Scales
        Of the whole table.
    template : LloydState
        Tolerance and iteration limit of the runs; its centres are ignored.
    k, n_init, seed : int
        Clusters, seedings and the 64-bit seed.
    greedy : callable, optional
        What seeds; default :func:`greedy_kmeanspp`.
    """
    pick = greedy or greedy_kmeanspp
    weights = _weights_of(sample, scales)
    seeds = [pick(engine, sample.rows, weights, k, seed, number) for number in range(n_init)]
    runs = lloyd_on_block(engine, sample.rows, weights, sample.identity, scales, template, seeds)
    done = [Seeding(start, *run) for start, run in zip(seeds, runs, strict=True)]
    return min(done, key=lambda seeding: seeding.inertia)


def run_on_sample(
    engine: Engine, sample: Sample, scales: Scales, template: LloydState, centres: Float32Array
) -> Float32Array:
    """Where Lloyd's algorithm takes the ``centres`` (k, d), of a draft, on the whole sample."""
    weights = _weights_of(sample, scales)
    [(found, _)] = lloyd_on_block(engine, sample.rows, weights, sample.identity, scales, template, [centres])
    return found


def _weights_of(sample: Sample, scales: Scales) -> Weights:
    return Weights.of(sample.weight if scales.mode is not WeightMode.NONE else None, scales.mode)


def greedy_kmeanspp(
    engine: Engine, rows: Block, weights: Weights, k: int, seed: int, number: int
) -> Float32Array:
    """Greedy k-means++ (Arthur & Vassilvitskii 2007) with integer potentials.

    Parameters
    ----------
    engine : Engine
        Evaluates candidates.
    rows : ndarray of float32, shape (d, n)
        The sample, in identity order.
    weights : Weights
        Of the sample.
    k, seed, number : int
        Clusters, 64-bit seed and the number of this seeding.

    Returns
    -------
    ndarray of float32, shape (k, d)
        Picked rows. Once every row equals a pick the last one is repeated; Lloyd's rule for empty clusters moves the
        spare centres.
    """
    d, n = rows.shape
    seeds = np.empty((k, d), np.float32)
    closest = np.empty(n, np.float32)
    trials = local_trials(k)
    out = np.empty((trials, n), np.float32)
    draws = seeding_draws(seed, number, k, trials)
    [row] = pick_rows(first_potentials(n, weights), draws[0, :1])
    seeds[0] = rows[:, row]
    engine.distances(rows, seeds[:1], closest.reshape(1, n), metric="sqeuclidean")
    for picked in range(1, k):
        largest = _largest(closest, weights)
        if largest == 0.0:
            seeds[picked:] = seeds[picked - 1]
            break
        exponent = potential_exponent(largest, n, weights)
        potentials = engine.potentials(closest, weights, exponent)
        candidates = pick_rows(potentials, draws[picked])
        points = np.ascontiguousarray(rows[:, candidates].T)
        sums = engine.seed_step(rows, weights, closest, points, exponent, out)
        best = int(np.argmin(sums))
        seeds[picked] = points[best]
        closest[:] = out[best]
    return seeds


def _largest(closest: Float32Array, weights: Weights) -> float:
    """The distance (real weights: weighted distance) that sets a step's scale."""
    if weights.mode is WeightMode.REAL:
        return float((weights.reals.astype(np.float64) * closest).astype(np.float32).max())
    return float(closest.max())


def lloyd_on_block(
    engine: Engine,
    block: Block,
    weights: Weights,
    identity: npt.NDArray[np.uint64],
    scales: Scales,
    template: LloydState,
    starts: Sequence[Float32Array],
) -> list[tuple[Float32Array, Fraction]]:
    """Lloyd's algorithm from each start on one block in memory; all models advance over one read.

    Returns
    -------
    list of (ndarray of float32 (k, d), Fraction)
        Final centres and their exact inertia, in the order of ``starts``.
    """
    runs = [LloydState(s, 0, template.tolerance, template.max_iter, math.inf) for s in starts]
    kept = [AssignState.fresh(block.shape[1], len(s)) for s in starts]
    while running := [m for m, run in enumerate(runs) if not run.finished]:
        results = engine.assign(
            block, weights, [runs[m].centres for m in running], [kept[m] for m in running], scales
        )
        for m, result in zip(running, results, strict=True):
            n_empty = empty_clusters(result.sums).size
            spare = _spare_rows(engine, block, weights, identity, scales, runs[m], kept[m], n_empty)
            runs[m] = step(runs[m], result.sums, spare)
    final = engine.assign(
        block, weights, [run.centres for run in runs], kept, scales, sums=False, inertia=True
    )
    return [
        (run.centres, result.sums.inertia.to_fractions()[0]) for run, result in zip(runs, final, strict=True)
    ]


def _spare_rows(
    engine: Engine,
    block: Block,
    weights: Weights,
    identity: npt.NDArray[np.uint64],
    scales: Scales,
    run: LloydState,
    state: AssignState,
    n_empty: int,
) -> Float32Array | None:
    """Rows for empty clusters, as :func:`gpuseg.graph.tasks.farthest_partition` finds them in a table."""
    if not n_empty:
        return None
    distance = np.empty(block.shape[1], np.float32)
    engine.assign(block, weights, [run.centres], [state], scales, distance=distance)
    return farthest_rows(block, weights, distance, identity, n_empty).rows
