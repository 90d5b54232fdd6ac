"""Where tasks run (graph): threads of this process, or the workers of a Dask client.

A task is a module-level function ``task(partition, *arguments)``; it is pure, idempotent and unpinned, and what it
returns is small. ``map`` gathers results in partition order, ``reduce`` merges them as a tree. DESIGN section 2.4.
"""

from __future__ import annotations

import functools
import logging
import sys
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from gpuseg.engines.choose import EngineChoice
from gpuseg.graph.dask_tables import GraphPartition
from gpuseg.graph.memo import forget_partitions
from gpuseg.graph.partitions import Partition
from gpuseg.graph.tables import Table

logger = logging.getLogger("gpuseg.graph")

Result = TypeVar("Result")

_FAN_IN = 8
_RETRIES = 3


class Executor(Protocol):
    """Runs tasks over the partitions of one table.

    ``placement`` says where, ``where`` what messages call each partition.
    """

    placement: str
    where: list[str]

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

    def close(self) -> None:
        """Forget what was remembered of the table."""
        ...


class LocalExecutor:
    """Tasks one after the other in this process; the engine's threads share each partition's rows."""

    placement = "threads of this process"

    def __init__(self, table: Table) -> None:
        self._partitions = table.partitions
        self.where = [partition.where for partition in table.partitions]

    def map(
        self, task: Callable[..., Result], *common: Any, each: Sequence[Any] | None = None
    ) -> list[Result]:
        """See :class:`Executor`."""
        return [
            task(partition, *own, *common)
            for partition, own in zip(self._partitions, _each(each, len(self._partitions)), strict=True)
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

    def close(self) -> None:
        """See :class:`Executor`."""
        forget_partitions([partition.token for partition in self._partitions])


class ClientExecutor:
    """Tasks on the workers of a ``distributed.Client``.

    Partitions of Dask collections are computed once and kept as futures, which the scheduler can compute again; files
    are read by the tasks themselves. With a ``resource`` that workers announce, a task over a partition asks
    for one of it.
    """

    placement = "workers of the Dask client"

    def __init__(self, table: Table, client: Any, resource: str = "") -> None:
        self._client = client
        # Workers that announce none of it decide for themselves whether they can do the work.
        self._resources = {resource: 1} if resource and _announced(client, resource) else None
        self._live: list[Any] = []
        self.where = [partition.where for partition in table.partitions]
        self._run = uuid.uuid4().hex[:8]
        self._step = 0
        self._tokens = [partition.token for partition in table.partitions]
        graphs = [part.delayed() for part in table.partitions if isinstance(part, GraphPartition)]
        futures = iter(client.compute(graphs, retries=_RETRIES) if graphs else [])
        self._partitions = [
            next(futures) if isinstance(part, GraphPartition) else part for part in table.partitions
        ]

    def _submit(
        self, task: Callable[..., Result], common: tuple[Any, ...], each: Sequence[Any] | None
    ) -> list[Any]:
        self._step += 1
        name = f"gpuseg-{task.__name__.strip('_')}-{self._run}-{self._step}"
        own = _each(each, len(self._partitions))
        # One message for all: submitting one by one costs the driver a millisecond a partition and pass.
        self._live = self._client.map(
            run_task, self._partitions, own, task=task, common=common,
            key=[f"{name}-{i}" for i in range(len(own))], pure=False, retries=_RETRIES, resources=self._resources,
        )  # fmt: skip
        return self._live

    def map(
        self, task: Callable[..., Result], *common: Any, each: Sequence[Any] | None = None
    ) -> list[Result]:
        """See :class:`Executor`."""
        return self._gather(self._submit(task, common, each))

    def reduce(
        self,
        task: Callable[..., Result],
        merge: Callable[[Result, Result], Result],
        *common: Any,
        each: Sequence[Any] | None = None,
    ) -> Result:
        """See :class:`Executor`."""
        level = self._submit(task, common, each)
        # The last few merge here: one more task on a worker would cost a round trip a pass.
        while len(level) > _FAN_IN:
            level = [
                self._client.submit(
                    merge_all, merge, *level[i : i + _FAN_IN], pure=False, retries=_RETRIES,
                    key=f"gpuseg-merge-{uuid.uuid4().hex}",
                )
                for i in range(0, len(level), _FAN_IN)
            ]  # fmt: skip
        results: list[Result] = self._gather(level)
        return merge_all(merge, *results)

    def _gather(self, futures: list[Any]) -> list[Any]:
        results: list[Any] = self._client.gather(futures)
        self._live = []
        return results

    def close(self) -> None:
        """See :class:`Executor`."""
        # After an error the traceback holds the futures of the other partitions, which would go on for nothing.
        unfinished = [future for future in self._live if not future.done()]
        self._live, self._partitions = [], []
        # Best effort: a worker that is gone has nothing to forget, and every memo is bounded anyway. Whatever goes
        # wrong here must not hide the error, or lose the answer, of the fit itself.
        try:
            if unfinished:
                self._client.cancel(unfinished)
            self._client.run(forget_partitions, self._tokens, on_error="ignore")
        except Exception as error:  # noqa: BLE001 (see above)
            logger.info("workers could not be asked to forget their memo: %s", error)


def run_task(
    partition: Partition, own: tuple[Any, ...], *, task: Callable[..., Result], common: tuple[Any, ...]
) -> Result:
    """One task on a worker."""
    return task(partition, *own, *common)


def merge_all(merge: Callable[[Result, Result], Result], *results: Result) -> Result:
    """One node of the merge tree."""
    return functools.reduce(merge, results)


def executor_for(table: Table, engine: EngineChoice | None = None) -> Executor:
    """Where the tasks of a table run.

    Tables in memory stay with the threads of this process, whose memory they are in; Dask collections and files go
    to the current Dask client where there is one. The answer is the same either way.

    Parameters
    ----------
    table : Table
        Partitions.
    engine : EngineChoice, optional
        Who computes. Where workers announce its resource (``GPU``), its tasks go to them only, one at a time each.
    """
    client = None if table.kind == "memory" else current_client()
    if client is None:
        return LocalExecutor(table)
    return ClientExecutor(table, client, "" if engine is None else engine.resource)


def _announced(client: Any, resource: str) -> bool:
    """Whether a worker has the resource."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(worker.get("resources", {}).get(resource, 0) > 0 for worker in workers)


def current_client() -> Any | None:
    """The Dask client of this process, without importing distributed; None inside a worker's task.

    A client that belongs to an event loop cannot be waited for here: the threads of this process do the work.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        distributed.get_worker()
    except ValueError:
        pass
    else:
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    if client.asynchronous:
        logger.info("the current Dask client is asynchronous; tasks run on the threads of this process")
        return None
    return client


def _each(each: Sequence[Any] | None, count: int) -> list[tuple[Any, ...]]:
    """Each partition's own arguments."""
    own = [()] * count if each is None else [(argument,) for argument in each]
    if len(own) != count:
        msg = f"{len(own)} arguments for {count} partitions"
        raise ValueError(msg)
    return own
