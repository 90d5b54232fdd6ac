"""One worker a GPU (graph): what several devices of one machine need, without dask-cuda.

Each worker process has one thread, sees one device only (``CUDA_VISIBLE_DEVICES``), announces the Dask resource
``GPU=1`` and bounds CuPy's memory pool. Nothing here touches CUDA: workers do, when their first task does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

from gpuseg.engines import cuda_driver
from gpuseg.errors import EngineUnavailableError, InputError
from gpuseg.graph.limits import memory_limit as machine_memory

logger = logging.getLogger("gpuseg.graph")

POOL_PERCENT = 90
"""Share of a device's memory that CuPy's pool may take."""


def cuda_workers(
    devices: Sequence[int | str] | None = None,
    *,
    pool_percent: int = POOL_PERCENT,
    memory_limit: str | int | None = None,
) -> Any:
    """Start a Dask cluster of one single-thread worker a GPU of this machine.

    Parameters
    ----------
    devices : sequence of int or str, optional
        Numbers or UUIDs, as ``CUDA_VISIBLE_DEVICES`` takes them. Default: every device that this process is shown
        and can use; a log line names the others.
    pool_percent : int, default 90
        Percent of a device's memory that CuPy's memory pool may take.
    memory_limit : str or int, optional
        Host memory of each worker. Default: an equal share of what this machine has.

    Returns
    -------
    distributed.SpecCluster
        To be given to a ``distributed.Client``, and closed; also a context manager.

    Raises
    ------
    EngineUnavailableError
        If there is no device; the message has the reason and the remedy.
    InputError
        If a device is named twice, or ``pool_percent`` is not between 1 and 100.

    Notes
    -----
    Tasks of ``engine="cuda"`` go to these workers only, one at a time each. A table in memory stays with the process
    that holds it: give a Dask collection or files.
    """
    from distributed import Nanny, Scheduler, SpecCluster

    found = visible_devices() if devices is None else [str(device) for device in devices]
    specs = plan_workers(found, pool_percent, "auto" if memory_limit is None else memory_limit)
    workers = {number: {"cls": Nanny, "options": options} for number, options in enumerate(specs)}
    pages = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # any port: a server without pages
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, **pages}}
    make: Any = SpecCluster  # untyped in distributed
    return make(workers=workers, scheduler=scheduler, name="gpuseg-cuda")


def visible_devices() -> list[str]:
    """Devices that this process is shown and kernels can run on, in the terms of ``CUDA_VISIBLE_DEVICES``.

    Raises
    ------
    EngineUnavailableError
        If there is none.
    """
    driver = cuda_driver.look()
    if driver.unusable:
        raise EngineUnavailableError(f"there is no GPU to start a worker on: {driver.unusable}")
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    # The driver stops at the first name that is none of its devices.
    names = (
        [str(number) for number in range(len(driver.cards))]
        if chosen is None
        else [name.strip() for name in chosen.split(",")]
    )
    for name, card in zip(names, driver.cards, strict=False):
        if card.problem:
            logger.info("no worker for device %s: %s %s", name, card.name, card.problem)
    return [names[number] for number in driver.usable]


def plan_workers(
    devices: Sequence[str], pool_percent: int = POOL_PERCENT, memory_limit: str | int = "auto"
) -> list[dict[str, Any]]:
    """Options of each worker; starts nothing.

    Parameters
    ----------
    devices : sequence of str
        One worker each.
    pool_percent : int
        Percent of a device's memory for CuPy's pool.
    memory_limit : str or int
        Host memory of each worker; "auto" shares out what there is.

    Returns
    -------
    list of dict
        Options of ``distributed.Nanny``.

    Raises
    ------
    InputError
        If there is no device, one is named twice, or ``pool_percent`` is not between 1 and 100.
    """
    if not devices or len(set(devices)) < len(devices):
        raise InputError(f"devices={list(devices)} has to name at least one device, and none of them twice")
    if not 1 <= pool_percent <= 100:
        raise InputError(f"pool_percent={pool_percent} is not between 1 and 100; 90 is usual")
    if memory_limit == "auto":
        memory_limit = machine_memory() // len(devices)
    return [
        {
            "name": f"gpu-{device}",
            "nthreads": 1,
            "host": "127.0.0.1",
            "resources": {"GPU": 1},
            "memory_limit": memory_limit,
            "dashboard": False,
            "env": {"CUDA_VISIBLE_DEVICES": device, "CUPY_GPU_MEMORY_LIMIT": f"{pool_percent}%"},
        }
        for device in devices
    ]
