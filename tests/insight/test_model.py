"""A kept model: the same bits as the fit, files without pickle, refusals that say the remedy."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import gpuseg as gs
from gpuseg import datasets
from gpuseg.cluster.kmeans import KMeans
from gpuseg.customers.features import customer_state, features
from gpuseg.customers.reading.transactions import read_transactions
from gpuseg.customers.scaling import ExactScaler
from gpuseg.errors import ContractError, InputError, NotFiniteError, OutputError, SourceError
from gpuseg.insight.baselines import Bins
from gpuseg.insight.customer_rows import facts_of, recipe_of
from gpuseg.insight.model import build_model
from gpuseg.insight.model_files import ARRAYS, RECORD, load_model, model_contents, save_model

ROLES = {
    "customer": "customer",
    "time": "time",
    "amount": "amount",
    "basket": "basket",
    "category": "department",
    "time_zone": "Europe/Paris",
}
N = 60


def records(*, text_keys=True):
    table = datasets.make_transactions(N, seed=5, text_keys=text_keys)[0]
    # The last customer only brings something back: no purchase.
    last = pa.table({name: table[name].slice(0, 1) for name in table.column_names})
    odd = pa.array(["Z-return"]) if text_keys else pa.array([10_000], pa.int64())
    last = last.set_column(0, "customer", odd.cast(table["customer"].type))
    last = last.set_column(last.column_names.index("amount"), "amount", pa.array([-3.5]))
    return pa.concat_tables([table, last.cast(table.schema)])


class Trained:
    def __init__(self, k=3, as_of=None, text_keys=True):
        self.tx = read_transactions(records(text_keys=text_keys), **ROLES)
        state = customer_state(self.tx, as_of)
        self.built = features(self.tx, as_of, 3, state=state)
        self.scaler = ExactScaler()
        scaled = self.scaler.fit_transform(self.built)
        self.estimator = KMeans(k, random_state=0).fit(scaled)
        self.labels = np.asarray(self.estimator.labels_)
        self.distances = np.asarray(self.estimator.transform(scaled))
        recipe = recipe_of(self.tx, state, facts_of(self.built), as_of)
        # Ids 2, 3, ... in an order that is not that of the clusters.
        segments = [(k + 1 - cluster, f"Segment {cluster}", cluster) for cluster in range(k)]
        # Of every three customers one was not contacted, one had the outcome, one had not.
        self.truths = np.array([np.nan, 1.0, 0.0])[np.arange(len(self.built)) % 3]
        self.ids = {cluster: number for number, _, cluster in segments}
        self.model = build_model(
            self.estimator,
            self.scaler,
            self.built,
            segments,
            recipe=recipe,
            outcome_rates={2: 0.25},
            truths=self.truths,
            min_cell=4,
        )


@cache
def trained():
    return Trained()


def test_training_customers_get_the_segments_of_the_fit():
    made = trained()
    table = made.model.assign(made.built)
    assert table.column_names == [
        "customer", "segment_id", "segment_name", "margin", "second_segment_id", "is_fallback", "fallback_reason",
        "is_novel", "is_outlier",
    ]  # fmt: skip
    assert table["customer"].equals(made.built["customer"])
    assert table["segment_id"].type == pa.int32()
    assert table["segment_id"].to_pylist() == [made.ids[label] for label in made.labels]
    assert table["segment_name"].to_pylist() == [f"Segment {label}" for label in made.labels]
    assert not any(table["is_fallback"].to_pylist())


def test_margin_and_second_follow_from_the_two_nearest_distances():
    made = trained()
    table = made.model.assign(made.built)
    order = np.argsort(made.distances, axis=1, kind="stable")
    assert table["second_segment_id"].to_pylist() == [made.ids[second] for second in order[:, 1]]
    near, following = np.sort(made.distances, axis=1)[:, :2].T
    assert np.allclose(table["margin"].to_numpy(), (following - near) / following, rtol=0, atol=1e-6)
    assert 0 <= pc.min(table["margin"]).as_py() <= pc.max(table["margin"]).as_py() <= 1


def test_transactions_give_the_same_and_the_fallback():
    made = trained()
    table = made.model.assign(made.tx)
    assert table["customer"].to_pylist() == sorted(table["customer"].to_pylist())
    placed = table.filter(pc.invert(table["is_fallback"]))
    assert placed.equals(made.model.assign(made.built).sort_by("customer"))
    (rest,) = table.filter(table["is_fallback"]).to_pylist()
    assert rest == {
        "customer": "Z-return",
        "segment_id": 0,
        "segment_name": "Not placed",
        "margin": None,
        "second_segment_id": None,
        "is_fallback": True,
        "fallback_reason": "no purchase",
        "is_novel": None,
        "is_outlier": None,
    }


def test_a_saved_model_assigns_the_same_bits(tmp_path):
    made = trained()
    assert save_model(made.model, tmp_path / "model") == tmp_path / "model"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    loaded = gs.load_model(tmp_path / "model")
    assert loaded.assign(made.tx).equals(made.model.assign(made.tx))
    assert model_contents(loaded) == model_contents(made.model)
    assert load_model(tmp_path).names == made.model.names
    assert np.array_equal(loaded.centres, made.model.centres)


def test_the_record_has_baselines_and_no_customer(tmp_path):
    made = trained()
    contents = model_contents(made.model)
    record = json.loads(contents[RECORD])
    assert record["contract"] == 1
    assert record["recipe"]["time_zone"] == "Europe/Paris"
    assert record["features"] == list(made.model.feature_names)
    assert sum(segment["share"] for segment in record["segments"]) == pytest.approx(1)
    assert {segment["segment_id"]: segment["outcome_rate"] for segment in record["segments"]}[2] == 0.25
    for name in record["features"]:
        bins = record["drift"][name]
        assert sum(bins["counts"]) == N
        assert sum(bins["shares"]) == pytest.approx(1)
        assert sum(bins["contacted"]) == 2 * N // 3
    for content in contents.values():
        assert not any(f"C{number:05d}".encode() in content for number in range(1, N + 1))


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        (np.arange(1.0, 21.0), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0], [2] * 10),
        (np.full(7, 3.0), [], [7]),
        (np.array([5.0]), [], [1]),
        (np.array([0.0] * 95 + [1.0] * 5), [0.0], [95, 5]),
    ],
)
def test_bins_hold_equal_numbers_and_keep_ties_together(values, edges, counts):
    assert Bins.of(values[::-1]) == Bins(tuple(edges), tuple(counts))


def test_bins_count_the_outcome_of_those_contacted():
    values = np.repeat([1.0, 2.0, 3.0], [40, 20, 40])
    truths = np.full(100, np.nan)
    truths[:40] = np.arange(40) % 4 == 0  # 10 of 40
    truths[40:43] = 1.0  # three customers: too few to tell
    truths[60:70] = 0.0  # none of ten, and that is known
    bins = Bins.of(values, truths, min_cell=10)
    assert (bins.edges, bins.counts) == ((1.0, 2.0), (40, 20, 40))
    assert bins.shares == (0.4, 0.2, 0.4)
    assert bins.contacted == (40, 3, 10)
    assert bins.outcomes == (10, None, 0)
    assert bins.outcome_rates == (0.25, None, 0.0)
    shuffled = np.random.default_rng(3).permutation(100)
    assert Bins.of(values[shuffled], truths[shuffled]) == bins
    assert Bins.of(values).outcome_rates is None


def test_the_baselines_of_a_run_agree_with_a_count_by_hand():
    made = trained()
    for name, bins in made.model.drift.items():
        values = made.built[name].to_numpy()
        edges = [-np.inf, *bins.edges, np.inf]
        for place, (low, high) in enumerate(pairwise(edges)):
            inside = made.truths[(values > low) & (values <= high)]
            known = inside[~np.isnan(inside)]
            assert bins.contacted[place] == len(known)
            assert bins.outcomes[place] == (known.sum() if len(known) >= 4 else None)


def test_baselines_come_back_from_the_files(tmp_path):
    folder = save(tmp_path)
    assert load_model(folder).drift == trained().model.drift
    old = json.loads((folder / RECORD).read_text())["drift"]
    for bins in old.values():
        del bins["shares"], bins["contacted"], bins["outcomes"], bins["outcome_rates"]
    edit(folder, drift=old)
    assert all(bins.outcomes is None for bins in load_model(folder).drift.values())
    edit(folder, drift=old | {"log_visits": old["log_visits"] | {"contacted": [1]}})
    with pytest.raises(SourceError, match="edges do not go with"):
        load_model(folder)


def test_a_far_customer_is_novel_and_a_training_customer_is_not():
    made = trained()
    table = made.built.slice(0, 2)
    far = pa.array([50.0, table["log_visits"][1].as_py()])
    table = table.set_column(table.column_names.index("log_visits"), "log_visits", far)
    assert made.model.assign(table)["is_novel"].to_pylist() == [True, False]
    assert not any(made.model.assign(made.built)["is_novel"].to_pylist())  # all segments below 1,000


def test_one_in_a_thousand_of_a_large_segment_is_novel():
    from gpuseg.insight.model import _reach

    assert _reach(np.arange(1.0, 1001.0)) == 999.0
    assert _reach(np.arange(1.0, 1000.0)) == 999.0
    assert _reach(np.arange(1.0, 2001.0)) == 1998.0
    assert _reach(np.array([])) == 0.0


def test_a_missing_feature_means_fallback_and_infinity_is_refused():
    made = trained()
    place = made.built.column_names.index("regularity")
    table = made.built.slice(0, 2).set_column(place, "regularity", pa.array([None, 0.5]))
    found = made.model.assign(table)
    assert found["segment_id"].to_pylist()[0] == 0
    assert found["is_fallback"].to_pylist() == [True, False]
    worse = table.set_column(place, "regularity", pa.array([np.inf, 0.5]))
    with pytest.raises(NotFiniteError, match="regularity"):
        made.model.assign(worse)
    assert len(made.model.assign(made.built.slice(0, 0))) == 0


def test_frames_of_any_kind_give_the_same():
    made = trained()
    wanted = made.model.assign(made.built)
    frame = made.built.to_pandas().set_index("customer")
    assert made.model.assign(frame)["segment_id"].equals(wanted["segment_id"])
    assert made.model.assign(frame)["customer"].to_pylist() == wanted["customer"].to_pylist()
    assert made.model.assign(frame.reset_index())["margin"].equals(wanted["margin"])
    assert made.model.assign(pl.from_arrow(made.built))["margin"].equals(wanted["margin"])
    mixed = made.built.select(list(reversed(made.built.column_names)))
    assert made.model.assign(mixed)["margin"].equals(wanted["margin"])


def test_integer_keys_keep_their_type():
    made = Trained(text_keys=False)
    assert made.model.assign(made.tx)["customer"].type == pa.int64()


def test_one_segment_has_no_second():
    made = Trained(k=1)
    table = made.model.assign(made.built)
    assert table["second_segment_id"].null_count == table["margin"].null_count == len(table)
    assert set(table["segment_id"].to_pylist()) == {2}


def test_a_declared_day_is_kept_and_later_records_are_told(caplog):
    made = Trained(as_of="2023-08-31")
    placed = made.model.assign(made.tx).filter(pc.field("segment_id") != 0)
    assert placed.equals(made.model.assign(made.built).sort_by("customer"))
    assert "records after 2023-08-31" in caplog.text
    assert made.model.assign(made.tx, as_of="2023-12-01").equals(made.model.assign(made.tx)) is False


def test_a_small_file_without_some_categories_has_the_same_variety():
    made = trained()
    whole = records()
    some = whole.filter(pc.equal(whole["customer"], "C00001"))
    only = some.filter(pc.equal(some["department"].cast(pa.string()), "FRESH"))
    tx = read_transactions(only, **ROLES)
    with pytest.raises(InputError, match="nobody bought"):
        features(tx, None, list(made.model.recipe.categories))
    assert made.model.assign(tx)["is_fallback"].to_pylist() == [False]
    # Everything of one customer: the same features as among all others, as long as the day is the same.
    alone = made.model.assign(read_transactions(some, **ROLES), as_of=made.model.recipe.trained_as_of)
    (wanted,) = made.model.assign(made.tx).filter(pc.field("customer") == "C00001").to_pylist()
    assert alone.to_pylist() == [wanted]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made.built.drop_columns("log_visits"), "lacks 1 columns .*log_visits"),
        (lambda made: made.built.rename_columns({"log_visits": "log_visit"}), "did you mean 'log_visit'"),
        (lambda made: np.zeros((2, 3)), "ndarray is neither transactions nor a table"),
        (
            lambda made: made.built.set_column(1, "log_visits", made.built["customer"]),
            "'log_visits' is string, not numbers|'log_visits' is large_string, not numbers",
        ),
    ],
)
def test_other_tables_are_refused(change, message):
    made = trained()
    with pytest.raises(InputError, match=message):
        made.model.assign(change(made))


def test_other_transactions_are_refused():
    made = trained()
    bare = {role: name for role, name in ROLES.items() if role != "basket"}
    with pytest.raises(InputError, match="without a basket column"):
        made.model.assign(read_transactions(records(), **bare))
    with pytest.raises(InputError, match="as_of='2024-01-01' is for transactions"):
        made.model.assign(made.built, as_of="2024-01-01")


def save(tmp_path):
    save_model(trained().model, tmp_path / "model")
    return tmp_path / "model"


def edit(folder, **changes):
    path = folder / RECORD
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | changes))


def test_another_contract_is_refused_with_the_remedy(tmp_path):
    folder = save(tmp_path)
    edit(folder, contract=2)
    with pytest.raises(ContractError, match=r"contract 2, .* contract 1: .* run the job again, or install"):
        load_model(folder)


def test_a_later_layout_is_refused(tmp_path):
    folder = save(tmp_path)
    edit(folder, format=9, gpuseg="7.0")
    with pytest.raises(SourceError, match=r"layout 9, but gpuseg reads layout 1; install gpuseg 7\.0"):
        load_model(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / RECORD).write_text("{"),
        lambda folder: (folder / RECORD).write_text("[]"),
        lambda folder: (folder / RECORD).write_text('{"format": 1}'),
        lambda folder: (folder / ARRAYS).write_bytes(b"nothing"),
        lambda folder: (folder / ARRAYS).write_bytes((folder / ARRAYS).read_bytes()[:-8]),
        lambda folder: edit(folder, features=["a"]),
        lambda folder: edit(folder, segments=[]),
        lambda folder: edit(folder, segments=[{"segment_id": 1}]),
        lambda folder: edit(folder, recipe={}),
        lambda folder: edit(folder, arrays={"sha256": "0"}),
        lambda folder: edit(folder, arrays=None),
        lambda folder: edit(folder, drift=None),
    ],
)
def test_damaged_files_are_told(tmp_path, damage):
    folder = save(tmp_path)
    damage(folder)
    with pytest.raises(SourceError, match=r"is damaged: .*run the job again"):
        load_model(folder)


def test_one_changed_bit_is_seen(tmp_path):
    folder = save(tmp_path)
    content = bytearray((folder / ARRAYS).read_bytes())
    content[-3] ^= 1
    (folder / ARRAYS).write_bytes(content)
    with pytest.raises(SourceError, match="sha256 differs"):
        load_model(folder)


def test_no_model_is_told(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=f"no {RECORD} in it"):
        load_model(tmp_path)
    folder = save(tmp_path)
    (folder / ARRAYS).unlink()
    with pytest.raises(SourceError, match="cannot be read: no such file"):
        load_model(folder)


def test_saving_never_overwrites(tmp_path):
    folder = save(tmp_path)
    with pytest.raises(OutputError, match="exists; name a new folder"):
        save_model(trained().model, folder)
    with pytest.raises(OutputError, match="cannot be written: no such file or directory"):
        save_model(trained().model, tmp_path / "not there" / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_tiles_change_nothing(monkeypatch):
    from gpuseg.insight import model as module

    made = trained()
    wanted = made.model.assign(made.built)
    monkeypatch.setattr(module, "_TILE", 7)
    assert made.model.assign(made.built).equals(wanted)


def test_used_ids_hold_every_id_of_the_line():
    made = trained()
    assert made.model.used_ids == (0, 2, 3, 4)
    assert replace(made.model, used_ids=(0, 9)).used_ids == (0, 9)


def test_pandas_transactions_are_taken_too():
    made = trained()
    frame = pd.DataFrame(records().to_pandas())
    tx = read_transactions(frame, **ROLES)
    assert made.model.assign(tx)["margin"].equals(made.model.assign(made.tx)["margin"])


def with_drugs(text_keys=True):
    """The records, with a pharmacy for a department."""
    table = records(text_keys=text_keys)
    names = pc.replace_substring(table["department"].cast(pa.string()), "HOME", "Apotheke")
    return table.set_column(table.column_names.index("department"), "department", names)


def fitted(table, opt_in=()):
    """A model of three shares, and the features that it was made of."""
    tx = read_transactions(table, **ROLES)
    state = customer_state(tx)
    built = features(tx, None, 3, opt_in=opt_in, state=state)
    scaler = ExactScaler()
    estimator = KMeans(3, random_state=0).fit(scaler.fit_transform(built))
    recipe = recipe_of(tx, state, facts_of(built), None)
    segments = [(cluster + 1, f"Segment {cluster}", cluster) for cluster in range(3)]
    return build_model(estimator, scaler, built, segments, recipe=recipe), built


@pytest.mark.parametrize("opt_in", [(), ("pharmacy",), ("Apotheke",)])
def test_a_model_remembers_which_sensitive_categories_count(tmp_path, opt_in):
    table = with_drugs()
    model, built = fitted(table, opt_in)
    loaded = load_model(save_model(model, tmp_path / "model"))
    assert loaded.recipe == model.recipe
    assert loaded.recipe.left_out == (() if opt_in else ("Apotheke",))
    assert ("Apotheke" in loaded.recipe.all_categories) == bool(opt_in)
    assert "share_Apotheke" not in built.column_names or opt_in
    placed = loaded.assign(read_transactions(table, **ROLES)).filter(pc.field("segment_id") != 0)
    assert placed.equals(model.assign(built).sort_by("customer"))


def test_new_sensitive_categories_change_nothing_and_other_new_ones_do():
    table = with_drugs()
    model, _ = fitted(table)
    place = table.column_names.index("department")

    def assigned(name, **change):
        column = pc.replace_substring(table["department"].cast(pa.string()), "Apotheke", name)
        changed = replace(model, recipe=replace(model.recipe, **change))
        return changed.assign(read_transactions(table.set_column(place, "department", column), **ROLES))

    known = assigned("Apotheke")
    assert assigned("Lottery").equals(known)
    assert not assigned("Books").equals(known)
    assert not assigned("Lottery", opt_in=("gambling",)).equals(known)
    # What training left out stays out, whatever a later version takes for sensitive.
    assert assigned("Books", left_out=("Books",)).equals(known)


def test_who_bought_only_sensitive_things_is_placed_alone_as_among_all():
    table = with_drugs()
    drugs = pc.equal(table["department"], "Apotheke")
    few = pc.is_in(table["customer"], pa.array(["C00001", "C00002"]))
    table = table.filter(pc.or_(drugs, pc.invert(few)))
    model, built = fitted(table)
    rows = built.filter(pc.is_in(built["customer"], pa.array(["C00001", "C00002"])))
    for name, value in model.recipe.neutral.items():
        assert rows[name].to_pylist() == [value, value], name
        assert 0 < value < 1
    among_all = model.assign(read_transactions(table, **ROLES)).filter(pc.field("segment_id") != 0)
    assert among_all.equals(model.assign(built).sort_by("customer"))
    alone = read_transactions(table.filter(pc.equal(table["customer"], "C00001")), **ROLES)
    found = model.assign(alone, as_of=model.recipe.trained_as_of)
    assert found.to_pylist() == among_all.filter(pc.field("customer") == "C00001").to_pylist()
