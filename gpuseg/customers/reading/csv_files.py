"""CSV files (room ``customers``, called by file_sources): the header first, then block after block, all as text.

Only the columns that play a role are converted, and no more than a block of text is held at a time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv

from gpuseg.customers.reading import parts as part_rules
from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.parts import Part, Raw
from gpuseg.errors import SourceError

BLOCK_BYTES = 1 << 23
"""Bytes that are parsed at a time: the longest line that can be read. Tests make it small."""

_ERRORS = (pa.ArrowException, OSError, EOFError, UnicodeError, csv.Error)


def csv_parts(filesystem: Any, path: str, dialect: CsvDialect) -> list[Part]:
    """One part, which is read in blocks; only the header is read now.

    Raises
    ------
    SourceError
        The file is empty, or its header is not text in the declared encoding.
    """
    names = _header(filesystem, path, dialect)
    schema = pa.schema([pa.field(name, pa.string()) for name in names])
    return [Part(path, schema, lambda columns: _blocks(filesystem, path, dialect, names, columns))]


def separator_of(path: str, dialect: CsvDialect) -> str:
    """The declared separator, or the one that the file's name stands for."""
    return dialect.separator or ("\t" if ".tsv" in path.lower() else ",")


def _header(filesystem: Any, path: str, dialect: CsvDialect) -> list[str]:
    encoding = "utf-8-sig" if _is_utf8(dialect.encoding) else dialect.encoding
    try:
        with filesystem.open(path, "rb", compression="infer") as file:
            text = io.TextIOWrapper(file, encoding=encoding, newline="")
            first = next(
                (row for row in csv.reader(text, delimiter=separator_of(path, dialect)) if row), None
            )
    except _ERRORS as error:
        raise SourceError(_reason(path, error, dialect)) from error
    if first is None:
        raise SourceError(f"{path}: the file is empty; a header line and at least one record are needed")
    return first if dialect.header else [f"column_{number}" for number in range(1, len(first) + 1)]


def _blocks(
    filesystem: Any, path: str, dialect: CsvDialect, names: Sequence[str], columns: Sequence[str]
) -> Iterator[Raw]:
    """Batches of about :data:`~gpuseg.customers.reading.parts.PART_ROWS` rows; empty fields are null."""
    odd: list[str] = []

    def count(row: Any) -> str:
        odd.append(f"{row.actual_columns} fields instead of {row.expected_columns}: {row.text[:60]!r}")
        return "skip"

    options = {
        "read_options": pyarrow.csv.ReadOptions(
            block_size=BLOCK_BYTES,
            encoding="utf8" if _is_utf8(dialect.encoding) else dialect.encoding,
            column_names=None if dialect.header else list(names),
        ),
        "parse_options": pyarrow.csv.ParseOptions(
            delimiter=separator_of(path, dialect), newlines_in_values=True, invalid_row_handler=count
        ),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types={name: pa.string() for name in names},
            include_columns=list(columns),
            null_values=[""],
            strings_can_be_null=True,
        ),
    }
    empty = pa.schema([pa.field(name, pa.string()) for name in columns]).empty_table()
    try:
        with filesystem.open(path, "rb", compression="infer") as file:
            if columns:
                yield from _gathered(pyarrow.csv.open_csv(file, **options), empty)
            else:
                yield Raw(empty)
    except _ERRORS as error:
        raise SourceError(_reason(path, error, dialect)) from error
    if odd:
        raise SourceError(
            f"{path}: {len(odd):,} lines have another number of fields than the header (the first: {odd[0]})"
        )


def _gathered(batches: Any, empty: pa.Table) -> Iterator[Raw]:
    """Blocks of text become parts of rows; a file without records is one part without rows."""
    held: list[Any] = []
    rows = 0
    some = False
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= part_rules.PART_ROWS:
            yield Raw(pa.Table.from_batches(held))
            held, rows, some = [], 0, True
    if held or not some:
        yield Raw(pa.Table.from_batches(held) if held else empty)


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in {"utf-8", "utf8", "utf-8-sig"}


def _reason(path: str, error: BaseException, dialect: CsvDialect) -> str:
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    if "Empty CSV" in reason:
        return f"{path}: the file is empty; a header line and at least one record are needed"
    if isinstance(error, UnicodeError) or "UTF8" in reason or "UTF-8" in reason:
        name = "UTF-8" if _is_utf8(dialect.encoding) else dialect.encoding
        return (
            f"{path}: the text is not {name} ({reason}); declare its encoding (csv={{'encoding': 'cp1252'}}), "
            "or save the file as UTF-8"
        )
    if "straddling" in reason:
        return (
            f"{path}: a line is longer than {BLOCK_BYTES >> 20} MiB ({reason}); is a quotation mark left open, "
            "or is the separator another?"
        )
    return f"{path}: cannot be read as CSV ({reason})"
