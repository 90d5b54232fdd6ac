"""Bounds of groups of centres: on or off, in use or not, the same labels and sums, limb for limb."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.memory import MOST_GROUPS, bound_bytes, group_count, has_groups
from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu import engine as engine_module
from gpuseg.engines.cpu import groups as groups_module
from gpuseg.engines.cpu.bounds import Bounds, PassCosts
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.cpu.groups import GroupBounds, margins, paying_groups, similar_centres
from gpuseg.errors import InputError
from tests import strategies
from tests.engines.test_cpu_bounds import blobs, lloyd_centres, require_same


def pay(monkeypatch, share):
    """Have groups pay up to this share of the distances; from 1 on, bounds are used from the second pass on."""
    monkeypatch.setattr(engine_module, "paying_groups", lambda d, k, costs: share)


@pytest.fixture(params=[0.01, 0.3, 2.0], ids=["dense", "mixed", "listed"])
def always(monkeypatch, request):
    """Bounds are kept and asked in every pass; what is doubtful is compared tile by tile, or by groups, or either."""
    pay(monkeypatch, request.param)
    monkeypatch.setattr(
        GroupBounds, "share", property(lambda self: 0.0, lambda self, value: None), raising=False
    )


@pytest.mark.parametrize("kind", strategies.KINDS)
@pytest.mark.parametrize("weighting", ["none", "integer", "real"])
@pytest.mark.parametrize(("d", "k"), [(9, 64), (33, 17), (20, 300)])
def test_a_fit_is_the_same_with_groups(always, kind, weighting, d, k):
    rows = strategies.table(kind, 2100, d, seed=d)
    weights = strategies.weight_array(weighting, 2100, seed=k)
    starts = lloyd_centres(rows, weights, strategies.centres(rows, k, seed=1), 6)
    require_same(rows, weights, starts, "groups")


@given(strategies.data_sets(), st.integers(2, 300), st.integers(0, 2**32), st.integers(-30, 0))
def test_centres_that_move_anywhere_change_no_bit(data, k, seed, reach):
    rows, weights = data
    if not (weights is None or (weights > 0).any()):
        return
    draw = np.random.default_rng(seed)
    starts = [strategies.centres(rows, k, seed)]
    for _ in range(5):
        moved = starts[-1] + draw.normal(0, 2.0**reach, starts[-1].shape).astype(np.float32)
        starts.append(np.where(draw.random((k, 1)) < 0.5, moved, starts[-1]).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        pay(patch, 2.0)
        require_same(rows, weights, starts, "groups")


def border(d, k, offset, seed):
    """Rows between the first two of k centres, in groups of their own, and centres that creep by last bits."""
    draw = np.random.default_rng(seed)
    middle = draw.normal(offset, 1, d)
    towards = draw.normal(0, 1, d)
    towards /= np.linalg.norm(towards)
    n = 4000
    along = draw.normal(0, 2.0 ** draw.integers(-26, -2, (n, 1)), (n, 1)) * towards
    rows = (middle + along + draw.normal(0, 1e-3, (n, d))).astype(np.float32)
    others = middle + 30 * draw.normal(0, 1, (k - 2, d))
    starts = [np.array([middle - towards, middle + towards, *others], np.float32)]
    for _ in range(10):
        creep = draw.integers(-3, 4, (k, d)) * np.spacing(np.abs(starts[-1]))
        starts.append((starts[-1] + creep).astype(np.float32))
    return rows, starts


def apart(centres):
    """Centres dealt out to the groups in turns: the first two are never in the same one."""
    k, n_groups = len(centres), group_count(len(centres))
    size = -(-k // (8 * n_groups)) * 8
    dealt = np.full((n_groups, size), -1, np.int32)
    for g in range(n_groups):
        dealt[g, : len(range(g, k, n_groups))] = range(g, k, n_groups)
    return dealt


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e5])
@pytest.mark.parametrize(("d", "k"), [(1, 9), (2, 16), (7, 30), (64, 12)])
def test_rows_between_two_groups_that_creep_are_never_skipped_wrongly(monkeypatch, offset, d, k):
    pay(monkeypatch, 2.0)
    monkeypatch.setattr(groups_module, "similar_centres", apart)
    rows, starts = border(d, k, offset, seed=d)
    computed = require_same(rows, None, starts, "groups")
    if offset < 1e5:  # there the last bits are as large as what decides
        assert computed[-1] < 0.9 * computed[0]


def coarse(d=2000):
    """Rows whose chain to the first centre grows by what last bits say: each square is half a last bit of the sum."""
    first = np.full(d, 1 - 2.0**-20)
    second = first.copy()
    second[:60] = 1 + 2.0**-20
    first[0] = second[0] = 4096
    others = np.zeros((14, d))
    others[:, 0] = 9000
    starts = [np.array([first, second, *others], np.float32)]
    moved = starts[0].copy()
    moved[0, 1:] = 1 + 2.0**-20
    return np.zeros((64, d), np.float32), [*starts, moved]


@pytest.mark.parametrize("lie", ["margins", "drifts"])
def test_bounds_that_lie_are_caught(monkeypatch, lie):
    """Without roundings, or without the centres' movements, labels are wrong; with both they are right."""
    pay(monkeypatch, 2.0)
    monkeypatch.setattr(groups_module, "similar_centres", apart)
    rows, starts = coarse() if lie == "margins" else border(7, 30, 0.0, seed=7)
    if lie == "drifts":
        starts = [*starts[:1], np.roll(starts[0], 1, axis=0)]
    require_same(rows, None, starts, "groups")
    if lie == "margins":
        nothing = (np.float32(1), np.float32(1), np.float32(0))
        monkeypatch.setattr(groups_module, "margins", lambda d: nothing)
    else:
        monkeypatch.setattr(groups_module, "drifts", lambda before, after: np.zeros(len(before)))
    with pytest.raises(AssertionError):
        require_same(rows, None, starts, "groups")


