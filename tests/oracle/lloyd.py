"""Lloyd's algorithm row by row: labels, sums and inertia of one pass, the step, empty clusters, farthest rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tests.oracle import floats, sums


@dataclass
class Pass:
    """What one pass over all rows finds."""

    labels: list[int]
    distance: list[float]
    mass: list[Fraction]
    total: list[list[int]]
    inertia: Fraction


def nearest(distances) -> tuple[int, float]:
    """Argmin over ascending index, strict <."""
    label, best = 0, math.inf
    for c, value in enumerate(distances):
        if value < best:
            label, best = c, value
    return label, best


def assign(rows, weights, centres, exponent, table=None) -> Pass:
    """One pass: rows [n][d], centres [k][d]."""
    k, d = np.shape(centres)
    kind = sums.weight_kind(weights)
    table = (floats.chain(rows, centres) if table is None else table).tolist()
    out = Pass([], [], [Fraction(0)] * k, [[0] * d for _ in range(k)], Fraction(0))
    for row, w, distances in zip(
        np.asarray(rows).tolist(), sums.effective(weights, len(rows)), table, strict=True
    ):
        label, best = nearest(distances)
        out.labels.append(label)
        out.distance.append(best)
        if w == 0:
            continue
        out.mass[label] += Fraction(w)
        for f in range(d):
            out.total[label][f] += sums.term(kind, w, row[f], int(exponent[f]))
        out.inertia += Fraction(floats.times32(w, best)) if kind == sums.REAL else w * Fraction(best)
    return out


def step(before, found: Pass, exponent, spare=()):
    """Next centres (float32 [k, d]) and the summed squared shift."""
    after, waiting = [], list(spare)
    for c, mass in enumerate(found.mass):
        if mass > 0:
            means = [sums.mean(t, mass, int(e)) for t, e in zip(found.total[c], exponent, strict=True)]
            after.append([np.float32(mean) for mean in means])
        elif waiting:
            after.append(list(waiting.pop(0)))
        else:
            after.append(list(before[c]))
    shift = math.fsum(
        (float(a) - float(b)) * (float(a) - float(b))
        for row_a, row_b in zip(before, after, strict=True)
        for a, b in zip(row_a, row_b, strict=True)
    )
    return np.array(after, np.float32).reshape(np.shape(before)), shift


def farthest(limit: int, distance, identity, rows) -> list[int]:
    """Indices of the first ``limit`` rows of distinct values: distance descending, identity ascending."""
    order = sorted(range(len(distance)), key=lambda i: (-float(distance[i]), int(identity[i])))
    seen, kept = [], []
    for i in order:
        value = [float(v) for v in rows[i]]
        if len(kept) < limit and value not in seen:
            seen.append(value)
            kept.append(i)
    return kept
