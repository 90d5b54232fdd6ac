"""Feature-major blocks (core): how their values lie in memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_CONFLICT = 256
"""float32 of a kibibyte: features that lie a multiple of it apart share few lines of a cache."""
_LINE = 16
TURNED = 8
"""Features from which rows that lie side by side are turned on the way, some at a time; with fewer a copy is made."""


def empty_block(d: int, n: int) -> npt.NDArray[np.float32]:
    """Room for ``n`` rows of ``d`` features (d, n), float32; a feature's values lie side by side.

    Features may lie further apart than ``n`` values, so that those of one row do not compete for the same cache lines.
    """
    apart = n + _LINE if n and n % _CONFLICT == 0 and d > 1 else n
    return np.empty((d, apart), np.float32)[:, :n]


def picked(block: npt.NDArray[np.float32], rows: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Some rows of a block (d, n), feature-major and on their own (d, m).

    One feature after the other: ``np.take`` over all would first copy a block whose features lie apart. Of rows that
    lie side by side whole rows are taken.
    """
    if is_row_major(block):
        return np.ascontiguousarray(block.T.take(rows, axis=0).T)
    found = np.empty((len(block), rows.size), np.float32)
    for values, feature in zip(found, block, strict=True):
        values[:] = feature.take(rows)
    return found


def is_row_major(block: npt.NDArray[np.float32]) -> bool:
    """Whether a block (d, n) is a C-order table of rows seen from the side, with features enough to be turned."""
    d, n = block.shape
    return d >= TURNED and n > 1 and block.dtype == np.float32 and block.T.flags.c_contiguous


def flattened(block: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], int]:
    """The values of a block (d, n) as one array, feature f of row i at ``f * stride + i``; and that stride."""
    d, n = block.shape
    if block.flags.c_contiguous:
        return block.reshape(-1), n
    if not is_feature_major(block.T):
        block = np.ascontiguousarray(block)
        return block.reshape(-1), n
    stride = block.strides[0] // block.itemsize
    size = (d - 1) * stride + n
    flat = np.lib.stride_tricks.as_strided(block, (size,), (block.itemsize,), writeable=block.flags.writeable)
    return flat, stride


def is_feature_major(source: npt.NDArray[np.float32]) -> bool:
    """Whether each feature of ``source`` (n, d) lies side by side, the features in order and apart."""
    n, d = source.shape
    if source.T.flags.c_contiguous:
        return True
    by_row, by_feature = source.strides
    apart, odd = divmod(by_feature, source.itemsize)
    return n > 0 and d > 0 and by_row == source.itemsize and odd == 0 and apart >= n
