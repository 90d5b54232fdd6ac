"""Counts what the launches of a case move, on the check build, and computes its roofline.

For each case

- *counted* are the bytes that its launches read and write in global memory, over the *compulsory* bytes: input once,
  output once, sums that are added to once each way. In front of memory stands, by the case, a cache of 16 KiB a block
  (``L1``: kernels that stream), or one that keeps all that the launch has touched (``L2``: kernels that go over some
  tens of megabytes again and again);
- *sectors* are 32-byte sectors a warp for 4-byte loads of global memory, on the worst line that matters (4 is best);
- *wavefronts* are those of shared memory over the fewest possible, for loads, on the worst line that matters;
- the *roofline* is the longest of four times on a card: bytes over its memory's speed, wavefronts over those of its
  multiprocessors, float32 and float64 instructions of the definition over their rates. It is computed, not measured:
  occupancy, latency and launch overhead are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.emulator.cards import CARDS, Card, Work
from tests.emulator.device import EmulatedDevice, LaunchTraffic, LineTraffic

MATTERS = 0.02
"""Share of a kernel's sectors or wavefronts from which on a line counts as one that matters."""


@dataclass(frozen=True)
class Case:
    """A kernel at a size.

    Parameters
    ----------
    name : str
        Of the case.
    kernel : str
        Beginning of the kernel's name in the launch log; sectors and wavefronts are its own.
    alone : bool
        Whether bytes too are its own, not those of all launches.
    run : callable
        ``run(device, n)`` launches it for n rows.
    n : int
        Rows that are emulated; half of them too, for what a row costs.
    at : int
        Rows that the roofline is for.
    compulsory : callable
        Bytes that n rows cannot do without.
    work : callable
        Instructions for n rows.
    limit : float
        Most that counted over compulsory may be.
    cache : {"L1", "L2"}
        What stands in front of memory.
    pairs : bool
        Whether the work is of rows with rows: bytes and wavefronts then have a part that grows with n squared.
    scattered : bool
        Whether records come in any order, so that looking up their customers cannot be coalesced.
    a_row : bool
        Whether the ratio is of what a row costs, from what runs of n and n / 2 rows differ in: not what a block does.
    """

    name: str
    kernel: str
    run: Callable[[EmulatedDevice, int], Any]
    n: int
    at: int
    compulsory: Callable[[int], float]
    work: Callable[[int], Work]
    limit: float = 1.3
    cache: str = "L1"
    pairs: bool = False
    scattered: bool = False
    alone: bool = False
    a_row: bool = False


@dataclass(frozen=True)
class Row:
    """What was counted for a case; times in milliseconds by card, and what bounds them."""

    name: str
    kernel: str
    n: int
    counted: int
    compulsory: int
    ratio: float
    limit: float
    sectors: float | None
    wavefronts: float | None
    scattered: bool
    at: int
    roofline: dict[str, float]
    bound: dict[str, str]

    @property
    def holds(self) -> bool:
        """Whether the ratio is within the limit, loads coalesced, shared memory without conflicts."""
        return (
            self.ratio <= self.limit
            and (self.sectors is None or self.scattered or self.sectors <= 4.1)
            and (self.wavefronts is None or self.wavefronts <= 1.1)
        )


def measure(case: Case) -> Row:
    """Run a case twice on the check build, and compute its row."""
    whole, half = (_counted(case, n) for n in (case.n, case.n // 2))
    if case.alone:
        whole, half = ([t for t in run if t.launch.kernel.startswith(case.kernel)] for run in (whole, half))
    own = [line for launch in whole if launch.launch.kernel.startswith(case.kernel) for line in launch.lines]
    if not own:
        raise ValueError(f"{case.name}: no launch of {case.kernel!r}: {[t.launch.kernel for t in whole]}")
    counted, compulsory = _bytes(whole, case.cache), case.compulsory(case.n)
    if case.a_row:
        counted -= _bytes(half, case.cache)
        compulsory -= case.compulsory(case.n // 2)
    times = {card.name: _times(case, card, whole, half) for card in CARDS}
    return Row(
        name=case.name,
        kernel=case.kernel,
        n=case.n,
        counted=counted,
        compulsory=int(compulsory),
        ratio=round(counted / compulsory, 3),
        limit=case.limit,
        sectors=_worst(own, "global", "sectors", "requests", size=4),
        wavefronts=_worst(own, "shared", "wavefronts", "least"),
        scattered=case.scattered,
        at=case.at,
        roofline={name: round(1e3 * max(found.values()), 4) for name, found in times.items()},
        bound={name: max(found, key=found.__getitem__) for name, found in times.items()},
    )


def _counted(case: Case, n: int) -> list[LaunchTraffic]:
    device = EmulatedDevice("check", count=True)
    case.run(device, n)
    return device.traffic


def _bytes(launches: Sequence[LaunchTraffic], cache: str) -> int:
    name = "moved" if cache == "L1" else "first"
    return sum(getattr(line, name) for launch in launches for line in launch.lines)


def _worst(
    lines: Sequence[LineTraffic], space: str, above: str, below: str, size: int | None = None
) -> float | None:
    """Largest quotient of a line that matters; None where the kernel has no such load."""
    there = [line for line in lines if line.space == space and line.kind == "read"]
    total = sum(getattr(line, above) for line in there)
    found = [
        getattr(line, above) / getattr(line, below)
        for line in there
        if size in (None, line.size) and getattr(line, above) >= MATTERS * total > 0
    ]
    return round(max(found), 3) if found else None


def _times(
    case: Case, card: Card, whole: Sequence[LaunchTraffic], half: Sequence[LaunchTraffic]
) -> dict[str, float]:
    """Seconds at ``case.at`` rows, from what the two runs differ in, so that what a block costs does not count."""

    def scaled(whole_run: float, half_run: float) -> float:
        n, half_n = case.n, case.n // 2
        square = (whole_run - 2 * half_run) / (n**2 - 2 * half_n**2) if case.pairs else 0.0
        per_row = (whole_run - half_run - square * (n**2 - half_n**2)) / (n - half_n)
        return per_row * case.at + square * case.at**2

    waves, half_waves = (sum(line.wavefronts for t in run for line in t.lines) for run in (whole, half))
    work = case.work(case.at)
    return {
        "memory": scaled(_bytes(whole, case.cache), _bytes(half, case.cache)) / card.memory,
        "shared memory": scaled(waves, half_waves) / card.clocks,
        "float32": work.float32 / card.float32,
        "float64": work.float64 / card.float64,
    }
