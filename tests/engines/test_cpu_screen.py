"""The screen of the CPU engine: asked for or not, the same labels, sums and distances; its bound holds for any BLAS."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.moments import Scales
from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu import engine as engine_module
from gpuseg.engines.cpu import routes
from gpuseg.engines.cpu.bounds import Bounds
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.cpu.screened import sift_tile
from gpuseg.engines.cpu.screening import LARGEST, MOST_FEATURES, UNIT, limits, screen_of
from gpuseg.errors import InputError
from tests import strategies


def run(engine, rows, weights, starts, *, outputs=True, row_major=False):
    """Labels, sums, distances and the result of passes one after the other, each model with a state of its own."""
    facts = WeightRange.of(weights, len(rows))
    held = Weights.of(weights, facts.mode())
    scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), facts)
    block = rows.copy().T if row_major else np.ascontiguousarray(rows.T)
    block.flags.writeable = False
    state = AssignState.fresh(len(rows), len(starts[0]))
    for centres in starts:
        distance = np.empty(len(rows), np.float32) if outputs else None
        [result] = engine.assign(block, held, [centres], [state], scales, inertia=outputs, distance=distance)
        yield state.labels.copy(), result.sums, distance, result


def require_same(rows, weights, starts, *, bounds=False):
    """Compare passes with the screen to those without; returns the results with it."""
    found = []
    for outputs in (True, False):
        plain = run(CpuEngine(1, bounds=False, screen=False), rows, weights, starts, outputs=outputs)
        ours = run(
            CpuEngine(2, bounds=bounds, screen=True), rows, weights, starts,
            outputs=outputs, row_major=outputs and rows.shape[1] >= 8,
        )  # fmt: skip
        for expected, got in zip(plain, ours, strict=True):
            assert np.array_equal(expected[0], got[0])
            assert strategies.same(expected[1], got[1])
            assert expected[3].moved == got[3].moved
            if outputs:
                assert expected[2].tobytes() == got[2].tobytes()
            assert expected[3].screened == 0
            found.append(got[3])
    return found


SHAPES = [(1, 1), (1, 2), (2, 3), (7, 5), (16, 8), (33, 20), (64, 64), (300, 17), (5, 300)]


@pytest.mark.parametrize("kind", strategies.KINDS)
@pytest.mark.parametrize(("d", "k"), SHAPES)
def test_passes_are_the_same_with_the_screen(kind, d, k):
    n = 2500 if d * k < 1000 else 1100
    rows = strategies.table(kind, n, d, seed=d)
    weighting = strategies.WEIGHTS[(d + k + len(kind)) % len(strategies.WEIGHTS)]
    starts = [strategies.centres(rows, k, seed) for seed in (1, 1, 2)]
    for result in require_same(rows, strategies.weight_array(weighting, n, seed=k), starts):
        assert result.screened >= n - 2 * 16
        assert result.computed == n * k


@given(
    st.sampled_from(strategies.KINDS), st.sampled_from(strategies.WEIGHTS), st.integers(1, 90), st.integers(1, 70),
    st.integers(1, 20), st.integers(-40, 40), st.sampled_from([0.0, 0.0, 1.0, 1e5]), st.integers(0, 2**32),
)  # fmt: skip
def test_any_table_scale_and_offset_give_the_same_pass(kind, weighting, n, d, k, scale, offset, seed):
    rows = strategies.table(kind, n, d, seed)
    if kind != "huge":
        rows = np.clip(rows * np.float32(2.0**scale), -(2.0**49), 2.0**49).astype(np.float32)
    rows = rows + np.float32(offset)
    starts = [strategies.centres(rows, k, seed + s) for s in range(2)]
    require_same(rows, strategies.weight_array(weighting, n, seed), starts)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("d", [1, 2, 7, 64, 300])
def test_rows_that_are_one_ulp_from_a_tie_are_redone(d, offset):
    """Rows on the plane between two centres, moved by last bits of their features."""
    draw = np.random.default_rng(d)
    centres = draw.normal(offset, 1, (3, d)).astype(np.float32)
    middle = ((centres[0].astype(np.float64) + centres[1]) / 2).astype(np.float32)
    away = (centres[0] - centres[1]).astype(np.float64)
    along = draw.normal(0, 1, (3000, d))
    along -= (along @ away)[:, None] * away / (away @ away)
    rows = (middle + along * draw.choice([0, 1e-3, 1.0], (3000, 1))).astype(np.float32)
    ulps = draw.integers(-2, 3, (3000, d)) * np.spacing(np.abs(rows))
    rows = (rows + ulps).astype(np.float32)
    for result in require_same(rows, None, [centres, centres[::-1].copy()]):
        assert result.redone > (100 if offset < 1e5 else -1)  # there one ulp is more than the bound
    [first, *_] = require_same(rows, None, [centres[[0, 1, 1, 0, 2]]])
    assert first.redone > 0.9 * first.screened, "twins tie, and the lower of them wins"


def test_hardly_any_row_of_ordinary_data_is_redone():
    draw = np.random.default_rng(3)
    rows = (
        draw.normal(0, 0.6, (20, 64))[draw.integers(0, 20, 20_000)] + draw.normal(0, 1, (20_000, 64))
    ) + 30
    rows[:, :3] = draw.lognormal(0, 2, (20_000, 3))
    rows = rows.astype(np.float32)
    rows[0] *= 1000  # a centre far off must not loosen the bound of the others
    starts = [rows[:20].copy(), rows[20:40].copy()]
    for result in require_same(rows, None, starts):
        assert result.screened == len(rows)
        assert result.redone < 0.01 * len(rows)


def test_one_centre_is_certain():
    [result, _] = require_same(strategies.table("normal", 160, 3, 0), None, [np.zeros((1, 3), np.float32)])
    assert (result.screened, result.redone) == (160, 0)


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_passes_that_keep_bounds_stay_the_same(monkeypatch, share):
    """Sampled tiles, passes that keep every row's slack, and passes that use it go by the chain."""
    monkeypatch.setattr(engine_module, "paying_share", lambda d, k, costs: share)
    rows = strategies.table("normal", 70_000, 4, 1)
    centres = strategies.centres(rows, 6, seed=3)
    starts = [centres * np.float32(1 + i * 2.0**-23) for i in range(4)]
    starts += [np.roll(centres, 1, axis=0), *[np.roll(centres, 2, axis=0)] * 2]
    results = require_same(rows, None, starts, bounds=True)
    assert results[0].screened == len(rows) - (0 if share == 0 else len(rows) // (32 * 1024) * 1024 + 1024)
    assert len({result.screened for result in results}) == (1 if share == 0 else 2)


def test_slack_is_the_same_with_the_screen(monkeypatch):
    monkeypatch.setattr(engine_module, "paying_share", lambda d, k, costs: 0.001)
    rows = strategies.table("normal", 70_000, 4, 1)
    block, scales = np.ascontiguousarray(rows.T), Scales.of(np.ones(4) * 8, WeightRange.of(None, len(rows)))
    kept = []
    for screen in (True, False):
        state = AssignState.fresh(len(rows), 6)
        CpuEngine(2, screen=screen).assign(
            block, Weights.ones(), [strategies.centres(rows, 6, 3)], [state], scales
        )
        assert isinstance(state.kept, Bounds)
        kept.append(state.kept.slack[:1024])
    assert np.array_equal(*kept)


def test_several_models_and_labels_alone():
    rows = strategies.table("normal", 5000, 40, 1)
    block, scales = np.ascontiguousarray(rows.T), Scales.of(np.ones(40) * 8, WeightRange.of(None, len(rows)))
    models = [strategies.centres(rows, k, k) for k in (3, 300, 1)]
    outcomes = []
    for engine in (CpuEngine(2, screen=True), CpuEngine(1, screen=False)):
        states = [AssignState.fresh(len(rows), len(c)) for c in models]
        both = engine.assign(block, Weights.ones(), models, states, scales)
        alone = engine.assign(block, Weights.ones(), models, states, scales, sums=False)
        assert [r.screened > 0 for r in both + alone] == [engine.screen] * 6
        outcomes.append(([s.labels.tolist() for s in states], both))
    assert outcomes[0][0] == outcomes[1][0]
    assert all(strategies.same(a.sums, b.sums) for a, b in zip(outcomes[0][1], outcomes[1][1], strict=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2.0**100])
def test_centres_that_no_bound_holds_for_go_by_the_chain(bad):
    rows = strategies.table("normal", 300, 3, 0)
    centres = rows[:4].copy()
    centres[2, 1] = bad
    assert screen_of(centres) is None
    for result in require_same(rows, None, [centres]):
        assert result.screened == 0


def test_too_many_features_or_centres_go_by_the_chain():
    assert screen_of(np.zeros((2, MOST_FEATURES + 1), np.float32)) is None
    rows = strategies.table("normal", 40, 1, 0)
    [result, _] = require_same(rows, None, [np.zeros((20_000, 1), np.float32)])
    assert result.screened == 0


def test_rows_too_long_for_the_bound_are_redone():
    rows = np.full((32, 2), LARGEST * 2, np.float32)
    rows[:16] = 1
    block, scales = np.ascontiguousarray(rows.T), Scales.of(np.ones(2), WeightRange.of(None, 32))
    state = AssignState.fresh(32, 2)
    centres = np.array([[0, 0], [1, 1]], np.float32)
    [result] = CpuEngine(1, screen=True).assign(block, Weights.ones(), [centres], [state], scales, sums=False)
    assert (result.screened, result.redone) == (32, 16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**127])
