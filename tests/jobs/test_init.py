"""From a file to a job file that runs as written: guesses are declarations, and uncertain ones say so."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gpuseg.cli_jobs import jobs
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.errors import InputError, OutputError, SourceError
from gpuseg.jobs.declared.check import check_job
from gpuseg.jobs.declared.guess_roles import Column, currency_sign, guess_roles
from gpuseg.jobs.declared.guess_text import guess_times
from gpuseg.jobs.declared.init import init_job
from gpuseg.jobs.declared.job_file import read_job
from gpuseg.jobs.events import read_asked


@pytest.fixture
def init(tmp_path):
    def make(text, encoding="utf-8", name="sales.csv", **stated):
        (tmp_path / name).write_bytes(text.encode(encoding))
        out = tmp_path / "job.yaml"
        out.unlink(missing_ok=True)
        said = init_job(str(tmp_path / name), out, stated)
        return read_job(out), out.read_text(encoding="utf-8"), said

    return make


def rows(job):
    return [row for table in job.read_records().tables() for row in table.to_pylist()]


GERMAN = "Kundennummer;Kaufdatum;Bon-Nr;Warengruppe;Betrag;Währung\r\n" + "".join(
    f"{i % 7:05d};{i % 28 + 1:02d}.03.2024 1{i % 10}:30;{i // 2};{'Käse' if i % 3 else 'Wein'};{i}.000,{i:02d};EUR\r\n"
    for i in range(1, 60)
)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
def test_a_german_export_becomes_a_job_that_runs(init, encoding):
    job, text, said = init(GERMAN, encoding, "Umsätze 2024.csv")
    assert job.job.name == "Umsatze-2024"
    assert job.source.path == "Umsätze 2024.csv"
    expected = {"cp1252": "cp1252", "utf-16": "utf-16"}.get(encoding, "utf-8")
    assert job.source.dialect() == CsvDialect(";", ",", ".", expected, day_first=True)
    assert job.roles.declared() == {
        "customer": "Kundennummer",
        "time": "Kaufdatum",
        "amount": "Betrag",
        "basket": "Bon-Nr",
        "category": "Warengruppe",
        "currency": "Währung",
    }
    found = rows(job)
    assert len(found) == 59
    assert found[0]["customer"] == "00001"
    assert found[0]["amount"] == 100001
    assert found[0]["day"] == dt.date(2024, 3, 2)
    assert "time_zone: UTC  # assumed" in text
    assert 'consent: {not_recorded: "not stated at init"}' in text
    assert "found: Wein" in text
    assert "59 rows can be used" in said


def test_rows_that_cannot_be_used_are_declared_with_their_counts(init):
    text = "customer_id,order_date,total\n" + "".join(
        f"{i if i % 4 else ''},2024-01-{i % 28 + 1:02d},{i}.125\n" for i in range(40)
    )
    job, written, _ = init(text)
    assert (job.bad_rows, job.minor_units) == ("reject", 3)
    assert "bad_rows: reject  # 10 of 40 rows (customer null: 10)" in written
    assert len(rows(job)) == 30


def test_the_order_of_dates_is_never_guessed_silently(init):
    months = "customer,date,total\n" + "".join(f"{i},{i % 12 + 1}/{i % 28 + 1}/2024,1\n" for i in range(40))
    assert init(months)[0].source.csv.day_first is False
    unsure = "customer,date,total\n" + "".join(f"{i},{i % 12 + 1}/5/2024,1\n" for i in range(40))
    job, written, said = init(unsure)
    assert job.source.csv.day_first is True
    assert "day_first: true  # NOT CERTAIN: no date read has a day above 12 that would tell" in written
    assert "Look at source.csv.day_first: NOT CERTAIN" in said


def test_a_late_day_above_twelve_still_tells_the_order(init, monkeypatch):
    monkeypatch.setattr("gpuseg.jobs.declared.guess_text.SAMPLE_BYTES", 400)
    lines = [f"{i},{i % 12 + 1}/5/2024,1.0\n" for i in range(200)] + [
        f"{i},5/25/2024,1.0\n" for i in range(50)
    ]
    job, written, _ = init("customer,date,total\n" + "".join(lines))
    assert (job.source.csv.day_first, job.bad_rows) == (False, "error")
    assert "NOT CERTAIN" not in written


def test_marks_between_thousands_that_come_late_are_declared(init, monkeypatch):
    monkeypatch.setattr("gpuseg.jobs.declared.guess_text.SAMPLE_BYTES", 400)
    lines = [f"{i};01.05.2024;1,50\n" for i in range(200)] + ["7;31.05.2024;1.234.567,50\n"]
    job, _, _ = init("Kunde;Datum;Betrag\n" + "".join(lines))
    assert (job.source.csv.thousands, job.bad_rows) == (".", "error")
    assert rows(job)[-1]["amount"] == 123456750


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        (["2024-01-31 10:00:00"], {}),
        (["2024-01-31T10:00:00+02:00"], {}),
        (["31.01.2024", "1.2.2024 8:05"], {"day_first": True}),
        (["12/31/2024 5:07 PM"], {"day_first": False}),
        (["20240131", "20231201"], {"time_format": "%Y%m%d"}),
        (["31.12.24"], {"time_format": "%d.%m.%y"}),
        (["12/31/24 08:15"], {"time_format": "%m/%d/%y %H:%M"}),
        (["03-Jan-2024"], {"time_format": "%d-%b-%Y"}),
    ],
)
def test_forms_of_times(values, declared):
    assert guess_times(values) == (declared, "")


@pytest.mark.parametrize(
    "values", [[], ["10115", "80331"], ["1.5", "2.25"], ["x"], ["0001-01-01"], ["99991231"]]
)
def test_what_is_no_time(values):
    assert guess_times(values) is None


def test_short_years_leave_the_order_open():
    declared, note = guess_times(["01/02/24"])
    assert declared == {"time_format": "%d/%m/%y"}
    assert "or is it %m/%d/%y?" in note


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            {"InvoiceNo": "text", "StockCode": "text", "Description": "text", "Quantity": "whole",
             "InvoiceDate": "time", "UnitPrice": "number", "CustomerID": "whole", "Country": "text"},
            {"customer": "CustomerID", "time": "InvoiceDate", "amount": "UnitPrice", "basket": "InvoiceNo",
             "quantity": "Quantity", "product": "StockCode"},
        ),
        (
            {"household_id": "whole", "transaction_timestamp": "time", "sales_value": "number", "basket_id": "whole",
             "quantity": "whole", "department": "text", "coupon_disc": "number"},
            {"customer": "household_id", "time": "transaction_timestamp", "amount": "sales_value",
             "basket": "basket_id", "quantity": "quantity", "category": "department", "discount": "coupon_disc"},
        ),
        (
            {"client": "text", "date_achat": "time", "montant": "number", "rayon": "text", "remise": "number"},
            {"customer": "client", "time": "date_achat", "amount": "montant", "category": "rayon",
             "discount": "remise"},
        ),
        (
            {"fecha": "time", "cliente": "whole", "importe": "number", "cantidad": "whole", "moneda": "text"},
            {"customer": "cliente", "time": "fecha", "amount": "importe", "quantity": "cantidad", "currency": "moneda"},
        ),
    ],
)  # fmt: skip
def test_roles_by_name_and_content(names, expected):
    roles, _ = guess_roles([Column(name, kind) for name, kind in names.items()], {})
    assert roles == expected


def test_the_price_of_a_piece_is_asked_about():
    columns = [Column("who", "text"), Column("qty", "whole"), Column("unit_price", "number")]
    roles, notes = guess_roles(columns, {"customer": "who"})
    assert roles == {"customer": "who", "quantity": "qty", "amount": "unit_price"}
    assert "NOT CERTAIN: the column's name says price" in notes["amount_of"]


def test_prices_of_pieces_become_money_of_lines(init):
    names = "InvoiceNo,CustomerID,Quantity,InvoiceDate,UnitPrice"
    text = f"{names}\n1,17,3,13/1/2010 8:26,2.55\n2,17,-1,13/1/2010 9:00,2.55\n"
    job, written, said = init(text)
    assert "amount_of: piece  # NOT CERTAIN" in written
    assert "Look at amount_of" in said
    assert [row["amount"] for row in rows(job)] == [765, -255]


def test_fields_between_spaces_are_told(init):
    text = " customer_id  date  dollars\n 00001 19970101 11.77\n 00002 19970112 12.00\n"
    with pytest.raises(
        InputError, match=r"one column only.*fields between spaces cannot be read; put commas"
    ) as caught:
        init(text)
    assert "no column looks like" not in str(caught.value)


def test_ids_that_became_floats_are_told(init):
    text = "customer_id,date,amount\n1.0,2024-01-01,1.5\n2.0,2024-01-02,2.5\n"
    with pytest.raises(
        InputError, match=r"customer_id holds numbers with decimals, as 1.0 for 1: write them as whole"
    ):
        init(text)
    with pytest.raises(InputError) as caught:
        init(text.replace("customer_id", "weight"))
    assert "with decimals" not in str(caught.value)


def test_a_column_that_nothing_points_to_is_asked_for(init, tmp_path):
    text = "a,b,c\nx,2024-01-01,1.5\n"
    with pytest.raises(InputError) as caught:
        init(text)
    assert (
        "no column looks like the customer or the amount; name them: --customer COLUMN --amount COLUMN"
        in str(caught.value)
    )
    assert (
        "the columns are a (text, such as x), b (time, such as 2024-01-01), c (number, such as 1.5))"
        in str(caught.value)
    )
    assert not (tmp_path / "job.yaml").exists()
    job, _, _ = init(text, customer="a", amount="c")
    assert rows(job)[0]["amount"] == 150
    with pytest.raises(InputError, match="there is no column for --customer z; the columns are a, b, c"):
        init(text, customer="z")


def test_records_that_no_declaration_mends_write_nothing(init, tmp_path):
    with pytest.raises(InputError, match="has 2 currencies"):
        init("customer,date,total,currency\n1,2024-01-01,1,EUR\n2,2024-01-02,1,USD\n")
    for text, said in [("", "the file is empty"), ("customer,date,total\n", "0 rows")]:
        with pytest.raises(SourceError, match=said):
            init(text)
    assert [path.name for path in tmp_path.iterdir()] == ["sales.csv"]


def test_a_discount_with_both_signs_is_left_out(init):
    text = "customer,date,total,discount\n" + "".join(f"{i},2024-01-02,5,{i - 3}\n" for i in range(9))
    job, written, _ = init(text)
    assert job.roles.discount is None
    assert "roles:  # discount looks like the discount, but it has negative values" in written


def test_a_file_without_header(init):
    with pytest.raises(
        InputError, match=r"5\.5\); the first line looks like a record, so the columns are numbered"
    ):
        init("17,2024-01-02,5.5\n18,2024-01-03,6\n")
    job, written, _ = init(
        "17,2024-01-02,5.5\n18,2024-01-03,6\n", customer="column_1", time="column_2", amount="column_3"
    )
    assert "header: false  # the first line looks like a record" in written
    assert len(rows(job)) == 2


def test_parquet_keeps_the_zone_of_its_column(tmp_path):
    stamps = pa.array([dt.datetime(2024, 1, 1, 3, tzinfo=dt.UTC)], pa.timestamp("us", "America/New_York"))
    table = pa.table({"customer": ["007"], "ts": stamps, "amount": [1.5], "opt_in": [True], "no": ["x"]})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "a.parquet")
    init_job(str(tmp_path / "data"), tmp_path / "job.yaml", {})
    job = read_job(tmp_path / "job.yaml")
    assert (job.source.path, job.source.format, job.time_zone) == ("data", "parquet", "America/New_York")
    assert "'opt_in' looks like it" in (tmp_path / "job.yaml").read_text()
    assert rows(job)[0]["day"] == dt.date(2023, 12, 31)


def test_a_job_file_is_never_written_over(init, tmp_path):
    (tmp_path / "job.yaml").write_text("mine")
    with pytest.raises(OutputError, match=r"job.yaml exists; name a new file \(-o\)"):
        init_job("whatever.csv", tmp_path / "job.yaml", {})
    assert (tmp_path / "job.yaml").read_text() == "mine"


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{number},2024-01-01,1\n" for number in range(9))
    (tmp_path / "a.csv").write_text(f"who,when,paid\n{rows}")
    result = CliRunner().invoke(jobs, ["init", "a.csv", "--customer", "who"])
    assert result.exit_code == 0, result.stderr
    (example,) = re.findall(r"Every key and its meaning: (.+)", result.stdout)
    assert "A complete job file" in Path(example).read_text(encoding="utf-8")
    assert "Written: job.yaml. Read and correct it, then: gpuseg check job.yaml" in result.stdout
    assert CliRunner().invoke(jobs, ["init", "a.csv"]).exit_code == 1
    assert CliRunner().invoke(jobs, ["init", "none.csv", "-o", "b.yaml"]).exit_code == 2
    checked = CliRunner().invoke(jobs, ["check", "job.yaml"])
    assert (checked.exit_code, checked.stdout.splitlines()[-1]) == (0, "Nothing is wrong with it")


def test_money_has_the_sign_that_its_column_names(init):
    job, text, said = init("customer,date,amount_eur\n1,2024-01-01,1.5\n")
    assert job.words.currency == "€"
    assert "Look at words.currency: as the column's name says" in said
    assert currency_sign("Betrag (€)") == "€"
    assert currency_sign("eur_or_usd") == ""
    job, text, _ = init("customer,date,amount\n1,2024-01-01,1.5\n")
    assert (job.words.currency, "# words: {customer: member" in text) == ("", True)


def test_the_use_case_in_comments_runs_as_it_stands(init):
    _, text, _ = init(GERMAN, "cp1252", "Umsätze.csv")
    lines = text.splitlines()
    start = lines.index("# use_case:")
    stop = lines.index("", start)
    told = [line.removeprefix("# ") for line in lines[start:stop]]
    job, _, _ = init(GERMAN, "cp1252", "Umsätze.csv")
    out = Path(job.locate("job.yaml"))
    few = [
        line.replace("[3, 4, 5, 6, 7, 8]", "[3, 4]") for line in lines[stop:]
    ]  # as few as the customers here
    out.write_text("\n".join([*lines[:start], *told, *few]), encoding="utf-8")
    job = read_job(out)
    assert job.use_case.outcome_window == (dt.date(2024, 3, 23), dt.date(2024, 3, 28))
    # The records' own file is read as they are, though only its path is named.
    tx = job.read_records()
    assert read_asked(job, tx) is not None
    said = check_job(out)
    assert "Nothing is wrong with it" in said
    assert (
        "Still in the words of init, and the report will show them: use_case.objective, use_case.decision"
        in said
    )


def test_what_a_try_leaves_out_is_not_told(init, caplog):
    text = "Kunde;Datum;Betrag\n" + "".join(f"{i};2024-01-{i % 28 + 1:02d};{i},50\n" for i in range(30))
    init(text + "31;2024-01-29;1.000,50\n")
    assert not caplog.records


def test_amounts_with_a_sign_of_a_currency_are_shown(init):
    with pytest.raises(
        SourceError, match=r"column 'b' holds such as '1,50 €': .* take any sign of a currency out"
    ):
        init("a;d;b\n1;2024-01-02;1,50 €\n", customer="a", amount="b")


def test_an_order_is_a_basket_and_a_text_may_describe(init):
    job, text, _ = init("Bestellnr;Kunde;Datum;Zeile;Zahlart;Betrag\n1;K1;2024-01-02;1;bar;3,50\n")
    assert job.roles.basket == "Bestellnr"
    assert "# columns: {Zahlart: describe}" in text
