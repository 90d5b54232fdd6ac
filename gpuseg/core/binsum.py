"""Exponent bins (core): the exact sum of non-negative float32 values, without a scale and in any order.

A float32 is ``mantissa * 2**(e - 150)`` with ``e = max(biased exponent, 1)``. Thirty-two integer bins hold
``mantissa << (e & 7)`` by ``e >> 3``; each bin is a 128-bit integer. ONE_ANSWER section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from gpuseg.core.widesum import WideSum, fraction_to_float
from gpuseg.errors import ContractError

N_BINS = 32
"""Bins of eight binary exponents each."""
BIN_MASS = 1 << 31
"""Weight that one int64 bin may take before it is carried into the limbs: a value is below 2**31."""

_BIAS = 150
_MANTISSA_BITS = 23


def split_float32(values: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Bin index and shifted mantissa of each non-negative float32.

    Raises
    ------
    ContractError
        If a value is negative, NaN or infinite.
    """
    floats = np.ascontiguousarray(values, dtype=np.float32)
    if not bool(np.all(np.isfinite(floats) & ~np.signbit(floats) | (floats == 0))):
        msg = "an exponent-bin sum takes finite float32 values >= 0"
        raise ContractError(msg)
    bits = np.abs(floats).view(np.uint32).astype(np.int64)
    biased = bits >> _MANTISSA_BITS
    hidden = np.where(biased > 0, np.int64(1 << _MANTISSA_BITS), np.int64(0))
    mantissa = (bits & ((1 << _MANTISSA_BITS) - 1)) | hidden
    exponent = np.maximum(biased, 1)
    return exponent >> 3, mantissa << (exponent & 7)


@dataclass(frozen=True)
class BinSum:
    """Exact sums of non-negative float32 values, one per leading index; ``bins`` has shape ``(..., 32)``.

    ``merge`` is associative and commutative, ``zero`` is neutral.
    """

    bins: WideSum

    @classmethod
    def zero(cls, shape: int | tuple[int, ...] = ()) -> BinSum:
        """Empty sums of the given leading shape."""
        lead = (shape,) if isinstance(shape, int) else tuple(shape)
        return cls(WideSum.zero((*lead, N_BINS)))

    @classmethod
    def of(cls, values: npt.ArrayLike) -> BinSum:
        """The sum of a one-dimensional array of float32: the definition, in plain numpy."""
        index, shifted = split_float32(np.ravel(np.asarray(values)))
        totals = [int(sum(shifted[index == b].tolist())) for b in range(N_BINS)]
        return cls(WideSum.from_ints(totals, N_BINS))

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading shape: one sum per element."""
        return self.bins.shape[:-1]

    def merge(self, other: BinSum) -> BinSum:
        """Elementwise exact sum."""
        return BinSum(self.bins.merge(other.bins))

    def to_fractions(self) -> list[Fraction]:
        """Exact values in C order."""
        return [Fraction(value, 1 << _BIAS) for value in self._scaled_ints()]

    def to_float64(self) -> npt.NDArray[np.float64]:
        """Each sum rounded once, to nearest even."""
        values = [fraction_to_float(value) for value in self.to_fractions()]
        return np.array(values, np.float64).reshape(self.shape)

    def _scaled_ints(self) -> list[int]:
        flat = self.bins.reshape(-1, N_BINS).to_ints()
        return [
            sum(value << (8 * b) for b, value in enumerate(flat[start : start + N_BINS]))
            for start in range(0, len(flat), N_BINS)
        ]
