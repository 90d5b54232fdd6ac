"""KMeans where scikit-learn's and dask-ml's own are used: their tools around it, models to and from them."""

from __future__ import annotations

import inspect
import pickle

import dask.array as da
import numpy as np
import pytest
import sklearn.cluster
import sklearn.preprocessing
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline

from gpuseg import KMeans
from gpuseg.errors import InputError, RangeError
from tests.cluster.kinds import Answer, frame_of, rows_of, weights_of

FLOATS = ["float32", "float64"]
SCALERS = ["StandardScaler", "MinMaxScaler", "RobustScaler"]


def model(**parameters) -> KMeans:
    return KMeans(**{"n_clusters": 3, "random_state": 4, "n_init": 1, **parameters})


def computed(found):
    return np.asarray(found.compute() if hasattr(found, "compute") else found)


def dask_ml(name: str):
    return pytest.importorskip(f"dask_ml.{name}", reason="dask-ml is not here", exc_type=ModuleNotFoundError)


def in_chunks(X):
    return da.from_array(X, chunks=((30, 1, 52), 4))  # dask-ml's MinMaxScaler takes no empty chunk


# Tools of scikit-learn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALERS)
def test_scalers_of_scikit_learn(name):
    X = rows_of("float64") * [1, 10, 100, 1000]
    scaler = getattr(sklearn.preprocessing, name)
    chain = make_pipeline(scaler(), model()).fit(X)
    assert Answer.of(chain[-1]) == Answer.of(model().fit(scaler().fit_transform(X)))
    assert chain.predict(X).tolist() == chain[-1].labels_.tolist()


def test_splits_of_cross_validation():
    X, folds = rows_of("float32"), KFold(3)
    alone = [(model().fit(X[train]), test) for train, test in folds.split(X)]
    expected = [fitted.score(X[test]) for fitted, test in alone]
    assert cross_val_score(model(), X, cv=folds).tolist() == expected
    labels = np.concatenate([fitted.predict(X[test]) for fitted, test in alone])
    assert cross_val_predict(model(), X, cv=folds).tolist() == labels.tolist()
    found = cross_validate(model(), X, cv=folds, return_estimator=True)
    assert [Answer.of(one) for one in found["estimator"]] == [Answer.of(fitted) for fitted, _ in alone]


# Tools of dask-ml ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALERS)
def test_scalers_of_dask_ml(name):
    """On Dask collections all the way; the labels are those of the scaled rows in one array."""
    scaler = getattr(dask_ml("preprocessing"), name)
    rows = in_chunks(rows_of("float64") * [1, 10, 100, 1000])
    chain = make_pipeline(scaler(), model()).fit(rows)
    scaled = scaler().fit_transform(rows)
    assert Answer.of(chain[-1], computed) == Answer.of(model().fit(scaled.compute()))
    labels = chain.predict(rows)
    assert isinstance(labels, da.Array)
    assert labels.compute().tolist() == chain[-1].labels_.compute().tolist()


def test_parallel_post_fit_of_dask_ml():
    """Fitted on rows in memory, then asked for those of a Dask array, chunk by chunk."""
    X = rows_of("float32")
    fitted = model().fit(X)
    wrapped = dask_ml("wrappers").ParallelPostFit(model()).fit(X)
    labels, distances = wrapped.predict(in_chunks(X)[30:]), wrapped.transform(in_chunks(X)[30:])
    assert isinstance(labels, da.Array)
    assert labels.compute().tolist() == fitted.labels_[30:].tolist()
    assert distances.compute().tobytes() == fitted.transform(X)[30:].tobytes()
    assert wrapped.score(X, None) == -fitted.inertia_


@pytest.mark.parametrize("chunked", [False, True])
def test_a_grid_search_of_dask_ml(chunked):
    X = rows_of("float32")
    grid = dask_ml("model_selection").GridSearchCV(model(), {"n_clusters": [2, 6]}, cv=KFold(3))
    search = grid.fit(da.from_array(X, chunks=(30, 4)) if chunked else X)
    assert search.best_params_ == {"n_clusters": 6}
    assert Answer.of(search.best_estimator_, computed) == Answer.of(model(n_clusters=6).fit(X))
    expected = [
        [model(n_clusters=k).fit(X[train]).score(X[test]) for train, test in KFold(3).split(X)]
        for k in (2, 6)
    ]
    found = [[search.cv_results_[f"split{i}_test_score"][k] for i in range(3)] for k in range(2)]
    assert found == expected


