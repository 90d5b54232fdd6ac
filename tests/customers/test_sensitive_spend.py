"""Sensitive lines count as visits and money; what tells what customers buy is as if they were not there."""

from __future__ import annotations

import json
import logging

import dask.dataframe as dd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import gpuseg as gs
from gpuseg import datasets
from gpuseg.customers.customer_state import CustomerState
from gpuseg.customers.features import customer_state, customer_summary, features
from gpuseg.errors import InputError

OF_THINGS = ("share_", "category_diversity", "categories_bought", "top_category")


def renamed(table, **names):
    """The table with departments of other names."""
    column = table["department"].cast(pa.string())
    for old, new in names.items():
        column = pc.replace_substring(column, old, new)
    return table.set_column(table.column_names.index("department"), "department", column)


@pytest.fixture(scope="module")
def sold():
    """Lines of thirty customers; the fourth department is a pharmacy and the third a bar."""
    return renamed(datasets.make_transactions(30, seed=5)[0], HOME="Pharmacy", DELI="5813")


@pytest.fixture(scope="module")
def plain(sold):
    """The lines that are not sensitive."""
    return sold.filter(pc.invert(pc.is_in(sold["department"], pa.array(["Pharmacy", "5813"]))))


def facts_of(table):
    return json.loads(table.schema.metadata[b"gpuseg.facts"])


def of_things(table):
    return table.select([name for name in table.column_names if name.startswith(OF_THINGS)]).to_pydict()


def of_money(table):
    return table.select([name for name in table.column_names if not name.startswith(OF_THINGS)]).to_pydict()


@pytest.mark.parametrize("finish", [features, customer_summary])
def test_what_is_bought_is_as_if_sensitive_lines_were_not_there(sold, plain, roles, finish):
    found = finish(gs.read_transactions(sold, **roles), "2023-12-31")
    without = finish(gs.read_transactions(plain, **roles), "2023-12-31")
    harmless = renamed(sold, Pharmacy="HOME", **{"5813": "DELI"})
    all_of_it = finish(gs.read_transactions(harmless, **roles), "2023-12-31")
    assert of_things(found) == of_things(without)
    assert of_money(found) == of_money(all_of_it)
    assert of_things(found) != of_things(all_of_it)
    assert facts_of(found)["sensitive_left_out"] == ["5813", "Pharmacy"]
    assert facts_of(found)["n_categories"] == facts_of(without)["n_categories"]


@pytest.mark.parametrize("opt_in", [("pharmacy", "alcohol"), ("Pharmacy", "5813")])
def test_what_is_opted_in_counts_like_any_other(sold, roles, opt_in):
    names = ["Pharmacy", "FRESH", "5813", "PANTRY"]
    found = features(gs.read_transactions(sold, **roles), None, names, opt_in=opt_in)
    harmless = renamed(sold, Pharmacy="HOME", **{"5813": "DELI"})
    known = features(gs.read_transactions(harmless, **roles), None, ["HOME", "FRESH", "DELI", "PANTRY"])
    for name, column in zip(found.column_names, found.columns, strict=True):
        other = name.replace("Pharmacy", "HOME").replace("5813", "DELI")
        # The order of names is another one, and a sum of entropies is one of integers: nothing changes.
        assert column.equals(known[other]), name
    assert facts_of(found)["opt_in"] == list(opt_in)
    assert facts_of(found)["sensitive_left_out"] == []


def test_one_kind_may_be_opted_in_alone(sold, roles):
    tx = gs.read_transactions(sold, **roles)
    found = features(tx, opt_in="alcohol")
    assert {"share_5813", "share_FRESH"} <= {*found.column_names}
    assert "share_Pharmacy" not in found.column_names
    assert facts_of(found)["sensitive_left_out"] == ["Pharmacy"]


def test_shares_add_up_to_one_so_that_their_sum_tells_nothing(sold, roles):
    found = features(gs.read_transactions(sold, **roles), None, ["FRESH", "PANTRY"])
    total = found["share_FRESH"].to_numpy() + found["share_PANTRY"].to_numpy()
    assert np.allclose(total, 1.0, rtol=0, atol=1e-15)


def test_a_sensitive_category_has_no_share_by_its_name_and_an_opt_in_is_spelt_right(sold, roles):
    tx = gs.read_transactions(sold, **roles)
    with pytest.raises(
        InputError, match=r"'Pharmacy' cannot have a share of its own .*; opt_in names what may"
    ):
        features(tx, None, ["FRESH", "Pharmacy"])
    for finish in (features, customer_summary):
        with pytest.raises(InputError, match="opt_in names 'alcool', which is neither a category nor"):
            finish(tx, opt_in=["alcool"])


def test_who_bought_nothing_else_has_the_mean_of_the_others_which_is_told(roles, sold, caplog):
    one = sold["customer"][0].as_py()
    only = pc.and_(pc.equal(sold["customer"], one), pc.not_equal(sold["department"], "Pharmacy"))
    tx = gs.read_transactions(sold.filter(pc.invert(only)), **roles)
    with caplog.at_level(logging.INFO, "gpuseg"):
        table = features(tx)
    (row,) = (row for row in table.to_pylist() if row["customer"] == one)
    others = table.filter(pc.not_equal(table["customer"], one))
    for name in ("share_FRESH", "share_PANTRY", "category_diversity"):
        assert row[name] == pytest.approx(pc.mean(others[name]).as_py(), abs=1e-9)
        assert row[name] == facts_of(table)["neutral"][name] > 0
    assert row["log_visits"] > 0
    assert "2 sensitive categories count in visits and money" in caplog.text
    assert "(5813, Pharmacy); 1 customers bought in no other and have the mean" in caplog.text
    summary = customer_summary(tx)
    assert facts_of(summary)["n_only_sensitive"] == 1
    row = next(row for row in summary.to_pylist() if row["customer"] == one)
    assert (row["categories_bought"], row["purchases"] > 0) == (0, True)
    assert [row[name] for name in ("category_diversity", "top_category", "share_FRESH")] == [None] * 3


def test_nothing_but_sensitive_categories(sold, roles):
    drugs = sold.filter(pc.equal(sold["department"], "Pharmacy"))
    found = features(gs.read_transactions(drugs, **roles))
    assert [name for name in found.column_names if name.startswith("share_")] == []
    assert set(found["category_diversity"].to_pylist()) == {0.0}


@pytest.mark.parametrize("opt_in", [(), ("alcohol",)])
@pytest.mark.parametrize("categories", [3, ("FRESH",)])
def test_dask_leaves_out_the_same(sold, roles, opt_in, categories):
    known = features(gs.read_transactions(sold.to_pandas(), **roles), None, categories, opt_in=opt_in)
    frame = dd.from_pandas(sold.to_pandas(), npartitions=4)
    lazy = features(gs.read_transactions(frame, **roles), None, categories, opt_in=opt_in)
    found = lazy.compute()
    assert list(lazy.columns) == list(found.columns) == list(known.columns)
    assert (found.to_numpy() == known.to_numpy()).all()


def test_leaving_out_and_merging_commute(sold, roles):
    half = len(sold) // 2
    a, b = (customer_state(gs.read_transactions(part, **roles)) for part in (sold[:half], sold[half:]))
    names = {"Pharmacy", "5813"}
    whole = a.merge(b).without_categories(names)
    assert whole == a.without_categories(names).merge(b.without_categories(names))
    assert whole.without_categories(names) is whole
    assert whole.categories.to_pylist() == ["FRESH", "PANTRY"]
    assert (whole.totals == a.merge(b).totals).all()
    assert CustomerState().without_categories(names) == CustomerState()
