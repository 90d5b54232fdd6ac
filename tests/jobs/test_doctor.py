"""``gpuseg doctor``: facts, limits and remedies, also on machines that this is not."""

from __future__ import annotations

import io
import json
import os

import pytest
from rich.console import Console

from gpuseg.engines.cpu.pool import available_cpus
from gpuseg.engines.cuda_driver import Card, Driver
from gpuseg.jobs import doctor

GIB = 2**30


def test_findings_are_true_here():
    found = doctor.examine()
    assert found.cpus_allowed == available_cpus() <= found.cpus_present == os.cpu_count()
    assert found.memory_bytes > 2**28
    assert found.libraries["numpy"]
    assert found.engines[0].available
    assert json.loads(json.dumps(found.to_dict()))["engines"][0]["name"] == "cpu"


def shown(found):
    stream = io.StringIO()
    found.print_to(Console(file=stream, width=200))
    return stream.getvalue()


def test_the_table_names_every_engine_and_missing_library(monkeypatch):
    monkeypatch.setattr(doctor, "_LIBRARIES", ("numpy", "no-such-library"))
    text = shown(doctor.examine())
    assert "engine cpu" in text
    assert "engine cuda" in text
    assert "not installed" in text
    assert "no-such-library" in text


def fake_files(monkeypatch, files):
    monkeypatch.setattr(doctor, "_read", lambda path: files.get(path, ""))


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": f"{4 * GIB}\n"}, 4 * GIB),
        (
            {
                "/proc/self/cgroup": "0::/slurm/job_7\n",
                "/sys/fs/cgroup/slurm/memory.max": f"{8 * GIB}\n",
                "/sys/fs/cgroup/slurm/job_7/memory.max": f"{2 * GIB}\n",
            },
            2 * GIB,
        ),
        (
            {
                "/proc/self/cgroup": "5:cpu:/a\n4:memory:/box\n0::/\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "/sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{3 * GIB}\n",
            },
            3 * GIB,
        ),
    ],
    ids=["no cgroup", "v2 without limit", "v2", "v2 nested", "v1"],
)
def test_memory_limit(monkeypatch, files, limit):
    fake_files(monkeypatch, files)
    assert doctor._memory_limit() == limit


def test_cpu_model(monkeypatch):
    fake_files(monkeypatch, {"/proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast One\n"})
    assert doctor._cpu_model() == "Fast One"
    fake_files(monkeypatch, {})
    assert doctor._cpu_model()


CARDS = (Card("Card A", 90, 80 * GIB), Card("Card B", 86, 24 * GIB))


@pytest.mark.parametrize(
    ("reason", "detail", "remedy"),
    [
        ("no driver; install one", "no driver", "install one; the cpu engine gives the same answer"),
        ("a riddle", "a riddle", "the cpu engine gives the same answer"),
    ],
)
def test_no_gpu_gives_the_reason_and_the_remedy(monkeypatch, reason, detail, remedy):
    monkeypatch.setattr(doctor.cuda, "unavailable", lambda: reason)
    engine = doctor._cuda_engine(Driver(0, (), "no driver"))
    assert engine == doctor.Engine("cuda", available=False, detail=detail, remedy=remedy)


def test_devices_driver_and_compiler_are_shown(monkeypatch):
    monkeypatch.setattr(doctor.cuda_driver, "look", lambda: Driver(13_020, CARDS, ""))
    monkeypatch.setattr(doctor.cuda, "unavailable", lambda: None)
    monkeypatch.setattr(doctor.cuda, "nvrtc_version", lambda: "13.5")
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: object())
    monkeypatch.setattr(doctor, "_version", lambda name: "14.2.0" if name == "cupy-cuda13x" else None)
    found = doctor.examine()
    assert found.engines[1] == doctor.Engine("cuda", available=True, detail="on Card A, CuPy 14.2.0")
    assert json.loads(json.dumps(found.to_dict()))["devices"][1]["memory_bytes"] == 24 * GIB
    text = shown(found)
    assert "Card A, 80.0 GiB, compute capability 9.0" in text
    assert "GPU 1" in text
    assert "for CUDA 13.2" in text
    assert "13.5" in text


def test_each_device_is_looked_at(monkeypatch):
    cards = (Card("Card Z", 61, 80 * GIB), Card("Card Y", 90, GIB // 2), *CARDS)
    monkeypatch.setattr(doctor.cuda_driver, "look", lambda: Driver(13_020, cards, ""))
    monkeypatch.setattr(doctor.cuda, "unavailable", lambda: None)
    found = doctor.examine()
    assert found.engines[1].detail.startswith("on Card A, CuPy")
    facts = dict(found._facts())
    assert facts["GPU 0"].endswith("compute capability 6.1; not used, as it is of compute capability 6.1")
    assert facts["GPU 1"].endswith("not used, as it has 0.5 GiB of memory")
    assert facts["GPU 3"] == "Card B, 24.0 GiB, compute capability 8.6"


def test_nothing_of_nvidia(monkeypatch):
    monkeypatch.setattr(doctor.cuda_driver, "look", lambda: Driver(0, (), "no driver; install one"))
    monkeypatch.setattr(doctor.cuda, "unavailable", lambda: "no driver; install one")
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: None)
    found = doctor.examine()
    assert (found.driver, found.nvrtc, found.devices) == (None, None, ())
    assert "not available: no driver; install one; the cpu engine gives the same answer" in shown(found)


def test_a_read_only_install_without_home_is_reported(monkeypatch):
    from numba.core import caching

    def refuse(self, function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(caching.FunctionCache, "__init__", refuse)
    assert doctor._kernel_cache() == ("none: cannot cache function: no locator available", False)
