"""Verbs over labelled rows of the CPU engine: moments of clusters, squared silhouettes, both against the oracle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.moments import Scales
from gpuseg.core.silhouette import ClusterShape, mean_silhouette
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu import engine as cpu
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.errors import ContractError
from tests import strategies
from tests.oracle import silhouette, sums

SIZES = [(0, 2), (1, 1), (15, 3), (16, 1), (17, 9), (33, 4), (100, 33), (1025, 2)]


@pytest.mark.parametrize("kind", strategies.KINDS)
def test_squared_silhouettes_are_the_oracle(engines, kind):
    rng = np.random.default_rng(8)
    for (n, d), k in zip(SIZES[1:7], [2, 3, 4, 5, 6, 7], strict=True):
        rows = strategies.table(kind, n, d, seed=n)
        labels = rng.integers(0, k - 1, n).astype(np.uint8)  # the last cluster is empty
        if n > 4:
            labels[0] = k - 1  # or holds one row
        counts = np.bincount(labels, minlength=k)
        if np.count_nonzero(counts) < 2:
            continue
        centres, spread = strategies.centres(rows, k, seed=d), rng.random(k)
        expected, total = silhouette.squared(rows, labels.tolist(), centres, spread.tolist(), counts.tolist())
        for engine in engines:
            out = np.full(n, np.nan)
            block, shape = np.ascontiguousarray(rows.T), ClusterShape(centres, spread, counts)
            [found] = engine.square_silhouettes(block, [labels], [shape], [out])
            assert out.tolist() == expected
            assert found.to_ints() == [total]
            assert engine.square_silhouettes(block, [labels], [shape]) == [found]


def test_a_silhouette_of_rows_on_their_centres_is_zero_not_nan(engines):
    rows = np.zeros((8, 1), np.float32)
    labels = np.arange(8, dtype=np.uint8) % 2
    out = np.empty(8)
    zeros = np.zeros(2)
    shape = ClusterShape(zeros[:, None].astype(np.float32), zeros, np.array([4, 4]))
    [total] = engines[0].square_silhouettes(rows.T.copy(), [labels], [shape], [out])
    assert out.tolist() == [0.0] * 8
    assert total.to_ints() == [0]


def shape_of(rows, k, seed):
    """Centres of k clusters with any spread and counts: one without rows, one of a single row, where there are more."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(2, 50, k)
    counts[2:3], counts[3:4] = 0, 1
    return ClusterShape(strategies.centres(rows, k, seed), rng.random(k), counts)


@given(
    n=st.sampled_from([0, 1, 15, 16, 17, 255, 256, 257, 600]),
    d=st.integers(1, 6),
    k=st.integers(2, 20),
    kind=st.sampled_from(strategies.KINDS),
    dtype=st.sampled_from([np.uint8, np.uint16, np.int32]),
    seed=st.integers(0, 2**32),
)
def test_labelling_is_labels_first_and_silhouettes_after(n, d, k, kind, dtype, seed):
    rows = strategies.table(kind, n, d, seed)
    block, shape = np.ascontiguousarray(rows.T), shape_of(rows, k, seed + 1)
    labels, values = np.full(n, 77, dtype), np.full(n, np.nan)
    [total] = CpuEngine(2).square_silhouettes(block, [labels], [shape], [values], labelling=True)
    assert labels.tolist() == silhouette.nearest(rows, shape.centres)
    expected, expected_total = silhouette.squared(
        rows, labels.tolist(), shape.centres, shape.spread.tolist(), shape.counts.tolist()
    )
    assert values.tolist() == expected
    assert total.to_ints() == [expected_total]
    again = np.full(n, np.nan)
    assert CpuEngine(1).square_silhouettes(block, [labels], [shape], [again]) == [total]
    assert again.tobytes() == values.tobytes()


def test_labels_written_are_those_of_a_pass():
    rows = strategies.table("ties", 9000, 3, seed=1)
    block, shape = np.ascontiguousarray(rows.T), shape_of(rows, 9, 2)
    state, labels = AssignState.fresh(9000, 9), np.empty(9000, np.uint8)
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, 9000))
    CpuEngine().assign(block, Weights.ones(), [shape.centres], [state], scales)
    CpuEngine().square_silhouettes(block, [labels], [shape], labelling=True)
    assert np.array_equal(labels, state.labels)


