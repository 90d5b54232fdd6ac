"""Features and summaries against plain Python, for every kind of frame."""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import gpuseg as gs
from gpuseg import datasets
from gpuseg.customers.features import customer_state, customer_summary, day_number, features
from gpuseg.customers.reading import parts
from gpuseg.errors import InputError

NAMES = ("FRESH", "PANTRY", "DELI", "HOME")


def rows_of(tx):
    return [row for table in tx.tables() for row in table.to_pylist()]


def oracle(rows, as_of, names, *, by_basket=True):
    """One dictionary a customer, with exact fractions for what is a ratio of integers."""
    people = {}
    for row in rows:
        if row["day"] <= as_of:
            people.setdefault(row["customer"], []).append(row)
    n_categories = len({r["category"] for own in people.values() for r in own if r["amount"] > 0})
    result = {}
    for who, own in sorted(people.items()):
        bought = [r for r in own if r["amount"] > 0]
        if not bought:
            continue
        days = sorted({r["day"] for r in bought})
        visits = len({r["basket"] for r in bought}) if by_basket else len(days)
        purchases = sum(r["amount"] for r in bought)
        discount, coupon = (sum(r[k] for r in own if r["amount"] >= 0) for k in ("discount", "coupon"))
        spend = {}
        for r in bought:
            spend[r["category"]] = spend.get(r["category"], 0) + r["amount"]
        gaps = [(b - a).days for a, b in pairwise(days)]
        result[who] = {
            "visits": visits,
            "purchases": purchases,
            "recency": (as_of - days[-1]).days + 1,
            "discount_share": Fraction(discount, purchases + discount),
            "coupon_share": Fraction(coupon, purchases + discount),
            "own_label_share": Fraction(sum(r["amount"] for r in bought if r["own_label"]), purchases),
            "shares": {name: Fraction(spend.get(name, 0), purchases) for name in names},
            "entropy": -math.fsum(s / purchases * math.log(s / purchases) for s in spend.values())
            / math.log(n_categories),
            "regularity": regularity(gaps),
            "top": min(spend, key=lambda name: (-spend[name], name)),
            "n_categories": len(spend),
        }
    return result


def regularity(gaps):
    if len(gaps) < 2:
        return 0.0
    mean, sd = np.mean(gaps), np.std(gaps)
    return float((mean - sd) / (mean + sd))


def exact(fraction):
    return fraction.numerator / fraction.denominator


@pytest.mark.parametrize("as_of", [None, "2023-04-30"])
def test_features_against_plain_python(lines, roles, as_of):
    tx = gs.read_transactions(lines, **roles)
    rows = rows_of(tx)
    last = max(row["day"] for row in rows) if as_of is None else dt.date.fromisoformat(as_of)
    expected = oracle(rows, last, NAMES)
    table = features(tx, as_of)
    facts = json.loads(table.schema.metadata[b"gpuseg.facts"])
    assert facts["as_of"] == last.isoformat()
    assert sorted(facts["categories"]) == sorted(NAMES)
    assert facts["n_records_after_as_of"] == sum(row["day"] > last for row in rows)
    assert table["customer"].to_pylist() == list(expected)
    assert table.column_names == [
        "customer",
        "log_visits",
        "log_basket_value",
        "log_recency",
        "discount_share",
        "root_coupon_share",
        "own_label_share",
        *(f"share_{name}" for name in facts["categories"]),
        "category_diversity",
        "regularity",
    ]
    for row, known in zip(table.to_pylist(), expected.values(), strict=True):
        assert row["log_visits"] == pytest.approx(math.log1p(known["visits"]), rel=1e-15)
        assert row["log_basket_value"] == pytest.approx(
            math.log1p(known["purchases"] / known["visits"] / 100), rel=1e-15
        )
        assert row["log_recency"] == pytest.approx(math.log1p(known["recency"]), rel=1e-15)
        for name in ("discount_share", "own_label_share"):
            assert row[name] == exact(known[name])  # one division of integers: rounded once
        assert row["root_coupon_share"] == math.sqrt(exact(known["coupon_share"]))
        for name in NAMES:
            assert row[f"share_{name}"] == exact(known["shares"][name])
        assert row["category_diversity"] == pytest.approx(known["entropy"], abs=1e-12)
        assert row["regularity"] == pytest.approx(known["regularity"], abs=1e-12)


