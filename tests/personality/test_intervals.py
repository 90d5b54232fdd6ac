"""Intervals contain sampling error and the validity ceiling, and cover simulated traits at their level."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg.errors import InputError
from gpuseg.personality.intervals import LEVELS, VALIDITY, intervals, validities

KAPPA = 20.0


def simulated(validity, n_transactions, customers=60_000, seed=0):
    """Traits, and where customers stand who share ``validity`` with them but for the error of n transactions."""
    rng = np.random.default_rng(seed)
    trait, spending, error = rng.normal(size=(3, customers))
    endless = validity * trait + np.sqrt(1 - validity**2) * spending
    reliability = n_transactions / (n_transactions + KAPPA)
    seen = np.sqrt(reliability) * endless + np.sqrt(1 - reliability) * error
    return 50 + 10 * trait, (seen * reliability)[None], np.full(customers, float(n_transactions))


def ends(stands, evidence, validity, level):
    low, high = intervals(stands, evidence, KAPPA, np.array([validity]), level)
    return low[0], high[0]


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("validity", [0.0, 0.15, 0.6])
@pytest.mark.parametrize("n", [3, 40, 1000])
def test_coverage_is_at_its_level(level, validity, n):
    trait, stands, evidence = simulated(validity, n)
    low, high = ends(stands, evidence, validity, level)
    covered = float(((low <= trait) & (trait <= high)).mean())
    # Widening to the score adds most where spending says nothing: .8092 for .80 at r = 0 and n = 1000.
    assert level - 0.004 < covered < level + 0.0132


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_extreme_scores_are_covered_as_well(level):
    trait, stands, evidence = simulated(VALIDITY, 1000, customers=400_000)
    low, high = ends(stands, evidence, VALIDITY, level)
    for extreme in (stands[0] > 1.0, stands[0] < -1.5):
        covered = float(((low <= trait) & (trait <= high))[extreme].mean())
        assert level - 0.006 < covered


def test_an_interval_around_the_score_alone_would_not_cover():
    trait, stands, evidence = simulated(VALIDITY, 1000)
    reliability = evidence / (evidence + KAPPA)
    half = 10 * LEVELS[0.95] * np.sqrt(1 - reliability)
    assert float((np.abs(50 + 10 * stands[0] - trait) <= half).mean()) < 0.3


def test_the_formula():
    low, high = ends(np.array([[0.5]]), np.array([60.0]), 0.4, 0.8)
    centre, half = 0.4 * np.sqrt(0.75) * (0.5 / 0.75), 1.2815515655446004 * np.sqrt(1 - 0.16 * 0.75)
    assert low[0] == pytest.approx(50 + 10 * (centre - half))
    assert high[0] == pytest.approx(50 + 10 * (centre + half))


def test_without_evidence_it_is_what_is_known_of_anybody():
    low, high = ends(np.zeros((1, 2)), np.array([0.0, 0.0]), 1.0, 0.95)
    assert low.tolist() == [50 - 10 * LEVELS[0.95]] * 2
    assert high.tolist() == [50 + 10 * LEVELS[0.95]] * 2


def test_with_a_perfect_tie_and_endless_evidence_it_closes_on_the_score():
    low, high = ends(np.array([[1.25]]), np.array([1e12]), 1.0, 0.95)
    assert low[0] == pytest.approx(62.5, abs=1e-3)
    assert high[0] == pytest.approx(62.5, abs=1e-3)


def test_more_evidence_and_a_closer_tie_make_it_narrower():
    stands = np.zeros((1, 1))

    def width(n, r):
        low, high = ends(stands, np.array([n]), r, 0.9)
        return float((high - low)[0])

    assert width(5.0, 0.15) > width(50.0, 0.15) > width(500.0, 0.15) > width(500.0, 0.5)
    assert width(1e9, 0.15) > 0.98 * width(0.0, 0.15), "the ceiling is what matters"


@pytest.mark.parametrize("level", LEVELS)
def test_the_score_is_always_inside(level):
    stands = np.linspace(-9, 9, 37)[None]
    for n in (0.0, 1.0, 1e6):
        low, high = ends(stands, np.full(37, n), 0.15, level)
        assert (low <= 50 + 10 * stands[0]).all()
        assert (50 + 10 * stands[0] <= high).all()


def test_validity_by_name():
    assert validities(0.3, ["a", "b"]).tolist() == [0.3, 0.3]
    assert validities({"b": 0.4}, ["a", "b"]).tolist() == [VALIDITY, 0.4]


@pytest.mark.parametrize("given", [1.1, -0.1, float("nan"), {"c": 0.2}, {"a": 2.0}])
def test_validities_out_of_range_are_refused(given):
    with pytest.raises(InputError, match="validity"):
        validities(given, ["a", "b"])
