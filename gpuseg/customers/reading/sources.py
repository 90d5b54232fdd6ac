"""Opening any source (room ``customers``, called by the reader): a list of Arrow parts.

A part can be read again and knows its schema beforehand, so that all files are looked at before any is read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import narwhals.stable.v2 as nw
import pyarrow as pa

from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.file_sources import open_files
from gpuseg.customers.reading.frame_sources import open_arrow, open_narwhals, open_pandas
from gpuseg.customers.reading.parts import Source
from gpuseg.errors import InputError


def is_dask_frame(source: object) -> bool:
    """Whether the source is a Dask dataframe; does not import Dask."""
    return bool(nw.dependencies.is_dask_dataframe(source))


def open_source(source: Any, wanted: Sequence[str], csv: CsvDialect | None = None) -> Source:
    """Open a path, glob, folder, list of paths, Arrow table, pandas or polars frame.

    Parameters
    ----------
    source : object
        What the user gave.
    wanted : sequence of str
        Columns that play a role.
    csv : CsvDialect or None
        How CSV files are written.

    Raises
    ------
    SourceError
        A file is missing or cannot be read.
    InputError
        The source is of an unknown type, or a CSV dialect is declared for something else.
    """
    if isinstance(source, (str, os.PathLike)):
        return open_files([os.fspath(source)], csv)
    if (
        isinstance(source, (list, tuple))
        and source
        and all(isinstance(s, (str, os.PathLike)) for s in source)
    ):
        return open_files([os.fspath(s) for s in source], csv)
    if csv is not None:
        raise InputError(
            f"csv= is for CSV files, not for a source of type {type(source).__name__}; leave it out"
        )
    if nw.dependencies.is_pandas_dataframe(source):
        return open_pandas(source)
    if isinstance(source, pa.Table):
        return open_arrow(source, "Arrow table", "arrow")
    frame = nw.from_native(source, pass_through=True)
    if isinstance(frame, (nw.DataFrame, nw.LazyFrame)):
        return open_narwhals(frame, wanted)
    if hasattr(source, "__arrow_c_stream__"):
        return open_arrow(pa.table(source), "Arrow stream", "arrow")
    raise InputError(
        f"a source of type {type(source).__name__} cannot be read; "
        "give a path, an Arrow table, a pandas or polars frame, or a Dask dataframe"
    )


def column_names(path: str, csv: CsvDialect | None = None) -> list[str]:
    """Names of the columns that all files behind a path have, as the first one orders them; no data is read.

    Raises
    ------
    SourceError
        A file is missing or cannot be read.
    """
    schemas = [part.schema.names for part in open_files([path], csv).parts]
    return [name for name in schemas[0] if all(name in names for names in schemas)]
