"""assign*.cu on the emulator == the oracle in Python integers == the CPU engine: labels, limbs, bins, pass by pass."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines.base import AssignState, label_dtype
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.device import assign_launch
from gpuseg.engines.device.assign import assign, assign_on_device
from gpuseg.engines.device.assign_plan import (
    WANT_INERTIA,
    WANT_SUMS,
    AssignSizes,
    Staged,
    Want,
    plan_staged,
)
from gpuseg.engines.device.memo import AssignMemo
from gpuseg.engines.launch import read_kernel_file
from gpuseg.errors import ContractError
from tests.emulator.device import ORDERS, PROPS, LaunchRecord
from tests.oracle import floats, sums
from tests.oracle import lloyd as oracle
from tests.strategies import KINDS, WEIGHTS, centres, same, table, weight_array

# Borders of warps, blocks and tiles of rows (four rows a thread).
ROWS = [0, 1, 31, 32, 33, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025]
# The sizes in use, and sizes so small that every border is crossed; rows in registers, in shared memory, and in tiles.
FUSED = AssignSizes()
FUSED_SMALL = AssignSizes(threads=32, values=20, window=130, reach=300, blocks=3)
STAGED = AssignSizes(values=0)
STAGED_SMALL = AssignSizes(threads=128, values=0, staged_rows=64, window=130, reach=300, blocks=3)
STAGED_ONE_WARP = replace(STAGED_SMALL, threads=32)
# With so little shared memory that centres come and go, that it holds some sums or none, or rows in parts.
SQUEEZED = AssignSizes(threads=64, values=0, staged_rows=64, chunk=2, window=130, reach=300, blocks=3)
STREAMED, SOME_SUMS, LABELS, PARTS = range(1, 5)
# And so little that not even one entry of all clusters has room.
TILES = replace(SQUEEZED, threads=32, window=32, reach=64, shared=1500)
SIZES = [FUSED, FUSED_SMALL, STAGED, STAGED_SMALL, STAGED_ONE_WARP, STREAMED, SOME_SUMS, LABELS, PARTS]
ROUTES = [FUSED, STAGED, LABELS]
# Few numbers of features where kernels are built for them; each must go four rows to a thread in all sizes.
D = st.sampled_from([1, 5])


class Task:
    """One partition, in the arithmetic of its weights."""

    def __init__(self, kind, weighting, n, d, seed):
        self.rows = table(kind, n, d, seed)
        self.given = weight_array(weighting, n, seed + 1) if n else None
        facts = WeightRange.of(self.given, n)
        self.scales = Scales.of(np.array(sums.largest(self.rows, self.given)), facts)
        self.weights = Weights.of(self.given, self.scales.mode)
        self.block = np.ascontiguousarray(self.rows.T)
        self.seed = seed

    def centres(self, k, step):
        return centres(self.rows, k, self.seed + 7 * step + k)

    def on_cpu(self, chosen, states, **options):
        return CpuEngine(n_jobs=1).assign(self.block, self.weights, chosen, states, self.scales, **options)

    def expected(self, points):
        return oracle.assign(self.rows, self.given, points, self.scales.exponent)


def squeeze_of(ks, d, want, shared):
    """0 where centres stay and all sums are kept, else which of ``STREAMED`` to ``PARTS`` it is."""
    plan = plan_staged(ks, d, want, SQUEEZED, shared)
    if plan.parts:
        return PARTS
    if plan.kept < want.entries(d):
        return SOME_SUMS if plan.kept else LABELS
    stay = plan.chunk == d and plan.slab >= sum(-(-k // plan.k_tile) for k in ks)
    return 0 if stay else STREAMED


@functools.cache
def squeezed(squeeze, ks, d, mode):
    """Sizes with the most shared memory at which it comes to that: a little less than for what comes before it."""
    want, shared = Want(mode, WANT_SUMS | WANT_INERTIA), 1 << 16
    while squeeze_of(ks, d, want, shared) < squeeze and shared > 1500:
        shared = shared * 127 // 128
    return replace(SQUEEZED, shared=shared)


class OnDevice:
    """The partition on a device, with a memo of several models."""

    def __init__(self, device, task, ks, sizes):
        d, n = task.block.shape
        tight = isinstance(sizes, int)
        self.device, self.task = device, task
        self.sizes = squeezed(sizes, tuple(ks), d, task.weights.mode) if tight else sizes
        self.x = device.to_device(task.block)
        w = task.weights
        self.w = device.to_device(w.reals if w.mode is WeightMode.REAL else w.integers)
        self.memo = AssignMemo.fresh(device, n, d, ks, w.mode)

    def run(self, chosen, **options):
        return assign_on_device(
            self.device, self.x, self.w, chosen, self.memo, self.task.scales, sizes=self.sizes, **options
        )

    def labels(self):
        return self.device.to_host(self.memo.labels)


def kernels_of(device):
    return [launch.kernel.split("<")[0] for launch in device.launches]


def all_same(found, wanted):
    """Records one by one: a list would compare arrays by identity."""
    return len(found) == len(wanted) and all(map(same, found, wanted))


def require_the_oracle(result, labels, expected):
    k, d = result.sums.total.shape
    totals = result.sums.total.to_ints()
    assert labels.tolist() == expected.labels
    assert result.sums.mass.to_fractions() == expected.mass
    assert [totals[c * d : c * d + d] for c in range(k)] == expected.total
    assert result.sums.inertia.to_fractions() == [expected.inertia]


@given(
    n=st.sampled_from(ROWS),
    d=D,
    k=st.sampled_from([1, 2, 3, 4, 5, 8, 33, 70]),
    kind=st.sampled_from(KINDS),
    weighting=st.sampled_from(WEIGHTS),
    sizes=st.sampled_from([FUSED, FUSED_SMALL, STAGED_SMALL, STREAMED, SOME_SUMS, LABELS, PARTS]),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32 - 64),
)
def test_equals_the_oracle_and_the_cpu_engine(make_device, n, d, k, kind, weighting, sizes, order, seed):
    task = Task(kind, weighting, n, d, seed)
    device = make_device(order, seed)
    here, there = OnDevice(device, task, [k], sizes), [AssignState.fresh(n, k)]
    for step in range(3):
        last = step == 2
        points = task.centres(k, step)
        far, near = device.empty(n, np.float32), np.full(n, np.nan, np.float32)
        extra = {"inertia": last, "distance": far} if last else {}
        found = here.run([points], **extra)
        wanted = task.on_cpu([points], there, **({"inertia": True, "distance": near} if last else {}))
        assert same(found[0], wanted[0])
        assert same(here.labels()[0], there[0].labels)
        if last:
            expected = task.expected(points)
            require_the_oracle(found[0], here.labels()[0], expected)
            assert same(device.to_host(far), near)
            assert near.tolist() == expected.distance


@given(
    n=st.sampled_from(ROWS),
    ks=st.lists(st.integers(1, 20), min_size=2, max_size=9),
    weighting=st.sampled_from(WEIGHTS),
    kind=st.sampled_from(KINDS),
    sizes=st.sampled_from([FUSED, FUSED_SMALL, STAGED_SMALL, STREAMED, SOME_SUMS, LABELS, PARTS]),
    order=st.sampled_from(ORDERS),
    seed=st.integers(0, 2**32 - 64),
    data=st.data(),
)
def test_several_models_each_equal_their_run_alone(
    make_device, n, ks, weighting, kind, sizes, order, seed, data
):
    """Whichever take part in a pass, and whether or not sums or inertia are asked for."""
    task = Task(kind, weighting, n, 5, seed)
    here = OnDevice(make_device(order, seed), task, ks, sizes)
    there = [AssignState.fresh(n, k) for k in ks]
    for step in range(4):
        models = data.draw(st.lists(st.sampled_from(range(len(ks))), min_size=1, unique=True))
        options = {"sums": data.draw(st.booleans()), "inertia": data.draw(st.booleans())}
        points = [task.centres(ks[m], step) for m in models]
        found = here.run(points, models=models, **options)
        for m, c, one in zip(models, points, found, strict=True):
            assert same(one, task.on_cpu([c], [there[m]], **options)[0])
            assert same(here.labels()[m], there[m].labels)


@pytest.mark.parametrize("weighting", WEIGHTS)
@pytest.mark.parametrize("sizes", SIZES)
def test_remembering_changes_no_bit(make_device, weighting, sizes):
    task = Task("normal", weighting, 400, 5, 3)
    here = OnDevice(make_device(), task, [6], sizes)
    for step in (0, 1, 1, 2):
        points = task.centres(6, step)
        found = here.run([points], inertia=True)[0]
        fresh = OnDevice(make_device(), task, [6], sizes).run([points], inertia=True)[0]
        assert same(found.sums, fresh.sums)
        assert fresh.moved == 400
        assert found.moved == {0: 400, 1: found.moved, 2: found.moved}[step]
    assert here.run([points])[0].moved == 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("weighting", ["none", "heavy", "real"])
def test_no_size_and_no_order_changes_a_bit(make_device, order, weighting):
    task = Task("mixed", weighting, 1500, 5, 11)
    first, second = task.centres(9, 0), task.centres(9, 1)
    states = [AssignState.fresh(1500, 9)]
    task.on_cpu([first], states)
    wanted = task.on_cpu([second], states, inertia=True)
    for sizes in [*SIZES, replace(FUSED_SMALL, window=128), replace(FUSED, blocks=1)]:
        here = OnDevice(make_device(order), task, [9], sizes)
        here.run([first])
        assert all_same(here.run([second], inertia=True), wanted)


ONE_READ, TWO_READS = ["assign_staged"], ["assign_staged", "assign_sums"]


@pytest.mark.parametrize(
    ("k", "d", "n", "weighting", "kernels", "kept"),
    [
        (300, 9, 70, "none", ONE_READ, 10),
        (40, 70, 33, "real", ONE_READ, 102),
        (5, 256, 40, "integer", ONE_READ, 257),
        (200, 70, 33, "none", ONE_READ, 71),
        (150, 66, 33, "integer", TWO_READS, 52),
        (640, 66, 33, "none", TWO_READS, 24),
        (5, 1200, 33, "none", TWO_READS, 0),
    ],
)
def test_wide_labels_and_many_features(make_device, k, d, n, weighting, kernels, kept):
    """What does not fit registers goes by shared memory, sums that do not by a second read; with the sizes in use."""
    task = Task("normal", weighting, n, d, 5)
    device = make_device()
    here, there = OnDevice(device, task, [k], FUSED), [AssignState.fresh(n, k)]
    want = Want(task.weights.mode, WANT_SUMS | WANT_INERTIA)
    assert plan_staged([k], d, want, FUSED, PROPS.optin_shared).kept == kept
    assert here.memo.labels.dtype == label_dtype(k)
    for step in range(2):
        points = task.centres(k, step)
        device.launches.clear()
        found = here.run([points], inertia=True)
        adopted = ["adopt_labels"] * (step == 1 and len(kernels) > 1)
        assert [name for name in kernels_of(device) if name != "assign_merge"] == kernels + adopted
        assert all_same(found, task.on_cpu([points], there, inertia=True))
        assert same(here.labels()[0], there[0].labels)


def test_more_clusters_than_16_bits_count(make_device):
    n, k = 33, 65_537
    task = Task("normal", "none", n, 1, 5)
    here = OnDevice(make_device(), task, [k], STAGED)
    assert here.memo.labels.dtype == np.int32
    for step in range(2):
        points = np.sort(np.random.default_rng(step).normal(size=(k, 1)).astype(np.float32), axis=0)[::-1]
        (found,) = here.run([points])
        nearest = floats.chain(task.rows, points).argmin(1)
        assert here.labels()[0].tolist() == nearest.tolist()
        assert found.sums.mass.to_ints() == np.bincount(nearest, minlength=k).tolist()
        totals = [0] * k
        for c, x in zip(nearest.tolist(), task.rows[:, 0].tolist(), strict=True):
            totals[c] += sums.fixed(x, int(task.scales.exponent[0]))
        assert found.sums.total.to_ints() == totals


@pytest.mark.parametrize("weighting", ["none", "integer", "real"])
@pytest.mark.parametrize("squeeze", [STREAMED, SOME_SUMS, LABELS, PARTS])
def test_a_squeezed_launch_gives_the_same_bits(make_device, weighting, squeeze):
    """Several models, of which some are known and some are not, some take part and some have converged."""
    ks, n = [70, 3, 33, 17], 200
    task = Task("ties", weighting, n, 5, 6)
    device = make_device("random", 1)
    here, there = OnDevice(device, task, ks, squeeze), [AssignState.fresh(n, k) for k in ks]
    want = Want(task.weights.mode, WANT_SUMS | WANT_INERTIA)
    assert squeeze_of(ks, 5, want, here.sizes.shared) == squeeze
    for step, models in enumerate([[0, 1, 2, 3], [1, 0], [0, 1, 2, 3], [3, 1, 2]]):
        points = [task.centres(ks[m], step) for m in models]
        found = here.run(points, models=models, inertia=True)
        assert all_same(found, task.on_cpu(points, [there[m] for m in models], inertia=True))
        assert same(here.labels(), np.stack([state.labels for state in there]))
    second = set() if squeeze == STREAMED else {"assign_sums", "adopt_labels"}
    assert {name for name in kernels_of(device) if name != "assign_merge"} == {"assign_staged", *second}


def test_tiles_of_clusters_and_entries(make_device):
    task = Task("normal", "integer", 100, 5, 6)
    device = make_device("random", 1)
    here = OnDevice(device, task, [99], TILES)
    here.run([task.centres(99, 0)])
    # 99 clusters of 6 entries, 33 x 1 to a tile: 3 x 6 tiles.
    sums = next(launch for launch in device.launches if launch.kernel.startswith("assign_sums"))
    assert sums.grid == (2, 18, 1)  # 2 blocks along the rows: neither passes its reach
    (found,) = here.run([task.centres(99, 1)])
    assert device.launches[-1] == LaunchRecord("adopt_labels<u8>", (3, 1, 1), (32, 1, 1), 0)
    assert same(found.sums, task.on_cpu([task.centres(99, 1)], [AssignState.fresh(100, 99)])[0].sums)


def test_more_tiles_than_the_grid_takes(make_device, monkeypatch):
    monkeypatch.setattr(assign_launch, "MAX_GRID_Y", 2)
    task = Task("normal", "integer", 100, 5, 6)
    device = make_device()
    here, ks = OnDevice(device, task, [40, 33, 26], TILES), [40, 33, 26]
    states = [AssignState.fresh(100, k) for k in ks]
    for step in range(2):
        points = [task.centres(k, step) for k in ks]
        assert all_same(here.run(points), task.on_cpu(points, states))
        assert same(here.labels(), np.stack([state.labels for state in states]))
    assert {launch.grid[1] for launch in device.launches} == {1, 2}


@pytest.mark.parametrize("models", [8, 9, 17])
def test_more_models_than_a_thread_keeps_labels_of(make_device, models):
    task = Task("normal", "integer", 70, 3, 6)
    ks = [5] * models
    device = make_device()
    here, states = OnDevice(device, task, ks, LABELS), [AssignState.fresh(70, k) for k in ks]
    for step in range(2):
        points = [task.centres(5, models * step + m) for m in range(models)]
        assert all_same(here.run(points, inertia=True), task.on_cpu(points, states, inertia=True))
        assert same(here.labels(), np.stack([state.labels for state in states]))
    assert kernels_of(device).count("assign_sums") == 2


@pytest.mark.parametrize("sizes", [FUSED_SMALL, STAGED_SMALL, LABELS])
def test_more_partials_than_the_merge_has_warps(make_device, sizes):
    task = Task("normal", "integer", 3000, 3, 6)
    device = make_device(props=replace(PROPS, multiprocessors=40))
    found = OnDevice(device, task, [5], sizes).run([task.centres(5, 0)])
    assert device.launches[0].grid[0] > device.launches[-1].block[0] // 32
    assert all_same(found, task.on_cpu([task.centres(5, 0)], [AssignState.fresh(3000, 5)]))


@pytest.mark.parametrize("weighting", ["none", "real"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_verb_takes_the_states_of_any_engine(make_device, weighting, order):
    """Host arrays in and out; what one engine remembers serves the other; labels of two widths in one call."""
    task = Task("ties", weighting, 300, 5, 4)
    ks = [3, 300, 8]
    states, there = ([AssignState.fresh(300, k) for k in ks] for _ in range(2))
    for step in range(3):
        points = [task.centres(k, step) for k in ks]
        wanted = task.on_cpu(points, there, inertia=True)
        if step == 1:
            found = task.on_cpu(points, states, inertia=True)
        else:
            device = make_device(order)
            found = assign(device, task.block, task.weights, points, states, task.scales, inertia=True)
        assert all_same(found, wanted)
        assert all_same(states, there)


def test_without_sums_a_state_forgets_them(make_device):
    task = Task("normal", "none", 50, 5, 4)
    states, near = [AssignState.fresh(50, 3)], np.empty(50, np.float32)
    points = [task.centres(3, 0)]
    assign(make_device(), task.block, task.weights, points, states, task.scales)
    assert states[0].sums is not None
    (found,) = assign(
        make_device(), task.block, task.weights, points, states, task.scales, sums=False, distance=near
    )
    assert states[0].sums is None
    assert found.moved == 0
    assert not any(found.sums.total.to_ints())
    assert near.tolist() == task.expected(points[0]).distance


@pytest.mark.parametrize("sizes", [FUSED, FUSED_SMALL, STAGED, LABELS])
@pytest.mark.parametrize("sign", [1, -1])
def test_parts_and_sums_are_carried_in_time(make_device, sizes, sign):
    # w x = 1 - 2**-46, which rounds up to 2**40 on its scale: the largest term, thousands of times in one cluster.
    n = 5000
    reals = np.full(n, 1 + 2**-23, np.float32)
    block = np.full((1, n), sign * (1 - 2**-23), np.float32)
    scales = Scales(WeightMode.REAL, np.array([40]), np.array([40]))
    task = Task("normal", "real", n, 1, 0)
    task.block, task.scales, task.weights = (
        block,
        scales,
        Weights(WeightMode.REAL, np.empty(0, np.int64), reals),
    )
    here = OnDevice(make_device(), task, [1], sizes)
    here.run([np.zeros((1, 1), np.float32)])
    (found,) = here.run([np.zeros((1, 1), np.float32)], inertia=True)
    assert found.sums.total.to_ints() == [sign * n * 2**40]
    assert found.moved == 0


@pytest.mark.parametrize("sizes", ROUTES)
def test_sums_leave_64_bits(make_device, sizes):
    n = 3000
    task = Task("normal", "integer", n, 1, 0)
    task.block = np.full((1, n), np.float32(2 - 2.0**-23))
    task.scales = Scales(WeightMode.INTEGER, np.array([39]), np.array([78]))
    task.weights = Weights(WeightMode.INTEGER, np.full(n, 2**31 - 1, np.int64), np.empty(0, np.float32))
    here = OnDevice(make_device(), task, [2], sizes)
    low, high = (np.array(c, np.float32).reshape(2, 1) for c in ([2, 5], [5, 2]))
    for points, c in ((low, 0), (high, 1)):
        (found,) = here.run([points], inertia=True)
        assert found.sums.total.to_ints()[c] == n * (2**31 - 1) * (2**40 - 2**16)
        assert found.sums.total.to_ints()[1 - c] == 0
        assert found.sums.mass.to_ints()[c] == n * (2**31 - 1)
        assert found.sums.inertia.to_fractions()[0] == n * (2**31 - 1) * 2.0**-46


@pytest.mark.parametrize("sizes", ROUTES)
@pytest.mark.parametrize("weighting", ["integer", "real"])
def test_rows_of_weight_zero_get_a_label_and_count_nowhere(make_device, sizes, weighting):
    task = Task("normal", weighting, 300, 5, 5)
    spoilt = task.block.copy()
    spoilt[:, task.given == 0] = np.float32(3e38)
    spoilt[0, np.flatnonzero(task.given == 0)[0]] = np.nan
    points = task.centres(4, 0)
    wanted = OnDevice(make_device(), task, [4], sizes).run([points], inertia=True)[0].sums
    task.block = spoilt
    found = OnDevice(make_device(), task, [4], sizes).run([points], inertia=True)[0]
    assert same(found.sums, wanted)
    assert found.moved == 300


@pytest.mark.parametrize("sizes", ROUTES)
@pytest.mark.parametrize(
    ("value", "weights", "message"),
    [
        (np.nan, None, "does not fit its fixed-point scale"),
        (np.inf, None, "does not fit its fixed-point scale"),
        (4.0, None, "does not fit its fixed-point scale"),
        (-2.0, None, "does not fit its fixed-point scale"),
        (1.0, np.array([1, -1], np.int64), "weight is negative"),
        (1.0, np.array([1, 2**31], np.int64), "weight is negative"),
        (1.0, np.array([1, 2**32], np.int64), "weight is negative"),
        (1.0, np.array([1, np.nan], np.float32), "weight is negative"),
        (1.0, np.array([1, np.inf], np.float32), "weight is negative"),
        (1.0, np.array([1, -1e-45], np.float32), "weight is negative"),
    ],
)
def test_what_the_scan_should_have_refused_is_refused(make_device, sizes, value, weights, message):
    """And nothing is remembered of the pass."""
    mode, integers, reals = WeightMode.NONE, np.empty(0, np.int64), np.empty(0, np.float32)
    if weights is not None and weights.dtype == np.int64:
        mode, integers = WeightMode.INTEGER, weights
    elif weights is not None:
        mode, reals = WeightMode.REAL, weights
    task = Task("normal", "none", 2, 1, 0)
    task.block = np.array([[0.5, value]], np.float32)
    task.scales = Scales(mode, np.array([39]), np.array([78]))
    task.weights = Weights(mode, integers, reals)
    here = OnDevice(make_device(), task, [1], sizes)
    with pytest.raises(ContractError, match=message):
        here.run([np.zeros((1, 1), np.float32)])
    assert here.memo.known == [False]


@pytest.mark.parametrize("sizes", ROUTES)
def test_a_distance_beyond_float32_has_no_inertia(make_device, sizes):
    task = Task("normal", "none", 3, 1, 0)
    task.block = np.array([[0, 1, 1.9]], np.float32)
    task.scales = Scales(WeightMode.NONE, np.array([39]), np.array([78]))
    here = OnDevice(make_device(), task, [1], sizes)
    far = np.array([[2e19]], np.float32)
    here.run([far])
    with pytest.raises(ContractError, match="not finite"):
        here.run([far], inertia=True)
    assert here.memo.known == [False]


def test_every_distance_is_computed_and_counted(make_device):
    task = Task("normal", "none", 40, 5, 3)
    points = [task.centres(2, 0), task.centres(3, 1)]
    states = [AssignState.fresh(40, len(c)) for c in points]
    results = assign(make_device(), task.block, task.weights, points, states, task.scales)
    assert [result.computed for result in results] == [80, 120]


def test_what_does_not_fit_is_refused(make_device):
    task = Task("normal", "real", 40, 5, 3)
    c, state = task.centres(2, 0), AssignState.fresh(40, 2)
    device = make_device()

    def run(
        block=task.block, weights=task.weights, points=(c,), states=(state,), scales=task.scales, **options
    ):
        return assign(device, block, weights, points, states, scales, **options)

    with pytest.raises(ContractError, match="40 weights do not fit a block of 39 rows"):
        run(block=np.ascontiguousarray(task.block[:, :39]))
    with pytest.raises(ContractError, match=r"centres of shape \(2, 4\)"):
        run(points=[np.ascontiguousarray(c[:, :4])])
    with pytest.raises(ContractError, match=r"centres of shape \(0, 5\)"):
        run(points=[c[:0]])
    with pytest.raises(ContractError, match="39 labels do not fit"):
        run(states=[AssignState.fresh(39, 2)])
    with pytest.raises(ContractError, match="meet scales of mode NONE"):
        run(scales=Scales(WeightMode.NONE, task.scales.exponent, task.scales.square_exponent))
    with pytest.raises(ContractError, match="2 models cannot share"):
        run(points=[c, c], states=[state, AssignState.fresh(40, 2)], distance=np.empty(40, np.float32))
    assert device.launches == []
    run()
    state.labels[7] = 2
    with pytest.raises(ContractError, match="remembers label 2 of 2 clusters"):
        run()
    with pytest.raises(ContractError, match="do not share a memo"):
        AssignMemo.fresh(device, 40, 5, [3, 300], WeightMode.NONE)
    with pytest.raises(ContractError, match="do not share a memo"):
        AssignMemo.fresh(device, 40, 5, [3, 0], WeightMode.NONE)
    memo = AssignMemo.fresh(device, 40, 5, [3], WeightMode.NONE)
    with pytest.raises(ContractError, match="do not fit a memo of 3 clusters, 5 features"):
        assign_on_device(
            device, device.to_device(task.block), device.empty(0, np.int64), [c], memo, task.scales
        )


def test_launches_fit_the_rows_and_share_one_read(make_device):
    """A sweep of k in one launch, rows in registers; what does not fit so goes by shared memory, in one launch too."""
    task = Task("normal", "none", 3000, 5, 2)
    device = make_device()
    ks = list(range(2, 11))
    here = OnDevice(device, task, ks, FUSED)
    here.run([task.centres(k, 0) for k in ks], inertia=True)
    clusters, entries = sum(ks), 7
    slots = clusters * entries + 33 * len(ks)
    # 17 groups of 4 centres; models; scales, an even number; 16 bytes an entry (8 wide, two parts of 4).
    shared = 17 * 4 * 5 * 4 + 48 * len(ks) + 8 * 6 + 16 * slots
    assert device.launches == [
        LaunchRecord("assign_rows<NONE, u8>", (2, 1, 1), (256, 1, 1), shared),
        LaunchRecord("assign_merge<NONE>", (-(-slots // 32), 1, 1), (64, 1, 1), 64 * 16),
    ]
    device.launches.clear()
    device.props = replace(PROPS, max_shared=shared - 1)
    here.run([task.centres(k, 1) for k in ks], inertia=True)
    assert kernels_of(device) == ["assign_staged", "assign_merge"]


@pytest.mark.parametrize(("squeeze", "left"), [(STAGED_SMALL, 0), (STREAMED, 0), (SOME_SUMS, 1), (LABELS, 6)])
def test_several_models_share_one_read_of_x(make_emulated, squeeze, left):
    """With next to no cache in front of memory; and the features whose sums are left out one more."""
    n, d, ks = 256, 6, [70, 3, 33]
    task = Task("normal", "none", n, d, 4)
    device = make_emulated(how="check", count=True)
    here = OnDevice(device, task, ks, squeeze)
    if squeeze == SOME_SUMS:
        here.sizes = replace(here.sizes, shared=here.sizes.shared * 9 // 10)
    here.run([task.centres(k, 0) for k in ks], inertia=True)
    assert [sum(line.moved for line in lines) for lines in _reads_of_x(device)] == [4 * n * d, 4 * n * left]
    device.traffic.clear()
    here.run([task.centres(k, 0) for k in ks], inertia=True)  # no row moves
    assert [sum(line.moved for line in lines) for lines in _reads_of_x(device)] == [4 * n * d, 0]


def _reads_of_x(device):
    """What was counted for the one line of assign_staged, and of assign_sums, that reads values."""
    for kernel, file, text in (
        ("assign_staged", "assign_staged.cu", "x[(first + f) * stride"),
        ("assign_sums", "assign_tiles.cu", "x[(first_e + f) * stride"),
    ):
        source = read_kernel_file(file).splitlines()
        (number,) = [i for i, line in enumerate(source, 1) if text in line]
        lines = [line for one in device.traffic if one.launch.kernel.startswith(kernel) for line in one.lines]
        at = [line for line in lines if line.line.endswith(f":{number}") and line.space == "global"]
        yield [line for line in at if line.kind == "read"]


def test_few_clusters_get_copies_that_keep_lanes_apart(make_device):
    task = Task("normal", "none", 100, 5, 2)
    device = make_device()
    OnDevice(device, task, [2], FUSED).run([task.centres(2, 0)])
    # 2 clusters x 7 entries + rows that moved: 8 bytes wide and 32 copies of two parts.
    assert device.launches[0].shared == 4 * 5 * 4 + 48 + 8 * 6 + 15 * (8 + 32 * 8)


def test_no_block_gets_more_rows_than_64_bits_take():
    sizes = AssignSizes()
    assert [sizes.along(n, 1024, 264) for n in (0, 1, 1024, 1025, 10**7)] == [1, 1, 1, 2, 264]
    assert sizes.along(10**10, 1024, 264) == 2385  # 9,765,625 tiles, 4,096 a block
    assert AssignSizes(threads=32, reach=64).along(100, 32, 1) == 2


KIB = 1 << 10
NONE, INTEGER, REAL = (Want(mode, WANT_SUMS | WANT_INERTIA) for mode in WeightMode)
ONLY_LABELS = Want(WeightMode.NONE, WANT_INERTIA)


@pytest.mark.parametrize(
    ("ks", "d", "want", "limit", "rows", "a_thread", "k_tile"),
    [
        ([64], 96, NONE, 227 * KIB, 64, 2, 8),  # two blocks
        ([64], 96, NONE, 163 * KIB, 128, 2, 8),  # one
        ([64], 96, NONE, 99 * KIB, 32, 1, 8),
        ([64], 96, ONLY_LABELS, 64 * KIB, 64, 2, 8),
        ([64], 96, INTEGER, 163 * KIB, 64, 2, 8),
        ([64], 96, REAL, 227 * KIB, 32, 1, 8),
        ([16], 96, NONE, 227 * KIB, 128, 2, 4),
        ([8, 16], 96, NONE, 227 * KIB, 128, 2, 4),
        ([64], 64, NONE, 163 * KIB, 64, 2, 8),
        ([64, 8, 8], 8, NONE, 163 * KIB, 512, 2, 8),
        ([8], 96, NONE, 163 * KIB, 128, 1, 4),
        ([8], 256, NONE, 64 * KIB, 32, 1, 4),
        ([2], 65, NONE, 163 * KIB, 256, 1, 4),
    ],
)
def test_the_tile_of_rows_is_the_largest_that_leaves_room_or_fits(ks, d, want, limit, rows, a_thread, k_tile):
    found = plan_staged(ks, d, want, AssignSizes(), limit)
    assert (found.rows, found.a_thread, found.k_tile) == (rows, a_thread, k_tile)
    groups = sum(-(-k // k_tile) for k in ks)
    assert (found.slab, found.chunk, found.parts, found.kept) == (groups, d, False, want.entries(d))


@pytest.mark.parametrize(
    ("ks", "d", "want", "limit", "found"),
    [
        ([64] * 3, 96, NONE, 227 * KIB, Staged(128, 2, 8, 4, 64, False, 97, 215_360)),  # all sums
        ([64] * 3, 96, NONE, 163 * KIB, Staged(32, 1, 8, 8, 64, False, 86, 166_128)),  # most
        ([512], 128, NONE, 227 * KIB, Staged(64, 2, 8, 8, 64, False, 43, 231_832)),  # a third
        ([512], 128, NONE, 163 * KIB, Staged(128, 2, 8, 4, 64, False, 0, 80_960)),  # where it were less, none
        ([4096], 8, ONLY_LABELS, 99 * KIB, Staged(512, 2, 8, 8, 8, False, 0, 31_328)),  # rounds of 8 groups
        ([100], 1200, NONE, 64 * KIB, Staged(64, 2, 8, 8, 64, True, 0, 38_720)),  # rows in parts
    ],
)
def test_where_centres_come_and_go_sums_have_the_room_that_is_left(ks, d, want, limit, found):
    assert plan_staged(ks, d, want, AssignSizes(), limit) == found


def test_the_border_of_one_read():
    """What the head of assign_staged.cu says of it."""

    def most(want, limit):
        plans = [(k, plan_staged([k], 96, want, AssignSizes(), limit * KIB)) for k in range(1, 300)]
        return max(96 * k for k, plan in plans if plan.kept == want.entries(96))

    for limit, product in ((64, 4_000), (99, 8_400), (163, 16_500), (227, 24_600)):
        assert 0.98 * product < most(NONE, limit) < 1.02 * product
        assert 0.48 * product < most(INTEGER, limit) < 0.60 * product


def test_a_staged_launch_has_the_shared_bytes_of_its_layout(make_device):
    task = Task("normal", "none", 300, 5, 2)
    device = make_device()
    OnDevice(device, task, [6], STAGED).run([task.centres(6, 0)], inertia=True)
    # 8 centres; a model; 6 x 6 sums; 33 extras of 8 + 8; scales; 512 rows: weight, nearest, now, old; values.
    shared = 8 * 5 * 4 + 48 + 6 * 6 * 8 + 33 * 16 + 5 * 8 + 512 * (8 + 8 + 8) + 5 * 513 * 4
    assert device.launches[0] == LaunchRecord("assign_staged<NONE, u8>", (1, 1, 1), (256, 1, 1), shared)
    plan = Staged(512, 2, 4, slab=2, chunk=5, parts=False, kept=6, nbytes=shared)
    assert plan_staged([6], 5, NONE, STAGED, PROPS.optin_shared) == plan
