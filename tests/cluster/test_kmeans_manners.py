"""KMeans behaves as a scikit-learn estimator: its checks, cloning, pickling, containers, names, pipelines, refits."""

from __future__ import annotations

import pickle
import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from sklearn.base import clone
from sklearn.cluster import KMeans as Theirs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from gpuseg import KMeans
from gpuseg.engines import cuda
from tests.cluster.kinds import NAMES, Answer, frame_of, rows_of, weights_of


def model(**parameters) -> KMeans:
    return KMeans(**{"n_clusters": 3, "random_state": 4, "n_init": 1, **parameters})


def failed_checks(estimator) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(estimator, on_fail=None)
    assert len(results) > 40
    return {r["check_name"]: repr(r["exception"]) for r in results if r["status"] == "failed"}


def test_the_checks_of_scikit_learn_fail_only_where_its_own_kmeans_does():
    ours, theirs = failed_checks(KMeans(n_clusters=2)), failed_checks(Theirs(n_clusters=2))
    assert set(ours) <= set(theirs), ours


def test_parameters_are_stored_untouched():
    given = {
        "n_clusters": 5, "init": [[1, 2]], "n_init": 3, "max_iter": 7, "tol": 1, "verbose": 1, "callback": print,
        "random_state": np.random.default_rng(0), "sample_start": False, "oversampling_factor": 3, "init_max_iter": 4,
        "engine": "cpu", "n_jobs": 2, "algorithm": "elkan", "copy_x": False, "precompute_distances": True,
        "min_cluster_size": 2, "persist": False,
    }  # fmt: skip
    kept = KMeans(**given).get_params()
    assert kept.keys() == given.keys()
    assert all(kept[name] is given[name] for name in given)
    assert repr(KMeans(n_clusters=3)) == "KMeans(n_clusters=3)"


def test_clone_and_pickle():
    X = rows_of("float64")
    fitted = model().fit(X, sample_weight=weights_of("real"))
    fresh = clone(fitted)
    assert fresh.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        copy = pickle.loads(pickle.dumps(fitted, protocol))
        assert Answer.of(copy) == Answer.of(fitted)
        assert copy.transform(X).tobytes() == fitted.transform(X).tobytes()
        assert copy.score(X) == fitted.score(X)


def test_a_model_of_a_dask_collection_can_be_pickled():
    rows = da.from_array(rows_of("float32"), chunks=(20, 4))
    fitted = model().fit(rows)
    copy = pickle.loads(pickle.dumps(fitted))
    assert copy.labels_.compute().tolist() == fitted.labels_.compute().tolist()
    assert not any("lient" in type(value).__name__ for value in vars(fitted).values())


def test_nothing_works_before_fit():
    X = rows_of("float32")
    for method in ("predict", "transform", "score"):
        with pytest.raises(NotFittedError):
            getattr(model(), method)(X)


# Containers ----------------------------------------------------------------------------------------------------------


def test_set_output():
    frame = frame_of(rows_of("float32"), [f"h{i}" for i in range(83)])
    fitted = model().fit(frame)
    plain = fitted.transform(frame)
    assert isinstance(plain, np.ndarray)
    fitted.set_output(transform="pandas")
    found = fitted.transform(frame)
    assert isinstance(found, pd.DataFrame)
    assert (
        found.columns.tolist() == fitted.get_feature_names_out().tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    )
    assert found.index.equals(frame.index)
    assert found.to_numpy().tobytes() == plain.tobytes()
    assert model().set_output(transform="pandas").fit_transform(frame).equals(found)
    assert isinstance(fitted.set_output(transform="polars").transform(frame), pl.DataFrame)
    assert isinstance(fitted.set_output(transform="default").transform(frame), np.ndarray)
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(model().fit(frame).transform(pa.Table.from_pandas(frame)), pd.DataFrame)


