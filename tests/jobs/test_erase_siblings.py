"""Erasing in a folder of runs: the job's list, other runs, what was cut off, and two at once."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
import threading
import zipfile
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpuseg.errors import InputError, OutputError
from gpuseg.jobs.erasing import erase
from gpuseg.jobs.erasing.erase import erase_customers
from gpuseg.jobs.erasing.job_list import add_to_list, known_to, list_folder, publishing
from gpuseg.jobs.erasing.suppression import SUPPRESSED, Suppression, load_suppression
from gpuseg.jobs.kept import runs
from gpuseg.jobs.kept.assign import assign_file
from gpuseg.jobs.kept.runs import open_run
from gpuseg.jobs.output import RunFolder
from tests.jobs import small_runs

GONE = ("C00003", "C00011", "C99999")


@pytest.fixture
def home(tmp_path):
    """A folder of runs of one job, with a run of another job, a file and a stranger's folder."""
    (tmp_path / "runs" / "test").mkdir(parents=True)
    (tmp_path / "runs" / "test" / "LATEST").write_text("b\n")
    for name in "abc":
        small_runs.run_folder(tmp_path / "runs", name=name)
    small_runs.edit_manifest(small_runs.run_folder(tmp_path / "runs", name="other"), job="another")
    (tmp_path / "runs" / "stranger").mkdir()
    (tmp_path / "runs" / "note.txt").write_text("mine")
    (tmp_path / "ids.txt").write_text("\n".join(GONE))
    return tmp_path / "runs"


def unpacked(path):
    """What can be read in a file, packed or not."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        return content + str(pq.read_table(io.BytesIO(content)).to_pylist()).encode()
    if path.suffix == ".xlsx":
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            return content + b"".join(book.read(name) for name in book.namelist())
    return content


def holders(folder):
    """Files anywhere under a folder, hidden ones too, in which an id can be read."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path.relative_to(folder).as_posix()
        for path in files
        if any(key.encode() in unpacked(path) for key in GONE)
    }


def test_other_runs_that_hold_them_are_named(home):
    done = erase_customers(home / "b", home.parent / "ids.txt")
    assert done.held == {home / "a": 3, home / "c": 3}
    assert not done.unknown
    assert "Other runs of this job still hold them: a (3), c (3); erase there too" in done.summary
    assert {name.partition("/")[0] for name in holders(home)} == {"a", "c", "other"}
    assert not erase_customers(home / "a", home.parent / "ids.txt").held.keys() - {home / "c"}
    assert erase_customers(home / "c", home.parent / "ids.txt").held == {}


def test_all_runs_of_the_job_at_once(home):
    done = erase_customers(home / "b", home.parent / "ids.txt", all_runs=True)
    assert (done.run.path, done.found) == (home / "b", 3)
    assert [other.run.path.name for other in done.others] == ["a", "c"]
    assert "c: 3 erased; rows taken out of: segments.parquet (3)" in done.summary
    assert "still hold" not in done.summary
    assert {name.partition("/")[0] for name in holders(home)} == {"other"}
    for name in "abc":
        run = open_run(home / name)
        for file in run.files:
            run.read(file)  # as the manifest says
        assert run.manifest["erased"][0]["customers"] == 3


def test_a_run_that_cannot_be_done_is_named_and_the_others_are_done(home):
    (home / "a" / "segments.parquet").write_bytes(b"damaged")
    (home / "c" / "manifest.json").write_bytes(b"{")
    done = erase_customers(home / "b", home.parent / "ids.txt")
    assert set(done.unknown) == {home / "a", home / "c"}
    assert "Nobody can say whether a holds them:" in done.summary
    with pytest.raises(OutputError) as caught:
        erase_customers(home / "b", home.parent / "ids.txt", all_runs=True)
    lines = str(caught.value).splitlines()
    assert lines[0] == "erased from b; not from 2 others, so erase again:"
    assert lines[1].startswith("  - c: ")
    assert "manifest.json is damaged" in lines[1]
    assert lines[2].startswith("  - a: ")
    assert "segments.parquet is damaged" in lines[2]


