"""Passes over a block in memory without what a fit has around them: for suites and scripts that ask about a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gpuseg.core.moments import Scales
from gpuseg.core.weights import Weights
from gpuseg.engines.base import AssignResult, AssignState, Block
from gpuseg.engines.cpu.engine import CpuEngine

from .data import Table


@dataclass(frozen=True)
class Passes:
    """A feature-major block, the centres that every run starts from, and the scales of its sums."""

    block: Block
    start: Block
    scales: Scales

    @classmethod
    def of(cls, table: Table) -> Passes:
        """Those over a table from its own start."""
        block = np.ascontiguousarray(table.x.T)
        seen = CpuEngine().scan(block.T, None, None)
        return cls(block, np.asarray(table.start, np.float32), Scales.of(seen.max_abs(), seen.weights))

    def lloyd(self, engine: CpuEngine, passes: int) -> int:
        """Run passes of Lloyd's algorithm, each from the means of the one before; returns distances computed."""
        centres, computed = self.start, 0
        state = self._nothing_known()
        for _ in range(passes):
            [found] = engine.assign(self.block, Weights.ones(), [centres], [state], self.scales, labels=False)
            means = found.sums.means()
            centres = np.where(np.isnan(means), centres, means)
            computed += found.computed
        return computed

    def once(self, engine: CpuEngine) -> AssignResult:
        """A first pass over all rows, each of which enters the sums."""
        [found] = engine.assign(
            self.block, Weights.ones(), [self.start], [self._nothing_known()], self.scales, labels=False
        )
        return found

    def settled(self, engine: CpuEngine) -> Callable[[], int]:
        """A pass that moves no row, made once already; each call makes it again and returns distances computed."""
        state = self._nothing_known()

        def again() -> int:
            [found] = engine.assign(
                self.block, Weights.ones(), [self.start], [state], self.scales, labels=False
            )
            return found.computed

        again()
        return again

    def _nothing_known(self) -> AssignState:
        return AssignState.fresh(self.block.shape[1], len(self.start))
