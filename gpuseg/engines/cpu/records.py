"""numba kernels on coded records (CPU engine): activity bitmaps, retention triangles, sums a category.

Called by the CPU engine and by the room ``customers``. A record is a line of a transaction table whose customer,
period or category has been replaced by a code 0, 1, 2 ... Buffers belong to the caller and are *added to* (bitmaps:
OR; the rest: +), so that the same buffer takes one block of records after another, in any order, to the same bits.
All arithmetic is in integers: there is no order of summation, and a sum that leaves int64 is refused, never wrapped.

==================  ===========================================  =====================================
function            reads                                        adds to
==================  ===========================================  =====================================
``bitmaps``         customer int64[m], period int32[m]           bits uint64[n, words] (OR)
``first_periods``   bits uint64[n, words]                        first int32[n] (overwritten)
``triangle``        bits uint64[n, words], first int32[n]        counts int64[P, P]
``revenue``         customer, period, amount int64[m], first     money int64[P, P]
``category_sums``   customer, category int32[m], amount int64[m]  sums int64[n, c]
==================  ===========================================  =====================================

Period p of a customer is bit ``p % 64`` of word ``p // 64``. Rows of a triangle are acquisition periods, columns ages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.engines.cpu.jit import kernel
from gpuseg.engines.records import outside_buffer, past_int64, require_same_length

WORD = 64
"""Periods a word of a bitmap."""

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

_FINE = -1
_OVERFLOW = 1 << 62  # added to the number of the record, so that one int64 says what and where


def words_for(n_periods: int) -> int:
    """64-bit words that hold one bit a period."""
    return -(-n_periods // WORD)


def bitmaps(customer: Int64, period: Int32, bits: UInt64) -> None:
    """Mark the periods in which each customer was active.

    Parameters
    ----------
    customer : ndarray of int64, shape (m,)
        Customer codes, 0 to n - 1.
    period : ndarray of int32, shape (m,)
        Period codes, 0 to 64 * words - 1.
    bits : ndarray of uint64, shape (n, words), C order
        Updated with OR, in place.

    Raises
    ------
    RangeError
        A code is outside the buffer; ``bits`` is then partly updated.
    """
    require_same_length("bitmaps", customer, period)
    _check("bitmaps", _bitmaps(customer, period, bits), customer, period)


def first_periods(bits: UInt64, first: Int32) -> None:
    """First active period of each customer, -1 where there is none.

    Parameters
    ----------
    bits : ndarray of uint64, shape (n, words)
        Activity bitmaps.
    first : ndarray of int32, shape (n,)
        Overwritten.
    """
    require_same_length("first_periods", bits, first)
    _first_periods(bits, first)


def triangle(bits: UInt64, first: Int32, counts: Int64) -> None:
    """Count active customers by acquisition period and age.

    Parameters
    ----------
    bits : ndarray of uint64, shape (n, words), C order
        Activity bitmaps.
    first : ndarray of int32, shape (n,)
        Acquisition period of each customer; a negative one leaves the customer out. Activity before it is not counted.
    counts : ndarray of int64, shape (P, P), C order
        ``counts[p, a]`` grows by the number of customers acquired in p and active in p + a. Periods from P on are
        not counted.

    Raises
    ------
    RangeError
        A first period is P or more; ``counts`` is then partly updated.
    """
    require_same_length("triangle", bits, first)
    _check("triangle", _triangle(bits, first, counts), first)


def revenue(customer: Int64, period: Int32, amount: Int64, first: Int32, money: Int64) -> int:
    """Add amounts by the customer's acquisition period and age.

    Parameters
    ----------
    customer : ndarray of int64, shape (m,)
        Customer codes, 0 to n - 1.
    period : ndarray of int32, shape (m,)
        Period codes, 0 to P - 1.
    amount : ndarray of int64, shape (m,)
        Minor units.
    first : ndarray of int32, shape (n,)
        Acquisition period of each customer, negative if there is none.
    money : ndarray of int64, shape (P, P), C order
        ``money[p, a]`` grows by the amounts in period p + a of the customers acquired in p.

    Returns
    -------
    int
        Records left out: those of customers without an acquisition period, and those before it.

    Raises
    ------
    RangeError
        A code is outside the buffers or a sum leaves int64; ``money`` is then partly updated.
    """
    require_same_length("revenue", customer, period, amount)
    outside, status = _revenue(customer, period, amount, first, money)
    _check("revenue", status, customer, period)
    return int(outside)


def category_sums(customer: Int64, category: Int32, amount: Int64, sums: Int64) -> None:
    """Add amounts by customer and category.

    Parameters
    ----------
    customer : ndarray of int64, shape (m,)
        Customer codes, 0 to n - 1.
    category : ndarray of int32, shape (m,)
        Category codes, 0 to c - 1.
    amount : ndarray of int64, shape (m,)
        Minor units.
    sums : ndarray of int64, shape (n, c), C order
        Updated in place.

    Raises
    ------
    RangeError
        A code is outside the buffer or a sum leaves int64; ``sums`` is then partly updated.
    """
    require_same_length("category_sums", customer, category, amount)
    _check("category_sums", _category_sums(customer, category, amount, sums), customer, category)


def _check(verb: str, status: int, *codes: npt.NDArray[np.integer]) -> None:
    if status == _FINE:
        return
    row = int(status) % _OVERFLOW
    raise past_int64(verb, row) if status >= _OVERFLOW else outside_buffer(verb, row, *codes)


@kernel
def _bitmaps(customer: Int64, period: Int32, bits: UInt64) -> int:
    n = bits.shape[0]
    limit = bits.shape[1] * 64
    for i in range(customer.shape[0]):
        c = customer[i]
        p = np.int64(period[i])
        if c < 0 or c >= n or p < 0 or p >= limit:
            return i
        bits[c, p >> 6] |= np.uint64(1) << np.uint64(p & 63)
    return _FINE


@kernel
def _lowest_bit(word: np.uint64) -> Any:
    """Number of the lowest set bit: the count of ones below it. ``word`` must not be 0."""
    return _popcount((word & (~word + np.uint64(1))) - np.uint64(1))


@kernel
def _popcount(word: np.uint64) -> Any:
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def _first_periods(bits: UInt64, first: Int32) -> None:
    for i in range(bits.shape[0]):
        first[i] = -1
        for w in range(bits.shape[1]):
            if bits[i, w] != 0:
                first[i] = w * 64 + _lowest_bit(bits[i, w])
                break


@kernel
def _triangle(bits: UInt64, first: Int32, counts: Int64) -> int:
    n_periods = counts.shape[0]
    for i in range(bits.shape[0]):
        start = np.int64(first[i])
        if start >= n_periods:
            return i
        if start < 0:
            continue
        for w in range(start >> 6, bits.shape[1]):
            word = bits[i, w]
            if w == start >> 6:  # activity before the acquisition period is not counted
                word &= ~((np.uint64(1) << np.uint64(start & 63)) - np.uint64(1))
            while word != 0:
                p = w * 64 + _lowest_bit(word)
                if p >= n_periods:
                    break
                counts[start, p - start] += 1
                word &= word - np.uint64(1)
    return _FINE


@kernel
def _revenue(customer: Int64, period: Int32, amount: Int64, first: Int32, money: Int64) -> tuple[int, int]:
    n = first.shape[0]
    n_periods = money.shape[0]
    outside = 0
    for i in range(customer.shape[0]):
        c = customer[i]
        p = np.int64(period[i])
        if c < 0 or c >= n or p < 0 or p >= n_periods or first[c] >= n_periods:
            return outside, i
        start = np.int64(first[c])
        if start < 0 or p < start:
            outside += 1
            continue
        old = money[start, p - start]
        new = old + amount[i]
        if ((old ^ new) & (amount[i] ^ new)) < 0:
            return outside, i + _OVERFLOW
        money[start, p - start] = new
    return outside, _FINE


@kernel
def _category_sums(customer: Int64, category: Int32, amount: Int64, sums: Int64) -> int:
    n = sums.shape[0]
    n_categories = sums.shape[1]
    for i in range(customer.shape[0]):
        c = customer[i]
        g = np.int64(category[i])
        if c < 0 or c >= n or g < 0 or g >= n_categories:
            return i
        old = sums[c, g]
        new = old + amount[i]
        # Both addends differ in sign from the sum: only then has it left the range.
        if ((old ^ new) & (amount[i] ^ new)) < 0:
            return i + _OVERFLOW
        sums[c, g] = new
    return _FINE
