"""Memory limits: read from the machine, held against the plan before anything is allocated."""

from __future__ import annotations

import resource
from types import SimpleNamespace

import numpy as np
import pytest

from gpuseg import KMeans
from gpuseg.errors import MemoryPlanError
from gpuseg.graph import limits


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 8 GiB, of which 3 GiB are free."""
    (tmp_path / "meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 3145728 kB\n")
    monkeypatch.setattr(limits, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    limits.memory_limit.cache_clear()
    yield tmp_path
    limits.memory_limit.cache_clear()


def test_machine_without_a_cgroup(machine):
    assert limits.memory_limit() == 8 << 30
    assert limits.available_memory() == 3 << 30


def test_the_cgroup_counts_where_it_is_smaller(machine):
    (machine / "memory.max").write_text(f"{2 << 30}\n")
    (machine / "memory.current").write_text(f"{1 << 30}\n")
    assert limits.memory_limit() == 2 << 30
    assert limits.available_memory() == 1 << 30
    (machine / "memory.max").write_text("max\n")
    limits.memory_limit.cache_clear()
    assert limits.memory_limit() == 8 << 30


def test_nothing_is_refused_where_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "_MEMINFO", tmp_path / "missing")
    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    assert limits.available_memory() >= 1 << 60


def test_limits_of_the_process_count(machine, monkeypatch):
    (machine / "status").write_text("Name:\tpython\nVmSize:\t 2097152 kB\nVmData:\t 524288 kB\n")
    monkeypatch.setattr(limits, "_STATUS", machine / "status")
    set_to = {resource.RLIMIT_AS: resource.RLIM_INFINITY, resource.RLIMIT_DATA: 1 << 30}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (set_to[which], resource.RLIM_INFINITY))
    assert limits.memory_limit() == 1 << 30
    assert limits.available_memory() == 1 << 29
    set_to[resource.RLIMIT_AS] = 1 << 31
    assert limits.available_memory() == 0
    monkeypatch.setattr(limits, "_STATUS", machine / "missing")
    assert limits.available_memory() == 3 << 30


def test_workers_share_the_machine_by_threads_where_they_have_no_limit(machine, monkeypatch):
    monkeypatch.setattr(limits, "available_cpus", lambda: 4)
    workers = {"a": {"memory_limit": 1 << 30, "nthreads": 2}, "b": {"memory_limit": None, "nthreads": 1}}
    client = SimpleNamespace(scheduler_info=lambda n_workers: {"workers": workers})
    assert limits.worker_limits(client) == [(1 << 30, 2), (2 << 30, 1)]


def test_a_fit_that_cannot_fit_is_refused_before_it_starts(machine, monkeypatch):
    X = np.broadcast_to(np.float32(1.0), (1 << 30, 4))
    monkeypatch.setattr("gpuseg.cluster.inputs.validate_data", lambda *args, **kwargs: X)
    with pytest.raises(
        MemoryPlanError, match=r"needs 25\.0 GiB .* beside its input .* 3\.0 GiB are available; pass"
    ):
        KMeans(8).fit(X)
