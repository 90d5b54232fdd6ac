"""A job from its file to its folder: what it declares is what happens, and a failure leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import gpuseg
from gpuseg import datasets
from gpuseg.cli import app
from gpuseg.errors import InputError, OutputError
from gpuseg.jobs import run as run_module
from gpuseg.jobs.kept.assign import assign_file
from gpuseg.jobs.kept.runs import open_run
from gpuseg.jobs.progress import SilentProgress
from gpuseg.jobs.run import run_job

N = 80
JOB = {
    "version": 1,
    "job": {"name": "made-up"},
    "source": "sales.parquet",
    "roles": {
        "customer": "customer",
        "time": "time",
        "amount": "amount",
        "basket": "basket",
        "category": "department",
        "discount": "discount",
        "own_label": "own_label",
    },
    "time_zone": "Europe/Paris",
    "consent": {"not_recorded": "made-up members"},
    "segments": {"clusters": [3, 4]},
    "words": {"customer": "member", "customers": "members"},
}
CASE = {
    "objective": "More tickets for each letter.",
    "decision": "Which members get the next letter",
    "owner": "Head of letters",
    "features_until": "2023-09-30",
    "outcome_window": ["2023-10-01", "2023-12-31"],
    "outcome": {
        "name": "bought a ticket",
        "source": "tickets.csv",
        "customer": "who",
        "time": "day",
        "filter": {"kind": "ticket"},
    },
    "contact_filter": {"source": "letters.csv", "customer": "who", "time": "sent"},
    "min_size": 10,
}


def records() -> pa.Table:
    table = datasets.make_transactions(N, seed=3, text_keys=True)[0]
    names = pc.replace_substring(table["department"].cast(pa.string()), "DELI", "WINE")
    return table.set_column(table.column_names.index("department"), "department", names)


def events(folder) -> None:
    numbers = range(1, N + 1)
    hits = [n for n in numbers if n % 4 == 1 or n % 11 == 0]
    rows = {
        "who": [f"C{n:05d}" for n in hits] + ["C00002"],
        "day": ["2023-11-02"] * len(hits) + ["2023-11-02"],
        "kind": ["ticket"] * len(hits) + ["refund"],
    }
    pa.csv.write_csv(pa.table(rows), folder / "tickets.csv")
    sent = [n for n in numbers if n > 10]
    pa.csv.write_csv(
        pa.table({"who": [f"C{n:05d}" for n in sent], "sent": ["2023-10-05"] * len(sent)}),
        folder / "letters.csv",
    )


@pytest.fixture
def make(tmp_path):
    """A function that writes a job with changes, and its files."""

    def write(**changes):
        pq.write_table(records(), tmp_path / "sales.parquet")
        events(tmp_path)
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({**JOB, **changes}, allow_unicode=True), encoding="utf-8")
        return path

    return write


def quality(result):
    return json.loads((result.folder / "quality.json").read_text(encoding="utf-8"))


def test_a_generic_job(make, tmp_path):
    result = run_job(make(), None, SilentProgress())
    assert result.folder.parent == tmp_path / "runs"
    assert (tmp_path / "runs" / "made-up" / "LATEST").read_text() == f"{result.folder.name}\n"
    page = result.report.read_text(encoding="utf-8")
    assert "Generic segmentation: not tied to a decision." in page
    assert "Which members behave alike?" in page
    assert quality(result)["outcome"] is None
    run = open_run(result.folder)
    assert run.manifest["parameters"]["consent"]["not_recorded"] == "made-up members"
    assert run.manifest["run_id"] == run.segments["run_id"][0].as_py()
    assert result.summary.splitlines()[-1] == f"Report: {result.report}"


def test_sensitive_spend_builds_nothing(make):
    result = run_job(make(), None, SilentProgress())
    features = open_run(result.folder).manifest["parameters"]["features"]
    assert "share_WINE" not in features
    assert "share_FRESH" in features
    assert "share_WINE" not in pq.read_schema(result.folder / "features.parquet").names
    assert "that are sensitive: WINE" in result.report.read_text(encoding="utf-8")


def test_sensitive_spend_with_a_purpose(make):
    opted = {"opt_in": ["alcohol"], "purpose": "a wine shop"}
    result = run_job(make(sensitive=opted), None, SilentProgress())
    assert "share_WINE" in open_run(result.folder).manifest["parameters"]["features"]


def test_a_named_sensitive_category_is_refused(make, tmp_path):
    with pytest.raises(InputError, match="'WINE' cannot have a share of its own"):
        run_job(make(features={"categories": ["WINE"]}), None, SilentProgress())
    assert not (tmp_path / "runs").exists()


def test_a_role_that_describes_builds_nothing(make):
    result = run_job(make(columns={"discount": "describe", "own_label": "protected"}), None, SilentProgress())
    features = open_run(result.folder).manifest["parameters"]["features"]
    assert {"discount_share", "own_label_share"}.isdisjoint(features)
    described = set(pq.read_table(result.folder / "profiles.parquet")["measure"].to_pylist())
    assert "discount_share" in described
    assert "own_label_share" not in described


def test_a_decision_is_answered(make):
    result = run_job(make(use_case=CASE), None, SilentProgress())
    outcome = quality(result)["outcome"]
    assert sum(entry["contacted"] for entry in outcome["segments"]) == 70
    hits = [n for n in range(11, N + 1) if n % 4 == 1 or n % 11 == 0]
    assert sum(entry["with_outcome"] for entry in outcome["segments"]) == len(
        hits
    )  # the refund is filtered out
    page = result.report.read_text(encoding="utf-8")
    assert "Which members get the next letter. Decided by: Head of letters." in page
    assert "bought a ticket" in page
    assert open_run(result.folder).manifest["parameters"]["as_of"] == "2023-09-30"


def test_a_validation_window_chooses_and_is_not_reported(make, tmp_path):
    """The number of segments follows the earlier window alone, and the reported window alone is told."""
    letters = "who,sent\n" + "".join(
        f"C{n:05d},{day}\n" for n in range(1, N + 1) for day in ("2023-10-05", "2023-12-05")
    )
    late = {n for n in range(1, N + 1) if n % 4 == 1}
    case = {
        **CASE,
        "outcome_window": ["2023-12-01", "2023-12-31"],
        "validation_window": ["2023-10-01", "2023-11-30"],
    }
    found = {}
    for name, early in (("odd", range(1, N + 1, 2)), ("first", range(1, 30))):
        path = make(use_case=case)
        (tmp_path / "letters.csv").write_text(letters)
        rows = [f"C{n:05d},2023-11-02,ticket" for n in early] + [f"C{n:05d},2023-12-24,ticket" for n in late]
        (tmp_path / "tickets.csv").write_text("\n".join(["who,day,kind", *rows]) + "\n")
        result = run_job(path, tmp_path / name, SilentProgress())
        found[name] = quality(result)
        outcome = found[name]["outcome"]
        assert sum(entry["with_outcome"] for entry in outcome["segments"]) == len(late)
        assert outcome["window"] == ["2023-12-01", "2023-12-31"]
        assert outcome["validation_window"] == ["2023-10-01", "2023-11-30"]
    separations = [[entry["separation"] for entry in found[name]["evidence"]] for name in ("odd", "first")]
    assert separations[0] != separations[1]
    run = open_run(tmp_path / "first")
    assert run.manifest["parameters"]["outcome"]["validation_window"] == ["2023-10-01", "2023-11-30"]
    page = (tmp_path / "first" / "report.html").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "chosen by the outcome from 1 October 2023 to 30 November 2023" in page
    assert "looks a little better here" not in page
    drift = json.loads((tmp_path / "first" / "model" / "model.json").read_bytes())["drift"]
    assert all(sum(bins["contacted"]) == N for bins in drift.values())
    path = make(use_case=case | {"validation_window": ["2023-10-20", "2023-11-10"]})
    with pytest.raises(InputError, match=r"use_case\.validation_window: nobody was contacted"):
        run_job(path, tmp_path / "none", SilentProgress())


def test_files_that_are_passed_round_tell_no_few(make):
    """Of 80 members in four segments, with 25 as the least: what is told is large, and the model's bins keep to it."""
    result = run_job(make(use_case=CASE, min_cell=25, segments={"clusters": [4]}), None, SilentProgress())
    sizes = [entry["customers"] for entry in quality(result)["segments"]]
    assert min(sizes) < 25  # exact there: not to be passed round
    profiles = pq.read_table(result.folder / "profiles.parquet")
    for name in ("customers", "known"):
        assert profiles[name].null_count
        assert all(count >= 25 for count in profiles[name].drop_null().to_pylist()), name
    empty = pc.is_null(profiles["customers"])
    for name in ("share_of_customers", "mean", "median", "index", "superiority"):
        assert profiles.filter(empty)[name].null_count == pc.sum(empty).as_py(), name
    cohorts = pq.read_table(result.folder / "cohorts.parquet")
    for name in ("size", "active"):
        assert all(count == 0 or count >= 25 for count in cohorts[name].drop_null().to_pylist()), name
    assert "not shown: too few" in (result.folder / "review.csv").read_text(encoding="utf-8-sig")
    drift = json.loads((result.folder / "model" / "model.json").read_bytes())["drift"]
    for bins in drift.values():
        pairs = zip(bins["contacted"], bins["outcome_rates"], strict=True)
        assert all((rate is None) == (base < 25) for base, rate in pairs)


