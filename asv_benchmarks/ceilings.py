"""What this machine can do at most, measured: the ceilings that a pass is compared with.

Reading is of an array larger than any cache. Multiply-adds are of eight independent chains of sixteen lanes in
registers: enough chains to hide the latency of one or two such units a core, few enough for 32 registers of 512 bits
or, nearly, for 16 of 256. Differences are taken of values in the cache next to the core, where a pass has its centres.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import threadpoolctl

from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.cpu.pool import run_parallel
from gpuseg.engines.cpu.simd import add, fma, load, splat, store, sub
from gpuseg.engines.cpu.vectors import LANES

CHAINS = 8
STEP = CHAINS * LANES
"""Values that a turn of a loop takes."""
BEST_OF = 7
"""Timings that the fastest is taken of: what slows a machine down only ever adds."""


@dataclass(frozen=True)
class Work:
    """How much is done for one timing.

    Parameters
    ----------
    array_bytes : int
        Array that is read and copied.
    turns : int
        Turns of a loop of ``STEP`` multiply-adds, a thread.
    side : int
        Rows and columns of the matrices that are multiplied.
    """

    array_bytes: int = 1 << 28
    turns: int = 4_000_000
    side: int = 2048


@dataclass(frozen=True)
class Ceilings:
    """Rates a second, of some threads.

    Parameters
    ----------
    read, copied : float
        Bytes read; bytes copied (each is read and written).
    fma : float
        Fused multiply-adds.
    difference : float
        Pairs of a subtraction and a multiply-add that needs it: a distance has one a feature.
    sgemm : float
        Multiply-adds of numpy's matrix product.
    """

    read: float
    copied: float
    fma: float
    difference: float
    sgemm: float


class Bench:
    """Arrays that the ceilings are measured with."""

    def __init__(self, work: Work) -> None:
        self.work = work
        whole = work.array_bytes // 4 // STEP * STEP
        self.source = np.ones(whole, np.float32)
        self.target = np.zeros(whole, np.float32)
        rng = np.random.default_rng(0)
        self.left, self.right = rng.random((2, work.side, work.side), dtype=np.float32)
        self.product = np.empty_like(self.left)

    def ceilings(self, threads: int) -> Ceilings:
        """Measure them all, each as the best of ``BEST_OF``."""
        size, turns, side = self.source.size, self.work.turns, self.work.side
        parts = [
            (size * t // threads // STEP * STEP, size * (t + 1) // threads // STEP * STEP)
            for t in range(threads)
        ]

        def copied(start: int, stop: int) -> None:
            np.copyto(self.target[start:stop], self.source[start:stop])

        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            sgemm = best(lambda: np.matmul(self.left, self.right, out=self.product))
        return Ceilings(
            read=4 * size / best(lambda: run_parallel(self.read, parts)),
            copied=4 * size / best(lambda: run_parallel(copied, parts)),
            fma=threads * turns * STEP / best(lambda: run_parallel(self.multiply_add, [()] * threads)),
            difference=threads * turns * STEP / best(lambda: run_parallel(self.subtract_too, [()] * threads)),
            sgemm=side**3 / sgemm,
        )

    def read(self, start: int, stop: int) -> None:
        """Read a part of the array of ones; sums of ones say that all of it was."""
        out = np.zeros(STEP, np.float32)
        read_values(self.source, start, stop, out)
        assert out.sum(dtype=np.float64) == stop - start

    def multiply_add(self) -> None:
        """All turns of the chains, which count them."""
        one, out = np.float32(1), np.zeros(STEP, np.float32)
        multiply_add_chains(self.work.turns, one, one, out)
        assert (out == self.work.turns).all(), "float32 counts up to 2**24"

    def subtract_too(self) -> None:
        """All turns of chains of a subtraction and a multiply-add, which count them."""
        centres, out = np.ones(CHAINS * CHAINS, np.float32), np.zeros(STEP, np.float32)
        difference_chains(self.work.turns, np.full(STEP, 2, np.float32), centres, out)
        assert (out == self.work.turns).all(), "float32 counts up to 2**24"


def best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of ``BEST_OF``."""
    seconds = []
    for _ in range(BEST_OF):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@kernel
