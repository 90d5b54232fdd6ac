"""Erasing: no trace of an id in any file of the run, never half, and no way back in."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpuseg.errors import InputError, OutputError, SourceError
from gpuseg.jobs.erasing.erase import erase_customers
from gpuseg.jobs.erasing.suppression import SUPPRESSED, Suppression, load_suppression
from gpuseg.jobs.kept import runs
from gpuseg.jobs.kept.formats import BOM
from gpuseg.jobs.kept.runs import open_run
from tests.jobs import small_runs

GONE = ("C00003", "C00011", "C99999")


def ids_file(tmp_path, text="C00003\nC00011\nC99999", name="ids.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["full", "plain"])
def test_no_file_holds_an_erased_id(tmp_path, kind):
    folder = small_runs.run_folder(tmp_path, kind)
    before = open_run(folder).segments
    done = erase_customers(folder, ids_file(tmp_path))
    assert (done.asked, done.found) == (3, 3)
    run = open_run(folder)
    assert run.segments["customer"].to_pylist() == [
        key for key in before["customer"].to_pylist() if key not in GONE
    ]
    for name in run.files:
        content = run.read(name)  # as the manifest says
        if name.endswith(".parquet"):
            content = str(pq.read_table(folder / name).to_pylist()).encode()
        assert not any(key.encode() in content for key in GONE), name
    assert all(
        row == before.to_pylist()[before["customer"].to_pylist().index(row["customer"])]
        for row in run.segments.to_pylist()
    )
    # C99999 bought nothing but is in the fallback segment and in the summary.
    assert done.rows == dict.fromkeys(
        ["segments.parquet", "segments.csv", "features.parquet"] if kind == "full" else ["segments.parquet"],
        3,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.txt", "run"]


def test_other_files_keep_their_bytes_and_the_manifest_tells(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    before = small_runs.contents(folder)
    done = erase_customers(folder, ids_file(tmp_path))
    after = small_runs.contents(folder)
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {"manifest.json", "README.txt", SUPPRESSED, *done.rows}
    (entry,) = small_runs.manifest(folder)["erased"]
    assert (entry["customers"], entry["rows"]) == (3, done.rows)
    files = {file["name"]: file for file in small_runs.manifest(folder)["files"]}
    assert files[SUPPRESSED]["holds_customer_ids"] is False
    assert "centres, profiles and report" in done.summary
    assert "3 of 3 customers erased" in done.summary
    # Twice is nothing more, and the list goes on.
    again = erase_customers(folder, ids_file(tmp_path, "C00003\nC00004", "more.txt"))
    assert (again.asked, again.found, len(small_runs.manifest(folder)["erased"])) == (2, 1, 2)
    assert "1 were not in this run" in again.summary
    (kept,) = load_suppression(folder).lists
    assert len(kept.hashes) == 4
    erase_customers(folder, ids_file(tmp_path, "C00004", "gone.txt"))  # nobody is there to be told of
    told = (folder / "README.txt").read_text(encoding="utf-8").splitlines()
    assert told[:2] == [
        "What is in this folder.",
        "suppressed.json: keyed hashes of erased customers, who may not come back",
    ]
    assert [line.partition(" on ")[0] for line in told[2:]] == [
        "3 customers were erased",
        "1 customers were erased",
    ]


def test_the_list_blocks_and_holds_no_ids(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    erase_customers(folder, ids_file(tmp_path))
    content = (folder / SUPPRESSED).read_bytes()
    assert not any(key.encode() in content for key in GONE)
    found = load_suppression(folder)
    assert found.blocked(pa.array(["C00001", "C00003", None, "C00003"])).tolist() == [
        False,
        True,
        False,
        True,
    ]
    assert not load_suppression(tmp_path)


def test_a_number_and_its_text_are_both_blocked():
    found = Suppression().adding([7])
    assert found.blocked(pa.array([7, 8])).tolist() == [True, False]
    assert found.blocked(pa.chunked_array([["7"], ["07"]])).tolist() == [True, False]
    assert Suppression().blocked(pa.array([7])).tolist() == [False]


def test_two_lists_share_no_hash():
    one, other = Suppression().adding(["a"]), Suppression().adding(["a"])
    assert not one.lists[0].hashes & other.lists[0].hashes
    assert Suppression.of_bytes(one.to_bytes(), None) == one


def test_lists_that_meet_lie_beside_each_other():
    one, other, third = (Suppression().adding([key]) for key in "abc")
    keys = pa.array(["a", "b", "c", "d"])
    met = one.merged(other)
    assert met.blocked(keys).tolist() == [True, True, False, False]
    assert met == other.merged(one) == met.merged(one).merged(Suppression())
    assert met.merged(third) == one.merged(other.merged(third))
    assert one.adding(["d"]).merged(one) == one.adding(["d"])
    assert met.adding(["d"]).blocked(keys).tolist() == [True, True, False, True]
    assert Suppression.of_bytes(met.to_bytes(), None) == met
    assert met
    assert not Suppression()
    assert met.blocked(keys.dictionary_encode()).tolist() == met.blocked(keys).tolist()


def test_a_list_of_before_several_were_kept_is_read():
    one = Suppression().adding(["a"])
    (kept,) = one.lists
    old = {"format": 1, "hash": "hmac-sha256", "key": kept.key.hex(), "hashes": sorted(kept.hashes)}
    assert Suppression.of_bytes(json.dumps(old).encode(), None) == one


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"format": 2, "key": "", "hashes": []}', b'{"format": 1}', b'{"format": 3, "lists": []}'],
)
def test_a_damaged_list_lets_nobody_in(tmp_path, content):
    folder = small_runs.run_folder(tmp_path)
    (folder / SUPPRESSED).write_bytes(content)
    with pytest.raises(SourceError, match="nobody knows who was erased"):
        load_suppression(folder)
    before = small_runs.contents(folder)
    with pytest.raises(SourceError, match="nobody knows who was erased"):
        erase_customers(folder, ids_file(tmp_path))
    assert small_runs.contents(folder) == before


@pytest.mark.parametrize(
    "text",
    [
        "C00003\r\nC00011\r\n\r\nC99999",
        "customer\nC00003\nC00011\nC99999\n",
        "\ufeffn,customer\n1,C00003\n2,C00011\n3,C99999\n",
    ],
)
def test_ids_come_in_lines_or_tables(tmp_path, text):
    folder = small_runs.run_folder(tmp_path, "plain")
    assert erase_customers(folder, ids_file(tmp_path, text)).found == 3


def test_ids_come_in_parquet_too(tmp_path):
    folder = small_runs.run_folder(tmp_path, "plain")
    pq.write_table(pa.table({"customer": list(GONE)}), tmp_path / "ids.parquet")
    assert erase_customers(folder, tmp_path / "ids.parquet").found == 3
    pq.write_table(pa.table({"who": list(GONE)}), tmp_path / "ids.parquet")
    with pytest.raises(InputError, match="has no column 'customer'; it has who"):
        erase_customers(folder, tmp_path / "ids.parquet")
    (tmp_path / "ids.parquet").write_bytes(b"no")
    with pytest.raises(SourceError, match="is no Parquet file"):
        erase_customers(folder, tmp_path / "ids.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no ids in it"), ("\n \n", "no ids in it"), ("a,b\n1,2\n", "none is called 'customer'")],
)
def test_a_list_that_says_nobody_is_refused(tmp_path, text, message):
    folder = small_runs.run_folder(tmp_path, "plain")
    before = small_runs.contents(folder)
    with pytest.raises(InputError, match=message):
        erase_customers(folder, ids_file(tmp_path, text))
    assert small_runs.contents(folder) == before
    (tmp_path / "ids.txt").write_bytes(b"C\xe9")
    with pytest.raises(SourceError, match="no UTF-8 text"):
        erase_customers(folder, tmp_path / "ids.txt")
    with pytest.raises(SourceError, match="cannot be read: no such file"):
        erase_customers(folder, tmp_path / "nothing.txt")


def put(folder, name, content, *, held=True):
    """A further file of the run."""
    with runs.locked(folder) as run:
        runs.rewrite_run(run, {name: content}, {}, without_ids=() if held else (name,))


def test_numbers_are_erased_as_numbers(tmp_path):
    folder = small_runs.run_folder(tmp_path, "plain")
    run = open_run(folder)
    keys = pa.array(np.arange(len(run.segments)) + 1)
    table = run.segments.set_column(0, "customer", keys)
    pq.write_table(table, tmp_path / "t.parquet")
    put(folder, "segments.parquet", (tmp_path / "t.parquet").read_bytes())
    with pytest.raises(InputError, match=r"1 of 2 cannot be ids of this run.*'007'"):
        erase_customers(folder, ids_file(tmp_path, "007\n8"))
    assert erase_customers(folder, ids_file(tmp_path, "7\n8")).rows == {"segments.parquet": 2}


def test_csv_lines_that_stay_keep_their_bytes(tmp_path):
    folder = small_runs.run_folder(tmp_path, "plain")
    text = 'a,"customer",note\r\n1,C00003,x\r\n2,"C00004","two\nlines, ""C00003"""\r\n3,"C00011",\r\n'
    put(folder, "rejects.csv", BOM + text.encode())
    assert erase_customers(folder, ids_file(tmp_path)).rows["rejects.csv"] == 2
    kept = 'a,"customer",note\r\n2,"C00004","two\nlines, ""C00003"""\r\n'
    assert (folder / "rejects.csv").read_bytes() == BOM + kept.encode()


