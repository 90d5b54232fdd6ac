"""Progress: a record of every stage, lines on a terminal, silence elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gpuseg.jobs.progress import SilentProgress, TerminalProgress, progress_for


def run_two_stages(progress) -> None:
    with progress.stage("read transactions") as stage:
        stage.add_rows(1_000_000)
        stage.add_rows(469_307)
    with progress.stage("write report"):
        pass


@pytest.mark.parametrize("make", [SilentProgress, lambda: TerminalProgress(Console(file=io.StringIO()))])
def test_stages_are_recorded_in_order(make):
    progress = make()
    run_two_stages(progress)
    assert [(record.name, record.rows) for record in progress.records] == [
        ("read transactions", 1_469_307),
        ("write report", 0),
    ]
    assert all(record.seconds >= 0 for record in progress.records)


def test_a_failed_stage_leaves_no_record():
    progress = SilentProgress()
    with pytest.raises(ValueError, match="no rows"), progress.stage("read"):
        raise ValueError("no rows")
    assert progress.records == ()


def test_a_terminal_gets_a_line_a_stage():
    stream = io.StringIO()
    progress = progress_for(Console(file=stream, force_terminal=True, width=100))
    run_two_stages(progress)
    text = stream.getvalue()
    assert "1,469,307 rows" in text
    assert "write report" in text


def test_no_terminal_or_quiet_means_silence():
    for console, quiet in (
        (Console(file=io.StringIO(), force_terminal=False), False),
        (Console(file=io.StringIO(), force_terminal=True), True),
    ):
        run_two_stages(progress_for(console, quiet=quiet))
        assert console.file.getvalue() == ""
