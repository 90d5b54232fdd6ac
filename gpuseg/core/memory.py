"""Memory estimates (core): bytes a partition and a fit need, computed before anything is allocated.

Peak = the block + O(n) bytes; never n x k, never n x n. DESIGN section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

_FLOAT32 = 4
_LIMBS = 16
_BOUND = 4
_REAL_MASSES = 32
_MAX_UINT8 = 1 << 8
_MAX_UINT16 = 1 << 16


def label_bytes(k: int) -> int:
    """Bytes of one label in the narrowest integer that holds ``k`` clusters."""
    if k <= _MAX_UINT8:
        return 1
    return 2 if k <= _MAX_UINT16 else 4


@dataclass(frozen=True)
class FitMemory:
    """Bytes that fitting ``n_models`` models to one partition needs beside the source.

    Parameters
    ----------
    block : int
        The feature-major float32 block; 0 where the source can serve as one.
    rows : int
        Labels, bounds and weights.
    sums : int
        Exact sums, all models and threads.
    """

    block: int
    rows: int
    sums: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.block + self.rows + self.sums


def plan_fit_memory(
    n_rows: int, d: int, clusters: list[int], *, threads: int = 1, copies: bool = True, weight_bytes: int = 0
) -> FitMemory:
    """Plan the memory of a fit over one partition; computes nothing else.

    Parameters
    ----------
    n_rows, d : int
        Shape of the partition.
    clusters : list of int
        k of each model that is fitted at once.
    threads : int
        Threads, each with sums of its own.
    copies : bool
        Whether the source has to be copied to a block.
    weight_bytes : int
        Bytes of one weight, 0 without weights.
    """
    block = n_rows * d * _FLOAT32 if copies else 0
    rows = n_rows * (sum(label_bytes(k) + _BOUND for k in clusters) + weight_bytes)
    masses = _REAL_MASSES if weight_bytes else 1
    sums = sum(k * (d + masses) * _LIMBS * (threads + 1) for k in clusters)
    return FitMemory(block, rows, sums)
