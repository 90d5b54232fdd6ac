"""Nothing of a run tells of sensitive spend or of columns that may not be read, save that they were kept out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from gpuseg import datasets
from gpuseg.cli import app
from gpuseg.jobs.progress import SilentProgress
from gpuseg.jobs.run import run_job

MARK = "Pharmazzmark"
FAITH, REGION = "zzfaithzz", "zzregionzz"
N = 80
JOB = {
    "version": 1,
    "job": {"name": "marked"},
    "source": "sales.parquet",
    "roles": {
        "customer": "customer",
        "time": "time",
        "amount": "amount",
        "basket": "basket",
        "product": "product",
        "category": "department",
        "own_label": "own_label",
        "discount": "discount",
    },
    "columns": {"faith": "protected", "region": "ignore", "own_label": "protected"},
    "time_zone": "Europe/Paris",
    "bad_rows": "reject",
    "consent": {"not_recorded": "made-up members"},
    "segments": {"clusters": [3, 4]},
    "features": {"as_of": "2023-12-31"},
}


def sold() -> pa.Table:
    """Lines with a pharmacy and two columns that nobody may read; one line is bad, one customer buys drugs only."""
    table = datasets.make_transactions(N, seed=3, text_keys=True)[0]
    names = pc.replace_substring(table["department"].cast(pa.string()), "HOME", MARK)
    table = table.set_column(table.column_names.index("department"), "department", names)
    drugs = table.filter(pc.equal(names, MARK))
    nothing = pa.array([None], pa.float64())
    bad = drugs.slice(0, 1).set_column(table.column_names.index("amount"), "amount", nothing)
    only = drugs.slice(0, 40).set_column(
        table.column_names.index("customer"), "customer", pa.array(["D00001"] * 40)
    )
    table = pa.concat_tables([table, bad, only])
    even = np.arange(len(table)) % 2 == 0
    table = table.append_column("faith", pa.array(np.where(even, f"{FAITH}a", f"{FAITH}b")))
    return table.append_column("region", pa.array(np.where(even, f"{REGION}a", f"{REGION}b")))


def run(folder: Path, table: pa.Table, **changes) -> Path:
    """The folder of a run on these lines."""
    folder.mkdir()
    pq.write_table(table, folder / "sales.parquet")
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**JOB, **changes}, allow_unicode=True), encoding="utf-8")
    return run_job(path, folder / "run", SilentProgress()).folder


def contents(folder: Path) -> dict[str, str]:
    """All that the files of a run hold, as text: tables by their values and metadata, workbooks unpacked."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            found[name] = json.dumps([str(table.schema.metadata), table.to_pydict()], default=str)
        elif path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as book:
                found[name] = "".join(book.read(part).decode() for part in book.namelist())
        else:
            found[name] = path.read_bytes().decode("utf-8", errors="replace")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run(tmp_path_factory.mktemp("marked") / "job", sold())


def test_the_name_stands_only_where_it_is_said_to_be_kept_out(folder):
    found = contents(folder)
    rejects = pq.read_table(folder / "rejects.parquet")  # lines to be mended, as they stand in the source
    assert (len(rejects), found.pop("rejects.parquet").count(MARK)) == (1, 1)
    assert {name for name, text in found.items() if MARK in text} == {
        "features.parquet",
        "manifest.json",
        "model/model.json",
        "report.html",
    }
    facts = json.loads(pq.read_schema(folder / "features.parquet").metadata[b"gpuseg.facts"])
    assert facts.pop("sensitive_left_out") == [MARK]
    assert MARK not in json.dumps(
        [facts, pq.read_table(folder / "features.parquet").to_pydict()], default=str
    )
    manifest = json.loads(found["manifest.json"])
    assert list(manifest["parameters"].pop("sensitive_kept_out")) == [MARK]
    assert MARK not in json.dumps(manifest)
    model = json.loads(found["model/model.json"])
    assert model["recipe"].pop("left_out") == [MARK]
    assert MARK not in json.dumps(model)
    assert found["report.html"].count(MARK) == 1
    assert f"that are sensitive: {MARK}" in found["report.html"]


def test_columns_that_may_not_be_read_are_nowhere(folder):
    for name, text in contents(folder).items():
        assert FAITH not in text, name
        assert REGION not in text, name
    for path in folder.rglob("*.parquet"):
        assert not [name for name in pq.read_schema(path).names if name.startswith("own_label")], path
    assert "own_label" not in json.dumps(json.loads((folder / "manifest.json").read_text())["parameters"])


def test_a_customer_in_words_tells_nothing_of_it(folder):
    runner = CliRunner()
    for number in range(1, 6):
        said = runner.invoke(app, ["show", str(folder), "--customer", f"C{number:05d}"])
        assert said.exit_code == 0
        assert MARK.lower() not in said.stdout.lower()


def test_the_kind_of_sensitive_spend_changes_no_customer_and_no_figure(folder, tmp_path):
    """Another sensitive name, spread over two kinds: every figure of everybody stays the same."""
    table = sold()
    drugs = pc.equal(table["department"], MARK)
    other = pc.if_else(
        pc.and_(drugs, pc.equal(table["faith"], f"{FAITH}a")),
        "Lottery",
        pc.if_else(drugs, "Wine", table["department"]),
    )
    moved = table.set_column(table.column_names.index("department"), "department", other)
    again = run(tmp_path / "job", moved)
    for name in ("segments.parquet", "features.parquet", "styles.parquet", "profiles.parquet"):
        left, right = (pq.read_table(one / name).replace_schema_metadata(None) for one in (folder, again))
        run_id = [column for column in left.column_names if column == "run_id"]
        assert left.drop_columns(run_id).equals(right.drop_columns(run_id)), name
    quality = [json.loads((one / "quality.json").read_text(encoding="utf-8")) for one in (folder, again)]
    assert all(one.pop("run_id") for one in quality)
    assert quality[0] == quality[1]


def test_assigned_from_the_file_it_was_made_of_they_get_the_same_segments(folder, tmp_path):
    out = tmp_path / "placed.parquet"
    source = folder.parent / "sales.parquet"
    done = CliRunner().invoke(app, ["assign", str(folder), str(source), "-o", str(out)])
    assert done.exit_code == 0, done.output
    placed = pq.read_table(out)
    known = pq.read_table(folder / "segments.parquet").select(placed.column_names)
    assert placed.cast(known.schema).equals(known)


def test_an_opt_in_is_told_with_its_purpose(tmp_path):
    purpose = "Refill letters of the pharmacy"
    folder = run(tmp_path / "job", sold(), sensitive={"opt_in": ["pharmacy"], "purpose": purpose})
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["parameters"]["opt_in"] == ["pharmacy"]
    assert manifest["parameters"]["opt_in_purpose"] == purpose
    assert f"share_{MARK}" in manifest["parameters"]["features"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Sensitive, but opted in: pharmacy" in page
    assert f"the purpose: {purpose}" in page
    assert "that are sensitive" not in page


def test_a_pharmacy_without_an_opt_in_is_segmented_by_how_much_and_when(tmp_path):
    table = sold()
    place = table.column_names.index("department")
    folder = run(tmp_path / "job", table.set_column(place, "department", pa.array([MARK] * len(table))))
    names = pq.read_schema(folder / "styles.parquet").names
    assert "regularity" in names
    assert not {"variety_seeking", "breadth"} & {*names}
    rows = pq.read_table(folder / "features.parquet")
    assert set(rows["categories_bought"].to_pylist()) == {0}
    assert rows["top_category"].null_count == rows["category_diversity"].null_count == len(rows)