@pytest.mark.parametrize("weighting", ["none", "integer", "real"])
@pytest.mark.parametrize(("n_jobs", "lies"), [(1, "columns"), (3, "columns"), (2, "rows")])
def test_several_models_over_one_read_and_any_threads(monkeypatch, weighting, n_jobs, lies):
    pay(monkeypatch, 2.0)
    n, d, ks = 14_003, 21, (40, 300, 9, 1)
    rows = blobs(n, d, 40, seed=3)
    weights = strategies.weight_array(weighting, n, seed=4)
    facts = WeightRange.of(weights, n)
    held, scales = (
        Weights.of(weights, facts.mode()),
        Scales.of(np.abs(rows).max(axis=0).astype(np.float64), facts),
    )
    rows = np.ascontiguousarray(rows)
    block = rows.T if lies == "rows" else np.ascontiguousarray(rows.T)
    centres = [strategies.centres(rows, k, seed=k) for k in ks]
    engines = [CpuEngine(n_jobs, bounds="groups"), CpuEngine(1, bounds=False)]
    states = [[AssignState.fresh(n, k) for k in ks] for _ in engines]
    for inertia in (False, False, True, False):
        ours, plain = (
            engine.assign(block, held, centres, kept, scales, inertia=inertia)
            for engine, kept in zip(engines, states, strict=True)
        )
        for found, expected, a, b in zip(ours, plain, *states, strict=True):
            assert strategies.same(found.sums, expected.sums)
            assert found.moved == expected.moved
            assert found.computed <= expected.computed
            assert np.array_equal(a.labels, b.labels)
        means = [result.sums.means() for result in plain]
        centres = [
            np.where(np.isnan(m), c, m).astype(np.float32) for m, c in zip(means, centres, strict=True)
        ]
    assert sum(r.computed for r in ours) < 0.7 * sum(r.computed for r in plain)


@pytest.mark.parametrize("n", [7, 999, 20_000])
def test_distances_of_rows_that_groups_vouch_for_are_the_chain(monkeypatch, n):
    pay(monkeypatch, 2.0)
    d, k = 13, 30
    rows = np.ascontiguousarray(blobs(n, d, k, seed=n))
    centres = strategies.centres(rows, k, seed=3)
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, n))
    block, held = np.ascontiguousarray(rows.T), Weights.of(None, scales.mode)
    state = AssignState.fresh(n, k)
    engine, distance = CpuEngine(2, bounds="groups"), np.empty(n, np.float32)
    for _ in range(2):
        engine.assign(block, held, [centres], [state], scales, rows=rows)
    moved = np.nextafter(centres, np.float32(9))
    for again in range(2):  # as they were: no bound is asked
        [result] = engine.assign(block, held, [moved], [state], scales, distance=distance, rows=rows)
        assert result.computed <= (0 if again else 0.5) * n * k + n % 16 * k
        plain, expected = AssignState.fresh(n, k), np.empty(n, np.float32)
        CpuEngine(1, bounds=False).assign(block, held, [moved], [plain], scales, distance=expected)
        assert np.array_equal(state.labels, plain.labels)
        assert np.array_equal(distance.view(np.uint32), expected.view(np.uint32))


def test_groups_that_do_not_pay_are_given_up_and_taken_up_again(monkeypatch):
    pay(monkeypatch, 0.3)
    n, k = 70_000, 24
    rows = blobs(n, 4, k, seed=5)
    centres = strategies.centres(rows, k, seed=3)
    still = [centres * np.float32(1 + i * 2.0**-23) for i in range(5)]
    far = [np.roll(centres, i, axis=0) for i in (1, 2, 3, 4)]
    again = [far[-1] * np.float32(1 + i * 2.0**-23) for i in range(1, 5)]
    computed = require_same(rows, None, [*still, *far, *again], "groups")
    all_of_them = n * k
    assert computed[0] == all_of_them
    assert 0.9 * all_of_them < computed[1] <= computed[0]  # tried out on the sample
    assert max(computed[3:5]) < 0.01 * all_of_them
    assert min(computed[5:9]) > 0.8 * all_of_them
    assert computed[-1] < 0.3 * all_of_them


