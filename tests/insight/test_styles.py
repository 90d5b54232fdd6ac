"""Spending styles against a plain Python oracle; the state behind them; intervals, evidence and reliability."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import gpuseg as gs
from gpuseg import datasets
from gpuseg.core.promise import Promise
from gpuseg.errors import InputError, SchemaError
from gpuseg.insight import styles as room
from gpuseg.insight.basket_state import BasketState, merge_baskets, partition_baskets
from gpuseg.insight.styles import STYLES, spending_styles

ROLES = {
    "customer": "who",
    "time": "at",
    "amount": "paid",
    "basket": "bill",
    "product": "thing",
    "category": "kind",
    "discount": "off",
    "coupon": "voucher",
    "own_label": "own",
    "time_zone": "Asia/Tokyo",
}
LINE = st.tuples(
    st.integers(1, 4),
    st.integers(0, 40),
    st.integers(-100, 500),
    st.sampled_from("pqrstuv"),
    st.sampled_from("ab"),
    st.sampled_from(["x", "y", "z", None]),
    st.integers(0, 50),
    st.booleans(),
)
LINES = st.lists(LINE, min_size=1, max_size=50)
NAMES = [style.name for style in STYLES]


def table_of(lines):
    who, day, paid, bill, kind, thing, off, own = zip(*lines, strict=True)
    return pa.table(
        {
            "who": pa.array(who, pa.int64()),
            "at": pa.array(np.array(day) * 86_400 + 50_000, pa.int64()).cast(pa.timestamp("s")),
            "paid": pa.array(np.array(paid) / 100),
            "bill": pa.array(bill),
            "kind": pa.array(kind),
            "thing": pa.array(thing, pa.string()),
            "off": pa.array(np.array(off) / 100),
            "voucher": pa.array(np.array(off) // 2 / 100),
            "own": pa.array(own),
        }
    )


def read(lines, **change):
    roles = {role: name for role, name in (ROLES | change).items() if name is not None}
    return gs.read_transactions(table_of(lines), **roles)


def state_of(lines, as_of=None) -> BasketState:
    (partition,) = read(lines).partitions
    return partition_baskets(partition.load(), as_of)


def baskets_of(lines):
    """Baskets with a purchase of each customer, in order of time, as lists of their lines."""
    found = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if line[2] >= 0:
            found[line[0]][line[3]].append(line)
    kept = {}
    for who, bills in sorted(found.items()):
        bought = {bill: rows for bill, rows in bills.items() if any(row[2] > 0 for row in rows)}
        if bought:
            ordered = sorted(bought.items(), key=lambda item: (min(row[1] for row in item[1]), item[0]))
            kept[who] = [rows for _, rows in ordered]
    return kept


def oracle(baskets, middle, n_categories):
    """Styles of one customer from some of the baskets; None where there is none."""
    rows = [row for rows in baskets for row in rows]
    paid, off = sum(row[2] for row in rows), sum(row[6] for row in rows)
    if not baskets:
        return dict.fromkeys(NAMES)
    things = Counter(
        thing for b in baskets for thing in {row[5] for row in b if row[2] > 0 and row[5] is not None}
    )
    pairs = sum(things.values()) * (len(baskets) - 1)
    kinds = Counter()
    for row in rows:
        kinds[row[4]] += row[2]
    shares = [spend / paid for spend in kinds.values() if spend]
    lengths = [sum(row[2] > 0 for row in b) for b in baskets]
    return {
        "variety_seeking": 1 - sum(n * (n - 1) for n in things.values()) / pairs if pairs else None,
        "planned": sum((n > middle) + 0.5 * (n == middle) for n in lengths) / len(baskets),
        "deal_responsive": off / (paid + off),
        "coupon_use": sum(row[6] // 2 for row in rows) / (paid + off),
        "own_label": sum(row[2] for row in rows if row[7]) / paid,
        "breadth": -sum(p * math.log(p) for p in shares) / math.log(n_categories)
        if n_categories > 1
        else None,
    }


def rhythm(gaps):
    if len(gaps) < 2:
        return None
    mean, sd = np.mean(gaps), np.std(gaps)
    return (mean - sd) / (mean + sd)


def gaps_of(baskets):
    days = sorted({min(row[1] for row in rows) for rows in baskets})
    return [b - a for a, b in itertools.pairwise(days)]


def facts(lines):
    baskets = baskets_of(lines)
    lengths = sorted(sum(row[2] > 0 for row in b) for bills in baskets.values() for b in bills)
    return baskets, lengths[(len(lengths) - 1) // 2], len({line[4] for line in lines if line[2] > 0})


@given(LINES)
def test_values_against_plain_python(lines):
    if not baskets_of(lines):
        with pytest.raises(InputError, match="no purchase"):
            spending_styles(read(lines))
        return
    baskets, middle, n_categories = facts(lines)
    found = spending_styles(read(lines))
    rows = {row["who"]: row for row in found.to_arrow().to_pylist()}
    assert list(rows) == list(baskets)
    shown = [style.name for style in found.styles]
    for who, own in baskets.items():
        expected = oracle(own, middle, n_categories) | {"regularity": rhythm(gaps_of(own))}
        for name in shown:
            value = rows[who][name]
            assert value == (None if expected[name] is None else pytest.approx(expected[name], abs=1e-9)), (
                name
            )
            assert rows[who][f"{name}_n"] == (len(gaps_of(own)) if name == "regularity" else len(own))
            low, high = rows[who][f"{name}_low"], rows[who][f"{name}_high"]
            if low is not None:
                assert (-1.0 if name == "regularity" else 0.0) <= low <= value <= high <= 1.0


@given(LINES, st.randoms(use_true_random=False), st.integers(0, 50), st.sampled_from([None, 20]))
def test_any_split_in_any_order_gives_the_same_state(lines, random, cut, as_of):
    whole = state_of(lines, as_of)
    shuffled = random.sample(lines, len(lines))
    pieces = [piece for piece in (shuffled[:cut], shuffled[cut:]) if piece]
    assert merge_baskets([state_of(piece, as_of) for piece in pieces]) == whole
    assert merge_baskets([state_of([line], as_of) for line in shuffled]) == whole


@given(LINES, LINES, LINES)
def test_merge_keeps_its_laws(a, b, c):
    x, y, z = state_of(a), state_of(b), state_of(c)
    assert x.merge(y) == y.merge(x)
    assert x.merge(y).merge(z) == x.merge(y.merge(z))
    assert x.merge(BasketState()) == x == BasketState().merge(x)


def many(n_customers=60, seed=0):
    table, _ = datasets.make_transactions(n_customers, seed)
    roles = {
        name: name
        for name in ("customer", "time", "amount", "basket", "product", "discount", "coupon", "own_label")
    }
    return table, roles | {"category": "department", "time_zone": "UTC"}


def test_the_interval_leaves_out_groups_of_baskets_in_turn():
    table, roles = many(4)
    found = spending_styles(gs.read_transactions(table, **roles)).to_arrow().to_pylist()
    frame = table.to_pandas()
    for row in found:
        own = frame[frame.customer == row["customer"]]
        order = own.groupby("basket").time.min().sort_values().index
        number = own.basket.map({basket: i for i, basket in enumerate(order)})
        left = []
        for group in range(10):
            kept = own[number % 10 != group]
            left.append(kept.own_label.mul(kept.amount).sum() / kept.amount.sum())
        left = np.array(left)
        half = stats.t.ppf(0.975, 9) * math.sqrt(0.9 * ((left - left.mean()) ** 2).sum())
        assert row["own_label_low"] == pytest.approx(max(0.0, row["own_label"] - half), abs=1e-9)
        assert row["own_label_high"] == pytest.approx(min(1.0, row["own_label"] + half), abs=1e-9)


def test_quantiles_of_t():
    assert room._T_95[1:] == pytest.approx(stats.t.ppf(0.975, np.arange(1, 10)), rel=1e-12)


def test_what_never_happened_in_few_baskets_is_not_certain():
    lines = [(1, day, 100 + day, f"b{day}", "ab"[day % 2], "x", 0, False) for day in range(4)]
    lines.append((2, 0, 100, "c", "a", "x", 0, False))
    [four, one] = spending_styles(read(lines)).to_arrow().to_pylist()
    z = stats.norm.ppf(0.975)
    assert (four["coupon_use"], four["coupon_use_low"]) == (0.0, 0.0)
    assert four["coupon_use_high"] == pytest.approx(z * z / (4 + z * z))
    assert one["coupon_use_high"] == pytest.approx(z * z / (1 + z * z))
    assert (one["variety_seeking"], one["variety_seeking_low"]) == (None, None)
    assert (one["regularity"], one["regularity_n"]) == (None, 0)
    # Four days in a row: clockwork, as far as three gaps can tell.
    assert four["regularity"] == 1.0
    assert four["regularity_low"] == pytest.approx(-1 + 2 * 3 / (3 + z * z))


def test_reliability_is_of_odd_and_even_baskets():
    table, roles = many(40)
    found = spending_styles(gs.read_transactions(table, **roles))
    frame = table.to_pandas()
    halves = []
    for _, own in frame.groupby("customer"):
        order = own.groupby("basket").time.min().sort_values().index
        number = own.basket.map({basket: i for i, basket in enumerate(order)})
        if len(order) // 2 >= 10:
            halves.append(
                [
                    kept.discount.sum() / (kept.amount + kept.discount).sum()
                    for kept in (own[number % 2 == 0], own[number % 2 == 1])
                ]
            )
    a, b = np.array(halves).T
    got = found.reliability_of("deal_responsive")
    assert got.n_customers == len(halves) < 40
    assert got.correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert got.rank_correlation == pytest.approx(stats.spearmanr(a, b)[0])
    assert got.spearman_brown == pytest.approx(2 * got.correlation / (1 + got.correlation))
    assert [r.style for r in found.reliability] == NAMES
    assert found.promise is Promise.EXACT


def test_no_reliability_without_customers_or_differences():
    lines = [
        (1, 0, 100, "p", "a", "x", 0, False),
        (1, 1, 100, "q", "b", "x", 0, False),
        (1, 1, 1, "q", "b", "y", 0, False),
    ]
    found = spending_styles(read(lines))
    assert all(math.isnan(r.correlation) and r.n_customers == 0 for r in found.reliability)
    same = np.full(5, 0.25)
    assert math.isnan(room._pearson(same, np.arange(5.0)))
    assert room._pearson(np.arange(5.0), -np.arange(5.0)) == -1.0
    assert room.Reliability("x", -1.0, -1.0, 9).spearman_brown == -math.inf


def test_columns_come_in_order_and_carry_the_customer():
    table, roles = many(5)
    found = spending_styles(gs.read_transactions(table, **roles), "2023-06-30")
    arrow = found.to_arrow()
    expected = [f"{name}{end}" for name in NAMES for end in ("", "_low", "_high", "_n")]
    assert arrow.column_names == ["customer", *expected]
    assert arrow.schema.metadata[b"gpuseg.customer"] == b"customer"
    assert found.as_of.isoformat() == "2023-06-30"
    whole = spending_styles(gs.read_transactions(table, **roles))
    assert whole.as_of.year == 2023
    assert whole.to_arrow() != arrow


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"discount": None}, {"deal_responsive": "no discount column"}),
        ({"coupon": None, "own_label": None}, {"coupon_use": "no coupon", "own_label": "no own_label"}),
        ({"category": None}, {"breadth": "no category column"}),
        (
            {"category": None, "product": None},
            {"variety_seeking": "neither a product nor", "breadth": "no category"},
        ),
    ],
)
def test_styles_that_the_roles_do_not_allow_are_left_out_with_a_reason(change, missing):
    table, roles = many(5)
    given = {role: name for role, name in (roles | change).items() if name is not None}
    found = spending_styles(gs.read_transactions(table, **given))
    assert list(found.left_out) == list(missing)
    assert all(why in found.left_out[name] for name, why in missing.items())
    assert [style.name for style in found.styles] == [name for name in NAMES if name not in missing]


def test_baskets_of_one_line_and_one_category_tell_little():
    lines = [(1, day, 100, f"b{day}", "a", "x", 0, False) for day in range(5)]
    found = spending_styles(read(lines))
    assert found.left_out == {
        "planned": "every basket has 1 line(s)",
        "breadth": "there are fewer than two categories, sensitive ones aside",
    }


def test_rows_that_may_be_whole_purchases_are_no_lines_of_a_list():
    lines = [(1, day // 2, 100, f"b{day}", "a", "x", 0, False) for day in range(9)]
    found = spending_styles(read(lines, basket=None, product=None))
    assert "neither basket nor product is given" in found.left_out["planned"]
    assert "planned" not in spending_styles(read(lines, basket=None)).left_out


def test_without_receipts_a_basket_is_a_day_and_without_products_categories_vary():
    lines = [(1, day // 2, 100, f"b{day}", "ab"[day % 2], "x", 0, False) for day in range(6)]
    [row] = spending_styles(read(lines, basket=None, product=None)).to_arrow().to_pylist()
    assert row["variety_seeking_n"] == 3
    assert row["variety_seeking"] == 0.0


def test_as_of_and_keys_of_text():
    table, roles = many(8)
    cut = table.filter(pa.compute.less(table["time"], pa.scalar(pd.Timestamp("2023-07-01"))))
    early = spending_styles(gs.read_transactions(cut, **roles), "2023-06-30").to_arrow()
    assert early == spending_styles(gs.read_transactions(table, **roles), "2023-06-30").to_arrow()
    text, _ = datasets.make_transactions(8, 0, text_keys=True)
    named = spending_styles(gs.read_transactions(text, **roles)).to_arrow()
    assert named["customer"].to_pylist() == [f"C{i:05d}" for i in range(1, 9)]
    assert (
        named.drop_columns("customer").columns
        == spending_styles(gs.read_transactions(table, **roles)).to_arrow().drop_columns("customer").columns
    )


def test_dask_gives_the_same_bits():
    table, roles = many(20)
    expected = spending_styles(gs.read_transactions(table, **roles)).to_arrow()
    frame = dd.from_pandas(table.to_pandas(), npartitions=3)
    found = spending_styles(gs.read_transactions(frame, **roles)).to_arrow()
    assert found.to_pydict() == expected.to_pydict()


def test_refuses_what_is_no_transactions_and_days_before_the_first():
    with pytest.raises(InputError, match="str is no Transactions"):
        spending_styles("file.csv")
    lines = [(1, 5, 100, "p", "a", "x", 0, False)]
    with pytest.raises(InputError, match=r"no purchase .* on or before 1970-01-01"):
        spending_styles(read(lines), "1970-01-01")
    broken = dd.from_pandas(table_of(lines).to_pandas().assign(paid=math.nan), npartitions=1)
    with pytest.raises(SchemaError):
        spending_styles(gs.read_transactions(broken, **ROLES))


def test_words_describe_behaviour():
    words = " ".join(f"{s.label} {s.formula} {s.low} {s.high}" for s in STYLES).lower()
    assert not {"cheap", "poor", "rich", "lazy", "impulsive", "loyal"} & set(words.split())
    assert all(style.lowest in {-1.0, 0.0} for style in STYLES)


def test_styles_of_things_are_as_if_sensitive_lines_were_not_there():
    """What was bought tells variety and breadth; money, baskets and days count everything."""
    table, roles = many(30)
    column = table["department"].cast(pa.string())
    drugs = pa.compute.replace_substring(column, "HOME", "Apotheke")
    sold = table.set_column(table.column_names.index("department"), "department", drugs)
    plain = sold.filter(pa.compute.not_equal(drugs, "Apotheke"))
    assert (
        pa.compute.count_distinct(plain["basket"]).as_py() < pa.compute.count_distinct(sold["basket"]).as_py()
    )
    found, without, all_of_it = (
        spending_styles(gs.read_transactions(lines, **roles), "2023-12-31") for lines in (sold, plain, table)
    )
    for name in NAMES:
        known = without if name in {"variety_seeking", "breadth"} else all_of_it
        for end in ("", "_low", "_high", "_n"):
            assert found.to_arrow()[name + end].equals(known.to_arrow()[name + end]), name + end
        assert repr(found.reliability_of(name)) == repr(known.reliability_of(name))
    assert found.to_arrow() != all_of_it.to_arrow()
    opted = spending_styles(gs.read_transactions(sold, **roles), "2023-12-31", opt_in=["pharmacy"])
    assert opted.to_arrow().equals(all_of_it.to_arrow())
    frame = dd.from_pandas(sold.to_pandas(), npartitions=3)
    for opt_in, known in (((), found), (("Apotheke",), all_of_it)):
        lazy = spending_styles(gs.read_transactions(frame, **roles), "2023-12-31", opt_in=opt_in)
        assert lazy.to_arrow().to_pydict() == known.to_arrow().to_pydict()
    with pytest.raises(InputError, match="opt_in names 'farmacy'"):
        spending_styles(gs.read_transactions(sold, **roles), opt_in=["farmacy"])


def test_who_buys_only_sensitive_things_has_no_style_of_things():
    lines = [(1, day, 100, f"b{day}", "beer", "pq"[day % 2], 0, False) for day in range(4)]
    lines += [(2, day, 100, f"c{day}", "ab"[day % 2], "x", 0, False) for day in range(4)]
    [beer, other] = spending_styles(read(lines)).to_arrow().to_pylist()
    for name in ("variety_seeking", "breadth"):
        assert [beer[name + end] for end in ("", "_low", "_high", "_n")] == [None, None, None, 0]
        assert other[name + "_n"] == 4
    assert beer["deal_responsive_n"] == 4
    left_out = spending_styles(read(lines[:4])).left_out
    assert left_out["variety_seeking"] == "every purchase is in a sensitive category"
    assert left_out["breadth"] == "there are fewer than two categories, sensitive ones aside"
