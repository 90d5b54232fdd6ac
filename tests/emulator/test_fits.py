"""Whole answers on the emulated engine == on the CPU engine == on a mixture, in this process and on workers."""

from __future__ import annotations

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pytest

from gpuseg import (
    KMeans,
    MiniBatchKMeans,
    choose_k,
    cohort_retention,
    datasets,
    read_transactions,
    silhouette_samples,
)
from gpuseg.errors import EngineUnavailableError
from gpuseg.graph.cuda_workers import cuda_workers
from tests.cluster.kinds import Answer, cut, rows_of, weights_of
from tests.emulator import build, engine
from tests.graph.workers import TIMEOUT


@pytest.fixture(autouse=True)
def emulated():
    if build.unavailable() is not None:
        pytest.skip(build.unavailable())
    engine.register()
    yield
    engine.forget()


def model(name, **parameters):
    return KMeans(
        **{"n_clusters": 4, "random_state": 2, "max_iter": 6, "tol": 0, "engine": name, **parameters}
    )


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fit(dtype, weights):
    X = rows_of(dtype)
    w = None if weights == "none" else weights_of(weights)
    fitted, wanted = model("emulated").fit(X, sample_weight=w), model("cpu").fit(X, sample_weight=w)
    assert Answer.of(fitted) == Answer.of(wanted)
    assert fitted.engine_ == "emulated (asked for)"
    assert "DeviceEngine" in engine.built
    assert fitted.predict(X).tolist() == fitted.labels_.tolist()
    assert fitted.transform(X).tobytes() == wanted.transform(X).tobytes()
    assert fitted.score(X, sample_weight=w) == wanted.score(X, sample_weight=w)


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_a_fit_seeded_by_oversampling(weights):
    X, w = rows_of("float32"), weights_of(weights)
    parameters = {"init": "k-means||", "n_init": 2}
    fitted = model("emulated", **parameters).fit(X, sample_weight=w)
    assert Answer.of(fitted) == Answer.of(model("cpu", **parameters).fit(X, sample_weight=w))
    assert "DeviceEngine" in engine.built


@pytest.mark.parametrize("weights", ["none", "real"])
def test_a_fit_with_a_minimum_size(weights):
    X, w = rows_of("float32"), weights_of(weights)
    parameters = {"n_clusters": 6, "n_init": 1, "max_iter": 20, "min_cluster_size": 20}
    fitted = model("emulated", **parameters).fit(X, sample_weight=w)
    wanted = model("cpu", **parameters).fit(X, sample_weight=w)
    assert Answer.of(fitted) == Answer.of(wanted)
    assert fitted.size_changes_ == wanted.size_changes_ != ()


@pytest.mark.parametrize("weights", ["none", "real"])
def test_a_stream(weights):
    X, w = rows_of("float64"), weights_of(weights)
    found = []
    for name in ("emulated", "cpu"):
        stream = MiniBatchKMeans(4, random_state=2, n_init=1, engine=name).fit(X, sample_weight=w)
        stream.partial_fit(
            da.from_array(X + 1, chunks=(50, 4)), sample_weight=w if w is None else da.from_array(w)
        )
        found.append({key: array.tobytes() for key, array in stream.to_arrays().items()})
        found[-1]["labels"] = stream.labels_.compute().tobytes()
    assert found[0] == found[1]


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_choice_of_k(metric, lazy):
    X = rows_of("float32")
    given = da.from_array(X, chunks=(70, X.shape[1])) if lazy else X
    found = choose_k(given, range(2, 6), metric=metric, engine="emulated")
    wanted = choose_k(X, range(2, 6), metric=metric, engine="cpu")
    assert found.evidence == wanted.evidence
    assert [Answer.of(one) for one in found.models.values()] == [
        Answer.of(one) for one in wanted.models.values()
    ]
    assert "DeviceEngine" in engine.built


