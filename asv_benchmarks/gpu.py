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

import gpuseg
from benchmarks.data import gaussian_mixture
from gpu_cases import CASES
from gpuseg.engines import cuda


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


if __name__ == "__main__":
    sys.exit(main())