def read_values(x, start, stop, out):
    """Lanes of ``out`` get the sums of the values [start, stop) of x, every ``STEP`` of them one."""
    a0 = load(out, 0)
    a1 = a0
    a2 = a0
    a3 = a0
    a4 = a0
    a5 = a0
    a6 = a0
    a7 = a0
    for i in range(start, stop, STEP):
        a0 = add(a0, load(x, i))
        a1 = add(a1, load(x, i + LANES))
        a2 = add(a2, load(x, i + 2 * LANES))
        a3 = add(a3, load(x, i + 3 * LANES))
        a4 = add(a4, load(x, i + 4 * LANES))
        a5 = add(a5, load(x, i + 5 * LANES))
        a6 = add(a6, load(x, i + 6 * LANES))
        a7 = add(a7, load(x, i + 7 * LANES))
    _store_all(out, a0, a1, a2, a3, a4, a5, a6, a7)


@kernel
def multiply_add_chains(turns, factor, summand, out):
    """``out = out * factor + summand``, turn after turn."""
    m = splat(factor)
    b = splat(summand)
    a0 = load(out, 0)
    a1 = load(out, LANES)
    a2 = load(out, 2 * LANES)
    a3 = load(out, 3 * LANES)
    a4 = load(out, 4 * LANES)
    a5 = load(out, 5 * LANES)
    a6 = load(out, 6 * LANES)
    a7 = load(out, 7 * LANES)
    for _ in range(turns):
        a0 = fma(a0, m, b)
        a1 = fma(a1, m, b)
        a2 = fma(a2, m, b)
        a3 = fma(a3, m, b)
        a4 = fma(a4, m, b)
        a5 = fma(a5, m, b)
        a6 = fma(a6, m, b)
        a7 = fma(a7, m, b)
    _store_all(out, a0, a1, a2, a3, a4, a5, a6, a7)


@kernel
def difference_chains(turns, x, centres, out):
    """``out = (x - centre)**2 + out``, turn after turn: another value of each chain's centre in each of eight turns."""
    a0 = load(out, 0)
    a1 = load(out, LANES)
    a2 = load(out, 2 * LANES)
    a3 = load(out, 3 * LANES)
    a4 = load(out, 4 * LANES)
    a5 = load(out, 5 * LANES)
    a6 = load(out, 6 * LANES)
    a7 = load(out, 7 * LANES)
    for turn in range(turns):
        f = turn & (CHAINS - 1)
        v = load(x, f * LANES)
        t = sub(v, splat(centres[f]))
        a0 = fma(t, t, a0)
        t = sub(v, splat(centres[CHAINS + f]))
        a1 = fma(t, t, a1)
        t = sub(v, splat(centres[2 * CHAINS + f]))
        a2 = fma(t, t, a2)
        t = sub(v, splat(centres[3 * CHAINS + f]))
        a3 = fma(t, t, a3)
        t = sub(v, splat(centres[4 * CHAINS + f]))
        a4 = fma(t, t, a4)
        t = sub(v, splat(centres[5 * CHAINS + f]))
        a5 = fma(t, t, a5)
        t = sub(v, splat(centres[6 * CHAINS + f]))
        a6 = fma(t, t, a6)
        t = sub(v, splat(centres[7 * CHAINS + f]))
        a7 = fma(t, t, a7)
    _store_all(out, a0, a1, a2, a3, a4, a5, a6, a7)


@kernel
def _store_all(out, a0, a1, a2, a3, a4, a5, a6, a7):
    store(out, 0, a0)
    store(out, LANES, a1)
    store(out, 2 * LANES, a2)
    store(out, 3 * LANES, a3)
    store(out, 4 * LANES, a4)
    store(out, 5 * LANES, a5)
    store(out, 6 * LANES, a6)
    store(out, 7 * LANES, a7)