def test_another_import_is_all_that_a_user_of_dask_ml_changes():
    """Every parameter of theirs is one of ours, and its default is understood."""
    theirs = dask_ml("cluster").KMeans
    defaults = {name: parameter.default for name, parameter in inspect.signature(theirs).parameters.items()}
    assert defaults["init"] == "k-means||"
    X = rows_of("float64")
    fitted = KMeans(**{**defaults, "n_clusters": 3, "random_state": 4}).fit(in_chunks(X))
    assert isinstance(fitted.labels_, da.Array)
    ours = KMeans(3, init="k-means||", random_state=4).fit(X)
    assert Answer.of(fitted, computed) == Answer.of(ours)
    found = {name for name in dir(theirs(3).fit(X)) if name.endswith("_") and not name.startswith("_")}
    assert {"cluster_centers_", "labels_", "inertia_", "n_iter_"} <= found <= set(dir(fitted))


def test_every_parameter_of_scikit_learn_is_ours():
    defaults = sklearn.cluster.KMeans().get_params()
    X = rows_of("float32")
    fitted = KMeans(**{**defaults, "n_clusters": 3, "random_state": 4}).fit(X)
    assert Answer.of(fitted) == Answer.of(KMeans(3, random_state=4).fit(X))


@pytest.mark.parametrize(
    "given",
    [
        {"algorithm": "elkan"},
        {"algorithm": "full"},
        {"copy_x": False},
        {"precompute_distances": False},
        {"init": "k-means||", "init_max_iter": None},
    ],
    ids=str,
)
def test_what_nothing_depends_on(given):
    X = rows_of("float64")
    before = X.tobytes()
    plain = {name: value for name, value in given.items() if name == "init"}
    assert Answer.of(model(**given).fit(X)) == Answer.of(model(**plain).fit(X))
    assert X.tobytes() == before


# Models to and from scikit-learn -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_to_scikit_learn(dtype):
    frame = frame_of(rows_of(dtype, n=400))
    ours = model(max_iter=7, init="k-means||").fit(frame, sample_weight=weights_of("real", n=400))
    theirs = ours.to_sklearn()
    assert isinstance(theirs, sklearn.cluster.KMeans)
    assert theirs.predict(frame).tolist() == ours.predict(frame).tolist() == theirs.labels_.tolist()
    assert theirs.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
    assert theirs.cluster_centers_ is not ours.cluster_centers_
    assert (theirs.inertia_, theirs.n_iter_) == (ours.inertia_, ours.n_iter_)
    assert theirs.transform(frame) == pytest.approx(ours.transform(frame), rel=1e-4, abs=1e-4)
    assert theirs.score(frame) == pytest.approx(ours.score(frame), rel=1e-5)
    assert theirs.feature_names_in_.tolist() == ours.feature_names_in_.tolist()
    assert theirs.get_feature_names_out().tolist() == ours.get_feature_names_out().tolist()
    expected = {"n_clusters": 3, "max_iter": 7, "n_init": 1, "random_state": 4, "init": "k-means++"}
    assert {name: theirs.get_params()[name] for name in expected} == expected
    assert pickle.loads(pickle.dumps(theirs)).predict(frame).tolist() == theirs.labels_.tolist()
    assert theirs.fit(frame).n_iter_ >= 1


def test_to_scikit_learn_where_centres_repeat():
    X = np.ones((9, 2))
    with pytest.warns(sklearn.exceptions.ConvergenceWarning):
        ours = model(init=X[:3]).fit(X)
    theirs = ours.to_sklearn()
    assert theirs.init is ours.init
    assert theirs.predict(X).tolist() == ours.labels_.tolist()


def test_labels_of_a_dask_collection_stay_lazy():
    X = rows_of("float32")
    theirs = model().fit(in_chunks(X)).to_sklearn()
    assert isinstance(theirs.labels_, da.Array)
    assert not hasattr(theirs, "feature_names_in_")
    assert theirs.predict(X).tolist() == theirs.labels_.compute().tolist()


