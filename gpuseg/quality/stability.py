"""Stability of segments under resampling (quality): mean Jaccard of each segment, and the adjusted Rand index.

A row's multiplicity in a replicate is a Poisson(1) draw by its identity, compared with integer thresholds; the
replicates are fitted with these integer weights on the scales of the whole table. ONE_ANSWER sections 2, 4 and 6.
"""

from __future__ import annotations

import logging
import math
import uuid
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.inputs import open_table
from gpuseg.cluster.kmeans import KMeans
from gpuseg.cluster.preparing import Prepared, prepare
from gpuseg.cluster.seeding import best_seeding, gather_sample, lloyd_on_block, run_on_sample
from gpuseg.core.lloyd import LloydState, absolute_tolerance
from gpuseg.core.philox import Stage, draw64
from gpuseg.core.promise import Promise
from gpuseg.core.seeding import AUTO_SEEDINGS, Sample, draft_rows
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.core.widesum import fraction_to_float
from gpuseg.engines.base import AssignState, Engine
from gpuseg.engines.choose import EngineChoice
from gpuseg.errors import InputError
from gpuseg.graph.executors import executor_for
from gpuseg.graph.memo import memo_bytes
from gpuseg.graph.tasks import Job
from gpuseg.quality.agreement import Int64, rand_index_of

logger = logging.getLogger("gpuseg.quality")

DOUBTFUL, VALID, STABLE = 0.6, 0.75, 0.85
"""Mean Jaccard below the first is doubtful, from the second on valid, from the third on stable (Hennig 2007)."""
SAMPLE_ROWS = 1 << 18
"""Rows that are resampled at most."""
MOST_REPLICATES = 10_000

_SEED_DRAW = (1 << 32) - 1
"""Index of the draw that seeds a replicate; replicates themselves have lower ones."""


@dataclass(frozen=True)
class SegmentStability:
    """How surely a segment comes back when the rows are drawn again.

    Parameters
    ----------
    cluster : int
        The model's cluster.
    n_rows : int
        Its rows among those that were resampled.
    jaccard : float
        Mean over the replicates of the Jaccard coefficient with the most similar cluster; NaN if no replicate had any
        of its rows.
    n_replicates : int
        Replicates that drew at least one of its rows.
    """

    cluster: int
    n_rows: int
    jaccard: float
    n_replicates: int

    @property
    def band(self) -> str:
        """By the mean Jaccard "stable", "valid", "uncertain" (between doubtful and valid) or "doubtful"."""
        return stability_band(self.jaccard)


@dataclass(frozen=True)
class Stability:
    """How surely segments come back when the rows are drawn again.

    Parameters
    ----------
    segments : tuple of SegmentStability
        By cluster, ascending; clusters without rows are left out.
    ari : float
        Mean over the replicates of the adjusted Rand index between the model's labels and those of the replicate's
        centres, over all rows that were resampled.
    ari_replicates : tuple of float
        Of each replicate.
    n_rows : int
        Rows that were resampled.
    sampled : bool
        Whether these are a sample of the table.
    seed : int
        Of the draws.
    promise : Promise
        Always exact.
    """

    segments: tuple[SegmentStability, ...]
    ari: float
    ari_replicates: tuple[float, ...]
    n_rows: int
    sampled: bool
    seed: int
    promise: Promise = Promise.EXACT

    @property
    def lowest(self) -> float:
        """Mean Jaccard of the segment that comes back least surely."""
        return min((0.0 if math.isnan(s.jaccard) else s.jaccard) for s in self.segments)

    @property
    def band(self) -> str:
        """Band of :attr:`lowest`."""
        return stability_band(self.lowest)

    @property
    def n_boot(self) -> int:
        """Replicates."""
        return len(self.ari_replicates)

    def segment(self, cluster: int) -> SegmentStability:
        """Figures of one cluster."""
        return next(found for found in self.segments if found.cluster == cluster)


def stability_band(jaccard: float) -> str:
    """The band of a mean Jaccard coefficient (Hennig 2007)."""
    if jaccard >= STABLE:
        return "stable"
    if jaccard >= VALID:
        return "valid"
    return "uncertain" if jaccard >= DOUBTFUL else "doubtful"


