"""Sample weights (core): which of three exact arithmetics the weights of a data set need.

No weights count as ones. Integral weights below 2**31 whose sum is below 2**47 multiply integers, so a weight of 3
equals three copies of the row, bit for bit. Any other weights are rounded once to float32. Which mode holds is decided
over *all* rows, never partition by partition. ONE_ANSWER section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gpuseg.errors import ContractError, InputError, RangeError

INTEGER_LIMIT = float(1 << 31)
"""Integral weights from here on are treated as real."""
INTEGER_MASS = 1 << 47
"""Integral weights whose sum reaches this are treated as real: w * x_q**2 <= w * 2**80 must add up below 2**127."""


class WeightMode(IntEnum):
    """How weights enter the sums; the values are shared with the kernels."""

    NONE = 0
    INTEGER = 1
    REAL = 2


def counting(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Mask of the rows that count: weight > 0 after rounding to float32."""
    with np.errstate(over="ignore"):  # an overflow becomes infinity, and WeightRange.mode refuses it
        return np.asarray(weights.astype(np.float32) > 0)


@dataclass(frozen=True)
class WeightRange:
    """What is known of the weights of some rows; ``merge`` is associative and commutative, ``zero`` neutral.

    Parameters
    ----------
    n_positive : int
        Rows with weight > 0 (after rounding to float32 where the mode is real).
    n_bad : int
        Negative, NaN or infinite weights.
    integral : bool
        Whether every weight is integral and below 2**31.
    maximum : float
        Largest weight, 0.0 when there is none.
    given : bool
        Whether weights were given at all.
    total : int
        Sum of the weights (Python integer); 0 unless ``integral``.
    """

    n_positive: int
    n_bad: int
    integral: bool
    maximum: float
    given: bool
    total: int

    @classmethod
    def zero(cls) -> WeightRange:
        """No rows seen."""
        return cls(n_positive=0, n_bad=0, integral=True, maximum=0.0, given=False, total=0)

    @classmethod
    def of(cls, weights: npt.NDArray[np.float64] | None, n_rows: int) -> WeightRange:
        """Facts about the weights of one partition of ``n_rows`` rows (None: every weight is 1)."""
        if weights is None:
            return cls(n_rows, 0, integral=True, maximum=1.0 if n_rows else 0.0, given=False, total=n_rows)
        usable = np.isfinite(weights) & (weights >= 0)
        good = weights[usable]
        integral = bool(np.all((good == np.rint(good)) & (good < INTEGER_LIMIT)))
        total = sum(good.astype(np.int64).tolist()) if integral else 0
        return cls(
            n_positive=int(np.count_nonzero(counting(good))),
            n_bad=int(weights.size - good.size),
            integral=integral,
            maximum=float(good.max()) if good.size else 0.0,
            given=True,
            total=total,
        )

    def merge(self, other: WeightRange) -> WeightRange:
        """Facts about the rows of both."""
        integral = self.integral and other.integral
        return WeightRange(
            n_positive=self.n_positive + other.n_positive,
            n_bad=self.n_bad + other.n_bad,
            integral=integral,
            maximum=max(self.maximum, other.maximum),
            given=self.given or other.given,
            total=self.total + other.total if integral else 0,
        )

    def mode(self) -> WeightMode:
        """The arithmetic these weights need.

        Raises
        ------
        InputError
            If a weight is negative or not finite, or if no weight is positive.
        RangeError
            If a real weight overflows float32.
        """
        if self.n_bad:
            msg = f"sample_weight has {self.n_bad} negative, NaN or infinite values; weights must be finite and >= 0"
            raise InputError(msg)
        if not self.given:
            return WeightMode.NONE
        if self.n_positive == 0:
            msg = "sample_weight has no positive value, every weight is zero; at least one row needs a weight > 0"
            raise InputError(msg)
        if self.integral and self.total < INTEGER_MASS:
            return WeightMode.INTEGER
        if self.maximum > float(np.finfo(np.float32).max):
            msg = f"sample_weight reaches {self.maximum:g}, beyond float32; divide the weights by a constant"
            raise RangeError(msg)
        return WeightMode.REAL


@dataclass(frozen=True)
class Weights:
    """The weights of one partition in the arithmetic of the whole data set.

    Parameters
    ----------
    mode : WeightMode
        Decided over all rows.
    integers : ndarray of int64, shape (n,)
        Filled in integer mode, else empty.
    reals : ndarray of float32, shape (n,)
        Filled in real mode, else empty.
    """

    mode: WeightMode
    integers: npt.NDArray[np.int64]
    reals: npt.NDArray[np.float32]

    @classmethod
    def ones(cls) -> Weights:
        """Every row counts once."""
        return cls(WeightMode.NONE, np.empty(0, np.int64), np.empty(0, np.float32))

    @classmethod
    def of(cls, weights: npt.NDArray[np.float64] | None, mode: WeightMode) -> Weights:
        """Weights in the arithmetic of ``mode``, which was decided over all partitions."""
        if mode is WeightMode.NONE:
            return cls.ones()
        if weights is None:
            msg = "one partition has weights and another has none; give weights for all rows or for none"
            raise ContractError(msg)
        if mode is WeightMode.INTEGER:
            return cls(mode, weights.astype(np.int64), np.empty(0, np.float32))
        return cls(mode, np.empty(0, np.int64), weights.astype(np.float32))

    def positive(self) -> npt.NDArray[np.bool_] | None:
        """Mask of rows that count; None when all do."""
        if self.mode is WeightMode.NONE:
            return None
        return np.asarray(self.integers > 0 if self.mode is WeightMode.INTEGER else self.reals > 0)

    def take(self, rows: npt.NDArray[np.int64]) -> Weights:
        """The weights of some rows."""
        if self.mode is WeightMode.NONE:
            return self
        if self.mode is WeightMode.INTEGER:
            return Weights(self.mode, self.integers[rows], self.reals)
        return Weights(self.mode, self.integers, self.reals[rows])

    def as_float64(self, n_rows: int) -> npt.NDArray[np.float64]:
        """Weights as float64, shape (n_rows,)."""
        if self.mode is WeightMode.NONE:
            return np.ones(n_rows)
        chosen = self.integers if self.mode is WeightMode.INTEGER else self.reals
        return np.asarray(chosen, dtype=np.float64)
