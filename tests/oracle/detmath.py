"""Logarithms and powers of two in 60-digit decimal arithmetic (standard library), the distance to them in ulp, and
the arguments at which every implementation is tried."""

from __future__ import annotations

import math
from decimal import Context, Decimal

import numpy as np

EXACT = Context(prec=60, Emin=-999_999, Emax=999_999)
LN2 = EXACT.ln(Decimal(2))


def log(x: float) -> Decimal:
    return EXACT.ln(Decimal(x))


def log1p(x: float) -> Decimal:
    if abs(x) > 1e-9:
        return EXACT.ln(EXACT.add(1, Decimal(x)))
    # 1 + x does not fit 60 digits for small x; six terms of the series leave 1e-54 of relative error.
    terms = [EXACT.divide(EXACT.power(Decimal(x), i), Decimal((-1) ** (i + 1) * i)) for i in range(1, 7)]
    total = Decimal(0)
    for term in reversed(terms):
        total = EXACT.add(total, term)
    return total


def exp2(x: float) -> Decimal:
    return EXACT.exp(EXACT.multiply(Decimal(x), LN2))


def error_in_ulp(computed: float, exact: Decimal) -> float:
    """Distance between a double and the exact value, in units in the last place of the double nearest to it."""
    ulp = Decimal(math.ulp(abs(float(exact))))
    return float(EXACT.divide(EXACT.abs(EXACT.subtract(Decimal(computed), exact)), ulp))


ROOT_HALF, ROOT_2 = math.sqrt(0.5), math.sqrt(2.0)


def neighbours(*centres: float) -> np.ndarray:
    """Each centre and the eight doubles on either side of it."""
    found = []
    for centre in centres:
        below = above = centre
        found.append(centre)
        for _ in range(8):
            below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
            found += [below, above]
    return np.array(found)


def samples(name: str, count: int) -> dict[str, np.ndarray]:
    """Arguments of one function by family: its range, where the algorithm splits, its edges."""
    rng = np.random.default_rng(20170101)
    any_positive = rng.integers(1, 0x7FEFFFFFFFFFFFFF, count).view(np.float64)
    small = rng.uniform(-1.0, 1.0, count) * 2.0 ** -rng.integers(1, 60, count)
    limits = np.array([5e-324, 2.0**-1022, math.nextafter(2.0**-1022, 0.0), 1.7976931348623157e308])
    if name == "log":
        return {
            "around 1": rng.uniform(0.5, 2.0, count),
            "near 1": 1.0 + small[np.abs(small) >= 2.0**-53],
            "splits": np.r_[ROOT_HALF * (1 + 0.01 * small), ROOT_2 * (1 + 0.01 * small)],
            "any": any_positive,
            "subnormal": rng.integers(1, 2**52, count).view(np.float64),
            "edges": np.r_[neighbours(ROOT_HALF, ROOT_2, 1.0, 2.0, 2.0**-1022), limits],
        }
    if name == "log1p":
        return {
            "-1 to 1": rng.uniform(-1.0, 1.0, count),
            "small": small,
            "splits": np.r_[rng.uniform(-0.35, -0.25, count), rng.uniform(0.3, 0.6, count)],
            "counts": np.arange(1.0, 1.0 + count),
            "any": any_positive,
            "edges": np.r_[
                neighbours(ROOT_HALF - 1, ROOT_2 - 1, 2.0**53, 1.0), limits, -limits[:3], [-1 + 2**-53]
            ],
        }
    return {
        "one period": rng.uniform(-1.0, 1.0, count),
        "normal": rng.uniform(-1022.0, 1024.0, count),
        "subnormal": np.r_[rng.uniform(-1075.0, -1022.0, count), neighbours(-1074.0, -1022.5)],
        "small": small,
        "edges": np.r_[neighbours(0.5, -0.5, 1.5, -1021.9), [math.nextafter(1024.0, 0.0)]],
    }


SPECIAL = {
    "log": [(0.0, -math.inf), (-0.0, -math.inf), (-1.0, math.nan), (-5e-324, math.nan), (-math.inf, math.nan),
            (math.inf, math.inf), (math.nan, math.nan), (1.0, 0.0)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -math.inf), (math.nextafter(-1.0, -2.0), math.nan),
              (-math.inf, math.nan), (math.inf, math.inf), (math.nan, math.nan), (5e-324, 5e-324)],
    "exp2": [(0.0, 1.0), (-0.0, 1.0), (1024.0, math.inf), (math.inf, math.inf), (1e308, math.inf),
             (-1074.0, 5e-324), (-1075.0, 0.0), (math.nextafter(-1075.0, 0.0), 5e-324), (-1076.0, 0.0),
             (-1e308, 0.0), (-math.inf, 0.0), (math.nan, math.nan), (1023.0, 2.0**1023)],
}  # fmt: skip
