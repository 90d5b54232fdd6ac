"""The whole engine on the emulator == the CPU engine, verb by verb, in tiles, and on a device short of memory."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.moments import FeatureRange, Layout, Scales
from gpuseg.core.overindex import CategoryCounts, TraitTerms
from gpuseg.core.oversampling import Round
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines.base import METRICS, AssignState, ClusteredRows, Engine
from gpuseg.engines.choose import say_once
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device.engine import DeviceEngine
from gpuseg.engines.device.tiles import TILE_BYTES, plan_tile_bytes, plan_tile_rows, run_tiles
from gpuseg.errors import ContractError, DeviceMemoryError, RangeError
from tests.emulator.device import ORDERS, PROPS
from tests.strategies import KINDS, WEIGHTS, centres, same, table, weight_array

CPU = CpuEngine(n_jobs=1)
TILES = [1, 3000, 1 << 20]
"""Bytes a tile: one warp of rows, a few warps, everything at once."""

cases = given(
    n=st.sampled_from([0, 1, 31, 33, 100, 203]),
    d=st.sampled_from([1, 4]),
    kind=st.sampled_from(KINDS),
    weighting=st.sampled_from(WEIGHTS),
    tile_bytes=st.sampled_from(TILES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)


@pytest.fixture(scope="session")
def make_engine(make_device):
    def make(tile_bytes=3000, order="forward", seed=0, **options):
        return DeviceEngine(make_device(order, seed, **options), name="emulated", tile_bytes=tile_bytes)

    return make


class Part:
    """A partition of n rows of a data set that has one more."""

    def __init__(self, kind, weighting, n, d, seed):
        rows = table(kind, n + 1, d, seed)
        given_weights = weight_array(weighting, n + 1, seed + 1)
        seen = CPU.scan(rows, given_weights, None)
        self.layout = Layout.plain(seen)
        self.scales = self.layout.scales
        self.rows = rows[:n]
        self.raw = None if given_weights is None else given_weights[:n]
        self.weights = Weights.of(self.raw, self.scales.mode)
        self.block = np.ascontiguousarray(self.rows.T)


def test_it_is_an_engine(make_engine):
    engine = make_engine()
    assert isinstance(engine, Engine)
    assert engine.name == "emulated"
    assert repr(engine) == "DeviceEngine('emulated', name='emulated')"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@cases
def test_scan_and_centre(make_engine, dtype, n, d, kind, weighting, tile_bytes, order, seed):
    part, engine = Part(kind, weighting, n, d, seed), make_engine(tile_bytes, order, seed)
    source = part.rows.astype(dtype)
    centre = part.rows.astype(np.float64).mean(axis=0) if n else np.zeros(d)
    layout = replace(part.layout, centre=centre, centred=np.ones(d, np.bool_))
    for rows in (source, np.asfortranarray(source)):
        wanted, found = np.full((d, n), np.nan, np.float32), np.full((d, n), np.nan, np.float32)
        copied = dtype == np.float32
        seen = engine.scan(rows, part.raw, found if copied else None)
        assert same(seen, CPU.scan(rows, part.raw, wanted if copied else None))
        assert found.tobytes() == wanted.tobytes()
        engine.centre(rows, layout, found)
        CPU.centre(rows, layout, wanted)
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@cases
def test_moments(make_engine, dtype, n, d, kind, weighting, tile_bytes, order, seed):
    part, engine = Part(kind, weighting, n, d, seed), make_engine(tile_bytes, order, seed)
    source = part.rows.astype(dtype)
    wanted = CPU.moments(source, part.weights, part.scales)
    for rows in (source, np.asfortranarray(source)):
        assert same(engine.moments(rows, part.weights, part.scales), wanted)


@cases
def test_label_moments(make_engine, n, d, kind, weighting, tile_bytes, order, seed):
    del weighting
    part, engine = Part(kind, "none", n, d, seed), make_engine(tile_bytes, order, seed)
    labels = [np.random.default_rng(seed).integers(0, 3, n).astype(dtype) for dtype in (np.int32, np.uint8)]
    found = engine.label_moments(part.block, labels, [4, 3], part.scales)
    wanted = CPU.label_moments(part.block, labels, [4, 3], part.scales)
    assert [len(model) for model in found] == [4, 3]
    assert all(same(a, b) for x, y in zip(found, wanted, strict=True) for a, b in zip(x, y, strict=True))


@cases
def test_assign_pass_after_pass(make_engine, n, d, kind, weighting, tile_bytes, order, seed):
    """Two models; a fresh pass, a pass over what is remembered, one without sums, one with distances."""
    part, engine = Part(kind, weighting, n, d, seed), make_engine(tile_bytes, order, seed)
    ours = [AssignState.fresh(n, 3), AssignState.fresh(n, 4)]
    theirs = [AssignState.fresh(n, 3), AssignState.fresh(n, 4)]
    for turn, options in enumerate([{}, {}, {"inertia": True}, {"sums": False}, {"inertia": True}]):
        models = [centres(part.rows, 3, seed + turn), centres(part.rows, 4, seed + 9 + turn)]
        found = engine.assign(part.block, part.weights, models, ours, part.scales, **options)
        wanted = CPU.assign(part.block, part.weights, models, theirs, part.scales, **options)
        for a, b, x, y in zip(found, wanted, ours, theirs, strict=True):
            assert same(a, b)
            assert same(x, y)
    near, expected = np.full(n, np.nan, np.float32), np.full(n, np.nan, np.float32)
    engine.assign(part.block, part.weights, models[:1], ours[:1], part.scales, distance=near)
    CPU.assign(part.block, part.weights, models[:1], theirs[:1], part.scales, distance=expected)
    assert near.tobytes() == expected.tobytes()
    assert same(ours[0], theirs[0])


@cases
def test_seeding(make_engine, n, d, kind, weighting, tile_bytes, order, seed):
    part, engine = Part(kind, weighting, n, d, seed), make_engine(tile_bytes, order, seed)
    few = centres(part.rows, 3, seed)
    closest = np.empty(n, np.float32)
    CPU.distances(part.block, few[:1], closest.reshape(1, n), metric="sqeuclidean")
    largest = float(closest.max()) if n else 1.0
    exponent = int(20 - np.ceil(np.log2(largest or 1.0)))
    assert same(
        engine.potentials(closest, part.weights, exponent), CPU.potentials(closest, part.weights, exponent)
    )
    found, wanted = np.full((3, n), np.nan, np.float32), np.full((3, n), np.nan, np.float32)
    potentials = engine.seed_step(part.block, part.weights, closest, few, exponent, found)
    assert same(potentials, CPU.seed_step(part.block, part.weights, closest, few, exponent, wanted))
    assert found.tobytes() == wanted.tobytes()


@cases
def test_rows_that_are_drawn(make_engine, n, d, kind, weighting, tile_bytes, order, seed):
    """The sample; two rounds of k-means||, in which a tile keeps more than the block does."""
    part, engine = Part(kind, weighting, n, d, seed), make_engine(tile_bytes, order, seed)
    identity = np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)
    for threshold in (2**62, 2**64 - 1):
        found = engine.sample_rows(identity, part.weights, seed, threshold)
        assert same(found, CPU.sample_rows(identity, part.weights, seed, threshold))
    near, expected = np.full(n, np.inf, np.float32), np.full(n, np.inf, np.float32)
    for number, points in enumerate((centres(part.rows, 1, seed), centres(part.rows, 9, seed + 1))):
        some, drawing = (part.block, part.weights), Round(seed, number, 20.0)
        found = engine.oversample(*some, near, points, identity, drawing)
        assert same(found, CPU.oversample(*some, expected, points, identity, drawing))
        assert near.tobytes() == expected.tobytes()


@cases
def test_distances(make_engine, n, d, kind, weighting, tile_bytes, order, seed):
    del weighting
    part, engine = Part(kind, "none", n, d, seed), make_engine(tile_bytes, order, seed)
    few = centres(part.rows, 3, seed)
    for metric in METRICS:
        found, wanted = np.full((3, n), np.nan, np.float32), np.full((3, n), np.nan, np.float32)
        engine.distances(part.block, few, found, metric=metric)
        CPU.distances(part.block, few, wanted, metric=metric)
        assert found.tobytes() == wanted.tobytes()


@cases
def test_silhouettes(make_engine, n, d, kind, weighting, tile_bytes, order, seed):
    del weighting
    part, engine = Part(kind, "none", n, d, seed), make_engine(tile_bytes, order, seed)
    rng = np.random.default_rng(seed)
    starts = np.r_[0, np.sort(rng.integers(0, n + 1, 3)), n].astype(np.int64)
    exponent = int(30 - np.ceil(np.log2(2.0 * np.sqrt(d) * float(part.layout.max_abs.max()) or 1.0)))
    wanted = rng.integers(-5, 5, (n, 4))
    found = wanted.copy()
    others = ClusteredRows(part.block, starts)
    for rows in (part.block, part.block[:, : n // 2]):  # the second time they may be there already
        engine.silhouette_sums(rows, others, exponent, found[: rows.shape[1]])
        CPU.silhouette_sums(np.ascontiguousarray(rows), others, exponent, wanted[: rows.shape[1]])
        assert np.array_equal(found, wanted)

    few = [ClusterShape(centres(part.rows, k, seed), rng.random(k), rng.integers(1, 9, k)) for k in (3, 300)]
    for labelling in (False, True):
        labels = [rng.integers(0, 3, n).astype(dtype) for dtype in (np.uint8, np.int32)]
        copies = [given.copy() for given in labels]
        values, expected = ([np.full(n, np.nan) for _ in few] for _ in range(2))
        totals = engine.square_silhouettes(part.block, labels, few, values, labelling=labelling)
        assert totals == CPU.square_silhouettes(part.block, copies, few, expected, labelling=labelling)
        assert engine.square_silhouettes(part.block, labels, few, labelling=labelling) == totals
        for a, b in zip((*values, *labels), (*expected, *copies), strict=True):
            assert a.tobytes() == b.tobytes()


@given(
    m=st.sampled_from([0, 1, 40, 301]),
    tile_bytes=st.sampled_from(TILES),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32),
)
def test_records(make_engine, m, tile_bytes, order, seed):
    engine, rng = make_engine(tile_bytes, order, seed), np.random.default_rng(seed)
    n, periods = 50, 70
    customer, period = rng.integers(0, n, m), rng.integers(0, periods, m).astype(np.int32)
    amount = rng.integers(-(2**40), 2**40, m)
    tables = []
    for one in (engine, CPU):
        bits, first = np.zeros((n, 2), np.uint64), np.empty(n, np.int32)
        bits[0, 0] = 5
        one.bitmaps(customer, period, bits)
        one.first_periods(bits, first)
        counts, money = np.ones((periods, periods), np.int64), np.ones((periods, periods), np.int64)
        one.triangle(bits, first, counts)
        later = np.where(np.arange(n) % 3 == 0, first + 1, first).astype(np.int32)
        outside = one.revenue(customer, period, amount, np.minimum(later, periods - 1), money)
        sums = np.ones((n, periods), np.int64)
        one.category_sums(customer, period, amount, sums)
        tables.append((bits, first, counts, outside, money, sums))
    for found, wanted in zip(*tables, strict=True):
        assert same(found, wanted)


def test_records_that_cannot_be(make_engine):
    engine = make_engine()
    bits = np.zeros((3, 1), np.uint64)
    with pytest.raises(RangeError, match="unequal length"):
        engine.bitmaps(np.zeros(2, np.int64), np.zeros(3, np.int32), bits)
    with pytest.raises(RangeError, match="outside the buffer"):
        engine.bitmaps(np.array([3]), np.zeros(1, np.int32), bits)


@pytest.mark.parametrize("tile_bytes", TILES)
@pytest.mark.parametrize("row", [0, 31, 500, 999])
def test_the_record_that_is_refused_is_named_by_its_number(make_engine, tile_bytes, row):
    customer, period, amount = np.zeros(1000, np.int64), np.zeros(1000, np.int32), np.zeros(1000, np.int64)
    first, bits = np.zeros(1000, np.int32), np.zeros((1000, 1), np.uint64)
    customer[row], first[row] = 1000, 1
    amount[row:] = 2**63 - 1
    refused = {
        "bitmaps": (customer, period, bits),
        "triangle": (bits, first, np.zeros((1, 1), np.int64)),
        "revenue": (
            np.zeros(1000, np.int64),
            period,
            amount,
            np.zeros(1, np.int32),
            np.ones((1, 1), np.int64),
        ),
        "category_sums": (customer, period, amount, np.zeros((1000, 1), np.int64)),
    }
    for verb, arguments in refused.items():
        said = []
        for engine in (make_engine(tile_bytes), CPU):
            with pytest.raises(RangeError, match=f"record {row}[ ;]") as caught:
                getattr(engine, verb)(*(each.copy() for each in arguments))
            said.append(str(caught.value))
        assert said[0] == said[1]


# --- tiles


def uploaded(device, name):
    """How often the device's method was called, from now on."""
    calls, before = [], getattr(device, name)

    def count(*arguments):
        calls.append(arguments)
        return before(*arguments)

    setattr(device, name, count)
    return calls


