"""What is known of each customer, as integers (room ``customers``, called by features, summary and tests).

:class:`CustomerState` is the mergeable state behind features and summaries: one of a day's records merges into that of
the year, and the result is the same bits for any split of the records in any order. Memory is of the order of
customers + their visit days + their receipts + the categories that each bought.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.keyed import (
    Int64,
    distinct,
    encode,
    no_keys,
    no_names,
    no_pairs,
    pack,
    recode,
    sum_by,
    union,
)
from gpuseg.customers.reading.audit import Audit
from gpuseg.customers.reading.reader import Checked

MEASURES = ("lines", "purchase_lines", "purchases", "returns", "discount", "coupon", "own_label")
"""Rows of :attr:`CustomerState.totals`; money in minor units, returns negative."""

_DAY_ZERO = 1 << 20  # days are stored shifted, so that those before 1970 sort as well


@dataclass(frozen=True, eq=False)
class CustomerState:
    """Exact facts of some of the records, keyed by customer.

    ``merge`` is associative and commutative, ``CustomerState()`` is neutral. Pairs are packed into one int64, sorted
    and distinct: the row of the customer in the upper half, the day or the row in a list in the lower.

    Parameters
    ----------
    keys : pyarrow.Array
        Customers with at least one record, ascending (int64 or large_string).
    totals : ndarray of int64, shape (len(MEASURES), n)
        Sums a customer.
    days : ndarray of int64
        Distinct pairs (customer, local day with a purchase).
    baskets : pyarrow.Array
        Receipts with a purchase, ascending; empty without a basket column.
    basket_pairs : ndarray of int64
        Distinct pairs (customer, receipt).
    categories : pyarrow.Array
        Names of the categories with a purchase, ascending.
    spend_pairs, spend : ndarray of int64
        Distinct pairs (customer, category) and the money spent there.
    last_day : int or None
        Last local day with a record, counted from 1970-01-01.
    n_after : int
        Records after the day up to which records count.
    audit : Audit
        What was found in the records.
    """

    keys: pa.Array = field(default_factory=no_keys)
    totals: Int64 = field(default_factory=lambda: np.zeros((len(MEASURES), 0), np.int64))
    days: Int64 = field(default_factory=no_pairs)
    baskets: pa.Array = field(default_factory=no_keys)
    basket_pairs: Int64 = field(default_factory=no_pairs)
    categories: pa.Array = field(default_factory=no_names)
    spend_pairs: Int64 = field(default_factory=no_pairs)
    spend: Int64 = field(default_factory=no_pairs)
    last_day: int | None = None
    n_after: int = 0
    audit: Audit = field(default_factory=Audit)

    @property
    def n_customers(self) -> int:
        """Customers with at least one record."""
        return len(self.keys)

    def total(self, measure: str) -> Int64:
        """One measure, a number a customer."""
        return np.asarray(self.totals[MEASURES.index(measure)])

    def visit_days(self) -> tuple[Int64, Int64]:
        """Row of the customer and local day, for every distinct day with a purchase, in that order."""
        return self.days >> 32, (self.days & 0xFFFFFFFF) - _DAY_ZERO

    def without_categories(self, names: Container[str]) -> CustomerState:
        """The same facts, but nothing on purchases in these categories save the money, the visits and the days."""
        keep = np.array([name not in names for name in self.categories.to_pylist()], np.bool_)
        if keep.all():
            return self
        row, old = np.cumsum(keep) - 1, self.spend_pairs & 0xFFFFFFFF
        stays = keep[old]
        return replace(
            self,
            categories=self.categories.filter(pa.array(keep)),
            spend_pairs=pack(self.spend_pairs[stays] >> 32, row[old[stays]]),
            spend=self.spend[stays],
        )

    def merge(self, other: CustomerState) -> CustomerState:
        """Facts of the records of both."""
        audit = self.audit.merge(other.audit)
        days = [day for day in (self.last_day, other.last_day) if day is not None]
        last_day = max(days) if days else None
        n_after = self.n_after + other.n_after
        if _of_two_types(self.keys, other.keys) or _of_two_types(self.baskets, other.baskets):
            # Keys of two types: the merged audit refuses the table, and nothing else is worth keeping.
            return CustomerState(last_day=last_day, n_after=n_after, audit=audit)
        keys, here, there = union(self.keys, other.keys)
        totals = np.zeros((len(MEASURES), len(keys)), np.int64)
        totals[:, here] += self.totals
        totals[:, there] += other.totals
        baskets, basket_here, basket_there = union(self.baskets, other.baskets)
        categories, category_here, category_there = union(self.categories, other.categories)
        spend_pairs, spend = sum_by(
            np.concatenate(
                [
                    recode(self.spend_pairs, here, category_here),
                    recode(other.spend_pairs, there, category_there),
                ]
            ),
            np.concatenate([self.spend, other.spend]),
        )
        return CustomerState(
            keys,
            totals,
            distinct(np.concatenate([recode(self.days, here), recode(other.days, there)])),
            baskets,
            distinct(
                np.concatenate(
                    [
                        recode(self.basket_pairs, here, basket_here),
                        recode(other.basket_pairs, there, basket_there),
                    ]
                )
            ),
            categories,
            spend_pairs,
            spend,
            last_day,
            n_after,
            audit,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CustomerState):
            return NotImplemented
        lists = ("keys", "baskets", "categories")
        arrays = ("totals", "days", "basket_pairs", "spend_pairs", "spend")
        return (
            all(getattr(self, name).equals(getattr(other, name)) for name in lists)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays)
            and (self.last_day, self.n_after) == (other.last_day, other.n_after)
            and self.audit == other.audit
        )

    __hash__ = None  # type: ignore[assignment]


def partition_state(checked: Checked, as_of: int | None) -> CustomerState:
    """Facts of one partition.

    Parameters
    ----------
    checked : Checked
        Normalised records and their audit.
    as_of : int or None
        Last local day that counts, in days since 1970-01-01; ``None`` for all.
    """
    table = checked.table
    if table is None or not len(table) or checked.audit.problems():
        return CustomerState(audit=checked.audit)
    table, n_after = _until(table, as_of)
    if not len(table):
        return CustomerState(n_after=n_after, audit=checked.audit)
    keys, customer = encode(table["customer"])
    amount = table["amount"].to_numpy()
    bought = amount > 0
    day = table["day"].cast(pa.int32()).to_numpy().astype(np.int64)
    days = distinct(pack(customer[bought], day[bought] + _DAY_ZERO))
    baskets, basket_pairs = _receipts(table, customer, bought)
    categories, spend_pairs, spend = _spend(table, customer, amount, bought)
    totals = _totals(table, customer, amount, len(keys))
    last_day = int(day.max())
    return CustomerState(
        keys,
        totals,
        days,
        baskets,
        basket_pairs,
        categories,
        spend_pairs,
        spend,
        last_day,
        n_after,
        checked.audit,
    )


def merge_states(states: Sequence[CustomerState]) -> CustomerState:
    """All of them merged, pairwise as a tree, so that each fact moves a logarithmic number of times."""
    level = list(states) or [CustomerState()]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [pair[0].merge(pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


def _of_two_types(a: pa.Array, b: pa.Array) -> bool:
    return bool(len(a) and len(b) and a.type != b.type)


def _until(table: pa.Table, as_of: int | None) -> tuple[pa.Table, int]:
    if as_of is None:
        return table, 0
    counts = pc.less_equal(table["day"].cast(pa.int32()), as_of)
    kept = table.filter(counts)
    return kept, len(table) - len(kept)


def _totals(table: pa.Table, customer: Int64, amount: Int64, n: int) -> Int64:
    bought = amount > 0
    forward = amount >= 0  # what is taken off a returned line was not saved
    nothing = np.zeros(len(amount), np.int64)

    def column(name: str) -> npt.NDArray[np.int64]:
        return table[name].to_numpy() if name in table.column_names else nothing

    own = (
        table["own_label"].to_numpy()
        if "own_label" in table.column_names
        else np.zeros(len(amount), np.bool_)
    )
    measured = {
        "lines": nothing + 1,
        "purchase_lines": bought.astype(np.int64),
        "purchases": np.where(bought, amount, 0),
        "returns": np.where(forward, 0, amount),
        "discount": np.where(forward, column("discount"), 0),
        "coupon": np.where(forward, column("coupon"), 0),
        "own_label": np.where(bought & own, amount, 0),
    }
    totals = np.zeros((len(MEASURES), n), np.int64)
    for row, name in enumerate(MEASURES):
        np.add.at(totals[row], customer, measured[name])
    return totals


def _receipts(table: pa.Table, customer: Int64, bought: npt.NDArray[np.bool_]) -> tuple[pa.Array, Int64]:
    if "basket" not in table.column_names:
        return no_keys(), no_pairs()
    if not bought.any():
        return no_keys(), no_pairs()
    baskets, basket = encode(table["basket"].filter(pa.array(bought)))
    return baskets, distinct(pack(customer[bought], basket))


def _spend(
    table: pa.Table, customer: Int64, amount: Int64, bought: npt.NDArray[np.bool_]
) -> tuple[pa.Array, Int64, Int64]:
    if "category" not in table.column_names:
        return no_names(), no_pairs(), no_pairs()
    categories, category = encode(table["category"].filter(pa.array(bought)))
    pairs, spend = sum_by(pack(customer[bought], category), amount[bought])
    return categories.cast(pa.large_string()), pairs, spend
