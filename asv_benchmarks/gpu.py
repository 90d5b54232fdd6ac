"""What does each kernel take on this machine's GPU, and a whole fit beside the CPU engine?

    python asv_benchmarks/gpu.py --n 10000000 --json gpu.json

Times are those of the device, between two CUDA events, over data that lie there already; the fit is timed by the clock
on the wall, with everything that travels. Every row says which kernels ran, and fails where they are not those that it
is about. Without a device the reason is printed, and nothing is measured: there are no figures of an emulator here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gpuseg
from benchmarks.data import gaussian_mixture
from gpuseg.core.moments import FeatureRange, Layout
from gpuseg.core.weights import WeightMode, WeightRange
from gpuseg.engines import cuda
from gpuseg.engines.device.assign import assign_on_device
from gpuseg.engines.device.categories import category_sums_on_device
from gpuseg.engines.device.cohort import triangle_on_device
from gpuseg.engines.device.distance import distances_on_device
from gpuseg.engines.device.memo import AssignMemo
from gpuseg.engines.device.moments import moments_on_device
from gpuseg.engines.device.scale import scan_on_device
from gpuseg.engines.device.silhouette import silhouette_sums_on_device

SHAPES = {(8, 8): "assign_rows", (16, 16): "assign_rows", (32, 32): "assign_rows", (64, 64): "assign_labels"}
"""Features and clusters of the assignment passes, and the kernel that they go to."""


@dataclass(frozen=True)
class Work:
    """Something to be timed.

    Parameters
    ----------
    run : callable
        Does it once; its data are on the device.
    compulsory : int
        Bytes that it cannot do without.
    kernel : str
        Beginning of the name of the kernel that it is about.
    """

    run: Callable[[], Any]
    compulsory: int
    kernel: str


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    case : str
        What was done.
    n : int
        Rows.
    milliseconds : float
        Median.
    gigabytes_a_second : float
        Compulsory bytes over that time.
    kernels : tuple of str
        What was launched, in order of the first launch.
    """

    case: str
    n: int
    milliseconds: float
    gigabytes_a_second: float
    kernels: tuple[str, ...]


