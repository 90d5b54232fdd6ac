"""Silhouettes: the plain definition, one answer for any split, and what is refused."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import silhouette_samples as sklearn_samples

from gpuseg.errors import InputError, NotFiniteError
from gpuseg.quality.silhouette import silhouette_samples, silhouette_score, silhouettes


def groups(n: int, d: int, k: int, seed: int, kind: type = np.float32):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    return (labels[:, None] * 3 + rng.normal(size=(n, d))).astype(kind), labels


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_agrees_with_the_definition(metric, kind):
    X, labels = groups(600, 5, 4, 0, kind)
    found = silhouettes(X, labels, metric=metric)
    expected = sklearn_samples(X.astype(np.float64), labels, metric=metric)
    assert np.abs(found.values - expected).max() < 3e-6
    assert abs(found.mean - expected.mean()) < 1e-6


def test_a_row_alone_in_its_cluster_scores_zero():
    X, labels = groups(50, 2, 3, 1)
    labels[7] = 99
    for metric in ("euclidean", "sqeuclidean"):
        values = silhouette_samples(X, labels, metric=metric)
        assert values[7] == 0.0
        assert np.all(np.abs(values) <= 1.0)


@given(st.integers(4, 70), st.integers(1, 6), st.integers(2, 4), st.integers(0, 9))
def test_one_answer_for_any_order_and_threads(n, d, k, seed):
    X, labels = groups(max(n, k + 1), d, k, seed)
    order = np.random.default_rng(seed).permutation(len(X))
    for metric in ("euclidean", "sqeuclidean"):
        base = silhouettes(X, labels, metric=metric, n_jobs=1)
        other = silhouettes(X[order], labels[order], metric=metric, n_jobs=3)
        assert np.array_equal(base.values[order], other.values)
        assert base.mean == other.mean


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_one_answer_for_any_collection(metric, tmp_path):
    X, labels = groups(300, 3, 3, 2)
    base = silhouettes(X, labels, metric=metric)
    table = pa.table({f"f{j}": X[:, j] for j in range(3)})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=70)
    for other, other_labels in (
        (da.from_array(X, chunks=(110, 3)), labels),
        (da.from_array(X, chunks=(110, 2)), da.from_array(labels, chunks=50)),
        (table, labels.astype(str)),
        (tmp_path / "rows.parquet", labels),
        (np.asfortranarray(X), list(labels)),
    ):
        found = silhouettes(other, other_labels, metric=metric)
        assert np.array_equal(found.values, base.values)
        assert found.mean == base.mean


def test_offsets_do_not_cancel():
    X, labels = groups(200, 3, 2, 3, np.float64)
    for metric in ("euclidean", "sqeuclidean"):
        near = silhouette_samples(X, labels, metric=metric)
        far = silhouette_samples(X + 1e5, labels, metric=metric)
        assert np.abs(near - far).max() < 1e-5


def test_identical_rows_have_no_silhouette():
    X = np.ones((6, 2), np.float32)
    assert silhouette_score(X, [0, 0, 0, 1, 1, 1]) == 0.0
    assert silhouette_score(X, [0, 0, 0, 1, 1, 1], metric="sqeuclidean") == 0.0


def test_memory_is_by_block_not_by_pair(monkeypatch):
    monkeypatch.setattr("gpuseg.quality.silhouette._TABLE_CELLS", 1)
    X, labels = groups(200, 3, 3, 4)
    whole = silhouettes(X, labels)
    monkeypatch.undo()
    assert np.array_equal(whole.values, silhouettes(X, labels).values)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0] * 6, "Number of labels is 1"),
        ([0, 1, 2, 3, 4, 5], "Number of labels is 6"),
        ([0, 1], "labels has 2 entries for 6 rows"),
    ],
)
def test_refuses_labels_that_say_nothing(labels, message):
    with pytest.raises(InputError, match=message):
        silhouette_score(np.arange(12.0).reshape(6, 2), labels)


def test_refuses_unknown_metric_and_missing_values():
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises(InputError, match="metric='cosine' is not known"):
        silhouette_score(X, [0, 0, 0, 1, 1, 1], metric="cosine")
    X[1, 1] = np.nan
    with pytest.raises(NotFiniteError, match=r"1 values in feature 1 \(1\)"):
        silhouette_score(X, [0, 0, 0, 1, 1, 1])
