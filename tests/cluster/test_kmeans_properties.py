"""What must hold of any fit: weights as repetition, rows in any order, units, offsets, edges of k, duplicates."""

from __future__ import annotations

import functools
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from sklearn.cluster import KMeans as Theirs
from sklearn.exceptions import ConvergenceWarning

from gpuseg import KMeans
from gpuseg.cluster.seeding import gather_sample
from gpuseg.errors import RangeError
from gpuseg.graph.memo import MEMO
from tests import strategies
from tests.cluster.kinds import Answer, rows_of, weights_of

FLOATS = ["float32", "float64"]
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def model(**parameters) -> KMeans:
    return KMeans(**{"n_clusters": 4, "random_state": 8, "n_init": 2, **parameters})


def sampled(monkeypatch, limit: int) -> None:
    monkeypatch.setattr("gpuseg.cluster.sharing.gather_sample", functools.partial(gather_sample, limit=limit))


def same_but_for_labels(a: KMeans, b: KMeans) -> bool:
    return (
        a.cluster_centers_.tobytes() == b.cluster_centers_.tobytes()
        and a.inertia_ == b.inertia_
        and a.n_iter_ == b.n_iter_
        and a.n_relocated_ == b.n_relocated_
    )


# Weights -------------------------------------------------------------------------------------------------------------


@quiet
@given(
    strategies.data_sets(max_rows=40), st.integers(1, 4), st.integers(0, 2**32), st.booleans(), st.booleans()
)
def test_an_integer_weight_is_that_many_rows_in_place(data, k, seed, wide, given_start):
    X, _ = data
    X = X.astype(np.float64) if wide else X
    w = np.random.default_rng(seed).integers(0, 4, len(X))
    w[seed % len(X)] = 2
    repeated = np.repeat(X, w, axis=0)
    k = min(k, len(X), len(repeated))
    parameters = {"n_clusters": k, "random_state": seed, "init": X[:k] if given_start else "k-means++"}
    try:
        weighted = model(**parameters).fit(X, sample_weight=w)
    except RangeError:
        reject()
    plain = model(**parameters).fit(repeated)
    assert same_but_for_labels(weighted, plain)
    assert np.repeat(weighted.labels_, w).tolist() == plain.labels_.tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_weights_of_one_are_no_weights(dtype):
    X = rows_of(dtype)
    assert Answer.of(model().fit(X, sample_weight=np.ones(len(X)))) == Answer.of(model().fit(X))
    assert Answer.of(model().fit(X, sample_weight=1)) == Answer.of(model().fit(X))


