"""Sums by customer and category on a device (room: engines): host side of ``kernels/personality.cu``.

The same buffer, to the bit, as :func:`gpuseg.engines.cpu.records.category_sums`, and the same refusals.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from gpuseg.engines.cpu import records
from gpuseg.engines.device.records import Tally, add_amounts
from gpuseg.engines.launch import Device, DeviceArray, kernel_source, plan_rows

_BLOCK_SUM_BYTES = 512


def category_sums(
    device: Device,
    customer: npt.NDArray[np.int64],
    category: npt.NDArray[np.int32],
    amount: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
) -> None:
    """Add amounts by customer and category.

    Parameters
    ----------
    device : Device
        Where it is computed.
    customer : ndarray of int64, shape (m,)
        Customer codes, 0 to n - 1.
    category : ndarray of int32, shape (m,)
        Category codes, 0 to c - 1.
    amount : ndarray of int64, shape (m,)
        Minor units.
    sums : ndarray of int64, shape (n, c)
        Added to, in place; left as it was where a code is refused.

    Raises
    ------
    RangeError
        A code is outside the buffer or a sum leaves int64.

    Notes
    -----
    The device adds modulo 2**64, which is right where the magnitudes of all amounts add up to less than 2**63. Where
    they do not, whether a sum leaves int64 depends on the order of the records, and the CPU adds them in theirs;
    ``sums`` is then partly updated if one is refused.
    """
    add = partial(category_sums_on_device, device)
    tally = add_amounts(
        device, "category_sums", add, sums, ..., customer=customer, category=category, amount=amount
    )
    if tally is None:
        records.category_sums(customer, category, amount, sums)


def category_sums_on_device(
    device: Device,
    customer: DeviceArray,
    category: DeviceArray,
    amount: DeviceArray,
    sums: DeviceArray,
    *,
    threads: int = 256,
) -> Tally:
    """Add amounts to sums that are on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    customer, category, amount : DeviceArray of int64, int32, int64, shape (m,)
        Records.
    sums : DeviceArray of uint64, shape (n, c)
        Added to modulo 2**64, by all records that are not refused.
    threads : int
        Threads a block.

    Returns
    -------
    Tally
        What was refused; and the magnitude of what was added, which tells whether a sum may have left int64.
    """
    (m,), (n, categories) = customer.shape, sums.shape
    geometry = plan_rows(m, device.props, threads=threads)
    tally = Tally.start(device)
    sizes = np.int64(m), np.int64(n), np.int64(categories)
    arguments = (customer, category, amount, *sizes, sums, tally)
    kernel = device.module(kernel_source("personality.cu"), ["category_sums"])["category_sums"]
    kernel(geometry.grid, geometry.block, arguments, shared=_BLOCK_SUM_BYTES)
    return Tally.read(device, tally)
