"""A fit in a process of its own, and the memory that it took: ``python -m tests.cluster.measured_fit FILE OPTIONS``.

Prints JSON: bytes planned and measured, what was decided, and a digest of the answer. ``OPTIONS`` is JSON as well:
``as`` is "file" or "rows", ``limit`` bytes that the process may take beyond what it has (RLIMIT_DATA), the rest are
parameters of KMeans.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from gpuseg import KMeans

STATUS = Path("/proc/self/status")
RESET_PEAK = Path("/proc/self/clear_refs")


def figure(name: str) -> int:
    """Bytes of a figure of this process."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def rows_of(path: str) -> np.ndarray:
    """The whole file as a table in C order."""
    return np.stack([column.to_numpy() for column in pq.read_table(path).columns], axis=1)


def digest(model: KMeans) -> str:
    found = hashlib.sha256(model.labels_.tobytes())
    found.update(model.cluster_centers_.tobytes())
    found.update(repr((model.inertia_, model.n_iter_)).encode())
    return found.hexdigest()


def main(path: str, options: dict) -> dict:
    kind, limit = options.pop("as", "file"), options.pop("limit", None)
    X = path if kind == "file" else rows_of(path)
    small = f"{path}.small"
    model = KMeans(random_state=0, tol=0, **options)
    # Compiled code, threads and the pools of allocators are there before it counts.
    model.fit(small if kind == "file" else rows_of(small))
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (figure("VmData") + limit, resource.RLIM_INFINITY))
    before = figure("VmRSS")
    RESET_PEAK.write_text("5", encoding="ascii")
    model.fit(X)
    plan = model.memory_plan_
    return {
        "planned": plan.peak, "measured": figure("VmHWM") - before, "held": plan.held, "persist": model.persist_,
        "digest": digest(model), "n_iter": model.n_iter_,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
