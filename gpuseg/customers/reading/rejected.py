"""Rows that were left out, as they came (room ``customers``, called by the reader and transactions): to be mended.

Rows of customers without consent are not among them: they are counted and nothing of them is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gpuseg.customers.reading.roles import value_kind

Mask = npt.NDArray[np.bool_]

MOST_ROWS = 100_000
"""Rows that are kept at most: the first ones, in the order of files and rows. Tests make it small."""
FILE, ROW, REASONS = "source_file", "source_row", "reasons"
"""Names of the columns that are ours; an underline follows where the source has a column of that name."""

_TEXT = pa.large_string()


@dataclass(frozen=True)
class RejectedRows:
    """Rows that were left out, gathered part by part in the order of the source.

    Parameters
    ----------
    columns : tuple of str
        Columns of the source.
    pieces : tuple of pyarrow.Table
        What was gathered.
    seen : tuple of (str, int) or None
        The file that is being read, and how many of its rows are behind.
    """

    columns: tuple[str, ...]
    pieces: tuple[pa.Table, ...] = ()
    seen: tuple[str, int] | None = None

    @property
    def left(self) -> int:
        """How many rows there is room for."""
        return MOST_ROWS - sum(len(piece) for piece in self.pieces)

    def adding(self, file: str, n_rows: int, found: pa.Table | None) -> RejectedRows:
        """With those of the next part: ``n_rows`` rows of a file, and what :func:`rejected_rows` found in them."""
        behind = self.seen[1] if self.seen is not None and self.seen[0] == file else 0
        pieces = self.pieces
        if found is not None and len(found):
            file_name, row, _ = own_names(self.columns)
            place = found.column_names.index(row)
            moved = pa.array(found[row].to_numpy() + behind)
            named = found.set_column(place, row, moved)
            pieces = (*pieces, named.add_column(0, file_name, pa.array([file] * len(found), _TEXT)))
        return RejectedRows(self.columns, pieces, (file, behind + n_rows))

    def to_table(self) -> pa.Table:
        """One row a row left out: file, row, the columns as text, the reasons; no rows where there are none."""
        file, row, reasons = own_names(self.columns)
        texts = [pa.field(name, _TEXT) for name in (*self.columns, reasons)]
        schema = pa.schema([pa.field(file, _TEXT), pa.field(row, pa.int64()), *texts])
        return pa.concat_tables([schema.empty_table(), *self.pieces]).combine_chunks()


def own_names(columns: Sequence[str]) -> tuple[str, str, str]:
    """Names for file, row and reasons that no column of the source has."""
    found = []
    for name in (FILE, ROW, REASONS):
        free = name
        while free in columns:
            free += "_"
        found.append(free)
    return found[0], found[1], found[2]


def rejected_rows(table: pa.Table, reasons: Mapping[str, Mask], chosen: Mask, most: int) -> pa.Table:
    """The first of the chosen rows of a part, every column as text, with all reasons of a row.

    Parameters
    ----------
    table : pyarrow.Table
        The part as it came, its columns of kinds that fit their roles.
    reasons : mapping of str to mask
        Why a row is left out, in the words and the order of the counts.
    chosen : ndarray of bool
        The rows to keep.
    most : int
        How many at most.

    Returns
    -------
    pyarrow.Table
        Rows numbered from 1 in this part.
    """
    _, row, words = own_names(table.column_names)
    places = np.flatnonzero(chosen)[:most]
    wanted = np.zeros(len(chosen), np.bool_)
    wanted[places] = True
    taken = table.filter(pa.array(wanted))
    columns: dict[str, Any] = {row: pa.array(places + 1, pa.int64())}
    columns |= {name: _as_text(taken[name]) for name in table.column_names}
    columns[words] = pa.array(_sentences(reasons, places), _TEXT)
    return pa.table(columns)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    zone = column.type.tz if pa.types.is_timestamp(column.type) else None
    if zone is not None and zone.startswith(("+", "-")):  # not every Arrow can write the clock of an offset
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if value_kind(column.type) == "null":
        return pa.chunked_array([pa.nulls(len(column), _TEXT)])
    return column.cast(_TEXT)


def _sentences(reasons: Mapping[str, Mask], places: npt.NDArray[np.intp]) -> list[str]:
    """The reasons of each place, joined; rows with the same ones share the work."""
    words = list(reasons)
    if not len(places):
        return []
    holds = np.stack([reasons[word][places] for word in words], axis=1)
    patterns, which = np.unique(holds, axis=0, return_inverse=True)
    joined = [
        "; ".join(word for word, held in zip(words, pattern, strict=True) if held) for pattern in patterns
    ]
    return [joined[index] for index in which.reshape(-1)]
