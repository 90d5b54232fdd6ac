"""oversample.cu on the emulator == the oracle in Python integers == the CPU engine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.oversampling import Round
from gpuseg.core.seeding import LARGEST_DRAW
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.inputs import upload_weights
from gpuseg.engines.device.oversample import RoundSizes, oversample, oversample_on_device
from gpuseg.engines.device.seed import sample_rows
from gpuseg.errors import ContractError, InputError
from tests.emulator.device import ORDERS
from tests.oracle import floats
from tests.oracle import oversampling as oracle
from tests.strategies import KINDS, WEIGHTS, centres, same, table, weight_array

# Borders of warps, tiles and blocks.
ROWS = [0, 1, 31, 32, 33, 255, 256, 257, 700]
# The sizes in use, and sizes so small that every border is crossed.
SIZES = [
    RoundSizes(),
    RoundSizes(threads=32, rows=1, points=4, features=2, bin_threads=32, keep_threads=32, capacity=3),
    RoundSizes(threads=64, rows=2, points=8, features=3, bin_threads=96, keep_threads=64, capacity=0),
]


def weighted(weighting, n, seed):
    given_weights = weight_array(weighting, n, seed + 1) if n else None
    return given_weights, Weights.of(given_weights, WeightRange.of(given_weights, n).mode())


@given(
    n=st.sampled_from(ROWS),
    d=st.integers(1, 7),
    k=st.integers(0, 10),
    wanted=st.sampled_from([0.5, 9.0, 500.0]),
    kind=st.sampled_from(KINDS),
    weighting=st.sampled_from(WEIGHTS),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_two_rounds(make_device, n, d, k, wanted, kind, weighting, sizes, order, seed):
    device = make_device(order, seed)
    rows = table(kind, n, d, seed)
    block = np.ascontiguousarray(rows.T)
    given_weights, weights = weighted(weighting, n, seed)
    identity = np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)
    x, who, w = device.to_device(block), device.to_device(identity), upload_weights(device, weights)
    closest, near = np.full(n, np.inf, np.float32), device.to_device(np.full(n, np.inf, np.float32))
    points = centres(rows, k + 1, seed)
    for number, (start, stop) in enumerate(pairwise([0, 1, k + 1])):
        new, drawing = points[start:stop], Round(seed, number, wanted)
        some = device.to_device(np.ascontiguousarray(new.T))
        found = oversample_on_device(device, x, w, weights.mode, near, some, who, drawing, sizes=sizes)
        assert same(found, CpuEngine(2).oversample(block, weights, closest, new, identity, drawing))
        assert device.to_host(near).tobytes() == closest.tobytes()
    if n:
        assert closest.tolist() == floats.chain(rows, points).min(axis=1).tolist()
    of_all = oracle.total(closest, given_weights)
    assert found[0].to_fractions() == [of_all]
    assert found[1].tolist() == oracle.kept(closest, given_weights, identity, seed, 1, wanted, of_all)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weighting", WEIGHTS)
def test_host_buffers(make_device, order, weighting):
    rows = table("normal", 900, 5, 3)
    block, points = np.ascontiguousarray(rows.T), centres(rows, 12, 4)
    _, weights = weighted(weighting, 900, 3)
    identity, drawing = np.arange(900, dtype=np.uint64), Round(7, 2, 30.0)
    found, wanted = np.full(900, np.inf, np.float32), np.full(900, np.inf, np.float32)
    ours = oversample(make_device(order), block, weights, found, points, identity, drawing)
    assert same(ours, CpuEngine(1).oversample(block, weights, wanted, points, identity, drawing))
    assert found.tobytes() == wanted.tobytes()
    strided = np.repeat(block, 2, axis=1)[:, ::2], weights, np.repeat(found, 2)[::2], points[:0]
    assert same(oversample(make_device(order), *strided, identity, drawing), ours)


@pytest.mark.parametrize("weighting", ["none", "integer", "real"])
@pytest.mark.parametrize("threshold", [0, 2**62, LARGEST_DRAW])
def test_sampled_rows(make_device, weighting, threshold):
    _, weights = weighted(weighting, 700, 5)
    identity = np.random.default_rng(1).integers(0, 2**64, 700, np.uint64)
    wanted = CpuEngine(1).sample_rows(identity, weights, 9, threshold)
    for order in ORDERS:
        assert same(sample_rows(make_device(order), identity, weights, 9, threshold), wanted)


@pytest.mark.parametrize("threads", [32, 96])
def test_sums_leave_64_bits(make_device, threads):
    """Of a thread's column, whose carries are kept apart, and of the block."""
    n = 2000
    weights = Weights(WeightMode.INTEGER, np.full(n, 2**31 - 1, np.int64), np.empty(0, np.float32))
    closest, device = np.full(n, np.float32(2.0 - 2.0**-23)), make_device()
    near, none = device.to_device(closest), device.to_device(np.empty((1, 0), np.float32))
    x, who = device.to_device(np.zeros((1, n), np.float32)), device.to_device(np.arange(n, dtype=np.uint64))
    total, _ = oversample_on_device(
        device, x, upload_weights(device, weights), weights.mode, near, none, who, Round(0, 0, 1.0),
        sizes=RoundSizes(bin_threads=threads),
    )  # fmt: skip
    assert total.to_fractions() == [oracle.total(closest, [2**31 - 1] * n)]
    assert max(total.bins.to_ints()) > n // 512 * 2**64 > 2**64


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_distances_that_cannot_be_are_refused(make_device, value):
    x, near, who = np.zeros((1, 3), np.float32), np.ones(3, np.float32), np.arange(3, dtype=np.uint64)
    near[1] = value
    none = np.empty((0, 1), np.float32)
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        oversample(make_device(), x, Weights.ones(), near, none, who, Round(0, 0, 1.0))


