"""Bounds of the CPU engine: on or off, in use or not, the same labels and sums, limb for limb."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.lloyd import LloydState, step
from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu import engine as engine_module
from gpuseg.engines.cpu.bounds import Bounds, PassCosts, margins, paying_share
from gpuseg.engines.cpu.engine import CpuEngine
from tests import strategies


def blobs(n, d, k, seed):
    """Rows around k centres that are well apart."""
    draw = np.random.default_rng(seed)
    return (draw.normal(0, 8, (k, d))[draw.integers(0, k, n)] + draw.normal(0, 1, (n, d))).astype(np.float32)


def passes(engine, rows, weights, starts, *, row_major=False, inertia=False):
    """Labels, sums and distances computed of one pass after the other."""
    facts = WeightRange.of(weights, len(rows))
    held = Weights.of(weights, facts.mode())
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), facts)
    block = np.ascontiguousarray(rows.T)
    state = AssignState.fresh(len(rows), len(starts[0]))
    for centres in starts:
        [result] = engine.assign(
            block, held, [centres], [state], scales, inertia=inertia, rows=rows if row_major else None
        )
        yield state.labels.copy(), result.sums, result.computed


def lloyd_centres(rows, weights, centres, n_passes):
    """Centres of each pass of a fit without bounds."""
    state = LloydState(centres, 0, 0.0, n_passes)
    found = []
    while not state.finished:
        found.append(state.centres)
        [(_, sums, _)] = passes(CpuEngine(1, bounds=False), rows, weights, [state.centres])
        state = step(state, sums)
    return found


def require_same(rows, weights, starts, bounds="hamerly"):
    """Compare passes with bounds to those without; returns the distances computed with them."""
    computed = []
    for inertia in (True, False):
        plain = list(passes(CpuEngine(1, bounds=False), rows, weights, starts, inertia=inertia))
        for row_major in (True, False):
            ours = passes(
                CpuEngine(1, bounds=bounds), rows, weights, starts, row_major=row_major, inertia=inertia
            )
            computed.clear()
            for expected, found in zip(plain, ours, strict=True):
                assert np.array_equal(expected[0], found[0])
                assert strategies.same(expected[1], found[1])
                computed.append(found[2])
    return computed


@pytest.fixture(params=[0.01, 0.2, 2.0], ids=["dense", "mixed", "gathered"])
def always(monkeypatch, request):
    """Bounds from the second pass on, whatever they cost; tiles with a larger share of doubtful rows are dense."""
    monkeypatch.setattr(engine_module, "paying_share", lambda d, k, costs: request.param)
    if request.param < 1:
        monkeypatch.setattr(Bounds, "doubtful_share", lambda self, labels, ranges: 0.0)


@pytest.mark.parametrize("kind", strategies.KINDS)
@pytest.mark.parametrize("weighting", ["none", "integer", "real"])
@pytest.mark.parametrize(("d", "k"), [(1, 2), (3, 5), (8, 8), (9, 17), (33, 20)])
def test_a_fit_is_the_same_with_bounds(always, kind, weighting, d, k):
    rows = strategies.table(kind, 3000, d, seed=d)
    weights = strategies.weight_array(weighting, 3000, seed=k)
    starts = lloyd_centres(rows, weights, strategies.centres(rows, k, seed=1), 7)
    require_same(rows, weights, starts)


@given(strategies.data_sets(), st.integers(2, 40), st.integers(0, 2**32), st.integers(-30, 0))
def test_centres_that_move_anywhere_change_no_bit(data, k, seed, reach):
    rows, weights = data
    if not len(rows) or not (weights is None or (weights > 0).any()):
        return
    draw = np.random.default_rng(seed)
    starts = [strategies.centres(rows, k, seed)]
    for _ in range(5):
        moved = starts[-1] + draw.normal(0, 2.0**reach, starts[-1].shape).astype(np.float32)
        starts.append(np.where(draw.random((k, 1)) < 0.5, moved, starts[-1]).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "paying_share", lambda d, k, costs: 2.0)
        require_same(rows, weights, starts)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("d", [1, 2, 7, 64])
def test_rows_between_two_centres_that_creep_are_never_skipped_wrongly(monkeypatch, offset, d):
    """Rows at the border of two segments, centres that move by last bits: bounds at their limit."""
    monkeypatch.setattr(engine_module, "paying_share", lambda d, k, costs: 2.0)
    draw = np.random.default_rng(d)
    middle = draw.normal(offset, 1, d)
    towards = draw.normal(0, 1, d)
    towards /= np.linalg.norm(towards)
    along = draw.normal(0, 2.0 ** draw.integers(-26, -2, (20_000, 1)), (20_000, 1)) * towards
    rows = (middle + along + draw.normal(0, 1e-3, (20_000, d))).astype(np.float32)
    starts = [np.array([middle - towards, middle + towards], np.float32)]
    for _ in range(12):
        creep = draw.integers(-3, 4, (2, d)) * np.spacing(np.abs(starts[-1]))
        starts.append((starts[-1] + creep).astype(np.float32))
    computed = require_same(rows, None, starts)
    if offset < 1e5:  # there the last bits are as large as what decides
        assert computed[-1] < 0.9 * computed[0]


def test_a_settled_fit_computes_next_to_nothing():
    rows = blobs(60_000, 16, 12, seed=5)
    starts = lloyd_centres(rows, None, strategies.centres(rows, 12, seed=3), 15)
    computed = require_same(rows, None, [*starts, *starts[-1:] * 3])
    assert computed[0] == 60_000 * 12
    assert computed[-1] == 0


def test_bounds_that_do_not_pay_are_given_up_and_taken_up_again(monkeypatch):
    monkeypatch.setattr(engine_module, "paying_share", lambda d, k, costs: 0.05)
    rows = blobs(70_000, 4, 6, seed=5)
    centres = strategies.centres(rows, 6, seed=3)
    still = [centres * np.float32(1 + i * 2.0**-23) for i in range(4)]
    far = [np.roll(centres, i, axis=0) for i in (1, 2, 3)]
    computed = require_same(rows, None, [*still, *far, *[far[-1]] * 4])
    all_of_them = 70_000 * 6
    assert computed[:2] == [all_of_them] * 2
    assert computed[2:4] == [0, 0]
    assert computed[4:7] == [all_of_them] * 3
    assert computed[-1] == 0


@pytest.mark.parametrize("n", [1000, 2049, 30_000])
@pytest.mark.parametrize("d", [1, 3, 8, 13, 21])
def test_distances_of_rows_that_bounds_vouch_for_are_the_chain(monkeypatch, n, d):
    """Most rows are compared with their own centre alone, the others with all."""
    monkeypatch.setattr(engine_module, "paying_share", lambda d, k, costs: 0.5)
    rows = np.ascontiguousarray(blobs(n, d, 5, seed=n))
    centres = strategies.centres(rows, 5, seed=3)
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, n))
    block, held = np.ascontiguousarray(rows.T), Weights.of(None, scales.mode)
    state = AssignState.fresh(n, 5)
    engine, distance = CpuEngine(2), np.empty(n, np.float32)
    for moved in (centres, centres, np.nextafter(centres, np.float32(9))):
        engine.assign(block, held, [moved], [state], scales, rows=rows)
    moved = np.nextafter(moved, np.float32(9))
    [result] = engine.assign(block, held, [moved], [state], scales, distance=distance, rows=rows)
    assert result.computed < 0.8 * n * 5
    plain, expected = AssignState.fresh(n, 5), np.empty(n, np.float32)
    CpuEngine(1, bounds=False).assign(block, held, [moved], [plain], scales, distance=expected)
    assert np.array_equal(state.labels, plain.labels)
    assert np.array_equal(distance.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kept", [True, False], ids=["slack", "sample"])
@pytest.mark.parametrize("n", [999, 20_000])
def test_with_the_same_centres_again_no_row_is_compared_with_others(monkeypatch, kept, n):
    monkeypatch.setattr(engine_module, "paying_share", lambda d, k, costs: 0.3)
    if kept:
        monkeypatch.setattr(Bounds, "doubtful_share", lambda self, labels, ranges: 0.0)
    rows = blobs(n, 11, 7, seed=n)
    starts = lloyd_centres(rows, None, strategies.centres(rows, 7, seed=3), 3)
    computed = require_same(rows, None, [*starts, starts[-1], starts[-1]])
    assert computed[0] == n * 7
    assert computed[-2:] == [0, 0]


def test_where_distances_are_cheap_bounds_never_pay():
    assert paying_share(2, 3) == 0.0
    assert paying_share(1, 2) == 0.0


def test_the_share_that_pays_grows_with_the_work_saved():
    for costs in (PassCosts(), PassCosts(row_major=True)):
        shares = [paying_share(*shape, costs) for shape in [(8, 8), (32, 16), (64, 64)]]
        assert 0 < shares[0] < shares[1] < shares[2] < 1


def test_rows_that_lie_side_by_side_pay_sooner_and_distances_later():
    plain = paying_share(64, 64)
    assert paying_share(64, 64, PassCosts(row_major=True)) > plain
    assert paying_share(64, 64, PassCosts(distances=True)) < plain


def test_one_centre_and_another_number_of_centres_need_no_bounds():
    rows = blobs(2000, 8, 8, seed=1)
    state = AssignState.fresh(2000, 8)
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, 2000))
    block = np.ascontiguousarray(rows.T)
    for k in (8, 7, 1):
        engine = CpuEngine(1)
        state.sums = None
        engine.assign(block, Weights.ones(), [rows[:k].copy()], [state], scales)
        assert (state.kept is None) == (k == 1)


def test_rounding_is_against_the_row():
    bounds = Bounds.fresh(3, np.array([[0.0, 0.1], [5.0, 5.0]], np.float32))
    for i in range(1, 9):
        bounds = bounds.moved_to(np.array([[0.1 * i, 0.3], [5.0, 5.0 + 0.7 * i]], np.float32))
        assert (bounds.ceilings.astype(np.float64) >= bounds.spent).all()
        assert (bounds.floors.astype(np.float64) <= bounds.spent).all()
    share, least = margins(8)
    assert share >= (4 * 12 + 8) * 2.0**-23
    assert least >= 3 * np.sqrt(8.0) * 2.0**-74
