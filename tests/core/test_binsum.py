"""Exponent-bin sums against fractions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core import binsum
from gpuseg.core.binsum import BinSum
from gpuseg.core.widesum import WideSum
from gpuseg.errors import ContractError
from tests import strategies
from tests.oracle import sums

LARGEST = float(np.finfo(np.float32).max)
values = st.lists(
    st.one_of(strategies.non_negative, st.sampled_from([0.0, -0.0, 2.0**-149, 2.0**-126, LARGEST])),
    max_size=20,
)


@given(values)
def test_a_sum_is_exact(floats):
    total = BinSum.of(np.array(floats, np.float32))
    assert total.to_fractions() == [sums.bin_sum(floats)]
    assert total.shape == ()
    assert total.to_float64() == float(sums.bin_sum(floats))


@given(values, st.data())
def test_any_split_and_any_order_give_the_same_bins(floats, data):
    array = np.array(floats, np.float32)
    merged = BinSum.zero()
    for rows in data.draw(strategies.parts(len(floats))):
        merged = merged.merge(BinSum.of(array[rows]))
    assert strategies.same(merged, BinSum.of(array))


@given(strategies.bin_sums((2,)), strategies.bin_sums((2,)), strategies.bin_sums((2,)))
def test_merge_law(a, b, c):
    assert strategies.obeys_merge_laws(a, b, c, BinSum.zero(2))


@given(strategies.non_negative)
def test_one_value_is_its_mantissa_in_its_bin(value):
    index, shifted = binsum.split_float32([value])
    assert 0 <= index[0] < binsum.N_BINS
    assert 0 <= shifted[0] < 2**31  # so that a mass of 2**31 stays in int64
    assert math.ldexp(int(shifted[0]), 8 * int(index[0]) - 150) == value


def test_every_binary_exponent_has_its_place():
    floats = np.ldexp(np.float32(1.5), np.arange(-149, 128)).astype(np.float32)
    index, shifted = binsum.split_float32(floats)
    back = [math.ldexp(s, 8 * i - 150) for i, s in zip(index.tolist(), shifted.tolist(), strict=True)]
    assert back == floats.tolist()
    assert sorted(set(index.tolist())) == list(range(32))


@given(st.lists(st.integers(0, 2**90), min_size=64, max_size=64))
def test_the_value_weighs_bins_by_eight_exponents(bins):
    total = BinSum(WideSum.from_ints(bins, (2, 32)))
    expected = [sum(v << 8 * i for i, v in enumerate(row)) for row in (bins[:32], bins[32:])]
    assert [value * 2**150 for value in total.to_fractions()] == expected


@pytest.mark.parametrize("bad", [-1.0, -(2.0**-149), math.nan, math.inf])
def test_negative_and_not_finite_values_are_refused(bad):
    with pytest.raises(ContractError, match="finite float32 values >= 0"):
        BinSum.of(np.array([1.0, bad], np.float32))


def test_shapes():
    assert BinSum.zero().shape == ()
    assert BinSum.zero(3).shape == (3,)
    assert BinSum.zero((2, 3)).shape == (2, 3)
    assert BinSum.zero((2, 3)).to_float64().tolist() == [[0.0] * 3] * 2
