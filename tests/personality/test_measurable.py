"""The measurability gate, what the shipped evidence can measure, and tries to get round the gate."""

from __future__ import annotations

import csv
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from gpuseg.errors import ContractError, InputError
from gpuseg.personality.measurable import measurable_at_most, measure
from gpuseg.personality.reference import make_reference
from gpuseg.personality.scoring import score
from gpuseg.personality.weights import TraitWeights
from tests.personality.populations import CATEGORIES, counts_of, evidence_of, reference_of, weights_of
from tests.personality.test_weights import study_categories

EVEN = weights_of([[1.0, 1.0, 1.0, 0, 0, 0, 0, 0]])


def plain_categories():
    """Categories of which no merchant code is sensitive: those that count without opting in."""
    text = resources.files("gpuseg").joinpath("data", "mcc_categories.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return sorted({r["category"] for r in rows} - {r["category"] for r in rows if r["sensitive"] == "yes"})


def test_the_shipped_evidence_can_measure_two_traits_at_most():
    weights = TraitWeights.default()
    assert measurable_at_most(weights, plain_categories()) == ("conscientiousness", "extraversion")
    assert len(measurable_at_most(weights, plain_categories())) == 2


def test_with_every_sensitive_category_opted_in_neuroticism_has_enough_and_no_other_trait():
    opted_in = set(measurable_at_most(TraitWeights.default(), study_categories()))
    assert opted_in == {"conscientiousness", "extraversion", "neuroticism"}


def test_those_two_are_measured_where_customers_buy_in_everything():
    categories = tuple(plain_categories())
    counts = counts_of(200, len(categories), seed=3) + 1.0
    weights = TraitWeights.default()
    evidence = evidence_of(counts, categories)
    reference = make_reference(lambda: [evidence], weights)
    found = score(evidence, reference, weights)
    measured = [m.trait for m in found.measurability if m.measurable]
    assert measured == ["conscientiousness", "extraversion"]
    assert np.isnan(found.values).all(axis=0).tolist() == [True, False, False, True, True]
    assert "openness is not measurable on these data: purchases in 1 of its categories (airlines)" in (
        found.measurability[0].reason
    )


@pytest.mark.parametrize(("spent", "can"), [(500, True), (499, False)])
def test_five_percent_of_the_spend_are_enough(spent, can):
    spend = [spent - 2, 1, 1, 10_000 - spent, 0, 0, 0, 0]
    (found,) = measure(EVEN, CATEGORIES, [True] * 8, spend, 10_000)
    assert found.measurable == can
    assert found.covered == pytest.approx(spent / 10_000)
    assert can or "cover 5 % of the spend, 5 % are needed" in found.reason


def test_three_categories_are_enough():
    bought = [True, True, False, True, True, True, True, True]
    (found,) = measure(EVEN, CATEGORIES, bought, [100] * 8, 800)
    assert (found.measurable, found.categories) == (False, ("c00", "c01"))
    assert "purchases in 2 of its categories (c00, c01), 3 are needed" in found.reason
    assert measure(EVEN, CATEGORIES, [True] * 8, [100] * 8, 800)[0].measurable


def test_data_without_money_measure_nothing():
    assert not measure(EVEN, CATEGORIES, [True] * 8, [0] * 8, 0)[0].measurable


def measured(weights, counts, **columns):
    evidence = evidence_of(counts, **columns)
    reference = make_reference(lambda: [evidence], weights)
    return score(evidence, reference, weights), reference


def test_unmapped_spend_counts_in_coverage():
    counts = counts_of()
    spend = counts.sum(axis=1)
    found, _ = measured(EVEN, counts, total_spend=spend * 25)
    assert np.isnan(found.values).all()
    assert "of the spend" in found.measurability[0].reason
    assert np.isfinite(measured(EVEN, counts, total_spend=spend * 2)[0].values).all()


# Tries to get round it.


def test_weights_that_cannot_move_a_score_do_not_open_the_gate():
    padded = weights_of([[1.0, 1e-9, 1e-9, 1e-9, 1e-9, 0.0999, 0, 0]])
    found, _ = measured(padded, counts_of())
    assert np.isnan(found.values).all()
    assert found.measurability[0].categories == ("c00",)
    assert np.isfinite(measured(weights_of([[1.0, 0.1, -0.1, 0, 0, 0, 0, 0]]), counts_of())[0].values).all()


def test_a_heavy_weight_on_a_category_that_is_not_mapped_does_not_make_the_others_count():
    entries = weights_of([[1e-9, 1e-9, 1e-9, 0, 0, 0, 0, 0]]).entries
    heavy = replace(entries[0], category="unheard-of", weight=1.0)
    found, _ = measured(TraitWeights("test", ("t0",), (*entries, heavy)), counts_of())
    assert found.measurability[0].categories == ()


def test_one_category_under_three_names_is_one():
    entries = weights_of([[1.0, 0, 0, 0, 0, 0, 0, 0]]).entries
    others = tuple(replace(entries[0], category=name) for name in ("C00", "c00x"))
    assert np.isnan(measured(TraitWeights("test", ("t0",), entries + others), counts_of())[0].values).all()
    with pytest.raises(InputError, match="there already"):
        TraitWeights("test", ("t0",), entries * 3)
    with pytest.raises(InputError, match="blanks around it"):
        replace(EVEN, entries=(replace(entries[0], category="c00 "), *entries))


def test_categories_in_which_nobody_bought_do_not_count():
    counts = counts_of()
    counts[:, 1] = 0.0
    assert np.isnan(measured(EVEN, counts)[0].values).all()


def test_customers_chosen_for_their_coverage_are_not_scored_either():
    counts = counts_of()
    _, reference = measured(EVEN, counts, total_spend=counts.sum(axis=1) * 25)
    rich = evidence_of(counts[:, :3] @ np.eye(3, 8))
    assert np.isnan(score(rich, reference, EVEN).values).all()


def test_the_gate_of_one_reference_does_not_open_for_the_weights_of_another():
    counts = counts_of()
    _, reference = measured(weights_of([[1.0, 1.0, 0, 0, 0, 0, 0, 0]]), counts)
    with pytest.raises(ContractError, match="not those that the reference was made with"):
        score(evidence_of(counts), reference, EVEN)


def test_figures_that_tell_a_score_are_missing_with_it():
    found, _ = measured(weights_of([[1.0, 1.0, 0, 0, 0, 0, 0, 0]]), counts_of())
    for name in ("values", "percentile", "low", "high"):
        assert np.isnan(getattr(found, name)).all(), name
    assert (found.reasons == -1).all()


def test_counts_alone_pass_the_same_gate():
    from gpuseg.personality.scoring import score_counts

    weights = weights_of([[1.0, 1.0, 0, 0, 0, 0, 0, 0], np.ones(8)])
    counts = counts_of()
    values = score_counts(counts, reference_of(counts, weights), weights)
    assert np.isnan(values).all(axis=0).tolist() == [True, False]
