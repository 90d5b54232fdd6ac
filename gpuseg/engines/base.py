"""What an engine must do (engines): the verbs that work on one partition, and the records they take and return.

Verbs are kernel-shaped: they take caller-owned buffers, a feature-major float32 block ``x[d, n]``, the weights of its
rows, and lists of models, and return full partial states that merge as integers. Rooms above see this protocol only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import BinSum
from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.memory import label_bytes
from gpuseg.core.moments import FeatureRange, Layout, Moments, Scales
from gpuseg.core.overindex import CategoryCounts, TraitTerms
from gpuseg.core.oversampling import Round
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.weights import Weights
from gpuseg.core.widesum import WideSum
from gpuseg.errors import ContractError

Block = npt.NDArray[np.float32]
"""Values ``x[d, n]`` in block coordinates (after centring): feature-major, or as ``Engine.takes`` lets rows lie."""
LabelArray = npt.NDArray[Any]
"""uint8, uint16 or int32: the narrowest that holds the clusters."""

Metric = Literal["euclidean", "sqeuclidean", "manhattan", "cosine"]
"""Distances between a row and a point, each a float32 chain over ascending features (``Engine.distances``)."""
METRICS: tuple[Metric, ...] = get_args(Metric)

_LABEL_TYPES: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.int32}


def label_dtype(k: int) -> npt.DTypeLike:
    """Narrowest integer type for labels 0 .. k - 1."""
    return _LABEL_TYPES[label_bytes(k)]  # type: ignore[no-any-return]


def require_distances(
    block: tuple[int, ...], centres: tuple[int, ...], out: tuple[int, ...], metric: str
) -> None:
    """Refuse shapes that a distance kernel, which checks no bounds, would read or write beyond, and unknown metrics.

    Parameters
    ----------
    block, centres, out : tuple of int
        Shapes (d, n), (k, d) and (k, n).
    metric : str
        One of ``METRICS``.

    Raises
    ------
    ContractError
        If they do not belong together.
    """
    if metric not in METRICS:
        raise ContractError(f"metric={metric!r} is not known; use one of {', '.join(map(repr, METRICS))}")
    if block[0] != centres[1] or out != (centres[0], block[1]):
        shapes = f"block {block}, centres {centres} and out {out}"
        raise ContractError(f"{shapes} do not fit; they are (d, n), (k, d) and (k, n)")


@dataclass
class AssignState:
    """What an engine keeps of one model on one partition between passes; a caller owns it, an engine updates it.

    It is never part of an answer: dropping it (``fresh``) costs time and changes no bit.

    Parameters
    ----------
    labels : ndarray, shape (n,)
        Labels of the last pass; arbitrary before the first.
    sums : ClusterSums or None
        Full sums of the last pass; None before the first.
    kept : object or None
        What an engine keeps beside them, here or on a device; nobody else looks at it.
    """

    labels: LabelArray
    sums: ClusterSums | None = None
    kept: Any = field(default=None, repr=False, compare=False)

    @property
    def host_bytes(self) -> int:
        """Bytes of this process's memory that the state holds."""
        return self.labels.nbytes + int(getattr(self.kept, "host_bytes", 0))

    @classmethod
    def fresh(cls, n_rows: int, k: int) -> AssignState:
        """Nothing known yet."""
        return cls(np.zeros(n_rows, label_dtype(k)))


@dataclass(frozen=True)
class AssignResult:
    """One model's pass over one partition, or over several.

    ``merge`` is associative and commutative; of another state before the pass only ``sums`` are the same.

    Parameters
    ----------
    sums : ClusterSums
        Full sums of the rows, whatever was remembered; ``inertia`` is zero unless it was asked for.
    moved : int
        Rows whose label differs from the state that was passed in (all of them when it was fresh): a figure for
        progress, never part of an answer.
    computed : int
        Distances between a row and a centre that were computed: what bounds save shows here. Never part of an answer.
    screened : int
        Rows whose nearest centre was looked for by matrix products first. Never part of an answer.
    redone : int
        Those of them that this left open, so that all their distances were computed. Never part of an answer.
    """

    sums: ClusterSums
    moved: int
    computed: int = field(default=0, compare=False)
    screened: int = field(default=0, compare=False)
    redone: int = field(default=0, compare=False)

    def merge(self, other: AssignResult) -> AssignResult:
        """The pass over the rows of both."""
        return AssignResult(
            self.sums.merge(other.sums),
            self.moved + other.moved,
            self.computed + other.computed,
            self.screened + other.screened,
            self.redone + other.redone,
        )


