"""Tables (graph): rows by features, in partitions; and what is in memory already (numpy, Arrow) as such a table.

Opening a table computes nothing and copies nothing but what a conversion needs. Dask collections and Parquet files have
modules of their own beside this one.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError
from gpuseg.graph.partitions import HostTable, MemoryPartition, Partition, arrow_host_table, is_key_type

CUSTOMER_METADATA = b"gpuseg.customer"
"""Key of an Arrow schema's metadata that names the customer column."""


@dataclass(frozen=True)
class Table:
    """Rows by features, in partitions.

    Parameters
    ----------
    partitions : list of Partition
        In row order; at least one.
    n_features : int
        Columns that are features.
    columns : tuple of str, optional
        Their names, where the input has any.
    kind : str
        "memory", "dask" or "parquet".
    single : bool
        Whether every feature is float32; anything else is read as float64.
    customer : str, optional
        Column or index of the customer keys.
    features : Dask collection, optional
        The feature columns of a Dask collection, for predictions of the same kind.
    text_keys : bool, default False
        Whether customer keys are text.
    """

    partitions: list[Partition]
    n_features: int
    columns: tuple[str, ...] | None
    kind: str
    single: bool
    customer: str | None = None
    features: Any = None
    text_keys: bool = False


def is_dask(X: Any) -> bool:
    """Whether ``X`` is a Dask collection, without importing Dask."""
    return hasattr(X, "__dask_graph__") and type(X).__module__.split(".")[0].startswith("dask")


def is_arrow(X: Any) -> bool:
    """Whether ``X`` is a ``pyarrow.Table`` or record batch, without importing pyarrow."""
    return type(X).__module__.split(".")[0] == "pyarrow" and hasattr(X, "column_names")


def is_polars(X: Any) -> bool:
    """Whether ``X`` is a polars frame or lazy frame, without importing polars."""
    return type(X).__module__.split(".")[0] == "polars" and type(X).__name__ in {"DataFrame", "LazyFrame"}


def is_path(X: Any) -> bool:
    """Whether ``X`` names a file, files or a folder."""
    return isinstance(X, str) or hasattr(X, "__fspath__")


def is_path_list(X: Any) -> bool:
    """Whether ``X`` is a list of such names, and of nothing else."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(is_path(one) for one in X)


def memory_table(
    values: npt.NDArray[np.floating],
    weights: npt.NDArray[np.float64] | None,
    keys: npt.NDArray[Any] | None,
    columns: tuple[str, ...] | None,
    customer: str | None = None,
) -> Table:
    """A table over arrays that are in memory: one partition, nothing copied."""
    partition = MemoryPartition(f"memory-{uuid.uuid4().hex}", HostTable(values, weights, keys))
    single = values.dtype == np.float32
    return Table([partition], values.shape[1], columns, "memory", single=single, customer=customer)


def arrow_table(
    table: Any,
    weights: npt.NDArray[np.float64] | None,
    customer: str | None,
    leave_out: Collection[str] = (),
) -> Table:
    """A table over an Arrow table (polars frames come here through Arrow).

    Parameters
    ----------
    table : pyarrow.Table or RecordBatch
        One column a feature, and possibly the customer column. Columns that pandas wrote as its index are no features.
    weights : ndarray of float64, shape (n,), optional
        Sample weights.
    customer : str, optional
        Customer column; by default as :func:`arrow_roles` finds it.
    leave_out : collection of str
        Columns that are no features where they are there.

    Raises
    ------
    InputError
        If a column is not numeric, or its name is there twice.
    """
    where = "the Arrow table"
    roles = arrow_roles(table.schema, table.num_rows, customer, None, where, leave_out)
    host = arrow_host_table(table, roles.columns, None, roles.customer, where)
    keys = host.keys if roles.counted is None else range_keys(roles.counted)
    return memory_table(host.values, weights, keys, roles.columns, roles.name)


@dataclass(frozen=True)
class ArrowRoles:
    """What the columns of an Arrow table or a Parquet file are.

    Parameters
    ----------
    columns : tuple of str
        Features: neither customer, weight nor an index that pandas wrote.
    customer : str or None
        Column of the customer keys.
    counted : range or None
        Customer keys that no column holds: a named pandas index that counts.
    name : str or None
        Of the customer keys, in a column or not.
    """

    columns: tuple[str, ...]
    customer: str | None
    counted: range | None
    name: str | None


def arrow_roles(
    schema: Any,
    n_rows: int,
    customer: str | None,
    weight: str | None,
    where: str,
    leave_out: Collection[str] = (),
) -> ArrowRoles:
    """Roles of the columns of an Arrow schema.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of a table or a Parquet file.
    n_rows : int
        Its rows.
    customer : str, optional
        Customer column. By default the one named by the schema's metadata (``gpuseg.customer``), else a named integer
        or text index that pandas wrote.
    weight : str, optional
        Column of the sample weights.
    where : str
        The table's name in messages.
    leave_out : collection of str
        Columns that are no features where they are there.

    Raises
    ------
    InputError
        If a named column is missing, or a name is there twice.
    """
    names = list(schema.names)
    refuse_repeated(names, where)
    index = _pandas_index(schema)
    marked = (schema.metadata or {}).get(CUSTOMER_METADATA)
    if customer is None and marked is not None:
        customer = marked.decode()
    if customer is None and len(index) == 1 and not index[0].startswith("__"):
        customer = index[0] if is_key_type(schema.field(index[0]).type) else None
    name, counted = _range_index(schema, n_rows)
    if name is not None and customer in {None, name} and name not in names:
        customer = None
    else:
        name, counted = customer, None
    for role, column in (("sample_weight", weight), ("customer", customer)):
        if column is not None and column not in names:
            msg = f"{where}: {role} column {column!r} is not there; columns are {', '.join(names)}"
            raise InputError(msg)
    others = {weight, customer, *index, *leave_out}
    return ArrowRoles(tuple(n for n in names if n not in others), customer, counted, name)


def range_keys(counted: range) -> npt.NDArray[np.int64]:
    """Customer keys that count."""
    return np.arange(counted.start, counted.stop, counted.step, dtype=np.int64)


def _pandas_index(schema: Any) -> list[str]:
    """Columns that hold a pandas index; a range index holds none."""
    described = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in described if isinstance(name, str) and name in schema.names]


def _range_index(schema: Any, n_rows: int) -> tuple[str | None, range | None]:
    """Name and keys of a named pandas index that counts: no column holds it, the schema's metadata describe it.

    After a slice the description no longer fits the rows, and there is no index.
    """
    described = (schema.pandas_metadata or {}).get("index_columns", [])
    if len(described) != 1 or not isinstance(described[0], dict) or described[0].get("name") is None:
        return None, None
    keys = range(described[0]["start"], described[0]["stop"], described[0]["step"])
    return (str(described[0]["name"]), keys) if len(keys) == n_rows else (None, None)


def refuse_repeated(names: Iterable[Any], where: str) -> None:
    """Refuse names that are there more than once.

    Raises
    ------
    InputError
        Names them with their counts.
    """
    repeated = [f"{name!r} ({count} times)" for name, count in Counter(names).items() if count > 1]
    if repeated:
        msg = f"{where}: repeated column names {', '.join(repeated)}; give every column a name of its own"
        raise InputError(msg)
