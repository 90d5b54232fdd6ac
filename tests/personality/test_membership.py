"""Soft membership: an oracle, sums that are exactly 1, the hard label first, and paths over time."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg import KMeans
from gpuseg.errors import InputError
from gpuseg.personality import membership
from gpuseg.personality.membership import membership_path, shares_of, soft_membership, temperature_of


def table_of(n=300, seed=0, shift=0.0):
    draws = np.random.default_rng(seed)
    middle = np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 4.0]])[draws.integers(0, 3, n)]
    values = middle + draws.normal(shift, 1.0, (n, 2))
    return pa.table({"who": np.arange(n) + 1, "visits": values[:, 0], "spend": values[:, 1]})


@pytest.fixture(scope="module")
def model():
    return KMeans(3, random_state=0).fit(table_of(), customer="who")


def test_shares_are_those_of_the_oracle(model):
    table = table_of(seed=1)
    found = soft_membership(model, table)
    t = 2 * model.inertia_ / (300 * 2)
    assert found.temperature == t
    for row, (visits, spend) in enumerate(
        zip(table["visits"].to_pylist(), table["spend"].to_pylist(), strict=True)
    ):
        weights = [
            math.exp(-((visits - cx) ** 2 + (spend - cy) ** 2) / t)
            for cx, cy in model.cluster_centers_.tolist()
        ]
        assert found.shares[row] == pytest.approx([w / sum(weights) for w in weights], abs=1e-5)


def test_the_temperature_is_twice_the_variance_within():
    draws = np.random.default_rng(3)
    centre = np.array([[0.0, 0, 0], [50, 0, 0]])
    values = centre[np.arange(4000) % 2] + draws.normal(0, 2.0, (4000, 3))
    fitted = KMeans(2, random_state=0).fit(values)
    assert temperature_of(fitted.inertia_, 4000, 3) == pytest.approx(8.0, rel=0.05)


def test_shares_are_posteriors_of_round_clouds():
    # Of customers with a share near .7, about 70 % come from that cloud.
    draws = np.random.default_rng(4)
    truth = draws.integers(0, 2, 40_000)
    values = np.stack([truth * 3.0, np.zeros(40_000)], axis=1) + draws.normal(0, 1.0, (40_000, 2))
    shares = shares_of(
        np.stack([np.hypot(values[:, 0], values[:, 1]), np.hypot(values[:, 0] - 3, values[:, 1])], axis=1),
        (values[:, 0] > 1.5).astype(np.int32),
        2.0,
    )
    near = np.abs(shares[:, 1] - 0.7) < 0.05
    assert truth[near].mean() == pytest.approx(0.7, abs=0.05)


def test_the_hard_label_is_that_of_the_model_and_has_the_largest_share(model):
    table = table_of(5000, seed=2)
    found = soft_membership(model, table)
    assert np.array_equal(found.labels, model.predict(table.select(["visits", "spend"])))
    own = found.shares[np.arange(5000), found.labels]
    assert (own[:, None] >= found.shares).all()
    assert own.min() < 0.5
    assert own.max() > 0.99


@given(
    st.lists(st.lists(st.floats(0, 1e6), min_size=4, max_size=4), min_size=1, max_size=20),
    st.sampled_from([0.0, 1e-300, 0.01, 1.0, 77.7, 1e12]),
)
def test_shares_add_up_to_exactly_one(distances, t):
    d = np.array(distances)
    labels = d.argmin(axis=1).astype(np.int32)
    shares = shares_of(d, labels, t)
    assert (shares.sum(axis=1) == 1.0).all()
    assert (shares[:, ::-1].cumsum(axis=1)[:, -1] == 1.0).all()
    assert (shares >= 0).all()
    assert (shares.max(axis=1) == shares[np.arange(len(d)), labels]).all()


def test_ties_and_no_temperature():
    d = np.array([[1.0, 1.0, 2.0]])
    label = np.array([0], np.int32)
    assert shares_of(d, label, 0.0).tolist() == [[1.0, 0.0, 0.0]]
    assert shares_of(np.array([[1.0, 1e100]]), label, 1e-300).tolist() == [[1.0, 0.0]]
    warm = shares_of(d, label, 1e9)[0]
    assert abs(warm[0] - warm[1]) <= 2**-39
    assert warm[0] >= warm[1] > warm[2] > 0.333
    assert shares_of(np.array([[1.0, 1.0]]), label, 1.0).tolist() == [[0.5, 0.5]]


def test_order_chunks_and_kinds_of_customers_change_nothing(model, monkeypatch):
    table = table_of(500, seed=6)
    whole = soft_membership(model, table)
    monkeypatch.setattr(membership, "_BLOCK_ROWS", 33)
    assert np.array_equal(soft_membership(model, table).shares, whole.shares)
    order = np.random.default_rng(0).permutation(500)
    assert np.array_equal(soft_membership(model, table.take(order)).shares, whole.shares[order])
    parts = [soft_membership(model, table.slice(i, 77)).shares for i in range(0, 500, 77)]
    assert np.array_equal(np.concatenate(parts), whole.shares)
    frame = soft_membership(model, table.to_pandas().set_index("who")).table()
    assert isinstance(frame, pd.DataFrame)
    assert frame.index.name == "who"
    assert np.array_equal(frame.filter(like="membership").to_numpy(), whole.shares)
    polars = soft_membership(model, pl.from_arrow(table)).table(["a", "b", "c"])
    assert polars.columns == ["who", "segment", "membership_a", "membership_b", "membership_c"]
    swapped = soft_membership(model, table.select(["who", "spend", "visits"]))
    assert np.array_equal(swapped.shares, whole.shares)


def test_customers_without_a_feature_are_counted(model):
    table = pa.table({"who": [1, 2, 3], "visits": [0.0, None, 1.0], "spend": [0.0, 1.0, math.inf]})
    found = soft_membership(model, table)
    assert found.n_missing == 2
    assert found.labels[1:].tolist() == [-1, -1]
    rows = found.table().to_pylist()
    assert rows[1]["segment"] is None
    assert rows[1]["membership_0"] is None
    assert rows[0]["segment"] is not None


def test_a_model_of_arrays_and_wrong_tables():
    values = np.array([[0.0], [1.0], [9.0], [10.0]])
    fitted = KMeans(2, init=values[[0, 3]]).fit(values)
    table = pa.table({"who": list("abcd"), "x": values[:, 0]})
    assert soft_membership(fitted, table).labels.tolist() == [0, 0, 1, 1]
    with pytest.raises(InputError, match="2 columns; the model has 1"):
        soft_membership(fitted, table.append_column("y", pa.array([1.0, 2, 3, 4])))
    with pytest.raises(InputError, match="temperature=-1"):
        soft_membership(fitted, table, temperature=-1.0)
    with pytest.raises(InputError, match="2 segments need a name each"):
        soft_membership(fitted, table).table(["a", "a"])
    with pytest.raises(InputError, match="none of a fitted model"):
        temperature_of(math.nan, 4, 1)


def test_a_path_tells_who_moved_and_how_far(model):
    january, february = table_of(40, seed=1), table_of(50, seed=9).slice(10)
    first, second = soft_membership(model, january), soft_membership(model, february)
    path = membership_path([("2024-01", first), ("2024-02", second)])
    assert path.num_rows == 80
    rows = {(row["who"], row["period"]): row for row in path.to_pylist()}
    assert list(rows) == sorted(rows)
    for who in range(1, 51):
        old = first.shares[who - 1] if who <= 40 else None
        new = second.shares[who - 11] if who > 10 else None
        if old is not None:
            row = rows[who, "2024-01"]
            assert (row["moved"], row["shift"]) == (None, None)
            assert row["membership"] == old.max()
        if new is not None:
            row = rows[who, "2024-02"]
            assert row["segment"] == second.labels[who - 11]
            assert row["membership"] == new[row["segment"]]
            if old is not None:
                assert row["shift"] == pytest.approx(np.abs(new - old).sum() / 2)
                assert row["moved"] == (first.labels[who - 1] != row["segment"])
            else:
                assert row["shift"] is None
    backwards = soft_membership(model, february.take(np.arange(40)[::-1]))
    assert membership_path([("2024-01", first), ("2024-02", backwards)]).equals(path)
    assert any(row["moved"] for row in path.to_pylist())


def test_a_path_keeps_to_one_model(model):
    table = table_of(40, seed=1)
    first = soft_membership(model, table)
    with pytest.raises(InputError, match="another model or temperature"):
        membership_path([("a", first), ("b", soft_membership(model, table, temperature=1.0))])
    with pytest.raises(InputError, match="one twice"):
        membership_path([("a", first), ("a", first)])
    text = table.set_column(0, "who", table["who"].cast(pa.string()))
    with pytest.raises(InputError, match="large_string"):
        membership_path([("a", first), ("b", soft_membership(model, text))])
    assert membership_path([("a", soft_membership(model, table.slice(0, 0)))]).num_rows == 0


def test_a_fit_with_weights_has_no_temperature_of_its_own():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    table = pa.table({"who": np.arange(60), "a": rows[:, 0], "b": rows[:, 1]})
    model = KMeans(2, random_state=0).fit(table, customer="who", sample_weight=np.full(60, 10.0))
    with pytest.raises(InputError, match="fitted with weights"):
        soft_membership(model, table)
    assert soft_membership(model, table, temperature=2.0).shares.sum(axis=1).tolist() == [1.0] * 60


def test_no_share_is_larger_than_its_own():
    shares = shares_of(np.array([[1.0, 1.0 - 1e-12]]), np.zeros(1, np.int32), 1e-20)
    assert shares.tolist() == [[0.5, 0.5]]
