"""Logarithms and powers of two whose bits do not depend on the machine (room: core; every room may call it).

``numpy.log`` and libm round differently from one processor to the next (AVX-512 on or off is enough), so an answer
that passed through them could not be promised bit for bit. The functions here use float64 + - x /, comparisons and
bit operations in one stated order, never an fma. The same source runs

* in numpy, on arrays of any shape and on scalars;
* in numba, ``numba.njit(detmath.log)``, on scalars, inside loops, without a temporary.

``kernels/detmath.cuh`` repeats the same operations in the same order for the GPU; tests compare them all with ``==``.
Three things are the price of the single source. numba cannot call a plain Python helper, so each function is written
out whole. It views the bits of a scalar only as ``np.float64(...).view(...)``, a call that leaves a float64 array as
it is in numpy. And its ``np.where`` allocates for scalars, so choices are made on bits, ``(a & mask) | (b & ~mask)``,
with a mask of all ones or none.

Accuracy, measured against 60-digit decimal arithmetic (tests/core/test_detmath.py asserts less than 1 ulp):

========  ================================================================  ============
function  arguments                                                         largest seen
========  ================================================================  ============
log       all positive doubles, dense around 1 and at the splitting points  0.665 ulp
log1p     -1 to the largest double, dense around 0                          0.641 ulp
exp2      -1022 to 1024                                                     0.652 ulp
exp2      -1075 to -1022, where the result is subnormal                     0.793 ulp
========  ================================================================  ============

Derivation. Write x = 2^k m with m in [sqrt(1/2), sqrt(2)), f = m - 1 (exact), s = f/(2 + f) and h = f^2/2. Then
log m = 2 atanh s = 2s + s R with R = sum over i >= 1 of 2/(2i+1) s^(2i), and 2s = f - h + s h because
f^2/(2 + f) = h (1 - s). So log x = k ln 2 + f - h + s (h + R): the first three terms carry the accuracy and are summed
with their rounding errors, the last is below 0.02. For 2^x, n = rint(x), f = x - n (exact) and 2^f = exp(f ln 2) by its
Taylor series, with f ln 2 held as a pair of doubles.
"""

from __future__ import annotations

from typing import overload

import numpy as np
import numpy.typing as npt

_Numbers = npt.NDArray[np.floating | np.integer]
_Array = npt.NDArray[np.float64]

_SMALLEST_NORMAL = 2.0**-1022
_LIFT = 2.0**52 - 1.0  # 1 + _LIFT = 2^52 brings a subnormal among the normal numbers
_ROOT_HALF_BITS = 0x3FE6A09E667F3BCD  # the double nearest to sqrt(1/2)
_NAN_BITS = 0x7FF8000000000000
_INF_BITS = 0x7FF0000000000000
_MINUS_INF_BITS = -0x0010000000000000
_ROOT_HALF_LESS_1 = -0.2928932188134524  # between these two log1p takes f = x without a split
_ROOT_2_LESS_1 = 0.41421356237309503
_LOW_27 = -(1 << 27)  # mask: what is left of a double has 26 significant bits, so its square is exact

# ln 2 = _LN2_HI + _LN2_LO. _LN2_HI has 41 significant bits: k * _LN2_HI is exact for |k| < 2^12.
_LN2_HI = float.fromhex("0x1.62e42fefa3000p-1")
_LN2_LO = float.fromhex("0x1.3de6af278ece6p-42")
# ln 2 = _LN2_TOP + _LN2_REST. _LN2_TOP has 26 significant bits: its product with 26 bits of f is exact.
_LN2_TOP = float.fromhex("0x1.62e42f0000000p-1")
_LN2_REST = float.fromhex("0x1.df473de6af279p-26")
_LN2 = float.fromhex("0x1.62e42fefa39efp-1")

# Adding and subtracting 1.5 * 2^52 rounds to the nearest integer, ties to even; the low bits then hold that integer.
_ROUNDER = 6755399441055744.0
_ROUNDER_BITS = 0x4338000000000000


