"""What estimated traits may not be used for (room ``personality``; message groups ask before they look at a score).

Neuroticism, and spend that is sensitive (gambling, fines and debt above all), choose no message unless somebody opts
in to it by name and says for what purpose. The rule goes by names of columns in any spelling, by the categories that a
score rests on, and by copies: a column that is another one under a new name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.customers.sensitive import KINDS, sensitive_kind
from gpuseg.errors import InputError
from gpuseg.personality.category_map import study_categories
from gpuseg.personality.weights import TraitWeights

NOT_FOR = "Estimated. Not for eligibility, price, credit or employment."
"""Stands with every result."""

# Beginnings of words that mean neuroticism or its opposite; folded: lower case, without accents.
_STEMS = ("neurot", "nevrot", "anxi", "angst", "depress", "vulnerab")
_PAIRS = (("emotional", "stab"), ("emotional", "instab"), ("negative", "emotional"), ("emotional", "unstab"))
_LETTER = re.compile(r"n(?: (?:t|z|score|percentile|trait))?")


_WORD = re.compile(r"[^\W\d_]{2,}")


def says_something(text: str | None, words: int = 2) -> bool:
    """Whether a text has so many words of letters: blanks, marks and numbers say nothing."""
    return text is not None and len(_WORD.findall(text)) >= words


def barred(name: str) -> str | None:
    """Why a trait, column or category may not choose a message by default.

    Parameters
    ----------
    name : str
        Of a column or category, in any spelling.

    Returns
    -------
    str or None
        The reason in words; None if there is none.

    Examples
    --------
    >>> barred("openness"), barred("Neuroticism_T"), barred("share_gambling")
    (None, 'neuroticism', 'gambling')
    """
    studied = study_categories()
    if name in studied:
        # What the data say of a category of the studies, whatever its name sounds like: a gym is no hospital.
        found = studied[name]
        return KINDS[found] if found else None
    folded = unicodedata.normalize("NFKD", name).casefold()
    words = re.findall(r"[a-z]+", "".join(c for c in folded if not unicodedata.combining(c)))
    joined = "".join(words)
    if any(stem in joined for stem in _STEMS) or _LETTER.fullmatch(" ".join(words)):
        return "neuroticism"
    if any(first in joined and second in joined for first, second in _PAIRS):
        return "neuroticism"
    kind = sensitive_kind(name) or sensitive_kind(" ".join(words))
    return KINDS[kind] if kind else None


def allowed_traits(
    names: Sequence[str], opt_in: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which columns may choose a message, and which are left out."""
    kept = tuple(name for name in names if barred(name) is None or name in opt_in)
    return kept, tuple(name for name in names if name not in kept)


def require_allowed(
    traits: Sequence[str], opt_in: Mapping[str, str], rests_on: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Refuse traits that may not choose a message.

    Parameters
    ----------
    traits : sequence of str
        What messages are chosen by.
    opt_in : mapping of str to str
        Trait or category, and the purpose for which it may choose all the same.
    rests_on : mapping of str to sequence of str, optional
        The spend categories with a weight, for each trait.

    Raises
    ------
    InputError
        A trait is barred and not opted in, or rests on such a category; or an opt-in has no purpose.
    """
    for name, purpose in opt_in.items():
        if not says_something(str(purpose)):
            raise InputError(f"opt_in of {name!r} has the purpose {purpose!r}; say in words what it is for")
    for trait in traits:
        reason = barred(trait)
        if reason is not None and trait not in opt_in:
            raise InputError(
                f"{trait!r} ({reason}) never chooses a message unless opted in; leave it out, or give "
                f"opt_in={{{trait!r}: purpose}}"
            )
        for category in (rests_on or {}).get(trait, ()):
            reason = barred(category)
            if reason is not None and category not in opt_in and trait not in opt_in:
                raise InputError(
                    f"{trait!r} rests on {category!r} ({reason}), which never chooses a message unless opted in; use "
                    f"weights without it, or give opt_in={{{category!r}: purpose}}"
                )


def categories_behind(weights: TraitWeights, categories: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The categories that each trait's score rests on: what message groups take as ``rests_on``.

    Parameters
    ----------
    weights : TraitWeights
        What scores were made with.
    categories : sequence of str
        Of the reference: those that could count at all.

    Examples
    --------
    >>> categories_behind(TraitWeights.default(), ["restaurants", "fines"])["neuroticism"]
    ('fines',)
    """
    there = set(categories)
    return {
        trait: tuple(
            e.category for e in weights.entries if e.trait == trait and e.weight and e.category in there
        )
        for trait in weights.traits
    }


def require_no_copies(
    names: Sequence[str], values: npt.NDArray[np.float64], used: Sequence[str], opt_in: Mapping[str, str]
) -> None:
    """Refuse a used column that is a barred one of the same table in other units or under another name.

    Parameters
    ----------
    names : sequence of str
        Columns of ``values``.
    values : ndarray of float64, shape (n, len(names))
        NaN where nothing is known.
    used : sequence of str
        Columns that choose messages.
    opt_in : mapping of str to str
        As in :func:`require_allowed`.

    Raises
    ------
    InputError
        Names the copy and what it is a copy of.
    """
    for column, name in enumerate(names):
        if barred(name) is None or name in opt_in:
            continue
        for trait in used:
            if trait != name and _is_linear_copy(values[:, names.index(trait)], values[:, column]):
                raise InputError(
                    f"{trait!r} is {name!r} under another name, and that never chooses a message unless opted in; "
                    "leave it out"
                )


def _is_linear_copy(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> bool:
    """Whether x = a + b y wherever both are known, at three points or more."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3 or x.min() == x.max() or y.min() == y.max():
        return False
    low, high = int(np.argmin(y)), int(np.argmax(y))
    slope = (x[high] - x[low]) / (y[high] - y[low])
    misfit = np.abs(x - (x[low] + slope * (y - y[low])))
    return bool(misfit.max() <= 1e-6 * (x.max() - x.min()) and len(np.unique(y)) > 2)
