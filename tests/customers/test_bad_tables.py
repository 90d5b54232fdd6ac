"""Bad input: every problem listed at once, with file, column, count and remedy."""

# ruff: noqa: DTZ001 - naive times are the subject

from __future__ import annotations

import datetime as dt
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpuseg as gs
from gpuseg.errors import InputError, SchemaError, SourceError

ROLES = {"customer": "who", "time": "at", "amount": "paid", "time_zone": "UTC"}
MEND = "mend them, or leave such rows out with on_bad_rows='reject'"
ROUND = "round the column, raise minor_units, or leave such rows out with on_bad_rows='reject'"
MOMENT = dt.datetime(2024, 5, 1, 12)


def table(n=4, **columns):
    base = {
        "who": pa.array(range(n), pa.int64()),
        "at": pa.array([MOMENT] * n, pa.timestamp("us")),
        "paid": pa.array([1.0] * n),
    }
    return pa.table(base | columns)


def problems(source, **options):
    with pytest.raises(SchemaError) as caught:
        gs.read_transactions(source, **(ROLES | options))
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value.problems


def test_all_problems_are_listed_at_once():
    bad = table(
        who=pa.array([1, None, 3, None]),
        at=pa.array([MOMENT, None, dt.datetime(1, 1, 1), dt.datetime(9999, 1, 1)], pa.timestamp("us")),
        paid=pa.array([1.0, float("nan"), float("-inf"), 0.123]),
        pieces=pa.array(["one", "two", "three", "four"]),
        cur=pa.array(["EUR", "USD", "EUR", "EUR"]),
    )
    found = problems(bad, quantity="pieces", currency="cur", basket="bill", discount="paid")
    assert found == (
        "column 'paid' plays the roles 'amount' and 'discount'; one column may play one role only",
        "column 'bill' (basket) is missing; the table has: who, at, paid, pieces, cur",
        "column 'pieces' (quantity) holds text in 4 of 4 rows; convert it to numbers",
        f"column 'who' (customer) is missing (null) in 2 of 4 rows; {MEND}",
        f"column 'at' (time) is missing (null) in 1 of 4 rows; {MEND}",
        f"column 'at' (time) lies before 1900 or after 2199 in 2 of 4 rows; {MEND}",
        f"column 'paid' (amount) is NaN or infinite in 2 of 4 rows; {MEND}",
        f"column 'paid' (amount) has more decimals than minor_units allows in 1 of 4 rows; {ROUND}",
        f"column 'paid' (discount) is NaN or infinite in 2 of 4 rows; {MEND}",
        f"column 'paid' (discount) has more decimals than minor_units allows in 1 of 4 rows; {ROUND}",
        "column 'cur' (currency) has 2 currencies (EUR: 3 rows, USD: 1 rows); convert the amounts to one of them",
    )


def test_a_misspelt_column_is_met_with_the_nearest_name():
    assert problems(table(), amount="Payd") == ("column 'Payd' (amount) is missing; did you mean 'paid'?",)


def test_roles_that_are_no_names():
    with pytest.raises(SchemaError, match="time=3 is not a column name"):
        gs.read_transactions(table(), customer="who", time=3, amount="paid")


def test_a_name_that_occurs_twice():
    twice = pa.table(
        [pa.array([1]), pa.array([MOMENT]), pa.array([1.0]), pa.array([2.0])], ["who", "at", "paid", "paid"]
    )
    assert problems(twice) == ("column 'paid' (amount) occurs more than once; rename one of them",)
    frame = pd.DataFrame([[1, MOMENT, 1.0, 2.0]], columns=["who", "at", "paid", "paid"])
    assert problems(frame) == ("column 'paid' (amount) occurs more than once; rename one of them",)


