"""How near is a pass of the CPU engine to what this machine can do at most?

    python asv_benchmarks/floor.py --json floor.json

A pass reads its rows once and does a multiply-add a value and centre: it takes at least as long as the slower of the
two at the machine's own rates, which are measured in the same rounds. The pass is one of a settled run without bounds,
so that it computes every distance and moves no row. What bounds leave of the distances is counted, not timed.

Everything takes turns within a round, each timing is the best of seven, and shares and ratios are medians of those of
the rounds: what slowed a round down slowed its ceilings too. ``--quiet 0.1`` leaves out rounds in which something else
kept more CPUs busy than that. ``--write`` puts the tables into README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._passes import Passes
from benchmarks.data import SPREAD, gaussian_mixture
from ceilings import BEST_OF, Bench, Ceilings, Work, best
from gpuseg.core.memory import label_bytes
from gpuseg.engines.cpu.engine import CpuEngine
from report import machine, markdown_table, without_overrides

ROOT = Path(__file__).resolve().parents[1]
THREADS = (1, 2)
ITERATIONS = 20
PATIENCE = 12
_REST = 2.0
_STAT = Path("/proc/stat")
_CEILINGS = {
    "read": ("GB read a second", 1e9),
    "copied": ("GB copied a second", 1e9),
    "fma": ("10^9 multiply-adds a second", 1e9),
    "difference": ("10^9 subtractions, each with its multiply-add, a second", 1e9),
    "sgemm": ("10^9 multiply-adds a second of sgemm", 1e9),
}


@dataclass(frozen=True)
class Shape:
    """Rows, features and clusters, and what a pass over them has to do at least."""

    n: int
    d: int
    k: int

    @classmethod
    def of(cls, text: str) -> Shape:
        """From "2000000x8x8"."""
        return cls(*map(int, text.split("x")))

    @property
    def bytes_a_row(self) -> int:
        """Its values and the label that it had, read; a row that does not move has nothing written."""
        return 4 * self.d + label_bytes(self.k)

    @property
    def fma_a_row(self) -> int:
        """One a value and centre."""
        return self.d * self.k

    def seconds_of_memory(self, found: Ceilings) -> float:
        """How long reading takes at least."""
        return self.n * self.bytes_a_row / found.read

    def floor(self, found: Ceilings) -> float:
        """Seconds that a pass takes at least."""
        return max(self.seconds_of_memory(found), self.n * self.fma_a_row / found.fma)

    def difference_floor(self, found: Ceilings) -> float:
        """Seconds that it takes at least where distances are sums of squared differences, as the answer has them."""
        return max(self.seconds_of_memory(found), self.n * self.fma_a_row / found.difference)


@dataclass(frozen=True)
class Round:
    """What was measured in one round, by threads; seconds of a pass by shape."""

    ceilings: dict[int, Ceilings]
    seconds: dict[int, dict[Shape, float]]
    others: float | None


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; also into the files that were asked for."""
    options = _parser().parse_args(arguments)
    load = os.getloadavg()[0]
    shapes = [Shape.of(text) for text in options.shapes]
    work = Work(options.mebibytes << 20, options.turns, options.side)
    rounds, disturbed = measure(shapes, work, options.rounds, options.quiet)
    report = {
        "question": (__doc__ or "").splitlines()[0],
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": options.rounds,
        "best_of": BEST_OF,
        "load_average_before": load,
        "rounds_disturbed": disturbed,
        "cpus_busy_with_others": [one.others for one in rounds],
        "ceilings": {str(t): [asdict(one.ceilings[t]) for one in rounds] for t in THREADS},
        "sgemm_ratio": statistics.median(one.ceilings[2].sgemm / one.ceilings[1].sgemm for one in rounds),
        "passes": [summary(shape, rounds) for shape in shapes],
    }
    for found in report["passes"]:
        shape = Shape(found["n"], found["d"], found["k"])
        found["computed"] = {data: share_computed(shape, data) for data in SPREAD}
    text = section(report)
    print(text, end="")
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.write:
        sys.path.append(str(ROOT))
        from tests.emulator import sections  # the one that knows the markers

        sections.write(ROOT / "asv_benchmarks" / "README.md", "floor", text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="a pass of the CPU engine beside the machine's ceilings")
    shapes = ["2000000x8x8", "2000000x12x6", "2000000x32x16", "500000x64x64"]
    parser.add_argument("--shapes", nargs="+", default=shapes, help="rows x features x clusters")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, in which everything has its turn")
    parser.add_argument(
        "--quiet",
        type=float,
        default=float("inf"),
        help=f"CPUs others may keep busy in a round that counts, up to {PATIENCE} times the rounds that do not",
    )
    parser.add_argument(
        "--mebibytes", type=int, default=256, help="array that is read: larger than any cache"
    )
    parser.add_argument(
        "--turns", type=int, default=4_000_000, help="turns of 128 multiply-adds, below 2**24"
    )
    parser.add_argument("--side", type=int, default=2048, help="rows and columns of sgemm's matrices")
    parser.add_argument("--json", type=Path, help="where the figures go as well")
    parser.add_argument("--write", action="store_true", help="put the tables into asv_benchmarks/README.md")
    return parser


