"""One thread pool a process (engines, private): numba kernels release the GIL, threads split the rows.

How many threads: ``n_jobs`` if given, inside a Dask worker that worker's threads, else the CPUs that affinity and
the cgroup allow. The pool is rebuilt after a fork. A task never waits for another task of the same pool.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

_ALIGN = 16
"""Row ranges start at multiples of this: the lanes of one SIMD vector."""
_MIN_ROWS = 4096
"""Fewer rows than this are not worth another thread."""

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """After a fork the child has none of the parent's threads: start over."""
    global _pool, _lock  # noqa: PLW0603 (one pool a process is module state by design)
    _lock = threading.Lock()
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _cgroup_cpus() -> int | None:
    """CPUs that a cgroup-v2 quota leaves to this process, or None without a quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


@functools.cache
def _quota() -> int | None:
    """What :func:`_cgroup_cpus` says, read once a process: it is asked for in every pass."""
    return _cgroup_cpus()


def available_cpus() -> int:
    """CPUs this process may use: affinity and cgroup quota, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _quota()
    return max(1, allowed if quota is None else min(allowed, quota))


def _dask_worker_threads() -> int | None:
    """Threads of the Dask worker that this thread runs in; None outside a worker."""
    worker_module = sys.modules.get("distributed.worker")
    if worker_module is None:
        return None
    try:
        return int(worker_module.get_worker().state.nthreads)
    except (ValueError, AttributeError):
        return None


def thread_count(n_jobs: int | None = None) -> int:
    """Threads an engine uses: ``n_jobs`` (-1: all CPUs allowed), else the Dask worker's, else the CPUs allowed."""
    if n_jobs is not None and n_jobs > 0:
        return n_jobs
    if n_jobs is not None and n_jobs < 0:
        return max(1, available_cpus() + 1 + n_jobs)
    return _dask_worker_threads() or available_cpus()


def split_rows(n_rows: int, n_parts: int) -> list[tuple[int, int]]:
    """At most ``n_parts`` contiguous row ranges, aligned to SIMD lanes, none of them empty unless ``n_rows`` is 0."""
    parts = max(1, min(n_parts, n_rows // _MIN_ROWS))
    step = -(-n_rows // parts)
    step = -(-step // _ALIGN) * _ALIGN if step else _ALIGN
    return [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)] or [(0, 0)]


def run_parallel(work: Callable[..., Result], ranges: Sequence[tuple[Any, ...]]) -> list[Result]:
    """``[work(*range) for range in ranges]`` on the pool; the last range runs on the calling thread."""
    if len(ranges) == 1:
        return [work(*ranges[0])]
    pool = _shared_pool()
    futures = [pool.submit(work, *part) for part in ranges[:-1]]
    last = work(*ranges[-1])
    return [*(future.result() for future in futures), last]


def _shared_pool() -> ThreadPoolExecutor:
    """The process's pool, as large as the CPUs allowed: more ranges than that queue, the answer is the same."""
    global _pool  # noqa: PLW0603
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max_workers=available_cpus(), thread_name_prefix="gpuseg")
        return _pool
