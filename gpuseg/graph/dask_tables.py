"""Dask collections as tables (graph): one partition a chunk, still a graph until a task asks for its rows.

Opening one computes nothing. Chunk sizes may be unknown, partitions may be empty.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.errors import InputError
from gpuseg.graph.partitions import HostTable, MemoryPartition, Partition
from gpuseg.graph.tables import Table, is_dask, refuse_repeated

logger = logging.getLogger("gpuseg.graph")


@dataclass(frozen=True)
class GraphPartition:
    """One partition of a Dask collection, still a graph.

    Parameters
    ----------
    token : str
        Unique to the table that was opened.
    rows, weights : Delayed
        The partition and its sample weights (None without).
    columns : tuple, optional
        Feature columns of a frame, as the frame names them.
    customer : str, optional
        Name of the column or index that holds customer keys.
    single : bool
        Whether the collection says that it is float32 throughout.
    where : str
        What a message calls the partition.
    n_rows : int, optional
        Rows, where the collection knows its chunks.
    """

    token: str
    rows: Any
    weights: Any
    columns: tuple[Any, ...] | None
    customer: str | None
    single: bool
    where: str
    n_rows: int | None = None

    @property
    def has_keys(self) -> bool:
        """See :class:`gpuseg.graph.partitions.Partition`."""
        return self.customer is not None

    def load(self) -> HostTable:
        """Compute the partition on threads of this process."""
        from dask.base import compute

        rows, weights = compute(self.rows, self.weights, scheduler="threads")  # type: ignore[no-untyped-call]
        return host_table(rows, weights, self.columns, self.customer, self.where, single=self.single)

    def delayed(self, key: str) -> Any:
        """The partition as a task, of that key, that gives a :class:`MemoryPartition`."""
        from dask.delayed import delayed

        return delayed(memory_partition, pure=False)(
            self.token,
            self.rows,
            self.weights,
            self.columns,
            self.customer,
            self.where,
            single=self.single,
            dask_key_name=key,
        )


def memory_partition(token: str, rows: Any, weights: Any, *roles: Any, single: bool) -> MemoryPartition:
    """What a worker makes of one partition of a Dask collection; ``roles`` as :func:`host_table` has them."""
    return MemoryPartition(token, host_table(rows, weights, *roles, single=single), roles[-1])


def host_table(
    rows: Any,
    weights: Any,
    columns: tuple[Any, ...] | None,
    customer: str | None,
    where: str,
    *,
    single: bool,
) -> HostTable:
    """One computed partition (ndarray or pandas frame) as a host table.

    Raises
    ------
    InputError
        If it is sparse, not numeric, not two-dimensional or not of the type that was announced, or its weights do not
        fit.
    """
    keys = None
    if columns is not None:
        if customer is not None:
            keys = (rows[customer] if customer in rows.columns else rows.index).to_numpy()
        # Empty partitions often carry types of their own, and no value that could be of the wrong one.
        empty = np.empty((0, len(columns)), np.float32 if single else np.float64)
        values = frame_values(rows[list(columns)], where) if len(rows) else empty
    else:
        values = numeric_matrix(rows, where)
    if single and values.dtype != np.float32:
        # Each partition would be rounded by itself, and no other route to the same table would give the same bits.
        msg = f"{where} holds {values.dtype} although X announces float32; correct its meta or use X.astype('float32')"
        raise InputError(msg)
    weight = None if weights is None else np.ascontiguousarray(weights, dtype=np.float64).reshape(-1)
    if weight is not None and weight.size != len(values):
        msg = f"{where} has {len(values)} rows but {weight.size} sample weights; give them the same chunks"
        raise InputError(msg)
    return HostTable(values, weight, keys)


def frame_values(frame: Any, where: str) -> npt.NDArray[np.floating]:
    """Numeric columns of a pandas frame: float32 if all are, else float64; missing values become NaN.

    Raises
    ------
    InputError
        If a column is not numeric; the message names it and its type.
    """
    kinds = {str(kind) for kind in frame.dtypes}
    for name, kind in frame.dtypes.items():
        if getattr(kind, "kind", "O") not in "fiub":
            msg = f"{where}: column {name!r} is {kind}, not numeric; encode it or leave it out"
            raise InputError(msg)
    wanted = np.float32 if kinds <= {"float32"} else np.float64
    return np.asarray(frame.to_numpy(dtype=wanted, na_value=np.nan))


def numeric_matrix(rows: Any, where: str) -> npt.NDArray[np.floating]:
    """A two-dimensional float32 or float64 array; integers and float16 go as float64.

    Raises
    ------
    InputError
        If the array is sparse, not numeric or not two-dimensional.
    """
    if hasattr(rows, "toarray") or hasattr(rows, "todense"):
        msg = f"{where} is sparse, which is not supported; call .toarray() on it or use dense columns"
        raise InputError(msg)
    matrix = np.asarray(rows)
    if matrix.ndim != 2:
        msg = f"{where}: expected rows x features, got {matrix.ndim} dimensions; reshape the array"
        raise InputError(msg)
    if matrix.dtype.kind not in "fiub":
        msg = f"{where}: values are {matrix.dtype}, not numeric; encode them first"
        raise InputError(msg)
    return matrix if matrix.dtype in (np.float32, np.float64) else matrix.astype(np.float64)


def dask_table(X: Any, sample_weight: Any, customer: str | None, leave_out: Collection[str] = ()) -> Table:
    """A table over a Dask array or dataframe; chunk sizes may be unknown.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
        Rows by features, and possibly the customer column of a frame.
    sample_weight : Dask array or series, optional
        Chunked as the rows are.
    customer : str, optional
        Column or index of the customer keys; by default a named integer or text index.
    leave_out : collection of str
        Columns of a frame that are no features where they are there.

    Raises
    ------
    InputError
        If the collection is not rows x features, a column is missing or twice there, or the weights do not fit.
    """
    kind = type(X).__module__.split(".")[1:2]
    if kind == ["array"]:
        return _array_table(X, sample_weight, customer)
    if kind == ["dataframe"] and hasattr(X, "columns") and X.ndim == 2:
        return _frame_table(X, sample_weight, customer, leave_out)
    msg = (
        f"X is a {type(X).__module__}.{type(X).__name__}, which has no rows and columns; give a Dask array or "
        "dataframe"
    )
    raise InputError(msg)


def _array_table(X: Any, sample_weight: Any, customer: str | None) -> Table:
    if customer is not None:
        msg = f"customer={customer!r} names a column, but a Dask array has none; give a Dask dataframe"
        raise InputError(msg)
    if X.ndim != 2:
        msg = f"expected a two-dimensional Dask array, got {X.ndim} dimensions; reshape it to rows x features"
        raise InputError(msg)
    if np.isnan(X.shape[1]):
        msg = "the number of columns of X is not known; call X.compute_chunk_sizes() or give from_delayed its shape"
        raise InputError(msg)
    if X.dtype.kind not in "fiub":
        msg = f"X is a Dask array of {X.dtype}, not numeric; encode the values first"
        raise InputError(msg)
    if X.numblocks[1] != 1:
        X = X.rechunk({1: -1})
    parts = X.to_delayed().ravel().tolist()
    weights = _delayed_weights(sample_weight, X, len(parts))
    single = bool(X.dtype == np.float32)
    sizes = [None if np.isnan(size) else int(size) for size in X.chunks[0]]
    partitions = _partitions(parts, weights, None, None, sizes, single=single)
    return Table(partitions, int(X.shape[1]), None, "dask", single=single, features=X)


def _frame_table(X: Any, sample_weight: Any, customer: str | None, leave_out: Collection[str]) -> Table:
    meta = X._meta  # noqa: SLF001 (dask's documented meta)
    refuse_repeated(meta.columns, "the Dask dataframe")
    customer = _frame_customer(meta, customer)
    names = [name for name in meta.columns if name != customer and name not in leave_out]
    if len({isinstance(name, str) for name in names}) > 1:
        msg = f"column names {names} mix text with other types; name every column by text"
        raise InputError(msg)
    features = X if len(names) == len(meta.columns) else X[names]
    parts = X.to_delayed()
    weights = _delayed_weights(sample_weight, X, len(parts))
    single = all(str(kind) == "float32" for kind in features.dtypes)
    sizes = [None] * len(parts)
    partitions = _partitions(parts, weights, tuple(names), customer, sizes, single=single)
    columns = tuple(names) if names and isinstance(names[0], str) else None
    keys = None if customer is None else meta[customer] if customer in meta.columns else meta.index
    return Table(
        partitions, len(names), columns, "dask", single=single, customer=customer, features=features,
        text_keys=keys is not None and keys.dtype.kind not in "iu",
    )  # fmt: skip


def _partitions(
    parts: Sequence[Any],
    weights: Sequence[Any],
    columns: tuple[Any, ...] | None,
    customer: str | None,
    sizes: Sequence[int | None],
    *,
    single: bool,
) -> list[Partition]:
    run = uuid.uuid4().hex
    return [
        GraphPartition(f"dask-{run}-{i}", part, weight, columns, customer, single, f"partition {i}", n_rows)
        for i, (part, weight, n_rows) in enumerate(zip(parts, weights, sizes, strict=True))
    ]


def _frame_customer(meta: Any, customer: str | None) -> str | None:
    """Column or index of the customer keys."""
    index = meta.index
    if customer is not None:
        if customer not in meta.columns and customer != index.name:
            listed = ", ".join(map(str, meta.columns))
            msg = f"customer={customer!r} is neither a column nor the index of X; columns are {listed}"
            raise InputError(msg)
        return customer
    if index.name is None:
        return None
    if index.dtype.kind in "iu" or str(index.dtype) in {"object", "str", "string"}:
        return str(index.name)
    logger.info("index %r is %s, not integers or text; rows go by their number", index.name, index.dtype)
    return None


def _delayed_weights(sample_weight: Any, X: Any, n_parts: int) -> list[Any]:
    """The weights of each partition, not computed; None where there are none."""
    if sample_weight is None:
        return [None] * n_parts
    if not is_dask(sample_weight):
        msg = "sample_weight of a Dask collection must be a Dask array or series with the same chunks as X"
        raise InputError(msg)
    ours, theirs = getattr(X, "chunks", None), getattr(sample_weight, "chunks", None)
    if ours is not None and theirs is not None:
        rows, given = sum(ours[0]), sum(theirs[0])
        if not np.isnan(rows) and not np.isnan(given):
            if rows != given:
                msg = f"sample_weight has {given} values for {rows} rows; give one weight a row"
                raise InputError(msg)
            sample_weight = sample_weight.rechunk({0: ours[0]})
    delayed = sample_weight.to_delayed()
    weights = delayed.ravel().tolist() if hasattr(delayed, "ravel") else list(delayed)
    if len(weights) != n_parts:
        msg = f"X has {n_parts} partitions but sample_weight has {len(weights)}; give them the same chunks"
        raise InputError(msg)
    return weights
