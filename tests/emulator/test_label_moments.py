"""label_moments.cu on the emulator == the oracle in Python integers == the CPU engine, limb for limb."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, WeightRange
from gpuseg.engines import launch
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.label_moments import (
    CLOSE_ROWS,
    label_moments,
    label_moments_on_device,
    plan_label_tiles,
)
from gpuseg.errors import ContractError
from tests.emulator.device import ORDERS, PROPS, LaunchRecord
from tests.oracle import sums as oracle
from tests.strategies import KINDS, same, table

ROWS = [0, 1, 31, 32, 33, 63, 64, 65, 255, 257, 800]
# The sizes in use, and room for few clusters and features at once, down to one of each.
SIZES = [
    {},
    {"threads": 32, "shared_bytes": 0},
    {"threads": 32, "shared_bytes": 24 * 32 * 3, "close_rows": 2},
    {"threads": 64, "shared_bytes": 24 * 64 * 7},
]
LABEL_TYPES = [np.uint8, np.uint16, np.int32]


def partition(kind, n, d, k, dtype, seed):
    """A partition of n rows of a data set that has one more: rows, labels of some of the clusters, scales."""
    rng = np.random.default_rng(seed)
    rows = table(kind, n + 1, d, seed)
    scales = Scales.of(np.array(oracle.largest(rows, None)), WeightRange.of(None, n + 1))
    labels = rng.choice(rng.permutation(k)[: max(k // 2, 1)], n).astype(dtype)
    return rows[:n], labels, scales


def on_device(device, rows, labels, k, scales, sizes):
    x = device.to_device(np.ascontiguousarray(rows.T))
    return label_moments_on_device(device, x, device.to_device(labels), k, scales, **sizes)


@given(
    n=st.sampled_from(ROWS),
    d=st.integers(1, 7),
    k=st.integers(1, 40),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(LABEL_TYPES),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_equals_the_oracle_and_the_cpu_engine(make_device, n, d, k, kind, dtype, sizes, order, seed):
    rows, labels, scales = partition(kind, n, d, k, dtype, seed)
    found = on_device(make_device(order, seed), rows, labels, k, scales, sizes)
    e, e2 = scales.exponent.tolist(), scales.square_exponent.tolist()
    for c, moments in enumerate(found):
        mass, total, square = oracle.moments(rows[labels == c], None, e, e2)
        assert moments.mass.to_fractions() == [mass]
        assert moments.total.to_ints() == total
        assert moments.square.to_ints() == square
    [wanted] = CpuEngine(n_jobs=2).label_moments(np.ascontiguousarray(rows.T), [labels], [k], scales)
    assert len(found) == len(wanted) == k
    assert all(same(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("order", ORDERS)
def test_no_size_and_no_order_changes_a_bit(make_device, order):
    rows, labels, scales = partition("offset", 1000, 5, 70, np.uint8, 3)
    block = np.ascontiguousarray(rows.T)
    [wanted] = CpuEngine(n_jobs=1).label_moments(block, [labels], [70], scales)
    found = label_moments(make_device(order), block, [labels, labels], [70, 70], scales)
    found += [on_device(make_device(order), rows, labels, 70, scales, sizes) for sizes in SIZES]
    assert all(same(a, b) for one in found for a, b in zip(one, wanted, strict=True))


def test_sums_of_the_largest_squares_leave_64_bits(make_device):
    # The largest quantum, 2**40, comes of float64 sources only; 2**40 - 2**16 is a float32's. Both signs.
    largest = np.float32(2.0 - 2.0**-23)
    rows = np.full((3000, 1), largest)
    rows[1500:] = -largest
    labels = (np.arange(3000) >= 1500).astype(np.int32)
    scales = Scales(WeightMode.NONE, np.array([39]), np.array([78]))
    low, high = on_device(make_device(), rows, labels, 2, scales, SIZES[0])
    quantum = 2**40 - 2**16
    assert low.total.to_ints() == [1500 * quantum]
    assert high.total.to_ints() == [-1500 * quantum]
    assert low.square.to_ints() == high.square.to_ints() == [1500 * quantum**2]
    assert low.mass.to_ints() == [1500]


def test_rows_of_no_cluster_belong_nowhere(make_device):
    rows, labels, scales = partition("normal", 300, 3, 7, np.int32, 5)
    labels[::3] = -1
    labels[1::3] = 7
    spoilt = rows.copy()
    spoilt[::3], spoilt[1::3] = np.nan, 1e30
    for sizes in SIZES:
        found = on_device(make_device(), spoilt, labels, 7, scales, sizes)
        [wanted] = CpuEngine(n_jobs=1).label_moments(np.ascontiguousarray(rows.T), [labels], [7], scales)
        assert all(same(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sizes", [SIZES[1], SIZES[3]], ids=["one warp", "two warps"])
def test_more_tiles_than_the_grid_takes(make_device, monkeypatch, sizes, order):
    rows, labels, scales = partition("normal", 100, 9, 5, np.uint16, 4)
    monkeypatch.setattr(launch, "MAX_GRID_Y", 4)
    device = make_device(order)
    found = on_device(device, rows, labels, 5, scales, sizes)
    assert device.launches[0].grid == (1, 4, 1)
    [wanted] = CpuEngine(n_jobs=1).label_moments(np.ascontiguousarray(rows.T), [labels], [5], scales)
    assert all(same(a, b) for a, b in zip(found, wanted, strict=True))


def test_tiles_take_all_clusters_first_and_no_thread_too_many_rows():
    def plan(n, d, k, **given):
        sizes = {"threads": 64, "shared_bytes": None, "close_rows": CLOSE_ROWS} | given
        return plan_label_tiles(n, d, k, replace(PROPS, multiprocessors=100), **sizes)

    few = plan(10**6, 8, 8)
    assert (few.clusters, few.group, few.geometry.grid) == (8, 4, (267, 3, 1))
    many = plan(10**6, 8, 100)
    assert (many.clusters, many.group, many.geometry.grid) == (25, 1, (23, 36, 1))
    # Few rows: no more blocks than their partials, 64 bytes a cluster and feature, are a twentieth of the rows' bytes.
    assert plan(10**5, 8, 8).geometry.grid == (10**5 * 33 // (20 * 64 * 72), 3, 1)
    assert plan(2000, 8, 8).geometry.grid == (1, 3, 1)
    assert plan(0, 1, 1).geometry.grid == (1, 1, 1)
    assert plan(10**6, 1, 1, close_rows=10).geometry.grid[0] * 64 * 10 >= 10**6
    for k in range(1, 300):
        assert plan(10**6, 3, k).nbytes <= PROPS.max_shared


@pytest.mark.parametrize("value", [np.nan, np.inf, 4.0, -2.0])
def test_what_the_scan_should_have_refused_is_refused(make_device, value):
    rows = np.array([[0.5], [value]], np.float32)
    scales = Scales(WeightMode.NONE, np.array([39]), np.array([78]))
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        on_device(make_device(), rows, np.zeros(2, np.uint8), 1, scales, SIZES[0])


def test_labels_and_scales_that_do_not_fit_are_refused(make_device):
    rows, labels, scales = partition("normal", 20, 2, 3, np.uint8, 1)
    block = np.ascontiguousarray(rows.T)
    for wrong in (labels[:19], labels.astype(np.int64)):
        with pytest.raises(ContractError, match="give each row a uint8"):
            label_moments(make_device(), block, [wrong], [3], scales)
    with pytest.raises(ContractError, match="real weights"):
        label_moments(make_device(), block, [labels], [3], replace(scales, mode=WeightMode.REAL))
    assert label_moments(make_device(), block, [labels], [0], scales) == [[]]


def test_launches_fit_the_rows(make_device):
    device = make_device()
    rows, labels, scales = partition("normal", 1000, 9, 4, np.uint16, 2)
    on_device(device, rows, labels, 4, scales, SIZES[0])
    assert device.launches == [
        LaunchRecord("label_sums<unsigned short>", (1, 2, 1), (64, 1, 1), 24 * 64 * 4 * 8),
        LaunchRecord("wide_merge", (80, 1, 1), (128, 1, 1), 512),
    ]
