"""Jobs whose segments are built from, or described by, what customers are."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from gpuseg import datasets
from gpuseg.cli import app
from gpuseg.errors import InputError, SchemaError
from gpuseg.insight.model_files import load_model
from gpuseg.jobs.declared.check import check_job
from gpuseg.jobs.declared.job_file import read_job
from gpuseg.jobs.kept.assign import assign_file
from gpuseg.jobs.kept.runs import open_run
from gpuseg.jobs.kept.show import show_customer
from gpuseg.jobs.progress import SilentProgress
from gpuseg.jobs.run import run_job

N = 80
JOB = {
    "version": 1,
    "job": {"name": "mixed"},
    "source": "sales.parquet",
    "roles": {"customer": "customer", "time": "time", "amount": "amount", "basket": "basket"},
    "time_zone": "Europe/Paris",
    "consent": {"not_recorded": "made-up members"},
    "segments": {"clusters": [3]},
    "segmentation_type": "mixed",
    "customers": {"source": {"path": "crm.csv", "csv": {"separator": ";", "decimal": ","}}, "customer": "Nr"},
    "columns": {
        "tariff": {"use": "build", "missing": "indicator"},
        "income": {"use": "build", "missing": "fallback", "log": True},
        "region": "describe",
        "religion": "protected",
    },
}


def records():
    """Made-up lines; the tariff is known from the first purchases on and changes for some in December."""
    table = datasets.make_transactions(N, seed=3, text_keys=True)[0]
    number = pc.cast(pc.utf8_slice_codeunits(table["customer"], 1), pa.int64()).to_numpy()
    late = pc.month(table["time"]).to_numpy() == 12
    tariff = np.where(number % 3 == 0, "flex", np.where(late & (number % 2 == 0), "gold", "basic")).astype(
        object
    )
    tariff[number % 10 == 0] = None
    return table.append_column("tariff", pa.array(tariff, pa.string()))


def crm(folder, name="crm.csv"):
    lines = ["Nr;income;region;religion;phone"]
    for n in range(1, N + 1):
        income = "" if n % 20 == 7 else f"{1000 + 100 * n},50"
        lines.append(f"C{n:05d};{income};{'Süd' if n % 4 == 1 else 'Nord'};secret-faith-{n % 2};0{n}")
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def make(tmp_path):
    pq.write_table(records(), tmp_path / "sales.parquet")
    crm(tmp_path)

    def write(**changes):
        path = tmp_path / "job.yaml"
        job = {key: value for key, value in {**JOB, **changes}.items() if value is not None}
        path.write_text(yaml.safe_dump(job, allow_unicode=True, sort_keys=False), encoding="utf-8")
        return path

    return write


def run(path):
    return run_job(path, None, SilentProgress())


def test_attributes_build_and_describe(make):
    result = run(make())
    found = open_run(result.folder)
    built = found.manifest["parameters"]["features"]
    own = [name for name in built if name.startswith("attribute_")]
    assert own == [
        "attribute_tariff=basic",
        "attribute_tariff=flex",
        "attribute_tariff=gold",
        "attribute_tariff=not known",
        "attribute_income",
    ]
    assert found.manifest["counts"]["customers_not_placed"] == {"income is missing": 4}
    changing = found.manifest["counts"]["customers_with_changing_attributes"]
    assert set(changing) == {"tariff"}
    assert changing["tariff"] > 10
    page = result.report.read_text(encoding="utf-8")
    assert "Region: Süd" in page
    assert "who somebody is, by Tariff and Income" in page
    assert "the 4 columns of Tariff together weigh as one feature" in page
    assert "not placed: income is missing" in page
    profiles = found.table("profiles.parquet").to_pylist()
    south = {row["segment_id"]: row for row in profiles if row["measure"] == "attribute_region=Süd"}
    segments = found.segments.filter(pc.greater(found.segments["segment_id"], 0))
    for number, row in south.items():
        keys = segments.filter(pc.equal(segments["segment_id"], number))["customer"].to_pylist()
        truth = np.mean([int(key[1:]) % 4 == 1 for key in keys])
        assert row["mean"] is None or row["mean"] == pytest.approx(truth)


def test_the_levels_of_an_attribute_weigh_as_one_column(make):
    result = run(make())
    scale = load_model(result.folder).scaler
    names = list(scale.feature_names_in_)
    rows = open_run(result.folder).segments
    placed = rows.filter(pc.greater(rows["segment_id"], 0))["customer"].to_pylist()
    flex = [n for n in placed if int(n[1:]) % 3 == 0 and int(n[1:]) % 10]
    share = len(flex) / len(placed)
    assert scale.scale_[names.index("attribute_tariff=flex")] == pytest.approx(
        2.0 * np.sqrt(share * (1 - share))
    )


def test_assigning_the_training_customers_gives_their_segments(make, tmp_path):
    result = run(make())
    out = tmp_path / "again.parquet"
    assign_file(result.folder, tmp_path / "sales.parquet", out, customers=tmp_path / "crm.csv")
    again, first = pq.read_table(out), open_run(result.folder).segments
    for name in ("customer", "segment_id", "margin", "fallback_reason", "is_novel"):
        assert again[name].to_pylist() == first[name].to_pylist(), name
    with pytest.raises(
        InputError, match=r"made with a table of customers \(Nr, income\); give one: --customers"
    ):
        assign_file(result.folder, tmp_path / "sales.parquet", tmp_path / "b.csv")
    (tmp_path / "short.csv").write_text("Nr;region\nC00001;x\n")
    with pytest.raises(InputError, match=r"short.csv: there is no column 'income'; known here: Nr, region"):
        assign_file(
            result.folder, tmp_path / "sales.parquet", tmp_path / "b.csv", customers=tmp_path / "short.csv"
        )
    assert not (tmp_path / "b.csv").exists()


def test_a_model_takes_a_frame_of_customers(make, tmp_path):
    result = run(make())
    model = load_model(result.folder)
    tx = read_job(make()).read_records()
    frame = pa.csv.read_csv(
        tmp_path / "crm.csv",
        parse_options=pa.csv.ParseOptions(delimiter=";"),
        convert_options=pa.csv.ConvertOptions(decimal_point=","),
    )
    table = model.assign(tx, attributes=frame.to_pandas())
    assert table["segment_id"].to_pylist() == open_run(result.folder).segments["segment_id"].to_pylist()
    with pytest.raises(InputError, match="the attributes 'income' are missing"):
        model.assign(tx)


def test_what_is_protected_or_ignored_stands_nowhere(make):
    folder = run(make()).folder
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            text = pq.read_table(path).to_pandas().to_csv().encode()
        elif path.is_file():
            text = path.read_bytes()
        else:
            continue
        assert b"secret-faith" not in text, path.name
        assert b"phone" not in text, path.name


def test_only_attributes_build_where_the_type_says_so(make):
    columns = {
        "tariff": {"use": "build", "missing": "indicator", "type": "technographic"},
        "region": "describe",
    }
    result = run(make(segmentation_type="technographic", columns=columns))
    features = open_run(result.folder).manifest["parameters"]["features"]
    assert all(name.startswith("attribute_tariff=") for name in features)
    wrong = {"tariff": {"use": "build", "type": "technographic"}}
    with pytest.raises(SchemaError, match="'tariff' is technographic, and segmentation_type is demographic"):
        read_job(make(segmentation_type="demographic", columns=wrong))
    with pytest.raises(
        SchemaError, match="segmentation_type is behavioural, and columns lets 'tariff' build"
    ):
        read_job(make(segmentation_type="behavioural", columns=wrong))
    with pytest.raises(SchemaError, match="'amount' plays the role amount; say only what it may do"):
        read_job(make(columns={"amount": {"use": "build", "log": True}}))


def test_features_know_nothing_of_the_outcome_window(make):
    early = {**JOB["columns"], "tariff": {"use": "build", "missing": "indicator"}}
    path = make(columns=early, features={"as_of": "2023-11-30"})
    features = open_run(run(path).folder).manifest["parameters"]["features"]
    assert "attribute_tariff=gold" not in features


def test_one_customer_in_words(make):
    text = show_customer(run(make()).folder, "C00007")
    assert "cannot be placed (income is missing)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"columns": {"income": "build", "region": "build"}},
            r"'income' is missing \(null\) for 4 of 80 customers; declare what becomes of them",
        ),
        (
            {"columns": {"region": {"use": "build", "kind": "number"}}},
            "'region' is declared a number and holds",
        ),
        ({"columns": {"regiun": "build"}}, "columns: 'regiun' is in neither table; did you mean 'region'"),
        (
            {"customers": {"source": {"path": "crm.csv", "csv": {"separator": ";"}}, "customer": "phone"}},
            "none of its 80 customers is among the 80 of the records",
        ),
        (
            {"customers": {"source": {"path": "crm.csv", "csv": {"separator": ";"}}, "customer": "No"}},
            "there is no column 'No'",
        ),
        ({"customers": {"source": "nothing.csv", "customer": "Nr"}}, "nothing.csv: no such file"),
    ],
)
def test_what_cannot_be_used_is_told_by_check_and_run(make, tmp_path, changes, message):
    path = make(**changes)
    with pytest.raises(InputError, match=message):
        run(path)
    assert not list(tmp_path.glob("runs/*"))
    with pytest.raises(InputError, match=message):
        check_job(path)


def test_what_check_says(make):
    lines = check_job(make()).splitlines()
    assert (
        "Builds segments (mixed): what customers did, by time, amount, basket; what they are, by tariff, income"
    ) in lines
    assert "Describe: region" in lines
    assert "Protected: religion" in lines


def test_the_command(make, tmp_path):
    path = make()
    runner = CliRunner()
    assert runner.invoke(app, ["run", str(path), "--out", str(tmp_path / "out"), "--quiet"]).exit_code == 0
    done = runner.invoke(
        app,
        [
            "assign", str(tmp_path / "out"), str(tmp_path / "sales.parquet"),
            "-o", str(tmp_path / "new.csv"), "--customers", str(tmp_path / "crm.csv"),
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    drift = json.loads((tmp_path / "out" / "model" / "model.json").read_text())["recipe"]["attribute_table"]
    assert drift["customer"] == "Nr"


def test_the_table_of_customers_may_say_who_agreed(make, tmp_path):
    lines = (tmp_path / "crm.csv").read_text(encoding="utf-8").splitlines()
    agreed = ["agreed", *("nein" if n % 8 == 3 else "" if n % 8 == 5 else "ja" for n in range(1, N + 1))]
    told = [f"{line};{word}" for line, word in zip(lines, agreed, strict=True)]
    (tmp_path / "crm.csv").write_text("\n".join(told) + "\n", encoding="utf-8")
    path = make(consent={"column": "agreed", "purpose": "letters"})
    result = run(path)
    found = open_run(result.folder)
    assert not any(int(key[1:]) % 8 in {3, 5} for key in found.segments["customer"].to_pylist())
    assert found.manifest["counts"]["customers_without_consent"] == 20
    assert "consent in any line" in result.report.read_text(encoding="utf-8")
    out = tmp_path / "again.parquet"
    assign_file(result.folder, tmp_path / "sales.parquet", out, customers=tmp_path / "crm.csv")
    assert pq.read_table(out)["segment_id"].to_pylist() == found.segments["segment_id"].to_pylist()
    with pytest.raises(InputError, match=r"table of customers \(Nr, income, agreed\); give one: --customers"):
        assign_file(result.folder, tmp_path / "sales.parquet", tmp_path / "b.csv")
    (tmp_path / "crm.csv").write_text(
        "\n".join(told).replace(";nein", ";vielleicht") + "\n", encoding="utf-8"
    )
    with pytest.raises(
        InputError, match=r"'agreed' \(consent\) is neither true/false, yes/no nor 1/0 in 10 of 80"
    ):
        run(path)


def test_who_disagreed_once_did_not_agree(make, tmp_path):
    lines = (tmp_path / "crm.csv").read_text(encoding="utf-8").splitlines()
    told = [f"{lines[0]};agreed", *(f"{line};ja" for line in lines[1:]), f"{lines[1]};nein"]
    (tmp_path / "crm.csv").write_text("\n".join(told) + "\n", encoding="utf-8")
    found = open_run(run(make(consent={"column": "agreed", "purpose": "letters"})).folder)
    assert found.segments["customer"].to_pylist()[0] == "C00002"