def test_what_rows_of_weight_zero_hold_disturbs_no_other_row(bad):
    rows, weights = strategies.table("normal", 640, 9, 0), np.ones(640)
    centres = strategies.centres(rows, 8, 1)
    weights[::5] = 0
    rows[::5, 3] = bad
    rows[::10] = bad
    with np.errstate(all="raise", under="ignore"):
        [(_, _, _, result)] = run(
            CpuEngine(1, bounds=False, screen=True), np.where(weights[:, None] > 0, rows, 0), None, [centres]
        )
    assert result.redone < 64
    block, held = np.ascontiguousarray(rows.T), Weights.of(weights, WeightRange.of(weights, 640).mode())
    scales = Scales.of(np.full(9, 8.0), WeightRange.of(weights, 640))
    outcomes = []
    for screen in (True, False):
        state = AssignState.fresh(640, 8)
        [found] = CpuEngine(1, bounds=False, screen=screen).assign(block, held, [centres], [state], scales)
        outcomes.append((state.labels.tolist(), found))
    assert outcomes[0][0] == outcomes[1][0]
    assert strategies.same(outcomes[0][1].sums, outcomes[1][1].sums)
    assert 128 <= outcomes[0][1].redone < 192


@pytest.mark.parametrize("value", [0, 1, np.False_])
def test_what_only_equals_a_truth_value_is_none(value):
    with pytest.raises(InputError, match="screen="):
        CpuEngine(screen=value)
    with pytest.raises(InputError, match="bounds="):
        CpuEngine(bounds=value)


