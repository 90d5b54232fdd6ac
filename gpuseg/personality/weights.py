"""Weights of categories for traits, as data (room ``personality``; the scorer, calibration and generator use them).

A weight says how much spending more than others in a category speaks for a trait, and where that is known from. The
shipped weights are signs that studies found, nothing finer; whoever knows better brings a file
(:mod:`gpuseg.personality.weight_files`) or calibrates on a survey.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

OCEAN = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
"""The Big Five, in the order of the columns."""
EVIDENCE_CLASSES = ("measured", "rated", "seasonal", "calibrated", "planted", "assumed")
"""Where a weight may come from: spend and trait of the same people; raters' opinion of a category; a finding about a
time of year, which is no category; a survey of one's own customers; made-up data; a decision without a study."""
HEAVIEST = 1e6
"""Largest magnitude of a weight."""

_CLASSES = {"A_measured_bank": "measured", "B_rated_category": "rated"}
_BASE = {"measured": 1.0, "rated": 0.5, "seasonal": 0.0}


@dataclass(frozen=True)
class TraitWeight:
    """One line of a weight file.

    Parameters
    ----------
    category : str
        As the category map names it.
    trait : str
        What it speaks for.
    weight : float
        Positive: more spend in it, more of the trait.
    source : str
        The study, survey or decision that it rests on.
    evidence_class : str
        One of :data:`EVIDENCE_CLASSES`.
    verified : bool
        Whether somebody has checked the source; where nobody has, the weight is 0.
    """

    category: str
    trait: str
    weight: float
    source: str
    evidence_class: str = "assumed"
    verified: bool = True

    def problem(self) -> str | None:
        """What is wrong with it, in a sentence; None if nothing is."""
        for name in ("category", "trait", "source"):
            value = getattr(self, name)
            if not value.strip() or value != value.strip():
                return f"{name} {value!r} is empty or has blanks around it; name it"
        if self.evidence_class not in EVIDENCE_CLASSES:
            return f"evidence class {self.evidence_class!r} is not known; use one of {', '.join(EVIDENCE_CLASSES)}"
        if not abs(self.weight) <= HEAVIEST:  # NaN is not
            return f"weight {self.weight!r} is no number between -{HEAVIEST:g} and {HEAVIEST:g}"
        if self.weight and not self.verified:
            return (
                f"weight {self.weight:g} of a source that is not verified; check the source, or let it be 0"
            )
        if self.weight and self.evidence_class == "seasonal":
            return f"weight {self.weight:g} of a season, which is no category; let it be 0"
        return None


