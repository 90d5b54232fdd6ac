"""Result folders: whole or not at all, never two runs in one, an error that says the remedy."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpuseg.errors import OutputError
from gpuseg.jobs import output
from gpuseg.jobs.output import RunFolder

STARTED = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
TABLE = pa.table({"household_id": pa.array([1, 2], pa.int32())})


def entries(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_appears_whole(tmp_path):
    with RunFolder(tmp_path / "new", "demo", STARTED) as folder:
        folder.write_table("t.parquet", TABLE, holds_customer_ids=True)
        folder.write_text("r.html", "é")
        assert not (tmp_path / "new").exists()
    assert entries(tmp_path) == ["new", "new/r.html", "new/t.parquet"]
    assert pq.read_table(tmp_path / "new" / "t.parquet").equals(TABLE)
    assert [(file.name, file.holds_customer_ids) for file in folder.files] == [
        ("t.parquet", True),
        ("r.html", False),
    ]
    for file in folder.files:
        content = (tmp_path / "new" / file.name).read_bytes()
        assert (file.size, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_same_table_gives_the_same_bytes(tmp_path):
    folders = []
    for name in ("a", "b"):
        with RunFolder(tmp_path / name, "demo", STARTED) as folder:
            folder.write_table("t.parquet", TABLE)
        folders.append(folder)
    assert folders[0].files == folders[1].files


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_an_error_leaves_nothing(tmp_path, error):
    def work():
        with RunFolder(tmp_path / "runs" / "deep" / "new", "demo", STARTED) as folder:
            folder.write_text("r.html", "half")
            raise error

    with pytest.raises(type(error)):
        work()
    assert entries(tmp_path) == []


def test_parents_that_were_there_stay(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match="bad"), RunFolder(tmp_path / "runs" / "new", "demo", STARTED):
        raise ValueError("bad")
    assert entries(tmp_path) == ["runs"]


def test_an_existing_folder_is_refused_before_any_work(tmp_path):
    with pytest.raises(OutputError, match=r"exists; name a new folder \(--out\)"):
        RunFolder(tmp_path, "demo", STARTED).__enter__()
    assert entries(tmp_path) == []


def test_a_folder_that_appears_meanwhile_is_refused(tmp_path):
    with pytest.raises(OutputError, match="exists"), RunFolder(tmp_path / "new", "demo", STARTED):
        (tmp_path / "new").mkdir()
    assert entries(tmp_path) == ["new"]


def test_runs_of_one_second_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start = threading.Barrier(4)
    found = []

    def work(text):
        with RunFolder(None, "demo", STARTED) as folder:
            folder.write_text("r.txt", text)
            start.wait(timeout=30)
        found.append((folder.path, text))

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {path.name for path, _ in found}
    first = "demo-20240506T070809Z"
    assert names == {first, f"{first}-2", f"{first}-3", f"{first}-4"}
    assert {path.parent for path, _ in found} == {tmp_path / "runs"}
    assert all((path / "r.txt").read_text() == text for path, text in found)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == names | {"demo"}
    assert entries(tmp_path / "runs" / "demo") == ["LATEST"]
    assert (tmp_path / "runs" / "demo" / "LATEST").read_text().removesuffix("\n") in names


def test_the_pointer_names_the_newest_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for second in (8, 9):
        with RunFolder(None, "demo", STARTED.replace(second=second)) as folder:
            folder.write_text("r.txt", "r")
        assert (tmp_path / "runs" / "demo" / "LATEST").read_text() == f"{folder.path.name}\n"


def test_a_pointer_that_cannot_be_written_leaves_the_run_whole(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").write_text("in the way")
    with RunFolder(None, "demo", STARTED) as folder:
        folder.write_text("r.txt", "r")
    assert (folder.path / "r.txt").read_text() == "r"
    assert "LATEST still names an older run" in caplog.text
    assert entries(tmp_path / "runs") == ["demo", folder.path.name, f"{folder.path.name}/r.txt"]


def test_files_may_lie_in_a_folder(tmp_path):
    with RunFolder(tmp_path / "new", "demo", STARTED) as folder:
        folder.write_bytes("model/a.bin", b"1")
        folder.write_bytes("model/b.bin", b"2")
    assert entries(tmp_path / "new") == ["model", "model/a.bin", "model/b.bin"]
    assert [file.name for file in folder.files] == ["model/a.bin", "model/b.bin"]


def test_a_path_below_a_file_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"not a directory; .* is a file; choose another folder \(--out\)"):
        RunFolder(tmp_path / "file" / "runs" / "new", "demo", STARTED).__enter__()
    assert entries(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EACCES, "permission denied; choose a folder that you may write to"),
        (errno.EROFS, "read-only file system; choose a folder that you may write to"),
        (errno.ENOSPC, "no space left on device; free some space"),
        (errno.EIO, "input/output error; choose another folder"),
    ],
)
@pytest.mark.parametrize("step", ["mkdir", "write", "sync", "rename"])
def test_the_systems_errors_become_a_sentence_and_leave_nothing(tmp_path, monkeypatch, code, remedy, step):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    if step == "mkdir":
        monkeypatch.setattr(Path, "mkdir", fail)
    elif step == "write":
        monkeypatch.setattr(pq, "write_table", fail)
    elif step == "sync":
        monkeypatch.setattr(output.os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "rename", fail)
    path = tmp_path / "runs" / "new"
    with pytest.raises(OutputError, match=remedy) as caught, RunFolder(path, "demo", STARTED) as folder:
        folder.write_table("t.parquet", TABLE)
    assert str(path) in str(caught.value)
    monkeypatch.undo()
    assert entries(tmp_path) == []


def test_other_peoples_errors_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), RunFolder(tmp_path / "new", "demo", STARTED):
        (tmp_path / "not there").read_text()


def test_folders_have_the_users_permissions(tmp_path):
    with RunFolder(tmp_path / "new", "demo", STARTED):
        pass
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
