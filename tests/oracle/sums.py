"""Fixed point, ranges and moments in Python integers and fractions, one value at a time."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

NONE, INTEGER, REAL = "none", "integer", "real"


def scale_exponent(largest: float) -> int:
    """The largest e in -500 .. 500 with largest * 2**e < 2**40; 0 for 0."""
    if largest == 0:
        return 0
    exact, e = Fraction(largest), 0
    while e < 500 and exact * Fraction(2) ** (e + 1) < 2**40:
        e += 1
    while e > -500 and exact * Fraction(2) ** e >= 2**40:
        e -= 1
    return e


def fixed(value: float, exponent: int) -> int:
    """rint(value * 2**exponent), half to even; the product with a power of two is exact, round() of a float too."""
    return round(math.ldexp(value, exponent))


def weight_kind(weights) -> str:
    """Which arithmetic a list of weights (None: all 1) needs."""
    if weights is None:
        return NONE
    if all(float(w).is_integer() and w < 2**31 for w in weights) and sum(int(w) for w in weights) < 2**47:
        return INTEGER
    return REAL


def effective(weights, n: int) -> list:
    """Weights as numbers that count: ints, or floats already rounded to float32."""
    kind = weight_kind(weights)
    if kind == NONE:
        return [1] * n
    if kind == INTEGER:
        return [int(w) for w in weights]
    return [float(np.float32(w)) for w in weights]


def largest(values, weights) -> list[float]:
    """max |x| of each feature over rows of positive weight."""
    counts = effective(weights, len(values))
    return [
        max((abs(float(row[f])) for row, w in zip(values, counts, strict=True) if w > 0), default=0.0)
        for f in range(np.shape(values)[1])
    ]


def exponents(values, weights) -> tuple[list[int], list[int]]:
    """Exponents of the sums and of the squares for each feature."""
    reach = largest(values, weights)
    if weight_kind(weights) != REAL:
        e = [scale_exponent(x) for x in reach]
        return e, [2 * v for v in e]
    heaviest = max(effective(weights, len(values)))
    return [scale_exponent(heaviest * x) for x in reach], [scale_exponent(heaviest * (x * x)) for x in reach]


def term(kind: str, w, x: float, exponent: int) -> int:
    """What one row adds to a coordinate sum."""
    if kind == REAL:
        return fixed(w * x, exponent)  # two float32 multiply exactly in float64
    return w * fixed(x, exponent)


def moments(values, weights, e: list[int], e2: list[int]) -> tuple[Fraction, list[int], list[int]]:
    """Mass, sums and sums of squares of rows [n][d]."""
    kind = weight_kind(weights)
    counts = effective(weights, len(values))
    d = np.shape(values)[1]
    mass, total, square = Fraction(0), [0] * d, [0] * d
    for row, w in zip(np.asarray(values).tolist(), counts, strict=True):
        if w == 0:
            continue
        mass += Fraction(w)
        for f, x in enumerate(row):
            total[f] += term(kind, w, x, e[f])
            square[f] += fixed(w * (x * x), e2[f]) if kind == REAL else w * fixed(x, e[f]) ** 2
    return mass, total, square


def mean(total: int, mass: Fraction, exponent: int) -> float:
    """float64(S) / float64(N) / 2**e."""
    return math.ldexp(float(total) / (mass.numerator / mass.denominator), -exponent)


def variance(total: int, square: int, mass: Fraction, exponent: int, square_exponent: int) -> Fraction:
    """Population variance, exact, not below 0."""
    first = Fraction(total) / Fraction(2) ** exponent / mass
    second = Fraction(square) / Fraction(2) ** square_exponent / mass
    return max(second - first * first, Fraction(0))


def bin_sum(values) -> Fraction:
    """Exact sum of float32 values."""
    return sum((Fraction(float(v)) for v in values), Fraction(0))
