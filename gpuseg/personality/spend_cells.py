"""Customer, category and epoch in one integer (room ``personality``, called by the spend state)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg.core.decay import EPOCHS_BELOW

Int64 = npt.NDArray[np.int64]

_CATEGORY_SHIFT = 20  # below: the epoch, 20 bits; above: the category, 12 bits; then the customer
_CATEGORY_MASK = (1 << 12) - 1
_EPOCH_MASK = (1 << _CATEGORY_SHIFT) - 1


def pack_cells(customer: Int64, category: npt.NDArray[np.integer], epoch: Int64) -> Int64:
    """Cells as int64.

    Parameters
    ----------
    customer, category, epoch : ndarray of integers
        Row below 2**31, code below 2**12, epoch between minus and plus 2**19.
    """
    code = category.astype(np.int64) << _CATEGORY_SHIFT
    return np.asarray((customer << 32) | code | (epoch + EPOCHS_BELOW))


def unpack_cells(cells: Int64) -> tuple[Int64, Int64, Int64]:
    """Customer row, category code and epoch of each cell.

    Parameters
    ----------
    cells : ndarray of int64
        From :func:`pack_cells`.
    """
    category = (cells >> _CATEGORY_SHIFT) & _CATEGORY_MASK
    return cells >> 32, category, (cells & _EPOCH_MASK) - EPOCHS_BELOW
