"""Dask in, Dask out: lazy, the same bits for any partitioning, problems listed once over all partitions."""

from __future__ import annotations

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import gpuseg as gs
from gpuseg.customers.features import customer_state, customer_summary, features
from gpuseg.customers.scaling import ExactScaler
from gpuseg.errors import SchemaError

NAMES = ["PANTRY", "FRESH", "DELI", "HOME"]


class Counting:
    """A scheduler that counts how often it is asked to work."""

    def __init__(self):
        self.calls = 0

    def __call__(self, graph, keys, **options):
        self.calls += 1
        return dask.get(graph, keys, **options)


@pytest.fixture
def counting():
    scheduler = Counting()
    with dask.config.set(scheduler=scheduler):
        yield scheduler


def dask_frame(table, parts, *, shuffle=False):
    frame = table.to_pandas()
    if shuffle:
        frame = frame.sample(frac=1.0, random_state=3)
    return dd.from_pandas(frame, npartitions=parts, sort=False)


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("parts", [1, 3, 11])
def test_any_partitioning_gives_what_pandas_gives(lines, text_lines, roles, parts, text):
    source = text_lines if text else lines
    expected = features(gs.read_transactions(source.to_pandas(), **roles))
    found = features(gs.read_transactions(dask_frame(source, parts, shuffle=True), **roles))
    assert found.npartitions == parts
    result = found.compute()
    assert result.index.name == "customer"
    pd.testing.assert_frame_equal(result, expected, check_exact=True, check_index_type=False)
    assert (found.dtypes == result.dtypes).all()
    summary = customer_summary(gs.read_transactions(dask_frame(source, parts), **roles))
    known = customer_summary(gs.read_transactions(source.to_pandas(), **roles))
    pd.testing.assert_frame_equal(summary.compute(), known, check_exact=True, check_index_type=False)
    assert [str(t) for t in summary.dtypes] == [str(t) for t in known.dtypes]


def test_nothing_is_computed_until_asked(lines, roles, counting):
    frame = dask_frame(lines, 4)
    tx = gs.read_transactions(frame, **roles)
    table = features(tx, categories=NAMES)
    summary = customer_summary(tx, "2023-06-30", categories=0)
    assert counting.calls == 0
    assert (tx.n_rows, tx.n_rejected, tx.rejects, tx.audit) == (None, None, None, None)
    assert isinstance(table, dd.DataFrame)
    assert table.index.name == "customer"
    assert "share_PANTRY" in table.columns
    assert len(table) == len(summary) == 30
    assert counting.calls > 0


def test_a_number_of_categories_reads_the_records_once_to_name_them(lines, roles, counting):
    tx = gs.read_transactions(dask_frame(lines, 3), **roles)
    table = features(tx, categories=2)
    assert counting.calls == 1
    assert [name for name in table.columns if name.startswith("share_")] == ["share_PANTRY", "share_FRESH"]


def test_the_meta_is_what_comes_out(lines, roles):
    found = features(gs.read_transactions(dask_frame(lines, 2), **roles), categories=NAMES)
    meta, part = found._meta, found.partitions[0].compute()
    assert meta.columns.tolist() == part.columns.tolist()
    assert meta.dtypes.tolist() == part.dtypes.tolist()
    assert meta.index.dtype == part.index.dtype
    assert meta.index.name == part.index.name


def test_more_partitions_than_customers_and_empty_ones(lines, roles):
    few = lines.slice(0, 40).to_pandas()
    frame = dd.concat(
        [dd.from_pandas(few, npartitions=5, sort=False), dd.from_pandas(few.iloc[:0], npartitions=1)]
    )
    found = features(gs.read_transactions(frame, **roles), categories=["DELI"]).compute()
    expected = features(gs.read_transactions(few, **roles), categories=["DELI"])
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_index_type=False)


def test_schema_problems_are_told_at_once(lines, roles, counting):
    frame = dask_frame(lines, 2)
    with pytest.raises(SchemaError) as caught:
        gs.read_transactions(
            frame, **(roles | {"amount": "amuont", "time": "department", "customer": "discount"})
        )
    assert counting.calls == 0
    assert [p.split(";")[0] for p in caught.value.problems] == [
        "column 'discount' plays the roles 'customer' and 'discount'",
        "column 'department' plays the roles 'time' and 'category'",
        "column 'amuont' (amount) is missing",
        "column 'discount' (customer) holds float",
        "column 'department' (time) holds text",
    ]


