"""Wide sums (core): exact 128-bit integer sums in two limbs, and the fixed-point scale that feeds them.

A float becomes the integer ``rint(x * 2**e)`` below 2**40 in magnitude; integers do not care in which order they
are added, so a sum is the same for any chunking, thread or worker. ONE_ANSWER section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.errors import ContractError

FIXED_POINT_BITS = 40
"""A scaled float32 is below ``2**FIXED_POINT_BITS`` in magnitude; a float64 can round up to it, never beyond."""
MAX_EXPONENT = 500
"""Scale exponents are clamped to plus or minus this: inside float64, and beyond the 486 that w * x**2 can ask for."""
BLOCK_MASS = 1 << 22
"""Weight that one int64 accumulator may take before it is carried into the limbs: 2**22 * 2**40 < 2**63."""

_LIMB = 1 << 64
_INT64_MAX = np.int64(np.iinfo(np.int64).max)

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]
Float64Array = npt.NDArray[np.float64]


def scale_exponent(max_abs: npt.ArrayLike) -> Int64Array:
    """Exponent e of the fixed-point scale ``2**e`` for values up to ``max_abs``.

    Parameters
    ----------
    max_abs : array_like of float64
        Largest magnitude a feature takes over rows with positive weight; finite, >= 0.

    Returns
    -------
    ndarray of int64
        ``clip(39 - floor(log2(max_abs)), -500, 500)``; 0 where ``max_abs`` is 0. Never depends on how many rows
        there are or how they are chunked.

    Raises
    ------
    ContractError
        If a value is negative, NaN or infinite.
    """
    largest = np.asarray(max_abs, dtype=np.float64)
    if not bool(np.all(np.isfinite(largest) & (largest >= 0.0))):
        msg = f"a fixed-point scale needs finite magnitudes >= 0, got {largest.tolist()}"
        raise ContractError(msg)
    # frexp: largest = m * 2**p with m in [0.5, 1), so floor(log2(largest)) = p - 1, exactly and without a log.
    _, power = np.frexp(largest)
    exponent = np.clip(FIXED_POINT_BITS - power.astype(np.int64), -MAX_EXPONENT, MAX_EXPONENT)
    return np.where(largest == 0.0, np.int64(0), exponent).astype(np.int64)


def to_fixed(values: npt.ArrayLike, exponent: npt.ArrayLike) -> Int64Array:
    """``rint(values * 2**exponent)`` as int64: the definition that every engine must reproduce.

    Parameters
    ----------
    values : array_like of float
        Finite values; the product with a power of two is exact in float64.
    exponent : array_like of int
        Exponent(s) of :func:`scale_exponent`, broadcast against ``values``.
    """
    scaled = np.ldexp(np.asarray(values, dtype=np.float64), np.asarray(exponent, dtype=np.int32))
    return np.asarray(np.rint(scaled), dtype=np.int64)


@dataclass(frozen=True)
class WideSum:
    """An array of exact 128-bit integers: ``value = hi * 2**64 + lo``.

    ``merge`` is associative and commutative, ``zero`` is neutral, and any order of additions gives the same limbs.

    Parameters
    ----------
    hi : ndarray of int64
        High limb, two's complement.
    lo : ndarray of uint64
        Low limb, same shape.
    """

    hi: Int64Array
    lo: UInt64Array

    @classmethod
    def zero(cls, shape: int | tuple[int, ...]) -> WideSum:
        """All zeros of the given shape."""
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.uint64))

    @classmethod
    def from_int64(cls, values: npt.ArrayLike) -> WideSum:
        """Sign-extend int64 values."""
        narrow = np.asarray(values, dtype=np.int64)
        return cls(np.asarray(narrow >> np.int64(63)), narrow.view(np.uint64).copy())

    @classmethod
    def from_ints(cls, values: Iterable[int], shape: int | tuple[int, ...]) -> WideSum:
        """From Python integers in C order; refuses what does not fit 128 bits."""
        exact = [int(value) for value in values]
        if any(not -(1 << 127) <= value < (1 << 127) for value in exact):
            msg = "a sum does not fit 128 bits"
            raise ContractError(msg)
        hi = np.array([value >> 64 for value in exact], np.int64).reshape(shape)
        lo = np.array([value & (_LIMB - 1) for value in exact], np.uint64).reshape(shape)
        return cls(hi, lo)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of sums."""
        return self.hi.shape

    def merge(self, other: WideSum) -> WideSum:
        """Elementwise sum with carry."""
        if self.shape != other.shape:
            msg = f"cannot merge wide sums of shapes {self.shape} and {other.shape}"
            raise ContractError(msg)
        # Arrays stay arrays: numpy turns a sum of shape () into a scalar, and scalars warn of the wrap that is meant.
        lo = np.asarray(np.add(self.lo, other.lo))
        carry = np.asarray(lo < self.lo, dtype=np.int64)
        return WideSum(np.asarray(np.add(np.add(self.hi, other.hi), carry)), lo)

    def reshape(self, *shape: int) -> WideSum:
        """The same sums under another shape."""
        return WideSum(self.hi.reshape(*shape), self.lo.reshape(*shape))

    def __getitem__(self, index: Any) -> WideSum:
        return WideSum(np.asarray(self.hi[index]), np.asarray(self.lo[index]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WideSum):
            return NotImplemented
        return np.array_equal(self.hi, other.hi) and np.array_equal(self.lo, other.lo)

    __hash__ = None  # type: ignore[assignment]

    def to_ints(self) -> list[int]:
        """Python integers in C order."""
        return [int(hi) * _LIMB + int(lo) for hi, lo in zip(self.hi.ravel(), self.lo.ravel(), strict=True)]

    def to_fractions(self) -> list[Fraction]:
        """Exact values in C order, as :class:`gpuseg.core.binsum.BinSum` gives them."""
        return [Fraction(value) for value in self.to_ints()]

    def to_float64(self) -> Float64Array:
        """Each sum rounded once, to nearest even."""
        narrow = self.lo.view(np.int64)
        values = narrow.astype(np.float64)
        wide = self.hi != narrow >> np.int64(63)
        if wide.any():
            values[wide] = _rounded(self.hi[wide], self.lo[wide])
        return values


def _rounded(hi: Int64Array, lo: UInt64Array) -> Float64Array:
    """Sums past 63 bits as float64: the top 64 bits and a bit that says whether anything is left are rounded once."""
    negative = hi < 0
    low = np.where(negative, ~lo + np.uint64(1), lo)
    high = hi.view(np.uint64)
    high = np.where(negative, ~high + (low == 0), high)
    # As many bits as the high limb has, or one more where its float64 rounded up: the top keeps 63 bits at least.
    _, shift = np.frexp(high.astype(np.float64))
    up, down = shift.astype(np.uint64), (64 - shift).astype(np.uint64)
    top = np.where(shift == 64, high, (high << down) | (low >> up))
    left = np.where(shift == 64, low, low << down) != 0
    return np.asarray(np.ldexp(np.where(negative, -1.0, 1.0) * (top | left), shift), np.float64)


def mean_float64(total: WideSum, mass: npt.ArrayLike, exponent: npt.ArrayLike) -> Float64Array:
    """``float64(S) / float64(N) / 2**e``: the one definition of a mean (ONE_ANSWER section 4).

    Parameters
    ----------
    total : WideSum
        Fixed-point sums S.
    mass : array_like of float64
        Weights N, broadcast against ``total``; positive.
    exponent : array_like of int64
        Scale exponents e.
    """
    ratio = total.to_float64() / np.asarray(mass, dtype=np.float64)
    return np.asarray(np.ldexp(ratio, -np.asarray(exponent, dtype=np.int32)), dtype=np.float64)


def fraction_to_float(value: Fraction) -> float:
    """Nearest float64 of an exact fraction (one rounding, to nearest even)."""
    return value.numerator / value.denominator
