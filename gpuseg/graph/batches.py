"""Which partitions share a task (graph): small ones that the same worker holds, so that a pass costs few messages.

Batching changes no bit of an answer: results merge in any order. Nothing is pinned: a batch goes where Dask finds most
of its rows, and to any other worker should that one be gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BATCH_BYTES = 32 << 20
"""Bytes of rows in one task, where several partitions share it; a larger partition has a task of its own."""
UNKNOWN_BYTES = 1 << 62
"""Of a partition that nobody has measured: it has a task of its own."""


@dataclass(frozen=True)
class Report:
    """What a worker says of a task that it ran.

    Parameters
    ----------
    address, name : str
        Of the worker.
    threads : int
        Tasks that it runs at a time.
    engine : str
        Who computed there, and why.
    n_bytes : mapping of int to int
        Bytes of each partition of the task, by number.
    """

    address: str
    name: str
    threads: int
    engine: str
    n_bytes: Mapping[int, int]


def plan_batches(reports: Sequence[Report], limit: int = BATCH_BYTES) -> list[list[int]]:
    """Numbers of the partitions of each task.

    Parameters
    ----------
    reports : sequence of Report
        One or more for each partition; the last one counts.
    limit : int, default 32 MiB
        Bytes of a batch. No batch leaves a thread of its worker without work.

    Returns
    -------
    list of list of int
        Every partition once; ascending within a batch, and batches by their first partition.
    """
    last = {number: report for report in reports for number in report.n_bytes}
    held: dict[str, list[int]] = {}
    for number in sorted(last):
        held.setdefault(last[number].address, []).append(number)
    batches: list[list[int]] = []
    for numbers in held.values():
        sizes = {number: last[number].n_bytes[number] for number in numbers}
        small = [number for number in numbers if sizes[number] < limit]
        batches += [[number] for number in numbers if sizes[number] >= limit]
        threads = last[numbers[0]].threads
        batches += _filled(small, sizes, min(limit, -(-sum(sizes[n] for n in small) // max(threads, 1))))
    return sorted(batches)


def _filled(numbers: Sequence[int], sizes: Mapping[int, int], limit: int) -> list[list[int]]:
    """Batches of neighbours, each closed once it holds ``limit`` bytes."""
    batches: list[list[int]] = []
    room = 0
    for number in numbers:
        if room <= 0:
            batches.append([])
            room = limit
        batches[-1].append(number)
        room -= sizes[number]
    return batches
