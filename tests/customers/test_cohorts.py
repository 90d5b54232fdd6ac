"""Cohort retention against plain Python over sets."""

from __future__ import annotations

import datetime as dt
import json

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import gpuseg as gs
from gpuseg import datasets
from gpuseg.customers.activity import ActivityState, merge_activities, partition_activity
from gpuseg.customers.cohorts import cohort_retention
from gpuseg.customers.periods import PERIODS, WEEKDAYS, Periods
from gpuseg.customers.reading import parts
from gpuseg.engines.choose import choose_engine
from gpuseg.errors import InputError, SchemaError

EPOCH = dt.date(1970, 1, 1)
ROLES = {"customer": "who", "time": "at", "amount": "paid", "time_zone": "UTC"}
LINES = st.lists(
    st.tuples(st.integers(0, 5), st.integers(-120, 200), st.integers(-200, 500)), min_size=1, max_size=40
)


def day(number):
    return EPOCH + dt.timedelta(days=number)


def table_of(lines):
    who, days, paid = zip(*lines, strict=True)
    return pa.table(
        {
            "who": pa.array(who, pa.int64()),
            "at": pa.array([day(d) for d in days], pa.date32()),
            "paid": pa.array(np.array(paid) / 100),
        }
    )


def start_of(date, period, week_start):
    """First day of the period of a date, by datetime."""
    if period == "day":
        return date
    if period == "week":
        return date - dt.timedelta(days=(date.weekday() - WEEKDAYS.index(week_start)) % 7)
    month = date.month if period == "month" else (date.month - 1) // 3 * 3 + 1
    return date.replace(month=month, day=1)


def next_start(start, period, week_start):
    return start_of(
        start + dt.timedelta(days={"day": 1, "week": 7, "month": 31, "quarter": 92}[period]),
        period,
        week_start,
    )


def oracle(lines, period, week_start, coverage, lookback):
    """Counts and revenue (cents) as dictionaries of observable cells, and who is where."""
    seen = [day(d) for _, d, _ in lines]
    first = start_of(min(seen), period, week_start)
    last = start_of(max(seen), period, week_start)
    begin, end = coverage or (first, next_start(last, period, week_start) - dt.timedelta(days=1))
    first, last = (
        min(first, start_of(begin, period, week_start)),
        max(last, start_of(end, period, week_start)),
    )
    starts = [first]
    while starts[-1] < last:
        starts.append(next_start(starts[-1], period, week_start))
    covered = [s >= begin and next_start(s, period, week_start) <= end + dt.timedelta(days=1) for s in starts]
    new_from = begin + dt.timedelta(days=lookback)
    born = {}
    for who, d, paid in lines:
        if paid > 0:
            born[who] = min(born.get(who, day(d)), day(d))
    where = {w: starts.index(start_of(b, period, week_start)) for w, b in born.items() if b >= new_from}
    good = [c and s >= new_from for c, s in zip(covered, starts, strict=True)]
    counts, money = {}, {}
    for c in range(len(starts)):
        for age in range(len(starts) - c):
            if good[c] and covered[c + age]:
                members = {w for w, at in where.items() if at == c}
                here = [
                    x
                    for x in lines
                    if x[0] in members and start_of(day(x[1]), period, week_start) == starts[c + age]
                ]
                counts[c, age] = len({x[0] for x in here if x[2] > 0})
                money[c, age] = sum(x[2] for x in here)
    return {
        "starts": tuple(starts),
        "counts": counts,
        "money": money,
        "good": good,
        "customers": len({x[0] for x in lines}),
        "already": sum(b < new_from for b in born.values()),
        "incomplete": sum(not good[at] for at in where.values()),
        "without": len({x[0] for x in lines}) - len(born),
    }


