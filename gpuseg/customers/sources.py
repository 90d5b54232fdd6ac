"""Opening files and frames (room ``customers``, called by the reader): any source as a list of Arrow parts.

A :class:`Part` can be read again and knows its schema beforehand, so that all files are looked at before any is read.
Parquet and CSV go through fsspec: paths, globs, folders and URLs (``s3://...``). Frames come in through narwhals.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gpuseg.errors import InputError, SourceError

PART_ROWS = 1 << 20
"""Rows of a part, about: tests make it small."""

_PARQUET = (".parquet", ".pq", ".parq")
_CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".csv.zst", ".csv.bz2")


@dataclass(frozen=True)
class Raw:
    """Columns as they come.

    Parameters
    ----------
    table : pyarrow.Table
        The columns that could become Arrow arrays.
    mixed : mapping of str to mapping of str to int
        The columns that could not: rows for each kind of value.
    """

    table: pa.Table
    mixed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """A piece of a source that can be read again.

    Parameters
    ----------
    label : str
        File, or words for a frame.
    schema : pyarrow.Schema
        All columns of the piece.
    read : callable
        Takes column names, returns :class:`Raw`.
    """

    label: str
    schema: pa.Schema
    read: Callable[[Sequence[str]], Raw]


@dataclass(frozen=True)
class Source:
    """What a user gave, opened.

    Parameters
    ----------
    kind : str
        What comes in goes out: "pandas", "polars" or "arrow" (files too).
    where : str
        Words for messages: the path, or the kind and size of a frame.
    parts : tuple of Part
        The pieces, in order.
    as_text : bool
        All values are text (CSV) and are parsed by their role.
    key_dtype : callable or None
        Takes a column name, returns the pandas dtype in which it came.
    """

    kind: str
    where: str
    parts: tuple[Part, ...]
    as_text: bool = False
    key_dtype: Callable[[str], Any] | None = None


def is_dask_frame(source: object) -> bool:
    """Whether the source is a Dask dataframe; does not import Dask."""
    return bool(nw.dependencies.is_dask_dataframe(source))


def open_source(source: Any) -> Source:
    """Open a path, glob, folder, list of paths, Arrow table, pandas or polars frame.

    Raises
    ------
    SourceError
        A file is missing or cannot be read.
    InputError
        The source is of an unknown type.
    """
    if isinstance(source, (str, os.PathLike)):
        return open_files([os.fspath(source)])
    if (
        isinstance(source, (list, tuple))
        and source
        and all(isinstance(s, (str, os.PathLike)) for s in source)
    ):
        return open_files([os.fspath(s) for s in source])
    if nw.dependencies.is_pandas_dataframe(source):
        return _open_pandas(source)
    if isinstance(source, pa.Table):
        return _open_arrow(source, "Arrow table", "arrow")
    frame = nw.from_native(source, pass_through=True)
    if isinstance(frame, (nw.DataFrame, nw.LazyFrame)):
        eager = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
        name = "polars" if frame.implementation.is_polars() else "arrow"
        return _open_arrow(eager.to_arrow(), f"{name} frame", name)
    if hasattr(source, "__arrow_c_stream__"):
        return _open_arrow(pa.table(source), "Arrow stream", "arrow")
    raise InputError(
        f"a source of type {type(source).__name__} cannot be read; "
        "give a path, an Arrow table, a pandas or polars frame, or a Dask dataframe"
    )


def pandas_columns(frame: Any, names: Sequence[str]) -> Raw:
    """Columns of a pandas frame as Arrow arrays; NaN and NaT become null, as pandas means them."""
    arrays: dict[str, Any] = {}
    mixed: dict[str, Mapping[str, int]] = {}
    for name in names:
        column = frame[name]
        try:
            arrays[name] = pa.array(column, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            mixed[name] = _value_types(column)
            continue
    return Raw(pa.table(arrays) if arrays else pa.table({"": pa.nulls(len(frame))}), mixed)


def _value_types(column: Any) -> dict[str, int]:
    words = {"int": "whole numbers", "str": "text", "float": "fractions", "bytes": "bytes"}
    found = Counter(type(value).__name__.removesuffix("64").removesuffix("32") for value in column.dropna())
    return {words.get(name, name): count for name, count in sorted(found.items())}


def _open_pandas(frame: Any) -> Source:
    names = [name for name in frame.columns if isinstance(name, str)]
    unique = [name for name, uses in Counter(names).items() if uses == 1]
    # Types are judged on the arrays, part by part: an object column says nothing by itself.
    schema = pa.schema([pa.field(name, pa.null()) for name in names])
    where = f"pandas frame of {len(frame):,} rows"

    def part(first: int) -> Part:
        rows = frame.iloc[first : first + PART_ROWS]
        return Part(where, schema, lambda columns: pandas_columns(rows, [c for c in columns if c in unique]))

    parts = tuple(part(first) for first in range(0, max(len(frame), 1), PART_ROWS))
    return Source("pandas", where, parts, key_dtype=lambda name: frame[name].dtype)


def _open_arrow(table: pa.Table, name: str, kind: str) -> Source:
    where = f"{name} of {table.num_rows:,} rows"

    def part(first: int) -> Part:
        rows = table.slice(first, PART_ROWS)
        return Part(where, table.schema, lambda columns: Raw(rows.select(list(columns))))

    return Source(kind, where, tuple(part(first) for first in range(0, max(table.num_rows, 1), PART_ROWS)))


def open_files(paths: Sequence[str]) -> Source:
    """Open Parquet or CSV files: every footer or header is read, no data.

    Raises
    ------
    SourceError
        Names each file that is missing, cut off or of an unknown type.
    """
    files = [found for path in paths for found in _find(path)]
    where = paths[0] if len(paths) == 1 else f"{len(paths)} paths from {paths[0]}"
    formats = {_format(path) for _, path in files}
    if len(formats) > 1:
        raise SourceError(
            f"{where}: Parquet and CSV files are mixed; give a glob for one of them, such as *.parquet"
        )
    opener = _parquet_parts if formats == {"parquet"} else _csv_parts
    parts: list[Part] = []
    broken: list[str] = []
    for filesystem, path in files:
        try:
            parts.extend(opener(filesystem, path))
        except SourceError as error:
            broken.append(str(error))
    if broken:
        raise SourceError("; ".join(broken))
    return Source("arrow", where, tuple(parts), as_text=formats == {"csv"})


def _find(path: str) -> list[tuple[Any, str]]:
    """Files behind a path, sorted by name: the file itself, those of a folder, or those that match a glob."""
    import fsspec

    try:
        filesystem, plain = fsspec.core.url_to_fs(path)
        if filesystem.isdir(plain):
            found = [name for name in sorted(filesystem.find(plain)) if _is_data(name, plain)]
            if not found:
                raise SourceError(f"{path}: the folder holds no .parquet or .csv file")
        elif any(mark in plain for mark in "*?["):
            found = sorted(name for name in filesystem.glob(plain) if filesystem.isfile(name))
            if not found:
                raise SourceError(f"{path}: no file matches")
        else:
            found = [plain] if filesystem.exists(plain) else []
            if not found:
                raise SourceError(
                    f"{path}: no such file; check the path (the working folder is {Path.cwd()})"
                )
    except (ImportError, OSError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path}: cannot be opened ({error})") from error
    return [(filesystem, name) for name in found]


def _is_data(name: str, folder: str) -> bool:
    inner = PurePosixPath(name[len(folder) :].lstrip("/"))
    hidden = any(piece.startswith((".", "_")) for piece in inner.parts)
    return not hidden and name.lower().endswith((*_PARQUET, *_CSV))


def _format(path: str) -> str:
    lower = path.lower()
    if lower.endswith(_PARQUET):
        return "parquet"
    if lower.endswith(_CSV):
        return "csv"
    raise SourceError(
        f"{path}: unknown kind of file; names must end in {', '.join((*_PARQUET[:2], *_CSV[:4]))}"
    )


def _open(filesystem: Any, path: str) -> Any:
    """A path that Arrow opens by itself, or an open file of another filesystem."""
    protocol = filesystem.protocol
    local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
    return path if local else filesystem.open(path, "rb")


def _parquet_parts(filesystem: Any, path: str) -> list[Part]:
    with (
        _parquet_errors(path),
        pq.ParquetFile(_open(filesystem, path), page_checksum_verification=True) as file,
    ):
        schema = file.schema_arrow
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]

    def part(groups: list[int]) -> Part:
        def read(columns: Sequence[str]) -> Raw:
            with (
                _parquet_errors(path),
                pq.ParquetFile(_open(filesystem, path), page_checksum_verification=True) as file,
            ):
                return Raw(file.read_row_groups(groups, columns=list(columns)))

        return Part(path, schema, read)

    return [part(groups) for groups in _batches(sizes)]


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Consecutive row groups, together about :data:`PART_ROWS` rows."""
    batches: list[list[int]] = [[]]
    rows = 0
    for group, size in enumerate(sizes):
        if batches[-1] and rows + size > PART_ROWS:
            batches.append([])
            rows = 0
        batches[-1].append(group)
        rows += size
    return batches


