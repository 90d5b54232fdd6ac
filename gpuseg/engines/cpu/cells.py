"""Two sorted lists of cells into one (CPU engine, called by the room ``personality``).

A cell is a sorted, distinct int64 key with an int64 weight and a 128-bit sum in two limbs (int64 high, uint64 low).
All arithmetic is in integers: there is no order of summation. A weight that leaves int64, or a sum that leaves 128
bits, is refused, never wrapped.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg.engines.cpu.jit import kernel

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Cells = tuple[Int64, Int64, Int64, UInt64]
"""Keys, weights, high limbs, low limbs."""

FINE = -1


def merge_cells(a: Cells, here: Int64, b: Cells, there: Int64, out: Cells) -> tuple[int, int]:
    """Add two lists of cells whose upper key halves, rows in a list, have moved.

    Parameters
    ----------
    a, b : tuple of ndarray
        Keys (ascending, distinct), weights, high and low limbs.
    here, there : ndarray of int64
        The new upper half of each old one, ascending: cells stay in order.
    out : tuple of ndarray
        As long as ``a`` and ``b`` together; overwritten.

    Returns
    -------
    n : int
        Cells in ``out``.
    refused : int
        The key of a cell whose weight or sum is out of range, or :data:`FINE`.
    """
    n, refused = _merge(*a, here, *b, there, *out)
    return int(n), int(refused)


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
) -> tuple[int, np.int64]:
    i, j, n = 0, 0, 0
    end_a, end_b = a_key.shape[0], b_key.shape[0]
    mask = np.int64(0xFFFFFFFF)
    last = np.int64(0x7FFFFFFFFFFFFFFF)
    while i < end_a or j < end_b:
        first = last
        second = last
        if i < end_a:
            first = (here[a_key[i] >> 32] << 32) | (a_key[i] & mask)
        if j < end_b:
            second = (there[b_key[j] >> 32] << 32) | (b_key[j] & mask)
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
                return n, np.int64(first)
            key[n], weight[n], high[n], low[n] = first, mass, head + carry, tail
            i += 1
            j += 1
        n += 1
    return n, np.int64(FINE)
