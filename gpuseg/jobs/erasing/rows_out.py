"""Customers' rows taken out of the files of a run (jobs; for erase): new contents, nothing is written here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpuseg.errors import SourceError
from gpuseg.jobs.kept.formats import table_bytes
from gpuseg.jobs.kept.runs import REJECTS, Run


def without_rows(run: Run, wanted: Collection[str]) -> tuple[dict[str, bytes], dict[str, int]]:
    """New contents of the files that lose rows, and how many each.

    Parameters
    ----------
    run : Run
        The run.
    wanted : collection of str
        Keys of the customers, as text.

    Raises
    ------
    SourceError
        A file is damaged, or of a kind that nobody can erase from.
    """
    contents: dict[str, bytes] = {}
    rows: dict[str, int] = {}
    for name, file in run.files.items():
        if not file["holds_customer_ids"]:
            continue
        old = run.read(name)
        new, count = _filter(old, name, run, wanted)
        if count:
            contents[name], rows[name] = new, count
    return contents, rows


def _filter(content: bytes, name: str, run: Run, wanted: Collection[str]) -> tuple[bytes, int]:
    match Path(name).suffix:
        case ".parquet":
            return _filter_parquet(content, name, run, wanted)
        case ".csv":
            return _filter_csv(content, name, run, wanted)
        case ".json":
            return _filter_json(content, name, run, wanted)
        case kind:
            raise SourceError(
                f"{run.path / name} holds ids, but nobody can erase from a {kind or 'nameless'} file; nothing was "
                "changed: delete that file and its line in the manifest, then erase again"
            )


def _filter_parquet(content: bytes, name: str, run: Run, wanted: Collection[str]) -> tuple[bytes, int]:
    table = pq.read_table(io.BytesIO(content))
    _require_column(run.customer in table.column_names, name, run)
    stays = ~_is_wanted(table[run.customer], wanted)
    kept = table.filter(pa.array(stays))
    return table_bytes(kept, "parquet"), len(table) - len(kept)


def customers_in(run: Run, wanted: Collection[str]) -> int:
    """How many of these customers a run knows: those in segments, and those all of whose rows were left out.

    Parameters
    ----------
    run : Run
        The run.
    wanted : collection of str
        Keys of the customers, as text.
    """
    found: set[str] = set()
    for table in (run.segments, *([run.table(REJECTS)] if run.has(REJECTS) else [])):
        _require_column(run.customer in table.column_names, REJECTS, run)
        keys = table[run.customer]
        found |= {str(key) for key in keys.filter(pa.array(_is_wanted(keys, wanted))).unique().to_pylist()}
    return len(found)


def _is_wanted(keys: pa.ChunkedArray, wanted: Collection[str]) -> Any:
    text = keys.cast(pa.string())
    return np.asarray(
        pc.is_in(text, value_set=pa.array(sorted(wanted), pa.string())).to_numpy(zero_copy_only=False)
    )


def _filter_csv(content: bytes, name: str, run: Run, wanted: Collection[str]) -> tuple[bytes, int]:
    """Lines that stay keep their bytes; a quoted field may span several of them."""
    lines = io.StringIO(content.decode("utf-8"), newline="").readlines()
    reader = csv.reader([lines[0].removeprefix("\ufeff"), *lines[1:]] if lines else [])
    header = next(reader, [])
    _require_column(run.customer in header, name, run)
    place = header.index(run.customer)
    kept, count, start = lines[: reader.line_num], 0, reader.line_num
    for row in reader:
        if len(row) > place and row[place] in wanted:
            count += 1
        else:
            kept += lines[start : reader.line_num]
        start = reader.line_num
    return "".join(kept).encode(), count


def _filter_json(content: bytes, name: str, run: Run, wanted: Collection[str]) -> tuple[bytes, int]:
    try:
        rows = json.loads(content)
        kept = [row for row in rows if str(row[run.customer]) not in wanted]
    except (ValueError, TypeError, KeyError):
        _require_column(present=False, name=name, run=run)
        raise
    return (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode(), len(rows) - len(kept)


def _require_column(present: bool, name: str, run: Run) -> None:
    if not present:
        raise SourceError(
            f"{run.path / name} is listed as holding ids, but has no column {run.customer!r}; nothing was changed: "
            "run the job again"
        )
