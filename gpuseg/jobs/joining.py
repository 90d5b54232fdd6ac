"""Tables that are joined to the records by customer (jobs; called by events, customer_table): keys of one type."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from gpuseg.customers.reading.roles import value_kind
from gpuseg.customers.reading.transactions import Transactions
from gpuseg.errors import InputError


def keys_like(column: pa.ChunkedArray, path: str, name: str, tx: Transactions) -> pa.ChunkedArray:
    """Customers of a table; those from text become whole numbers where those of the records are.

    Raises
    ------
    InputError
        They are of another kind than those of the records, so that the two never meet.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    own: Any = tx.customer_type
    if own is None or len(column) == column.null_count or value_kind(own) == value_kind(column.type):
        return column if own is None else column.cast(own)
    if pa.types.is_integer(own) and value_kind(column.type) == "text":
        try:
            return column.cast(pa.int64()).cast(own)
        except pa.ArrowInvalid as error:
            raise InputError(
                f"{path}: the customers of the records are whole numbers, but {name!r} holds others ({error})"
            ) from error
    raise InputError(
        f"{path}: column {name!r} holds {value_kind(column.type)}, and the customers of the records are "
        f"{value_kind(own)}: they never meet; cast one of them"
    )
