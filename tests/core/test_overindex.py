"""The definition of scores from over-indexing against the formula as it is written."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg.core.overindex import CategoryCounts, TraitTerms, trait_scores
from gpuseg.errors import ContractError
from tests.oracle import traits as oracle


def case(n=40, categories=7, traits=3, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2.0, (n, categories)) * rng.choice([1.0, 0.25, 1.7], (n, categories))
    return counts, rng.normal(size=(traits, categories))


def terms_of(population):
    return TraitTerms.of(
        population.smoothing,
        np.array(population.share),
        np.nan_to_num(population.mean),
        np.nan_to_num(population.sd),
        population.weights,
    )


@pytest.mark.parametrize("smoothing", [0.5, 5.0])
def test_t_is_the_weighted_sum_of_standardised_over_indices(smoothing):
    counts, weights = case()
    counts[0] = 0.0
    counts[:, 3] = 0.0  # nobody buys it
    population = oracle.Population(counts, weights, smoothing, 20.0)
    scores, evidence, _ = trait_scores(counts, terms_of(population))
    np.testing.assert_allclose(scores.T, population.raw(counts), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(evidence, counts.sum(axis=1))


def test_reasons_are_the_largest_contributions():
    counts, weights = case(traits=2)
    weights[1, 2:] = 0.0
    population = oracle.Population(counts, weights, 5.0, 20.0)
    _, _, reasons = trait_scores(counts, terms_of(population))
    table = oracle.over_index(counts, population.share, 5.0)
    parts = np.abs(weights[:, None] * (table - population.mean) / population.sd)
    for t in range(2):
        order = np.argsort(-parts[t], axis=1)[:, :3]
        assert np.array_equal(reasons[t, : 3 - t].T, order[:, : 3 - t])
    assert (reasons[1, 2] == -1).all(), "a third category with a weight there is not"


def test_of_equal_contributions_the_lower_category_comes_first():
    terms = TraitTerms.of(5.0, np.full(4, 0.25), np.zeros(4), np.ones(4), np.ones((1, 4)))
    _, _, reasons = trait_scores(np.array([[2.0, 2.0, 2.0, 0.0]]), terms)
    assert reasons[0, 1:, 0].tolist() == [0, 1]
    assert reasons[0, 0, 0] == 3


def test_whoever_bought_nothing_has_an_over_index_of_0():
    terms = TraitTerms.indices(5.0, np.array([0.5, 0.5, 0.0]))
    scores, evidence, _ = trait_scores(np.zeros((1, 3)), terms)
    assert scores.tolist() == [[0.0]] * 3
    assert evidence.tolist() == [0.0]


def test_over_indices_are_those_of_the_formula():
    counts, _ = case()
    share = counts.sum(axis=0) / counts.sum()
    scores, _, _ = trait_scores(counts, TraitTerms.indices(5.0, share))
    np.testing.assert_allclose(scores.T, oracle.over_index(counts, share, 5.0), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("starts", "category", "dense"),
    [
        ([0, 1], [0, 0], False),
        ([1, 2], [0, 0], False),
        ([0, 3], [0, 1, 0], False),
        ([0, 2, 1, 3], [0] * 3, False),
        ([0, 2], [0], False),
        ([0, 2], [0, 1], True),
    ],
)
def test_entries_that_do_not_fit_are_refused(starts, category, dense):
    count = np.ones(3 if 3 in starts else 2)
    with pytest.raises(ContractError):
        CategoryCounts(np.array(starts), np.array(category, np.int32), count, 2, dense)