@given(
    LINES,
    st.sampled_from(PERIODS),
    st.sampled_from(WEEKDAYS),
    st.one_of(st.none(), st.tuples(st.integers(-130, 20), st.integers(60, 210))),
    st.integers(0, 40),
    st.integers(1, 50),
)
def test_retention_against_plain_python(lines, period, week_start, span, lookback, part_rows):
    coverage = None if span is None else (day(span[0]), day(span[1]))
    known = oracle(lines, period, week_start, coverage, lookback)
    assume(any(known["good"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_ROWS", part_rows)
        tx = gs.read_transactions(table_of(lines), **ROLES)
    found = cohort_retention(tx, period, coverage, lookback, week_start=week_start)
    assert found.starts == known["starts"]
    n = len(found.starts)
    for cohort in range(n):
        for age in range(n):
            if (cohort, age) not in known["counts"]:
                assert np.isnan(
                    [table[cohort, age] for table in (found.counts, found.rates, found.revenue)]
                ).all()
                continue
            size = known["counts"][cohort, 0]
            assert found.counts[cohort, age] == known["counts"][cohort, age]
            assert found.revenue[cohort, age] == known["money"][cohort, age] / 100
            rate = found.rates[cohort, age]
            assert rate == known["counts"][cohort, age] / size if size else np.isnan(rate)
    assert found.n_customers == known["customers"]
    assert found.n_already_customers == known["already"]
    assert found.n_incomplete_cohort == known["incomplete"]
    assert found.n_without_purchase == known["without"]
    assert found.n_in_cohorts == sum(size for (_, age), size in known["counts"].items() if age == 0)
    assert (
        found.n_in_cohorts + found.n_already_customers + found.n_incomplete_cohort + found.n_without_purchase
        == found.n_customers
    )
    assert round(found.revenue_elsewhere * 100) == sum(x[2] for x in lines) - sum(known["money"].values())


def activity_of(lines, periods):
    (partition,) = gs.read_transactions(table_of(lines), **ROLES).partitions
    return partition_activity(partition.load(), periods, choose_engine("cpu"))


@given(LINES, LINES, LINES, st.sampled_from(PERIODS))
def test_merge_is_associative_and_commutative_and_zero_is_neutral(first, second, third, period):
    a, b, c = (activity_of(lines, Periods(period)) for lines in (first, second, third))
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(ActivityState()) == a == ActivityState().merge(a)
    assert merge_activities([a, b, c]) == activity_of([*first, *second, *third], Periods(period))


@given(st.integers(-30_000, 80_000), st.sampled_from(PERIODS), st.sampled_from(WEEKDAYS))
def test_codes_are_calendar_periods(number, period, week_start):
    periods = Periods(period, week_start)
    code = periods.code(number)
    assert day(periods.first_day(code)) == start_of(day(number), period, week_start)
    assert day(periods.first_day(code + 1)) == next_start(
        start_of(day(number), period, week_start), period, week_start
    )


def small():
    return gs.read_transactions(
        table_of(
            [(1, 0, 500), (1, 40, 300), (2, 5, 100), (2, 33, -100), (3, 35, 700), (3, 70, 1), (4, 36, -5)]
        ),
        **ROLES,
    )


def test_a_triangle_on_fingers():
    kept = cohort_retention(small())
    nan = np.nan
    np.testing.assert_array_equal(kept.counts, [[2, 1, 0], [1, 1, nan], [0, nan, nan]])
    np.testing.assert_array_equal(kept.rates, [[1, 0.5, 0], [1, 1, nan], [nan, nan, nan]])
    np.testing.assert_array_equal(kept.revenue, [[6, 2, 0], [7, 0.01, nan], [0, nan, nan]])
    assert (kept.n_customers, kept.n_in_cohorts, kept.n_without_purchase) == (4, 3, 1)
    assert kept.revenue_elsewhere == -0.05
    assert kept.starts == (dt.date(1970, 1, 1), dt.date(1970, 2, 1), dt.date(1970, 3, 1))
    assert "n_in_cohorts=3" in repr(kept)


def test_partly_covered_periods_cannot_be_observed():
    kept = cohort_retention(small(), coverage=("1970-01-01", "1970-03-15"))
    np.testing.assert_array_equal(kept.counts, [[2, 1, np.nan], [1, np.nan, np.nan], [np.nan] * 3])
    late = cohort_retention(small(), coverage=("1970-01-02", "1970-03-31"))
    assert np.isnan(late.counts[0]).all()
    assert late.n_already_customers == 1  # bought on the day before
    assert late.n_incomplete_cohort == 1


def test_lookback_takes_early_customers_for_old_ones():
    kept = cohort_retention(small(), lookback=31)
    assert np.isnan(kept.counts[0]).all()
    assert kept.counts[1, 0] == 1
    assert kept.n_already_customers == 2
    again = cohort_retention(small(), lookback=dt.timedelta(days=31))
    np.testing.assert_array_equal(kept.counts, again.counts)
    between = cohort_retention(small(), lookback=33)
    assert np.isnan(between.counts[:2]).all()
    assert (between.n_already_customers, between.n_incomplete_cohort) == (2, 1)


def test_tables_of_the_result():
    kept = cohort_retention(small())
    rows = kept.to_arrow().to_pylist()
    assert len(rows) == 9
    assert rows[1] == {
        "cohort": dt.date(1970, 1, 1),
        "age": 1,
        "period": dt.date(1970, 2, 1),
        "size": 2,
        "active": 1,
        "rate": 0.5,
        "revenue": 2.0,
    }
    assert rows[5] == dict.fromkeys(rows[5]) | {"cohort": dt.date(1970, 2, 1), "age": 2, "size": 1}
    frame = kept.to_pandas("counts")
    assert (frame.index.name, frame.columns.name) == ("cohort", "age")
    np.testing.assert_array_equal(frame.to_numpy(), kept.counts)
    with pytest.raises(InputError, match="table='rate' is not known"):
        kept.to_pandas("rate")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"period": "year"}, "period='year' is not known; use one of day, week, month, quarter"),
        ({"week_start": "mon"}, "week_start='mon' is not a weekday"),
        ({"coverage": "1970-01-01"}, "is not a pair of days"),
        ({"coverage": ("1970-02-01", "1970-01-01")}, "an end that is not before it"),
        ({"coverage": ("1970-01-01", "soon")}, "coverage='soon' is not a calendar day"),
        ({"coverage": (None, "1970-01-01")}, "give a start and an end"),
        ({"lookback": -1}, "lookback=-1 is not a number of days"),
        ({"lookback": 2.5}, "lookback=2.5 is not a number of days"),
        ({"lookback": dt.timedelta(hours=5)}, "is not a number of days"),
        ({"lookback": 400}, "no whole month lies between 1971-02-05 .* and 1970-03-31"),
    ],
)
def test_options_are_checked(options, said):
    with pytest.raises(InputError, match=said):
        cohort_retention(small(), **options)