@dataclass
class ClusteredRows:
    """Rows in the order of their clusters, which others are compared with; a caller owns it and changes nothing in it.

    Parameters
    ----------
    block : ndarray of float32, shape (d, m)
        Feature-major.
    starts : ndarray of int64, shape (k + 1,)
        Cluster c is columns ``starts[c]`` to ``starts[c + 1]``.
    kept : object or None
        What a device's engine keeps elsewhere; nobody else looks at it.
    """

    block: Block
    starts: npt.NDArray[np.int64]
    kept: Any = field(default=None, repr=False, compare=False)

    @property
    def k(self) -> int:
        """Clusters."""
        return self.starts.size - 1


@runtime_checkable
class Engine(Protocol):
    """One partition's work. Implementations hold no data; buffers and states belong to the caller."""

    name: str

    def takes(self, source: npt.NDArray[np.floating]) -> bool:
        """Whether ``source.T`` may be the block of a table (n, d) as it lies in memory, without a copy."""
        ...

    def scan(
        self, source: npt.NDArray[np.floating], weights: npt.NDArray[np.float64] | None, out: Block | None
    ) -> FeatureRange:
        """Read 1 of ``source[n, d]`` (any strides, float32 or float64): range, finiteness, weight facts.

        With ``out`` (float32 source only) the values are also copied feature-major.
        """
        ...

    def centre(self, source: npt.NDArray[np.floating], layout: Layout, out: Block) -> None:
        """Copy ``float32(source - centre)`` feature-major into ``out``."""
        ...

    def moments(self, source: npt.NDArray[np.floating], weights: Weights, scales: Scales) -> Moments:
        """Read 2 of ``source[n, d]``: exact weight, sums and sums of squares."""
        ...

    def assign(
        self,
        block: Block,
        weights: Weights,
        centres: Sequence[npt.NDArray[np.float32]],
        states: Sequence[AssignState],
        scales: Scales,
        *,
        sums: bool = True,
        inertia: bool = False,
        labels: bool = True,
        distance: npt.NDArray[np.float32] | None = None,
        rows: npt.NDArray[np.float32] | None = None,
    ) -> list[AssignResult]:
        """Nearest centre of every row for each model, in one read of the block.

        ``states[m].labels`` and ``.sums`` are updated; without ``labels`` the caller does not look at either before a
        later pass, over the same block and weights objects, asks for them, and an engine may keep both to itself.
        Without ``sums`` only labels (and the inertia, if asked for) are wanted: masses and totals come back as zeros
        and the state forgets its sums. ``distance`` (one model only) receives each row's chain d2.
        ``rows`` (n, d), C order, holds the block's values once more, bit for bit, where the caller has them so anyway:
        an engine that looks at few rows may read them there.
        """
        ...

    def sample_rows(
        self, identity: npt.NDArray[np.uint64], weights: Weights, seed: int, threshold: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """Numbers, ascending, and SAMPLE draws of the rows of positive weight whose draw is at most ``threshold``."""
        ...

    def seed_step(
        self,
        block: Block,
        weights: Weights,
        closest: npt.NDArray[np.float32],
        candidates: npt.NDArray[np.float32],
        exponent: int,
        out: npt.NDArray[np.float32],
    ) -> npt.NDArray[np.int64]:
        """For each candidate the potential if it were added; ``out[c]`` receives min(closest, d2 to candidate c)."""
        ...

    def potentials(
        self, closest: npt.NDArray[np.float32], weights: Weights, exponent: int
    ) -> npt.NDArray[np.int64]:
        """Integer potential of each row: w * rint(d2 * 2**exponent), or rint(float32(w * d2) * 2**exponent)."""
        ...

    def oversample(
        self,
        block: Block,
        weights: Weights,
        closest: npt.NDArray[np.float32],
        candidates: npt.NDArray[np.float32],
        identity: npt.NDArray[np.uint64],
        drawing: Round,
    ) -> tuple[BinSum, npt.NDArray[np.int64]]:
        """One round of k-means|| over a block.

        ``closest`` (infinity where there was no candidate yet) becomes min(closest, d2 to each new candidate). Returns
        the exact sum of the weighted distances, and the numbers, ascending, of the rows that the round keeps if the
        block is all there is: :meth:`gpuseg.core.oversampling.Round.keeps` with that sum, rounded once.
        """
        ...

    def distances(
        self, block: Block, centres: npt.NDArray[np.float32], out: Block, *, metric: Metric = "euclidean"
    ) -> None:
        """Distance of every row to each centre; ``out[k, n]``. Float32, features ascending, acc = 0 at first.

        - "sqeuclidean": t = x - c; acc = fma(t, t, acc). "euclidean": its square root.
        - "manhattan": acc += abs(x - c).
        - "cosine": acc = fma(u, v, acc) over the rows divided by their lengths, then 1 - acc, held to [0, 2]. A length
          is the float64 root of the float64 sum of squares; ``u = float32(x / length)``, and 0 where the length is 0.
          Of the block's own coordinates: centring changes it.
        """
        ...

    def label_moments(
        self, block: Block, labels: Sequence[LabelArray], ks: Sequence[int], scales: Scales
    ) -> list[list[Moments]]:
        """Moments of each cluster's rows for each model, in one read of the block.

        ``labels[m]`` are those of a model of ``ks[m]`` clusters; a row of none of them belongs nowhere. Rows count
        once, whatever weights the scales were made for; those of real weights are refused.
        """
        ...

    def silhouette_sums(
        self, rows: Block, others: ClusteredRows, exponent: int, out: npt.NDArray[np.int64]
    ) -> None:
        """``out[i, c]`` += sum over others of cluster c of rint(sqrt(d2) * 2**exponent).

        Callers bound ``out`` by giving some rows at a time; the same record of ``others`` then lets an engine keep them
        where it compares them.
        """
        ...

    def square_silhouettes(
        self,
        block: Block,
        labels: Sequence[LabelArray],
        shapes: Sequence[ClusterShape],
        out: Sequence[npt.NDArray[np.float64]] | None = None,
        *,
        labelling: bool = False,
    ) -> list[WideSum]:
        """Squared-Euclidean silhouettes of all rows for each model, in one read: the sum of rint(s * 2**40).

        ``out[m]`` receives each row's silhouette. With ``labelling`` the labels are written, not read: the nearest of
        the shape's centres, as ``assign`` finds it. Distances to all of them are needed anyway, so a pass is saved.
        """
        ...

    def bitmaps(
        self, customer: npt.NDArray[np.int64], period: npt.NDArray[np.int32], bits: npt.NDArray[np.uint64]
    ) -> None:
        """``bits[customer, period // 64] |= 1 << period % 64`` for each record."""
        ...

    def first_periods(self, bits: npt.NDArray[np.uint64], first: npt.NDArray[np.int32]) -> None:
        """First active period of each customer, -1 where there is none."""
        ...

    def triangle(
        self, bits: npt.NDArray[np.uint64], first: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]
    ) -> None:
        """``counts[p, a]`` += customers acquired in period p who are active in p + a."""
        ...

    def revenue(
        self,
        customer: npt.NDArray[np.int64],
        period: npt.NDArray[np.int32],
        amount: npt.NDArray[np.int64],
        first: npt.NDArray[np.int32],
        money: npt.NDArray[np.int64],
    ) -> int:
        """``money[p, a]`` += amounts in period p + a of customers acquired in p; returns records left out."""
        ...

    def category_sums(
        self,
        customer: npt.NDArray[np.int64],
        category: npt.NDArray[np.int32],
        amount: npt.NDArray[np.int64],
        sums: npt.NDArray[np.int64],
    ) -> None:
        """``sums[customer, category] += amount`` for each record; refuses an overflow."""
        ...

    def trait_scores(
        self,
        counts: CategoryCounts,
        terms: TraitTerms,
        scores: npt.NDArray[np.float64],
        evidence: npt.NDArray[np.float64],
        reasons: npt.NDArray[np.int16] | None = None,
    ) -> None:
        """Scores from over-indexing: what :func:`gpuseg.core.overindex.trait_scores` defines.

        ``scores`` (T, n) receives each customer's t, ``evidence`` (n,) the transactions it rests on; ``reasons``
        (T, 3, n) the categories that contribute most, where it is given.
        """
        ...