def test_a_weighted_distance_beyond_float32_is_refused(make_device):
    real = Weights(WeightMode.REAL, np.empty(0, np.int64), np.full(3, 2e38, np.float32))
    x, near, who = np.zeros((1, 3), np.float32), np.full(3, 1.5, np.float32), np.arange(3, dtype=np.uint64)
    none, drawing = np.empty((0, 1), np.float32), Round(0, 0, 1.0)
    oversample(make_device(), x, real, near, none, who, drawing)
    near[2] = 2.0
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        oversample(make_device(), x, real, near, none, who, drawing)


def test_what_does_not_fit_is_refused(make_device):
    device = make_device()
    block, who = np.ones((2, 4), np.float32), np.arange(4, dtype=np.uint64)
    near, points, drawing = np.ones(4, np.float32), np.ones((1, 2), np.float32), Round(1, 1, 2.0)
    short, ones = Weights(WeightMode.INTEGER, np.ones(3, np.int64), np.empty(0, np.float32)), Weights.ones()
    for case, said in (
        ((short, near, points, who), "3 weights do not fit a block of 4 rows"),
        ((ones, near, points, who[:3]), "3 identities do not fit a block of 4 rows"),
        ((ones, near[:3], points, who), "do not fit a block of 4 rows and 2 features"),
        ((ones, near, points[:, :1], who), "do not fit a block of 4 rows and 2 features"),
        ((ones, near.astype(np.float64), points, who), "closest is float64, its kernel reads float32"),
    ):
        with pytest.raises(ContractError, match=said):
            oversample(device, block, *case, drawing)
    with pytest.raises(ContractError, match="3 weights do not fit a block of 4 rows"):
        sample_rows(device, who, short, 1, 5)
    for seed, number in ((-1, 0), (2**64, 0), (1, 2**32)):
        with pytest.raises(InputError, match="is not in 0"):
            oversample(device, block, ones, near, points, who, Round(seed, number, 2.0))
    with pytest.raises(InputError, match="is not in 0"):
        sample_rows(device, who, ones, 2**64, 5)
    assert not device.launches
