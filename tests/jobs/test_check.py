"""check: everything that is wrong, at once, from the file and a sample; or what the job would do."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gpuseg.cli_jobs import jobs
from gpuseg.errors import SchemaError
from gpuseg.jobs.declared.check import check_job

RECORDS = "who;at;paid;kind;ok;age\n" + "".join(
    f"{i % 5:03d};{i % 28 + 1}.3.2024;{i},50;{('bread', 'wine', 'rx')[i % 3]};{'yes' if i % 5 else 'no'};{20 + i}\n"
    for i in range(40)
)
JOB = """\
version: 1
job: {name: shop}
source: {path: sales.csv, csv: {separator: ";", decimal: ",", day_first: true}}
roles: {customer: who, time: at, amount: paid, category: kind}
time_zone: Europe/Berlin
naive: local
columns: {age: protected}
sensitive: {opt_in: [alcohol], purpose: a wine shop}
consent: {column: ok, purpose: offers}
segments: {clusters: [2, 3]}
use_case:
  objective: more visits
  decision: whom to write to
  features_until: 2024-03-20
  outcome_window: [2024-03-21, 2024-03-31]
  outcome: {source: events.parquet, customer: who, time: at, filter: {kind: visit}}
  contact_filter: {source: letters.csv, customer: who, start: first, end: last}
