"""The rule that chooses k: limits, what gives way, separation of an outcome against plain oracles, the elbow."""

from __future__ import annotations

import math

import dask.array as da
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.errors import InputError
from gpuseg.quality.choose_k import choose_k
from gpuseg.quality.k_rule import (
    KEvidence,
    Limits,
    elbow,
    pick,
    read_truths,
    separation,
    separation_error,
)
from gpuseg.quality.stability import SegmentStability, Stability

rows_with_truth = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), min_size=6, max_size=60
)


def found(k, smallest=50, largest=0.4, jaccard=0.9, apart=None):
    stable = Stability((SegmentStability(0, 10, jaccard, 5),), 0.9, (0.9,), 10, sampled=False, seed=0)
    return KEvidence(k, 1.0, 0.1, largest, 3.0, 5, smallest, stable, apart)


def planted(k: int, n: int = 60):
    rng = np.random.default_rng(k)
    corners = 20.0 * np.eye(8)[:k, :6]
    return (np.repeat(corners, n, axis=0) + rng.normal(size=(n * k, 6))).astype(np.float32)


@given(rows_with_truth)
def test_separation_is_adjusted_r_squared(rows):
    labels, _, truth = (np.array(column) for column in zip(*rows, strict=True))
    if truth.all() or not truth.any() or len(set(labels)) >= len(labels):
        return
    y, n, g = truth.astype(float), len(truth), len(set(labels))
    fitted = np.array([y[labels == label].mean() for label in labels])
    within, total = ((y - fitted) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    assert separation(labels, truth) == pytest.approx(1 - (within / (n - g)) / (total / (n - 1)), abs=1e-12)


@given(rows_with_truth)
def test_separation_error_is_that_of_influences_row_by_row(rows):
    first, second, truth = (np.array(column) for column in zip(*rows, strict=True))
    if truth.all() or not truth.any():
        return
    y, n = truth.astype(float), len(truth)
    p = y.mean()
    influences = []
    for labels in (first, second):
        gap = np.array([y[labels == label].mean() for label in labels]) - p
        theta = (gap**2).mean() / (p * (1 - p))
        influences.append((2 * (y - p) * gap - gap**2 - theta * (y - p) ** 2) / (p * (1 - p)))
    expected = math.sqrt(((influences[0] - influences[1]) ** 2).sum()) / n
    assert separation_error(first, second, truth) == pytest.approx(expected, abs=1e-12)
    assert separation_error(first, first, truth) == 0.0


def test_the_error_is_what_resampling_finds():
    rng = np.random.default_rng(0)
    n = 3000
    first = rng.integers(0, 3, n)
    second = np.where(rng.random(n) < 0.7, first, rng.integers(0, 4, n))
    truth = rng.random(n) < np.array([0.1, 0.3, 0.5])[first]

    def eta(labels, y):
        means = np.array([y[labels == g].mean() for g in range(labels.max() + 1)])[labels]
        return ((means - y.mean()) ** 2).mean() / y.var()

    again = []
    for _ in range(200):
        rows = rng.integers(0, n, n)
        again.append(eta(first[rows], truth[rows]) - eta(second[rows], truth[rows]))
    assert separation_error(first, second, truth) == pytest.approx(np.std(again), rel=0.2)


def test_the_lowest_k_that_meets_every_limit():
    limits = Limits(min_size=40, max_share=0.5, min_stability=0.6)
    evidence = [
        found(2, largest=0.7),
        found(3, smallest=39),
        found(4, jaccard=0.59),
        found(5),
        found(6),
    ]
    chosen = pick(evidence, limits, None)
    assert (chosen.k, chosen.met) == (5, True)
    assert chosen.reason == (
        "k = 5 is the lowest of 2 to 6 that meets the limits (at least 40 in each segment, at most 50 % in one, "
        "mean Jaccard of each at least 0.60)."
    )
    assert limits.fails(found(3, 39, 0.51, 0.2)) == (
        "smallest segment 39 < 40",
        "largest share 0.510 > 0.500",
        "stability 0.200 < 0.600",
    )
    assert limits.fails(found(3, 40, 0.5, 0.6)) == ()


@pytest.mark.parametrize(
    ("evidence", "k", "why"),
    [
        ([found(2, jaccard=0.3), found(3, jaccard=0.5), found(4, jaccard=0.5)], 3, "stability 0.500 < 0.600"),
        ([found(2, jaccard=0.3), found(3, smallest=1)], 2, "stability 0.300"),
        ([found(2, largest=0.9), found(3, largest=0.6), found(4, smallest=1)], 3, "largest share 0.600"),
        ([found(2, smallest=8, largest=0.9), found(3, smallest=9)], 3, "smallest segment 9 < 40"),
        ([found(2, jaccard=math.nan)], 2, "stability 0.000"),
    ],
)
def test_limits_give_way_one_by_one_and_it_is_said(evidence, k, why):
    chosen = pick(evidence, Limits(min_size=40, max_share=0.5, min_stability=0.6), None)
    assert (chosen.k, chosen.met) == (k, False)
    assert why in chosen.reason
    assert chosen.reason.startswith("No k of 2")
    assert chosen.reason.endswith("a practical cut.")


def test_an_outcome_takes_the_lowest_k_within_one_standard_error():
    evidence = [
        found(3, apart=0.01),
        found(4, apart=0.05),
        found(5, apart=0.06),
        found(6, smallest=1, apart=0.5),
    ]
    limits = Limits(min_size=2)
    chosen = pick(evidence, limits, lambda _a, _b: 0.02)
    assert chosen.k == 4
    assert "k = 4 is the lowest that separates the outcome (0.050) within one standard error" in chosen.reason
    best = pick(evidence, limits, lambda _a, _b: 0.001)
    assert best.k == 5
    assert best.reason == (
        "Of k = 3 to 6 that meet the limits (at least 2 in each segment), k = 5 separates the outcome best (0.060)."
    )
    assert pick(evidence[:1], Limits(), lambda _a, _b: 0.0).reason.startswith("Of k = 3, k = 3 separates")


def test_choose_k_with_limits_finds_the_lowest_and_keeps_the_evidence():
    X = planted(4)
    chosen = choose_k(X, range(2, 7), min_size=30, max_share=0.3, stability=4)
    assert (chosen.k, chosen.rule, chosen.met, chosen.practical, chosen.elbow) == (
        4,
        "limits",
        True,
        False,
        4,
    )
    assert [bool(e.fails) for e in chosen.evidence] == [True, True, False, True, True]
    assert chosen.evidence[2].smallest == 60
    assert chosen.evidence[2].stability.lowest == 1.0
    assert chosen.evidence[3].stability.lowest < 0.75
    assert choose_k(X, range(2, 7), max_share=0.6).k == 3
    assert choose_k(X, [4, 5, 6], stability=4, min_stability=0.0).k == 4


def test_no_structure_never_stops_the_job():
    X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    chosen = choose_k(X, [3, 4], min_size=290, max_share=0.1, stability=2, min_stability=1.0)
    assert (chosen.met, chosen.structure, chosen.practical) == (False, False, True)
    assert chosen.reason.startswith("No k of 3 to 4 meets the limits")
    assert chosen.reason.endswith("shows no natural groups: a practical cut of a continuum.")
    plain = choose_k(X, [3, 4])
    assert (plain.rule, plain.met, plain.practical) == ("silhouette", True, True)
    assert plain.reason.endswith("a practical cut of a continuum.")
    squared = choose_k(X, [3], metric="sqeuclidean")
    assert (squared.structure, squared.practical) == (None, False)


def test_an_outcome_decides_among_k_and_rows_without_one_stand_aside():
    X = planted(4, 100)
    truth = np.where(np.arange(400) // 100 == 3, np.arange(400) % 2, np.arange(400) % 20 == 0).astype(float)
    truth[::7] = math.nan
    chosen = choose_k(X, range(2, 7), outcome=truth)
    labels = np.asarray(chosen.models[4].labels_)
    known = ~np.isnan(truth)
    four = next(e for e in chosen.evidence if e.k == 4)
    assert four.separation == separation(labels[known], truth[known] == 1)
    assert four.separation > 0.2
    assert chosen.rule == "limits"
    arrow = pa.array([None if math.isnan(t) else bool(t) for t in truth])
    assert choose_k(X, range(2, 7), outcome=arrow).evidence == chosen.evidence
    lazy = choose_k(da.from_array(X, chunks=(150, 6)), range(2, 7), outcome=truth)
    assert (lazy.k, lazy.evidence, lazy.reason) == (chosen.k, chosen.evidence, chosen.reason)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_size": 0}, "min_size=0 must be at least 1"),
        ({"min_size": True}, "min_size=True"),
        ({"max_share": 0.0}, "max_share=0.0 must be a share"),
        ({"max_share": 1.5}, "max_share=1.5 must be a share"),
        ({"stability": 2, "min_stability": 1.2}, "min_stability=1.2 must lie between"),
        ({"min_stability": 0.7}, "min_stability=0.7 needs stability="),
        ({"stability": 0}, "n_boot=0 is not between"),
        ({"outcome": [1, 0]}, r"outcome has shape \(2,\) for 120 rows"),
        ({"outcome": [0] * 120}, "nobody of the 120 rows"),
        ({"outcome": [1] * 60 + [math.nan] * 60}, "everybody of the 60 rows"),
        ({"outcome": [2] + [0] * 119}, "other than 0, 1 and NaN"),
        ({"outcome": ["yes"] * 120}, "cannot be read as true, false or NaN"),
    ],
)
def test_refuses_limits_and_outcomes_that_mean_nothing(arguments, message):
    with pytest.raises(InputError, match=message):
        choose_k(planted(2), [2], **arguments)


def test_truths_are_read_with_their_gaps():
    happened, known = read_truths([True, None, 0.0, math.nan], 4)
    assert happened.tolist() == [True, False, False, False]
    assert known.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("inertias", "knee"),
    [
        ([100, 40, 10, 9, 8, 7], 4),
        ([100, 80, 60, 40, 20, 0], None),  # a straight line has no elbow
        ([100, 99, 97, 90, 60, 0], None),  # falls faster and faster
        ([5, 5, 5, 5, 5, 5], None),
        ([9, 1], None),
    ],
)
def test_elbow(inertias, knee):
    assert elbow(list(range(2, 2 + len(inertias))), inertias) == knee