def test_a_tile_travels_once_and_beside_the_work(make_device):
    device = make_device()
    engine = DeviceEngine(device, tile_bytes=32 * 12)
    part = Part("normal", "none", 100, 3, 1)
    plain, staged = uploaded(device, "to_device"), uploaded(device, "upload")
    wanted = CPU.moments(part.rows, part.weights, part.scales)
    assert same(engine.moments(part.rows, part.weights, part.scales), wanted)
    assert [source.shape for source, *_ in staged] == [(3, 32), (3, 32), (3, 32), (3, 4)]
    # What else goes up is small: scales and the weights that are none.
    assert max(array.size for (array,) in plain) <= 3


@pytest.mark.parametrize("seed", range(5))
def test_late_streams_change_nothing(make_engine, seed):
    """A copy that nobody waited for, or a buffer filled again too early, would show in some order."""
    engine = make_engine(32 * 12, seed=seed, deferred=True)
    part = Part("normal", "real", 300, 3, seed)
    wanted = CPU.moments(part.rows, part.weights, part.scales)
    assert same(engine.moments(part.rows, part.weights, part.scales), wanted)


def test_plans():
    assert plan_tile_bytes(PROPS) == PROPS.total_memory // 16
    assert plan_tile_bytes(replace(PROPS, total_memory=80 << 30)) == TILE_BYTES
    assert plan_tile_bytes(PROPS, 7) == 7
    assert plan_tile_rows(8, 8 * 95) == 64
    assert plan_tile_rows(8, 1) == 32
    assert plan_tile_rows(0, 320) == 320