"""


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "sales.csv").write_text(RECORDS)
    events = {"who": ["001"], "at": [dt.date(2024, 3, 22)], "kind": ["visit"]}
    pq.write_table(pa.table(events), tmp_path / "events.parquet")
    (tmp_path / "letters.csv").write_text("who,first,last\n001,2024-03-21,2024-03-25\n")
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def test_the_remedy_names_the_section_of_the_table(shop):
    (shop / "letters.csv").write_bytes("who,first,last,größe\n001,2024-03-21,2024-03-25,1\n".encode("cp1252"))
    (problem,) = problems(shop)
    assert "declare its encoding (use_case.contact_filter.source.csv: {encoding: 'cp1252'})" in problem


def problems(shop, *changes, head=1000):
    text = JOB
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (shop / "job.yaml").write_text(text)
    with pytest.raises(SchemaError) as caught:
        check_job(shop / "job.yaml", head)
    assert caught.value.where == str(shop / "job.yaml")
    return list(caught.value.problems)


def test_what_the_job_would_do(shop):
    lines = check_job(shop / "job.yaml").splitlines()
    assert lines == [
        f"{shop}/sales.csv: all 32 rows can be used, 2024-03-01 to 2024-03-28",
        "  left out: 8 rows (consent not given)",
        "Roles: customer = who, time = at, amount = paid, category = kind, consent = ok",
        "Builds segments (behavioural): what customers did, by at, paid, kind",
        "Protected: age",
        "Kept out: rx (pharmacies and medicines: sensitive, kept out unless opted in)",
        "Opted in: alcohol (purpose: a wine shop)",
        "Consent for offers: rows where ok is true",
        "Days are counted in Europe/Berlin; amounts have 2 decimals",
        "Decision: whom to write to",
        "Features to 2024-03-20; outcome from 2024-03-21 to 2024-03-31",
        "Outliers, more than 3 standard deviations from the mean of a feature: kept as they are, and marked",
        "Numbers of segments that are tried: 2, 3",
        f"Results go to {shop}/runs",
        "Nothing is wrong with it",
    ]
    assert "the first 8 rows can be used" in check_job(shop / "job.yaml", 10)


def test_the_window_that_chooses_is_told(shop):
    text = JOB.replace("[2024-03-21, 2024-03-31]", "[2024-03-26, 2024-03-31]")
    (shop / "job.yaml").write_text(f"{text}  validation_window: [2024-03-21, 2024-03-25]\n")
    lines = check_job(shop / "job.yaml").splitlines()
    assert "Features to 2024-03-20; outcome from 2024-03-26 to 2024-03-31" in lines
    assert (
        "The outcome from 2024-03-21 to 2024-03-25 helps choose the number of segments, and is not reported"
        in lines
    )
    assert problems(shop, ("  outcome: ", "  validation_window: [2024-03-20, 2024-03-24]\n  outcome: ")) == [
        (
            "use_case (line 11): the validation window begins on 2024-03-20, not after features_until, 2024-03-20: "
            "features would know the outcome that chooses; begin it a day later at least"
        ),
        (
            "use_case (line 11): the validation window ends on 2024-03-24, not before the outcome window begins, "
            "2024-03-21: the outcome that is reported would have helped to choose; end it a day earlier at least"
        ),
    ]


def test_everything_at_once(shop):
    (shop / "letters.csv").write_text("who,first,end\n1,soon,x\n")
    found = problems(
        shop,
        ('decimal: ","', 'decimal: "."'),
        ("time_zone: Europe/Berlin\nnaive: local\n", ""),
        ("{age: protected}", "{agee: describe}"),
        ("kind: visit", "sort: visit"),
    )
    assert found == [
        f"{shop}/sales.csv: column 'agee' (attribute) is missing; did you mean 'age'?",
        (
            f"{shop}/sales.csv: column 'paid' (amount) is text with a decimal comma such as 1234,56 in 40 of 40 rows; "
            "declare it (source.csv: {decimal: ','}); if the comma stands between thousands, source.csv: "
            "{thousands: ','}"
        ),
        (
            f"{shop}/sales.csv: column 'at' (time) carries no time zone in 40 of 40 rows; state time_zone, such as "
            "'Europe/Paris', and naive: 'local' if the times show its wall clock, 'utc' if not"
        ),
        "use_case.outcome: there is no column 'sort'; known here: who, at, kind",
        "use_case.contact_filter: there is no column 'last'; known here: who, first, end",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("features_until: 2024-03-20", "features_until: 2024-02-20"), "no record is left for features"),
        (("events.parquet", "none.parquet"), "use_case.outcome: {shop}/none.parquet: no such file"),
        (
            ("[alcohol]", "[alcool]"),
            "sensitive.opt_in: 'alcool' is neither a kind nor a category; did you mean 'alcohol'?",
        ),
        (
            ("sensitive:", "features: {categories: [bred]}\nsensitive:"),
            "no record is of 'bred'; did you mean 'bread'?",
        ),
        (("path: sales.csv", "path: sale.csv"), "{shop}/sale.csv: no such file"),
        (
            ("customer: who, time: at, amount", "customer: whom, time: at, amount"),
            "column 'whom' (customer) is missing",
        ),
    ],
)
def test_single_problems(shop, change, said):
    (found,) = problems(shop, change)
    assert said.format(shop=shop) in found


def test_keys_and_times_of_events(shop):
    pq.write_table(pa.table({"who": [1], "at": [1.5], "kind": ["visit"]}), shop / "events.parquet")
    (shop / "letters.csv").write_text("who,first,last\n001,2024-03-21,31/31/2024\n001,x,2024-03-22\n")
    found = problems(shop)
    assert found == [
        "use_case.outcome: column 'at' holds float, no times; convert it to a timestamp or a date",
        (
            "use_case.outcome: column 'who' holds integer, and the customers of the records are text: they never meet; "
            "cast one of them"
        ),
        *(
            f"use_case.contact_filter: column {name!r} holds text that is no time in 1 of 2 rows; write it as "
            "2024-12-31, or declare day_first or time_format in its source's csv section"
            for name in ("first", "last")
        ),
    ]


def test_a_sample_says_nothing_of_what_it_has_not_seen(shop):
    (shop / "job.yaml").write_text(JOB.replace("[alcohol]", "[cheese]").replace("2024-03-20", "2024-02-20"))
    assert "Nothing is wrong" in check_job(shop / "job.yaml", 10)


def test_the_command_exits_with_2_and_lists(shop):
    assert CliRunner().invoke(jobs, ["check", str(shop / "job.yaml")]).exit_code == 0
    (shop / "job.yaml").write_text(JOB.replace("version: 1", "version: 3\nfoo: 1"))
    result = CliRunner().invoke(jobs, ["check", str(shop / "job.yaml")])
    assert result.exit_code == 2
    assert "2 problems" in result.stderr
    assert CliRunner().invoke(jobs, ["check", str(shop / "none.yaml")]).exit_code == 2


def test_fewer_buyers_than_segments_are_told(shop):
    few = problems(shop, ("clusters: [2, 3]", "clusters: [2, 5]"))
    assert few == ["segments.clusters tries up to 5 segments, and only 4 customers have a purchase; lower it"]
    assert problems(shop, ("clusters: [2, 3]", "clusters: [2, 50]"))
    (shop / "job.yaml").write_text(JOB.replace("clusters: [2, 3]", "clusters: [2, 5]"))
    assert "Nothing is wrong" in check_job(shop / "job.yaml", 20)  # the rest may hold more


def test_records_without_a_purchase_are_told(shop):
    (shop / "sales.csv").write_text(
        "".join(line.replace(".2024;", ".2024;-") + "\n" for line in RECORDS.splitlines())
    )
    (found,) = problems(shop)
    assert found.startswith(
        "no purchase (a line with an amount above 0); where purchases are written as negative"
    )


def test_days_to_come_are_pointed_out(shop):
    assert "in the future" not in check_job(shop / "job.yaml")
    year = dt.datetime.now(dt.UTC).year + 2
    (shop / "sales.csv").write_text(RECORDS + f"001;1.1.{year};1,00;bread;yes;20\n")
    assert f"the last day lies in the future (today is {dt.datetime.now(dt.UTC).year}" in check_job(
        shop / "job.yaml"
    )
