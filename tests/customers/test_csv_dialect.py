"""CSV as people write it: what is declared is read exactly, what is not declared is never guessed."""

from __future__ import annotations

import csv as csv_module
import datetime as dt
import io

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpuseg as gs
from gpuseg.customers.reading import csv_files, parts
from gpuseg.customers.reading.dialect import CsvDialect, csv_dialect
from gpuseg.customers.reading.texts import numbers_from_text, times_from_text
from gpuseg.errors import InputError, SchemaError, SourceError

ROLES = {"customer": "who", "time": "at", "amount": "paid", "time_zone": "UTC"}


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def read(path, **options):
    return gs.read_transactions(path, **(ROLES | options))


def rows(tx):
    return [row for table in tx.tables() for row in table.to_pylist()]


def problems(path, **options):
    with pytest.raises(SchemaError) as caught:
        read(path, **options)
    return list(caught.value.problems)


def test_a_german_export_is_read_as_declared(tmp_path):
    text = "Kunde;Datum;Betrag;Währung\n007;31.12.2023 23:59;1.234,50;EUR\n042;1.2.2024;-3,1;EUR\n"
    path = write(tmp_path / "umsätze.csv", text, "cp1252")
    tx = gs.read_transactions(
        path,
        customer="Kunde",
        time="Datum",
        amount="Betrag",
        currency="Währung",
        time_zone="Europe/Berlin",
        naive="local",
        csv={"separator": ";", "decimal": ",", "thousands": ".", "encoding": "cp1252", "day_first": True},
    )
    found = rows(tx)
    assert [row["customer"] for row in found] == ["007", "042"]
    assert [row["amount"] for row in found] == [123450, -310]
    assert [row["day"] for row in found] == [dt.date(2023, 12, 31), dt.date(2024, 2, 1)]
    assert found[0]["time"] == dt.datetime(2023, 12, 31, 22, 59, tzinfo=dt.UTC)
    assert tx.currency == "EUR"


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        ({"decimal": ","}, "12,5", 12.5),
        ({"decimal": ","}, " -,5", -0.5),
        ({"decimal": ",", "thousands": "."}, "1.234.567,8", 1234567.8),
        ({"decimal": ",", "thousands": " "}, "1 234\u00a0567,8", 1234567.8),
        ({"decimal": ",", "thousands": " "}, "1\u202f234", 1234.0),
        ({"thousands": ","}, "1,234.5", 1234.5),
        ({"thousands": ","}, "1234.5", 1234.5),
        ({"thousands": "'"}, "1\u2019234.5", 1234.5),
        ({}, "1e3", 1000.0),
    ],
)
def test_numbers_in_their_declared_form(dialect, text, expected):
    values, bad = numbers_from_text(pa.array([text], pa.large_string()), CsvDialect(**dialect))
    assert (values.to_pylist(), [reason for reason, mask in bad.items() if mask.any()]) == ([expected], [])


@pytest.mark.parametrize(
    ("dialect", "text", "reason"),
    [
        ({}, "12,5", "decimal comma"),
        ({}, "1.234,50", "decimal comma"),
        ({}, "1.234.567", "grouped digits"),
        ({"decimal": ","}, "1.234,5", "grouped digits"),
        ({"decimal": ","}, "12.5", "not a number"),
        ({"decimal": ",", "thousands": "."}, "12.34", "not a number"),
        ({"thousands": ","}, "1,23", "decimal comma"),
        ({}, "12 EUR", "not a number"),
        ({}, "", "not a number"),
    ],
)
def test_numbers_in_another_form_are_bad_with_the_reason(dialect, text, reason):
    values, bad = numbers_from_text(pa.array([text, "7"], pa.large_string()), CsvDialect(**dialect))
    assert [name for name, mask in bad.items() if mask[0]] == [reason]
    assert values.to_pylist() == [0.0, 7.0]


