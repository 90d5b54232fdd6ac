"""Opening frames (room ``customers``, called by sources): pandas by itself, everything else through narwhals.

Only the columns that play a role are converted to Arrow; the others may be of any type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import pyarrow as pa

from gpuseg.customers.reading import parts as part_rules
from gpuseg.customers.reading.parts import Part, Raw, Source
from gpuseg.errors import InputError

_UNCONVERTIBLE = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)


def open_pandas(frame: Any) -> Source:
    """A pandas frame; the levels of a named index count as columns.

    Raises
    ------
    InputError
        No column has a name that is text.
    """
    levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
    if levels:
        frame = frame.reset_index(level=levels)
    where = f"pandas frame of {len(frame):,} rows"
    names = [name for name in frame.columns if isinstance(name, str)]
    if not names:
        shown = ", ".join(repr(name) for name in frame.columns[:3])
        raise InputError(f"{where}: no column name is text ({shown} ...); rename the columns")
    # Types are judged on the arrays, part by part: an object column says nothing by itself.
    schema = pa.schema([pa.field(name, pa.null()) for name in names])

    def part(first: int) -> Part:
        rows = frame.iloc[first : first + part_rules.PART_ROWS]
        return Part(where, schema, lambda columns: iter([pandas_columns(rows, columns)]))

    return Source("pandas", where, _cut(part, len(frame)), key_dtype=lambda name: frame[name].dtype)


def pandas_columns(frame: Any, names: Sequence[str]) -> Raw:
    """Columns of a pandas frame as Arrow arrays; NaN and NaT become null, as pandas means them.

    Object columns may hold values of several types; they are counted, not converted.
    """
    arrays: dict[str, Any] = {}
    mixed: dict[str, Mapping[str, int]] = {}
    for name in names:
        column = frame[name]
        try:
            arrays[name] = pa.array(column, from_pandas=True)
        except _UNCONVERTIBLE:
            mixed[name] = _value_types(column)
            continue
        if column.dtype == object and pa.types.is_timestamp(arrays[name].type):
            clocks = Counter(
                "times without zone" if t.tzinfo is None else "times in a zone" for t in column.dropna()
            )
            if len(clocks) > 1:  # Arrow would take all of them as UTC
                mixed[name] = clocks
                del arrays[name]
    return Raw(pa.table(arrays) if arrays else pa.table({"": pa.nulls(len(frame))}), mixed)


def open_arrow(table: pa.Table, name: str, kind: str, names: Sequence[str] | None = None) -> Source:
    """An Arrow table; ``names`` are those of the frame from which it was taken, if that has more."""
    where = f"{name} of {table.num_rows:,} rows"
    others = [pa.field(other, pa.null()) for other in names or () if other not in table.column_names]
    schema = pa.schema([*table.schema, *others])

    def part(first: int) -> Part:
        rows = table.slice(first, part_rules.PART_ROWS)
        return Part(where, schema, lambda columns: iter([Raw(rows.select(list(columns)))]))

    return Source(kind, where, _cut(part, table.num_rows))


def open_narwhals(frame: Any, wanted: Sequence[str]) -> Source:
    """A polars frame, lazy or not, or any other that narwhals knows.

    Raises
    ------
    InputError
        A column cannot become Arrow.
    """
    names = frame.collect_schema().names()
    chosen = frame.select([name for name in names if name in set(wanted)])
    kind = "polars" if frame.implementation.is_polars() else "arrow"
    try:
        table = (chosen.collect() if isinstance(chosen, nw.LazyFrame) else chosen).to_arrow()
    except _UNCONVERTIBLE as error:
        raise InputError(
            f"the {kind} frame has a column that Arrow does not know ({error}); cast it first"
        ) from error
    return open_arrow(table, f"{kind} frame", kind, names)


def _value_types(column: Any) -> dict[str, int]:
    words = {"int": "whole numbers", "str": "text", "float": "fractions", "bytes": "bytes"}
    found = Counter(type(value).__name__.removesuffix("64").removesuffix("32") for value in column.dropna())
    return {words.get(name, name): count for name, count in sorted(found.items())}


def _cut(part: Any, n_rows: int) -> tuple[Part, ...]:
    return tuple(part(first) for first in range(0, max(n_rows, 1), part_rules.PART_ROWS))
