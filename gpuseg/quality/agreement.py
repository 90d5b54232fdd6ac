"""How far two partitions of the same rows agree (quality; insight and jobs may call it): integers, divided once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError

Int64 = npt.NDArray[np.int64]


def contingency(first: npt.ArrayLike, second: npt.ArrayLike) -> Int64:
    """Rows in each pair of groups.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Group of each row: integers or text.

    Returns
    -------
    ndarray of int64, shape (groups of first, groups of second)
        In sorted order of the groups.

    Raises
    ------
    InputError
        No rows, or lengths that differ.
    """
    a, b = np.asarray(first).reshape(-1), np.asarray(second).reshape(-1)
    if not a.size or a.size != b.size:
        msg = f"{a.size} and {b.size} labels cannot be compared; give one label a row, and at least one row"
        raise InputError(msg)
    rows, row = np.unique(a, return_inverse=True)
    columns, column = np.unique(b, return_inverse=True)
    cells = np.bincount(
        row.reshape(-1) * columns.size + column.reshape(-1), minlength=rows.size * columns.size
    )
    return cells.astype(np.int64).reshape(rows.size, columns.size)


def adjusted_rand_index(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Adjusted Rand index: 1 for the same partition, about 0 for two that have nothing to do with each other.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        Group of each row: integers or text.

    Returns
    -------
    float
        At most 1, below 0 for less agreement than chance. Python integers and one division: the same bits everywhere.

    Raises
    ------
    InputError
        No rows, or lengths that differ.

    References
    ----------
    L. Hubert, P. Arabie. Comparing partitions. Journal of Classification 2 (1985).

    Examples
    --------
    >>> adjusted_rand_index([0, 0, 1, 1], ["b", "b", "a", "a"])
    1.0
    """
    return rand_index_of(contingency(first, second))


def rand_index_of(table: Int64) -> float:
    """Adjusted Rand index of a contingency table of shape (a, b)."""
    both = _pairs(table)
    inside, across = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    n = int(table.sum())
    every = n * (n - 1) // 2
    largest = (inside + across) * every - 2 * inside * across
    # Both partitions are one group, or both are all single rows: they are the same.
    return 2 * (both * every - inside * across) / largest if largest else 1.0


def _pairs(counts: Int64) -> int:
    """Pairs of rows within the same cell, as a Python integer."""
    return sum(count * (count - 1) // 2 for count in counts.reshape(-1).tolist())
