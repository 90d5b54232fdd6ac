"""How each customer spends, as integers (room ``personality``; the indicators are finished from it).

A :class:`~gpuseg.customers.customer_state.CustomerState` and what that does not hold: lines at weekends and at night,
squares of amounts, and lines by category and calendar month. Mergeable: any split of the records in any order gives the
same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.customer_state import CustomerState, partition_state
from gpuseg.customers.keyed import Int64, encode, no_pairs, pack, recode, sum_by, union
from gpuseg.customers.reading import local_time
from gpuseg.customers.reading.reader import Checked
from gpuseg.errors import RangeError

EXTRAS = ("weekend", "timed", "night", "square_high", "square_low")
"""Rows of :attr:`HabitState.extras`, over purchases: lines on Saturday or Sunday; lines whose time of day is known; of
these from 22:00 to 06:00; the sum of the squared amounts, above and below 2**32."""

_MONTH_BITS = 12
_MONTHS = (1 << _MONTH_BITS) - 1
_FIRST_YEAR = 1900  # records are from 1900 to 2199
_MOST_CATEGORIES = 1 << (31 - _MONTH_BITS)
_LOW = 0xFFFFFFFF
_NIGHT_FROM, _NIGHT_TO = 22, 6


@dataclass(frozen=True, eq=False)
class HabitState:
    """Exact facts of some of the records, keyed by customer.

    ``merge`` is associative and commutative, ``HabitState()`` is neutral.

    Parameters
    ----------
    base : CustomerState
        The customers, their days, money and categories.
    extras : ndarray of int64, shape (len(EXTRAS), n)
        Sums a customer, in the order of ``base.keys``.
    cells, lines : ndarray of int64
        Distinct pairs (customer, category and month), ascending, and the purchase lines of each. Category and month
        share the lower half of a pair: row in ``base.categories`` x 2**12 + months since January 1900.
    """

    base: CustomerState = field(default_factory=CustomerState)
    extras: Int64 = field(default_factory=lambda: np.zeros((len(EXTRAS), 0), np.int64))
    cells: Int64 = field(default_factory=no_pairs)
    lines: Int64 = field(default_factory=no_pairs)

    def sum_of(self, name: str) -> Int64:
        """One of :data:`EXTRAS`, a number a customer."""
        return np.asarray(self.extras[EXTRAS.index(name)])

    def parts(self) -> tuple[Int64, Int64, Int64]:
        """Customer, category and month (since January 1900) of each cell."""
        lower = self.cells & _LOW
        return self.cells >> 32, lower >> _MONTH_BITS, lower & _MONTHS

    def merge(self, other: HabitState) -> HabitState:
        """Facts of the records of both."""
        base = self.base.merge(other.base)
        if not len(base.keys):  # nobody yet, or keys of two types: the audit refuses the table
            return HabitState(base)
        _, here, there = union(self.base.keys, other.base.keys)
        _, category_here, category_there = union(self.base.categories, other.base.categories)
        extras = np.zeros((len(EXTRAS), len(base.keys)), np.int64)
        extras[:, here] += self.extras
        extras[:, there] += other.extras
        cells, lines = sum_by(
            np.concatenate([_moved(self, here, category_here), _moved(other, there, category_there)]),
            np.concatenate([self.lines, other.lines]),
        )
        return HabitState(base, _carried(extras), cells, lines)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HabitState):
            return NotImplemented
        return self.base == other.base and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("extras", "cells", "lines")
        )

    __hash__ = None  # type: ignore[assignment]


def partition_habits(checked: Checked, time_zone: str) -> HabitState:
    """Facts of one partition.

    Parameters
    ----------
    checked : Checked
        Normalised records and their audit.
    time_zone : str
        The calendar in which days and hours are counted.

    Raises
    ------
    RangeError
        A purchase above 2**31 minor units, or more than 2**19 categories.
    """
    base, table = partition_state(checked, None), checked.table
    if table is None or not len(base.keys):
        return HabitState(base)
    bought = pc.greater(table["amount"], 0)
    table = table.filter(bought)
    customer = np.asarray(
        pc.index_in(table["customer"].combine_chunks(), value_set=base.keys).to_numpy(), np.int64
    )
    extras = _extras(table, customer, len(base.keys), time_zone)
    if "category" not in table.column_names:
        return HabitState(base, extras)
    if len(base.categories) >= _MOST_CATEGORIES:
        raise RangeError(
            f"{len(base.categories):,} categories; {_MOST_CATEGORIES - 1:,} at most, give coarser ones"
        )
    names, code = encode(table["category"])
    row = np.asarray(
        pc.index_in(names.cast(pa.large_string()), value_set=base.categories.cast(pa.large_string())),
        np.int64,
    )
    day = table["day"].cast(pa.int32()).to_numpy().astype("datetime64[D]")
    month = day.astype("datetime64[M]").astype(np.int64) + (1970 - _FIRST_YEAR) * 12
    lower = (row[code] << _MONTH_BITS) | month
    cells, lines = sum_by(pack(customer, lower), np.ones(len(customer), np.int64))
    return HabitState(base, extras, cells, lines)


def merge_habits(states: Sequence[HabitState]) -> HabitState:
    """All of them merged, pairwise as a tree."""
    level = list(states) or [HabitState()]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [pair[0].merge(pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


def _extras(table: pa.Table, customer: Int64, n: int, time_zone: str) -> Int64:
    instants = table["time"].cast(pa.int64()).to_numpy()
    second = local_time.utc_to_local(instants, time_zone) % local_time.DAY_MICROS // local_time.MICROS
    hour = second // 3600
    timed = second != 0  # a date without a time of day is midnight
    amount = table["amount"].to_numpy()
    if len(amount) and int(amount.max()) >= 1 << 31:
        raise RangeError(
            f"an amount of {int(amount.max()):,} minor units; 2**31 at most, mend it or leave it out"
        )
    square = amount * amount
    day = table["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    of_lines = (
        ((day + 3) % 7 >= 5).astype(np.int64),  # 1970-01-01 was a Thursday
        timed.astype(np.int64),
        (timed & ((hour >= _NIGHT_FROM) | (hour < _NIGHT_TO))).astype(np.int64),
        square >> 32,
        square & _LOW,
    )
    extras = np.zeros((len(EXTRAS), n), np.int64)
    for row, values in enumerate(of_lines):
        np.add.at(extras[row], customer, values)
    return _carried(extras)


def _carried(extras: Int64) -> Int64:
    """The same sums, with less than 2**32 in the lower part of the squares."""
    high, low = EXTRAS.index("square_high"), EXTRAS.index("square_low")
    extras[high] += extras[low] >> 32
    extras[low] &= _LOW
    return extras


def _moved(state: HabitState, customers: Int64, categories: Int64) -> Int64:
    _, category, month = state.parts()
    return (
        recode(pack(state.cells >> 32, 0 * month), customers) | (categories[category] << _MONTH_BITS) | month
    )
