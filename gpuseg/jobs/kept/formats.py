"""Tables as files that people and programs open (jobs; for the steps of a job): CSV, Parquet, JSON."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from gpuseg.errors import InputError

KINDS = ("csv", "parquet", "json")
BOM = b"\xef\xbb\xbf"
"""Before the text of a CSV file: spreadsheets take it for UTF-8 then."""


def table_bytes(table: pa.Table, kind: str) -> bytes:
    """A table as the contents of a file.

    Parameters
    ----------
    table : pyarrow.Table
        Names, numbers and texts.
    kind : {"csv", "parquet", "json"}
        CSV is UTF-8 with a byte order mark, texts quoted, nulls empty; JSON is one list of objects.

    Returns
    -------
    bytes
        The same table gives the same bytes.

    Raises
    ------
    InputError
        There is no such kind.
    """
    buffer = io.BytesIO()
    if kind == "csv":
        buffer.write(BOM)
        pa.csv.write_csv(table, buffer)
    elif kind == "parquet":
        pq.write_table(table, buffer, compression="zstd")
    elif kind == "json":
        text = json.dumps(table.to_pylist(), indent=1, ensure_ascii=False, default=_plain)
        buffer.write(text.encode() + b"\n")
    else:
        raise InputError(f"{kind!r} is no format; use {', '.join(KINDS)}")
    return buffer.getvalue()


def _plain(value: Any) -> str:
    return str(value)  # dates and decimals, as people write them
