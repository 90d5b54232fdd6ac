"""Collections to partitions (graph): numpy, pandas, Arrow, polars, Dask collections and Parquet become a ``Table``.

Opening a table computes nothing and copies nothing but what a conversion needs; whatever is lazy stays lazy.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gpuseg.core.fingerprint import of_record
from gpuseg.errors import InputError, SourceError
from gpuseg.graph.partitions import (
    HostTable,
    MemoryPartition,
    ParquetPartition,
    Partition,
    arrow_host_table,
)

CUSTOMER_METADATA = b"gpuseg.customer"
"""Key of an Arrow schema's metadata that names the customer column."""


@dataclass(frozen=True)
class Table:
    """Rows by features, in partitions.

    Parameters
    ----------
    partitions : list of Partition
        In row order.
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
    """

    partitions: list[Partition]
    n_features: int
    columns: tuple[str, ...] | None
    kind: str
    single: bool
    customer: str | None = None


@dataclass(frozen=True)
class GraphPartition:
    """One partition of a Dask collection, still a graph.

    Parameters
    ----------
    token : str
        Unique to the table that was opened.
    rows, weights : Delayed
        The partition and its sample weights (None without).
    columns : tuple of str, optional
        Feature columns of a frame.
    customer : str, optional
        Name of the index that holds customer keys.
    """

    token: str
    rows: Any
    weights: Any
    columns: tuple[str, ...] | None
    customer: str | None

    def load(self) -> HostTable:
        """Compute the partition on threads of this process."""
        from dask.base import compute

        rows, weights = compute(self.rows, self.weights, scheduler="threads")  # type: ignore[no-untyped-call]
        return host_table(rows, weights, self.columns, self.customer)

    def delayed(self) -> Any:
        """The partition as a task that gives a :class:`MemoryPartition`."""
        from dask.delayed import delayed

        return delayed(_memory_partition, pure=False)(
            self.token, self.rows, self.weights, self.columns, self.customer
        )


def _memory_partition(
    token: str, rows: Any, weights: Any, columns: tuple[str, ...] | None, customer: str | None
) -> MemoryPartition:
    """What a worker makes of one partition of a Dask collection."""
    return MemoryPartition(token, host_table(rows, weights, columns, customer))


def host_table(rows: Any, weights: Any, columns: tuple[str, ...] | None, customer: str | None) -> HostTable:
    """One computed partition (ndarray or pandas frame) as a host table.

    Raises
    ------
    InputError
        If it is sparse, not numeric or not two-dimensional.
    """
    keys = None
    if columns is not None:
        keys = rows.index.to_numpy() if customer is not None else None
        values = frame_values(rows[list(columns)])
    else:
        values = numeric_matrix(rows)
    weight = None if weights is None else np.ascontiguousarray(weights, dtype=np.float64).reshape(-1)
    if weight is not None and weight.size != len(values):
        msg = (
            f"a partition has {len(values)} rows but {weight.size} sample weights; give them the same chunks"
        )
        raise InputError(msg)
    return HostTable(values, weight, keys)


def frame_values(frame: Any) -> npt.NDArray[np.floating]:
    """Numeric columns of a pandas frame: float32 if all are, else float64; missing values become NaN."""
    kinds = {str(kind) for kind in frame.dtypes}
    for name, kind in frame.dtypes.items():
        if getattr(kind, "kind", "O") not in "fiub":
            msg = f"column {name!r} is {kind}, not numeric; encode it or leave it out"
            raise InputError(msg)
    wanted = np.float32 if kinds <= {"float32"} else np.float64
    return np.asarray(frame.to_numpy(dtype=wanted, na_value=np.nan))


def numeric_matrix(rows: Any) -> npt.NDArray[np.floating]:
    """A two-dimensional float32 or float64 array; integers and float16 go as float64."""
    if hasattr(rows, "toarray"):
        msg = "sparse partitions are not supported; call .toarray() on them or use dense columns"
        raise InputError(msg)
    matrix = np.asarray(rows)
    if matrix.ndim != 2:
        msg = f"expected a two-dimensional array, got {matrix.ndim} dimensions; reshape it to rows x features"
        raise InputError(msg)
    if matrix.dtype.kind not in "fiub":
        msg = f"values are {matrix.dtype}, not numeric; encode them first"
        raise InputError(msg)
    return matrix if matrix.dtype in (np.float32, np.float64) else matrix.astype(np.float64)