def test_json_rows_are_erased(tmp_path):
    folder = small_runs.run_folder(tmp_path, "plain")
    put(folder, "rows.json", json.dumps([{"customer": "C00003"}, {"customer": "é"}]).encode())
    assert erase_customers(folder, ids_file(tmp_path)).rows["rows.json"] == 1
    assert json.loads((folder / "rows.json").read_bytes()) == [{"customer": "é"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.xlsx", b"", r"nobody can erase from a .xlsx file"),
        ("x.csv", b"a,b\n1,2\n", "has no column 'customer'"),
        ("x.csv", b"", "has no column 'customer'"),
        ("x.json", b'{"a": 1}', "has no column 'customer'"),
        ("x.json", b"{", "has no column 'customer'"),
    ],
)
def test_a_file_that_cannot_be_searched_stops_everything(tmp_path, name, content, message):
    folder = small_runs.run_folder(tmp_path, "plain")
    put(folder, name, content)
    before = small_runs.contents(folder)
    with pytest.raises(SourceError, match=message):
        erase_customers(folder, ids_file(tmp_path))
    assert small_runs.contents(folder) == before


def test_a_failure_leaves_the_old_run(tmp_path, monkeypatch):
    folder = small_runs.run_folder(tmp_path)
    before = small_runs.contents(folder)

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "_exchange", fail)
    with pytest.raises(OutputError, match="no space left on device; nothing was changed"):
        erase_customers(folder, ids_file(tmp_path))
    assert small_runs.contents(folder) == before


CHILD = """
import os, signal, sys
from pathlib import Path
from gpuseg.jobs.kept import runs
from gpuseg.jobs.erasing.erase import erase_customers

exchange = runs._exchange

def die(new, old):
    if sys.argv[3] == "after":
        exchange(new, old)
    os.kill(os.getpid(), signal.SIGKILL)

runs._exchange = die
erase_customers(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_leaves_the_old_run_or_the_new_one(tmp_path, moment):
    folder = small_runs.run_folder(tmp_path)
    ids = ids_file(tmp_path)
    before = small_runs.contents(folder)
    died = subprocess.run([sys.executable, "-c", CHILD, str(folder), str(ids), moment], check=False)
    assert died.returncode == -signal.SIGKILL
    run = open_run(folder)
    for name in run.files:
        run.read(name)  # whole, as its manifest says
    assert (small_runs.contents(folder) == before) == (moment == "before")
    assert ("C00003" in run.segments["customer"].to_pylist()) == (moment == "before")
    # What the crash left beside the run goes with the next command that changes it.
    assert len(list(tmp_path.iterdir())) == 3
    erase_customers(folder, ids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids.txt", "run"]
