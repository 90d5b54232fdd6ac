"""Tables with a row a customer, as users have them (room ``personality``; groups, membership, calibration open them).

pandas carries the customer as a named index, Arrow and polars as the first column (Arrow: or the one that the metadata
``gpuseg.customer`` names). What comes in goes out: results are of the same kind, in the same order.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.core import identity
from gpuseg.customers.frames import CUSTOMER, FACTS
from gpuseg.errors import InputError

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CustomerColumns:
    """Numbers of customers, and how their table came.

    Parameters
    ----------
    keys : pyarrow.Array
        Customers, int64 or large_string, in the order of the rows.
    names : tuple of str
        Columns of ``values``.
    values : ndarray of float64, shape (n, len(names))
        NaN where nothing is known.
    kind : str
        "pandas", "polars" or "arrow".
    customer : str
        Name of the customer column.
    key_type : pyarrow.DataType
        The type in which the customers came.
    in_index : bool
        pandas: whether the customer is the index.
    """

    keys: pa.Array
    names: tuple[str, ...]
    values: Float64
    kind: str
    customer: str
    key_type: pa.DataType
    in_index: bool

    def column(self, name: str) -> Float64:
        """One of the columns, shape (n,)."""
        return np.asarray(self.values[:, self.names.index(name)])

    def as_kind(self, columns: Mapping[str, pa.Array], facts: Mapping[str, Any]) -> Any:
        """A table of results about these customers, as the kind of frame that they came in."""
        name = self.customer
        table = pa.table({name: self.keys.cast(self.key_type), **columns})
        table = table.replace_schema_metadata({CUSTOMER: name.encode(), FACTS: json.dumps(facts).encode()})
        if self.kind == "arrow":
            return table
        if self.kind == "polars":
            import polars as pl

            return pl.from_arrow(table)
        import pandas as pd

        frame = table.to_pandas(ignore_metadata=True)
        if self.in_index:
            frame = frame.drop(columns=name)
            frame.index = pd.Index(table[name].to_pandas(), name=self.customer)
        frame.attrs["gpuseg"] = dict(facts)
        return frame


def open_columns(
    frame: Any, names: Sequence[str] | None = None, *, what: str = "scores", repeats: bool = False
) -> CustomerColumns:
    """Numbers of customers from a frame.

    Parameters
    ----------
    frame : DataFrame (pandas, polars), pyarrow.Table or CustomerColumns
        The customer (see above) and columns of numbers.
    names : sequence of str, optional
        The columns wanted, in this order; default: all columns of numbers, in theirs.
    what : str
        Words for the frame in messages.
    repeats : bool
        Whether a customer may have several rows.

    Returns
    -------
    CustomerColumns

    Raises
    ------
    InputError
        No such frame, no such column, a column that is not numbers, or customers that are missing or repeated.
    """
    if isinstance(frame, CustomerColumns):
        return _chosen(frame, names, what)
    table, kind, in_index = _arrow(frame, what)
    metadata = table.schema.metadata or {}
    customer = metadata.get(CUSTOMER, b"").decode() or (table.column_names[0] if table.column_names else "")
    if customer not in table.column_names:
        raise InputError(f"{what}: there is no column {customer!r} of customers; give the customer first")
    keys, key_type = _keys(table[customer], customer, what, repeats=repeats)
    others = [name for name in table.column_names if name != customer]
    if names is None:
        chosen = [name for name in others if _is_number(table[name].type)]
    else:
        chosen = list(names)
        _require(chosen, others, what)
    columns = [_numbers(table[name], name, what) for name in chosen]
    values = np.stack(columns, axis=1) if columns else np.empty((len(keys), 0))
    return CustomerColumns(keys, tuple(chosen), values, kind, customer, key_type, in_index)


def join_columns(frames: Sequence[Any], *, what: str = "features") -> CustomerColumns:
    """Columns of several tables side by side, for the customers of the first one.

    Parameters
    ----------
    frames : sequence of DataFrame or Table
        Each with a row a customer; NaN where a later one lacks a customer.
    what : str
        Words for the frames in messages.

    Raises
    ------
    InputError
        As :func:`open_columns`; or two tables have a column of the same name, or customers of two types.
    """
    opened = [open_columns(frame, what=what) for frame in frames]
    if not opened:
        raise InputError(f"{what}: an empty list; give one table or more")
    first, values = opened[0], [opened[0].values]
    for other in opened[1:]:
        if other.keys.type != first.keys.type:
            raise InputError(
                f"{what}: customers are {first.keys.type} in one table, {other.keys.type} in another"
            )
        row = pc.fill_null(pc.index_in(first.keys, value_set=other.keys), len(other.keys)).to_numpy()
        values.append(np.vstack([other.values, np.full((1, len(other.names)), np.nan)])[row])
    names = tuple(name for one in opened for name in one.names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{what}: column {twice[0]!r} is in two tables; rename one")
    return replace(first, names=names, values=np.hstack(values))


def text_column(frame: Any, name: str, what: str) -> tuple[pa.Array, list[str | None]]:
    """The customers of a frame and one of its columns, of text.

    Raises
    ------
    InputError
        As :func:`open_columns`.
    """
    table, _, _ = _arrow(frame, what)
    metadata = table.schema.metadata or {}
    customer = metadata.get(CUSTOMER, b"").decode() or (table.column_names[0] if table.column_names else "")
    _require([name], table.column_names, what)
    return _keys(table[customer], customer, what, repeats=False)[0], table[name].cast(pa.string()).to_pylist()


def identities(keys: pa.Array) -> npt.NDArray[np.uint64]:
    """64 bits of who each customer is (ONE_ANSWER, section 2)."""
    if pa.types.is_integer(keys.type):
        return identity.integer_keys(keys.to_numpy())
    return identity.text_keys(keys.to_pylist())


def _chosen(columns: CustomerColumns, names: Sequence[str] | None, what: str) -> CustomerColumns:
    if names is None:
        return columns
    _require(names, columns.names, what)
    values = columns.values[:, [columns.names.index(name) for name in names]]
    return replace(columns, names=tuple(names), values=values)


def _arrow(frame: Any, what: str) -> tuple[pa.Table, str, bool]:
    if isinstance(frame, pa.Table):
        return frame, "arrow", False
    home = type(frame).__module__.partition(".")[0]
    if home == "polars" and hasattr(frame, "to_arrow") and hasattr(frame, "columns"):
        return frame.to_arrow(), "polars", False
    if home == "pandas" and hasattr(frame, "columns"):
        named = frame.index.name is not None
        plain = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        if not named:
            return plain, "pandas", False
        index = pa.Array.from_pandas(frame.index)
        return plain.add_column(0, str(frame.index.name), index), "pandas", True
    raise InputError(
        f"{what}: {type(frame).__name__} is no table of pandas, polars or Arrow; give one of these"
    )


def _keys(column: Any, name: str, what: str, *, repeats: bool) -> tuple[pa.Array, pa.DataType]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind):
        wanted = pa.int64()
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        wanted = pa.large_string()
    else:
        raise InputError(
            f"{what}: column {name!r} is {kind}; customers are whole numbers or text, and come first"
        )
    try:
        keys = column.cast(kind).cast(wanted)
    except pa.ArrowInvalid:
        raise InputError(
            f"{what}: a customer in {name!r} does not fit int64; store the ids as text"
        ) from None
    keys = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    if keys.null_count:
        raise InputError(f"{what}: {keys.null_count:,} rows have no customer in {name!r}; leave them out")
    n_repeated = len(keys) - pc.count_distinct(keys).as_py()
    if n_repeated and not repeats:
        raise InputError(
            f"{what}: {n_repeated:,} rows repeat a customer in {name!r}; give one row a customer"
        )
    return keys, kind


def _require(names: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise InputError(f"{what}: there is no column {name!r}; {hint}")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _numbers(column: Any, name: str, what: str) -> Float64:
    if not _is_number(column.type):
        raise InputError(f"{what}: column {name!r} is {column.type}, not numbers; leave it out or convert it")
    filled = column.cast(pa.float64(), safe=False).to_numpy()
    return np.asarray(filled, np.float64)
