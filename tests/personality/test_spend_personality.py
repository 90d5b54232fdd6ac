"""Spend personality as users call it: fit, update, forget, refresh, scores, survey, groups, files."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import gpuseg as gs
from gpuseg import datasets
from gpuseg.errors import InputError, OutputError, SourceError, TooFewRowsError
from gpuseg.personality.message_groups import MessageGroups
from gpuseg.personality.moves import contributions
from gpuseg.personality.scoring import score
from gpuseg.personality.weights import TraitWeights

TABLE, PLANTED, ENTRIES = datasets.make_personality(400, 40, seed=3)
WEIGHTS = TraitWeights.of("planted", ENTRIES)
TRAITS = list(WEIGHTS.traits)
ROLES = {"customer": "customer", "time": "time", "amount": "amount", "category": "mcc", "time_zone": "UTC"}


def read(table=TABLE):
    return gs.read_transactions(table, **ROLES)


def fitted(table=TABLE, **options):
    return gs.SpendPersonality(weights=WEIGHTS, **options).fit(read(table))


def halves():
    """Lines of the first customers' whole year, and of some of them and others later on."""
    customer = TABLE["customer"].to_numpy()
    first = (customer <= 300) & (np.arange(len(customer)) % 3 > 0)
    late = ~first & ((customer % 5 == 0) | (customer > 300))
    return TABLE.filter(pa.array(first)), TABLE.filter(pa.array(late))


def test_scores_are_those_of_the_evidence():
    model = fitted()
    evidence = model.state_.evidence()
    expected = score(evidence, model.reference_, WEIGHTS)
    table = model.scores()
    assert table.column_names == ["customer", *TRAITS]
    assert table["customer"].to_pylist() == evidence.keys.to_pylist()
    assert np.array_equal(np.stack([table[name].to_numpy() for name in TRAITS], axis=1), expected.values)


def test_blocks_of_customers_change_nothing(monkeypatch):
    whole, detailed = fitted(), fitted().scores(details=True)
    monkeypatch.setattr("gpuseg.personality.spend_personality.BLOCK", 7)
    parts = fitted()
    assert parts.reference_ == whole.reference_
    assert parts.scores(details=True).equals(detailed)


def test_order_and_split_of_the_records_change_nothing(tmp_path):
    shuffled = TABLE.take(np.random.default_rng(0).permutation(len(TABLE)))
    for number, start in enumerate(range(0, len(TABLE), 5000)):
        pa.parquet.write_table(shuffled.slice(start, 5000), tmp_path / f"{number}.parquet")
    model = fitted(str(tmp_path), half_life_days=90)
    whole = fitted(half_life_days=90)
    assert model.state_ == whole.state_
    assert model.scores().equals(whole.scores())


def test_an_update_is_the_batch_and_moves_only_those_who_acted():
    before, late = halves()
    model = fitted(before)
    was = model.scores()
    done = model.update(read(late), period="late")
    assert model.state_ == fitted(pa.concat_tables([before, late])).state_
    acted = set(late["customer"].to_pylist())
    assert done.n_changed == len(acted)
    assert done.n_new == len(acted - set(was["customer"].to_pylist()))
    now = {row["customer"]: row for row in model.scores().to_pylist()}
    assert all(now[row["customer"]] == row for row in was.to_pylist() if row["customer"] not in acted)
    changed = [row["customer"] for row in was.to_pylist() if now[row["customer"]] != row]
    assert changed
    assert set(changed) <= acted


def test_moves_say_by_how_much_and_why():
    before, late = halves()
    model = fitted(before)
    was = {row["customer"]: row for row in model.scores().to_pylist()}
    old = model.state_.evidence()
    table = model.update(read(late)).moves()
    now = {row["customer"]: row for row in model.scores().to_pylist()}
    terms = model.reference_.terms(WEIGHTS)
    row_of = {key: i for i, key in enumerate(old.keys.to_pylist())}
    then, after = contributions(old, terms), contributions(model.state_.evidence(), terms)
    place = {key: i for i, key in enumerate(model.state_.keys.to_pylist())}
    assert {row["customer"] for row in table.to_pylist()} <= set(late["customer"].to_pylist())
    for row in table.to_pylist()[:400]:
        key, t = row["customer"], TRAITS.index(row["trait"])
        assert row["after"] == now[key][row["trait"]]
        if key in was:
            assert row["before"] == was[key][row["trait"]]
            assert row["change"] == row["after"] - row["before"] != 0.0
        else:
            assert row["before"] is row["change"] is None
        change = after[place[key], t] - (then[row_of[key], t] if key in row_of else 0.0)
        assert row["because"] == model.reference_.categories[int(np.abs(change).argmax())]


