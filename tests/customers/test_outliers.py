"""Extreme customers: bounds that an oracle confirms, the same for any order, and none where there is no spread."""

from __future__ import annotations

import logging
import statistics

import numpy as np
import pyarrow as pa
import pytest

from gpuseg.customers.outliers import (
    LIMITS,
    NO_SPREAD,
    TWO_VALUES,
    OutlierBounds,
    OutlierRule,
    find_outliers,
    pull_in,
    quantile,
)
from gpuseg.errors import InputError, NotFiniteError

RULES = tuple(LIMITS)


def features(**columns):
    rows = len(next(iter(columns.values())))
    table = pa.table({"who": [f"C{row:03d}" for row in range(rows)], **columns})
    return table.replace_schema_metadata({b"gpuseg.customer": b"who", b"kept": b"yes"})


def rule(name, limit=None, action="flag"):
    return OutlierRule(action, name, LIMITS[name] if limit is None else limit)


def drawn(n, seed=0):
    """Two features with a few customers far out."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(5.0, 2.0, n), rng.gamma(1.5, 3.0, n)
    a[:: max(1, n // 4)] *= -6.0
    return features(a=a, b=b)


def oracle(values, name, limit):
    """The definitions, by the slow library."""
    if name == "zscore":
        middle, sd = statistics.fmean(values), statistics.pstdev(values)
        return middle - limit * sd, middle + limit * sd
    if name == "iqr":
        low, high = np.quantile(values, [0.25, 0.75], method="averaged_inverted_cdf")
        return low - limit * (high - low), high + limit * (high - low)
    median = statistics.median(values)
    mad = statistics.median([abs(value - median) for value in values])
    return median - limit * 1.4826 * mad, median + limit * 1.4826 * mad


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("n", [20, 21, 22, 23, 100])
@pytest.mark.parametrize("limit", [None, 0.8])
def test_bounds_are_those_of_the_definitions(name, n, limit):
    table = drawn(n)
    found = find_outliers(table, rule(name, limit))
    for place, column in enumerate(("a", "b")):
        values = table[column].to_numpy()
        low, high = oracle(values.tolist(), name, found.rule.limit)
        assert found.bounds.lower[place] == pytest.approx(low, rel=1e-9)
        assert found.bounds.upper[place] == pytest.approx(high, rel=1e-9)
        outside = (values < low) | (values > high)
        assert found.outside[:, place].tolist() == outside.tolist()
        assert found.by_feature[column] == outside.sum()
    assert found.n_marked == found.outside.any(axis=1).sum()
    assert found.n_marked > 0 or limit is None  # four far ones of twenty hide each other from the z-score
    assert found.unbounded == {}


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_customers_does_not_matter(name):
    table = drawn(57)
    zeros = pa.array(np.where(np.arange(57) % 2, 0.0, -0.0))
    table = table.append_column("zeros", pa.array(np.where(np.arange(57) % 7, zeros.to_numpy(), 4.0)))
    first = find_outliers(table, rule(name, 0.5))
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(57)
        again = find_outliers(table.take(order), rule(name, 0.5))
        assert again.bounds.lower.tobytes() == first.bounds.lower.tobytes()
        assert again.bounds.upper.tobytes() == first.bounds.upper.tobytes()
        assert np.array_equal(again.outside, first.outside[order])


def test_quantiles_are_values_or_the_middle_of_two():
    values = np.array([4.0, 1.0, 3.0, 2.0])
    assert [quantile(values, part, 4) for part in (1, 2, 3)] == [1.5, 2.5, 3.5]
    assert [quantile(values[:3], part, 4) for part in (1, 2, 3)] == [1.0, 3.0, 4.0]
    assert quantile(np.array([7.0]), 1, 4) == 7.0


def test_a_customer_on_a_bound_is_inside():
    bounds = OutlierBounds(OutlierRule(), ("a",), np.array([-1.0]), np.array([2.0]))
    values = np.array([[-1.0], [2.0], [np.nextafter(2.0, 3.0)], [-9.0], [np.nan]])
    assert bounds.outside(values)[:, 0].tolist() == [False, False, True, True, False]
    assert bounds.pulled_in(values)[:4, 0].tolist() == [-1.0, 2.0, 2.0, -1.0]
    assert np.isnan(bounds.pulled_in(values)[4, 0])
    assert bounds.as_built(values) is values
    assert bounds.reasons(bounds.outside(values)).to_pylist() == [
        None,
        None,
        "outlier: a",
        "outlier: a",
        None,
    ]


@pytest.mark.parametrize("name", RULES)
def test_features_without_spread_have_no_bounds(name, caplog):
    flag = [0.0, 1.0] * 20
    rare = [0.0] * 39 + [1.0]
    same = [3.0] * 40
    mostly = [2.0] * 36 + [5.0, 6.0, 7.0, 800.0]
    spread = [float(row) for row in range(39)] + [900.0]
    with caplog.at_level(logging.INFO, logger="gpuseg.customers"):
        found = find_outliers(
            features(flag=flag, rare=rare, same=same, mostly=mostly, spread=spread), rule(name)
        )
    expected = {"flag": TWO_VALUES, "rare": TWO_VALUES, "same": NO_SPREAD}
    if name != "zscore":
        expected["mostly"] = NO_SPREAD
    assert found.unbounded == expected
    places = [found.bounds.names.index(column) for column in expected]
    assert np.isneginf(found.bounds.lower[places]).all()
    assert np.isposinf(found.bounds.upper[places]).all()
    assert found.by_feature["spread"] == 1
    assert all(found.by_feature[column] == 0 for column in expected)
    assert found.facts()["features_without_bounds"] == expected
    assert "same (no spread)" in caplog.text
    assert "1 of 40 customers lie more than" in caplog.text


def test_a_feature_far_from_zero_has_no_known_spread():
    values = (2.0**45 + np.arange(40) % 2 * 2.0**-8).tolist()
    assert find_outliers(features(far=values), rule("zscore")).unbounded == {"far": NO_SPREAD}


def test_only_drop_leaves_customers_out():
    table = drawn(40)
    for action in ("flag", "winsorise", "drop"):
        found = find_outliers(table, rule("iqr", 0.8, action))
        assert 0 < found.n_marked < 40
        left_out = found.n_marked if action == "drop" else 0
        assert np.count_nonzero(~found.kept) == left_out
        gone = found.dropped(table, "why")
        assert gone.column_names == ["who", "why", "is_outlier"]
        assert gone["who"].to_pylist() == table["who"].filter(pa.array(~found.kept)).to_pylist()
        assert set(gone["why"].to_pylist()) <= {"outlier: a", "outlier: b"}
        assert len(gone) == left_out


def test_pulling_in_keeps_the_rest_of_the_table():
    table = drawn(40)
    found = find_outliers(table, rule("iqr", 0.8))
    pulled = pull_in(table, found.bounds)
    assert pulled.schema.equals(table.schema, check_metadata=True)
    assert pulled["who"].equals(table["who"])
    for place, column in enumerate(("a", "b")):
        values, before = pulled[column].to_numpy(), table[column].to_numpy()
        clipped = np.clip(before, found.bounds.lower[place], found.bounds.upper[place])
        assert values.tolist() == clipped.tolist() != before.tolist()


def test_what_is_refused():
    for wrong, said in (
        ({"action": "keep"}, "action='keep' is not known; use one of flag, winsorise, drop"),
        ({"rule": "z"}, "rule='z' is not known; use one of zscore, iqr, mad"),
        ({"limit": 0.0}, "limit=0.0 is not above 0; usual for zscore is 3"),
        ({"limit": float("nan")}, "limit=nan is not above 0"),
    ):
        with pytest.raises(InputError, match=said):
            OutlierRule(**wrong)
    for name in RULES:
        with pytest.raises(NotFiniteError, match="a"):
            find_outliers(features(a=[1.0, float("nan"), 2.0]), rule(name))
    low, high = np.array([1.0]), np.array([0.5])
    with pytest.raises(InputError, match="a lower bound is above the upper one"):
        OutlierBounds(OutlierRule(), ("a",), low, high)
    with pytest.raises(InputError, match=r"bounds of float64, \(1,\)"):
        OutlierBounds(OutlierRule(), ("a", "b"), low, high)
