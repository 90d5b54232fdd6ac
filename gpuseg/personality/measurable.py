"""Whether a trait can be told from these data (room ``personality``; scores, reports and jobs ask it).

A trait is measured only where categories with a weight make up enough of what customers spend, and are enough of them.
It is asked of the reference, never of one customer or a group: what cannot be told of the whole is told of nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from gpuseg.personality.weights import TraitWeights

LEAST_COVERED = Fraction(1, 20)
"""Share of all spend that a trait's categories need."""
LEAST_CATEGORIES = 3
"""Categories with a weight, in which somebody bought, that a trait needs."""
LEAST_WEIGHT = Fraction(1, 10)
"""A weight below this part of the trait's largest does not count as evidence: it could not move a score."""


@dataclass(frozen=True)
class Measurability:
    """What a trait rests on in the reference.

    Parameters
    ----------
    trait : str
        Its name.
    covered : float
        Share of all customers' spend, unmapped lines included, in categories that count.
    categories : tuple of str
        Those that count and in which somebody bought.
    reason : str
        Why it is not measurable, in a sentence; "" if it is.
    """

    trait: str
    covered: float
    categories: tuple[str, ...]
    reason: str

    @property
    def measurable(self) -> bool:
        """Whether there are scores."""
        return not self.reason


def measure(
    weights: TraitWeights,
    categories: Sequence[str],
    bought: Sequence[bool],
    spend: Sequence[int],
    total_spend: int,
) -> tuple[Measurability, ...]:
    """Ask the two questions of every trait.

    Parameters
    ----------
    weights : TraitWeights
        What is scored with.
    categories : sequence of str, length C
        Mapped categories.
    bought : sequence of bool, length C
        Whether anybody of the reference bought in it.
    spend : sequence of int, length C
        Their spend, in any unit.
    total_spend : int
        Spend of all lines in the same unit.
    """
    found = []
    for trait, counts in zip(weights.traits, counting(weights, categories), strict=True):
        used = [c for c in np.flatnonzero(counts).tolist() if bought[c]]
        part = sum(spend[c] for c in used)
        covered = Fraction(part, total_spend) if total_spend > 0 else Fraction(0)
        names = tuple(categories[c] for c in used)
        found.append(Measurability(trait, float(covered), names, _reason(trait, covered, names)))
    return tuple(found)


def measurable_at_most(weights: TraitWeights, categories: Iterable[str]) -> tuple[str, ...]:
    """Traits that could be measured if customers bought in every one of the categories, and enough.

    Parameters
    ----------
    weights : TraitWeights
        What is scored with.
    categories : iterable of str
        Categories that count; without those that are sensitive unless they are opted in.

    Examples
    --------
    >>> weights = TraitWeights.default()
    >>> measurable_at_most(weights, set(weights.categories) - {"pubs_bars", "fines", "gambling"})
    ('conscientiousness', 'extraversion')
    """
    enough = counting(weights, sorted(categories)).sum(axis=1) >= LEAST_CATEGORIES
    return tuple(trait for trait, can in zip(weights.traits, enough.tolist(), strict=True) if can)


def counting(weights: TraitWeights, categories: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which categories count as evidence of each trait: those of some weight beside its largest.

    Parameters
    ----------
    weights : TraitWeights
        What is scored with; the largest weight is that of all categories, whether they are asked for or not.
    categories : sequence of str, length C
        Columns.

    Returns
    -------
    ndarray of bool, shape (T, C)
    """
    size = np.abs(weights.matrix(categories))
    every = np.abs(weights.matrix(weights.categories))
    least = every.max(axis=1, initial=0.0) / LEAST_WEIGHT.denominator
    return np.asarray((size > 0.0) & (size >= least[:, None]))


def _reason(trait: str, covered: Fraction, names: tuple[str, ...]) -> str:
    if len(names) < LEAST_CATEGORIES:
        listed = f" ({', '.join(names)})" if names else ""
        return (
            f"{trait} is not measurable on these data: purchases in {len(names)} of its categories{listed}, "
            f"{LEAST_CATEGORIES} are needed"
        )
    if covered < LEAST_COVERED:
        return (
            f"{trait} is not measurable on these data: its categories cover {float(100 * covered):.2g} % of the spend, "
            f"{float(100 * LEAST_COVERED):g} % are needed"
        )
    return ""
