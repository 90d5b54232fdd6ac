"""IEEE arithmetic by hand: rounding of exact fractions, the float32 fused multiply-add, the distance chain.

``round_float32`` and ``fma32_exact`` work on one value with fractions; ``fma32`` is the same for arrays, by the route
of ONE_ANSWER section 1 (exact product, TwoSum, round to odd, then float32), and is proven against them by the tests.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from fractions import Fraction

import numpy as np


def round_float32(value: Fraction) -> float:
    """Nearest float32, ties to even, with gradual underflow and overflow to infinity."""
    if value == 0:
        return 0.0
    power = -126  # below 2**-126 the spacing stays that of the subnormals
    while abs(value) >= Fraction(2) ** (power + 1):
        power += 1
    spacing = Fraction(2) ** (power - 23)
    rounded = round(value / spacing) * spacing  # round() of a fraction takes ties to even
    if abs(rounded) >= Fraction(2) ** 128:
        return float("inf") if value > 0 else float("-inf")
    return float(rounded)


def fma32_exact(a: float, b: float, c: float) -> float:
    """a * b + c of three finite float32, rounded once."""
    return round_float32(Fraction(a) * Fraction(b) + Fraction(c))


def fma32_of_c():
    """C's fmaf, or None where there is no C library to be found."""
    name = ctypes.util.find_library("m")
    if name is None:
        return None
    function = ctypes.CDLL(name).fmaf
    function.argtypes = [ctypes.c_float] * 3
    function.restype = ctypes.c_float
    return function


def fma32(a, b, c):
    """Elementwise a * b + c of finite float32 arrays, rounded once."""
    wide_a, wide_b, wide_c = (np.asarray(v, np.float32).astype(np.float64) for v in (a, b, c))
    product = wide_a * wide_b  # 48 bits: exact
    total = product + wide_c
    virtual = total - product
    error = (product - (total - virtual)) + (wide_c - virtual)  # TwoSum: product + c == total + error
    even = (total.view(np.int64) & 1) == 0
    towards = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    odd = np.where((error != 0) & even, towards, total)
    with np.errstate(over="ignore"):
        return odd.astype(np.float32)


def chain(rows, points):
    """d2 of every row [n, d] to every point [k, d]: float32 [n, k]."""
    rows, points = np.asarray(rows, np.float32), np.asarray(points, np.float32)
    acc = np.zeros((len(rows), len(points)), np.float32)
    for f in range(rows.shape[1]):
        t = rows[:, f, None] - points[None, :, f]
        acc = fma32(t, t, acc)
    return acc


def chain_exact(row, point) -> float:
    """d2 of one row to one point, with fractions."""
    acc = 0.0
    for x, c in zip(row, point, strict=True):
        t = round_float32(Fraction(float(x)) - Fraction(float(c)))
        acc = fma32_exact(t, t, acc)
    return acc


def sqrt32(value: float) -> float:
    """Correctly rounded float32 square root: a float64 root has more than twice the digits, so rounding it is safe."""
    return float(np.float32(np.sqrt(np.float64(value))))


def times32(a: float, b: float) -> float:
    """Product of two float32, rounded once: in float64 it is exact."""
    return float(np.float32(float(a) * float(b)))
