"""The command line (top room; nothing imports it): ``gpuseg demo``, ``gpuseg doctor``.

Exit codes: 0 done, 1 gpuseg failed, 2 the input or the command cannot be used, 130 interrupted. An error is one
clear sentence on standard error; ``--debug`` adds the traceback. Rooms are imported inside the commands, so that
``gpuseg --version`` and a typing error answer at once.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gpuseg import __version__
from gpuseg.errors import InputError

app = typer.Typer(
    name="gpuseg",
    help="From customer transactions to segments, with the same answer on any hardware.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and every log line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no summary; errors still speak.")]


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
        Path | None, typer.Option("--out", help="New folder for the results [default: runs/demo-<UTC time>].")
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Turn a year of real household transactions into described segments and a report."""
    with _exit_codes(debug=debug):
        from gpuseg.jobs.demo import run_demo
        from gpuseg.jobs.progress import progress_for

        progress = progress_for(Console(stderr=True), quiet=quiet)
        result = run_demo(out, progress)
        if not quiet:
            typer.echo(result.summary)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    debug: Debug = False,
) -> None:
    """Say what this machine has: CPU, memory, libraries, engines, and the remedy for what is missing."""
    with _exit_codes(debug=debug):
        from gpuseg.jobs.doctor import examine

        findings = examine()
        if as_json:
            typer.echo(json.dumps(findings.to_dict(), indent=2))
        else:
            findings.print_to(Console())


@contextmanager
def _exit_codes(*, debug: bool) -> Iterator[None]:
    """Turn exceptions into one sentence and an exit code."""
    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("gpuseg").setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    except KeyboardInterrupt:
        _explain("interrupted", debug=debug)
        raise typer.Exit(130) from None
    except InputError as error:
        _explain(str(error), debug=debug)
        raise typer.Exit(2) from None
    except Exception as error:  # noqa: BLE001 (the border of the program: whatever it is gets one sentence)
        _explain(_sentence(error), debug=debug, hint=True)
        raise typer.Exit(1) from None


def _sentence(error: Exception) -> str:
    """An exception of ours speaks for itself; a foreign one needs its name, and may have nothing else."""
    text = str(error).strip()
    if type(error).__module__.startswith("gpuseg."):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _explain(sentence: str, *, debug: bool, hint: bool = False) -> None:
    if debug:
        traceback.print_exc(file=sys.stderr)
    typer.echo(f"gpuseg: {sentence}", err=True)
    if hint and not debug:
        typer.echo("Run again with --debug for the traceback.", err=True)


if __name__ == "__main__":
    main()
