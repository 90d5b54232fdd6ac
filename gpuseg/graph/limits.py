"""How much memory there is (graph): of the machine, the cgroup, the process's own limits, and the Dask workers."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from gpuseg.engines.cpu.pool import available_cpus

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_UNKNOWN = 1 << 62
_KIB = 1024
_STATUS = Path("/proc/self/status")
_ULIMITS = {"RLIMIT_AS": "VmSize", "RLIMIT_DATA": "VmData"}
"""Limits of a process on its memory, and what the kernel counts against each."""


@cache
def memory_limit() -> int:
    """Bytes that machine, cgroup and ``ulimit`` give this process; asked for at every task, read once."""
    limit = _cgroup("memory.max")
    given = [limit] if limit is not None else []
    return min([_meminfo("MemTotal"), *given, *(found for found, _ in _ulimits())])


def available_memory() -> int:
    """Bytes that this process can still take."""
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    given = [] if limit is None or used is None else [(limit, used)]
    return min([_meminfo("MemAvailable"), *(max(0, most - taken) for most, taken in [*given, *_ulimits()])])


def worker_memory_limit() -> int | None:
    """Memory limit of the Dask worker that this thread runs in; None outside a worker.

    A worker without a limit shares the machine with others, so it gets the share that its threads are of the CPUs.
    """
    module = sys.modules.get("distributed.worker")
    if module is None:
        return None
    try:
        worker = module.get_worker()
        limit, threads = worker.memory_manager.memory_limit, worker.state.nthreads
    except (ValueError, AttributeError):
        return None
    return _of_threads(limit, threads)


def worker_limits(client: Any) -> list[tuple[int, int]]:
    """Memory limit and threads of each worker of a Dask client, as the scheduler knows them."""
    found = client.scheduler_info(n_workers=-1)["workers"].values()
    return [
        (_of_threads(worker.get("memory_limit"), worker["nthreads"]), int(worker["nthreads"]))
        for worker in found
    ]


def _of_threads(limit: int | None, threads: int) -> int:
    """A worker's limit; one without gets the share that its threads are of the CPUs."""
    return int(limit) if limit else memory_limit() * min(threads, available_cpus()) // available_cpus()


def _ulimits() -> list[tuple[int, int]]:
    """Limits of the process in bytes, and how much of each is used; none where there are none."""
    try:
        import resource
    except ImportError:  # not on Windows
        return []
    found = []
    for name, field in _ULIMITS.items():
        limit, _ = resource.getrlimit(getattr(resource, name))
        used = _field(_STATUS, field)
        if limit != resource.RLIM_INFINITY and used is not None:
            found.append((limit, used))
    return found


def _meminfo(field: str) -> int:
    """A figure of the kernel in bytes; where there is no /proc nothing is known, and so nothing refused."""
    found = _field(_MEMINFO, field)
    return _UNKNOWN if found is None else found


def _field(path: Path, field: str) -> int | None:
    """A figure, in bytes, of a file of the kernel that has one a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * _KIB
    return None


def _cgroup(name: str) -> int | None:
    """A figure of the process's cgroup (version 2); None without one."""
    try:
        text = (_CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if text == "max" else int(text)
