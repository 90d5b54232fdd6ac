"""Reading: the same records from any kind of source, exact values, nothing silent."""

# ruff: noqa: DTZ001 - naive times are the subject

from __future__ import annotations

import datetime as dt
import logging
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import gpuseg as gs
from gpuseg.customers.reading import parts
from gpuseg.errors import InputError


def records(tx):
    return (
        pa.concat_tables(list(tx.tables()), promote_options="permissive")
        .unify_dictionaries()
        .combine_chunks()
    )


def plain(tx):
    """Records as Python rows, so that dictionaries and offsets do not matter."""
    return records(tx).to_pylist()


SIMPLE = {"customer": "who", "time": "at", "amount": "paid", "time_zone": "UTC"}


def simple(**columns):
    n = len(next(iter(columns.values())))
    base = {
        "who": pa.array(range(n), pa.int64()),
        "at": pa.array([dt.datetime(2024, 5, 1, 12)] * n, pa.timestamp("us")),
        "paid": pa.array([1.0] * n),
    }
    return pa.table(base | columns)


def test_every_kind_of_source_gives_the_same_records(lines, roles, tmp_path):
    expected = gs.read_transactions(lines, **roles)
    pq.write_table(lines, tmp_path / "one.parquet")
    pq.write_table(lines, tmp_path / "small_groups.parquet", row_group_size=500)
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    pq.write_table(lines.slice(0, 1000), tmp_path / "folder" / "a.parquet")
    pq.write_table(lines.slice(1000), tmp_path / "folder" / "deep" / "b.parquet")
    (tmp_path / "folder" / "_SUCCESS").touch()
    pyarrow.csv.write_csv(lines, tmp_path / "lines.csv")
    frame = lines.to_pandas()
    found = {
        "pandas": frame,
        "pandas object": frame.astype({"department": object}),
        "polars": pl.from_arrow(lines),
        "lazy": pl.from_arrow(lines).lazy(),
        "batches": lines.to_reader(),
        "file": str(tmp_path / "one.parquet"),
        "path": tmp_path / "small_groups.parquet",
        "folder": tmp_path / "folder",
        "glob": str(tmp_path / "folder" / "**" / "*.parquet"),
        "list": [tmp_path / "folder" / "a.parquet", tmp_path / "folder" / "deep" / "b.parquet"],
        "url": f"file://{tmp_path}/one.parquet",
        "csv": tmp_path / "lines.csv",
    }
    for name, source in found.items():
        tx = gs.read_transactions(source, **roles)
        assert tx.fingerprint == expected.fingerprint, name
        assert plain(tx) == plain(expected), name
        assert tx.kind == {"pandas object": "pandas", "lazy": "polars"}.get(
            name, name if name in {"pandas", "polars"} else "arrow"
        )


def test_parts_and_order_do_not_change_the_fingerprint(lines, roles, monkeypatch):
    expected = gs.read_transactions(lines, **roles).fingerprint
    order = np.random.default_rng(0).permutation(lines.num_rows)
    monkeypatch.setattr(parts, "PART_ROWS", 97)
    shuffled = gs.read_transactions(lines.take(order), **roles)
    assert len(shuffled.partitions) > 10
    assert shuffled.fingerprint == expected
    assert gs.read_transactions(lines.slice(1), **roles).fingerprint != expected


def test_memory_filesystems_are_read(lines, roles):
    import fsspec

    memory = fsspec.filesystem("memory")
    with memory.open("/shop/lines.parquet", "wb") as file:
        pq.write_table(lines, file)
    assert gs.read_transactions("memory://shop/lines.parquet", **roles).n_rows == lines.num_rows
    assert gs.read_transactions("memory://shop/*.parquet", **roles).n_rows == lines.num_rows


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        (pa.array([0.1, 0.29, -1.005e0 + 0.005, 1e-16]), [10, 29, -100, 0]),
        (pa.array([90071992547409.91, 123456789.01]), [9007199254740991, 12345678901]),
        (pa.array([0.1, 1234.56, 65536.99], pa.float32()), [10, 123456, 6553699]),
        (pa.array([3, -4], pa.int16()), [300, -400]),
        (pa.array([3, 4], pa.uint8()), [300, 400]),
        (pa.array([Decimal("1.25"), Decimal("-0.01")]), [125, -1]),
        (pa.array([Decimal("1.2500"), Decimal("-0.0100")], pa.decimal128(20, 4)), [125, -1]),
        (pa.array([Decimal(7), Decimal(-2)], pa.decimal128(9, 0)), [700, -200]),
        (pa.array([Decimal("7.5"), Decimal(-2)], pa.decimal256(40, 1)), [750, -200]),
    ],
)
def test_amounts_become_whole_minor_units(amounts, expected):
    tx = gs.read_transactions(simple(paid=amounts), **SIMPLE)
    assert records(tx)["amount"].to_pylist() == expected


