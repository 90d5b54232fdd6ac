"""Rows that were left out: found in their file, as they came, with every reason; nobody without consent is in there."""

# ruff: noqa: DTZ001 - naive times are the subject

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpuseg as gs
from gpuseg.customers.reading import parts, rejected

ROLES = {"customer": "who", "time": "at", "amount": "paid", "time_zone": "UTC", "on_bad_rows": "reject"}
MOMENT = dt.datetime(2024, 5, 1, 12)
LINES = """who,at,paid,ok,note
007,2024-05-01,1.50,yes,a
,9999-12-31,1.555,yes,b
008,2024-05-02,zwei,yes,c
009,2024-05-03,zwei,no,d
010,2024-05-03,2,maybe,e
011,2024-05-03,,,f
"""


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of two rows, and CSV blocks of a line or two."""
    monkeypatch.setattr(parts, "PART_ROWS", 2)
    monkeypatch.setattr("gpuseg.customers.reading.csv_files.BLOCK_BYTES", 64)


def read_csv(tmp_path, text=LINES, **options):
    (tmp_path / "sales.csv").write_text(text)
    return gs.read_transactions(tmp_path / "sales.csv", **(ROLES | options))


@pytest.mark.parametrize("blocks", ["one", "many"])
def test_csv_rows_are_told_as_they_came(tmp_path, blocks, request):
    if blocks == "many":
        request.getfixturevalue("small_parts")
    tx = read_csv(tmp_path, consent="ok")
    assert tx.rejected_rows().to_pylist() == [
        {
            "source_file": "sales.csv",
            "source_row": 2,
            "who": None,
            "at": "9999-12-31",
            "paid": "1.555",
            "ok": "yes",
            "reasons": "customer null; time out of range; amount too many decimals",
        },
        {
            "source_file": "sales.csv",
            "source_row": 3,
            "who": "008",
            "at": "2024-05-02",
            "paid": "zwei",
            "ok": "yes",
            "reasons": "amount not a number",
        },
    ]
    assert tx.n_rejected_rows == 2
    # A row without consent is counted as that, and as nothing else; one that cannot be read gives none.
    assert tx.rejects == {
        "customer null": 1,
        "time out of range": 1,
        "amount not a number": 1,
        "amount too many decimals": 1,
        "consent not a flag": 1,
        "consent not given": 3,
    }
    assert (tx.n_rows, tx.n_rejected, tx.n_without_consent) == (1, 5, 3)


def test_lines_that_are_no_records_are_not_counted(tmp_path):
    text = 'who,at,paid,note\n1,2024-05-01,1,"two\nlines"\n\n2,2024-05-01,x,\n'
    assert read_csv(tmp_path, text).rejected_rows()["source_row"].to_pylist() == [2]
    options = {"csv": {"header": False}, "customer": "column_1", "time": "column_2", "amount": "column_3"}
    text = "1,2024-05-01,x\n2,2024-05-01,1\n3,2024-05-01,y\n"
    assert read_csv(tmp_path, text, **options).rejected_rows()["source_row"].to_pylist() == [1, 3]


def table(**columns):
    base = {
        "who": pa.array([1, 2, 3, 4, 5], pa.int32()),
        "at": pa.array([MOMENT] * 5, pa.timestamp("us", "Europe/Paris")),
        "paid": pa.array([1.0, float("nan"), 0.125, 2.5, None]),
    }
    return pa.table(base | columns)


def test_other_types_become_text():
    many = table(
        who=pa.array(["a", "b", "a", "b", None]).dictionary_encode(),
        at=pa.array([dt.datetime(1, 1, 1), MOMENT, None, MOMENT, MOMENT], pa.timestamp("ms")),
        n=pa.array([1, 2, 3, 4, 5], pa.int64()),
        own=pa.array([True, None, False, True, False]),
        empty=pa.nulls(5),
    )
    found = gs.read_transactions(
        many, **ROLES, quantity="n", own_label="own", product="empty"
    ).rejected_rows()
    assert found.schema.names == [
        "source_file",
        "source_row",
        *["who", "at", "paid", "n", "empty", "own"],
        "reasons",
    ]
    assert {str(field.type) for field in found.schema} == {"large_string", "int64"}
    assert [list(row.values())[1:] for row in found.to_pylist()] == [
        [1, "a", "0001-01-01 00:00:00.000", "1", "1", None, "true", "time out of range"],
        [2, "b", "2024-05-01 12:00:00.000", "nan", "2", None, None, "amount not finite"],
        [3, "a", None, "0.125", "3", None, "false", "time null; amount too many decimals"],
        [5, None, "2024-05-01 12:00:00.000", None, "5", None, "false", "customer null; amount null"],
    ]


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("UTC", "2024-05-01 12:00:00.000000Z"),
        ("Europe/Paris", "2024-05-01 14:00:00.000000+0200"),
        ("+02:00", "2024-05-01 12:00:00.000000Z"),
    ],
)
def test_times_in_a_zone_become_text(zone, told):
    stamps = (
        pa.array([MOMENT] * 5, pa.timestamp("us"))
        .cast(pa.timestamp("us", "UTC"))
        .cast(pa.timestamp("us", zone))
    )
    found = gs.read_transactions(table(at=stamps), **ROLES).rejected_rows()
    assert set(found["at"].to_pylist()) == {told}


def test_a_source_may_use_our_names():
    renamed = table().rename_columns(["reasons", "source_row", "source_file"])
    roles = ROLES | {"customer": "reasons", "time": "source_row", "amount": "source_file"}
    found = gs.read_transactions(renamed, **roles).rejected_rows()
    assert found.column_names == [
        *["source_file_", "source_row_"],
        *["reasons", "source_row", "source_file"],
        "reasons_",
    ]
    assert found["source_row_"].to_pylist() == [2, 3, 5]
    assert found["reasons"].to_pylist() == ["2", "3", "5"]


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_rows_are_counted_file_by_file(tmp_path, small_parts, groups):
    for inner in ("south/b", "north/a"):
        (tmp_path / inner).parent.mkdir(exist_ok=True)
        pq.write_table(table(), tmp_path / f"{inner}.parquet", row_group_size=groups)
    expected = [(name, row) for name in ("north/a.parquet", "south/b.parquet") for row in (2, 3, 5)]

    def places(source):
        found = gs.read_transactions(source, **ROLES).rejected_rows()
        return list(zip(found["source_file"].to_pylist(), found["source_row"].to_pylist(), strict=True))

    assert places(tmp_path) == expected
    assert places(f"{tmp_path}/*/*.parquet") == expected
    assert places([tmp_path / "north/a.parquet", tmp_path / "south/b.parquet"]) == expected
    assert places(tmp_path / "north/a.parquet") == [("a.parquet", row) for row in (2, 3, 5)]
    assert places(tmp_path / "north") == [("a.parquet", row) for row in (2, 3, 5)]
    assert places(f"{tmp_path}/nor*/*") == [("a.parquet", row) for row in (2, 3, 5)]


def test_the_first_ones_are_kept_and_all_are_counted(monkeypatch, small_parts):
    monkeypatch.setattr(rejected, "MOST_ROWS", 4)
    many = pa.table({"who": np.arange(20), "at": [MOMENT] * 20, "paid": [None, 1.0] * 10})
    tx = gs.read_transactions(many, **ROLES)
    assert tx.rejected_rows()["source_row"].to_pylist() == [1, 3, 5, 7]
    assert tx.n_rejected_rows == 10


@pytest.mark.parametrize(
    ("kind", "cls"), [("arrow", pa.Table), ("pandas", pd.DataFrame), ("polars", pl.DataFrame)]
)
def test_what_comes_in_goes_out(kind, cls):
    plain = table()
    source = {"arrow": plain, "pandas": plain.to_pandas(), "polars": pl.from_arrow(plain)}[kind]
    tx = gs.read_transactions(source, **ROLES)
    found = tx.rejected_rows()
    assert isinstance(found, cls)
    assert list(found["source_row"][:]) == (
        [2, 3, 5] if kind != "arrow" else [pa.scalar(n) for n in (2, 3, 5)]
    )


def test_none_where_nothing_is_left_out():
    good = table().slice(0, 1)
    for on_bad_rows in ("error", "reject"):
        found = gs.read_transactions(good, **(ROLES | {"on_bad_rows": on_bad_rows})).rejected_rows()
        assert (len(found), found.column_names[:3]) == (0, ["source_file", "source_row", "who"])


def test_dask_knows_none():
    dd = pytest.importorskip("dask.dataframe")
    tx = gs.read_transactions(dd.from_pandas(table().to_pandas(), npartitions=2), **ROLES)
    assert (tx.rejected_rows(), tx.n_rejected_rows, tx.consent) == (None, None, None)


def test_a_price_beyond_all_numbers_is_left_out_though_other_lines_are_too_large():
    """Both are "amount too large": the price of one piece in one row, price times quantity in the other."""
    prices = table(paid=pa.array([1e300, 9e13, 1.0, 1.0, 1.0]), n=pa.array([1, 1000, 1, 1, 1]))
    tx = gs.read_transactions(prices, **ROLES, quantity="n", amount_of="piece")
    assert tx.rejected_rows()["source_row"].to_pylist() == [1, 2]
    assert tx.rejects == {"amount too large": 2}


CONSENT = """who,at,paid,ok
1,2024-05-01,1,yes
1,2024-05-01,1,no
2,2024-05-01,1,no
2,2024-05-01,1,
3,2024-05-01,1,yes
,2024-05-01,1,no
4,2024-05-01,x,no
5,2024-05-01,x,yes
5,2024-05-01,1,maybe
"""


@pytest.mark.parametrize("blocks", ["one", "many"])
def test_customers_are_counted_by_consent(tmp_path, blocks, request):
    if blocks == "many":
        request.getfixturevalue("small_parts")
    tx = read_csv(tmp_path, CONSENT, consent="ok")
    assert tx.consent == (2, 2)  # 2 and 4 have no row with consent; 1 and 5 have rows of both kinds
    assert [key for part in tx.tables() for key in part["customer"].to_pylist()] == [1, 3]
    assert tx.rejected_rows()["who"].to_pylist() == ["5"]
    assert read_csv(tmp_path, CONSENT).consent is None


@pytest.mark.parametrize(
    ("given", "kept", "left_out"),
    [
        (pa.array([True, None, False, True, None]), [1, 4], 3),
        (pa.array([1, 0, None, 1, 0], pa.int8()), [1, 4], 3),
        (pa.array([1, 2, 2**64 - 1, 1, 0], pa.uint64()), [1, 4], 3),
        (pa.array([1, 2, -1, 1, 257], pa.int64()), [1, 4], 3),
    ],
)
def test_what_is_not_yes_is_no(given, kept, left_out):
    tx = gs.read_transactions(table(paid=pa.array([1.0] * 5), ok=given), **ROLES, consent="ok")
    assert [key for part in tx.tables() for key in part["customer"].to_pylist()] == kept
    assert tx.n_without_consent == left_out
    assert tx.consent == (left_out, 0)
    assert len(tx.rejected_rows()) == 0


@pytest.mark.parametrize(
    "ok", ["Yes", "TRUE", "1", "oui", "ja", "no", "", " yes", "y e s", "null", "2", "ok", "-"]
)
def test_text_that_is_not_plainly_yes_is_no(tmp_path, ok):
    text = f"who,at,paid,ok\n1,2024-05-01,1,yes\n2,2024-05-01,1,{ok}\n"
    kept = 2 if ok in {"Yes", "TRUE", "1", "oui", "ja"} else 1
    assert read_csv(tmp_path, text, consent="ok").n_rows == kept


@pytest.mark.parametrize(
    "given", [pa.array([1.0, 1.0, None, 1.0, 1.0]), pa.array(["yes"] * 5), pa.array([b"1"] * 5)]
)
def test_consent_of_another_type_is_refused(given):
    with pytest.raises(gs.errors.SchemaError, match=r"'ok' \(consent\) holds"):
        gs.read_transactions(table(ok=given), **ROLES, consent="ok")


def test_a_column_without_any_consent_leaves_nobody():
    with pytest.raises(gs.errors.SourceError, match=r"all 5 rows were rejected .*consent not given: 5"):
        gs.read_transactions(table(ok=pa.nulls(5)), **ROLES, consent="ok")


def test_erased_customers_leave_no_row_and_are_in_no_count_of_consent(tmp_path):
    def erased(keys):
        return np.array([key in {"008", "009", "5"} for key in keys.to_pylist()], np.bool_)

    tx = read_csv(tmp_path, consent="ok", erased=erased)
    assert tx.rejected_rows()["source_row"].to_pylist() == [2]
    assert (tx.n_rejected, tx.n_without_consent, tx.n_rejected_rows) == (5, 2, 1)
    assert tx.consent == (2, 0)
    assert "amount not a number" not in tx.rejects
