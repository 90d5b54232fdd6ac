"""Which group a customer is in, and why (room ``personality``; message groups call it).

Pure functions of arrays: a customer's group is a function of its scores, its evidence and its previous group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class MessageGroup:
    """One group: either bounds or a centre.

    Parameters
    ----------
    name : str
        What people call it.
    bounds : tuple of (str, float or None, float or None)
        Trait, lowest and highest score, both included; None for no bound.
    centre : tuple of (str, float)
        Trait and score.
    """

    name: str
    bounds: tuple[tuple[str, float | None, float | None], ...] = ()
    centre: tuple[tuple[str, float], ...] = ()

    @property
    def traits(self) -> tuple[str, ...]:
        """The traits that it goes by."""
        return tuple(bound[0] for bound in self.bounds) or tuple(trait for trait, _ in self.centre)

    def words(self) -> str:
        """What it asks for."""
        if self.centre:
            return "nearest to " + ", ".join(f"{trait} {score:g}" for trait, score in self.centre)
        asked = []
        for trait, low, high in self.bounds:
            asked += [f"{trait} at least {low:g}"] if low is not None else []
            asked += [f"{trait} at most {high:g}"] if high is not None else []
        return " and ".join(asked)


class Decided(NamedTuple):
    """The group of each customer, and what speaks for it; arrays of shape (n,).

    Parameters
    ----------
    group : ndarray of int32
        Number of the group; that of the fallback is the number of groups.
    second : ndarray of int32
        The nearest of the other groups, -1 for none.
    lead : ndarray of float64
        Points by which the group is nearer than the second; negative where a group is kept; NaN without a second.
    reason : ndarray of int32
        Row in ``reasons``.
    reasons : tuple of str
        In words.
    """

    group: Int32
    second: Int32
    lead: Float64
    reason: Int32
    reasons: tuple[str, ...]

    def words(self) -> pa.DictionaryArray:
        """The reason of each customer."""
        return pa.DictionaryArray.from_arrays(pa.array(self.reason), pa.array(self.reasons, pa.string()))


class _Reasons:
    """Few words for many customers."""

    def __init__(self, n: int) -> None:
        self.codes = np.full(n, -1, np.int32)
        self.words: dict[str, int] = {}

    def put(self, rows: Flags | npt.NDArray[np.intp], words: str) -> None:
        """Say this of these customers, instead of what was said before."""
        if rows.any() if rows.dtype == np.bool_ else len(rows):
            self.codes[rows] = self.words.setdefault(words, len(self.words))


def decide(
    groups: tuple[MessageGroup, ...],
    traits: tuple[str, ...],
    margin: float,
    least_evidence: float,
    values: Float64,
    evidence: Float64,
    before: Int32,
    *,
    reviewed: bool,
) -> Decided:
    """Group, second best, lead and reason of each customer.

    Parameters
    ----------
    groups : tuple of MessageGroup
        All with bounds, or all with centres.
    traits : tuple of str
        Columns of ``values``.
    margin, least_evidence : float
        As ``MessageGroups`` has them.
    values : ndarray of float64, shape (n, len(traits))
        Scores, NaN where not measurable.
    evidence : ndarray of float64, shape (n,)
        Decayed transactions.
    before : ndarray of int32, shape (n,)
        Previous group, -1 for none.
    reviewed : bool
        Whether groups may change.
    """
    n = len(values)
    group, second = np.full(n, len(groups), np.int32), np.full(n, -1, np.int32)
    lead, led = np.full(n, np.nan), np.zeros(n, np.bool_)
    missing = ~np.isfinite(values)
    unknown, thin = missing.any(axis=1), ~(evidence >= least_evidence)
    for start in range(0, n, _BLOCK_ROWS):
        rows = np.flatnonzero(~(unknown | thin)[start : start + _BLOCK_ROWS]) + start
        if len(rows):
            near = _nearness(groups, traits, values[rows])
            found = _nearest(near, before[rows], margin, reviewed=reviewed)
            group[rows], second[rows], lead[rows], led[rows] = found
    reasons = _Reasons(n)
    if reviewed:
        _explain(groups, traits, values, group, second, reasons)
        kept = led & (group == before)
        reasons.put(kept, f"kept: no other group is nearer by more than {margin:g}")
        reasons.put(thin, f"thin evidence: fewer than {least_evidence:g} purchases")
        for names, lacking in _missing_together(traits, missing):
            reasons.put(lacking, f"not measurable: {', '.join(names)}")
    else:
        new = before < 0
        group = np.where(new, len(groups), before).astype(np.int32)
        second[new], lead[new] = -1, np.nan
        reasons.put(~new, "no review on this day: kept")
        reasons.put(new, "no review since this customer is known")
    return Decided(group, second, lead, reasons.codes, tuple(reasons.words))


def _nearest(
    near: Float64, before: Int32, margin: float, *, reviewed: bool
) -> tuple[Int32, Int32, Float64, Flags]:
    """Group, second best, its lead, and whether another one is nearer, of customers whose scores can be used."""
    rows = np.arange(len(near))
    best = np.argmax(near, axis=1)  # the first of equals
    known = before >= 0
    kept = np.where(known, before, best)
    stays = near[rows, best] - near[rows, kept] <= margin
    group = np.where(stays, kept, best) if reviewed else kept
    others = near[:, :-1].copy()
    among = group < others.shape[1]
    others[rows[among], group[among]] = -np.inf
    second = np.argmax(others, axis=1)
    alone = others[rows, second] == -np.inf  # one group, and the customer is in it
    none = alone | (near[rows, group] == -np.inf)
    with np.errstate(invalid="ignore"):
        lead = np.where(none, np.nan, near[rows, group] - near[rows, second])
    second = np.where(alone, -1, second)
    return group.astype(np.int32), second.astype(np.int32), lead, near[rows, best] > near[rows, group]


def _nearness(groups: tuple[MessageGroup, ...], traits: tuple[str, ...], values: Float64) -> Float64:
    """Points by which each group and the fallback are near, shape (n, groups + 1)."""
    column = {trait: i for i, trait in enumerate(traits)}
    near = np.empty((len(values), len(groups) + 1))
    for number, group in enumerate(groups):
        if group.centre:
            squares = np.zeros(len(values))
            for trait, score in group.centre:
                away = values[:, column[trait]] - score
                squares = squares + away * away
            near[:, number] = -np.sqrt(squares)
            continue
        inside: Float64 = np.full(len(values), np.inf)
        for trait, low, high in group.bounds:
            own = values[:, column[trait]]
            inside = inside if low is None else np.minimum(inside, own - low)
            inside = inside if high is None else np.minimum(inside, high - own)
        near[:, number] = inside
    # The fallback is as near as a bound; among centres nobody is in it for being nowhere.
    near[:, -1] = -np.inf if groups[0].centre else 0.0
    return near


def _explain(
    groups: tuple[MessageGroup, ...],
    traits: tuple[str, ...],
    values: Float64,
    group: Int32,
    second: Int32,
    reasons: _Reasons,
) -> None:
    """Bounds that are met, or the trait in which a centre is nearer than the second best by the largest square."""
    column = {trait: i for i, trait in enumerate(traits)}
    reasons.put(group == len(groups), "within the bounds of no group")
    for number, about in enumerate(groups):
        here = group == number
        reasons.put(here, about.words())
        if not about.centre:
            continue
        own = dict(about.centre)
        for other, rival in enumerate(groups):
            rows = np.flatnonzero(here & (second == other))
            away = values[rows]
            gains = [
                _square(away[:, column[trait]] - score) - _square(away[:, column[trait]] - own[trait])
                for trait, score in rival.centre
            ]
            most = np.argmax(np.stack(gains), axis=0)
            for index, (trait, _) in enumerate(rival.centre):
                reasons.put(rows[most == index], f"nearest to its centre, above all in {trait}")


def _square(x: Float64) -> Float64:
    return x * x


def _missing_together(traits: tuple[str, ...], missing: Flags) -> Iterable[tuple[list[str], Flags]]:
    """Customers that lack the same traits."""
    code = np.zeros(len(missing), np.int64)
    for column in range(missing.shape[1]):
        code |= missing[:, column].astype(np.int64) << column
    for value in np.unique(code[code > 0]).tolist():
        yield [trait for i, trait in enumerate(traits) if value >> i & 1], code == value