# --- a full device


def test_a_full_device_gets_smaller_tiles_and_goes_on(make_device, caplog):
    part = Part("normal", "real", 4000, 3, 1)
    wanted = CPU.moments(part.rows, part.weights, part.scales)
    device = make_device(props=replace(PROPS, total_memory=40_000))
    engine = DeviceEngine(device, tile_bytes=1 << 20)
    with caplog.at_level(logging.INFO, "gpuseg.engines"):
        assert same(engine.moments(part.rows, part.weights, part.scales), wanted)
    assert "short of memory: tiles of 1984 rows from row 0 on" in caplog.text
    assert device.releases == caplog.text.count("short of memory") > 1
    assert device.memory.peak <= 40_000
    assert device.memory.used == 0


def test_work_goes_on_where_it_stopped(make_device):
    device = make_device()
    taken = []

    def work(device, start, stop, arrays):
        del device
        if not failures and start >= 64:
            failures.append(start)
            raise DeviceMemoryError("full")
        taken.append((start, stop))
        return arrays[0].copy()

    failures = []
    values = np.arange(200.0)
    found = run_tiles(device, 200, 8, lambda a, b: [values[a:b]], work, tile_bytes=64 * 8)
    assert failures == [64]
    assert taken == [(0, 64), (64, 96), (96, 128), (128, 160), (160, 192), (192, 200)]
    assert np.array_equal(np.concatenate(found), values)