@overload
def log(x: float) -> np.float64: ...
@overload
def log(x: _Numbers) -> _Array: ...
def log(x: float | _Numbers) -> np.float64 | _Array:
    """Natural logarithm, the same bits everywhere.

    Parameters
    ----------
    x : array of any shape, or scalar
        Taken as float64.

    Returns
    -------
    float64 array of the same shape, or scalar
        ``-inf`` at 0, NaN for negative and NaN arguments, ``inf`` at infinity; no warning is raised for these.

    Notes
    -----
    The order of operations is part of the answer: ``kernels/detmath.cuh`` repeats it line by line.

    Examples
    --------
    >>> float(log(8.0)), float(log(0.0))
    (2.0794415416798357, -inf)
    """
    value = np.float64(x)
    ordinary = (value > 0.0) & (value < np.inf)
    keep = -np.int64(ordinary)
    inside = np.int64(np.float64(value).view(np.int64) & keep).view(np.float64)

    subnormal = np.int64(inside < _SMALLEST_NORMAL)
    bits = np.float64(inside * (1.0 + subnormal * _LIFT)).view(np.int64)
    exponent = (bits - _ROOT_HALF_BITS) >> 52
    f = np.int64(bits - (exponent << 52)).view(np.float64) - 1.0
    k = exponent - 52 * subnormal

    s = f / (2.0 + f)
    z = s * s
    r = 2.0 / 21.0 + z * (2.0 / 23.0 + z * (2.0 / 25.0))
    r = 2.0 / 15.0 + z * (2.0 / 17.0 + z * (2.0 / 19.0 + z * r))
    r = 2.0 / 9.0 + z * (2.0 / 11.0 + z * (2.0 / 13.0 + z * r))
    r = z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * r)))

    f_top = np.int64(np.float64(f).view(np.int64) & _LOW_27).view(np.float64)
    h_top = 0.5 * (f_top * f_top)
    h_rest = 0.5 * ((f - f_top) * (f + f_top))

    first = k * _LN2_HI + f
    first_error = f - (first - k * _LN2_HI)
    second = first - h_top
    second_error = (first - second) - h_top
    small = s * ((h_top + h_rest) + r) - h_rest + k * _LN2_LO
    result = second + (second_error + (first_error + small))

    zero = -np.int64(value == 0.0)
    infinite = -np.int64(value == np.inf)
    special = (zero & _MINUS_INF_BITS) | (infinite & _INF_BITS) | (~(zero | infinite) & _NAN_BITS)
    return np.int64((np.float64(result).view(np.int64) & keep) | (special & ~keep)).view(np.float64)


@overload
def log1p(x: float) -> np.float64: ...
@overload
def log1p(x: _Numbers) -> _Array: ...
def log1p(x: float | _Numbers) -> np.float64 | _Array:
    """Natural logarithm of 1 + x, accurate for small x, the same bits everywhere.

    Parameters
    ----------
    x : array of any shape, or scalar
        Taken as float64.

    Returns
    -------
    float64 array of the same shape, or scalar
        ``-inf`` at -1, NaN below it and for NaN, ``inf`` at infinity, -0.0 at -0.0; no warning is raised for these.

    Notes
    -----
    Between sqrt(1/2) - 1 and sqrt(2) - 1 the series takes f = x as it stands. Elsewhere u = 1 + x is rounded, and the
    part that was lost, c, returns as c/u: log(u + c) = log u + c/u, the next term being below 2^-105.

    Examples
    --------
    >>> float(log1p(1e-300)), float(log1p(1.0))
    (1e-300, 0.6931471805599453)
    """
    value = np.float64(x)
    ordinary = (value > -1.0) & (value < np.inf) & (value != 0.0)
    keep = -np.int64(ordinary)
    inside = np.int64(np.float64(value).view(np.int64) & keep).view(np.float64)

    u = 1.0 + inside
    added = u - 1.0
    lost = (1.0 - (u - added)) + (inside - added)
    bits = np.float64(u).view(np.int64)
    exponent = (bits - _ROOT_HALF_BITS) >> 52
    f_of_u = np.int64(bits - (exponent << 52)).view(np.float64) - 1.0
    far = -np.int64((inside <= _ROOT_HALF_LESS_1) | (inside >= _ROOT_2_LESS_1))
    f_bits = (np.float64(f_of_u).view(np.int64) & far) | (np.float64(inside).view(np.int64) & ~far)
    f = np.int64(f_bits).view(np.float64)
    k = exponent & far
    correction = np.int64(np.float64(lost / u).view(np.int64) & far).view(np.float64)

    s = f / (2.0 + f)
    z = s * s
    r = 2.0 / 21.0 + z * (2.0 / 23.0 + z * (2.0 / 25.0))
    r = 2.0 / 15.0 + z * (2.0 / 17.0 + z * (2.0 / 19.0 + z * r))
    r = 2.0 / 9.0 + z * (2.0 / 11.0 + z * (2.0 / 13.0 + z * r))
    r = z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * r)))

    f_top = np.int64(np.float64(f).view(np.int64) & _LOW_27).view(np.float64)
    h_top = 0.5 * (f_top * f_top)
    h_rest = 0.5 * ((f - f_top) * (f + f_top))

    first = k * _LN2_HI + f
    first_error = f - (first - k * _LN2_HI)
    second = first - h_top
    second_error = (first - second) - h_top
    small = s * ((h_top + h_rest) + r) - h_rest + k * _LN2_LO + correction
    result = second + (second_error + (first_error + small))

    # Zeros keep their sign: they come back as they went in.
    minus_one = -np.int64(value == -1.0)
    itself = -np.int64((value == 0.0) | (value == np.inf))
    special = (minus_one & _MINUS_INF_BITS) | (~(minus_one | itself) & _NAN_BITS)
    special = special | (itself & np.float64(value).view(np.int64))
    return np.int64((np.float64(result).view(np.int64) & keep) | (special & ~keep)).view(np.float64)


