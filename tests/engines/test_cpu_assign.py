"""One pass of Lloyd's algorithm: labels, sums and inertia are the oracle's, first pass or later, in any split."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.lloyd import ClusterSums
from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from gpuseg.engines.base import AssignState, label_dtype
from gpuseg.engines.cpu import bounds as bounds_module
from gpuseg.engines.cpu import engine as engine_module
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.errors import ContractError
from tests import strategies
from tests.oracle import lloyd as oracle
from tests.oracle import sums

NS = [0, 1, 15, 16, 17, 31, 33, 1023, 1024, 1025]
DS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 33]
KS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 300]


def cases():
    """Every pair of n, d and k occurs (less the slowest: many rows with many clusters); tables and weights go round."""
    kinds, weights = itertools.cycle(strategies.KINDS), itertools.cycle(strategies.WEIGHTS)
    for i, n in enumerate(NS):
        for j, d in enumerate(DS):
            yield n, d, KS[(i + j) % (len(KS) - 2)], next(kinds), next(weights)
    few = itertools.cycle([n for n in NS if n < 1000])
    for d, k in itertools.product(DS, KS):
        yield next(few), d, k, next(kinds), next(weights)
    for n, k in itertools.product(NS, KS):
        if n < 1000 or k in {4, 9}:
            yield n, 1 + k % 3, k, next(kinds), next(weights)
    yield 1025, 2, 300, "ties", "none"


CASES = sorted(set(cases()))


class Task:
    """One data set in the arithmetic of its weights."""

    def __init__(self, rows, weights):
        self.rows, self.values = rows, weights
        n = len(rows)
        self.block = np.ascontiguousarray(rows.T)
        facts = WeightRange.of(weights, n)
        mode = facts.mode() if n else WeightMode.NONE
        self.weights = Weights.of(weights, mode) if n else Weights.ones()
        reach = np.array(sums.largest(rows, weights if n else None))
        self.scales = Scales.of(reach, facts if n else WeightRange.of(None, 0))

    def fresh(self, k):
        return AssignState.fresh(len(self.rows), k)

    def run(self, engine, centres, states, **options):
        return engine.assign(self.block, self.weights, centres, states, self.scales, **options)

    def expected(self, centres):
        return oracle.assign(
            self.rows, self.values if len(self.rows) else None, centres, self.scales.exponent
        )


def contents(found: ClusterSums):
    k, d = found.total.shape
    flat = found.total.to_ints()
    return (
        found.mass.to_fractions(),
        [flat[c * d : c * d + d] for c in range(k)],
        found.inertia.to_fractions()[0],
    )


def check(task, engine, centres, state, expected, n_moved):
    """One model's pass with everything asked for."""
    before = state.labels.copy() if state.sums is not None else None
    distance = np.full(len(task.rows), np.nan, np.float32)
    [result] = task.run(engine, [centres], [state], inertia=True, distance=distance)
    assert contents(result.sums) == (expected.mass, expected.total, expected.inertia)
    assert state.labels.tolist() == expected.labels
    assert state.labels.dtype == label_dtype(len(centres))
    assert distance.tolist() == expected.distance
    assert strategies.same(state.sums, result.sums)
    if before is None:
        assert result.moved == n_moved
    else:
        assert result.moved == int((before != state.labels).sum())


@pytest.mark.parametrize("n", NS)
def test_a_pass_is_the_oracle_and_a_remembered_pass_a_fresh_one(engines, n):
    for number, (_, d, k, kind, weight_kind) in enumerate(case for case in CASES if case[0] == n):
        rows = strategies.table(kind, n, d, seed=number)
        task = Task(rows, strategies.weight_array(weight_kind, n, seed=number + 1))
        first, second = (strategies.centres(rows, k, seed=number + s) for s in (2, 3))
        expected = [task.expected(first), task.expected(second)]
        for engine in [engines[number % 3]] if n > 1000 else engines:
            state = task.fresh(k)
            state.labels[:] = number % min(k, 200)  # what a fresh buffer holds does not matter
            check(task, engine, first, state, expected[0], n)
            check(task, engine, second, state, expected[1], n)
            check(task, engine, second, state, expected[1], n)
            assert np.array_equal(state.labels, expected[1].labels)


def test_the_cases_cover_every_pair():
    for a, b in itertools.combinations([(0, NS), (1, DS), (2, KS)], 2):
        pairs = {(case[a[0]], case[b[0]]) for case in CASES}
        wanted = set(itertools.product(a[1], b[1]))
        wanted -= {(n, k) for n in NS for k in KS if n > 1000 and k > 9} if (a[0], b[0]) == (0, 2) else set()
        assert wanted <= pairs
    assert {case[3:] for case in CASES} == set(itertools.product(strategies.KINDS, strategies.WEIGHTS))


