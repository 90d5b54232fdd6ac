"""Bounds of groups of centres (CPU engine): which centres a row need not be compared with, where there are many.

Yinyang's bounds (Ding et al., ICML 2015). Similar centres form groups. A row keeps an upper bound u of the distance to
its own centre and, of each group, a lower bound l of those to the group's other centres. A group all of which is
farther than u cannot hold the nearest centre; where one is doubtful, the row is compared with its own centre's group,
which makes u as small as it gets, and then with the groups that are doubtful still. A group that was looked at gets a
new bound, which after a change of the label takes the former centre in; of a row that is skipped nothing is written.

What is kept is ``u - own`` and ``l + group``, with what the row's centre and, at most, a centre of the group had moved
by then: ``own`` and ``group`` grow from pass to pass, and later u <= (u - own) + own(now) and l >= (l + group) -
group(now).

Roundings (ONE_ANSWER section 5): with g = (d + 4) 2**-23 and e = sqrt(d) 2**-74 a chain value a enters as
u = sqrt(a) (1 + g) + e and l = sqrt(a) (1 - g) - e, the centres' movements r and s are added, and a group may be
skipped only if U < L, with U = (u + r) (1 + g) + e and L = (l - s) (1 - g) - e. As (1 - g)**2 >= 1 - 2 g,

- U <= sqrt(a) (1 + 2 g + g g) + 4 e + r (1 + g) while g <= 1; ``own`` counts r (1 + g);
- L >= sqrt(a) (1 - 2 g) - 4 e - s; ``group`` counts s. Where 2 g >= 1 the bound is negative and nothing is skipped.

The factors are ``grow`` and ``shrink``, which are 8 * 2**-23 larger and smaller: a root, a product and a sum in
float32 are off by less than 3 * 2**-24 of the result, and the comparison of a fresh U with a kept L by 2**-24. What is
kept is moved by 2**-22 of itself (``LAST_BITS``) after one more sum; ``own`` and ``group`` are float64, rounded up by
nextafter, and enter rounded down when a bound is kept, up when it is asked. Then u and l are one sum each, off by at
most 2**-24 of themselves: u is multiplied by 1 + 2**-22 (``MARGIN``) before it is compared. A sum below 2**-126 is
exact. NaN compares as false, and so never skips. The bound of a group without another centre is 2**63, which no
distance reaches.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.memory import group_count
from gpuseg.engines.cpu.bounds import GAIN, PassCosts, drifts, rounded_down, rounded_up
from gpuseg.engines.cpu.group_assigning import assign_by_groups
from gpuseg.engines.cpu.slack import TILE, is_sampled
from gpuseg.engines.cpu.vectors import HALF, LANES

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]

STALE = 1.5
"""Pairs that are doubtful before a row's own group was looked at, for each that still is afterwards."""