def test_the_reference_is_frozen_until_it_is_refreshed():
    before, late = halves()
    model, whole = fitted(before), fitted(pa.concat_tables([before, late]))
    frozen = model.reference_
    model.update(read(late))
    model.forget([5])
    assert model.reference_ == frozen
    model = fitted(before)
    model.update(read(late))
    old = model.scores()
    shift = model.refresh()
    assert shift.version == model.reference_.version == 2
    assert model.scores().equals(whole.scores())
    for one in shift.traits:
        change = model.scores()[one.trait].to_numpy() - old[one.trait].to_numpy()
        assert (one.n, one.largest) == (change.size, np.abs(change).max())
        assert one.mean == pytest.approx(change.mean(), abs=1e-9)
        assert one.n_far == np.count_nonzero(np.abs(change) >= 5)
    assert shift.to_arrow().column_names[:2] == ["trait", "n"]


def test_forgetting_is_as_if_the_records_had_never_been():
    gone = [7, 300, 12]
    model = fitted()
    model.update(read(TABLE.slice(0, 1000)), period="again")
    assert model.forget([*gone, 99_999]) == 3
    stays = ~np.isin(TABLE["customer"].to_numpy(), gone)
    rest = fitted(TABLE.filter(pa.array(stays)))
    rest.update(read(TABLE.slice(0, 1000).filter(pa.array(stays[:1000]))))
    assert model.state_ == rest.state_
    assert not set(model.history()["customer"].to_pylist()) & set(gone)
    with pytest.raises(InputError, match="customer 7 and 1 more is not known; give keys that were read"):
        model.scores([7, 12])
    assert model.refresh().version == 2
    assert model.reference_.n_customers == 397


def test_nobody_is_left():
    model = fitted(TABLE.slice(0, 200))
    model.forget(model.state_.keys)
    assert model.scores(details=True).num_rows == 0
    assert model.scores().column_names == ["customer", *TRAITS]
    frozen = model.reference_
    with pytest.raises(TooFewRowsError):
        model.refresh()
    assert model.reference_ == frozen
    assert model.update(read(TABLE.slice(0, 200))).n_new == frozen.n_customers


def test_the_history_keeps_who_acted():
    before, late = halves()
    model = fitted(before)
    model.update(read(late), period="2024-01")
    table = model.history([5, 10])
    now = {row["customer"]: row for row in model.scores([5, 10]).to_pylist()}
    assert [{k: v for k, v in row.items() if k != "period"} for row in table.to_pylist()] == [now[5], now[10]]
    assert set(table["period"].to_pylist()) == {"2024-01"}
    state = model.state_
    with pytest.raises(InputError, match="period '2024-01' is recorded already"):
        model.update(read(late), period="2024-01")
    assert model.state_ == state


@pytest.mark.parametrize("kind", ["pandas", "polars", "dask"])
def test_frames_come_back_as_they_came(kind):
    names = TABLE.set_column(0, "customer", TABLE["customer"].cast(pa.string()))
    frame = names.to_pandas() if kind != "polars" else pl.from_arrow(names)
    if kind == "dask":
        import dask.dataframe as dd

        frame = dd.from_pandas(frame, npartitions=3)
    model = fitted(frame)
    found, expected = model.scores(["17"]), fitted(names).scores(["17"])
    assert isinstance(found, pl.DataFrame if kind == "polars" else pd.DataFrame)
    assert np.asarray(found[TRAITS]).tolist() == [[expected[name][0].as_py() for name in TRAITS]]
    keys = found["customer"].to_list() if kind == "polars" else found.index.to_list()
    assert keys == ["17"]
    groups = MessageGroups.by_thresholds({"open": {"openness": (50, None)}}, review="monthly")
    assert len(model.message_groups(groups, on="2024-01-01").table()) == model.state_.n_customers


def test_every_trait_has_its_column_and_says_why_it_is_empty(caplog):
    with caplog.at_level("INFO", "gpuseg.personality"):
        model = gs.SpendPersonality().fit(read())
    table = model.scores(details=True)
    for found in model.measurability_:
        values = table[found.trait].to_numpy()
        assert np.isnan(values).all() if found.reason else np.isfinite(values).all()
        assert not found.reason or caplog.text.count(found.reason) == 1
        assert set(table[f"{found.trait}_because"].to_pylist()) == {None} or not found.reason
    assert sum(found.measurable for found in model.measurability_) == 2
    facts = json.loads(table.schema.metadata[b"gpuseg.facts"])
    assert facts["use"] == "Estimated. Not for eligibility, price, credit or employment."
    assert set(facts["not_measurable"]) == {"openness", "agreeableness", "neuroticism"}