def is_dask(X: Any) -> bool:
    """Whether ``X`` is a Dask collection, without importing Dask."""
    return hasattr(X, "__dask_graph__") and type(X).__module__.split(".")[0].startswith("dask")


def is_arrow(X: Any) -> bool:
    """Whether ``X`` is a ``pyarrow.Table``, without importing pyarrow."""
    return type(X).__module__.split(".")[0] == "pyarrow" and hasattr(X, "column_names")


def is_polars(X: Any) -> bool:
    """Whether ``X`` is a polars frame, without importing polars."""
    return type(X).__module__.split(".")[0] == "polars"


def is_path(X: Any) -> bool:
    """Whether ``X`` names files."""
    return isinstance(X, str) or hasattr(X, "__fspath__")


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


def arrow_table(table: Any, weights: npt.NDArray[np.float64] | None, customer: str | None) -> Table:
    """A table over an Arrow table (polars frames come here through Arrow).

    Parameters
    ----------
    table : pyarrow.Table
        One column a feature, and possibly the customer column.
    weights : ndarray of float64, shape (n,), optional
        Sample weights.
    customer : str, optional
        Customer column; by default the one that the schema's metadata name.
    """
    customer = customer or metadata_customer(table.schema.metadata)
    columns = tuple(name for name in table.column_names if name != customer)
    host = arrow_host_table(table, columns, None, customer, "the Arrow table")
    return memory_table(host.values, weights, host.keys, columns, customer)


def metadata_customer(metadata: dict[bytes, bytes] | None) -> str | None:
    """The customer column that Arrow metadata name, if any."""
    found = (metadata or {}).get(CUSTOMER_METADATA)
    return None if found is None else found.decode()


def dask_table(X: Any, sample_weight: Any, customer: str | None) -> Table:
    """A table over a Dask array or dataframe; chunk sizes may be unknown.

    Raises
    ------
    InputError
        If the collection is not rows x features, or the weights are not chunked as the rows are.
    """
    is_frame = hasattr(X, "npartitions") and hasattr(X, "columns")
    if not is_frame and getattr(X, "ndim", 0) != 2:
        msg = f"expected a two-dimensional Dask array, got {getattr(X, 'ndim', 0)} dimensions"
        raise InputError(msg)
    columns: tuple[str, ...] | None = None
    if is_frame:
        index = X._meta.index  # noqa: SLF001 (dask's documented meta)
        if customer is None and index.dtype.kind in "iuOU":
            customer = index.name
        if customer is not None and customer != index.name:
            X = X.set_index(customer)
        columns = tuple(str(name) for name in X.columns)
        parts = X.to_delayed()
    else:
        if X.numblocks[1] != 1:
            X = X.rechunk({1: -1})
        parts = X.to_delayed().ravel().tolist()
    weights = _delayed_weights(sample_weight, parts, X)
    run = uuid.uuid4().hex
    partitions: list[Partition] = [
        GraphPartition(f"dask-{run}-{i}", part, weight, columns, customer if is_frame else None)
        for i, (part, weight) in enumerate(zip(parts, weights, strict=True))
    ]
    n_features = len(columns) if columns is not None else int(X.shape[1])
    kinds = list(X.dtypes) if is_frame else [X.dtype]
    single = all(str(kind) == "float32" for kind in kinds)
    return Table(partitions, n_features, columns, "dask", single=single, customer=customer)


