"""Dask dataframes of transactions (room ``customers``, called by the reader): lazy, partition by partition.

Nothing is computed here. Names and types are checked on the meta; values are checked by the tasks, whose audits merge
along with the states, so that problems are listed once, over all partitions, when a result is computed. (A Dask that
converts object columns to text, its default, has merged 1 and "1" before we see them.)
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from gpuseg.customers.reading.frame_sources import pandas_columns
from gpuseg.customers.reading.parts import Raw
from gpuseg.customers.reading.preflight import column_zone, schema_problems, warn_utc
from gpuseg.customers.reading.reader import Checked, Reader
from gpuseg.customers.reading.records import Partition, Transactions
from gpuseg.customers.reading.roles import fits_role, type_cure, value_kind
from gpuseg.errors import SchemaError


def read_dask(frame: Any, reader: Reader, time_zone: str | None) -> Transactions:
    """Transactions whose partitions are Dask tasks; the schema is checked now, values when a result is computed.

    Raises
    ------
    SchemaError
        A column is missing, plays two roles, or has a type that no value of its role can have.
    """
    from dask.base import tokenize
    from dask.delayed import delayed

    where = f"Dask dataframe of {frame.npartitions} partitions"
    meta = frame._meta  # noqa: SLF001 - Dask's documented meta has no public name
    raw = pandas_columns(meta, [name for name in dict.fromkeys(meta.columns) if isinstance(name, str)])
    schemas = [
        (where, pa.schema([pa.field(name, _known_type(meta[name], raw)) for name in raw.table.column_names]))
    ]
    problems = schema_problems(reader.roles, schemas)
    problems += _type_problems(reader, schemas[0][1])
    if problems:
        raise SchemaError(where, problems)
    if time_zone is None:
        zone = column_zone(reader.roles, schemas)
        reader = replace(reader, time_zone=zone or "UTC")
        if zone is None and not str(meta[reader.roles.time].dtype).startswith("date32"):
            warn_utc(where, None)
    columns = reader.columns()
    normalise = delayed(partial(normalise_pandas, reader=reader, columns=tuple(columns)), pure=True)
    tasks = [normalise(piece) for piece in frame[columns].to_delayed()]
    return Transactions(
        partitions=tuple(Partition(task.compute, task) for task in tasks),
        roles=reader.roles,
        kind="dask",
        where=where,
        time_zone=reader.time_zone,
        minor_units=reader.minor_units,
        customer_type=None,
        customer_dtype=meta[reader.roles.customer].dtype,
        audit=None,
        fingerprint=tokenize(tasks),
    )


def normalise_pandas(frame: Any, reader: Reader, columns: tuple[str, ...]) -> Checked:
    """One partition, checked and normalised: a pure task."""
    return reader.normalise(pandas_columns(frame, columns))


def _known_type(column: Any, raw: Raw) -> pa.DataType:
    """Arrow type that the dtype fixes; null where it says nothing (object columns)."""
    if column.dtype == object:
        return pa.null()
    return raw.table.schema.field(column.name).type


def _type_problems(reader: Reader, schema: pa.Schema) -> list[str]:
    kinds = {
        (role, name): value_kind(schema.field(name).type)
        for role, name in reader.roles.declared().items()
        if schema.names.count(name) == 1  # the others are reported as missing
    }
    return [
        f"column {name!r} ({role}) holds {kind}; {type_cure(role)}"
        for (role, name), kind in kinds.items()
        if not fits_role(role, kind)
    ]
