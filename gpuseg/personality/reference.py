"""The frozen reference that scores are relative to (room ``personality``; scoring and the facade use it).

Shares, means and deviations of a population at one time. Scores of later records are still relative to it, so nobody
moves without acting; a new reference is made when it is asked for.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.moments import Moments
from gpuseg.core.overindex import TraitTerms
from gpuseg.core.promise import CONTRACT
from gpuseg.engines.base import Engine
from gpuseg.engines.choose import choose_engine
from gpuseg.errors import ContractError, InputError, SourceError, TooFewRowsError
from gpuseg.personality import reference_sums as sums
from gpuseg.personality.evidence import Evidence
from gpuseg.personality.measurable import Measurability, measure
from gpuseg.personality.weights import TraitWeights

logger = logging.getLogger("gpuseg.personality")

Float64 = npt.NDArray[np.float64]
Parts = Callable[[], Iterable[Evidence]]

SMOOTHING = 5.0
"""Transactions of the population's shares that are added to everybody's: with fewer of their own, customers look like
the population, and a category in which they did not buy has a logarithm."""
SMOOTHINGS = (2.0**-10, 2.0**20)
"""Least and most; beyond, over-indices leave the range of their sums."""
SHRINKAGE = 20.0
"""Transactions at which half of a score is the customer's own: someone with one purchase a week is there after five
months, and with 200 transactions nine tenths are. It stands for the ratio of sampling variance to variance between
customers."""

_ARRAYS = ("share", "mean", "sd", "trait_mean", "trait_sd")
_DIGESTS = ("weights_digest", "map_digest", "decay_digest")


@dataclass(frozen=True, eq=False)
class Reference:
    """What scores are relative to.

    Parameters
    ----------
    categories : tuple of str
        The C mapped categories, ascending.
    construct : str
        What the traits are of.
    traits : tuple of str
        The T traits.
    share : ndarray of float64, shape (C,)
        b: share of each category in all transactions.
    mean, sd : ndarray of float64, shape (C,)
        mu and sigma of the log over-index.
    trait_mean, trait_sd : ndarray of float64, shape (T,)
        Of t.
    histogram : ndarray of int64, shape (T, 4096)
        Customers by standing.
    n_customers : int
        Customers with a transaction in a mapped category.
    smoothing, shrinkage : float
        a and kappa.
    measurability : tuple of Measurability
        What each trait rests on.
    weights_digest, map_digest, decay_digest : str
        Of what it was made with.
    version : int
        1 for the first, one more for each that replaced it.
    """

    categories: tuple[str, ...]
    construct: str
    traits: tuple[str, ...]
    share: Float64
    mean: Float64
    sd: Float64
    trait_mean: Float64
    trait_sd: Float64
    histogram: npt.NDArray[np.int64]
    n_customers: int
    smoothing: float
    shrinkage: float
    measurability: tuple[Measurability, ...]
    weights_digest: str
    map_digest: str = ""
    decay_digest: str = ""
    version: int = 1

    def terms(self, weights: TraitWeights) -> TraitTerms:
        """What kernels score with.

        Parameters
        ----------
        weights : TraitWeights
            Those that the reference was made with.

        Raises
        ------
        ContractError
            They are others.
        """
        if weights.digest != self.weights_digest:
            msg = (
                f"these weights of {weights.construct} are not those that the reference was made with; make a new "
                f"reference with them"
            )
            raise ContractError(msg)
        table = weights.matrix(self.categories)
        return TraitTerms.of(self.smoothing, self.share, self.mean, self.sd, table)

    @property
    def alike(self) -> tuple[str, ...]:
        """Measurable traits in which every customer of the reference stands alike; all scores are 50."""
        stands = zip(self.measurability, self.trait_sd.tolist(), strict=True)
        return tuple(found.trait for found, sd in stands if found.measurable and sd == 0.0)

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it."""
        text = json.dumps(self._facts(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """As text: floats in shortest form, which is exact."""
        facts = self._facts() | {"digest": self.digest, "contract": CONTRACT}
        return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Reference:
        """The reference of such a text.

        Parameters
        ----------
        text : str
            From :meth:`to_json`.

        Raises
        ------
        InputError
            It is no such text.
        ContractError
            It was made under another contract, or changed since.
        """
        try:
            facts = json.loads(text)
            contract, digest = facts.pop("contract"), facts.pop("digest")
            found = cls._of_facts(facts)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise InputError(f"this is no reference of gpuseg ({error}); save one with to_json") from None
        if contract != CONTRACT:
            msg = f"the reference was made under contract {contract}, this is {CONTRACT}; make it anew"
            raise ContractError(msg)
        if found.digest != digest:
            raise ContractError(
                "the reference was changed after it was made; make it anew, or take a copy of it"
            )
        return found

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Parameters
        ----------
        path : str or Path
            The file.
        """
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Reference:
        """Read it from JSON.

        Parameters
        ----------
        path : str or Path
            The file.

        Raises
        ------
        SourceError
            It cannot be read.
        InputError
            It is none.
        ContractError
            It was made under another contract, or changed since.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path}: cannot be read ({error}); name the file of a reference") from None
        return cls.from_json(text)

    def __eq__(self, other: object) -> bool:
        return self._facts() == other._facts() if isinstance(other, Reference) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def _facts(self) -> dict[str, Any]:
        """Everything as JSON has it; of the histogram the bins that are not empty."""
        facts: dict[str, Any] = {name: getattr(self, name).tolist() for name in _ARRAYS}
        facts |= {name: getattr(self, name) for name in (*_DIGESTS, "construct", "n_customers", "version")}
        facts |= {"smoothing": self.smoothing, "shrinkage": self.shrinkage}
        facts |= {"categories": list(self.categories), "traits": list(self.traits)}
        facts["histogram"] = [
            [[b, int(row[b])] for b in np.flatnonzero(row).tolist()] for row in self.histogram
        ]
        facts["measurability"] = [
            [found.trait, found.covered, list(found.categories), found.reason] for found in self.measurability
        ]
        return facts

    @classmethod
    def _of_facts(cls, facts: dict[str, Any]) -> Reference:
        histogram = np.zeros((len(facts["histogram"]), sums.BINS), np.int64)
        for t, pairs in enumerate(facts["histogram"]):
            for b, customers in pairs:
                histogram[t, b] = customers
        measured = tuple(
            Measurability(trait, covered, tuple(names), reason)
            for trait, covered, names, reason in facts["measurability"]
        )
        lists: dict[str, Any] = {name: tuple(facts[name]) for name in ("categories", "traits")}
        arrays: dict[str, Any] = {name: np.array(facts[name], np.float64) for name in _ARRAYS}
        plain = {
            name: facts[name]
            for name in (*_DIGESTS, "construct", "n_customers", "version", "smoothing", "shrinkage")
        }
        return cls(**lists, **arrays, **plain, histogram=histogram, measurability=measured)


def make_reference(
    parts: Parts,
    weights: TraitWeights,
    *,
    smoothing: float = SMOOTHING,
    shrinkage: float = SHRINKAGE,
    map_digest: str = "",
    decay_digest: str = "",
    version: int = 1,
    engine: Engine | None = None,
) -> Reference:
    """Make a reference of a population.

    Parameters
    ----------
    parts : callable
        Gives the evidence of all customers, in parts; called once a pass, four times in all.
    weights : TraitWeights
        What is scored with.
    smoothing : float, default 5
        a: transactions of the population's shares that are added to everybody's.
    shrinkage : float, default 20
        kappa: transactions at which half of a score is the customer's own.
    map_digest, decay_digest : str
        Of the category map and the decay that the evidence was made with.
    version : int, default 1
        Its number.
    engine : Engine, optional
        Does the work; default: what ``engine="auto"`` takes. It changes no bit.

    Returns
    -------
    Reference
        The same bits for any split of the customers and any engine.

    Raises
    ------
    InputError
        ``smoothing`` or ``shrinkage`` is out of range, or parts have different categories.
    TooFewRowsError
        No customer has a transaction in a mapped category.
    RangeError
        A count or an amount is too large for the sums.

    Notes
    -----
    Passes: (1) shares b; (2) mean and deviation of L_ic, the log over-index; (3) those of t; (4) the histogram of
    standings z n / (n + kappa), from which percentiles are read. Sums are integers: counts in units of 2**-30, L in
    units of 2**-33, t in 40 bits by its own bound. Customers without a mapped transaction count in none.

    A category that nobody bought (b = 0), or in which all customers are alike (sigma = 0), says nothing and is left
    out; if that leaves a measurable trait without any difference, every score is 50 and a warning is logged.
    """
    least, most = SMOOTHINGS
    if not least <= smoothing <= most:
        raise InputError(
            f"smoothing={smoothing!r} is not between {least:g} and {most:g} transactions; 5 is common"
        )
    if not 0.0 < shrinkage < float("inf"):
        raise InputError(f"shrinkage={shrinkage!r} is no number of transactions above 0; 20 is common")
    by = choose_engine().build() if engine is None else engine
    categories, shares = _shares(parts)
    b = shares.shares()
    n_categories = len(categories)
    checked = _Checked(parts, categories)
    index = reduce(
        sums.IndexSums.merge,
        (sums.partition_indices(part, b, smoothing, by) for part in checked),
        sums.IndexSums.zero(n_categories),
    )
    mu, sigma = index.moments.mean(), np.sqrt(index.moments.variance())
    terms = TraitTerms.of(smoothing, b, mu, sigma, weights.matrix(categories))
    scales = sums.trait_scales(terms, index.largest)
    moments = reduce(
        Moments.merge,
        (sums.partition_traits(part, terms, scales, by) for part in checked),
        Moments.zero(scales),
    )
    mean, sd = moments.mean(), np.sqrt(moments.variance())
    histogram = np.zeros((terms.n_traits, sums.BINS), np.int64)
    for part in checked:
        histogram += sums.partition_histogram(part, terms, mean, sd, shrinkage, by)
    spend, (total_spend,) = shares.spend.to_ints(), shares.total_spend.to_ints()
    measured = measure(weights, categories, (b > 0.0).tolist(), spend, total_spend)
    found = Reference(
        categories, weights.construct, weights.traits, b, mu, sigma, mean, sd, histogram, shares.n_customers,
        smoothing, shrinkage, measured, weights.digest, map_digest, decay_digest, version,
    )  # fmt: skip
    _say(found)
    return found


class _Checked:
    """The parts, each checked to have the same categories: they are asked for anew in each pass."""

    def __init__(self, parts: Parts, categories: tuple[str, ...]) -> None:
        self._parts, self._categories = parts, categories

    def __iter__(self) -> Iterator[Evidence]:
        for part in self._parts():
            require_categories(part, self._categories)
            yield part


def require_categories(evidence: Evidence, categories: tuple[str, ...]) -> None:
    """Refuse evidence of other categories.

    Raises
    ------
    InputError
        Names one that only one of them has.
    """
    if evidence.categories != categories:
        other = sorted(set(evidence.categories) ^ set(categories)) or ["their order"]
        msg = f"evidence and reference have different categories ({other[0]!r}); make both with one category map"
        raise InputError(msg)


def _shares(parts: Parts) -> tuple[tuple[str, ...], sums.ShareSums]:
    """Pass 1, which also tells the categories."""
    categories: tuple[str, ...] = ()
    found: sums.ShareSums | None = None
    for part in parts():
        if found is None:
            categories, found = part.categories, sums.ShareSums.zero(len(part.categories))
        require_categories(part, categories)
        found = found.merge(sums.partition_shares(part))
    if found is None or not found.n_customers or not any(found.count.to_ints()):
        msg = "no customer has a transaction in a mapped category, so scores are relative to nothing; check the map"
        raise TooFewRowsError(msg)
    return categories, found


def _say(reference: Reference) -> None:
    for found in reference.measurability:
        if not found.measurable:
            logger.info("%s", found.reason)
    if reference.alike:
        logger.warning(
            "all %d customers stand alike in %s: every score is 50",
            reference.n_customers,
            ", ".join(reference.alike),
        )