@pytest.mark.parametrize("kind", [sklearn.cluster.KMeans, sklearn.cluster.MiniBatchKMeans])
@pytest.mark.parametrize("dtype", FLOATS)
def test_from_scikit_learn(dtype, kind):
    frame = frame_of(rows_of(dtype, n=400))
    theirs = kind(3, random_state=1, n_init=2, tol=0.01).fit(frame, sample_weight=weights_of("real", n=400))
    ours = KMeans.from_sklearn(theirs)
    assert ours.predict(frame).tolist() == theirs.predict(frame).tolist() == ours.labels_.tolist()
    assert ours.labels_.dtype == np.int32
    assert ours.cluster_centers_.tobytes() == theirs.cluster_centers_.tobytes()
    assert (ours.inertia_, ours.n_iter_) == (theirs.inertia_, theirs.n_iter_)
    assert ours.transform(frame) == pytest.approx(theirs.transform(frame), rel=1e-4, abs=1e-4)
    assert ours.score(frame) == pytest.approx(theirs.score(frame), rel=1e-5)
    assert ours.feature_names_in_.tolist() == list(frame.columns)
    assert ours.centred_features_.tolist() == [dtype == "float64"] * 4
    chosen = {"n_clusters": 3, "random_state": 1, "n_init": 2, "tol": 0.01}
    assert {name: ours.get_params()[name] for name in chosen} == chosen
    assert pickle.loads(pickle.dumps(ours)).predict(frame).tolist() == ours.labels_.tolist()
    assert ours.set_output(transform="pandas").transform(frame).columns.tolist() == [
        "kmeans0",
        "kmeans1",
        "kmeans2",
    ]
    assert ours.fit(frame).engine_


def test_from_scikit_learn_to_dask():
    X = rows_of("float64")
    theirs = sklearn.cluster.KMeans(3, random_state=1).fit(X)
    labels = KMeans.from_sklearn(theirs).predict(in_chunks(X))
    assert isinstance(labels, da.Array)
    assert labels.compute().tolist() == theirs.labels_.tolist()


@pytest.mark.parametrize("dtype", FLOATS)
def test_there_and_back(dtype):
    X = rows_of(dtype, n=400)
    ours = model().fit(X)
    back = KMeans.from_sklearn(ours.to_sklearn())
    assert back.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
    assert back.predict(X).tolist() == ours.labels_.tolist()
    assert back.inertia_ == ours.inertia_


@pytest.mark.parametrize(("dtype", "offset", "step"), [("float32", 1e5, 2.0**-7), ("float64", 1e8, 2.0**-14)])
def test_models_far_from_the_origin(dtype, offset, step):
    """Labels here are right, where those of the expanded form are not."""
    rng = np.random.default_rng(3)
    group = rng.integers(0, 5, 400)
    X = (offset + step * (rng.integers(-4, 5, (400, 8)) + 64 * group[:, None])).astype(dtype)
    centres = (offset + step * 64 * np.arange(5.0)[:, None] + np.zeros(8)).astype(dtype)
    fitted = model(n_clusters=5, init=centres).fit(X).to_sklearn()
    fitted.cluster_centers_ = centres
    assert KMeans.from_sklearn(fitted).predict(X).tolist() == group.tolist()
    if dtype == "float32":
        assert (fitted.predict(X) != group).mean() > 0.1


def test_from_dask_ml():
    X = rows_of("float64")
    theirs = dask_ml("cluster").KMeans(3, random_state=1).fit(in_chunks(X)[30:])
    ours = KMeans.from_sklearn(theirs)
    assert ours.labels_.dtype == np.int32
    assert (
        ours.predict(X[30:]).tolist() == theirs.labels_.compute().tolist() == ours.labels_.compute().tolist()
    )
    expected = KMeans().get_params() | theirs.get_params() | {"n_jobs": None}
    assert ours.get_params() == expected


@pytest.mark.parametrize(
    "estimator", [sklearn.cluster.BisectingKMeans(2), sklearn.cluster.DBSCAN(), KMeans(2), "a"]
)
def test_what_labels_rows_in_another_way_is_refused(estimator):
    with pytest.raises(InputError, match=r"theirs is a [\w.]+; give a fitted KMeans or MiniBatchKMeans"):
        KMeans.from_sklearn(estimator)


def test_models_that_cannot_be_exchanged():
    with pytest.raises(NotFittedError):
        model().to_sklearn()
    with pytest.raises(NotFittedError):
        KMeans.from_sklearn(sklearn.cluster.KMeans(3))
    theirs = sklearn.cluster.KMeans(3, n_init=1).fit(rows_of("float64"))
    theirs.cluster_centers_[1, 2] = np.nan
    with pytest.raises(InputError, match="cluster_centers_ has NaN or infinite values"):
        KMeans.from_sklearn(theirs)
    theirs.cluster_centers_[1, 2] = 2.0**60
    with pytest.raises(RangeError, match=r"feature 2 reaches .* beyond 2\*\*50"):
        KMeans.from_sklearn(theirs)
