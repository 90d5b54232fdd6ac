"""run --dry-run: the plan of a job from footers and headers, nothing read, nothing written."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gpuseg.cli import app
from gpuseg.cluster.planning import plan_rows
from gpuseg.customers.attribute_encoding import MOST_LEVELS
from gpuseg.jobs import run
from gpuseg.jobs.building import build
from gpuseg.jobs.declared.job_file import read_job
from gpuseg.jobs.dry_run import dry_run, most_features
from gpuseg.jobs.run import settings_of

N = 600
JOB = """\
version: 1
job: {name: shop}
source: {path: "sales/*.parquet"}
roles: {customer: who, time: at, amount: paid, category: kind, discount: less, coupon: cut}
time_zone: Europe/Berlin
naive: local
segments: {clusters: [2, 3, 5]}
features: {categories: 4}
columns: {}
consent: {not_recorded: a test}
"""


@pytest.fixture
def shop(tmp_path):
    """Two files of records, in three row groups each."""
    (tmp_path / "sales").mkdir()
    day = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    records = pa.table({
        "who": [i % 40 for i in range(N)],
        "at": [day + dt.timedelta(hours=7 * i) for i in range(N)],
        "paid": [1.0 + i % 9 for i in range(N)],
        "kind": [f"shelf {i % 7}" for i in range(N)],
        "less": [0.1 * (i % 3) for i in range(N)],
        "cut": [0.2 * (i % 4) for i in range(N)],
        "age": [20 + i % 40 for i in range(N)],
        "town": [f"town {i % 40 % 3}" for i in range(N)],
    })  # fmt: skip
    for number in range(2):
        half = records.slice(number * N // 2, N // 2)
        pq.write_table(half, tmp_path / "sales" / f"{number}.parquet", row_group_size=100)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def test_a_dry_run_prints_the_plan_and_writes_nothing(shop, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a dry run reads no records")

    monkeypatch.setattr(run, "run_job", refuse)
    monkeypatch.setattr("gpuseg.jobs.declared.job_file.read_transactions", refuse)
    before = sorted(shop.rglob("*"))
    found = CliRunner().invoke(app, ["run", str(shop / "job.yaml"), "--dry-run"])
    assert (found.exit_code, found.stderr) == (0, "")
    assert sorted(shop.rglob("*")) == before
    # Four that always are, discount, coupon, four shares and their diversity.
    assert f"{shop}/sales/*.parquet: 600 records in 2 files" in found.stdout
    assert "Features: at most 11 of at most 600 customers, as if each had one record" in found.stdout
    assert f"Tables of features: {4 * 11 * 8} B a customer" in found.stdout
    assert str(plan_rows(N, 11, (2, 3, 5))).splitlines()[:-1] == found.stdout.splitlines()[3:-2]
    assert "nothing was written" in found.stdout


@pytest.mark.parametrize(
    ("kind", "columns", "more"),
    [
        ("behavioural", "{}", 0),
        ("behavioural", "{cut: ignore}", 0),
        ("behavioural", "{kind: describe}", 0),
        ("behavioural", "{cut: describe, less: ignore}", 0),
        ("mixed", "{age: {use: build, kind: number}}", 0),
        ("mixed", "{age: {use: build, kind: number, missing: indicator}, town: {use: describe}}", 1),
        ("mixed", "{town: {use: build, kind: category}}", MOST_LEVELS - 3),
        ("demographic", "{age: {use: build, kind: number, type: demographic}}", 0),
    ],
)
def test_features_are_as_many_as_are_built(shop, kind, columns, more):
    """But for what only reading tells: values that miss, levels that are fewer."""
    text = JOB.replace("columns: {}", f"columns: {columns}\nsegmentation_type: {kind}")
    (shop / "job.yaml").write_text(text)
    job = read_job(shop / "job.yaml")
    made = build(job.read_records(), settings_of(job), None).features
    assert most_features(job) == len(made.column_names) - 1 + more


def test_records_in_csv_are_not_counted(shop):
    table = pq.read_table(shop / "sales")
    pyarrow.csv.write_csv(table, shop / "sales.csv")
    (shop / "job.yaml").write_text(JOB.replace('"sales/*.parquet"', "sales.csv"))
    said = dry_run(shop / "job.yaml")
    assert "sales.csv: a number of records that only reading tells in 1 file" in said
    assert "Features: at most 11\n" in said
    assert "44 B a row\n" in said  # float32


def test_what_is_wrong_with_the_job_is_said(shop):
    (shop / "job.yaml").write_text(JOB.replace("sales/*", "absent/*"))
    found = CliRunner().invoke(app, ["run", str(shop / "job.yaml"), "--dry-run"])
    assert found.exit_code == 2
    assert "absent/*.parquet: no file matches" in found.stderr
