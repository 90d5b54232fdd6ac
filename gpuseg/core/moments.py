"""Range and moments of a table (core): what the two preparing reads find, and what they decide.

Read 1 gives :class:`FeatureRange`, read 2 :class:`Moments`; :class:`Layout` holds the decisions that every
partition must share: which features are centred by what, and the fixed-point exponents. ONE_ANSWER sections 3 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import BinSum
from gpuseg.core.weights import WeightMode, WeightRange
from gpuseg.core.widesum import WideSum, fraction_to_float, mean_float64, scale_exponent
from gpuseg.errors import ContractError, NotFiniteError, RangeError

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

LARGEST = float(1 << 50)
"""Magnitudes beyond this, after centring, are refused."""
SMALLEST_SPAN = math.ldexp(1.0, -60)
"""A table in which no feature spans this much, yet one varies, is refused: float32 cannot hold its squares."""
OFFSET_RATIO = 1 << 10
"""A float32 feature whose |mean| exceeds this many standard deviations is centred in float64."""
SPREAD_WARNING = float(1 << 30)
"""A feature whose largest magnitude exceeds this many standard deviations is recorded."""
LARGEST_RAW = float(1 << 100)
"""Magnitudes beyond this are refused even before centring: their squares would leave float64."""
LARGEST_DISTANCE = math.ldexp(1.0, 127)
"""A weighted squared distance must stay below this."""


@dataclass(frozen=True)
class FeatureRange:
    """Read 1: rows, finite range of each feature over rows with positive weight, count of values that are not finite.

    ``merge`` is associative and commutative, ``zero`` neutral.

    Parameters
    ----------
    n_rows : int
        Rows seen, whatever their weight.
    minimum, maximum : ndarray of float64, shape (d,)
        Infinite (empty range) when no row with positive weight was seen; without a meaning where ``n_bad`` is not 0.
    n_bad : ndarray of int64, shape (d,)
        NaN and infinite values.
    weights : WeightRange
        What is known of the weights.
    """

    n_rows: int
    minimum: Float64Array
    maximum: Float64Array
    n_bad: Int64Array
    weights: WeightRange

    @classmethod
    def zero(cls, d: int) -> FeatureRange:
        """No rows of ``d`` features."""
        return cls(0, np.full(d, np.inf), np.full(d, -np.inf), np.zeros(d, np.int64), WeightRange.zero())

    def merge(self, other: FeatureRange) -> FeatureRange:
        """Range over the rows of both."""
        return FeatureRange(
            self.n_rows + other.n_rows,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.n_bad + other.n_bad,
            self.weights.merge(other.weights),
        )

    def max_abs(self) -> Float64Array:
        """Largest magnitude of each feature over rows with positive weight; 0 where there is none."""
        largest = np.maximum(np.abs(self.minimum), np.abs(self.maximum))
        return np.where(self.minimum > self.maximum, 0.0, largest)

    def require_finite(self, names: Sequence[str] | None = None) -> None:
        """Refuse NaN and infinity.

        Raises
        ------
        NotFiniteError
            Names each affected feature with its count.
        """
        bad = np.flatnonzero(self.n_bad)
        if not bad.size:
            return
        self._refuse_not_finite(bad, names)

    def require_span(self) -> None:
        """Refuse differences whose squares float32 cannot hold; a constant table has none and passes.

        Raises
        ------
        RangeError
            If the widest feature varies, but by less than 2**-60.
        """
        if not self.weights.n_positive:
            return
        widest = float((self.maximum - self.minimum).max())
        if 0.0 < widest < SMALLEST_SPAN:
            msg = f"no feature spans more than {widest:g}, below 2**-60; multiply the table by a constant"
            raise RangeError(msg)

    def require_representable(self, names: Sequence[str] | None = None) -> None:
        """Refuse magnitudes beyond 2**100, centred or not.

        Raises
        ------
        RangeError
            Names the first such feature.
        """
        for f in np.flatnonzero(self.max_abs() > LARGEST_RAW)[:1]:
            name = names[f] if names else f"feature {f}"
            msg = (
                f"{name} reaches {self.max_abs()[f]:g} in magnitude; divide it by a constant or take its log"
            )
            raise RangeError(msg)

    def _refuse_not_finite(self, bad: npt.NDArray[np.intp], names: Sequence[str] | None) -> None:
        shown = ", ".join(f"{names[f] if names else f'feature {f}'} ({int(self.n_bad[f])})" for f in bad[:8])
        more = f" and {bad.size - 8} more features" if bad.size > 8 else ""
        msg = (
            f"Input X contains NaN or infinity: {int(self.n_bad.sum())} values in {shown}{more}; "
            f"impute them or drop the {self.n_rows}-row table's affected rows first"
        )
        raise NotFiniteError(msg)


@dataclass(frozen=True)
class Moments:
    """Read 2: weight, exact sum and exact sum of squares of each feature, in fixed point.

    ``merge`` is associative and commutative, ``zero`` neutral; states of different scales cannot be merged.

    Parameters
    ----------
    mass : WideSum or BinSum
        Total weight: an integer, or exponent bins where weights are real.
    total : WideSum, shape (d,)
        Sum of w * x_q, x_q = rint(x * 2**exponent) (real weights: rint(w * x * 2**exponent)).
    square : WideSum, shape (d,)
        Sum of w * x_q**2 in units of 2**(-2 * exponent) (real weights: rint(w * x**2 * 2**square_exponent)).
    exponent, square_exponent : ndarray of int64, shape (d,)
        Scales of ``total`` and ``square``.
    """

    mass: WideSum | BinSum
    total: WideSum
    square: WideSum
    exponent: Int64Array
    square_exponent: Int64Array

    @classmethod
    def zero(cls, scales: Scales) -> Moments:
        """No rows."""
        d = scales.exponent.size
        mass = BinSum.zero(()) if scales.mode is WeightMode.REAL else WideSum.zero(())
        return cls(mass, WideSum.zero(d), WideSum.zero(d), scales.exponent, scales.square_exponent)

    def merge(self, other: Moments) -> Moments:
        """Moments of the rows of both."""
        require_same_scale(self.exponent, other.exponent)
        require_same_scale(self.square_exponent, other.square_exponent)
        return Moments(
            merge_mass(self.mass, other.mass),
            self.total.merge(other.total),
            self.square.merge(other.square),
            self.exponent,
            self.square_exponent,
        )

    def mean(self) -> Float64Array:
        """``float64(S) / float64(N) / s`` of each feature; shape (d,). Some row must have counted."""
        return mean_float64(self.total, self.mass.to_float64(), self.exponent)

    def variance_fractions(self) -> list[Fraction]:
        """Exact population variance of the fixed-point values, never below 0. Some row must have counted."""
        mass = self.mass.to_fractions()[0]
        variances = []
        for f, (total, square) in enumerate(zip(self.total.to_ints(), self.square.to_ints(), strict=True)):
            mean = _power_of_two(total, -int(self.exponent[f])) / mass
            second = _power_of_two(square, -int(self.square_exponent[f])) / mass
            variances.append(max(second - mean * mean, Fraction(0)))
        return variances

    def variance(self) -> Float64Array:
        """Population variance of each feature, rounded once; shape (d,)."""
        return np.array([fraction_to_float(value) for value in self.variance_fractions()], np.float64)


@dataclass(frozen=True)
class Scales:
    """Fixed-point exponents and weight arithmetic that all partitions of a data set share.

    Parameters
    ----------
    mode : WeightMode
        Decided over all rows.
    exponent : ndarray of int64, shape (d,)
        Scale of x (integer or no weights) or of w * x (real weights).
    square_exponent : ndarray of int64, shape (d,)
        Scale of the squares: ``2 * exponent``, or that of w * x**2 for real weights.
    """

    mode: WeightMode
    exponent: Int64Array
    square_exponent: Int64Array

    @classmethod
    def of(cls, max_abs: Float64Array, weights: WeightRange) -> Scales:
        """Scales for values up to ``max_abs``; for real weights from max(w) * max|x|, which needs no further read."""
        mode = weights.mode()
        if mode is not WeightMode.REAL:
            exponent = scale_exponent(max_abs)
            return cls(mode, exponent, 2 * exponent)
        heaviest = float(np.float32(weights.maximum))
        return cls(mode, scale_exponent(heaviest * max_abs), scale_exponent(heaviest * (max_abs * max_abs)))


@dataclass(frozen=True)
class Layout:
    """How every partition turns its source into a float32 block: the centring and the scales of ONE_ANSWER section 3.

    Parameters
    ----------
    centre : ndarray of float64, shape (d,)
        Subtracted in float64 before the rounding to float32; 0 where a feature is not centred.
    centred : ndarray of bool, shape (d,)
        Which features are centred.
    scales : Scales
        Fixed-point exponents of the *block* (after centring).
    max_abs : ndarray of float64, shape (d,)
        Largest magnitude in the block over rows with positive weight.
    """

    centre: Float64Array
    centred: npt.NDArray[np.bool_]
    scales: Scales
    max_abs: Float64Array

    @classmethod
    def plain(cls, seen: FeatureRange) -> Layout:
        """Nothing centred: float32 input with its mean within reach."""
        max_abs = seen.max_abs()
        d = max_abs.size
        return cls(np.zeros(d), np.zeros(d, np.bool_), Scales.of(max_abs, seen.weights), max_abs)

    @classmethod
    def centring(cls, seen: FeatureRange, mean: Float64Array, which: npt.NDArray[np.bool_]) -> Layout:
        """Centre the features in ``which`` by their mean.

        Subtracting and rounding are monotone, so the largest magnitude after centring is that of an end of the range.
        """
        centre = np.where(which, mean, 0.0)
        max_abs = centred_max_abs(seen, centre)
        return cls(centre, which, Scales.of(max_abs, seen.weights), max_abs)

    def require_range(self, weights: WeightRange, names: Sequence[str] | None = None) -> None:
        """Refuse magnitudes with which the arithmetic contract does not hold.

        Raises
        ------
        RangeError
            If a feature exceeds 2**50 after centring, or a weighted squared distance could pass 2**127.
        """
        require_block_range(self.max_abs, names)
        reach = math.fsum((2.0 * largest) * (2.0 * largest) for largest in self.max_abs.tolist())
        if weights.given and reach * weights.maximum >= LARGEST_DISTANCE:
            reached = f"weights up to {weights.maximum:g} times squared distances up to {reach:g}"
            msg = f"{reached} pass 2**127; divide the weights by a constant"
            raise RangeError(msg)

    def block_values(self, source: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """``float32(source - centre)`` of rows ``[n, d]``: what is in the block, in plain numpy."""
        if source.dtype == np.float32 and not self.centred.any():
            return np.asarray(source, dtype=np.float32)
        return _to_float32(source.astype(np.float64) - self.centre)


def centred_max_abs(seen: FeatureRange, centre: Float64Array) -> Float64Array:
    """Largest magnitude of ``float32(x - centre)``: that of an end of the range, as both operations are monotone."""
    if not seen.weights.n_positive:
        return seen.max_abs()
    ends = [np.abs(_to_float32(end - centre).astype(np.float64)) for end in (seen.minimum, seen.maximum)]
    return np.maximum(*ends)


def require_block_range(max_abs: Float64Array, names: Sequence[str] | None = None) -> None:
    """Refuse features beyond 2**50 after centring.

    Raises
    ------
    RangeError
        Names the first such feature.
    """
    for f in np.flatnonzero(~(max_abs <= LARGEST))[:1]:
        name = names[f] if names else f"feature {f}"
        reached = f"{name} reaches {max_abs[f]:g} in magnitude"
        msg = f"{reached}, beyond 2**50; divide it by a constant or take its log"
        raise RangeError(msg)


def offset_features(moments: Moments) -> npt.NDArray[np.bool_]:
    """Features whose |mean| exceeds 2**10 standard deviations: float32 has too few digits for them uncentred."""
    mass = moments.mass.to_fractions()[0]
    flags = []
    for f, (total, variance) in enumerate(
        zip(moments.total.to_ints(), moments.variance_fractions(), strict=True)
    ):
        mean = _power_of_two(total, -int(moments.exponent[f])) / mass
        flags.append(mean != 0 and mean * mean > OFFSET_RATIO * OFFSET_RATIO * variance)
    return np.array(flags, np.bool_)


def wide_features(layout: Layout, moments: Moments) -> npt.NDArray[np.bool_]:
    """Features whose largest magnitude exceeds 2**30 standard deviations: fixed point loses their small values."""
    variance = moments.variance()
    ratio = layout.max_abs / SPREAD_WARNING
    return np.asarray((variance > 0) & (ratio * ratio > variance))


def merge_mass(a: WideSum | BinSum, b: WideSum | BinSum) -> WideSum | BinSum:
    """Sum of two weights of the same kind."""
    if isinstance(a, WideSum) and isinstance(b, WideSum):
        return a.merge(b)
    if isinstance(a, BinSum) and isinstance(b, BinSum):
        return a.merge(b)
    msg = "cannot merge integer weights with real weights; the mode is decided over all rows"
    raise ContractError(msg)


def require_same_scale(a: Int64Array, b: Int64Array) -> None:
    """Refuse to merge states of different fixed-point scales."""
    if not np.array_equal(a, b):
        msg = f"cannot merge sums of scales 2**{a.tolist()} and 2**{b.tolist()}; prepare all partitions with one layout"
        raise ContractError(msg)


def _power_of_two(value: int, exponent: int) -> Fraction:
    return Fraction(value << exponent) if exponent >= 0 else Fraction(value, 1 << -exponent)


def _to_float32(values: Float64Array) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # an overflow becomes infinity, and require_range refuses it
        return values.astype(np.float32)
