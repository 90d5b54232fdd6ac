"""What is lazy stays lazy: nothing is computed until it is asked for, and then once."""

from __future__ import annotations

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.delayed import delayed

from gpuseg import KMeans
from gpuseg.cluster.inputs import open_table
from gpuseg.graph.memo import ENVIRONMENT
from gpuseg.graph.tasks import close_partition
from tests.graph import counted_files

N = 60
SIZES = (20, 1, 5, 34)


class Counting:
    """A scheduler that counts how often it is asked to work, and loads that count theirs."""

    def __init__(self):
        self.calls = 0
        self.loaded = []

    def __call__(self, graph, keys, **options):
        self.calls += 1
        return dask.get(graph, keys, **options)

    def load(self, name, rows):
        self.loaded.append(name)
        return rows


@pytest.fixture
def counting():
    scheduler = Counting()
    with dask.config.set(scheduler=scheduler):
        yield scheduler


def rows_of(dtype, offset=0.0):
    rng = np.random.default_rng(2)
    return (rng.normal(size=(N, 3)) + 3 * rng.integers(0, 2, (N, 3)) + offset).astype(dtype)


def collections(counting, dtype, offset=0.0):
    """An array and a frame with customer column, each with weights, whose partitions count their loads."""
    X, w = rows_of(dtype, offset), np.arange(N) % 4 + 0.5
    borders = np.cumsum([0, *SIZES])
    parts = list(zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True))

    def lazy(name, values):
        return [
            delayed(counting.load, pure=False)(f"{name} {i}", values[a:b]) for i, (a, b) in enumerate(parts)
        ]

    def array(name, values):
        blocks = lazy(name, values)
        shapes = [(b - a, *values.shape[1:]) for a, b in parts]
        return da.concatenate(
            [da.from_delayed(part, shape, values.dtype) for part, shape in zip(blocks, shapes, strict=True)]
        )

    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(who=[f"h{i:03}" for i in range(N)])
    series = pd.Series(w)
    return {
        "array": (array("rows", X), array("weights", w), None),
        "frame": (
            dd.from_delayed(lazy("rows", frame), meta=frame.iloc[:0], verify_meta=False),
            dd.from_delayed(lazy("weights", series), meta=series.iloc[:0], verify_meta=False),
            "who",
        ),
    }


ONCE = sorted([f"rows {i}" for i in range(4)] + [f"weights {i}" for i in range(4)])


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_opening_computes_nothing(counting, kind):
    X, w, customer = collections(counting, "float32")[kind]
    table = open_table(KMeans(), X, w, customer, reset=True)
    assert len(table.partitions) == 4
    assert counting.calls == 0
    assert counting.loaded == []


@pytest.mark.parametrize("kind", ["array", "frame"])
@pytest.mark.parametrize(("dtype", "offset"), [("float32", 0), ("float32", 1e6), ("float64", 0)])
def test_a_fit_computes_each_partition_once(counting, kind, dtype, offset):
    """Range, centring, sample with keys, passes and closing: one reading of rows and weights."""
    X, w, customer = collections(counting, dtype, offset)[kind]
    fitted = KMeans(3, random_state=0, n_init=1).fit(X, sample_weight=w, customer=customer)
    assert fitted.n_iter_ > 1
    assert sorted(counting.loaded) == ONCE
    assert counting.calls == 0  # labels_ wait


def test_labels_of_a_collection_do_not_travel(counting, monkeypatch):
    """They are predicted where the rows are; a file's come back with the closing pass."""
    wanted = []

    def noting(partition, job, centres, want_labels, want_moments):
        wanted.append(want_labels)
        return close_partition(partition, job, centres, want_labels, want_moments)

    monkeypatch.setattr("gpuseg.cluster.lloyd.close_partition", noting)
    X, _, _ = collections(counting, "float32")["array"]
    KMeans(3, random_state=0, n_init=1).fit(X)
    assert wanted == [False] * 4


def test_without_a_memo_partitions_are_computed_at_every_pass(counting, monkeypatch):
    """The test above can fail."""
    monkeypatch.setenv(ENVIRONMENT, "0")
    X, w, customer = collections(counting, "float32")["frame"]
    fitted = KMeans(3, random_state=0, n_init=1).fit(X, sample_weight=w, customer=customer)
    assert len(counting.loaded) > (fitted.n_iter_ + 2) * len(ONCE)


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_labels_and_predictions_are_computed_when_asked_for(counting, kind):
    X, w, customer = collections(counting, "float32")[kind]
    fitted = KMeans(3, random_state=0, n_init=1).fit(X, sample_weight=w, customer=customer)
    counting.loaded.clear()
    labels, distances = fitted.predict(X), fitted.transform(X)
    assert isinstance(labels, da.Array if kind == "array" else dd.Series)
    assert isinstance(distances, da.Array if kind == "array" else dd.DataFrame)
    labels.dtype, distances.shape, repr(labels), repr(distances), repr(fitted.labels_)
    assert (counting.calls, counting.loaded) == (0, [])
    found, again = dask.compute(labels, fitted.labels_)
    assert np.asarray(found).tolist() == np.asarray(again).tolist()
    assert counting.calls == 1
    assert set(counting.loaded) == {f"rows {i}" for i in range(4)}
    one = labels[:20] if kind == "array" else labels.partitions[0]
    counting.loaded.clear()
    one.compute()
    assert counting.loaded == ["rows 0"]


def test_a_score_reads_each_partition_once(counting):
    X, w, _ = collections(counting, "float64")["array"]
    fitted = KMeans(3, random_state=0, n_init=1).fit(rows_of("float64"))
    assert fitted.score(X, sample_weight=w) < 0
    assert sorted(counting.loaded) == ONCE


def test_a_file_is_opened_for_its_footer_and_once_a_row_group(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    frame = pd.DataFrame(rows_of("float64"), columns=["a", "b", "c"])
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=25, index=False)
    counted_files.register(str(notes))
    path = f"counted://{tmp_path}/rows.parquet"
    KMeans(3, random_state=0, n_init=1).fit(path)
    assert counted_files.openings(notes)["rows.parquet"] == 1 + 3


def test_a_constructor_touches_nothing():
    class Untouchable:
        def __getattribute__(self, name):
            raise AssertionError(name)

    KMeans(Untouchable(), init=Untouchable(), random_state=Untouchable())
