"""Where a screen of matrix products pays: each class asks one question of passes over a block in memory."""

from __future__ import annotations

from gpuseg.engines.cpu.engine import CpuEngine

from ._passes import Passes
from .data import gaussian_mixture


class ChainOrScreen:
    """With many features and centres, how long is a pass over all rows by the chain, and how long by the screen?"""

    params = (
        ["blobs", "overlapping"],
        [(500_000, 64, 64), (100_000, 256, 64), (50_000, 256, 512), (100_000, 128, 256)],
        [1, 2],
        [True, False],
    )
    param_names = ("data", "shape", "threads", "screen")
    number = 1
    rounds = 2
    timeout = 300

    def setup(self, data: str, shape: tuple[int, int, int], threads: int, screen: bool) -> None:
        """Make block and start, warm up the kernels, and see which route runs."""
        self.over = Passes.of(gaussian_mixture(data, *shape))
        self.engine = CpuEngine(threads, bounds=False, screen=screen)
        found = self.over.once(self.engine)
        whole = shape[0] if screen else 0
        assert whole - 16 * threads < found.screened <= whole, found.screened
        self.redone = found.redone / shape[0]

    def time_pass(self, *_case: object) -> None:
        """Seconds of a first pass."""
        self.over.once(self.engine)

    def track_share_redone(self, *_case: object) -> float:
        """Rows that the screen leaves open, over all rows."""
        return self.redone
