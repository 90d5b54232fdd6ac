"""Rows that lie side by side are turned on the way, some at a time: the same bits as of a feature-major copy."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg.core.blocks import TURNED, is_row_major
from gpuseg.core.moments import Scales
from gpuseg.core.silhouette import ClusterShape
from gpuseg.core.weights import WeightRange, Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu.engine import CpuEngine
from tests import strategies
from tests.engines.test_cpu_assign import contents

SIZES = [
    (2, 8),
    (15, 9),
    (16, 8),
    (17, 12),
    (33, 16),
    (1023, 8),
    (1024, 33),
    (1025, 12),
    (3001, 40),
    (9_000, 9),
]


def both(n, d, kind="ties"):
    """Rows (n, d) in C order, and the blocks: a copy, and the rows seen from the side."""
    rows = np.ascontiguousarray(strategies.table(kind, n, d, seed=n + d))
    assert is_row_major(rows.T)
    return rows, np.ascontiguousarray(rows.T), rows.T


@pytest.mark.parametrize("weight", ["none", "integer", "real"])
@pytest.mark.parametrize("bounds", [True, False])
def test_passes_are_those_of_a_copy(engines, weight, bounds):
    for n, d in SIZES:
        rows, copy, turned = both(n, d)
        values = strategies.weight_array(weight, n, seed=n)
        facts = WeightRange.of(values, n)
        scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), facts)
        weights = Weights.of(values, facts.mode())
        for engine in (CpuEngine(one.n_jobs, bounds=bounds) for one in engines):
            states = [[AssignState.fresh(n, k) for k in (2, 7)] for _ in range(2)]
            for step in range(4):
                # Centres that hardly move, so that bounds hold; the last pass is settled.
                models = [
                    strategies.centres(rows, k, seed=k) * np.float32(1 + 2.0 ** -(6 + min(step, 2)))
                    for k in (2, 7)
                ]
                inertia = step != 1
                distances = [np.empty(n, np.float32) for _ in range(2)]
                found = [
                    engine.assign(block, weights, models, own, scales, inertia=inertia, rows=given)
                    for block, own, given in ((copy, states[0], rows), (turned, states[1], None))
                ]
                assert [contents(one.sums) for one in found[0]] == [contents(one.sums) for one in found[1]]
                assert [one.moved for one in found[0]] == [one.moved for one in found[1]]
                for a, b in zip(*states, strict=True):
                    assert np.array_equal(a.labels, b.labels)
                for block, out in zip((copy, turned), distances, strict=True):
                    one = [AssignState.fresh(n, 7)]
                    engine.assign(block, weights, models[1:], one, scales, distance=out)
                assert distances[0].tobytes() == distances[1].tobytes()


def test_range_and_moments_are_those_of_a_copy(engines):
    for n, d in SIZES:
        rows, copy, turned = both(n, d, "normal")
        rows[n // 2, d - 1] = -9.5
        copy[:] = rows.T
        facts = WeightRange.of(None, n)
        scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), facts)
        for engine in engines:
            seen, expected = (engine.scan(block.T, None, None) for block in (turned, copy))
            assert seen.minimum.tolist() == expected.minimum.tolist()
            assert seen.maximum.tolist() == expected.maximum.tolist()
            assert engine.moments(turned.T, Weights.ones(), scales) == engine.moments(
                copy.T, Weights.ones(), scales
            )


def test_values_that_are_not_finite_are_counted(engines):
    rows, _, turned = both(1040, 9)
    rows[[0, 17, 1039], [0, 8, 3]] = [np.nan, np.inf, -np.inf]
    rows[18, 8] = np.nan
    for engine in engines:
        assert engine.scan(turned.T, None, None).n_bad.tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 2]


def test_weights_of_zero_do_not_count_in_the_range(engines):
    rows, copy, turned = both(1040, 9)
    rows[100] = 1e6
    copy[:] = rows.T
    weights = np.ones(1040)
    weights[100] = 0
    for engine in engines:
        seen, expected = (engine.scan(block.T, weights, None) for block in (turned, copy))
        assert seen.maximum.tolist() == expected.maximum.tolist()
        assert seen.maximum.max() < 1e6


def test_verbs_over_labelled_rows_are_those_of_a_copy(engines):
    for n, d in SIZES:
        rows, copy, turned = both(n, d)
        k = 5
        labels = np.random.default_rng(n).integers(0, k, n).astype(np.uint8)
        scales = Scales.of(np.abs(rows).max(axis=0).astype(np.float64), WeightRange.of(None, n))
        shape = ClusterShape(
            strategies.centres(rows, k, seed=d), np.ones(k), np.bincount(labels, minlength=k)
        )
        for engine in engines:
            moments = [engine.label_moments(block, [labels], [k], scales) for block in (copy, turned)]
            assert moments[0] == moments[1]
            out = [np.empty(n) for _ in range(2)]
            totals = [
                engine.square_silhouettes(block, [labels], [shape], [values])
                for block, values in zip((copy, turned), out, strict=True)
            ]
            assert totals[0] == totals[1]
            assert out[0].tobytes() == out[1].tobytes()


def test_few_features_are_copied_and_not_turned():
    assert not is_row_major(np.zeros((20, TURNED - 1), np.float32).T)
    assert not is_row_major(np.zeros((20, TURNED), np.float64).T)
    assert not is_row_major(np.zeros((TURNED, 20), np.float32))
