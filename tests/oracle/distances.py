"""Distance tables of every metric, feature by feature."""

from __future__ import annotations

import math

import numpy as np

from tests.oracle import floats


def table(metric: str, rows, points) -> np.ndarray:
    """Distance of every row [n, d] to every point [k, d]: float32 [k, n], C order."""
    values = TABLES[metric](np.asarray(rows, np.float32), np.asarray(points, np.float32))
    return np.ascontiguousarray(values.T, np.float32)


def euclidean(rows, points) -> np.ndarray:
    """Root of the chain d2."""
    return np.vectorize(floats.sqrt32, otypes=[np.float32])(floats.chain(rows, points))


def manhattan(rows, points) -> np.ndarray:
    """Sum of magnitudes, features ascending, each step rounded to float32."""
    acc = np.zeros((len(rows), len(points)), np.float32)
    for f in range(rows.shape[1]):
        acc = acc + abs(rows[:, f, None] - points[None, :, f])
    return acc


def cosine(rows, points) -> np.ndarray:
    """1 - the chain of products of unit vectors, held to [0, 2]."""
    rows, points = unit(rows), unit(points)
    acc = np.zeros((len(rows), len(points)), np.float32)
    for f in range(rows.shape[1]):
        acc = floats.fma32(*np.broadcast_arrays(rows[:, f, None], points[None, :, f]), acc)
    return np.clip(np.float32(1.0) - acc, np.float32(0.0), np.float32(2.0))


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


TABLES = {"euclidean": euclidean, "sqeuclidean": floats.chain, "manhattan": manhattan, "cosine": cosine}
