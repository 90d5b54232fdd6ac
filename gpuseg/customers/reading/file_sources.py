"""Opening files (room ``customers``, called by sources): Parquet and CSV through fsspec.

Every footer or header is read before any data, so that all that is wrong with the files is told at once.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.customers.reading import parts as part_rules
from gpuseg.customers.reading.csv_files import csv_parts
from gpuseg.customers.reading.dialect import CsvDialect, csv_dialect
from gpuseg.customers.reading.parts import Part, Raw, Source
from gpuseg.errors import InputError, SourceError

_PARQUET = (".parquet", ".pq", ".parq")
_CSV = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz", ".csv.zst", ".csv.bz2")


def open_files(paths: Sequence[str], csv: CsvDialect | None = None) -> Source:
    """Open Parquet or CSV files: every footer or header is read, no data.

    Parameters
    ----------
    paths : sequence of str
        Files, folders or globs.
    csv : CsvDialect or None
        How CSV files are written.

    Raises
    ------
    InputError
        A dialect is declared, and the files are Parquet.
    SourceError
        Names each file that is missing, cut off or of an unknown type.
    """
    files = [found for path in paths for found in find_files(path)]
    where = paths[0] if len(paths) == 1 else f"{len(paths)} paths from {paths[0]}"
    formats = {file_format(path, declared_csv=csv is not None) for _, path in files}
    if len(formats) > 1:
        raise SourceError(
            f"{where}: Parquet and CSV files are mixed; give a glob for one of them, such as *.parquet"
        )
    if formats == {"parquet"} and csv is not None:
        raise InputError(f"{where}: csv= is for CSV files and these are Parquet; leave it out")
    dialect = csv_dialect(csv)
    opener = _parquet_parts if formats == {"parquet"} else partial(csv_parts, dialect=dialect)
    parts: list[Part] = []
    broken: list[str] = []
    for filesystem, path in files:
        try:
            parts.extend(opener(filesystem, path))
        except SourceError as error:
            broken.append(str(error))
    if broken:
        raise SourceError("; ".join(broken))
    short = _names_within(paths, files)
    parts = [replace(part, file=short[part.label]) for part in parts]
    return Source("arrow", where, tuple(parts), as_text=formats == {"csv"}, dialect=dialect)


def _names_within(paths: Sequence[str], files: Sequence[tuple[Any, str]]) -> dict[str, str]:
    """Names of files within what was given: below a folder, else below the innermost folder that holds them all."""
    import fsspec

    names = [name for _, name in files]
    given = [fsspec.core.url_to_fs(path)[1] for path in paths]
    folder = given[0].rstrip("/") if len(given) == 1 and names != given else ""
    if not folder or not all(name.startswith(f"{folder}/") for name in names):
        try:
            folder = posixpath.commonpath([posixpath.dirname(name) for name in names])
        except ValueError:  # on several file systems
            return {name: name for name in names}
    return {name: posixpath.relpath(name, folder) if folder else name for name in names}


def find_files(path: str) -> list[tuple[Any, str]]:
    """Filesystem and path of each file behind a path: itself, those of a folder, or those that match a glob.

    Raises
    ------
    SourceError
        There is none.
    """
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


def file_format(path: str, *, declared_csv: bool = False) -> str:
    """What a file is, by the end of its name; any other end is CSV where a dialect is declared.

    Raises
    ------
    SourceError
        The end is unknown.
    """
    lower = path.lower()
    if lower.endswith(_PARQUET):
        return "parquet"
    if lower.endswith(_CSV):
        return "csv"
    if declared_csv:
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
        def read(columns: Sequence[str]) -> Iterator[Raw]:
            with (
                _parquet_errors(path),
                pq.ParquetFile(_open(filesystem, path), page_checksum_verification=True) as file,
            ):
                yield Raw(file.read_row_groups(groups, columns=list(columns)))

        return Part(path, schema, read, n_rows=sum(sizes[group] for group in groups))

    return [part(groups) for groups in _batches(sizes)]


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Consecutive row groups, together about :data:`~gpuseg.customers.reading.parts.PART_ROWS` rows."""
    batches: list[list[int]] = [[]]
    rows = 0
    for group, size in enumerate(sizes):
        if batches[-1] and rows + size > part_rules.PART_ROWS:
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
