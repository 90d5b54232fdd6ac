"""Scores of the generator's customers: near the best linear predictor there is, in intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg import datasets_personality as made
from gpuseg.datasets_planted import CATEGORIES, best_attainable
from gpuseg.personality.reference import make_reference
from gpuseg.personality.scoring import score
from gpuseg.personality.weights import OCEAN, TraitWeights
from tests.personality.populations import evidence_of

WEIGHTS = TraitWeights.of("OCEAN", made.planted_weights())


@pytest.fixture(scope="module", params=[1.0, 4.0])
def population(request):
    """Counts, planted traits and the size of the effects: the published one, and four times as much."""
    counts, traits = made.category_counts(30_000, 200, seed=1, effect=request.param)
    return evidence_of(counts, tuple(CATEGORIES)), traits, request.param


def test_scores_come_near_the_best_linear_predictor(population):
    evidence, traits, effect = population
    found = score(evidence, make_reference(lambda: [evidence], WEIGHTS), WEIGHTS)
    best = best_attainable(200, effect=effect, sensitive=True)
    assert found.traits == OCEAN
    for t, trait in enumerate(OCEAN):
        r = np.corrcoef(found.values[:, t], traits[:, t])[0, 1]
        assert r >= 0.9 * best[trait], trait


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_intervals_cover_planted_traits_at_their_level(population, level):
    evidence, traits, effect = population
    reference = make_reference(lambda: [evidence], WEIGHTS)
    best = best_attainable(200, effect=effect, sensitive=True)
    found = score(evidence, reference, WEIGHTS, validity=best, level=level)
    covered = ((found.low <= traits) & (traits <= found.high)).mean(axis=0)
    assert (covered > level - 0.01).all()
    assert (covered < level + 0.02).all()


def test_planted_weights_of_all_traits_pass_the_gate(population):
    evidence, _, _ = population
    reference = make_reference(lambda: [evidence], WEIGHTS)
    assert all(found.measurable for found in reference.measurability)