def test_intervals_and_reasons_come_along():
    model = fitted(level=0.8)
    expected = score(model.state_.evidence(), model.reference_, WEIGHTS, level=0.8)
    table = model.scores(details=True)
    assert np.array_equal(table["openness_low"].to_numpy(), expected.low[:, 0])
    assert np.array_equal(table["evidence"].to_numpy(), expected.evidence)
    assert table["openness_because"][3].as_py() == ", ".join(expected.reasons_of(3)["openness"])


def test_what_was_saved_goes_on_as_before(tmp_path):
    before, late = halves()
    model = fitted(before, half_life_days=60, level=0.9)
    model.update(read(before.slice(0, 400)), period="first")
    folder = model.save(tmp_path / "model")
    with pytest.raises(OutputError, match="exists; name a new folder"):
        model.save(folder)
    again = gs.SpendPersonality.load(folder)
    for one in (model, again):
        one.update(read(late), period="second")
        one.refresh()
    assert again.state_ == model.state_
    assert again.reference_ == model.reference_
    assert again.scores(details=True).equals(model.scores(details=True))
    assert again.history().equals(model.history())
    record = json.loads((folder / "personality.json").read_text())
    assert record["use"].startswith("Estimated. Not for eligibility")


def test_a_folder_that_is_damaged_or_none_is_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no spend personality"):
        gs.SpendPersonality.load(tmp_path)
    folder = fitted().save(tmp_path / "model")
    (folder / "personality.json").write_text("{}")
    with pytest.raises(SourceError, match="is damaged or no spend personality"):
        gs.SpendPersonality.load(folder)
    with pytest.raises(OutputError, match="cannot be written"):
        fitted().save(tmp_path / "nowhere" / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": "isic"}, "isic"),
        ({"categories": 7}, "categories=7 is no map"),
        ({"weights": 7}, "weights=7 are none"),
        ({"half_life_days": 0.0}, "half_life_days=0.0 is out of range"),
        ({"half_life_days": "30"}, "half_life_days='30' is no number"),
        ({"refunds": "keep"}, "refunds='keep'"),
        ({"smoothing": 0.0}, "smoothing=0.0"),
        ({"shrinkage": -1.0}, "shrinkage=-1.0"),
        ({"opt_in": "gold"}, "gold"),
        ({"opt_in": 7}, "opt_in=7 names nothing"),
        ({"level": 0.7}, "0.7"),
        ({"level": [0.9]}, "is no number"),
        ({"validity": 2}, "validity"),
        ({"validity": {"charm": 0.1}}, "charm"),
        ({"smoothing": None}, "smoothing=None is no number"),
        (
            {"weights": TraitWeights.of("t", [("airlines", "evidence", 1.0, "made up")])},
            "'evidence' would name two",
        ),
        (
            {"weights": TraitWeights.of("t", [("airlines", "customer", 1.0, "made up")])},
            "'customer' would name two",
        ),
    ],
)
def test_parameters_that_cannot_be_used_are_named(options, message):
    with pytest.raises((InputError, SourceError), match=message):
        gs.SpendPersonality(**options).fit(read())


def test_manners_of_an_estimator():
    model = gs.SpendPersonality("mcc", WEIGHTS, half_life_days=30)
    assert clone(model).get_params() == model.get_params()
    for call in (model.scores, model.refresh, lambda: model.update(read()), lambda: model.forget([1])):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(InputError, match="no category column was declared"):
        model.fit(gs.read_transactions(TABLE, **{k: v for k, v in ROLES.items() if k != "category"}))
    model.fit(read())
    other = gs.read_transactions(TABLE, **ROLES, minor_units=3)
    with pytest.raises(InputError, match="amounts have 3 decimals, those before had 2"):
        model.update(other)


def test_no_message_rests_on_what_cannot_be_measured_or_may_not_choose():
    model = gs.SpendPersonality().fit(read())
    groups = MessageGroups.by_thresholds({"open": {"openness": (55, None)}}, review="monthly")
    with pytest.raises(InputError, match="openness can choose no message group: openness is not measurable"):
        model.message_groups(groups, on="2024-01-01")
    with pytest.raises(InputError, match="neuroticism"):
        MessageGroups.by_thresholds({"calm": {"neuroticism": (None, 45)}}, review="monthly")
    opted = gs.SpendPersonality(weights=WEIGHTS, opt_in=["gambling"]).fit(read())
    rests = {found.trait: found.categories for found in opted.measurability_}
    barred = [trait for trait, names in rests.items() if "gambling" in names and trait != "neuroticism"]
    for trait in barred:
        one = MessageGroups.by_thresholds({"any": {trait: (55, None)}}, review="monthly")
        with pytest.raises(InputError, match="gambling"):
            opted.message_groups(one, on="2024-01-01")


