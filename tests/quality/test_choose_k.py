"""The choice of k: finds planted groups, keeps the evidence, says why."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from gpuseg import KMeans
from gpuseg.core import detmath
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.graph.tasks import close_partition
from gpuseg.quality.choose_k import choose_k, effective_number
from gpuseg.quality.silhouette import silhouette_score


def planted(k: int, kind: type = np.float32):
    rng = np.random.default_rng(k)
    corners = 20.0 * rng.permutation(np.eye(8))[:k, :4] + 20.0 * np.arange(k)[:, None]
    return (np.repeat(corners, 60, axis=0) + rng.normal(size=(60 * k, 4))).astype(kind)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize("k", [3, 5])
def test_finds_planted_groups(k, metric):
    found = choose_k(planted(k), range(2, 8), metric=metric)
    assert found.k == k
    assert [e.k for e in found.evidence] == [2, 3, 4, 5, 6, 7]
    best = found.evidence[k - 2]
    assert best.silhouette == max(e.silhouette for e in found.evidence)
    assert best.largest_share == pytest.approx(1 / k)
    assert best.effective_segments == pytest.approx(k)
    assert found.model.n_clusters == k
    assert f"k = {k} has the highest" in found.reason


def test_ties_go_to_the_lowest_k_and_one_k_is_no_contest():
    X = np.repeat(np.array([[0.0], [10.0], [20.0]], np.float32), 10, axis=0)
    with pytest.warns(UserWarning, match="distinct clusters"):
        found = choose_k(X, [3, 4])
    assert found.k == 3
    assert "only one asked for" in choose_k(X, [2]).reason


def test_one_answer_for_dask():
    X = planted(3)
    local = choose_k(X, [2, 3])
    lazy = choose_k(da.from_array(X, chunks=(50, 4)), [2, 3])
    assert local.evidence == lazy.evidence


def test_effective_number_of_segments():
    assert effective_number(np.array([1.0, 0.0])) == 1.0
    assert effective_number(np.full(4, 0.25)) == pytest.approx(4.0, rel=1e-15)
    shares = np.array([0.7, 0.2, 0.1])
    assert effective_number(shares) == pytest.approx(
        float(np.exp(-(shares * np.log(shares)).sum())), rel=1e-14
    )
    assert detmath.exp2(1.0) == 2.0


@pytest.mark.parametrize("clusters", [[], [1, 2]])
def test_refuses_k_that_mean_nothing(clusters):
    with pytest.raises(InputError, match="must name at least one k, each >= 2"):
        choose_k(planted(3), clusters)


def test_refuses_more_clusters_than_rows():
    with pytest.raises(TooFewRowsError, match="n_samples=3 should be >= n_clusters=4"):
        choose_k(np.arange(6.0).reshape(3, 2), [4])


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize("kind", ["float32", "float64", "dask"])
def test_every_k_is_a_fit_and_a_silhouette_of_its_own(metric, kind):
    """Groups that overlap: some fits end by tolerance, with centres that are not the means of their labels."""
    rng = np.random.default_rng(1)
    X = (rng.normal(size=(700, 3)) + rng.integers(0, 3, (700, 3))).astype(
        "float64" if kind == "float64" else "float32"
    )
    given = da.from_array(X, chunks=(300, 3)) if kind == "dask" else X
    found = choose_k(given, range(2, 7), metric=metric, random_state=5)
    for evidence in found.evidence:
        alone = KMeans(evidence.k, random_state=5).fit(X)
        labels = np.asarray(found.models[evidence.k].labels_)
        assert np.array_equal(labels, alone.labels_)
        assert evidence.silhouette == silhouette_score(X, labels, metric=metric)
        assert evidence.inertia == alone.inertia_
        assert evidence.smallest == np.bincount(labels).min()
        assert evidence.largest_share == np.bincount(labels).max() / 700


def test_a_squared_choice_asks_no_collection_for_its_labels(monkeypatch):
    wanted = []

    def noting(partition, job, centres, want_labels, want_moments):
        wanted.append((want_labels, want_moments))
        return close_partition(partition, job, centres, want_labels, want_moments)

    monkeypatch.setattr("gpuseg.cluster.lloyd.close_partition", noting)
    choose_k(da.from_array(planted(3), chunks=(90, 4)), [2, 3], metric="sqeuclidean")
    assert wanted == [(False, True)] * 2
    choose_k(planted(3), [2, 3], metric="euclidean")
    assert wanted[2:] == [(True, False)]


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_refuses_as_many_clusters_as_rows(metric):
    X = np.arange(4.0)[:, None] ** 2
    with pytest.raises(InputError, match=r"Number of labels is 4\. Valid values are 2 to n_samples - 1"):
        choose_k(X, [2, 4], metric=metric)


def test_the_warning_about_few_clusters_points_at_the_caller():
    X = np.repeat(np.array([[0.0], [10.0], [20.0]], np.float32), 10, axis=0)
    with pytest.warns(UserWarning, match="distinct clusters") as caught:
        choose_k(X, [3, 4])
    assert [warning.filename for warning in caught] == [__file__]
