"""What is in each basket, as integers (room ``insight``; styles call it).

:class:`BasketState` is the mergeable state behind spending styles: any split of the records in any order gives the same
bits. Memory is of the order of baskets + categories of each basket + products of each basket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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
from gpuseg.customers.sensitive import kept_out

MEASURES = ("lines", "telling_lines", "purchases", "discount", "coupon", "own_label")
"""Rows of :attr:`BasketState.totals`: lines with a purchase, those of them that are in no sensitive category, and money
in minor units."""

_NEVER = np.int64(2**63 - 1)


@dataclass(frozen=True, eq=False)
class BasketState:
    """Exact facts of baskets, of lines that are not returns (amount >= 0).

    ``merge`` is associative and commutative, ``BasketState()`` is neutral. Pairs are packed into one int64, sorted and
    distinct, as in :class:`~gpuseg.customers.customer_state.CustomerState`.

    Parameters
    ----------
    keys : pyarrow.Array
        Customers with a basket, ascending.
    receipts : pyarrow.Array
        Receipts (without a basket column: local days, counted from 1970-01-01), ascending.
    baskets : ndarray of int64
        Distinct pairs (customer, receipt): one a basket.
    first : ndarray of int64, shape (baskets,)
        Time of the basket's first record, microseconds UTC.
    day : ndarray of int64, shape (baskets,)
        Its first local day, counted from 1970-01-01.
    totals : ndarray of int64, shape (len(MEASURES), baskets)
        Sums a basket.
    categories : pyarrow.Array
        Names of the categories with a purchase, ascending; without sensitive ones.
    spend_pairs, spend : ndarray of int64
        Distinct pairs (basket, category) and the money spent there.
    products : pyarrow.Array
        Products with a purchase in no sensitive category, ascending; empty without a product column.
    product_pairs : ndarray of int64
        Distinct pairs (basket, product).
    audit : Audit
        What was found in the records.
    """

    keys: pa.Array = field(default_factory=no_keys)
    receipts: pa.Array = field(default_factory=no_keys)
    baskets: Int64 = field(default_factory=no_pairs)
    first: Int64 = field(default_factory=no_pairs)
    day: Int64 = field(default_factory=no_pairs)
    totals: Int64 = field(default_factory=lambda: np.zeros((len(MEASURES), 0), np.int64))
    categories: pa.Array = field(default_factory=no_names)
    spend_pairs: Int64 = field(default_factory=no_pairs)
    spend: Int64 = field(default_factory=no_pairs)
    products: pa.Array = field(default_factory=no_keys)
    product_pairs: Int64 = field(default_factory=no_pairs)
    audit: Audit = field(default_factory=Audit)

    @property
    def n_customers(self) -> int:
        """Customers with a basket."""
        return len(self.keys)

    @property
    def customer(self) -> Int64:
        """Row of the customer of each basket."""
        return np.asarray(self.baskets >> 32)

    def total(self, measure: str) -> Int64:
        """One measure, a number a basket."""
        return np.asarray(self.totals[MEASURES.index(measure)])

    def merge(self, other: BasketState) -> BasketState:
        """Facts of the records of both."""
        audit = self.audit.merge(other.audit)
        lists = ("keys", "receipts", "products")
        if any(_of_two_types(getattr(self, name), getattr(other, name)) for name in lists):
            return BasketState(audit=audit)  # the audit refuses the table
        keys, here, there = union(self.keys, other.keys)
        receipts, receipt_here, receipt_there = union(self.receipts, other.receipts)
        mine = recode(self.baskets, here, receipt_here)
        theirs = recode(other.baskets, there, receipt_there)
        baskets = distinct(np.concatenate([mine, theirs]))
        own, others = np.searchsorted(baskets, mine), np.searchsorted(baskets, theirs)
        first, day = np.full(len(baskets), _NEVER), np.full(len(baskets), _NEVER)
        for name, merged in (("first", first), ("day", day)):
            merged[own] = getattr(self, name)
            merged[others] = np.minimum(merged[others], getattr(other, name))
        totals = np.zeros((len(MEASURES), len(baskets)), np.int64)
        totals[:, own] += self.totals
        totals[:, others] += other.totals
        categories, category_here, category_there = union(self.categories, other.categories)
        spend_pairs, spend = sum_by(
            np.concatenate(
                [
                    recode(self.spend_pairs, own, category_here),
                    recode(other.spend_pairs, others, category_there),
                ]
            ),
            np.concatenate([self.spend, other.spend]),
        )
        products, product_here, product_there = union(self.products, other.products)
        product_pairs = distinct(
            np.concatenate(
                [
                    recode(self.product_pairs, own, product_here),
                    recode(other.product_pairs, others, product_there),
                ]
            )
        )
        return BasketState(
            keys,
            receipts,
            baskets,
            first,
            day,
            totals,
            categories,
            spend_pairs,
            spend,
            products,
            product_pairs,
            audit,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BasketState):
            return NotImplemented
        lists = ("keys", "receipts", "categories", "products")
        arrays = ("baskets", "first", "day", "totals", "spend_pairs", "spend", "product_pairs")
        return (
            all(getattr(self, name).equals(getattr(other, name)) for name in lists)
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays)
            and self.audit == other.audit
        )

    __hash__ = None  # type: ignore[assignment]


def partition_baskets(checked: Checked, as_of: int | None, opt_in: Sequence[str] = ()) -> BasketState:
    """Facts of one partition.

    Parameters
    ----------
    checked : Checked
        Normalised records and their audit.
    as_of : int or None
        Last local day that counts, in days since 1970-01-01; None for all.
    opt_in : sequence of str
        Kinds or names of sensitive categories that count all the same.
    """
    table = checked.table
    if table is None or not len(table) or checked.audit.problems():
        return BasketState(audit=checked.audit)
    wanted = pc.greater_equal(table["amount"], 0)
    if as_of is not None:
        wanted = pc.and_(wanted, pc.less_equal(table["day"].cast(pa.int32()), as_of))
    table = table.filter(wanted)
    return _facts(table, checked.audit, opt_in) if len(table) else BasketState(audit=checked.audit)


def merge_baskets(states: Sequence[BasketState]) -> BasketState:
    """All of them merged, pairwise as a tree."""
    level = list(states) or [BasketState()]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [pair[0].merge(pair[1]) if len(pair) == 2 else pair[0] for pair in pairs]
    return level[0]


def _of_two_types(a: pa.Array, b: pa.Array) -> bool:
    return bool(len(a) and len(b) and a.type != b.type)


def _facts(table: pa.Table, audit: Audit, opt_in: Sequence[str]) -> BasketState:
    keys, customer = encode(table["customer"])
    days = table["day"].cast(pa.int32()).cast(pa.int64())
    receipts, receipt = encode(table["basket"] if "basket" in table.column_names else days)
    baskets, row = np.unique(pack(customer, receipt), return_inverse=True)
    amount, nothing = table["amount"].to_numpy(), np.zeros(len(table), np.int64)
    bought = amount > 0
    telling = bought & _not_sensitive(table, opt_in)
    own = (
        table["own_label"].to_numpy() if "own_label" in table.column_names else np.zeros(len(table), np.bool_)
    )
    measured = {
        "lines": bought.astype(np.int64),
        "telling_lines": telling.astype(np.int64),
        "purchases": amount,
        "discount": table["discount"].to_numpy() if "discount" in table.column_names else nothing,
        "coupon": table["coupon"].to_numpy() if "coupon" in table.column_names else nothing,
        "own_label": np.where(own, amount, 0),
    }
    totals = np.zeros((len(MEASURES), len(baskets)), np.int64)
    for i, name in enumerate(MEASURES):
        np.add.at(totals[i], row, measured[name])
    first, day = np.full(len(baskets), _NEVER), np.full(len(baskets), _NEVER)
    np.minimum.at(first, row, table["time"].cast(pa.int64()).to_numpy())
    np.minimum.at(day, row, days.to_numpy())
    categories, spend_pairs, spend = _spend(table, row, amount, telling)
    products, product_pairs = _products(table, row, telling)
    return BasketState(
        keys,
        receipts,
        baskets,
        first,
        day,
        totals,
        categories,
        spend_pairs,
        spend,
        products,
        product_pairs,
        audit,
    )


def _not_sensitive(table: pa.Table, opt_in: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Lines that may say what was bought; the others are baskets and money only."""
    if "category" not in table.column_names:
        return np.ones(len(table), np.bool_)
    categories, category = encode(table["category"])
    names = categories.to_pylist()
    left_out = kept_out(names, opt_in)
    return np.array([name not in left_out for name in names], np.bool_)[category]


def _spend(
    table: pa.Table, row: Int64, amount: Int64, telling: npt.NDArray[np.bool_]
) -> tuple[pa.Array, Int64, Int64]:
    if "category" not in table.column_names or not telling.any():
        return no_names(), no_pairs(), no_pairs()
    categories, category = encode(table["category"].filter(pa.array(telling)))
    pairs, spend = sum_by(pack(row[telling], category), amount[telling])
    return categories.cast(pa.large_string()), pairs, spend


def _products(table: pa.Table, row: Int64, telling: npt.NDArray[np.bool_]) -> tuple[pa.Array, Int64]:
    if "product" not in table.column_names:
        return no_keys(), no_pairs()
    known = telling & np.asarray(pc.is_valid(table["product"]).to_numpy())
    if not known.any():
        return no_keys(), no_pairs()
    products, product = encode(table["product"].filter(pa.array(known)))
    return products, distinct(pack(row[known], product))
