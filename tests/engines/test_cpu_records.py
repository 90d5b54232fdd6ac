"""Kernels on coded records against plain Python sets, dictionaries and integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines.cpu import records as cpu_records
from gpuseg.errors import RangeError

N_CUSTOMERS, N_PERIODS, N_CATEGORIES = 7, 130, 5
RECORDS = st.lists(
    st.tuples(
        st.integers(0, N_CUSTOMERS - 1),
        st.integers(0, N_PERIODS - 1),
        st.integers(-(10**6), 10**6),
        st.integers(0, N_CATEGORIES - 1),
    ),
    max_size=120,
)


def columns(records):
    table = np.array(records, np.int64).reshape(len(records), 4)
    return table[:, 0].copy(), table[:, 1].astype(np.int32), table[:, 2].copy(), table[:, 3].astype(np.int32)


def marked(records):
    customer, period, _, _ = columns(records)
    bits = np.zeros((N_CUSTOMERS, cpu_records.words_for(N_PERIODS)), np.uint64)
    cpu_records.bitmaps(customer, period, bits)
    return bits


def active(records):
    periods = {}
    for customer, period, _, _ in records:
        periods.setdefault(customer, set()).add(period)
    return periods


@given(RECORDS)
def test_bitmaps_hold_the_set_of_active_periods(records):
    bits = marked(records)
    expected = active(records)
    for customer in range(N_CUSTOMERS):
        word = sum(int(w) << (64 * i) for i, w in enumerate(bits[customer]))
        assert word == sum(1 << p for p in expected.get(customer, ()))


@given(RECORDS, st.integers(0, 120))
def test_bitmaps_of_two_halves_are_the_or(records, cut):
    assert np.array_equal(marked(records[:cut]) | marked(records[cut:]), marked(records))


@given(RECORDS)
def test_first_period_is_the_minimum(records):
    first = np.full(N_CUSTOMERS, 99, np.int32)
    cpu_records.first_periods(marked(records), first)
    expected = active(records)
    assert first.tolist() == [min(expected.get(c, {-1})) for c in range(N_CUSTOMERS)]


@given(RECORDS, st.lists(st.integers(-1, N_PERIODS - 1), min_size=N_CUSTOMERS, max_size=N_CUSTOMERS))
def test_triangle_counts_customers_by_acquisition_and_age(records, first):
    counts = np.zeros((N_PERIODS, N_PERIODS), np.int64)
    cpu_records.triangle(marked(records), np.array(first, np.int32), counts)
    expected = np.zeros_like(counts)
    for customer, periods in active(records).items():
        for period in periods:
            if first[customer] >= 0 and period >= first[customer]:
                expected[first[customer], period - first[customer]] += 1
    assert np.array_equal(counts, expected)


def test_triangle_leaves_out_periods_past_the_buffer():
    counts = np.zeros((3, 3), np.int64)
    cpu_records.triangle(np.array([[0b111111]], np.uint64), np.array([1], np.int32), counts)
    assert counts.tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]


@given(RECORDS, st.lists(st.integers(-1, N_PERIODS - 1), min_size=N_CUSTOMERS, max_size=N_CUSTOMERS))
def test_revenue_by_acquisition_and_age(records, first):
    customer, period, amount, _ = columns(records)
    money = np.zeros((N_PERIODS, N_PERIODS), np.int64)
    outside = cpu_records.revenue(customer, period, amount, np.array(first, np.int32), money)
    expected, left = np.zeros_like(money), 0
    for c, p, a, _ in records:
        if first[c] < 0 or p < first[c]:
            left += 1
        else:
            expected[first[c], p - first[c]] += a
    assert outside == left
    assert np.array_equal(money, expected)


@given(RECORDS, st.randoms(use_true_random=False))
def test_category_sums_in_any_order(records, random):
    shuffled = random.sample(records, len(records))
    customer, _, amount, category = columns(shuffled)
    sums = np.zeros((N_CUSTOMERS, N_CATEGORIES), np.int64)
    half = len(records) // 2
    cpu_records.category_sums(customer[:half], category[:half], amount[:half], sums)
    cpu_records.category_sums(customer[half:], category[half:], amount[half:], sums)
    expected = np.zeros_like(sums)
    for c, _, a, g in records:
        expected[c, g] += a
    assert np.array_equal(sums, expected)


def codes(*values):
    return np.array(values, np.int64)


def narrow(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(("start", "step"), [(2**63 - 1, 1), (-(2**63), -1), (2**62, 2**62)])
def test_a_sum_past_int64_is_refused_not_wrapped(start, step):
    with pytest.raises(RangeError, match="passes the range of int64 at record 1"):
        cpu_records.category_sums(codes(0, 0), narrow(0, 0), codes(start, step), np.zeros((1, 1), np.int64))
    with pytest.raises(RangeError, match="passes the range of int64 at record 1"):
        cpu_records.revenue(
            codes(0, 0), narrow(0, 0), codes(start, step), narrow(0), np.zeros((1, 1), np.int64)
        )


def test_sums_reach_the_ends_of_int64():
    sums = np.zeros((1, 2), np.int64)
    cpu_records.category_sums(
        codes(0, 0, 0, 0), narrow(0, 0, 1, 1), codes(2**63 - 2, 1, -(2**63) + 1, -1), sums
    )
    assert sums.tolist() == [[2**63 - 1, -(2**63)]]


@pytest.mark.parametrize(("customer", "code"), [(-1, 0), (1, 0), (0, -1), (0, 64)])
def test_codes_outside_the_buffer_are_refused(customer, code):
    with pytest.raises(RangeError, match=r"code \(.*\) of record 0 is outside the buffer"):
        cpu_records.bitmaps(codes(customer), narrow(code), np.zeros((1, 1), np.uint64))
    with pytest.raises(RangeError, match="of record 0 is outside the buffer"):
        cpu_records.category_sums(codes(customer), narrow(code), codes(1), np.zeros((1, 64), np.int64))
    with pytest.raises(RangeError, match="of record 0 is outside the buffer"):
        cpu_records.revenue(codes(customer), narrow(code), codes(1), narrow(0), np.zeros((64, 64), np.int64))


def test_a_first_period_past_the_triangle_is_refused():
    with pytest.raises(RangeError, match=r"code \(3\) of record 0"):
        cpu_records.triangle(np.ones((1, 1), np.uint64), narrow(3), np.zeros((3, 3), np.int64))


def test_buffers_of_unequal_length_are_refused():
    with pytest.raises(RangeError, match=r"unequal length \[1, 2\]"):
        cpu_records.bitmaps(codes(0, 0), narrow(0), np.zeros((1, 1), np.uint64))


def test_no_records_and_no_customers():
    bits = np.zeros((0, 1), np.uint64)
    cpu_records.bitmaps(codes(), narrow(), bits)
    cpu_records.first_periods(bits, narrow())
    counts = np.zeros((2, 2), np.int64)
    cpu_records.triangle(bits, narrow(), counts)
    assert not counts.any()