def stability(X: Any, model: KMeans, n_boot: int = 20, seed: int = 0) -> Stability:
    """Draw the rows again, cluster them again, and see which segments come back.

    Parameters
    ----------
    X : array_like, DataFrame, pyarrow.Table, Dask collection, or path, shape (n, d)
        What the model was fitted on, without weights.
    model : KMeans
        Fitted.
    n_boot : int, default 20
        Replicates.
    seed : int, default 0
        Of the draws, 0 <= seed < 2**64.

    Returns
    -------
    Stability
        Mean Jaccard and band of each segment, and the adjusted Rand index.

    Raises
    ------
    InputError
        The model is no fitted KMeans, a number is out of range, or the data cannot be used.

    Notes
    -----
    In each replicate a row counts as often as a Poisson(1) draw says, keyed by (seed, replicate, identity of the row):
    chunks, workers and, with customer keys, the order of the rows do not matter. The Jaccard coefficient is that of the
    sets of rows that were drawn, each once, as in ``clusterboot`` of R's fpc. A replicate is seeded and run as the
    model was (``n_init``, ``tol``, ``max_iter``).

    Rows are gathered in this process: at most 2**18, in the way of the seeding sample; beyond that a log line and
    ``sampled`` say so. Cost: ``n_boot`` fits.

    References
    ----------
    C. Hennig. Cluster-wise assessment of cluster stability. Computational Statistics & Data Analysis 52 (2007).
    J. A. Hanley, B. MacGibbon. Creating non-parametric bootstrap samples using Poisson frequencies. Computer Methods
    and Programs in Biomedicine 83 (2006).

    Examples
    --------
    >>> import numpy as np
    >>> from gpuseg import KMeans
    >>> X = np.repeat([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0]], 20, axis=0) + np.arange(120).reshape(60, 2) % 7 / 9
    >>> found = stability(X, KMeans(3, random_state=0).fit(X), n_boot=3)
    >>> found.ari, found.band
    (1.0, 'stable')
    """
    _check(model, n_boot, seed)
    sample, centres, prepared, engine = _gathered(X, model, seed)
    labels = _labels(engine, sample, centres, prepared)
    template = LloydState(
        centres=centres,
        iteration=0,
        tolerance=absolute_tolerance(float(model.tol), prepared.moments.variance()),
        max_iter=int(model.max_iter),
        seed=seed,
    )
    start = None if isinstance(model.init, str) else model._given_centres(prepared)  # noqa: SLF001 (same package)
    n_init = AUTO_SEEDINGS if model.n_init == "auto" else int(model.n_init)
    k = len(centres)
    overlap, ari = [], []
    for replicate in range(n_boot):
        drawn = poisson_draws(seed, sample.identity, replicate)
        own_seed = int(draw64(seed, Stage.BOOTSTRAP, np.array([replicate], np.uint64), _SEED_DRAW)[0])
        again = _refit(engine, sample, drawn, prepared, replace(template, seed=own_seed), k, n_init, start)
        found = _labels(engine, sample, again, prepared)
        overlap.append(_table(labels[drawn > 0], found[drawn > 0], k))
        ari.append(rand_index_of(_table(labels, found, k)))
    n_rows = labels.size
    sampled = n_rows < prepared.seen.n_rows
    if sampled:
        logger.info("stability: %d of %d rows were resampled", n_rows, prepared.seen.n_rows)
    segments = _segments(np.bincount(labels, minlength=k), overlap)
    mean = fraction_to_float(sum(map(Fraction, ari), Fraction(0)) / n_boot)
    return Stability(segments, mean, tuple(ari), n_rows, sampled, seed)


def poisson_draws(seed: int, identity: npt.NDArray[np.uint64], replicate: int) -> Int64:
    """How often each row counts in a replicate: a Poisson(1) draw by its identity.

    Parameters
    ----------
    seed : int
        0 <= seed < 2**64.
    identity : ndarray of uint64, shape (n,)
        Who each row is.
    replicate : int
        Number of the replicate.

    Returns
    -------
    ndarray of int64, shape (n,)
        The number of thresholds ``floor(2**64 * P(N <= j))`` that the row's 64-bit draw reaches.
    """
    draws = draw64(seed, Stage.BOOTSTRAP, identity, replicate)
    return np.searchsorted(_THRESHOLDS, draws, side="right").astype(np.int64)


def _thresholds() -> npt.NDArray[np.uint64]:
    """The distribution of Poisson(1) in 64 bits, from a rational value of 1/e that is exact to 2**-90."""
    inverse_e = sum((Fraction((-1) ** j, math.factorial(j)) for j in range(27)), Fraction(0))
    found, total = [], Fraction(0)
    for j in range(20):
        total += inverse_e / math.factorial(j)
        found.append(min(math.floor(total * (1 << 64)), (1 << 64) - 1))
    return np.array(found, np.uint64)


