"""Commands that make and check job files (beside the top room; ``cli`` takes them in)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpuseg.cli_manners import Debug, Quiet, exit_codes

jobs = typer.Typer()


@jobs.command()
def init(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Records: a CSV or Parquet file, a folder or a glob.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="New job file.")] = Path("job.yaml"),
    customer: Annotated[str | None, typer.Option("--customer", help="Column with the customer.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Column with the time.")] = None,
    amount: Annotated[str | None, typer.Option("--amount", help="Column with the money of the line.")] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look at a file of records and write a job file that runs as written, each guess a declaration to correct."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.declared.init import init_job

        stated = {"customer": customer, "time": time, "amount": amount}
        said = init_job(file, out, {role: name for role, name in stated.items() if name is not None})
        if not quiet:
            typer.echo(said)


@jobs.command()
def check(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="Job file (YAML).")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List everything that is wrong with a job, from its file and a sample of its records, or say what it would do."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.declared.check import check_job

        said = check_job(job)
        if not quiet:
            typer.echo(said)