def test_set_output_never_gathers_a_dask_collection():
    frame = frame_of(rows_of("float32"))
    fitted = model().set_output(transform="pandas").fit(frame)
    lazy = fitted.transform(dd.from_pandas(frame, npartitions=3))
    assert isinstance(lazy, dd.DataFrame)
    assert lazy.columns.tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    assert lazy.compute().equals(fitted.transform(frame))
    assert isinstance(fitted.fit_transform(da.from_array(frame.to_numpy(), chunks=(20, 4))), da.Array)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lazy_results_announce_what_they_are(dtype):
    X = rows_of(dtype)
    rows, frame = da.from_array(X, chunks=(20, 2)), dd.from_pandas(frame_of(X), npartitions=3)
    fitted = model().fit(rows)
    labels, distances = fitted.predict(rows), fitted.transform(rows)
    assert (labels.dtype, labels.shape, labels.chunks) == (np.int32, (83,), (rows.chunks[0],))
    assert (distances.dtype, distances.shape) == (np.dtype(dtype), (83, 3))
    assert distances.compute().shape == (83, 3)
    assert distances.compute().dtype == dtype
    fitted = model().fit(frame)
    labels, distances = fitted.predict(frame), fitted.transform(frame)
    assert labels.dtype == labels.compute().dtype == np.int32
    assert set(distances.dtypes) == set(distances.compute().dtypes) == {np.dtype(dtype)}
    assert labels.name == labels.compute().name == "label"


# Names ---------------------------------------------------------------------------------------------------------------


def other_kinds(frame, folder):
    frame.to_parquet(folder / "named.parquet", index=False)
    return {
        "pandas": frame,
        "polars": pl.from_pandas(frame),
        "Arrow": pa.Table.from_pandas(frame, preserve_index=False),
        "Dask": dd.from_pandas(frame, npartitions=2),
        "Parquet": folder / "named.parquet",
    }


@pytest.mark.parametrize("kind", ["pandas", "polars", "Arrow", "Dask", "Parquet"])
def test_names_are_checked_as_scikit_learn_does(kind, tmp_path):
    frame = frame_of(rows_of("float32"))
    fitted = model().fit(other_kinds(frame, tmp_path)[kind])
    assert fitted.feature_names_in_.tolist() == NAMES
    assert fitted.n_features_in_ == 4

    def given(changed):
        return other_kinds(changed, tmp_path)[kind]

    with pytest.raises(ValueError, match="must be in the same order"):
        fitted.predict(given(frame[NAMES[::-1]]))
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- other"):
        fitted.transform(given(frame.rename(columns={"visits": "other"})))
    with pytest.raises(ValueError, match=r"yet now missing:\n- share"):
        fitted.score(given(frame[NAMES[:3]]))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(frame.to_numpy())


def test_a_wrong_number_of_features():
    X = rows_of("float32")
    fitted = model().fit(X)
    for rows in (X[:, :3], da.from_array(X[:, :3], chunks=20)):
        with pytest.raises(ValueError, match="X has 3 features, but KMeans is expecting 4 features"):
            fitted.predict(rows)


def test_mixed_names_are_refused():
    frame = pd.DataFrame(rows_of("float32"), columns=["a", "b", 1, 2])
    with pytest.raises(TypeError, match="names are only supported if all input features have string names"):
        model().fit(frame)
    with pytest.raises(ValueError, match="mix text with other types; name every column by text"):
        model().fit(dd.from_pandas(frame, npartitions=2))


# Refits --------------------------------------------------------------------------------------------------------------


def test_a_refit_forgets_the_first_fit():
    frame = frame_of(rows_of("float32"))
    twice = model().fit(frame, customer=None)
    twice.fit(rows_of("float64")[:, :2], sample_weight=weights_of("integer"))
    once = model().fit(rows_of("float64")[:, :2], sample_weight=weights_of("integer"))
    assert Answer.of(twice) == Answer.of(once)
    assert vars(twice).keys() == vars(once).keys()
    assert not hasattr(twice, "feature_names_in_")


def test_a_fit_that_fails_leaves_the_earlier_model_whole():
    X = rows_of("float64")
    fitted = model().fit(X)
    before = {**vars(fitted)}
    bad = np.full((20, 2), np.nan)
    for rows in (bad, da.from_array(bad, chunks=5), pd.DataFrame(bad, columns=["a", "b"])):
        with pytest.raises(ValueError, match="NaN or infinity"):
            fitted.fit(rows)
        assert vars(fitted) == before
    assert fitted.predict(X).tolist() == fitted.labels_.tolist()