def test_too_many_periods_and_no_transactions():
    tx = gs.read_transactions(table_of([(1, -20_000, 100), (1, 0, 100)]), **ROLES)
    with pytest.raises(
        InputError, match=r"20,001 periods of one day are more than 4,096; use a longer period"
    ):
        cohort_retention(tx, "day")
    with pytest.raises(InputError, match="dict is no Transactions"):
        cohort_retention({})


@pytest.mark.parametrize("parts", [1, 5])
def test_dask_gives_the_same(lines, roles, parts):
    expected = cohort_retention(gs.read_transactions(lines, **roles), "week", lookback=20)
    frame = dd.from_pandas(lines.to_pandas(), npartitions=parts, sort=False)
    found = cohort_retention(gs.read_transactions(frame, **roles), "week", lookback=20)
    for name in ("counts", "rates", "revenue"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.n_already_customers == expected.n_already_customers
    bad = lines.to_pandas()
    bad.loc[3, "amount"] = np.inf
    with pytest.raises(SchemaError, match="is NaN or infinite in 1 of"):
        cohort_retention(gs.read_transactions(dd.from_pandas(bad, npartitions=parts), **roles))


def test_the_real_households():
    lines = datasets.complete_journey()
    kept = cohort_retention(gs.read_transactions(lines, **datasets.COMPLETE_JOURNEY_ROLES))
    assert [str(start)[:7] for start in kept.starts] == [f"2017-{month:02d}" for month in range(1, 13)]
    assert kept.counts[0, 0] / 2_469 == pytest.approx(
        0.8, abs=0.02
    )  # the data begin there, the customers do not
    assert kept.n_in_cohorts == 2_469
    assert not np.isnan(kept.counts[np.tri(12, dtype=bool)[::-1]]).any()
    assert np.isnan(kept.counts[~np.tri(12, dtype=bool)[::-1]]).all()
    told = cohort_retention(
        gs.read_transactions(lines, **datasets.COMPLETE_JOURNEY_ROLES),
        coverage=("2017-01-01", "2017-12-31"),
        lookback=90,
    )
    assert np.isnan(told.counts[:3]).all()
    assert told.n_already_customers + told.n_in_cohorts == 2_469
    naive = cohort_retention(
        gs.read_transactions(lines, **(datasets.COMPLETE_JOURNEY_ROLES | {"time_zone": "UTC"}))
    )
    assert str(naive.starts[-1]) == "2018-01-01"  # the phantom month of the wrong calendar
    assert json.dumps(kept.n_customers) == "2469"