@pytest.mark.parametrize("limit", [1 << 18, 25])
@pytest.mark.parametrize("weights", ["integer", "real"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("far", [0.0, 3.0, 2.0**49, 1e30])
def test_a_row_of_weight_zero_influences_nothing(monkeypatch, dtype, weights, limit, far):
    """Wherever it lies, even beyond the range of what counts."""
    sampled(monkeypatch, limit)
    X, w = rows_of(dtype), weights_of(weights)
    w[w == 0] = 1
    expected = model().fit(X, sample_weight=w)
    outliers = far * np.array([[1, 1, 1, 1], [-1, 1, 0, 2], [0, 0, 0, 0]])
    more = np.vstack([X, outliers]).astype(dtype)
    found = model().fit(more, sample_weight=np.r_[w, 0, 0, 0])
    assert same_but_for_labels(found, expected)
    assert found.labels_[:-3].tolist() == expected.labels_.tolist()


def test_a_weight_that_vanishes_in_float32_is_zero():
    X = np.vstack([rows_of("float32"), np.full((1, 4), 1e6, np.float32)])
    w = np.r_[weights_of("real"), 1e-60]
    found = model().fit(X, sample_weight=w)
    assert same_but_for_labels(found, model().fit(X[:-1], sample_weight=w[:-1]))


@pytest.mark.parametrize("power", [-20, 5, 40])
def test_the_unit_of_real_weights_does_not_matter(power):
    X, w = rows_of("float32"), np.float32(weights_of("real"))
    a, b = model().fit(X, sample_weight=w), model().fit(X, sample_weight=np.ldexp(w.astype(float), power))
    assert a.cluster_centers_.tobytes() == b.cluster_centers_.tobytes()
    assert a.labels_.tolist() == b.labels_.tolist()
    assert np.ldexp(a.inertia_, power) == b.inertia_


def test_weights_enter_seeding_and_inertia():
    """A far row of no weight is never a seed; a heavy one always has a centre of its own."""
    X = np.array([[0.0], [1.0], [2.0], [100.0], [7.0]], np.float32)
    for seed in range(10):
        fitted = model(n_clusters=2, random_state=seed).fit(X, sample_weight=[1, 1, 1, 0, 1e6])
        assert sorted(fitted.cluster_centers_.ravel().tolist()) == [1.0, 7.0]
        assert fitted.inertia_ == 2.0
        heavy = model(n_clusters=2, random_state=seed).fit(X, sample_weight=[1, 1, 1, 0, 3])
        assert heavy.score(X[:3], sample_weight=[5, 1, 1]) == -6.0


# Order, units, offsets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_in_another_order_with_a_given_start(dtype, weights):
    X, w = rows_of(dtype), weights_of(weights)
    first = model(init=X[:4], tol=0).fit(X, sample_weight=w)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(X))
        again = model(init=X[:4], tol=0).fit(X[order], sample_weight=None if w is None else w[order])
        assert same_but_for_labels(again, first)
        assert again.labels_.tolist() == first.labels_[order].tolist()


@pytest.mark.parametrize("power", [-30, 7, 31])
@pytest.mark.parametrize("start", ["k-means++", "given"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_another_unit_for_all_columns_scales_exactly(dtype, start, power):
    X = rows_of(dtype)
    scaled = np.ldexp(X, power)
    init = {"k-means++": ("k-means++", "k-means++"), "given": (X[:4], scaled[:4])}[start]
    a, b = model(init=init[0]).fit(X), model(init=init[1]).fit(scaled)
    assert np.ldexp(a.cluster_centers_, power).tobytes() == b.cluster_centers_.tobytes()
    assert np.ldexp(a.inertia_, 2 * power) == b.inertia_
    assert a.labels_.tolist() == b.labels_.tolist()
    assert a.n_iter_ == b.n_iter_


@pytest.mark.parametrize(("dtype", "offset", "step"), [("float32", 1e5, 2.0**-7), ("float64", 1e8, 2.0**-14)])
def test_groups_far_from_the_origin_are_told_apart(dtype, offset, step):
    """Groups 64 steps apart, rows within 4 steps; the expanded form of the distance, in float32, mixes them."""
    rng = np.random.default_rng(3)
    group = rng.integers(0, 5, 400)
    X = (offset + step * (rng.integers(-4, 5, (400, 8)) + 64 * group[:, None])).astype(dtype)
    fitted = model(n_clusters=5, n_init="auto").fit(X)
    centres = fitted.cluster_centers_.astype(np.float64)
    nearest = ((X[:, None].astype(np.float64) - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert fitted.labels_.tolist() == nearest.tolist()
    assert np.unique(np.c_[group, fitted.labels_], axis=0).shape == (5, 2)
    exact = ((X.astype(np.float64) - centres[nearest]) ** 2).sum()
    assert fitted.inertia_ == pytest.approx(exact, rel=1e-5 if dtype == "float64" else 0.3)
    single = X.astype(np.float32)
    points = centres.astype(np.float32)
    expanded = (single**2).sum(1)[:, None] - 2 * single @ points.T + (points**2).sum(1)
    assert (expanded.argmin(axis=1) != nearest).mean() > 0.1
    assert fitted.predict(X).tolist() == nearest.tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_labels_and_inertia_are_those_of_the_centres(dtype):
    X, w = rows_of(dtype, n=500), np.random.default_rng(1).gamma(2.0, 1.0, 500)
    fitted = model(max_iter=3).fit(X, sample_weight=w)
    squared = ((X[:, None].astype(np.float64) - fitted.cluster_centers_) ** 2).sum(axis=2)
    assert (squared.argmin(axis=1) == fitted.labels_).all()
    assert fitted.inertia_ == pytest.approx((w * squared.min(axis=1)).sum(), rel=1e-6)
    assert fitted.transform(X) == pytest.approx(np.sqrt(squared), rel=1e-5, abs=1e-6)
    assert fitted.transform(X).dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("weights", ["none", "real"])
def test_scikit_learn_finds_the_same_from_the_same_start(dtype, weights):
    X, w = rows_of(dtype, n=400), None if weights == "none" else np.random.default_rng(2).gamma(2.0, 1.0, 400)
    ours = model(init=X[:4], tol=1e-4).fit(X, sample_weight=w)
    theirs = Theirs(4, init=X[:4], n_init=1, algorithm="lloyd").fit(X, sample_weight=w)
    assert ours.labels_.tolist() == theirs.labels_.tolist()
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-5)
    assert ours.cluster_centers_ == pytest.approx(theirs.cluster_centers_, rel=1e-5, abs=1e-5)


# Edges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_cluster_is_the_mean(dtype):
    X = rows_of(dtype)
    fitted = model(n_clusters=1).fit(X)
    assert fitted.cluster_centers_[0] == pytest.approx(X.astype(np.float64).mean(axis=0), rel=1e-6)
    assert fitted.inertia_ == pytest.approx(len(X) * X.astype(np.float64).var(axis=0).sum(), rel=1e-6)
    assert not fitted.labels_.any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_as_many_clusters_as_rows(dtype):
    X = rows_of(dtype, n=30)
    fitted = model(n_clusters=30).fit(X)
    assert sorted(fitted.labels_.tolist()) == list(range(30))
    assert fitted.inertia_ == 0.0 if dtype == "float32" else fitted.inertia_ < 1e-9


def test_one_row():
    fitted = model(n_clusters=1).fit([[3.0, 4.0]])
    assert fitted.cluster_centers_.tolist() == [[3.0, 4.0]]
    assert (fitted.inertia_, fitted.labels_.tolist()) == (0.0, [0])


@pytest.mark.parametrize("start", ["k-means++", "given"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_fewer_distinct_rows_than_clusters_warns_as_scikit_learn(dtype, start):
    X = np.repeat(np.array([[0.0, 1.0], [5.0, 1.0], [9.0, 9.0]], dtype), 5, axis=0)
    init = X[[0, 1, 5, 6, 10]] if start == "given" else "k-means++"
    with pytest.warns(ConvergenceWarning) as ours:
        fitted = model(n_clusters=5, init=init).fit(X)
    with pytest.warns(ConvergenceWarning) as theirs:
        Theirs(5, init=init, n_init=1, random_state=0).fit(X)
    assert str(ours[0].message) == str(theirs[0].message)
    assert ours[0].filename == __file__  # the warning points at the caller
    assert fitted.inertia_ == 0.0
    assert len(set(fitted.labels_.tolist())) == 3
    assert fitted.predict(X).tolist() == fitted.labels_.tolist()
    assert fitted.n_iter_ < 10


def test_a_warning_that_is_an_error_leaves_nothing_behind():
    X = np.zeros((5, 2))
    fresh = model(n_clusters=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            fresh.fit(X)
    assert not hasattr(fresh, "labels_")


def test_fewer_rows_of_weight_than_clusters():
    X = rows_of("float32")
    w = np.zeros(len(X))
    w[:2] = 1
    with pytest.warns(
        ConvergenceWarning, match=r"distinct clusters \(2\) found smaller than n_clusters \(4\)"
    ):
        fitted = model().fit(X, sample_weight=w)
    assert fitted.inertia_ == 0.0


@quiet
@pytest.mark.parametrize("dtype", FLOATS)
def test_constant_columns_and_tables(dtype):
    X = rows_of(dtype)
    expected = model().fit(X)
    widened = np.c_[np.full(len(X), 7.5, dtype), X, np.zeros(len(X), dtype)]
    fitted = model().fit(widened)
    assert fitted.labels_.tolist() == expected.labels_.tolist()
    assert fitted.cluster_centers_[:, 0].tolist() == [7.5] * 4
    assert fitted.inertia_ == expected.inertia_
    constant = model(n_clusters=2).fit(np.full((9, 3), 1e7 + 1, dtype))
    assert constant.inertia_ == 0.0
    assert constant.cluster_centers_.tolist() == np.full((2, 3), 1e7 + 1, dtype).tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_empty_clusters_move_to_far_rows_and_say_so(dtype):
    """They do not jump to the origin, and the answer does not depend on the chunks."""
    X = rows_of(dtype)
    init = np.vstack([X[:2], np.full((2, 4), 1e4)]).astype(dtype)
    fitted = model(init=init).fit(X)
    assert fitted.n_relocated_ == 2
    assert len(set(fitted.labels_.tolist())) == 4
    assert model(init=X[:4]).fit(X).n_relocated_ == 0
    low, high = X.min(axis=0), X.max(axis=0)
    assert (fitted.cluster_centers_ >= low).all()
    assert (fitted.cluster_centers_ <= high).all()


def test_stopping():
    X = rows_of("float32", n=2000)
    once = model(max_iter=1, tol=0).fit(X)
    assert once.n_iter_ == 1
    assert once.predict(X).tolist() == once.labels_.tolist()
    resting = model(tol=0, max_iter=1000).fit(X)
    again = model(init=resting.cluster_centers_, tol=0).fit(X)
    assert again.n_iter_ == 1
    assert again.cluster_centers_.tobytes() == resting.cluster_centers_.tobytes()
    n_iter = [model(tol=tol, max_iter=1000).fit(X).n_iter_ for tol in (1.0, 1e-2, 1e-4, 0)]
    assert n_iter == sorted(n_iter)
    assert n_iter[0] < n_iter[1] < n_iter[-1]


def test_random_states():
    X = rows_of("float32")
    seeds = {
        "int": [5, np.int64(5), np.uint8(5)],
        "RandomState": [np.random.RandomState(5) for _ in range(2)],
        "Generator": [np.random.default_rng(5) for _ in range(2)],
    }
    for states in seeds.values():
        fitted = [model(random_state=state).fit(X) for state in states]
        assert len({Answer.of(one) for one in fitted}) == 1
        assert Answer.of(model(random_state=fitted[0].seed_).fit(X)) == Answer.of(fitted[0])
    shared = np.random.RandomState(5)
    assert model(random_state=shared).fit(X).seed_ != model(random_state=shared).fit(X).seed_
    free = [model(random_state=None).fit(X) for _ in range(2)]
    assert free[0].seed_ != free[1].seed_
    assert Answer.of(model(random_state=free[0].seed_).fit(X)) == Answer.of(free[0])
    assert len({model(random_state=seed, n_init=1, max_iter=1).fit(X).inertia_ for seed in range(6)}) > 1
    largest = model(random_state=2**64 - 1).fit(X)
    assert largest.seed_ == 2**64 - 1


def test_n_init_auto_is_eight_and_one_array_is_used_once():
    X = rows_of("float32")
    assert Answer.of(model(n_init="auto").fit(X)) == Answer.of(model(n_init=8).fit(X))
    answers = {Answer.of(model(init=X[:4], n_init=n).fit(X)) for n in ("auto", 1, 5)}
    assert len(answers) == 1
    inertias = [model(n_init=n, tol=0).fit(X).inertia_ for n in (1, 2, 4, 8)]
    assert inertias == sorted(inertias, reverse=True)


def test_given_centres_are_not_changed():
    X = rows_of("float64")
    init = X[:4].copy()
    fitted = model(init=init).fit(X)
    assert init.tobytes() == X[:4].tobytes()
    before = fitted.cluster_centers_.copy()
    fitted.predict(X)
    fitted.transform(X)
    assert fitted.cluster_centers_.tobytes() == before.tobytes()
    assert X.tobytes() == rows_of("float64").tobytes()


# Memory and size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_is_one_copy_and_some_bytes_a_row(order):
    """Never n x k; nothing is copied where the rows are feature-major already; nothing is kept after the fit."""
    n, d, k = 150_000, 4, 60
    X = np.asarray(np.random.default_rng(0).normal(size=(n, d)).astype(np.float32), order=order)
    few = model(n_clusters=k, init=X[:k].copy(), max_iter=2, n_jobs=1)
    few.fit(X[:5000])
    tracemalloc.start()
    try:
        few.fit(X)
        peak = tracemalloc.get_traced_memory()[1]
        few.labels_ = None
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    copy = n * d * 4 if order == "C" else 0
    assert peak < copy + 12 * n + 2_000_000
    assert kept < 500_000
    assert MEMO.n_bytes() == 0


def test_more_distances_than_32_bits_count():
    """n x k passes 2**31."""
    n, k = 66_000, 33_000
    centres = np.arange(k, dtype=np.float32)[:, None]
    X = np.linspace(0, k - 1, n).astype(np.float32)[:, None]
    fitted = KMeans(k, init=centres, max_iter=1).fit(X)
    assert n * k > 2**31
    assert (np.diff(fitted.labels_) >= 0).all()
    assert (np.abs(fitted.cluster_centers_[fitted.labels_] - X) <= 0.5).all()
    assert fitted.inertia_ < n / 4
