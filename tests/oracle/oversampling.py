"""Rounds of k-means|| over all rows at once, row by row: sums are fractions, chances Python floats."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from tests.oracle import floats, lloyd, philox, seeding, sums

OVERSAMPLE = 5


def total(closest, weights) -> Fraction:
    """Sum of the weighted distances: each product rounded to float32 where weights are real, else exact."""
    counts = sums.effective(weights, len(closest))
    if sums.weight_kind(weights) == sums.REAL:
        return sums.bin_sum(seeding.weighted(closest, weights))
    return sum((w * Fraction(float(v)) for w, v in zip(counts, closest, strict=True)), Fraction(0))


def kept(closest, weights, identity, seed: int, number: int, wanted: float, of_all: Fraction) -> list[int]:
    """Rows with u < ((l * w) * d2) / total in float64; where the total is 0 x / 0 is infinite, 0 / 0 nothing."""
    rounded = of_all.numerator / of_all.denominator
    found = []
    for i, w in enumerate(sums.effective(weights, len(closest))):
        u = (philox.draw64(seed, OVERSAMPLE, int(identity[i]), number) >> 11) / 2**53
        share = (wanted * float(w)) * float(closest[i])
        if share > 0 and (rounded == 0 or u < share / rounded):
            found.append(i)
    return found


def candidates(block, weights, identity, seed: int, wanted: float, rounds: int) -> list[int]:
    """Rows that are candidates in the end, in identity order."""
    [first] = seeding.sample(1, seed, identity, weights)
    chosen = [first]
    for number in range(rounds):
        closest = floats.chain(block, block[chosen]).min(axis=1)
        of_all = total(closest, weights)
        if of_all == 0:
            break
        chosen += kept(closest, weights, identity, seed, number, wanted, of_all)
    return sorted(chosen, key=lambda i: int(identity[i]))


def weighted(block, weights, chosen: list[int], exponent) -> tuple[list[int], list[float]]:
    """The candidates that some row is nearest to, and the weight of those rows."""
    masses = lloyd.assign(block, weights, block[chosen], exponent).mass
    rounded = [mass.numerator / mass.denominator for mass in map(Fraction, masses)]
    if sums.weight_kind(rounded) == sums.REAL:
        power = math.frexp(max(rounded))[1] - 1
        rounded = [math.ldexp(mass, -power) for mass in rounded]
    counting = [j for j, mass in enumerate(rounded) if np.float32(mass) > 0]
    return [chosen[j] for j in counting], [rounded[j] for j in counting]


def exponents(block, weights, masses: list[float]) -> list[int]:
    """Scale of the sums over candidates: from the largest values of all rows."""
    heaviest = max(sums.effective(masses, len(masses))) if sums.weight_kind(masses) == sums.REAL else 1.0
    return [sums.scale_exponent(heaviest * x) for x in sums.largest(block, weights)]