def _delayed_weights(sample_weight: Any, parts: Sequence[Any], X: Any) -> list[Any]:
    if sample_weight is None:
        return [None] * len(parts)
    if not is_dask(sample_weight):
        msg = "sample_weight of a Dask collection must be a Dask array or series with the same chunks as X"
        raise InputError(msg)
    chunks = getattr(X, "chunks", None)
    if chunks is not None and hasattr(sample_weight, "rechunk") and not np.isnan(sum(chunks[0])):
        sample_weight = sample_weight.rechunk((chunks[0],))
    delayed = sample_weight.to_delayed()
    weights = delayed.ravel().tolist() if hasattr(delayed, "ravel") else list(delayed)
    if len(weights) != len(parts):
        msg = f"X has {len(parts)} partitions but sample_weight has {len(weights)}; give them the same chunks"
        raise InputError(msg)
    return weights


def parquet_table(
    path: Any, weight: str | None, customer: str | None, storage_options: dict[str, Any] | None = None
) -> Table:
    """A table over Parquet files: a path, a glob or a folder, through fsspec; one partition a row group.

    Raises
    ------
    SourceError
        If nothing is there, a file cannot be read, or the files' schemas differ.
    InputError
        If the weight or customer column is not there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    options = storage_options or {}
    filesystem, files = expand_paths(path, options)
    partitions: list[Partition] = []
    first: Any = None
    columns: tuple[str, ...] = ()
    for file in files:
        try:
            with filesystem.open(file, "rb") as handle:
                metadata = pq.ParquetFile(handle)
                schema, groups = metadata.schema_arrow, metadata.num_row_groups
        except (OSError, pa.ArrowException) as error:
            msg = f"{file}: cannot be read as Parquet ({error}); write the file again"
            raise SourceError(msg) from error
        if first is None:
            first = schema
            customer = customer or metadata_customer(schema.metadata)
            columns = _feature_columns(schema, file, weight, customer)
        _require_same_schema(first, schema, files[0], file)
        info = filesystem.info(file)
        stamp = {key: str(info.get(key)) for key in ("size", "mtime", "LastModified", "ETag", "etag")}
        url = filesystem.unstrip_protocol(file)
        for group in range(groups):
            token = of_record([url, stamp, group, list(columns), weight, customer])
            partitions.append(
                ParquetPartition(f"parquet-{token}", url, (group,), columns, weight, customer, options)
            )
    single = all(first.field(name).type == pa.float32() for name in columns)
    return Table(partitions, len(columns), columns, "parquet", single=single, customer=customer)


def expand_paths(path: Any, options: dict[str, Any]) -> tuple[Any, list[str]]:
    """The file system of a path, glob or folder, and the Parquet files it names, sorted.

    Raises
    ------
    SourceError
        If there is none.
    """
    import fsspec

    text = str(path)
    filesystem, stripped = fsspec.core.url_to_fs(text, **options)
    if filesystem.isdir(stripped):
        files = sorted(filesystem.glob(f"{stripped.rstrip('/')}/**/*.parquet"))
    elif any(mark in stripped for mark in "*?["):
        files = sorted(filesystem.glob(stripped))
    else:
        files = [stripped] if filesystem.exists(stripped) else []
    if not files:
        msg = f"{text}: no Parquet file there; check the path or the glob"
        raise SourceError(msg)
    return filesystem, files


def _feature_columns(schema: Any, file: str, weight: str | None, customer: str | None) -> tuple[str, ...]:
    for role, name in (("sample_weight", weight), ("customer", customer)):
        if name is not None and name not in schema.names:
            msg = f"{file}: {role} column {name!r} is not there; columns are {', '.join(schema.names)}"
            raise InputError(msg)
    return tuple(name for name in schema.names if name not in (weight, customer))


def _require_same_schema(expected: Any, found: Any, first_file: str, file: str) -> None:
    if expected.equals(found):
        return
    differences = [
        f"{name}: {_type_of(expected, name)} in {first_file}, {_type_of(found, name)} in {file}"
        for name in sorted({*expected.names, *found.names})
        if _type_of(expected, name) != _type_of(found, name)
    ]
    if differences:
        msg = f"{file}: schema differs from {first_file} ({'; '.join(differences)}); write the files with one schema"
        raise SourceError(msg)


def _type_of(schema: Any, name: str) -> str:
    return str(schema.field(name).type) if name in schema.names else "missing"