def test_labels_beyond_uint16(engines):
    k = 65_540
    centres = np.arange(k, dtype=np.float32)[:, None]
    rows = np.array([[0], [255], [256], [65_535], [65_536], [65_539]] * 3, np.float32)
    task, state = Task(rows, None), AssignState.fresh(18, k)
    assert state.labels.dtype == np.int32
    [result] = task.run(engines[0], [centres], [state])
    assert state.labels.tolist() == rows[:, 0].astype(int).tolist()
    assert [c for c, m in enumerate(result.sums.masses()) if m] == sorted({int(v) for v in rows[:, 0]})
    [again] = task.run(engines[0], [np.ascontiguousarray(centres[::-1])], [state])
    assert state.labels.tolist() == (k - 1 - rows[:, 0]).astype(int).tolist()
    assert again.moved == 18


@pytest.mark.parametrize("k", [2, 5, 8, 9])
def test_ties_go_to_the_lowest_index(engines, k):
    rows = strategies.table("ties", 50, 2, seed=0)
    centres = np.ones((k, 2), np.float32)
    state = AssignState.fresh(50, k)
    Task(rows, None).run(engines[0], [centres], [state])
    assert not state.labels.any()
    centres[: k - 1] = 9.0
    Task(rows, None).run(engines[0], [centres], [state])
    assert (state.labels == k - 1).all()


def test_read_only_blocks_and_centres(engines):
    rows = strategies.table("normal", 40, 3, seed=1)
    task, centres = Task(rows, None), strategies.centres(rows, 4, seed=2)
    expected = task.expected(centres)
    task.block.flags.writeable = False
    centres.flags.writeable = False
    check(task, engines[1], centres, task.fresh(4), expected, 40)
    frozen = rows.copy(order="F")
    frozen.flags.writeable = False
    task.block = frozen.T
    check(task, engines[1], centres, task.fresh(4), expected, 40)


@given(strategies.data_sets(), st.integers(1, 9), st.integers(0, 2**32), st.data())
def test_any_split_and_any_order_give_the_same_sums(data, k, seed, draw):
    rows, weights = data
    engine, whole = CpuEngine(1), Task(rows, weights)
    centres = strategies.centres(rows, k, seed)
    state = whole.fresh(k)
    [expected] = whole.run(engine, [centres], [state], inertia=True)
    merged = ClusterSums.zero(k, whole.scales.exponent, whole.scales.mode)
    for part in draw.draw(strategies.parts(len(rows))):
        piece = whole.fresh(k)
        piece.labels = piece.labels[part]
        [result] = engine.assign(
            np.ascontiguousarray(whole.block[:, part]), whole.weights.take(part), [centres], [piece], whole.scales,
            inertia=True,
        )  # fmt: skip
        assert np.array_equal(piece.labels, state.labels[part])
        merged = merged.merge(result.sums)
    assert strategies.same(merged, expected.sums)


@given(strategies.data_sets(), st.integers(1, 9), st.integers(0, 2**32))
def test_integer_weights_are_repetition_and_zero_weights_nothing(data, k, seed):
    rows, _ = data
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 5, len(rows)).astype(np.float64)
    weights[0] = 2.0
    engine, centres = CpuEngine(2), strategies.centres(rows, k, seed)
    kept = weights > 0
    loud = rows.copy()
    loud[~kept] = strategies.LARGEST
    infinite = rows.copy()
    infinite[~kept] = np.inf  # what a double beyond float32 becomes in a block
    tasks = [
        Task(np.repeat(rows, weights.astype(int), axis=0), None),
        Task(rows, weights),
        Task(rows[kept], weights[kept]),
        Task(loud, weights),
        Task(infinite, weights),
    ]
    found = [task.run(engine, [centres], [task.fresh(k)], inertia=True)[0].sums for task in tasks]
    for other in found[1:]:
        assert strategies.same(other, found[0])


@given(strategies.data_sets(), st.integers(1, 9), st.integers(0, 2**32))
def test_real_weights_of_zero_influence_nothing(data, k, seed):
    rows, _ = data
    rng = np.random.default_rng(seed)
    weights = rng.random(len(rows)) * rng.integers(0, 2, len(rows))
    weights[0] = 0.5
    engine, centres = CpuEngine(2), strategies.centres(rows, k, seed)
    kept = weights > 0
    infinite = rows.copy()
    infinite[~kept] = np.inf
    tasks = [Task(rows[kept], weights[kept]), Task(rows, weights), Task(infinite, weights)]
    found = []
    for task in tasks:
        state = task.fresh(k)
        task.run(engine, [np.roll(centres, 1, axis=0)], [state])
        found.append(task.run(engine, [centres], [state], inertia=True)[0].sums)
    assert strategies.same(found[0], found[1])
    assert strategies.same(found[0], found[2])


