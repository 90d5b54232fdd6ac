"""MiniBatchKMeans: running means of a stream, the same for any chunks of a batch; what it refuses, how it is stored."""

from __future__ import annotations

import pickle

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans as Theirs
from sklearn.exceptions import NotFittedError

from gpuseg import KMeans, MiniBatchKMeans
from gpuseg.core.streams import StreamState
from gpuseg.errors import InputError, NotFiniteError, RangeError, TooFewRowsError
from tests import strategies
from tests.cluster.kinds import KINDS, NAMES, frame_of, rows_of, weights_of
from tests.cluster.test_kmeans_manners import failed_checks
from tests.oracle import streams as oracle

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def model(**parameters) -> MiniBatchKMeans:
    return MiniBatchKMeans(**{"n_clusters": 4, "random_state": 2, "n_init": 1, "tol": 0, **parameters})


def batches_of(dtype, weights="none", sizes=(40, 83, 1, 30)):
    """Batches that move, with their weights."""
    rows = [rows_of(dtype, n=n, seed=n) + np.dtype(dtype).type(number) for number, n in enumerate(sizes)]
    found = (
        [None] * len(sizes) if weights == "none" else [np.resize(weights_of(weights)[1:], n) for n in sizes]
    )
    if weights != "none":
        found[2] = np.ones(1) * (2.5 if weights == "real" else 2)
    return rows, found


def run(batches, weights, **parameters) -> MiniBatchKMeans:
    stream = model(**parameters)
    for rows, w in zip(batches, weights, strict=True):
        stream.partial_fit(rows, sample_weight=w)
    return stream


def answer(stream, gather=np.asarray):
    """All that a step sets, comparable with ``==``."""
    return (
        gather(stream.labels_).tobytes(),
        stream.cluster_centers_.tobytes(),
        stream.counts_.tobytes(),
        stream.inertia_,
        stream.n_steps_,
        {name: array.tobytes() for name, array in stream.to_arrays().items()},
    )


# The rule ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", ["none", "integer", "real"])
@pytest.mark.parametrize("reach", [None, 5000.0])
def test_steps_equal_the_oracle(dtype, weights, reach):
    batches, w = batches_of(dtype, weights)
    init, stream = batches[0][:4], model(init=batches[0][:4], reach=reach)
    for number, expected in enumerate(oracle.follow(batches, w, init, reach=reach)):
        assert stream.partial_fit(batches[number], sample_weight=w[number]) is stream
        assert stream.cluster_centers_.tobytes() == expected.centres.tobytes()
        assert stream.cluster_centers_.dtype == dtype
        assert stream.counts_.tolist() == expected.counts
        assert stream.labels_.tolist() == expected.labels
        assert stream.inertia_ == expected.inertia
        assert stream.n_steps_ == number + 1
        assert stream.predict(batches[number]).tolist() == stream.labels_.tolist()
        assert stream.score(batches[number], sample_weight=w[number]) == -stream.inertia_