def test_summary_is_in_original_units(lines, roles):
    tx = gs.read_transactions(lines, **roles)
    rows = rows_of(tx)
    last = max(row["day"] for row in rows)
    expected = oracle(rows, last, NAMES)
    table = customer_summary(tx)
    for row, known in zip(table.to_pylist(), expected.values(), strict=True):
        assert row["visits"] == known["visits"]
        assert row["spend"] == row["purchases"] == known["purchases"] / 100
        assert row["recency_days"] == known["recency"]
        assert row["basket_value"] == pytest.approx(known["purchases"] / known["visits"] / 100, rel=1e-15)
        assert row["top_category"] == known["top"]
        assert row["categories_bought"] == known["n_categories"]
        assert row["tenure_days"] == (last - row["first_day"]).days + 1
        assert row["gap_days"] == (row["last_day"] - row["first_day"]).days / (row["visit_days"] - 1)


def one_table(**columns):
    """A few lines where everything can be counted on fingers."""
    base = {
        "who": [1, 1, 1, 1, 2, 2, 3],
        "at": [
            "2024-01-01",
            "2024-01-03",
            "2024-01-05",
            "2024-01-07",
            "2024-01-01",
            "2024-01-09",
            "2024-01-02",
        ],
        "paid": [10.0, 20.0, 30.0, -5.0, 4.0, 0.0, -7.0],
        "kind": ["a", "b", "b", "b", "a", "a", "a"],
        "off": [0.0, 10.0, 0.0, -2.0, 0.0, 1.0, 0.0],
    } | columns
    table = pa.table(base)
    return table.set_column(1, "at", table["at"].cast(pa.timestamp("s")))


SMALL = {
    "customer": "who",
    "time": "at",
    "amount": "paid",
    "category": "kind",
    "discount": "off",
    "time_zone": "UTC",
}


def test_returns_are_no_visit_and_customers_without_purchase_have_no_row(caplog):
    tx = gs.read_transactions(one_table(), **SMALL)
    with caplog.at_level(logging.INFO, "gpuseg"):
        table = features(tx)
    found = table.to_pylist()
    assert [row["who"] for row in found] == [1, 2]
    assert found[0]["log_visits"] == pytest.approx(math.log(4))
    assert found[0]["log_recency"] == pytest.approx(
        math.log(1 + 5)
    )  # last purchase on the 5th, as of the 9th
    assert found[0]["regularity"] == 1.0
    assert found[1]["regularity"] == 0.0
    assert found[0]["discount_share"] == 10 / 70
    assert found[1]["discount_share"] == 1 / 5  # a piece given for nothing is a discount, not a return
    assert found[0]["share_b"] == 50 / 60
    facts = json.loads(table.schema.metadata[b"gpuseg.facts"])
    assert facts["n_customers"] == 3
    assert facts["n_without_purchase"] == 1
    assert facts["n_neutral_regularity"] == 1
    assert "1 of 3 customers have no purchase up to 2024-01-09" in caplog.text
    assert "1 customers with fewer than three visit days" in caplog.text
    rows = customer_summary(tx).to_pylist()
    assert [row["who"] for row in rows] == [1, 2, 3]
    assert (rows[0]["spend"], rows[0]["returns"], rows[0]["lines"]) == (55.0, -5.0, 4)
    undefined = [
        "basket_value",
        "first_day",
        "last_day",
        "recency_days",
        "gap_days",
        "regularity",
        "top_category",
    ]
    assert {name: rows[2][name] for name in undefined} == dict.fromkeys(undefined)
    assert (rows[2]["visits"], rows[2]["spend"]) == (0, -7.0)