@pytest.mark.parametrize(
    ("role", "column", "said"),
    [
        (
            "amount",
            pa.array(["1,50"] * 4),
            "(amount) holds text in 4 of 4 rows; convert it to numbers (a decimal comma",
        ),
        ("amount", pa.array([True] * 4), "(amount) holds flag in 4"),
        ("time", pa.array(["2024-05-01"] * 4), "(time) holds text in 4 of 4 rows; convert it to a timestamp"),
        ("time", pa.array([1714560000] * 4), "(time) holds integer in 4"),
        (
            "customer",
            pa.array([1.0] * 4),
            "(customer) holds float in 4 of 4 rows; identifiers must be whole numbers",
        ),
        ("customer", pa.array([b"a"] * 4), "(customer) holds binary in 4"),
        ("customer", pa.array([MOMENT] * 4), "(customer) holds time without zone in 4"),
        ("category", pa.array([1.5] * 4), "(category) holds float in 4"),
        ("own_label", pa.array(["yes"] * 4), "(own_label) holds text in 4"),
        (
            "own_label",
            pa.array([0, 1, 2, 3]),
            "(own_label) is neither true/false, yes/no nor 1/0 in 2 of 4 rows",
        ),
        ("consent", pa.array([1, 5, 1, 1]), "(consent) is neither true/false, yes/no nor 1/0 in 1 of 4 rows"),
        ("currency", pa.array([1] * 4), "(currency) holds integer in 4"),
        ("basket", pa.array([1, None, 3, 4]), "(basket) is missing (null) in 1 of 4 rows"),
        ("customer", pa.array([1, 2**63, 3, 4], pa.uint64()), "(customer) is beyond 2**53"),
        (
            "discount",
            pa.array([-1.0, 1, 1, 1]),
            "(discount) is negative on a line that is not a return in 1 of 4 rows; give",
        ),
        ("quantity", pa.array([1.0, np.inf, 1, 1]), "(quantity) is NaN or infinite in 1 of 4 rows"),
        ("amount", pa.array([1e15, 1e300, 1, 1]), "(amount) is beyond 2**53 minor units in 2 of 4 rows"),
        (
            "amount",
            pa.array([10**15, -(10**18), 1, 1]),
            "(amount) is beyond 2**53 minor units in 2 of 4 rows",
        ),
    ],
)
def test_each_wrong_column_is_named_with_count_and_cure(role, column, said):
    (found,) = problems(table(x=column), **{role: "x"})
    assert found.startswith("column 'x' ")
    assert said in found


def test_the_sum_of_all_amounts_must_fit():
    many = table(n=2000, paid=pa.array([9 * 10**13] * 2000))
    (found,) = problems(many)
    assert "adds up to 18,000,000,000,000,000,000 minor units, past the range of int64" in found


MIXED = "column 'who' (customer) mixes types: {} rows of text and {} rows of whole numbers; 1 and '1' are never merged"


def test_the_number_1_and_the_text_1_are_never_merged():
    frame = table().to_pandas()
    frame["who"] = pd.Series([1, "1", 2, "x"], dtype=object)
    (found,) = problems(frame)
    assert found.startswith(MIXED.format(2, 2))
    frame["who"] = pd.Series(["1", 1, None, 3], dtype=object)
    assert problems(frame)[0].startswith(MIXED.format(1, 2))


def test_mixed_ids_are_found_across_parts(monkeypatch):
    from gpuseg.customers.reading import parts

    monkeypatch.setattr(parts, "PART_ROWS", 2)
    frame = table().to_pandas()
    frame["who"] = pd.Series([1, 2, "1", "x"], dtype=object)
    assert problems(frame)[0].startswith(MIXED.format(2, 2))


def test_objects_of_several_types_are_named():
    frame = table().to_pandas()
    frame["paid"] = pd.Series([1, "1", 2.5, "x"], dtype=object)
    assert problems(frame)[0].startswith(
        "column 'paid' (amount) holds objects of several types in 4 of 4 rows"
    )


def test_missing_values_in_pandas_are_missing():
    frame = table().to_pandas()
    frame.loc[1, "paid"] = np.nan
    frame.loc[2, "at"] = pd.NaT
    found = problems(frame)
    assert [p.split(" in ")[0] for p in found] == [
        "column 'at' (time) is missing (null)",
        "column 'paid' (amount) is missing (null)",
    ]


def write(path, **columns):
    pq.write_table(table(**columns), path)
    return path


