"""gpuseg and its peers side by side: the same data, the same start, in turn, medians and ratios.

    python asv_benchmarks/peers.py kmeans --n 2000000 --d 8 --k 8 --iterations 20 --rounds 5 --data both

Every peer runs once in each round, so that a slow minute of the machine hurts all of them, with a pause before it,
so that the last one's threads are asleep. Each is warmed up on a few rows. The inertia of its centres is computed
again in float64: a peer that did other work than the rest shows it there, or in its number of iterations.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.data import SPREAD, Table, gaussian_mixture, inertia_float64, table_of
from kmeans_peers import PEERS, TASKS, Fitted, Peer, PeerUnavailableError
from report import machine, markdown_table, without_overrides

WARM_UP_ROWS = 2000
OURS = "gpuseg"
QUESTIONS = {
    "lloyd": "seconds for Lloyd iterations from the same start, validation included",
    "seeded": "seconds for a fit with all defaults, seeding and convergence included",
    "sweep": "seconds for the choice of k from 2 to 10",
}


@dataclass
class Course:
    """One peer over all rounds."""

    peer: Peer
    seconds: list[float] = field(default_factory=list)
    fitted: Fitted | None = None

    def run_once(self, table: Table, iterations: int) -> None:
        """Time one fit."""
        start = time.perf_counter()
        self.fitted = self.peer.fit(table, iterations)
        self.seconds.append(time.perf_counter() - start)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison that the command line asks for; 0 when at least one peer ran."""
    options = _parser().parse_args(arguments)
    peers, missing = _load_peers(options.task, options.peers)
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    if not peers:
        return 1
    names = {"both": list(SPREAD), "all": [*SPREAD, "real"]}.get(options.data, [options.data])
    comparisons = [_compare(name, peers, options) for name in names]
    if options.json is not None:
        report = {
            "question": QUESTIONS[options.task],
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": {peer.name: peer.version for peer in peers},
            "missing": missing,
            "comparisons": comparisons,
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="gpuseg and its peers side by side")
    commands = parser.add_subparsers(dest="command", required=True)
    kmeans = commands.add_parser("kmeans", help="Lloyd iterations from the same start")
    kmeans.add_argument("--n", type=int, default=2_000_000, help="rows")
    kmeans.add_argument("--d", type=int, default=8, help="features")
    kmeans.add_argument("--k", type=int, default=8, help="clusters")
    kmeans.add_argument("--iterations", type=int, default=20, help="Lloyd iterations")
    kmeans.add_argument("--rounds", type=int, default=5, help="timed fits of each peer")
    kmeans.add_argument("--data", choices=[*SPREAD, "real", "both", "all"], default="both")
    kmeans.add_argument("--task", choices=list(TASKS), default="lloyd", help="what is compared")
    kmeans.add_argument("--seed", type=int, default=0, help="seed of the data and the start")
    kmeans.add_argument("--pause", type=float, default=0.3, help="seconds of rest before each fit")
    kmeans.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    kmeans.add_argument("--json", type=Path, help="file for the figures and the facts of the machine")
    return parser


def _load_peers(task: str, names: list[str]) -> tuple[list[Peer], dict[str, str]]:
    """Peers that work here, warmed up, and the reasons of those that do not."""
    peers, missing = [], {}
    for name in names:
        if name not in TASKS[task]:
            missing[name] = f"not compared in {task!r}"
            continue
        try:
            peer = TASKS[task][name]()
            peer.fit(gaussian_mixture("overlapping", WARM_UP_ROWS, 8, 8), 2)
        except PeerUnavailableError as reason:
            missing[name] = str(reason)
        else:
            peers.append(peer)
    return peers, missing


def _compare(data: str, peers: list[Peer], options: argparse.Namespace) -> dict[str, Any]:
    table = table_of(data, options.n, options.d, options.k, options.seed)
    courses = [Course(peer) for peer in peers]
    for _ in range(options.rounds):
        for course in courses:
            time.sleep(options.pause)
            course.run_once(table, options.iterations)
    reference = next((course for course in courses if course.peer.name == OURS), courses[0])
    results = [_summary(course, table, reference) for course in courses]
    print("\n".join(_lines(table, options, results, reference.peer.name)), flush=True)
    for result in results:
        if options.task == "lloyd" and result["iterations"] < options.iterations:
            print(
                f"{result['peer']} stopped after {result['iterations']} iterations: its seconds are for fewer"
            )
    return {
        "data": data,
        "n": table.shape[0],
        "d": table.shape[1],
        "k": options.k,
        "iterations": options.iterations,
        "rounds": options.rounds,
        "seed": options.seed,
        "ratio_to": reference.peer.name,
        "results": results,
    }


def _summary(course: Course, table: Table, reference: Course) -> dict[str, Any]:
    fitted = course.fitted
    if fitted is None:
        raise AssertionError("a course is summarised after its rounds")
    # Rounds are compared one by one: what slowed a round down slowed all of its fits.
    ratios = [own / other for own, other in zip(course.seconds, reference.seconds, strict=True)]
    return {
        "peer": course.peer.name,
        "version": course.peer.version,
        "seconds": course.seconds,
        "median": statistics.median(course.seconds),
        "ratio": statistics.median(ratios),
        "iterations": fitted.iterations,
        "inertia": inertia_float64(table.x, fitted.centres),
        "reported_inertia": fitted.inertia,
        "remark": course.peer.remark,
    }


def _lines(
    table: Table, options: argparse.Namespace, results: list[dict[str, Any]], reference: str
) -> list[str]:
    """A Markdown table, to be read on a terminal and pasted as it is."""
    heads = ("peer", "version", "median s", "best s", "worst s", f"x {reference}", "iterations", "inertia")
    rows = [
        (
            result["peer"],
            result["version"],
            f"{result['median']:.3f}",
            f"{min(result['seconds']):.3f}",
            f"{max(result['seconds']):.3f}",
            f"{result['ratio']:.2f}",
            str(result["iterations"]),
            f"{result['inertia']:.8g}",
        )
        for result in results
    ]
    n, d = table.shape
    work = f"{options.iterations} iterations" if options.task == "lloyd" else options.task
    title = f"k-means, {table.name}: n={n:,} d={d} k={options.k}, {work}, median of {options.rounds} rounds"
    return [title, "", *markdown_table(heads, rows), ""]


if __name__ == "__main__":
    without_overrides()
    sys.exit(main())
