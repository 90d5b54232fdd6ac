"""Tasks on the workers of a Dask client (graph): one message a pass, small partitions in batches, a tree of merges.

Made by :func:`gpuseg.graph.executors.executor_for`. Nothing is pinned or scattered, and nobody polls.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gpuseg.engines.choose import EngineChoice
from gpuseg.graph.batches import UNKNOWN_BYTES, Report, plan_batches
from gpuseg.graph.dask_tables import GraphPartition
from gpuseg.graph.memo import MEMO, forget_partitions
from gpuseg.graph.partitions import MemoryPartition, Partition
from gpuseg.graph.placing import asking, current_worker, listed
from gpuseg.graph.tables import Table

logger = logging.getLogger("gpuseg.graph")

Result = TypeVar("Result")

_FAN_IN = 8
_RETRIES = 3


class ClientExecutor:
    """Tasks on the workers of a ``distributed.Client``.

    Partitions of Dask collections are computed once and kept as futures, which the scheduler can compute again; where
    these are not to be held, anew for every pass, each just before its task. Files are read by the tasks themselves;
    the small results of the first pass stay where they are, and later tasks depend on them, so that Dask sends these to
    the workers whose memo has the rows. The first pass has a task a partition; from its reports on, small partitions
    that one worker holds share a task.

    Parameters
    ----------
    table : Table
        Partitions.
    client : distributed.Client
        Whose workers run the tasks.
    engine : EngineChoice
        Who computes; with a ``resource``, every task asks for one of it.
    holds : bool, default True
        Whether rows of a Dask collection are kept between passes.
    """

    placement = "workers of the Dask client"

    def __init__(self, table: Table, client: Any, engine: EngineChoice, *, holds: bool = True) -> None:
        self.engine = engine
        self.where = [partition.where for partition in table.partitions]
        self._client = client
        self._resources = {engine.resource: 1} if engine.resource else None
        self._live: list[Any] = []
        self._run = uuid.uuid4().hex[:8]
        self._step = 0
        self._engines: dict[str, dict[str, str]] = {}
        self._batches = [[number] for number in range(len(table.partitions))]
        self._homes: list[Any] = []
        self._leaves: list[Any] = []
        self._is_first = True
        self._tokens = [partition.token for partition in table.partitions]
        # A table has partitions of one kind.
        self._graphs = [part for part in table.partitions if isinstance(part, GraphPartition)]
        self._reloads = bool(self._graphs) and not holds
        self._is_loaded = bool(self._graphs) and holds
        self._partitions: Sequence[Any] = table.partitions
        if self._is_loaded:
            self._partitions = client.compute(self._loads(self._run), retries=_RETRIES)

    def map(
        self, task: Callable[..., Result], *common: Any, each: Sequence[Any] | None = None
    ) -> list[Result]:
        """See :class:`gpuseg.graph.executors.Executor`."""
        batches = self._batches
        done = self._gather(self._submit(task, None, common, each))
        found = {
            number: result
            for batch, part in zip(batches, done, strict=True)
            for number, result in zip(batch, part.result, strict=True)
        }
        return [found[number] for number in range(len(self._partitions))]

    def reduce(
        self,
        task: Callable[..., Result],
        merge: Callable[[Result, Result], Result],
        *common: Any,
        each: Sequence[Any] | None = None,
    ) -> Result:
        """See :class:`gpuseg.graph.executors.Executor`."""
        level = self._submit(task, merge, common, each)
        # The last few merge here: one more task on a worker would cost a round trip a pass.
        while len(level) > _FAN_IN:
            level = self._merge(level, merge)
        done = self._gather(level)
        merged: Result = functools.reduce(merge, [part.result for part in done])
        return merged

    def ran(self) -> str:
        """See :class:`gpuseg.graph.executors.Executor`."""
        said = [
            f"{engine} on workers {listed(sorted(set(names.values())))}"
            for engine, names in self._engines.items()
        ]
        return "; ".join(sorted(said)) or str(self.engine)

    def close(self) -> None:
        """See :class:`gpuseg.graph.executors.Executor`."""
        # After an error the traceback holds the futures of the other partitions, which would go on for nothing.
        unfinished = [future for future in self._live if not future.done()]
        self._live, self._leaves, self._homes, self._partitions = [], [], [], []
        # Best effort: a worker that is gone has nothing to forget, and every memo is bounded anyway. Whatever goes
        # wrong here must not hide the error, or lose the answer, of the fit itself.
        try:
            if unfinished:
                self._client.cancel(unfinished)
            self._client.run(forget_partitions, self._tokens, on_error="ignore")
        except Exception as error:  # noqa: BLE001 (see above)
            logger.info("workers could not be asked to forget their memo: %s", error)

    def _submit(
        self,
        task: Callable[..., Any],
        merge: Callable[[Any, Any], Any] | None,
        common: tuple[Any, ...],
        each: Sequence[Any] | None,
    ) -> list[Any]:
        """A task a batch, in one message: submitting one by one costs the driver a millisecond a task and pass."""
        own = own_arguments(each, len(self._partitions))
        if self._reloads:
            return self._reload(task, merge, common, own)
        parts = [tuple((n, self._partitions[n], own[n]) for n in batch) for batch in self._batches]
        homes = [tuple(self._homes[n] for n in batch if self._homes) for batch in self._batches]
        # Not by keyword: Dask would give large arguments a key that is their name, and passes would share it.
        work = [_Work(task, merge, common, self.engine)] * len(parts)
        attempts = max(map(len, parts), default=1)
        self._leaves = self._map(run_batch, task_label(task), attempts, parts, work, homes)
        return self._leaves

    def _loads(self, place: str) -> list[Any]:
        """A task for the rows of each partition of a Dask collection."""
        with asking(self.engine):
            return [part.delayed(f"gpuseg-load-{place}-{n}") for n, part in enumerate(self._graphs)]

    def _reload(
        self,
        task: Callable[..., Any],
        merge: Callable[[Any, Any], Any] | None,
        common: tuple[Any, ...],
        own: Sequence[tuple[Any, ...]],
    ) -> list[Any]:
        """A pass over rows that are made anew: one graph, in which each partition is let go once its task is done."""
        from dask.delayed import delayed

        self._step += 1
        place = f"{self._run}-{self._step}"
        work = _Work(task, merge, common, self.engine)
        with asking(self.engine):
            tasks = [
                delayed(run_alone, pure=False)(
                    n, rows, own[n], work, dask_key_name=f"gpuseg-{task_label(task)}-{place}-{n}"
                )
                for n, rows in enumerate(self._loads(place))
            ]
        self._live = self._client.compute(tasks, retries=_RETRIES)
        return self._live

    def _merge(self, level: Sequence[Any], merge: Callable[[Any, Any], Any]) -> list[Any]:
        """One level of the tree."""
        groups = [tuple(level[i : i + _FAN_IN]) for i in range(0, len(level), _FAN_IN)]
        return self._map(merge_done, "merge", 1, groups, [merge] * len(groups))

    def _map(
        self, function: Callable[..., Any], label: str, attempts: int, *columns: Sequence[Any]
    ) -> list[Any]:
        self._step += 1
        # The dashboard shows what precedes the first part that has a digit.
        keys = [f"gpuseg-{label}-{self._run}-{self._step}-{i}" for i in range(len(columns[0]))]
        resources = self._resources if function is run_batch else None
        self._live = self._client.map(
            function, *columns, key=keys, pure=False, retries=_RETRIES * attempts, resources=resources
        )
        return self._live

    def _gather(self, futures: list[Any]) -> list[Any]:
        done: list[Done[Any]] = self._client.gather(futures)
        self._live = []
        reports = [report for part in done for report in part.reports]
        for report in reports:
            self._engines.setdefault(report.engine, {})[report.address] = report.name
        if self._is_first:
            self._is_first = False
            self._batches = self._batches if self._reloads else plan_batches(reports)
            self._homes = [] if self._is_loaded else self._leaves
        self._leaves = []
        return done


@dataclass(frozen=True)
class Done(Generic[Result]):
    """What comes back from a worker.

    Parameters
    ----------
    result : object
        Of a batch: the results in its order, or their merger.
    reports : tuple of Report
        Of the tasks that went into it.
    """

    result: Result
    reports: tuple[Report, ...]


@dataclass(frozen=True)
class _Work:
    """What all tasks of a pass share."""

    task: Callable[..., Any]
    merge: Callable[[Any, Any], Any] | None
    common: tuple[Any, ...]
    engine: EngineChoice


def run_batch(
    parts: Sequence[tuple[int, Partition, tuple[Any, ...]]], work: _Work, homes: Sequence[Done[Any]]
) -> Done[Any]:
    """One task on a worker: (number, partition, own arguments) one after the other."""
    del homes  # what it depends on, so that it runs where they are
    engine = str(work.engine.here())
    results = [work.task(partition, *own, *work.common) for _, partition, own in parts]
    result = results if work.merge is None else functools.reduce(work.merge, results)
    return Done(result, (_report(engine, parts),))


def run_alone(number: int, partition: Partition, own: tuple[Any, ...], work: _Work) -> Done[Any]:
    """One task on a worker over rows that were made for it."""
    return run_batch([(number, partition, own)], work, ())


def merge_done(parts: Sequence[Done[Result]], merge: Callable[[Result, Result], Result]) -> Done[Result]:
    """One node of the merge tree."""
    result = functools.reduce(merge, [part.result for part in parts])
    return Done(result, tuple(report for part in parts for report in part.reports))


def task_label(task: Callable[..., Any]) -> str:
    """What the dashboard calls a task: ``raw-moments`` for ``raw_moments_partition``."""
    words = task.__name__.strip("_").removesuffix("_partition").split("_")
    return "-".join(word for word in words if word.isalpha()) or "task"


def own_arguments(each: Sequence[Any] | None, count: int) -> list[tuple[Any, ...]]:
    """Each partition's own arguments.

    Raises
    ------
    ValueError
        If they are not as many as the partitions.
    """
    own = [()] * count if each is None else [(argument,) for argument in each]
    if len(own) != count:
        raise ValueError(f"{len(own)} arguments for {count} partitions")
    return own


def _report(engine: str, parts: Sequence[tuple[int, Partition, tuple[Any, ...]]]) -> Report:
    worker = current_worker()
    assert worker is not None, "batches run on workers only"
    n_bytes = {number: _bytes_of(partition) for number, partition, _ in parts}
    return Report(worker.address, str(worker.name), worker.state.nthreads, engine, n_bytes)


def _bytes_of(partition: Partition) -> int:
    if isinstance(partition, MemoryPartition):
        return partition.table.values.nbytes
    # Rows that the memo did not keep are read again by each pass, and may be any number.
    return MEMO.bytes_of(partition.token) or UNKNOWN_BYTES
