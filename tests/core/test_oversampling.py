"""Rounds of k-means||, their merges and their candidates against plain Python integers and fractions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.binsum import BinSum
from gpuseg.core.oversampling import Kept, Round, join_candidates, weighted_candidates
from gpuseg.core.seeding import Sample
from gpuseg.core.weights import WeightMode, WeightRange, Weights
from tests import strategies
from tests.oracle import floats, lloyd, seeding, sums
from tests.oracle import oversampling as oracle


@st.composite
def rounds(draw):
    """Rows, weights, identities, distances to a few of the rows, and a round."""
    rows, values = draw(strategies.data_sets(max_rows=40))
    n = len(rows)
    unique = st.lists(st.integers(0, 2**64 - 1), min_size=n, max_size=n, unique=True)
    who = np.array(draw(unique), np.uint64)
    points = rows[draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3))]
    closest = floats.chain(rows, points).min(axis=1)
    number, wanted = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([0.3, 4.0, 40.0]))
    return rows, values, who, closest, Round(draw(st.integers(0, 2**64 - 1)), number, wanted)


def weights_of(values, n, part):
    return Weights.of(None if values is None else values[part], WeightRange.of(values, n).mode())


def share(case, part):
    """What an engine and the task around it make of a part of the rows."""
    rows, values, who, closest, drawing = case
    weights, near, n = weights_of(values, len(rows), part), closest[part], len(part)
    own = near
    if weights.mode is WeightMode.REAL:
        own = (weights.reals.astype(np.float64) * near).astype(np.float32)
    times = weights.integers if weights.mode is WeightMode.INTEGER else np.ones(n, np.int64)
    total = BinSum.zero()
    for value, count in zip(own, times, strict=True):
        one = BinSum.of([value]).bins.to_ints()
        total = total.merge(BinSum(total.bins.from_ints([int(count) * v for v in one], 32)))
    taken = drawing.rows_of(np.arange(n), near, weights, who[part], float(total.to_float64()))
    block = np.ascontiguousarray(rows[part].T)
    return Kept.gathered(drawing, total, taken, near, who[part], block, weights)


@given(rounds(), st.data())
def test_what_is_kept_does_not_depend_on_how_rows_are_split(case, data):
    rows, values, who, closest, drawing = case
    merged = Kept.zero(drawing, rows.shape[1])
    for part in data.draw(strategies.parts(len(rows))):
        merged = merged.merge(share(case, part))
    of_all = oracle.total(closest, values)
    assert merged.total.to_fractions() == [of_all]
    found = oracle.kept(closest, values, who, drawing.seed, drawing.number, drawing.wanted, of_all)
    found.sort(key=lambda i: int(who[i]))
    assert merged.identity.tolist() == who[found].tolist()
    assert merged.rows.tolist() == rows[found].T.tolist()
    assert merged.weight.tolist() == [float(sums.effective(values, len(rows))[i]) for i in found]
    assert strategies.same(merged, share(case, np.arange(len(rows))))


@given(rounds(), st.data())
def test_merge_law_of_what_is_kept(case, data):
    zero = Kept.zero(case[4], case[0].shape[1])
    parts = [share(case, part) for part in data.draw(strategies.parts(len(case[0])))]
    a, b, c = (parts + [zero] * 3)[:3]
    assert strategies.obeys_merge_laws(a, b, c, zero)


def test_rows_that_share_an_identity_merge_in_one_order():
    drawing, n = Round(5, 1, 50.0), 24
    rows = strategies.table("ties", n, 2, 3)
    who = np.arange(n, dtype=np.uint64) // 3
    case = rows, None, who, np.full(n, 2.0, np.float32), drawing
    parts = [share(case, np.arange(n)[k::3]) for k in range(3)]
    assert strategies.obeys_merge_laws(*parts, Kept.zero(drawing, 2))
    assert strategies.same(parts[0].merge(parts[1]).merge(parts[2]), share(case, np.arange(n)))


def test_a_row_of_weight_zero_or_at_a_candidate_is_never_kept():
    drawing, draws = Round(1, 0, 1e300), np.zeros(3, np.uint64)
    for total in (0.0, 1.0, 1e-300):
        kept = drawing.keeps(draws, np.array([0.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0], np.float32), total)
        assert kept.tolist() == [False, False, True]


def test_the_chance_is_rounded_as_the_contract_says():
    """(l * w) * d2, then the quotient, each rounded: any other order gives less; u lies strictly below it."""
    wanted, w, d2, total = 0.3, 0.7, 3.0, 0.7
    chance = ((wanted * w) * d2) / total
    assert chance > max((wanted * (w * d2)) / total, (wanted * w) * (d2 / total), wanted * ((w * d2) / total))
    at = int(chance * 2**53) << 11
    assert (at >> 11) / 2**53 == chance
    weight, far = np.array([w]), np.array([d2], np.float32)
    for draw, kept in ((at, False), (at - 1, True)):
        found = Round(0, 0, wanted).keeps(np.array([draw], np.uint64), weight, far, total)
        assert found.tolist() == [kept]


def test_as_many_are_kept_as_were_wanted():
    n = 200_000
    who, closest = np.arange(n, dtype=np.uint64), np.ones(n, np.float32)
    counts = []
    for seed in range(20):
        drawing = Round(seed, 2, 100.0)
        counts.append(drawing.rows_of(np.arange(n), closest, Weights.ones(), who, float(n)).size)
    # Poisson: the sum of 20 has mean 2,000 and standard deviation 45.
    assert abs(sum(counts) - 2000) < 5 * 45


def test_rounds_and_seeds_draw_anew():
    who = np.arange(100, dtype=np.uint64)
    rows = [Round(*key, 1.0).draws(who) for key in ((1, 0), (1, 1), (2, 0))]
    assert np.unique(np.concatenate(rows)).size == 300


@given(rounds())
def test_candidates_are_joined_and_weighted_in_identity_order(case):
    rows, values, who, _, drawing = case
    of_all = share(case, np.arange(len(rows)))
    weights = weights_of(values, len(rows), np.arange(len(rows)))
    [start] = seeding.sample(1, drawing.seed, who, values)
    first = Sample.of(1, drawing.seed, who, np.ascontiguousarray(rows.T), weights)
    rest = of_all.take(np.flatnonzero(of_all.identity != who[start]))
    joined = join_candidates(first, [rest])
    assert joined.identity.tolist() == sorted([int(who[start]), *rest.identity.tolist()])
    exponent, _ = sums.exponents(rows, values)
    chosen = [int(np.flatnonzero(who == one)[0]) for one in joined.identity]
    masses = [
        mass.numerator / mass.denominator for mass in lloyd.assign(rows, values, rows[chosen], exponent).mass
    ]
    kept, expected = oracle.weighted(rows, values, chosen, exponent)
    found = weighted_candidates(joined, np.array(masses))
    assert found.identity.tolist() == who[kept].tolist()
    assert found.rows.tolist() == rows[kept].T.tolist()
    assert found.weight.tolist() == expected


@pytest.mark.parametrize(
    ("mass", "weight"),
    [
        ([3.0, 0.0, 2.0], [3.0, 2.0]),
        ([2.0**31, 2.0**31 - 1, 0.0], [1.0, 1.0 - 2.0**-31]),
        ([0.75, 3.0], [0.375, 1.5]),
        ([1e300, 1e300, 1e-300], [1e300 / 2.0**996, 1e300 / 2.0**996]),
    ],
)
def test_masses_that_are_no_integers_come_into_the_range_of_float32(mass, weight):
    m = len(mass)
    draws, rows = np.arange(m, dtype=np.uint64), np.zeros((1, m), np.float32)
    found = weighted_candidates(Sample(m, draws, draws, rows, np.ones(m)), np.array(mass))
    assert found.weight.tolist() == weight
    assert found.limit == len(weight)
