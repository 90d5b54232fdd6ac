"""Where an engine runs: the client looks at what workers offer, never at its own hardware. No device here."""

from __future__ import annotations

import logging

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster

from gpuseg import KMeans, cohort_retention, datasets, read_transactions, silhouette_score
from gpuseg.customers.scaling import ExactScaler
from gpuseg.engines import choose, cuda
from gpuseg.engines.choose import EngineChoice
from gpuseg.errors import EngineUnavailableError, InputError
from gpuseg.graph.placing import choose_placed
from gpuseg.quality.stability import stability
from tests.cluster.kinds import Answer, cut, rows_of, weights_of
from tests.emulator import build, engine
from tests.graph.workers import TIMEOUT

REASON = "no card; buy one"


@pytest.fixture(autouse=True)
def _no_device_here(monkeypatch):
    monkeypatch.setattr(cuda, "unavailable", lambda: REASON)
    choose.say_once.cache_clear()
    yield
    choose.say_once.cache_clear()


class Offers:
    """A client that is only asked what its workers offer."""

    def __init__(self, **workers):
        self.workers = workers

    def scheduler_info(self, n_workers):
        assert n_workers == -1
        return {
            "workers": {
                f"tcp://{name}": {"name": name, "resources": has} for name, has in self.workers.items()
            }
        }


GPU, NONE = {"GPU": 1}, {"GPU": 0}


@pytest.mark.parametrize(
    ("name", "workers", "wanted"),
    [
        ("cuda", {"a": {}, "b": GPU}, EngineChoice("cuda", "asked for", 2, resource="GPU")),
        ("cpu", {"a": GPU}, EngineChoice("cpu", "asked for", 2)),
        ("auto", {"b": GPU, "c": NONE, "a": GPU}, EngineChoice("cuda", "offered by a, b", 2, False, "GPU")),
        ("auto", {"a": {}, "b": NONE}, EngineChoice("cuda", "a device is there", 2, False)),
    ],
)
def test_what_workers_offer(name, workers, wanted):
    assert choose_placed(name, 2, Offers(**workers)) == wanted


def test_without_a_client_this_process_counts():
    assert choose_placed("auto", 2, None) == EngineChoice("cpu", REASON, 2)
    with pytest.raises(EngineUnavailableError, match=REASON):
        choose_placed("cuda", None, None)


@pytest.mark.parametrize(
    ("workers", "who"),
    [
        ({}, "the Dask client has none does"),
        ({"a": {}, "b": NONE}, r"none of the 2 workers of the Dask client \(a, b\) does"),
        (
            dict.fromkeys("fedcba", NONE),
            r"none of the 6 workers of the Dask client \(a, b, c, d and 2 more\) does",
        ),
    ],
)
def test_nobody_offers_a_device(workers, who):
    with pytest.raises(EngineUnavailableError, match=who) as error:
        choose_placed("cuda", None, Offers(**workers))
    for word in ("GPU=1", "gpuseg.graph.cuda_workers()", "--resources", "engine='cpu'"):
        assert word in str(error.value)


def test_auto_says_once_whom_it_takes(caplog):
    with caplog.at_level(logging.INFO, "gpuseg.engines"):
        for _ in range(2):
            choose_placed("auto", None, Offers(a=GPU))
    assert [record.getMessage() for record in caplog.records] == [
        "engine='auto' takes 'cuda': GPU=1 is offered by a"
    ]


def test_names_that_mean_nothing():
    with pytest.raises(InputError, match="engine='gpu' is not known"):
        choose_placed("gpu", None, Offers(a=GPU))
    with pytest.raises(InputError, match="n_jobs=0"):
        choose_placed("cpu", 0, Offers(a=GPU))


# --- real workers: one that offers a device, emulated, and one that does not


@pytest.fixture(scope="module")
def mixed():
    """``gpu-0`` offers GPU=1, ``cpu-0`` does not; this process knows no engine but its own."""
    if build.unavailable() is not None:
        pytest.skip(build.unavailable())
    common = {"nthreads": 1, "host": "127.0.0.1", "memory_limit": "2GiB", "dashboard": False}
    workers = {
        name: {"cls": Nanny, "options": {**common, "name": name, "resources": has}}
        for name, has in (("gpu-0", {"GPU": 1}), ("cpu-0", {}))
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "dashboard": False}}
    with (
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False, timeout=TIMEOUT) as client,
        client.as_current(),
    ):
        client.wait_for_workers(2, timeout=TIMEOUT)
        yield client


