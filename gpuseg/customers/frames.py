"""What comes in goes out (room ``customers``, called by features and summary): tables of customers as users have them.

The customer key keeps its type. pandas and Dask frames carry it as a named index, Arrow tables as the first column,
named in the schema's metadata ``gpuseg.customer``; polars has no metadata: the first column.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from gpuseg.customers.reading.records import Transactions

CUSTOMER = b"gpuseg.customer"
"""Metadata key: name of the customer column."""
FACTS = b"gpuseg.facts"
"""Metadata key: JSON of what was decided and counted while the table was made (pandas: ``attrs["gpuseg"]``)."""

_FAN_IN = 8
_INTEGERS = {f"{sign}{size}" for sign in ("int", "uint", "Int", "UInt") for size in (8, 16, 32, 64)}


def customer_table(
    tx: Transactions, keys: pa.Array, columns: Mapping[str, pa.Array], facts: Mapping[str, Any]
) -> pa.Table:
    """An Arrow table with the customer first, in its own type, and the facts in its metadata."""
    name = tx.roles.customer
    own = keys if tx.customer_type is None else keys.cast(tx.customer_type)
    table = pa.table({name: own, **columns})
    return table.replace_schema_metadata({CUSTOMER: name.encode(), FACTS: json.dumps(facts).encode()})


def as_kind(tx: Transactions, table: pa.Table) -> Any:
    """The table as the kind of frame that the transactions came in (Dask partitions are pandas)."""
    if tx.kind == "arrow":
        return table
    if tx.kind == "polars":
        import polars as pl

        return pl.from_arrow(table)
    import pandas as pd

    name = tx.roles.customer
    frame = table.drop_columns(name).to_pandas(date_as_object=False)
    keys = table[name].to_pandas()
    if tx.customer_dtype is not None:
        categories = getattr(tx.customer_dtype, "categories", None)
        keys = keys.astype(tx.customer_dtype if categories is None else categories.dtype)
    # Not set_index: it turns int32 keys 1, 2, 3 ... into a RangeIndex of int64.
    frame.index = pd.Index(keys, name=name)
    frame.attrs["gpuseg"] = json.loads(table.schema.metadata[FACTS])
    return frame


def delayed_state(
    tx: Transactions, partial: Callable[..., Any], merge: Callable[[Sequence[Any]], Any], *arguments: Any
) -> Any:
    """A tree of Dask tasks: one partial state a partition, merged eight at a time."""
    from dask.delayed import delayed

    first, join = delayed(partial, pure=True), delayed(merge, pure=True)
    level = [first(partition.delayed, *arguments) for partition in tx.partitions]
    while len(level) > 1:
        level = [join(level[i : i + _FAN_IN]) for i in range(0, len(level), _FAN_IN)]
    return level[0]


def delayed_frame(
    tx: Transactions, state: Any, finish: Callable[..., pa.Table], columns: Mapping[str, pa.DataType]
) -> Any:
    """A Dask dataframe of as many partitions as there are of records, customers ascending throughout.

    Parameters
    ----------
    tx : Transactions
        Of a Dask source.
    state : Delayed
        Task that makes the merged state.
    finish : callable
        Takes the state, returns the table of customers; run once.
    columns : mapping of str to pyarrow.DataType
        Columns of that table, the customer aside.
    """
    import dask.dataframe as dd
    from dask.delayed import delayed

    n_parts = len(tx.partitions)
    light = without_records(tx)
    whole = delayed(finish, pure=True)(state)
    cut = delayed(_cut, pure=True)
    parts = [cut(light, whole, part, n_parts) for part in range(n_parts)]
    return dd.from_delayed(parts, meta=_empty_frame(tx, columns), verify_meta=False)


def without_records(tx: Transactions) -> Transactions:
    """What a task needs to know of the transactions."""
    return replace(tx, partitions=())


def _empty_frame(tx: Transactions, columns: Mapping[str, pa.DataType]) -> Any:
    arrays = {name: pa.array([], dtype) for name, dtype in columns.items()}
    keys = pa.array([], pa.int64() if str(tx.customer_dtype) in _INTEGERS else pa.string())
    return as_kind(tx, customer_table(tx, keys, arrays, {}))


def _cut(tx: Transactions, table: pa.Table, part: int, n_parts: int) -> Any:
    start, stop = len(table) * part // n_parts, len(table) * (part + 1) // n_parts
    return as_kind(tx, table.slice(start, stop - start))