def test_without_a_validation_window_the_page_says_so(make):
    page = run_job(make(use_case=CASE), None, SilentProgress()).report.read_text(encoding="utf-8")
    assert "The same outcome helped to choose the number of segments" in page
    assert "which therefore looks a little better here than it will" in page


def test_without_contacts_rates_are_of_all(make):
    case = {key: value for key, value in CASE.items() if key != "contact_filter"}
    result = run_job(make(use_case=case), None, SilentProgress())
    outcome = quality(result)["outcome"]
    assert outcome["denominator"] == "of all customers"
    assert sum(entry["contacted"] for entry in outcome["segments"]) == N
    assert "nothing is known of who was contacted" in result.report.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome_window": ["2025-10-01", "2025-12-31"]}, "lies outside the data"),
        ({"outcome": {**CASE["outcome"], "filter": {"kind": "nothing"}}}, "no row is left by the filter"),
        ({"outcome": {**CASE["outcome"], "time": "dya"}}, "no column 'dya'.*day"),
        ({"outcome": {**CASE["outcome"], "time": "kind"}}, "'kind' holds no time in"),
    ],
)
def test_outcomes_that_cannot_be_used(make, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        run_job(make(use_case={**CASE, **change}), None, SilentProgress())
    assert not (tmp_path / "runs").exists()


def test_the_same_job_gives_the_same_bytes(make, tmp_path):
    path = make(use_case=CASE)
    first, second = (run_job(path, tmp_path / name, SilentProgress()) for name in ("a", "b"))
    for name in ("segments.parquet", "segments.csv", "profiles.parquet", "quality.json", "model/model.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_a_refresh_keeps_ids_and_names(make, tmp_path):
    path = make(segments={"clusters": [4]})
    first = run_job(path, tmp_path / "a", SilentProgress())
    again = run_job(path, tmp_path / "b", SilentProgress(), first.folder)
    assert open_run(again.folder).names == open_run(first.folder).names
    table, run = records(), open_run(first.folder)
    largest = run.segments.filter(pc.equal(run.segments["segment_id"], 1))["customer"].to_pylist()
    gone = pc.is_in(table["customer"], value_set=pa.array(largest[12:]))
    pq.write_table(
        table.filter(pc.invert(gone)), tmp_path / "sales.parquet"
    )  # the largest is the smallest now
    later = run_job(path, tmp_path / "c", SilentProgress(), first.folder)
    before, after = (
        dict(zip(run.segments["customer"].to_pylist(), run.segments["segment_id"].to_pylist(), strict=True))
        for run in (open_run(first.folder), open_run(later.folder))
    )
    same = [before[key] == number for key, number in after.items()]
    assert sum(same) >= 0.9 * len(same)
    sizes = [entry["customers"] for entry in quality(later)["segments"]]
    assert sizes != sorted(sizes, reverse=True)


def erase(folder, *ids, arguments=()):
    (folder.parent.parent / "ids.txt").write_text("\n".join(ids))
    done = CliRunner().invoke(
        app, ["erase", str(folder), "--ids", str(folder.parent.parent / "ids.txt"), *arguments]
    )
    assert done.exit_code == 0, done.output
    return done.stdout


def held(folder, *ids):
    """Files under a folder in which one of these ids can be read, Parquet unpacked."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content += str(pq.read_table(path).to_pylist()).encode()
            found |= {path.relative_to(folder).as_posix() for key in ids if key.encode() in content}
    return found


def test_erased_customers_are_left_out_of_every_later_run(make, tmp_path, caplog):
    path = make(segments={"clusters": [3]}, use_case=CASE)
    first = run_job(path, None, SilentProgress())
    assert held(tmp_path / "runs", "C00013", "C00040")
    said = erase(first.folder, "C00013", "C00040")
    assert f"{tmp_path / 'runs' / 'made-up' / 'suppressed.json'} keeps them out of new runs" in said
    assert held(tmp_path / "runs", "C00013", "C00040") == set()
    readme = (first.folder / "README.txt").read_text(encoding="utf-8")
    assert "\nsuppressed.json: keyed hashes of erased customers, who may not come back\n" in readme
    assert "\n2 customers were erased on 20" in readme
    before = quality(first)["outcome"]
    for refresh in (None, first.folder):
        caplog.clear()
        later = run_job(path, None, SilentProgress(), refresh)
        run = open_run(later.folder)
        assert held(later.folder, "C00013", "C00040") == set()
        assert run.manifest["counts"]["customers"] == N - 2
        assert run.manifest["counts"]["customers_erased_left_out"] == 2
        lines = run.manifest["counts"]["rows_left_out_by_reason"]["customer erased"]
        assert lines == len([key for key in records()["customer"].to_pylist() if key in {"C00013", "C00040"}])
        assert f"{lines} rows left out: 2 customers who were erased" in caplog.text
        page = later.report.read_text(encoding="utf-8")
        assert "Members who were erased" in page
        assert "customer erased" not in page  # as many lines as one of them bought would be told
        assert (later.folder / "suppressed.json").read_bytes() == (
            tmp_path / "runs" / "made-up" / "suppressed.json"
        ).read_bytes()
        assert "suppressed.json: " in (later.folder / "README.txt").read_text(encoding="utf-8")
        # Both were sent a letter, one of them bought a ticket.
        after = quality(later)["outcome"]
        assert sum(entry["contacted"] for entry in before["segments"]) == 70
        assert sum(entry["contacted"] for entry in after["segments"]) == 68
        assert sum(entry["with_outcome"] for entry in after["segments"]) == (
            sum(entry["with_outcome"] for entry in before["segments"]) - 1
        )


def test_a_run_is_as_if_the_erased_had_never_been_there(make, tmp_path):
    path = make(segments={"clusters": [3]})
    first = run_job(path, None, SilentProgress())
    erase(first.folder, "C00013", "C00040")
    later = run_job(path, tmp_path / "later", SilentProgress())
    table = records()
    gone = pc.is_in(table["customer"], value_set=pa.array(["C00013", "C00040"]))
    pq.write_table(table.filter(pc.invert(gone)), tmp_path / "sales.parquet")
    (tmp_path / "runs" / "made-up" / "suppressed.json").unlink()
    never = run_job(path, tmp_path / "never", SilentProgress())
    same = {file.name for file in later.folder.iterdir()} - {
        "suppressed.json",
        "manifest.json",
        "README.txt",
        "report.html",
        "profiles.xlsx",
        "model",
    }
    assert len(same) > 5
    for name in (*same, "model/model.json", "model/arrays.safetensors"):
        assert (later.folder / name).read_bytes() == (never.folder / name).read_bytes(), name


def test_lists_of_runs_elsewhere_meet_that_of_the_job(make, tmp_path):
    path = make(segments={"clusters": [3]})
    (tmp_path / "else").mkdir()
    away = run_job(path, tmp_path / "else" / "a", SilentProgress())
    here = run_job(path, None, SilentProgress())
    assert "this run is not where its job's runs are" in erase(away.folder, "C00007")
    erase(here.folder, "C00009")
    later = run_job(path, None, SilentProgress(), away.folder)
    assert held(later.folder, "C00007", "C00009") == set()
    # What that run knew is known to the job from now on.
    again = run_job(path, None, SilentProgress())
    assert held(again.folder, "C00007", "C00009") == set()
    assert open_run(again.folder).manifest["counts"]["customers_erased_left_out"] == 2


def test_nobody_comes_back_who_is_erased_while_a_run_computes(make, tmp_path, monkeypatch):
    path = make(segments={"clusters": [3]})
    first = run_job(path, None, SilentProgress())
    work = run_module.segment_customers

    def meanwhile(*arguments):
        found = work(*arguments)
        erase(first.folder, "C00007")
        return found

    monkeypatch.setattr(run_module, "segment_customers", meanwhile)
    with pytest.raises(
        OutputError, match="1 customers were erased while this run computed; nothing was written"
    ):
        run_job(path, None, SilentProgress())
    assert held(tmp_path / "runs", "C00007") == set()
    assert [one.name for one in (tmp_path / "runs").iterdir() if one.name.startswith(("made-up-", "."))] == [
        first.folder.name
    ]


def test_a_table_of_customers_is_read_without_the_erased(make, tmp_path):
    """Rows of an erased customer that contradict each other are nobody's problem, here and in assign."""
    path = make(
        segments={"clusters": [3]},
        segmentation_type="mixed",
        customers={"source": "people.csv", "customer": "who"},
        columns={"age": "build"},
    )
    names = sorted(set(records()["customer"].to_pylist()))
    lines = [f"{name},{20 + number}" for number, name in enumerate(names)]
    (tmp_path / "people.csv").write_text("\n".join(["who,age", *lines, ""]))
    first = run_job(path, None, SilentProgress())
    (tmp_path / "people.csv").write_text("\n".join(["who,age", *lines, "C00007,99", ""]))
    arguments = (
        first.folder,
        tmp_path / "sales.parquet",
        tmp_path / "out.csv",
        None,
        tmp_path / "people.csv",
    )
    with pytest.raises(InputError, match="rows that contradict each other, such as 'C00007'"):
        run_job(path, None, SilentProgress())
    with pytest.raises(InputError, match="rows that contradict each other"):
        assign_file(*arguments)
    erase(first.folder, "C00007")
    later = run_job(path, None, SilentProgress())
    assert held(tmp_path / "runs", "C00007") == set()
    assert open_run(later.folder).manifest["counts"]["customers"] == N - 1
    assert assign_file(*arguments).erased == 1
    assert "out.csv" not in held(tmp_path, "C00007")


def test_a_rejected_row_brings_nobody_back(make, tmp_path, monkeypatch):
    """A customer all of whose rows were left out is in rejects.parquet alone."""
    path = make(segments={"clusters": [3]}, bad_rows="reject")
    bad = records().slice(0, 2)
    bad = bad.set_column(bad.column_names.index("customer"), "customer", pa.array(["GONE", "GONE"]))
    bad = bad.set_column(bad.column_names.index("amount"), "amount", pa.array([None, None], pa.float64()))
    pq.write_table(pa.concat_tables([records(), bad.cast(records().schema)]), tmp_path / "sales.parquet")
    first = run_job(path, None, SilentProgress())
    assert held(first.folder, "GONE") == {"rejects.parquet"}
    work = run_module.segment_customers

    def meanwhile(*arguments):
        found = work(*arguments)
        erase(first.folder, "GONE")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "segment_customers", meanwhile)
        with pytest.raises(OutputError, match="1 customers were erased while"):
            run_job(path, None, SilentProgress())
    later = run_job(path, None, SilentProgress())
    assert held(tmp_path / "runs", "GONE") == set()
    counts = open_run(later.folder).manifest["counts"]
    assert (counts["rows_left_out_by_reason"], counts["rejects"]["rows"]) == ({"customer erased": 2}, 0)


def test_all_runs_of_a_job_are_erased_from_and_nothing_else_holds_ids(make, tmp_path, monkeypatch):
    elsewhere = [tmp_path / "elsewhere" / name for name in ("home", "tmp", "cwd")]
    for folder in elsewhere:
        folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(elsewhere[0]))
    monkeypatch.setenv("TMPDIR", str(elsewhere[1]))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(elsewhere[2])
    path = make(segments={"clusters": [3]})
    folders = [run_job(path, None, SilentProgress()).folder for _ in range(3)]
    said = erase(folders[0], "C00007", "C00009")
    assert f"Other runs of this job still hold them: {folders[1].name} (2), {folders[2].name} (2)" in said
    erase(folders[0], "C00007", "C00009", arguments=["--all-runs"])
    assert held(tmp_path / "runs", "C00007", "C00009") == set()
    assert all(one.name.startswith("made-up") for one in (tmp_path / "runs").iterdir())
    assert held(tmp_path / "elsewhere", "C00007", "C00009") == set()
    kernels = list(Path(gpuseg.__file__).parent.rglob("*.nb[ci]"))  # compiled, kept from run to run
    assert not any(b"C00007" in path.read_bytes() for path in kernels)


def test_init_check_and_run(tmp_path, monkeypatch):
    """From a plain file with decimal commas and an accent to a report, as a user types it."""
    monkeypatch.chdir(tmp_path)
    table = records().select(["customer", "time", "amount", "basket", "department"])
    lines = ["Kunde;Datum;Betrag;Bon;Warengruppe"]
    for row in table.to_pylist():
        money, group = f"{row['amount']:.2f}".replace(".", ","), row["department"].replace("FRESH", "Gemüse")
        lines.append(f"{row['customer']};{row['time']:%d.%m.%Y};{money};{row['basket']};{group}")
    (tmp_path / "umsatz.csv").write_text("\n".join(lines) + "\n", encoding="cp1252")
    for arguments in (["init", "umsatz.csv"], ["check", "job.yaml"], ["run", "job.yaml"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    assert "Report: " in done.stdout.splitlines()[-1]
    assert "Gemüse" in next(tmp_path.glob("runs/*/report.html")).read_text(encoding="utf-8")