def test_categories_are_chosen_by_spend_then_by_name_never_unknown():
    table = one_table(
        kind=[None, "b", "c", "c", "c", "a", "a"], paid=[90.0, 20.0, 16.0, 1.0, 4.0, 1.0, 1.0], off=[0.0] * 7
    )
    tx = gs.read_transactions(table, **SMALL)
    assert [n for n in features(tx, categories=2).column_names if n.startswith("share_")] == [
        "share_c",
        "share_b",
    ]
    even = one_table(kind=["b", "a", "a", "a", "b", "a", "a"], paid=[9.0, 5, 4, 0, 0, 0, 0], off=[0.0] * 7)
    even = gs.read_transactions(even, **SMALL)
    assert [n for n in features(even).column_names if n.startswith("share_")] == ["share_a", "share_b"]
    assert "share_c" in features(tx, categories=["c"]).column_names
    assert not [n for n in features(tx, categories=0).column_names if n.startswith("share_")]
    with pytest.raises(InputError, match="nobody bought category 'd'; there are a, b, c, unknown"):
        features(tx, categories=["d"])
    with pytest.raises(InputError, match="categories=-1 is negative"):
        features(tx, categories=-1)


def test_later_records_change_nothing_before():
    """as_of leaves no trace of the future: not even in the choice of categories."""
    table = one_table(kind=["a", "b", "b", "z", "a", "z", "z"], paid=[1.0, 2, 3, 500, 4, 5, 7], off=[0.0] * 7)
    until = table.filter(pc.less(table["at"], pa.scalar(dt.datetime(2024, 1, 6), pa.timestamp("s"))))  # noqa: DTZ001
    known = until.filter(pc.not_equal(until["kind"], "z"))
    future = pa.concat_tables([known, table.filter(pc.greater(table["at"], pc.max(until["at"])))])
    expected = features(gs.read_transactions(known, **SMALL), "2024-01-06")
    found = features(gs.read_transactions(future, **SMALL), "2024-01-06")
    assert len(future) > len(known)
    assert [name for name in expected.column_names if name.startswith("share_")] == ["share_a", "share_b"]
    assert found.equals(expected)


def test_one_category_has_no_diversity():
    tx = gs.read_transactions(one_table(kind=["a"] * 7), **SMALL)
    assert set(features(tx)["category_diversity"].to_pylist()) == {0.0}


def test_minimal_roles_give_minimal_features():
    tx = gs.read_transactions(one_table(), customer="who", time="at", amount="paid", time_zone="UTC")
    table = features(tx)
    assert table.column_names == ["who", "log_visits", "log_basket_value", "log_recency", "regularity"]
    assert json.loads(table.schema.metadata[b"gpuseg.facts"])["visits_are"] == "days with a purchase"
    with pytest.raises(InputError, match="no category column"):
        features(tx, categories=["a"])


@pytest.mark.parametrize("as_of", ["2024-13-01", "yesterday", dt.datetime(2024, 1, 1, 12), 5])  # noqa: DTZ001
def test_as_of_must_be_a_day(as_of):
    tx = gs.read_transactions(one_table(), **SMALL)
    with pytest.raises(InputError, match="is not a calendar day"):
        features(tx, as_of)


def test_days_in_every_form():
    forms = ["1970-01-11", dt.date(1970, 1, 11), dt.datetime(1970, 1, 11), pd.Timestamp("1970-01-11")]  # noqa: DTZ001
    assert [day_number(day) for day in forms] == [10] * 4


def test_as_of_before_any_purchase():
    tx = gs.read_transactions(one_table(), **SMALL)
    with pytest.raises(InputError, match=r"no purchase .* on or before 2023-12-31; give a later as_of"):
        features(tx, "2023-12-31")


def test_one_state_serves_both(lines, roles):
    tx = gs.read_transactions(lines, **roles)
    state = customer_state(tx, "2023-06-30")
    assert features(tx, "2023-06-30", state=state).equals(features(tx, "2023-06-30"))
    assert customer_summary(tx, "2023-06-30", state=state).equals(customer_summary(tx, "2023-06-30"))
    with pytest.raises(InputError, match="is no Transactions"):
        features(lines)


def test_parts_and_order_do_not_matter(lines, roles, monkeypatch):
    expected = features(gs.read_transactions(lines, **roles))
    order = np.random.default_rng(1).permutation(lines.num_rows)
    monkeypatch.setattr(parts, "PART_ROWS", 101)
    again = features(gs.read_transactions(lines.take(order), **roles))
    assert again.equals(expected, check_metadata=True)