class Watched:
    """A device that remembers which kernels were launched."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self.launched: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def module(
        self, source: str, names: Sequence[str], defines: Mapping[str, int | str] | None = None
    ) -> dict[str, Callable[..., None]]:
        """Kernels that are counted."""
        found = self._device.module(source, names, defines)
        return {name: self._counted(name, found[name]) for name in names}

    def _counted(self, name: str, kernel: Callable[..., None]) -> Callable[..., None]:
        def launch(*arguments: Any, **options: Any) -> None:
            self.launched[name] = self.launched.get(name, 0) + 1
            kernel(*arguments, **options)

        return launch


class EventClock:
    """Milliseconds of a CUDA device between two events."""

    def __init__(self, device: Any) -> None:
        self._cupy = device.xp
        self._stream = device.stream.raw

    def __call__(self, run: Callable[[], Any]) -> float:
        """Time ``run`` once."""
        start, stop = self._cupy.cuda.Event(), self._cupy.cuda.Event()
        start.record(self._stream)
        run()
        stop.record(self._stream)
        stop.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(start, stop))


def main(arguments: list[str] | None = None) -> int:
    """Measure on the device of this machine; 1 where there is none."""
    parser = argparse.ArgumentParser(description="kernels on this machine's GPU")
    parser.add_argument("--n", type=int, default=10_000_000, help="rows")
    parser.add_argument("--rounds", type=int, default=20, help="timed runs of each case")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    options = parser.parse_args(arguments)
    reason = cuda.unavailable()
    if reason is not None:
        print(f"nothing is measured, there is no GPU to measure on: {reason}")
        return 1
    import cupy

    device = cuda.CudaDevice(cupy)
    rows = [measure(case, device, EventClock(device), options.n, options.rounds) for case in CASES]
    fit = fits(options.n)
    print(device.props.name)
    for row in rows:
        rate = f"{row.gigabytes_a_second:10.1f} GB/s"
        print(f"{row.case:36s} {row.n:>12,d} {row.milliseconds:10.4f} ms {rate}  {', '.join(row.kernels)}")
    print(
        f"fit d=8 k=8, 20 iterations: {fit['cuda']:.3f} s on the device, {fit['cpu']:.3f} s on the CPU engine, equal"
    )
    if options.json is not None:
        report = {"device": asdict(device.props), "rows": [asdict(row) for row in rows], "fit": fit}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(case: str, device: Any, clock: Callable[[Callable[[], Any]], float], n: int, rounds: int) -> Row:
    """Time one of ``CASES``; fails where another kernel ran than the one it is about."""
    watched = Watched(device)
    work = CASES[case](watched, n)
    work.run()  # compiles
    watched.launched.clear()
    median = statistics.median(clock(work.run) for _ in range(rounds))
    kernels = tuple(watched.launched)
    assert any(name.startswith(work.kernel) for name in kernels), (
        f"{case}: {work.kernel} did not run, but {kernels}"
    )
    return Row(case, n, median, work.compulsory / median / 1e6 if median else 0.0, kernels)


def fits(n: int) -> dict[str, float]:
    """Seconds of a fit on the device and on the CPU engine, which give the same bits."""
    table = gaussian_mixture("overlapping", n, 8, 8)
    seconds, answers = {}, []
    for engine in ("cuda", "cpu"):
        model = gpuseg.KMeans(8, init=table.start, n_init=1, tol=0.0, max_iter=20, engine=engine)
        model.fit(table.x[:10_000])  # compiles
        start = time.perf_counter()
        model.fit(table.x)
        seconds[engine] = time.perf_counter() - start
        assert model.engine_.startswith(engine), model.engine_
        answers.append((model.labels_.tobytes(), model.cluster_centers_.tobytes(), model.inertia_))
    assert answers[0] == answers[1], "the engines disagree"
    return seconds


def _block(device: Any, n: int, d: int, k: int) -> tuple[Any, np.ndarray, Layout]:
    """Rows on the device, feature-major; a start; scales."""
    table = gaussian_mixture("overlapping", n, d, k)
    x = np.ascontiguousarray(table.x.T)
    low, high = (edge.astype(np.float64) for edge in (x.min(axis=1), x.max(axis=1)))
    seen = FeatureRange(n, low, high, np.zeros(d, np.int64), WeightRange.of(None, n))
    return device.to_device(x), np.ascontiguousarray(table.start), Layout.plain(seen)


def _assign(d: int, k: int, *, later: bool) -> Callable[[Any, int], Work]:
    """A pass over fresh labels, or one that remembers; later passes move between two sets of centres."""

    def prepare(device: Any, n: int) -> Work:
        x, start, layout = _block(device, n, d, k)
        w = device.empty(0, np.int64)
        memo = AssignMemo.fresh(device, n, d, [k], WeightMode.NONE)
        nudged = (start * np.float32(1.001), start)
        turn = [0]

        def run() -> None:
            if not later:
                memo.known[0] = False
            turn[0] += 1
            assign_on_device(device, x, w, [nudged[turn[0] % 2]], memo, layout.scales)

        return Work(run, n * (4 * d + 1), SHAPES[d, k])

    return prepare


def _moments(device: Any, n: int) -> Work:
    x, _, layout = _block(device, n, 8, 8)
    w = device.empty(0, np.int64)
    return Work(
        lambda: moments_on_device(device, x, w, WeightMode.NONE, layout.scales),
        32 * n,
        "moments_partial<NONE>",
    )


def _scan(device: Any, n: int) -> Work:
    x, _, _ = _block(device, n, 8, 8)
    return Work(lambda: scan_on_device(device, x, None, None, row_major=False), 32 * n, "scan_rows")


def _distances(device: Any, n: int) -> Work:
    x, start, _ = _block(device, n, 8, 8)
    points = device.to_device(start)
    return Work(lambda: distances_on_device(device, x, points), 64 * n, "pair_distances<EUCLIDEAN>")


def _silhouette(device: Any, n: int) -> Work:
    some = min(n, 50_000)
    x, _, _ = _block(device, some, 8, 8)
    starts = device.to_device(np.linspace(0, some, 9).astype(np.int64))
    return Work(lambda: silhouette_sums_on_device(device, x, x, starts, 20), 96 * some, "distance_sums")


def _triangle(device: Any, n: int) -> Work:
    rng = np.random.default_rng(0)
    customers, periods = max(n // 10, 1), 36
    bits = rng.integers(0, 1 << periods, (customers, 1), dtype=np.uint64)
    first = rng.integers(0, periods, customers).astype(np.int32)
    up = device.to_device(bits), device.to_device(first)
    return Work(lambda: triangle_on_device(device, *up, periods), 12 * customers, "triangle_counts")


def _categories(device: Any, n: int) -> Work:
    rng = np.random.default_rng(0)
    customers = max(n // 10, 1)
    records = (
        device.to_device(rng.integers(0, customers, n)),
        device.to_device(rng.integers(0, 8, n).astype(np.int32)),
        device.to_device(rng.integers(-1000, 100_000, n)),
    )
    sums = device.zeros((customers, 8), np.uint64)
    return Work(
        lambda: category_sums_on_device(device, *records, sums), 20 * n + 64 * customers, "category_sums"
    )


CASES: dict[str, Callable[[Any, int], Work]] = {
    **{f"assign d={d} k={k}, first pass": _assign(d, k, later=False) for d, k in SHAPES},
    **{f"assign d={d} k={k}, later pass": _assign(d, k, later=True) for d, k in SHAPES},
    "moments d=8": _moments,
    "scan d=8": _scan,
    "distances d=8 k=8": _distances,
    "silhouette sums d=8 k=8": _silhouette,
    "cohort triangle, 36 months": _triangle,
    "category sums, 8 categories": _categories,
}


if __name__ == "__main__":
    sys.exit(main())
