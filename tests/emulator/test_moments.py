"""moments.cu on the emulator == the oracle in Python integers == the CPU engine, limb for limb."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.binsum import BinSum
from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.core.widesum import WideSum
from gpuseg.engines import launch
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.moments import moments, moments_on_device
from gpuseg.errors import ContractError
from tests.emulator.device import ORDERS, PROPS, LaunchRecord
from tests.oracle import sums as oracle
from tests.strategies import KINDS, WEIGHTS, same, table, weight_array

# Borders of warps and blocks; from 257 on, blocks of 32 threads go round the grid-stride loop.
ROWS = [0, 1, 31, 32, 33, 255, 256, 257, 1000]
# (threads, features, close_rows): the sizes in use, and sizes so small that every border is crossed.
SIZES = [(128, 8, 1 << 22), (32, 3, 2)]


def partition(kind, weighting, n, d, seed):
    """A partition of n rows of a data set that has one more: rows, weights, and what all partitions share."""
    rows = table(kind, n + 1, d, seed)
    given_weights = weight_array(weighting, n + 1, seed + 1)
    facts = WeightRange.of(given_weights, n + 1)
    scales = Scales.of(np.array(oracle.largest(rows, given_weights)), facts)
    part = None if given_weights is None else given_weights[:n]
    return rows[:n], part, scales


def on_device(device, rows, weights, scales, sizes):
    threads, features, close_rows = sizes
    x = device.to_device(np.ascontiguousarray(rows.T))
    w = weights.reals if weights.mode is WeightMode.REAL else weights.integers
    return moments_on_device(
        device, x, device.to_device(w), weights.mode, scales,
        threads=threads, features=features, close_rows=close_rows,
    )  # fmt: skip


def of_the_oracle(rows, weights, scales):
    """Mass, sums and sums of squares, weighted in the arithmetic of the whole data set."""
    kind = scales.mode.name.lower()
    counts = [1] * len(rows) if weights is None else weights.tolist()
    counts = [float(np.float32(w)) for w in counts] if kind == oracle.REAL else [int(w) for w in counts]
    total, square = [0] * rows.shape[1], [0] * rows.shape[1]
    e, e2 = scales.exponent.tolist(), scales.square_exponent.tolist()
    for row, w in zip(rows.tolist(), counts, strict=True):
        for f, x in enumerate(row):
            if w > 0:
                total[f] += oracle.term(kind, w, x, e[f])
                real = kind == oracle.REAL
                square[f] += oracle.fixed(w * (x * x), e2[f]) if real else w * oracle.fixed(x, e[f]) ** 2
    return sum(map(Fraction, counts), Fraction(0)), total, square


@given(
    n=st.sampled_from(ROWS),
    d=st.integers(1, 9),
    kind=st.sampled_from(KINDS),
    weighting=st.sampled_from(WEIGHTS),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_equals_the_oracle_and_the_cpu_engine(make_device, n, d, kind, weighting, sizes, order, seed):
    rows, part, scales = partition(kind, weighting, n, d, seed)
    weights = Weights.of(part, scales.mode)
    found = on_device(make_device(order, seed), rows, weights, scales, sizes)
    mass, total, square = of_the_oracle(rows, part, scales)
    assert found.mass.to_fractions() == [mass]
    assert found.total.to_ints() == total
    assert found.square.to_ints() == square
    assert same(found, CpuEngine(n_jobs=2).moments(rows, weights, scales))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weighting", WEIGHTS)
def test_no_size_and_no_order_changes_a_bit(make_device, order, weighting):
    rows, part, scales = partition("mixed", weighting, 1000, 5, 11)
    weights = Weights.of(part, scales.mode)
    wanted = CpuEngine(n_jobs=1).moments(rows, weights, scales)
    assert same(moments(make_device(order), np.ascontiguousarray(rows.T), weights, scales), wanted)
    for sizes in SIZES:
        assert same(on_device(make_device(order), rows, weights, scales, sizes), wanted)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weighting", ["none", "real"])
def test_more_partials_than_the_merge_has_threads(make_device, order, weighting):
    rows, part, scales = partition("normal", weighting, 32 * 300, 1, 4)
    weights = Weights.of(part, scales.mode)
    device = make_device(order, props=replace(PROPS, multiprocessors=40))
    found = on_device(device, rows, weights, scales, SIZES[1])
    assert device.launches[0].grid == (300, 1, 1)
    assert same(found, CpuEngine(n_jobs=1).moments(rows, weights, scales))


def test_more_tiles_of_features_than_the_grid_takes(make_device, monkeypatch):
    rows, part, scales = partition("normal", "integer", 100, 9, 4)
    weights = Weights.of(part, scales.mode)
    monkeypatch.setattr(launch, "MAX_GRID_Y", 2)
    device = make_device()
    found = on_device(device, rows, weights, scales, SIZES[1])
    assert device.launches[0].grid == (4, 2, 1)
    assert same(found, CpuEngine(n_jobs=1).moments(rows, weights, scales))


@pytest.mark.parametrize("weighting", ["integer", "real"])
def test_rows_of_weight_zero_are_not_looked_at(make_device, weighting):
    rows, part, scales = partition("normal", weighting, 300, 3, 5)
    weights = Weights.of(part, scales.mode)
    spoilt = rows.copy()
    spoilt[part == 0] = np.array([np.nan, np.inf, 3e38], np.float32)
    assert (part == 0).any()
    wanted = on_device(make_device(), rows, weights, scales, SIZES[0])
    assert same(on_device(make_device(), spoilt, weights, scales, SIZES[0]), wanted)


def test_integer_weights_are_repetitions(make_device):
    rows, part, scales = partition("offset", "integer", 100, 2, 8)
    weighted = on_device(make_device(), rows, Weights.of(part, WeightMode.INTEGER), scales, SIZES[0])
    repeated = np.repeat(rows, part.astype(np.int64), axis=0)
    assert same(on_device(make_device(), repeated, Weights.ones(), scales, SIZES[0]), weighted)


@pytest.mark.parametrize("mode", [WeightMode.NONE, WeightMode.INTEGER])
def test_scales_of_real_weights_want_real_weights(make_device, mode):
    rows, _, scales = partition("normal", "real", 40, 2, 3)
    weights = Weights(mode, np.ones(40, np.int64), np.empty(0, np.float32))
    with pytest.raises(ContractError, match="meet scales of mode REAL"):
        moments(make_device(), np.ascontiguousarray(rows.T), weights, scales)


@pytest.mark.parametrize("order", ORDERS)
def test_weights_of_every_exponent_land_in_their_bins(make_device, order):
    # All 255 finite exponents, subnormals included, one mantissa each.
    exponents = np.arange(255, dtype=np.uint32)
    reals = np.r_[(exponents << 23) | (exponents * 32_771), [1, 0x7FFFFF, 0x7F7FFFFF, 0]].astype(np.uint32)
    weights = Weights(WeightMode.REAL, np.empty(0, np.int64), reals.view(np.float32))
    scales = Scales(WeightMode.REAL, np.zeros(1, np.int64), np.zeros(1, np.int64))
    for sizes in SIZES:
        x = np.zeros((reals.size, 1), np.float32)
        found = on_device(make_device(order), x, weights, scales, sizes)
        assert found.mass == BinSum.of(weights.reals)


@pytest.mark.parametrize("order", ORDERS)
def test_columns_of_bins_leave_32_bits(make_device, order):
    # e = 135 fills the last bit of its bin: each row adds 2**31 - 2**7.
    reals = np.full(2000, np.uint32(135 << 23 | 0x7FFFFF)).view(np.float32)
    weights = Weights(WeightMode.REAL, np.empty(0, np.int64), reals)
    scales = Scales(WeightMode.REAL, np.zeros(1, np.int64), np.zeros(1, np.int64))
    found = on_device(make_device(order), np.zeros((2000, 1), np.float32), weights, scales, SIZES[1])
    assert found.mass == BinSum.of(reals)
    assert found.mass.bins.to_ints()[135 >> 3] == 2000 * (2**31 - 2**7)


def test_sums_leave_64_bits(make_device):
    rows = np.full((600, 1), np.float32(2.0 - 2.0**-23))
    weights = Weights(WeightMode.INTEGER, np.full(600, 2**31 - 1, np.int64), np.empty(0, np.float32))
    scales = Scales(WeightMode.INTEGER, np.array([39]), np.array([78]))
    found = on_device(make_device(), rows, weights, scales, SIZES[1])
    quantum = 2**40 - 2**16
    assert found.total.to_ints() == [600 * (2**31 - 1) * quantum]
    assert found.square.to_ints() == [600 * (2**31 - 1) * quantum**2]
    assert found.square.to_ints()[0] > 2**119
    assert found.mass == WideSum.from_ints([600 * (2**31 - 1)], ())


def test_the_largest_value_of_a_scale_is_taken(make_device):
    largest = np.float32(2.0 - 2.0**-23)
    rows = np.array([[largest], [-largest]])
    scales = Scales(WeightMode.NONE, np.array([39]), np.array([78]))
    assert on_device(make_device(), rows, Weights.ones(), scales, SIZES[0]).square.to_ints() == [
        2 * (2**40 - 2**16) ** 2
    ]


@pytest.mark.parametrize(
    ("value", "weights", "message"),
    [
        (np.nan, None, "does not fit its fixed-point scale"),
        (np.inf, None, "does not fit its fixed-point scale"),
        (4.0, None, "does not fit its fixed-point scale"),
        (-2.0, None, "does not fit its fixed-point scale"),
        (1.0, np.array([1, -1], np.int64), "weight is negative"),
        (1.0, np.array([1, 2**31], np.int64), "weight is negative"),
        (1.0, np.array([1, np.nan], np.float32), "weight is negative"),
        (1.0, np.array([1, np.inf], np.float32), "weight is negative"),
        (1.0, np.array([1, -1e-45], np.float32), "weight is negative"),
    ],
)
def test_what_the_scan_should_have_refused_is_refused(make_device, value, weights, message):
    rows = np.array([[0.5], [value]], np.float32)
    mode = WeightMode.NONE
    integers, reals = np.empty(0, np.int64), np.empty(0, np.float32)
    if weights is not None and weights.dtype == np.int64:
        mode, integers = WeightMode.INTEGER, weights
    elif weights is not None:
        mode, reals = WeightMode.REAL, weights
    scales = Scales(mode, np.array([39]), np.array([39 if mode is WeightMode.REAL else 78]))
    with pytest.raises(ContractError, match=message):
        on_device(make_device(), rows, Weights(mode, integers, reals), scales, SIZES[0])


def test_refusals_of_many_threads_meet_in_one_word(make_device):
    rows = np.full((65, 1), np.nan, np.float32)
    scales = Scales(WeightMode.NONE, np.array([39]), np.array([78]))
    weights = Weights(WeightMode.NONE, np.empty(0, np.int64), np.empty(0, np.float32))
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        on_device(make_device(), rows, weights, scales, SIZES[0])


def test_launches_fit_the_rows(make_device):
    device = make_device()
    rows, part, scales = partition("normal", "real", 1000, 9, 2)
    moments(device, np.ascontiguousarray(rows.T), Weights.of(part, scales.mode), scales)
    assert device.launches == [
        LaunchRecord("moments_partial<REAL>", (8, 2, 1), (128, 1, 1), 512),
        LaunchRecord("wide_merge", (18, 1, 1), (128, 1, 1), 512),
        LaunchRecord("mass_bins", (8, 1, 1), (128, 1, 1), 32 << 10),
        LaunchRecord("wide_merge", (32, 1, 1), (128, 1, 1), 512),
    ]
