"""The rules of k-means|| (core): which rows a round keeps, and how the rounds of partitions merge.

A row's chance needs the sum of the distances of *all* rows, which no partition knows. A partition therefore keeps what
it would keep if it were alone: a smaller sum makes every chance larger, rounding included, so these rows contain those
that count, and each merge leaves out the ones for which the larger sum has become too much. One pass a round is enough,
and what is kept in the end does not depend on how rows were split. ONE_ANSWER section 6.

References
----------
B. Bahmani, B. Moseley, A. Vattani, R. Kumar, S. Vassilvitskii. Scalable k-means++. VLDB 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import BinSum
from gpuseg.core.identity import canonical_order
from gpuseg.core.philox import Stage, draw64, uniform53
from gpuseg.core.seeding import Float32Array, Int64Array, Sample, UInt64Array
from gpuseg.core.weights import INTEGER_MASS, WeightRange, Weights, counting

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Round:
    """What all rows of one round share.

    Parameters
    ----------
    seed : int
        64-bit seed.
    number : int
        Of the round: the index of its draws, 0 <= number < 2**32.
    wanted : float
        Rows that it keeps on average: the oversampling factor l of the paper.
    """

    seed: int
    number: int
    wanted: float

    def draws(self, identity: UInt64Array) -> UInt64Array:
        """One draw a row."""
        return draw64(self.seed, Stage.OVERSAMPLE, identity, self.number)

    def keeps(
        self, draw: UInt64Array, weight: Float64Array, distance: Float32Array, total: float
    ) -> npt.NDArray[np.bool_]:
        """Mask of the rows that are kept: u < ((l * w) * d2) / total in float64.

        Parameters
        ----------
        draw : ndarray of uint64, shape (m,)
            Draws of this round.
        weight : ndarray of float64, shape (m,)
            Weights; a row of weight 0 is never kept.
        distance : ndarray of float32, shape (m,)
            Chain d2 of each row to its closest candidate; a candidate's own is 0, and it is not kept again.
        total : float
            The exact sum of the weighted distances, rounded once; with 0 every row that has a chance at all is kept.
        """
        with np.errstate(
            divide="ignore", invalid="ignore", over="ignore"
        ):  # 0 / 0 is no chance, x / 0 a sure one
            chance = ((self.wanted * weight) * distance.astype(np.float64)) / np.float64(total)
        return np.asarray(uniform53(draw) < chance)

    def rows_of(
        self,
        rows: Int64Array,
        closest: Float32Array,
        weights: Weights,
        identity: UInt64Array,
        total: float,
    ) -> Int64Array:
        """Those of some rows of a partition that are kept with a sum of ``total``.

        Parameters
        ----------
        rows : ndarray of int64, shape (m,)
            Numbers of rows.
        closest, identity : ndarray of float32 and uint64, shape (n,)
            Distance and identity of each row of the partition.
        weights : Weights
            Of all its n rows.
        total : float
            Sum of the weighted distances.
        """
        weight = weights.take(rows).as_float64(rows.size)
        return rows[self.keeps(self.draws(identity[rows]), weight, closest[rows], total)]


@dataclass(frozen=True)
class Kept:
    """The rows that a round keeps of some partitions as if they were all, in identity order.

    ``merge`` is associative and commutative, ``zero`` neutral.

    Parameters
    ----------
    of : Round
        The round.
    total : BinSum, shape ()
        Exact sum of the weighted distances of all rows, kept or not.
    draw, identity : ndarray of uint64, shape (m,)
        Draw and identity of each row that is kept.
    weight : ndarray of float64, shape (m,)
        Its weight.
    distance : ndarray of float32, shape (m,)
        Its distance to the closest candidate.
    rows : ndarray of float32, shape (d, m)
        Its values, feature-major.
    """

    of: Round
    total: BinSum
    draw: UInt64Array
    identity: UInt64Array
    weight: Float64Array
    distance: Float32Array
    rows: Float32Array

    @classmethod
    def zero(cls, of: Round, d: int) -> Kept:
        """No rows."""
        none, no_draws = np.empty((d, 0), np.float32), np.empty(0, np.uint64)
        return cls(of, BinSum.zero(), no_draws, no_draws, np.empty(0), np.empty(0, np.float32), none)

    @classmethod
    def gathered(
        cls,
        of: Round,
        total: BinSum,
        rows: Int64Array,
        closest: Float32Array,
        identity: UInt64Array,
        block: Float32Array,
        weights: Weights,
    ) -> Kept:
        """One partition's share, its rows chosen by an engine.

        Parameters
        ----------
        of : Round
            The round.
        total : BinSum
            Sum over the partition.
        rows : ndarray of int64, shape (m,)
            Numbers of the rows that are kept.
        closest, identity : ndarray of float32 and uint64, shape (n,)
            Distance and identity of each row of the partition.
        block : ndarray of float32, shape (d, n)
            Its values.
        weights : Weights
            Of its n rows.
        """
        who, weight = identity[rows], weights.take(rows).as_float64(rows.size)
        found = cls(of, total, of.draws(who), who, weight, closest[rows], block[:, rows])
        return found.take(canonical_order(who, found.draw, (*found.rows, weight)))

    def merge(self, other: Kept) -> Kept:
        """What is kept of the rows of both."""
        both = Kept(
            self.of,
            self.total.merge(other.total),
            np.concatenate([self.draw, other.draw]),
            np.concatenate([self.identity, other.identity]),
            np.concatenate([self.weight, other.weight]),
            np.concatenate([self.distance, other.distance]),
            np.concatenate([self.rows, other.rows], axis=1),
        )
        total = float(both.total.to_float64())
        kept = np.flatnonzero(self.of.keeps(both.draw, both.weight, both.distance, total))
        record = (*both.rows[:, kept], both.weight[kept])
        return both.take(kept[canonical_order(both.identity[kept], both.draw[kept], record)])

    def take(self, chosen: npt.NDArray[np.intp]) -> Kept:
        """Some of the rows, in the order asked for; the sum stays that of all."""
        return Kept(
            self.of,
            self.total,
            self.draw[chosen],
            self.identity[chosen],
            self.weight[chosen],
            self.distance[chosen],
            np.ascontiguousarray(self.rows[:, chosen]),
        )


def join_candidates(first: Sample, rounds: list[Kept]) -> Sample:
    """All candidates in identity order: the row that the rounds began with, and what they kept.

    Parameters
    ----------
    first : Sample
        One row.
    rounds : list of Kept
        One a round.

    Returns
    -------
    Sample
        With the weights of the rows themselves.
    """
    parts: list[Sample | Kept] = [first, *rounds]
    identity = np.concatenate([part.identity for part in parts])
    return Sample(
        identity.size,
        np.concatenate([part.draw for part in parts]),
        identity,
        np.concatenate([part.rows for part in parts], axis=1),
        np.concatenate([part.weight for part in parts]),
    ).finish()


def weighted_candidates(candidates: Sample, mass: Float64Array) -> Sample:
    """Candidates that count as often as rows lie nearest to them; those of no mass, doubles among them, fall out.

    Parameters
    ----------
    candidates : Sample
        In identity order.
    mass : ndarray of float64, shape (m,)
        Weight of the rows nearest to each, rounded once from the exact sum.

    Returns
    -------
    Sample
        Masses that cannot count as integers are divided by a power of two, so that the largest lies in [1, 2): where
        weights are rounded to float32, none of their products then leaves its range.
    """
    seen = WeightRange.of(mass, mass.size)
    if not seen.integral or seen.total >= INTEGER_MASS:
        _, power = np.frexp(mass.max())
        mass = np.ldexp(mass, 1 - power)
    kept = counting(mass)
    return Sample(
        int(kept.sum()),
        candidates.draw[kept],
        candidates.identity[kept],
        np.ascontiguousarray(candidates.rows[:, kept]),
        mass[kept],
    )
