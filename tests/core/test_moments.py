"""Ranges, moments and layouts: merge laws, exactness, decisions at their borders, and every refusal of section 3."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core import moments
from gpuseg.core.binsum import BinSum
from gpuseg.core.moments import FeatureRange, Layout, Moments, Scales
from gpuseg.core.weights import WeightMode, WeightRange
from gpuseg.core.widesum import WideSum
from gpuseg.errors import ContractError, InputError, NotFiniteError, RangeError
from tests import strategies
from tests.oracle import sums

D = 3


def seen(low, high, *, n=10, weights=None, bad=None):
    d = len(low)
    facts = WeightRange.of(None if weights is None else np.array(weights, np.float64), n)
    return FeatureRange(n, np.array(low, float), np.array(high, float), np.array(bad or [0] * d), facts)


def range_of(rows, weights):
    """The record of some rows, in plain numpy."""
    n, d = rows.shape
    facts = WeightRange.of(weights, n)
    kept = rows if weights is None else rows[weights.astype(np.float32) > 0]
    wide = (
        kept.astype(np.float64) + 0.0
    )  # no negative zeros: which zero a minimum keeps is no part of the law
    low = np.min(wide, axis=0, initial=np.inf)
    high = np.max(wide, axis=0, initial=-np.inf)
    return FeatureRange(n, low, high, np.zeros(d, np.int64), facts)


def moments_of(rows, weights):
    """The record of some rows by the oracle."""
    d = rows.shape[1]
    e, e2 = sums.exponents(rows, weights)
    mass, total, square = sums.moments(rows, weights, e, e2)
    scale = Scales.of(range_of(rows, weights).max_abs(), WeightRange.of(weights, len(rows)))
    assert (scale.exponent.tolist(), scale.square_exponent.tolist()) == (e, e2)
    if scale.mode is WeightMode.REAL:
        reals = np.array(sums.effective(weights, len(rows)), np.float32)
        counted = BinSum.of(reals)
    else:
        counted = WideSum.from_ints([int(mass)], ())
    return Moments(
        counted,
        WideSum.from_ints(total, d),
        WideSum.from_ints(square, d),
        scale.exponent,
        scale.square_exponent,
    )


@st.composite
def feature_ranges(draw):
    rows, weights = draw(strategies.data_sets(max_rows=8))
    n = len(rows)
    wide = np.resize(rows, (n, D)) if draw(st.booleans()) else np.resize(rows[:1], (n, D))
    return range_of(wide, weights)


@given(feature_ranges(), feature_ranges(), feature_ranges())
def test_merge_law_of_ranges(a, b, c):
    assert strategies.obeys_merge_laws(a, b, c, FeatureRange.zero(D))


@st.composite
def moment_records(draw, mode):
    mass = draw(strategies.bin_sums() if mode is WeightMode.REAL else strategies.wide_sums(()))
    exponent = np.array([3, -4, 100])
    return Moments(mass, draw(strategies.wide_sums(D)), draw(strategies.wide_sums(D)), exponent, 2 * exponent)


@pytest.mark.parametrize("mode", [WeightMode.INTEGER, WeightMode.REAL])
def test_merge_law_of_moments(mode):
    @given(moment_records(mode), moment_records(mode), moment_records(mode))
    def law(a, b, c):
        zero = Moments.zero(Scales(mode, a.exponent, a.square_exponent))
        assert strategies.obeys_merge_laws(a, b, c, zero)

    law()


@pytest.mark.parametrize("which", ["exponent", "square_exponent"])
def test_moments_of_unequal_scales_are_refused(which):
    scales = {"exponent": np.array([3, 4]), "square_exponent": np.array([6, 8])}
    other = scales | {which: scales[which] + 1}
    a, b = (Moments.zero(Scales(WeightMode.NONE, **kind)) for kind in (scales, other))
    with pytest.raises(ContractError, match="prepare all partitions with one layout"):
        a.merge(b)


def test_moments_of_different_weights_are_refused():
    e = np.array([1])
    a, b = (Moments.zero(Scales(mode, e, e)) for mode in (WeightMode.INTEGER, WeightMode.REAL))
    with pytest.raises(ContractError, match="integer weights with real weights"):
        a.merge(b)


@given(strategies.data_sets(max_rows=20))
def test_mean_and_variance_are_those_of_the_integers(data):
    rows, weights = data
    state = moments_of(rows, weights)
    e, e2 = state.exponent.tolist(), state.square_exponent.tolist()
    mass, total, square = sums.moments(rows, weights, e, e2)
    variances = [sums.variance(t, q, mass, a, b) for t, q, a, b in zip(total, square, e, e2, strict=True)]
    assert state.mean().tolist() == [sums.mean(t, mass, a) for t, a in zip(total, e, strict=True)]
    assert state.variance_fractions() == variances
    assert state.variance().tolist() == [v.numerator / v.denominator for v in variances]
    offset = [
        bool(t) and (Fraction(t) / Fraction(2) ** a / mass) ** 2 > 2**20 * v
        for t, a, v in zip(total, e, variances, strict=True)
    ]
    assert moments.offset_features(state).tolist() == offset


def test_mean_and_variance_of_numbers_a_child_can_check():
    rows = np.array([[1.0], [2.0], [6.0]], np.float32)
    assert moments_of(rows, None).mean().tolist() == [3.0]
    assert moments_of(rows, None).variance_fractions() == [Fraction(14, 3)]
    weights = np.array([2.0, 1.0, 0.0])
    assert moments_of(rows, weights).variance_fractions() == [Fraction(2, 9)]


@given(strategies.data_sets(max_rows=20))
def test_integer_weights_are_repetition_and_zero_weights_nothing(data):
    rows, weights = data
    if weights is None or sums.weight_kind(weights) != sums.INTEGER:
        weights = np.arange(len(rows)) % 4 + 0.0
        weights[-1] = 2.0
    weights = np.minimum(weights, 50.0)
    repeated = moments_of(np.repeat(rows, weights.astype(int), axis=0), None)
    assert strategies.same(moments_of(rows, weights), repeated)
    kept = weights > 0
    assert strategies.same(moments_of(rows[kept], weights[kept]), repeated)
    loud = rows.copy()
    loud[~kept] = strategies.LARGEST
    assert strategies.same(moments_of(loud, weights), repeated)


@pytest.mark.parametrize("ratio", [1023, 1024, 1025])
def test_a_feature_is_offset_beyond_1024_deviations(ratio):
    rows = np.array([[ratio - 1.0], [ratio + 1.0]], np.float32)  # mean = ratio, deviation = 1
    assert moments.offset_features(moments_of(rows, None)).tolist() == [ratio > 1024]


def test_a_constant_feature_is_offset_unless_it_is_zero():
    rows = np.array([[0.0, 1e-3]] * 3, np.float32)
    assert moments.offset_features(moments_of(rows, None)).tolist() == [False, True]


@pytest.mark.parametrize(("reach", "wide"), [(2.0**36, False), (2.0**37, True)])
def test_a_feature_is_wide_beyond_2_30_deviations(reach, wide):
    state = moments_of(np.array([[2.0**30], [2.0**30 + 128]], np.float32), None)  # one deviation is 64
    layout = Layout(
        np.zeros(1), np.zeros(1, bool), Scales(WeightMode.NONE, *[np.zeros(1, int)] * 2), np.array([reach])
    )
    assert moments.wide_features(layout, state).tolist() == [wide]


def test_a_constant_feature_is_not_wide():
    rows = np.full((3, 1), 2.0**50, np.float32)
    assert moments.wide_features(Layout.plain(range_of(rows, None)), moments_of(rows, None)).tolist() == [
        False
    ]


def test_nan_and_infinity_are_refused_by_feature_and_count():
    facts = seen([0, 0, 0], [1, 1, 1], n=40, bad=[0, 3, 1])
    with pytest.raises(
        NotFiniteError, match=r"NaN or infinity: 4 values in visits \(3\), spend \(1\); .*40-row"
    ):
        facts.require_finite(["age", "visits", "spend"])
    with pytest.raises(NotFiniteError, match=r"feature 1 \(3\), feature 2 \(1\)"):
        facts.require_finite()
    with pytest.raises(NotFiniteError, match=r"feature 7 \(1\) and 4 more features"):
        seen([0] * 12, [1] * 12, bad=[1] * 12).require_finite()
    seen([0], [1]).require_finite()


def test_values_beyond_2_100_are_refused_even_before_centring():
    seen([-(2.0**100)], [0]).require_representable()
    with pytest.raises(RangeError, match=r"spend reaches 2\.5353e\+30 in magnitude; divide it"):
        seen([0, -(2.0**101)], [1, 0]).require_representable(["age", "spend"])


def test_differences_that_float32_cannot_square_are_refused():
    seen([0, 0], [2.0**-60, 0]).require_span()
    seen([1e-30], [1e-30]).require_span()
    with pytest.raises(RangeError, match=r"no feature spans more than 4\.3\d*e-19, below 2\*\*-60; multiply"):
        seen([0, 0], [2.0**-61, 0]).require_span()


def test_values_beyond_2_50_after_centring_are_refused():
    at_the_border = seen([-(2.0**50)], [2.0**50])
    Layout.plain(at_the_border).require_range(at_the_border.weights)
    beyond = seen([0, 0], [1, math.nextafter(2.0**50, math.inf)])
    with pytest.raises(RangeError, match=r"spend reaches 1\.1259e\+15 in magnitude, beyond 2\*\*50; divide"):
        Layout.plain(beyond).require_range(beyond.weights, ["age", "spend"])
    # Centred, the same feature is in range.
    mean = np.array([0.0, 2.0**50])
    Layout.centring(beyond, mean, np.array([False, True])).require_range(beyond.weights)


def test_a_value_beyond_float32_after_centring_is_refused_not_warned_of():
    facts = seen([0], [1e300])
    layout = Layout.centring(seen([0], [2.0**90]), np.zeros(1), np.ones(1, bool))
    with pytest.raises(RangeError, match="feature 0 reaches"):
        layout.require_range(facts.weights)
    assert moments.centred_max_abs(facts, np.zeros(1)).tolist() == [math.inf]


@pytest.mark.parametrize("weight", [2.0**24, 2.0**25 - 1])
def test_a_weighted_distance_below_2_127_passes(weight):
    facts = seen([-(2.0**50)], [2.0**50], weights=[weight], n=1)
    Layout.plain(facts).require_range(facts.weights)


def test_a_weighted_distance_that_could_reach_2_127_is_refused():
    facts = seen([-(2.0**50)], [2.0**50], weights=[2.0**25], n=1)
    with pytest.raises(
        RangeError, match=r"weights up to 3.35544e\+07 times squared distances .* pass 2\*\*127"
    ):
        Layout.plain(facts).require_range(facts.weights)
    real = seen([-1.0], [1.0], weights=[0.5, 2.0**125], n=2)
    with pytest.raises(RangeError, match="divide the weights by a constant"):
        Layout.plain(real).require_range(real.weights)


def test_weights_that_do_not_count_are_refused_with_the_layout():
    with pytest.raises(InputError, match="no positive value"):
        Layout.plain(seen([0], [1], weights=[0.0], n=1))


def test_max_abs_of_no_rows_is_zero():
    assert FeatureRange.zero(2).max_abs().tolist() == [0.0, 0.0]
    assert seen([-3, 1], [2, 5]).max_abs().tolist() == [3.0, 5.0]


@given(strategies.data_sets())
def test_scales_are_the_definition(data):
    rows, weights = data
    scales = Scales.of(range_of(rows, weights).max_abs(), WeightRange.of(weights, len(rows)))
    assert (scales.exponent.tolist(), scales.square_exponent.tolist()) == sums.exponents(rows, weights)


@given(strategies.data_sets(), st.integers(0, 2**32))
def test_a_centred_layout_knows_the_largest_magnitude_of_its_block(data, seed):
    rows, weights = data
    n, d = rows.shape
    rng = np.random.default_rng(seed)
    table = rows.astype(np.float64) + rng.normal(size=d) * 1e6
    facts = range_of(table, weights)
    which = rng.integers(0, 2, d) == 1
    layout = Layout.centring(facts, table[n // 2], which)
    block = layout.block_values(table)
    assert block.dtype == np.float32
    assert layout.max_abs.tolist() == sums.largest(block, weights)
    assert layout.centre[~which].tolist() == [0.0] * int((~which).sum())
    expected = [[float(np.float32(x - c)) for x, c in zip(row, layout.centre, strict=True)] for row in table]
    assert block.tolist() == expected


def test_an_uncentred_float32_block_is_its_source():
    rows = np.array([[0.1, 3.0]], np.float32)
    layout = Layout.plain(range_of(rows, None))
    assert layout.block_values(rows) is rows
    assert not layout.centred.any()
