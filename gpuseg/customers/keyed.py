"""Keys and pairs of keys as integers (room ``customers``, called by the states): encode, pack, merge.

Lists of keys are sorted and distinct, so that equal contents are equal bits. A pair is one int64: the row of the first
key in the upper half, a number below 2**32 in the lower, so that sorting int64 sorts pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.errors import RangeError

Int64 = npt.NDArray[np.int64]

_LOW = 0xFFFFFFFF
_MOST_ROWS = 1 << 31


def no_keys() -> pa.Array:
    """An empty list of keys."""
    return pa.array([], pa.int64())


def no_names() -> pa.Array:
    """An empty list of names."""
    return pa.array([], pa.large_string())


def no_pairs() -> Int64:
    """An empty list of pairs, or of numbers that go with pairs."""
    return np.zeros(0, np.int64)


def encode(column: Any) -> tuple[pa.Array, Int64]:
    """The distinct values, ascending, and the row of each value in that list.

    Parameters
    ----------
    column : pyarrow.Array or ChunkedArray
        Integers or text without nulls; text is ordered by its UTF-8 bytes, which is the order of its characters.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    if column.type == pa.int64() and not column.null_count:
        numbers = column.to_numpy()
        order = order_of(numbers)
        ordered = numbers[order]
        starts = first_of(ordered)
        _require_room(len(starts))
        row = np.empty(len(numbers), np.int64)
        row[order] = numbered_runs(starts, len(numbers))
        return pa.array(ordered[starts]), row
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    used = coded.indices.to_numpy(zero_copy_only=False)
    present = np.zeros(len(coded.dictionary), np.bool_)
    present[used] = True
    order = pc.sort_indices(coded.dictionary).to_numpy()
    order = order[present[order]]
    _require_room(len(order))
    row = np.zeros(len(coded.dictionary), np.int64)
    row[order] = np.arange(len(order))
    return coded.dictionary.take(pa.array(order)), row[used]


def union(a: pa.Array, b: pa.Array) -> tuple[pa.Array, Int64, Int64]:
    """The distinct keys of two lists, ascending, and the rows of both lists in it.

    A short list is merged into a long one by looking its keys up: nothing long is sorted again.
    """
    if not len(b):
        return a, np.arange(len(a)), np.zeros(0, np.int64)
    if not len(a):
        return b, np.zeros(0, np.int64), np.arange(len(b))
    if len(a) < len(b):
        keys, there, here = union(b, a)
        return keys, here, there
    place, known = look_up(a, b)
    new = place[~known]
    _require_room(len(a) + len(new))
    before = np.cumsum(np.bincount(new, minlength=len(a) + 1))  # new keys up to each place
    here = np.arange(len(a)) + before[:-1]
    there = np.empty(len(b), np.int64)
    there[known] = here[place[known]]
    there[~known] = new + np.arange(len(new))
    if not len(new):
        return a, here, there
    order = np.empty(len(a) + len(new), np.int64)
    order[here] = np.arange(len(a))
    order[there[~known]] = len(a) + np.arange(len(new))
    return pa.concat_arrays([a, b.filter(pa.array(~known))]).take(pa.array(order)), here, there


def look_up(keys: pa.Array, wanted: pa.Array) -> tuple[Int64, npt.NDArray[np.bool_]]:
    """Where each wanted key stands in an ascending list, or would stand; and whether it is there.

    Parameters
    ----------
    keys : pyarrow.Array
        Ascending and distinct.
    wanted : pyarrow.Array
        Of the same type, in any order.
    """
    if pa.types.is_integer(keys.type):
        known_keys, numbers = keys.to_numpy(), wanted.to_numpy()
        place = np.searchsorted(known_keys, numbers).astype(np.int64)
        inside = place < len(keys)
        known = inside.copy()
        known[inside] = known_keys[place[inside]] == numbers[inside]
        return place, known
    low, high = np.zeros(len(wanted), np.int64), np.full(len(wanted), len(keys), np.int64)
    for _ in range(len(keys).bit_length()):  # a binary search for all of them at once
        middle = np.minimum((low + high) // 2, len(keys) - 1)
        below = pc.less(keys.take(pa.array(middle)), wanted).to_numpy(zero_copy_only=False) & (low < high)
        low = np.where(below, middle + 1, low)
        high = np.where(below, high, np.minimum(middle, high))
    known = low < len(keys)
    known[known] = pc.equal(keys.take(pa.array(low[known])), wanted.filter(pa.array(known))).to_numpy(
        zero_copy_only=False
    )
    return low, known


def pack(upper: Int64, lower: Int64) -> Int64:
    """Pairs as int64; both halves must lie in 0 .. 2**31 - 1."""
    return (upper << 32) | lower


def recode(pairs: Int64, upper: Int64, lower: Int64 | None = None) -> Int64:
    """Pairs whose upper (and lower) halves moved to other rows."""
    low = pairs & _LOW
    return pack(upper[pairs >> 32], low if lower is None else lower[low])


def distinct(pairs: Int64) -> Int64:
    """The distinct pairs, ascending."""
    ordered = np.sort(pairs)
    return ordered[first_of(ordered)]


def sum_by(keys: Int64, amounts: Int64) -> tuple[Int64, Int64]:
    """Distinct keys, ascending, and the sum of the amounts of each."""
    if not len(keys):
        return keys, amounts
    order = order_of(keys)
    ordered = keys[order]
    starts = first_of(ordered)
    return ordered[starts], np.add.reduceat(amounts[order], starts)


def first_of(ordered: Int64) -> npt.NDArray[np.intp]:
    """Where each run of equal values starts."""
    if not len(ordered):
        return np.zeros(0, np.intp)
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def numbered_runs(starts: npt.NDArray[np.intp], n: int) -> Int64:
    """For each of n values in order, the number of the run that it is in.

    Parameters
    ----------
    starts : ndarray of intp
        Where each run starts, from :func:`first_of`.
    n : int
        How many values there are.
    """
    new = np.zeros(n, np.int64)
    new[starts[1:]] = 1
    return np.cumsum(new)


def order_of(numbers: Int64) -> Int64:
    """The rows that sort the numbers, equal ones in the order that they have.

    Where number and row fit into one int64 they are sorted as one: several times as fast as sorting rows.
    """
    if not len(numbers):
        return np.zeros(0, np.int64)
    least, bits = int(numbers.min()), (len(numbers) - 1).bit_length()
    if (int(numbers.max()) - least).bit_length() + bits > 63:
        return np.argsort(numbers, kind="stable")
    packed = ((numbers - least) << bits) | np.arange(len(numbers))
    packed.sort()
    return packed & ((1 << bits) - 1)


def _require_room(n: int) -> None:
    if n >= _MOST_ROWS:
        raise RangeError(f"{n:,} distinct keys in one state; at most {_MOST_ROWS - 1:,} are possible")
