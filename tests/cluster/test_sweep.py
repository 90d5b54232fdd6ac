"""Fits that share a table's reads: each model is what its own fit gives, and nothing is read or seeded twice."""

from __future__ import annotations

from collections import Counter

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from gpuseg import KMeans
from gpuseg.cluster import sharing
from gpuseg.cluster.sharing import Shared
from gpuseg.cluster.sweep import Wanted, fit_together
from gpuseg.core.seeding import local_trials
from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.graph.tasks import assign_partition
from tests import strategies

KS = [2, 3, 5, 8, 9]


def rows(n=400, dtype="float32"):
    rng = np.random.default_rng(4)
    return (rng.normal(size=(n, 3)) + 2 * rng.integers(0, 3, (n, 3))).astype(dtype)


def ends(executor, prepared, done):
    del executor, prepared
    return done


def tables(tmp_path, dtype):
    X = rows(dtype=dtype)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    frame.to_parquet(tmp_path / "rows.parquet", index=False, row_group_size=90)
    return {
        "array": X,
        "frame": frame,
        "files": tmp_path / "rows.parquet",
        "dask": da.from_array(X, (130, 3)),
    }


def state_of(model):
    # What all models of a read need together is no part of one's answer.
    wanted = {k for k in vars(model) if k.endswith("_") or k == "_roles"} - {"memory_plan_"}
    found = {k: vars(model)[k] for k in sorted(wanted)}
    found["labels_"] = np.asarray(found["labels_"])
    found |= model.to_arrays()
    return {
        k: v.tobytes() if isinstance(v, np.ndarray) and v.dtype.kind != "O" else repr(v)
        for k, v in found.items()
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["array", "frame", "files", "dask"])
@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
@pytest.mark.parametrize("draft", [8, 1000])
def test_each_model_is_its_own_fit(tmp_path, kind, dtype, init, draft, monkeypatch):
    small = {"limit": 100}
    monkeypatch.setattr("gpuseg.core.seeding.DRAFT_ROWS", 3 * draft)
    monkeypatch.setattr("gpuseg.core.seeding.DRAFT_ROWS_A_CLUSTER", draft)
    gather = sharing.gather_sample
    monkeypatch.setattr(sharing, "gather_sample", lambda *given: gather(*given, **small))
    X = tables(tmp_path, dtype)[kind]
    options = {"init": init, "random_state": 3, "n_init": 2, "max_iter": 9}
    together = [KMeans(k, **options) for k in KS]
    done = fit_together(together, X, ends, wanted=Wanted(labels=True, moments=True))
    iterations = set()
    for k, model, end in zip(KS, together, done, strict=True):
        alone = KMeans(k, **options).fit(X)
        assert state_of(model) == state_of(alone)
        assert np.array_equal(end.labels, np.asarray(alone.labels_))
        assert [part.mass.to_ints()[0] for part in end.moments] == np.bincount(
            end.labels, minlength=k
        ).tolist()
        iterations.add(alone.n_iter_)
    assert len(iterations) > 1, "models that come to rest at different times are the point"


def test_weights_and_starts_of_their_own(tmp_path):
    X, w = rows(), strategies.weight_array("real", 400, 2)
    options = [
        {"init": X[:3]},
        {"tol": 0.0, "max_iter": 3},
        {"n_init": 1, "sample_start": False},
        {"max_iter": 1},
    ]
    together = [KMeans(3, random_state=seed, **given) for seed, given in enumerate(options)]
    fit_together(together, X, ends, sample_weight=w)
    for seed, (model, given) in enumerate(zip(together, options, strict=True)):
        assert state_of(model) == state_of(KMeans(3, random_state=seed, **given).fit(X, sample_weight=w))


def test_models_at_rest_leave_the_passes(monkeypatch):
    asked = []

    def noting(partition, job, centres, numbers, *more):
        asked.append(list(numbers))
        return assign_partition(partition, job, centres, numbers, *more)

    monkeypatch.setattr("gpuseg.cluster.lloyd.assign_partition", noting)
    models = [KMeans(k, init=rows()[:k], max_iter=10 - k) for k in (2, 4, 7)]
    fit_together(models, rows(), ends)
    assert Counter(m for pass_ in asked for m in pass_) == {i: m.n_iter_ for i, m in enumerate(models)}
    assert len(asked) == max(m.n_iter_ for m in models)


@pytest.mark.parametrize("weights", ["none", "integer", "real"])
def test_seeds_for_fewer_clusters_are_the_first_of_those_for_more(weights, monkeypatch):
    seeded = []
    greedy = sharing.greedy_kmeanspp

    def noting(engine, block, w, k, seed, number):
        seeded.append((k, number))
        return greedy(engine, block, w, k, seed, number)

    monkeypatch.setattr(sharing, "greedy_kmeanspp", noting)
    block = np.ascontiguousarray(strategies.table("duplicates", 90, 2, 1).T)
    values = strategies.weight_array(weights, 90, 1)
    given = Weights.of(values, WeightRange.of(values, 90).mode())
    ks = [2, 3, 4, 7, 8, 12]
    shared, engine = Shared(None, None, ks), CpuEngine(1)
    for number in range(2):
        for k in ks:
            found = shared.greedy(engine, block, given, k, 5, number)
            assert np.array_equal(found, greedy(engine, block, given, k, 5, number))
            found[:] = 0.0  # what is shared is not handed out
    assert [local_trials(k) for k in ks] == [2, 3, 3, 3, 4, 4]
    assert sorted(seeded) == [(k, number) for k in (2, 7, 12) for number in range(2)]


def test_refusals_are_those_of_a_fit():
    with pytest.raises(TooFewRowsError, match="n_samples=4 should be >= n_clusters=6"):
        fit_together([KMeans(2), KMeans(6)], rows(4), ends)
    with pytest.raises(InputError, match="max_iter"):
        fit_together([KMeans(2), KMeans(3, max_iter=0)], rows(), ends)
