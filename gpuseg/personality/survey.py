"""Answers to a questionnaire as scores of traits (room ``personality``; calibration calls it).

Items in the manner of the Big Five Inventory: whole numbers on one scale, some worded the other way round. A trait's
score is the mean of the answers that were given, reversed where the key says so; whoever answered less than half of a
trait's items has no score on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.customers.keyed import Int64, encode
from gpuseg.errors import InputError, SchemaError
from gpuseg.personality.columns import open_columns

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SurveyScores:
    """What customers said of themselves.

    Parameters
    ----------
    keys : pyarrow.Array
        Customers, ascending, each once.
    traits : tuple of str
        Columns of ``values``.
    values : ndarray of float64, shape (n, len(traits))
        Scores on the scale of the items; NaN where fewer than half of the items were answered.
    reliability : tuple of float
        Cronbach's alpha of each trait, over the customers who answered all of its items; NaN of fewer than two.
    n_repeated : int
        Rows beyond the first of a customer: their answers are averaged, item by item.
    """

    keys: pa.Array
    traits: tuple[str, ...]
    values: Float64
    reliability: tuple[float, ...]
    n_repeated: int


def score_items(
    items: Any, key: Mapping[str, Sequence[str]], *, scale: tuple[int, int] = (1, 5)
) -> SurveyScores:
    """Score a questionnaire.

    Parameters
    ----------
    items : DataFrame (pandas, polars) or pyarrow.Table
        Customers and a column an item; null where there is no answer.
    key : mapping of str to sequence of str
        The items of each trait; a minus before a name says that the item is reversed.
    scale : (int, int), default (1, 5)
        Lowest and highest answer.

    Returns
    -------
    SurveyScores

    Raises
    ------
    InputError
        The key names no trait, no item, or an item that is not there or is there twice.
    SchemaError
        Answers outside the scale: each item with a count.

    Examples
    --------
    >>> items = pa.table({"who": [1, 2], "talks": [5, 2], "silent": [1, None]})
    >>> score_items(items, {"extraversion": ["talks", "-silent"]}).values.tolist()
    [[5.0], [2.0]]
    """
    low, high = scale
    if not key or low >= high:
        raise InputError(
            f"key={dict(key)}, scale={scale}: at least one trait, and a lowest below a highest answer"
        )
    for trait, named in key.items():
        plain = [name.removeprefix("-") for name in named]
        if isinstance(named, str) or not plain or len(set(plain)) != len(plain):
            raise InputError(
                f"key of {trait!r}: {named!r} is no list of items, each once; a minus reverses one"
            )
    every = tuple(dict.fromkeys(name.removeprefix("-") for named in key.values() for name in named))
    opened = open_columns(items, every, what="survey", repeats=True)
    _require_answers(opened.values, every, scale)
    keys, customer = encode(opened.keys)
    answers = _averaged(opened.values, customer, len(keys))
    columns, alphas = [], []
    for named in key.values():
        turned = np.stack(
            [
                low + high - answers[:, every.index(name[1:])]
                if name.startswith("-")
                else answers[:, every.index(name)]
                for name in named
            ],
            axis=1,
        )
        columns.append(_mean_of_answered(turned))
        alphas.append(cronbach_alpha(turned))
    return SurveyScores(
        keys, tuple(key), np.stack(columns, axis=1), tuple(alphas), len(opened.keys) - len(keys)
    )


def cronbach_alpha(answers: Float64) -> float:
    """Reliability of the sum of some items.

    Parameters
    ----------
    answers : ndarray of float64, shape (n, items)
        Reversed where they have to be; rows with a NaN are left out.

    Returns
    -------
    float
        items/(items - 1) x (1 - sum of the items' variances / variance of their sum); NaN where that is not defined.

    References
    ----------
    L. J. Cronbach. Coefficient alpha and the internal structure of tests. Psychometrika 16 (1951).
    """
    full = answers[np.isfinite(answers).all(axis=1)]
    n_items = answers.shape[1]
    if len(full) < 2 or n_items < 2:
        return float("nan")
    whole = float(full.sum(axis=1).var())
    if whole == 0.0:
        return float("nan")
    return float(n_items / (n_items - 1) * (1.0 - float(full.var(axis=0).sum()) / whole))


def _require_answers(values: Float64, names: Sequence[str], scale: tuple[int, int]) -> None:
    low, high = scale
    problems = []
    for column, name in enumerate(names):
        given = values[~np.isnan(values[:, column]), column]
        outside = np.count_nonzero((given < low) | (given > high) | (given != np.rint(given)))
        if outside:
            problems.append(
                f"item {name!r}: {outside:,} answers are no whole numbers from {low} to {high}; "
                "give the scale, or leave them empty"
            )
    if problems:
        raise SchemaError("survey", problems)


def _averaged(values: Float64, customer: Int64, n: int) -> Float64:
    """Mean answer of each customer to each item, over the rows that have one. Sums of whole numbers: no order."""
    given = ~np.isnan(values)
    sums, counts = np.zeros((n, values.shape[1])), np.zeros((n, values.shape[1]))
    np.add.at(sums, customer, np.where(given, values, 0.0))
    np.add.at(counts, customer, given.astype(np.float64))
    return np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)


def _mean_of_answered(turned: Float64) -> Float64:
    given = ~np.isnan(turned)
    total = np.zeros(len(turned))
    for column in range(turned.shape[1]):
        total = total + np.where(given[:, column], turned[:, column], 0.0)
    count = given.sum(axis=1)
    return np.where(2 * count >= turned.shape[1], total / np.maximum(count, 1), np.nan)
