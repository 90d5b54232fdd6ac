"""Scaling: exact moments against Python integers, the same bits for every kind of table and any chunking."""

from __future__ import annotations

import logging
import math
import pickle
from fractions import Fraction

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

import gpuseg as gs
from gpuseg.customers.features import features
from gpuseg.customers.scaling import ExactScaler
from gpuseg.errors import InputError, NotFiniteError, RangeError, TooFewRowsError

VALUES = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=60)


def oracle(column):
    """Mean and standard deviation from Python integers (ONE_ANSWER, section 4)."""
    largest = max(abs(x) for x in column)
    exponent = 0 if largest == 0 else min(max(39 - math.floor(math.log2(largest)), -100), 100)
    whole = [round(Fraction(x) * Fraction(2) ** exponent) for x in column]  # half to even, as rint
    n = len(whole)
    variance = Fraction(n * sum(q * q for q in whole) - sum(whole) ** 2, n * n) / Fraction(4) ** exponent
    mean = float(sum(whole)) / float(n) / 2.0**exponent
    return mean, math.sqrt(variance.numerator / variance.denominator)


@given(VALUES)
def test_mean_and_sd_are_those_of_the_exact_integers(column):
    scaler = ExactScaler().fit(np.array(column)[:, None])
    mean, sd = oracle(column)
    if min(column) == max(column):
        assert (scaler.mean_[0], scaler.scale_[0]) == (column[0], 1.0)
    else:
        assert (scaler.mean_[0], scaler.scale_[0]) == (mean, sd or 1.0)


def table(n=300, d=4):
    rng = np.random.default_rng(2)
    return np.round(rng.normal(3, [1, 10, 0.1, 1000], (n, d)), 6)


def test_close_to_scikit_learn():
    X = table()
    ours, theirs = ExactScaler().fit(X), StandardScaler().fit(X)
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=1e-10)
    np.testing.assert_allclose(ours.scale_, theirs.scale_, rtol=1e-10)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), atol=1e-9)
    np.testing.assert_allclose(ours.inverse_transform(ours.transform(X)), X, rtol=1e-12)


@pytest.mark.parametrize("chunks", [1, 7, 100, 300])
def test_order_and_chunks_do_not_matter(chunks):
    X = table()
    expected = ExactScaler().fit(X)
    shuffled = X[np.random.default_rng(chunks).permutation(len(X))]
    found = ExactScaler().fit(da.from_array(shuffled, chunks=(chunks, 2)))
    assert np.array_equal(found.mean_, expected.mean_)
    assert np.array_equal(found.scale_, expected.scale_)
    scaled = found.transform(da.from_array(X, chunks=(chunks, 2)))
    assert isinstance(scaled, da.Array)
    assert np.array_equal(scaled.compute(), expected.transform(X))


def test_what_comes_in_goes_out(lines, roles):
    arrow = features(gs.read_transactions(lines, **roles))
    frame = features(gs.read_transactions(lines.to_pandas(), **roles))
    polars = features(gs.read_transactions(pl.from_arrow(lines), **roles))
    lazy = dd.from_pandas(frame, npartitions=3)
    names = arrow.column_names[1:]
    expected = ExactScaler().fit(frame[names].to_numpy())
    plain = expected.transform(frame[names].to_numpy())

    scaled = ExactScaler().fit_transform(arrow)
    assert scaled.schema.metadata == arrow.schema.metadata
    assert scaled["customer"].equals(arrow["customer"])
    assert np.array_equal(np.column_stack([scaled[name] for name in names]), plain)

    scaled = ExactScaler().fit_transform(frame)
    assert scaled.index.equals(frame.index)
    assert scaled.attrs == frame.attrs
    assert np.array_equal(scaled[names].to_numpy(), plain)

    scaler = ExactScaler(customer="customer").fit(polars)
    scaled = scaler.transform(polars)
    assert scaled["customer"].equals(polars["customer"])
    assert np.array_equal(scaled.select(names).to_numpy(), plain)
    assert ExactScaler(customer="customer").fit_transform(polars.lazy()).equals(scaled)
    assert scaler.inverse_transform(scaled).columns == polars.columns

    scaled = ExactScaler().fit_transform(lazy)
    assert isinstance(scaled, dd.DataFrame)
    assert (scaled.dtypes == np.float64).all()
    assert np.array_equal(scaled.compute()[names].to_numpy(), plain)