def test_the_list_lives_with_the_job(home):
    erase_customers(home / "b", home.parent / "ids.txt")
    assert known_to(home / "a") == load_suppression(home / "test") == load_suppression(home / "b")
    assert not load_suppression(home / "a")
    assert not known_to(home / "other")
    pq.write_table(small_runs.records(), home.parent / "lines.parquet")
    found = assign_file(home / "a", home.parent / "lines.parquet", home.parent / "out.csv")
    assert found.erased == 3
    assert holders(home.parent) >= {"lines.parquet", "ids.txt"}
    assert "out.csv" not in holders(home.parent)
    pq.write_table(small_runs.small().built, home.parent / "built.parquet")
    found = assign_file(home / "a" / "model", home.parent / "built.parquet", home.parent / "again.csv")
    assert found.erased == 2  # the third bought nothing
    assert "again.csv" not in holders(home.parent)


def test_a_run_elsewhere_says_who_does_not_know(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    (tmp_path / "ids.txt").write_text("C00003")
    done = erase_customers(folder, tmp_path / "ids.txt")
    assert done.listed is None
    assert "this run is not where its job's runs are" in done.summary
    assert not (tmp_path / "test").exists()


@pytest.mark.parametrize(
    ("name", "listed"),
    [("test-20240506T070809Z", True), ("test-20240506T070809Z-2", True), ("test", False), ("run", False)],
)
def test_a_run_is_known_by_its_own_name(tmp_path, name, listed):
    run = open_run(small_runs.run_folder(tmp_path, name=name))
    assert list_folder(run) == (tmp_path / "test" if listed else None)
    for job in ("../test", "", None, ".."):
        small_runs.edit_manifest(run.path, job=job)
        assert list_folder(open_run(run.path)) is None


def test_a_model_beside_somebody_elses_manifest_is_only_a_model(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    assert not known_to(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest.json is damaged"):
        known_to(tmp_path)


def test_a_run_in_the_place_of_the_list_is_told(home):
    (home / "test" / "LATEST").unlink()
    (home / "test").rmdir()
    taken = small_runs.run_folder(home, name="test")
    small_runs.run_folder(home, name="test-20240506T070809Z")
    before = small_runs.contents(taken)
    with pytest.raises(OutputError, match="is a run, but the list of whom its job erased belongs there"):
        erase_customers(home / "test-20240506T070809Z", home.parent / "ids.txt")
    assert small_runs.contents(taken) == before


def test_a_damaged_list_of_the_job_stops_everything(home):
    (home / "test" / SUPPRESSED).write_text("{")
    before = small_runs.contents(home)
    with pytest.raises(InputError, match="nobody knows who was erased"):
        erase_customers(home / "b", home.parent / "ids.txt")
    assert small_runs.contents(home) == before


def test_a_list_that_cannot_be_written_stops_everything(home, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    before = small_runs.contents(home)
    with monkeypatch.context() as patch:
        patch.setattr("gpuseg.jobs.erasing.job_list.os.fsync", full)
        with pytest.raises(OutputError, match=r"test/suppressed.json cannot be written: no space left"):
            erase_customers(home / "b", home.parent / "ids.txt")
    assert small_runs.contents(home) == before
    # On the list, but still in the run: said, and done by erasing again.
    monkeypatch.setattr(runs, "_exchange", full)
    with pytest.raises(OutputError, match=r"nothing was changed but .*test/suppressed.json, which keeps"):
        erase_customers(home / "b", home.parent / "ids.txt")
    assert load_suppression(home / "test").blocked(pa.array(GONE)).all()
    monkeypatch.undo()
    erase_customers(home / "b", home.parent / "ids.txt")
    assert not any(name.startswith("b/") for name in holders(home))


def test_two_erasures_at_once_lose_nobody(home, monkeypatch):
    """Both read the list before either writes, unless they wait for each other."""
    met = threading.Barrier(2)
    locked = erase.locked

    def together(folder):
        met.wait(30)
        return locked(folder)

    monkeypatch.setattr(erase, "locked", together)
    for name, key in (("a", "C00003"), ("b", "C00011")):
        (home.parent / f"{name}.txt").write_text(key)
    both = [
        threading.Thread(target=erase_customers, args=(home / name, home.parent / f"{name}.txt"))
        for name in "ab"
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    assert load_suppression(home / "test").blocked(pa.array(["C00003", "C00011"])).all()
    assert len(load_suppression(home / "test").lists) == 1
    assert "C00003" not in open_run(home / "a").segments["customer"].to_pylist()
    assert "C00011" not in open_run(home / "b").segments["customer"].to_pylist()


def test_the_lock_of_a_run_that_was_exchanged_is_no_lock(home, monkeypatch):
    """Somebody may open the folder, and get its lock only when another command has put a new one in its place."""
    flock = runs.fcntl.flock

    def late(handle, how):
        monkeypatch.setattr(runs.fcntl, "flock", flock)
        erase_customers(home / "b", home.parent / "ids.txt")
        flock(handle, how)

    monkeypatch.setattr(runs.fcntl, "flock", late)
    with pytest.raises(OutputError, match="another command is changing this run"), runs.locked(home / "b"):
        pass
    with runs.locked(home / "b") as run:
        assert len(run.manifest["erased"]) == 1


HELD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from gpuseg.jobs.output import RunFolder
with RunFolder(Path(sys.argv[1]), "test", datetime.now(UTC)) as folder:
    folder.write_table("segments.parquet", pa.table({"customer": ["C00003"]}), holds_customer_ids=True)
    print("written", flush=True)
    sys.stdin.read()
"""


def test_what_was_cut_off_goes_and_what_is_being_written_stays(home):
    child = subprocess.Popen(
        [sys.executable, "-c", HELD, str(home / "new")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline() == "written\n"
        (hidden,) = home.glob(".new.*.partial")
        erase_customers(home / "b", home.parent / "ids.txt", all_runs=True)
        assert (hidden / "segments.parquet").exists()  # its writer lives
    finally:
        child.kill()
        child.wait(30)
        child.stdin.close()
        child.stdout.close()
    (home / ".a.0123abcd.rewritten").mkdir()
    (home / ".a.0123abcd.rewritten" / "segments.csv").write_text("C00003")
    mine = home / ".mine.partial"
    mine.mkdir()
    (mine / "x.parquet").write_text("mine")
    erase_customers(home / "b", home.parent / "ids.txt")
    assert not hidden.exists()
    assert not (home / ".a.0123abcd.rewritten").exists()
    assert (mine / "x.parquet").exists()  # no name of ours


def test_the_next_run_takes_it_away_too(home):
    left = home / ".old.0123abcd.partial"
    left.mkdir()
    (left / "segments.parquet").write_bytes(b"")
    with RunFolder(home / "new", "test", datetime.now(UTC)) as folder:
        assert not left.exists()
        folder.write_text("a.txt", "a")
    assert (home / "new").exists()


def test_nobody_is_erased_while_a_run_is_published(home):
    """A run that is being published and an erasure wait for each other, so one of them knows of the other."""
    done = []
    customers = pa.chunked_array([["C00001", "C00003"]])
    with publishing(home / "test", Suppression(), customers) as carried:
        assert not carried
        thread = threading.Thread(
            target=lambda: done.append(erase_customers(home / "b", home.parent / "ids.txt"))
        )
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        small_runs.run_folder(home, name="z")  # what was published before the erasure looked around
    thread.join(60)
    assert home / "z" in done[0].held
    with (
        pytest.raises(OutputError, match="1 customers were erased while this run computed"),
        publishing(home / "test", Suppression(), customers),
    ):
        pass


def test_where_nothing_can_be_locked_the_list_is_kept_with_a_warning(home, monkeypatch, caplog):
    def none(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr("gpuseg.jobs.erasing.job_list.fcntl.flock", none)
        add_to_list(home / "test", ["C00003"])
    assert "let no two commands work on one job" in caplog.text
    assert load_suppression(home / "test").blocked(pa.array(["C00003"])).all()


def test_a_job_without_a_list_gets_no_folder(tmp_path):
    with publishing(tmp_path / "test", Suppression(), pa.chunked_array([["a"]])) as carried:
        assert not carried
    assert list(tmp_path.iterdir()) == []
    known = Suppression().adding(["b"])
    with publishing(tmp_path / "test", known, pa.chunked_array([["a"]])) as carried:
        assert carried == known
    assert load_suppression(tmp_path / "test") == known  # so that the next run knows too
    after = add_to_list(tmp_path / "test", ["c"])
    assert json.loads((tmp_path / "test" / SUPPRESSED).read_bytes())["format"] == 2
    assert after.blocked(pa.array(["a", "b", "c"])).tolist() == [False, True, True]
    assert [path.name for path in (tmp_path / "test").iterdir()] == [SUPPRESSED]
