"""What names and types alone say of a source (room ``customers``, called by the readers): before any value is read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import pyarrow as pa

from gpuseg.customers.reading import local_time
from gpuseg.customers.reading import roles as role_rules
from gpuseg.customers.reading.roles import Roles

logger = logging.getLogger("gpuseg.customers")


def schema_problems(declared: Roles, schemas: Sequence[tuple[str, pa.Schema]]) -> list[str]:
    """Everything that is wrong with the declaration and the columns, before any value is read."""
    problems = role_rules.role_problems(declared)
    several = len({label for label, _ in schemas}) > 1
    for label, schema in schemas:
        problems += role_rules.column_problems(declared, schema.names, f" in {label}" if several else "")
    mixed = role_rules.mixed_kind_problems(declared, schemas) if several else []
    return problems + mixed


def unusable_roles(declared: Roles, schemas: Sequence[tuple[str, pa.Schema]]) -> frozenset[str]:
    """Roles whose column is not there exactly once in every file; their values are not looked at."""
    return frozenset(
        role
        for role, column in declared.declared().items()
        if any(schema.names.count(column) != 1 for _, schema in schemas)
    )


def column_zone(declared: Roles, schemas: Sequence[tuple[str, pa.Schema]]) -> str | None:
    """Time zone that the time column itself carries."""
    for _, schema in schemas:
        index = schema.get_field_index(declared.time)
        if index >= 0 and pa.types.is_timestamp(schema.field(index).type) and schema.field(index).type.tz:
            return local_time.check_zone(schema.field(index).type.tz)
    return None


def warn_utc(where: str, rows: int | None) -> None:
    """Say once that times without a zone were taken as UTC."""
    count = "times carry" if rows is None else f"{rows:,} times carry"
    message = (
        f"{where}: {count} no time zone; they are taken as UTC and days are counted in UTC. "
        "Give time_zone= (and naive='local' if they show a wall clock)"
    )
    logger.info(message)  # a log that nobody set up prints warnings as well: this one is said once
    warnings.warn(message, UserWarning, stacklevel=4)
