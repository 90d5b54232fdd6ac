"""The command line: exit codes, one sentence an error, the traceback only on demand."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from gpuseg.cli import app
from gpuseg.errors import ContractError, InputError, NotFiniteError, OutputError, SchemaError


class FakeDemo:
    """Stands for ``gpuseg.jobs.demo``: records how it was called, raises or returns."""

    def __init__(self) -> None:
        self.outcome: BaseException | None = None
        self.calls: list[Path | None] = []

    def run_demo(self, out, progress):
        self.calls.append(out)
        with progress.stage("read transactions") as stage:
            stage.add_rows(1000)
        if self.outcome is not None:
            raise self.outcome
        return types.SimpleNamespace(summary=f"Report: {out}/report.html")


@pytest.fixture
def demo(monkeypatch):
    fake = FakeDemo()
    module = types.ModuleType("gpuseg.jobs.demo")
    module.run_demo = fake.run_demo
    monkeypatch.setitem(sys.modules, "gpuseg.jobs.demo", module)
    return fake


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_demo_prints_its_summary(demo, tmp_path):
    result = invoke("demo", "--out", str(tmp_path / "new"))
    assert (result.exit_code, result.stdout.strip()) == (0, f"Report: {tmp_path}/new/report.html")
    assert demo.calls == [tmp_path / "new"]


def test_without_out_the_job_names_its_folder(demo):
    assert invoke("demo").exit_code == 0
    assert demo.calls == [None]


def test_quiet_says_nothing(demo):
    result = invoke("demo", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("outcome", "code", "sentence"),
    [
        (InputError("n_clusters=12 exceeds 9 rows; lower n_clusters"), 2, "n_clusters=12 exceeds 9 rows"),
        (NotFiniteError("x.parquet, column a: 3 NaN; drop them"), 2, "column a: 3 NaN"),
        (SchemaError("x.parquet", ["no column 'a'", "'b' is text"]), 2, "2 problems\n  - no column 'a'"),
        (
            OutputError("/root/runs cannot be written; choose another folder with --out"),
            1,
            "cannot be written",
        ),
        (ContractError("scales 3 and 4 differ"), 1, "scales 3 and 4 differ"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
        (MemoryError(), 1, "MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_exit_codes(demo, outcome, code, sentence):
    demo.outcome = outcome
    result = invoke("demo")
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("gpuseg: ")
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    told = code == 1 and not isinstance(outcome, OutputError)  # no traceback helps against a full disk
    assert ("run again with --debug" in result.stderr.lower()) == told


def test_debug_shows_the_traceback_and_keeps_the_code(demo):
    demo.outcome = InputError("no rows")
    result = invoke("demo", "--debug")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert "run_demo" in result.stderr
    assert result.stderr.rstrip().endswith("gpuseg: no rows")


def test_square_brackets_survive(demo):
    demo.outcome = InputError("column [bold] is missing")
    assert "column [bold] is missing" in invoke("demo").stderr


@pytest.mark.parametrize("arguments", [["demos"], ["demo", "--ou"], ["doctor", "extra"]])
def test_a_typing_error_is_bad_input(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_version_and_help():
    assert invoke("--version").stdout.startswith("gpuseg 0.")
    text = invoke("--help").stdout
    assert "demo" in text
    assert "doctor" in text


def test_help_texts_hold_no_markup():
    """Square brackets would be swallowed, with what they hold."""
    options = [option for command in get_command(app).commands.values() for option in command.params]
    assert len(options) > 20
    assert [option.help for option in options if "[" in (getattr(option, "help", None) or "")] == []


def test_console_script_is_installed():
    script = Path(sys.executable).with_name("gpuseg")
    done = subprocess.run([script, "doctor", "--json"], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["cpus_allowed"] >= 1
    assert done.stderr == ""


def test_version_needs_no_library():
    code = "import sys; sys.argv = ['gpuseg', '--version']; from gpuseg.cli import main\ntry: main()\n"
    code += "finally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"numba", "pandas", "pyarrow", "dask", "sklearn"} & set(done.stderr.split())
