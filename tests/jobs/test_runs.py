"""Opening and rewriting a run: refusals with their remedy, and a folder that is either the old or the new one."""

from __future__ import annotations

import errno
import os

import pyarrow as pa
import pytest

from gpuseg.errors import InputError, OutputError, SourceError
from gpuseg.jobs.kept import runs
from gpuseg.jobs.kept.runs import locked, open_run, rewrite_run, typed_key
from tests.jobs import small_runs


def test_a_run_is_opened_and_read(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    run = open_run(folder)
    assert run.customer == "customer"
    assert run.names == {0: "Not placed"} | small_runs.small().names
    assert len(run.segments) == 49
    (tmp_path / "LATEST").symlink_to("run")
    assert open_run(tmp_path / "LATEST").path == folder


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "manifest.json").unlink(), "no manifest.json in it, so it is no finished run"),
        (lambda f: (f / "manifest.json").write_text('{"format": 1,'), "is damaged: it is no JSON"),
        (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"), "is damaged: it is no JSON"),
        (lambda f: (f / "manifest.json").write_text("[]"), "lacks files, parameters or counts"),
        (lambda f: small_runs.edit_manifest(f, files=[{"name": "a"}]), "lacks files, parameters or counts"),
        (lambda f: small_runs.edit_manifest(f, files=None), "lacks files, parameters or counts"),
        (lambda f: small_runs.edit_manifest(f, counts={}), "lacks files, parameters or counts"),
        (lambda f: small_runs.edit_manifest(f, parameters={}), "lacks files, parameters or counts"),
        (
            lambda f: small_runs.edit_manifest(
                f, files=[{"name": "../x", "sha256": "", "size": 0, "holds_customer_ids": False}]
            ),
            "lacks files, parameters or counts",
        ),
        (lambda f: small_runs.edit_manifest(f, format=2, gpuseg="9.9"), "reads up to 1; install gpuseg 9.9"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(tmp_path, damage, message):
    folder = small_runs.run_folder(tmp_path)
    damage(folder)
    with pytest.raises(SourceError, match=message):
        open_run(folder)


def test_no_folder_is_told(tmp_path):
    with pytest.raises(SourceError, match="no such folder; give the folder of a run"):
        open_run(tmp_path / "nothing")
    (tmp_path / ".run.0123abcd.rewritten").mkdir()
    with pytest.raises(
        SourceError, match=r"cut off; the run is whole in .*0123abcd.*rename that folder to run"
    ):
        open_run(tmp_path / "run")


def test_a_changed_file_is_told(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    path = folder / "segments.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(SourceError, match=r"segments.parquet is damaged: it is not what the run wrote"):
        _ = open_run(folder).segments
    path.unlink()
    with pytest.raises(SourceError, match=r"segments.parquet cannot be read: no such file"):
        _ = open_run(folder).segments
    with pytest.raises(SourceError, match=r"has no styles.parquet; it has README.txt"):
        open_run(folder).read("styles.parquet")


def test_a_segment_is_found_by_name_or_id(tmp_path):
    run = open_run(small_runs.run_folder(tmp_path))
    for number, name in run.names.items():
        assert run.segment(name) == run.segment(name.upper()) == run.segment(str(number)) == number
    with pytest.raises(InputError, match=r"no segment 'Not place'; did you mean 'Not placed'\? It has 0"):
        run.segment("Not place")
    with pytest.raises(InputError, match=r"no segment '77'\. It has 0 'Not placed'"):
        run.segment("77")


@pytest.mark.parametrize(
    ("text", "kind", "key"),
    [
        ("7", pa.int64(), 7),
        ("-7", pa.int32(), -7),
        ("007", pa.int64(), None),
        ("+7", pa.int64(), None),
        (" 7", pa.int64(), None),
        ("7.0", pa.int64(), None),
        ("999", pa.int8(), None),
        ("1" * 40, pa.int64(), None),
        ("007", pa.string(), "007"),
        ("7", pa.dictionary(pa.int32(), pa.string()), "7"),
    ],
)
def test_keys_have_one_spelling(text, kind, key):
    assert typed_key(text, kind) == key


def test_unknown_customers_get_a_hint(tmp_path):
    run = open_run(small_runs.run_folder(tmp_path))
    assert run.segments["customer"][run.row("C00007")].as_py() == "C00007"
    for given, hint in [("c00007", "there is 'C00007'"), ("nobody", "every character counts"), ("7", "text")]:
        with pytest.raises(InputError, match=hint):
            run.row(given)


def numbered(keys):
    table = pa.table(
        {"customer": keys, "segment_id": pa.array([1, 1], pa.int32()), "segment_name": ["a", "a"]}
    )
    run = runs.Run(None, {"parameters": {"roles": {"customer": "customer"}}})
    run.__dict__["segments"] = table
    return run


def test_hints_know_numbers_and_leading_zeros():
    numbers = numbered(pa.array([7, 8]))
    assert numbers.row("8") == 1
    with pytest.raises(InputError, match="without leading zeros"):
        numbers.row("007")
    with pytest.raises(InputError, match="its ids are whole numbers"):
        numbers.row("C7")
    with pytest.raises(InputError, match="check the id"):
        numbers.row("9")
    texts = numbered(pa.array(["007", "8"]))
    assert texts.row("007") == 0
    with pytest.raises(InputError, match="there is '007': its ids are text"):
        texts.row("7")


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_rewrite_changes_what_it_names_and_nothing_else(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    before = small_runs.contents(folder)
    with locked(folder) as run:
        after = rewrite_run(
            run, {"report.html": b"new", "model/x.json": b"{}"}, {"note": 1}, without_ids=("model/x.json",)
        )
    now = small_runs.contents(folder)
    assert now["report.html"] == b"new"
    assert {name: content for name, content in now.items() if before.get(name) != content}.keys() == {
        "report.html", "model/x.json", "manifest.json",
    }  # fmt: skip
    assert open_run(folder).manifest == after.manifest
    assert after.manifest["note"] == 1
    assert after.read("report.html") == b"new"
    assert after.files["model/x.json"]["holds_customer_ids"] is False
    assert after.files["report.html"]["size"] == 3
    assert entries(tmp_path) == ["run"]


@pytest.mark.parametrize("step", ["copytree", "_replace", "_sync", "_exchange"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_rewrite_that_fails_leaves_the_old_run(tmp_path, monkeypatch, step, error):
    folder = small_runs.run_folder(tmp_path)
    before = small_runs.contents(folder)

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(runs.shutil if step == "copytree" else runs, step, fail)
    wanted = OutputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(wanted), locked(folder) as run:
        rewrite_run(run, {"report.html": b"new"}, {})
    monkeypatch.undo()
    assert small_runs.contents(folder) == before
    assert entries(tmp_path) == ["run"]


def test_a_system_without_exchange_uses_two_renames(tmp_path, monkeypatch):
    folder = small_runs.run_folder(tmp_path)
    monkeypatch.setattr(runs.ctypes, "CDLL", lambda *args, **kwargs: object())
    with locked(folder) as run:
        rewrite_run(run, {"report.html": b"new"}, {})
    assert (folder / "report.html").read_bytes() == b"new"
    assert entries(tmp_path) == ["run"]


def test_two_renames_go_back_when_the_second_fails(tmp_path, monkeypatch):
    folder = small_runs.run_folder(tmp_path)
    before = small_runs.contents(folder)
    monkeypatch.setattr(runs.ctypes, "CDLL", lambda *args, **kwargs: object())
    rename = runs.Path.rename

    def fail(self, target):
        if target == folder and ".rewritten" in self.name and not (self / "old").exists() and len(calls) == 1:
            calls.append(self)
            raise OSError(errno.EIO, "Input/output error")
        calls.append(self)
        return rename(self, target)

    calls: list = []
    monkeypatch.setattr(runs.Path, "rename", fail)
    with pytest.raises(OutputError, match="nothing was changed"), locked(folder) as run:
        rewrite_run(run, {"report.html": b"new"}, {})
    assert small_runs.contents(folder) == before


def test_old_files_that_stay_are_told_and_taken_away_next_time(tmp_path, monkeypatch):
    folder = small_runs.run_folder(tmp_path)
    monkeypatch.setattr(runs.shutil, "rmtree", lambda *args, **kwargs: None)
    with pytest.raises(OutputError, match=r"its old files lie in .*rewritten still"), locked(folder) as run:
        rewrite_run(run, {"report.html": b"new"}, {})
    monkeypatch.undo()
    assert len(entries(tmp_path)) == 2
    with locked(folder) as run:
        assert run.read("report.html") == b"new"
    assert entries(tmp_path) == ["run"]


def test_one_command_at_a_time(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    with (
        locked(folder),
        pytest.raises(OutputError, match="another command is changing this run"),
        locked(folder),
    ):
        pass
    with locked(folder):
        pass


def test_a_system_that_refuses_links_copies(tmp_path, monkeypatch):
    folder = small_runs.run_folder(tmp_path)

    def refuse(*args, **kwargs):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(runs.os, "link", refuse)
    with locked(folder) as run:
        rewrite_run(run, {"report.html": b"new"}, {})
    assert open_run(folder).read("report.html") == b"new"
    assert len(open_run(folder).segments) == 49