def test_what_the_screen_may_be_is_checked():
    with pytest.raises(InputError, match="screen='always' is not one of"):
        CpuEngine(screen="always")


# The bound itself, with products as any BLAS may give them.


def in_order(terms):
    acc = np.zeros(terms.shape[:-1], np.float32)
    for f in range(terms.shape[-1]):
        acc = acc + terms[..., f]
    return acc


def in_pairs(terms):
    while terms.shape[-1] > 1:
        if terms.shape[-1] % 2:
            terms = np.concatenate([terms, np.zeros_like(terms[..., :1])], axis=-1)
        terms = terms[..., ::2] + terms[..., 1::2]
    return terms[..., 0]


def in_blocks(terms):
    parts = [in_order(terms[..., at : at + 7]) for at in range(0, terms.shape[-1], 7)]
    return in_order(np.stack(parts, axis=-1))


def flushed(terms):
    """Subnormal numbers count as 0, also in between."""
    acc = np.zeros(terms.shape[:-1], np.float32)
    for f in range(terms.shape[-1]):
        acc = acc + np.where(np.abs(terms[..., f]) < 2.0**-126, np.float32(0), terms[..., f])
        acc = np.where(np.abs(acc) < 2.0**-126, np.float32(0), acc)
    return acc


def fused(terms64):
    acc = np.zeros(terms64.shape[:-1], np.float32)
    for f in range(terms64.shape[-1]):
        acc = (acc.astype(np.float64) + terms64[..., f]).astype(np.float32)
    return acc


