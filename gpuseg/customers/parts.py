"""Records of an opened source (room ``customers``, made by sources, read by the reader)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

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
