"""Records of an opened source (room ``customers``, made by sources, read by the reader)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa

from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.errors import InputError

PART_ROWS = 1 << 20
"""Rows of a part, about: tests make it small."""


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
        Takes column names, yields :class:`Raw` pieces, at least one.
    file : str
        What the file is called within the source; empty: as the label.
    n_rows : int or None
        Rows, where a footer tells; None where only reading does.
    """

    label: str
    schema: pa.Schema
    read: Callable[[Sequence[str]], Iterator[Raw]]
    file: str = ""
    n_rows: int | None = None


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
    dialect : CsvDialect
        What that text means.
    key_dtype : callable or None
        Takes a column name, returns the pandas dtype in which it came.
    """

    kind: str
    where: str
    parts: tuple[Part, ...]
    as_text: bool = False
    dialect: CsvDialect = field(default_factory=CsvDialect)
    key_dtype: Callable[[str], Any] | None = None


def first_records(source: Source, head: int) -> Source:
    """The source with only about the first ``head`` records of each file; the fast answer of a look at a sample.

    Raises
    ------
    InputError
        ``head`` is no positive number.
    """
    if head < 1:
        raise InputError(f"head={head!r} is no number of records; use 1 or more")
    seen: set[str] = set()
    parts = []
    for part in source.parts:
        if part.label not in seen:
            parts.append(replace(part, read=partial(_read_head, part, head)))
            seen.add(part.label)
    return replace(source, parts=tuple(parts))


def _read_head(part: Part, head: int, columns: Sequence[str]) -> Iterator[Raw]:
    left = head
    for raw in part.read(columns):
        yield replace(raw, table=raw.table.slice(0, left))
        left -= raw.table.num_rows
        if left <= 0:
            return