ORDERS = {
    "in order": in_order,
    "reversed": lambda terms: in_order(terms[..., ::-1]),
    "pairs": in_pairs,
    "blocks": in_blocks,
    "largest last": lambda terms: in_order(np.take_along_axis(terms, np.argsort(np.abs(terms)), -1)),
    "flushed": flushed,
}


def exact(rows, centres):
    """Squared distances as fractions [n][k]."""
    points = [[Fraction(float(v)) for v in centre] for centre in centres]
    return [
        [sum((Fraction(float(v)) - p) ** 2 for v, p in zip(row, point, strict=True)) for point in points]
        for row in rows
    ]


def lows(screen, shifted, products):
    """What the kernel makes of products [k, n]: the lower bounds, and the errors at most."""
    numbers = screen.limits.astype(np.float64)
    squares = (shifted.astype(np.float64) ** 2).sum(axis=1).astype(np.float32)
    length = np.float32(np.sqrt(squares * numbers[0] + numbers[1])) * screen.limits[2]
    low = (screen.levels[:, None] - 2.0 * products.astype(np.float64)).astype(np.float32)
    low = (low - length.astype(np.float64) * screen.reach[:, None]).astype(np.float32)
    return low, length.astype(np.float64) * screen.reach[:, None] + screen.least[:, None].astype(np.float64)


@pytest.mark.parametrize("order", [*ORDERS, "fused"])
@pytest.mark.parametrize("kind", strategies.KINDS)
@pytest.mark.parametrize("d", [1, 3, 40])
def test_exact_distances_lie_where_the_screen_says(order, kind, d):
    rows, k = strategies.table(kind, 12, d, seed=d), 5
    rows = rows + np.float32(100.0 if kind == "normal" else 0.0)
    centres = strategies.centres(rows, k, seed=2)
    screen = screen_of(centres)
    shifted = rows - screen.middle
    wide = screen.moved[:, None, :].astype(np.float64) * shifted[None]
    products = fused(wide) if order == "fused" else ORDERS[order](wide.astype(np.float32))
    low, error = lows(screen, shifted, products)
    middle = [[Fraction(float(v)) for v in screen.middle]]
    for j, distances in enumerate(exact(rows, centres)):
        row = [Fraction(float(v)) for v in rows[j]]
        own = sum((a - b) ** 2 for a, b in zip(row, middle[0], strict=True))
        for c, distance in enumerate(distances):
            lowest = Fraction(float(low[c, j]))
            assert lowest <= distance - own <= lowest + 2 * Fraction(float(error[c, j]))


