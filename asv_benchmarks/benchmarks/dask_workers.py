"""What Dask costs beside the work, and what workers gain, on processes of this machine."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import defaultdict
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask import delayed
from distributed import Client, LocalCluster, get_task_stream

import gpuseg

from .data import SPREAD, gaussian_mixture

PARTITIONS = 8
ITERATIONS = 20
ROUNDS = 3
Spans = dict[str, list[tuple[str, float, float]]]


class Overhead:
    """What does an iteration on two worker processes cost beside the work and a bare round trip of two tasks?"""

    params = ([(8_000, 8, 8), (4_000_000, 64, 256)],)
    param_names = ("shape",)
    number = 1
    rounds = 1
    timeout = 600

    def setup(self, shape: tuple[int, int, int]) -> None:
        """Start the workers, put the data there, warm up, and check that the work is theirs."""
        n, d, k = shape
        self.cluster, self.client = _workers(2)
        self.rows = _rows_made_there(n, d, k).persist()
        start = self.rows[:k].compute()
        self.model = gpuseg.KMeans(n_clusters=k, init=start, n_init=1, max_iter=ITERATIONS, tol=0)
        fitted = self.model.fit(self.rows)
        assert fitted.placement_ == "workers of the Dask client"

    def teardown(self, shape: tuple[int, int, int]) -> None:  # noqa: ARG002 (asv's signature)
        """Stop the workers."""
        self.client.close()
        self.cluster.close()

    def track_above_round_trip_ms(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Milliseconds of an iteration beside the work of its busiest worker and a bare round trip of two tasks."""
        bare, beside = [], []
        for _ in range(ROUNDS):
            bare += [self._round_trip() for _ in range(ITERATIONS)]
            beside += [wall - work for wall, work in self._iterations()]
        return 1e3 * (statistics.median(beside) - statistics.median(bare))

    def track_share_percent(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Percent of an iteration in which its busiest worker does not compute."""
        shares = [1 - work / wall for _ in range(ROUNDS) for wall, work in self._iterations()]
        return 100 * statistics.median(shares)

    def track_tasks(self, shape: tuple[int, int, int]) -> float:  # noqa: ARG002
        """Tasks an iteration."""
        return statistics.mean(len(spans) for spans in self._passes().values())

    def _round_trip(self) -> float:
        """Seconds for two tasks that do nothing, there and back."""
        start = time.perf_counter()
        keys = [f"bare-{start}-{number}" for number in range(2)]
        self.client.gather(self.client.map(abs, [0, 1], key=keys, pure=False))
        return time.perf_counter() - start

    def _passes(self) -> Spans:
        """Worker, start and end of the tasks of each pass of a fit."""
        with get_task_stream(self.client) as stream:
            self.model.fit(self.rows)
        passes: Spans = defaultdict(list)
        for task in stream.data:
            pass_name, _, _ = str(task["key"]).rpartition("-")
            if pass_name.startswith("gpuseg-assign"):
                passes[pass_name] += [
                    (task["worker"], span["start"], span["stop"])
                    for span in task["startstops"]
                    if span["action"] == "compute"
                ]
        return passes

    def _iterations(self) -> list[tuple[float, float]]:
        """Seconds from the start of each pass to that of the next one, and of its busiest worker's work."""
        passes = sorted(self._passes().values(), key=_start)
        return [
            (_start(after) - _start(before), _busiest(before)) for before, after in itertools.pairwise(passes)
        ]


class Workers:
    """How much faster is a fit on two worker processes of this machine, a thread each, than on one?"""

    params = ([(400_000, 16, 32)], [1, 2])
    param_names = ("shape", "workers")
    number = 1
    rounds = 1
    repeat = (2, 5, 2.0)
    warmup_time = 0
    timeout = 300

    def setup(self, shape: tuple[int, int, int], workers: int) -> None:
        """Start the workers, put the data there, warm up, and check that the work is theirs."""
        n, d, k = shape
        table = gaussian_mixture("overlapping", n, d, k)
        self.cluster, self.client = _workers(workers)
        self.rows = da.from_array(table.x, chunks=(-(-n // PARTITIONS), d)).persist()
        self.model = gpuseg.KMeans(k, init=table.start, n_init=1, max_iter=ITERATIONS, tol=0.0)
        fitted = self.model.fit(self.rows)
        assert fitted.placement_ == "workers of the Dask client"
        assert len(self.client.scheduler_info()["workers"]) == workers

    def teardown(self, shape: tuple[int, int, int], workers: int) -> None:  # noqa: ARG002
        """Stop the workers."""
        self.client.close()
        self.cluster.close()

    def time_fit(self, shape: tuple[int, int, int], workers: int) -> None:  # noqa: ARG002
        """Seconds of a fit of at most twenty iterations over eight partitions."""
        self.model.fit(self.rows)

    def track_iterations(self, shape: tuple[int, int, int], workers: int) -> int:  # noqa: ARG002
        """Passes that the fit made: the same on any number of workers."""
        return int(self.model.fit(self.rows).n_iter_)


def _workers(number: int) -> tuple[LocalCluster, Client]:
    """Processes of one thread each on the loopback, and a client that stays the current one."""
    cluster = LocalCluster(
        n_workers=number, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    )
    return cluster, Client(cluster)


def _rows_made_there(n: int, d: int, k: int) -> da.Array:
    """The overlapping mixture, each partition made by the worker that computes it: a gigabyte is never sent."""
    each = -(-n // PARTITIONS)
    parts = [
        da.from_delayed(
            delayed(_part)(min(each, n - first), d, k, first), (min(each, n - first), d), np.float32
        )
        for first in range(0, n, each)
    ]
    return da.concatenate(parts)


def _part(n: int, d: int, k: int, first: int) -> npt.NDArray[np.float32]:
    """Rows of one mixture, whatever the partition: its centres come from their own seed."""
    centres = np.random.default_rng(k).normal(0.0, SPREAD["overlapping"], (k, d)).astype(np.float32)
    rng = np.random.default_rng(first)
    return rng.standard_normal((n, d), dtype=np.float32) + centres[rng.integers(0, k, n)]


def _start(spans: list[tuple[str, float, float]]) -> float:
    return min(start for _, start, _ in spans)


def _busiest(spans: list[tuple[str, float, float]]) -> float:
    work: dict[Any, float] = defaultdict(float)
    for worker, start, stop in spans:
        work[worker] += stop - start
    return max(work.values())
