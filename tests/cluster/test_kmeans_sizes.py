"""A minimum size: which clusters are dissolved, that the answer is one, and what is said about it."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from gpuseg import KMeans
from gpuseg.cluster.sweep import fit_together
from gpuseg.core.lloyd import LloydState
from gpuseg.core.sizes import SizeChange, Sized
from gpuseg.errors import InputError, RangeError, TooFewRowsError
from tests import strategies
from tests.cluster.kinds import KINDS, Answer, rows_of, weights_of
from tests.oracle import kmeans as oracle

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def model(**parameters) -> KMeans:
    return KMeans(
        **{"n_clusters": 6, "random_state": 3, "n_init": 1, "tol": 0, "min_cluster_size": 15, **parameters}
    )


def changes_of(fitted) -> list[tuple[int, int, int]]:
    return [(c.cluster, c.n_rows, c.n_iter) for c in fitted.size_changes_]


def assert_same(fitted, expected):
    assert fitted.labels_.tolist() == expected.labels
    assert fitted.cluster_centers_.tobytes() == expected.centres.tobytes()
    assert (fitted.inertia_, fitted.n_iter_) == (expected.inertia, expected.n_iter)
    assert changes_of(fitted) == expected.dissolved


def counts_of(fitted, weights=None) -> np.ndarray:
    rows = slice(None) if weights is None else weights > 0
    return np.bincount(fitted.labels_[rows], minlength=len(fitted.cluster_centers_))


# The rule ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", ["none", "integer", "real"])
@pytest.mark.parametrize("least", [12, 20])
def test_a_fit_equals_the_oracle(dtype, weights, least):
    X, w = rows_of(dtype), weights_of(weights)
    fitted = model(min_cluster_size=least).fit(X, sample_weight=w)
    assert fitted.size_changes_
    assert counts_of(fitted, w).min() >= least
    assert fitted.predict(X).tolist() == fitted.labels_.tolist()
    assert fitted.transform(X).shape == (len(X), len(fitted.cluster_centers_))
    assert len(fitted.get_feature_names_out()) == len(fitted.cluster_centers_)
    assert_same(fitted, oracle.fit(X, 6, weights=w, seed=3, n_init=1, tol=0, least=least))


@pytest.mark.filterwarnings("ignore:min_cluster_size")
@given(strategies.data_sets(max_rows=20), st.integers(1, 5), st.integers(0, 8), st.integers(1, 5))
def test_any_small_table(data, k, least, max_iter):
    X, w = data
    k = min(k, len(X))
    least = min(least, len(X) if w is None else int(np.count_nonzero(w > 0)))
    parameters = {"n_init": 1, "max_iter": max_iter}
    try:
        fitted = KMeans(k, random_state=5, min_cluster_size=least, **parameters).fit(X, sample_weight=w)
    except RangeError:
        reject()  # heavy weights on far rows: refused, as they may be
    assert_same(fitted, oracle.fit(X, k, weights=w, seed=5, least=least, **parameters))
    assert counts_of(fitted, w).min() >= least


def test_the_smallest_goes_first_and_of_equals_the_lowest():
    state = LloydState(np.arange(4, dtype=np.float32)[:, None], 7, 0.0, 9, shift=0.0)
    first = Sized.whole(state, 5).dissolved(np.array([9, 2, 2, 6]))
    assert first.changes == (SizeChange(cluster=1, n_rows=2, n_iter=7),)
    assert first.left == (0, 2, 3)
    assert first.state.centres.ravel().tolist() == [0, 2, 3]
    assert not first.state.finished
    second = first.dissolved(np.array([9, 4, 6]))
    assert [change.cluster for change in second.changes] == [1, 2]
    assert second.dissolved(np.array([9, 5])) is None


def test_where_passes_are_used_up_rows_go_to_the_nearest_centre_left():
    X = np.array([0, 1, 2, 10, 20, 21, 22], np.float32)[:, None]
    fitted = KMeans(3, init=[[1], [10], [21]], max_iter=1, min_cluster_size=2).fit(X)
    assert fitted.cluster_centers_.ravel().tolist() == [1, 21]
    assert fitted.labels_.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert changes_of(fitted) == [(1, 1, 1)]
    assert fitted.n_iter_ == 1


def test_the_others_end_as_a_fit_from_where_they_were():
    X = rows_of("float32")
    alone = model(min_cluster_size=0).fit(X)
    sizes = counts_of(alone)
    fitted = model(min_cluster_size=int(sizes.min()) + 1).fit(X)
    [gone, *_] = fitted.size_changes_
    assert (gone.cluster, gone.n_rows, gone.n_iter) == (sizes.argmin(), sizes.min(), alone.n_iter_)
    assert len(fitted.size_changes_) == 1
    left = np.delete(alone.cluster_centers_, gone.cluster, axis=0)
    again = model(n_clusters=5, init=left, min_cluster_size=0).fit(X)
    assert fitted.labels_.tolist() == again.labels_.tolist()
    assert fitted.cluster_centers_.tobytes() == again.cluster_centers_.tobytes()
    assert fitted.inertia_ == again.inertia_
    assert fitted.n_iter_ == alone.n_iter_ + again.n_iter_


@pytest.mark.parametrize("least", [0, 1])
def test_no_cluster_too_small_changes_nothing(least):
    X, w = rows_of("float64"), weights_of("real")
    fitted = model(min_cluster_size=least).fit(X, sample_weight=w)
    plain = KMeans(6, random_state=3, n_init=1, tol=0).fit(X, sample_weight=w)
    assert Answer.of(fitted) == Answer.of(plain)
    assert fitted.size_changes_ == plain.size_changes_ == ()


def test_spare_clusters_of_repeated_rows_have_no_row():
    X = np.repeat([[0.0, 1.0], [5.0, 5.0]], 20, axis=0)
    assert len(model(min_cluster_size=0, n_clusters=4).fit(X).cluster_centers_) == 4
    fitted = model(min_cluster_size=1, n_clusters=4).fit(X)
    assert sorted(fitted.cluster_centers_.tolist()) == [[0, 1], [5, 5]]
    assert [change.n_rows for change in fitted.size_changes_] == [0, 0]


def test_a_row_counts_once_whatever_its_weight():
    X = np.array([0, 1, 2, 10, 11], np.float32)[:, None]
    heavy = KMeans(2, init=[[1], [10]], min_cluster_size=3)
    with pytest.warns(UserWarning, match="min_cluster_size=3 leaves one cluster"):
        heavy.fit(X, sample_weight=[1, 1, 1, 9, 9])
    few = KMeans(2, init=[[1], [10]], min_cluster_size=2).fit(X, sample_weight=[1, 1, 0, 9, 9])
    assert few.size_changes_ == ()


def test_a_callback_sees_the_passes_after_it_and_ends_these_too():
    X, seen = rows_of("float32"), []
    parameters = {"min_cluster_size": 20, "n_clusters": 5}
    watched = model(callback=lambda *told: seen.append((told[0], len(told[3]))), **parameters).fit(X)
    assert Answer.of(watched) == Answer.of(model(**parameters).fit(X))
    assert [told[0] for told in seen] == list(range(1, watched.n_iter_ + 1))
    assert (seen[0][1], seen[-1][1]) == (5, 5 - len(watched.size_changes_))
    assert seen[-1][1] < 5
    ended = model(callback=lambda *told: told[0] == 2, **parameters).fit(X)
    assert Answer.of(ended) == Answer.of(model(max_iter=2, **parameters).fit(X))
    assert counts_of(ended).min() >= 20
    assert ended.n_iter_ == 2


# One answer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["none", "real"])
@pytest.mark.parametrize(
    "kind", ["numpy Fortran", "Arrow table", "Dask array", "Dask dataframe", "Parquet folder"]
)
def test_every_kind_of_table(kind, weights, tmp_path):
    X, w = rows_of("float32"), weights_of(weights)
    expected = model(min_cluster_size=20).fit(X, sample_weight=w)
    made = KINDS[kind](X, w, tmp_path)
    fitted = model(min_cluster_size=20).fit(made.X, sample_weight=made.sample_weight)
    assert Answer.of(fitted, made.gather) == Answer.of(expected)
    assert fitted.size_changes_ == expected.size_changes_ != ()
    assert made.gather(fitted.predict(made.X)).tolist() == expected.labels_.tolist()


@pytest.mark.parametrize("n_bytes", ["0", "900"])
def test_any_memo_and_chunks(monkeypatch, n_bytes):
    X = rows_of("float64")
    expected = model().fit(X)
    monkeypatch.setenv("GPUSEG_MEMO_BYTES", n_bytes)
    for chunk in (1, 30):
        fitted = model().fit(da.from_array(X, chunks=(chunk, 4)))
        assert Answer.of(fitted, lambda found: found.compute()) == Answer.of(expected)
        assert fitted.size_changes_ == expected.size_changes_


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_worker_processes(processes):
    X, w = rows_of("float32"), weights_of("integer")
    expected = model(min_cluster_size=20).fit(X, sample_weight=w)
    rows, weights = da.from_array(X, chunks=(9, 4)), da.from_array(w, chunks=9)
    fitted = model(min_cluster_size=20).fit(rows, sample_weight=weights)
    assert fitted.placement_ == "workers of the Dask client"
    assert Answer.of(fitted, lambda found: np.asarray(found.compute())) == Answer.of(expected)
    assert fitted.size_changes_ == expected.size_changes_


@pytest.mark.parametrize("n_bytes", [None, "0"])
def test_models_that_share_their_reads_end_as_alone(monkeypatch, n_bytes):
    if n_bytes is not None:
        monkeypatch.setenv("GPUSEG_MEMO_BYTES", n_bytes)
    X = rows_of("float32")
    several = [(6, 20), (5, 0), (4, 25), (6, 15)]
    models = [model(n_clusters=k, min_cluster_size=least) for k, least in several]
    fit_together(models, X, lambda *_: None)
    for fitted, (k, least) in zip(models, several, strict=True):
        alone = model(n_clusters=k, min_cluster_size=least).fit(X)
        assert Answer.of(fitted) == Answer.of(alone)
        assert fitted.size_changes_ == alone.size_changes_
    assert [bool(fitted.size_changes_) for fitted in models] == [True, False, True, True]


# What is said --------------------------------------------------------------------------------------------------------


def test_the_log_says_what_was_done(caplog):
    X = np.array([0, 1, 2, 10, 20, 21, 22], np.float32)[:, None]
    with caplog.at_level("INFO", logger="gpuseg.cluster"):
        fitted = KMeans(3, init=[[1], [10], [21]], min_cluster_size=2).fit(X)
    said = "cluster 1 has 1 rows, min_cluster_size=2: its rows go to the nearest of the other 2"
    assert [record.getMessage() for record in caplog.records] == [said]
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.size_changes_ == fitted.size_changes_


def test_one_cluster_left_is_allowed_with_a_warning():
    X = rows_of("float32")
    with pytest.warns(
        UserWarning, match="min_cluster_size=80 leaves one cluster of all rows; lower it for more"
    ):
        fitted = model(min_cluster_size=80).fit(X)
    assert len(fitted.size_changes_) == 5
    assert set(fitted.labels_.tolist()) == {0}


def test_more_than_all_rows_are_refused():
    X, w = rows_of("float32"), weights_of("integer")
    for weights, n_positive in ((None, 83), (w, np.count_nonzero(w))):
        words = f"min_cluster_size=84 exceeds the {n_positive} rows of X with positive weight; lower min_cluster_size"
        with pytest.raises(TooFewRowsError, match=words):
            model(min_cluster_size=84).fit(X, sample_weight=weights)


@pytest.mark.parametrize("least", [-1, 2.5, True, None, "20"])
def test_a_size_without_a_meaning_is_refused(least):
    with pytest.raises(
        InputError, match=r"min_cluster_size=.* must be a whole number of rows, 0 for no minimum"
    ):
        model(min_cluster_size=least).fit(rows_of("float32"))
