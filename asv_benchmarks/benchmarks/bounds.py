"""What bounds save the CPU engine: each class asks one question of passes over a block in memory."""

from __future__ import annotations

from gpuseg.engines.cpu.engine import CpuEngine

from ._passes import Passes
from .data import gaussian_mixture


class DistancesComputed:
    """How many distances do twenty passes compute, and how long do these take, by the bounds that are kept?"""

    params = (
        ["blobs", "overlapping"],
        [(2_000_000, 8, 8), (2_000_000, 32, 16), (500_000, 64, 64), (100_000, 64, 256)],
        [True, "hamerly", "groups", False],
    )
    param_names = ("data", "shape", "bounds")
    number = 1
    rounds = 2
    timeout = 300
    passes = 20

    def setup(self, data: str, shape: tuple[int, int, int], bounds: bool | str) -> None:
        """Make block and start, and warm up the kernels."""
        self.over = Passes.of(gaussian_mixture(data, *shape))
        self.engine = CpuEngine(bounds=bounds)
        self.over.lloyd(self.engine, 2)

    def track_share_computed(self, data: str, shape: tuple[int, int, int], bounds: bool | str) -> float:  # noqa: ARG002
        """Distances computed over rows times centres times passes."""
        n, _, k = shape
        share = self.over.lloyd(self.engine, self.passes) / (n * k * self.passes)
        assert bounds or share == 1.0, share
        return share

    def time_passes(self, data: str, shape: tuple[int, int, int], bounds: bool | str) -> None:  # noqa: ARG002
        """Seconds of twenty passes and their steps."""
        self.over.lloyd(self.engine, self.passes)
