"""Rows that are drawn, on the CPU (engines): host side of ``drawing.py``. Called by ``CpuEngine`` only.

Each thread finds the rows of its range, in order; ranges are in order, so are the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.core.binsum import N_BINS, BinSum
from gpuseg.core.blocks import flattened
from gpuseg.core.oversampling import Round
from gpuseg.core.philox import Stage, draw64
from gpuseg.core.seeding import likely_rows
from gpuseg.core.weights import Weights
from gpuseg.core.widesum import WideSum
from gpuseg.engines.base import Block
from gpuseg.engines.checks import require_round, require_weights
from gpuseg.engines.cpu import drawing
from gpuseg.engines.cpu.pool import run_parallel

Ranges = Sequence[tuple[int, int]]
Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]


def sample_rows(
    ranges: Ranges, identity: UInt64Array, weights: Weights, seed: int, threshold: int
) -> tuple[Int64Array, UInt64Array]:
    """See :meth:`gpuseg.engines.base.Engine.sample_rows`."""
    require_weights(weights, weights.mode, identity.size)
    draw64(seed, Stage.SAMPLE, np.empty(0, np.uint64))  # refuses a seed that is none
    key = np.uint64(seed), np.uint64(Stage.SAMPLE), np.uint64(threshold)

    def work(start: int, stop: int) -> tuple[Int64Array, UInt64Array]:
        draws = np.empty(0, np.uint64)

        def fill(rows: Int64Array) -> int:
            nonlocal draws
            draws = np.empty(rows.size, np.uint64)
            found: int = drawing.sample_rows(
                identity, start, stop, weights.integers, weights.reals, int(weights.mode), *key, rows, draws
            )
            return found

        rows = _as_many_as_there_are(
            fill, likely_rows(stop - start, (stop - start) * (threshold + 1) / (1 << 64))
        )
        return rows, draws[: rows.size]

    parts = run_parallel(work, ranges)
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([draws for _, draws in parts])


def oversample(
    ranges: Ranges,
    block: Block,
    weights: Weights,
    closest: npt.NDArray[np.float32],
    candidates: npt.NDArray[np.float32],
    identity: UInt64Array,
    drawn: Round,
) -> tuple[BinSum, Int64Array]:
    """See :meth:`gpuseg.engines.base.Engine.oversample`."""
    require_round(block, weights, closest, candidates, identity)
    drawn.draws(np.empty(0, np.uint64))  # refuses a seed or a number that is none
    d = len(block)
    flat, stride = flattened(block)
    mode, of_rows = int(weights.mode), (weights.integers, weights.reals)

    def shorten(start: int, stop: int) -> BinSum:
        drawing.nearer_rows(flat, stride, start, stop, candidates.reshape(-1), len(candidates), d, closest)
        hi, lo = np.zeros(N_BINS, np.int64), np.zeros(N_BINS, np.uint64)
        drawing.distance_bins(closest, start, stop, *of_rows, mode, hi, lo)
        return BinSum(WideSum(hi, lo))

    total = BinSum.zero()
    for part in run_parallel(shorten, ranges):
        total = total.merge(part)
    key = np.uint64(drawn.seed), np.uint64(Stage.OVERSAMPLE), np.uint64(drawn.number)
    share = drawn.wanted, float(total.to_float64())

    def keep(start: int, stop: int) -> Int64Array:
        return _as_many_as_there_are(
            lambda rows: drawing.keep_rows(
                closest, start, stop, *of_rows, mode, identity, *key, *share, rows
            ),
            likely_rows(stop - start, drawn.wanted),
        )

    return total, np.concatenate(run_parallel(keep, ranges))


def _as_many_as_there_are(fill: Callable[[Int64Array], int], room: int) -> Int64Array:
    """Rows that ``fill`` writes into a buffer, and into a larger one where it says that it had more."""
    rows = np.empty(room, np.int64)
    found = fill(rows)
    if found > room:
        rows = np.empty(found, np.int64)
        found = fill(rows)
    return rows[:found]