def test_a_first_fit_that_fails_leaves_nothing():
    fresh = model()
    with pytest.raises(ValueError, match="NaN or infinity"):
        fresh.fit(pd.DataFrame({"a": [1.0, np.nan, 3.0, 4.0]}))
    assert vars(fresh) == vars(model())


def test_a_refit_on_its_own_centres_starts_from_them():
    X = rows_of("float64")
    first = model(max_iter=2, tol=0).fit(X)
    again = model(init=first.cluster_centers_, tol=0, max_iter=300).fit(X)
    assert again.inertia_ <= first.inertia_ * (1 + 1e-6)


# In company ----------------------------------------------------------------------------------------------------------


def test_a_pipeline_with_a_scaler():
    frame = frame_of(rows_of("float64")) * [1, 10, 100, 1000]
    chain = make_pipeline(StandardScaler(), model())
    labels = chain.fit_predict(frame)
    scaled = StandardScaler().fit_transform(frame)
    assert labels.tolist() == model().fit(scaled).labels_.tolist()
    assert chain.predict(frame).tolist() == labels.tolist()
    assert chain.transform(frame).shape == (83, 3)
    assert chain.score(frame) == -chain[-1].inertia_
    weighted = chain.fit(frame, kmeans__sample_weight=weights_of("integer"))
    assert weighted[-1].inertia_ == model().fit(scaled, sample_weight=weights_of("integer")).inertia_
    named = make_pipeline(StandardScaler(), model()).set_output(transform="pandas").fit(frame)
    assert named.transform(frame).columns.tolist() == ["kmeans0", "kmeans1", "kmeans2"]
    assert named[-1].feature_names_in_.tolist() == NAMES


def test_a_grid_search_over_k():
    X = rows_of("float32")
    search = GridSearchCV(model(), {"n_clusters": [1, 2, 6]}, cv=3).fit(X)
    assert search.best_params_ == {"n_clusters": 6}
    assert search.best_estimator_.inertia_ == model(n_clusters=6).fit(X).inertia_
    scores = search.cv_results_["mean_test_score"]
    assert scores.tolist() == sorted(scores)


def test_weights_can_be_routed():
    X, w = rows_of("float32"), weights_of("integer")
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        chain = make_pipeline(scaler, model().set_fit_request(sample_weight=True))
        fitted = chain.fit(X, sample_weight=w)
    expected = model().fit(StandardScaler().fit_transform(X), sample_weight=w)
    assert fitted[-1].inertia_ == expected.inertia_


def test_arguments_stand_where_scikit_learn_has_them():
    X, w = rows_of("float32"), weights_of("integer")
    expected = model().fit(X, sample_weight=w)
    assert model().fit(X, None, w).inertia_ == expected.inertia_
    assert model().fit_predict(X, None, w).tolist() == expected.labels_.tolist()
    assert model().fit_transform(X, None, w).tobytes() == expected.transform(X).tobytes()
    assert expected.score(X, None, w) == -expected.inertia_


def test_what_a_fit_records():
    fitted = model(engine="auto").fit(rows_of("float64"))
    assert fitted.engine_ in {"cuda (a device is here)", f"cpu ({cuda.unavailable()})"}
    assert fitted.placement_ == "threads of this process"
    assert fitted.seed_ == 4
    assert fitted.centred_features_.all()
    assert not fitted.wide_features_.any()
    assert isinstance(fitted.inertia_, float)
    assert isinstance(fitted.n_iter_, int)
    assert not model().fit(rows_of("float32")).centred_features_.any()


def test_a_feature_of_extreme_spread_is_logged_and_recorded(caplog):
    X = rows_of("float64")
    X[0, 1] = 2.0**45
    X[1:, 1] = np.arange(82) % 2
    fitted = model().fit(X)
    assert not fitted.wide_features_.any()  # one outlier widens the spread as well
    w = np.full(83, 1e6)
    w[0] = 1e-16
    with caplog.at_level("WARNING", logger="gpuseg.cluster"):
        fitted = model().fit(frame_of(X), sample_weight=w)
    assert fitted.wide_features_.tolist() == [False, True, False, False]
    assert "basket: the largest value exceeds 2**30 standard deviations" in caplog.text
