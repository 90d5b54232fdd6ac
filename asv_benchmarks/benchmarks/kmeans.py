"""KMeans on one machine, C-order float32 numpy input: each class asks one question."""

from __future__ import annotations

import gpuseg

from .data import gaussian_mixture


class LloydIterations:
    """How long do twenty Lloyd iterations take from a given start, validation included?"""

    params = (["blobs", "overlapping"], [(2_000_000, 8, 8), (2_000_000, 32, 16), (500_000, 64, 64)])
    param_names = ("data", "shape")
    number = 1
    rounds = 2
    timeout = 300
    iterations = 20

    def setup(self, data: str, shape: tuple[int, int, int]) -> None:
        """Make the data and warm up the kernels, then check that the timed path is the one asked for."""
        n, d, k = shape
        self.table = gaussian_mixture(data, n, d, k)
        warm = gaussian_mixture(data, max(1000, 2 * k), d, k)
        model = self._estimator(warm.start).fit(warm.x)
        assert model.engine_.startswith("cpu"), model.engine_

    def _estimator(self, start: object) -> gpuseg.KMeans:
        k = len(start)
        return gpuseg.KMeans(
            n_clusters=k,
            init=start,
            n_init=1,
            tol=0.0,
            max_iter=self.iterations,
            random_state=0,
            engine="cpu",
        )

    def time_fit(self, data: str, shape: tuple[int, int, int]) -> None:  # noqa: ARG002 (asv passes both)
        """Seconds of one fit."""
        self._estimator(self.table.start).fit(self.table.x)

    def track_iterations(self, data: str, shape: tuple[int, int, int]) -> int:  # noqa: ARG002
        """Full passes that the fit made: fewer than twenty means that it converged."""
        return int(self._estimator(self.table.start).fit(self.table.x).n_iter_)


class SeededFit:
    """How long does a default fit take, seeding, warm start and convergence included?"""

    params = ([(200_000, 8, 8)],)
    param_names = ("shape",)
    number = 1
    rounds = 2
    timeout = 300

    def setup(self, shape: tuple[int, int, int]) -> None:
        """Make the data and warm up the kernels."""
        n, d, k = shape
        self.table = gaussian_mixture("overlapping", n, d, k)
        gpuseg.KMeans(n_clusters=k, random_state=0).fit(gaussian_mixture("blobs", max(1000, 2 * k), d, k).x)

    def time_fit(self, shape: tuple[int, int, int]) -> None:
        """Seconds of one fit."""
        gpuseg.KMeans(n_clusters=shape[2], random_state=0).fit(self.table.x)

    def peakmem_fit(self, shape: tuple[int, int, int]) -> None:
        """Peak resident memory of the process in bytes, data included."""
        gpuseg.KMeans(n_clusters=shape[2], random_state=0).fit(self.table.x)


class Predict:
    """How long does it take to label two million customers with a fitted model?"""

    params = ([(2_000_000, 8, 8), (500_000, 64, 64)],)
    param_names = ("shape",)
    number = 1
    rounds = 2
    timeout = 300

    def setup(self, shape: tuple[int, int, int]) -> None:
        """Fit on a few rows and warm up the kernels."""
        n, d, k = shape
        self.table = gaussian_mixture("blobs", n, d, k)
        small = self.table.x[: max(1000, 2 * k)]
        self.model = gpuseg.KMeans(n_clusters=k, init=self.table.start, n_init=1, random_state=0).fit(small)
        self.model.predict(small)

    def time_predict(self, shape: tuple[int, int, int]) -> None:  # noqa: ARG002
        """Seconds of one call."""
        self.model.predict(self.table.x)