def test_a_parquet_file_cut_in_half_is_named(tmp_path):
    good = write(tmp_path / "good.parquet")
    cut = tmp_path / "cut.parquet"
    content = good.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.parquet").touch()
    with pytest.raises(SourceError) as caught:
        gs.read_transactions(tmp_path / "*.parquet", **ROLES)
    assert "cut.parquet: cannot be read as Parquet, the file is cut off or damaged" in str(caught.value)
    assert "empty.parquet: cannot be read as Parquet" in str(caught.value)
    assert "good.parquet" not in str(caught.value)


def test_a_parquet_file_damaged_inside_is_named(tmp_path):
    path = tmp_path / "hurt.parquet"
    rng = np.random.default_rng(0)
    pq.write_table(table(n=5000, who=pa.array(rng.integers(0, 10**15, 5000))), path, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(bytes(content))
    with pytest.raises(
        SourceError, match=r"hurt.parquet: cannot be read as Parquet, the file is cut off or damaged"
    ):
        gs.read_transactions(path, **ROLES)


def test_mixed_schemas_are_told_file_by_file(tmp_path):
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", who=pa.array(["1", "2", "3", "4"]))
    write(tmp_path / "c.parquet", paid=pa.array([1, 2, 3, 4]))  # numbers may meet
    pq.write_table(table().rename_columns(["who", "when", "paid"]), tmp_path / "d.parquet")
    found = problems(tmp_path)
    assert "column 'at' (time) is missing in" in found[0]
    assert "d.parquet; the table has: who, when, paid" in found[0]
    assert "column 'who' (customer) differs between files: integer in" in found[1]
    assert "text in" in found[1]
    assert "b.parquet; write them with one schema" in found[1]
    assert found[2].startswith(
        "column 'who' (customer) mixes types: 4 rows of text and 12 rows of whole numbers"
    )
    assert len(found) == 3


def test_files_in_two_time_zones_are_refused(tmp_path):
    for zone in ("UTC", "Asia/Tokyo"):
        stamps = pa.array([MOMENT] * 4, pa.timestamp("us")).cast(pa.timestamp("us", zone))
        write(tmp_path / f"{zone[:3]}.parquet", at=stamps)
    assert "differs between files: time in Asia/Tokyo in" in problems(tmp_path)[0]


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars", "parquet", "csv"])
def test_zero_rows_are_refused(kind, tmp_path):
    empty = table().slice(0, 0)
    if kind == "csv":
        (tmp_path / "t.csv").write_text("who,at,paid\n")
    pq.write_table(empty, tmp_path / "t.parquet")
    source = {
        "arrow": empty,
        "pandas": empty.to_pandas(),
        "polars": pl.from_arrow(empty),
        "parquet": tmp_path / "t.parquet",
        "csv": tmp_path / "t.csv",
    }[kind]
    with pytest.raises(SourceError, match="0 rows; a table with at least one record is needed"):
        gs.read_transactions(source, **ROLES)


def test_nothing_left_after_rejection_is_refused():
    with pytest.raises(SourceError, match=r"all 4 rows were rejected \(consent not given: 4\)"):
        gs.read_transactions(table(ok=pa.array([False] * 4)), consent="ok", **ROLES)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(SourceError, match="no such file; check the path"):
        gs.read_transactions(tmp_path / "none.parquet", **ROLES)
    with pytest.raises(SourceError, match="no file matches"):
        gs.read_transactions(tmp_path / "*.parquet", **ROLES)
    with pytest.raises(SourceError, match=r"holds no .parquet or .csv file"):
        gs.read_transactions(tmp_path, **ROLES)
    with pytest.raises(SourceError, match="cannot be opened"):
        gs.read_transactions("nowhere://a/b.parquet", **ROLES)
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(SourceError, match="unknown kind of file"):
        gs.read_transactions(tmp_path / "a.xlsx", **ROLES)
    write(tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("who,at,paid\n")
    with pytest.raises(SourceError, match="Parquet and CSV files are mixed"):
        gs.read_transactions(tmp_path, **ROLES)


def test_sources_of_unknown_type():
    with pytest.raises(InputError, match="a source of type int cannot be read"):
        gs.read_transactions(7, **ROLES)
    with pytest.raises(InputError, match="on_bad_rows='drop'"):
        gs.read_transactions(table(), on_bad_rows="drop", **ROLES)
    with pytest.raises(InputError, match="is not a known time zone"):
        gs.read_transactions(table(), **(ROLES | {"time_zone": "Mars/Base"}))


def test_bad_text_is_counted_in_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        'who,at,paid\n1,2024-05-01,1.5\n,2024-05-01,2\n3,2024-02-31,3\n4,1.5.2024,abc\n5,,"1,5"\n6,9999-01-01,NaN\n'
    )
    assert [p.split(";")[0] for p in problems(path)] == [
        "column 'who' (customer) is missing (null) in 1 of 6 rows",
        "column 'at' (time) is text that is not a time such as 2017-12-31T23:59:59 in 1 of 6 rows",
        "column 'at' (time) is missing (null) in 1 of 6 rows",
        "column 'at' (time) lies before 1900 or after 2199 in 1 of 6 rows",
        "column 'at' (time) is a date such as 3/4/2024 whose order of day and month is not declared in 1 of 6 rows",
        "column 'paid' (amount) is text with a decimal comma such as 1234,56 in 1 of 6 rows",
        "column 'paid' (amount) is text that is not a number such as 1234.56 in 2 of 6 rows",
    ]
    path.write_text(
        "who,at,paid\n1,2024-05-01T10:00:00Z,1\n1,2024-05-01T10:00:00,1\n1,2024-05-01T10:00:00Z,1\n"
    )
    assert "carries a time zone in some rows and none in others in 1 of 3 rows" in problems(path)[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty; a header line"),
        (
            b"who,at,paid\n1,2024-05-01\n1,2024-05-01,1,9\n",
            "2 lines have another number of fields than the header",
        ),
        (b"who,at,paid\n\xe9,2024-05-01,1\n", "the text is not UTF-8"),
    ],
)
def test_csv_files_that_cannot_be_read(content, said, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=said) as caught:
        gs.read_transactions(path, **ROLES)
    assert "bad.csv" in str(caught.value)


