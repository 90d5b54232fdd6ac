"""cohort.cu on the emulator == plain Python == the CPU engine: buffers, records left out, refusals to the letter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device import cohort as device_cohort
from gpuseg.engines.device.records import Tally
from gpuseg.errors import ContractError, RangeError
from tests.emulator.device import ORDERS, PROPS, LaunchRecord
from tests.oracle import records as oracle

# Borders of warps and blocks; from 33 on, blocks of 32 threads go round the grid-stride loop.
ROWS = [0, 1, 31, 32, 33, 256, 257, 1000]
PERIODS = [1, 2, 63, 64, 65, 130]
# (threads, shared): the sizes in use; small blocks with a triangle of their own; and with none.
SIZES = [(256, None), (32, None), (32, 0)]


def columns(m, n, n_periods, seed):
    """customer, period and amount of m records; customers and periods repeat often, some amounts fill 64 bits."""
    rng = np.random.default_rng(seed)
    customer = rng.integers(0, n, m)
    period = np.minimum(rng.integers(0, n_periods, m), rng.integers(0, n_periods, m)).astype(np.int32)
    amount = rng.choice([0, 1, -1, 2**32 - 1, 2**32, -(2**32), 2**40 + 12_345, -987], m)
    return customer, period, amount * rng.integers(1, 9, m)


def acquired(n, n_periods, seed):
    return np.random.default_rng(seed).integers(-1, n_periods, n).astype(np.int32)


def activity(n, words, seed):
    rng = np.random.default_rng(seed)
    full = rng.integers(0, 2**64, (n, words), np.uint64, endpoint=False)
    # Sparse words, empty ones, and single bits at both ends.
    words_of = [
        full & rng.integers(0, 2**64, (n, words), np.uint64),
        np.zeros_like(full),
        full | np.uint64(1),
    ]
    words_of += [np.full_like(full, 1), np.full_like(full, 1 << 63), full]
    return np.choose(rng.integers(0, len(words_of), (n, words)), words_of)


def unpacked(packed, n_periods):
    full = np.zeros((n_periods, n_periods), np.int64)
    row = 0
    for p in range(n_periods):
        full[p, : n_periods - p] = packed[row : row + n_periods - p].view(np.int64)
        row += n_periods - p
    assert row == len(packed)
    return full


def up(device, *arrays):
    return [device.to_device(array) for array in arrays]


@given(
    m=st.sampled_from(ROWS),
    n=st.sampled_from([1, 2, 33, 300]),
    words=st.integers(1, 3),
    threads=st.sampled_from([32, 256]),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_bitmaps_and_first_periods(make_device, m, n, words, threads, order, seed):
    device = make_device(order, seed)
    customer, period, _ = columns(m, n, 64 * words, seed)
    bits = device.zeros((n, words), np.uint64)
    device_cohort.bitmaps_on_device(device, *up(device, customer, period), bits, threads=threads)
    found = device.to_host(bits)
    first = device.to_host(device_cohort.first_periods_on_device(device, bits, threads=threads))
    assert found.tolist() == oracle.bitmaps(customer.tolist(), period.tolist(), n, words)
    assert first.tolist() == oracle.first_periods(found)
    wanted = np.zeros((n, words), np.uint64)
    CpuEngine.bitmaps(customer, period, wanted)
    assert np.array_equal(found, wanted)


@given(
    n=st.sampled_from(ROWS),
    words=st.integers(1, 3),
    n_periods=st.sampled_from(PERIODS),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_triangles(make_device, n, words, n_periods, sizes, order, seed):
    device = make_device(order, seed)
    bits, first = activity(n, words, seed), acquired(n, n_periods, seed + 1)
    threads, shared = sizes
    packed = device_cohort.triangle_on_device(
        device, *up(device, bits, first), n_periods, threads=threads, shared=shared
    )
    found = unpacked(device.to_host(packed), n_periods)
    assert found.tolist() == oracle.triangle(bits, first.tolist(), n_periods)
    wanted = np.zeros_like(found)
    CpuEngine.triangle(bits, first, wanted)
    assert np.array_equal(found, wanted)


@given(
    m=st.sampled_from(ROWS),
    n=st.sampled_from([1, 33, 300]),
    n_periods=st.sampled_from(PERIODS),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_revenue(make_device, m, n, n_periods, sizes, order, seed):
    device = make_device(order, seed)
    customer, period, amount = columns(m, n, n_periods, seed)
    first = acquired(n, n_periods, seed + 1)
    money = device.zeros(n_periods * (n_periods + 1) // 2, np.uint64)
    threads, shared = sizes
    tally = device_cohort.revenue_on_device(
        device, *up(device, customer, period, amount, first), money, n_periods, threads=threads, shared=shared
    )
    found = unpacked(device.to_host(money), n_periods)
    expected, left_out = oracle.revenue(
        customer.tolist(), period.tolist(), amount.tolist(), first.tolist(), n_periods
    )
    assert found.tolist() == expected
    counted = (first[customer] >= 0) & (period >= first[customer])
    assert tally == Tally(None, left_out, sum(abs(a) for a in amount[counted].tolist()))
    wanted = np.zeros_like(found)
    assert CpuEngine.revenue(customer, period, amount, first, wanted) == left_out
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("order", ORDERS)
def test_the_verbs_add_to_what_the_caller_holds(make_device, order):
    device = make_device(order)
    customer, period, amount = columns(500, 40, 64, 3)
    first = acquired(40, 64, 4)
    found, wanted = (
        (
            activity(40, 1, 5),
            first.copy(),
            np.arange(4096).reshape(64, 64),
            np.arange(4096).reshape(64, 64) - 9,
        )
        for _ in range(2)
    )
    device_cohort.bitmaps(device, customer, period, found[0])
    device_cohort.triangle(device, found[0], first, found[2])
    left_out = device_cohort.revenue(device, customer, period, amount, first, found[3])
    device_cohort.first_periods(device, found[0], found[1])
    CpuEngine.bitmaps(customer, period, wanted[0])
    CpuEngine.triangle(wanted[0], first, wanted[2])
    assert CpuEngine.revenue(customer, period, amount, first, wanted[3]) == left_out
    CpuEngine.first_periods(wanted[0], wanted[1])
    for a, b in zip(found, wanted, strict=True):
        assert np.array_equal(a, b)


def test_a_count_of_one_cell_from_every_thread(make_device):
    # 3,000 customers of one cohort, active throughout: each age of its row counts them all.
    bits = np.full((3000, 2), 2**64 - 1, np.uint64)
    for order in ORDERS:
        counts = np.zeros((100, 100), np.int64)
        device_cohort.triangle(make_device(order), bits, np.full(3000, 7, np.int32), counts)
        assert counts[7].tolist() == [3000] * 93 + [0] * 7
        assert counts.sum() == 3000 * 93


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shared", [None, 0])
def test_carries_between_the_halves_of_a_private_sum(make_device, order, shared):
    # The low halves pass 2**32 again and again, upwards and downwards.
    amount = np.array([2**32 - 1, -(2**32), -1, 2**31, 2**63 - 1, -(2**63), 1 - 2**32] * 100)
    m = amount.size
    device = make_device(order, 5)
    money = device.zeros(1, np.uint64)
    arrays = up(device, np.zeros(m, np.int64), np.zeros(m, np.int32), amount, np.zeros(1, np.int32))
    tally = device_cohort.revenue_on_device(device, *arrays, money, 1, threads=32, shared=shared)
    total = sum(amount.tolist())
    assert device.to_host(money).tolist() == [total % 2**64]
    assert tally.magnitude == sum(abs(a) for a in amount.tolist())


def refusal(call, *arguments):
    with pytest.raises(RangeError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("customer", "period"), [(-1, 0), (40, 0), (2**62, 0), (3, -1), (3, 64), (3, 2**31 - 1)]
)
def test_the_first_code_outside_a_buffer_is_named(make_device, order, customer, period):
    clients, periods, amounts = columns(700, 40, 64, 8)
    first = acquired(40, 64, 4)
    bits, money = np.zeros((40, 1), np.uint64), np.zeros((64, 64), np.int64)
    for row in (699, 300, 44):
        clients[row], periods[row] = customer, period
        for verb, arguments, buffer in (
            ("bitmaps", (clients, periods), bits),
            ("revenue", (clients, periods, amounts, first), money),
        ):
            said = refusal(getattr(device_cohort, verb), make_device(order), *arguments, buffer)
            assert not buffer.any()
            assert said == refusal(getattr(CpuEngine, verb), *arguments, buffer.copy())
            assert f"code ({customer}, {period}) of record {row} " in said


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("words", [0, 1, 2])
def test_a_first_period_past_the_triangle_is_refused(make_device, order, words):
    bits, first, counts = np.zeros((500, words), np.uint64), acquired(500, 9, 1), np.zeros((9, 9), np.int64)
    first[[137, 450]] = 9
    said = refusal(device_cohort.triangle, make_device(order), bits, first, counts)
    assert said == refusal(CpuEngine.triangle, bits, first, counts)
    assert said == "triangle: code (9) of record 137 is outside the buffer"
    customer, period, amount = columns(300, 100, 9, 2)
    customer[[17, 200]] = 137
    money = np.zeros((9, 9), np.int64)
    arguments = (customer, period, amount, first, money)
    assert refusal(device_cohort.revenue, make_device(order), *arguments) == refusal(
        CpuEngine.revenue, *arguments
    )


@pytest.mark.parametrize(
    ("held", "amounts"),
    [
        (0, [2**63 - 1, 1]),
        (0, [-(2**63), -1]),
        (0, [2**62, 2**62, -(2**62)]),
        (2**63 - 1, [-1, 2]),
        (-(2**63), [-1, 1]),
        (5, [2**63 - 1, -(2**63)]),
    ],
)
def test_a_sum_past_int64_is_refused_as_the_records_come(make_device, held, amounts):
    m = len(amounts)
    columns_of = (
        np.zeros(m, np.int64),
        np.zeros(m, np.int32),
        np.array(amounts, np.int64),
        np.zeros(1, np.int32),
    )
    found, wanted = np.full((1, 1), held, np.int64), np.full((1, 1), held, np.int64)
    said = refusal(device_cohort.revenue, make_device(), *columns_of, found)
    assert said == refusal(CpuEngine.revenue, *columns_of, wanted)
    assert "passes the range of int64 at record" in said
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("held", [0, 1, -(2**63)])
def test_sums_that_stay_in_int64_as_the_records_come_are_taken(make_device, held, caplog):
    # Added up without their signs they would not stay: the CPU decides, and says so.
    amounts = np.array([2**62, -(2**62), 2**62, -(2**62)])
    arguments = (np.zeros(4, np.int64), np.zeros(4, np.int32), amounts, np.zeros(1, np.int32))
    money = np.full((1, 1), held, np.int64)
    with caplog.at_level("INFO", "gpuseg.engines"):
        assert device_cohort.revenue(make_device(), *arguments, money) == 0
    assert money.tolist() == [[held]]
    assert ["one by one" in message for message in caplog.messages] == [True]


def test_the_last_sum_that_needs_no_second_look(make_device, caplog):
    arguments = (
        np.zeros(2, np.int64),
        np.zeros(2, np.int32),
        np.array([2**62, 2**62 - 1 - 9]),
        np.zeros(1, np.int32),
    )
    money = np.full((1, 1), 9, np.int64)
    with caplog.at_level("INFO", "gpuseg.engines"):
        device_cohort.revenue(make_device(), *arguments, money)
    assert money.tolist() == [[2**63 - 1]]
    assert not caplog.messages


def test_a_bad_code_before_or_after_a_sum_past_int64(make_device):
    for customer in ([0, 1, 0, 0], [0, 0, 0, 1]):
        arguments = (np.array(customer), np.zeros(4, np.int32), np.full(4, 2**62), np.zeros(1, np.int32))
        said = refusal(device_cohort.revenue, make_device(), *arguments, np.zeros((1, 1), np.int64))
        assert said == refusal(CpuEngine.revenue, *arguments, np.zeros((1, 1), np.int64))


def test_buffers_of_unequal_length_and_of_another_type_are_refused(make_device):
    device = make_device()
    codes, periods = np.zeros(2, np.int64), np.zeros(1, np.int32)
    bits, money = np.zeros((1, 1), np.uint64), np.zeros((1, 1), np.int64)
    for verb, arguments in (
        ("bitmaps", (codes, periods, bits)),
        ("first_periods", (bits, np.zeros(2, np.int32))),
        ("triangle", (bits, np.zeros(2, np.int32), money)),
        ("revenue", (codes, periods, codes, periods, money)),
    ):
        said = refusal(getattr(device_cohort, verb), device, *arguments)
        assert said == refusal(getattr(CpuEngine, verb), *arguments)
    with pytest.raises(
        ContractError, match="period is int64, its kernel reads int32; convert it with astype"
    ):
        device_cohort.bitmaps(device, codes, codes, bits)
    assert not device.launches


def test_no_records_no_customers_no_periods(make_device):
    device = make_device()
    none, narrow = np.empty(0, np.int64), np.empty(0, np.int32)
    device_cohort.bitmaps(device, none, narrow, np.zeros((0, 1), np.uint64))
    device_cohort.first_periods(device, np.zeros((0, 1), np.uint64), narrow)
    first = np.zeros(3, np.int32)
    device_cohort.first_periods(device, np.zeros((3, 0), np.uint64), first)
    assert first.tolist() == [-1] * 3
    counts = np.ones((2, 2), np.int64)
    device_cohort.triangle(device, np.zeros((0, 1), np.uint64), narrow, counts)
    assert device_cohort.revenue(device, none, narrow, none, narrow, counts) == 0
    assert counts.tolist() == [[1, 1], [1, 1]]
    device_cohort.triangle(device, np.ones((3, 1), np.uint64), first, np.zeros((0, 0), np.int64))


def test_strided_columns_are_copied(make_device):
    table = np.arange(60).reshape(20, 3) % 7
    period = np.zeros(40, np.int32)[::2]
    bits = np.zeros((1, 7), np.uint64).T
    device_cohort.bitmaps(make_device(), table[:, 1], period, bits)
    assert bits.tolist() == [[1]] * 7


def test_launches_fit_the_rows_and_the_triangle(make_device):
    device = make_device(props=replace(PROPS, multiprocessors=4))
    customer, period, amount = columns(20_000, 900, 100, 1)
    bits, first = np.ones((9000, 2), np.uint64), acquired(9000, 100, 1)
    money = np.zeros((100, 100), np.int64)
    device_cohort.bitmaps(device, customer, period, bits)
    device_cohort.first_periods(device, bits, first)
    device_cohort.triangle(device, bits, first, money)
    device_cohort.revenue(device, customer, period, amount, first, money)
    for n_periods in (109, 110):
        shape = (n_periods, n_periods)
        device_cohort.revenue(device, customer, period, amount, first, np.zeros(shape, np.int64))
    for n_periods in (156, 157):
        device_cohort.triangle(device, bits, first, np.zeros((n_periods, n_periods), np.int64))
    block = (256, 1, 1)
    assert device.launches == [
        LaunchRecord("bitmap_marks", (32, 1, 1), block, 0),
        LaunchRecord("first_active", (32, 1, 1), block, 0),
        LaunchRecord("triangle_counts<true>", (4, 1, 1), block, 4 * 5050),
        LaunchRecord("revenue_sums<true>", (4, 1, 1), block, 512 + 8 * 5050),
        LaunchRecord("revenue_sums<true>", (4, 1, 1), block, 512 + 8 * 5995),
        LaunchRecord("revenue_sums<false>", (32, 1, 1), block, 512),
        LaunchRecord("triangle_counts<true>", (2, 1, 1), block, 4 * 12_246),
        LaunchRecord("triangle_counts<false>", (32, 1, 1), block, 0),
    ]
