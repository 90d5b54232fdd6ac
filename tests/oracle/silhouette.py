"""Silhouettes row by row."""

from __future__ import annotations

import math

from tests.oracle import floats, sums


def distance_sums(rows, others, labels, k: int, exponent: int) -> list[list[int]]:
    """Sum of rint(sqrt(d2) * 2**exponent) from each row to the others of each cluster."""
    table = floats.chain(rows, others).tolist()
    out = [[0] * k for _ in table]
    for i, distances in enumerate(table):
        for value, label in zip(distances, labels, strict=True):
            out[i][label] += sums.fixed(floats.sqrt32(value), exponent)
    return out


def squared(rows, labels, centres, spread, counts) -> tuple[list[float], int]:
    """Squared-Euclidean silhouette of each row in float64, in the stated order, and the sum of rint(s * 2**40)."""
    values = []
    for distances, own in zip(floats.chain(rows, centres).tolist(), labels, strict=True):
        mean = {c: distances[c] + spread[c] for c in range(len(counts)) if counts[c] > 0}
        if counts[own] <= 1:
            values.append(0.0)
            continue
        a = mean[own] * counts[own] / (counts[own] - 1.0)
        b = min((mean[c] for c in mean if c != own), default=math.inf)
        values.append((b - a) / max(a, b) if max(a, b) > 0 else 0.0)
    return values, sum(sums.fixed(v, 40) for v in values)


def nearest(rows, centres) -> list[int]:
    """Label of each row: the first of its nearest centres."""
    return [distances.index(min(distances)) for distances in floats.chain(rows, centres).tolist()]
