"""The float32 chain: by-hand rounding, C's fmaf, the numpy route and the kernels agree to the bit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines.base import METRICS
from gpuseg.engines.cpu.distances import chain
from gpuseg.errors import ContractError
from tests import strategies
from tests.oracle import distances, floats

TINY, LARGEST = 2.0**-149, float(np.finfo(np.float32).max)
HARD = [
    (2.0**-75, 2.0**-75, 0.0),  # the product is half the smallest subnormal: a tie, to even, to zero
    (2.0**-75, 2.0**-75, TINY),
    (2.0**-75, math.nextafter(2.0**-75, 1.0), 0.0),
    (3 * TINY, 0.5, 0.0),
    (LARGEST, 1.0, 2.0**103),  # half a unit beyond the largest: overflows to infinity
    (LARGEST, 1.0, math.nextafter(2.0**103, 0.0)),
    (LARGEST, 2.0, -LARGEST),
    (LARGEST, -2.0, LARGEST),
    (1 + 2.0**-23, 1 + 2.0**-23, 0.0),
    (1 + 2.0**-23, 1 + 2.0**-23, -1.0),
    (1 + 2.0**-12, 1 + 2.0**-12, 2.0**-76),  # float64 alone would round twice, and wrongly
    (1 + 2.0**-12, 1 - 2.0**-12, 2.0**-80),
    (2.0**63, 2.0**63, 1.0),
    (2.0**64, 2.0**64, -1.0),
    (2.0**-126, 0.5, -TINY),
]
HARD = [tuple(float(np.float32(v)) for v in case) for case in HARD]
triples = st.tuples(*[st.one_of(strategies.any_float32, strategies.in_range)] * 3)


def bits(value):
    return np.float32(value).tobytes()


@given(st.one_of(triples, st.sampled_from(HARD)))
def test_numpy_route_is_exact_arithmetic_rounded_once(case):
    assert float(floats.fma32(*case)) == floats.fma32_exact(*case)


@given(st.lists(st.one_of(triples, st.sampled_from(HARD)), min_size=1, max_size=20))
def test_kernel_fma_is_exact_arithmetic_rounded_once(cases):
    # chain(x, 1, 0, point, d) starts from zero, so one feature is one fused square.
    for a, _, _ in cases:
        row, point = np.array([a], np.float32), np.zeros(1, np.float32)
        assert float(chain(row, 1, 0, point, 1)) == floats.fma32_exact(a, a, 0.0)


@pytest.mark.skipif(floats.fma32_of_c() is None, reason="no C library to be found by ctypes")
def test_numpy_route_is_the_fmaf_of_c():
    fmaf = floats.fma32_of_c()
    rng = np.random.default_rng(0)
    cases = [*HARD]
    for _ in range(400):
        a, b = (float(np.float32(v)) for v in rng.normal(size=2) * 2.0 ** rng.integers(-70, 60, 2))
        # Addends near the product, near half a unit of it, and anywhere.
        c = rng.choice(
            [-a * b, a * b * 2.0**-24, a * b * 2.0**-25, rng.normal() * 2.0 ** rng.integers(-149, 100)]
        )
        cases.append((a, b, float(np.float32(c))))
    for case in cases:
        expected = bits(fmaf(*case))
        assert bits(floats.fma32(*case)) == expected, case
        assert float(np.frombuffer(expected, np.float32)[0]) == floats.fma32_exact(*case)


@given(st.fractions())
def test_rounding_by_hand_is_numpy_casting_of_doubles(value):
    double = float(value)
    with np.errstate(over="ignore"):
        assert floats.round_float32(Fraction(double)) == float(np.float32(double))


@pytest.mark.parametrize(
    "value", [2.0**-150, 3 * 2.0**-150, 2.0**-126 - 2.0**-150, LARGEST + 2.0**102, 2.0**128]
)
def test_rounding_by_hand_at_the_ends(value):
    with np.errstate(over="ignore"):
        assert floats.round_float32(Fraction(value)) == float(np.float32(value))
        assert floats.round_float32(Fraction(-value)) == float(np.float32(-value))


rows_and_points = st.integers(1, 6).flatmap(
    lambda d: st.tuples(*[st.lists(strategies.in_range, min_size=d, max_size=d)] * 2)
)


@given(rows_and_points)
def test_a_chain_is_exact_steps_in_feature_order(pair):
    row, point = (np.array(v, np.float32) for v in pair)
    expected = floats.chain_exact(row, point)
    assert float(floats.chain(row[None], point[None])[0, 0]) == expected
    assert float(chain(row, 1, 0, point, row.size)) == expected


@pytest.mark.parametrize("kind", strategies.KINDS)
def test_distance_tables_are_the_chain(engines, kind):
    for n, d, k in [(1, 1, 1), (15, 2, 3), (16, 3, 4), (33, 4, 5), (100, 9, 7)]:
        rows = strategies.table(kind, n, d, seed=n)
        centres = strategies.centres(rows, k, seed=d)
        block = np.ascontiguousarray(rows.T)
        expected = floats.chain(rows, centres).T
        for engine in engines:
            out = np.full((k, n), np.nan, np.float32)
            engine.distances(block, centres, out, metric="sqeuclidean")
            assert out.tobytes() == np.ascontiguousarray(expected).tobytes()
            engine.distances(block, centres, out, metric="euclidean")
            assert out.tolist() == [[floats.sqrt32(v) for v in row] for row in expected.tolist()]
            for metric in METRICS:
                engine.distances(block, centres, out, metric=metric)
                assert out.tobytes() == distances.table(metric, rows, centres).tobytes()


def test_cosine_and_manhattan_are_what_their_names_say(engines):
    rows = strategies.table("normal", 40, 7, seed=3)
    centres = strategies.table("normal", 5, 7, seed=4)
    centres[4] = 0.0
    out = np.empty((5, 40), np.float32)
    engines[1].distances(np.ascontiguousarray(rows.T), centres, out, metric="manhattan")
    wide, points = rows.astype(np.float64), centres.astype(np.float64)
    assert np.allclose(out, abs(wide - points[:, None]).sum(axis=2), rtol=1e-6)
    engines[1].distances(np.ascontiguousarray(rows.T), centres, out, metric="cosine")
    lengths = np.linalg.norm(points[:4], axis=1)[:, None] * np.linalg.norm(wide, axis=1)
    assert np.allclose(out[:4], 1 - points[:4] @ wide.T / lengths, atol=1e-6)
    assert out[4].tolist() == [1.0] * 40  # no direction: at right angles to everything
    engines[1].distances(np.ascontiguousarray(-rows.T), rows[:1], out[:1], metric="cosine")
    assert out[0, 0] == 2.0


def test_shapes_and_metrics_that_do_not_fit_are_refused(engines):
    block, centres = np.zeros((3, 20), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(ContractError, match="'chebyshev' is not known"):
        engines[0].distances(block, centres, np.empty((2, 20), np.float32), metric="chebyshev")
    for wrong in [(2, 19), (3, 20), (20, 2)]:
        with pytest.raises(ContractError, match="do not fit"):
            engines[0].distances(block, centres, np.empty(wrong, np.float32))
    with pytest.raises(ContractError, match="do not fit"):
        engines[0].distances(block, np.zeros((2, 4), np.float32), np.empty((2, 20), np.float32))


def test_order_of_features_matters_and_is_ascending(engines):
    rows = np.array([[2.0**12, 1.0, 1.0]], np.float32)
    block = np.ascontiguousarray(rows.T)
    out = np.empty((1, 1), np.float32)
    engines[0].distances(block, np.zeros((1, 3), np.float32), out, metric="sqeuclidean")
    assert out[0, 0] == 2.0**24  # 2**24 + 1 is a tie, twice; the other order gives 2**24 + 2
    engines[0].distances(
        np.ascontiguousarray(block[::-1]), np.zeros((1, 3), np.float32), out, metric="sqeuclidean"
    )
    assert out[0, 0] == 2.0**24 + 2