def test_another_separator_is_suspected(tmp_path):
    (tmp_path / "a.csv").write_text("who;at;paid\n1;2024-05-01;1\n")
    (problem,) = problems(tmp_path / "a.csv")
    assert problem == (
        "no column has the name of a role; the only column is 'who;at;paid': are the fields separated by something "
        "else? If so, state csv={'separator': ';'}"
    )


def test_customers_without_a_name_are_not_one_customer():
    (found,) = problems(table(who=pa.array(["a", "", "  ", "b"])))
    assert found.startswith("column 'who' (customer) is empty text in 2 of 4 rows; mend them")


def test_clocks_with_and_without_zone_do_not_mix():
    frame = table().to_pandas()
    aware = [MOMENT.replace(tzinfo=dt.UTC), MOMENT, MOMENT, MOMENT]
    frame["at"] = pd.Series(aware, dtype=object)
    (found,) = problems(frame)
    assert found.startswith("column 'at' (time) holds objects of several types")


def test_frames_that_cannot_become_arrow():
    frame = pl.from_arrow(table()).with_columns(who=pl.Series([1, 2, 3, 4], dtype=pl.Int128))
    with pytest.raises(InputError, match="has a column that Arrow does not know"):
        gs.read_transactions(frame, **ROLES)
    with pytest.raises(InputError, match="no column name is text"):
        gs.read_transactions(pd.DataFrame(np.ones((2, 3))), **ROLES)


@pytest.mark.parametrize("amount", [1.001, 1.00001, 0.100001, 4503599627370.123])
def test_a_fraction_of_a_minor_unit_is_never_rounded_away(amount):
    (found,) = problems(table(paid=pa.array([amount, 1.0, 1.0, 1.0])))
    assert "(amount) has more decimals than minor_units allows in 1 of 4 rows" in found