def addresses(client):
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {worker["name"]: address for address, worker in workers.items()}


@pytest.fixture
def emulated(mixed):
    """The worker that offers a device has one, under the name "cuda"; the other has none."""
    at = addresses(mixed)
    mixed.run(engine.register, name="cuda", workers=[at["gpu-0"]])
    mixed.run(engine.what_was_built, forget=True)
    yield mixed
    mixed.run(engine.restore_cuda)


def built(client):
    found, at = client.run(engine.what_was_built, forget=True), addresses(client)
    return {name: found[address] for name, address in at.items()}


def model(name, **parameters):
    return KMeans(
        **{"n_clusters": 4, "random_state": 2, "max_iter": 6, "tol": 0, "engine": name, **parameters}
    )


def computed(found):
    return np.asarray(found.compute() if hasattr(found, "compute") else found)


def array_of(X):
    return da.from_array(X, chunks=(tuple(len(part) for part in cut(X)), X.shape[1]))


pytestmark = pytest.mark.timeout(120)


@pytest.mark.cluster
def test_a_fit_from_a_client_without_a_device(emulated):
    X, w = rows_of("float64"), weights_of("real")
    rows = array_of(X)
    fitted = model("cuda", n_init=2).fit(rows, sample_weight=da.from_array(w, chunks=(rows.chunks[0],)))
    assert fitted.engine_ == "cuda (asked for) on workers gpu-0"
    assert built(emulated) == {"gpu-0": {"DeviceEngine"}, "cpu-0": set()}
    wanted = model("cpu", n_init=2).fit(X, sample_weight=w)
    assert Answer.of(fitted, computed) == Answer.of(wanted)
    assert fitted.score(rows) == wanted.score(X)
    assert built(emulated) == {"gpu-0": {"DeviceEngine"}, "cpu-0": set()}


@pytest.mark.cluster
def test_auto_takes_the_workers_that_offer_a_device(emulated):
    X = rows_of("float32")
    fitted = model("auto").fit(array_of(X))
    assert fitted.engine_ == "cuda (offered by gpu-0) on workers gpu-0"
    assert built(emulated) == {"gpu-0": {"DeviceEngine"}, "cpu-0": set()}
    assert Answer.of(fitted, computed) == Answer.of(model("cpu").fit(X))


@pytest.mark.cluster
def test_auto_where_what_was_offered_does_not_run(mixed):
    """Its tasks go there all the same; the CPU engine stands in, and the fit says why."""
    X = rows_of("float32")
    fitted = model("auto").fit(array_of(X))
    assert fitted.engine_.startswith("cpu (no NVIDIA driver")
    assert fitted.engine_.endswith(") on workers gpu-0")
    assert Answer.of(fitted, computed) == Answer.of(model("cpu").fit(X))
    with pytest.raises(EngineUnavailableError, match="engine='cuda' cannot run here: no NVIDIA driver"):
        model("cuda").fit(array_of(X))


@pytest.mark.cluster
def test_each_worker_takes_what_it_has(emulated):
    """Nobody offers a device, but one has it: a mixture, and the answer is the same."""
    emulated.run(set_resource, 0, workers=[addresses(emulated)["gpu-0"]])
    try:
        X = np.tile(rows_of("float32"), (4, 1)) + np.arange(4).repeat(len(rows_of("float32")))[
            :, None
        ].astype("f4")
        rows = da.from_array(X, chunks=(20, X.shape[1]))
        fitted = model("auto").fit(rows)
        assert fitted.engine_.startswith("cpu (no NVIDIA driver")
        assert fitted.engine_.endswith(") on workers cpu-0; cuda (a device is there) on workers gpu-0")
        assert Answer.of(fitted, computed) == Answer.of(model("cpu").fit(X))
        with pytest.raises(EngineUnavailableError, match=r"none of the 2 workers .* \(cpu-0, gpu-0\) does"):
            model("cuda").fit(rows)
    finally:
        emulated.run(set_resource, 1, workers=[addresses(emulated)["gpu-0"]])


