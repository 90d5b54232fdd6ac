"""Greedy k-means++ against plain Python integers: every pick, any weights, any number of threads, any unit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.cluster.seeding import greedy_kmeanspp
from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.cpu import pool
from gpuseg.engines.cpu.engine import CpuEngine
from tests import strategies
from tests.oracle import seeding as oracle


@pytest.fixture(scope="module", autouse=True)
def _small_splits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_MIN_ROWS", 16)
        yield


def seeds_of(rows, values, k, seed, number, threads):
    weights = Weights.of(values, WeightRange.of(values, len(rows)).mode())
    return greedy_kmeanspp(CpuEngine(threads), np.ascontiguousarray(rows.T), weights, k, seed, number)


def check(rows, values, k, seed, number=0):
    picked = oracle.greedy(rows, values, k, seed, number)
    expected = rows[
        picked + picked[-1:] * (k - len(picked))
    ]  # where no distance is left the last pick is repeated
    for threads in (1, 3):
        assert np.array_equal(seeds_of(rows, values, k, seed, number, threads), expected)
    return picked


@given(strategies.data_sets(max_rows=50), st.integers(1, 9), st.integers(0, 2**64 - 1), st.integers(0, 7))
def test_picks_are_the_oracle(data, k, seed, number):
    rows, values = data
    if values is not None:  # the sample has no rows of weight 0
        counts = values.astype(np.float32) > 0
        rows, values = rows[counts], values[counts]
    check(rows, values, k, seed, number)


@pytest.mark.parametrize("scale", [2.0**-70, 2.0**-60, 1.0, 2.0**47])
def test_picks_do_not_care_about_the_unit(scale):
    rows = strategies.table("normal", 60, 2, seed=9)
    picked = check((rows * scale).astype(np.float32), None, 5, seed=11)
    assert picked == oracle.greedy(rows, None, 5, seed=11)
    assert len(set(picked)) == 5


def test_picks_are_distinct_values_while_there_are_any():
    assert check(strategies.table("constant", 20, 2, seed=0), None, 4, seed=1) != []
    two = np.repeat(np.array([[0.0], [1.0]], np.float32), 8, axis=0)
    assert sorted(two[check(two, None, 5, seed=1), 0].tolist()) == [0.0, 1.0]


def test_integer_weights_are_repetition():
    rows = strategies.table("normal", 30, 2, seed=3)
    weights = np.arange(30) % 3 + 1.0
    repeated = np.repeat(rows, weights.astype(int), axis=0)
    for seed in range(5):
        assert np.array_equal(seeds_of(rows, weights, 4, seed, 0, 1), seeds_of(repeated, None, 4, seed, 0, 1))