def test_groups_are_tried_out_beside_a_screen(monkeypatch):
    pay(monkeypatch, 0.3)
    n, d, k = 40_000, 16, 40
    rows = blobs(n, d, k, seed=5)
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, n))
    block = np.ascontiguousarray(rows.T)
    ours, plain = AssignState.fresh(n, k), AssignState.fresh(n, k)
    engine, computed, screened = CpuEngine(2, bounds="groups", screen=True), [], []
    for centres in lloyd_centres(rows, None, strategies.centres(rows, k, seed=3), 9):
        [found] = engine.assign(block, Weights.ones(), [centres], [ours], scales)
        [expected] = CpuEngine(1, bounds=False).assign(block, Weights.ones(), [centres], [plain], scales)
        assert strategies.same(found.sums, expected.sums)
        assert np.array_equal(ours.labels, plain.labels)
        computed.append(found.computed)
        screened.append(found.screened)
    assert screened[0] > 0.9 * n
    assert computed[0] == n * k
    assert screened[-1] == 0
    assert computed[-1] < 0.3 * n * k


def test_a_settled_fit_computes_nothing():
    rows = blobs(30_000, 16, 120, seed=5)
    starts = lloyd_centres(rows, None, strategies.centres(rows, 120, seed=3), 4)
    computed = require_same(rows, None, [*starts, *starts[-1:] * 2], "groups")
    assert computed[0] == 30_000 * 120
    assert computed[-2:] == [0, 0]


@pytest.mark.parametrize("k", [1, 2, 7, 8, 9, 64, 255, 256, 257, 300, 1000])
def test_groups_share_out_every_centre_once(k):
    centres = np.random.default_rng(k).normal(0, 1, (k, 3)).astype(np.float32)
    groups = similar_centres(centres)
    assert np.array_equal(np.sort(groups[groups >= 0]), np.arange(k))
    assert len(groups) == group_count(k) <= MOST_GROUPS
    assert groups.shape[1] % 8 == 0
    assert (groups >= 0).any(axis=1).all()
    for group in groups:
        there = group[group >= 0]
        assert np.array_equal(there, np.sort(there))
        assert np.array_equal(group[: there.size], there)


def test_what_a_plan_counts_is_what_is_held():
    n, d, k = 3200, 64, 256
    rows = blobs(n, d, k, seed=1)
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, n))
    for shape_k, kind in ((k, GroupBounds), (8, Bounds)):
        state = AssignState.fresh(n, shape_k)
        CpuEngine(1).assign(
            np.ascontiguousarray(rows.T), Weights.ones(), [rows[:shape_k].copy()], [state], scales
        )
        assert isinstance(state.kept, kind)
        assert has_groups(d, shape_k) == (kind is GroupBounds)
        beside = 16 * shape_k * (d + 1)
        assert n * bound_bytes(d, shape_k) <= state.kept.host_bytes <= n * bound_bytes(d, shape_k) + beside
    assert bound_bytes(8, 8) == 4
    assert bound_bytes(64, 10_000) == 4 * (1 + group_count(10_000)) <= 4 * (1 + MOST_GROUPS)


def test_other_names_of_bounds_are_refused():
    with pytest.raises(InputError, match="bounds='elkan'"):
        CpuEngine(bounds="elkan")


def test_the_share_that_pays_grows_with_the_work_saved():
    shares = [paying_groups(*shape, PassCosts()) for shape in [(8, 64), (32, 64), (64, 64)]]
    assert 0 <= shares[0] < shares[1] < shares[2] < 1
    assert paying_groups(64, 64, PassCosts(distances=True)) < shares[2]
    assert paying_groups(1, 2, PassCosts()) == 0.0


def test_rounding_is_against_the_row():
    bounds = GroupBounds.fresh(32, np.array([[0.0, 0.1], [5.0, 5.0]], np.float32))
    own = np.zeros(2)
    for i in range(1, 9):
        before = bounds.centres.astype(np.float64)
        bounds = bounds.moved_to(np.array([[0.1 * i, 0.3], [5.0, 5.0 + 0.7 * i]], np.float32))
        own += np.linalg.norm(bounds.centres - before, axis=1)
        assert (bounds.own >= own * (1 + 6 * 2.0**-23)).all()
    grow, shrink, least = margins(8)
    assert grow >= (1 + 12 * 2.0**-23) ** 2 + 8 * 2.0**-23
    assert shrink <= (1 - 12 * 2.0**-23) ** 2 - 8 * 2.0**-23
    assert least >= 4 * np.sqrt(8.0) * 2.0**-74
