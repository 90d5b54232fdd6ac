"""Logarithms and powers of two in 60-digit decimal arithmetic (standard library), and the distance to them in ulp."""

from __future__ import annotations

import math
from decimal import Context, Decimal

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
