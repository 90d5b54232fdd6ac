"""Scoring a questionnaire: an oracle, reversed items, answers that are missing, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from gpuseg import datasets
from gpuseg.errors import InputError, SchemaError
from gpuseg.personality.survey import cronbach_alpha, score_items

KEY = {"extraversion": ("talks", "-silent", "outgoing"), "openness": ("-plain", "dreams")}
ITEMS = ("talks", "silent", "outgoing", "plain", "dreams")


def answers(n=60, seed=0):
    draws = np.random.default_rng(seed)
    columns = {}
    for item in ITEMS:
        given = draws.integers(1, 8, n)
        columns[item] = pa.array(given, mask=draws.random(n) < 0.3)
    return pa.table({"who": draws.permutation(n)} | columns)


def oracle(row, named):
    given = []
    for name in named:
        answer = row[name.lstrip("-")]
        if answer is not None:
            given.append(8 - answer if name.startswith("-") else answer)
    return sum(given) / len(given) if 2 * len(given) >= len(named) else math.nan


def test_scores_are_those_of_the_oracle():
    table = answers()
    found = score_items(table, KEY, scale=(1, 7))
    assert found.traits == tuple(KEY)
    assert found.keys.to_pylist() == list(range(60))
    rows = {row["who"]: row for row in table.to_pylist()}
    expected = [[oracle(rows[who], named) for named in KEY.values()] for who in range(60)]
    assert np.array_equal(found.values, expected, equal_nan=True)
    assert np.isnan(found.values).any()
    order = np.random.default_rng(1).permutation(60)
    again = score_items(pl.from_arrow(table.take(order)), KEY, scale=(1, 7))
    assert np.array_equal(again.values, found.values, equal_nan=True)


def test_answers_given_twice_are_averaged():
    table = pa.table({"who": ["a", "b", "a"], "x": [1, 4, 2], "y": [None, 4, 5]})
    found = score_items(table, {"t": ["x", "-y"]})
    assert found.keys.to_pylist() == ["a", "b"]
    assert found.values.tolist() == [[(1.5 + 1.0) / 2], [(4 + 2) / 2]]
    assert found.n_repeated == 1


def test_a_wrong_key_shows_in_the_reliability():
    planted = datasets.make_personality(2000, 1, seed=1)[1]
    items, key = datasets.make_survey(planted, 8, seed=1, missing=0.0)
    good = score_items(items, key)
    assert min(good.reliability) > 0.85
    wrong = score_items(items, {trait: [name.lstrip("-") for name in named] for trait, named in key.items()})
    assert max(wrong.reliability) < 0.2
    u = planted["openness"].to_numpy()
    assert np.corrcoef(good.values[:, 0], u)[0, 1] > 0.9
    assert abs(np.corrcoef(wrong.values[:, 0], u)[0, 1]) < 0.2


def test_cronbachs_alpha():
    x = np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 3.0], [np.nan, 9.0]])
    full = x[:3]
    expected = 2 * (1 - full.var(axis=0, ddof=1).sum() / full.sum(axis=1).var(ddof=1))
    assert cronbach_alpha(x) == pytest.approx(expected)
    assert math.isnan(cronbach_alpha(x[:1]))
    assert math.isnan(cronbach_alpha(np.ones((5, 3))))
    assert math.isnan(cronbach_alpha(x[:, :1]))


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ({}, "at least one trait"),
        ({"t": []}, "no list of items"),
        ({"t": "talks"}, "no list of items"),
        ({"t": ["talks", "-talks"]}, "no list of items"),
        ({"t": ["talk"]}, "did you mean 'talks'"),
    ],
)
def test_a_wrong_key_is_refused(key, said):
    with pytest.raises(InputError, match=said):
        score_items(answers(), key, scale=(1, 7))


def test_answers_off_the_scale_are_named_and_counted():
    with pytest.raises(SchemaError) as caught:
        score_items(answers(), KEY, scale=(1, 5))
    assert len(caught.value.problems) == 5
    assert "item 'talks':" in caught.value.problems[0]
    half = pa.table({"who": [1, 2], "x": [1.5, 2.0]})
    with pytest.raises(SchemaError, match="item 'x': 1 answers"):
        score_items(half, {"t": ["x"]})
    with pytest.raises(InputError, match="lowest below a highest"):
        score_items(half, {"t": ["x"]}, scale=(5, 1))
