"""Parquet files as tables (graph): one partition a row group, through fsspec. Opening one reads the footers only."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from gpuseg.core.fingerprint import of_record
from gpuseg.errors import SourceError
from gpuseg.graph.partitions import ParquetPartition, Partition, file_stamp
from gpuseg.graph.tables import ArrowRoles, Table, arrow_roles


def parquet_table(
    path: Any,
    weight: str | None,
    customer: str | None,
    storage_options: dict[str, Any] | None = None,
    leave_out: Collection[str] = (),
) -> Table:
    """A table over Parquet files: a path, a glob or a folder, through fsspec; one partition a row group.

    Files go in natural order of their names (``part.2`` before ``part.10``), the order in which Dask wrote them.

    Parameters
    ----------
    path : str or path
        A file, a glob or a folder.
    weight, customer : str, optional
        Columns of the sample weights and of the customer keys.
    storage_options : dict, optional
        For fsspec.
    leave_out : collection of str
        Columns that are no features where they are there.

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
    roles: list[ArrowRoles] = []
    for file in files:
        try:
            with filesystem.open(file, "rb") as handle:
                opened = pq.ParquetFile(handle)
                schema, sizes = opened.schema_arrow, _group_sizes(opened.metadata)
        except (OSError, pa.ArrowException) as error:
            msg = f"{file}: cannot be read as Parquet ({error}); write the file again"
            raise SourceError(msg) from error
        first = schema if first is None else first
        _require_same_schema(first, schema, files[0], file)
        roles.append(arrow_roles(schema, sum(sizes), customer, weight, file, leave_out))
        described = ParquetPartition(
            "", filesystem.unstrip_protocol(file), (), roles[0].columns, weight, roles[0].customer, options,
            file_stamp(filesystem, file), roles[-1].counted,
        )  # fmt: skip
        partitions.extend(_row_groups(described, sizes))
    if len({role.name for role in roles}) > 1:
        msg = f"{path}: some files were written with a named index and some without; write them alike"
        raise SourceError(msg)
    columns = roles[0].columns
    single = all(first.field(name).type == pa.float32() for name in columns)
    return Table(partitions, len(columns), columns, "parquet", single=single, customer=roles[0].name)


def _row_groups(file: ParquetPartition, sizes: list[int]) -> list[Partition]:
    """A partition for each row group; a file without any is one without rows, so that a table always has one."""
    parts: list[Partition] = []
    first_row = 0
    for group, n_rows in enumerate(sizes or [0]):
        keys = None if file.keys is None else file.keys[first_row : first_row + n_rows]
        record = [file.path, file.stamp, group, list(file.columns), file.weight, file.customer, str(keys)]
        rows = (group,) if sizes else ()
        parts.append(replace(file, token=f"parquet-{of_record(record)}", row_groups=rows, keys=keys))
        first_row += n_rows
    return parts


def _group_sizes(metadata: Any) -> list[int]:
    """Rows of each row group."""
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def expand_paths(path: Any, options: dict[str, Any]) -> tuple[Any, list[str]]:
    """The file system of a path, glob or folder, and the Parquet files it names, in natural order.

    Raises
    ------
    SourceError
        If there is none.
    """
    import fsspec

    text = str(path)
    filesystem, stripped = fsspec.core.url_to_fs(text, **options)
    if filesystem.isdir(stripped):
        files = filesystem.glob(f"{stripped.rstrip('/')}/**/*.parquet")
    elif any(mark in stripped for mark in "*?[") and not filesystem.exists(stripped):
        files = [found for found in filesystem.glob(stripped) if not filesystem.isdir(found)]
    else:
        files = [stripped] if filesystem.exists(stripped) else []
    if not files:
        msg = f"{text}: no Parquet file there; check the path or the glob"
        raise SourceError(msg)
    return filesystem, sorted(files, key=natural_key)


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sort key by which ``part.2`` comes before ``part.10``."""
    pieces = re.split(r"(\d+)", text)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


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
