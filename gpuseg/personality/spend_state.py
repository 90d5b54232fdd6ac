"""What each customer spent by category, decayed, as integers (room ``personality``; scoring and jobs call it).

:class:`SpendState` is the mergeable state behind evidence: one of a day's records merges into that of ten years, and
the result is the same bits for any split of the records in any order. Nothing in it is ever rebased, so updating is
one more merge. Memory is of the order of customers + the categories and epochs of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from gpuseg.core.widesum import WideSum
from gpuseg.customers.keyed import Int64, look_up, no_keys, no_pairs, union
from gpuseg.engines.cpu import cells as cpu_cells
from gpuseg.errors import ContractError, InputError, RangeError
from gpuseg.personality.evidence import Evidence
from gpuseg.personality.spend_evidence import evidence_of
from gpuseg.personality.spend_rule import SpendRule

MEASURES = ("records", "unmapped", "sensitive", "refunds")
"""Rows of :attr:`SpendState.lines`: all lines, those of no category, those left out as sensitive, and those of an
amount of 0 or less (which may be one of the others as well)."""


def _no_lines() -> Int64:
    return np.zeros((len(MEASURES), 0), np.int64)


@dataclass(frozen=True, eq=False)
class SpendState:
    """Exact facts of some of the records, keyed by customer.

    ``merge`` is associative and commutative, ``SpendState(rule)`` is neutral. A cell is a customer, a category and an
    epoch, packed into one int64: 31 bits of the row in ``keys``, 12 of the category (one more than the map has: lines
    of no category that counts), 20 of the epoch; so that sorting cells sorts customers, then categories, then epochs.

    Parameters
    ----------
    rule : SpendRule
        What lines count for.
    keys : pyarrow.Array
        Customers with at least one record, ascending (int64 or large_string).
    lines : ndarray of int64, shape (len(MEASURES), n)
        Counts a customer, so that a customer can be forgotten exactly; evidence holds the first of them only.
    last : ndarray of int64, shape (n,)
        Step (see :class:`gpuseg.core.decay.Decay`) of the customer's last record, of whatever kind.
    cells : ndarray of int64
        Distinct cells with a line that is evidence, ascending.
    weight : ndarray of int64
        Sum of the weights of the lines of each cell.
    spend : WideSum
        Sum of amount times weight of each cell, in minor units.
    """

    rule: SpendRule
    keys: pa.Array = field(default_factory=no_keys)
    lines: Int64 = field(default_factory=_no_lines)
    last: Int64 = field(default_factory=no_pairs)
    cells: Int64 = field(default_factory=no_pairs)
    weight: Int64 = field(default_factory=no_pairs)
    spend: WideSum = field(default_factory=lambda: WideSum.zero(0))

    @property
    def n_customers(self) -> int:
        """Customers with at least one record."""
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """Bytes that the state takes."""
        arrays = (self.lines, self.last, self.cells, self.weight, self.spend.hi, self.spend.lo)
        return int(sum(array.nbytes for array in arrays) + self.keys.nbytes)

    def count(self, measure: str) -> Int64:
        """One of :data:`MEASURES`, a number a customer."""
        return np.asarray(self.lines[MEASURES.index(measure)])

    def rows_of(self, customers: Iterable[Any]) -> Int64:
        """Row of each customer in :attr:`keys`, -1 where there is none.

        Parameters
        ----------
        customers : iterable of int or str, or pyarrow.Array
            Keys, in any order.

        Raises
        ------
        InputError
            They are of another type than those of the state: 1 and '1' are never the same customer.
        """
        wanted = as_keys(customers)
        if not len(wanted) or not len(self.keys):
            return np.full(len(wanted), -1, np.int64)
        require_alike(self.keys, wanted)
        place, known = look_up(self.keys, wanted)
        return np.where(known, place, -1)

    def merge(self, other: SpendState) -> SpendState:
        """Facts of the records of both; linear in the larger one.

        Parameters
        ----------
        other : SpendState
            Of the same rule.

        Raises
        ------
        ContractError
            It is of another map, decay, refund policy or currency.
        InputError
            The keys are of two types.
        RangeError
            The weight of a cell leaves int64.
        """
        if self.rule.digest != other.rule.digest:
            raise ContractError(
                "two states of different rules cannot be merged: category map, decay, refund policy and minor units "
                "must be the same; make the state again from the records"
            )
        if not other.n_customers:
            return self
        if not self.n_customers:
            return other
        require_alike(self.keys, other.keys)
        keys, here, there = union(self.keys, other.keys)
        lines = np.zeros((len(MEASURES), len(keys)), np.int64)
        lines[:, here] = self.lines
        lines[:, there] += other.lines
        last = np.full(len(keys), np.iinfo(np.int64).min)
        last[here] = self.last
        last[there] = np.maximum(last[there], other.last)
        cells, weight, spend = _merged_cells(self, here, other, there)
        return SpendState(self.rule, keys, lines, last, cells, weight, spend)

    def without(self, customers: Iterable[Any]) -> SpendState:
        """The state of the records of all other customers, to the bit: forgetting is a subtraction.

        Parameters
        ----------
        customers : iterable of int or str, or pyarrow.Array
            Keys to forget; those that are not there have nothing to forget.

        Raises
        ------
        InputError
            They are of another type than those of the state.
        """
        rows = self.rows_of(customers)
        keep = np.ones(self.n_customers, np.bool_)
        keep[rows[rows >= 0]] = False
        if keep.all():
            return self
        if not keep.any():
            return SpendState(self.rule)
        row = np.cumsum(keep) - 1
        stays = keep[self.cells >> 32]
        cells = self.cells[stays]
        return SpendState(
            self.rule,
            self.keys.filter(pa.array(keep)),
            self.lines[:, keep],
            self.last[keep],
            (row[cells >> 32] << 32) | (cells & 0xFFFFFFFF),
            self.weight[stays],
            self.spend[stays],
        )

    def evidence(self, rows: slice | Int64 | None = None) -> Evidence:
        """Decayed counts and spend by category, as of each customer's own last record.

        Parameters
        ----------
        rows : slice or ndarray of int64, optional
            Rows in :attr:`keys`, such as :meth:`rows_of` gives, ascending; default: all customers.

        Returns
        -------
        Evidence
            A customer's part depends on no other customer and on no other day: who does not act does not move.

        Raises
        ------
        InputError
            The rows do not ascend, or are not there.
        """
        return evidence_of(self, rows)

    def evidence_parts(self, n_rows: int = 1 << 16) -> Iterator[Evidence]:
        """The evidence of all customers, some at a time: what is finished takes several times what the state does.

        Parameters
        ----------
        n_rows : int
            Customers a part; at least 1.

        Raises
        ------
        InputError
            ``n_rows`` is below 1.
        """
        if n_rows < 1:
            raise InputError(f"n_rows={n_rows} is no number of customers; give 1 or more")
        return (self.evidence(slice(start, start + n_rows)) for start in range(0, self.n_customers, n_rows))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpendState):
            return NotImplemented
        return (
            self.rule.digest == other.rule.digest
            and self.keys.equals(other.keys)
            and all(
                np.array_equal(getattr(self, name), getattr(other, name))
                for name in ("lines", "last", "cells", "weight")
            )
            and self.spend == other.spend
        )

    __hash__ = None  # type: ignore[assignment]


def merge_spend(states: Iterable[SpendState]) -> SpendState:
    """All of them merged, as a tree, so that each fact moves a logarithmic number of times.

    Parameters
    ----------
    states : iterable of SpendState
        At least one; taken one by one, and only a logarithmic number of them is held.

    Raises
    ------
    ContractError, InputError, RangeError
        As :meth:`SpendState.merge`.
    """
    held: list[tuple[int, SpendState]] = []
    for state in states:
        held.append((1, state))
        while len(held) > 1 and held[-2][0] == held[-1][0]:
            (size, second), (_, first) = held.pop(), held.pop()
            held.append((2 * size, first.merge(second)))
    while len(held) > 1:
        (_, second), (size, first) = held.pop(), held.pop()
        held.append((size, first.merge(second)))
    return held[0][1]


def as_keys(customers: Iterable[Any]) -> pa.Array:
    """Customer keys as states hold them: int64 or large_string.

    Parameters
    ----------
    customers : iterable of int or str, or pyarrow.Array
        Keys.

    Raises
    ------
    InputError
        They are neither whole numbers nor text, or both; one is missing; or it is one key and no list of keys.
    """
    if isinstance(customers, str | bytes) or not isinstance(customers, Iterable):
        raise InputError(f"{customers!r} is no list of customer keys; give [{customers!r}]")
    try:
        array = customers if isinstance(customers, pa.Array) else pa.array(list(customers))
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise InputError(
            "customer keys are of several types, or too large; give whole numbers of 64 bits only, or text only"
        ) from error
    if array.null_count:
        raise InputError(f"{array.null_count:,} of the customer keys are missing; leave them out")
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if not len(array):
        return no_keys()
    if pa.types.is_integer(array.type):
        return array.cast(pa.int64())
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return array.cast(pa.large_string())
    raise InputError(f"customer keys are {array.type}; whole numbers or text are needed")


def require_alike(here: pa.Array, there: pa.Array) -> None:
    """Refuse keys of two types.

    Raises
    ------
    InputError
        One are whole numbers, the others text.
    """
    if here.type != there.type:
        raise InputError(
            f"customer keys of type {here.type} and {there.type}; 1 and '1' are never merged, cast them to one type"
        )


def _merged_cells(a: SpendState, here: Int64, b: SpendState, there: Int64) -> tuple[Int64, Int64, WideSum]:
    ours = (a.cells, a.weight, a.spend.hi, a.spend.lo)
    theirs = (b.cells, b.weight, b.spend.hi, b.spend.lo)
    (cells, weight, high, low), refused = cpu_cells.merge_cells(ours, here, theirs, there)
    if refused != cpu_cells.FINE:
        raise RangeError(
            f"the lines of one customer, category and epoch (cell {refused}) weigh more than int64 holds; "
            "leave out a customer who stands for many, or shorten the half-life"
        )
    return cells, weight, WideSum(high, low)
