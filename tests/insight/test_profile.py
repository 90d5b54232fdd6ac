"""Profiles against a plain pandas oracle, and the rules for index and effect size."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.errors import InputError
from gpuseg.insight.measures import Measure, measures_of
from gpuseg.insight.profile import MIN_BASE, Figures, SegmentFigures, profile_segments
from gpuseg.insight.words import Unit, Wording

VISITS = Measure("visits", "Visits", Unit.COUNT, "visits", "many visits", "few visits")
SCORE = Measure("regularity", "Regularity", Unit.SCORE, "rhythm", "regular", "irregular", signed=True)

tables = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 5]),
        st.one_of(st.just(math.nan), st.integers(0, 6).map(float), st.floats(0, 1e6)),
        st.floats(-1, 1),
    ),
    min_size=1,
    max_size=60,
)


def oracle(frame: pd.DataFrame, column: str, segment: int) -> dict[str, float]:
    """Means, medians, index and probability of lying above the rest, pair by pair."""
    inside = frame.loc[frame.segment == segment, column].dropna()
    outside = frame.loc[frame.segment != segment, column].dropna()
    above = [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    whole = frame[column].mean()
    return {
        "known": len(inside),
        "mean": inside.mean(),
        "median": inside.median(),
        "index": 100 * inside.mean() / whole if len(inside) and whole > 0 else None,
        "superiority": np.mean(above) if above else math.nan,
    }


@given(tables)
def test_profiles_equal_the_oracle(rows):
    frame = pd.DataFrame(rows, columns=["segment", "visits", "regularity"])
    profiles = profile_segments(frame, frame.segment, [VISITS, SCORE])
    assert profiles.segment_ids == tuple(sorted(frame.segment.unique()))
    assert profiles.n_customers == len(frame)
    for entry in profiles.measures:
        column = entry.measure.column
        assert entry.population.mean == pytest.approx(frame[column].mean(), nan_ok=True)
        assert entry.population.median == pytest.approx(frame[column].median(), nan_ok=True)
        for segment in profiles.segment_ids:
            found, wanted = entry.segment(segment), oracle(frame, column, segment)
            assert found.figures.known == wanted["known"]
            assert found.figures.mean == pytest.approx(wanted["mean"], nan_ok=True)
            assert found.figures.median == pytest.approx(wanted["median"], nan_ok=True)
            assert found.superiority == pytest.approx(wanted["superiority"], nan_ok=True)
            index = None if entry.measure.signed else wanted["index"]
            assert found.index == (None if index is None else pytest.approx(index))
            assert profiles.size(segment) == (frame.segment == segment).sum()


@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_customers_does_not_matter(rows, random):
    frame = pd.DataFrame(rows, columns=["segment", "visits", "regularity"])
    shuffled = frame.loc[random.sample(range(len(frame)), len(frame))]
    names = dict.fromkeys(frame.segment.unique(), "x")
    first, second = (
        profile_segments(one, one.segment, [VISITS, SCORE]).to_table(names) for one in (frame, shuffled)
    )
    assert first.equals(second)


def test_any_frame_gives_the_same():
    columns = {"visits": [1.0, None, 4.0, 9.0], "share_A": [0.1, 0.2, 0.3, 0.4]}
    arrow = pa.table(columns)
    kinds = [arrow, arrow.to_pandas(), pl.from_arrow(arrow)]
    measures = measures_of(arrow.column_names)
    names = {1: "one", 2: "two"}
    found = [profile_segments(kind, [1, 1, 2, 2], measures).to_table(names) for kind in kinds]
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_the_table_is_tidy_and_in_original_units():
    frame = pa.table({"visits": [2, 4, 30], "discount_share": [0.0, 0.0, 0.0]})
    table = profile_segments(frame, [1, 1, 2], measures_of(frame.column_names)).to_table({1: "A", 2: "B"})
    rows = table.to_pylist()
    assert [(row["segment_id"], row["measure"]) for row in rows] == [
        (1, "visits"),
        (1, "discount_share"),
        (2, "visits"),
        (2, "discount_share"),
    ]
    assert rows[0] == {
        "segment_id": 1,
        "segment_name": "A",
        "customers": 2,
        "share_of_customers": 2 / 3,
        "measure": "visits",
        "label": "Visits",
        "unit": "count",
        "known": 2,
        "mean": 3.0,
        "median": 3.0,
        "population_mean": 12.0,
        "population_median": 4.0,
        "index": 25.0,
        "superiority": 0.0,
    }
    assert rows[1]["index"] is None  # nobody has a discount: there is nothing to be 100
    assert rows[1]["superiority"] == 0.5
    assert not any("p_value" in name for name in table.column_names)


def test_an_index_on_a_small_base_does_not_stand_out():
    frame = pd.DataFrame({"visits": [10.0] * (MIN_BASE - 1) + [1.0] * 500})
    segment = np.where(frame.visits == 10.0, 1, 2)
    (entry,) = profile_segments(frame, segment, [VISITS]).measures
    assert entry.segment(1).index > 120
    assert not entry.segment(1).stands_out
    assert entry.segment(2).stands_out
    frame = pd.concat([frame, frame.head(1)])
    (entry,) = profile_segments(frame, np.append(segment, 1), [VISITS]).measures
    assert entry.segment(1).stands_out


@pytest.mark.parametrize(
    ("index", "told"), [(119.4, False), (119.5, True), (80.4, True), (80.6, False), (100, False)]
)
def test_an_index_is_judged_as_it_is_shown(index, told):
    assert SegmentFigures(1, Figures(MIN_BASE, 1.0, 1.0), index, 0.5).stands_out == told


def test_shares_of_a_total():
    frame = pd.DataFrame({"spend": [10.0, 30.0, 60.0, 0.0], "visits": 0.0})
    profiles = profile_segments(frame, [1, 1, 2, 2], measures_of(frame.columns))
    assert profiles.share_of("spend", 1) == pytest.approx(0.4)
    assert profiles.share_of("visits", 1) is None
    assert profiles.share_of("not there", 1) is None


@pytest.mark.parametrize(
    ("frame", "ids", "message"),
    [
        (pa.table({"visits": [1, 2]}), [1], "1 segment ids for 2 customers"),
        (pa.table({"visits": pa.array([], pa.int64())}), [], "at least one row"),
        (pa.table({"spend": [1]}), [1], "no column 'visits'; they have spend"),
    ],
)
def test_bad_input(frame, ids, message):
    with pytest.raises(InputError, match=message):
        profile_segments(frame, ids, [VISITS])


def test_measures_of_a_summary():
    measures = measures_of(
        ["household", "share_A B", "spend", "visits"], Wording(category_names={"A B": "fresh food"})
    )
    assert [measure.column for measure in measures] == ["visits", "spend", "share_A B"]
    assert (measures[2].label, measures[2].high, measures[2].is_category) == (
        "Fresh food",
        "more fresh food",
        True,
    )
