"""personality.cu on the emulator == plain Python integers == the CPU engine, refusals to the letter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.categories import category_sums, category_sums_on_device
from gpuseg.engines.device.records import Tally
from gpuseg.errors import ContractError, RangeError
from tests.emulator.device import ORDERS, LaunchRecord
from tests.oracle import records as oracle

# Borders of warps and blocks; from 33 on, blocks of 32 threads go round the grid-stride loop.
ROWS = [0, 1, 31, 32, 33, 256, 257, 1000]
AMOUNTS = [0, 1, -1, 99, 2**31, 2**32 - 1, -(2**32), 2**33 + 7, -(2**45) - 1]


def columns(m, n, categories, seed):
    rng = np.random.default_rng(seed)
    customer, category = rng.integers(0, n, m), rng.integers(0, categories, m).astype(np.int32)
    return customer, category, rng.choice(AMOUNTS, m) * rng.integers(1, 9, m)


def refusal(call, *arguments):
    with pytest.raises(RangeError) as caught:
        call(*arguments)
    return str(caught.value)


@given(
    m=st.sampled_from(ROWS),
    n=st.sampled_from([1, 2, 33, 300]),
    categories=st.sampled_from([1, 2, 31, 40]),
    threads=st.sampled_from([32, 256]),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_sums_by_customer_and_category(make_device, m, n, categories, threads, order, seed):
    device = make_device(order, seed)
    records = columns(m, n, categories, seed)
    sums = device.zeros((n, categories), np.uint64)
    tally = category_sums_on_device(device, *map(device.to_device, records), sums, threads=threads)
    found = device.to_host(sums).view(np.int64)
    assert found.tolist() == oracle.category_sums(*(column.tolist() for column in records), n, categories)
    assert tally == Tally(None, 0, sum(abs(amount) for amount in records[2].tolist()))
    wanted = np.zeros((n, categories), np.int64)
    CpuEngine.category_sums(*records, wanted)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_of_records_add_up_in_the_buffer_of_the_caller(make_device, order):
    records = columns(900, 20, 6, 2)
    found, wanted = np.arange(120).reshape(20, 6) - 50, np.arange(120).reshape(20, 6) - 50
    CpuEngine.category_sums(*records, wanted)
    for part in (slice(600, 900), slice(600)):
        category_sums(make_device(order), *(column[part] for column in records), found)
    assert np.array_equal(found, wanted)
    by_category = np.zeros((6, 20), np.int64).T
    category_sums(make_device(order), *(column[::3] for column in records), by_category)
    assert by_category.tolist() == oracle.category_sums(*(column[::3].tolist() for column in records), 20, 6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("customer", "category"), [(-1, 0), (20, 0), (2**62, 0), (-(2**63), 0), (3, -1), (3, 6), (0, 2**31 - 1)]
)
def test_the_first_code_outside_the_buffer_is_named(make_device, order, customer, category):
    clients, categories, amounts = columns(700, 20, 6, 8)
    sums = np.ones((20, 6), np.int64)
    for row in (699, 300, 44):
        clients[row], categories[row] = customer, category
        said = refusal(category_sums, make_device(order), clients, categories, amounts, sums)
        assert sums.tolist() == [[1] * 6] * 20
        assert said == refusal(CpuEngine.category_sums, clients, categories, amounts, sums.copy())
        assert f"category_sums: code ({customer}, {category}) of record {row} " in said


@pytest.mark.parametrize(
    ("held", "amounts"),
    [
        (0, [2**63 - 1, 1]),
        (0, [-(2**63), -1]),
        (0, [2**62, 2**62, -(2**62)]),
        (1, [2**63 - 1, -1]),
        (-(2**63), [-1, 1]),
    ],
)
def test_a_sum_past_int64_is_refused_as_the_records_come(make_device, held, amounts):
    m = len(amounts)
    records = np.zeros(m, np.int64), np.ones(m, np.int32), np.array(amounts, np.int64)
    found, wanted = np.array([[7, held]]), np.array([[7, held]])
    said = refusal(category_sums, make_device(), *records, found)
    assert said == refusal(CpuEngine.category_sums, *records, wanted)
    assert "passes the range of int64 at record" in said
    assert np.array_equal(found, wanted)


def test_sums_that_stay_in_int64_as_the_records_come_are_taken(make_device, caplog):
    # Added up without their signs they would not stay: the CPU decides, and says so.
    records = np.zeros(4, np.int64), np.zeros(4, np.int32), np.array([2**62, -(2**62), 2**62, 2**62 - 1])
    sums = np.zeros((1, 1), np.int64)
    with caplog.at_level("INFO", "gpuseg.engines"):
        category_sums(make_device(), *records, sums)
    assert sums.tolist() == [[2**63 - 1]]
    assert ["one by one" in message for message in caplog.messages] == [True]


def test_the_last_sum_that_needs_no_second_look(make_device, caplog):
    records = np.zeros(2, np.int64), np.zeros(2, np.int32), np.array([-(2**62), 9 + 1 - 2**62])
    sums = np.array([[-9]])
    with caplog.at_level("INFO", "gpuseg.engines"):
        category_sums(make_device(), *records, sums)
    assert sums.tolist() == [[1 - 2**63]]
    assert not caplog.messages


def test_a_bad_code_before_or_after_a_sum_past_int64(make_device):
    for customer in ([0, 1, 0, 0], [0, 0, 0, 1]):
        records = np.array(customer), np.zeros(4, np.int32), np.full(4, 2**62)
        said = refusal(category_sums, make_device(), *records, np.zeros((1, 1), np.int64))
        assert said == refusal(CpuEngine.category_sums, *records, np.zeros((1, 1), np.int64))


def test_buffers_of_unequal_length_and_of_another_type_are_refused(make_device):
    device = make_device()
    codes, sums = np.zeros(2, np.int64), np.zeros((1, 1), np.int64)
    arguments = (codes, np.zeros(1, np.int32), codes, sums)
    assert refusal(category_sums, device, *arguments) == refusal(CpuEngine.category_sums, *arguments)
    with pytest.raises(ContractError, match="amount is float64, its kernel reads int64"):
        category_sums(device, codes, np.zeros(2, np.int32), np.zeros(2), sums)
    assert not device.launches


def test_no_records_and_no_customers(make_device):
    nothing = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int64)
    sums = np.ones((1, 2), np.int64)
    category_sums(make_device(), *nothing, sums)
    assert sums.tolist() == [[1, 1]]
    category_sums(make_device(), *nothing, np.empty((0, 3), np.int64))


def test_launches_fit_the_records(make_device):
    device = make_device()
    category_sums(device, *columns(1000, 9, 4, 1), np.zeros((9, 4), np.int64))
    assert device.launches == [LaunchRecord("category_sums", (4, 1, 1), (256, 1, 1), 512)]
