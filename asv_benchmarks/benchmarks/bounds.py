"""What bounds save the CPU engine: each class asks one question of passes over a block in memory."""

from __future__ import annotations

import numpy as np

from gpuseg.core.moments import Scales
from gpuseg.core.weights import Weights
from gpuseg.engines.base import AssignState
from gpuseg.engines.cpu.engine import CpuEngine

from .data import gaussian_mixture


class DistancesComputed:
    """How many of the distances of twenty passes are computed, and how long do these take, with bounds and without?"""

    params = (
        ["blobs", "overlapping"],
        [(2_000_000, 8, 8), (2_000_000, 32, 16), (500_000, 64, 64)],
        [True, False],
    )
    param_names = ("data", "shape", "bounds")
    number = 1
    rounds = 2
    timeout = 300
    passes = 20

    def setup(self, data: str, shape: tuple[int, int, int], bounds: bool) -> None:
        """Make block and start, and warm up the kernels."""
        n, d, k = shape
        table = gaussian_mixture(data, n, d, k)
        self.block = np.ascontiguousarray(table.x.T)
        self.start = np.asarray(table.start, np.float32)
        self.engine = CpuEngine(bounds=bounds)
        seen = self.engine.scan(self.block.T, None, None)
        self.scales = Scales.of(seen.max_abs(), seen.weights)
        self._run(2)

    def _run(self, passes: int) -> int:
        """Distances that the passes of Lloyd's algorithm computed."""
        centres, computed = self.start, 0
        state = AssignState.fresh(self.block.shape[1], len(centres))
        for _ in range(passes):
            [found] = self.engine.assign(
                self.block, Weights.ones(), [centres], [state], self.scales, labels=False
            )
            means = found.sums.means()
            centres = np.where(np.isnan(means), centres, means)
            computed += found.computed
        return computed

    def track_share_computed(self, data: str, shape: tuple[int, int, int], bounds: bool) -> float:  # noqa: ARG002
        """Distances computed over rows times centres times passes."""
        n, _, k = shape
        share = self._run(self.passes) / (n * k * self.passes)
        assert bounds or share == 1.0, share
        return share

    def time_passes(self, data: str, shape: tuple[int, int, int], bounds: bool) -> None:  # noqa: ARG002
        """Seconds of twenty passes and their steps."""
        self._run(self.passes)


class Threads:
    """How much faster are passes that look at every row on two threads than on one?"""

    params = ([(2_000_000, 8, 8), (2_000_000, 32, 16), (500_000, 64, 64)], [1, 2])
    param_names = ("shape", "n_jobs")
    number = 1
    rounds = 2
    timeout = 300

    def setup(self, shape: tuple[int, int, int], n_jobs: int) -> None:
        """Make block and centres, and warm up the kernels."""
        n, d, k = shape
        table = gaussian_mixture("overlapping", n, d, k)
        self.block = np.ascontiguousarray(table.x.T)
        self.centres = np.asarray(table.start, np.float32)
        self.engine = CpuEngine(n_jobs, bounds=False)
        seen = self.engine.scan(self.block.T, None, None)
        self.scales = Scales.of(seen.max_abs(), seen.weights)
        self.state = AssignState.fresh(n, k)
        self._pass()

    def _pass(self) -> None:
        self.engine.assign(
            self.block, Weights.ones(), [self.centres], [self.state], self.scales, labels=False
        )

    def time_pass(self, shape: tuple[int, int, int], n_jobs: int) -> None:  # noqa: ARG002
        """Seconds of one settled pass."""
        self._pass()
