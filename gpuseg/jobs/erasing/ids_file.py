"""A file of customers' ids, as people bring it (jobs; for erase): a line each, or a table with their column."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import InputError, SourceError
from gpuseg.jobs.kept.runs import Run, typed_key

_SHOWN = 5


def read_ids(path: Path, run: Run) -> frozenset[str]:
    """The ids as text, each spelt as the run spells its own.

    Parameters
    ----------
    path : Path
        A text file with one a line, a CSV file with the customer's column (or ids alone in the first), or a Parquet
        file with that column.
    run : Run
        The run whose customers they are.

    Raises
    ------
    InputError
        There are no ids, or some that cannot be ids of this run.
    SourceError
        The file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    ids = (
        _ids_of_parquet(content, path, run)
        if path.suffix in {".parquet", ".pq"}
        else _ids_of_text(content, path, run)
    )
    wanted = frozenset(found for found in ids if found)
    if not wanted:
        raise InputError(f"{path}: no ids in it; give one a line")
    kind = run.segments[run.customer].type
    wrong = sorted(found for found in wanted if typed_key(found, kind) is None)
    if wrong:
        shown = ", ".join(map(repr, wrong[:_SHOWN]))
        raise InputError(
            f"{path}: {len(wrong):,} of {len(wanted):,} cannot be ids of this run, whose ids are whole numbers without "
            f"leading zeros ({shown}); nothing was changed"
        )
    return wanted


def _ids_of_parquet(content: bytes, path: Path, run: Run) -> list[str]:
    try:
        table = pq.read_table(io.BytesIO(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path} is no Parquet file ({error})") from error
    if run.customer not in table.column_names:
        raise InputError(
            f"{path} has no column {run.customer!r}; it has {', '.join(table.column_names[:12])}"
        )
    return [str(key) for key in table[run.customer].to_pylist() if key is not None]


def _ids_of_text(content: bytes, path: Path, run: Run) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8") from error
    rows = list(csv.reader(io.StringIO(text, newline="")))
    header = rows[0] if rows else []
    place = header.index(run.customer) if run.customer in header else 0
    if run.customer in header:
        rows = rows[1:]
    elif any(len(row) > 1 for row in rows):
        raise InputError(
            f"{path} has several columns, but none is called {run.customer!r}; name the column of the ids so"
        )
    return [row[place].strip() for row in rows if len(row) > place]
