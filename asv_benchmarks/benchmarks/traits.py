"""Scores of customers from category counts: each class asks one question."""

from __future__ import annotations

import statistics

from gpuseg.engines.cpu.engine import CpuEngine
from gpuseg.personality.scoring import score_counts
from trait_peers import Case, compare, ratio


class _Scores:
    """Customers, categories and traits."""

    param_names = ("shape",)
    params = ([(1_000_000, 55, 5)],)
    number = 1
    rounds = 2
    timeout = 300

    def setup(self, shape: tuple[int, int, int]) -> None:
        """Make counts and reference; making it warms up the kernel."""
        self.case = Case.of(*shape)
        self.decayed = Case.of(*shape, decayed=True)


class Scoring(_Scores):
    """How long does it take to score a million customers from a table of 55 category counts?"""

    def time_whole(self, shape: tuple[int, int, int]) -> None:  # noqa: ARG002 (asv's signature)
        """Seconds where the counts are whole numbers."""
        self.case.gpuseg()

    def time_decayed(self, shape: tuple[int, int, int]) -> None:  # noqa: ARG002
        """Seconds where they are not."""
        self.decayed.gpuseg()

    def time_one_thread(self, shape: tuple[int, int, int]) -> None:  # noqa: ARG002
        """Seconds on one thread."""
        case = self.case
        score_counts(case.counts, case.reference, case.weights, engine=CpuEngine(1))


class BesidePeers(_Scores):
    """How many times as long do numpy and polars take, in the same run?"""

    def track_numpy(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Of numpy's seconds by ours, the median of three rounds."""
        return ratio(compare(self.case, 3), "numpy")

    def track_numpy_in_blocks(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """The same of numpy in blocks that stay in the cache."""
        return ratio(compare(self.case, 3), "numpy, in blocks")

    def track_polars(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """The same of polars."""
        return ratio(compare(self.case, 3), "polars")

    def track_seconds(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Our seconds in such a run."""
        return statistics.median(compare(self.case, 3)["gpuseg"])
