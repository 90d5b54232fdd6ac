"""What is known of each customer's spending by category (room ``personality``; made by the state, read by scoring)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.errors import InputError

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Decayed counts and spend of each customer, as of the customer's own last record.

    Rows are customers; the categories of customer i are entries ``starts[i]`` to ``starts[i + 1]`` of the three
    arrays below, ascending and distinct.

    Parameters
    ----------
    keys : pyarrow.Array, length n
        Customers, ascending (int64 or large_string).
    categories : tuple of str
        Names of the C mapped categories, ascending.
    starts : ndarray of int64, shape (n + 1,)
        Where the entries of each customer start; the last one is where all end.
    category : ndarray of int32
        Row in ``categories``.
    count : ndarray of float64
        Transactions, above 0: one at the customer's last record counts 1, one a half-life earlier one half.
    spend : ndarray of float64
        Their money, decayed alike, in units of the currency; 0 or more.
    records : ndarray of int64, shape (n,)
        Lines of the customer, of every kind.
    total_spend : ndarray of float64, shape (n,)
        Money of all lines, mapped or not, decayed alike, in units of the currency.
    """

    keys: pa.Array
    categories: tuple[str, ...]
    starts: Int64
    category: Int32
    count: Float64
    spend: Float64
    records: Int64
    total_spend: Float64

    @classmethod
    def from_dense(
        cls,
        keys: pa.Array,
        categories: Sequence[str],
        counts: npt.ArrayLike,
        spend: npt.ArrayLike | None = None,
        records: npt.ArrayLike | None = None,
        total_spend: npt.ArrayLike | None = None,
    ) -> Evidence:
        """Evidence of a table of counts, for those who counted themselves.

        Parameters
        ----------
        keys : pyarrow.Array, length n
            Customers.
        categories : sequence of str
            Names of the C columns, ascending.
        counts : array_like, shape (n, C)
            Transactions; 0 or more, finite.
        spend : array_like, shape (n, C), optional
            Their money; default: that of every transaction is 1.
        records : array_like of int64, shape (n,), optional
            Lines of each customer; default: the sum of the counts, rounded.
        total_spend : array_like, shape (n,), optional
            Money of all lines; default: the sum of ``spend``.

        Raises
        ------
        InputError
            The shapes do not fit, the categories do not ascend, or a count is negative or not finite.
        """
        table = np.asarray(counts, np.float64)
        money = table if spend is None else np.asarray(spend, np.float64)
        _check_dense(len(keys), tuple(categories), table, money)
        row, column = np.nonzero(table)
        starts = np.zeros(len(keys) + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=len(keys)), out=starts[1:])
        lines = np.rint(_sums(table)) if records is None else records
        total = _sums(money) if total_spend is None else total_spend
        return cls(
            keys,
            tuple(categories),
            starts,
            column.astype(np.int32),
            table[row, column],
            money[row, column],
            np.asarray(lines).astype(np.int64),
            np.asarray(total, np.float64),
        )

    @property
    def n_customers(self) -> int:
        """Customers, those without an entry included."""
        return len(self.keys)

    def slice(self, start: int, stop: int) -> Evidence:
        """Some of the customers; nothing large is copied.

        Parameters
        ----------
        start, stop : int
            Rows from ``start`` up to ``stop``, exclusive, as in Python's slices.
        """
        start, stop, _ = slice(start, stop).indices(self.n_customers)
        stop = max(start, stop)
        entries = slice(int(self.starts[start]), int(self.starts[stop]))
        return Evidence(
            self.keys.slice(start, stop - start),
            self.categories,
            self.starts[start : stop + 1] - self.starts[start],
            self.category[entries],
            self.count[entries],
            self.spend[entries],
            self.records[start:stop],
            self.total_spend[start:stop],
        )

    def rows(self) -> Int64:
        """The customer of each entry."""
        return np.repeat(np.arange(self.n_customers), np.diff(self.starts))

    def dense_counts(self) -> Float64:
        """The counts as a table of shape (n, C), 0 where there is no entry; 8 n C bytes."""
        return self._dense(self.count)

    def dense_spend(self) -> Float64:
        """The spend as a table of shape (n, C), 0 where there is no entry; 8 n C bytes."""
        return self._dense(self.spend)

    def _dense(self, values: Float64) -> Float64:
        table = np.zeros((self.n_customers, len(self.categories)))
        table[self.rows(), self.category] = values
        return table

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evidence):
            return NotImplemented
        arrays = ("starts", "category", "count", "spend", "records", "total_spend")
        return (
            self.keys.equals(other.keys)
            and self.categories == other.categories
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays)
        )

    __hash__ = None  # type: ignore[assignment]


def _sums(table: Float64) -> Float64:
    """Sums of the rows, columns ascending: numpy's own order of summation is its own business."""
    total = np.zeros(len(table))
    for column in range(table.shape[1] if table.ndim == 2 else 0):
        total += table[:, column]
    return total


def _check_dense(n: int, categories: tuple[str, ...], counts: Any, spend: Any) -> None:
    if list(categories) != sorted(set(categories)):
        raise InputError(f"categories {', '.join(categories[:5])} ... do not ascend; sort them, each once")
    shape = (n, len(categories))
    for name, table in (("counts", counts), ("spend", spend)):
        if table.shape != shape:
            raise InputError(f"{name} has the shape {table.shape}; {shape} (customers, categories) is needed")
        if not (np.isfinite(table) & (table >= 0)).all():
            raise InputError(f"{name} holds negative or not finite values; give 0 or more")
