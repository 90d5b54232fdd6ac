"""rejects.parquet: every run has one; who mends finds the rows, who is erased is in it no more."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from gpuseg import datasets
from gpuseg.cli import app
from gpuseg.customers.reading import rejected
from gpuseg.jobs.progress import SilentProgress
from gpuseg.jobs.run import run_job

JOB = {
    "version": 1,
    "job": {"name": "made-up"},
    "source": "sales",
    "roles": {"customer": "member", "time": "time", "amount": "amount", "basket": "basket"},
    "time_zone": "Europe/Paris",
    "bad_rows": "reject",
    "consent": {"column": "agreed", "purpose": "offers by post"},
    "segments": {"clusters": [3]},
}
ONLY_REJECTED, REFUSED = "007", "C00005"


def lines() -> list[dict[str, str]]:
    """Records of 60 members: ten with a bad row besides, one with none but bad rows, some without consent."""
    table = datasets.make_transactions(60, seed=3, text_keys=True)[0]
    rows = [
        {
            "member": row["customer"],
            "time": f"{row['time']:%Y-%m-%dT%H:%M:%S}",
            "amount": f"{row['amount']:.2f}",
            "basket": str(row["basket"]),
            "agreed": "no" if row["customer"] == REFUSED else "yes",
        }
        for row in table.to_pylist()
    ]
    bad = [{**rows[0], "member": f"C{n:05d}", "amount": "?", "agreed": "yes"} for n in range(20, 30)]
    bad += [{**rows[0], "member": ONLY_REJECTED, "time": "9999-12-31"}]
    bad += [
        {**rows[0], "member": REFUSED, "amount": "?", "agreed": answer} for answer in ("no", "", "perhaps")
    ]
    bad += [{**rows[0], "member": f"C{n:05d}", "agreed": ""} for n in range(40, 52)]
    return rows + bad


def write(folder, rows) -> None:
    columns = list(rows[0])
    text = "\n".join(",".join(row[name] for name in columns) for row in rows)
    folder.parent.mkdir(exist_ok=True)
    folder.write_text(f"{','.join(columns)}\n{text}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    rows = lines()
    write(folder / "sales" / "2023.csv", rows[:1000])
    write(folder / "sales" / "2024.csv", rows[1000:])
    (folder / "job.yaml").write_text(yaml.safe_dump(JOB), encoding="utf-8")
    return run_job(folder / "job.yaml", folder / "out", SilentProgress())


def counts(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["counts"]


def test_the_rows_are_found_in_their_file(result):
    found = pq.read_table(result.folder / "rejects.parquet")
    source = result.folder.parent / "sales"
    for row in found.to_pylist():
        fields = (source / row["source_file"]).read_text().splitlines()[row["source_row"]].split(",")
        assert fields == [row[name] for name in ("member", "time", "amount", "basket", "agreed")]
    assert found["reasons"].to_pylist() == ["amount not a number"] * 10 + ["time out of range"]


def test_nobody_without_consent_is_in_any_file(result):
    for path in result.folder.rglob("*"):
        if path.suffix == ".parquet":
            assert REFUSED not in str(pq.read_table(path).to_pylist()), path
        elif path.is_file():
            assert REFUSED.encode() not in path.read_bytes(), path


def test_the_manifest_and_the_report_count(result):
    told = counts(result.folder)
    assert told["rejects"] == {"rows": 11, "written": 11}
    assert (told["customers_without_consent"], told["customers_partly_without_consent"]) == (1, 12)
    reasons = told["rows_left_out_by_reason"]
    assert reasons["amount not a number"] == 10
    assert reasons["time out of range"] == 1
    assert reasons["consent not a flag"] == 1
    assert told["rows_left_out"] == 11 + reasons["consent not given"]
    page = " ".join(result.report.read_text(encoding="utf-8").split())
    assert "rejects.parquet has each, with its file, its row and every reason" in page
    assert "Customers without consent in any line" in page
    assert "Customers with consent in some lines only" in page
    assert "No answer on consent" in page
    assert "taken as no: left out, and counted so" in page
    assert ">under 10<" in page  # one customer without any consent: too few to tell
    readme = (result.folder / "README.txt").read_text(encoding="utf-8")
    assert "rejects.parquet: rows that were left out and can be mended" in readme
    line = next(line for line in readme.splitlines() if line.startswith("rejects.parquet"))
    assert line.endswith("[holds customer ids]")


def test_erasing_takes_rejected_rows_too(result, tmp_path):
    (tmp_path / "ids.txt").write_text(f"{ONLY_REJECTED}\nC00020\n")
    done = CliRunner().invoke(app, ["erase", str(result.folder), "--ids", str(tmp_path / "ids.txt")])
    assert done.exit_code == 0, done.output
    assert "2 of 2 customers erased" in done.stdout
    assert "rejects.parquet (2)" in done.stdout
    left = pq.read_table(result.folder / "rejects.parquet")
    assert left["member"].to_pylist() == [f"C{n:05d}" for n in range(21, 30)]
    assert left.schema.field("member").type == pa.large_string()


def test_more_rows_than_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(rejected, "MOST_ROWS", 3)
    write(tmp_path / "sales" / "all.csv", lines())
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB), encoding="utf-8")
    result = run_job(tmp_path / "job.yaml", tmp_path / "out", SilentProgress())
    assert counts(result.folder)["rejects"] == {"rows": 11, "written": 3}
    assert len(pq.read_table(result.folder / "rejects.parquet")) == 3
    assert "rejects.parquet has the first 3, with" in result.report.read_text(encoding="utf-8")


def test_without_rejects_the_file_has_no_rows(tmp_path):
    rows = [row for row in lines() if row["amount"] != "?" and row["time"] < "9" and row["agreed"]]
    write(tmp_path / "sales" / "all.csv", rows)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**JOB, "bad_rows": "error"}), encoding="utf-8")
    result = run_job(tmp_path / "job.yaml", tmp_path / "out", SilentProgress())
    assert pq.read_table(result.folder / "rejects.parquet").num_rows == 0
    assert counts(result.folder)["rejects"] == {"rows": 0, "written": 0}
    assert "rejects.parquet has" not in result.report.read_text(encoding="utf-8")
