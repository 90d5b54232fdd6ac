"""How much memory there is (graph): of the machine, the cgroup, the Dask worker; and the plan held against it."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from gpuseg.core.memory import FitMemory
from gpuseg.engines.cpu.pool import available_cpus
from gpuseg.errors import MemoryPlanError

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_UNKNOWN = 1 << 62
_KIB = 1024
_GIB = 1 << 30


@cache
def memory_limit() -> int:
    """Bytes that the machine or the cgroup gives this process; asked for at every task, read once."""
    physical = _meminfo("MemTotal")
    limit = _cgroup("memory.max")
    return physical if limit is None else min(physical, limit)


def available_memory() -> int:
    """Bytes that this process can still take."""
    free = _meminfo("MemAvailable")
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    return free if limit is None or used is None else min(free, max(0, limit - used))


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
    return int(limit) if limit else memory_limit() * min(threads, available_cpus()) // available_cpus()


def require_memory(plan: FitMemory) -> None:
    """Refuse a plan that cannot fit, before anything is allocated.

    Raises
    ------
    MemoryPlanError
        Names what is needed, what there is, and the remedy.
    """
    available = available_memory()
    if plan.total > available:
        msg = (
            f"the fit needs {plan.total / _GIB:.1f} GiB beside its input ({plan.block / _GIB:.1f} for a feature-major "
            f"copy) and {available / _GIB:.1f} GiB are available; pass feature-major float32 (Fortran order) or a "
            f"Parquet path"
        )
        raise MemoryPlanError(msg)


def _meminfo(field: str) -> int:
    """A figure of the kernel in bytes; where there is no /proc nothing is known, and so nothing refused."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return _UNKNOWN
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * _KIB
    return _UNKNOWN


def _cgroup(name: str) -> int | None:
    """A figure of the process's cgroup (version 2); None without one."""
    try:
        text = (_CGROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return None if text == "max" else int(text)
