"""A whole fit of KMeans row by row: preparing, sample, greedy seedings, Lloyd on the sample, full passes, closing pass.

Slow and obvious: sums and potentials are Python integers, means and variances fractions, distances the float32 chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tests.oracle import lloyd, oversampling, seeding, sums


@dataclass
class Fit:
    """What a fit finds."""

    labels: list[int]
    centres: np.ndarray
    inertia: float
    n_iter: int
    n_relocated: int
    dissolved: list[tuple[int, int, int]]


@dataclass
class Run:
    """Lloyd's algorithm from one start."""

    centres: np.ndarray
    n_iter: int
    n_relocated: int


def prepared(values, weights):
    """Block float32 [n][d] and what was subtracted: everything for float64, offset features for float32."""
    d = values.shape[1]
    e, e2 = sums.exponents(values, weights)
    mass, total, square = sums.moments(values, weights, e, e2)
    centre = [sums.mean(total[f], mass, e[f]) for f in range(d)]
    if values.dtype == np.float32:
        for f in range(d):
            mean = Fraction(total[f]) / Fraction(2) ** e[f] / mass
            spread = sums.variance(total[f], square[f], mass, e[f], e2[f])
            if not (mean != 0 and mean * mean > 2**20 * spread):
                centre[f] = 0.0
    shifted = [[np.float32(float(x) - c) for x, c in zip(row, centre, strict=True)] for row in values]
    return np.array(shifted, np.float32).reshape(values.shape), np.array(centre)


def tolerance(block, weights, tol: float) -> float:
    """tol times the mean variance."""
    e, e2 = sums.exponents(block, weights)
    mass, total, square = sums.moments(block, weights, e, e2)
    variances = [sums.variance(t, q, mass, a, b) for t, q, a, b in zip(total, square, e, e2, strict=True)]
    if tol == 0:
        return 0.0
    return tol * (math.fsum(v.numerator / v.denominator for v in variances) / len(variances))


def spare_rows(block, weights, identity, found, limit: int):
    """The farthest distinct rows of positive weight."""
    rows = [i for i, w in enumerate(sums.effective(weights, len(block))) if w > 0]
    kept = lloyd.farthest(
        limit, [found.distance[i] for i in rows], [identity[i] for i in rows], [block[i] for i in rows]
    )
    return [block[rows[i]] for i in kept]


def run(block, weights, identity, start, exponent, limit: float, max_iter: int) -> Run:
    """Passes until the summed squared shift is at most ``limit``."""
    centres, n_iter, n_relocated, shift = start, 0, 0, math.inf
    while shift > limit and n_iter < max_iter:
        found = lloyd.assign(block, weights, centres, exponent)
        n_empty = sum(mass == 0 for mass in found.mass)
        spare = spare_rows(block, weights, identity, found, n_empty) if n_empty else []
        centres, shift = lloyd.step(centres, found, exponent, spare)
        n_iter += 1
        n_relocated += len(spare)
    return Run(centres, n_iter, n_relocated)


def without_small(block, weights, identity, end, exponent, limit, max_iter, least):
    """Dissolve the smallest cluster until each has ``least`` rows of positive weight; passes to rest after each."""
    dissolved, left = [], list(range(len(end.centres)))
    while True:
        labels = lloyd.assign(block, weights, end.centres, exponent).labels
        counts = [0] * len(left)
        for label, w in zip(labels, sums.effective(weights, len(block)), strict=True):
            counts[label] += w > 0
        if min(counts) >= least:
            return end, dissolved
        worst = counts.index(min(counts))
        dissolved.append((left.pop(worst), counts[worst], end.n_iter))
        centres = np.array([c for i, c in enumerate(end.centres) if i != worst])
        more = run(block, weights, identity, centres, exponent, limit, max_iter - end.n_iter)
        end = Run(more.centres, end.n_iter + more.n_iter, end.n_relocated + more.n_relocated)


def seeding_rows(block, weights, identity, k, seed, exponent, how):
    """Rows that seedings pick from, their weights, and the scale of sums over them."""
    if how.oversampling is not None:
        wanted = how.oversampling * k
        chosen = oversampling.candidates(block, weights, identity, seed, wanted, how.rounds)
        chosen, masses = oversampling.weighted(block, weights, chosen, exponent)
        return chosen, masses, oversampling.exponents(block, weights, masses)
    chosen = seeding.sample(how.sample_rows, seed, identity, weights)
    return chosen, None if weights is None else [weights[i] for i in chosen], exponent


@dataclass
class How:
    """How a fit is seeded: on a draft of a sample, then the sample; or with ``oversampling`` by k-means||."""

    n_init: int
    sample_rows: int
    draft_rows: int
    draft_rows_a_cluster: int
    warm: bool
    oversampling: float | None
    rounds: int


def seeded_start(block, weights, identity, k, seed, exponent, limit, max_iter, how):
    """Where full passes begin: the best seeding of a draft, after Lloyd on what is a part of the data."""
    chosen, own, exponent = seeding_rows(block, weights, identity, k, seed, exponent, how)
    rows, names = block[chosen], [identity[i] for i in chosen]
    some = len(chosen) if how.oversampling is not None else max(how.draft_rows, how.draft_rows_a_cluster * k)
    draft = seeding.sample(some, seed, names, None)
    few, few_names = rows[draft], [names[i] for i in draft]
    few_own = None if own is None else [own[i] for i in draft]
    best = None
    for number in range(how.n_init):
        picked = seeding.greedy(few, few_own, k, seed, number)
        seeds = few[picked + picked[-1:] * (k - len(picked))]
        end = run(few, few_own, few_names, seeds, exponent, limit, max_iter)
        inertia = lloyd.assign(few, few_own, end.centres, exponent).inertia
        if best is None or inertia < best[0]:
            best = (inertia, seeds, end.centres)
    n_positive = sum(w > 0 for w in sums.effective(weights, len(block)))
    if not how.warm or len(few) == n_positive:
        return best[1]
    if len(few) < len(rows) < n_positive:
        return run(rows, own, names, best[2], exponent, limit, max_iter).centres
    return best[2]


def fit(
    values, k, *, weights=None, seed=0, init=None, n_init=8, max_iter=300, tol=1e-4, identity=None,
    sample_rows=2**18, draft_rows=2**15, draft_rows_a_cluster=512, warm=True, oversampling=None, rounds=5, least=0,
) -> Fit:  # fmt: skip
    """KMeans of rows [n][d] in float32 or float64, identities by default their numbers."""
    identity = list(range(len(values))) if identity is None else identity
    block, centre = prepared(values, weights)
    exponent, _ = sums.exponents(block, weights)
    limit = tolerance(block, weights, tol)
    if init is None:
        how = How(n_init, sample_rows, draft_rows, draft_rows_a_cluster, warm, oversampling, rounds)
        start = seeded_start(block, weights, identity, k, seed, exponent, limit, max_iter, how)
    else:
        start = np.array(
            [[np.float32(float(x) - c) for x, c in zip(row, centre, strict=True)] for row in init]
        )
    end = run(block, weights, identity, start, exponent, limit, max_iter)
    end, dissolved = without_small(block, weights, identity, end, exponent, limit, max_iter, least)
    last = lloyd.assign(block, weights, end.centres, exponent)
    wide = (end.centres.astype(np.float64) + centre).astype(values.dtype)
    inertia = last.inertia.numerator / last.inertia.denominator
    return Fit(last.labels, wide, inertia, end.n_iter, end.n_relocated, dissolved)
