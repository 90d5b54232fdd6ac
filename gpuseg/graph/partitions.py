"""Partitions (graph): descriptors of rows that can be read again at any time, on any worker.

A partition's ``token`` names its contents; ``load`` gives them as a :class:`HostTable`. Nothing else about a partition
enters a task graph, so a lost worker costs a second reading and nothing more. DESIGN section 2.4.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gpuseg.core.identity import integer_keys, row_numbers, text_keys
from gpuseg.errors import InputError, SourceError


@dataclass(frozen=True)
class HostTable:
    """Rows of one partition in host memory.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (n, d)
        Any strides; read only.
    weights : ndarray of float64, shape (n,), optional
        Sample weights.
    keys : ndarray, shape (n,), optional
        Customer keys (integers or text); without them a row's global number is its identity.
    """

    values: npt.NDArray[np.floating]
    weights: npt.NDArray[np.float64] | None = None
    keys: npt.NDArray[Any] | None = None

    def identity(self, first_row: int) -> npt.NDArray[np.uint64]:
        """64-bit identity of each row; ``first_row`` is the global number of the partition's first row."""
        if self.keys is None:
            return row_numbers(first_row, len(self.values))
        return key_identities(self.keys)


class Partition(Protocol):
    """Something that can be read again: a descriptor, not data."""

    @property
    def token(self) -> str:
        """Name of the contents; equal tokens mean equal contents."""
        ...

    @property
    def where(self) -> str:
        """What a message calls the partition; "" where the table has only one and nobody named it."""
        ...

    @property
    def has_keys(self) -> bool:
        """Whether its rows carry customer keys; otherwise a row's number is its identity."""
        ...

    @property
    def n_rows(self) -> int | None:
        """Rows, where something tells without reading them."""
        ...

    def load(self) -> HostTable:
        """Read the rows."""
        ...


@dataclass(frozen=True)
class MemoryPartition:
    """Rows that are in memory already: the caller's own table, or what a Dask task has just loaded."""

    token: str
    table: HostTable
    where: str = ""

    @property
    def has_keys(self) -> bool:
        """See :class:`Partition`."""
        return self.table.keys is not None

    @property
    def n_rows(self) -> int:
        """See :class:`Partition`."""
        return len(self.table.values)

    def load(self) -> HostTable:
        """The rows themselves."""
        return self.table


@dataclass(frozen=True)
class ParquetPartition:
    """Some row groups of a Parquet file.

    Parameters
    ----------
    token : str
        Digest of path, size, modification time, row groups and columns.
    path : str
        Path or URL, opened with fsspec.
    row_groups : tuple of int
        Row groups to read; all of them where empty.
    columns : tuple of str
        Feature columns.
    weight, customer : str, optional
        Column of the sample weights and of the customer keys.
    storage_options : dict
        For fsspec.
    stamp : dict
        What :func:`file_stamp` said when the table was opened; where it differs at reading the file is refused.
    keys : range, optional
        Customer keys that count from row to row, which no column holds.
    n_rows : int, optional
        Rows, as the file's footer has it.
    """

    token: str
    path: str
    row_groups: tuple[int, ...]
    columns: tuple[str, ...]
    weight: str | None = None
    customer: str | None = None
    storage_options: dict[str, Any] = field(default_factory=dict)
    stamp: dict[str, str] = field(default_factory=dict)
    keys: range | None = None
    n_rows: int | None = None

    @property
    def where(self) -> str:
        """See :class:`Partition`."""
        groups = f", row group {', '.join(map(str, self.row_groups))}" if self.row_groups else ""
        return f"{self.path.removeprefix('file://')}{groups}"

    @property
    def has_keys(self) -> bool:
        """See :class:`Partition`."""
        return self.customer is not None or self.keys is not None

    def load(self) -> HostTable:
        """Read the row groups, a few columns at a time.

        Raises
        ------
        SourceError
            If the file has changed since the table was opened, is cut short or cannot be read.
        """
        import fsspec
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            filesystem, path = fsspec.core.url_to_fs(self.path, **self.storage_options)
            if self.stamp and file_stamp(filesystem, path) != self.stamp:
                msg = f"{self.path}: the file has changed while it was used; start again once it is written"
                raise SourceError(msg)
            with filesystem.open(path, "rb") as handle:
                file = pq.ParquetFile(handle)
                groups = list(self.row_groups or range(file.num_row_groups))
                n_rows = sum(file.metadata.row_group(group).num_rows for group in groups)
                host = _filled(
                    file.schema_arrow, n_rows, functools.partial(file.read_row_groups, groups),
                    self.columns, self.weight, self.customer, self.path,
                )  # fmt: skip
        except (OSError, pa.ArrowException) as error:
            msg = f"{self.path}: cannot be read as Parquet ({error}); write the file again"
            raise SourceError(msg) from error
        if self.keys is None:
            return host
        return replace(host, keys=np.arange(self.keys.start, self.keys.stop, self.keys.step))