@overload
def exp2(x: float) -> np.float64: ...
@overload
def exp2(x: _Numbers) -> _Array: ...
def exp2(x: float | _Numbers) -> np.float64 | _Array:
    """Two to the power x, the same bits everywhere; exact for integers.

    Parameters
    ----------
    x : array of any shape, or scalar
        Taken as float64.

    Returns
    -------
    float64 array of the same shape, or scalar
        ``inf`` from 1024 on, 0 from -1075 down, subnormal results rounded; NaN for NaN; no warning is raised for these.

    Notes
    -----
    The result is scaled by two powers of two, the first of which is exact, so that scaling rounds at most once.

    Examples
    --------
    >>> float(exp2(-1074.0)), float(exp2(0.5))
    (5e-324, 1.4142135623730951)
    """
    value = np.float64(x)
    ordinary = (value > -1076.0) & (value < 1024.0)
    keep = -np.int64(ordinary)
    inside = np.int64(np.float64(value).view(np.int64) & keep).view(np.float64)

    rounded = inside + _ROUNDER
    n = np.float64(rounded).view(np.int64) - _ROUNDER_BITS
    f = inside - (rounded - _ROUNDER)

    f_top = np.int64(np.float64(f).view(np.int64) & _LOW_27).view(np.float64)
    y_top = f_top * _LN2_TOP
    y_rest = f_top * _LN2_REST + (f - f_top) * _LN2
    y = y_top + y_rest

    q = 1.0 / 479001600.0 + y * (1.0 / 6227020800.0 + y * (1.0 / 87178291200.0 + y * (1.0 / 1307674368000.0)))
    q = 1.0 / 40320.0 + y * (1.0 / 362880.0 + y * (1.0 / 3628800.0 + y * (1.0 / 39916800.0 + y * q)))
    q = 1.0 / 24.0 + y * (1.0 / 120.0 + y * (1.0 / 720.0 + y * (1.0 / 5040.0 + y * q)))
    q = (y * y) * (0.5 + y * (1.0 / 6.0 + y * q))

    first = 1.0 + y_top
    first_error = y_top - (first - 1.0)
    power = first + (first_error + (y_rest + q))

    half = n >> 1
    scaled = power * np.int64((half + 1023) << 52).view(np.float64)
    result = scaled * np.int64((n - half + 1023) << 52).view(np.float64)

    # Below the range the answer is 0, whose bits are none.
    infinite = -np.int64(value >= 1024.0)
    undefined = -np.int64(value != value)
    special = (infinite & _INF_BITS) | (undefined & _NAN_BITS)
    return np.int64((np.float64(result).view(np.int64) & keep) | (special & ~keep)).view(np.float64)
