"""Outcomes against plain oracles: rates, intervals, tests, associations, windows and the test that is suggested."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gpuseg.core.promise import Promise
from gpuseg.errors import InputError
from gpuseg.insight.next_test import suggested_test
from gpuseg.insight.outcome import feature_associations, outcome_rates, read_outcome
from gpuseg.insight.rates import (
    Rate,
    benjamini_hochberg,
    detectable_difference,
    difference_interval,
    sample_size,
    two_proportions,
    wilson,
)

shares = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(shares)
def test_wilson_is_where_the_score_test_turns(share):
    hits, base = share
    low, high = wilson(hits, base)
    p, z = hits / base, stats.norm.ppf(0.975)

    roots = np.sort(np.roots([1 + z * z / base, -(2 * p + z * z / base), p * p]).real)
    assert 0.0 <= low <= p <= high <= 1.0
    assert [low, high] == pytest.approx(roots.tolist(), abs=1e-7)


def test_intervals_of_nobody_and_newcombes_example():
    assert wilson(0, 0) == (0.0, 1.0)
    assert math.isnan(Rate(0, 0).value)
    # Newcombe 1998, table II: 56/70 against 48/80 has (0.0524, 0.3339).
    assert difference_interval(Rate(56, 70), Rate(48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(shares, shares)
def test_two_proportions_against_scipy(a, b):
    first, second = Rate(*a), Rate(*b)
    table = np.array([[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]])
    p, test = two_proportions(first, second)
    assert p == pytest.approx(two_proportions(second, first)[0])
    if not table.sum(axis=0).all():
        assert p == 1.0
    elif stats.contingency.expected_freq(table).min() >= 5:
        assert test == "two proportions"
        assert p == pytest.approx(
            stats.chi2_contingency(table, correction=False).pvalue, rel=1e-9, abs=1e-300
        )
    else:
        assert test == "Fisher's exact"
        assert p == pytest.approx(stats.fisher_exact(table).pvalue)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_benjamini_hochberg_against_scipy(p):
    expected = stats.false_discovery_control(p).tolist() if p else []
    assert benjamini_hochberg(p) == pytest.approx(expected, rel=1e-12)


def test_sample_size_is_that_of_the_textbook():
    # Fleiss 1981, without continuity correction: 0.6 against 0.5, two-sided 5 %, power 80 %.
    assert sample_size(0.6, 0.5) == 388
    assert sample_size(0.5, 0.6) == 388
    gap = detectable_difference(0.5, 388)
    assert gap <= 0.1
    assert sample_size(0.5 + gap, 0.5) <= 388 < sample_size(0.5 + gap * 0.99, 0.5)
    assert detectable_difference(0.5, 2) == 0.5


def made(n: int = 400):
    rng = np.random.default_rng(1)
    ids = rng.integers(1, 5, n)
    contacted = rng.random(n) < np.array([0, 0.9, 0.5, 0.3, 0.05])[ids]
    outcome = (rng.random(n) < np.array([0, 0.2, 0.1, 0.5, 0.3])[ids]) & contacted
    return pa.array(np.arange(n)), ids, contacted, outcome


def test_rates_are_of_those_contacted_against_the_rest():
    keys, ids, contacted, outcome = made()
    found = outcome_rates(keys, ids, contacted, outcome)
    frame = pd.DataFrame({"ids": ids, "contacted": contacted, "outcome": outcome})
    base = frame[frame.contacted]
    assert found.whole == Rate(int(base.outcome.sum()), len(base))
    assert found.outside == Rate(0, len(frame) - len(base))
    assert (found.denominator, found.promise) == ("of those contacted", Promise.REPEATABLE)
    tested = [s for s in found.segments if s.p is not None]
    assert [s.segment_id for s in found.segments] == [1, 2, 3, 4]
    assert [s.segment_id for s in tested] == [1, 2, 3]
    for s in found.segments:
        inside, outside = base[base.ids == s.segment_id], base[base.ids != s.segment_id]
        assert s.rate == Rate(int(inside.outcome.sum()), len(inside))
        assert s.rest == Rate(int(outside.outcome.sum()), len(outside))
        assert s.difference == pytest.approx(inside.outcome.mean() - outside.outcome.mean())
        assert s.difference_interval[0] < s.difference < s.difference_interval[1]
        assert s.n_customers == np.count_nonzero(ids == s.segment_id)
        assert s.n_not_contacted == np.count_nonzero((ids == s.segment_id) & ~contacted)
        assert s.contacted_share == pytest.approx(contacted[ids == s.segment_id].mean())
    p = stats.false_discovery_control([s.p for s in tested])
    assert [s.q for s in tested] == pytest.approx(p.tolist())


def test_too_few_say_so_and_still_show_the_interval():
    keys, ids, contacted, outcome = made()
    few = outcome_rates(keys, ids, contacted, outcome).segment(4)
    n = few.rate.base
    assert 0 < n < 30
    assert not few.enough
    assert (few.p, few.q, few.test) == (None, None, None)
    _, high = wilson(few.rate.hits, n)
    assert few.words.endswith(f"to {high * 100:.0f}\xa0%): too few to say (n = {n})")
    enough = outcome_rates(keys, ids, contacted, outcome, base_floor=n).segment(4)
    assert enough.enough
    assert "too few" not in enough.words
    assert not outcome_rates(keys, ids, contacted, outcome, base_floor=n + 1).segment(4).enough


def test_the_rest_can_be_too_few_as_well():
    ids = np.repeat([1, 2], [100, 10])
    found = outcome_rates(range(110), ids, np.ones(110, bool), np.arange(110) % 3 == 0)
    assert found.segment(1).words.endswith("too few to say (n = 10)")
    assert found.to_consider() is None
    assert suggested_test(found) is None


def test_a_segment_that_nobody_contacted():
    ids = np.repeat([1, 2, 3], 50)
    contacted = ids != 3
    found = outcome_rates(range(150), ids, contacted, (np.arange(150) % 2 == 0) & contacted)
    nobody = found.segment(3)
    assert nobody.words == "nobody contacted"
    assert math.isnan(nobody.difference)
    assert math.isnan(nobody.difference_interval[0])
    assert suggested_test(found, 3) is None


def test_order_of_customers_does_not_matter():
    keys, ids, contacted, outcome = made()
    order = np.random.default_rng(3).permutation(len(ids))
    expected = outcome_rates(keys, ids, contacted, outcome)
    assert outcome_rates(keys.take(pa.array(order)), ids[order], contacted[order], outcome[order]) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": [1, 2]}, "2 customers for 4 segment ids"),
        ({"keys": [1, 1, 2, 2]}, "2 customers are given twice"),
        ({"contacted": [1, 1]}, r"contacted has shape \(2,\) for 4 customers"),
        ({"outcome": [0.5, 0, 0, 1]}, "outcome is float64 and not true or false"),
        ({"outcome": [2, 0, 0, 1]}, "outcome is int64 and not true or false"),
        ({"contacted": [0, 0, 0, 0]}, "no customer was contacted"),
        ({"outcome": [0, 0, 0, 0]}, "nobody of the 4 customers contacted had the outcome"),
        ({"outcome": [1, 1, 1, 1]}, "everybody of the 4 customers contacted had the outcome"),
        ({"base_floor": 0}, "base_floor=0 is below 1"),
    ],
)
def test_refuses_rates_that_mean_nothing(change, message):
    given = {"keys": [1, 2, 3, 4], "segment_ids": [1, 1, 2, 2], "contacted": [1] * 4, "outcome": [0, 1, 0, 1]}
    with pytest.raises(InputError, match=message):
        outcome_rates(**(given | change))


values = st.lists(
    st.tuples(st.one_of(st.integers(0, 4).map(float), st.just(math.nan)), st.booleans(), st.booleans()),
    min_size=4,
    max_size=60,
)


@given(values)
def test_associations_against_pairs(rows):
    x, happened, contacted = (np.array(column) for column in zip(*rows, strict=True))
    base = happened[contacted.astype(bool)]
    if not base.size or base.all() or not base.any():
        return
    [found] = feature_associations(pa.table({"x": x}), happened, contacted)
    known = contacted & ~np.isnan(x)
    a, b = x[known & happened], x[known & ~happened]
    assert (found.n_with, found.n_without) == (len(a), len(b))
    if not len(a) or not len(b):
        assert math.isnan(found.auc)
        return
    psi = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    assert found.auc == pytest.approx(psi.mean())
    assert found.rank_biserial == pytest.approx(2 * psi.mean() - 1, abs=1e-12)
    if len(a) < 2 or len(b) < 2:
        assert found.interval == (0.0, 1.0)
        return
    error = math.sqrt(psi.mean(axis=1).var(ddof=1) / len(a) + psi.mean(axis=0).var(ddof=1) / len(b))
    low, high = psi.mean() - 1.959963984540054 * error, psi.mean() + 1.959963984540054 * error
    assert found.interval == pytest.approx((max(low, 0), min(high, 1)), abs=1e-9)
    assert found.clear == (found.interval[0] > 0.5 or found.interval[1] < 0.5)


@pytest.mark.parametrize("kind", [pa.table, pd.DataFrame, pl.DataFrame])
def test_associations_are_sorted_and_leave_out_what_is_no_feature(kind):
    columns = {
        "name": ["a", "b", "c", "d"],
        "weak": [1.0, 3.0, 2.0, 4.0],
        "none": [math.nan] * 4,
        "strong": [9, 8, 1, 2],
        "another": [1, 2, 8, 9],
    }
    found = feature_associations(kind(columns), [0, 0, 1, 1], [True] * 4)
    assert [f.feature for f in found] == ["another", "strong", "weak", "none"]
    assert [f.auc for f in found[:3]] == [1.0, 0.0, 0.75]


def test_the_customer_is_no_feature():
    table = pa.table({"who": [1, 2, 3, 4], "x": [1, 2, 3, 4]}).replace_schema_metadata(
        {"gpuseg.customer": "who"}
    )
    assert [f.feature for f in feature_associations(table, [0, 0, 1, 1], [1] * 4)] == ["x"]


DAY = dt.date(2017, 9, 1)


def events(days=(0, 5, 40), customers=(1, 1, 2), kind=None):
    times = pa.array([DAY + dt.timedelta(days=day) for day in days], pa.date32())
    return pa.table({"who": pa.array(customers), "at": times.cast(kind) if kind else times})


def contacts(periods=((-20, 3, 1), (10, 20, 2), (200, 210, 3))):
    return pa.table(
        {
            "who": pa.array([who for *_, who in periods]),
            "start": pa.array([DAY + dt.timedelta(days=a) for a, _, _ in periods], pa.date32()),
            "end": pa.array([DAY + dt.timedelta(days=b) for _, b, _ in periods], pa.date32()),
        }
    )


ROLES = {
    "customer": "who",
    "event_time": "at",
    "contact_start": "start",
    "contact_end": "end",
    "window": ("2017-09-01", "2017-09-30"),
}


@pytest.mark.parametrize("kind", [None, pa.timestamp("ns"), pa.timestamp("s"), pa.date64()])
def test_reads_who_was_contacted_and_who_had_the_outcome(kind):
    found = read_outcome(events(kind=kind), contacts(), **ROLES)
    assert found.contacted.to_pylist() == [1, 2]
    assert found.happened.to_pylist() == [1]
    assert found.n_not_contacted == 0
    assert found.words == "1\xa0September 2017 to 30\xa0September 2017"
    contacted, happened = found.flags(pa.array([3, 2, 1], pa.int32()))
    assert contacted.tolist() == [False, True, True]
    assert happened.tolist() == [False, False, True]


def test_borders_of_the_window_are_inside():
    periods = ((-5, 0, 1), (29, 40, 2), (-5, -1, 3), (30, 40, 4))
    found = read_outcome(events((0, 29, 30, -1), (1, 2, 1, 5)), contacts((*periods, (0, 0, 6))), **ROLES)
    assert found.contacted.to_pylist() == [1, 2, 6]
    assert found.happened.to_pylist() == [1, 2]


def test_an_outcome_without_a_contact_is_counted_apart():
    found = read_outcome(events((0, 1, 2), (1, 8, 9)), contacts(), **ROLES)
    assert found.n_not_contacted == 2


def test_a_contact_without_an_end_lasts_a_day():
    roles = {**ROLES, "contact_end": None}
    found = read_outcome(events((0, 1), (1, 2)), contacts(((0, 9, 1), (-1, 9, 2), (3, 4, 3))), **roles)
    assert found.contacted.to_pylist() == [1, 3]


def test_times_with_a_zone_fall_on_local_days():
    at = pa.array([dt.datetime(2017, 9, 1, 2, tzinfo=dt.UTC), dt.datetime(2017, 9, 2, 2, tzinfo=dt.UTC)])
    table = pa.table({"who": [1, 2], "at": at})
    assert read_outcome(
        table, contacts(), **ROLES | {"window": ("2017-09-02", "2017-09-30")}
    ).happened.to_pylist() == [2]
    found = read_outcome(table, contacts(), **ROLES, time_zone="America/New_York")
    assert found.happened.to_pylist() == [2]  # the first still was 31 August there


def test_text_keys_and_other_names():
    told = contacts().set_column(0, "customer", pa.array(["a", "b", "c"]).dictionary_encode())
    found = read_outcome(events(customers=["a", "a", "b"]), told, **ROLES, contact_customer="customer")
    assert found.happened.to_pylist() == ["a"]
    assert found.flags(["a", "z"])[0].tolist() == [True, False]
    with pytest.raises(InputError, match="none of the 2 customers contacted is among the 1"):
        found.flags(["z"])
    with pytest.raises(InputError, match="give both one type"):
        found.flags([1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": ("2017-09-30", "2017-09-01")}, r"window: it ends \(2017-09-01\) before it starts"),
        (
            {"window": ("2019-01-01", "2019-02-01")},
            "2019-02-01 lies outside the data, which cover 2017-09-01",
        ),
        ({"coverage": ("2017-09-02", "2017-12-31")}, "lies outside the data, which cover 2017-09-02"),
        ({"coverage": ("2017-01-01", "2017-09-29")}, "lies outside the data"),
        ({"window": ("2017-09-01",)}, "is no pair of days"),
        ({"window": ("soon", "later")}, "is not a calendar day"),
        ({"window": (None, "2017-09-30")}, "lacks a day"),
        ({"features_until": "2017-09-01"}, "the features know everything up to 2017-09-01"),
        ({"customer": "id"}, "the outcome events have no single column 'id'; they have who, at"),
        ({"event_time": "who"}, "'who' is int64, not dates or times"),
        ({"time_zone": "New York"}, "is not a known time zone"),
        ({"window": ("2017-09-24", "2017-09-30")}, "nobody was contacted from"),
        ({"window": ("2017-09-09", "2017-09-12")}, "none of the 1 customers contacted"),
        ({"window": ("2017-09-01", "2017-09-04")}, "all 1 customers contacted"),
    ],
)
def test_refuses_windows_and_tables_that_cannot_be_used(change, message):
    with pytest.raises(InputError, match=message):
        read_outcome(events(), contacts(), **(ROLES | change))


def test_refuses_cells_that_are_empty_and_periods_that_run_backwards():
    hole = pa.table({"who": [1, None], "at": events((0, 1), (1, 2))["at"]})
    with pytest.raises(InputError, match="1 cells of 'who' are empty"):
        read_outcome(hole, contacts(), **ROLES)
    with pytest.raises(InputError, match="the contacts: 1 rows end before they start"):
        read_outcome(events(), contacts(((5, 3, 1),)), **ROLES)
    with pytest.raises(InputError, match="the outcome events have no rows"):
        read_outcome(events((), ()), contacts(), **ROLES)
    with pytest.raises(InputError, match="customers are large_string in the contacts and int64"):
        read_outcome(events(), contacts().set_column(0, "who", pa.array(["a", "b", "c"])), **ROLES)
    with pytest.raises(InputError, match="they must be integers or text"):
        read_outcome(events(customers=(1.0, 2.0, 3.0)), contacts(), **ROLES)
    assert read_outcome(events(), contacts(), **ROLES, features_until="2017-08-31").n_not_contacted == 0


def test_the_segment_to_consider_has_room_and_a_sure_rate():
    # 1: high rate, all contacted; 2: a good rate, few contacted; 3: the same room, a poor rate; 4: too few.
    sizes, reached, hits = (200, 200, 200, 40), (200, 60, 60, 10), (80, 18, 3, 9)
    ids = np.repeat([1, 2, 3, 4], sizes)
    contacted = np.concatenate([np.arange(n) < m for n, m in zip(sizes, reached, strict=True)])
    outcome = np.concatenate([np.arange(n) < h for n, h in zip(sizes, hits, strict=True)])
    rates = outcome_rates(range(640), ids, contacted, outcome)
    assert rates.to_consider() is rates.segment(2)
    test = suggested_test(rates)
    assert (test.segment_id, test.control) == (2, "rest")
    assert (test.expected, test.baseline) == (18 / 60, 92 / 270)
    assert test.per_arm == sample_size(18 / 60, 92 / 270)
    assert test.available == 200
    assert not test.feasible
    assert (
        "There are not so many: 200 each would show a difference of 14 percentage points."
        in test.sentence("B")
    )
    assert suggested_test(rates, 3).feasible
    assert (
        suggested_test(rates, 3)
        .sentence("C")
        .startswith('Draw 22 at random from "C" and 22 from everybody else, contact both alike')
    )
    assert test.promise is Promise.REPEATABLE


def test_an_outcome_that_comes_without_contact_is_tested_by_holding_out():
    ids = np.repeat([1, 2], 300)
    contacted = np.arange(600) % 2 == 0
    outcome = np.where(contacted, np.arange(600) % 4 == 0, np.arange(600) % 10 == 1)
    rates = outcome_rates(range(600), ids, contacted, outcome)
    test = suggested_test(rates, 1)
    assert test.control == "held out"
    assert test.baseline == rates.outside.value == 0.2
    assert test.expected == 0.5
    assert test.available == 150
    assert test.per_arm == sample_size(0.5, 0.2)
    assert "contact one and hold the other out" in test.sentence("A")


def test_a_plan_needs_a_difference_and_probabilities():
    ids, outcome = np.repeat([1, 2], 100), np.arange(200) % 2 == 0
    rates = outcome_rates(range(200), ids, np.ones(200, bool), outcome)
    test = suggested_test(rates, 1)
    assert (test.per_arm, test.per_arm_half, test.feasible) == (None, None, False)
    assert test.sentence("A").startswith('Draw 100 at random from "A" and 100 from everybody else')
    assert "a difference of 19 percentage points from 50\xa0% would show" in test.sentence("A")
    with pytest.raises(InputError, match="power=1"):
        suggested_test(rates, 1, power=1)
    with pytest.raises(InputError, match="there is no segment 7"):
        suggested_test(rates, 7)


def test_without_contacts_every_customer_counts():
    found = read_outcome(
        events((0, 1, 40), (1, 2, 3)), **{k: v for k, v in ROLES.items() if "contact" not in k}
    )
    assert found.contacted is None
    contacted, happened = found.flags(range(100))
    assert contacted is None
    ids = np.arange(100) % 2
    rates = outcome_rates(range(100), ids, contacted, happened)
    assert rates.denominator == "of all customers"
    assert rates.whole == Rate(2, 100)
    assert rates.segment(0).contacted_share == 1.0
    test = suggested_test(rates, 0)
    assert (test.control, test.per_arm, test.available) == ("held out", None, 25)
    assert test.sentence("A").startswith(
        'Draw two groups of 25 at random from "A", contact one and hold the other out'
    )
    assert [f.auc for f in feature_associations(pa.table({"x": np.arange(100)}), happened, None)] == [1 / 98]
    roles = ROLES | {"window": ("2017-09-10", "2017-09-12")}
    with pytest.raises(InputError, match="nobody had the outcome from"):
        read_outcome(events(), **{k: v for k, v in roles.items() if "contact" not in k})
    with pytest.raises(InputError, match="contacts need contact_start="):
        read_outcome(events(), contacts(), **ROLES | {"contact_start": None})


def test_the_table_has_a_row_a_segment():
    keys, ids, contacted, outcome = made()
    contacted = contacted & (ids != 4)
    rates = outcome_rates(keys, ids, contacted, outcome & contacted)
    rows = rates.to_table({i: f"S{i}" for i in range(1, 5)}).to_pylist()
    assert [(row["segment_id"], row["segment_name"]) for row in rows] == [(i, f"S{i}") for i in range(1, 5)]
    assert rows[0]["rate"] == rates.segment(1).rate.value
    assert (rows[0]["rate_low"], rows[0]["rate_high"]) == rates.segment(1).rate.interval
    assert (rows[0]["q"], rows[0]["enough"]) == (rates.segment(1).q, True)
    assert [rows[3][name] for name in ("contacted", "rate", "difference", "p")] == [0, None, None, None]
