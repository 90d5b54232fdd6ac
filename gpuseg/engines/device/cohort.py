"""Cohorts on a device (room: engines): host side of ``kernels/cohort.cu``.

The same buffers, to the bit, as the verbs of :mod:`gpuseg.engines.cpu.records`, and the same refusals; a refused call
leaves the caller's buffers as they were. On the device a triangle is packed: row p holds ages 0 .. P - p - 1 only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gpuseg.engines.cpu import records
from gpuseg.engines.device.inputs import upload
from gpuseg.engines.device.records import Tally, add_amounts
from gpuseg.engines.launch import Device, DeviceArray, Geometry, Module, ceil_div, kernel_source, plan_rows
from gpuseg.engines.records import require_same_length

_BLOCK_SUM_BYTES = 512
_COUNT_BYTES = 4
_MONEY_BYTES = 8


def bitmaps(
    device: Device,
    customer: npt.NDArray[np.int64],
    period: npt.NDArray[np.int32],
    bits: npt.NDArray[np.uint64],
) -> None:
    """Mark the periods in which each customer was active.

    Parameters
    ----------
    device : Device
        Where it is computed.
    customer : ndarray of int64, shape (m,)
        Customer codes, 0 to n - 1.
    period : ndarray of int32, shape (m,)
        Period codes, 0 to 64 * words - 1.
    bits : ndarray of uint64, shape (n, words)
        Updated with OR, in place.

    Raises
    ------
    RangeError
        A code is outside the buffer.
    """
    require_same_length("bitmaps", customer, period)
    marked = device.zeros(bits.shape, np.uint64)
    codes = upload(device, customer, np.int64, "customer"), upload(device, period, np.int32, "period")
    bitmaps_on_device(device, *codes, marked)
    bits |= device.to_host(marked)


def bitmaps_on_device(
    device: Device, customer: DeviceArray, period: DeviceArray, bits: DeviceArray, *, threads: int = 256
) -> None:
    """Mark periods in bitmaps that are on the device already.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    customer : DeviceArray of int64, shape (m,)
        Customer codes.
    period : DeviceArray of int32, shape (m,)
        Period codes.
    bits : DeviceArray of uint64, shape (n, words)
        Updated with OR; where a record is refused, by all others.
    threads : int
        Threads a block.

    Raises
    ------
    RangeError
        A code is outside the buffer.
    """
    (m,), (n, words) = customer.shape, bits.shape
    geometry = plan_rows(m, device.props, threads=threads)
    tally = Tally.start(device)
    arguments = (customer, period, np.int64(m), np.int64(n), np.int64(words), bits, tally)
    _module(device)["bitmap_marks"](geometry.grid, geometry.block, arguments)
    Tally.read(device, tally).require_codes(device, "bitmaps", customer, period)


def first_periods(device: Device, bits: npt.NDArray[np.uint64], first: npt.NDArray[np.int32]) -> None:
    """First active period of each customer, -1 where there is none.

    Parameters
    ----------
    device : Device
        Where it is computed.
    bits : ndarray of uint64, shape (n, words)
        Activity bitmaps.
    first : ndarray of int32, shape (n,)
        Overwritten.

    Raises
    ------
    RangeError
        Bitmaps and periods are of different customers.
    """
    require_same_length("first_periods", bits, first)
    first[...] = device.to_host(first_periods_on_device(device, upload(device, bits, np.uint64, "bits")))


def first_periods_on_device(device: Device, bits: DeviceArray, *, threads: int = 256) -> DeviceArray:
    """First active period of customers whose bitmaps are on the device.

    Parameters
    ----------
    device : Device
        Where the bitmaps lie.
    bits : DeviceArray of uint64, shape (n, words)
        Activity bitmaps.
    threads : int
        Threads a block.

    Returns
    -------
    DeviceArray of int32, shape (n,)
        -1 where there is no active period.
    """
    n, words = bits.shape
    geometry = plan_rows(n, device.props, threads=threads)
    first = device.empty(n, np.int32)
    arguments = (bits, np.int64(n), np.int64(words), first)
    _module(device)["first_active"](geometry.grid, geometry.block, arguments)
    return first


def triangle(
    device: Device,
    bits: npt.NDArray[np.uint64],
    first: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
) -> None:
    """Count active customers by acquisition period and age.

    Parameters
    ----------
    device : Device
        Where it is computed.
    bits : ndarray of uint64, shape (n, words)
        Activity bitmaps.
    first : ndarray of int32, shape (n,)
        Acquisition period of each customer, negative if there is none.
    counts : ndarray of int64, shape (P, P)
        Added to, in place.

    Raises
    ------
    RangeError
        A first period is P or more.
    """
    require_same_length("triangle", bits, first)
    words = bits if bits.shape[1] else np.zeros((len(bits), 1), np.uint64)  # a thread takes a word: have one
    on_device = upload(device, words, np.uint64, "bits"), upload(device, first, np.int32, "first")
    packed = triangle_on_device(device, *on_device, len(counts))
    counts[_cells(len(counts))] += device.to_host(packed).view(np.int64)


def triangle_on_device(
    device: Device,
    bits: DeviceArray,
    first: DeviceArray,
    n_periods: int,
    *,
    threads: int = 256,
    shared: int | None = None,
) -> DeviceArray:
    """Triangle of customers whose bitmaps are on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    bits : DeviceArray of uint64, shape (n, words)
        Activity bitmaps of at least one word.
    first : DeviceArray of int32, shape (n,)
        Acquisition periods.
    n_periods : int
        Periods P of the triangle; later activity is not counted.
    threads : int
        Threads a block.
    shared : int, optional
        Bytes that a block's own triangle may take; by default all that the device gives without being asked.

    Returns
    -------
    DeviceArray of uint64, shape (P (P + 1) / 2,)
        Counts, packed.

    Raises
    ------
    RangeError
        A first period is P or more.
    """
    n, words = bits.shape
    cells = _packed_size(n_periods)
    private = _COUNT_BYTES * cells if _COUNT_BYTES * cells <= _limit(device, shared) else 0
    geometry = _plan_cells(n * words, cells if private else 0, device, threads)
    counts, tally = device.zeros(cells, np.uint64), Tally.start(device)
    arguments = (bits, first, np.int64(n), np.int64(words), np.int64(n_periods), counts, tally)
    kernel = _module(device)[f"triangle_counts<{str(private > 0).lower()}>"]
    kernel(geometry.grid, geometry.block, arguments, shared=private)
    Tally.read(device, tally).require_codes(device, "triangle", first)
    return counts


def revenue(
    device: Device,
    customer: npt.NDArray[np.int64],
    period: npt.NDArray[np.int32],
    amount: npt.NDArray[np.int64],
    first: npt.NDArray[np.int32],
    money: npt.NDArray[np.int64],
) -> int:
    """Add amounts by the customer's acquisition period and age.

    Parameters
    ----------
    device : Device
        Where it is computed.
    customer : ndarray of int64, shape (m,)
        Customer codes, 0 to n - 1.
    period : ndarray of int32, shape (m,)
        Period codes, 0 to P - 1.
    amount : ndarray of int64, shape (m,)
        Minor units.
    first : ndarray of int32, shape (n,)
        Acquisition period of each customer, negative if there is none.
    money : ndarray of int64, shape (P, P)
        Added to, in place.

    Returns
    -------
    int
        Records left out: those of customers without an acquisition period, and those before it.

    Raises
    ------
    RangeError
        A code is outside the buffers or a sum leaves int64.

    Notes
    -----
    The device adds modulo 2**64, which is right where the magnitudes of all amounts add up to less than 2**63. Where
    they do not, whether a sum leaves int64 depends on the order of the records, and the CPU adds them in theirs;
    ``money`` is then partly updated if one is refused.
    """

    def add(customers: DeviceArray, periods: DeviceArray, amounts: DeviceArray, packed: DeviceArray) -> Tally:
        begun = upload(device, first, np.int32, "first")
        return revenue_on_device(device, customers, periods, amounts, begun, packed, len(money))

    cells = _cells(len(money))
    tally = add_amounts(device, "revenue", add, money, cells, customer=customer, period=period, amount=amount)
    return records.revenue(customer, period, amount, first, money) if tally is None else tally.left_out


def revenue_on_device(
    device: Device,
    customer: DeviceArray,
    period: DeviceArray,
    amount: DeviceArray,
    first: DeviceArray,
    money: DeviceArray,
    n_periods: int,
    *,
    threads: int = 256,
    shared: int | None = None,
) -> Tally:
    """Add amounts to a packed triangle that is on the device.

    Parameters
    ----------
    device : Device
        Where the arrays lie.
    customer, period, amount : DeviceArray of int64, int32, int64, shape (m,)
        Records.
    first : DeviceArray of int32, shape (n,)
        Acquisition periods.
    money : DeviceArray of uint64, shape (P (P + 1) / 2,)
        Packed; added to modulo 2**64, by all records that are not refused.
    n_periods : int
        Periods P of the triangle.
    threads : int
        Threads a block.
    shared : int, optional
        Bytes that a block may take for a triangle of its own; by default all that the device gives without being asked.

    Returns
    -------
    Tally
        What was refused and left out; and the magnitude of what was added, which tells whether a sum may have left
        int64.
    """
    (m,), (n,) = customer.shape, first.shape
    private = _MONEY_BYTES * _packed_size(n_periods)
    private = private if _BLOCK_SUM_BYTES + private <= _limit(device, shared) else 0
    geometry = _plan_cells(m, private // _MONEY_BYTES, device, threads)
    tally = Tally.start(device)
    sizes = np.int64(m), np.int64(n), np.int64(n_periods)
    arguments = (customer, period, amount, first, *sizes, money, tally)
    kernel = _module(device)[f"revenue_sums<{str(private > 0).lower()}>"]
    kernel(geometry.grid, geometry.block, arguments, shared=_BLOCK_SUM_BYTES + private)
    return Tally.read(device, tally)


def _packed_size(n_periods: int) -> int:
    return n_periods * (n_periods + 1) // 2


def _cells(n_periods: int) -> npt.NDArray[np.bool_]:
    """Mask of the cells that a packed triangle holds, in its order; shape (P, P)."""
    ages = np.arange(n_periods)
    return ages[None, :] < n_periods - ages[:, None]


def _limit(device: Device, shared: int | None) -> int:
    return device.props.max_shared if shared is None else shared


def _plan_cells(n_rows: int, cells: int, device: Device, threads: int) -> Geometry:
    """Rows for blocks that keep ``cells`` sums of their own: no more blocks than have at least as many rows to add."""
    enough = n_rows if cells <= threads else ceil_div(n_rows * threads, cells)
    return plan_rows(enough, device.props, threads=threads)


def _module(device: Device) -> Module:
    names = [
        f"{name}<{private}>" for name in ("triangle_counts", "revenue_sums") for private in ("true", "false")
    ]
    return device.module(kernel_source("cohort.cu"), ["bitmap_marks", "first_active", *names])
