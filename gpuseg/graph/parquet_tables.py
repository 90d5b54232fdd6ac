"""Parquet files as tables (graph): one partition a row group, through fsspec. Opening one reads the footers only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from gpuseg.core.fingerprint import of_record
from gpuseg.errors import SourceError
from gpuseg.graph.partitions import ParquetPartition, Partition, file_stamp
from gpuseg.graph.tables import ArrowRoles, Table, arrow_roles, is_path_list


def parquet_table(
    path: Any,
    weight: str | None,
    customer: str | None,
    storage_options: dict[str, Any] | None = None,
    leave_out: Collection[str] = (),
) -> Table:
    """A table over Parquet files: a path, a glob, a folder or a list of these, through fsspec; a partition a row group.

    Files go in natural order of their names (``part.2`` before ``part.10``), the order in which Dask wrote them; those
    of a list in its order.

    Parameters
    ----------
    path : str, path or sequence of these
        Files, globs or folders.
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
    key = roles[0].customer
    text = key is not None and not pa.types.is_integer(first.field(key).type)
    return Table(
        partitions, len(columns), columns, "parquet", single=single, customer=roles[0].name, text_keys=text
    )


def _row_groups(file: ParquetPartition, sizes: list[int]) -> list[Partition]:
    """A partition for each row group; a file without any is one without rows, so that a table always has one."""
    parts: list[Partition] = []
    first_row = 0
    for group, n_rows in enumerate(sizes or [0]):
        keys = None if file.keys is None else file.keys[first_row : first_row + n_rows]
        record = [file.path, file.stamp, group, list(file.columns), file.weight, file.customer, str(keys)]
        rows = (group,) if sizes else ()
        token = f"parquet-{of_record(record)}"
        parts.append(replace(file, token=token, row_groups=rows, keys=keys, n_rows=n_rows))
        first_row += n_rows
    return parts


def _group_sizes(metadata: Any) -> list[int]:
    """Rows of each row group."""
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def expand_paths(path: Any, options: dict[str, Any]) -> tuple[Any, list[str]]:
    """The file system of a path, glob or folder, and the Parquet files it names, in natural order.

    Of a list of these the files of the first, then those of the second, and so on.

    Raises
    ------
    SourceError
        If there is none, or a file is named twice.
    """
    import fsspec

    if is_path_list(path):
        return _expand_list(path, options)
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


def _expand_list(paths: Sequence[Any], options: dict[str, Any]) -> tuple[Any, list[str]]:
    found = [expand_paths(path, options) for path in paths]
    if len({type(filesystem) for filesystem, _ in found}) > 1:
        msg = f"{paths[0]} and others of the list are on different file systems; give files of one"
        raise SourceError(msg)
    files = [file for _, several in found for file in several]
    for file, count in Counter(files).items():
        if count > 1:
            msg = f"{file}: {count} times in the list of files; name each file once"
            raise SourceError(msg)
    return found[0][0], files


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
