"""Indicators of behaviour: an oracle from the records, merge laws, and any split of the records."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gpuseg import datasets, read_transactions
from gpuseg.errors import InputError, RangeError
from gpuseg.personality.habit_state import HabitState, merge_habits
from gpuseg.personality.indicators import INDICATORS, habit_state, indicators

ROLES = {
    "customer": "who",
    "time": "at",
    "amount": "paid",
    "category": "kind",
    "time_zone": "Europe/Paris",
    "naive": "utc",
}
KINDS = ("grocery", "books", "travel", "lottery")


def records(n=400, seed=0, customers=25):
    draws = np.random.default_rng(seed)
    start = np.datetime64("2023-01-20T00:00:00", "us")
    seconds = draws.integers(0, 300 * 86_400, n)
    seconds = np.where(
        draws.random(n) < 0.1, seconds // 86_400 * 86_400 + 82_800, seconds
    )  # Paris midnight, in winter
    return pa.table(
        {
            "who": draws.integers(1, customers + 1, n),
            "at": pa.array(start + seconds.astype("timedelta64[s]")),
            "paid": np.round(draws.lognormal(3, 1, n), 2) * np.where(draws.random(n) < 0.1, -1, 1),
            "kind": [KINDS[k] for k in draws.integers(0, 4, n)],
        }
    )


def read(table, **options):
    return read_transactions(table, **(ROLES | options))


def entropy(p):
    return -sum(x * math.log(x) for x in p if x > 0)


def oracle(rows, border, n_kinds=3):
    """One customer, from the records."""
    zone = ZoneInfo("Europe/Paris")
    bought = [row for row in rows if row["paid"] > 0]
    local = [row["at"].replace(tzinfo=dt.UTC).astimezone(zone) for row in bought]
    amounts = [row["paid"] for row in bought]
    found = dict.fromkeys(INDICATORS, math.nan)
    if len(bought) >= 2:
        found["variability"] = np.std(amounts) / np.mean(amounts)
    found["weekend_share"] = np.mean([t.weekday() >= 5 for t in local])
    timed = [t for t in local if t.time() != dt.time(0)]
    if timed:
        found["night_share"] = np.mean([t.hour >= 22 or t.hour < 6 for t in timed])
    days = sorted({t.date() for t in local})
    if len(days) >= 3:
        gaps = [(b - a).days for a, b in itertools.pairwise(days)]
        found["burstiness"] = (np.std(gaps) - np.mean(gaps)) / (np.std(gaps) + np.mean(gaps))
    harmless = [(row, t) for row, t in zip(bought, local, strict=True) if row["kind"] != "lottery"]
    if harmless:
        spend = {}
        for row, _ in harmless:
            spend[row["kind"]] = spend.get(row["kind"], 0) + row["paid"]
        found["diversity"] = entropy(x / sum(spend.values()) for x in spend.values()) / math.log(n_kinds)
    halves = [
        [row["kind"] for row, t in harmless if (t.strftime("%Y-%m") >= border) == late]
        for late in (False, True)
    ]
    if all(halves):
        kinds = set(halves[0]) | set(halves[1])
        p, q = ([half.count(kind) / len(half) for kind in kinds] for half in halves)
        middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        divergence = (entropy(middle) - (entropy(p) + entropy(q)) / 2) / math.log(2)
        found["persistence"] = 1 - divergence
        found["turnover"] = 1 - len(set(halves[0]) & set(halves[1])) / len(kinds)
    return found


def assert_is_the_oracle(table, result, border):
    rows = table.to_pylist()
    buyers = sorted({row["who"] for row in rows if row["paid"] > 0})
    assert result["who"].to_pylist() == buyers
    for line in result.to_pylist():
        expected = oracle([row for row in rows if row["who"] == line["who"]], border)
        for name in INDICATORS:
            value = math.nan if line[name] is None else line[name]
            assert value == pytest.approx(expected[name], abs=1e-9, nan_ok=True), (line["who"], name)


def test_indicators_are_those_of_the_oracle():
    table = records(250, customers=40)
    result = indicators(read(table))
    # January to November: the later half begins in June.
    assert_is_the_oracle(table, result, "2023-06")
    assert result["night_share"].null_count < 40
    assert sum(result[name].null_count for name in INDICATORS) > 0
    assert_is_the_oracle(table, indicators(read(table), middle="2023-09-30"), "2023-09")


def test_any_split_and_order_of_the_records_gives_the_same():
    table = records()
    whole = habit_state(read(table))
    result = indicators(read(table))
    order = np.random.default_rng(1).permutation(len(table))
    shuffled = table.take(order)
    parts = [habit_state(read(shuffled.slice(i, 70))) for i in range(0, 400, 70)]
    left = parts[0]
    for part in parts[1:]:
        left = left.merge(part)
    right = parts[-1]
    for part in parts[-2::-1]:
        right = part.merge(right)
    assert left == whole
    assert right == whole
    assert parts[1].merge(parts[0]) == parts[0].merge(parts[1])
    assert HabitState().merge(whole) == whole
    assert whole.merge(HabitState()) == whole
    assert merge_habits(parts) == whole
    assert indicators(read(table), state=left).equals(result)
    assert parts[0] != parts[1]


def test_dask_and_pandas_give_the_same_values():
    import dask.dataframe as dd

    table = records()
    expected = indicators(read(table))
    frame = table.to_pandas()
    pandas = indicators(read(frame))
    assert isinstance(pandas, pd.DataFrame)
    assert pandas.index.name == "who"
    lazy = indicators(read(dd.from_pandas(frame, npartitions=4)))
    computed = lazy.compute(scheduler="sync")
    for name in INDICATORS:
        values = expected[name].to_numpy()
        assert np.array_equal(pandas[name].to_numpy(), values, equal_nan=True)
        assert np.array_equal(computed[name].to_numpy(), values, equal_nan=True)


def test_sensitive_categories_do_not_tell_what_is_bought():
    table = records()
    harmless = table.filter(pa.array([kind != "lottery" for kind in table["kind"].to_pylist()]))
    result, without = indicators(read(table)), indicators(read(harmless))
    kept = result.filter(pa.array([who in without["who"].to_pylist() for who in result["who"].to_pylist()]))
    for name in ("diversity", "persistence", "turnover"):
        assert kept[name].equals(without[name])
    opted = indicators(read(table), opt_in=["gambling"])
    assert not opted["diversity"].equals(result["diversity"])
    assert opted["weekend_share"].equals(result["weekend_share"])
    with pytest.raises(InputError, match="gamblin"):
        indicators(read(table), opt_in=["gamblin"])


def test_equal_amounts_do_not_vary_however_large():
    times = pa.array([dt.datetime(2023, 1, 1 + i, 12, tzinfo=dt.UTC) for i in range(3)] * 2)
    table = pa.table(
        {"who": [1, 1, 1, 2, 2, 2], "at": times, "paid": [21_474_836.47] * 3 + [0.01, 0.01, 21_000_000.0]}
    )
    table = table.append_column("kind", pa.array(["a"] * 6))
    found = indicators(read(table))["variability"].to_pylist()
    assert found[0] == 0.0
    assert found[1] == pytest.approx(math.sqrt(2), rel=1e-6)
    too_large = table.set_column(2, "paid", pa.array([21_474_836.48] * 6))
    with pytest.raises(RangeError, match="2,147,483,648 minor units"):
        indicators(read(too_large))


def test_nights_at_weekends_and_clockwork():
    saturday = dt.datetime(2023, 6, 3, 23, 0, tzinfo=dt.UTC)
    monday = dt.datetime(2023, 6, 5, 12, 0, tzinfo=dt.UTC)
    midnight = dt.datetime(2023, 6, 5, 22, 0, tzinfo=dt.UTC)  # 00:00 in Paris: a day without a time
    rows = [(1, saturday), (1, monday), (1, midnight)] + [
        (2, monday + dt.timedelta(days=7 * i)) for i in range(5)
    ]
    table = pa.table({"who": [r[0] for r in rows], "at": pa.array([r[1] for r in rows])})
    table = table.append_column("paid", pa.array([1.0] * 8))
    result = indicators(read_transactions(table, **{k: v for k, v in ROLES.items() if k != "category"}))
    first, second = result.to_pylist()
    assert (first["weekend_share"], first["night_share"]) == (1 / 3, 1 / 2)  # Sunday 01:00 in Paris
    assert (second["burstiness"], second["night_share"], second["variability"]) == (-1.0, 0.0, 0.0)
    assert first["diversity"] is first["persistence"] is first["turnover"] is None


def test_a_night_life_is_found():
    table, planted, _ = datasets.make_personality(1500, 200, seed=3)
    tx = read_transactions(
        table, customer="customer", time="time", amount="amount", category="mcc", time_zone="UTC", naive="utc"
    )
    found = indicators(tx)
    night = found["night_share"].to_numpy()
    assert 0.06 < night.mean() < 0.12
    assert np.corrcoef(night, planted["extraversion"].to_numpy())[0, 1] > 0.05


def test_what_cannot_be_used_is_refused():
    table = records(20)
    with pytest.raises(InputError, match="is no Transactions"):
        indicators(table)
    with pytest.raises(InputError, match="middle='soon' is not a calendar day"):
        indicators(read(table), middle="soon")
    returns = table.set_column(2, "paid", pa.array([-1.0] * 20))
    with pytest.raises(InputError, match="no purchase"):
        indicators(read(returns))