def test_a_survey_gives_weights_and_validity():
    table, planted, entries = datasets.make_personality(900, 200, seed=5, effect=4.0)
    model = gs.SpendPersonality(weights=TraitWeights.of("planted", entries)).fit(read(table))
    rng = np.random.default_rng(0)
    trait = (planted["extraversion"].to_numpy() - 50) / 10
    answers = {
        name: np.clip(np.rint(3 + sign * trait + rng.normal(0, 0.5, 900)), 1, 5)
        for name, sign in (("talks", 1), ("hosts", 1), ("quiet", -1))
    }
    items = pa.table({"customer": planted["customer"], **answers})
    key = {"extraversion": ["talks", "hosts", "-quiet"]}
    few = model.reference_
    with pytest.raises(TooFewRowsError, match="300 are needed"):
        model.calibrate(items.slice(0, 299), key)
    with pytest.raises(InputError, match="trait 'charm' is none of"):
        model.calibrate(items, {"charm": ["talks"]})
    assert model.reference_ == few
    found = model.calibrate(items, key)
    assert model.calibration_ is found
    assert model.reference_.version == 2
    assert model.validity_["extraversion"] == found.r["extraversion"] > 0.3
    scores = model.scores()
    assert scores.column_names == ["customer", *TRAITS]
    r = np.corrcoef(scores["extraversion"].to_numpy(), planted["extraversion"].to_numpy())[0, 1]
    assert r > 0.3
    folder = model.scores(details=True)
    narrow = folder["extraversion_high"].to_numpy() - folder["extraversion_low"].to_numpy()
    wide = folder["openness_high"].to_numpy() - folder["openness_low"].to_numpy()
    assert narrow.mean() < wide.mean()


def test_a_calibrated_model_is_saved_whole(tmp_path):
    table, planted, entries = datasets.make_personality(400, 100, seed=5, effect=4.0)
    model = gs.SpendPersonality(weights=TraitWeights.of("planted", entries)).fit(read(table))
    told = np.clip(np.rint(3 + (planted["extraversion"].to_numpy() - 50) / 10), 1, 5)
    model.calibrate(pa.table({"customer": planted["customer"], "talks": told}), {"extraversion": ["talks"]})
    again = gs.SpendPersonality.load(model.save(tmp_path / "model"))
    assert again.validity_ == model.validity_
    assert again.weights == again.weights_ == model.weights_
    assert again.calibration_.to_json() == model.calibration_.to_json()
    assert again.scores(details=True).equals(model.scores(details=True))


def text_table():
    return TABLE.set_column(0, "customer", TABLE["customer"].cast(pa.string()))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("17", "'17' is no list of customer keys"),
        (17, "17 is no list of customer keys"),
        ([1, None], "1 of the customer keys are missing"),
        (["1", None], "1 of the customer keys are missing"),
        ([2**63], "too large"),
        ([1, "1"], "of several types"),
    ],
)
def test_ids_that_cannot_be_meant_erase_nobody(ids, message):
    model = fitted()
    for call in (model.forget, model.scores, model.history):
        with pytest.raises(InputError, match=message):
            call(ids)
    assert model.state_.n_customers == 400


def test_the_history_of_text_keys():
    model = fitted(text_table())
    assert model.history().schema.field("customer").type == pa.string()
    model.update(read(text_table().slice(0, 300)), period="a")
    assert model.forget([]) == 0
    assert model.history([]).num_rows == 0
    assert set(model.history(["1"])["customer"].to_pylist()) == {"1"}
    with pytest.raises(InputError, match="1 and '1' are never merged"):
        model.history([1])
    with pytest.raises(InputError, match="period=3 is no name"):
        model.update(read(text_table().slice(0, 300)), period=3)
    model.forget(model.state_.keys)
    model.update(read(TABLE.slice(0, 300)), period="b")
    assert set(model.history()["period"].to_pylist()) == {"b"}


def test_numbers_of_numpy_are_numbers(tmp_path):
    model = fitted(shrinkage=np.int64(20), smoothing=np.float32(5), validity=np.float32(0.25))
    assert model.reference_ == fitted().reference_
    again = gs.SpendPersonality.load(model.save(tmp_path / "model"))
    assert again.scores(details=True).equals(model.scores(details=True))
