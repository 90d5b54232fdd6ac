"""The sample and greedy k-means++ in plain Python integers; draws come from the Philox oracle."""

from __future__ import annotations

import math

import numpy as np

from tests.oracle import floats, philox, sums

SAMPLE, SEED = 1, 2


def sample(limit: int, seed: int, identity, weights) -> list[int]:
    """Indices of the rows with positive weight and the smallest (draw, identity), in identity order."""
    counts = sums.effective(weights, len(identity))
    rows = [i for i, w in enumerate(counts) if w > 0]
    rows.sort(key=lambda i: (philox.draw64(seed, SAMPLE, int(identity[i]), 0), int(identity[i])))
    return sorted(rows[:limit], key=lambda i: int(identity[i]))


def trials(k: int) -> int:
    """2 + floor(ln k)."""
    return 2 + math.floor(math.log(k))


def pick(potentials: list[int], draw: int) -> int:
    """The first row whose prefix exceeds floor(draw * total / 2**64)."""
    target = draw * sum(potentials) // 2**64
    prefix = 0
    for i, value in enumerate(potentials):
        prefix += value
        if prefix > target:
            return i
    raise AssertionError("a draw is below 2**64, so some prefix exceeds the target")


def exponent(top: float, weights, n: int) -> int:
    """Scale of one step's potentials: 40 bits, or as many as keep their sum below 2**62."""
    multiplicity = sum(sums.effective(weights, n)) if sums.weight_kind(weights) == sums.INTEGER else n
    return sums.scale_exponent(top) - 40 + min(40, 62 - multiplicity.bit_length())


def weighted(values, weights) -> list[float]:
    """Largest-value arithmetic: distances, times the weight (rounded once) where weights are real."""
    if sums.weight_kind(weights) != sums.REAL:
        return [float(v) for v in values]
    return [
        floats.times32(w, float(v)) for w, v in zip(sums.effective(weights, len(values)), values, strict=True)
    ]


def potentials(values, weights, e: int) -> list[int]:
    """w * rint(D2 * 2**e), or rint(float32(w * D2) * 2**e) where weights are real."""
    counts = sums.effective(weights, len(values))
    if sums.weight_kind(weights) == sums.REAL:
        return [sums.fixed(v, e) for v in weighted(values, weights)]
    return [w * sums.fixed(v, e) for w, v in zip(counts, values, strict=True)]


def draws(seed: int, seeding: int, step: int, count: int) -> list[int]:
    """Draws of one step of one seeding."""
    return [philox.draw64(seed, SEED, seeding * 2**32 + step, trial) for trial in range(count)]


def greedy(rows, weights, k: int, seed: int, seeding: int = 0) -> list[int]:
    """Rows that one greedy seeding picks, in order; fewer than k where no distance is left."""
    n = len(rows)
    if sums.weight_kind(weights) == sums.REAL:
        first = [sums.fixed(w, exponent(max(weighted([1.0] * n, weights)), weights, n))
                 for w in sums.effective(weights, n)]  # fmt: skip
    else:
        first = sums.effective(weights, n)
    picked = [pick(first, draws(seed, seeding, 0, 1)[0])]
    closest = floats.chain(rows, rows[picked])[:, 0]
    while len(picked) < k:
        e = exponent(max(weighted(closest, weights)), weights, n)
        masses = potentials(closest, weights, e)
        if sum(masses) == 0:
            break
        best = None
        for draw in draws(seed, seeding, len(picked), trials(k)):
            candidate = pick(masses, draw)
            nearer = np.minimum(closest, floats.chain(rows, rows[[candidate]])[:, 0])
            total = sum(potentials(nearer, weights, e))
            if best is None or total < best[0]:
                best = (total, candidate, nearer)
        picked.append(best[1])
        closest = best[2]
    return picked
