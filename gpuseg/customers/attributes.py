"""What customers are (room ``customers``, called by jobs and models): one value a customer and attribute.

Of records, the latest value that is known up to the day that counts holds; a table of customers has one row each.
Neither the order nor the partitions of the records matter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.keyed import encode, first_of
from gpuseg.customers.reading.attribute_columns import (
    ATTRIBUTE_PREFIX,
    as_numbers,
    attribute_values,
    reads_as_numbers,
)
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.records import Transactions
from gpuseg.errors import InputError, SchemaError

logger = logging.getLogger("gpuseg.customers")


@dataclass(frozen=True)
class AttributeValues:
    """One value a customer and attribute.

    Parameters
    ----------
    keys : pyarrow.Array
        Customers, distinct.
    columns : mapping of str to pyarrow.Array
        By attribute: text or float64, null where it is not known.
    n_several : mapping of str to int
        Customers whose records say several things, of which the latest holds; by attribute.
    """

    keys: pa.Array
    columns: Mapping[str, pa.Array]
    n_several: Mapping[str, int] = field(default_factory=dict)

    def of(self, name: str, customers: Any) -> pa.Array:
        """The attribute of these customers, in their order; null for those of whom nothing is known."""
        row = pc.index_in(_one(customers), value_set=self.keys)
        return self.columns[name].take(row)

    def joined(self, other: AttributeValues, customers: Any) -> AttributeValues:
        """The attributes of both, for these customers."""
        columns = {name: self.of(name, customers) for name in self.columns}
        columns |= {name: other.of(name, customers) for name in other.columns}
        return AttributeValues(_one(customers), columns, {**self.n_several, **other.n_several})


def attributes_of_records(tx: Transactions, as_of: int | None = None) -> AttributeValues:
    """The latest value of each attribute that the records of a customer know.

    Parameters
    ----------
    tx : Transactions
        Read with ``attributes=``.
    as_of : int, optional
        Last local day that counts, in days since 1970-01-01.

    Returns
    -------
    AttributeValues
        Customers with a value of any attribute; of two values at one instant the smaller holds.
    """
    columns: dict[str, tuple[pa.Array, pa.Array, int]] = {}
    for name in tx.attributes:
        seen = _merged(_last_seen(table, name, as_of) for table in tx.tables())
        columns[name] = _latest(seen)
        several = columns[name][2]
        if several:
            logger.info(
                "%s: %d customers with several values of %r; the latest holds", tx.where, several, name
            )
    if not columns:
        return AttributeValues(pa.array([], pa.int64()), {})
    every = pa.concat_arrays([keys for keys, _, _ in columns.values()]).unique()
    own = every if tx.customer_type is None else every.cast(tx.customer_type)
    aligned = {
        name: values.take(pc.index_in(every, value_set=keys)) for name, (keys, values, _) in columns.items()
    }
    return AttributeValues(
        own, aligned, {name: several for name, (_, _, several) in columns.items() if several}
    )


def attributes_of_table(
    table: pa.Table, customer: str, names: Sequence[str], where: str, dialect: CsvDialect | None = None
) -> AttributeValues:
    """The attributes in a table of customers.

    Parameters
    ----------
    table : pyarrow.Table
        One row a customer.
    customer : str
        Its column with the key of the customer.
    names : sequence of str
        Its columns with attributes.
    where : str
        Words for the table in messages.
    dialect : CsvDialect, optional
        What text means, where all of the table is text (CSV).

    Returns
    -------
    AttributeValues
        Rows that say the same thing of the same customer count once.

    Raises
    ------
    SchemaError
        A key is missing, rows contradict each other, or a column holds neither text, numbers nor flags.
    """
    problems = []
    missing = table[customer].null_count
    if missing:
        problems.append(
            f"column {customer!r} (customer) is missing (null) in {missing:,} of {len(table):,} rows; mend "
            "them"
        )
        table = table.filter(table[customer].is_valid())
    columns: dict[str, pa.Array] = {}
    for name in names:
        found = attribute_values(_one(table[name]))
        if found is None:
            kind = table[name].type
            problems.append(
                f"column {name!r} (attribute) is {kind}, neither text, numbers nor flags; convert it, such as a date "
                "of birth to an age in years"
            )
        elif dialect is not None and reads_as_numbers(found, dialect):
            columns[name] = as_numbers(found, dialect)
        else:
            columns[name] = found
    keys = _one(table[customer])
    rows = pa.table({"": keys, **columns})
    distinct = rows.group_by(rows.column_names).aggregate([])
    odd = pc.value_counts(distinct[""])
    several = odd.filter(pc.greater(odd.field("counts"), 1))
    if len(several):
        problems.append(
            f"{len(several):,} customers have rows that contradict each other, such as "
            f"{several.field('values')[0].as_py()!r}; keep one row a customer"
        )
    if problems:
        raise SchemaError(where, problems)
    return AttributeValues(_one(distinct[""]), {name: _one(distinct[name]) for name in names})


def _last_seen(table: pa.Table, name: str, as_of: int | None) -> pa.Table:
    """The last time at which each customer has each value: a partial state, merged by the maximum."""
    known = table[ATTRIBUTE_PREFIX + name].is_valid()
    if as_of is not None:
        known = pc.and_(known, pc.less_equal(table["day"].cast(pa.int32()), as_of))
    rows = pa.table(
        {"customer": table["customer"], "value": table[ATTRIBUTE_PREFIX + name], "time": table["time"]}
    )
    return _by_maximum(rows.filter(known))


def _by_maximum(rows: pa.Table) -> pa.Table:
    found = rows.group_by(["customer", "value"]).aggregate([("time", "max")])
    return found.rename_columns({"time_max": "time"})


def _merged(states: Iterable[pa.Table]) -> pa.Table:
    return _by_maximum(pa.concat_tables(states))


def _latest(seen: pa.Table) -> tuple[pa.Array, pa.Array, int]:
    """Customers, ascending, the value of each that was seen last, and how many have several."""
    order = [("customer", "ascending"), ("time", "descending"), ("value", "ascending")]
    ordered = seen.sort_by(order).combine_chunks()
    keys = _one(ordered["customer"])
    _, rows = encode(keys)
    first = first_of(rows)
    several = int((pc.value_counts(keys).field("counts").to_numpy() > 1).sum())
    return keys.take(pa.array(first)), _one(ordered["value"]).take(pa.array(first)), several


def _one(column: Any) -> pa.Array:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def require_known(values: AttributeValues, names: Sequence[str], where: str) -> None:
    """Refuse attributes that are not among the values.

    Raises
    ------
    InputError
        An attribute is missing.
    """
    absent = [name for name in names if name not in values.columns]
    if absent:
        raise InputError(
            f"{where}: the attributes {', '.join(map(repr, absent))} are missing; read the records with "
            "attributes=, or give the table of customers that has them"
        )