def test_bad_values_of_all_partitions_are_told_once(lines, roles):
    frame = lines.to_pandas()
    frame.loc[[0, 1, len(frame) - 1], "amount"] = [np.inf, 1.005, -np.inf]
    frame.loc[[2, len(frame) - 2], "time"] = pd.NaT
    tx = gs.read_transactions(dd.from_pandas(frame, npartitions=4), **roles)
    table = features(tx, categories=NAMES)
    with pytest.raises(SchemaError) as caught:
        table.compute()
    assert [p.split(";")[0] for p in caught.value.problems] == [
        f"column 'time' (time) is missing (null) in 2 of {len(frame):,} rows",
        f"column 'amount' (amount) is NaN or infinite in 2 of {len(frame):,} rows",
        f"column 'amount' (amount) has more decimals than minor_units allows in 1 of {len(frame):,} rows",
    ]


def test_mixed_ids_across_partitions_are_refused(lines, roles):
    with dask.config.set({"dataframe.convert-string": False}):
        frame = lines.slice(0, 60).to_pandas().astype({"customer": object})
        frame["customer"] = [int(c) if i < 30 else str(c) for i, c in enumerate(frame["customer"])]
        tx = gs.read_transactions(dd.from_pandas(frame, npartitions=2, sort=False), **roles)
        with pytest.raises(SchemaError, match="mixes types: 30 rows of text and 30 rows of whole numbers"):
            features(tx, categories=["DELI"]).compute()


def test_naive_times_warn_once_when_the_frame_is_given(lines, roles):
    options = {role: name for role, name in roles.items() if role != "time_zone"}
    with pytest.warns(UserWarning, match="times carry no time zone; they are taken as UTC") as caught:
        tx = gs.read_transactions(dask_frame(lines, 2), **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert tx.time_zone == "UTC"


def test_the_state_is_a_task_and_records_can_be_read_again(lines, roles):
    tx = gs.read_transactions(dask_frame(lines, 3), **roles)
    assert customer_state(tx).compute().n_customers == 30
    assert sum(len(table) for table in tx.tables()) == lines.num_rows
    assert sum(len(table) for table in tx.tables()) == lines.num_rows
    assert tx.fingerprint == gs.read_transactions(dask_frame(lines, 3), **roles).fingerprint


def test_kmeans_takes_the_dask_features(lines, roles):
    kmeans = pytest.importorskip("gpuseg.cluster.kmeans", reason="needs the room cluster")
    local = features(gs.read_transactions(lines.to_pandas(), **roles), categories=NAMES)
    lazy = features(gs.read_transactions(dask_frame(lines, 4, shuffle=True), **roles), categories=NAMES)
    a = kmeans.KMeans(n_clusters=4, random_state=0).fit(local)
    b = kmeans.KMeans(n_clusters=4, random_state=0).fit(lazy)
    assert np.array_equal(a.cluster_centers_, b.cluster_centers_)
    assert np.array_equal(a.labels_, np.asarray(b.labels_))


@pytest.mark.cluster
def test_worker_processes_give_the_same_bits(lines, roles):
    from dask.distributed import Client

    local = gs.read_transactions(lines.to_pandas(), **roles)
    expected, cohorts = features(local, categories=NAMES), gs.cohort_retention(local)
    scaler = ExactScaler().fit(expected)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with Client(**options):
        tx = gs.read_transactions(dask_frame(lines, 5, shuffle=True), **roles)
        found = features(tx, categories=NAMES)
        pd.testing.assert_frame_equal(found.compute(), expected, check_exact=True, check_index_type=False)
        assert np.array_equal(gs.cohort_retention(tx).counts, cohorts.counts, equal_nan=True)
        again = ExactScaler().fit(found)
    assert np.array_equal(again.mean_, scaler.mean_)
    assert np.array_equal(again.scale_, scaler.scale_)