@pytest.mark.parametrize("labelling", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_models_that_share_a_read_are_each_alone(monkeypatch, labelling, threads):
    monkeypatch.setattr(cpu, "_MODEL_CHUNK_BYTES", 1)  # chunks of 4,096 rows
    rows = strategies.table("offset", 9500, 3, seed=4)
    block, engine, rng = np.ascontiguousarray(rows.T), CpuEngine(threads), np.random.default_rng(5)
    shapes = [shape_of(rows, k, k) for k in (2, 5, 300)]
    given = [rng.integers(0, len(s.counts), 9500).astype(t) for s, t in zip(shapes, "BHi", strict=True)]
    together = [part.copy() for part in given], [np.full(9500, np.nan) for _ in shapes]
    totals = engine.square_silhouettes(block, together[0], shapes, together[1], labelling=labelling)
    for m, shape in enumerate(shapes):
        alone, values = given[m].copy(), np.full(9500, np.nan)
        assert engine.square_silhouettes(block, [alone], [shape], [values], labelling=labelling) == [
            totals[m]
        ]
        assert np.array_equal(alone, together[0][m])
        assert values.tobytes() == together[1][m].tobytes()
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, 9500))
    ks = [2, 5, 300]
    found = engine.label_moments(block, together[0], ks, scales)
    for labels, k, moments in zip(together[0], ks, found, strict=True):
        assert all(
            strategies.same(a, b)
            for a, b in zip(moments, engine.label_moments(block, [labels], [k], scales)[0], strict=True)
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize("kind", strategies.KINDS)
def test_moments_of_clusters_are_the_oracle(kind, dtype):
    for n, d in SIZES[1:]:
        rows = strategies.table(kind, n, d, seed=n)
        scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, n))
        labels = np.random.default_rng(n).integers(0, 5, n).astype(dtype)  # 4 is none of the clusters
        block = np.ascontiguousarray(rows.T)
        block[:, labels == 4] = np.nan
        [found] = CpuEngine(2).label_moments(block, [labels], [4], scales)
        exponents = scales.exponent.tolist(), scales.square_exponent.tolist()
        for c, moments in enumerate(found):
            mass, total, square = sums.moments(rows[labels == c], None, *exponents)
            assert moments.mass.to_fractions() == [mass]
            assert moments.total.to_ints() == total
            assert moments.square.to_ints() == square


def test_sums_of_the_largest_squares_leave_64_bits():
    # The largest quantum, 2**40, comes of float64 sources only; 2**40 - 2**16 is a float32's. More rows than one block.
    largest, half = np.float32(2.0 - 2.0**-23), 2**22 + 50
    rows = np.where(np.arange(2 * half) < half, largest, -largest).astype(np.float32)
    scales = Scales(WeightMode.NONE, np.array([39]), np.array([78]))
    labels = (rows < 0).astype(np.int32)
    quantum = 2**40 - 2**16
    [[low, high]] = CpuEngine(1).label_moments(rows[None], [labels], [2], scales)
    assert low.total.to_ints() == [half * quantum]
    assert high.total.to_ints() == [-half * quantum]
    assert low.square.to_ints() == high.square.to_ints() == [half * quantum**2]
    assert low.mass.to_ints() == [half]


def test_labels_that_are_none_of_the_clusters_are_refused():
    rows = strategies.table("normal", 40, 2, seed=1)
    block, shape = np.ascontiguousarray(rows.T), shape_of(rows, 3, 1)
    for label in (-1, 3):
        labels = np.zeros(40, np.int32)
        labels[39] = label
        with pytest.raises(ContractError, match=r"label is not one of 0 \.\. k - 1"):
            CpuEngine(1).square_silhouettes(block, [labels], [shape])
        CpuEngine(1).square_silhouettes(block, [labels], [shape], labelling=True)


def test_what_does_not_fit_is_refused():
    engine, block, labels = CpuEngine(1), np.zeros((2, 9), np.float32), np.zeros(9, np.uint8)
    shape = ClusterShape(np.zeros((3, 2), np.float32), np.ones(3), np.full(3, 3, np.int64))
    for wrong in (labels[:8], labels.astype(np.int64)):
        with pytest.raises(ContractError, match="give each row a uint8"):
            engine.square_silhouettes(block, [wrong], [shape])
        with pytest.raises(ContractError, match="give each row a uint8"):
            engine.label_moments(block, [wrong], [3], Scales(WeightMode.NONE, np.zeros(2), np.zeros(2)))
    for change in ({"centres": shape.centres[:, :1]}, {"spread": np.ones(2)}, {"counts": np.full(2, 3)}):
        with pytest.raises(ContractError, match="do not fit a block"):
            engine.square_silhouettes(block, [labels], [replace(shape, **change)])
    with pytest.raises(ContractError, match=r"out \(8,\) do not fit a block"):
        engine.square_silhouettes(block, [labels], [shape], [np.empty(8)])
    with pytest.raises(ContractError, match="2 arrays of labels, 1 shapes do not fit each other"):
        engine.square_silhouettes(block, [labels, labels], [shape])
    with pytest.raises(ContractError, match="1 arrays of labels, 1 shapes and 2 results"):
        engine.square_silhouettes(block, [labels], [shape], [np.empty(9), np.empty(9)])
    with pytest.raises(ContractError, match="only one cluster has rows"):
        engine.square_silhouettes(block, [labels], [replace(shape, counts=np.array([0, 9, 0]))])
    with pytest.raises(ContractError, match="1 arrays of labels do not fit 2 models"):
        engine.label_moments(block, [labels], [3, 4], Scales(WeightMode.NONE, np.zeros(2), np.zeros(2)))


def test_the_shape_of_clusters_leaves_room_for_those_without_rows():
    rows = np.array([[0.0], [2.0], [9.0]], np.float32)
    scales = Scales.of(np.array([9.0]), WeightRange.of(None, 3))
    [moments] = CpuEngine(1).label_moments(rows.T.copy(), [np.array([2, 2, 0], np.uint8)], [3], scales)
    shape = ClusterShape.of(moments, np.full((3, 1), 5, np.float32))
    assert shape.centres.tolist() == [[9.0], [5.0], [1.0]]
    assert shape.spread.tolist() == [0.0, 0.0, 1.0]
    assert shape.counts.tolist() == [1, 0, 2]
    assert ClusterShape.of(moments).centres.tolist() == [[9.0], [0.0], [1.0]]
    assert mean_silhouette(3 << 40, 4) == 0.75