def test_too_small_a_device_says_so_and_keeps_nothing(make_device):
    device = make_device(props=replace(PROPS, total_memory=1000))
    part = Part("normal", "none", 500, 3, 1)
    with pytest.raises(DeviceMemoryError, match=r"a tile has 32 rows already: use engine='cpu'"):
        DeviceEngine(device).moments(part.rows, part.weights, part.scales)
    assert device.memory.used == 0


def test_an_error_keeps_no_memory(make_device):
    device = make_device()
    part = Part("normal", "none", 500, 3, 1)
    spoilt = part.rows.copy()
    spoilt[400, 1] = np.nan
    with pytest.raises(ContractError, match="does not fit its fixed-point scale"):
        DeviceEngine(device, tile_bytes=32 * 12).moments(spoilt, part.weights, part.scales)
    assert device.memory.peak > 0
    assert device.memory.used == 0


def test_a_failed_pass_forgets_the_sums(make_device):
    """Labels of the tiles that were done are new, so what was remembered must not be built on."""
    part = Part("normal", "none", 100, 3, 1)
    engine = DeviceEngine(make_device(), tile_bytes=32 * 12)
    state = AssignState.fresh(100, 3)
    few = centres(part.rows, 3, 1)
    engine.assign(part.block, part.weights, [few], [state], part.scales)
    assert state.sums is not None
    spoilt = part.block.copy()
    spoilt[0, 70] = np.nan
    try:
        engine.assign(spoilt, part.weights, [few + 1], [state], part.scales)
    except ContractError:
        assert state.sums is None
    again = engine.assign(part.block, part.weights, [few], [AssignState.fresh(100, 3)], part.scales)
    assert same(again[0].sums, CPU.assign(
        part.block, part.weights, [few], [AssignState.fresh(100, 3)], part.scales
    )[0].sums)  # fmt: skip