@given(
    st.lists(st.integers(-(10**12), 10**12), max_size=20),
    st.sampled_from(",."),
    st.sampled_from([None, " ", "'"]),
)
@settings(deadline=None, max_examples=50)
def test_written_numbers_come_back(cents, decimal, thousands):
    def written(value):
        text = f"{abs(value) // 100:,}".replace(",", thousands or "")
        return ("-" if value < 0 else "") + f"{text}{decimal}{abs(value) % 100:02d}"

    texts = pa.array([written(value) for value in cents], pa.large_string())
    values, bad = numbers_from_text(texts, CsvDialect(decimal=decimal, thousands=thousands))
    assert not any(mask.any() for mask in bad.values())
    assert [round(value * 100) for value in values.to_pylist()] == cents


def stamps(texts, **dialect):
    found, bad = times_from_text(pa.array(texts, pa.large_string()), CsvDialect(**dialect))
    reasons = [next((reason for reason, mask in bad.items() if mask[i]), None) for i in range(len(texts))]
    return [reason or value for reason, value in zip(reasons, found.to_pylist(), strict=True)]


def test_day_first_and_month_first():
    moment = dt.datetime(2024, 4, 3, 17, 5, 9)  # noqa: DTZ001 - a naive time is the subject
    texts = ["3/4/2024 17:05:09", "03.04.2024 5:05:09 PM", "2024-04-03 17:05:09"]
    assert stamps(texts, day_first=True) == [moment] * 3
    assert stamps(["4/3/2024 17:05:09", "04-03-2024, 5:05:09 p.m."], day_first=False) == [moment] * 2
    assert stamps(["12.31.2024", "31.2.2024", "1.13.2024 10:00", "x"], day_first=True) == [
        "not in declared order",
        "not in declared order",
        "not in declared order",
        "not a time",
    ]
    assert stamps(["3/4/2024"]) == ["undeclared order"]
    assert (
        stamps(["3/4/2024 25:00", "3/4/2024 13:00 pm", "3/4/2024 10:60"], day_first=True)
        == ["not in declared order"] * 3
    )
    assert stamps(["3/4/2024", "2024-04-03T00:00Z"], day_first=True)[1] == "mixed clocks"


@given(st.lists(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)), min_size=1, max_size=10))  # noqa: DTZ001
@settings(deadline=None, max_examples=50)
def test_times_in_a_declared_form_come_back(moments):
    for form in ("%d.%m.%Y %H:%M:%S.%f", "%B %d %Y %I:%M:%S %p %f", "%Y%m%d %T,%f", "%d-%b-%Y %H.%M.%S.%f"):
        texts = [moment.strftime(form.replace("%Y", f"{moment.year:04d}")) for moment in moments]
        assert stamps(texts, time_format=form) == moments


def test_forms_with_short_years_zones_and_wrong_days():
    assert [t.year for t in stamps(["31.12.68", "1.1.69"], time_format="%d.%m.%y")] == [2068, 1969]
    (found,) = stamps(["2024-05-01 02:30 +0200"], time_format="%F %R %z")
    assert found == dt.datetime(2024, 5, 1, 0, 30, tzinfo=dt.UTC)
    assert stamps(["31.02.2024", "01.02.2024x"], time_format="%d.%m.%Y") == ["not in time_format"] * 2
    assert stamps([None, "29.02.2024"], time_format="%d.%m.%Y")[1] == dt.datetime(2024, 2, 29)  # noqa: DTZ001


def test_times_outside_the_calendar_of_commerce_are_counted(tmp_path):
    path = write(tmp_path / "a.csv", "who,at,paid\n1,01.01.0001,1\n1,31.12.9999,1\n1,01.01.2024,1\n")
    assert "lies before 1900 or after 2199 in 2 of 3 rows" in problems(path, csv={"day_first": True})[0]
    assert read(path, csv={"day_first": True}, on_bad_rows="reject").rejects == {"time out of range": 2}


