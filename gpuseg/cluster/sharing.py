"""What fits of one table have in common beside its reads (cluster): the sample, and how k-means++ begins on it.

A greedy seeding picks one row after the other and looks at k only for the number of candidates, ``2 + floor(ln k)``.
So for the same seed and rows the picks for 3 clusters are the first 3 of those for 7: a sweep over k seeds once for
each number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gpuseg.cluster.preparing import Prepared
from gpuseg.cluster.seeding import gather_sample, greedy_kmeanspp
from gpuseg.core.seeding import Sample, draft_rows, local_trials
from gpuseg.core.weights import Weights
from gpuseg.engines.base import Block, Engine
from gpuseg.graph.executors import Executor

Float32Array = npt.NDArray[np.float32]


class Shared:
    """Made when first asked for, then kept: one sample a seed, one row of picks a seeding and number of candidates.

    Parameters
    ----------
    executor : Executor
        Over the table's partitions.
    prepared : Prepared
        The table.
    ks : sequence of int
        Clusters of all fits that share it.
    """

    def __init__(self, executor: Executor, prepared: Prepared, ks: Sequence[int]) -> None:
        self.executor = executor
        self.prepared = prepared
        self._most: dict[tuple[int, int], int] = {}
        for k in ks:
            alike = local_trials(k), draft_rows(k)
            self._most[alike] = max(k, self._most.get(alike, 0))
        self._samples: dict[int, Sample] = {}
        self._picks: dict[tuple[int, int, int, int], Float32Array] = {}

    def sample(self, seed: int) -> Sample:
        """The rows that seedings of this seed pick from."""
        if seed not in self._samples:
            self._samples[seed] = gather_sample(self.executor, self.prepared, seed)
        return self._samples[seed]

    def greedy(
        self, engine: Engine, rows: Block, weights: Weights, k: int, seed: int, number: int
    ) -> Float32Array:
        """As :func:`gpuseg.cluster.seeding.greedy_kmeanspp`, of a draft of ``sample(seed)``; k is one of ``ks``."""
        alike = local_trials(k), draft_rows(k)
        if (seed, number, *alike) not in self._picks:
            picks = greedy_kmeanspp(engine, rows, weights, self._most[alike], seed, number)
            self._picks[seed, number, *alike] = picks
        return self._picks[seed, number, *alike][:k].copy()