def sifted(screen, shifted, products, *, share=1.0):
    """Labels that the kernel keeps (-1: left open), with its bounds taken times ``share``."""
    n, d = shifted.shape
    reach, least = screen.reach * np.float32(share), screen.least * np.float32(share)
    levels = screen.levels + screen.least * np.float32(1 - share)
    numbers = limits(d)
    numbers[3:] *= np.float32(share)
    squares = (shifted.astype(np.float64) ** 2).sum(axis=1).astype(np.float32)
    labels, rows = np.empty(n, np.uint8), np.empty(n, np.int64)
    n_open = sift_tile(
        products.reshape(-1), np.int64(n), np.int64(0), np.int64(n), squares, levels, reach, least, numbers,
        np.int64(len(levels)), labels, rows,
    )  # fmt: skip
    kept = labels.astype(np.int64)
    kept[rows[:n_open]] = -1
    return kept


def chain(rows, centres):
    """Labels by ONE_ANSWER section 5."""
    found = [result[0] for result in run(CpuEngine(1, screen=False, bounds=False), rows, None, [centres])]
    return found[0].astype(np.int64)


def near_ties(d, seed, n=1600):
    """Rows on both sides of the plane between two of four centres, at distances around the last bits."""
    draw = np.random.default_rng(seed)
    centres = np.concatenate([draw.normal(0, 1, (2, d)), draw.normal(4, 1, (2, d))]).astype(np.float32)
    away = (centres[0] - centres[1]).astype(np.float64)
    away /= np.sqrt((away**2).sum())
    middle = (centres[0].astype(np.float64) + centres[1]) / 2
    step = draw.choice([-1, 1], (n, 1)) * 2.0 ** draw.uniform(-26, 0, (n, 1))
    return (middle + step * away).astype(np.float32), centres


def worst_products(screen, shifted, labels):
    """Products as wrong as a sum of d rounded products may be, against the centre that is right."""
    d = shifted.shape[1]
    wide = screen.moved[:, None, :].astype(np.float64) * shifted[None]
    error = d * UNIT * np.abs(wide).sum(axis=-1)
    right = np.arange(len(screen.moved))[:, None] == labels
    return (wide.sum(axis=-1) + np.where(right, -error, error)).astype(np.float32)


@pytest.mark.parametrize("d", [1, 2, 8, 65, 300])
def test_the_worst_blas_gives_no_wrong_label(d):
    rows, centres = near_ties(d, seed=d)
    screen, labels = screen_of(centres), chain(rows, centres)
    shifted = rows - screen.middle
    kept = sifted(screen, shifted, worst_products(screen, shifted, labels))
    certain = kept >= 0
    assert np.array_equal(kept[certain], labels[certain])
    assert 0.05 < certain.mean() < 0.95, "some rows are certain, some are not"


@pytest.mark.parametrize("share", [0.0, 0.01])
@pytest.mark.parametrize("d", [8, 65, 300])
def test_a_bound_that_lies_is_caught(d, share):
    rows, centres = near_ties(d, seed=d)
    screen, labels = screen_of(centres), chain(rows, centres)
    shifted = rows - screen.middle
    kept = sifted(screen, shifted, worst_products(screen, shifted, labels), share=share)
    certain = kept >= 0
    assert (kept[certain] != labels[certain]).sum() > 20


def test_a_lie_shows_in_a_pass(monkeypatch):
    """Without its bound the screen gives wrong labels with this machine's own BLAS, and comparing passes sees them."""
    rows, centres = near_ties(65, seed=1)
    true = routes.screen_of

    def lying(given):
        screen = true(given)
        nothing = np.zeros_like(screen.least)
        return type(screen)(screen.middle, screen.moved, screen.levels, nothing, nothing)

    chainless = limits(65) * np.array([1, 1, 1, 0, 0], np.float32)
    monkeypatch.setattr(type(true(centres)), "limits", property(lambda self: chainless))
    require_same(rows[:16], None, [rows[:1]])
    monkeypatch.setattr(routes, "screen_of", lying)
    with pytest.raises(AssertionError):
        require_same(rows, None, [centres])
