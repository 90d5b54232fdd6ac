"""Commands on a run: what they print, their exit codes, and silence where it is asked for."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from gpuseg.cli import app
from tests.jobs import small_runs


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def commands(tmp_path):
    """Every command with arguments that work, and words of its answer."""
    folder = small_runs.run_folder(tmp_path)
    pq.write_table(small_runs.records(), tmp_path / "lines.parquet")
    (tmp_path / "ids.txt").write_text("C00003")
    return {
        "assign": (
            ["assign", folder, tmp_path / "lines.parquet", "-o", tmp_path / "out.csv"],
            "49 customers",
        ),
        "compare": (["compare", folder, folder], "adjusted Rand index 1.00"),
        "show": (["show", folder, "--customer", "C00001"], "Customer C00001 is in segment"),
        "export": (
            ["export", folder, "--segment", "1", "--to", "csv", "-o", tmp_path / "x.csv"],
            "holds customer ids",
        ),
        "names": (["names", folder], "Waiting for approval"),
        "erase": (["erase", folder, "--ids", tmp_path / "ids.txt"], "1 of 1 customers erased"),
    }


@pytest.mark.parametrize("name", ["assign", "compare", "show", "export", "names", "erase"])
def test_commands_answer(commands, name):
    arguments, words = commands[name]
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert words in result.stdout


@pytest.mark.parametrize("name", ["assign", "export", "names", "erase"])
def test_quiet_says_nothing(commands, name):
    result = invoke(*commands[name][0], "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "nowhere", "nowhere"],
        ["show", "nowhere", "--customer", "1"],
        ["export", "nowhere", "--segment", "1", "--to", "csv"],
        ["erase", "nowhere", "--ids", "ids.txt"],
        ["names", "nowhere"],
        ["assign", "nowhere", "lines.csv", "-o", "out.csv"],
        ["show", "nowhere"],
        ["erase", "nowhere"],
    ],
)
def test_no_run_is_bad_input(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_another_contract_is_a_failure(tmp_path):
    folder = small_runs.run_folder(tmp_path)
    path = folder / "model" / "model.json"
    path.write_text(path.read_text().replace('"contract": 1', '"contract": 2'))
    result = invoke("assign", folder, "lines.csv", "-o", tmp_path / "out.csv")
    assert result.exit_code == 1
    assert "made under arithmetic contract 2" in result.stderr


def test_debug_shows_where(tmp_path):
    result = invoke("show", tmp_path, "--customer", "1", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert "so it is no finished run" in result.stderr