@contextmanager
def _parquet_errors(path: str) -> Iterator[None]:
    """Turn what Arrow raises on a damaged file into one sentence that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise SourceError(
            f"{path}: cannot be read as Parquet, the file is cut off or damaged ({reason}); write or copy it again"
        ) from error


def _csv_parts(filesystem: Any, path: str) -> list[Part]:
    header = _read_csv(filesystem, path, None)
    return [Part(path, header.schema, lambda columns: Raw(_read_csv(filesystem, path, columns)))]


def _read_csv(filesystem: Any, path: str, columns: Sequence[str] | None) -> pa.Table:
    """All values as text (empty fields are null), or the header alone where ``columns`` is None."""
    odd: list[str] = []

    def count(row: Any) -> str:
        odd.append(f"{row.actual_columns} fields instead of {row.expected_columns}: {row.text[:60]!r}")
        return "skip"

    delimiter = "\t" if ".tsv" in path.lower() else ","
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=count)
    names = _csv_header(filesystem, path, parse)
    if columns is None:
        return pa.table({name: pa.array([], pa.string()) for name in dict.fromkeys(names)})
    convert = pyarrow.csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        include_columns=list(columns),
        null_values=[""],
        strings_can_be_null=True,
    )
    try:
        with filesystem.open(path, "rb", compression="infer") as file:
            table = pyarrow.csv.read_csv(file, parse_options=parse, convert_options=convert)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise SourceError(_csv_reason(path, error)) from error
    if odd:
        raise SourceError(
            f"{path}: {len(odd):,} lines have another number of fields than the header (the first: {odd[0]})"
        )
    return table


def _csv_header(filesystem: Any, path: str, parse: Any) -> list[str]:
    try:
        with filesystem.open(path, "rb", compression="infer") as file:
            line = file.readline()
        table = pyarrow.csv.read_csv(pa.py_buffer(line), parse_options=parse)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise SourceError(_csv_reason(path, error)) from error
    return list(table.column_names)


def _csv_reason(path: str, error: BaseException) -> str:
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    if "Empty CSV" in reason:
        return f"{path}: the file is empty; a header line and at least one record are needed"
    if "UTF8" in reason or "UTF-8" in reason:
        return f"{path}: the text is not UTF-8 ({reason}); save the file as UTF-8"
    return f"{path}: cannot be read as CSV ({reason})"
