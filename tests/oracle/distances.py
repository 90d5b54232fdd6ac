"""Distance tables of every metric, one pair at a time."""

from __future__ import annotations

import math

import numpy as np

from tests.oracle import floats


def table(metric: str, rows, points) -> np.ndarray:
    """Distance of every row [n, d] to every point [k, d]: float32 [k, n], C order."""
    if metric == "cosine":
        rows, points = unit(rows), unit(points)
    values = [[PAIR[metric](row, point) for row in rows] for point in points]
    return np.array(values, np.float32).reshape(len(points), len(rows))


def manhattan(row, point) -> float:
    """Sum of magnitudes, features ascending, each step rounded to float32."""
    acc = np.float32(0.0)
    for x, c in zip(row, point, strict=True):
        acc = np.float32(acc + abs(np.float32(x - c)))
    return float(acc)


def unit(vectors) -> np.ndarray:
    """Each vector over its float64 length, rounded to float32; zeros stay zeros."""
    out = np.zeros(np.shape(vectors), np.float32)
    for i, vector in enumerate(np.asarray(vectors).tolist()):
        square = 0.0
        for value in vector:
            square += value * value  # exact product of two float32, rounded sum
        if square > 0:
            out[i] = [np.float32(value / math.sqrt(square)) for value in vector]
    return out


def cosine_of_units(row, point) -> float:
    """1 - the chain of products of two unit vectors, held to [0, 2]."""
    acc = np.float32(0.0)
    for u, v in zip(row, point, strict=True):
        acc = floats.fma32(u, v, acc)
    return min(max(float(np.float32(1.0) - np.float32(acc)), 0.0), 2.0)


def squared(row, point) -> float:
    """The chain d2."""
    return float(floats.chain([row], [point])[0, 0])


PAIR = {
    "euclidean": lambda row, point: floats.sqrt32(squared(row, point)),
    "sqeuclidean": squared,
    "manhattan": manhattan,
    "cosine": cosine_of_units,
}
