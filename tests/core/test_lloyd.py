"""The step, empty clusters, farthest rows and the laws of their records."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core import lloyd
from gpuseg.core.binsum import BinSum
from gpuseg.core.lloyd import ClusterSums, Farthest, LloydState
from gpuseg.core.weights import WeightMode
from gpuseg.core.widesum import WideSum
from gpuseg.errors import ContractError
from tests import strategies
from tests.oracle import lloyd as oracle
from tests.oracle import sums

K, D = 2, 3
MODES = {sums.NONE: WeightMode.NONE, sums.INTEGER: WeightMode.INTEGER, sums.REAL: WeightMode.REAL}


def record(found: oracle.Pass, exponent, rows, weights) -> ClusterSums:
    """The oracle's pass as a record."""
    k, d = len(found.mass), len(exponent)
    if sums.weight_kind(weights) == sums.REAL:
        counts = np.array(sums.effective(weights, len(rows)), np.float32)
        labels = np.array(found.labels)
        parts = [BinSum.of(counts[labels == c]) for c in range(k)]
        mass = BinSum(WideSum(np.array([p.bins.hi for p in parts]), np.array([p.bins.lo for p in parts])))
    else:
        mass = WideSum.from_ints([int(m) for m in found.mass], k)
    total = WideSum.from_ints([t for row in found.total for t in row], (k, d))
    return ClusterSums(mass, total, BinSum.zero(), np.array(exponent))


@pytest.mark.parametrize("mode", [WeightMode.INTEGER, WeightMode.REAL])
def test_merge_law_of_cluster_sums(mode):
    mass = strategies.bin_sums((K,)) if mode is WeightMode.REAL else strategies.wide_sums(K)
    exponent = np.array([1, 2, -3])
    records = st.builds(
        ClusterSums, mass, strategies.wide_sums((K, D)), strategies.bin_sums(), st.just(exponent)
    )

    @given(records, records, records)
    def law(a, b, c):
        assert strategies.obeys_merge_laws(a, b, c, ClusterSums.zero(K, exponent, mode))

    law()


def test_cluster_sums_of_unequal_scales_or_weights_are_refused():
    zero = ClusterSums.zero
    with pytest.raises(ContractError, match=r"2\*\*\[1\] and 2\*\*\[2\]"):
        zero(K, np.array([1]), WeightMode.NONE).merge(zero(K, np.array([2]), WeightMode.NONE))
    with pytest.raises(ContractError, match="integer weights with real weights"):
        zero(K, np.array([1]), WeightMode.NONE).merge(zero(K, np.array([1]), WeightMode.REAL))
    with pytest.raises(ContractError, match="shapes"):
        zero(K, np.array([1]), WeightMode.NONE).merge(zero(K + 1, np.array([1]), WeightMode.NONE))


@given(strategies.data_sets(max_rows=24), st.integers(1, 6), st.integers(0, 2**32), st.integers(0, 3))
def test_a_step_is_the_definition(data, k, seed, n_spare):
    rows, weights = data
    centres = strategies.centres(rows, k, seed)
    exponent, _ = sums.exponents(rows, weights)
    found = oracle.assign(rows, weights, centres, exponent)
    state = LloydState(centres, iteration=4, tolerance=0.0, max_iter=9, n_relocated=1)
    spare = rows[:n_spare]
    after = lloyd.step(state, record(found, exponent, rows, weights), spare if n_spare else None)
    expected, shift = oracle.step(centres, found, exponent, spare)
    n_empty = sum(m == 0 for m in found.mass)
    assert after.centres.dtype == np.float32
    assert np.array_equal(after.centres, expected)
    assert (after.iteration, after.shift) == (5, shift)
    assert after.n_relocated == 1 + min(n_empty, len(spare))
    assert lloyd.empty_clusters(record(found, exponent, rows, weights)).tolist() == [
        c for c, m in enumerate(found.mass) if m == 0
    ]


def test_a_step_modifies_nothing_it_was_given():
    rows = np.array([[0.0], [4.0]], np.float32)
    centres = np.array([[1.0], [9.0]], np.float32)
    found = oracle.assign(rows, None, centres, [37])
    given_sums = record(found, [37], rows, None)
    before = (centres.copy(), given_sums.total.to_ints(), given_sums.mass.to_ints())
    spare = np.array([[4.0]], np.float32)
    after = lloyd.step(LloydState(centres, 0, 0.0, 1), given_sums, spare)
    assert after.centres.tolist() == [[2.0], [4.0]]
    assert np.array_equal(centres, before[0])
    assert (given_sums.total.to_ints(), given_sums.mass.to_ints()) == before[1:]
    after.centres[:] = 7.0
    assert spare.tolist() == [[4.0]]


def test_means_of_empty_clusters_are_nan():
    empty = ClusterSums.zero(2, np.array([3, 4]), WeightMode.NONE)
    assert np.isnan(empty.means()).all()
    assert empty.masses().tolist() == [0.0, 0.0]
    assert lloyd.empty_clusters(empty).tolist() == [0, 1]


def test_a_cluster_of_the_smallest_weight_is_not_empty():
    mass = BinSum(WideSum.from_ints([1 << 1, *[0] * 31, *[0] * 32], (2, 32)))
    tiny = ClusterSums(mass, WideSum.zero((2, 1)), BinSum.zero(), np.array([0]))
    assert tiny.masses().tolist() == [2.0**-149, 0.0]
    assert lloyd.empty_clusters(tiny).tolist() == [1]


