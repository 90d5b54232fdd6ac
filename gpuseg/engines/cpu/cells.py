"""Two sorted lists of cells into one (CPU engine, called by the room ``personality``).

A cell is a sorted, distinct int64 key with an int64 weight and a 128-bit sum in two limbs (int64 high, uint64 low).
All arithmetic is in integers: there is no order of summation. A weight that leaves int64, or a sum that leaves 128
bits, is refused, never wrapped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.engines.cpu.jit import kernel

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Cells = tuple[Int64, Int64, Int64, UInt64]
"""Keys, weights, high limbs, low limbs."""

FINE = -1


def merge_cells(a: Cells, here: Int64, b: Cells, there: Int64) -> tuple[Cells, int]:
    """Add two lists of cells whose upper key halves, rows in a list, have moved.

    Parameters
    ----------
    a, b : tuple of ndarray
        Keys (ascending, distinct), weights, high and low limbs.
    here, there : ndarray of int64
        The new upper half of each old one, ascending: cells stay in order.

    Returns
    -------
    merged : tuple of ndarray
        The cells of both, not an entry longer: they are counted first.
    refused : int
        The key of a cell whose weight or sum is out of range, or :data:`FINE`; ``merged`` is then of no use.
    """
    n = int(_count(a[0], here, b[0], there))
    out = (np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint64))
    return out, int(_merge(*a, here, *b, there, *out))


@kernel
def _moved(key: np.int64, row: Int64) -> Any:
    return (row[key >> 32] << 32) | (key & np.int64(0xFFFFFFFF))


@kernel
def _count(a_key: Int64, here: Int64, b_key: Int64, there: Int64) -> Any:
    n, j = a_key.shape[0] + b_key.shape[0], 0
    for i in range(a_key.shape[0]):
        key = _moved(a_key[i], here)
        while j < b_key.shape[0] and _moved(b_key[j], there) < key:
            j += 1
        if j < b_key.shape[0] and _moved(b_key[j], there) == key:
            n -= 1
    return n


@kernel
def _merge(
    a_key: Int64,
    a_weight: Int64,
    a_high: Int64,
    a_low: UInt64,
    here: Int64,
    b_key: Int64,
    b_weight: Int64,
    b_high: Int64,
    b_low: UInt64,
    there: Int64,
    key: Int64,
    weight: Int64,
    high: Int64,
    low: UInt64,
) -> np.int64:
    i, j, n = 0, 0, 0
    end_a, end_b = a_key.shape[0], b_key.shape[0]
    last = np.int64(0x7FFFFFFFFFFFFFFF)
    while i < end_a or j < end_b:
        first = last
        second = last
        if i < end_a:
            first = _moved(a_key[i], here)
        if j < end_b:
            second = _moved(b_key[j], there)
        if first < second:
            key[n], weight[n], high[n], low[n] = first, a_weight[i], a_high[i], a_low[i]
            i += 1
        elif second < first:
            key[n], weight[n], high[n], low[n] = second, b_weight[j], b_high[j], b_low[j]
            j += 1
        else:
            mass = a_weight[i] + b_weight[j]
            tail = a_low[i] + b_low[j]
            carry = np.int64(1) if tail < a_low[i] else np.int64(0)
            head = a_high[i] + b_high[j]
            # Both addends differ in sign from the sum: only then has it left the range; the carry may bring it back.
            wrapped = ((a_high[i] ^ head) & (b_high[j] ^ head)) < 0
            carried = carry == 1 and head == last
            if ((a_weight[i] ^ mass) & (b_weight[j] ^ mass)) < 0 or wrapped != carried:
                return np.int64(first)
            key[n], weight[n], high[n], low[n] = first, mass, head + carry, tail
            i += 1
            j += 1
        n += 1
    return np.int64(FINE)
