"""Scores: the formula, thin customers, one category, all alike, and nobody who moves without acting."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from gpuseg.core.promise import Promise
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.errors import ContractError, InputError, RangeError
from gpuseg.personality.reference import make_reference
from gpuseg.personality.scoring import score, score_counts
from tests.oracle import traits as oracle
from tests.personality.populations import CATEGORIES, counts_of, evidence_of, reference_of, weights_of

TABLE = np.random.default_rng(5).normal(size=(3, 8))
WEIGHTS = weights_of(TABLE)
FIGURES = ("values", "percentile", "low", "high", "evidence", "covered", "evidenced", "reasons")


def same(a, b, rows=slice(None)):
    return all(np.array_equal(getattr(a, name)[rows], getattr(b, name), equal_nan=True) for name in FIGURES)


@pytest.mark.parametrize("decayed", [False, True])
def test_scores_are_those_of_the_formula(decayed):
    counts = counts_of(decayed=decayed)
    reference = reference_of(counts, WEIGHTS)
    found = score(evidence_of(counts), reference, WEIGHTS)
    wanted = oracle.Population(counts, TABLE, 5.0, 20.0)
    np.testing.assert_allclose(found.values, wanted.scores(counts), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.evidence, counts.sum(axis=1))
    assert found.promise is Promise.EXACT
    assert np.array_equal(score_counts(counts, reference, WEIGHTS), found.values)


def test_percentiles_are_the_part_that_stands_lower_and_half_of_those_alike():
    counts = counts_of()
    found = score(evidence_of(counts), reference_of(counts, WEIGHTS), WEIGHTS)
    bins = np.floor((found.values - 50) / 10 * 256)
    known = bins[counts.sum(axis=1) > 0]
    for t in range(3):
        for i in range(0, 300, 7):
            lower, alike = (known[:, t] < bins[i, t]).sum(), (known[:, t] == bins[i, t]).sum()
            assert found.percentile[i, t] == pytest.approx(100 * (lower + alike / 2) / len(known), abs=1e-9)


def test_thin_customers_shrink_to_50():
    counts = np.vstack([counts_of(), np.zeros((4, 8))])
    counts[-4:-1, 1] = [1.0, 20.0, 1980.0]
    reference = reference_of(counts[:300], WEIGHTS)
    own = score(evidence_of(counts), replace(reference, shrinkage=1e-12), WEIGHTS).values[-4:] - 50
    shrunk = score(evidence_of(counts), reference, WEIGHTS).values[-4:] - 50
    np.testing.assert_allclose(shrunk[:3] / own[:3], np.array([[1 / 21], [1 / 2], [99 / 100]]) * np.ones(3))
    assert (shrunk[3] == 0.0).all()
    thin = score(evidence_of(counts), replace(reference, shrinkage=1e12), WEIGHTS)
    assert (thin.values.round(6) == 50).all()


def test_nobody_moves_who_did_not_act():
    counts = counts_of()
    reference = reference_of(counts, WEIGHTS)
    before = score(evidence_of(counts), reference, WEIGHTS)
    acted = np.arange(300) % 3 == 0
    later = counts + acted[:, None] * counts_of(seed=9)
    after = score(evidence_of(later), reference, WEIGHTS)
    still = ~acted
    for name in FIGURES:
        assert np.array_equal(getattr(before, name)[still], getattr(after, name)[still]), name
    assert (before.values[acted] != after.values[acted]).any()
    assert (
        score(evidence_of(later), reference_of(later, WEIGHTS), WEIGHTS).values[still] != before.values[still]
    ).any()


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_score_depends_on_no_other_customer(jobs):
    evidence = evidence_of(counts_of(decayed=True))
    reference = make_reference(lambda: [evidence], WEIGHTS)
    whole = score(evidence, reference, WEIGHTS)
    for rows in (slice(0, 0), slice(0, 1), slice(100, 217)):
        part = score(evidence.slice(rows.start, rows.stop), reference, WEIGHTS, engine=CpuEngine(jobs))
        assert same(whole, part, rows)


def test_all_customers_alike_give_50s_and_one_warning(caplog):
    counts = np.tile(np.arange(1.0, 9.0), (40, 1))
    with caplog.at_level(logging.WARNING, "gpuseg.personality"):
        reference = reference_of(counts, WEIGHTS)
    assert caplog.messages == ["all 40 customers stand alike in t0, t1, t2: every score is 50"]
    assert (reference.sd == 0).all()
    found = score(evidence_of(counts), reference, WEIGHTS)
    assert (found.values == 50.0).all()
    assert (found.percentile == 50.0).all()
    assert found.alike == ("t0", "t1", "t2")
    assert ((found.low < 50) & (found.high > 50)).all()
    assert (score(evidence_of(counts_of()), reference, WEIGHTS).values == 50.0).all(), (
        "others have nothing to differ from"
    )


def test_customers_who_bought_in_proportion_are_not_alike():
    counts = np.outer([1.0, 2.0, 40.0], np.arange(1.0, 9.0))
    found = score(evidence_of(counts), reference_of(counts, WEIGHTS), WEIGHTS)
    assert np.isfinite(found.values).all()


def test_one_category_only_is_defined():
    counts = np.arange(10.0)[:, None]
    weights = weights_of([[1.0]])
    reference = reference_of(counts, weights)
    assert reference.share.tolist() == [1.0]
    assert not reference.measurability[0].measurable
    assert np.isnan(score(evidence_of(counts), reference, weights).values).all()


def test_everybody_in_one_of_the_categories():
    counts, weights = np.zeros((30, 8)), weights_of(np.ones((1, 8)))
    counts[:, 0] = np.arange(30)
    reference = reference_of(counts, weights)
    assert reference.share.tolist() == [1.0] + [0.0] * 7
    found = score(evidence_of(counts), reference, weights)
    assert np.isnan(found.values).all()
    assert found.measurability[0].categories == ("c00",)


def test_a_category_that_nobody_of_the_reference_bought_says_nothing():
    counts = counts_of()
    counts[:, 4] = 0.0
    reference = reference_of(counts, WEIGHTS)
    assert reference == reference_of(counts, weights_of(TABLE)), "the same weights"
    later = counts[:50].copy()
    without = weights_of(np.where(np.arange(8) == 4, 0.0, TABLE))
    other = reference_of(counts, without)
    later[:, 4] = 3.0
    assert np.array_equal(
        score(evidence_of(later), reference, WEIGHTS).values, score(evidence_of(later), other, without).values
    )
    assert np.isfinite(score(evidence_of(later), reference, WEIGHTS).values).all()


def test_reasons_are_categories_by_name():
    counts = np.vstack([counts_of(), np.zeros((1, 8))])
    counts[-1, 6] = 50.0
    weights = weights_of([[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 9.0, 0.9]])
    found = score(evidence_of(counts), reference_of(counts, weights), weights)
    assert found.reasons_of(300)["t0"][0] == "c06"
    assert len(found.reasons_of(300)["t0"]) == 3


def test_covered_spend_and_categories_of_each_customer():
    weights = weights_of([[1.0, 1.0, 1.0, 0, 0, 0, 0, 0], [0, 0, 0, 1.0, 1.0, 1.0, 1.0, 0.01]])
    counts = counts_of()
    spend = counts * np.random.default_rng(1).integers(1, 5000, counts.shape) / 100
    total = spend.sum(axis=1) + np.arange(300)
    total[spend.sum(axis=1) == 0] = 0.0
    found = score(evidence_of(counts, spend=spend, total_spend=total), reference_of(counts, weights), weights)
    for t, used in enumerate([slice(0, 3), slice(3, 7)]):
        wanted = np.divide(spend[:, used].sum(axis=1), total, out=np.zeros(300), where=total > 0)
        np.testing.assert_allclose(found.covered[:, t], wanted, rtol=0, atol=2e-5)
        assert np.array_equal(found.evidenced[:, t], (counts[:, used] > 0).sum(axis=1))


def test_a_frame_has_a_column_a_trait_always():
    counts = counts_of()
    weights = weights_of(np.vstack([TABLE[0], np.eye(8)[0]]))
    found = score(evidence_of(counts), reference_of(counts, weights), weights)
    table = found.to_arrow("household_id")
    assert table.column_names == ["household_id", "t0", "t1"]
    assert table["household_id"].to_pylist() == list(range(300))
    assert np.isnan(table["t1"].to_numpy()).all()
    assert table["t0"].to_numpy().tolist() == found.values[:, 0].tolist()
    assert found.reasons_of(0)["t1"] == ()


def test_what_does_not_belong_together_is_refused():
    counts = counts_of()
    reference = reference_of(counts, WEIGHTS)
    with pytest.raises(ContractError, match="not those that the reference was made with"):
        score(evidence_of(counts), reference, weights_of(2 * TABLE))
    with pytest.raises(InputError, match="different categories"):
        score(evidence_of(counts[:, :7]), reference, WEIGHTS)
    with pytest.raises(InputError, match=r"level=0\.85 is not known"):
        score(evidence_of(counts), reference, WEIGHTS, level=0.85)
    with pytest.raises(InputError, match="a column for each of its 8"):
        score_counts(counts[:, :7], reference, WEIGHTS)
    for wrong in (-1.0, -0.5, np.nan, np.inf):
        odd = counts.copy()
        odd[17, 3] = wrong
        with pytest.raises(InputError, match="give 0 or more"):
            score_counts(odd, reference, WEIGHTS)
    with pytest.raises(RangeError, match="total spend"):
        score(evidence_of(counts, total_spend=np.full(300, 1e15)), reference, WEIGHTS)


def test_categories_are_named():
    counts = counts_of()
    assert score(evidence_of(counts), reference_of(counts, WEIGHTS), WEIGHTS).categories == CATEGORIES