@pytest.mark.parametrize(
    ("shift", "iteration", "converged", "finished"),
    [(math.inf, 0, False, False), (0.5, 2, True, True), (0.51, 2, False, False), (0.51, 3, False, True)],
)
def test_when_a_run_stops(shift, iteration, converged, finished):
    state = LloydState(np.zeros((1, 1), np.float32), iteration, tolerance=0.5, max_iter=3, shift=shift)
    assert (state.converged, state.finished) == (converged, finished)


@given(st.lists(strategies.in_range, min_size=1, max_size=20), st.data())
def test_the_shift_does_not_care_about_order(values, data):
    before = np.array(values, np.float32)[:, None]
    after = np.roll(before, 1, axis=0)
    order = data.draw(st.permutations(range(len(values))))
    expected = math.fsum(
        (a - b) * (a - b) for a, b in zip(before[:, 0].tolist(), after[:, 0].tolist(), strict=True)
    )
    assert lloyd.squared_shift(before, after) == expected
    assert lloyd.squared_shift(before[order], after[order]) == expected


def test_a_shift_of_zero_is_centres_that_did_not_change():
    centres = np.array([[1.0, -0.0], [2.0**-149, 3.0]], np.float32)
    assert lloyd.squared_shift(centres, centres + np.float32(0)) == 0.0
    moved = centres.copy()
    moved[1, 0] = 2 * 2.0**-149
    assert lloyd.squared_shift(centres, moved) > 0.0


def test_the_tolerance_is_relative_to_the_mean_variance():
    assert lloyd.absolute_tolerance(1e-4, np.array([1.0, 2.0, 6.0])) == 1e-4 * 3.0
    assert lloyd.absolute_tolerance(0, np.array([math.inf])) == 0.0
    assert lloyd.absolute_tolerance(1e-4, np.empty(0)) == 0.0


@given(
    st.lists(st.lists(strategies.any_float32, min_size=2, max_size=2), min_size=1, max_size=4),
    st.floats(0, allow_nan=False),
    st.floats(0, allow_nan=False),
)
def test_a_state_survives_json_bit_for_bit(centres, tolerance, shift):
    array = np.array(centres, np.float32)
    state = LloydState(array, 3, tolerance, 300, shift, n_relocated=2, seed=2**64 - 1, exponent=(39, -11))
    assert strategies.same(LloydState.from_record(json.loads(json.dumps(state.to_record()))), state)
    fresh = LloydState(array, 0, 0.0, 300)
    assert strategies.same(LloydState.from_record(json.loads(json.dumps(fresh.to_record()))), fresh)


@st.composite
def candidates(draw):
    """Rows with unique identities; equal rows are equally far, as they are in any pass."""
    n = draw(st.integers(0, 30))
    values = draw(st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, -3.0, 5.0]), min_size=n, max_size=n))
    who = draw(st.lists(st.integers(0, 2**64 - 1), min_size=n, max_size=n, unique=True))
    rows = np.array(values, np.float32)[:, None] * np.array([1.0, 2.0], np.float32)
    distance = np.minimum(
        np.abs(rows[:, 0]), np.float32(3.0)
    )  # 5.0 and -3.0 are equally far: identity decides
    return distance, np.array(who, np.uint64), rows


def best(limit, found):
    distance, who, rows = found
    kept = oracle.farthest(limit, distance, who, rows)
    return Farthest(limit, distance[kept], who[kept], rows[kept])


@given(candidates(), st.integers(0, 4), st.data())
def test_farthest_rows_are_distinct_and_merge_in_any_split(found, limit, data):
    distance, who, rows = found
    expected = best(limit, found)
    assert strategies.same(Farthest.of(limit, distance, who, rows), expected)
    merged = Farthest.zero(limit, 2)
    for part in data.draw(strategies.parts(len(distance))):
        merged = merged.merge(Farthest.of(limit, distance[part], who[part], rows[part]))
    assert strategies.same(merged, expected)


def test_zero_and_minus_zero_are_one_value():
    rows = np.array([[0.0], [-0.0], [1.0]], np.float32)
    who = np.array([8, 7, 9], np.uint64)
    kept = Farthest.of(3, np.full(3, 2.0, np.float32), who, rows)
    assert kept.identity.tolist() == [7, 9]
    assert kept.rows.tobytes() == rows[1:].tobytes()


@given(candidates(), st.integers(0, 4), st.data())
def test_merge_law_of_farthest(found, limit, data):
    parts = [
        best(limit, [column[rows] for column in found]) for rows in data.draw(strategies.parts(len(found[0])))
    ]
    a, b, c = (parts + [Farthest.zero(limit, 2)] * 3)[:3]
    assert strategies.obeys_merge_laws(a, b, c, Farthest.zero(limit, 2))


@pytest.mark.parametrize("kind", ["spread", "duplicates", "ties"])
def test_farthest_of_many_rows_takes_the_screen_and_gives_the_same(monkeypatch, kind):
    monkeypatch.setattr(lloyd, "_SCREEN_ROWS", 4)
    rng = np.random.default_rng(5)
    n, limit = 400, 3
    if kind == "duplicates":  # the farthest few are all one value, so the screen has to give up
        rows = np.full((n, 1), 9.0, np.float32)
        rows[:5, 0] = np.arange(5)
    else:
        rows = (rng.integers(0, 40, (n, 1)) if kind == "ties" else rng.normal(size=(n, 1))).astype(np.float32)
    who = rng.permutation(n).astype(np.uint64)
    distance = np.abs(rows[:, 0])
    expected = best(limit, (distance, who, rows))
    assert strategies.same(Farthest.of(limit, distance, who, rows), expected)
    assert expected.distance.size == limit
