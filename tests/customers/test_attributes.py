"""What customers are: one value each, whatever the order of the records, and columns that new customers get alike."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.customers.attribute_encoding import AttributeRule, attribute_of, encoding_of, level_of
from gpuseg.customers.attributes import attributes_of_records, attributes_of_table
from gpuseg.customers.features import day_number
from gpuseg.customers.reading import parts
from gpuseg.customers.reading.attribute_columns import attribute_values, reads_as_numbers
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.transactions import read_transactions
from gpuseg.errors import InputError, SchemaError

ROLES = {"customer": "who", "time": "at", "amount": "paid", "time_zone": "UTC"}


def records(**columns):
    days = [dt.datetime(2024, 1, day, 12, tzinfo=dt.UTC) for day in (1, 5, 9, 2, 3)]
    table = {"who": ["a", "a", "a", "b", "c"], "at": days, "paid": [1.0] * 5, **columns}
    return pa.table(table)


def values(tx, name, as_of=None):
    found = attributes_of_records(tx, day_number(as_of))
    return dict(zip(found.keys.to_pylist(), found.columns[name].to_pylist(), strict=True))


def test_the_latest_known_value_holds():
    table = records(tier=["old", "gold", None, "blue", None], size=[1, 2, 3, None, None])
    tx = read_transactions(table, **ROLES, attributes=["tier", "size"])
    assert tx.attributes == ("tier", "size")
    assert values(tx, "tier") == {"a": "gold", "b": "blue"}
    assert values(tx, "size") == {"a": 3.0, "b": None}
    assert values(tx, "tier", "2024-01-04") == {"a": "old", "b": "blue"}
    assert attributes_of_records(tx).n_several == {"tier": 1, "size": 1}


@given(st.permutations(range(40)), st.integers(1, 40))
def test_no_order_and_no_parts_matter(order, rows):
    rng = np.random.default_rng(5)
    table = pa.table(
        {
            "who": pa.array([f"c{n}" for n in rng.integers(0, 6, 40)]),
            "at": pa.array(rng.integers(0, 5, 40).astype("datetime64[D]").astype("datetime64[us]")),
            "paid": np.ones(40),
            "tier": pa.array([None if n == 3 else f"t{n}" for n in rng.integers(0, 4, 40).tolist()]),
        }
    )
    first = read_transactions(table, **ROLES, attributes=["tier"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_ROWS", rows)
        second = read_transactions(table.take(list(order)), **ROLES, attributes=["tier"])
    expected: dict[str, str] = {}
    for row in sorted(table.to_pylist(), key=lambda row: (row["at"], row["tier"] is None, row["tier"] or "")):
        if row["tier"] is not None:
            same_time = [
                other["tier"]
                for other in table.to_pylist()
                if other["who"] == row["who"] and other["at"] == row["at"] and other["tier"] is not None
            ]
            expected[row["who"]] = min(same_time)
    assert values(first, "tier") == values(second, "tier") == expected


def test_rows_without_consent_say_nothing():
    table = records(tier=["old", "gold", "late", "blue", "x"], ok=[True, True, False, True, False])
    tx = read_transactions(table, **ROLES, consent="ok", attributes=["tier"])
    assert values(tx, "tier") == {"a": "gold", "b": "blue"}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1,5", "2", "", "3", "4"], [2.0, 3.0, 4.0]),
        (["01", "2", "", "3", "4"], ["2", "3", "4"]),
        (["1,5", "2", "x", "3", "4"], ["x", "3", "4"]),
    ],
)
def test_text_is_numbers_only_where_all_of_it_is(tmp_path, texts, expected):
    table = records(size=texts)
    lines = ["who;at;paid;size", *(f"{r['who']};{r['at']:%Y-%m-%d};1;{r['size']}" for r in table.to_pylist())]
    (tmp_path / "sales.csv").write_text("\n".join(lines) + "\n")
    dialect = {"separator": ";", "decimal": ","}
    tx = read_transactions(str(tmp_path / "sales.csv"), **ROLES, csv=dialect, attributes=["size"])
    assert list(values(tx, "size").values()) == expected


def test_numbers_in_one_file_and_text_in_another_are_text(tmp_path):
    pq.write_table(records(size=[1.0, 2.0, 2.5, 3.0, 4.0]), tmp_path / "a.parquet")
    pq.write_table(records(size=["1", "2", "9", "4", "5"]), tmp_path / "b.parquet")
    tx = read_transactions(str(tmp_path), **ROLES, attributes=["size"])
    assert values(tx, "size") == {"a": "2.5", "b": "3", "c": "4"}


def test_what_cannot_be_an_attribute():
    table = records(born=pa.array([dt.date(1980, 1, 1)] * 5))
    with pytest.raises(
        SchemaError, match=r"'born' \(attribute\) holds neither text, numbers nor flags in 5 of 5"
    ):
        read_transactions(table, **ROLES, attributes=["born"])
    with pytest.raises(SchemaError, match=r"'bron' \(attribute\) is missing; did you mean 'born'\?"):
        read_transactions(table, **ROLES, attributes=["bron"])
    with pytest.raises(InputError, match="'who' plays the role 'customer' already"):
        read_transactions(table, **ROLES, attributes=["who"])
    with pytest.raises(InputError, match="is no list of column names"):
        read_transactions(table, **ROLES, attributes="born")
    with pytest.raises(InputError, match="has = in its name"):
        read_transactions(table, **ROLES, attributes=["a=b"])
    mixed = table.drop_columns(["born"]).to_pandas().assign(odd=[1, "x", None, 2.5, b"y"])
    with pytest.raises(SchemaError, match=r"'odd' \(attribute\) holds neither text"):
        read_transactions(mixed, **ROLES, attributes=["odd"])


def test_frames_of_any_kind_say_the_same():
    table = records(
        tier=pa.array(["x", "y", "y", "z", None]).dictionary_encode(), member=[True, False, True, None, False]
    )
    for frame in (table, table.to_pandas()):
        tx = read_transactions(frame, **ROLES, attributes=["tier", "member"])
        assert values(tx, "tier") == {"a": "y", "b": "z", "c": None}
        assert values(tx, "member") == {"a": "true", "b": None, "c": "false"}


def test_blanks_and_what_is_no_number_are_not_known():
    assert attribute_values(pa.array([" ", "", " a "])).to_pylist() == [None, None, "a"]
    assert attribute_values(pa.array([1.0, np.nan, np.inf])).to_pylist() == [1.0, None, None]
    assert attribute_values(pa.array([[1]])) is None
    assert not reads_as_numbers(pa.array(["1", "007"], pa.large_string()), CsvDialect())


def test_a_table_of_customers():
    table = pa.table({"id": [3, 1, 3, 2], "age": ["30", "40", "30", None], "x": [1, 2, 1, 3]})
    found = attributes_of_table(table, "id", ["age", "x"], "crm.csv", CsvDialect())
    assert found.of("age", pa.array([1, 2, 3, 4])).to_pylist() == [40.0, None, 30.0, None]
    assert found.of("x", pa.array([4, 3])).to_pylist() == [None, 1.0]
    with pytest.raises(
        SchemaError, match=r"1 customers have rows that contradict each other, such as 3; keep one"
    ):
        attributes_of_table(table.set_column(2, "x", pa.array([1, 2, 9, 3])), "id", ["x"], "crm.csv")
    gaps = table.set_column(0, "id", pa.array([3, None, 3, 2]))
    with pytest.raises(SchemaError, match=r"'id' \(customer\) is missing \(null\) in 1 of 4 rows"):
        attributes_of_table(gaps, "id", ["x"], "crm.csv")
    days = table.set_column(2, "x", pa.array([dt.date(2024, 1, 1)] * 4))
    with pytest.raises(
        SchemaError, match=r"'x' \(attribute\) is date32\[day\], neither text, numbers nor flags"
    ):
        attributes_of_table(days, "id", ["x"], "crm.csv")


def encoded(rule, array, later=None):
    found = encoding_of(rule, array, "crm")
    table = found.encode(array if later is None else later, "crm")
    return {name: column.tolist() for name, column in table.items()}


def test_numbers_become_one_column():
    ages = pa.array([30.0, None, 50.0, 40.0])
    rule = AttributeRule("age", builds=True, missing="median")
    assert encoded(rule, ages) == {"attribute_age": [30.0, 40.0, 50.0, 40.0]}
    assert encoded(rule, ages, pa.array([None, 7.0])) == {"attribute_age": [40.0, 7.0]}
    told = AttributeRule("age", builds=True, missing="indicator")
    assert encoded(told, ages) == {
        "attribute_age": [30.0, 40.0, 50.0, 40.0],
        "attribute_age=not known": [0.0, 1.0, 0.0, 0.0],
    }
    seven = AttributeRule("age", builds=True, missing="constant", constant=7.0)
    assert encoded(seven, ages)["attribute_age"][1] == 7.0
    unplaced = AttributeRule("age", builds=True, missing="fallback")
    assert np.isnan(encoded(unplaced, ages)["attribute_age"][1])
    logged = AttributeRule("age", builds=True, log=True)
    assert encoded(logged, pa.array([0.0, np.e - 1]))["attribute_age"] == pytest.approx([0.0, 1.0], abs=1e-15)


def test_a_category_becomes_a_column_a_level():
    plan = pa.array(["big 10", "big 9", None, "big 9"], pa.large_string())
    rule = AttributeRule("plan", builds=True, missing="indicator")
    assert encoded(rule, plan) == {
        "attribute_plan=big 9": [0.0, 1.0, 0.0, 1.0],
        "attribute_plan=big 10": [1.0, 0.0, 0.0, 0.0],
        "attribute_plan=not known": [0.0, 0.0, 1.0, 0.0],
    }
    rule = AttributeRule("plan", builds=True, missing="fallback")
    both = encoded(rule, plan, pa.array(["new", None], pa.large_string()))
    assert both["attribute_plan=big 9"][0] == 0.0
    assert all(np.isnan(column[1]) for column in both.values())
    rule = AttributeRule("plan", builds=True, missing="constant", constant="none")
    assert encoded(rule, plan)["attribute_plan=none"] == [0.0, 0.0, 1.0, 0.0]
    codes = AttributeRule("zone", builds=True, kind="category")
    assert list(encoded(codes, pa.array([1.0, 2.0, 2.5]))) == [
        "attribute_zone=1",
        "attribute_zone=2",
        "attribute_zone=2.5",
    ]
    assert attribute_of("attribute_zone=1") == "zone"
    assert level_of("attribute_zone=1") == "1"
    assert attribute_of("share_x") is level_of("attribute_zone") is None


@pytest.mark.parametrize(
    ("rule", "array", "message"),
    [
        (
            AttributeRule("x", builds=True),
            [1.0, None],
            r"missing \(null\) for 1 of 2 customers; declare what",
        ),
        (AttributeRule("x", builds=False), [None, None], r"missing \(null\) for all 2 customers"),
        (
            AttributeRule("x", builds=True, kind="number"),
            ["1", "5+"],
            r"holds text such as '5\+'; declare it a",
        ),
        (
            AttributeRule("x", builds=True, missing="median"),
            ["a", None],
            "is a category, which has no median",
        ),
        (AttributeRule("x", builds=True, log=True), ["a", "b"], "is a category, which has no logarithm"),
        (
            AttributeRule("x", builds=True, missing="constant", constant="n"),
            [1.0, None],
            "is 'n'; give a number",
        ),
        (
            AttributeRule("x", builds=True),
            [f"v{n}" for n in range(51)],
            "has 51 different values, at most 50",
        ),
        (
            AttributeRule("x", builds=True, missing="indicator"),
            ["not known", None],
            "stands for missing ones",
        ),
    ],
)
def test_what_cannot_be_encoded(rule, array, message):
    with pytest.raises(InputError, match=message):
        encoding_of(rule, pa.array(array), "crm")


def test_a_logarithm_needs_numbers_above_minus_one():
    found = encoding_of(AttributeRule("x", builds=True, log=True), pa.array([1.0, 2.0]), "crm")
    with pytest.raises(InputError, match=r"is -1 or less for 1 customers, where ln\(1 \+ x\) is not defined"):
        found.encode(pa.array([-1.0, 2.0]), "crm")


def test_dask_takes_no_attributes():
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(
        pd.DataFrame({"who": [1], "at": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], "paid": [1.0]})
    )
    with pytest.raises(InputError, match="is for files and frames, not for a Dask dataframe"):
        read_transactions(frame, **ROLES, attributes=["x"])