def measure(shapes: list[Shape], work: Work, n_rounds: int, quiet: float) -> tuple[list[Round], int]:
    """Ceilings and passes, in turn; and how many rounds were not counted, with too much else going on."""
    bench = Bench(work)
    passes: dict[tuple[int, Shape], Callable[[], int]] = {}
    for shape in shapes:
        over = Passes.of(gaussian_mixture("overlapping", shape.n, shape.d, shape.k))
        for t in THREADS:
            passes[t, shape] = over.settled(CpuEngine(t, bounds=False))
            assert passes[t, shape]() == shape.n * shape.k, "a pass without bounds computes every distance"
    for t in THREADS:
        bench.ceilings(t)  # compiles, and has all memory there
    rounds: list[Round] = []
    disturbed = 0
    while len(rounds) < n_rounds:
        one = _round(bench, shapes, passes)
        if one.others is not None and one.others > quiet and disturbed < PATIENCE * n_rounds:
            disturbed += 1
            time.sleep(_REST)
        else:
            rounds.append(one)
    return rounds, disturbed


def _round(bench: Bench, shapes: list[Shape], passes: dict[tuple[int, Shape], Callable[[], int]]) -> Round:
    """Everything once."""
    since = _Clock()
    ceilings = {t: bench.ceilings(t) for t in THREADS}
    # A shape's threads follow each other, so that their ratio is of the same moments.
    taken = {(t, shape): best(passes[t, shape]) for shape in shapes for t in THREADS}
    seconds = {t: {shape: taken[t, shape] for shape in shapes} for t in THREADS}
    return Round(ceilings, seconds, since.others())


