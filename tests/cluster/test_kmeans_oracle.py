"""A whole fit equals a naive one, row by row in Python integers, to the last bit."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from gpuseg import KMeans
from gpuseg.cluster.seeding import gather_sample
from gpuseg.errors import RangeError
from tests import strategies
from tests.oracle import hashing
from tests.oracle import kmeans as oracle


def blobs(n=60, d=3, k=4, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + rng.normal(scale=3, size=(k, d))[rng.integers(0, k, n)]).astype(dtype)


def assert_same(model, expected):
    assert model.labels_.tolist() == expected.labels
    assert model.cluster_centers_.tobytes() == expected.centres.tobytes()
    assert model.inertia_ == expected.inertia
    assert model.n_iter_ == expected.n_iter
    assert model.n_relocated_ == expected.n_relocated


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_a_seeded_fit(dtype, weights):
    X = blobs(dtype=dtype)
    w = strategies.weight_array(weights, len(X), 3)
    model = KMeans(4, random_state=7, tol=0).fit(X, sample_weight=w)
    assert_same(model, oracle.fit(X, 4, weights=w, seed=7, tol=0))


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("weights", ["none", "real"])
def test_a_fit_that_starts_on_a_sample(monkeypatch, warm, weights):
    X = blobs(n=80, seed=1)
    w = None if weights == "none" else np.random.default_rng(2).gamma(2.0, 1.0, len(X))
    limited = functools.partial(gather_sample, limit=25)
    monkeypatch.setattr("gpuseg.cluster.sharing.gather_sample", limited)
    model = KMeans(4, random_state=3, n_init=2, sample_start=warm).fit(X, sample_weight=w)
    assert_same(model, oracle.fit(X, 4, weights=w, seed=3, n_init=2, sample_rows=25, warm=warm))


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("sample", [25, 200], ids=["sample", "all-rows"])
@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_a_fit_whose_seedings_are_tried_out_on_a_draft(monkeypatch, warm, sample, weights):
    X = blobs(n=80, seed=1)
    w = strategies.weight_array(weights, len(X), 3)
    limited = functools.partial(gather_sample, limit=sample)
    monkeypatch.setattr("gpuseg.cluster.sharing.gather_sample", limited)
    monkeypatch.setattr("gpuseg.core.seeding.DRAFT_ROWS", 9)
    monkeypatch.setattr("gpuseg.core.seeding.DRAFT_ROWS_A_CLUSTER", 3)
    model = KMeans(4, random_state=3, n_init=3, sample_start=warm).fit(X, sample_weight=w)
    small = {"sample_rows": sample, "draft_rows": 9, "draft_rows_a_cluster": 3}
    assert_same(model, oracle.fit(X, 4, weights=w, seed=3, n_init=3, warm=warm, **small))


@pytest.mark.parametrize("offset", [1e5, -1e7])
def test_a_fit_far_from_the_origin(offset):
    X = blobs() + np.float32(offset)
    model = KMeans(4, random_state=1, n_init=2).fit(X)
    assert model.centred_features_.all()
    assert_same(model, oracle.fit(X, 4, seed=1, n_init=2))


def test_customer_keys_are_identities():
    pd = pytest.importorskip("pandas")
    X = blobs(n=40)
    keys = [f"h{i * 7919 % 40:04}" for i in range(len(X))]
    frame = pd.DataFrame(X, columns=list("abc"), index=pd.Index(keys, name="household"))
    model = KMeans(3, random_state=5, n_init=2).fit(frame)
    assert_same(model, oracle.fit(X, 3, seed=5, n_init=2, identity=[hashing.identity(key) for key in keys]))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_empty_clusters_move_to_the_farthest_rows(weights):
    X = blobs(n=50, k=2)
    init = np.vstack([X[0], [1e6] * 3, [-1e6] * 3, X[1]]).astype(np.float32)
    w = strategies.weight_array(weights, len(X), 3)
    model = KMeans(4, init=init, max_iter=5).fit(X, sample_weight=w)
    assert model.n_relocated_ >= 2
    assert_same(model, oracle.fit(X, 4, weights=w, init=init, max_iter=5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_empty_clusters_never_move_to_rows_without_weight(dtype):
    """The farthest row of all has weight 0, the next one a weight; however heavy the near ones are."""
    X = np.array([[0, 0], [1, 0], [0, 1], [40, 0], [90, 0]], dtype)
    init = np.array([[0, 0], [1e4, 1e4]], dtype)
    model = KMeans(2, init=init, tol=0).fit(X, sample_weight=[7, 1e3, 7, 0.5, 0])
    assert model.n_relocated_ == 1
    assert model.cluster_centers_[1] == pytest.approx([40, 0], abs=1e-5)
    assert model.labels_.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@given(strategies.data_sets(max_rows=24), st.integers(1, 5), st.integers(0, 2**64 - 1), st.booleans())
def test_any_small_table(data, k, seed, wide):
    X, w = data
    X = X.astype(np.float64) if wide else X
    k = min(k, len(X))
    try:
        model = KMeans(k, random_state=seed, n_init=1, max_iter=6).fit(X, sample_weight=w)
    except RangeError:
        reject()  # heavy weights on far rows: refused, as they may be
    assert_same(model, oracle.fit(X, k, weights=w, seed=seed, n_init=1, max_iter=6))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", ["none", "integer", "heavy", "real"])
def test_a_fit_seeded_by_oversampling(dtype, weights):
    X = blobs(n=90, dtype=dtype, seed=4)
    w = strategies.weight_array(weights, len(X), 3)
    for warm, factor, rounds in ((True, 2.0, 5), (False, 0.5, 2)):
        model = KMeans(
            4, init="k-means||", oversampling_factor=factor, init_max_iter=rounds, random_state=7, n_init=2,
            tol=0, sample_start=warm,
        ).fit(X, sample_weight=w)  # fmt: skip
        expected = oracle.fit(
            X, 4, weights=w, seed=7, n_init=2, tol=0, warm=warm, oversampling=factor, rounds=rounds
        )
        assert_same(model, expected)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@given(
    strategies.data_sets(max_rows=24),
    st.integers(1, 5),
    st.sampled_from([0.2, 1.0, 3.0]),
    st.integers(1, 3),
    st.integers(0, 2**64 - 1),
)
def test_any_small_table_seeded_by_oversampling(data, k, factor, rounds, seed):
    X, w = data
    k = min(k, len(X))
    parameters = {"init": "k-means||", "oversampling_factor": factor, "init_max_iter": rounds}
    try:
        model = KMeans(k, random_state=seed, n_init=1, max_iter=6, **parameters).fit(X, sample_weight=w)
    except RangeError:
        reject()  # heavy weights on far rows: refused, as they may be
    expected = oracle.fit(
        X, k, weights=w, seed=seed, n_init=1, max_iter=6, oversampling=factor, rounds=rounds
    )
    assert_same(model, expected)