def test_more_clusters_than_distinct_rows():
    X = np.repeat(np.array([[0.0, 1.0], [2.0, 5.0], [7.0, 7.0]], np.float32), 30, axis=0)
    start = np.array([[0, 1], [2, 5], [50, 50], [60, 60]], np.float32)
    answers = []
    for name in ("emulated", "cpu"):
        with pytest.warns(UserWarning, match="distinct clusters"):
            answers.append(Answer.of(model(name, init=start).fit(X)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_silhouettes(metric):
    X, labels = rows_of("float64"), np.arange(len(rows_of("float64"))) % 3
    found = silhouette_samples(X, labels, metric=metric, engine="emulated")
    assert found.tobytes() == silhouette_samples(X, labels, metric=metric, engine="cpu").tobytes()


def transactions(split=False):
    table, _ = datasets.make_transactions(60, seed=3)
    if split:
        table = dd.from_pandas(table.to_pandas(), npartitions=4)
    return read_transactions(
        table, customer="customer", time="time", amount="amount", time_zone="Europe/Paris"
    )


def same_cohorts(a, b):
    tables = ("counts", "rates", "revenue")
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in tables)


def test_cohorts():
    tx = transactions()
    found = cohort_retention(tx, "month", engine="emulated")
    assert found.counts.shape[0] > 3
    assert same_cohorts(found, cohort_retention(tx, "month", engine="cpu"))


def test_scaling():
    from gpuseg.customers.scaling import ExactScaler

    X = rows_of("float64")
    found, wanted = ExactScaler(engine="emulated").fit(X), ExactScaler(engine="cpu").fit(X)
    assert found.mean_.tobytes() == wanted.mean_.tobytes()
    assert found.scale_.tobytes() == wanted.scale_.tobytes()


# --- on workers, as many as there are (faked) devices


@pytest.fixture(scope="module")
def two():
    """A client of two workers, one a device."""
    from distributed import Client

    with (
        cuda_workers([0, "GPU-1"], memory_limit="2GiB") as cluster,
        Client(cluster, set_as_default=False, timeout=TIMEOUT) as client,
        client.as_current(),
    ):
        client.wait_for_workers(2, timeout=TIMEOUT)
        yield client


def environment():
    import os

    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUPY_GPU_MEMORY_LIMIT"]


@pytest.mark.cluster
def test_each_worker_has_one_device(two):
    workers = two.scheduler_info(n_workers=-1)["workers"].values()
    assert [(w["nthreads"], w["resources"]) for w in workers] == [(1, {"GPU": 1})] * 2
    assert {w["name"] for w in workers} == {"gpu-0", "gpu-GPU-1"}
    assert sorted(two.run(environment).values()) == [("0", "90%"), ("GPU-1", "90%")]


def answers(X, w, tx):
    """A fit, silhouettes and a cohort table of Dask collections."""
    sizes = tuple(len(part) for part in cut(X))
    rows, weights = da.from_array(X, chunks=(sizes, X.shape[1])), da.from_array(w, chunks=(sizes,))
    fitted = model("emulated", n_init=2).fit(rows, sample_weight=weights)
    assert fitted.placement_ == "workers of the Dask client"
    labels = fitted.labels_.compute()
    return (
        Answer.of(fitted, lambda found: np.asarray(found.compute() if hasattr(found, "compute") else found)),
        silhouette_samples(rows, labels, metric="sqeuclidean", engine="emulated").tobytes(),
        silhouette_samples(rows, labels, engine="emulated").tobytes(),
        [getattr(cohort_retention(tx, engine="emulated"), name).tobytes() for name in ("counts", "revenue")],
    )


@pytest.mark.cluster
@pytest.mark.timeout(200)
def test_emulated_workers_cpu_workers_and_a_mixture_give_one_answer(two):
    X, w, tx = rows_of("float64"), weights_of("real"), transactions(split=True)
    first, second = sorted(two.scheduler_info(n_workers=-1)["workers"])
    found = []
    for on_cpu in ([], [second], [first, second]):
        for worker in (first, second):
            two.run(engine.register, on_cpu=worker in on_cpu, workers=[worker])
        engine.register(on_cpu=len(on_cpu) == 2)
        found.append(answers(X, w, tx))
        made = two.run(engine.what_was_built)
        assert made == {
            worker: {"CpuEngine" if worker in on_cpu else "DeviceEngine"} for worker in (first, second)
        }
    assert found[0] == found[1] == found[2]
    wanted = model("cpu", n_init=2).fit(X, sample_weight=w)
    assert found[0][0] == Answer.of(wanted)
    assert found[0][1] == silhouette_samples(X, wanted.labels_, metric="sqeuclidean", engine="cpu").tobytes()


@pytest.mark.cluster
def test_a_worker_that_does_not_know_the_engine_says_so(two):
    two.run(engine.forget)
    X = rows_of("float32")
    with pytest.raises(EngineUnavailableError, match="no engine 'emulated' is known in this process"):
        model("emulated").fit(da.from_array(X, chunks=(40, X.shape[1])))
