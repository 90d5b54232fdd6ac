"""Steps of seeding, and distance sums of silhouettes, of the CPU engine against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.base import ClusteredRows
from gpuseg.engines.cpu import distances
from tests import strategies
from tests.oracle import floats, silhouette, sums
from tests.oracle import seeding as oracle

SIZES = [(0, 2), (1, 1), (15, 3), (16, 1), (17, 9), (33, 4), (100, 33), (1025, 2)]


def weights_of(values, n):
    return Weights.of(values, WeightRange.of(values, n).mode())


@pytest.mark.parametrize("weight_kind", strategies.WEIGHTS)
def test_a_seeding_step_is_the_oracle(engines, weight_kind):
    for number, (n, d) in enumerate(SIZES[1:]):
        rows = strategies.table(strategies.KINDS[number], n, d, seed=n)
        values = strategies.weight_array(weight_kind, n, seed=n)
        weights = weights_of(values, n)
        block = np.ascontiguousarray(rows.T)
        centres = strategies.centres(rows, 1 + number, seed=d)
        closest = floats.chain(rows, centres[:1])[:, 0]
        exponent = oracle.exponent(max(oracle.weighted(closest, values)) or 1.0, values, n)
        nearer = np.minimum(closest, floats.chain(rows, centres).T)
        expected = [sum(oracle.potentials(row, values, exponent)) for row in nearer]
        for engine in engines:
            found = engine.potentials(closest, weights, exponent)
            assert found.dtype == np.int64
            assert found.tolist() == oracle.potentials(closest, values, exponent)
            out = np.full((len(centres), n), np.nan, np.float32)
            assert engine.seed_step(block, weights, closest, centres, exponent, out).tolist() == expected
            assert out.tolist() == nearer.tolist()


def by_cluster(rows, labels, k):
    """Rows in the order of their cluster, and where each cluster starts."""
    order = np.argsort(labels, kind="stable")
    return ClusteredRows(
        np.ascontiguousarray(rows[order].T), np.searchsorted(labels[order], np.arange(k + 1))
    )


@pytest.mark.parametrize("kind", strategies.KINDS)
def test_distance_sums_by_cluster_are_the_oracle(engines, kind):
    rng = np.random.default_rng(7)
    for (n, d), k in zip(
        [(1, 1), (3, 2), (5, 9), (18, 3), (33, 1), (70, 2)], [1, 2, 3, 4, 7, 2], strict=True
    ):
        rows, others = strategies.table(kind, n, d, seed=n), strategies.table(kind, 2 * n + 17, d, seed=n + 1)
        labels = rng.integers(0, k, len(others))
        labels[labels == k // 2] = 0  # one cluster without rows
        reach = float(floats.chain(rows, others).max())
        exponent = min(62 - 7, 50) - sums.math.frexp(floats.sqrt32(reach))[1]
        expected = silhouette.distance_sums(rows, others, labels, k, exponent)
        for engine in engines:
            out = np.full((n, k), 5, np.int64)
            engine.silhouette_sums(np.ascontiguousarray(rows.T), by_cluster(others, labels, k), exponent, out)
            assert (out - 5).tolist() == expected


def test_distance_sums_add_up_over_blocks_of_others(engines):
    rows = strategies.table("normal", 50, 3, seed=1)
    labels = np.random.default_rng(1).integers(0, 3, 50)
    block = np.ascontiguousarray(rows.T)
    whole, parts = (np.zeros((50, 3), np.int64) for _ in range(2))
    engines[1].silhouette_sums(block, by_cluster(rows, labels, 3), 40, whole)
    for part in (slice(0, 13), slice(13, 13), slice(13, 50)):
        engines[1].silhouette_sums(block, by_cluster(rows[part], labels[part], 3), 40, parts)
    assert np.array_equal(whole, parts)


@given(strategies.data_sets(max_rows=20))
def test_one_potential_is_the_definition(data):
    rows, values = data
    n = len(rows)
    closest = floats.chain(rows, rows[:1])[:, 0]
    weights = weights_of(values, n)
    exponent = oracle.exponent(max(oracle.weighted(closest, values)) or 1.0, values, n)
    expected = oracle.potentials(closest, values, exponent)
    for i in range(n):
        found = distances.potential(
            closest[i], weights.integers, weights.reals, int(weights.mode), i, np.ldexp(1.0, exponent)
        )
        assert found == expected[i]
