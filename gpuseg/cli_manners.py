"""Manners that every command has (beside the top room; ``cli`` and ``cli_runs`` import it): options and exit codes.

Exit codes: 0 done, 1 gpuseg failed, 2 the input or the command cannot be used, 130 interrupted. An error is one
clear sentence on standard error; ``--debug`` adds the traceback.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from gpuseg.errors import InputError, OutputError

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and every log line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no summary; errors still speak.")]


@contextmanager
def exit_codes(*, debug: bool) -> Iterator[None]:
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
    except OutputError as error:  # a full disk, a folder that is taken: a traceback would help nobody
        _explain(str(error), debug=debug)
        raise typer.Exit(1) from None
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