def test_constant_features_are_recorded_and_scaled_by_one(caplog):
    caplog.set_level(logging.INFO, logger="gpuseg.customers")
    frame = pd.DataFrame({"a": [0.1, 0.1, 0.1], "b": [1.0, 2.0, 3.0]})
    scaler = ExactScaler().fit(frame)
    assert scaler.constant_features_ == ("a",)
    assert scaler.scale_[0] == 1.0
    assert scaler.transform(frame)["a"].tolist() == [0.0, 0.0, 0.0]
    assert "constant features, scaled by 1: a" in caplog.text
    assert ExactScaler().fit(frame.to_numpy()).constant_features_ == (0,)
    assert ExactScaler().fit(frame.iloc[:1]).constant_features_ == ("a", "b")


def test_a_coarse_feature_is_recorded(caplog):
    caplog.set_level(logging.WARNING)
    scaler = ExactScaler().fit(pd.DataFrame({"t": [1e15, 1e15 + 1, 1e15 + 2]}))
    assert scaler.coarse_features_ == ("t",)
    assert scaler.constant_features_ == ()
    assert "t: the largest value exceeds 2**30 standard deviations" in caplog.text


@pytest.mark.parametrize(
    ("X", "error", "said"),
    [
        (np.array([[1.0], [np.nan]]), NotFiniteError, "contains NaN or infinity: 1 values"),
        (pd.DataFrame({"a": [np.inf, 1.0]}), NotFiniteError, r"1 values in a \(1\)"),
        (np.array([[1e40]]), RangeError, "reaches 1e.40"),
        (np.empty((0, 2)), TooFewRowsError, "0 rows"),
        (pd.DataFrame({"a": ["x"]}), InputError, "column 'a' is .*, not numeric"),
        (np.array([1.0, 2.0]), InputError, "got 1 dimensions"),
    ],
)
def test_unusable_tables_are_refused(X, error, said):
    with pytest.raises(error, match=said):
        ExactScaler().fit(X)


def test_other_features_than_those_of_fit_are_refused():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    scaler = ExactScaler().fit(frame)
    with pytest.raises(InputError, match=r"differ from those of fit: \['b', 'c'\]"):
        scaler.transform(frame.rename(columns={"b": "c"}))
    with pytest.raises(InputError, match="their order"):
        scaler.transform(frame[["b", "a"]])
    with pytest.raises(InputError, match="3 features, but fit had 2"):
        scaler.transform(np.ones((1, 3)))
    with pytest.raises(NotFittedError):
        ExactScaler().transform(frame)


def test_manners():
    scaler = ExactScaler(customer="who", n_jobs=1)
    assert clone(scaler).get_params() == {"customer": "who", "engine": "auto", "n_jobs": 1}
    fitted = ExactScaler().fit(pd.DataFrame({"a": [1.0, 2.0]}))
    assert pickle.loads(pickle.dumps(fitted)).mean_ == fitted.mean_
    assert fitted.get_feature_names_out().tolist() == ["a"]
    fitted.fit(np.ones((3, 2)) * [[1.0], [2.0], [4.0]])
    assert fitted.get_feature_names_out().tolist() == ["x0", "x1"]
    assert (fitted.n_features_in_, fitted.n_samples_seen_) == (2, 3)


def test_float32_keeps_its_values():
    X = table().astype(np.float32)
    found = ExactScaler().fit(X)
    wide = ExactScaler().fit(X.astype(np.float64))
    assert np.array_equal(found.mean_, wide.mean_)
    assert found.transform(X).dtype == np.float64
    arrow = pa.table({"x": pa.array(X[:, 0])})
    assert ExactScaler().fit(arrow).mean_[0] == found.mean_[0]
