"""Exports: the segment's customers and nobody else, in a file that was not there before."""

from __future__ import annotations

import csv
import errno
import io
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpuseg.errors import InputError, OutputError
from gpuseg.jobs.kept import one_file
from gpuseg.jobs.kept.export import export_segment
from gpuseg.jobs.kept.formats import BOM, table_bytes
from gpuseg.jobs.kept.one_file import write_new_file
from tests.jobs import small_runs


def wanted():
    return [row for row in small_runs.small().segments.to_pylist() if row["segment_id"] == 1]


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_one_segment_is_written(tmp_path, kind):
    folder = small_runs.run_folder(tmp_path)
    out = tmp_path / f"x.{kind}"
    done = export_segment(folder, small_runs.small().names[1], kind, out)
    assert (done.path, done.segment_id, done.customers) == (out, 1, len(wanted()))
    assert "The file holds customer ids" in done.summary
    content = out.read_bytes()
    if kind == "parquet":
        assert pq.read_table(out).to_pylist() == wanted()
    elif kind == "json":
        assert json.loads(content) == wanted()
    else:
        assert content.startswith(BOM)
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
        assert [row["customer"] for row in rows] == [row["customer"] for row in wanted()]
        assert [float(row["margin"]) for row in rows] == [row["margin"] for row in wanted()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", f"x.{kind}"]


def test_the_name_of_the_file_says_what_is_in_it(tmp_path, monkeypatch):
    folder = small_runs.run_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = export_segment(folder, "0", "json")
    assert done.path.name == "segment-0-not-placed.json"
    assert json.loads(done.path.read_bytes())[0]["customer"] == "C99999"


def test_nothing_is_overwritten(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    out = tmp_path / "x.csv"
    out.write_text("mine")
    with pytest.raises(OutputError, match="exists; name a new file"):
        export_segment(folder, "1", "csv", out)
    assert out.read_text() == "mine"


def test_formats_and_segments_are_checked(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    with pytest.raises(InputError, match="--to 'xlsx' is no format; use csv, parquet, json"):
        export_segment(folder, "1", "xlsx", tmp_path / "x")
    with pytest.raises(InputError, match="no segment 'Nobody'"):
        export_segment(folder, "Nobody", "csv", tmp_path / "x")
    with pytest.raises(InputError, match="'ods' is no format"):
        table_bytes(pa.table({"a": [1]}), "ods")
    assert not (tmp_path / "x").exists()


def test_a_file_that_appears_meanwhile_is_refused(tmp_path, monkeypatch):
    link = os.link

    def late(source, target):
        (tmp_path / "x").write_text("theirs")
        link(source, target)

    monkeypatch.setattr(one_file.os, "link", late)
    with pytest.raises(OutputError, match="exists"):
        write_new_file(tmp_path / "x", b"mine")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["theirs"]


def test_a_system_without_links_renames(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(one_file.os, "link", refuse)
    write_new_file(tmp_path / "x", b"mine")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(one_file.os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device; name another file"):
        write_new_file(tmp_path / "x", b"mine")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="cannot be written: no such file or directory"):
        write_new_file(tmp_path / "not there" / "x", b"mine")