@given(strategies.data_sets(), st.lists(st.integers(1, 300), min_size=2, max_size=4), st.integers(0, 2**32))
def test_several_models_in_one_read_are_each_alone(data, clusters, seed):
    rows, weights = data
    task, engine = Task(rows, weights), CpuEngine(2)
    starts = [strategies.centres(rows, k, seed + i) for i, k in enumerate(clusters)]
    later = [np.roll(c, 1, axis=0) for c in starts]
    together, alone = ([task.fresh(k) for k in clusters] for _ in range(2))
    for centres in (starts, later):
        joint = task.run(engine, centres, together, inertia=True)
        for m, c in enumerate(centres):
            [single] = task.run(engine, [c], [alone[m]], inertia=True)
            assert strategies.same(joint[m].sums, single.sums)
            assert joint[m].moved == single.moved
            assert np.array_equal(together[m].labels, alone[m].labels)


def test_several_models_may_be_at_different_passes_and_cross_chunks(monkeypatch):
    monkeypatch.setattr(engine_module, "_MODEL_CHUNK_BYTES", 1)  # chunks of 4096 rows
    rows = strategies.table("ties", 9000, 2, seed=3)
    task, engine = Task(rows, None), CpuEngine(1)
    a, b = strategies.centres(rows, 3, seed=4), strategies.centres(rows, 4, seed=5)
    known = task.fresh(3)
    task.run(engine, [b[:3].copy()], [known])
    joint = task.run(engine, [a, b], [known, task.fresh(4)], inertia=True)
    for result, centres in zip(joint, (a, b), strict=True):
        expected = task.expected(centres)
        assert contents(result.sums) == (expected.mass, expected.total, expected.inertia)


def test_without_sums_only_labels_and_inertia_come_back(engines):
    rows = strategies.table("normal", 70, 2, seed=6)
    task, centres = Task(rows, None), strategies.centres(rows, 3, seed=7)
    expected = task.expected(centres)
    for engine in engines:
        state = task.fresh(3)
        task.run(engine, [np.roll(centres, 1, axis=0)], [state])
        [result] = task.run(engine, [centres], [state], sums=False, inertia=True)
        assert contents(result.sums) == ([0] * 3, [[0, 0]] * 3, expected.inertia)
        assert state.labels.tolist() == expected.labels
        assert state.sums is None
        check(task, engine, centres, state, expected, 70)  # and the state is still good for a full pass
        [quiet] = task.run(engine, [centres], [state])
        assert quiet.sums.inertia.to_fractions() == [0]


def test_a_failed_pass_leaves_no_half_state(monkeypatch):
    rows = strategies.table("normal", 70, 2, seed=6)
    task, centres, engine = Task(rows, None), strategies.centres(rows, 3, seed=7), CpuEngine(1)
    state = task.fresh(3)
    task.run(engine, [centres], [state])

    def broken(*arguments):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(bounds_module, "assign_rows", broken)
        with pytest.raises(MemoryError):
            task.run(engine, [centres], [state])
    check(task, engine, centres, state, task.expected(centres), 70)


def test_remembered_sums_of_another_scale_are_refused():
    rows = strategies.table("normal", 20, 2, seed=6)
    task, centres, engine = Task(rows, None), strategies.centres(rows, 3, seed=7), CpuEngine(1)
    state = task.fresh(3)
    task.run(engine, [centres], [state])
    other = Scales(WeightMode.NONE, task.scales.exponent + 1, task.scales.square_exponent + 2)
    with pytest.raises(ContractError, match="prepare all partitions with one layout"):
        engine.assign(task.block, task.weights, [centres], [state], other)


