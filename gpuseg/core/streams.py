"""A stream of batches (core): exact sums of every row so far, on a scale that the first batch fixes.

Sums of fixed point never forget and never round, so a centre is the mean of all rows that were ever assigned to it. The
promise is about a sequence of batches: the same one gives the same bits, whatever the chunks inside a batch.
ONE_ANSWER section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import N_BINS, BinSum
from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, WeightRange
from gpuseg.core.widesum import WideSum, scale_exponent
from gpuseg.errors import InputError, RangeError

HEADROOM = float(1 << 10)
"""How many times the first batch's largest value later ones may reach."""

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StreamState:
    """What is known after some batches: small, explicit and serialisable, whatever the number of rows.

    Parameters
    ----------
    centres : ndarray of float32, shape (k, d)
        That the next batch is assigned to, in block coordinates.
    sums : ClusterSums
        Of all rows so far, each by the centres that its batch met; without inertia.
    reach : ndarray of float64, shape (d,)
        Largest magnitude in the block that the scale has room for; of w * x where weights are real.
    mode : WeightMode
        Of the first batch: REAL for ever, or whole numbers for ever.
    n_steps : int
        Batches so far.
    """

    centres: npt.NDArray[np.float32]
    sums: ClusterSums
    reach: Float64Array
    mode: WeightMode
    n_steps: int = 0

    @classmethod
    def begin(cls, centres: npt.NDArray[np.float32], reach: Float64Array, mode: WeightMode) -> StreamState:
        """Nothing counted yet; the first batch is to be assigned to ``centres``."""
        return cls(centres, ClusterSums.zero(len(centres), scale_exponent(reach), mode), reach, mode)

    def add(self, sums: ClusterSums) -> StreamState:
        """One batch further: ``sums`` are those of its rows by ``centres``. A centre without any row stays."""
        total = self.sums.merge(replace(sums, inertia=BinSum.zero()))
        centres = total.means()
        empty = total.masses() == 0
        centres[empty] = self.centres[empty]
        return replace(self, centres=centres, sums=total, n_steps=self.n_steps + 1)

    def scales(self, weights: WeightRange) -> Scales:
        """Scale and weight arithmetic of a batch; no weights and whole numbers may follow each other.

        Raises
        ------
        InputError
            If its weights need another arithmetic than those of the batches before.
        """
        is_real = self.mode is WeightMode.REAL
        if is_real and not weights.given:
            msg = (
                "sample_weight is missing, but earlier batches had weights that are no whole numbers; "
                "give it with every batch, 1 for rows that count once"
            )
            raise InputError(msg)
        if not is_real and weights.mode() is WeightMode.REAL:
            msg = (
                "sample_weight has values that are no whole numbers (or add up to 2**47 or more), but earlier batches "
                "had none or whole numbers; round them, or start the stream with such weights"
            )
            raise InputError(msg)
        exponent = scale_exponent(self.reach)
        return Scales(self.mode if is_real else weights.mode(), exponent, 2 * exponent)

    def require_within(
        self, max_abs: Float64Array, weights: WeightRange, names: Sequence[str] | None = None
    ) -> None:
        """Refuse a batch that the scale of the stream has no room for.

        Raises
        ------
        RangeError
            Names the first such feature, how far it reaches and what may be done.
        """
        load = loads(max_abs, weights, self.mode)
        for f in np.flatnonzero(~(load <= self.reach))[:1]:
            name = names[f] if names else f"feature {f}"
            what = "times its weight " if self.mode is WeightMode.REAL else ""
            msg = (
                f"{name} {what}reaches {load[f]:g} in magnitude in this batch, beyond the {self.reach[f]:g} that the "
                f"stream was begun for; begin it again with reach={load[f]:g} or more, or leave such rows out"
            )
            raise RangeError(msg)

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The state as plain arrays to be stored; :meth:`from_arrays` restores it bit for bit."""
        mass, total = self.sums.mass, self.sums.total
        limbs = mass.bins if isinstance(mass, BinSum) else mass
        return {
            "stream.centres": self.centres,
            "stream.mass.hi": limbs.hi,
            "stream.mass.lo": limbs.lo,
            "stream.mode": np.array([int(self.mode)], np.int64),
            "stream.n_steps": np.array([self.n_steps], np.int64),
            "stream.reach": self.reach,
            "stream.total.hi": total.hi,
            "stream.total.lo": total.lo,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> StreamState:
        """The state whose :meth:`to_arrays` these are.

        Raises
        ------
        InputError
            An array is missing, or of another type or shape than the others say.
        """
        mode = WeightMode(int(_stored(arrays, "mode", np.int64, (1,))[0]))
        given = arrays.get("stream.centres")
        k, d = (0, 0) if given is None or given.ndim != 2 else given.shape
        centres = _stored(arrays, "centres", np.float32, (k, d))
        is_real = mode is WeightMode.REAL
        limbs = _wide(arrays, "mass", (k, N_BINS) if is_real else (k,))
        reach = _stored(arrays, "reach", np.float64, (d,))
        mass = BinSum(limbs) if is_real else limbs
        sums = ClusterSums(mass, _wide(arrays, "total", (k, d)), BinSum.zero(), scale_exponent(reach))
        n_steps = int(_stored(arrays, "n_steps", np.int64, (1,))[0])
        return cls(centres, sums, reach, mode, n_steps)


def loads(max_abs: Float64Array, weights: WeightRange, mode: WeightMode) -> Float64Array:
    """What the scale has to hold of each feature: the largest magnitude, times the largest weight where it is real."""
    if mode is not WeightMode.REAL:
        return max_abs
    return float(np.float32(weights.maximum)) * max_abs


def _wide(arrays: Mapping[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...]) -> WideSum:
    return WideSum(
        _stored(arrays, f"{name}.hi", np.int64, shape), _stored(arrays, f"{name}.lo", np.uint64, shape)
    )


def _stored(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, kind: Any, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    found = arrays.get(f"stream.{name}")
    if found is None or found.dtype != kind or found.shape != shape:
        seen = "missing" if found is None else f"{found.dtype} of shape {found.shape}"
        msg = f"the array 'stream.{name}' is {seen}; it has to be {np.dtype(kind)} of shape {shape}"
        raise InputError(msg)
    return found