def file_stamp(filesystem: Any, path: str) -> dict[str, str]:
    """Size, time and tag of a file, as its file system gives them: what tells one version from another."""
    # A listing kept from an earlier call would hide a change.
    filesystem.invalidate_cache(path)
    info = filesystem.info(path)
    wanted = ("size", "mtime", "LastModified", "ETag", "etag")
    return {key: str(info[key]) for key in wanted if info.get(key) is not None}


def arrow_host_table(
    table: Any, columns: Sequence[str], weight: str | None, customer: str | None, where: str
) -> HostTable:
    """Columns of an Arrow table as a host table, feature-major in memory.

    Raises
    ------
    InputError
        If a feature column is not numeric; the message names it and its type.
    """
    return _filled(table.schema, table.num_rows, table.select, columns, weight, customer, where)


def columns_at_a_time() -> int:
    """Columns of a file that are decoded together: as many as threads do that, no more rows wait to be copied."""
    import pyarrow as pa

    return max(1, int(pa.cpu_count()))


def _filled(
    schema: Any,
    n_rows: int,
    select: Callable[[list[str]], Any],
    columns: Sequence[str],
    weight: str | None,
    customer: str | None,
    where: str,
) -> HostTable:
    """What ``select`` gives of some columns at a time, as a host table."""
    import pyarrow as pa

    fields = [schema.field(name) for name in columns]
    for column in fields:
        if not _is_numeric(column.type):
            msg = f"{where}: column {column.name!r} is {column.type}, not numeric; encode it or leave it out"
            raise InputError(msg)
    single = all(column.type == pa.float32() for column in fields)
    block = np.empty((len(columns), n_rows), np.float32 if single else np.float64)
    step = columns_at_a_time()
    for first in range(0, len(columns), step):
        names = list(columns[first : first + step])
        table = select(names)
        for f, name in enumerate(names, first):
            # Nulls become NaN, and the finite check counts them by name.
            block[f] = _column_values(table.column(name))
    weights = None if weight is None else _column_values(select([weight]).column(0)).astype(np.float64)
    keys = None if customer is None else arrow_keys(select([customer]).column(0), where)
    return HostTable(block.T, weights, keys)


def arrow_keys(column: Any, where: str) -> npt.NDArray[Any]:
    """Customer keys of an Arrow column as int64 or text.

    Raises
    ------
    InputError
        If keys are null or of another type.
    """
    import pyarrow as pa

    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    if column.null_count:
        msg = f"{where}: {column.null_count} customer ids are null; drop or fill those rows"
        raise InputError(msg)
    if pa.types.is_integer(column.type):
        return np.asarray(column.to_numpy())
    if is_key_type(column.type):
        return np.asarray(column.to_pylist(), dtype=object)
    msg = f"{where}: customer ids are {column.type}; they must be integers or text"
    raise InputError(msg)


def key_identities(keys: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """64-bit identities of integer or text keys; an object array may hold both, and 1 is not "1".

    Raises
    ------
    InputError
        If a key is neither.
    """
    if keys.dtype.kind in "iu":
        return integer_keys(keys)
    if keys.dtype.kind == "U":
        return text_keys(keys.tolist())
    text = np.array([isinstance(key, str) for key in keys], np.bool_)
    whole = np.array(
        [isinstance(key, (int, np.integer)) and not isinstance(key, bool) for key in keys], np.bool_
    )
    strangers = np.flatnonzero(~(text | whole))
    if strangers.size:
        first = keys[strangers[0]]
        msg = (
            f"{strangers.size} customer ids are neither integers nor text, the first is {first!r} "
            f"({type(first).__name__}); fill, convert or drop them"
        )
        raise InputError(msg)
    identities = np.empty(keys.size, np.uint64)
    identities[text] = text_keys(keys[text].tolist())
    numbers = [int(key) for key in keys[whole]]
    large = next((key for key in numbers if not -(1 << 63) <= key < (1 << 63)), None)
    if large is not None:
        msg = f"customer id {large} does not fit 64-bit signed integers; store the ids as text"
        raise InputError(msg)
    identities[whole] = integer_keys(np.array(numbers, np.int64))
    return identities


def is_key_type(kind: Any) -> bool:
    """Whether an Arrow type is one of customer keys: integers or text."""
    import pyarrow as pa

    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(text or types.is_integer(kind))


def _is_numeric(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _column_values(column: Any) -> npt.NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = column.to_numpy()
    return np.asarray(values)
