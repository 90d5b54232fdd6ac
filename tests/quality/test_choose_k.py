"""The choice of k: finds planted groups, keeps the evidence, says why."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

from gpuseg.core import detmath
from gpuseg.errors import InputError, TooFewRowsError
from gpuseg.quality.choose_k import choose_k, effective_number


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
