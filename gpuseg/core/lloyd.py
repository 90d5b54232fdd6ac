"""The rules of Lloyd's algorithm (core): explicit state, exact sums, one ``step`` on the host.

An engine gives, for given centres, the full :class:`ClusterSums` of any set of rows; they merge as integers; ``step``
turns merged sums into the next :class:`LloydState`. Nothing here knows where the rows are. ONE_ANSWER section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import BinSum
from gpuseg.core.identity import canonical_order
from gpuseg.core.moments import merge_mass, require_same_scale
from gpuseg.core.weights import WeightMode
from gpuseg.core.widesum import WideSum, mean_float64

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

_SCREEN_ROWS = 1024


@dataclass(frozen=True)
class ClusterSums:
    """Weight and exact coordinate sums of each cluster, and the inertia where it was asked for.

    ``merge`` is associative and commutative, ``zero`` neutral; different scales cannot be merged.

    Parameters
    ----------
    mass : WideSum or BinSum, shape (k,)
        Weight of each cluster.
    total : WideSum, shape (k, d)
        Sum of w * x_q.
    inertia : BinSum, shape ()
        Sum of w * d2; all zeros when it was not asked for.
    exponent : ndarray of int64, shape (d,)
        Scale of ``total``.
    """

    mass: WideSum | BinSum
    total: WideSum
    inertia: BinSum
    exponent: Int64Array

    @classmethod
    def zero(cls, k: int, exponent: Int64Array, mode: WeightMode) -> ClusterSums:
        """No rows."""
        mass = BinSum.zero(k) if mode is WeightMode.REAL else WideSum.zero(k)
        return cls(mass, WideSum.zero((k, exponent.size)), BinSum.zero(), exponent)

    def merge(self, other: ClusterSums) -> ClusterSums:
        """Sums over the rows of both."""
        require_same_scale(self.exponent, other.exponent)
        return ClusterSums(
            merge_mass(self.mass, other.mass),
            self.total.merge(other.total),
            self.inertia.merge(other.inertia),
            self.exponent,
        )

    def masses(self) -> npt.NDArray[np.float64]:
        """Weight of each cluster, rounded once; shape (k,)."""
        return self.mass.to_float64()

    def means(self) -> Float32Array:
        """``float32(float64(S) / float64(N) / s)``; shape (k, d); NaN rows where a cluster is empty."""
        mass = self.masses()
        safe = np.where(mass > 0, mass, 1.0)
        means = mean_float64(self.total, safe[:, None], self.exponent[None, :]).astype(np.float32)
        means[mass == 0] = np.nan
        return means


@dataclass(frozen=True)
class LloydState:
    """One run of Lloyd's algorithm between two passes: explicit and serialisable.

    Parameters
    ----------
    centres : ndarray of float32, shape (k, d)
        Centres that the next pass assigns to, in block coordinates.
    iteration : int
        Full passes done.
    tolerance : float
        Absolute: the fit stops when the summed squared shift of the centres is at most this.
    max_iter : int
        Full passes allowed.
    shift : float
        Summed squared shift of the last step, infinity before the first.
    n_relocated : int
        Empty clusters moved so far.
    seed : int
        64-bit seed of the run's random stages; 0 where nothing is drawn.
    exponent : tuple of int
        Fixed-point exponent of each feature's sums.
    """

    centres: Float32Array
    iteration: int
    tolerance: float
    max_iter: int
    shift: float = math.inf
    n_relocated: int = 0
    seed: int = 0
    exponent: tuple[int, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether the last shift is within the tolerance; a shift of exactly 0 always is."""
        return self.shift <= self.tolerance

    @property
    def finished(self) -> bool:
        """Whether no further pass is to be made."""
        return self.converged or self.iteration >= self.max_iter

    def to_record(self) -> dict[str, Any]:
        """A JSON-serialisable record that restores the state bit for bit."""
        return {
            "centres": [[value.hex() for value in row] for row in self.centres.astype(np.float64).tolist()],
            "n_features": self.centres.shape[1],
            "iteration": self.iteration,
            "tolerance": self.tolerance.hex(),
            "max_iter": self.max_iter,
            "shift": self.shift.hex(),
            "n_relocated": self.n_relocated,
            "seed": self.seed,
            "exponent": list(self.exponent),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> LloydState:
        """The state that :meth:`to_record` described."""
        rows = [[float.fromhex(value) for value in row] for row in record["centres"]]
        centres = np.array(rows, np.float32).reshape(len(rows), record["n_features"])
        return cls(
            centres=centres,
            iteration=record["iteration"],
            tolerance=float.fromhex(record["tolerance"]),
            max_iter=record["max_iter"],
            shift=float.fromhex(record["shift"]),
            n_relocated=record["n_relocated"],
            seed=record["seed"],
            exponent=tuple(record["exponent"]),
        )


def empty_clusters(sums: ClusterSums) -> npt.NDArray[np.intp]:
    """Indices of clusters without weight, ascending."""
    return np.flatnonzero(sums.masses() == 0)


def step(state: LloydState, sums: ClusterSums, spare: Float32Array | None = None) -> LloydState:
    """The next state after a full pass.

    Parameters
    ----------
    state : LloydState
        The state whose centres the pass assigned to.
    sums : ClusterSums
        Merged sums of all rows.
    spare : ndarray of float32, shape (m, d), optional
        Distinct rows farthest from their centres, in order; the i-th empty cluster's centre moves to the i-th.
        Where there are fewer rows than empty clusters the remaining centres stay. Labels and sums never change.

    Returns
    -------
    LloydState
        One iteration further; ``state`` is not modified.
    """
    centres = sums.means()
    empty = empty_clusters(sums)
    moved = 0 if spare is None else min(len(spare), empty.size)
    if spare is not None:
        centres[empty[:moved]] = spare[:moved]
    centres[empty[moved:]] = state.centres[empty[moved:]]
    return replace(
        state,
        centres=centres,
        iteration=state.iteration + 1,
        shift=squared_shift(state.centres, centres),
        n_relocated=state.n_relocated + moved,
    )


def squared_shift(before: Float32Array, after: Float32Array) -> float:
    """Sum of squared differences in float64, added without error and rounded once: no order of rows changes it."""
    difference = before.astype(np.float64) - after.astype(np.float64)
    return math.fsum((difference * difference).ravel().tolist())


def absolute_tolerance(tol: float, variance: npt.NDArray[np.float64]) -> float:
    """scikit-learn's rule: ``tol`` times the mean over features of the weighted variance."""
    if tol == 0 or not variance.size:
        return 0.0
    return tol * (math.fsum(variance.tolist()) / variance.size)


@dataclass(frozen=True)
class Farthest:
    """The rows farthest from their centre: distance descending, identity ascending, distinct values.

    ``merge`` keeps the best ``limit``; it is associative and commutative, an empty record is neutral.

    Parameters
    ----------
    limit : int
        Rows wanted.
    distance : ndarray of float32, shape (m,)
        Chain distance of each row to its own centre.
    identity : ndarray of uint64, shape (m,)
        Who each row is.
    rows : ndarray of float32, shape (m, d)
        Their values in block coordinates.
    """

    limit: int
    distance: Float32Array
    identity: npt.NDArray[np.uint64]
    rows: Float32Array

    @classmethod
    def zero(cls, limit: int, d: int) -> Farthest:
        """No rows."""
        return cls(limit, np.empty(0, np.float32), np.empty(0, np.uint64), np.empty((0, d), np.float32))

    @classmethod
    def of(
        cls, limit: int, distance: Float32Array, identity: npt.NDArray[np.uint64], rows: Float32Array
    ) -> Farthest:
        """The best ``limit`` distinct rows among those given."""
        few = 4 * limit + _SCREEN_ROWS
        if distance.size > 2 * few:
            # Sorting everything would be wasteful: first the farthest few, unless duplicates used them up.
            threshold = np.partition(distance, distance.size - few)[distance.size - few]
            near = np.flatnonzero(distance >= threshold)
            kept = _distinct(limit, distance[near], identity[near], rows[near])
            if kept.size == limit:
                kept = near[kept]
                return cls(limit, distance[kept], identity[kept], rows[kept])
        kept = _distinct(limit, distance, identity, rows)
        return cls(limit, distance[kept], identity[kept], rows[kept])

    def merge(self, other: Farthest) -> Farthest:
        """The best rows of both."""
        return Farthest.of(
            self.limit,
            np.concatenate([self.distance, other.distance]),
            np.concatenate([self.identity, other.identity]),
            np.concatenate([self.rows, other.rows]),
        )


def _distinct(
    limit: int, distance: Float32Array, identity: npt.NDArray[np.uint64], rows: Float32Array
) -> npt.NDArray[np.intp]:
    """The first ``limit`` rows of distinct values, by distance descending, identity and values ascending."""
    kept: list[int] = []
    seen: set[bytes] = set()
    for row in canonical_order(-distance, identity, tuple(rows.T)):
        if len(kept) == limit:
            break
        key = (rows[row] + np.float32(0.0)).tobytes()  # -0.0 and 0.0 are one value
        if key not in seen:
            seen.add(key)
            kept.append(int(row))
    return np.array(kept, np.intp)