def test_minor_units_of_the_currency():
    table = simple(paid=pa.array([1234.0, 5.0]))
    assert records(gs.read_transactions(table, minor_units=0, **SIMPLE))["amount"].to_pylist() == [1234, 5]
    assert records(gs.read_transactions(table, minor_units=3, **SIMPLE))["amount"].to_pylist() == [
        1234000,
        5000,
    ]
    with pytest.raises(InputError, match="minor_units=9"):
        gs.read_transactions(table, minor_units=9, **SIMPLE)


def test_keys_keep_their_type_and_leading_zeros(tmp_path):
    (tmp_path / "a.csv").write_text("who,at,paid\n007,2024-05-01,1\n7,2024-05-02,2\n")
    tx = gs.read_transactions(tmp_path / "a.csv", **SIMPLE)
    assert records(tx)["customer"].to_pylist() == ["007", "7"]
    (tmp_path / "b.csv").write_text("who,at,paid\n8,2024-05-01,1\n")
    both = gs.read_transactions([tmp_path / "b.csv", tmp_path / "a.csv"], **SIMPLE)
    assert records(both)["customer"].to_pylist() == ["8", "007", "7"]
    assert records(gs.read_transactions(tmp_path / "b.csv", **SIMPLE))["customer"].to_pylist() == [8]


@pytest.mark.parametrize("dtype", [pa.int8(), pa.int32(), pa.uint64(), pa.string(), pa.large_string()])
def test_the_type_of_the_key_is_remembered(dtype):
    keys = pa.array([1, 2]).cast(pa.string()).cast(dtype)
    tx = gs.read_transactions(simple(who=keys), **SIMPLE)
    assert tx.customer_type == dtype
    coded = gs.read_transactions(simple(who=keys.dictionary_encode()), **SIMPLE)
    assert coded.customer_type == dtype


def naive_stamps():
    return simple(
        at=pa.array([dt.datetime(2024, 5, 1, 22, 30), dt.datetime(2024, 5, 1, 1)], pa.timestamp("ns"))
    )


def days(tx):
    return [str(day) for day in records(tx)["day"].to_pylist()]


