"""Reads of the input: range, finiteness, copy and moments, for every layout, type, weight and number of threads."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.binsum import BinSum
from gpuseg.core.moments import Layout, Scales
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines.base import Engine
from gpuseg.engines.cpu import preparing
from gpuseg.engines.cpu.engine import CpuEngine
from tests import strategies
from tests.oracle import sums

NS = [0, 1, 15, 16, 17, 31, 33, 1023, 1024, 1025]


def kernel_moments(engine, source, weights, scales):
    return engine.moments(source, Weights.of(weights, scales.mode), scales)


def expected_moments(values, weights, scales):
    return sums.moments(values, weights, scales.exponent.tolist(), scales.square_exponent.tolist())


def contents(state):
    return state.mass.to_fractions()[0], state.total.to_ints(), state.square.to_ints()


def test_the_cpu_engine_has_every_verb():
    assert isinstance(CpuEngine(), Engine)
    assert repr(CpuEngine(2)) == "CpuEngine(n_jobs=2)"


@pytest.mark.parametrize("n", NS)
def test_scan_copy_and_moments_of_any_number_of_rows(engines, n):
    for i, kind in enumerate(strategies.KINDS):
        d = 1 + (i + n) % 9 if i else 33
        rows = strategies.table(kind, n, d, seed=n)
        weights = strategies.weight_array(strategies.WEIGHTS[(i + n) % 5], n, seed=n) if n else None
        facts = WeightRange.of(weights, n)
        counted = rows if weights is None else rows[weights.astype(np.float32) > 0]
        for engine in engines:
            out = np.full((d, n), np.nan, np.float32)
            seen = engine.scan(rows, weights, out)
            assert (seen.n_rows, seen.weights, seen.n_bad.tolist()) == (n, facts, [0] * d)
            assert seen.minimum.tolist() == counted.min(axis=0, initial=np.inf).tolist()
            assert seen.maximum.tolist() == counted.max(axis=0, initial=-np.inf).tolist()
            assert out.tobytes() == np.ascontiguousarray(rows.T).tobytes()
            scales = Scales.of(seen.max_abs(), facts)
            state = kernel_moments(engine, rows, weights, scales)
            assert contents(state) == expected_moments(rows, weights, scales)
            assert strategies.same(state, kernel_moments(engine, out.T, weights, scales))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_and_types_do_not_matter(engines, layout, dtype):
    rng = np.random.default_rng(1)
    n, d = 300, 3
    rows = (rng.normal(size=(n, d)) * [1.0, 1e-5, 1e9] + [0.0, 1.0, 1e7]).astype(dtype)
    weights = strategies.weight_array("real", n, 3)
    source = layout(rows)
    facts = WeightRange.of(weights, n)
    for engine in engines:
        seen = engine.scan(source, weights, None)
        counted = rows[weights > 0]
        assert (seen.minimum.tolist(), seen.maximum.tolist()) == (
            counted.min(axis=0).tolist(),
            counted.max(axis=0).tolist(),
        )
        for mode_weights in (None, weights):
            scales = Scales.of(seen.max_abs(), facts if mode_weights is not None else WeightRange.of(None, n))
            state = kernel_moments(engine, source, mode_weights, scales)
            assert contents(state) == expected_moments(rows, mode_weights, scales)
        mean = kernel_moments(engine, source, None, Scales.of(seen.max_abs(), WeightRange.of(None, n))).mean()
        centred = Layout.centring(seen, mean, np.array([True, False, True]))
        out = np.full((d, n), np.nan, np.float32)
        engine.centre(source, centred, out)
        assert out.tobytes() == np.ascontiguousarray(centred.block_values(rows).T).tobytes()
        if dtype == np.float32:
            engine.scan(source, None, out)
            assert out.tobytes() == np.ascontiguousarray(rows.T).tobytes()


@given(strategies.data_sets(), st.data())
def test_any_split_and_any_order_give_the_same_moments(data, draw):
    rows, weights = data
    engine = CpuEngine(2)
    scales = Scales.of(engine.scan(rows, weights, None).max_abs(), WeightRange.of(weights, len(rows)))
    merged = None
    for part in draw.draw(strategies.parts(len(rows))):
        piece = kernel_moments(engine, rows[part], None if weights is None else weights[part], scales)
        merged = piece if merged is None else merged.merge(piece)
    whole = kernel_moments(engine, rows, weights, scales)
    assert strategies.same(merged, whole)
    assert contents(whole) == expected_moments(rows, weights, scales)


@given(strategies.data_sets(), st.data())
def test_any_split_and_any_order_give_the_same_range(data, draw):
    rows, weights = data
    engine = CpuEngine(2)
    merged = None
    for part in draw.draw(strategies.parts(len(rows))):
        piece = engine.scan(rows[part], None if weights is None else weights[part], None)
        merged = piece if merged is None else merged.merge(piece)
    whole = engine.scan(rows, weights, None)
    assert merged.minimum.tolist() == whole.minimum.tolist()
    assert merged.maximum.tolist() == whole.maximum.tolist()
    assert (merged.n_rows, merged.weights) == (whole.n_rows, whole.weights)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_are_counted_by_feature(engines, dtype):
    rows = np.zeros((700, 3), dtype)
    rows[[0, 300, 699], 1] = [math.nan, math.inf, -math.inf]
    rows[5, 2] = math.nan
    for engine in engines:
        for weights in (None, np.r_[np.zeros(10), np.ones(690)]):
            assert engine.scan(rows, weights, None).n_bad.tolist() == [0, 3, 1]


@pytest.mark.parametrize("weight", [0.0, 1e-60])
def test_rows_of_weight_zero_influence_nothing(engines, weight):
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(100, 2))
    weights = rng.random(100) + 0.5
    weights[::3] = weight
    loud = rows.copy()
    loud[::3] = 1e200  # its square is infinite in float64
    quiet, counted = weights[weights > 0.1], rows[weights > 0.1]
    for engine in engines:
        seen = engine.scan(loud, weights, None)
        assert seen.maximum.tolist() == counted.max(axis=0).tolist()
        assert seen.weights.n_positive == quiet.size
        scales = Scales.of(seen.max_abs(), seen.weights)
        state = kernel_moments(engine, loud, weights, scales)
        assert strategies.same(state, kernel_moments(engine, counted, quiet, scales))
        block = np.empty((2, 100), np.float32)
        engine.centre(loud, Layout.plain(seen), block)
        in_block = kernel_moments(engine, block.T, weights, scales)
        assert strategies.same(in_block, kernel_moments(engine, counted.astype(np.float32), quiet, scales))


@given(strategies.data_sets(max_rows=40), st.integers(0, 2**32))
def test_integer_weights_are_repetition(data, seed):
    rows, _ = data
    weights = np.random.default_rng(seed).integers(0, 6, len(rows)).astype(np.float64)
    weights[0] = 3.0
    engine = CpuEngine(2)
    scales = Scales.of(engine.scan(rows, weights, None).max_abs(), WeightRange.of(weights, len(rows)))
    repeated = np.repeat(rows, weights.astype(int), axis=0)
    plain = Scales.of(engine.scan(repeated, None, None).max_abs(), WeightRange.of(None, len(repeated)))
    assert strategies.same(
        kernel_moments(engine, rows, weights, scales), kernel_moments(engine, repeated, None, plain)
    )


def test_a_double_that_rounds_up_to_the_full_forty_bits(engines):
    value = math.nextafter(1.0, 0.0)  # times 2**40 it rounds to 2**40 itself
    rows = np.array([[value], [-value], [value]])
    scales = Scales.of(np.array([value]), WeightRange.of(None, 3))
    assert scales.exponent.tolist() == [40]
    assert contents(kernel_moments(engines[0], rows, None, scales)) == (3, [2**40], [3 * 2**80])


@pytest.mark.parametrize("weight", [1, 2**16 - 1, 2**16, 2**22 - 1, 2**22, 2**22 + 1, 2**31 - 1])
def test_blocks_close_before_int64_overflows(engines, weight):
    """Full-scale values of one sign: the plain int64 sums of a block that did not close would wrap."""
    n = 300
    rows = np.full((n, 1), np.nextafter(np.float32(2.0), np.float32(0)), np.float32)
    weights = np.full(n, float(weight))
    facts = WeightRange.of(weights, n)
    scales = Scales.of(np.array([float(rows[0, 0])]), facts)
    assert facts.mode() is WeightMode.INTEGER
    for engine in engines:
        assert contents(kernel_moments(engine, rows, weights, scales)) == expected_moments(
            rows, weights, scales
        )


def test_the_largest_integer_mass_stays_in_128_bits():
    heavy = float(2**31 - 1)
    mass = (1 << 47) - 1
    n, rest = divmod(mass, 2**31 - 1)
    weights = np.r_[np.full(n, heavy), float(rest)]
    facts = WeightRange.of(weights, weights.size)
    assert facts.mode() is WeightMode.INTEGER
    rows = np.full((weights.size, 1), np.nextafter(np.float32(2.0), np.float32(0)), np.float32)
    scales = Scales.of(np.array([float(rows[0, 0])]), facts)
    state = kernel_moments(CpuEngine(1), rows, weights, scales)
    q = sums.fixed(float(rows[0, 0]), int(scales.exponent[0]))
    assert contents(state) == (mass, [mass * q], [mass * q * q])
    assert mass * q * q < 2**127


@pytest.mark.parametrize("weight", [None, 1.0 - 2.0**-24])
def test_blocks_of_many_rows_close(weight):
    """2**23 full-scale rows of one sign would wrap an int64 that was never carried."""
    n, value = (1 << 23) + 5, float(np.nextafter(np.float32(2.0), np.float32(0)))
    rows = np.full((1, n), value, np.float32).T
    weights = None if weight is None else np.full(n, weight)
    scales = Scales.of(np.array([value]), WeightRange.of(weights, n))
    found = contents(kernel_moments(CpuEngine(1), rows, weights, scales))
    mass, total, square = expected_moments(rows[:1], None if weight is None else weights[:1], scales)
    assert found == (n * mass, [n * total[0]], [n * square[0]])
    assert n * total[0] > 2**63


@given(st.lists(strategies.non_negative, max_size=40))
def test_bins_of_the_kernel_are_those_of_core(values):
    array = np.array(values, np.float32)
    expected = BinSum.of(array)
    hi, lo = np.zeros(32, np.int64), np.zeros(32, np.uint64)
    preparing.bin_sum(array, 0, array.size, hi, lo)
    assert np.array_equal(hi, expected.bins.hi)
    assert np.array_equal(lo, expected.bins.lo)


@given(strategies.wide_ints, st.integers(-(2**62), 2**62), st.integers(0, 63))
def test_limbs_take_shifted_values(start, value, shift):
    hi, lo = np.array([start >> 64], np.int64), np.array([start & (2**64 - 1)], np.uint64)
    preparing.add_shifted(hi, lo, 0, value, shift)
    assert (int(hi[0]) << 64) + int(lo[0]) == start + (value << shift)


@given(strategies.data_sets(max_rows=40), st.integers(1, 4), st.integers(0, 2**32))
def test_moments_by_label_are_moments_of_the_rows(data, k, seed):
    rows, _ = data
    n, d = rows.shape
    labels = np.random.default_rng(seed).integers(0, k, n).astype(np.uint8)
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, n))
    [found] = CpuEngine(2).label_moments(np.ascontiguousarray(rows.T), [labels], [k], scales)
    assert [contents(state) for state in found] == [
        expected_moments(rows[labels == c].reshape(-1, d), None, scales) for c in range(k)
    ]


@pytest.mark.parametrize("d", [1, 3, 8, 11])
@pytest.mark.parametrize("row_major", [True, False])
def test_every_value_that_is_not_finite_is_counted(engines, d, row_major):
    n = 1025
    rows = strategies.table("normal", n, d, seed=d)
    at = np.random.default_rng(d).choice(n * d, 37, replace=False)
    rows.reshape(-1)[at] = np.resize([np.nan, np.inf, -np.inf], 37)
    expected = np.count_nonzero(~np.isfinite(rows), axis=0).tolist()
    weights = strategies.weight_array("zeros", n, 5)
    source = rows if row_major else np.asfortranarray(rows)
    for engine, given_weights in itertools.product(engines, (None, weights)):
        seen = engine.scan(source, given_weights, np.empty((d, n), np.float32) if row_major else None)
        assert seen.n_bad.tolist() == expected


@pytest.mark.parametrize("value", [1.9999999, -1.9999999, 1.0])
def test_sums_of_many_large_values_are_exact(engines, value):
    """The largest whole numbers, more of them than float64 lanes may hold before they are carried."""
    n = 2 * 16 * 8192 + 35
    block = np.full((1, n), value, np.float32)
    scales = Scales.of(np.array([abs(float(block[0, 0]))]), WeightRange.of(None, n))
    q = round(float(block[0, 0]) * 2.0 ** int(scales.exponent[0]))
    assert 2**38 < abs(q) <= 2**40
    for engine in engines:
        state = engine.moments(block.T, Weights.ones(), scales)
        assert (state.total.to_ints(), state.square.to_ints()) == ([n * q], [n * q * q])
