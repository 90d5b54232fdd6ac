"""distance.cu on the emulator == the oracle == the CPU engine, bit for bit, in four metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines import launch
from gpuseg.engines.base import METRICS
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.distance import Tile, distances, distances_on_device, plan_pairs, plan_tile
from gpuseg.errors import ContractError
from tests.emulator.device import ORDERS, PROPS, LaunchRecord
from tests.oracle import distances as oracle
from tests.oracle import floats
from tests.strategies import KINDS, centres, same, table

# The sizes in use, and sizes so small that tiles of rows, groups of points and parts of features all have borders.
SIZES = [
    {},
    {"threads": 32, "rows": 1, "points_at_once": 4, "features": 2},
    {"threads": 32, "rows": 3, "points_at_once": 4},
    {"threads": 64, "rows": 2, "points_at_once": 16, "features": 3},
]
# Borders of warps and of tiles of 32, 64, 96, 128 and 256 rows; from 257 and 769 on small tiles go round the grid.
ROWS = [0, 1, 31, 32, 33, 63, 64, 65, 95, 97, 127, 129, 255, 256, 257, 800]


def on_device(device, metric, rows, points, sizes):
    x, y = (device.to_device(np.ascontiguousarray(part.T)) for part in (rows, points))
    return device.to_host(distances_on_device(device, x, y, metric=metric, **sizes))


def on_cpu(metric, rows, points):
    out = np.full((len(points), len(rows)), np.nan, np.float32)
    CpuEngine(n_jobs=2).distances(np.ascontiguousarray(rows.T), points, out, metric=metric)
    return out


@given(
    n=st.sampled_from(ROWS),
    d=st.integers(1, 9),
    k=st.integers(1, 40),
    kind=st.sampled_from(KINDS),
    metric=st.sampled_from(METRICS),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_equals_the_oracle_and_the_cpu_engine(make_device, n, d, k, kind, metric, sizes, order, seed):
    rows = table(kind, n, d, seed)
    points = centres(rows, k, seed + 1)
    points[0] = 0.0
    found = on_device(make_device(order, seed), metric, rows, points, sizes)
    assert same(found, oracle.table(metric, rows, points))
    assert same(found, on_cpu(metric, rows, points))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("metric", METRICS)
def test_no_size_and_no_order_changes_a_bit(make_device, metric, order):
    rows = table("mixed", 300, 7, 5)
    points = centres(rows, 37, 6)
    wanted = oracle.table(metric, rows, points)
    for sizes in SIZES:
        assert same(on_device(make_device(order), metric, rows, points, sizes), wanted)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [45, 46, 86, 154, 200])
def test_features_beyond_a_tile_come_in_parts(make_device, metric, d):
    rows = table("normal", 70, d, d)
    points = centres(rows, 18, d + 1)
    assert same(on_device(make_device("reverse"), metric, rows, points, {}), on_cpu(metric, rows, points))


@pytest.mark.parametrize("metric", METRICS)
def test_a_host_block_and_hostile_values(make_device, metric):
    # Subnormal squares, ties, offsets of 1e5, duplicates and rows without a direction, in one table.
    parts = [table(kind, 40, 3, 9) for kind in ("subnormal", "ties", "offset", "duplicates", "huge")]
    rows = np.concatenate([*parts, np.zeros((3, 3), np.float32)])
    points = np.concatenate([part[:2] for part in parts] + [rows[-1:], -rows[50:51]])
    out = np.full((len(points), len(rows)), np.nan, np.float32)
    distances(make_device("random", 3), np.ascontiguousarray(rows.T), points, out, metric=metric)
    assert same(out, oracle.table(metric, rows, points))


def test_one_chain_is_fused_steps_in_feature_order(make_device):
    rows = np.array([[2.0**12, 1.0, 1.0], [2.0**-13, 1.0 + 2.0**-12, 0.0]], np.float32)
    found = on_device(make_device(), "sqeuclidean", rows, np.zeros((1, 3), np.float32), {})
    assert found[0, 0] == 2.0**24  # 2**24 + 1 is a tie, twice; the other order gives 2**24 + 2
    assert (
        found[0, 1] == 1.0 + 2.0**-11 + 2.0**-23
    )  # a product rounded by itself would lose its last bit, a tie


@pytest.mark.parametrize("metric", METRICS)
def test_values_that_are_not_finite_go_where_the_cpu_engine_has_them(make_device, metric):
    rows = np.array([[np.inf, 1.0], [1.0, 2.0], [np.nan, 1.0], [3e38, -np.inf], [3e38, 3e38]], np.float32)
    found, wanted = np.zeros((5, 5), np.float32), np.ones((5, 5), np.float32)
    with np.errstate(all="ignore"):
        distances(make_device(), np.ascontiguousarray(rows.T), rows, found, metric=metric)
        CpuEngine(1).distances(np.ascontiguousarray(rows.T), rows, wanted, metric=metric)
    assert np.array_equal(found, wanted, equal_nan=True)
    assert np.isnan(wanted[0, 0])


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_is_at_no_distance_from_itself_in_any_metric(make_device, metric):
    rows = table("normal", 50, 4, 2)
    found = on_device(make_device(), metric, rows, rows, {})
    nothing = 2.0**-22 if metric == "cosine" else 0.0
    assert (np.diag(found) <= nothing).all()
    assert (np.diag(found) >= 0.0).all()
    assert same(found, np.ascontiguousarray(found.T))


def test_opposite_directions_are_2_apart_at_most(make_device):
    rows = table("normal", 100, 60, 2)
    units = oracle.unit(rows)
    dots = np.zeros(100, np.float32)
    for f in range(60):
        dots = floats.fma32(units[:, f], units[:, f], dots)
    assert (np.float32(1) + dots).max() > 2.0  # rounding makes some longer than 1
    found = np.diag(on_device(make_device(), "cosine", rows, -rows, {}))
    assert found.max() == 2.0


def test_points_beyond_the_grid_are_gone_round_to(make_device, monkeypatch):
    rows = table("normal", 40, 2, 1)
    points = centres(rows, 33, 2)
    monkeypatch.setattr("gpuseg.engines.device.distance.MAX_GRID_Y", 2)
    device = make_device(props=replace(PROPS, multiprocessors=8))
    found = on_device(device, "manhattan", rows, points, SIZES[1])
    assert device.launches[0].grid == (2, 2, 1)
    assert same(found, oracle.table("manhattan", rows, points))


def test_lengths_of_many_points_go_round_the_grid(make_device):
    rows, points = table("normal", 3, 2, 1), table("offset", 2100, 2, 2)
    device = make_device()
    found = on_device(device, "cosine", rows, points, {})
    assert device.launches[0].grid == (8, 1, 1)  # 1024 threads for 2100 points
    assert same(found, oracle.table("cosine", rows, points))


def test_launches_fit_the_rows_and_the_points(make_device):
    device = make_device()
    rows = table("normal", 1000, 8, 1)
    on_device(device, "cosine", rows, rows[:20], {})
    assert device.launches == [
        LaunchRecord("unit_vectors", (1, 1, 1), (128, 1, 1), 0),
        LaunchRecord("pair_distances<COSINE>", (4, 1, 1), (128, 1, 1), 4 * 8 * (256 + 16)),
    ]


def test_a_tile_holds_all_features_where_it_can():
    def tile(d, **fixed):
        return plan_tile(d, PROPS, rows=2, points=16, columns=32, **fixed)

    assert tile(8) == Tile(128, 2, 8, 32)
    assert tile(64) == Tile(64, 2, 64, 32)
    assert tile(128) == Tile(32, 2, 128, 32)
    assert tile(129) == Tile(64, 2, 85, 16)
    assert tile(9, threads=32, features=4) == Tile(32, 2, 4, 16)
    for d in range(1, 400):
        assert tile(d).nbytes <= PROPS.max_shared
    with pytest.raises(ValueError, match="take fewer whole warps"):
        tile(9, threads=33, features=4)


def test_few_rows_share_their_points_among_blocks():
    tile = Tile(128, 2, 8, 16)
    big = replace(PROPS, multiprocessors=100)
    assert plan_pairs(0, 0, tile, big).grid == (1, 1, 1)
    assert plan_pairs(256, 150, tile, big).grid == (1, 150, 1)
    assert plan_pairs(256, 500, tile, big).grid == (1, 200, 1)
    assert plan_pairs(2560, 500, tile, big).grid == (10, 20, 1)
    assert plan_pairs(2560, 500, tile, big, enough=8).grid == (10, 80, 1)
    assert plan_pairs(256 * 200, 500, tile, big).grid == (200, 1, 1)
    assert plan_pairs(10**9, 500, tile, big).grid == (launch.BLOCKS_PER_MULTIPROCESSOR * 100, 1, 1)


def test_shapes_and_metrics_that_do_not_fit_are_refused(make_device):
    block, points = np.zeros((3, 20), np.float32), np.zeros((2, 3), np.float32)
    with pytest.raises(ContractError, match="'chebyshev' is not known"):
        distances(make_device(), block, points, np.empty((2, 20), np.float32), metric="chebyshev")
    with pytest.raises(ContractError, match="do not fit"):
        distances(make_device(), block, points, np.empty((2, 21), np.float32))
    with pytest.raises(ContractError, match="block is float64, its kernel reads float32"):
        distances(make_device(), block.astype(np.float64), points, np.empty((2, 20), np.float32))


def test_blocks_of_any_strides_are_taken(make_device):
    rows = table("normal", 40, 3, 7)
    points = centres(rows, 5, 8)
    out = np.empty((5, 80), np.float32)[:, ::2]
    distances(make_device(), rows.T, np.asfortranarray(points), out)
    assert same(np.ascontiguousarray(out), oracle.table("euclidean", rows, points))