def test_all_problems_of_a_wrong_declaration_at_once(tmp_path):
    path = write(tmp_path / "a.csv", "who;at;paid;cur\n1;13.1.2024;1,5;EUR\n1;2.1.2024;2,5;USD\n")
    found = problems(path, csv={"separator": ";"}, currency="cur")
    assert [text.split(";")[0] for text in found] == [
        "column 'at' (time) is a date such as 3/4/2024 whose order of day and month is not declared in 2 of 2 rows",
        "column 'paid' (amount) is text with a decimal comma such as 1234,56 in 2 of 2 rows",
        "column 'cur' (currency) has 2 currencies (EUR: 1 rows, USD: 1 rows)",
    ]
    assert all("csv={" in text for text in found[:2])


def test_times_without_zone_can_be_refused(tmp_path):
    path = write(tmp_path / "a.csv", "who,at,paid\n1,2024-01-01,x\n1,2024-01-02,2\n")
    found = problems(path, time_zone=None, naive="error")
    assert "is text that is not a number" in found[0]
    assert "carries no time zone in 2 of 2 rows; state time_zone" in found[1]
    zoned = write(tmp_path / "b.csv", "who,at,paid\n1,2024-01-01T00:00Z,1\n")
    assert read(zoned, time_zone=None, naive="error").n_rows == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_encodings(encoding, tmp_path):
    path = write(tmp_path / "a.csv", 'who,at,paid,"caté\ngorie"\né,2024-01-01,1,"ü\nx"\n', encoding)
    (found,) = rows(read(path, csv={"encoding": encoding}, category="caté\ngorie"))
    assert (found["customer"], found["category"]) == ("é", "ü\nx")


def test_a_wrong_encoding_is_named(tmp_path):
    path = write(tmp_path / "a.csv", "who,at,paid\né,2024-01-01,1\n", "cp1252")
    with pytest.raises(SourceError, match=r"a.csv: the text is not UTF-8 .*declare its encoding \(csv="):
        read(path)
    path = write(tmp_path / "b.csv", "é,at,paid\ne,2024-01-01,1\n", "cp1252")
    with pytest.raises(SourceError, match=r"b.csv: the text is not UTF-8"):
        read(path)


def test_files_without_a_header(tmp_path):
    path = write(tmp_path / "a.csv", "1|2024-01-01|1.5\n2|2024-01-02|2\n")
    roles = {"customer": "column_1", "time": "column_2", "amount": "column_3"}
    tx = read(path, csv=CsvDialect(separator="|", header=False), **roles)
    assert [row["amount"] for row in rows(tx)] == [150, 200]


def test_a_name_that_stands_twice_in_the_header(tmp_path):
    path = write(tmp_path / "a.csv", "who,at,paid,paid\n1,2024-01-01,1,2\n")
    assert problems(path) == ["column 'paid' (amount) occurs more than once; rename one of them"]


def test_blocks_do_not_change_the_answer(tmp_path, monkeypatch):
    lines = ["who,at,paid,item"]
    lines += [f"{i % 7},2024-01-{i % 28 + 1:02d},{i}.5,{'' if i < 120 else i}" for i in range(200)]
    path = write(tmp_path / "a.csv", "\n".join(lines) + "\n")
    whole = read(path, product="item")
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 256)
    monkeypatch.setattr(parts, "PART_ROWS", 10)
    cut = read(path, product="item")
    assert len(cut.partitions) > 10
    assert cut.fingerprint == whole.fingerprint
    assert rows(cut) == rows(whole)
    assert {type(row["customer"]) for row in rows(cut)} == {int}
    write(path, "\n".join([*lines, "007,2024-01-01,1,5"]) + "\n")
    assert {type(row["customer"]) for row in rows(read(path, product="item"))} == {str}


