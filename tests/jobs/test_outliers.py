"""Extreme customers in a whole run: marked, pulled in or left out, and the kept model does the same."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gpuseg.customers.outliers import NO_SPREAD, TWO_VALUES, OutlierRule
from gpuseg.customers.scaling import ExactScaler
from gpuseg.errors import NotFiniteError, SourceError, TooFewRowsError
from gpuseg.insight.model_files import ARRAYS, RECORD, load_model, save_model
from gpuseg.insight.report import render_report
from gpuseg.jobs.kept.assign import assign_file
from gpuseg.jobs.output import RunFolder
from gpuseg.jobs.progress import SilentProgress
from gpuseg.jobs.run import run_job
from gpuseg.jobs.stages import Stages
from gpuseg.jobs.writing import run_id_of, write_manifest, write_report, write_tables
from gpuseg.quality.agreement import adjusted_rand_index
from tests.jobs import made_up

RICH = [f"C{number:05d}" for number in (7, 42, 99)]
"""Their baskets are a thousand times as dear as they were."""
ACTIONS = ("flag", "winsorise", "drop")


@cache
def records() -> pa.Table:
    table = made_up.table()
    factor = np.where(pc.is_in(table["customer"], value_set=pa.array(RICH)).to_numpy(), 1000.0, 1.0)
    for name in ("amount", "discount", "coupon"):
        money = pa.array(np.round(table[name].to_numpy() * factor, 2))
        table = table.set_column(table.column_names.index(name), name, money)
    return table


@cache
def run(action: str, rule: str = "zscore", limit: float = 5.0):
    return made_up.run(
        records(), dataclasses.replace(made_up.SETTINGS, outliers=OutlierRule(action, rule, limit))
    )


def by_customer(table: pa.Table, name: str) -> dict[str, object]:
    return dict(zip(table["customer"].to_pylist(), table[name].to_pylist(), strict=True))


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("rule", ["zscore", "iqr", "mad"])
def test_the_planted_ones_are_found_by_every_rule(action, rule):
    limit = {"zscore": 5.0, "iqr": 3.0, "mad": 6.0}[rule]
    found = run(action, rule, limit)
    assert found.outliers.by_feature["log_basket_value"] == 3
    marked = by_customer(found.segments_table("x"), "is_outlier")
    assert [marked[key] for key in RICH] == [True] * 3
    assert sum(marked.values()) == found.outliers.n_marked < 40


def test_flagging_changes_nothing_else():
    marked, ignored = run("flag"), run("flag", "zscore", 1000.0)
    assert (marked.outliers.n_marked, ignored.outliers.n_marked) == (3, 0)
    tables = [found.segments_table("x").drop_columns("is_outlier") for found in (marked, ignored)]
    assert tables[0].equals(tables[1])
    assert marked.profiles.to_table(marked.names).equals(ignored.profiles.to_table(ignored.names))


def test_winsorised_segments_are_built_on_the_bound_and_described_as_they_are():
    flagged, found = run("flag"), run("winsorise")
    assert len(found.keys) == len(flagged.keys) == 160
    bounds = found.outliers.bounds
    place = found.feature_names.index("log_basket_value")
    plain = found.built["log_basket_value"].to_numpy()
    assert plain.tolist() == flagged.built["log_basket_value"].to_numpy().tolist()
    inside = np.clip(plain, bounds.lower[place], bounds.upper[place])
    refitted = ExactScaler().fit(inside[:, None])
    assert found.model.scaler.mean_[place] == refitted.mean_[0] != flagged.model.scaler.mean_[place]
    assert found.model.scaler.scale_[place] == refitted.scale_[0] < flagged.model.scaler.scale_[place]
    dear = found.profiles.to_table(found.names)
    dear = dear.filter(pc.equal(dear["measure"], "basket_value"))
    assert found.summary.equals(flagged.summary)
    assert pc.max(dear["population_mean"]).as_py() == pytest.approx(
        pc.mean(found.summary["basket_value"]).as_py()
    )


def test_dropped_customers_take_no_part():
    found = run("drop")
    rest = records().filter(
        pc.invert(pc.is_in(records()["customer"], value_set=pa.array(RICH)))
    )  # as if they had never been
    shares = tuple(name.removeprefix("share_") for name in found.feature_names if name.startswith("share_"))
    settings = dataclasses.replace(
        made_up.SETTINGS, n_categories=shares, outliers=OutlierRule(limit=1000.0)
    )  # the largest categories are those of all records
    alone = made_up.run(rest, settings)
    assert found.keys.equals(alone.keys)
    assert len(found.keys) == found.profiles.n_customers == 157
    table = found.segments_table("x")
    placed = table.filter(pc.invert(table["is_fallback"]))
    assert placed.equals(alone.segments_table("x"))
    assert np.array_equal(found.model.scaler.mean_, alone.model.scaler.mean_)
    assert found.profiles.to_table(found.names).equals(alone.profiles.to_table(alone.names))
    gone = table.filter(table["is_fallback"])
    assert gone["customer"].to_pylist() == RICH
    for name, value in {
        "segment_id": 0,
        "segment_name": "Not placed",
        "fallback_reason": "outlier: log_basket_value",
        "is_outlier": True,
        "margin": None,
        "second_segment_id": None,
        "is_novel": None,
        "silhouette": None,
    }.items():
        assert gone[name].to_pylist() == [value] * 3, name


def test_dropping_beside_a_customer_without_a_purchase():
    returned = records().slice(0, 1).to_pylist()[0] | {"customer": "A0", "amount": -2.5}
    more = pa.concat_tables([records(), pa.Table.from_pylist([returned], records().schema)])
    settings = dataclasses.replace(made_up.SETTINGS, outliers=OutlierRule("drop", "zscore", 5.0))
    found = made_up.run(more, settings)
    table = found.segments_table("x")
    assert len(table) == 161
    gone = table.filter(table["is_fallback"])
    assert by_customer(gone, "fallback_reason") == {
        "A0": "no purchase",
        **dict.fromkeys(RICH, "outlier: log_basket_value"),
    }
    assert by_customer(gone, "is_outlier") == {"A0": None, **dict.fromkeys(RICH, True)}
    same = found.model.assign(found.tx)
    assert same.equals(table.select(same.column_names))


@pytest.mark.parametrize("action", ACTIONS)
def test_the_order_of_the_records_does_not_matter(action):
    order = np.random.default_rng(1).permutation(len(records()))
    shuffled = pa.concat_tables([records().take(order[:4000]), records().take(order[4000:])])
    settings = dataclasses.replace(made_up.SETTINGS, outliers=OutlierRule(action, "zscore", 5.0))
    again = made_up.run(shuffled, settings)
    assert again.segments_table("x").equals(run(action).segments_table("x"))


@pytest.mark.parametrize("action", ACTIONS)
def test_a_kept_model_does_as_the_fit(action, tmp_path):
    found = run(action)
    loaded = load_model(save_model(found.model, tmp_path / "model"))
    same = loaded.assign(found.tx)
    assert same.equals(found.segments_table("x").select(same.column_names))
    placed = same.filter(pc.invert(same["is_fallback"]))
    assert placed["segment_id"].to_pylist() == found.segment_ids.tolist()
    assert loaded.outliers.rule == OutlierRule(action, "zscore", 5.0)
    assert not any(placed["is_novel"].to_pylist())  # all segments below 1,000: nobody is beyond all


def test_new_customers_far_out():
    def moved(found, value):
        at = found.built.column_names.index("log_basket_value")
        rows = found.built.slice(0, 2)
        return rows.set_column(at, "log_basket_value", pa.array([value, rows["log_basket_value"][1].as_py()]))

    for action in ACTIONS:
        model = run(action).model
        rows = model.assign(moved(run(action), 30.0)).to_pylist()
        assert [row["is_outlier"] for row in rows] == [True, False]
        if action == "drop":
            assert (rows[0]["segment_id"], rows[0]["fallback_reason"]) == (0, "outlier: log_basket_value")
            assert (rows[0]["is_novel"], rows[0]["margin"]) == (None, None)
        else:
            assert [row["is_novel"] for row in rows] == [True, False]
            assert rows[0]["fallback_reason"] is None
        with pytest.raises(NotFiniteError, match="log_basket_value"):
            model.assign(moved(run(action), np.inf))
    model, upper = run("winsorise").model, run("winsorise").outliers.bounds.upper
    at_bound = moved(run("winsorise"), float(upper[run("winsorise").feature_names.index("log_basket_value")]))
    far, near = model.assign(moved(run("winsorise"), 30.0)), model.assign(at_bound)
    for name in ("segment_id", "margin", "second_segment_id"):
        assert far[name].equals(near[name])  # pulled in: as if on the bound
    assert near["is_outlier"].to_pylist() == [False, False]


def test_a_missing_feature_is_not_an_outlier():
    found = run("drop")
    rows = found.built.slice(0, 2)
    at = rows.column_names.index("regularity")
    rows = rows.set_column(at, "regularity", pa.array([None, rows["regularity"][1].as_py()]))
    rows = found.model.assign(rows).to_pylist()
    assert [row["is_outlier"] for row in rows] == [None, False]
    assert rows[0]["fallback_reason"] == "regularity is missing"
    assert len(found.model.assign(found.built.slice(0, 0))) == 0


def test_other_actions_are_the_alternatives():
    runs = {action: run(action) for action in ACTIONS}
    stay = runs["drop"].outliers.kept
    for action, found in runs.items():
        tried = {entry.what: entry.agreement for entry in found.alternatives if entry.choice == "outliers"}
        assert set(tried) == {*ACTIONS} - {action}
        for other, agreement in tried.items():
            if runs[other].choice.k != found.choice.k:
                continue
            mine, theirs = (
                r.segment_ids[stay] if "drop" in {action, other} and len(r.keys) == 160 else r.segment_ids
                for r in (found, runs[other])
            )
            assert agreement == adjusted_rand_index(mine, theirs)
    assert len({found.choice.k for found in runs.values()}) < 3  # so some were compared


def test_nobody_is_left():
    settings = dataclasses.replace(made_up.SETTINGS, outliers=OutlierRule("drop", "zscore", 0.01))
    with pytest.raises(
        TooFewRowsError,
        match=r"outliers: drop leaves \d of 160 customers, too few for 5 segments; raise the limit \(0.01\), or",
    ):
        made_up.run(records(), settings)


@pytest.mark.parametrize(
    ("action", "decision", "row", "otherwise"),
    [
        ("flag", "Kept and marked: under 10 members", "kept as they are; by feature", "left out (agreement"),
        (
            "winsorise",
            "Pulled in to that bound and marked: under 10",
            "pulled in to that bound in",
            "kept as",
        ),
        ("drop", "Left out and marked: under 10 members", "set apart, in none of these", "pulled in to that"),
    ],
)
def test_the_report_and_the_manifest_say_so(action, decision, row, otherwise, tmp_path):
    found = run(action)
    report = made_up.report_of(found)
    page = " ".join(render_report(report).split())
    assert f"{decision}" in page
    assert row in page
    choices = page[page.index("The choices behind it") :]
    assert f"such members {otherwise}" in choices
    assert "more than 5 standard deviations from the mean of a feature" in choices
    assert "Basket value (under 10)" in page
    with RunFolder(tmp_path / "run", "x", made_up.STARTED) as folder:
        write_tables(folder, found, run_id_of("x", found))
        write_report(folder, found, report)
        write_manifest(folder, "x", found, report, Stages(SilentProgress()), ())
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["parameters"]["outliers"] == {"action": action, "rule": "zscore", "limit": 5.0}
    counts = manifest["counts"]["outliers"]
    assert counts["customers"] == 3
    assert counts["by_feature"]["log_basket_value"] == 3
    assert manifest["counts"]["customers_in_segments"] == (157 if action == "drop" else 160)
    table = pq.read_table(tmp_path / "run" / "segments.parquet")
    assert sum(filter(None, table["is_outlier"].to_pylist())) == 3
    text = (tmp_path / "run" / "segments.csv").read_text(encoding="utf-8-sig")
    assert "is_outlier" in text.splitlines()[0]


def test_the_report_names_features_without_bounds():
    found = run("flag")
    narrow = dataclasses.replace(
        found.outliers, unbounded={"regularity": NO_SPREAD, "discount_share": TWO_VALUES}
    )
    report = dataclasses.replace(made_up.report_of(found), outliers=narrow)
    page = " ".join(render_report(report).split())
    assert "Features without such a bound" in page
    assert "Regularity of visits: no spread by this rule" in page
    assert "Features without such a bound" not in render_report(made_up.report_of(found))


def test_a_model_with_damaged_bounds_is_refused(tmp_path):
    folder = save_model(run("flag").model, tmp_path / "model")
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    assert record["outliers"] == {"action": "flag", "rule": "zscore", "limit": 5.0}
    assert b"outliers.lower" in (folder / ARRAYS).read_bytes()
    (folder / RECORD).write_text(json.dumps(record | {"outliers": {"action": "keep"}}))
    with pytest.raises(SourceError, match="is damaged: InputError: action='keep' is not known"):
        load_model(folder)
    (folder / RECORD).write_text(json.dumps(record | {"outliers": None}))
    same = load_model(folder).assign(run("flag").built)
    assert same["is_outlier"].null_count == len(same) == 160
    assert same["segment_id"].to_pylist() == run("flag").segment_ids.tolist()


JOB = """\
version: 1
job: {name: rich}
source: sales.parquet
roles: {customer: customer, time: time, amount: amount, basket: basket}
time_zone: Europe/Paris
consent: {not_recorded: made-up members}
segments: {clusters: [3, 4]}
"""


def test_a_job_declares_it_and_assign_says_it(tmp_path):
    pq.write_table(records(), tmp_path / "sales.parquet")
    path = tmp_path / "job.yaml"
    path.write_text(f"{JOB}outliers: {{action: drop, limit: 5}}\n", encoding="utf-8")
    result = run_job(path, None, SilentProgress())
    table = pq.read_table(result.folder / "segments.parquet")
    gone = table.filter(table["is_fallback"])
    assert gone["customer"].to_pylist() == RICH
    assert set(gone["fallback_reason"].to_pylist()) == {"outlier: log_basket_value"}
    found = assign_file(result.folder, tmp_path / "sales.parquet", tmp_path / "again.parquet")
    again = pq.read_table(tmp_path / "again.parquet")
    assert again.equals(table.select(again.column_names))
    assert found.sizes["Not placed"] == 3
    told = "3 are outliers, more than 5 standard deviations from the mean of a feature: marked and left out"
    assert told in found.summary


def test_attributes_have_bounds_where_they_are_numbers(tmp_path):
    keys = records()["customer"].to_pylist()
    number = {key: int(key[1:]) for key in keys}
    ages = [500.0 if number[key] == 11 else 30.0 + number[key] % 40 for key in keys]
    tariffs = ["abc"[number[key] % 3] for key in keys]
    table = records().append_column("age", pa.array(ages)).append_column("tariff", pa.array(tariffs))
    pq.write_table(table, tmp_path / "sales.parquet")
    path = tmp_path / "job.yaml"
    more = "columns: {age: build, tariff: build}\nsegmentation_type: mixed\n"
    for action in ("winsorise", "drop"):
        path.write_text(f"{JOB}{more}outliers: {{action: {action}, limit: 5}}\n", encoding="utf-8")
        result = run_job(path, tmp_path / action, SilentProgress())
        run = json.loads((result.folder / "manifest.json").read_text(encoding="utf-8"))
        counts = run["counts"]["outliers"]
        assert counts["by_feature"]["attribute_age"] == 1
        levels = [f"attribute_tariff={level}" for level in "abc"]
        assert counts["features_without_bounds"] == dict.fromkeys(levels, "only 0 and 1")
        segments = pq.read_table(result.folder / "segments.parquet")
        marked = segments.filter(segments["is_outlier"])
        assert marked["customer"].to_pylist() == [RICH[0], "C00011", *RICH[1:]]
        reason = by_customer(marked, "fallback_reason")["C00011"]
        assert reason == (None if action == "winsorise" else "outlier: age")
        assign_file(result.folder, tmp_path / "sales.parquet", tmp_path / f"{action}.parquet")
        again = pq.read_table(tmp_path / f"{action}.parquet")
        assert again.equals(segments.select(again.column_names))
    page = " ".join((tmp_path / "drop" / "report.html").read_text(encoding="utf-8").split())
    assert "not placed: outlier" not in page
    assert "set apart, in none of these segments; by feature" in page
