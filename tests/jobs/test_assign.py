"""Assigning a file: the same segments as the run, a new file, and nobody who was erased."""

from __future__ import annotations

import datetime as dt
import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from gpuseg.errors import InputError, OutputError, SourceError
from gpuseg.insight.model_files import load_model
from gpuseg.jobs.erasing.erase import erase_customers
from gpuseg.jobs.kept.assign import assign_file
from tests.jobs import small_runs


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("where", ["model", "."])
def test_the_runs_own_records_give_its_segments(tmp_path, kind, where):
    folder = small_runs.run_folder(tmp_path)
    done = small_runs.small()
    source, out = tmp_path / f"lines.{kind}", tmp_path / "out.parquet"
    if kind == "csv":
        pa.csv.write_csv(done.records, source)
    else:
        pq.write_table(done.records, source)
    found = assign_file(folder / where, source, out)
    assert pq.read_table(out).to_pylist() == done.segments.to_pylist()
    assert found.source == "transactions"
    assert sum(found.sizes.values()) == 49
    assert (
        "out.parquet: 49 customers assigned from transactions. The file holds customer ids." in found.summary
    )


def test_features_are_known_by_their_columns(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    done = small_runs.small()
    pq.write_table(done.built, tmp_path / "features.parquet")
    found = assign_file(folder, tmp_path / "features.parquet", tmp_path / "out.json")
    assert found.source == "features"
    rows = json.loads((tmp_path / "out.json").read_bytes())
    assert rows == [row for row in done.segments.to_pylist() if row["segment_id"]]


def test_the_erased_stay_out(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    (tmp_path / "ids.txt").write_text("C00003")
    erase_customers(folder, tmp_path / "ids.txt")
    pq.write_table(small_runs.records(), tmp_path / "lines.parquet")
    for number, where in enumerate((folder, folder / "model")):
        out = tmp_path / f"out{number}.csv"
        found = assign_file(where, tmp_path / "lines.parquet", out)
        assert found.erased == 1
        assert "1 were erased before and are left out." in found.summary
        assert b"C00003" not in out.read_bytes()
        assert b"C00004" in out.read_bytes()


def test_a_later_day_can_be_given(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    pq.write_table(small_runs.records(), tmp_path / "lines.parquet")
    assign_file(folder, tmp_path / "lines.parquet", tmp_path / "a.parquet", "2023-06-30")
    early, late = pq.read_table(tmp_path / "a.parquet"), small_runs.small().segments
    assert early["margin"].to_pylist() != late["margin"].to_pylist()


def test_what_cannot_be_used_is_told(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    plain = small_runs.run_folder(tmp_path, "plain", "bare")
    lines = tmp_path / "lines.parquet"
    pq.write_table(small_runs.records(), lines)
    with pytest.raises(InputError, match=r"the ending says the format; use \.csv, \.parquet, \.json"):
        assign_file(folder, lines, tmp_path / "out.xlsx")
    with pytest.raises(SourceError, match=r"no model.json in it"):
        assign_file(plain, lines, tmp_path / "out.csv")
    with pytest.raises(SourceError, match=r"nothing.parquet"):
        assign_file(folder, tmp_path / "nothing.parquet", tmp_path / "out.csv")
    (tmp_path / "bad.parquet").write_bytes(b"bad")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        assign_file(folder, tmp_path / "bad.parquet", tmp_path / "out.csv")
    (tmp_path / "taken.csv").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        assign_file(folder, lines, tmp_path / "taken.csv")
    assert not (tmp_path / "out.csv").exists()


def test_records_of_new_days_alone_are_pointed_out(tmp_path):
    """Whoever assigns the next month by itself would get a month's visits measured by a year's."""
    folder = small_runs.run_folder(tmp_path)
    known = load_model(folder).recipe.trained_as_of
    lines = small_runs.records()
    pq.write_table(lines, tmp_path / "all.parquet")
    found = assign_file(folder, tmp_path / "all.parquet", tmp_path / "a.parquet")
    assert "All records lie after" not in found.summary
    later = pc.add(lines["time"], pa.scalar(dt.timedelta(days=800)))
    place = lines.column_names.index("time")
    pq.write_table(lines.set_column(place, "time", later), tmp_path / "later.parquet")
    found = assign_file(folder, tmp_path / "later.parquet", tmp_path / "b.parquet")
    assert f"All records lie after {known}, the last day that the model knew" in found.summary
    assert "give their earlier records too" in found.summary
