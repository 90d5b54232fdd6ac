"""Calibration: refusals, planted signs, folds of customers, and the same bits for any order of the rows."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gpuseg import datasets, read_transactions
from gpuseg.core.promise import Promise
from gpuseg.datasets_planted import CATEGORIES, TRAITS, names
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.personality import category_features as features_module
from gpuseg.personality import unseen
from gpuseg.personality.calibration import Calibration, calibrate
from gpuseg.personality.category_features import category_features
from gpuseg.personality.indicators import INDICATORS, indicators
from gpuseg.personality.reference import make_reference
from gpuseg.personality.scoring import score
from gpuseg.personality.unseen import fold_of
from gpuseg.personality.weights import TraitWeights
from tests.personality.populations import evidence_of

KEY = {"openness": ("o1", "-o2", "o3", "-o4")}
WEIGHTS = np.array([0.5, -0.4, 0.3, 0.0])
NAMES = ("books", "groceries", "airlines", "noise")


def survey_of(trait, seed, prefix="o", keys=None):
    """Four items, two of them reversed, each of a reliability of its own."""
    draws = np.random.default_rng(seed)
    columns = {"who": np.arange(len(trait)) + 1 if keys is None else keys}
    for item in range(4):
        sign = -1 if item % 2 else 1
        felt = 3 + sign * 0.8 * trait + draws.normal(0, 0.5, len(trait))
        columns[f"{prefix}{item + 1}"] = np.clip(np.rint(felt), 1, 5)
    return pa.table(columns)


def made(n=400, seed=0, weights=WEIGHTS, noise=1.0):
    draws = np.random.default_rng(seed)
    x = draws.normal(0, 1, (n, len(weights)))
    trait = (x * weights).sum(axis=1) + draws.normal(0, noise, n)
    trait = trait / trait.std()
    features = pa.table({"who": np.arange(n) + 1} | dict(zip(NAMES, x.T, strict=False)))
    return features, survey_of(trait, seed + 1000), x, trait


@pytest.fixture(scope="module")
def calibrated():
    features, items, _, _ = made(600)
    return calibrate(features, None, items, KEY)


def test_planted_weights_come_back(calibrated):
    assert calibrated.promise is Promise.REPEATABLE
    (one,) = calibrated.traits
    assert one.refused == ""
    assert one.low < one.r < one.high
    expected = np.sqrt(0.5 / 1.5)  # share of the planted variance
    assert one.r == pytest.approx(expected, abs=0.1)
    assert calibrated.r == {"openness": one.r}
    weights = calibrated.weights()
    assert weights.traits == ("openness",)
    found = {entry.category: entry.weight for entry in weights.entries}
    assert found["books"] == pytest.approx(0.5 / np.sqrt(0.5), abs=0.1)
    assert found["groceries"] == pytest.approx(-0.4 / np.sqrt(0.5), abs=0.1)
    assert abs(found["noise"]) < 0.15
    assert sum(w * w for w in found.values()) == pytest.approx(1.0)
    assert {entry.evidence_class for entry in weights.entries} == {"calibrated"}


def test_only_categories_become_weights_of_categories(calibrated):
    entries = calibrated.weights(categories=["books", "airlines"]).entries
    assert [entry.category for entry in entries] == ["books", "airlines"]
    with pytest.raises(InputError, match="is such a category"):
        calibrated.weights(categories=["pubs"])


def test_signs_of_the_generator_are_found_at_the_published_size():
    counts, traits = datasets.category_counts(3000, 200, seed=3)
    kept = names(sensitive=False)
    n = counts[:, np.isin(list(CATEGORIES), kept)]
    b = n.sum(axis=0) / n.sum()
    index = np.log((n + 5 * b) / ((n.sum(axis=1, keepdims=True) + 5) * b))
    planted = pa.table({"customer": np.arange(3000) + 1} | dict(zip(TRAITS, traits.T, strict=True)))
    items, key = datasets.make_survey(planted, 8, seed=3)
    found = calibrate(index, kept, items, key, customers=np.arange(3000) + 1)
    best = datasets.best_attainable(200)
    assert len(found.accepted) >= 4
    for one in found.accepted:
        assert 0 < one.r < best[one.trait] + 2 / np.sqrt(3000)
    weights = {(e.category, e.trait): e.weight for e in found.weights().entries}
    agree = [
        np.sign(weights[e.category, e.trait]) == np.sign(e.weight)
        for e in datasets.planted_weights()
        if (e.category, e.trait) in weights
    ]
    assert len(agree) >= 25
    assert np.mean(agree) >= 0.95


def test_calibrated_weights_score_as_the_calibration_predicts():
    counts, traits = datasets.category_counts(1200, 150, seed=5, effect=3.0)
    planted = pa.table({"customer": np.arange(1200)} | dict(zip(TRAITS, traits.T, strict=True)))
    items, key = datasets.make_survey(planted, 4, seed=5)
    evidence = evidence_of(counts, tuple(CATEGORIES))
    first = TraitWeights.default()
    reference = make_reference(lambda: [evidence], first)
    features = category_features(evidence, reference)
    assert features.num_columns == 56
    found = calibrate(features.slice(0, 700), None, items, {trait: key[trait] for trait in TRAITS[2:4]})
    weights = found.weights("own", categories=reference.categories)
    scores = score(evidence, make_reference(lambda: [evidence], weights), weights, validity=found.r)
    predicted = found.predict(features)
    best = datasets.best_attainable(150, effect=3.0, sensitive=True)
    assert weights.traits == ("extraversion", "agreeableness")
    for t, trait in enumerate(weights.traits):
        # The ridge is fitted on the same z, so both order the customers alike.
        assert np.corrcoef(scores.values[:, t], predicted[trait].to_numpy())[0, 1] > 1 - 1e-9
        unseen = np.corrcoef(scores.values[700:, t], traits[700:, TRAITS.index(trait)])[0, 1]
        assert best[trait] + 0.1 > unseen > 0.6 * best[trait]


def test_category_features_are_those_of_the_formula(monkeypatch):
    counts = datasets.category_counts(50, 40, seed=5)[0].astype(float)
    counts[:, 7] = 0.0
    evidence = evidence_of(counts, tuple(CATEGORIES))
    reference = make_reference(lambda: [evidence], TraitWeights.default())
    found = category_features(evidence, reference)
    assert list(CATEGORIES)[7] not in found.column_names
    n = counts.sum(axis=1)
    for c, name in enumerate(CATEGORIES):
        if name not in found.column_names:
            assert reference.share[c] == 0.0
            continue
        index = np.log((counts[:, c] + 5 * reference.share[c]) / ((n + 5) * reference.share[c]))
        expected = (index - reference.mean[c]) / reference.sd[c]
        assert found[name].to_numpy() == pytest.approx(expected, abs=1e-9)
    monkeypatch.setattr(features_module, "_BLOCK_ROWS", 7)
    assert category_features(evidence, reference).equals(found)


def test_fewer_than_300_surveyed_customers_are_refused():
    features, items, _, _ = made(300)
    assert calibrate(features, None, items, KEY).n_surveyed == 300
    with pytest.raises(TooFewRowsError, match="299 surveyed customers"):
        calibrate(features.slice(1), None, items, KEY)
    with pytest.raises(TooFewRowsError, match="299 surveyed customers"):
        calibrate(features, None, items.slice(1), KEY)
    # Rows of one customer are one customer, however many they are.
    twice = pa.concat_tables([features.slice(1)] * 2)
    with pytest.raises(TooFewRowsError, match="299 surveyed customers"):
        calibrate(twice, None, items, KEY)


def test_too_few_answers_refuse_a_trait_by_itself():
    features, items, x, _ = made(400)
    other = survey_of(x[:, 0], 5, "e")
    for name in ("e1", "e2", "e3", "e4"):
        items = items.append_column(name, pa.array(other[name].to_numpy(), mask=np.arange(400) >= 299))
    found = calibrate(features, None, items, KEY | {"extraversion": ("e1", "-e2", "e3", "-e4")})
    assert [one.trait for one in found.accepted] == ["openness"]
    assert found.traits[1].refused == "299 answers, 300 are needed"
    assert found.weights().traits == ("openness",)
    assert math.isnan(found.traits[1].r)


def test_an_interval_that_includes_0_is_refused():
    features, items, _, _ = made(300, 1, weights=np.zeros(4))
    with pytest.raises(InputError, match=r"nothing can be calibrated \(openness: r = .* it may be 0"):
        calibrate(features, None, items, KEY)
    refused = 0
    for seed in range(2, 14):
        features, items, _, _ = made(300, seed, weights=np.zeros(4))
        with contextlib.suppress(InputError):
            calibrate(features, None, items, KEY)
            continue
        refused += 1
    assert refused >= 11


def test_a_trait_of_noise_is_refused_beside_one_that_is_not():
    features, items, _, _ = made(400)
    noise = survey_of(np.random.default_rng(77).normal(0, 1, 400), 5, "e")
    for name in ("e1", "e2", "e3", "e4"):
        items = items.append_column(name, noise[name])
    found = calibrate(features, None, items, {"extraversion": ("e1", "-e2", "e3", "-e4")} | KEY)
    assert list(found.r) == ["openness"]
    assert "it may be 0" in found.traits[0].refused
    assert found.traits[0].low <= 0.0
    assert found.predict(features).column_names == ["who", "openness"]


def test_all_answers_alike_are_refused():
    features, items, _, _ = made(300)
    for i in range(1, 5):
        items = items.set_column(i, f"o{i}", pa.array(np.full(300, 3)))
    with pytest.raises(InputError, match="all answers are alike"):
        calibrate(features, None, items, KEY)


def test_rows_of_a_customer_never_sit_on_both_sides(monkeypatch):
    """A fingerprint in several rows of each customer would give any leak away: outcome and features are noise."""
    draws = np.random.default_rng(2)
    n, rows = 300, 2
    prints = draws.normal(0, 1, (n, 150))
    features = np.repeat(prints, rows, axis=0) + draws.normal(0, 0.01, (n * rows, 150))
    owner = np.repeat(np.arange(n) + 1, rows)
    order = draws.permutation(n * rows)
    items = survey_of(draws.normal(0, 1, n), 3)
    seen = []
    of = unseen.SurveyedRows.of

    def watch(self, customers):
        part = of(self, customers)
        seen.append((set(part.identity.tolist()), len(part.values)))
        return part

    monkeypatch.setattr(unseen.SurveyedRows, "of", watch)
    monkeypatch.setattr(unseen, "PENALTIES", (10.0, 1e3))
    with pytest.raises(InputError, match="it may be 0"):
        calibrate(features[order], [f"f{i}" for i in range(150)], items, KEY, customers=owner[order])
    assert all(count == rows * len(who) for who, count in seen)  # all rows of a customer, or none
    assert {len(who) for who, _ in seen} >= {300, 240, 60}

    # The same data split by rows: the leak is found, so this test would see it.
    from sklearn.linear_model import Ridge

    y = np.repeat(said(items), rows)
    half = np.arange(n * rows) % rows == 0
    leaked = Ridge(alpha=10.0).fit(features[~half], y[~half]).predict(features[half])
    assert np.corrcoef(leaked, y[half])[0, 1] > 0.5


def said(items):
    x = items.to_pandas()
    return ((x["o1"] + x["o3"] + 12 - x["o2"] - x["o4"]) / 4).to_numpy()


def test_folds_go_by_who_a_customer_is():
    identity = np.random.default_rng(0).integers(0, 2**63, 103).astype(np.uint64)
    fold = fold_of(identity, 5, seed=1)
    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    order = np.random.default_rng(1).permutation(103)
    assert np.array_equal(fold_of(identity[order], 5, seed=1), fold[order])
    assert not np.array_equal(fold_of(identity, 5, seed=2), fold)
    assert not np.array_equal(fold_of(identity, 5, seed=1, index=1), fold)


def test_order_and_kind_of_the_tables_change_no_bit():
    features, items, _, _ = made(320)
    more = pa.concat_tables([features, features.slice(5, 40)])  # some customers have two rows
    whole = calibrate(more, None, items, KEY)
    order = np.random.default_rng(3).permutation(360)
    shuffled = more.take(order)
    assert calibrate(shuffled, None, items.take(np.arange(320)[::-1]), KEY) == whole
    frame = shuffled.to_pandas()
    assert calibrate(frame.set_index("who"), list(NAMES), items.to_pandas(), KEY) == whole
    assert (
        calibrate(frame[list(NAMES)].to_numpy(), NAMES, items, KEY, customers=frame["who"].to_numpy())
        == whole
    )
    assert calibrate(more, None, items, KEY, seed=1) != whole


def test_a_customer_weighs_the_same_with_many_rows():
    features, items, _, _ = made(320)
    once = calibrate(features, None, items, KEY).traits[0]
    thrice = calibrate(pa.concat_tables([features] * 3), None, items, KEY).traits[0]
    assert thrice.n == once.n == 320
    assert thrice.coefficients == pytest.approx(once.coefficients)
    assert (thrice.r, thrice.low, thrice.high) == pytest.approx((once.r, once.low, once.high))


def test_missing_and_constant_features():
    features, items, _, _ = made(400)
    books = features["books"].to_numpy().copy()
    books[::4] = np.nan
    table = features.set_column(1, "books", pa.array(books)).append_column("constant", pa.array([7.0] * 400))
    found = calibrate(table, None, items, KEY)
    assert found.n_missing == 100
    weights = dict(zip(found.features, found.traits[0].coefficients, strict=True))
    assert weights["constant"] == 0.0
    assert weights["books"] > 0.1
    assert np.isfinite(found.predict(table)["openness"].to_numpy()).all()
    bad = features.set_column(1, "books", pa.array(np.where(np.arange(400) == 3, np.inf, 0.0)))
    with pytest.raises(InputError, match="'books' has infinite"):
        calibrate(bad, None, items, KEY)


def test_tables_are_put_side_by_side_and_indicators_enter():
    table, planted, _ = datasets.make_personality(320, 60, seed=4)
    tx = read_transactions(
        table, customer="customer", time="time", amount="amount", category="mcc", time_zone="UTC", naive="utc"
    )
    habits = indicators(tx)
    draws = np.random.default_rng(0)
    told = planted["openness"].to_numpy() / 10 - 5 + draws.normal(0, 1, 320)
    first = pa.table({"customer": np.arange(320)[::-1] + 1, "books": told[::-1]})
    items = survey_of(planted["openness"].to_numpy() / 10 - 5, 3)
    found = calibrate([first, habits.slice(10)], None, items, KEY)
    assert found.features == ("books", *INDICATORS)
    assert found.n_missing >= 10 * len(INDICATORS)
    assert found.traits[0].coefficients[0] > 3 * max(map(abs, found.traits[0].coefficients[1:]))
    joined = calibrate(
        first.to_pandas().set_index("customer").join(habits.slice(10).to_pandas().set_index("customer")),
        None, items, KEY,
    )  # fmt: skip
    assert joined == found
    assert found.predict([first, habits])["customer"].to_pylist() == first["customer"].to_pylist()
    assert found.weights(categories=["books"]).entries[0].weight == 1.0
    with pytest.raises(InputError, match="'books' is in two tables"):
        calibrate([first, first], None, items, KEY)
    text = pa.table({"customer": first["customer"].cast(pa.string()), "x": first["books"]})
    with pytest.raises(InputError, match="large_string in another"):
        calibrate([first, text], None, items, KEY)
    with pytest.raises(InputError, match="an empty list"):
        calibrate([], None, items, KEY)


def test_predictions_are_t_scores(calibrated):
    features, _, x, trait = made(600)
    found = calibrated.predict(features)
    t = found["openness"].to_numpy()
    assert (t.mean(), t.std()) == pytest.approx((50.0, 10.0))
    assert np.corrcoef(t, trait)[0, 1] > 0.5
    one = calibrated.traits[0]
    z = (x[:, :4] - x.mean(axis=0)) / x.std(axis=0)
    raw = (z * np.array(one.coefficients)).sum(axis=1)
    assert t == pytest.approx(50 + 10 * (raw - raw.mean()) / raw.std())
    frame = calibrated.predict(features.to_pandas().set_index("who"))
    assert isinstance(frame, pd.DataFrame)
    assert frame["openness"].tolist() == t.tolist()
    assert "credit" in frame.attrs["gpuseg"]["note"]
    with pytest.raises(InputError, match="no column 'books'"):
        calibrated.predict(features.drop_columns(["books"]))


def test_the_interval_covers_what_is_found_among_new_customers():
    covered = 0
    for seed in range(16):
        features, items, _, _ = made(400, seed, weights=np.array([0.25, -0.2, 0.15, 0.0]))
        found = calibrate(features, None, items, KEY, level=0.8).traits[0]
        fresh, answers, _, _ = made(8000, seed + 500, weights=np.array([0.25, -0.2, 0.15, 0.0]))
        raw = np.stack([fresh[name].to_numpy() for name in NAMES], axis=1)
        r = np.corrcoef((raw * np.array(found.coefficients)).sum(axis=1), said(answers))[0, 1]
        covered += found.low <= r <= found.high
    assert 10 <= covered <= 16


def test_it_survives_a_file(calibrated):
    assert Calibration.from_json(calibrated.to_json()) == calibrated
    with pytest.raises(InputError, match="no calibration"):
        Calibration.from_json("{}")


def test_what_cannot_be_used_is_refused():
    features, items, x, _ = made(300)
    with pytest.raises(InputError, match="level=1"):
        calibrate(features, None, items, KEY, level=1.0)
    with pytest.raises(InputError, match="need names"):
        calibrate(x, ["a"], items, KEY, customers=np.arange(300))
    with pytest.raises(InputError, match="give one a row"):
        calibrate(x, NAMES, items, KEY, customers=np.arange(299))
    with pytest.raises(InputError, match="int64 in the features, large_string in the survey"):
        calibrate(features, None, items.set_column(0, "who", items["who"].cast(pa.string())), KEY)
    with pytest.raises(InputError, match="none, or a name twice"):
        calibrate(features, [], items, KEY)
    with pytest.raises(InputError, match="no column 'o9'"):
        calibrate(features, None, items, {"openness": ("o1", "o9")})


def test_who_left_items_out_does_not_move_the_others():
    features, items, x, _ = made(1500, seed=4)
    answered = x[:, 0] > 0.0  # readers alone answered
    told = {name: pa.array(items[name].to_numpy(), mask=~answered) for name in items.column_names[1:]}
    found = calibrate(features, None, pa.table({"who": items["who"], **told}), KEY)
    scores = found.predict(features)["openness"].to_numpy()[answered]
    assert (scores.mean(), scores.std()) == pytest.approx((50.0, 10.0), abs=1e-9)
