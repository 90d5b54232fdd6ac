"""Memory limits: read from the machine, held against the plan before anything is allocated."""

from __future__ import annotations

import numpy as np
import pytest

from gpuseg import KMeans
from gpuseg.core.memory import plan_fit_memory
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
    limits.require_memory(plan_fit_memory(1 << 40, 8, [8]))


def test_a_fit_that_cannot_fit_is_refused_before_it_starts(machine, monkeypatch):
    X = np.broadcast_to(np.float32(1.0), (1 << 30, 4))
    monkeypatch.setattr("gpuseg.cluster.inputs.validate_data", lambda *args, **kwargs: X)
    with pytest.raises(MemoryPlanError, match=r"needs 21\.0 GiB beside its input .* 3\.0 GiB are available"):
        KMeans(8).fit(X)
