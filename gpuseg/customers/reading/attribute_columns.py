"""Columns that say what customers are (room ``customers``, called by readers): text or numbers, whatever they mean.

An attribute column plays no role. It is carried beside the records as it came, text as text and numbers as float64, so
that consent, rejected rows and the calendar hold for it as for everything else; what it means is decided later.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.customers.reading.dialect import CsvDialect
from gpuseg.customers.reading.roles import Roles, nearest_column, value_kind
from gpuseg.customers.reading.texts import numbers_from_text
from gpuseg.errors import InputError

ATTRIBUTE = "attribute"
"""Stands for the role in the findings of an audit."""
ATTRIBUTE_PREFIX = "attribute_"
"""A column ``attribute_X`` holds what the column X of the source says of the customer."""

_NUMBERS = frozenset({"integer", "float", "decimal"})
_CODE = r"^\s*[+-]?0\d"


def declare_attributes(names: object, roles: Roles) -> tuple[str, ...]:
    """The names of attribute columns, checked.

    Raises
    ------
    InputError
        They are no list of names, or one of them plays a role.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"attributes={names!r} is no list of column names; give one, such as ['age']")
    played = {column: role for role, column in roles.declared().items()}
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"attributes: {name!r} is no column name; give it as text")
        if "=" in name:
            raise InputError(
                f"attributes: the column {name!r} has = in its name, which parts names from levels; rename it"
            )
        if name in played:
            raise InputError(f"attributes: the column {name!r} plays the role {played[name]!r} already")
    return tuple(dict.fromkeys(names))


def attribute_problems(names: Sequence[str], schemas: Sequence[tuple[str, pa.Schema]]) -> list[str]:
    """Attribute columns that are not there exactly once in every file."""
    several = len({label for label, _ in schemas}) > 1
    problems = []
    for label, schema in schemas:
        where = f" in {label}" if several else ""
        for name in names:
            count = schema.names.count(name)
            if count > 1:
                problems.append(
                    f"column {name!r} (attribute) occurs more than once{where}; rename one of them"
                )
            elif not count:
                hint = nearest_column(name, schema.names)
                problems.append(f"column {name!r} (attribute) is missing{where}; {hint}")
    return problems


def attribute_values(array: pa.Array) -> pa.Array | None:
    """The column as text (flags as "true" and "false", blanks as null) or float64; None for any other type."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = value_kind(array.type)
    if kind == "null":
        return array.cast(pa.large_string())
    if kind in _NUMBERS:
        numbers = array.cast(pa.float64(), safe=False)
        return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))
    if kind == "flag":
        return array.cast(pa.large_string())
    if kind != "text":
        return None
    text = pc.utf8_trim_whitespace(array.cast(pa.large_string()))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)


def reads_as_numbers(array: pa.Array, dialect: CsvDialect) -> bool:
    """Whether every text is a number in the declared form; a leading zero makes it a code."""
    if pa.types.is_floating(array.type):
        return True
    distinct = array.unique().drop_null()
    if pc.any(pc.match_substring_regex(distinct, _CODE)).as_py():
        return False
    _, bad = numbers_from_text(distinct, dialect)
    return not any(mask.any() for mask in bad.values())


def as_numbers(array: pa.Array, dialect: CsvDialect) -> pa.Array:
    """Text of which :func:`reads_as_numbers` is true, as float64; what is missing stays missing."""
    if pa.types.is_floating(array.type):
        return array
    values, _ = numbers_from_text(array, dialect)
    return pc.if_else(array.is_valid(), values, pa.scalar(None, pa.float64()))


def as_text(values: pa.Array) -> pa.Array:
    """Values as levels: whole numbers without a point."""
    if not pa.types.is_floating(values.type):
        return values.cast(pa.large_string())
    whole = pc.equal(values, pc.round(values))
    plain = pc.if_else(pc.and_(whole, pc.less(pc.abs(values), 2.0**53)), values, None).cast(pa.int64())
    return pc.coalesce(plain.cast(pa.large_string()), values.cast(pa.large_string()))
