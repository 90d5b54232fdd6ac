"""What a run says while it works (jobs; for the steps of a job and the command line).

A job opens one stage after another and counts its rows. Every reporter keeps a record of the stages, for the
manifest; ``SilentProgress`` says nothing, ``TerminalProgress`` draws a line a stage on a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from rich.console import Console


@dataclass(frozen=True)
class StageRecord:
    """One finished stage: its name, the rows it counted and the seconds it took."""

    name: str
    rows: int
    seconds: float


class Stage:
    """A stage that is running; ``add_rows`` may be called any number of times."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0

    def add_rows(self, count: int) -> None:
        """Count ``count`` more rows as done."""
        self.rows += count


class Progress(Protocol):
    """Reporter of a run.

    Examples
    --------
    >>> progress = SilentProgress()
    >>> with progress.stage("read transactions") as stage:
    ...     stage.add_rows(3)
    >>> [(record.name, record.rows) for record in progress.records]
    [('read transactions', 3)]
    """

    @property
    def records(self) -> tuple[StageRecord, ...]:
        """The stages that ended well, in order."""
        ...

    def stage(self, name: str) -> AbstractContextManager[Stage]:
        """Open a stage; it ends, and is recorded, with the ``with`` block."""
        ...


class SilentProgress:
    """Keeps the record and says nothing: for libraries, tests, ``--quiet`` and output that is not a terminal."""

    def __init__(self) -> None:
        self._records: list[StageRecord] = []

    @property
    def records(self) -> tuple[StageRecord, ...]:
        """The stages that ended well, in order."""
        return tuple(self._records)

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Open a stage; an exception leaves no record."""
        stage = Stage(name)
        start = perf_counter()
        yield stage
        self._records.append(StageRecord(name, stage.rows, perf_counter() - start))


class TerminalProgress(SilentProgress):
    """A spinner for the running stage and a line with rows and seconds for each that ended.

    Parameters
    ----------
    console : rich.console.Console
        Where to draw; standard error keeps standard output free for results.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Open a stage and draw it."""
        with self._console.status(f"{name} …"), super().stage(name) as stage:
            yield stage
        self._console.print(_line(self.records[-1]), markup=False, highlight=False)


def _line(record: StageRecord) -> str:
    rows = f"{record.rows:>14,} rows" if record.rows else " " * 19
    return f"  {record.name:<32}{rows}{record.seconds:>9.2f} s"


def progress_for(console: Console, *, quiet: bool = False) -> Progress:
    """Reporter that fits ``console``: it draws on a terminal and is silent elsewhere or when ``quiet``."""
    if quiet or not console.is_terminal:
        return SilentProgress()
    return TerminalProgress(console)
