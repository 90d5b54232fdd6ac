"""Commands that work with a run that is there (beside the top room; ``cli`` takes them in)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpuseg.cli_manners import Debug, Quiet, exit_codes

runs = typer.Typer()

Folder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")]


@runs.command()
def assign(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a model, or of a run with one.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Transactions, or a Parquet file of features.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="New file for the segments: .csv, .parquet or .json.")
    ],
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Last day of transactions that counts, YYYY-MM-DD.")
    ] = None,
    customers: Annotated[
        Path | None,
        typer.Option("--customers", help="Table of customers, where the model was made with one."),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Give the customers of a file the segments of a kept model."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.kept.assign import assign_file

        _say(assign_file(model, file, out, as_of, customers).summary, quiet=quiet)


@runs.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN1", help="Folder of the earlier run.")],
    second: Annotated[Path, typer.Argument(metavar="RUN2", help="Folder of the later run.")],
    debug: Debug = False,
) -> None:
    """Compare two runs: how far they agree, who moved where, what was done otherwise."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.kept.compare import compare_runs

        _say(compare_runs(first, second).summary)


@runs.command()
def show(
    folder: Folder,
    customer: Annotated[str, typer.Option("--customer", help="Id of the customer, spelt as in the records.")],
    debug: Debug = False,
) -> None:
    """Say in plain words what a run knows of one customer."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.kept.show import show_customer

        _say(show_customer(folder, customer))


@runs.command()
def export(
    folder: Folder,
    segment: Annotated[str, typer.Option("--segment", help="Name or id of the segment.")],
    to: Annotated[str, typer.Option("--to", help="Format: csv, parquet or json.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="New file (if left out: segment-<id>-<name>.<format>).")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the customers of one segment into a new file."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.kept.export import export_segment

        _say(export_segment(folder, segment, to, out).summary, quiet=quiet)


@runs.command()
def erase(
    folder: Folder,
    ids: Annotated[Path, typer.Option("--ids", help="File with the ids, one a line, or a table of them.")],
    all_runs: Annotated[
        bool, typer.Option("--all-runs", help="Erase them from every run of this job in the same folder.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Erase customers from every file of a run, and keep them out of new runs of its job."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.erasing.erase import erase_customers

        _say(erase_customers(folder, ids, all_runs=all_runs).summary, quiet=quiet)


@runs.command()
def names(
    folder: Folder,
    review: Annotated[
        Path | None, typer.Option("--review", help="The reviewed file (if left out: review.csv of the run).")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Put the names that were approved in review.csv into a run."""
    with exit_codes(debug=debug):
        from gpuseg.jobs.kept.names import apply_names

        _say(apply_names(folder, review).summary, quiet=quiet)


def _say(text: str, *, quiet: bool = False) -> None:
    if not quiet:
        typer.echo(text)
