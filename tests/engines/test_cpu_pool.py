"""Threads: how many, how rows are split, and what a fork leaves."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuseg.engines.cpu import pool
from gpuseg.engines.cpu.pool import available_cpus as real_available_cpus

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this platform has no CPU affinity"
)


@pytest.fixture
def four_cpus(monkeypatch):
    monkeypatch.setattr(pool, "available_cpus", lambda: 4)
    monkeypatch.delitem(sys.modules, "distributed.worker", raising=False)


@given(st.integers(0, 5000), st.integers(1, 9))
def test_ranges_cover_the_rows_once_and_start_on_lanes(n, parts):
    ranges = pool.split_rows(n, parts)
    assert 1 <= len(ranges) <= parts
    assert ranges[0][0] == 0
    assert ranges[-1][1] == n
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(ranges))
    assert all(start % 16 == 0 for start, _ in ranges)
    assert n == 0 or all(start < stop for start, stop in ranges)


def test_few_rows_are_not_split(monkeypatch):
    monkeypatch.setattr(pool, "_MIN_ROWS", 4096)
    assert len(pool.split_rows(8191, 2)) == 1
    assert pool.split_rows(8192, 2) == [(0, 4096), (4096, 8192)]
    assert len(pool.split_rows(10**6, 3)) == 3


@pytest.mark.usefixtures("four_cpus")
@pytest.mark.parametrize(("n_jobs", "threads"), [(None, 4), (-1, 4), (-2, 3), (-9, 1), (1, 1), (7, 7)])
def test_threads_by_n_jobs(n_jobs, threads):
    assert pool.thread_count(n_jobs) == threads


@pytest.mark.usefixtures("four_cpus")
def test_inside_a_dask_worker_its_threads_are_the_default(monkeypatch):
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=2))
    monkeypatch.setitem(sys.modules, "distributed.worker", SimpleNamespace(get_worker=lambda: worker))
    assert [pool.thread_count(n) for n in (None, -1, 3)] == [2, 4, 3]


@pytest.mark.usefixtures("four_cpus")
def test_outside_a_worker_dask_changes_nothing(monkeypatch):
    def none():
        raise ValueError("No worker found")

    monkeypatch.setitem(sys.modules, "distributed.worker", SimpleNamespace(get_worker=none))
    assert pool.thread_count() == 4


@needs_affinity
@pytest.mark.parametrize(("affinity", "quota", "cpus"), [(8, None, 8), (8, 3, 3), (2, 3, 2), (1, None, 1)])
def test_cpus_by_affinity_and_quota(monkeypatch, affinity, quota, cpus):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)))
    monkeypatch.setattr(pool, "_quota", lambda: quota)
    assert real_available_cpus() == cpus


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000", None), ("250000 100000", 2), ("50000 100000", 1), ("broken", None), (None, None)],
)
def test_quota_of_a_cgroup(monkeypatch, text, cpus):
    def read_text(self, encoding):
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(pool.Path, "read_text", read_text)
    assert pool._cgroup_cpus() == cpus


def test_results_come_in_the_order_of_the_ranges_and_threads_really_run():
    together = threading.Barrier(3, timeout=30)
    names = set()

    def work(start, stop):
        names.add(threading.current_thread().name)
        together.wait()
        return start, stop

    ranges = [(0, 16), (16, 32), (32, 40)]
    assert pool.run_parallel(work, ranges) == ranges
    assert threading.current_thread().name in names
    assert len(names) == 3


def test_more_ranges_than_threads_queue():
    ranges = [(i, i + 1) for i in range(50)]
    assert pool.run_parallel(lambda start, stop: start, ranges) == list(range(50))


@pytest.mark.parametrize("where", [0, 2])
def test_an_error_in_any_range_comes_out(where):
    def work(start, stop):
        if start == where:
            raise OverflowError(start)
        return start

    with pytest.raises(OverflowError):
        pool.run_parallel(work, [(0, 1), (1, 2), (2, 3)])


FORK = """
import os, warnings
import numpy as np
from gpuseg.engines.cpu import pool
pool._MIN_ROWS = 16
from gpuseg.engines.cpu.engine import CpuEngine

closest = np.arange(100, dtype=np.float32)
from gpuseg.core.weights import Weights
engine = CpuEngine(3)
run = lambda: engine.potentials(closest, Weights.ones(), 3).tolist()
expected = run()
assert pool._pool is not None
warnings.simplefilter("ignore")  # Python 3.12 warns of a fork beside threads: that is the case at hand
child = os.fork()
if child == 0:
    os._exit(0 if pool._pool is None and run() == expected else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
assert run() == expected
print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_makes_its_own_pool():
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "same\n"), done.stderr


AFFINITY = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from gpuseg.engines.cpu import pool
print(pool.available_cpus(), pool.thread_count(), pool._shared_pool()._max_workers)
"""


@needs_affinity
def test_a_process_bound_to_one_cpu_has_one_thread():
    done = subprocess.run(
        [sys.executable, "-c", AFFINITY], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["1", "1", "1"]
