"""silhouette.cu on the emulator == the oracle in Python integers == the CPU engine, bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.silhouette import ClusterShape
from gpuseg.engines.base import ClusteredRows
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.engine import DeviceEngine
from gpuseg.engines.device.silhouette import (
    silhouette_sums_on_device,
    square_silhouettes,
    square_silhouettes_on_device,
)
from gpuseg.errors import ContractError
from tests.emulator.device import ORDERS, PROPS, LaunchRecord
from tests.oracle import floats
from tests.oracle import silhouette as oracle
from tests.strategies import KINDS, centres, same, table

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
    CpuEngine(n_jobs=2).silhouette_sums(x, ClusteredRows(y, starts), exponent, out)
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


def test_others_before_and_behind_all_clusters_count_nowhere(make_device):
    rows, starts = table("normal", 40, 3, 1), np.array([0, 5, 20, 33, 40])
    exponent = exponent_of(rows, rows)
    for sizes in SIZES:
        found = on_device(make_device(), rows, rows, starts[1:4].copy(), exponent, sizes)
        assert np.array_equal(found, on_cpu(rows, rows, starts, exponent)[:, 1:3])


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
    block, engine = np.ascontiguousarray(rows.T), DeviceEngine(make_device())
    out = np.full((100, 4), 5, np.int64)
    engine.silhouette_sums(block, ClusteredRows(block, starts), 40, out)
    whole = on_cpu(rows, rows, starts, 40)
    assert np.array_equal(out, whole + 5)
    for cut in (slice(0, 37), slice(37, 100)):
        part = np.clip(starts - cut.start, 0, cut.stop - cut.start)
        engine.silhouette_sums(block, ClusteredRows(np.ascontiguousarray(block[:, cut]), part), 40, out)
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
        DeviceEngine(make_device()).silhouette_sums(
            rows[:1].T.copy(), ClusteredRows(np.ascontiguousarray(rows.T), np.array([0, 2])), 0, out
        )
    assert out.tolist() == [[0]]


@pytest.mark.parametrize("engine", ["cpu", "device"])
def test_shapes_and_starts_that_do_not_fit_are_refused(make_device, engine):
    rows, others = np.zeros((2, 5), np.float32), np.zeros((2, 9), np.float32)
    one = CpuEngine(1) if engine == "cpu" else DeviceEngine(make_device())

    def sums(starts, shape, block=others):
        one.silhouette_sums(rows, ClusteredRows(block, np.array(starts)), 0, np.zeros(shape, np.int64))

    sums([0, 4, 9], (5, 2))
    for starts, shape in [([0, 9], (5, 2)), ([0, 4, 9], (2, 5)), ([0, 4, 9], (4, 2))]:
        with pytest.raises(ContractError, match="do not fit"):
            sums(starts, shape)
    with pytest.raises(ContractError, match="do not fit"):
        sums([0, 4, 9], (5, 2), np.zeros((3, 9), np.float32))
    for starts in ([-1, 4, 9], [0, 4, 10], [0, 5, 4], [2, 1, 9]):
        with pytest.raises(ContractError, match=r"must ascend within 0 \.\. 9"):
            sums(starts, (5, 2))


def test_launches_fit_the_rows_and_the_others(make_device):
    device = make_device(props=replace(PROPS, multiprocessors=2))
    rows, _, starts = clustered("normal", 1000, 8, 3, 1)
    on_device(device, rows, rows, starts, 30, {})
    assert device.launches == [
        LaunchRecord("distance_sums", (2, 8, 1), (128, 1, 1), 4 * 8 * (512 + 32)),
    ]


LABEL_TYPES = [np.uint8, np.uint16, np.int32]
# As above, less what is staged of others: one group of centres always is.
SQUARE_SIZES = [{name: v for name, v in sizes.items() if name != "columns"} for sizes in SIZES]


def labelled(kind, n, d, k, dtype, seed):
    """Rows, labels and the shape of k clusters: some empty, one of one row, spreads that may be 0."""
    rng = np.random.default_rng(seed)
    rows = table(kind, n, d, seed)
    labels = rng.choice(rng.permutation(k)[: max(2 * k // 3, 2)], n).astype(dtype)
    # Two clusters have rows whatever part of the data this is, and a lone row is alone in all of it.
    counts = np.bincount(labels, minlength=k) + (np.arange(k) < 2)
    spread = np.where(
        counts == 1, 0.0, rng.random(k) * float(np.square(rows, dtype=np.float64).max(initial=1.0))
    )
    return rows, labels, centres(rows, k, seed + 1), spread, counts


def squares_on_device(device, rows, labels, points, spread, counts, sizes):
    columns = (np.ascontiguousarray(rows.T), labels, np.ascontiguousarray(points.T), spread, counts)
    values, total = square_silhouettes_on_device(device, *map(device.to_device, columns), **sizes)
    return device.to_host(values), total


def labels_on_device(device, rows, dtype, points, spread, counts, sizes):
    """Labels, silhouettes and their sum, of rows that have no labels yet."""
    columns = (np.ascontiguousarray(rows.T), np.full(len(rows), 77, dtype), np.ascontiguousarray(points.T))
    x, labels, centres_, *shape = map(device.to_device, (*columns, spread, counts))
    values, total = square_silhouettes_on_device(device, x, labels, centres_, *shape, labelling=True, **sizes)
    return device.to_host(labels), device.to_host(values), total


@given(
    n=st.sampled_from([*ROWS, 511, 513]),
    d=st.integers(1, 6),
    k=st.integers(2, 20),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(LABEL_TYPES),
    sizes=st.sampled_from(SQUARE_SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_squared_silhouettes_equal_the_oracle_and_the_cpu_engine(
    make_device, n, d, k, kind, dtype, sizes, order, seed
):
    rows, labels, points, spread, counts = labelled(kind, n, d, k, dtype, seed)
    values, total = squares_on_device(make_device(order, seed), rows, labels, points, spread, counts, sizes)
    wanted, wanted_total = oracle.squared(rows, labels.tolist(), points, spread.tolist(), counts.tolist())
    assert values.tolist() == wanted
    assert total.to_ints() == [wanted_total]
    out = np.full(n, np.nan)
    block, shape = np.ascontiguousarray(rows.T), ClusterShape(points, spread, counts)
    assert CpuEngine(n_jobs=2).square_silhouettes(block, [labels], [shape], [out]) == [total]
    assert same(out, values)


@given(
    n=st.sampled_from([*ROWS, 511, 513]),
    d=st.integers(1, 6),
    k=st.integers(2, 20),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from(LABEL_TYPES),
    sizes=st.sampled_from(SQUARE_SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_labelling_equals_labels_first_and_silhouettes_after(
    make_device, n, d, k, kind, dtype, sizes, order, seed
):
    rows, _, points, spread, counts = labelled(kind, n, d, k, dtype, seed)
    device = make_device(order, seed)
    labels, values, total = labels_on_device(device, rows, dtype, points, spread, counts, sizes)
    assert labels.tolist() == oracle.nearest(rows, points)
    wanted, wanted_total = oracle.squared(rows, labels.tolist(), points, spread.tolist(), counts.tolist())
    assert values.tolist() == wanted
    assert total.to_ints() == [wanted_total]
    fresh, out = np.full(n, 77, dtype), np.full(n, np.nan)
    block, shape = np.ascontiguousarray(rows.T), ClusterShape(points, spread, counts)
    found = CpuEngine(n_jobs=2).square_silhouettes(block, [fresh], [shape], [out], labelling=True)
    assert found == [total]
    assert same(fresh, labels)
    assert same(out, values)


def test_a_row_at_no_finite_distance_is_the_first_clusters(make_device):
    # Chains that overflow to infinity are less than nothing: the first cluster, and a silhouette that is no number.
    rows, points = np.zeros((3, 1), np.float32), np.full((2, 1), 2.0**100, np.float32)
    device, counts = make_device(), np.array([1, 1])
    labels, values, _ = labels_on_device(device, rows, np.uint8, points, np.zeros(2), counts, {})
    assert labels.tolist() == [0, 0, 0]
    assert values.tolist() == [0.0] * 3
    fresh, shape = np.full(3, 7, np.uint8), ClusterShape(points, np.zeros(2), counts)
    CpuEngine(1).square_silhouettes(rows.T.copy(), [fresh], [shape], labelling=True)
    assert fresh.tolist() == [0, 0, 0]


@pytest.mark.parametrize("order", ORDERS)
def test_no_size_and_no_order_changes_a_squared_silhouette(make_device, order):
    rows, labels, points, spread, counts = labelled("offset", 1100, 4, 19, np.uint8, 6)
    block = np.ascontiguousarray(rows.T)
    out, again = np.full(1100, np.nan), np.full(1100, np.nan)
    shape = ClusterShape(points, spread, counts)
    [total] = CpuEngine(n_jobs=1).square_silhouettes(block, [labels], [shape], [out])
    assert square_silhouettes(make_device(order), block, [labels], [shape], [again]) == [total]
    assert same(again, out)
    assert square_silhouettes(make_device(order), block, [labels], [shape]) == [total]
    for sizes in SQUARE_SIZES:
        values, found = squares_on_device(make_device(order), rows, labels, points, spread, counts, sizes)
        assert found == total
        assert same(values, out)


@pytest.mark.parametrize("d", [24, 86, 200])
def test_features_of_squared_silhouettes_come_in_parts(make_device, d):
    rows, labels, points, spread, counts = labelled("normal", 70, d, 9, np.int32, d)
    wanted, total = oracle.squared(rows, labels.tolist(), points, spread.tolist(), counts.tolist())
    values, found = squares_on_device(
        make_device("reverse"), rows, labels, points, spread, counts, SQUARE_SIZES[0]
    )
    assert values.tolist() == wanted
    assert found.to_ints() == [total]


def test_rows_on_their_centres_are_0_and_rows_far_from_others_1(make_device):
    labels = np.arange(40, dtype=np.uint8) % 2
    rows = np.zeros((40, 1), np.float32)
    shape = np.zeros(2), np.array([20, 20])
    values, total = squares_on_device(make_device(), rows, labels, np.zeros((2, 1), np.float32), *shape, {})
    assert values.tolist() == [0.0] * 40
    assert total.to_ints() == [0]
    points = np.array([[0.0], [1.0]], np.float32)
    values, total = squares_on_device(make_device(), points[labels], labels, points, *shape, {})
    assert values.tolist() == [1.0] * 40
    assert total.to_ints() == [40 << 40]


def test_labels_and_shapes_of_squared_silhouettes_that_do_not_fit_are_refused(make_device):
    block, points = np.zeros((2, 9), np.float32), np.zeros((3, 2), np.float32)
    shape = np.ones(3), np.full(3, 3, np.int64)
    labels = np.arange(9, dtype=np.int32) % 3

    def run(labels=labels, points=points, spread=shape[0], counts=shape[1], n_out=9):
        one = ClusterShape(points, spread, counts)
        return square_silhouettes(make_device(), block, [labels], [one], [np.empty(n_out)])

    run()
    for wrong in (np.where(labels == 1, 3, labels), np.where(labels == 1, -1, labels)):
        with pytest.raises(ContractError, match=r"label is not one of 0 \.\. k - 1"):
            run(wrong.astype(np.int32))
    for wrong in (labels[:8], labels.astype(np.int64), labels.astype(np.float32)):
        with pytest.raises(ContractError, match="give each row a uint8"):
            run(wrong)
    for wrong in (
        {"points": points[:, :1]},
        {"spread": shape[0][:2]},
        {"counts": shape[1][:2]},
        {"n_out": 8},
    ):
        with pytest.raises(ContractError, match="do not fit a block"):
            run(**wrong)
    with pytest.raises(ContractError, match="only one cluster has rows"):
        run(counts=np.array([9, 0, 0]), labels=np.zeros(9, np.int32))
    with pytest.raises(ContractError, match="not finite"):
        run(spread=np.array([np.inf, 1.0, 1.0]))


def test_labels_and_results_are_left_alone_where_one_model_is_refused(make_device):
    block, labels, values = np.zeros((1, 9), np.float32), np.full(9, 7, np.uint8), np.full(9, 0.5)
    sound = ClusterShape(np.zeros((2, 1), np.float32), np.ones(2), np.array([4, 5]))
    wrong = replace(sound, spread=np.full(2, np.inf))
    for labelling in (True, False):
        with pytest.raises(ContractError):
            square_silhouettes(
                make_device(), block, [labels, labels], [sound, wrong], [values, values], labelling=labelling
            )
    assert labels.tolist() == [7] * 9
    assert values.tolist() == [0.5] * 9


def test_launches_of_squared_silhouettes_fit_the_rows(make_device):
    device = make_device()
    rows, labels, points, spread, counts = labelled("normal", 1000, 4, 3, np.uint8, 1)
    squares_on_device(device, rows, labels, points, spread, counts, {})
    assert device.launches == [
        LaunchRecord("square_silhouettes<unsigned char>", (2, 1, 1), (128, 1, 1), 4 * 4 * (512 + 8)),
        LaunchRecord("wide_merge", (1, 1, 1), (128, 1, 1), 512),
    ]