@given(strategies.data_sets(max_rows=16), st.integers(1, 3), st.integers(0, 2**32))
def test_any_small_batches(data, k, seed):
    X, w = data
    X = np.clip(X, -(2**20), 2**20)
    k = min(k, len(X))
    again = np.random.default_rng(seed).permutation(len(X))[: max(1, len(X) // 2)]
    batches, weights = [X, X[again]], [w, None]
    if w is not None:  # of the kind of the first batch, at least one above 0
        is_whole = (w == np.rint(w)).all()
        weights[1] = np.maximum(w[again], 1.0) if is_whole else np.maximum(w[again], w.max() / 2)
    init = X[:k]
    stream = model(n_clusters=k, init=init, max_iter=3)
    for rows, own, expected in zip(batches, weights, oracle.follow(batches, weights, init, 3), strict=True):
        try:
            stream.partial_fit(rows, sample_weight=own)
        except RangeError:
            reject()  # heavy weights on far rows, or a feature that was 0 wherever the weight was not
        assert stream.cluster_centers_.tobytes() == expected.centres.tobytes()
        assert stream.labels_.tolist() == expected.labels
        assert stream.counts_.tolist() == expected.counts


def test_a_centre_is_the_mean_of_all_rows_it_ever_got():
    batches = [np.array(b, np.float32)[:, None] for b in ([0, 2, 10, 40], [4, 4, 11, 13], [5], [6, 9])]
    stream = model(n_clusters=3, init=[[1], [10], [40]])
    rows, owner = [], []
    for batch in batches:
        centres = np.array([[1], [10], [40]]) if not rows else stream.cluster_centers_
        rows += batch.ravel().tolist()
        owner += np.abs(batch - centres.T).argmin(axis=1).tolist()
        stream.partial_fit(batch)
        means = [np.mean([x for x, c in zip(rows, owner, strict=True) if c == k]) for k in range(3)]
        assert stream.cluster_centers_.ravel().tolist() == np.array(means, np.float32).tolist()
        assert stream.counts_.tolist() == np.bincount(owner, minlength=3).tolist()


def test_the_first_batch_is_fitted_as_kmeans_fits_it():
    X, w = rows_of("float64"), weights_of("real")
    whole = KMeans(4, random_state=2, n_init=1, tol=0).fit(X, sample_weight=w)
    for stream in (model().fit(X, sample_weight=w), model().partial_fit(X, sample_weight=w)):
        assert stream.labels_.tolist() == whole.labels_.tolist()
        assert np.allclose(stream.cluster_centers_, whole.cluster_centers_, rtol=0, atol=1e-6)
        assert (stream.n_iter_, stream.seed_) == (whole.n_iter_, whole.seed_)


def test_a_centre_without_rows_stays():
    X = np.array([[0.0], [1.0], [9.0]], np.float32)
    stream = model(n_clusters=3, init=[[0.5], [9], [9]], max_iter=1).fit(np.repeat(X, 5, axis=0)[:10])
    empty = int(np.flatnonzero(stream.counts_ == 0)[0])
    before = stream.cluster_centers_[empty]
    stream.partial_fit(X[:2])
    assert stream.counts_[empty] == 0
    assert stream.cluster_centers_[empty] == before


def test_whole_weights_are_repeated_rows_and_may_be_left_out():
    X = rows_of("float32", n=40)
    w = np.arange(40) % 3.0
    weighted = model(init=X[:4]).fit(X).partial_fit(X, sample_weight=w)
    repeated = model(init=X[:4]).fit(X).partial_fit(np.repeat(X, w.astype(int), axis=0))
    assert weighted.cluster_centers_.tobytes() == repeated.cluster_centers_.tobytes()
    assert weighted.counts_.tolist() == repeated.counts_.tolist()


# One answer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["none", "real"])
@pytest.mark.parametrize(
    "kind", ["numpy Fortran", "pandas", "Dask array", "Dask dataframe", "Parquet file", "Parquet glob"]
)
def test_batches_of_any_kind_and_chunks(kind, weights, tmp_path):
    sizes = (83, 70, 75)
    batches, w = batches_of("float32", weights, sizes)
    w = w if weights == "none" else [np.resize(weights_of(weights), n) for n in sizes]
    expected, stream = model(), model()
    for number, (rows, own) in enumerate(zip(batches, w, strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = KINDS[kind](rows, own, folder)
        expected.partial_fit(rows, sample_weight=own)
        stream.partial_fit(made.X, sample_weight=made.sample_weight)
        assert answer(stream, made.gather) == answer(expected)


@given(
    st.lists(st.integers(0, 83), max_size=5), st.sampled_from([1, 2]), st.sampled_from(["integer", "real"])
)
def test_any_chunks_and_threads(cuts, n_jobs, weights):
    X, w = rows_of("float64"), weights_of(weights)
    sizes = tuple(np.diff([0, *sorted(cuts), 83]).tolist())
    stream = model(n_jobs=n_jobs).fit(X, sample_weight=w)
    expected = answer(pickle.loads(pickle.dumps(stream)).partial_fit(X + 1, sample_weight=w))
    stream.partial_fit(
        da.from_array(X + 1, chunks=(sizes, 4)), sample_weight=da.from_array(w, chunks=(sizes,))
    )
    assert answer(stream, lambda found: found.compute()) == expected


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_batches_on_worker_processes(processes):
    X, w = rows_of("float32"), weights_of("real")
    expected = run([X, X + 1], [w, w])
    chunked = [da.from_array(rows, chunks=(20, 4)) for rows in (X, X + 1)]
    stream = run(chunked, [da.from_array(w, chunks=20)] * 2)
    assert stream.placement_ == "workers of the Dask client"
    assert answer(stream, lambda found: np.asarray(found.compute())) == answer(expected)


# What is refused -----------------------------------------------------------------------------------------------------


def refused(stream, error, words, rows, **weights):
    before = dict(vars(stream))
    with pytest.raises(error, match=words):
        stream.partial_fit(rows, **weights)
    assert vars(stream) == before


def test_values_beyond_the_reach():
    X = rows_of("float32")
    stream, far = model().fit(frame_of(X)), X[:10].copy()
    limit = float(np.abs(X[:, 2]).max()) * 1024
    far[4, 2] = np.nextafter(np.float32(limit), np.float32(np.inf))
    words = (
        r"recency reaches .* in magnitude in this batch, beyond the .* begin it again with reach=.* or more"
    )
    refused(stream, RangeError, words, frame_of(far))
    far[4, 2] = -limit
    assert stream.partial_fit(frame_of(far)).n_steps_ == 2
    roomy = model(reach=2 * limit).fit(X)
    far[4, 2] = 2 * limit
    roomy.partial_fit(far)
    with pytest.raises(RangeError, match=r"feature \d reaches"):
        model(reach=0.5).fit(X)


def test_a_feature_that_was_constant_has_a_reach_only_if_it_is_given():
    X = rows_of("float64")
    X[:, 1] = 7.0
    refused(
        model().fit(X),
        RangeError,
        r"feature 1 reaches 1 in magnitude in this batch, beyond the 0 that",
        X + 1,
    )
    model(reach=[99, 1, 99, 99]).fit(X).partial_fit(X + 1)


def test_weights_times_values_beyond_the_reach():
    X, w = rows_of("float32"), weights_of("real")
    stream = model().fit(X, sample_weight=w)
    refused(stream, RangeError, r"feature 0 times its weight reaches", X, sample_weight=w * 1025)


def test_weights_of_another_arithmetic():
    X, w = rows_of("float32"), weights_of("real")
    for first in (None, weights_of("integer")):
        words = (
            "sample_weight has values that are no whole numbers .* earlier batches had none or whole numbers"
        )
        refused(model().fit(X, sample_weight=first), InputError, words, X, sample_weight=w)
    stream = model().fit(X, sample_weight=w)
    refused(stream, InputError, "sample_weight is missing, but earlier batches", X)
    stream.partial_fit(X, sample_weight=np.ones(83))
    assert stream.n_steps_ == 2


def test_batches_that_cannot_be_used():
    X = rows_of("float32")
    stream = model().fit(X)
    refused(stream, NotFiniteError, "NaN or infinity", np.full((3, 4), np.nan, np.float32))
    refused(stream, ValueError, "X has 3 features", X[:, :3])
    refused(stream, TooFewRowsError, "X has no rows; leave out batches", da.from_array(X[:0], chunks=(1, 4)))
    refused(stream, InputError, "no positive value", X, sample_weight=np.zeros(83))


@pytest.mark.parametrize("reach", [0, -1.0, np.inf, np.nan, "far", [1, 2, 3, 0], 2.0**51])
def test_a_reach_without_a_meaning(reach):
    with pytest.raises(InputError, match="must be above 0 and at most"):
        model(reach=reach).fit(rows_of("float32"))


def test_a_reach_of_another_length_leaves_nothing():
    stream = model(reach=[1.0, 2.0])
    with pytest.raises(InputError, match=r"reach has shape \(2,\), but X has 4 features"):
        stream.fit(rows_of("float32"))
    assert vars(stream).keys() == vars(model()).keys()


# Manners -------------------------------------------------------------------------------------------------------------


def test_the_checks_of_scikit_learn_fail_only_where_its_own_does():
    ours, theirs = failed_checks(MiniBatchKMeans(n_clusters=2)), failed_checks(Theirs(n_clusters=2))
    assert set(ours) <= set(theirs), ours


def test_clone_pickle_and_the_stored_state():
    batches, w = batches_of("float64", "real")
    stream = run(batches[:2], w[:2], reach=9e4)
    fresh = clone(stream)
    assert fresh.get_params() == stream.get_params()
    assert repr(MiniBatchKMeans(3, reach=2.0)) == "MiniBatchKMeans(n_clusters=3, reach=2.0)"
    with pytest.raises(NotFittedError):
        fresh.predict(batches[0])
    copy = pickle.loads(pickle.dumps(stream))
    copy.state_ = StreamState.from_arrays(stream.to_arrays())
    for more, own in zip(batches[2:], w[2:], strict=True):
        stream.partial_fit(more, sample_weight=own)
        copy.partial_fit(more, sample_weight=own)
    assert answer(copy) == answer(stream)


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_a_stored_state_that_is_not_whole_is_refused(weights):
    arrays = model().fit(rows_of("float32"), sample_weight=weights_of(weights)).to_arrays()
    names = [name for name in arrays if name.startswith("stream.")]
    assert len(names) == 8
    for name in names:
        for changed in (None, arrays[name][:0], arrays[name].astype(bool)):
            with pytest.raises(InputError, match="the array 'stream"):
                StreamState.from_arrays({**arrays, name: changed})


def test_centres_of_another_library_label_but_begin_no_stream():
    X = rows_of("float64")
    theirs = Theirs(4, random_state=0, n_init=1).fit(X)
    adopted = MiniBatchKMeans.from_sklearn(theirs)
    assert isinstance(adopted, MiniBatchKMeans)
    assert adopted.predict(X).tolist() == theirs.predict(X).tolist()
    refused(adopted, InputError, "taken over without the sums behind them", X)
    assert adopted.fit(X).n_steps_ == 1
    again = model().fit(X).partial_fit(X + 1)
    assert again.to_sklearn().cluster_centers_.tobytes() == again.cluster_centers_.tobytes()


def test_fit_begins_again():
    X = rows_of("float32")
    stream = model().fit(X).partial_fit(X + 1)
    assert answer(stream.fit(X)) == answer(model().fit(X))
    assert stream.n_steps_ == 1


def test_columns_with_a_role_are_no_features_of_later_batches():
    frame = frame_of(rows_of("float32"))
    named = frame.assign(household=np.arange(len(frame)))
    expected = model().fit(named, customer="household")
    assert expected.feature_names_in_.tolist() == NAMES
    streams = [model().fit(named, customer="household") for _ in range(3)]
    streams[0].partial_fit(frame + 1)
    streams[1].partial_fit((frame + 1).assign(household=0))
    streams[2].partial_fit((frame + 1).assign(household=named["household"]), customer="household")
    assert answer(streams[0]) == answer(streams[1]) == answer(streams[2])