def test_what_a_kernel_would_read_beyond_its_end_is_refused():
    task, engine = Task(strategies.table("normal", 20, 2, seed=6), None), CpuEngine(1)
    centres = np.zeros((3, 2), np.float32)
    real = Scales(WeightMode.REAL, task.scales.exponent, task.scales.square_exponent)
    with pytest.raises(ContractError, match="weights of mode NONE do not fit scales of mode REAL"):
        engine.assign(task.block, task.weights, [centres], [task.fresh(3)], real)
    with pytest.raises(ContractError, match="scales of mode REAL are for real weights"):
        engine.label_moments(task.block, [np.zeros(20, np.uint8)], [1], real)
    half = Weights.of(np.full(10, 0.5), WeightMode.REAL)
    with pytest.raises(ContractError, match="10 weights do not fit a block of 20 rows"):
        engine.moments(task.rows, half, real)
    with pytest.raises(
        ContractError, match=r"shape \(3, 1\) and 20 labels do not fit a block of 20 rows and 2"
    ):
        engine.assign(task.block, task.weights, [centres[:, :1]], [task.fresh(3)], task.scales)
    with pytest.raises(ContractError, match="19 labels"):
        engine.assign(task.block, task.weights, [centres], [AssignState.fresh(19, 3)], task.scales)
    rows = np.ascontiguousarray(task.rows)
    for wrong in (rows[:19], rows.astype(np.float64), np.asfortranarray(rows)):
        with pytest.raises(ContractError, match="are no copy of a block of 20 rows and 2 features"):
            engine.assign(task.block, task.weights, [centres], [task.fresh(3)], task.scales, rows=wrong)


def test_a_copy_is_written_wherever_it_lies():
    """Also where its features lie in an order that whole vectors cannot be stored in."""
    rows = strategies.table("normal", 100, 9, seed=6)
    for out in (np.zeros((100, 9), np.float32).T, np.zeros((9, 200), np.float32)[:, ::2]):
        CpuEngine(1).scan(rows, None, out)
        assert np.array_equal(out, rows.T)


FULL_SCALE = float(np.nextafter(np.float32(2.0), np.float32(0)))


@pytest.mark.parametrize(
    "weight", [1, 2**16 + 1, 2**21, 2**22 - 1, 2**22, 2**22 + 1, 2**30 + 2**15, 2**31 - 1]
)
@pytest.mark.parametrize("mix", ["alone", "among ones"])
def test_blocks_close_before_int64_overflows(engines, weight, mix):
    """Full-scale values of one sign: the int64 sums of a block that did not close would wrap."""
    n = 60
    rows = np.full((n, 2), FULL_SCALE, np.float32)
    rows[::7] *= np.float32(-0.37)
    weights = np.full(n, float(weight))
    if mix == "among ones":
        weights[::2] = 1.0
    task = Task(rows, weights)
    first = np.array([[3.0, 3.0], [-1.0, -1.0], [1.0, 1.0]], np.float32)
    second = np.array([[-1.0, -1.0], [3.0, 3.0], [9.0, 9.0]], np.float32)
    for engine in engines:
        state = task.fresh(3)
        for centres in (first, second, first):
            check(task, engine, centres, state, task.expected(centres), n)


@pytest.mark.parametrize("weight", [None, 1.0 - 2.0**-24])
def test_blocks_of_many_rows_close(weight):
    """2**23 full-scale rows of one sign in one cluster would wrap an int64 that was never carried."""
    n = (1 << 23) + 5
    block = np.full((1, n), FULL_SCALE, np.float32)
    weights = None if weight is None else np.full(n, weight)
    facts = WeightRange.of(weights, n)
    scales = Scales.of(np.array([FULL_SCALE]), facts)
    task = Task(block[:, :1].T, None if weight is None else weights[:1])
    assert scales.exponent.tolist() == task.scales.exponent.tolist()
    state, engine = AssignState.fresh(n, 2), CpuEngine(1)
    for centres in (np.array([[1.0], [9.0]], np.float32), np.array([[9.0], [1.0]], np.float32)):
        one = task.expected(centres)
        [result] = engine.assign(
            block, Weights.of(weights, facts.mode()), [centres], [state], scales, inertia=True
        )
        assert contents(result.sums) == (
            [n * m for m in one.mass],
            [[n * t for t in row] for row in one.total],
            n * one.inertia,
        )
        assert max(map(abs, result.sums.total.to_ints())) > 2**63


@pytest.mark.parametrize("weight", [1.0, 2.0**31 - 1, 2.0**20 + 0.5])
def test_inertia_of_huge_and_subnormal_distances(engines, weight):
    rows = np.array([[2.0**50], [-(2.0**45)], [2.0**-70], [3 * 2.0**-75], [0.0], [1.0]] * 4, np.float32)
    rows = rows if weight == 1.0 else np.clip(rows, -(2.0**47), 2.0**46).astype(np.float32)
    task = Task(rows, np.full(24, weight))
    centres = np.zeros((1, 1), np.float32)
    check(task, engines[0], centres, task.fresh(1), task.expected(centres), 24)
