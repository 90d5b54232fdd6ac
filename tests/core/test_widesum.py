"""Wide sums against Python integers, the scale against its definition, and the merge law."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core import widesum
from gpuseg.core.widesum import WideSum
from gpuseg.errors import ContractError
from tests import strategies
from tests.oracle import sums

magnitudes = st.one_of(
    st.floats(min_value=0.0, allow_nan=False, allow_infinity=False),
    st.integers(-1074, 1023).map(lambda e: math.ldexp(1.0, e)),
    st.integers(-1022, 1023).map(lambda e: math.nextafter(math.ldexp(1.0, e), 0.0)),
)


@given(st.lists(magnitudes, min_size=1, max_size=5))
def test_the_scale_is_the_largest_that_keeps_forty_bits(values):
    found = widesum.scale_exponent(values)
    assert found.dtype == np.int64
    assert found.tolist() == [sums.scale_exponent(v) for v in values]


@pytest.mark.parametrize(
    ("largest", "exponent"),
    [
        (0.0, 0),
        (1.0, 39),
        (1.999, 39),
        (2.0, 38),
        (2.0**-149, 188),
        (2.0**-461, 500),
        (2.0**-1074, 500),
        (2.0**50, -11),
        (2.0**228, -189),
        (2.0**1023, -500),
    ],
)
def test_the_scale_at_its_corners(largest, exponent):
    assert widesum.scale_exponent(largest) == exponent


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, [1.0, -2.0]])
def test_a_scale_needs_finite_magnitudes(bad):
    with pytest.raises(ContractError, match="finite magnitudes"):
        widesum.scale_exponent(bad)


@given(st.lists(strategies.in_range, min_size=1, max_size=8))
def test_fixed_point_rounds_half_to_even_below_forty_bits(values):
    exponent = int(widesum.scale_exponent(max(map(abs, values))))
    found = widesum.to_fixed(values, exponent)
    assert found.tolist() == [round(Fraction(v) * Fraction(2) ** exponent) for v in values]
    assert found.tolist() == [sums.fixed(v, exponent) for v in values]
    assert all(abs(q) < 2**40 for q in found.tolist())


def test_fixed_point_ties_go_to_even():
    assert widesum.to_fixed([0.5, 1.5, 2.5, -0.5, -1.5], 0).tolist() == [0, 2, 2, 0, -2]


@given(strategies.wide_sums(), strategies.wide_sums(), strategies.wide_sums())
def test_merging_wide_sums_is_adding_integers(a, b, c):
    assert strategies.obeys_merge_laws(a, b, c, WideSum.zero(3))
    assert a.merge(b).to_ints() == [x + y for x, y in zip(a.to_ints(), b.to_ints(), strict=True)]


@given(strategies.wide_sums(()), strategies.wide_sums(()))
def test_a_single_sum_stays_an_array(a, b):
    merged = a.merge(b).merge(a)
    assert isinstance(merged.hi, np.ndarray)
    assert isinstance(merged.lo, np.ndarray)
    assert merged.to_ints() == [2 * a.to_ints()[0] + b.to_ints()[0]]
    assert merged.to_float64() == float(merged.to_ints()[0])


@given(st.lists(strategies.wide_ints, min_size=6, max_size=6))
def test_limbs_are_the_integers_and_come_back(values):
    wide = WideSum.from_ints(values, (2, 3))
    assert wide.to_ints() == values
    assert wide.to_fractions() == [Fraction(v) for v in values]
    assert wide.reshape(3, 2).to_ints() == values
    assert wide[1].to_ints() == values[3:]
    assert wide[:, 1].to_ints() == [values[1], values[4]]
    assert WideSum(wide.hi.T, wide.lo.T).to_ints() == [values[i] for i in (0, 3, 1, 4, 2, 5)]


@given(st.lists(strategies.wide_ints, min_size=6, max_size=6))
def test_floats_of_sums_are_rounded_once(values):
    wide = WideSum.from_ints(values, (2, 3))
    assert wide.to_float64().tolist() == [[float(v) for v in values[:3]], [float(v) for v in values[3:]]]
    transposed = WideSum(wide.hi.T, wide.lo.T).to_float64()
    assert transposed.tolist() == np.array([float(v) for v in values]).reshape(2, 3).T.tolist()


def test_floats_at_every_power_of_two_are_rounded_once():
    near = [(1 << bits) + offset for bits in range(128) for offset in (-1, 0, 1)]
    halfway = [((1 << 53) + odd) << bits | tail for bits in range(1, 73) for odd in (1, 2) for tail in (0, 1)]
    half = [value << 1 | 1 for value in halfway]
    values = [v for v in (*near, *halfway, *half) if v < 2**127]
    values += [-v for v in values] + [-(2**127)]
    assert WideSum.from_ints(values, len(values)).to_float64().tolist() == [float(v) for v in values]


def test_rounding_of_a_sum_past_63_bits_is_to_even():
    # 2**64 + 2**11 lies half-way between two doubles; the one with the even mantissa is 2**64.
    assert WideSum.from_ints([2**64 + 2**11, 2**64 + 2**11 + 1], 2).to_float64().tolist() == [
        2.0**64,
        2.0**64 + 2.0**12,
    ]


@given(st.lists(strategies.int64s, max_size=5))
def test_int64_is_sign_extended(values):
    assert WideSum.from_int64(np.array(values, np.int64)).to_ints() == values


def test_sums_do_not_alias_their_source():
    source = np.array([5, -5], np.int64)
    wide = WideSum.from_int64(source)
    source[:] = 0
    assert wide.to_ints() == [5, -5]


@pytest.mark.parametrize("value", [2**127, -(2**127) - 1])
def test_what_does_not_fit_128_bits_is_refused(value):
    with pytest.raises(ContractError, match="128 bits"):
        WideSum.from_ints([value], 1)
    assert WideSum.from_ints([2**127 - 1, -(2**127)], 2).to_ints() == [2**127 - 1, -(2**127)]


def test_sums_of_different_shapes_are_not_merged():
    with pytest.raises(ContractError, match=r"\(2,\) and \(3,\)"):
        WideSum.zero(2).merge(WideSum.zero(3))


def test_equality_is_by_value_and_shape():
    assert WideSum.zero(2) == WideSum.from_ints([0, 0], 2)
    assert WideSum.zero(2) != WideSum.zero(3)
    assert WideSum.zero(2) != [0, 0]


@given(st.integers(-(2**100), 2**100), st.integers(1, 2**60), st.integers(-500, 500))
def test_a_mean_is_two_rounded_floats_divided_and_scaled(total, mass, exponent):
    found = widesum.mean_float64(WideSum.from_ints([total], 1), [float(mass)], [exponent])
    assert found.tolist() == [sums.mean(total, Fraction(mass), exponent)]


@given(st.integers(-(2**200), 2**200), st.integers(1, 2**200))
def test_a_fraction_is_rounded_once(numerator, denominator):
    value = Fraction(numerator, denominator)
    found = widesum.fraction_to_float(value)
    # The nearest of three neighbours is the correctly rounded one.
    near = [math.nextafter(found, -math.inf), found, math.nextafter(found, math.inf)]
    assert min(abs(Fraction(v) - value) for v in near) == abs(Fraction(found) - value)
