"""``gpuseg doctor``: facts, limits and remedies, also on machines that this is not."""

from __future__ import annotations

import ctypes
import io
import json
import os

import pytest
from rich.console import Console

from gpuseg.engines.pool import available_cpus
from gpuseg.jobs import doctor

GIB = 2**30


def test_findings_are_true_here():
    found = doctor.examine()
    assert found.cpus_allowed == available_cpus() <= found.cpus_present == os.cpu_count()
    assert found.memory_bytes > 2**28
    assert found.libraries["numpy"]
    assert found.engines[0].available
    assert json.loads(json.dumps(found.to_dict()))["engines"][0]["name"] == "cpu"


def test_the_table_names_every_engine_and_missing_library(monkeypatch):
    monkeypatch.setattr(doctor, "_LIBRARIES", ("numpy", "no-such-library"))
    stream = io.StringIO()
    doctor.examine().print_to(Console(file=stream, width=200))
    text = stream.getvalue()
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


class FakeDriver:
    """libcuda with two devices, or with an error at the start."""

    def __init__(self, status: int = 0, names: tuple[bytes, ...] = (b"Card A", b"Card B")) -> None:
        self.status, self.names = status, names

    def cuInit(self, flags):  # noqa: N802 (the driver's own names)
        return self.status

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self.names)

    def cuDeviceGet(self, device, ordinal):  # noqa: N802
        device._obj.value = ordinal

    def cuDeviceGetName(self, buffer, size, device):  # noqa: N802
        buffer.value = self.names[device.value]


def no_driver(name):
    raise OSError(name)


@pytest.mark.parametrize(
    ("driver", "detail"),
    [
        (no_driver, "no NVIDIA driver"),
        (lambda _: FakeDriver(status=999), "cuInit returned 999"),
        (lambda _: FakeDriver(names=()), "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_no_gpu_gives_the_reason(monkeypatch, driver, detail):
    monkeypatch.setattr(ctypes, "CDLL", driver)
    engine = doctor._cuda_engine()
    assert not engine.available
    assert detail in engine.detail
    assert "cpu engine gives the same answer" in engine.remedy


@pytest.mark.parametrize(
    ("installed", "available", "text"),
    [
        (set(), False, "no CUDA engine yet"),
        ({"gpuseg.engines.cuda"}, False, 'pip install "gpuseg[cuda13]"'),
        ({"gpuseg.engines.cuda", "cupy"}, True, "2 device(s): Card A, Card B"),
    ],
)
def test_a_gpu_needs_the_engine_and_cupy(monkeypatch, installed, available, text):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeDriver())
    monkeypatch.setattr(doctor.util, "find_spec", lambda name: name if name in installed else None)
    engine = doctor._cuda_engine()
    assert engine.available is available
    assert text in f"{engine.detail}; {engine.remedy}"


def test_a_read_only_install_without_home_is_reported(monkeypatch):
    from numba.core import caching

    def refuse(self, function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(caching.FunctionCache, "__init__", refuse)
    assert doctor._kernel_cache() == ("none: cannot cache function: no locator available", False)