_THRESHOLDS = _thresholds()


def _check(model: Any, n_boot: int, seed: int) -> None:
    if not isinstance(model, KMeans) or not hasattr(model, "_fitted"):
        raise InputError(f"model={type(model).__name__} is no fitted KMeans; call fit first")
    if isinstance(n_boot, bool) or not 1 <= n_boot <= MOST_REPLICATES:
        raise InputError(f"n_boot={n_boot} is not between 1 and {MOST_REPLICATES}; 20 to 100 are usual")
    if not 0 <= seed < 1 << 64:
        raise InputError(f"seed={seed} is not in 0 .. 2^64 - 1; reduce it to 64 bits first")


def _gathered(X: Any, model: KMeans, seed: int) -> tuple[Sample, npt.NDArray[np.float32], Prepared, Engine]:
    """The rows to resample in the model's block coordinates, in identity order."""
    fitted = model._fitted  # noqa: SLF001 (same package)
    table = open_table(model, X, None, None, reset=False, leave_out=model._roles)  # noqa: SLF001 (same package)
    executor = executor_for(table, model.engine, model.n_jobs)
    try:
        job = Job(uuid.uuid4().hex, executor.engine, memo_bytes())
        prepared = prepare(executor, job, single=table.single, n_clusters=1, columns=table.columns)
        scales = replace(prepared.layout.scales, mode=WeightMode.NONE)
        layout = replace(
            prepared.layout, centre=fitted.layout.centre, centred=fitted.layout.centred, scales=scales
        )
        prepared = replace(prepared, job=prepared.job.with_layout(layout))
        sample = gather_sample(executor, prepared, seed, SAMPLE_ROWS)
    finally:
        executor.close()
    return sample, fitted.centres, prepared, EngineChoice("cpu", "asked for", model.n_jobs).build()


def _labels(
    engine: Engine, sample: Sample, centres: npt.NDArray[np.float32], prepared: Prepared
) -> npt.NDArray[np.int64]:
    state = AssignState.fresh(sample.rows.shape[1], len(centres))
    engine.assign(sample.rows, Weights.ones(), [centres], [state], prepared.layout.scales, sums=False)
    return state.labels.astype(np.int64)


def _refit(
    engine: Engine,
    sample: Sample,
    drawn: Int64,
    prepared: Prepared,
    template: LloydState,
    k: int,
    n_init: int,
    start: npt.NDArray[np.float32] | None,
) -> npt.NDArray[np.float32]:
    """Centres of one replicate: integer weights, the scales of the whole table."""
    rows = np.flatnonzero(drawn)
    part = Sample(
        sample.limit,
        sample.draw[rows],
        sample.identity[rows],
        np.ascontiguousarray(sample.rows[:, rows]),
        drawn[rows].astype(np.float64),
    )
    scales = replace(prepared.layout.scales, mode=WeightMode.INTEGER)
    if start is None:
        draft = part.smallest(draft_rows(k))
        best = best_seeding(engine, draft, scales, template, k, n_init, template.seed).centres
        return best if draft is part else run_on_sample(engine, part, scales, template, best)
    weights = Weights.of(part.weight, WeightMode.INTEGER)
    [(centres, _)] = lloyd_on_block(engine, part.rows, weights, part.identity, scales, template, [start])
    return centres


def _table(first: Int64, second: Int64, k: int) -> Int64:
    """Rows in each pair of clusters, empty ones kept."""
    return np.bincount(first * k + second, minlength=k * k).astype(np.int64).reshape(k, k)


def _segments(sizes: npt.NDArray[np.intp], overlap: list[Int64]) -> tuple[SegmentStability, ...]:
    found = []
    for cluster in np.flatnonzero(sizes).tolist():
        best = [_most_similar(table, cluster) for table in overlap if table[cluster].any()]
        mean = fraction_to_float(sum(best, Fraction(0)) / len(best)) if best else math.nan
        found.append(SegmentStability(cluster, int(sizes[cluster]), mean, len(best)))
    return tuple(found)


def _most_similar(table: Int64, cluster: int) -> Fraction:
    """Jaccard coefficient of a cluster with the most similar one of a replicate."""
    own = int(table[cluster].sum())
    return max(
        Fraction(both, own + other - both)
        for both, other in zip(table[cluster].tolist(), table.sum(axis=0).tolist(), strict=True)
    )
