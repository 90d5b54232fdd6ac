"""Memory of a fit beyond its input, measured and planned: each class asks one question."""

from __future__ import annotations

import ctypes
import gc
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import gpuseg

from .data import gaussian_mixture

_STATUS = Path("/proc/self/status")
_RESET_PEAK = Path("/proc/self/clear_refs")
_GROUPS = 16


def resident(name: str) -> int:
    """Resident bytes of this process: now ("VmRSS"), or the most since the last reset ("VmHWM")."""
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def give_back() -> None:
    """Return what is free to the system: a fit that takes it again would seem to take nothing."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


class FitMemory:
    """How much memory does a fit take beyond its input, by rows, features, clusters and where the rows are?

    "columns" is feature-major float32, which serves as the block; "rows" is C order, which is worked on as it lies;
    "held" and "again" are a Parquet file of 16 row groups, its rows held between passes or read again by each.
    """

    params = (
        ["columns", "rows", "held", "again"],
        [(1_000_000, 8, 8), (10_000_000, 8, 8), (2_000_000, 32, 16), (500_000, 64, 64)],
    )
    param_names = ("kind", "shape")
    number = 1
    rounds = 1
    timeout = 300

    def setup(self, kind: str, shape: tuple[int, int, int]) -> None:
        """Make the data, and have everything there that is not of the table: code, threads, pools."""
        n, d, k = shape
        self.folder = tempfile.TemporaryDirectory()
        self.persist: str | bool = {"held": True, "again": False}.get(kind, "auto")
        warm, _ = self._table(kind, max(_GROUPS * 64, 2 * k), d, k, "warm")
        self._fit(warm, k)
        self.x, self.n = self._table(kind, n, d, k, "large")
        give_back()

    def teardown(self, kind: str, shape: tuple[int, int, int]) -> None:  # noqa: ARG002 (asv passes both)
        """Remove the files."""
        self.folder.cleanup()

    def _table(self, kind: str, n: int, d: int, k: int, name: str) -> tuple[object, int]:
        x = gaussian_mixture("overlapping", n, d, k).x
        if kind in {"columns", "rows"}:
            return (np.asfortranarray(x) if kind == "columns" else x), n
        path = Path(self.folder.name) / f"{name}.parquet"
        table = pa.table({f"f{f}": x[:, f] for f in range(d)})
        pq.write_table(table, path, row_group_size=-(-n // _GROUPS), compression="none", use_dictionary=False)
        return path, n

    def _fit(self, x: object, k: int) -> gpuseg.KMeans:
        model = gpuseg.KMeans(k, random_state=0, tol=0.0, max_iter=5, persist=self.persist, engine="cpu")
        return model.fit(x)

    def peakmem_fit(self, kind: str, shape: tuple[int, int, int]) -> None:  # noqa: ARG002
        """Peak resident memory of the process in bytes, data in memory included."""
        self._fit(self.x, shape[2])

    def track_bytes_a_row(self, kind: str, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Bytes a row at the peak of a fit, beyond what was there before."""
        return self._measured(shape[2])[0] / self.n

    def track_measured_over_planned(self, kind: str, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """The same over what ``KMeans.plan`` says; above 1 the plan forgets something."""
        measured, planned = self._measured(shape[2])
        return measured / planned

    def _measured(self, k: int) -> tuple[int, int]:
        before = resident("VmRSS")
        _RESET_PEAK.write_text("5", encoding="ascii")
        model = self._fit(self.x, k)
        return resident("VmHWM") - before, model.memory_plan_.peak
