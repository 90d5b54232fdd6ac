"""How KMeans grows with its data and with threads: each class asks one question along one axis.

Small on purpose: a class takes seconds, so that a whole axis is looked at after a change.
"""

from __future__ import annotations

import gpuseg
from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.engines.cpu.pool import available_cpus

from ._passes import Passes
from .data import gaussian_mixture

_ITERATIONS = 20


class _BySize:
    """What is asked of every size, of the table with overlapping clusters."""

    param_names = ("shape",)
    number = 1
    rounds = 1
    repeat = (2, 5, 1.0)
    warmup_time = 0
    timeout = 120

    def setup(self, shape: tuple[int, int, int]) -> None:
        """Make table and block, and warm up the kernels."""
        self.table = gaussian_mixture("overlapping", *shape)
        self.over = Passes.of(self.table)
        self.bounded = CpuEngine()
        self.look_at_all = self.over.settled(CpuEngine(bounds=False))
        assert self.look_at_all() == shape[0] * shape[2]
        self.over.lloyd(self.bounded, 2)
        assert self._fit().engine_.startswith("cpu")

    def _fit(self) -> gpuseg.KMeans:
        start = self.table.start
        model = gpuseg.KMeans(len(start), init=start, n_init=1, tol=0.0, max_iter=_ITERATIONS, engine="cpu")
        return model.fit(self.table.x)

    def time_pass(self, shape: tuple[int, int, int]) -> None:  # noqa: ARG002 (asv's signature)
        """Seconds of one pass that looks at every row and moves none."""
        self.look_at_all()

    def time_fit(self, shape: tuple[int, int, int]) -> None:  # noqa: ARG002
        """Seconds of a fit from the table's start, of at most twenty iterations, validation and layout included."""
        self._fit()

    def track_iterations(self, shape: tuple[int, int, int]) -> int:  # noqa: ARG002
        """Passes that the fit made: fewer than twenty where it converged."""
        return int(self._fit().n_iter_)

    def track_distances_a_row(self, shape: tuple[int, int, int]) -> float:
        """Distances a row and pass that are computed with bounds, over twenty passes; k without them."""
        return self.over.lloyd(self.bounded, _ITERATIONS) / (shape[0] * _ITERATIONS)


class Rows(_BySize):
    """How do a pass, a fit and its distances grow with the number of customers?"""

    params = ([(15_625, 8, 8), (125_000, 8, 8), (1_000_000, 8, 8)],)


class Features(_BySize):
    """How do a pass, a fit and its distances grow with the number of features, whole groups of eight or not?"""

    params = ([(200_000, d, 8) for d in (2, 8, 15, 64)],)


class Clusters(_BySize):
    """How do a pass, a fit and its distances grow with the number of clusters, whole groups of four or not?"""

    params = ([(200_000, 8, k) for k in (2, 8, 15, 64)],)


class Threads:
    """How much faster are passes that look at every row on all threads than on one?"""

    params = (
        [(2_000_000, 8, 8), (2_000_000, 32, 16), (500_000, 64, 64)],
        list(range(1, available_cpus() + 1)),
    )
    param_names = ("shape", "n_jobs")
    number = 1
    rounds = 2
    repeat = (2, 5, 1.0)
    warmup_time = 0
    timeout = 300

    def setup(self, shape: tuple[int, int, int], n_jobs: int) -> None:
        """Make block and centres, and warm up the kernels."""
        over = Passes.of(gaussian_mixture("overlapping", *shape))
        self.look_at_all = over.settled(CpuEngine(n_jobs, bounds=False))

    def time_pass(self, shape: tuple[int, int, int], n_jobs: int) -> None:  # noqa: ARG002
        """Seconds of one settled pass."""
        self.look_at_all()