def test_what_does_not_fit_together_is_refused(make_engine):
    engine, part = make_engine(), Part("normal", "integer", 50, 2, 1)
    scales = Scales(WeightMode.REAL, part.scales.exponent, part.scales.square_exponent)
    few = centres(part.rows, 2, 1)
    with pytest.raises(ContractError, match="do not fit scales of mode REAL"):
        engine.moments(part.rows, part.weights, scales)
    with pytest.raises(ContractError, match="50 weights do not fit a block of 40 rows"):
        engine.moments(part.rows[:40], part.weights, part.scales)
    with pytest.raises(ContractError, match="do not fit a block of 50 rows"):
        engine.assign(part.block, part.weights, [few], [AssignState.fresh(49, 2)], part.scales)


def test_facts_of_weights_merge_over_tiles(make_engine):
    rows, weights = table("normal", 100, 2, 1), weight_array("zeros", 100, 2)
    weights[77] = -1.0
    seen = make_engine(1).scan(rows, weights, None)
    assert isinstance(seen, FeatureRange)
    assert seen.weights == WeightRange.of(weights, 100)


def test_bad_input_corrupts_nothing_and_keeps_no_memory(make_device):
    device, part = make_device(), Part("normal", "none", 90, 2, 1)
    engine = DeviceEngine(device, tile_bytes=32 * 8)
    few, wide = centres(part.rows, 3, 1), centres(np.zeros((1, 3), np.float32), 2, 1)
    state = AssignState.fresh(90, 3)
    engine.assign(part.block, part.weights, [few], [state], part.scales)
    labels = state.labels.copy()
    for bad in (np.zeros((0, 2), np.float32), wide):
        for labels_too in (True, False):
            with pytest.raises(ContractError):
                engine.assign(part.block, part.weights, [bad], [state], part.scales, labels=labels_too)
    assert np.array_equal(state.labels, labels)
    with pytest.raises(ContractError, match="float64"):
        engine.distances(part.block.astype(np.float64), few, np.empty((3, 90), np.float32))
    assert device.memory.used == 0
    # A block of any strides gives the same.
    strided = np.zeros((2, 180), np.float32)[:, ::2]
    strided[...] = part.block
    found = engine.assign(strided, part.weights, [few], [AssignState.fresh(90, 3)], part.scales)
    wanted = CPU.assign(part.block, part.weights, [few], [AssignState.fresh(90, 3)], part.scales)
    assert same(found[0].sums, wanted[0].sums)


def test_many_features_and_clusters(make_device):
    """Beyond what a thread keeps of a row, and beyond what a block keeps of sums."""
    part = Part("normal", "real", 150, 70, 1)
    engine = DeviceEngine(make_device(), tile_bytes=64 * 280)
    few = centres(part.rows, 300, 1)
    ours, theirs = [AssignState.fresh(150, 300)], [AssignState.fresh(150, 300)]
    for labels in (False, False, True):
        few = few[::-1].copy()
        found = engine.assign(part.block, part.weights, [few], ours, part.scales, labels=labels, inertia=True)
        wanted = CPU.assign(part.block, part.weights, [few], theirs, part.scales, inertia=True)
        assert same(found[0], wanted[0])
    assert np.array_equal(ours[0].labels, theirs[0].labels)


def test_scores_from_over_indexing_come_from_the_host_and_it_says_so(make_engine, caplog):
    rng = np.random.default_rng(4)
    counts = CategoryCounts.of_table(rng.poisson(1.0, (70, 6)).astype(float))
    terms = TraitTerms.of(5.0, rng.random(6), rng.random(6), rng.random(6), rng.normal(size=(3, 6)))
    found, wanted = ((np.empty((3, 70)), np.empty(70), np.empty((3, 3, 70), np.int16)) for _ in range(2))
    say_once.cache_clear()
    with caplog.at_level(logging.INFO, "gpuseg.engines"):
        make_engine().trait_scores(counts, terms, *found)
    CPU.trait_scores(counts, terms, *wanted)
    assert all(map(np.array_equal, found, wanted))
    assert ["on the host" in message for message in caplog.messages] == [True]