class _Clock:
    """CPUs that something else than this process kept busy since; Linux says so."""

    def __init__(self) -> None:
        self._start = self._read()

    def others(self) -> float | None:
        """How many, on average; None where the system does not tell."""
        wall, own, busy = (now - then for now, then in zip(self._read(), self._start, strict=True))
        return max(0.0, busy - own) / wall if _STAT.exists() else None

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Seconds of the clock, of this process on CPUs, and of all CPUs busy."""
        busy = 0.0
        if _STAT.exists():
            user, nice, system, _, _, *interrupts = map(int, _STAT.read_text().splitlines()[0].split()[1:9])
            busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), time.process_time(), busy


def summary(shape: Shape, rounds: list[Round]) -> dict[str, Any]:
    """What a pass over a shape has to do, and what it does by the rounds."""

    def median(value: Any) -> float:
        return statistics.median(value(one) for one in rounds)

    by_threads = {}
    for t in THREADS:
        by_threads[str(t)] = {
            "seconds": [one.seconds[t][shape] for one in rounds],
            "floor": median(lambda one, t=t: shape.floor(one.ceilings[t])),
            "memory": median(lambda one, t=t: shape.seconds_of_memory(one.ceilings[t])),
            "share": median(lambda one, t=t: shape.floor(one.ceilings[t]) / one.seconds[t][shape]),
            "difference_share": median(
                lambda one, t=t: shape.difference_floor(one.ceilings[t]) / one.seconds[t][shape]
            ),
        }
    return {
        **asdict(shape),
        "bytes_a_row": shape.bytes_a_row,
        "fma_a_row": shape.fma_a_row,
        "threads": by_threads,
        "ratio": median(lambda one: one.seconds[1][shape] / one.seconds[2][shape]),
    }


def share_computed(shape: Shape, data: str) -> float:
    """Distances that twenty passes with bounds compute, over n * k of each."""
    over = Passes.of(gaussian_mixture(data, shape.n, shape.d, shape.k))
    return over.lloyd(CpuEngine(), ITERATIONS) / (shape.n * shape.k * ITERATIONS)


def section(report: dict[str, Any]) -> str:
    """What stands between the markers of README.md."""
    return "\n".join(
        [_conditions(report), "", *_ceiling_lines(report), "", *_pass_lines(report["passes"]), ""]
    )


def _conditions(report: dict[str, Any]) -> str:
    here, before = report["machine"], report["load_average_before"]
    busy = [others for others in report["cpus_busy_with_others"] if others is not None]
    beside = f"{min(busy):.2f} to {max(busy):.2f} CPUs" if busy else "it is not known how many CPUs"
    lines = (
        f"{here['cpu']}, {here['cpus_allowed']} CPUs allowed, {', '.join(here['simd'])}, {report['made'][:10]}:",
        f"medians of {report['rounds']} rounds, each timing the best of {report['best_of']}.",
        "The machine is shared and noisy, and figures move by some percent from run to run.",
        f"Load average before the run: {before:.2f}; something else kept {beside} busy in a round;",
        f"{report['rounds_disturbed']} more rounds, in which it was more than was allowed, do not count.",
    )
    return "\n".join(lines)


def _ceiling_lines(report: dict[str, Any]) -> list[str]:
    rows = []
    for name, (title, unit) in _CEILINGS.items():
        one, two = ([found[name] / unit for found in report["ceilings"][str(t)]] for t in THREADS)
        ratio = statistics.median(b / a for a, b in zip(one, two, strict=True))
        rows.append((title, f"{statistics.median(one):.1f}", f"{statistics.median(two):.1f}", f"{ratio:.2f}"))
    return markdown_table(("ceiling", "1 thread", "2 threads", "ratio"), rows)


def _pass_lines(passes: list[dict[str, Any]]) -> list[str]:
    heads = ["n, d, k", "bytes a row", "FMAs a row", "floor ms", "pass ms", "share", "share, difference"]
    heads += ["two threads", *(f"computed, {data}" for data in SPREAD)]
    rows = []
    for found in passes:
        by = [found["threads"][str(t)] for t in THREADS]
        floors = [f"{1e3 * one['floor']:.2f}{'m' if one['floor'] == one['memory'] else 'f'}" for one in by]
        rows.append(
            [
                f"{found['n']:.0e}, {found['d']}, {found['k']}".replace("e+0", "e"),
                str(found["bytes_a_row"]),
                str(found["fma_a_row"]),
                ", ".join(floors),
                ", ".join(f"{1e3 * statistics.median(one['seconds']):.2f}" for one in by),
                ", ".join(f"{one['share']:.2f}" for one in by),
                ", ".join(f"{one['difference_share']:.2f}" for one in by),
                f"x {found['ratio']:.2f}",
                *(f"{100 * found['computed'][data]:.1f} %" for data in SPREAD),
            ]
        )
    return markdown_table(heads, rows)


if __name__ == "__main__":
    without_overrides()
    sys.exit(main())
