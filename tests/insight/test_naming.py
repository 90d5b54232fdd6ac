"""Names: from the strongest differences, deterministic, unique, neutral."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.insight import measures
from gpuseg.insight.measures import measures_of
from gpuseg.insight.naming import AVERAGE, differences, name_segments
from gpuseg.insight.profile import profile_segments

LOADED = {
    "bad",
    "best",
    "cheap",
    "disloyal",
    "good",
    "lazy",
    "loser",
    "low-value",
    "poor",
    "rich",
    "star",
    "vip",
    "worst",
}


def profiles_of(segments, **columns):
    frame = pa.table(columns)
    return profile_segments(frame, segments, measures_of(frame.column_names))


def test_names_say_what_sets_a_segment_apart():
    profiles = profiles_of(
        [1, 1, 2, 2, 3, 3],
        visits=[90, 80, 5, 6, 30, 31],
        basket_value=[20.0, 21.0, 22.0, 19.0, 70.0, 80.0],
    )
    names = name_segments(profiles)
    assert names == {1: "Many visits, small baskets", 2: "Few visits, small baskets", 3: "Large baskets"}


def test_the_strongest_comes_first_and_a_family_speaks_once():
    profiles = profiles_of(
        [1, 1, 2, 2], share_A=[0.9, 0.8, 0.1, 0.2], share_B=[0.1, 0.2, 0.9, 0.8], visits=[5, 2, 2, 1]
    )
    found = differences(profiles, 1)
    assert [difference.phrase for difference in found] == ["more A", "many visits"]
    assert found[0].strength > found[1].strength
    assert (found[0].typical, found[0].population_typical) == (pytest.approx(0.85), pytest.approx(0.5))


def test_what_is_known_of_few_of_a_segment_does_not_name_it():
    columns = {"visits": [1, 1, 1, 3, 9, 8, 7, 9], "regularity": [None, None, None, -0.5, 0.1, 0.2, 0.3, 0.2]}
    profiles = profiles_of([1, 1, 1, 1, 2, 2, 2, 2], **columns)
    assert [found.phrase for found in differences(profiles, 1)] == ["few visits"]
    assert [found.phrase for found in differences(profiles, 2)] == ["many visits", "regular rhythm"]
    columns["regularity"][2] = -0.4  # of half of them
    profiles = profiles_of([1, 1, 1, 1, 2, 2, 2, 2], **columns)
    assert [found.phrase for found in differences(profiles, 1)] == ["few visits", "irregular rhythm"]


def test_a_segment_like_all_others_is_called_so():
    assert name_segments(profiles_of([1, 1, 2, 2], visits=[1, 2, 1, 2])) == {
        1: f"{AVERAGE.capitalize()} (1)",
        2: f"{AVERAGE.capitalize()} (2)",
    }


def test_equal_beginnings_get_one_phrase_more():
    columns = {
        "visits": [9, 9, 9, 9, 1, 1, 1, 1],
        "basket_value": [9.0, 9.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0],
        "coupon_share": [0.5, 0.5, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2],
    }
    names = name_segments(profiles_of([1, 1, 2, 2, 3, 3, 3, 3], **columns))
    assert len(set(names.values())) == 3
    assert names[3] == "Few visits, small baskets"


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
    st.integers(1, 3),
)
def test_names_are_unique_and_repeatable(rows, n_phrases):
    segment, visits, value = (np.array(column) for column in zip(*rows, strict=True))
    profiles = profiles_of(segment, visits=visits, basket_value=value.astype(float))
    names = name_segments(profiles, n_phrases)
    assert list(names) == list(profiles.segment_ids)
    assert len(set(names.values())) == len(names)
    assert names == name_segments(profiles, n_phrases)


def test_words_are_neutral():
    phrases = [phrase for measure in measures._KNOWN for phrase in (measure.high, measure.low, measure.label)]
    assert LOADED.isdisjoint(re.findall(r"[\w-]+", " ".join([*phrases, AVERAGE]).lower()))


def test_the_same_words_in_another_order_are_no_name_of_their_own():
    profiles = profiles_of(
        [1, 1, 2, 2, 3, 3, 3, 3],
        visits=[9, 9, 7, 7, 1, 1, 1, 1],
        recency_days=[9, 9, 3, 3, 90, 90, 90, 90],
    )
    assert differences(profiles, 1)[0].phrase != differences(profiles, 2)[0].phrase
    names = name_segments(profiles)
    assert names[1] == "Many visits, seen recently (1)"
    assert names[2] == "Seen recently, many visits (2)"
    assert names[3] == "Few visits, long since last visit"


def test_equal_medians_are_told_as_means():
    profiles = profiles_of([1, 1, 1, 1, 1, 2, 2], visits=[1, 1, 1, 1, 1, 4, 9])
    few, many = differences(profiles, 1)[0], differences(profiles, 2)[0]
    assert (few.phrase, few.figure, few.typical) == ("few visits", "mean", 1.0)
    assert few.population_typical == pytest.approx(18 / 7)
    assert (many.figure, many.typical, many.population_typical) == ("median", 6.5, 1.0)