@dataclass(frozen=True)
class TraitWeights:
    """Weights of a construct: its traits, and what each category says about them.

    Parameters
    ----------
    construct : str
        What the traits are of: "OCEAN", or a name of one's own.
    traits : tuple of str
        In the order of the columns; distinct.
    entries : tuple of TraitWeight
        At most one a category and trait; every trait is one of ``traits``.

    Raises
    ------
    InputError
        Names the entry and what is wrong with it.
    """

    construct: str
    traits: tuple[str, ...]
    entries: tuple[TraitWeight, ...]

    def __post_init__(self) -> None:
        if not self.traits or len(set(self.traits)) != len(self.traits):
            raise InputError(f"traits {list(self.traits)} are none or repeated; name each trait once")
        seen: set[tuple[str, str]] = set()
        for number, entry in enumerate(self.entries):
            named = f"entry {number} ({entry.category!r}, {entry.trait!r})"
            problem = entry.problem()
            if problem is not None:
                raise InputError(f"{named}: {problem}")
            if entry.trait not in self.traits:
                raise InputError(f"{named}: the trait is none of {', '.join(self.traits)}")
            if (entry.category, entry.trait) in seen:
                raise InputError(f"{named}: category and trait are there already; keep one weight")
            seen.add((entry.category, entry.trait))

    @classmethod
    def default(cls) -> TraitWeights:
        """The Big Five from the evidence that ships with gpuseg (``gpuseg/data/spend_trait_evidence.csv``).

        Returns
        -------
        TraitWeights
            Signs of published findings: 1 where spend and trait of the same people were measured, 0.5 where raters
            judged a category, 0 where nobody has checked the paper or the finding is about a season (these are
            listed); each trait divided by its length.

        Notes
        -----
        With sensitive categories left out, as they are unless opted in, only two traits have the three categories that
        a score takes: extraversion and conscientiousness. Openness has one, agreeableness and neuroticism two.

        Examples
        --------
        >>> weights = TraitWeights.default()
        >>> weights.traits
        ('openness', 'conscientiousness', 'extraversion', 'agreeableness', 'neuroticism')
        >>> weights.matrix(["restaurants", "savings_investments"])[2].round(3).tolist()
        [0.535, 0.0]
        """
        return _default()

    @classmethod
    def of(cls, construct: str, rows: Iterable[tuple[str, str, float, str, str, bool]]) -> TraitWeights:
        """Weights of entries as tuples, such as those of :func:`gpuseg.datasets.make_personality`.

        Parameters
        ----------
        construct : str
            What the traits are of.
        rows : iterable of tuple
            The fields of :class:`TraitWeight`; traits in the order in which they first come.

        Raises
        ------
        InputError
            Names the entry and what is wrong with it.
        """
        entries = tuple(TraitWeight(*row) for row in rows)
        return cls(construct, tuple(dict.fromkeys(entry.trait for entry in entries)), entries)

    @classmethod
    def from_csv(
        cls, path: str | Path, construct: str | None = None, *, categories: Collection[str] | None = None
    ) -> TraitWeights:
        """Read a weight file: a line a category and trait, as :mod:`gpuseg.personality.weight_files` describes it.

        Parameters
        ----------
        path : str or Path
            The file.
        construct : str, optional
            What the traits are of; default: the file's name without its ending.
        categories : collection of str, optional
            Categories that there are; any other is then a mistake.

        Returns
        -------
        TraitWeights
            Traits in the order in which the file comes to them; weights as they stand there.

        Raises
        ------
        SourceError
            The file cannot be read.
        SchemaError
            Lists every problem with its line.
        """
        from gpuseg.personality import weight_files

        return weight_files.read(Path(path), construct, categories)

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories with a weight that is not 0, ascending."""
        return tuple(sorted({entry.category for entry in self.entries if entry.weight}))

    @property
    def unused(self) -> tuple[TraitWeight, ...]:
        """Entries of weight 0: listed, so that what was left out can be seen."""
        return tuple(entry for entry in self.entries if not entry.weight)

    @property
    def digest(self) -> str:
        """SHA-256 of all that scores depend on: construct, traits, and every weight that is not 0, in any order."""
        used = sorted((e.category, e.trait, e.weight.hex()) for e in self.entries if e.weight)
        text = json.dumps([self.construct, self.traits, used], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def matrix(self, categories: Sequence[str]) -> npt.NDArray[np.float64]:
        """Weights by trait and category; categories that are not asked for are left out.

        Parameters
        ----------
        categories : sequence of str, length C
            Columns.

        Returns
        -------
        ndarray of float64, shape (T, C)
            0 where there is no weight.
        """
        column = {category: c for c, category in enumerate(categories)}
        row = {trait: t for t, trait in enumerate(self.traits)}
        table = np.zeros((len(self.traits), len(categories)))
        for entry in self.entries:
            if entry.category in column:
                table[row[entry.trait], column[entry.category]] = entry.weight
        return table

    def without(self, categories: Iterable[str]) -> TraitWeights:
        """The same weights less those of some categories.

        Parameters
        ----------
        categories : iterable of str
            Categories that shall say nothing; those without a weight change nothing.
        """
        out = set(categories)
        return replace(self, entries=tuple(e for e in self.entries if e.category not in out))

    def of_unit_length(self) -> TraitWeights:
        """The same weights, each trait's divided by the root of the sum of their squares, in order of the entries."""
        squares = dict.fromkeys(self.traits, 0.0)
        for entry in self.entries:
            squares[entry.trait] += entry.weight * entry.weight
        length = {trait: math.sqrt(total) or 1.0 for trait, total in squares.items()}
        return replace(
            self, entries=tuple(replace(e, weight=e.weight / length[e.trait]) for e in self.entries)
        )


@cache
def _default() -> TraitWeights:
    text = resources.files("gpuseg").joinpath("data", "spend_trait_evidence.csv").read_text(encoding="utf-8")
    entries = tuple(_finding(row) for row in csv.DictReader(text.splitlines()) if row["trait"] in OCEAN)
    return TraitWeights("OCEAN", OCEAN, entries).of_unit_length()


def _finding(row: dict[str, str]) -> TraitWeight:
    """A published sign as a weight."""
    seasonal = row["category"].endswith("_season_total")
    evidence_class = "seasonal" if seasonal else _CLASSES[row["evidence_class"]]
    verified = row["verified"] == "yes"
    size = _BASE[evidence_class] if verified else 0.0
    weight = -size if row["sign"] == "-" and size else size
    return TraitWeight(row["category"], row["trait"], weight, row["source"], evidence_class, verified)
