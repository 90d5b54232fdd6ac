"""silhouette.cu on the emulator == the oracle in Python integers == the CPU engine, bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines.cpu import CpuEngine
from gpuseg.engines.device_silhouette import silhouette_sums, silhouette_sums_on_device
from gpuseg.errors import ContractError
from tests.emulator.device import ORDERS, PROPS, LaunchRecord
from tests.oracle import floats
from tests.oracle import silhouette as oracle
from tests.strategies import KINDS, table

# The sizes in use, and sizes so small that rows, others, clusters and features all cross the borders of tiles.
SIZES = [
    {},
    {"threads": 32, "rows": 1, "points": 4, "columns": 8},
    {"threads": 32, "rows": 3, "points": 4, "columns": 4, "features": 2},
    {"threads": 64, "rows": 2, "points": 8, "columns": 24, "features": 1},
]
# Borders of warps and of tiles of 32, 96, 128 and 512 rows.
ROWS = [0, 1, 31, 32, 33, 95, 97, 127, 129]


def clustered(kind, n, d, k, seed, clusters="any"):
    """Rows [n, d] in the order of their cluster, their labels, and where each cluster starts."""
    rng = np.random.default_rng(seed)
    if clusters == "singletons":
        labels = np.minimum(np.arange(n), k - 1)
    elif clusters == "one":
        labels = np.full(n, rng.integers(k))
    else:
        labels = np.sort(
            rng.choice(rng.permutation(k)[: max(k // 2, 1)], n)
        )  # half of the clusters are empty
    return table(kind, n, d, seed), labels, np.searchsorted(labels, np.arange(k + 1))


def exponent_of(rows, others):
    """A scale that leaves room for all sums, as ONE_ANSWER section 7 wants it."""
    reach = float(floats.chain(rows, others).max(initial=0.0))
    room = min(62 - max(len(others) - 1, 0).bit_length(), 50)
    return room - math.frexp(floats.sqrt32(reach))[1]


def on_device(device, rows, others, starts, exponent, sizes):
    x, y = (device.to_device(np.ascontiguousarray(part.T)) for part in (rows, others))
    sums = silhouette_sums_on_device(device, x, y, device.to_device(starts), exponent, **sizes)
    return device.to_host(sums).view(np.int64).T


def on_cpu(rows, others, starts, exponent):
    out = np.zeros((len(rows), starts.size - 1), np.int64)
    x, y = (np.ascontiguousarray(part.T) for part in (rows, others))
    CpuEngine(n_jobs=2).silhouette_sums(x, y, starts, exponent, out)
    return out


@given(
    n=st.sampled_from(ROWS),
    m=st.sampled_from([0, 1, 3, 7, 8, 9, 31, 33, 70]),
    d=st.integers(1, 6),
    k=st.integers(1, 9),
    kind=st.sampled_from(KINDS),
    clusters=st.sampled_from(["any", "singletons", "one"]),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_sums_equal_the_oracle_and_the_cpu_engine(
    make_device, n, m, d, k, kind, clusters, sizes, order, seed
):
    rows = table(kind, n, d, seed)
    others, labels, starts = clustered(kind, m, d, k, seed + 1, clusters)
    exponent = exponent_of(rows, others)
    found = on_device(make_device(order, seed), rows, others, starts, exponent, sizes)
    assert found.tolist() == oracle.distance_sums(rows, others, labels, k, exponent)
    assert np.array_equal(found, on_cpu(rows, others, starts, exponent))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["mixed", "offset"])
def test_no_size_and_no_order_changes_a_sum(make_device, kind, order):
    rows, labels, starts = clustered(kind, 300, 5, 11, 3)
    exponent = exponent_of(rows, rows)
    wanted = oracle.distance_sums(rows, rows, labels, 11, exponent)
    for sizes in SIZES:
        device = make_device(order, props=replace(PROPS, multiprocessors=3))
        assert on_device(device, rows, rows, starts, exponent, sizes).tolist() == wanted


@pytest.mark.parametrize("d", [23, 24, 86, 200])
def test_features_beyond_a_tile_come_in_parts(make_device, d):
    rows, _, starts = clustered("normal", 150, d, 3, d)
    exponent = exponent_of(rows, rows)
    found = on_device(make_device("reverse"), rows, rows, starts, exponent, {})
    assert np.array_equal(found, on_cpu(rows, rows, starts, exponent))


def test_host_blocks_add_up(make_device):
    rows, _, starts = clustered("normal", 100, 3, 4, 1)
    block = np.ascontiguousarray(rows.T)
    out = np.full((100, 4), 5, np.int64)
    silhouette_sums(make_device(), block, block, starts, 40, out)
    whole = on_cpu(rows, rows, starts, 40)
    assert np.array_equal(out, whole + 5)
    for cut in (slice(0, 37), slice(37, 100)):
        part = np.clip(starts - cut.start, 0, cut.stop - cut.start)
        silhouette_sums(make_device(), block, np.ascontiguousarray(block[:, cut]), part, 40, out)
    assert np.array_equal(out, 2 * whole + 5)


@pytest.mark.parametrize("order", ORDERS)
def test_every_rounding_is_half_to_even(make_device, order):
    # Distances of all magnitudes that a scale may meet: fractions, ties, and up to the last value below 2**51.
    rng = np.random.default_rng(1)
    powers = np.arange(-30, 51)
    distances = np.concatenate(
        [
            np.arange(0, 40) / 2,
            *(np.ldexp(rng.integers(2**23, 2**24, 81).astype(np.float64), powers - 24) for _ in range(3)),
            np.ldexp([2**24 - 1, 2**23 + 1, 2**24 - 1], [27, 27, 4]),
        ]
    ).astype(np.float32)
    rows, others = np.zeros((3, 1), np.float32), distances[:, None]
    starts = np.arange(len(others) + 1)
    found = on_device(make_device(order), rows, others, starts, 0, {})
    assert found.tolist() == oracle.distance_sums(rows, others, range(len(others)), len(others), 0)
    together = on_device(make_device(order), rows, others, starts[[0, -1]], 0, {})
    assert together.tolist() == found.sum(axis=1, keepdims=True).tolist()


def test_ties_of_fixed_point_go_to_even(make_device):
    rows, others = np.zeros((1, 1), np.float32), np.array([[0.5], [1.5], [2.5], [3.5]], np.float32)
    found = on_device(make_device(), rows, others, np.arange(5), 0, {})
    assert found.tolist() == [[0, 2, 2, 4]]


@pytest.mark.parametrize("exponent", [-1100, -150, -127, -126, 0, 124])
def test_scales_beyond_float32(make_device, exponent):
    # Squares of the smallest differences vanish, or are subnormal: the smallest root above 0 is that of 2**-149.
    rows = np.array([[0.0], [2.0**-149], [2.0**-80], [2.0**-74]], np.float32)
    starts = np.array([0, 4])
    found = on_device(make_device(), rows, rows, starts, exponent, {})
    assert found.tolist() == oracle.distance_sums(rows, rows, [0] * 4, 1, exponent)


@pytest.mark.parametrize("exponent", [127, 190, 1100])
def test_scales_beyond_float32_leave_equal_rows_at_no_distance(make_device, exponent):
    rows = np.array([[0.0], [2.0**-149], [2.0**-80]], np.float32)
    found = on_device(make_device(), rows, rows, np.array([0, 3]), exponent, {})
    assert found.tolist() == [[0]] * 3
    rows[0] = 2.0**-74
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        on_device(make_device(), rows, rows, np.array([0, 3]), exponent, {})


@pytest.mark.parametrize("value", [2.0**51, np.inf, np.nan])
def test_distances_beyond_their_scale_are_refused(make_device, value):
    rows = np.array([[0.0], [value]], np.float32)
    out = np.zeros((1, 1), np.int64)
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        silhouette_sums(
            make_device(), rows[:1].T.copy(), np.ascontiguousarray(rows.T), np.array([0, 2]), 0, out
        )
    assert out.tolist() == [[0]]


def test_shapes_and_starts_that_do_not_fit_are_refused(make_device):
    rows, others = np.zeros((2, 5), np.float32), np.zeros((2, 9), np.float32)

    def sums(starts, shape, block=others):
        silhouette_sums(make_device(), rows, block, np.array(starts), 0, np.zeros(shape, np.int64))

    sums([0, 4, 9], (5, 2))
    for starts, shape in [([0, 9], (5, 2)), ([0, 4, 9], (2, 5)), ([0, 4, 9], (4, 2))]:
        with pytest.raises(ContractError, match="do not fit"):
            sums(starts, shape)
    with pytest.raises(ContractError, match="do not fit"):
        sums([0, 4, 9], (5, 2), others[:1])
    for starts in [[0, 5, 4], [0, 4, 10], [-1, 4, 9]]:
        with pytest.raises(ContractError, match="must ascend within"):
            sums(starts, (5, 2))


def test_launches_fit_the_rows_and_the_others(make_device):
    device = make_device(props=replace(PROPS, multiprocessors=2))
    rows, _, starts = clustered("normal", 1000, 8, 3, 1)
    on_device(device, rows, rows, starts, 30, {})
    assert device.launches == [
        LaunchRecord("distance_sums", (2, 8, 1), (128, 1, 1), 4 * 8 * (512 + 32)),
    ]
