"""How each library fits k-means from a given start: one adapter a peer, all with the same work to do.

An adapter imports its library when it is made, raises ``PeerUnavailableError`` with the reason when it cannot be
used, and asserts after a fit that the path to be timed is the one that ran.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data import Table


class PeerUnavailableError(RuntimeError):
    """The peer is not installed, or does not work, on this machine."""


@dataclass(frozen=True)
class Fitted:
    """What a fit returned: centres [k, d], iterations done, and the inertia that the library reports."""

    centres: npt.NDArray[Any]
    iterations: int
    inertia: float


Fit = Callable[[Table, int], Fitted]


@dataclass(frozen=True)
class Peer:
    """A library under its name and version; ``remark`` says what its seconds include or leave out."""

    name: str
    version: str
    fit: Fit
    remark: str


def _gpuseg() -> Peer:
    module = _load("gpuseg")

    def fit(table: Table, iterations: int) -> Fitted:
        model = module.KMeans(
            n_clusters=len(table.start),
            init=table.start,
            n_init=1,
            tol=0.0,
            max_iter=iterations,
            random_state=0,
        ).fit(table.x)
        return _fitted(model)

    try:
        module.KMeans  # noqa: B018 (the names are lazy: this imports the estimator)
    except ImportError as error:
        raise PeerUnavailableError(str(error)) from None
    return Peer("gpuseg", module.__version__, fit, "validation, layout, closing assignment; exact sums")


def _scikit_learn() -> Peer:
    cluster = _load("sklearn.cluster")
    return Peer(
        "scikit-learn",
        metadata.version("scikit-learn"),
        _manners_of_scikit_learn(cluster.KMeans),
        "validation, closing assignment",
    )


def _onedal() -> Peer:
    cluster = _load("sklearnex.cluster")
    fit = _manners_of_scikit_learn(cluster.KMeans, ran=lambda model: hasattr(model, "_onedal_estimator"))
    version = metadata.version("scikit-learn-intelex")
    return Peer("oneDAL", version, fit, "validation, closing assignment; by scikit-learn-intelex")


def _manners_of_scikit_learn(estimator: Any, ran: Callable[[Any], bool] = lambda _: True) -> Fit:
    def fit(table: Table, iterations: int) -> Fitted:
        model = estimator(
            n_clusters=len(table.start),
            init=table.start,
            n_init=1,
            tol=0.0,
            max_iter=iterations,
            algorithm="lloyd",
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stopping at max_iter is what we ask for
            model.fit(table.x)
        if not ran(model):
            raise PeerUnavailableError("it fell back to another library")
        return _fitted(model)

    return fit


def _faiss() -> Peer:
    faiss = _load("faiss")

    def fit(table: Table, iterations: int) -> Fitted:
        n, d = table.shape
        # The default trains on a sample of 256 rows a centre; the bounds make it use every row.
        model = faiss.Kmeans(
            d,
            len(table.start),
            niter=iterations,
            nredo=1,
            min_points_per_centroid=1,
            max_points_per_centroid=n,
        )
        model.train(table.x, init_centroids=table.start)
        return Fitted(model.centroids, len(model.obj), float(model.obj[-1]))

    return Peer("faiss", faiss.__version__, fit, "training only: no labels, no closing assignment")


def _dask_ml() -> Peer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster, array, dask = _load("dask_ml.cluster"), _load("dask.array"), _load("dask")
    n_chunks = len(os.sched_getaffinity(0))

    def fit(table: Table, iterations: int) -> Fitted:
        rows = -(-len(table.x) // n_chunks)
        with warnings.catch_warnings(), dask.config.set(scheduler="threads"):
            warnings.simplefilter("ignore")
            model = cluster.KMeans(
                n_clusters=len(table.start), init=table.start, max_iter=iterations, tol=0.0, random_state=0
            )
            model.fit(array.from_array(table.x, chunks=(rows, -1), name=False))
        return _fitted(model)

    return Peer("dask-ml", metadata.version("dask-ml"), fit, "labels stay lazy; one chunk a CPU, threads")


def _gpuseg_seeded() -> Peer:
    module = _load("gpuseg")

    def fit(table: Table, _: int) -> Fitted:
        return _fitted(module.KMeans(n_clusters=len(table.start), random_state=0).fit(table.x))

    return Peer("gpuseg", module.__version__, fit, "defaults: 8 seedings on a sample, warm start")


def _scikit_learn_seeded() -> Peer:
    cluster = _load("sklearn.cluster")

    def fit(table: Table, _: int) -> Fitted:
        return _fitted(cluster.KMeans(n_clusters=len(table.start), random_state=0).fit(table.x))

    return Peer("scikit-learn", metadata.version("scikit-learn"), fit, "defaults: one seeding")


def _gpuseg_sweep() -> Peer:
    module = _load("gpuseg")

    def fit(table: Table, _: int) -> Fitted:
        found = module.choose_k(table.x, SWEEP, metric="sqeuclidean")
        return _fitted(found.models[max(SWEEP)])

    return Peer("gpuseg", module.__version__, fit, "choose_k: inertia and squared silhouette for each k")


def _scikit_learn_sweep() -> Peer:
    cluster = _load("sklearn.cluster")

    def fit(table: Table, _: int) -> Fitted:
        models = [cluster.KMeans(n_clusters=k, random_state=0).fit(table.x) for k in SWEEP]
        return _fitted(models[-1])

    return Peer("scikit-learn", metadata.version("scikit-learn"), fit, "a loop of default fits, nothing else")


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PeerUnavailableError(f"not installed ({error})") from None


def _fitted(model: Any) -> Fitted:
    return Fitted(np.asarray(model.cluster_centers_), int(model.n_iter_), float(model.inertia_))


PEERS: dict[str, Callable[[], Peer]] = {
    "gpuseg": _gpuseg,
    "scikit-learn": _scikit_learn,
    "oneDAL": _onedal,
    "faiss": _faiss,
    "dask-ml": _dask_ml,
}
"""Peers in the order of a round."""

SWEEP = range(2, 11)
"""k of a sweep; its inertia is that of the largest."""

TASKS: dict[str, dict[str, Callable[[], Peer]]] = {
    "lloyd": PEERS,
    "seeded": {"gpuseg": _gpuseg_seeded, "scikit-learn": _scikit_learn_seeded},
    "sweep": {"gpuseg": _gpuseg_sweep, "scikit-learn": _scikit_learn_sweep},
}
"""What is compared: iterations from the same start, fits with all defaults, the choice of k."""
