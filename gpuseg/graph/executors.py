"""Where tasks run (graph): threads of this process, or the workers of a Dask client.

A task is a module-level function ``task(partition, *arguments)``; it is pure, idempotent and unpinned, and what it
returns is small. ``map`` gathers results in partition order, ``reduce`` merges them as a tree. DESIGN section 2.4.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from gpuseg.engines.choose import EngineChoice
from gpuseg.graph.client_executor import ClientExecutor, own_arguments
from gpuseg.graph.memo import forget_partitions
from gpuseg.graph.placing import choose_placed, current_client
from gpuseg.graph.tables import Table

Result = TypeVar("Result")


class Executor(Protocol):
    """Runs tasks over the partitions of one table.

    ``placement`` says where, ``where`` what messages call each partition, ``engine`` who is to compute.
    """

    placement: str
    where: list[str]
    engine: EngineChoice

    def map(
        self, task: Callable[..., Result], *common: Any, each: Sequence[Any] | None = None
    ) -> list[Result]:
        """``task(partition, [each,] *common)`` for every partition, in order."""
        ...

    def reduce(
        self,
        task: Callable[..., Result],
        merge: Callable[[Result, Result], Result],
        *common: Any,
        each: Sequence[Any] | None = None,
    ) -> Result:
        """The merged results; ``merge`` is associative and commutative."""
        ...

    def ran(self) -> str:
        """Who computed so far, and where that may differ."""
        ...

    def close(self) -> None:
        """Forget what was remembered of the table."""
        ...


class LocalExecutor:
    """Tasks one after the other in this process; the engine's threads share each partition's rows."""

    placement = "threads of this process"

    def __init__(self, table: Table, engine: EngineChoice) -> None:
        self.engine = engine
        self._partitions = table.partitions
        self.where = [partition.where for partition in table.partitions]

    def map(
        self, task: Callable[..., Result], *common: Any, each: Sequence[Any] | None = None
    ) -> list[Result]:
        """See :class:`Executor`."""
        return [
            task(partition, *own, *common)
            for partition, own in zip(
                self._partitions, own_arguments(each, len(self._partitions)), strict=True
            )
        ]

    def reduce(
        self,
        task: Callable[..., Result],
        merge: Callable[[Result, Result], Result],
        *common: Any,
        each: Sequence[Any] | None = None,
    ) -> Result:
        """See :class:`Executor`."""
        return functools.reduce(merge, self.map(task, *common, each=each))

    def ran(self) -> str:
        """See :class:`Executor`."""
        return str(self.engine)

    def close(self) -> None:
        """See :class:`Executor`."""
        forget_partitions([partition.token for partition in self._partitions])


def executor_for(
    table: Table, engine: str = "auto", n_jobs: int | None = None, *, holds: bool = True
) -> Executor:
    """Where the tasks of a table run, and on what.

    Tables in memory stay with the threads of this process, whose memory they are in; Dask collections and files go
    to the current Dask client where there is one. The answer is the same either way.

    Parameters
    ----------
    table : Table
        Partitions.
    engine : str, default "auto"
        Who computes, as :func:`gpuseg.graph.placing.choose_placed` takes it.
    n_jobs : int, optional
        Threads of the CPU engine.
    holds : bool, default True
        Whether workers keep the rows of a Dask collection between passes; otherwise each pass makes them again.

    Raises
    ------
    InputError
        If the engine is not known or ``n_jobs`` is 0.
    EngineUnavailableError
        If the engine was asked for by name and can run neither here nor on any worker.
    """
    client = None if table.kind == "memory" else current_client()
    choice = choose_placed(engine, n_jobs, client)
    return (
        LocalExecutor(table, choice) if client is None else ClientExecutor(table, client, choice, holds=holds)
    )