@pytest.mark.parametrize("text", [False, True])
def test_what_comes_in_goes_out(lines, text_lines, roles, text, tmp_path):
    source = text_lines if text else lines
    arrow = features(gs.read_transactions(source, **roles))
    assert arrow.schema.metadata[b"gpuseg.customer"] == b"customer"
    assert arrow.schema.field("customer").type == (pa.string() if text else pa.int64())
    pq.write_table(source, tmp_path / "t.parquet")
    assert features(gs.read_transactions(tmp_path / "t.parquet", **roles)).equals(arrow, check_metadata=True)

    frame = features(gs.read_transactions(source.to_pandas(), **roles))
    assert frame.index.name == "customer"
    assert frame.index.dtype == source.to_pandas()["customer"].dtype
    assert frame.attrs["gpuseg"]["n_customers"] == 30
    assert frame.index.is_monotonic_increasing
    plain = arrow.to_pandas().set_index("customer")
    pd.testing.assert_frame_equal(frame, plain, check_exact=True, check_index_type=False)

    polars = features(gs.read_transactions(pl.from_arrow(source), **roles))
    assert isinstance(polars, pl.DataFrame)
    assert polars.columns == arrow.column_names
    assert polars.to_arrow().cast(arrow.schema).to_pylist() == arrow.to_pylist()


@pytest.mark.parametrize("dtype", ["int32", "uint8", "Int64", "str", "category", object])
def test_pandas_keys_keep_their_dtype(dtype):
    frame = one_table().to_pandas()
    frame["who"] = frame["who"].astype("str" if dtype == "category" else "int64").astype(dtype)
    if dtype is object:
        frame["who"] = frame["who"].map(str).astype(object)
    index = features(gs.read_transactions(frame, **SMALL)).index
    expected = frame["who"].dtype.categories.dtype if dtype == "category" else frame["who"].dtype
    assert index.dtype == expected


def test_the_real_households():
    tx = gs.read_transactions(datasets.complete_journey(), **datasets.COMPLETE_JOURNEY_ROLES)
    table = features(tx)
    assert table.num_rows == 2_469
    assert table.num_columns == 17
    assert all(np.isfinite(table[name].to_numpy()).all() for name in table.column_names)
    facts = json.loads(table.schema.metadata[b"gpuseg.facts"])
    assert facts["as_of"] == "2017-12-31"
    assert facts["categories"][:4] == ["GROCERY", "FUEL", "PRODUCE", "MEAT"]
    assert facts["sensitive_left_out"] == ["DRUG GM", "NUTRITION", "SPIRITS"]
    opted = features(tx, opt_in=["pharmacy"]).schema.metadata[b"gpuseg.facts"]
    assert json.loads(opted)["categories"][:3] == ["GROCERY", "DRUG GM", "FUEL"]
    assert "unknown" not in facts["categories"]
    summary = customer_summary(tx)
    cents = sum(int(t["amount"].to_numpy().sum()) for t in tx.tables())
    assert sum(round(s * 100) for s in summary["spend"].to_pylist()) == cents == 459_603_958
    early = json.loads(features(tx, "2017-08-31").schema.metadata[b"gpuseg.facts"])
    assert early["n_records_after_as_of"] == sum(
        int((t["day"].to_numpy() > np.datetime64("2017-08-31")).sum()) for t in tx.tables()
    )


def test_regularity_needs_three_visit_days():
    days = ["2024-01-01", "2024-01-03", "2024-01-01", "2024-01-03", "2024-01-05", "2024-01-01", "2024-01-01"]
    table = one_table(who=[1, 1, 2, 2, 2, 3, 3], at=days, paid=[1.0] * 7, off=[0.0] * 7)
    tx = gs.read_transactions(table, **SMALL)
    assert features(tx)["regularity"].to_pylist() == [0.0, 1.0, 0.0]
    assert customer_summary(tx)["regularity"].to_pylist() == [None, 1.0, None]
    assert customer_summary(tx)["gap_days"].to_pylist() == [2.0, 2.0, None]
