"""A stream of batches row by row: every sum a Python integer, a centre the mean of all rows it ever got."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tests.oracle import kmeans, lloyd, sums


@dataclass
class Step:
    """Where a batch leaves the stream."""

    centres: np.ndarray
    counts: list[float]
    labels: list[int]
    inertia: float


def follow(batches, weights, init, max_iter=300, reach=None) -> list[Step]:
    """The steps of batches [n][d], the first of which is fitted from the centres ``init``, with tol 0."""
    first, own = batches[0], weights[0]
    k, d = np.shape(init)
    block, centre = kmeans.prepared(first, own)
    exponent, _ = sums.exponents(block, own)
    start = to_block(np.asarray(init, np.float64), centre)
    identity = list(range(len(first)))
    centres = kmeans.run(block, own, identity, start, exponent, 0.0, max_iter).centres
    largest = sums.largest(block, own) if sums.weight_kind(own) != sums.REAL else heavy(block, own)
    wide = [sums.scale_exponent(1024 * x if reach is None else reach) for x in largest]
    mass, total, steps = [Fraction(0)] * k, [[0] * d for _ in range(k)], []
    for rows, w in zip(batches, weights, strict=True):
        values = to_block(rows, centre)
        found = lloyd.assign(values, w, centres, wide)
        mass = [a + b for a, b in zip(mass, found.mass, strict=True)]
        total = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(total, found.total, strict=True)]
        centres = np.array(
            [
                [np.float32(sums.mean(total[c][f], mass[c], wide[f])) for f in range(d)]
                if mass[c]
                else centres[c]
                for c in range(k)
            ],
            np.float32,
        )
        last = lloyd.assign(values, w, centres, wide)
        shown = (centres.astype(np.float64) + centre).astype(first.dtype)
        inertia = last.inertia.numerator / last.inertia.denominator
        steps.append(Step(shown, [float(m) for m in mass], last.labels, inertia))
    return steps


def to_block(rows, centre):
    """float32 of what is left after centring."""
    return np.array([[np.float32(float(x) - c) for x, c in zip(row, centre, strict=True)] for row in rows])


def heavy(block, weights) -> list[float]:
    """The largest weight times each feature's largest magnitude."""
    heaviest = float(np.float32(max(weights)))
    return [heaviest * x for x in (max(abs(float(r[f])) for r, w in zip(block, weights, strict=True) if w > 0)
                                   for f in range(block.shape[1]))]  # fmt: skip
