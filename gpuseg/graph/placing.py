"""Where an engine runs (graph): in this process, or on the workers of a Dask client, which may have what it has not.

A client needs no device of its own: it looks at the resources that workers announce (``GPU=1``, as
:func:`gpuseg.graph.cuda_workers` starts them), and tasks ask for one. Whether the engine runs is found where they run.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gpuseg.engines.choose import (
    OR_CPU,
    PREFERRED,
    EngineChoice,
    check_engine,
    choose_engine,
    resource_of,
    say_once,
)
from gpuseg.errors import EngineUnavailableError

logger = logging.getLogger("gpuseg.graph")

Result = TypeVar("Result")

_NAMED_WORKERS = 4


def current_client() -> Any | None:
    """The Dask client of this process, without importing distributed; None inside a worker's task.

    A client that belongs to an event loop cannot be waited for here: the threads of this process do the work.
    """
    if current_worker() is not None:
        return None
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    if client.asynchronous:
        logger.info("the current Dask client is asynchronous; tasks run on the threads of this process")
        return None
    return client


def current_worker() -> Any | None:
    """The Dask worker whose task runs in this thread; None anywhere else."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_worker()
    except ValueError:
        return None


def choose_placed(name: str, n_jobs: int | None, client: Any | None) -> EngineChoice:
    """Resolve an ``engine=`` parameter for tasks.

    Parameters
    ----------
    name : str
        "auto", "cpu", "cuda" or the name of a registered engine.
    n_jobs : int, optional
        Threads of the CPU engine.
    client : distributed.Client, optional
        To whose workers the tasks go; None for this process.

    Returns
    -------
    EngineChoice
        For "auto", workers that offer what the device engine asks for get the tasks; where none does, each worker takes
        what it has.

    Raises
    ------
    InputError
        If the name is unknown or ``n_jobs`` is 0.
    EngineUnavailableError
        If the engine was asked for by name and cannot run in this process, or no worker offers what it asks for; the
        message says which workers there are and what to start.
    """
    if client is None:
        return choose_engine(name, n_jobs)
    check_engine(name, n_jobs)
    resource = resource_of(name)
    if not resource:
        return EngineChoice(name, "asked for", n_jobs)
    offering, others = _workers(client, resource)
    if name != "auto":
        if not offering:
            raise EngineUnavailableError(_nobody_offers(name, resource, others))
        return EngineChoice(name, "asked for", n_jobs, resource=resource)
    if not offering:
        return EngineChoice(PREFERRED, "a device is there", n_jobs, required=False)
    reason = f"offered by {listed(offering)}"
    say_once(f"engine='auto' takes {PREFERRED!r}: {resource}=1 is {reason}")
    return EngineChoice(PREFERRED, reason, n_jobs, required=False, resource=resource)


def asking(engine: EngineChoice) -> contextlib.AbstractContextManager[None]:
    """Dask tasks that are made within ask for what the engine asks for."""
    if not engine.resource:
        return contextlib.nullcontext()
    from dask.base import annotate

    return annotate(resources={engine.resource: 1})


def run_placed(engine: EngineChoice, task: Callable[..., Result], rows: Any, *common: Any) -> Result:
    """``task(rows, *common)`` of a lazy collection: here, or on a worker that has what the engine has to have.

    Notes
    -----
    Dask forgets the annotations of arrays and dataframes when it fuses their tasks (seen in dask 2026.8), so a chunk
    may find itself on any worker. One that cannot do what was asked for by name hands it on, its rows directly to the
    other worker, and gives its thread away while it waits.
    """
    worker = current_worker() if engine.required and engine.resource else None
    if worker is None or worker.state.total_resources.get(engine.resource, 0) > 0:
        return task(rows, *common)
    from distributed import worker_client

    with worker_client() as client:
        # The rows stay on this worker until the other one fetches them; should this one die, its task runs again.
        held = client.scatter(rows, hash=False)
        done = client.submit(task, held, *common, pure=False, resources={engine.resource: 1})
        result: Result = done.result()
        return result


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - _NAMED_WORKERS
    return ", ".join(names[:_NAMED_WORKERS]) + (f" and {rest} more" if rest > 0 else "")


def _workers(client: Any, resource: str) -> tuple[list[str], list[str]]:
    """Names of the workers that announce a resource, and of the others."""
    found = client.scheduler_info(n_workers=-1)["workers"]
    offering: list[str] = []
    others: list[str] = []
    for address, worker in found.items():
        has = worker.get("resources", {}).get(resource, 0) > 0
        (offering if has else others).append(str(worker.get("name", address)))
    return sorted(offering), sorted(others)


def _nobody_offers(name: str, resource: str, workers: Sequence[str]) -> str:
    who = f"none of the {len(workers)} workers of the Dask client ({listed(workers)})"
    return (
        f"engine={name!r} needs workers that offer {resource}=1, and {who if workers else 'the Dask client has none'} "
        f"does; start them by gpuseg.graph.cuda_workers() or `dask worker ADDRESS --nthreads 1 --resources "
        f'"{resource}=1"`, {OR_CPU}'
    )