async def set_resource(count, dask_worker):
    await dask_worker.set_resources(GPU=count)


def frame_of(X):
    return pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])


@pytest.mark.cluster
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "as it was annotated"])
def test_lazy_results_run_where_the_engine_is(emulated, fused):
    """Also after other work on them; Dask forgets the annotations of collections that it fuses."""
    X = rows_of("float32")
    parts = 10
    rows = da.from_array(X, chunks=(len(X) // parts, X.shape[1]))
    frame = dd.from_pandas(frame_of(X), npartitions=parts)
    start = X[:4].copy()
    wanted = model("cpu", init=start, max_iter=2).fit(X)
    fitted = model("cuda", init=start, max_iter=2).fit(rows)
    by_name = model("cuda", init=start, max_iter=2).fit(frame)
    built(emulated)
    with dask.config.set({"optimization.fuse.active": None if fused else False}):
        arrays = (fitted.labels_, fitted.predict(rows) + 1, fitted.transform(rows).sum(axis=1))
        found = [*dask.compute(*arrays), *dask.compute(by_name.predict(frame), by_name.transform(frame))]
    labels, distances = wanted.labels_, wanted.transform(X)
    assert built(emulated) == {"gpu-0": {"DeviceEngine"}, "cpu-0": set()}
    assert found[0].tobytes() == labels.tobytes()
    assert found[1].tolist() == (labels + 1).tolist()
    assert np.allclose(found[2], distances.sum(axis=1))
    assert found[3].to_numpy().tobytes() == labels.tobytes()
    assert found[4].to_numpy().tobytes() == distances.tobytes()


@pytest.mark.cluster
def test_files_are_labelled_where_the_engine_is(emulated, tmp_path):
    X = rows_of("float32")
    for number, rows in enumerate(np.split(X, [20, 50])):
        frame_of(rows).to_parquet(tmp_path / f"part.{number}.parquet")
    fitted, wanted = model("cuda").fit(str(tmp_path)), model("cpu").fit(X)
    assert fitted.predict(str(tmp_path)).tobytes() == wanted.labels_.tobytes() == fitted.labels_.tobytes()
    assert fitted.transform(str(tmp_path)).tobytes() == wanted.transform(X).tobytes()
    assert built(emulated) == {"gpu-0": {"DeviceEngine"}, "cpu-0": set()}


@pytest.mark.cluster
def test_rows_in_memory_are_labelled_here_by_what_is_here(emulated):
    X = rows_of("float32")
    fitted = model("cuda").fit(array_of(X))
    with pytest.raises(EngineUnavailableError, match=f"{REASON}; or use engine='cpu'"):
        fitted.predict(X)
    assert fitted.set_params(engine="cpu").predict(X).tobytes() == model("cpu").fit(X).labels_.tobytes()


@pytest.mark.cluster
def test_every_other_answer(emulated):
    X = rows_of("float64")
    rows, labels = array_of(X), np.arange(len(X)) % 3
    for metric in ("euclidean", "sqeuclidean"):
        score = silhouette_score(rows, labels, metric=metric, engine="cuda")
        assert score == silhouette_score(X, labels, metric=metric, engine="cpu")
    frame = dd.from_pandas(frame_of(X), npartitions=3)
    found, wanted = ExactScaler(engine="cuda").fit(frame), ExactScaler(engine="cpu").fit(X)
    assert found.scale_.tobytes() == wanted.scale_.tobytes()
    table, _ = datasets.make_transactions(60, seed=3)
    columns = {"customer": "customer", "time": "time", "amount": "amount", "time_zone": "Europe/Paris"}
    tx = read_transactions(dd.from_pandas(table.to_pandas(), npartitions=4), **columns)
    cohorts = cohort_retention(tx, engine="cuda"), cohort_retention(read_transactions(table, **columns))
    assert cohorts[0].counts.tobytes() == cohorts[1].counts.tobytes()
    assert cohorts[0].revenue.tobytes() == cohorts[1].revenue.tobytes()
    start = X[:4].copy()
    fits = model("cuda", init=start).fit(rows), model("cpu", init=start).fit(X)
    assert stability(rows, fits[0], n_boot=2) == stability(X, fits[1], n_boot=2)
    assert built(emulated) == {"gpu-0": {"DeviceEngine"}, "cpu-0": set()}
