"""Scores from over-indexing in compiled code == the definition in numpy: entries or tables, threads, any widths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.core.overindex import CategoryCounts, TraitTerms, trait_scores
from gpuseg.engines.base import Engine
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.errors import ContractError, RangeError

KINDS = ["whole", "decayed", "mixed", "large", "none"]


def table_of(kind, n, categories, seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.8, (n, categories)).astype(float)
    if kind == "decayed":
        counts *= rng.random((n, categories))
    elif kind == "mixed" and n:
        counts[n // 2 :] *= 0.3
    elif kind == "large":
        counts *= rng.choice([1.0, 63.0, 64.0, 2.0**31], (n, categories))
    elif kind == "none":
        counts[:] = 0.0
    return counts


def terms_of(categories, traits, seed):
    rng = np.random.default_rng(seed)
    share = rng.random(categories)
    sd = rng.random(categories) + 0.1
    share[rng.random(categories) < 0.2] = 0.0
    sd[rng.random(categories) < 0.1] = 0.0
    weights = rng.normal(size=(traits, categories)) * (rng.random((traits, categories)) < 0.7)
    return TraitTerms.of(5.0, share, rng.normal(size=categories), sd, weights)


def entries_of(counts, *, zeros=False):
    kept = np.ones(counts.shape, np.bool_) if zeros else counts > 0
    row, column = np.nonzero(kept)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(counts)))])
    return CategoryCounts(starts, column.astype(np.int32), counts[row, column], counts.shape[1])


def run(engine, counts, terms):
    n, t = counts.n_rows, terms.n_traits
    found = np.full((t, n), np.nan), np.full(n, np.nan), np.full((t, 3, n), 99, np.int16)
    engine.trait_scores(counts, terms, *found)
    alone = np.full((t, n), np.nan), np.full(n, np.nan)
    engine.trait_scores(counts, terms, *alone)
    assert np.array_equal(alone[0], found[0])
    assert np.array_equal(alone[1], found[1])
    return found


@given(
    kind=st.sampled_from(KINDS),
    n=st.sampled_from([0, 1, 31, 64, 65, 200]),
    categories=st.sampled_from([1, 2, 9, 55]),
    traits=st.sampled_from([1, 5, 16, 17]),
    seed=st.integers(0, 2**32),
)
def test_every_engine_gives_the_bits_of_the_definition(engines, kind, n, categories, traits, seed):
    counts, terms = table_of(kind, n, categories, seed), terms_of(categories, traits, seed + 1)
    wanted = trait_scores(counts, terms)
    given_as = [CategoryCounts.of_table(counts), entries_of(counts), entries_of(counts, zeros=True)]
    for engine in engines:
        for entries in given_as:
            for found, want in zip(run(engine, entries, terms), wanted, strict=True):
                assert np.array_equal(found, want)


def test_a_customer_alone_has_the_bits_that_he_has_among_others():
    counts, terms = table_of("mixed", 300, 20, 3), terms_of(20, 5, 4)
    scores, evidence, reasons = run(CpuEngine(2), CategoryCounts.of_table(counts), terms)
    for i in (0, 63, 64, 149, 150, 299):
        one = run(CpuEngine(1), entries_of(counts[i : i + 1]), terms)
        assert np.array_equal(one[0][:, 0], scores[:, i])
        assert one[1][0] == evidence[i]
        assert np.array_equal(one[2][:, :, 0], reasons[:, :, i])


def test_it_is_a_verb():
    assert isinstance(CpuEngine(1), Engine)


@pytest.mark.parametrize("codes", [[-1], [3], [2**31 - 1], [1, 1], [2, 0]])
def test_categories_that_are_not_those_of_the_reference_in_order_are_refused(codes):
    terms, m = terms_of(3, 2, 0), len(codes)
    counts = CategoryCounts(np.array([0, m]), np.array(codes, np.int32), np.ones(m), 3)
    with pytest.raises(ContractError, match=r"do not ascend within 0 \.\. 2"):
        CpuEngine(1).trait_scores(counts, terms, np.empty((2, 1)), np.empty(1))


@pytest.mark.parametrize("count", [-1.0, -0.25, np.nan, -np.inf])
@pytest.mark.parametrize("row", [0, 17, 69])
def test_counts_below_0_are_refused(count, row):
    counts = table_of("whole", 70, 3, 1)
    counts[row, 1] = count
    for entries in (CategoryCounts.of_table(counts), entries_of(np.abs(np.nan_to_num(counts)))):
        if not entries.dense:
            entries.count[entries.starts[row]] = count
        with pytest.raises(RangeError, match="give 0 or more"):
            CpuEngine(1).trait_scores(entries, terms_of(3, 2, 0), np.empty((2, 70)), np.empty(70))


@pytest.mark.parametrize(
    ("scores", "evidence", "reasons"),
    [
        (np.empty((1, 4)), np.empty(4), None),
        (np.empty((2, 4), np.float32), np.empty(4), None),
        (np.empty((4, 2)).T, np.empty(4), None),
        (np.empty((2, 4)), np.empty(3), None),
        (np.empty((2, 4)), np.empty(4), np.empty((2, 2, 4), np.int16)),
    ],
)
def test_buffers_that_do_not_fit_are_refused(scores, evidence, reasons):
    with pytest.raises(ContractError, match="does not fit; it is"):
        CpuEngine(1).trait_scores(
            CategoryCounts.of_table(np.ones((4, 3))), terms_of(3, 2, 0), scores, evidence, reasons
        )


def test_counts_of_other_categories_are_refused():
    with pytest.raises(ContractError, match="counts of 4 categories"):
        CpuEngine(1).trait_scores(
            CategoryCounts.of_table(np.ones((1, 4))), terms_of(3, 2, 0), np.empty((2, 1)), np.empty(1)
        )
