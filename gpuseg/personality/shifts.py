"""What an update and a refresh did to scores (room ``personality``; the facade returns these records)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gpuseg.personality.moves import Moves
from gpuseg.personality.scoring import Scores

FAR = 5.0
"""Points, half a standard deviation: who moved by as much is counted."""


@dataclass(frozen=True, eq=False)
class Updated:
    """What new records did.

    Parameters
    ----------
    n_changed : int
        Customers with new records; nobody else moved.
    n_new : int
        Those of them who had none before.
    moved : Moves
        Their scores before and after.
    customer : str
        Name of the customers' column.
    """

    n_changed: int
    n_new: int
    moved: Moves
    customer: str

    def moves(self) -> pa.Table:
        """Who moved, by how much, and why: see :meth:`gpuseg.personality.moves.Moves.to_arrow`."""
        return self.moved.to_arrow(self.customer)


@dataclass(frozen=True)
class TraitShift:
    """By how much a new reference moved the scores of one trait.

    Parameters
    ----------
    trait : str
        Its name.
    n : int
        Customers with a score under both references.
    mean, mean_absolute, largest : float
        Of the new score less the old one; NaN where there is none.
    n_far : int
        Customers who moved by 5 points or more.
    """

    trait: str
    n: int
    mean: float
    mean_absolute: float
    largest: float
    n_far: int


@dataclass(frozen=True)
class Refreshed:
    """What a new reference did.

    Parameters
    ----------
    version : int
        Of the new reference.
    traits : tuple of TraitShift
        In the order of the traits.
    """

    version: int
    traits: tuple[TraitShift, ...]

    def to_arrow(self) -> pa.Table:
        """One row a trait."""
        return pa.Table.from_pylist([vars(one) for one in self.traits])


def shift_between(pairs: Iterable[tuple[Scores, Scores]], traits: tuple[str, ...], version: int) -> Refreshed:
    """Compare scores of the same customers, part by part.

    Parameters
    ----------
    pairs : iterable of (Scores, Scores)
        Under the old and the new reference.
    traits : tuple of str
        All traits.
    version : int
        Of the new reference.

    Notes
    -----
    ``math.fsum`` rounds once, so the means are the same for any split of the customers.
    """
    moved: list[list[np.ndarray]] = [[] for _ in traits]
    for old, new in pairs:
        for t in range(len(traits)):
            change = new.values[:, t] - old.values[:, t]
            moved[t].append(change[~np.isnan(change)])
    return Refreshed(
        version,
        tuple(_shift(trait, np.concatenate(parts)) for trait, parts in zip(traits, moved, strict=True)),
    )


def _shift(trait: str, change: np.ndarray) -> TraitShift:
    n = change.size
    if not n:
        return TraitShift(trait, 0, math.nan, math.nan, math.nan, 0)
    size = np.abs(change)
    return TraitShift(
        trait,
        n,
        math.fsum(change.tolist()) / n,
        math.fsum(size.tolist()) / n,
        float(size.max()),
        int(np.count_nonzero(size >= FAR)),
    )