def test_naive_times_without_a_zone_are_utc_with_one_warning(caplog):
    options = {k: v for k, v in SIMPLE.items() if k != "time_zone"}
    caplog.set_level(logging.INFO, "gpuseg")
    with pytest.warns(UserWarning, match="2 times carry no time zone; they are taken as UTC") as caught:
        tx = gs.read_transactions(naive_stamps(), **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    (told,) = [record for record in caplog.records if "they are taken as UTC" in record.message]
    assert told.levelno == logging.INFO  # a log that nobody set up shows warnings: that would be a second one
    assert days(tx) == ["2024-05-01", "2024-05-01"]
    assert tx.time_zone == "UTC"


def test_time_zone_is_a_calendar_and_naive_says_what_the_clock_means():
    options = SIMPLE | {"time_zone": "Europe/Berlin"}
    utc = gs.read_transactions(naive_stamps(), **options)
    assert days(utc) == ["2024-05-02", "2024-05-01"]
    wall = gs.read_transactions(naive_stamps(), naive="local", **options)
    assert days(wall) == ["2024-05-01", "2024-05-01"]
    assert [t.hour for t in records(wall)["time"].to_pylist()] == [20, 23]
    with pytest.raises(InputError, match="needs time_zone"):
        gs.read_transactions(
            naive_stamps(), naive="local", **{k: v for k, v in SIMPLE.items() if k != "time_zone"}
        )
    with pytest.raises(InputError, match="naive='wall'"):
        gs.read_transactions(naive_stamps(), naive="wall", **SIMPLE)


def test_times_with_a_zone_bring_their_calendar():
    stamps = pa.array([dt.datetime(2024, 5, 1, 3)], pa.timestamp("us")).cast(
        pa.timestamp("us", "America/New_York")
    )
    options = {k: v for k, v in SIMPLE.items() if k != "time_zone"}
    tx = gs.read_transactions(simple(at=stamps), **options)
    assert (tx.time_zone, days(tx)) == ("America/New_York", ["2024-04-30"])
    assert days(gs.read_transactions(simple(at=stamps), **SIMPLE)) == ["2024-05-01"]
    frame = pd.DataFrame(
        {
            "who": [1],
            "at": pd.to_datetime(["2024-05-01 03:00"], utc=True).tz_convert("Asia/Tokyo"),
            "paid": [1.0],
        }
    )
    assert gs.read_transactions(frame, **options).time_zone == "Asia/Tokyo"


@pytest.mark.parametrize("dtype", [pa.date32(), pa.date64()])
def test_dates_are_local_days(dtype):
    table = simple(at=pa.array([dt.date(2024, 3, 31), dt.date(1969, 12, 31)], pa.date32()).cast(dtype))
    for zone in ("America/New_York", "Pacific/Auckland", None):
        tx = gs.read_transactions(table, **(SIMPLE | {"time_zone": zone}))
        assert days(tx) == ["2024-03-31", "1969-12-31"]


def test_csv_times_with_and_without_zone(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("who,at,paid\n1,2024-05-01T22:30:00Z,1\n1,2024-05-02 00:30:00+02:00,2.5\n")
    tx = gs.read_transactions(path, **SIMPLE)
    assert [t.isoformat() for t in records(tx)["time"].to_pylist()] == ["2024-05-01T22:30:00+00:00"] * 2
    path.write_text("who,at,paid\n1,2024-05-01 22:30,1\n")
    with pytest.warns(UserWarning, match="1 times carry no time zone"):
        gs.read_transactions(path, **{k: v for k, v in SIMPLE.items() if k != "time_zone"})


def test_compressed_and_tab_separated_text(tmp_path):
    import gzip

    text = "who\tat\tpaid\nx\t2024-05-01\t1.5\n"
    (tmp_path / "a.tsv").write_text(text)
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write("\ufeff" + text.replace("\t", ","))
    for name in ("a.tsv", "b.csv.gz"):
        assert records(gs.read_transactions(tmp_path / name, **SIMPLE))["amount"].to_pylist() == [150]


def test_nothing_is_dropped_without_being_counted():
    table = simple(
        paid=pa.array([1.0, 0.0, -2.0, 4.0]),
        n=pa.array([1, 0, -1, None]),
        off=pa.array([None, 0.5, -0.5, 1.0]),
        kind=pa.array(["a", None, "b", None]),
        own=pa.array([True, None, False, True]),
    )
    tx = gs.read_transactions(table, quantity="n", discount="off", category="kind", own_label="own", **SIMPLE)
    assert (tx.n_rows, tx.n_rejected, tx.rejects) == (4, 0, {})
    assert (tx.n_nonpositive_amount, tx.n_nonpositive_quantity) == (2, 2)
    assert tx.notes() == {
        "time taken as UTC": 4,
        "amount zero or negative": 2,
        "quantity null": 1,
        "quantity zero or negative": 2,
        "category null": 2,
        "discount null taken as 0": 1,
        "own_label null taken as false": 1,
    }
    assert records(tx)["category"].to_pylist() == ["a", "unknown", "b", "unknown"]


def test_rows_without_consent_are_left_out_and_counted(caplog):
    table = simple(ok=pa.array([True, False, None]))
    tx = gs.read_transactions(table, consent="ok", **SIMPLE)
    assert (tx.n_rows, tx.rejects) == (1, {"consent not given": 2})
    assert "2 rows left out: consent not given" in caplog.text


def test_bad_rows_can_be_left_out_by_declaration():
    table = simple(
        who=pa.array([1, None, 3, 4, None]),
        paid=pa.array([1.0, 2.0, float("nan"), 1.234, float("inf")]),
    )
    tx = gs.read_transactions(table, on_bad_rows="reject", **SIMPLE)
    assert records(tx)["customer"].to_pylist() == [1]
    assert tx.n_rejected == 4
    assert tx.rejects == {"customer null": 2, "amount not finite": 2, "amount too many decimals": 1}


def test_one_currency_is_named():
    tx = gs.read_transactions(simple(cur=pa.array(["EUR", "EUR"])), currency="cur", **SIMPLE)
    assert tx.currency == "EUR"
    assert "currency" not in records(tx).column_names


def test_transactions_travel():
    import pickle

    tx = gs.read_transactions(simple(paid=pa.array([1.0, 2.0])), **SIMPLE)
    again = pickle.loads(pickle.dumps(tx))
    assert plain(again) == plain(tx)


@pytest.mark.parametrize("backend", ["pyarrow", "numpy_nullable"])
def test_pandas_of_other_backends(lines, roles, backend):
    frame = lines.to_pandas().convert_dtypes(dtype_backend=backend)
    assert (
        gs.read_transactions(frame, **roles).fingerprint == gs.read_transactions(lines, **roles).fingerprint
    )


def test_a_named_index_counts_as_a_column(lines, roles):
    frame = lines.to_pandas()
    expected = gs.read_transactions(frame, **roles).fingerprint
    assert gs.read_transactions(frame.set_index("customer"), **roles).fingerprint == expected
    assert gs.read_transactions(frame.set_index(["customer", "time"]), **roles).fingerprint == expected


@pytest.mark.parametrize(
    "keys",
    [
        pl.Series(["x", "b"], dtype=pl.Categorical),
        pl.Series(["x", "b"], dtype=pl.Enum(["b", "x"])),
        pl.Series([3, 2], dtype=pl.UInt64),
    ],
)
def test_polars_keys_of_special_types(keys):
    frame = pl.from_arrow(simple(paid=pa.array([1.0, 2.0]))).with_columns(
        who=keys, odd=pl.Series([object(), object()])
    )
    assert records(gs.read_transactions(frame, **SIMPLE))["customer"].to_pylist() == keys.to_list()


def test_arrow_text_in_every_encoding():
    coded = [pa.array([text, "x"]).dictionary_encode() for text in ("b", "c")]
    forms = [
        pa.chunked_array(coded),  # each chunk with a dictionary of its own
        pa.array(["b", "x", "c", "x"], pa.large_string()),
        pa.array(["b", "x", "c", "x"], pa.string_view()),
    ]
    for form in forms:
        table = simple(paid=pa.array([1.0] * 4), who=form).append_column("kind", form)
        tx = gs.read_transactions(table, category="kind", **SIMPLE)
        assert (
            records(tx)["customer"].to_pylist() == records(tx)["category"].to_pylist() == ["b", "x", "c", "x"]
        )


def test_prices_of_pieces_are_multiplied_exactly():
    table = simple(
        paid=pa.array([0.29, 0.1, 2.55, 1.99, 0.05]), n=pa.array([100_000_000_001.0, 3.0, -2.0, 0.755, 0.5])
    )
    tx = gs.read_transactions(table, quantity="n", amount_of="piece", **SIMPLE)
    assert records(tx)["amount"].to_pylist() == [2_900_000_000_029, 30, -510, 150, 2]
    assert tx.notes()["amount rounded to minor units"] == 2
    assert tx.n_nonpositive_amount == 1
    short = simple(paid=pa.array([1.0, 1.0, 1e9]), n=pa.array([None, 2.0, 1e9]))
    tx = gs.read_transactions(short, quantity="n", amount_of="piece", on_bad_rows="reject", **SIMPLE)
    assert tx.rejects == {"amount no quantity": 1, "amount too large": 1}
    assert records(tx)["amount"].to_pylist() == [200]
    with pytest.raises(InputError, match="amount_of='piece' needs quantity="):
        gs.read_transactions(table, amount_of="piece", **SIMPLE)
    with pytest.raises(InputError, match="amount_of='unit'"):
        gs.read_transactions(table, amount_of="unit", **SIMPLE)
