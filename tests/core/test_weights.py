"""Which arithmetic weights need, decided over all rows; refusals; and the law of the facts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.weights import WeightMode, WeightRange, Weights, counting
from gpuseg.errors import ContractError, InputError, RangeError
from tests import strategies
from tests.oracle import sums

MODES = {sums.NONE: WeightMode.NONE, sums.INTEGER: WeightMode.INTEGER, sums.REAL: WeightMode.REAL}
any_weight = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 3.0, 0.5, 2.0**31 - 1, 2.0**31, 1e-50, 1e300, -1.0, math.nan, math.inf]),
    st.floats(0, 10),
)
ranges = st.lists(any_weight, max_size=6).map(lambda v: WeightRange.of(np.array(v, np.float64), len(v)))
ranges |= st.integers(0, 5).map(lambda n: WeightRange.of(None, n))


@given(ranges, ranges, ranges)
def test_merge_law(a, b, c):
    assert strategies.obeys_merge_laws(a, b, c, WeightRange.zero())


@given(st.lists(any_weight, max_size=12), st.data())
def test_any_split_and_any_order_give_the_same_facts(values, data):
    weights = np.array(values, np.float64)
    merged = WeightRange.zero()
    for rows in data.draw(strategies.parts(len(values))):
        merged = merged.merge(WeightRange.of(weights[rows], len(rows)))
    assert strategies.same(merged, WeightRange.of(weights, len(values)))


@given(strategies.data_sets())
def test_the_mode_is_the_definition(data):
    rows, weights = data
    assert WeightRange.of(weights, len(rows)).mode() is MODES[sums.weight_kind(weights)]


@pytest.mark.parametrize(
    ("weights", "mode"),
    [
        ([1.0, 2.0, 0.0], WeightMode.INTEGER),
        ([2.0**31 - 1], WeightMode.INTEGER),
        ([2.0**31], WeightMode.REAL),
        ([1.0, 0.5], WeightMode.REAL),
        ([1.0, 1e-60], WeightMode.REAL),
        ([2.0**30] * (2**17 - 1), WeightMode.INTEGER),
        ([2.0**30] * 2**17, WeightMode.REAL),  # the sum of squares could pass 2**127
    ],
)
def test_modes_at_their_borders(weights, mode):
    assert WeightRange.of(np.array(weights), len(weights)).mode() is mode


def test_the_total_counts_over_partitions():
    half = WeightRange.of(np.full(2**16, 2.0**30), 2**16)
    assert half.mode() is WeightMode.INTEGER
    assert half.merge(half).mode() is WeightMode.REAL


@pytest.mark.parametrize("bad", [[-1.0, 1.0], [math.nan, 1.0], [math.inf, 1.0], [-math.inf, 1.0]])
def test_bad_weights_are_counted_and_refused(bad):
    with pytest.raises(InputError, match="1 negative, NaN or infinite"):
        WeightRange.of(np.array(bad), 2).mode()


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1e-60], [-0.0]])
def test_some_weight_must_count(weights):
    with pytest.raises(InputError, match="no positive value"):
        WeightRange.of(np.array(weights), len(weights)).mode()


def test_a_real_weight_beyond_float32_is_refused_in_one_sentence():
    with pytest.raises(RangeError, match=r"sample_weight reaches 1e\+300, beyond float32"):
        WeightRange.of(np.array([0.5, 1e300]), 2).mode()


def test_partitions_with_and_without_weights_do_not_mix():
    merged = WeightRange.of(None, 3).merge(WeightRange.of(np.ones(3), 3))
    assert merged.mode() is WeightMode.INTEGER
    with pytest.raises(ContractError, match="one partition has weights and another has none"):
        Weights.of(None, merged.mode())


def test_a_row_counts_if_its_float32_weight_is_positive():
    weights = np.array([0.0, 1e-60, 2.0**-149, 1.0, 1e300])
    assert counting(weights).tolist() == [False, False, True, True, True]


@given(strategies.data_sets())
def test_weights_of_a_partition(data):
    rows, values = data
    n = len(rows)
    mode = WeightRange.of(values, n).mode()
    weights = Weights.of(values, mode)
    expected = sums.effective(values, n)
    assert weights.as_float64(n).tolist() == expected
    positive = weights.positive()
    assert (positive is None) == (values is None)
    assert positive is None or positive.tolist() == [w > 0 for w in expected]
    some = np.arange(0, n, 3)
    assert weights.take(some).as_float64(some.size).tolist() == expected[::3]


def test_weights_beside_integers_are_rounded_once_to_float32():
    weights = Weights.of(np.array([0.1, 3.0]), WeightMode.REAL)
    assert weights.reals.dtype == np.float32
    assert weights.reals.tolist() == [float(np.float32(0.1)), 3.0]
    assert Weights.of(np.array([2.0]), WeightMode.INTEGER).integers.dtype == np.int64
