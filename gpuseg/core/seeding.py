"""The rules of seeding (core): which rows form the sample, and how greedy k-means++ picks among them.

Potentials are integers, picks compare integers, draws depend on the seed alone; so a seeding is the same wherever it
runs. ONE_ANSWER section 6; greedy k-means++: Arthur & Vassilvitskii 2007, with local trials as scikit-learn has them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core.blocks import empty_block, picked
from gpuseg.core.identity import canonical_order
from gpuseg.core.philox import Stage, draw64
from gpuseg.core.weights import WeightMode, Weights
from gpuseg.core.widesum import FIXED_POINT_BITS, scale_exponent

UInt64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

SAMPLE_ROWS = 1 << 18
"""Rows that are gathered for seeding."""
DRAFT_ROWS = 1 << 15
"""Rows of the sample on which seedings are tried out, and ..."""
DRAFT_ROWS_A_CLUSTER = 512
"""... at least so many for each cluster."""
AUTO_SEEDINGS = 8
"""Seedings of ``n_init="auto"``."""

LARGEST_DRAW = (1 << 64) - 1

_SUM_BITS = 62
# ceil(e**j): floor(ln k) counts how many of these k reaches, without a logarithm.
_E_POWERS = (
    3,
    8,
    21,
    55,
    149,
    404,
    1097,
    2981,
    8104,
    22027,
    59875,
    162755,
    442414,
    1202605,
    3269018,
    8886111,
)


def sample_threshold(limit: int, n_positive: int) -> int:
    """A draw that about ``limit + 8 sqrt(limit)`` of ``n_positive`` rows stay below: enough but for one time in 10**14.

    Where it was not enough the caller samples again without a threshold, so the sample is the same either way.
    """
    wanted = limit + 8 * math.isqrt(limit) + 16
    return min(LARGEST_DRAW, (wanted << 64) // max(n_positive, 1))


def likely_rows(n_rows: int, expected: float) -> int:
    """Room for rows that are drawn independently, ``expected`` of them on average: enough but for one time in 10**14.

    Where it is not enough the caller asks again with as much as it takes.
    """
    return int(min(n_rows, expected + 8 * math.sqrt(expected) + 64))


def draft_rows(k: int) -> int:
    """Rows of the sample on which seedings of ``k`` clusters are tried out; all of a sample that has fewer."""
    return max(DRAFT_ROWS, DRAFT_ROWS_A_CLUSTER * k)


def local_trials(k: int) -> int:
    """Candidates a greedy step compares: ``2 + floor(ln k)``."""
    return 2 + sum(k >= power for power in _E_POWERS)


@dataclass(frozen=True)
class Sample:
    """Rows with positive weight and the smallest (draw, identity), in identity order once ``finish`` is called.

    ``merge`` keeps the ``limit`` smallest; it is associative and commutative, an empty record is neutral but for the
    order of the rows, which ``finish`` settles.

    Parameters
    ----------
    limit : int
        Rows wanted.
    draw, identity : ndarray of uint64, shape (m,)
        Random draw and identity of each row.
    rows : ndarray of float32, shape (d, m)
        Values, feature-major.
    weight : ndarray of float64, shape (m,)
        Sample weights (1 where none were given).
    """

    limit: int
    draw: UInt64Array
    identity: UInt64Array
    rows: Float32Array
    weight: npt.NDArray[np.float64]

    @classmethod
    def zero(cls, limit: int, d: int) -> Sample:
        """No rows."""
        none = np.empty(0, np.uint64)
        return cls(limit, none, none, np.empty((d, 0), np.float32), np.empty(0, np.float64))

    @classmethod
    def of(
        cls,
        limit: int,
        seed: int,
        identity: UInt64Array,
        block: Float32Array,
        weights: Weights,
        threshold: int = LARGEST_DRAW,
    ) -> Sample:
        """The sample's share of one partition.

        Parameters
        ----------
        limit : int
            Rows wanted.
        seed : int
            64-bit seed.
        identity : ndarray of uint64, shape (n,)
            Who each row is.
        block : ndarray of float32, shape (d, n)
            Feature-major values.
        weights : Weights
            Rows of weight 0 are never drawn.
        threshold : int
            Rows with a larger draw are left out: :func:`sample_threshold` keeps what travels small.
        """
        positive = weights.positive()
        rows = np.arange(identity.size) if positive is None else np.flatnonzero(positive)
        draw = draw64(seed, Stage.SAMPLE, identity[rows])
        if threshold < LARGEST_DRAW:
            low = draw <= np.uint64(threshold)
            rows, draw = rows[low], draw[low]
        return cls.drawn(limit, rows, draw, identity, block, weights)

    @classmethod
    def drawn(
        cls,
        limit: int,
        rows: Int64Array,
        draw: UInt64Array,
        identity: UInt64Array,
        block: Float32Array,
        weights: Weights,
    ) -> Sample:
        """The sample's share of one partition, its draws made.

        Parameters
        ----------
        limit : int
            Rows wanted.
        rows : ndarray of int64, shape (m,)
            Numbers of the rows that may be in it.
        draw : ndarray of uint64, shape (m,)
            Their draws.
        identity : ndarray of uint64, shape (n,)
            Who each row of the partition is.
        block : ndarray of float32, shape (d, n)
            Feature-major values.
        weights : Weights
            Of all n rows.
        """
        if rows.size > limit:
            near = _nearly_smallest(draw, limit)
            rows, draw = rows[near], draw[near]
        if rows.size > limit:
            record = (*block[:, rows], weights.take(rows).as_float64(rows.size))
            kept = canonical_order(draw, identity[rows], record)[:limit]
            rows, draw = rows[kept], draw[kept]
        weight = weights.take(rows).as_float64(rows.size)
        return cls(limit, draw, identity[rows], picked(block, rows), weight)

    def merge(self, other: Sample) -> Sample:
        """The smallest draws of both."""
        draw = np.concatenate([self.draw, other.draw])
        identity = np.concatenate([self.identity, other.identity])
        rows = np.concatenate([self.rows, other.rows], axis=1)
        weight = np.concatenate([self.weight, other.weight])
        kept = canonical_order(draw, identity, (*rows, weight))[: self.limit]
        return Sample(
            self.limit, draw[kept], identity[kept], np.ascontiguousarray(rows[:, kept]), weight[kept]
        )

    def finish(self) -> Sample:
        """In identity order, the rows laid out as a block."""
        order: slice | Int64Array = slice(None)
        if not (self.identity[1:] > self.identity[:-1]).all():
            order = canonical_order(self.identity, self.draw, (*self.rows, self.weight))
        rows = empty_block(*self.rows.shape)
        rows[:] = self.rows[:, order]
        return Sample(self.limit, self.draw[order], self.identity[order], rows, self.weight[order])

    def smallest(self, limit: int) -> Sample:
        """The ``limit`` rows of a finished sample with the smallest (draw, identity), in identity order."""
        if self.identity.size <= limit:
            return self
        near = _nearly_smallest(self.draw, limit)
        rows = picked(self.rows, near)
        part = Sample(limit, self.draw[near], self.identity[near], rows, self.weight[near])
        if near.size > limit:
            kept = canonical_order(part.draw, part.identity, (*rows, part.weight))[:limit]
            part = Sample(limit, part.draw[kept], part.identity[kept], rows[:, kept], part.weight[kept])
        return part.finish()


def _nearly_smallest(draw: UInt64Array, limit: int) -> npt.NDArray[np.intp]:
    """Where the ``limit`` smallest draws are, and all that equal the last of them: those are settled by identity."""
    return np.flatnonzero(draw <= np.partition(draw, limit - 1)[limit - 1])


def potential_exponent(largest: float, n_rows: int, weights: Weights) -> int:
    """Scale of one step's potentials: 40 bits below the largest, fewer where their sum would pass 62 bits.

    Parameters
    ----------
    largest : float
        Largest distance of the step (integer or no weights) or largest weighted distance (real weights).
    n_rows : int
        Rows of the sample.
    weights : Weights
        Of the sample.
    """
    multiplicity = sum(weights.integers.tolist()) if weights.mode is WeightMode.INTEGER else n_rows
    bits = min(FIXED_POINT_BITS, _SUM_BITS - int(multiplicity).bit_length())
    return int(scale_exponent(largest)) - (FIXED_POINT_BITS - bits)


def first_potentials(n_rows: int, weights: Weights) -> Int64Array:
    """Potentials of the first pick: the weights themselves."""
    if weights.mode is WeightMode.NONE:
        return np.ones(n_rows, np.int64)
    if weights.mode is WeightMode.INTEGER:
        return weights.integers
    exponent = potential_exponent(float(weights.reals.max()), n_rows, weights)
    return np.rint(np.ldexp(weights.reals.astype(np.float64), exponent)).astype(np.int64)


def pick_rows(potentials: Int64Array, draws: UInt64Array) -> npt.NDArray[np.intp]:
    """For each draw the first row whose prefix sum exceeds ``floor(draw * total / 2**64)``.

    Parameters
    ----------
    potentials : ndarray of int64, shape (n,)
        Non-negative, with a positive sum below 2**63.
    draws : ndarray of uint64, shape (m,)
        Uniform 64-bit draws.
    """
    prefix = np.cumsum(potentials)
    total = int(prefix[-1])
    targets = np.array([(int(draw) * total) >> 64 for draw in draws], np.int64)
    return np.searchsorted(prefix, targets, side="right")


def seeding_draws(seed: int, seeding: int, steps: int, count: int) -> UInt64Array:
    """The draws of all steps of one seeding (steps, count): counter = (seeding, step) as identity, trial as index."""
    identity = (np.uint64(seeding) << np.uint64(32)) | np.arange(steps, dtype=np.uint64)
    return np.stack([draw64(seed, Stage.SEED, identity, index=trial) for trial in range(count)], axis=1)
