"""The command line (top room; nothing imports it): ``gpuseg demo``, ``gpuseg doctor``.

Exit codes and errors: :mod:`gpuseg.cli_manners`. Rooms are imported inside the commands, so that ``gpuseg --version``
and a typing error answer at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gpuseg import __version__
from gpuseg.cli_jobs import jobs
from gpuseg.cli_manners import Debug, Quiet, exit_codes
from gpuseg.cli_runs import runs

app = typer.Typer(
    name="gpuseg",
    help="From customer transactions to segments, with the same answer on any hardware.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(jobs)
app.add_typer(runs)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    app()


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gpuseg {__version__}")
        raise typer.Exit


@app.callback()
def _gpuseg(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From customer transactions to segments, with the same answer on any hardware."""


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="New folder for the results (if left out: runs/demo-<UTC time>)."),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Turn a year of real household transactions into described segments and a report."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.demo import run_demo
        from gpuseg.jobs.progress import progress_for

        progress = progress_for(Console(stderr=True), quiet=quiet)
        result = run_demo(out, progress)
        if not quiet:
            typer.echo(result.summary)


@app.command()
def run(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Job file (YAML).")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="New folder for the results (if left out: runs/<job>-<UTC time> beside the job file).",
        ),
    ] = None,
    refresh: Annotated[
        Path | None,
        typer.Option(
            "--refresh",
            metavar="LAST_RUN",
            help="Earlier run: its segments keep ids and names, its customers their message groups.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only print the memory plan, from headers and footers; compute and write nothing.",
        ),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a job: from its records to described segments, a model and a report."""
    with exit_codes(debug=debug):
        if dry_run:
            from gpuseg.jobs.dry_run import dry_run as plan_job

            typer.echo(plan_job(job))
            return
        from gpuseg.jobs.progress import progress_for
        from gpuseg.jobs.run import run_job

        result = run_job(job, out, progress_for(Console(stderr=True), quiet=quiet), refresh)
        if not quiet:
            typer.echo(result.summary)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    debug: Debug = False,
) -> None:
    """Say what this machine has: CPU, memory, libraries, engines, and the remedy for what is missing."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.doctor import examine

        findings = examine()
        if as_json:
            typer.echo(json.dumps(findings.to_dict(), indent=2))
        else:
            findings.print_to(Console())


if __name__ == "__main__":
    main()
