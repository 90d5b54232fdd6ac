"""Made-up spend personalities: the planted effects are found again, any piece is the same piece, habits are there."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.stats import norm

import gpuseg
from gpuseg import datasets, datasets_personality, datasets_planted
from gpuseg.datasets_planted import CATEGORIES, PUBLISHED, TRAITS
from gpuseg.errors import InputError

TEXT = (Path(gpuseg.__file__).parent / "data" / "mcc_categories.csv").read_text(encoding="utf-8")
CODES = {
    line["mcc"]: (line["category"], line["sensitive"] == "yes") for line in csv.DictReader(TEXT.splitlines())
}
PINNED_CODES = ["4900", "5541", "4131", "4121"]
PINNED_AMOUNTS = [182.27, 61.54, 4.2, 40.98]
PINNED_TRAIT = ["0x1.5010353fd2a17p+5", "0x1.0707d0cf9e45bp+6"]


def over_index(counts, *, sensitive, a=5.0):
    """Oracle: the log over-index of every category that counts."""
    use = np.isin(list(CATEGORIES), datasets_planted.names(sensitive=sensitive))
    n = counts[:, use]
    b = n.sum(axis=0) / n.sum()
    return np.log((n + a * b) / ((n.sum(axis=1, keepdims=True) + a) * b))


def regression(features, trait):
    """Oracle: multiple correlation, adjusted for the number of features."""
    x = features - features.mean(axis=0)
    y = trait - trait.mean()
    r2 = (x @ np.linalg.lstsq(x, y, rcond=None)[0]).var() / y.var()
    n, p = x.shape
    return np.sqrt(max(1 - (1 - r2) * (n - 1) / (n - p - 1), 0.0))


@pytest.fixture(scope="module")
def many():
    return datasets.category_counts(20_000, 100, seed=4, effect=3.0)


def test_the_categories_are_those_of_the_merchant_codes():
    assert {name: about.sensitive for name, about in CATEGORIES.items()} == dict(CODES.values())
    assert list(CATEGORIES) == sorted(CATEGORIES)


def test_the_normal_quantile_is_that_of_scipy():
    words = np.array([0, 1, 2, 2**16, 2**30, 2**31, 2**32 - 2, 2**32 - 1, 322122547], np.uint64)
    expected = norm.ppf((words + 0.5) / 2**32)
    assert np.abs(datasets_personality._normal(words) - expected).max() < 4e-15


def test_traits_are_normal_and_do_not_depend_on_each_other(many):
    traits = many[1]
    assert np.abs(traits.mean(axis=0) - 50).max() < 0.3
    assert np.abs(traits.std(axis=0) - 10).max() < 0.2
    assert np.abs(np.corrcoef(traits.T) - np.eye(5)).max() < 0.03


@pytest.mark.parametrize("sensitive", [False, True])
def test_a_regression_finds_what_the_planted_model_allows(many, sensitive):
    counts, traits = many
    features = over_index(counts, sensitive=sensitive)
    best = datasets.best_attainable(100, effect=3.0, sensitive=sensitive)
    for column, trait in enumerate(TRAITS):
        assert regression(features, traits[:, column]) == pytest.approx(best[trait], rel=0.05)


def test_the_effects_are_as_large_as_published():
    best = datasets.best_attainable(200)
    assert {trait: round(r, 2) for trait, r in best.items()} == PUBLISHED
    assert sum(best.values()) / 5 == pytest.approx(0.15, abs=0.005)
    counts, traits = datasets.category_counts(20_000, 200, seed=1)
    features = over_index(counts, sensitive=False)
    found = {trait: regression(features, traits[:, column]) for column, trait in enumerate(TRAITS)}
    for trait, r in found.items():
        assert r == pytest.approx(best[trait], abs=4 / np.sqrt(20_000))


def test_nothing_planted_nothing_found():
    assert max(datasets.best_attainable(50, effect=0.0).values()) == 0.0
    counts, traits = datasets.category_counts(4_000, 50, seed=3, effect=0.0)
    assert regression(over_index(counts, sensitive=True), traits[:, 0]) < 0.1


def test_more_transactions_tell_more():
    few, many = datasets.best_attainable(20), datasets.best_attainable(1000)
    assert all(few[trait] < PUBLISHED[trait] < many[trait] for trait in TRAITS)


def test_weights_are_the_correlations_that_were_planted(many):
    counts, traits = many
    features = over_index(counts, sensitive=True)
    weights = datasets.planted_weights()
    for entry in weights:
        column = features[:, list(CATEGORIES).index(entry.category)]
        r = np.corrcoef(column, traits[:, TRAITS.index(entry.trait)])[0, 1]
        assert np.sign(r) == np.sign(entry.weight), entry
    for trait in TRAITS:
        harmless = [e for e in weights if e.trait == trait and not CATEGORIES[e.category].sensitive]
        assert len(harmless) >= 3


def test_scoring_with_the_weights_comes_near_the_best():
    counts, traits = datasets.category_counts(20_000, 200, seed=9, effect=3.0)
    features = over_index(counts, sensitive=False)
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    kept, best = datasets_planted.names(sensitive=False), datasets.best_attainable(200, effect=3.0)
    for column, trait in enumerate(TRAITS):
        w = np.zeros(len(kept))
        for entry in datasets.planted_weights():
            if entry.trait == trait and entry.category in kept:
                w[kept.index(entry.category)] = entry.weight
        assert np.corrcoef(z @ w, traits[:, column])[0, 1] > 0.93 * best[trait]


def test_counts_are_those_of_the_transactions():
    table, planted, _ = datasets.make_personality(40, (5, 60), seed=8, first=3)
    counts, traits = datasets.category_counts(40, (5, 60), seed=8, first=3)
    found = np.zeros_like(counts)
    for customer, code in zip(table["customer"].to_pylist(), table["mcc"].to_pylist(), strict=True):
        found[customer - 4, list(CATEGORIES).index(CODES[code][0])] += 1
    assert (found == counts).all()
    assert np.array_equal(traits, np.stack([planted[trait].to_numpy() for trait in TRAITS], axis=1))
    per_customer = counts.sum(axis=1)
    assert per_customer.min() >= 5
    assert per_customer.max() <= 60
    assert len(set(per_customer)) > 10


@pytest.mark.parametrize("step", [1, 7, 29])
def test_any_piece_of_the_customers_is_the_same_piece(step):
    whole, traits, _ = datasets.make_personality(30, (3, 9), seed=2)
    parts = [
        datasets.make_personality(min(step, 30 - start), (3, 9), seed=2, first=start)
        for start in range(0, 30, step)
    ]
    assert pa.concat_tables([table for table, _, _ in parts]).equals(whole)
    assert pa.concat_tables([frame for _, frame, _ in parts]).equals(traits)


def test_blocks_are_not_seen(monkeypatch):
    expected = datasets.make_personality(30, (3, 9), seed=2)
    counts = datasets.category_counts(30, (3, 9), seed=2)[0]
    monkeypatch.setattr(datasets_personality, "_BLOCK_LINES", 40)
    table, traits, _ = datasets.make_personality(30, (3, 9), seed=2)
    assert table["amount"].num_chunks == 8
    assert table.equals(expected[0])
    assert traits.equals(expected[1])
    assert (datasets.category_counts(30, (3, 9), seed=2)[0] == counts).all()


def test_fewer_transactions_are_some_of_the_more():
    few, more = (datasets.make_personality(5, n, seed=2)[0].to_pylist() for n in (10, 25))
    assert len(few) == 50
    assert all(line in more for line in few)


def test_lines_stand_by_customer_and_time():
    table = datasets.make_personality(6, 30, seed=5)[0]
    assert table.sort_by([("customer", "ascending"), ("time", "ascending")])["time"].equals(table["time"])


def test_gifts_peak_in_december_travel_in_july_leisure_at_weekends_and_pubs_at_night():
    table = datasets.make_personality(400, 200, seed=6)[0]
    category = np.array([CODES[code][0] for code in table["mcc"].to_pylist()])
    month = pc.month(table["time"]).to_numpy()
    weekend = pc.day_of_week(table["time"]).to_numpy() >= 5
    hour = pc.hour(table["time"]).to_numpy()
    night = (hour >= 22) | (hour < 6)
    kind = np.array([CATEGORIES[name].calendar for name in category])
    assert (month[kind == "gift"] == 12).mean() > 2.5 * (month[kind == "gift"] == 1).mean()
    assert (month[kind == "travel"] == 7).mean() > 2 * (month[kind == "travel"] == 1).mean()
    assert weekend[kind == "leisure"].mean() > 0.35
    assert 0.25 < weekend[kind == "plain"].mean() < 0.33
    assert weekend[kind == "bill"].mean() < 0.15
    assert night[category == "pubs_bars"].mean() == pytest.approx(0.39, abs=0.05)
    assert night[category == "groceries"].mean() < 0.04


def test_extraverts_are_out_at_night():
    words = datasets_personality._habits(
        np.arange(1, 40_001), datasets_personality._traits(np.arange(1, 40_001), 0), 0
    )
    u = datasets_personality._traits(np.arange(1, 40_001), 0)
    assert np.corrcoef(u[:, 2], np.log(words[1]))[0, 1] == pytest.approx(0.15, abs=0.02)


def test_amounts_have_a_heavy_tail():
    def amount(rank):
        return datasets_personality._amount(np.array([int(rank * 2**32)], np.uint64))[0]

    assert amount(0.5) == pytest.approx(1.0)
    assert amount(0.84134) == pytest.approx(np.exp(0.8), rel=1e-3)
    assert amount(0.9998) == pytest.approx(10 * amount(0.98), rel=1e-4)  # Pareto with exponent 2
    amounts = datasets.make_personality(300, 100, seed=0)[0]["amount"].to_numpy()
    ordered = np.sort(amounts)
    assert ordered[-300:].sum() > 0.15 * ordered.sum()
    assert np.array_equal(np.rint(amounts * 100) / 100, amounts)


def test_the_draws_are_pinned():
    table, traits, _ = datasets.make_personality(2, 2, seed=7)
    assert table["mcc"].to_pylist() == PINNED_CODES
    assert table["amount"].to_pylist() == PINNED_AMOUNTS
    assert [float(x).hex() for x in traits["neuroticism"].to_pylist()] == PINNED_TRAIT


def test_a_survey_tells_the_traits():
    planted = datasets.make_personality(3000, 1, seed=1)[1]
    answers, key = datasets.make_survey(planted, 8, seed=1, missing=0.1)
    assert answers.num_columns == 41
    for trait in TRAITS:
        assert sum(name.startswith("-") for name in key[trait]) == 4
        u = planted[trait].to_numpy()
        scores = []
        for name in key[trait]:
            item = answers[name.lstrip("-")].to_numpy(zero_copy_only=False).astype(float)
            assert set(item[~np.isnan(item)]) <= {1, 2, 3, 4, 5}
            assert 0.07 < np.isnan(item).mean() < 0.13
            scores.append(6 - item if name.startswith("-") else item)
        mean = np.nanmean(scores, axis=0)
        assert np.corrcoef(mean[~np.isnan(mean)], u[~np.isnan(mean)])[0, 1] > 0.9


def test_part_of_the_customers_answers_the_same():
    planted = datasets.make_personality(20, 1, seed=1)[1]
    whole, _ = datasets.make_survey(planted, 4, seed=3)
    assert datasets.make_survey(planted.slice(7, 6), 4, seed=3)[0].equals(whole.slice(7, 6))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_customers": 0}, "at least 1 customer"),
        ({"transactions": 0}, "transactions=0"),
        ({"transactions": (5, 4)}, "fewest, most"),
        ({"seed": -1}, "seed=-1"),
        ({"effect": 6.0}, "effect=6.0"),
        ({"effect": float("nan")}, "effect=nan"),
        ({"first": -1}, "first=-1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        datasets.make_personality(**{"n_customers": 2, "transactions": 2} | arguments)


def test_a_survey_of_one_item_is_refused():
    with pytest.raises(InputError, match="items_per_trait=1"):
        datasets.make_survey(datasets.make_personality(2, 1)[1], 1)
    with pytest.raises(InputError, match="transactions=0"):
        datasets.best_attainable(0)
