"""The sample and the picks of greedy k-means++ against plain Python integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core import seeding
from gpuseg.core.seeding import Sample
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from tests import strategies
from tests.oracle import seeding as oracle
from tests.oracle import sums


@st.composite
def populations(draw):
    """Rows with unique identities and weights of any kind."""
    rows, weights = draw(strategies.data_sets(max_rows=30))
    n = len(rows)
    who = draw(
        st.one_of(
            st.integers(0, 2**40).map(lambda first: list(range(first, first + n))),
            st.lists(st.integers(0, 2**64 - 1), min_size=n, max_size=n, unique=True),
        )
    )
    return rows, weights, np.array(who, np.uint64)


def sample_of(limit, seed, rows, weights, who, part=slice(None), **options):
    mode = WeightRange.of(weights, len(rows)).mode()
    mine = Weights.of(None if weights is None else weights[part], mode)
    return Sample.of(limit, seed, who[part], np.ascontiguousarray(rows[part].T), mine, **options)


def expected(limit, seed, rows, weights, who):
    kept = oracle.sample(limit, seed, who, weights)
    counts = sums.effective(weights, len(rows))
    return who[kept].tolist(), rows[kept].T.tolist(), [float(counts[i]) for i in kept]


def contents(sample):
    return sample.identity.tolist(), sample.rows.tolist(), sample.weight.tolist()


@given(populations(), st.integers(1, 12), st.integers(0, 2**64 - 1), st.data())
def test_the_sample_is_the_smallest_draws_however_rows_are_split(population, limit, seed, data):
    rows, weights, who = population
    merged = Sample.zero(limit, rows.shape[1])
    for part in data.draw(strategies.parts(len(rows))):
        merged = merged.merge(sample_of(limit, seed, rows, weights, who, part))
    whole = sample_of(limit, seed, rows, weights, who).finish()
    assert contents(merged.finish()) == contents(whole) == expected(limit, seed, rows, weights, who)
    assert strategies.same(merged.finish(), whole)


@given(populations(), st.integers(1, 12), st.data())
def test_merge_law_of_samples(population, limit, data):
    rows, weights, who = population
    zero = Sample.zero(limit, rows.shape[1])
    # Neutral up to order, which only a merge or finish settles; so all three records come out of a merge.
    parts = [
        zero.merge(sample_of(limit, 3, rows, weights, who, part))
        for part in data.draw(strategies.parts(len(rows)))
    ]
    a, b, c = (parts + [zero] * 3)[:3]
    assert strategies.obeys_merge_laws(a, b, c, zero)


@given(populations(), st.integers(1, 12))
def test_a_threshold_only_leaves_out_what_would_not_be_taken(population, limit):
    rows, weights, who = population
    n_positive = sum(w > 0 for w in sums.effective(weights, len(rows)))
    threshold = seeding.sample_threshold(limit, n_positive)
    some = sample_of(limit, 3, rows, weights, who, threshold=threshold)
    everything = sample_of(limit, 3, rows, weights, who)
    if some.draw.size == min(limit, n_positive):
        assert contents(some.finish()) == contents(everything.finish())
    assert set(some.identity.tolist()) <= set(everything.identity.tolist())


def test_a_threshold_leaves_out_larger_draws_and_the_sample_is_the_same():
    n, limit = 20_000, 50
    who = np.arange(n, dtype=np.uint64)
    block = who.astype(np.float32)[None, :]
    everything = Sample.of(limit, 9, who, block, Weights.ones())
    threshold = seeding.sample_threshold(limit, n)
    travelling = Sample.of(n, 9, who, block, Weights.ones(), threshold)
    assert limit <= travelling.draw.size < 3 * limit
    assert travelling.draw.max() <= threshold
    assert contents(Sample.of(limit, 9, who, block, Weights.ones(), threshold).finish()) == contents(
        everything.finish()
    )
    exact = Sample.of(n, 9, who, block, Weights.ones(), int(everything.draw.max()))
    assert sorted(exact.draw.tolist()) == sorted(everything.draw.tolist())  # a draw at the threshold is in


def test_equal_draws_go_by_identity(monkeypatch):
    monkeypatch.setattr(seeding, "draw64", lambda seed, stage, who: np.zeros(who.size, np.uint64))
    who = np.array([9, 2, 7, 4, 1], np.uint64)
    block = who.astype(np.float32)[None, :]
    sample = Sample.of(2, 0, who, block, Weights.ones())
    assert sample.finish().identity.tolist() == [1, 2]
    assert sample.finish().rows.tolist() == [[1.0, 2.0]]


def test_the_threshold_leaves_room():
    assert seeding.sample_threshold(10, 0) == seeding.sample_threshold(10, 1) == 2**64 - 1
    n, limit = 10**9, 2**18
    share = seeding.sample_threshold(limit, n) / 2**64
    assert limit + 7.5 * math.sqrt(limit) < share * n < limit + 8.5 * math.sqrt(limit)


@pytest.mark.parametrize("power", range(1, 17))
def test_trials_at_the_powers_of_e(power):
    border = math.ceil(math.e**power)
    for k in (border - 1, border):
        assert seeding.local_trials(k) == oracle.trials(k)


def test_trials_of_few_clusters():
    assert [seeding.local_trials(k) for k in range(1, 9)] == [oracle.trials(k) for k in range(1, 9)]


masses = st.lists(st.integers(0, 2**40), min_size=1, max_size=20).filter(any)


@given(masses, st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
def test_picks_are_the_first_prefix_beyond_the_draw(potentials, draws):
    found = seeding.pick_rows(np.array(potentials), np.array(draws, np.uint64))
    assert found.tolist() == [oracle.pick(potentials, draw) for draw in draws]
    assert all(potentials[i] > 0 for i in found)


def test_picks_at_both_ends():
    potentials = np.array([0, 3, 0, 1, 0])
    draws = np.array([0, 2**64 * 3 // 4 - 1, 2**64 * 3 // 4, 2**64 - 1], np.uint64)
    assert seeding.pick_rows(potentials, draws).tolist() == [1, 1, 3, 3]


def test_picks_of_sums_near_the_limit():
    potentials = np.full(4, 2**60, np.int64)
    draws = np.array([2**64 - 1, 2**62 - 1, 2**62], np.uint64)
    assert seeding.pick_rows(potentials, draws).tolist() == [3, 0, 1]


@given(strategies.data_sets(), st.floats(min_value=2.0**-149, max_value=2.0**102, width=32))
def test_the_scale_of_potentials_keeps_their_sum_below_2_62(data, largest):
    rows, values = data
    n = len(rows)
    weights = Weights.of(values, WeightRange.of(values, n).mode())
    exponent = seeding.potential_exponent(largest, n, weights)
    assert exponent == oracle.exponent(largest, values, n)
    top = sums.fixed(largest, exponent)
    multiplicity = sum(sums.effective(values, n)) if weights.mode is WeightMode.INTEGER else n
    assert 0 < top * multiplicity <= 2**62


@given(strategies.data_sets())
def test_first_potentials_are_the_weights(data):
    rows, values = data
    n = len(rows)
    weights = Weights.of(values, WeightRange.of(values, n).mode())
    found = seeding.first_potentials(n, weights).tolist()
    counts = sums.effective(values, n)
    if weights.mode is WeightMode.REAL:
        counts = [sums.fixed(w, oracle.exponent(max(counts), values, n)) for w in counts]
    assert found == counts
    assert sum(found) < 2**63


def test_draws_depend_on_seed_seeding_step_and_trial_alone():
    found = seeding.seeding_draws(7, 3, 3, 4)
    assert [step.tolist() for step in found] == [oracle.draws(7, 3, step, 4) for step in range(3)]
    assert seeding.seeding_draws(7, 3, 2, 2).tolist() == found[:2, :2].tolist()
    others = [seeding.seeding_draws(*key, 2, 4).ravel().tolist() for key in ((8, 3), (7, 4))]
    drawn = [*found.ravel().tolist(), *(draw for row in others for draw in row)]
    assert len(set(drawn)) == len(drawn)


@given(populations(), st.integers(1, 40), st.integers(0, 2**64 - 1))
def test_the_smallest_draws_of_a_sample_are_a_smaller_sample(population, limit, seed):
    rows, weights, who = population
    whole = sample_of(50, seed, rows, weights, who).finish()
    found = whole.smallest(limit)
    small = sample_of(limit, seed, rows, weights, who).finish()
    for name in ("draw", "identity", "rows", "weight"):
        assert np.array_equal(getattr(found, name), getattr(small, name))
    assert (found is whole) == (whole.identity.size <= limit)


def test_rows_that_share_a_draw_are_settled_by_identity_and_values():
    draw, who = np.array([5, 1, 5, 5, 9], np.uint64), np.array([1, 2, 3, 3, 4], np.uint64)
    rows = np.array([[0.0, 1.0, 2.0, 3.0, 4.0]], np.float32)
    whole = Sample(9, draw, who, rows, np.ones(5))
    assert whole.smallest(2).rows.tolist() == [[0.0, 1.0]]
    assert whole.smallest(3).rows.tolist() == [[0.0, 1.0, 2.0]]
    assert Sample(9, draw[::-1], who[::-1], rows[:, ::-1], np.ones(5)).finish().smallest(3).rows.tolist() == [
        [0.0, 1.0, 2.0]
    ]
    with_weights = Sample(9, draw, who, rows * 0, np.array([1.0, 1.0, 3.0, 2.0, 1.0]))
    assert with_weights.smallest(3).weight.tolist() == [1.0, 1.0, 2.0]


def test_a_draft_grows_with_the_clusters():
    assert [seeding.draft_rows(k) for k in (1, 64, 65, 1000)] == [1 << 15, 1 << 15, 512 * 65, 512_000]
