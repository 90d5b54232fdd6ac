"""The main job: numbering, the fallback segment, one answer, refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gpuseg.customers.reading.transactions import read_transactions
from gpuseg.customers.scaling import ExactScaler
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.insight.model import FALLBACK_ID, FALLBACK_NAME
from gpuseg.insight.report import render_report
from gpuseg.jobs.pipeline import segment_customers
from gpuseg.jobs.progress import SilentProgress
from gpuseg.jobs.settings import Settings
from gpuseg.jobs.stages import Stages
from gpuseg.jobs.steps import number_by_size
from tests.jobs import made_up


def test_the_largest_cluster_is_segment_1():
    ids, clusters = number_by_size(np.array([2, 0, 2, 4, 4, 2, 0]))
    assert ids.tolist() == [1, 2, 1, 3, 3, 1, 2]
    assert ids.dtype == np.int32
    assert clusters == (2, 0, 4)


def test_planted_groups_are_found():
    found = made_up.found()
    assert found.choice.k == 4
    assert found.profiles.sizes == (40, 40, 40, 40)
    group = np.array([(int(key[1:]) - 1) % 4 for key in found.keys.to_pylist()])
    assert len(set(zip(group.tolist(), found.segment_ids.tolist(), strict=True))) == 4
    assert len(set(found.names.values())) == 4
    assert found.certainty.largest_share == 0.25
    assert found.certainty.effective_segments == pytest.approx(4)


def test_the_table_of_segments():
    found = made_up.found()
    table = found.segments_table("made-up-1")
    assert table.schema == pa.schema(
        {
            "customer": pa.string(),
            "segment_id": pa.int32(),
            "segment_name": pa.string(),
            "margin": pa.float64(),
            "second_segment_id": pa.int32(),
            "is_fallback": pa.bool_(),
            "fallback_reason": pa.string(),
            "is_novel": pa.bool_(),
            "is_outlier": pa.bool_(),
            "silhouette": pa.float64(),
            "silhouette_squared": pa.float64(),
            "run_id": pa.string(),
        }
    )
    assert set(table["run_id"].to_pylist()) == {"made-up-1"}
    assert table["segment_id"].to_pylist() == found.segment_ids.tolist()
    assert table["customer"].to_pylist() == sorted(table["customer"].to_pylist())
    assert table["silhouette"].to_numpy().mean() == pytest.approx(found.certainty.silhouette)
    assert table["silhouette_squared"].to_numpy().mean() == pytest.approx(found.certainty.silhouette_squared)


def test_one_answer_for_any_order_of_the_records():
    records = made_up.table()
    order = np.random.default_rng(1).permutation(len(records))
    shuffled = pa.concat_tables([records.take(order[:5000]), records.take(order[5000:])])
    first, second = made_up.found(), made_up.run(shuffled)
    assert first.segments_table("x").equals(second.segments_table("x"))
    assert first.profiles.to_table(first.names).equals(second.profiles.to_table(second.names))
    assert first.retention.to_arrow().equals(second.retention.to_arrow())
    pages = [render_report(made_up.report_of(found)) for found in (first, second)]
    assert pages[0] == pages[1]


def test_a_customer_without_a_purchase_is_in_the_fallback_segment():
    records = made_up.table()
    returned = records.slice(0, 1).to_pylist()[0] | {"customer": "A0", "amount": -2.5}
    found = made_up.run(pa.concat_tables([records, pa.Table.from_pylist([returned], records.schema)]))
    rows = found.segments_table("x")
    assert len(rows) == 161
    (row,) = rows.filter(pc.equal(rows["customer"], "A0")).to_pylist()
    assert row == {
        "customer": "A0",
        "segment_id": FALLBACK_ID,
        "segment_name": FALLBACK_NAME,
        "margin": None,
        "second_segment_id": None,
        "is_fallback": True,
        "fallback_reason": "no purchase",
        "is_novel": None,
        "is_outlier": None,
        "silhouette": None,
        "silhouette_squared": None,
        "run_id": "x",
    }
    assert found.profiles.n_customers == 160
    assert rows.slice(1).equals(made_up.found().segments_table("x"))


def test_cohorts_leave_out_those_who_were_there_from_the_start():
    retention = made_up.found().retention
    assert (retention.n_already_customers, retention.n_in_cohorts) == (116, 44)
    sizes = {start.month: size for start, size in zip(retention.starts, retention.counts[:, 0], strict=True)}
    assert (sizes[3], sizes[6], sizes[9]) == (20, 20, 4)
    assert np.isnan(sizes[1])


def test_more_segments_than_different_customers_are_refused():
    records = made_up.table(4)
    one = records.filter(pc.equal(records["customer"], "C00001"))
    index = one.schema.get_field_index("customer")
    clones = [
        one.set_column(index, "customer", pa.array([f"D{number}"] * len(one))).set_column(
            one.schema.get_field_index("basket"), "basket", pc.add(one["basket"], 1_000_000 * number)
        )
        for number in range(6)
    ]
    settings = dataclasses.replace(made_up.SETTINGS, lookback=0)
    with pytest.raises(
        TooFewRowsError,
        match=r"all 6 customers are alike in every feature that builds segments: nothing tells",
    ):
        made_up.run(pa.concat_tables(clones), settings)


def test_one_customer_is_refused():
    records = made_up.table(1)
    with pytest.raises(
        InputError, match=r"too few customers \(1\) for 5 segments, the most that is tried; lower"
    ):
        made_up.run(records, dataclasses.replace(made_up.SETTINGS, lookback=0))


def test_other_kinds_of_frames_are_refused():
    tx = read_transactions(made_up.table(4).to_pandas(), **made_up.ROLES)
    with pytest.raises(InputError, match="a pandas frame; a job reads files or an Arrow table"):
        segment_customers(tx, Settings(), Stages(SilentProgress()), made_up.WORDING)


def test_a_group_of_shares_weighs_as_one_feature():
    found = made_up.found()
    names = list(found.model.feature_names)
    assert sum(name.startswith("share_") for name in names) == 4
    plain = ExactScaler().fit(found.built)
    spread = plain.scale_ / found.model.scaler.scale_
    assert spread.tolist() == pytest.approx([0.5 if name.startswith("share_") else 1.0 for name in names])


def test_the_model_gives_the_customers_their_segments():
    found = made_up.found()
    assert found.model.assign(found.built)["segment_id"].to_pylist() == found.segment_ids.tolist()


def test_the_outcome_answers_the_decision():
    found = made_up.answered()
    rates = found.answer.rates
    assert rates.whole.base == 120
    assert sum(segment.n_customers for segment in rates.segments) == 160
    second = {
        int(key[1:]) % 4: segment
        for key, segment in zip(found.keys.to_pylist(), found.segment_ids, strict=True)
    }
    assert found.answer.chosen.segment_id == second[2]
    assert found.answer.chosen.rate.value == pytest.approx(2 / 3, abs=0.1)
    assert found.choice.rule == "limits"
    assert {entry.stability.n_boot for entry in found.choice.evidence} == {3}
    assert (
        found.model.segments[found.answer.chosen.segment_id - 1].outcome_rate
        == found.answer.chosen.rate.value
    )


def test_stages_are_recorded_in_order():
    stages = Stages(SilentProgress())
    tx = read_transactions(made_up.table(), **made_up.ROLES)
    segment_customers(tx, made_up.SETTINGS, stages, made_up.WORDING)
    assert [stage.name for stage in stages.ended] == [
        "build features",
        "find outliers",
        "scale features",
        "choose the number of segments",
        "measure silhouettes",
        "try other choices",
        "follow cohorts",
        "describe segments",
        "score spending styles",
    ]
    assert all(stage.rows == 160 for stage in stages.ended)