def similar_centres(centres: Float32Array) -> Int32Array:
    """Clusters of each group, ascending, then -1: the outermost centre left, and those nearest to it.

    Parameters
    ----------
    centres : ndarray of float32, shape (k, d)
        Any: which ones share a group decides how fast a pass is, and nothing else.

    Returns
    -------
    ndarray of int32, shape (groups, centres)
        Whole blocks of eight a group.
    """
    k = len(centres)
    n_groups = group_count(k)
    size = -(-k // (n_groups * HALF)) * HALF
    groups = np.full((-(-k // size), size), -1, np.int32)
    left = np.arange(k)
    at = centres.astype(np.float64)
    outward = np.square(at - at.mean(axis=0)).sum(axis=1)
    for group in groups:
        seed = at[left[np.argmax(outward[left])]]
        near = np.argsort(np.square(at[left] - seed).sum(axis=1), kind="stable")[:size]
        group[: near.size] = np.sort(left[near])
        left = np.delete(left, near)
    return groups


@dataclass
class GroupBounds:
    """What is kept of one model on one block between passes.

    Parameters
    ----------
    upper : ndarray of float32, shape (n // 16 * 16,)
        Of each row, less ``own`` of its label when it was kept.
    lower : ndarray of float32
        Of each row and group, plus ``group`` when it was kept; in the order of ``grouped``.
    own : ndarray of float64, shape (k,)
        What each centre moved so far, rounded against the row.
    group : ndarray of float64, shape (groups,)
        What the centres of each group moved so far at most.
    groups : ndarray of int32, shape (groups, centres)
        Clusters of each group, ascending, then -1.
    centres : ndarray of float32, shape (k, d)
        Centres of the last pass.
    share : float, default 1.0
        Distances that bounds left of those of the sampled tiles, or of all where ``complete``.
    complete : bool, default False
        Whether every row has its bounds; otherwise only those of the sampled tiles have.
    """

    upper: Float32Array
    lower: Float32Array
    own: Float64Array
    group: Float64Array
    groups: Int32Array
    centres: Float32Array
    share: float = 1.0
    complete: bool = False

    @classmethod
    def fresh(cls, n_rows: int, centres: Float32Array) -> GroupBounds:
        """For a first pass over ``n_rows`` rows."""
        groups = similar_centres(centres)
        rows = n_rows - n_rows % LANES
        kept = np.empty(rows, np.float32), np.empty(rows * len(groups), np.float32)
        return cls(*kept, np.zeros(len(centres)), np.zeros(len(groups)), groups, centres.copy())

    def moved_to(self, centres: Float32Array) -> GroupBounds:
        """The same rows after the centres moved."""
        drift = drifts(self.centres, centres)
        g = (centres.shape[1] + 4) * 2.0**-23
        own = np.nextafter(self.own + np.nextafter(drift * np.nextafter(1.0 + g, np.inf), np.inf), np.inf)
        farthest = np.where(self.groups < 0, 0.0, drift[self.groups]).max(axis=1)
        group = np.nextafter(self.group + farthest, np.inf)
        return replace(self, own=own, group=group, centres=centres.copy())

    @property
    def host_bytes(self) -> int:
        """Bytes held."""
        held = (self.upper, self.lower, self.own, self.group, self.groups, self.centres)
        return sum(array.nbytes for array in held)


@dataclass(frozen=True)
class GroupPlan:
    """What one pass does about bounds of groups.

    Parameters
    ----------
    bounds : GroupBounds
        Those kept, now that the centres moved, or fresh ones.
    paying : float
        Largest share of the distances that it pays to compute alone.
    known : bool
        Whether there are bounds at all, of all rows or of the sampled tiles.
    keep_all : bool
        Whether every row keeps its bounds in this pass.
    settled : bool, default False
        Whether the centres are those of the last pass, so that every label stays.
    """

    bounds: GroupBounds
    paying: float
    known: bool
    keep_all: bool
    settled: bool = False

    @classmethod
    def of(cls, kept: object, centres: Float32Array, n_rows: int, paying: float) -> GroupPlan:
        """For a pass with these centres, with what the last pass kept."""
        if not isinstance(kept, GroupBounds) or kept.centres.shape != centres.shape:
            return cls(GroupBounds.fresh(n_rows, centres), paying, known=False, keep_all=paying >= 1)
        if np.array_equal(kept.centres, centres):
            # Labels are those of these very centres: every row is vouched for, whatever is known of it.
            return cls(kept, paying, known=True, keep_all=kept.complete, settled=True)
        bounds = kept.moved_to(centres)
        return cls(bounds, paying, known=True, keep_all=bounds.complete or bounds.share <= paying)

    @property
    def use(self) -> bool:
        """Whether bounds of all rows are asked."""
        return self.known and self.bounds.complete

    @property
    def kernel(self) -> Any:
        """The pass that takes ``arrays``."""
        return assign_by_groups

    def arrays(self) -> tuple[Any, ...]:
        """What the kernel takes: bounds, what is known of which rows, centres by group, movements, and margins."""
        bounds = self.bounds
        d = bounds.centres.shape[1]
        table, names, group_of = _by_group(bounds.groups, bounds.centres)
        # Tiles that are tried out are never compared as a whole: they tell what bounds would leave.
        stale = STALE * self.paying if bounds.complete else np.inf
        return (
            bounds.upper,
            bounds.lower,
            self.use,
            self.known,
            self.keep_all,
            self.settled,
            float(stale),
            table,
            names,
            group_of,
            rounded_up(bounds.own),
            rounded_down(bounds.own),
            rounded_up(bounds.group),
            rounded_down(bounds.group),
            *margins(d),
        )

    def after(self, computed: float, ranges: Sequence[tuple[int, int]]) -> GroupBounds:
        """Bounds after the pass, which computed a share ``computed`` of the distances of all rows."""
        bounds = self.bounds
        if self.settled:
            return bounds
        if not bounds.complete:
            sampled, n_rows = sampled_rows(ranges)
            share = 1.0 - (1.0 - computed) * n_rows / sampled if sampled and self.known else 1.0
            return replace(bounds, share=share, complete=self.keep_all)
        # Where most had to be computed, bounds do not pay for now: from here on the sample says when they do.
        return replace(bounds, share=computed, complete=computed <= max(0.5, 2 * self.paying))


def sampled_rows(ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Rows of the sampled tiles of some ranges, and all rows."""
    sampled = sum(
        min(TILE, stop - low) for start, stop in ranges for low in range(start, stop, TILE) if is_sampled(low)
    )
    return sampled, sum(stop - start for start, stop in ranges)


def _by_group(groups: Int32Array, centres: Float32Array) -> tuple[Float32Array, Int32Array, Int32Array]:
    """Centres ``[group, block, d, 8]``, infinitely far where there is none; their clusters; each cluster's group."""
    k, d = centres.shape
    names = groups.reshape(-1)
    rows = centres[names]
    rows[names < 0] = np.inf
    table = np.ascontiguousarray(rows.reshape(-1, HALF, d).transpose(0, 2, 1)).reshape(-1)
    group_of = np.empty(k, np.int32)
    numbers = np.broadcast_to(np.arange(len(groups), dtype=np.int32)[:, None], groups.shape)
    group_of[groups[groups >= 0]] = numbers[groups >= 0]
    return table, np.maximum(names, 0), group_of


def margins(d: int) -> tuple[np.float32, np.float32, np.float32]:
    """``grow``, ``shrink`` and at least ``4 e``."""
    g = (d + 4) * 2.0**-23
    grow = np.nextafter(np.float32(1 + 2 * g + g * g + 8 * 2.0**-23), np.float32(np.inf))
    shrink = np.nextafter(np.float32(1 - 2 * g - 8 * 2.0**-23), np.float32(-np.inf))
    return grow, shrink, np.float32(4.5 * np.sqrt(float(d)) * 2.0**-74)


@functools.cache
def paying_groups(d: int, k: int, costs: PassCosts) -> float:
    """Largest share of the distances that it pays to compute by groups; 0 where none does.

    Nanoseconds a row as measured on one core (2e5 rows, AVX-512). A row that is looked at where it lies: 0.5, 0.06 a
    feature and 0.019 a feature and centre. By groups: 4 and 0.25 a feature, by which rows lie side by side; 0.7 a
    group, to ask its bound and list its rows; 6 and 0.17 a feature and block of eight centres for each group that it is
    compared with. The distance to its own centre: 0.3 a feature.
    """
    n_groups = group_count(k)
    blocks = -(-k // (n_groups * HALF))
    look = 0.5 + 0.06 * d + 0.019 * d * k
    once = 4.0 + 0.25 * d + 0.7 * n_groups + (0.3 * d if costs.distances else 0.0)
    return max(0.0, (GAIN * look - once) / (n_groups * (6.0 + 0.17 * d * blocks)))