def test_only_the_first_records_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART_ROWS", 10)
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 256)
    good = "".join(f"{i},2024-01-01,1\n" for i in range(100))
    write(tmp_path / "a.csv", f"who,at,paid\n{good}x,y,z\n")
    write(tmp_path / "b.csv", f"who,at,paid\n{good}")
    assert read(tmp_path, head=30).n_rows == 60
    assert len(problems(tmp_path)) == 2
    with pytest.raises(InputError, match="head=0"):
        read(tmp_path, head=0)


def test_a_line_without_end_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "BLOCK_BYTES", 256)
    path = write(tmp_path / "a.csv", 'who,at,paid\n1,2024-01-01,"1\n' + "1,2024-01-01,1\n" * 100)
    with pytest.raises(SourceError, match="quotation mark left open"):
        read(path)


@pytest.mark.parametrize(
    ("dialect", "said"),
    [
        ({"seperator": ";"}, "no option 'seperator'; did you mean 'separator'?"),
        ({"separator": ";;"}, "separator=';;' is not one mark"),
        ({"separator": "a"}, "separator='a' is not one mark"),
        ({"decimal": ";"}, "decimal=';' is not a decimal mark"),
        ({"thousands": "_"}, "thousands='_' is no mark between groups"),
        ({"thousands": "."}, r"thousands and decimal are both '.'"),
        ({"encoding": "klingon"}, "encoding='klingon' is unknown"),
        ({"day_first": True, "time_format": "%d.%m.%Y"}, "day_first and time_format are both given"),
        ({"time_format": "%d.%m"}, "needs one year"),
        ({"time_format": "%d.%m.%Y %Q"}, "'%Q' is not a known directive"),
        ({"time_format": "%d.%d.%m.%Y"}, "'%d' stands there twice"),
        ({"time_format": "%d.%m.%Y %I:%M"}, "%I goes with %p"),
        ("comma", "csv='comma' is no dialect"),
    ],
)
def test_dialects_that_cannot_be(dialect, said):
    with pytest.raises(InputError, match=said):
        csv_dialect(dialect)


def test_a_dialect_is_for_csv_alone(tmp_path):
    import dask.dataframe as dd
    import pyarrow.parquet as pq

    table = pa.table({"who": [1], "at": [dt.datetime(2024, 1, 1)], "paid": [1.0]})  # noqa: DTZ001
    pq.write_table(table, tmp_path / "a.parquet")
    sources = [tmp_path / "a.parquet", table, dd.from_pandas(table.to_pandas(), npartitions=1)]
    for source, said in zip(sources, ["these are Parquet", "type Table", "Dask"], strict=True):
        with pytest.raises(InputError, match=said):
            read(source, csv={"decimal": ","})


def test_quoted_fields_follow_the_usual_rules(tmp_path):
    buffer = io.StringIO()
    writer = csv_module.writer(buffer, delimiter=";")
    names = ['say "hi"', "a;b", " padded ", "line\nbreak"]
    writer.writerows([["who", "at", "paid"], *([name, "2024-01-01", "1"] for name in names)])
    tx = read(write(tmp_path / "a.csv", buffer.getvalue()), csv={"separator": ";"})
    assert [row["customer"] for row in rows(tx)] == names


def test_flags_are_words_for_yes_and_no(tmp_path):
    words = ["true", "YES", "1", "oui", "Ja", "false", "No", "0", "non", "nein", ""]
    lines = "".join(f"{i},2024-01-01,1,{word}\n" for i, word in enumerate(words))
    tx = read(write(tmp_path / "a.csv", f"who,at,paid,ok\n{lines}"), consent="ok")
    assert [row["customer"] for row in rows(tx)] == [0, 1, 2, 3, 4]
    assert tx.rejects == {"consent not given": 6}
    assert tx.n_without_consent == 6
    wrong = write(tmp_path / "b.csv", "who,at,paid,ok\n1,2024-01-01,1,maybe\n")
    assert "is neither true/false, yes/no nor 1/0 in 1 of 1 rows" in problems(wrong, consent="ok")[0]
