"""Segments across refits (room ``insight``; jobs call it): stable ids, and who moved where.

Ids become company language, so a refit keeps them: an old segment goes on as the new one whose centre lies
nearest, and an id that is gone is never given to another segment.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError
from gpuseg.insight.model import SegmentModel
from gpuseg.quality.agreement import contingency

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Matching:
    """Which segments of a refit are which old ones.

    Parameters
    ----------
    ids : tuple of int
        Id of each new segment, in the order of the new centres.
    kept : tuple of int
        Old ids that go on.
    created : tuple of int
        New ids, never used before.
    vanished : tuple of int
        Old ids without a successor.
    used_ids : tuple of int
        Every id that the line of models has used by now.
    """

    ids: tuple[int, ...]
    kept: tuple[int, ...]
    created: tuple[int, ...]
    vanished: tuple[int, ...]
    used_ids: tuple[int, ...]


@dataclass(frozen=True)
class Migration:
    """Customers by segment before and after.

    Parameters
    ----------
    before, after : tuple of int
        Segment ids, ascending: rows and columns.
    counts : ndarray of int64, shape (len(before), len(after))
        Customers in both.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    counts: Int64

    @property
    def stayed(self) -> int:
        """Customers whose id is the same."""
        return sum(
            int(self.counts[row, self.after.index(segment)])
            for row, segment in enumerate(self.before)
            if segment in self.after
        )


def match_centres(
    old: Float64, old_ids: Sequence[int], new: Float64, *, used_ids: Collection[int] = ()
) -> Matching:
    """Give new segments the ids of the old ones.

    Parameters
    ----------
    old : ndarray of float64, shape (k, d)
        Centres before, features on one scale.
    old_ids : sequence of int, length k
        Their ids.
    new : ndarray of float64, shape (m, d)
        Centres now, on the same scale.
    used_ids : collection of int
        Ids that were used before and are gone; none is given again.

    Returns
    -------
    Matching

    Raises
    ------
    InputError
        The shapes do not fit.

    Notes
    -----
    Pairs have the least sum of squared distances (Hungarian method), each distance capped at that from the old centre
    to its nearest other old centre. A pair at the cap is none: a centre that moved as far as to the next segment is
    another segment, with an id of its own. A single old segment has no cap.

    References
    ----------
    H. W. Kuhn. The Hungarian method for the assignment problem (1955).

    Examples
    --------
    >>> old, new = np.array([[0.0], [5.0]]), np.array([[5.5], [0.5], [9.0]])
    >>> match_centres(old, [1, 2], new).ids
    (2, 1, 3)
    """
    from scipy.optimize import linear_sum_assignment

    if old.ndim != 2 or new.ndim != 2 or old.shape[1] != new.shape[1] or len(old) != len(old_ids):
        raise InputError(
            f"old centres of shape {old.shape}, new ones of shape {new.shape}, {len(old_ids)} old ids; "
            "give centres of the same features, and one id an old centre"
        )
    cost = _squared_distances(old, new)
    between = _squared_distances(old, old)
    np.fill_diagonal(between, np.inf)
    cap = between.min(axis=1, initial=np.inf)
    capped = np.minimum(cost, np.where(np.isinf(cap), cost.max(initial=0.0) + 1.0, cap)[:, None])
    pairs = {
        int(column): int(row)
        for row, column in zip(*linear_sum_assignment(capped), strict=True)
        if cost[row, column] < cap[row]
    }
    used = {*used_ids, *old_ids}
    next_id = max(used, default=0) + 1
    ids = []
    for column in range(len(new)):
        if column in pairs:
            ids.append(int(old_ids[pairs[column]]))
        else:
            ids.append(next_id)
            next_id += 1
    kept = tuple(sorted({*ids} & {*old_ids}))
    return Matching(
        ids=tuple(ids),
        kept=kept,
        created=tuple(sorted({*ids} - {*old_ids})),
        vanished=tuple(sorted({*old_ids} - {*ids})),
        used_ids=tuple(sorted(used | {*ids})),
    )


def _squared_distances(rows: Float64, columns: Float64) -> Float64:
    difference = rows[:, None, :] - columns[None, :, :]
    return np.asarray((difference * difference).sum(axis=2))


def match_model(
    old: SegmentModel, centres: Float64, features: Sequence[str], clusters: Sequence[int]
) -> Matching:
    """Give the clusters of a refit the ids of an old model.

    Parameters
    ----------
    old : SegmentModel
        The model before.
    centres : ndarray of float64, shape (m, d)
        New centres in units of the features.
    features : sequence of str, length d
        The features of the refit.
    clusters : sequence of int
        Rows of ``centres``, in the order in which ids are wanted.

    Returns
    -------
    Matching
        Ids in the order of ``clusters``.

    Raises
    ------
    InputError
        Old and new model share no feature.

    Notes
    -----
    Centres are compared in the features that both have, on the scale of the old model.
    """
    shared = [name for name in features if name in old.feature_names]
    if not shared:
        raise InputError(
            f"the refit has no feature of the model before ({', '.join(old.feature_names)}), so no segment can keep "
            "its id; run without --refresh"
        )
    before = [old.feature_names.index(name) for name in shared]
    now = [list(features).index(name) for name in shared]
    scale = old.scaler.scale_[before]
    return match_centres(
        old.centres[:, before] / scale,
        [segment.segment_id for segment in old.segments],
        np.asarray(centres, np.float64)[list(clusters)][:, now] / scale,
        used_ids=old.used_ids,
    )


def migration(before: npt.ArrayLike, after: npt.ArrayLike) -> Migration:
    """Who moved where.

    Parameters
    ----------
    before, after : array_like of int, shape (n,)
        Segment of the same customers, before and after.

    Returns
    -------
    Migration

    Raises
    ------
    InputError
        There is no customer, or the lengths differ.
    """
    old, new = np.asarray(before, np.int64), np.asarray(after, np.int64)
    counts = contingency(old, new)
    return Migration(tuple(np.unique(old).tolist()), tuple(np.unique(new).tolist()), counts)
