"""Segments across refits: ids stay with their segment, gone ids stay gone, and every customer is counted once."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuseg.cluster.kmeans import KMeans
from gpuseg.customers.scaling import ExactScaler
from gpuseg.errors import InputError
from gpuseg.insight.customer_rows import Recipe
from gpuseg.insight.matching import Matching, match_centres, match_model, migration
from gpuseg.insight.model import build_model


def test_a_permutation_keeps_every_id():
    old = np.array([[0.0, 0.0], [5.0, 1.0], [9.0, 9.0]])
    for order in itertools.permutations(range(3)):
        found = match_centres(old, [4, 1, 7], old[list(order)] + 0.1)
        assert found.ids == tuple([4, 1, 7][row] for row in order)
        assert (found.created, found.vanished) == ((), ())


def test_a_new_segment_gets_an_id_that_nobody_had():
    old = np.array([[0.0], [10.0]])
    found = match_centres(old, [1, 2], np.array([[10.5], [0.5], [4.0]]), used_ids=[0, 1, 2, 6])
    assert found == Matching((2, 1, 7), (1, 2), (7,), (), (0, 1, 2, 6, 7))


def test_a_vanished_id_is_never_given_again():
    first = match_centres(np.array([[0.0], [10.0]]), [1, 2], np.array([[0.1]]))
    assert (first.ids, first.vanished) == ((1,), (2,))
    second = match_centres(np.array([[0.1]]), first.ids, np.array([[0.2], [10.0]]), used_ids=first.used_ids)
    assert second.ids == (1, 3)


def test_a_segment_somewhere_else_is_another_segment():
    old = np.array([[0.0], [1.0], [50.0]])
    found = match_centres(old, [1, 2, 3], np.array([[0.0], [1.0], [-40.0]]))
    # Old 0 and 1 stay where they are, 3 is gone, and -40 is nobody's successor.
    assert found.ids == (1, 2, 4)
    assert found.vanished == (3,)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10_000))
def test_ids_are_unique_and_pairs_are_cheap(k, m, seed):
    draw = np.random.default_rng(seed)
    old, new = draw.normal(size=(k, 2)), draw.normal(size=(m, 2))
    found = match_centres(old, list(range(1, k + 1)), new, used_ids=[20])
    assert len(set(found.ids)) == m
    assert set(found.kept) | set(found.vanished) == set(range(1, k + 1))
    assert all(number > 20 for number in found.created)
    assert set(found.ids) == set(found.kept) | set(found.created)
    # No other way to pair them costs less: every injective pairing, by brute force.
    apart = ((old[:, None] - old[None]) ** 2).sum(axis=2) + np.diag(np.full(k, np.inf))
    cap = np.where(np.isinf(apart.min(axis=1)), 1e9, apart.min(axis=1))

    def cost(row, column):
        return min(float(((old[row] - new[column]) ** 2).sum()), float(cap[row]))

    few, many = (range(k), range(m)) if k <= m else (range(m), range(k))
    best = min(
        sum(cost(a, b) if k <= m else cost(b, a) for a, b in zip(few, chosen, strict=True))
        for chosen in itertools.permutations(many, len(few))
    )
    kept = sum(cost(number - 1, found.ids.index(number)) for number in found.kept)
    assert kept <= best + 1e-9
    for number in found.kept:
        assert cost(number - 1, found.ids.index(number)) < cap[number - 1]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="give centres of the same features"):
        match_centres(np.zeros((2, 2)), [1, 2], np.zeros((2, 3)))
    with pytest.raises(InputError, match="1 old ids"):
        match_centres(np.zeros((2, 2)), [1], np.zeros((2, 2)))


def test_migration_counts_every_customer_once():
    found = migration([1, 1, 2, 0, 2], [1, 3, 3, 0, 3])
    assert (found.before, found.after) == ((0, 1, 2), (0, 1, 3))
    assert found.counts.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 2]]
    assert found.stayed == 2


RECIPE = Recipe({"customer": "who"}, "UTC", 2, {}, None, "2024-01-01", (), ())
PLACES = np.array([[0.0, 100.0], [5.0, 900.0], [9.0, 300.0]])


def fitted(places, columns=("a", "b")):
    """Estimator, scaler and features of six customers around each place (a, b)."""
    draw = np.random.default_rng(len(places))
    values = np.repeat(places, 6, axis=0) + draw.normal(size=(6 * len(places), 2)) * [0.1, 10.0]
    built = pa.table({"who": range(len(values)), "a": values[:, 0], "b": values[:, 1]})
    built = built.select(["who", *columns]).replace_schema_metadata({"gpuseg.customer": "who"})
    scaler = ExactScaler()
    scaled = scaler.fit_transform(built)
    start = np.stack([scaled[name].to_numpy()[::6] for name in columns], axis=1)
    return KMeans(len(places), init=start).fit(scaled), scaler, built


def test_a_refit_keeps_the_ids_of_a_model():
    estimator, scaler, built = fitted(PLACES)
    segments = [(4, "four", 0), (2, "two", 1), (7, "seven", 2)]
    old = build_model(estimator, scaler, built, segments, recipe=RECIPE, used_ids=[9])
    assert old.used_ids == (0, 2, 4, 7, 9)
    assert np.allclose(old.centres, PLACES[[1, 0, 2]], atol=20)  # by id: 2, 4, 7
    # Other customers, one segment more, clusters in another order, columns the other way round.
    later = np.array([[9.0, 310.0], [30.0, 3000.0], [0.2, 95.0], [5.0, 910.0]])
    again, scale, _ = fitted(later, ("b", "a"))
    centres = scale.inverse_transform(again.cluster_centers_)
    found = match_model(old, centres, ("b", "a"), clusters=[3, 2, 1, 0])
    assert found.ids == (2, 4, 10, 7)
    assert (found.created, found.vanished, found.used_ids) == ((10,), (), (0, 2, 4, 7, 9, 10))


def test_a_refit_without_common_features_is_refused():
    estimator, scaler, built = fitted(PLACES)
    old = build_model(
        estimator, scaler, built, [(1, "one", 0), (2, "two", 1), (3, "three", 2)], recipe=RECIPE
    )
    with pytest.raises(InputError, match=r"no feature of the model before .a, b., .* without --refresh"):
        match_model(old, np.zeros((1, 1)), ("c",), [0])
