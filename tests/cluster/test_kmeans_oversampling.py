"""KMeans(init="k-means||"): one answer however rows are split, weights honoured, few candidates topped up."""

from __future__ import annotations

import functools
import logging

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg import KMeans
from gpuseg.cluster.seeding import gather_sample
from gpuseg.engines.cpu import pool
from gpuseg.graph.memo import ENVIRONMENT, MEMO
from tests.cluster.kinds import KINDS, Answer, rows_of, weights_of

N = 83

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module", autouse=True)
def _small_splits():
    """Threads share even these few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_MIN_ROWS", 16)
        yield


def model(n_clusters=5, **parameters) -> KMeans:
    return KMeans(
        n_clusters,
        **{"init": "k-means||", "random_state": 11, "n_init": 2, "tol": 0, "max_iter": 12, **parameters},
    )


@functools.cache
def reference(dtype: str, weights: str) -> Answer:
    return Answer.of(model(n_jobs=1).fit(rows_of(dtype), sample_weight=weights_of(weights)))


@given(
    cuts=st.lists(st.integers(0, N), max_size=8),
    dtype=st.sampled_from(["float32", "float64"]),
    weights=st.sampled_from(["none", "integer", "real"]),
    n_jobs=st.sampled_from([1, 2, 5]),
    n_bytes=st.sampled_from([None, 0, 300, 1500, 4000]),
)
def test_any_chunking_threads_and_memo(cuts, dtype, weights, n_jobs, n_bytes):
    X, w = rows_of(dtype), weights_of(weights)
    sizes = tuple(np.diff([0, *sorted(cuts), N]).tolist())
    rows = da.from_array(X, chunks=(sizes, 3))
    given_weights = None if w is None else da.from_array(w, chunks=(sizes[::-1],))
    with pytest.MonkeyPatch.context() as patch:
        if n_bytes is not None:
            patch.setenv(ENVIRONMENT, str(n_bytes))
        fitted = model(n_jobs=n_jobs).fit(rows, sample_weight=given_weights)
    found = Answer.of(fitted, lambda labels: labels.compute(scheduler="sync"))
    assert found == reference(dtype, weights)
    assert MEMO.n_bytes() == 0


@pytest.mark.parametrize("weights", ["none", "real"])
@pytest.mark.parametrize("kind", ["numpy strided", "pandas", "Dask dataframe", "Parquet folder"])
def test_kinds_of_table(kind, weights, tmp_path):
    made = KINDS[kind](rows_of("float32"), weights_of(weights), tmp_path)
    fitted = model().fit(made.X, sample_weight=made.sample_weight)
    assert Answer.of(fitted, made.gather) == reference("float32", weights)


def test_with_keys_the_order_of_rows_does_not_matter():
    X = rows_of("float32")
    keys = pd.Index([f"h{i * 7919 % N:03}" for i in range(N)], name="household")
    frame = pd.DataFrame(X, columns=list("abcd"), index=keys)
    order = np.random.default_rng(1).permutation(N)
    straight, shuffled = model().fit(frame), model().fit(frame.iloc[order])
    assert shuffled.labels_.tolist() == straight.labels_[order].tolist()
    assert shuffled.cluster_centers_.tobytes() == straight.cluster_centers_.tobytes()
    assert shuffled.inertia_ == straight.inertia_


def test_seeds_and_parameters_draw_other_candidates():
    X = rows_of("float32", n=400, seed=2)
    settings = [
        {},
        {"random_state": 12},
        {"oversampling_factor": 0.5},
        {"init_max_iter": 1},
        {"init": "k-means++"},
    ]
    fits = [model(n_init=1, max_iter=1, sample_start=False, **each).fit(X) for each in settings]
    assert len({fitted.cluster_centers_.tobytes() for fitted in fits}) == len(fits)


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_all_weights_times_a_power_of_two(weights):
    """The chance of a row, (l w d2) / sum, stays the same to the bit; so does all that comes after."""
    X, w = rows_of("float32"), weights_of(weights)
    w = np.ones(N) if w is None else w
    heavier = model().fit(X, sample_weight=8.0 * w)
    lighter = model().fit(X, sample_weight=w)
    assert heavier.labels_.tolist() == lighter.labels_.tolist()
    assert heavier.cluster_centers_.tobytes() == lighter.cluster_centers_.tobytes()
    assert heavier.inertia_ == 8.0 * lighter.inertia_
    if weights == "none":
        assert Answer.of(lighter) == reference("float32", "none")


def test_rows_of_weight_zero_are_as_if_they_were_not_there():
    X, far = rows_of("float32"), np.full((40, 4), 1e4, np.float32)
    w = np.r_[weights_of("integer"), np.zeros(40)]
    with_them = model().fit(np.vstack([X, far]), sample_weight=w)
    assert with_them.cluster_centers_.tobytes() == reference("float32", "integer").centres
    assert with_them.labels_[:N].tobytes() == reference("float32", "integer").labels


@pytest.mark.parametrize("power", [-20, 17])
def test_all_columns_times_a_power_of_two(power):
    X = rows_of("float32")
    scaled = model().fit(np.ldexp(X, power))
    plain = model().fit(X)
    assert scaled.labels_.tolist() == plain.labels_.tolist()
    assert scaled.cluster_centers_.tobytes() == np.ldexp(plain.cluster_centers_, power).tobytes()


def test_small_groups_far_away_are_seeded():
    """Of 20,000 rows a sample of 200 does not meet three pairs; their distances make them candidates."""
    rng = np.random.default_rng(5)
    far = np.repeat(np.array([[900, 0], [0, 900], [-900, 0]]), 2, axis=0) + rng.normal(size=(6, 2))
    X = np.vstack([rng.normal(size=(20_000, 2)), far]).astype(np.float32)
    fitted = model(4, n_init=1, max_iter=1).fit(X)
    assert len(set(fitted.labels_[-6:].tolist())) == 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpuseg.cluster.sharing.gather_sample", functools.partial(gather_sample, limit=200))
        missed = model(4, init="k-means++", n_init=1, max_iter=1).fit(X)
    assert missed.inertia_ > 10 * fitted.inertia_


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17])
def test_as_many_clusters_as_rows(n):
    X = rows_of("float32", n=n)
    fitted = model(n).fit(X)
    assert sorted(fitted.labels_.tolist()) == list(range(n))
    assert fitted.inertia_ == 0.0
    one = model(1).fit(X)
    assert one.labels_.tolist() == [0] * n
    assert np.allclose(one.cluster_centers_[0], X.mean(axis=0), atol=1e-5)


def test_rows_that_are_all_equal(caplog):
    with caplog.at_level(logging.INFO, "gpuseg.cluster"):
        fitted = model(3).fit(np.full((50, 2), 3.25, np.float32))
    assert fitted.cluster_centers_.tolist() == [[3.25, 3.25]] * 3
    assert fitted.inertia_ == 0.0
    assert "k-means||: 1 candidates after 0 rounds" in caplog.text
    assert "kept 1 candidates for 3 clusters" in caplog.text


def test_too_few_candidates_are_topped_up_from_all_rows(caplog):
    """With hardly any oversampling the row it began with is all: empty clusters move to the farthest rows."""
    X = np.repeat(np.arange(6, dtype=np.float32) ** 2, 20)[:, None]
    with caplog.at_level(logging.WARNING, "gpuseg.cluster"):
        fitted = model(4, oversampling_factor=1e-9, init_max_iter=2).fit(X)
    assert "kept 1 candidates for 4 clusters; the others start at the rows farthest" in caplog.text
    assert fitted.n_relocated_ >= 3
    assert len(set(fitted.labels_.tolist())) == 4
    chunked = model(4, oversampling_factor=1e-9, init_max_iter=2).fit(da.from_array(X, chunks=(7, 1)))
    assert Answer.of(chunked, lambda labels: labels.compute(scheduler="sync")) == Answer.of(fitted)


def test_duplicates_count_in_one_candidate():
    X = np.repeat(np.array([[0, 0], [8, 0], [0, 8]], np.float32), [30, 20, 10], axis=0)
    fitted = model(3, oversampling_factor=5.0).fit(X)
    assert fitted.inertia_ == 0.0
    assert sorted(np.bincount(fitted.labels_).tolist()) == [10, 20, 30]
    assert fitted.n_iter_ == 1
