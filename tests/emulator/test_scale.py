"""scale.cu on the emulator == plain Python == the CPU engine: ranges, weights, copies, whatever the layout."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.moments import FeatureRange, Layout
from gpuseg.core.weights import WeightRange
from gpuseg.engines import launch
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.scale import centre, centre_on_device, scan, scan_on_device
from gpuseg.errors import ContractError
from tests.emulator.device import ORDERS, PROPS, LaunchRecord
from tests.strategies import KINDS, WEIGHTS, table, weight_array

# Borders of warps, tiles and blocks.
ROWS = [0, 1, 31, 32, 33, 64, 65, 257, 1000]
FEATURES = [1, 2, 3, 4, 5, 8, 9, 32, 33, 70]
# (warps, tile_values): the sizes in use, and sizes so small that every border is crossed.
SIZES = [(8, 2048), (1, 64), (2, 32)]
LAYOUTS = {
    "rows": np.ascontiguousarray,
    "features": np.asfortranarray,
    "every other row": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "backwards": lambda rows: np.ascontiguousarray(rows[::-1])[::-1],
}
# Values that a range or a copy gets wrong first.
ODD = [math.nan, math.inf, -math.inf, 0.0, -0.0, 2.0**-149, -(2.0**-149), 3.4028234663852886e38, 1 + 2.0**-23]


def values(kind, n, d, dtype, odd, seed):
    """A table; float64 ones have digits and magnitudes that float32 has not; odd values are strewn in."""
    rng = np.random.default_rng(seed)
    rows = table(kind, n, d, seed).astype(dtype)
    if dtype == np.float64:
        rows = rows * (1 + rng.random((n, d)) * 2.0**-30) * 2.0 ** rng.integers(-200, 200, d)
    if odd:
        strewn = [*ODD, -float(np.finfo(dtype).max)]
        rows = np.where(rng.random((n, d)) < 0.05, rng.choice(strewn, (n, d)).astype(dtype), rows)
    return rows


def of_the_oracle(rows, weights):
    """Range of each feature in plain Python."""
    counted = [True] * len(rows) if weights is None else [bool(np.float32(w) > 0) for w in weights]
    found = []
    for column in rows.T.tolist():
        seen = [x for x, counts in zip(column, counted, strict=True) if counts and not math.isnan(x)]
        bad = sum(not math.isfinite(x) for x in column)
        found.append((min(seen, default=math.inf), max(seen, default=-math.inf), bad))
    return found


def equal(a: FeatureRange, b: FeatureRange) -> bool:
    """Equal numbers of equal types; of two zeros either may be the minimum."""
    arrays = [(getattr(a, name), getattr(b, name)) for name in ("minimum", "maximum", "n_bad")]
    types = all(x.dtype == y.dtype and x.shape == y.shape for x, y in arrays)
    facts = (a.n_rows, a.weights) == (b.n_rows, b.weights) and repr(a.weights) == repr(b.weights)
    return types and facts and all(np.array_equal(x, y) for x, y in arrays)


def placed(device, source):
    by_feature = source.flags.f_contiguous
    return device.to_device(source.T if by_feature else np.ascontiguousarray(source)), not by_feature


@given(
    n=st.sampled_from(ROWS),
    d=st.sampled_from(FEATURES),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from([np.float32, np.float64]),
    odd=st.booleans(),
    weighting=st.sampled_from(WEIGHTS),
    layout=st.sampled_from(sorted(LAYOUTS)),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_scans(make_device, n, d, kind, dtype, odd, weighting, layout, sizes, order, seed):
    device = make_device(order, seed)
    rows = values(kind, n, d, dtype, odd, seed)
    weights = weight_array(weighting, n, seed)
    source = LAYOUTS[layout](rows)
    x, row_major = placed(device, source)
    w = None if weights is None else device.to_device(weights)
    copies = dtype == np.float32
    out = device.empty((d, n), np.float32) if copies else None
    warps, tile_values = sizes
    found = scan_on_device(device, x, w, out, row_major=row_major, warps=warps, tile_values=tile_values)
    ranges = zip(found.minimum.tolist(), found.maximum.tolist(), found.n_bad.tolist(), strict=True)
    assert list(ranges) == of_the_oracle(rows, weights)
    block = np.empty((d, n), np.float32) if copies else None
    assert equal(found, CpuEngine(2).scan(source, weights, block))
    if copies:
        assert device.to_host(out).tobytes() == block.tobytes() == np.ascontiguousarray(rows.T).tobytes()


@given(
    n=st.sampled_from(ROWS),
    d=st.sampled_from(FEATURES),
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from([np.float32, np.float64]),
    odd=st.booleans(),
    layout=st.sampled_from(sorted(LAYOUTS)),
    sizes=st.sampled_from(SIZES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_centring(make_device, n, d, kind, dtype, odd, layout, sizes, order, seed):
    device = make_device(order, seed)
    rows = values(kind, n, d, dtype, odd, seed)
    source = LAYOUTS[layout](rows)
    shift = np.random.default_rng(seed).normal(size=d) * (
        rows[0] if n and np.isfinite(rows[0]).all() else 1.0
    )
    shift[::3] = 0.0
    x, row_major = placed(device, source)
    out = device.empty((d, n), np.float32)
    warps, tile_values = sizes
    centre_on_device(
        device, x, device.to_device(shift), out, row_major=row_major, warps=warps, tile_values=tile_values
    )
    seen = CpuEngine(1).scan(source, None, None)
    layout_of = replace(Layout.plain(replace(seen, minimum=-np.ones(d), maximum=np.ones(d))), centre=shift)
    wanted = np.empty((d, n), np.float32)
    CpuEngine(2).centre(source, layout_of, wanted)
    found = device.to_host(out)
    assert np.array_equal(found, wanted, equal_nan=True)
    assert np.array_equal(np.signbit(found) | np.isnan(found), np.signbit(wanted) | np.isnan(wanted))
    with np.errstate(over="ignore", invalid="ignore"):
        exact = (rows.astype(np.float64) - shift).astype(np.float32)
    assert np.array_equal(found, exact.T, equal_nan=True)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighting", WEIGHTS)
def test_the_verbs_on_host_buffers(make_device, order, layout, weighting):
    rows = values("mixed", 700, 5, np.float32, False, 3)
    source, weights = LAYOUTS[layout](rows), weight_array(weighting, 700, 4)
    found, wanted = np.empty((5, 700), np.float32), np.empty((5, 700), np.float32)
    seen = scan(make_device(order), source, weights, found)
    assert equal(seen, CpuEngine(1).scan(source, weights, wanted))
    assert found.tobytes() == wanted.tobytes()
    assert equal(scan(make_device(order), source, weights, None), seen)
    centring = Layout.centring(seen, np.arange(5) * 0.1, np.array([True, False, True, True, False]))
    centre(make_device(order), source, centring, found)
    CpuEngine(1).centre(source, centring, wanted)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "odd",
    [
        [],
        [0.0],
        [-0.0, 0.0],
        [1e-60],
        [2.0**-150, 2.0**-149, 2.0**-150 * 1.5],
        [1e60, 3.0],
        [math.nan, math.inf, -math.inf, -1.0, -(2.0**-149)],
        [-1.0, math.nan],
        [1.7976931348623157e308],
        [2.0**31 - 1],
        [2.0**31],
        [0.5, 2.0],
        [2.0**31 - 0.5],
    ],
)
def test_facts_of_weights(make_device, order, odd):
    for n in (len(odd), 31 + len(odd), 600):
        weights = np.r_[odd, np.full(n - len(odd), 3.0)]
        weights = np.random.default_rng(1).permutation(weights)
        found = scan(make_device(order), np.ones((n, 1), np.float32), weights, None)
        assert repr(found.weights) == repr(WeightRange.of(weights, n)).replace("maximum=-0.0", "maximum=0.0")


def test_the_largest_weight_is_found_in_every_lane(make_device):
    for row in range(33):
        weights = np.ones(40)
        weights[row] = 2.0
        assert scan(make_device(), np.ones((40, 1)), weights, None).weights.maximum == 2.0


def test_weights_add_up_past_32_and_53_bits(make_device):
    weights = np.full(3000, 2.0**31 - 1)
    device = make_device()
    [facts] = {scan(device, np.ones((3000, 1)), weights, None).weights}
    assert facts.total == 3000 * (2**31 - 1)
    assert facts == WeightRange.of(weights, 3000)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weight", [0.0, 1e-60, -1.0, math.nan])
def test_rows_that_do_not_count_are_in_no_range(make_device, order, weight):
    rows = values("normal", 300, 3, np.float32, False, 9)
    weights = np.ones(300)
    weights[::7] = weight
    loud = rows.copy()
    loud[::7] = np.array([math.nan, math.inf, 3e38], np.float32)
    seen = scan(make_device(order), loud, weights, None)
    assert seen.n_bad.tolist() == [43, 43, 0]
    assert seen.minimum.tolist() == rows[weights == 1].min(axis=0).tolist()
    assert seen.maximum.tolist() == rows[weights == 1].max(axis=0).tolist()


def test_more_partials_than_the_merge_has_threads(make_device):
    for order in ORDERS:
        device = make_device(order, props=replace(PROPS, multiprocessors=40))
        rows = values("normal", 32 * 300, 2, np.float32, True, 4)
        x = device.to_device(rows)
        found = scan_on_device(device, x, None, None, row_major=True, warps=1, tile_values=64)
        assert device.launches[0].grid == (300, 1, 1)
        assert equal(found, CpuEngine(1).scan(rows, None, None))


def test_more_tiles_of_features_than_the_grid_takes(make_device, monkeypatch):
    monkeypatch.setattr(launch, "MAX_GRID_Y", 2)
    rows = values("normal", 100, 23, np.float32, False, 4)
    device = make_device()
    x, shift = device.to_device(rows), device.to_device(np.zeros(23))
    found = scan_on_device(device, x, None, None, row_major=True, warps=1)
    assert device.launches[0].grid == (1, 2, 1)
    assert equal(found, CpuEngine(1).scan(rows, None, None))
    out = device.empty((23, 100), np.float32)
    centre_on_device(device, x, shift, out, row_major=True, warps=1)
    assert device.to_host(out).tobytes() == np.ascontiguousarray(rows.T).tobytes()


def test_no_features(make_device):
    source = np.empty((4, 0), np.float32)
    assert equal(scan(make_device(), source, None, None), CpuEngine(1).scan(source, None, None))


def test_what_does_not_fit_is_refused(make_device):
    device = make_device()
    rows = np.ones((4, 2), np.float32)
    with pytest.raises(ContractError, match="3 weights do not fit a block of 4 rows"):
        scan(device, rows, np.ones(3), None)
    with pytest.raises(ContractError, match="weights is float32, its kernel reads float64"):
        scan(device, rows, np.ones(4, np.float32), None)
    with pytest.raises(ContractError, match="the table is int64"):
        scan(device, np.ones((4, 2), np.int64), None, None)
    with pytest.raises(
        ContractError, match=r"a scan copies float32 values, the table is float64; copy it with centre"
    ):
        scan(device, rows.astype(np.float64), None, np.empty((2, 4), np.float32))
    seen = CpuEngine(1).scan(rows, None, None)
    for out in (np.empty((4, 2), np.float32), np.empty((2, 4))):
        with pytest.raises(ContractError, match="does not fit a table of 4 rows and 2 features"):
            centre(device, rows, Layout.plain(seen), out)
        with pytest.raises(ContractError, match="does not fit a table of 4 rows and 2 features"):
            scan(device, rows, None, out)
    assert not device.launches


def test_launches_fit_the_table(make_device):
    device = make_device()
    seen = scan(device, np.ones((5000, 8), np.float32), np.ones(5000), None)
    centre(
        device,
        np.ones((5000, 40)),
        Layout.plain(CpuEngine(1).scan(np.ones((9, 40)), None, None)),
        np.empty((40, 5000), np.float32),
    )
    scan(device, np.asfortranarray(np.ones((5000, 1))), None, None)
    assert seen.n_rows == 5000
    assert device.launches == [
        LaunchRecord("scan_rows<float, true>", (8, 1, 1), (256, 1, 1), 4 * 8 * (256 + 4) + 256),
        LaunchRecord("range_merge", (8, 1, 1), (32, 1, 1), 0),
        LaunchRecord("weigh_rows", (8, 1, 1), (256, 1, 1), 512),
        LaunchRecord("centre_rows<double, true>", (8, 2, 1), (256, 1, 1), 8 * 32 * (64 + 1)),
        LaunchRecord("scan_rows<double, true>", (3, 1, 1), (256, 1, 1), 8 * (2048 + 16) + 2048),
        LaunchRecord("range_merge", (1, 1, 1), (32, 1, 1), 0),
    ]
